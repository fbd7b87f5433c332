//! What is built on ZIP: Office Open XML (ECMA-376 part 2), OpenDocument 1.3 (part 2, 3.3), EPUB
//! (OCF 4.2) and JAR. Their parts must be there; what is in them is not walked.

use xml::{EventReader, reader::XmlEvent};

use crate::{
    format::Format,
    scan::Scan,
    stop::{Stop, ensure, invalid},
};

use super::{Entry, Names};

/// Bytes of each of the three parts that are read. Real ones take some kilobytes.
const PART_BYTES_MAX: usize = 256 << 10;

/// The words of content types of main parts, and what their documents are.
const MAIN_TYPES: &[(&str, Format)] = &[
    ("wordprocessingml.document.main+xml", Format::Docx),
    ("wordprocessingml.template.main+xml", Format::Docx),
    ("vnd.ms-word.document.macroEnabled.main+xml", Format::Docx),
    ("spreadsheetml.sheet.main+xml", Format::Xlsx),
    ("spreadsheetml.template.main+xml", Format::Xlsx),
    ("vnd.ms-excel.sheet.macroEnabled.main+xml", Format::Xlsx),
    ("presentationml.presentation.main+xml", Format::Pptx),
    ("presentationml.slideshow.main+xml", Format::Pptx),
    ("presentationml.template.main+xml", Format::Pptx),
    ("vnd.ms-powerpoint.presentation.macroEnabled.main+xml", Format::Pptx),
];

/// Documents of which the entry `mimetype` tells, and the parts that each must have.
const MIME_TYPES: &[(&str, Format, &[&str])] = &[
    ("application/vnd.oasis.opendocument.text", Format::Odt, ODF_PARTS),
    ("application/vnd.oasis.opendocument.spreadsheet", Format::Ods, ODF_PARTS),
    ("application/vnd.oasis.opendocument.presentation", Format::Odp, ODF_PARTS),
    ("application/epub+zip", Format::Epub, &["META-INF/container.xml"]),
];
const ODF_PARTS: &[&str] = &["META-INF/manifest.xml", "content.xml"];

/// Main parts by the names that all writers use, which betray a document without its list.
const MAIN_PARTS: &[&str] = &["word/document.xml", "xl/workbook.xml", "ppt/presentation.xml"];

/// The parts that tell what an archive is, as they pass by.
#[derive(Debug, Default)]
pub(super) struct Office {
    content_types: Vec<u8>,
    relationships: Vec<u8>,
    mime_type: Vec<u8>,
    /// Whether `mimetype` came first and uncompressed, so that it is at byte 38.
    mime_type_plain: bool,
    current: Option<Part>,
    /// Whether there are compiled classes: a Java archive need not have a manifest.
    classes: bool,
}

#[derive(Debug, Clone, Copy)]
enum Part {
    ContentTypes,
    Relationships,
    MimeType,
}

impl Office {
    pub(super) fn begin(&mut self, entry: &Entry) {
        self.classes |= entry.name.ends_with(b".class");
        self.current = match entry.name.as_slice() {
            b"[Content_Types].xml" => Some(Part::ContentTypes),
            b"_rels/.rels" => Some(Part::Relationships),
            b"mimetype" => {
                self.mime_type_plain = entry.local == 0 && entry.method == 0;
                Some(Part::MimeType)
            }
            _ => None,
        };
    }

    /// Bytes of the entry that began last.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        let part = match self.current {
            Some(Part::ContentTypes) => &mut self.content_types,
            Some(Part::Relationships) => &mut self.relationships,
            Some(Part::MimeType) => &mut self.mime_type,
            None => return,
        };
        let room = PART_BYTES_MAX.saturating_sub(part.len());
        part.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    /// Says what the archive is, and checks that its parts are there.
    pub(super) fn check(&self, scan: &mut Scan<'_>, names: &Names, at: u64) -> Result<(), Stop> {
        if names.has("[Content_Types].xml") {
            return self.check_ooxml(scan, names, at);
        }
        let main = MAIN_PARTS.iter().find(|part| names.has(part));
        ensure(main.is_none(), at, || "[Content_Types].xml is missing".to_owned())?;
        let mime_type = self.mime_type.trim_ascii();
        let known = MIME_TYPES.iter().find(|(name, ..)| mime_type.starts_with(name.as_bytes()));
        if let Some((name, format, parts)) = known {
            scan.format = *format;
            ensure(self.mime_type_plain, at, || {
                format!("mimetype of {name} is compressed, or not the first entry")
            })?;
            let missing = parts.iter().find(|part| !names.has(part));
            let missing = missing.map(|part| invalid(at, format!("{part} is missing")));
            return missing.map_or(Ok(()), Err);
        }
        if self.classes || names.has("META-INF/MANIFEST.MF") {
            scan.format = Format::Jar;
        }
        Ok(())
    }

    fn check_ooxml(&self, scan: &mut Scan<'_>, names: &Names, at: u64) -> Result<(), Stop> {
        let types = String::from_utf8_lossy(&self.content_types);
        if let Some((_, format)) = MAIN_TYPES.iter().find(|(words, _)| types.contains(words)) {
            scan.format = *format;
        }
        ensure(names.has("_rels/.rels"), at, || "_rels/.rels is missing".to_owned())?;
        let main = main_part(&self.relationships);
        // Packages that are no office documents (3MF, NuGet) have other relationships.
        if scan.format == Format::Zip && main.is_none() {
            return Ok(());
        }
        let main = main.ok_or_else(|| invalid(at, "no relationship names the main part"))?;
        scan.fact("main part", &main);
        ensure(names.has(&main), at, || format!("the main part {main} is missing"))?;
        ensure(scan.format != Format::Zip, at, || format!("{main} has no known content type"))
    }
}

/// The target of the relationship to the main part (ECMA-376 part 1, 8.3).
fn main_part(relationships: &[u8]) -> Option<String> {
    for event in EventReader::new(relationships) {
        let XmlEvent::StartElement { attributes, .. } = event.ok()? else { continue };
        let value = |name: &str| {
            let found = attributes.iter().find(|attribute| attribute.name.local_name == name);
            found.map(|attribute| attribute.value.as_str())
        };
        if value("Type").is_some_and(|kind| kind.ends_with("/officeDocument")) {
            return Some(value("Target")?.trim_start_matches('/').to_owned());
        }
    }
    None
}
