//! What a person is told when something does not work: a stable code, what was wrong with which
//! value, and the one edit or command that fixes it. `backlot explain CODE` has a page for each.

use std::fmt;
use std::io::{IsTerminal, Write};
use std::ops::Range;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode,
};
use serde_json::json;

/// A failure as a person sees it.
#[derive(Debug)]
pub(crate) struct Fault {
    /// Stable: `E` and four digits.
    pub(crate) code: &'static str,
    /// Lower case, no full stop; names the thing and the value.
    pub(crate) message: String,
    /// One command or edit.
    pub(crate) help: String,
    /// Where in which file, for configuration. Boxed: a fault travels in many results.
    place: Option<Box<Place>>,
}

#[derive(Debug)]
struct Place {
    source: NamedSource<String>,
    span: Range<usize>,
    label: String,
}

impl Fault {
    pub(crate) fn new(
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self { code, message: message.into(), help: help.into(), place: None }
    }

    /// Shows the place in a file, by byte offsets.
    pub(crate) fn at(
        mut self,
        file: &str,
        text: &str,
        span: Range<usize>,
        label: impl Into<String>,
    ) -> Self {
        let source = NamedSource::new(file, text.to_owned());
        self.place = Some(Box::new(Place { source, span, label: label.into() }));
        self
    }

    /// To standard error; as one JSON object on one line where a program reads along.
    pub(crate) fn print(&self, json: bool) {
        let text = if json {
            let error = json!({ "code": self.code, "message": self.message, "help": self.help });
            format!("{}\n", json!({ "error": error }))
        } else {
            self.render(std::io::stderr().is_terminal())
        };
        // Nobody is left to be told that standard error is gone.
        drop(std::io::stderr().lock().write_all(text.as_bytes()));
    }

    fn render(&self, colours: bool) -> String {
        let theme =
            if colours { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let mut text = String::new();
        let handler = GraphicalReportHandler::new_themed(theme).with_width(100);
        match handler.render_report(&mut text, self) {
            Ok(()) => text,
            Err(fmt::Error) => format!("{}: {}\nhelp: {}\n", self.code, self.message, self.help),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl Diagnostic for Fault {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.code))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(format!("{}\nmore: backlot explain {}", self.help, self.code)))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.place.as_ref().map(|place| &place.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let place = self.place.as_ref()?;
        let label = LabeledSpan::new_with_span(Some(place.label.clone()), place.span.clone());
        Some(Box::new(std::iter::once(label)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_names_code_place_and_remedy() {
        let fault = Fault::new("E0102", "unknown key `adress`", "did you mean `address`?").at(
            "backlot.toml",
            "[s3]\nadress = 1\n",
            5..11,
            "not a key of [s3]",
        );
        let text = fault.render(false);
        for part in ["E0102", "unknown key `adress`", "did you mean", "backlot.toml:2:1", "explain"]
        {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }
}
