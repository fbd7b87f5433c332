//! `backlot explain CODE`: the pages in errors/.

use crate::cli::ExplainArgs;
use crate::fault::Fault;
use crate::{Done, out};

macro_rules! pages {
    ($($code:literal),* $(,)?) => {
        /// Every code that a fault can carry, with its page.
        pub(crate) const PAGES: &[(&str, &str)] =
            &[$(($code, include_str!(concat!("../errors/", $code, ".md")))),*];
    };
}

pages!(
    "E0101", "E0102", "E0103", "E0104", "E0105", "E0106", "E0201", "E0202", "E0203", "E0204",
    "E0205", "E0206", "E0207", "E0301", "E0302", "E0303", "E0304", "E0305", "E0401", "E0402",
    "E0403", "E0404", "E0405", "E0406", "E0501", "E0502", "E0503", "E0504", "E0505", "E0506",
    "E0507", "E0508", "E0509", "E0601", "E0602", "E0603", "E0901", "E0902",
);

pub(crate) fn run(args: &ExplainArgs) -> Result<Done, Fault> {
    let Some(code) = &args.code else {
        let lines: Vec<String> = PAGES
            .iter()
            .map(|(_, page)| page.lines().next().unwrap_or_default().trim_start_matches("# "))
            .map(|title| format!("{title}\n"))
            .collect();
        return out(&lines.concat());
    };
    let wanted = code.to_ascii_uppercase();
    match PAGES.iter().find(|(code, _)| *code == wanted) {
        Some((_, page)) => out(page),
        None => Err(Fault::new(
            "E0601",
            format!("there is no error code {code:?}"),
            "`backlot explain` lists all codes",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_its_code_as_title_and_says_what_to_do() {
        for (code, page) in PAGES {
            assert!(page.starts_with(&format!("# {code}: ")), "{code}");
            assert!(page.contains("\n## What to do\n"), "{code}");
        }
    }

    #[test]
    fn every_code_in_the_sources_has_a_page() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut folders = vec![folder];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                for (at, _) in text.match_indices("\"E0") {
                    let code = &text[at + 1..(at + 6).min(text.len())];
                    let is_code = code[1..].bytes().all(|byte| byte.is_ascii_digit());
                    assert!(
                        !is_code || PAGES.iter().any(|page| page.0 == code),
                        "{code} in {path:?}"
                    );
                }
            }
        }
    }
}
