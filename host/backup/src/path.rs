//! Keys as paths in a snapshot, so that a plain restore of it is a folder anybody can use.
//!
//! A key is any text of 1 to 1,024 bytes; a path has components that a file system takes. Most keys
//! are their own path. For the others `%` escapes, in a way that can be undone, and no two keys
//! share a path:
//!
//! - `%25` stands for `%`; `%5C` for `\`; `%XX` for a control character; `%2E` and `%2E%2E` for the
//!   components `.` and `..`.
//! - A component that is empty (`a//b`, `a/`) is `%`.
//! - A component longer than [`PIECE_BYTES_MAX`] is cut: each piece but the last ends in `%+` and
//!   is a folder around the next.
//! - Where an object has the name of a folder beside it (`a` and `a/b`), the object is `a%object`.
//!   The path alone tells its key in either case.

/// Longest piece of a component in bytes, its mark not counted. Linux takes names of 255.
pub const PIECE_BYTES_MAX: usize = 200;
/// Follows the name of an object that a folder has too.
pub const BESIDE_FOLDER: &str = "%object";
/// Ends a piece that another follows.
const CONTINUED: &str = "%+";
/// Stands for no name at all.
const EMPTY: &str = "%";

/// The path of a key: at least one component.
#[must_use]
pub fn components(key: &str) -> Vec<String> {
    let mut path = Vec::new();
    for component in key.split('/') {
        cut(&escaped(component), &mut path);
    }
    path
}

/// The key of a path, whether the object is beside a folder of its name or not. None: we made no
/// such path.
#[must_use]
pub fn key<'a>(path: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut path: Vec<&str> = path.into_iter().collect();
    let last = path.pop()?;
    path.push(last.strip_suffix(BESIDE_FOLDER).unwrap_or(last));
    let mut whole = Vec::new();
    let mut component = String::new();
    let mut ended = false;
    for piece in &path {
        match piece.strip_suffix(CONTINUED) {
            Some(piece) => {
                component.push_str(piece);
                ended = false;
            }
            None => {
                component.push_str(piece);
                whole.push(unescaped(&component)?);
                component.clear();
                ended = true;
            }
        }
    }
    let key = ended.then(|| whole.join("/"))?;
    // What else could be read as this key was not made here.
    components(&key).iter().map(String::as_str).eq(path.iter().copied()).then_some(key)
}

fn escaped(component: &str) -> String {
    match component {
        "" => return EMPTY.to_owned(),
        "." => return "%2E".to_owned(),
        ".." => return "%2E%2E".to_owned(),
        _ => {}
    }
    let mut text = String::with_capacity(component.len());
    for char in component.chars() {
        if char == '%' || char == '\\' || char.is_ascii_control() {
            text.push_str(&format!("%{:02X}", u32::from(char)));
        } else {
            text.push(char);
        }
    }
    text
}

fn unescaped(text: &str) -> Option<String> {
    if text == EMPTY {
        return Some(String::new());
    }
    let mut parts = text.split('%');
    let mut component = parts.next()?.to_owned();
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        component.push(char::from(u8::from_str_radix(code, 16).ok()?));
        component.push_str(rest);
    }
    (!component.is_empty()).then_some(component)
}

/// Cuts where neither a character nor an escape is torn.
fn cut(mut text: &str, path: &mut Vec<String>) {
    while PIECE_BYTES_MAX < text.len() {
        let mut at = text.floor_char_boundary(PIECE_BYTES_MAX);
        let bytes = text.as_bytes();
        while (1..=2).any(|back| at.checked_sub(back).and_then(|i| bytes.get(i)) == Some(&b'%')) {
            at -= 1;
        }
        let (piece, rest) = text.split_at(at);
        path.push(format!("{piece}{CONTINUED}"));
        text = rest;
    }
    path.push(text.to_owned());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(key: &str) -> String {
        components(key).join("/")
    }

    #[test]
    fn plain_keys_are_their_own_path_and_others_are_safe() {
        for (key, expected) in [
            ("photos/2024/cat.jpg", "photos/2024/cat.jpg"),
            ("Grüße/日本 \"x\".txt", "Grüße/日本 \"x\".txt"),
            ("...", "..."),
            ("../../etc/passwd", "%2E%2E/%2E%2E/etc/passwd"),
            ("./a", "%2E/a"),
            ("/a", "%/a"),
            ("a//b/", "a/%/b/%"),
            ("100%", "100%25"),
            ("a%object", "a%25object"),
            ("a\0\n\\", "a%00%0A%5C"),
        ] {
            assert_eq!(path(key), expected);
        }
        let long = components(&"ä".repeat(300));
        assert_eq!(long.len(), 3);
        assert!(long.iter().all(|piece| piece.len() <= PIECE_BYTES_MAX + 2));
        assert_eq!(key(["a%object"]), Some("a".to_owned()));
        for other in ["a%", "%+", "a%+", "a%2e", "a%zz", "a%20", "%object", ".."] {
            assert_eq!(key([other]), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn a_path_is_safe_and_tells_its_key(
            name in r#"([a-b./%\\+\PC]|%object|%2E|\x00|\x1f|[x%ä]{190,230}){1,20}"#,
        ) {
            let path = components(&name);
            for component in &path {
                prop_assert!(!component.is_empty() && component.len() <= PIECE_BYTES_MAX + 2);
                prop_assert!(component != "." && component != "..");
                prop_assert!(!component.chars().any(|c| c == '/' || c == '\\' || c.is_ascii_control()));
                prop_assert!(!component.ends_with(BESIDE_FOLDER));
            }
            prop_assert_eq!(key(path.iter().map(String::as_str)), Some(name.clone()));
            let mut beside = path.clone();
            beside.last_mut().unwrap().push_str(BESIDE_FOLDER);
            prop_assert_eq!(key(beside.iter().map(String::as_str)), Some(name));
        }
    }
}
