//! What the sender says a file is, and whether that agrees with what it is.

use crate::format::Format;

/// What was said about a file. What is `None`, or in no row of the table of formats, says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declared {
    /// The file's name or object key; its last extension counts.
    pub name: Option<String>,
    /// The `Content-Type`; parameters are ignored.
    pub content_type: Option<String>,
}

/// A declaration that does not mean the format that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disagreement {
    /// "extension" or "content type".
    pub by: &'static str,
    /// What was declared, lower case.
    pub declared: String,
    /// A format that it means.
    pub means: Format,
}

impl Declared {
    /// The extension, lower case and without the dot.
    #[must_use]
    pub fn extension(&self) -> Option<String> {
        let name = self.name.as_deref()?;
        let file = name.rsplit(['/', '\\']).next()?;
        let (_, extension) = file.rsplit_once('.')?;
        Some(extension.to_ascii_lowercase())
    }

    /// The media type, lower case and without parameters.
    #[must_use]
    pub fn media_type(&self) -> Option<String> {
        let essence = self.content_type.as_deref()?.split(';').next()?;
        Some(essence.trim().to_ascii_lowercase())
    }

    /// Whether the name or the content type means `format`.
    pub(crate) fn means(&self, format: Format) -> bool {
        self.extension().is_some_and(|word| format.extensions().any(|known| known == word))
            || self.media_type().is_some_and(|word| format.media_types().any(|known| known == word))
    }

    /// Each declaration that means neither `found` nor a format that it also is.
    pub(crate) fn disagreements(&self, found: Format) -> Vec<Disagreement> {
        let check = |by, declared: Option<String>, means: fn(Format, &str) -> bool| {
            let declared = declared?;
            let known = Format::all().find(|format| means(*format, &declared))?;
            let agrees = found.lineage().any(|format| means(format, &declared));
            (!agrees).then_some(Disagreement { by, declared, means: known })
        };
        let by_extension = check("extension", self.extension(), |format, word| {
            format.extensions().any(|known| known == word)
        });
        let by_type = check("content type", self.media_type(), |format, word| {
            format.media_types().any(|known| known == word)
        });
        by_extension.into_iter().chain(by_type).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disagreements(found: Format, name: &str, content_type: &str) -> Vec<Format> {
        let declared =
            Declared { name: Some(name.to_owned()), content_type: Some(content_type.to_owned()) };
        declared.disagreements(found).iter().map(|one| one.means).collect()
    }

    #[test]
    fn aliases_agree_and_wider_formats_too() {
        assert!(disagreements(Format::Jpeg, "a/b.c/PHOTO.JPG", "image/jpg").is_empty());
        assert!(disagreements(Format::Docx, "x.docx", "application/zip; x=y").is_empty());
        assert!(disagreements(Format::M4a, "x.mp4", "audio/mp4").is_empty());
        assert!(disagreements(Format::Svg, "x.txt", "text/xml").is_empty());
        assert!(disagreements(Format::Png, "no-extension", "application/octet-stream").is_empty());
    }

    #[test]
    fn others_do_not() {
        assert_eq!(disagreements(Format::Png, "x.jpg", "image/png"), [Format::Jpeg]);
        assert_eq!(disagreements(Format::Zip, "x.docx", "application/zip"), [Format::Docx]);
        assert_eq!(disagreements(Format::Mov, "x.mp4", ""), [Format::Mp4]);
        assert_eq!(
            disagreements(Format::WindowsExe, "x.pdf", "IMAGE/PNG"),
            [Format::Pdf, Format::Png]
        );
    }
}
