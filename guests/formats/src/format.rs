//! The formats by name, and which file extensions and media types mean them.
//!
//! Media types are those of IANA's registry and the names that were in use before they were
//! registered, because browsers and object stores still send them.

use std::fmt;

use Format as F;

/// A file format that is recognised. What is walked is in the crate's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// PNG.
    Png,
    /// JPEG.
    Jpeg,
    /// GIF.
    Gif,
    /// WebP.
    WebP,
    /// HEIC.
    Heic,
    /// AVIF.
    Avif,
    /// MP4.
    Mp4,
    /// M4A.
    M4a,
    /// QuickTime.
    Mov,
    /// Matroska.
    Matroska,
    /// WebM.
    WebM,
    /// MPEG-TS.
    MpegTs,
    /// YUV4MPEG2.
    Y4m,
    /// IVF.
    Ivf,
    /// WAV.
    Wav,
    /// FLAC.
    Flac,
    /// MP3.
    Mp3,
    /// Ogg.
    Ogg,
    /// PDF.
    Pdf,
    /// ZIP.
    Zip,
    /// Word document.
    Docx,
    /// Excel workbook.
    Xlsx,
    /// PowerPoint presentation.
    Pptx,
    /// OpenDocument text.
    Odt,
    /// OpenDocument spreadsheet.
    Ods,
    /// OpenDocument presentation.
    Odp,
    /// EPUB.
    Epub,
    /// Java archive.
    Jar,
    /// Gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// Text.
    Text,
    /// JSON.
    Json,
    /// CSV.
    Csv,
    /// XML.
    Xml,
    /// SVG.
    Svg,
    /// SubRip.
    Srt,
    /// WebVTT.
    WebVtt,
    /// HTML.
    Html,
    /// A script.
    Script,
    /// RTF.
    Rtf,
    /// PostScript.
    PostScript,
    /// BMP.
    Bmp,
    /// TIFF.
    Tiff,
    /// Photoshop.
    Psd,
    /// Icon.
    Ico,
    /// JPEG XL.
    JpegXl,
    /// AVI.
    Avi,
    /// Flash video.
    Flv,
    /// ASF.
    Asf,
    /// MPEG program stream.
    MpegPs,
    /// AIFF.
    Aiff,
    /// MIDI.
    Midi,
    /// 7-Zip.
    SevenZip,
    /// RAR.
    Rar,
    /// Xz.
    Xz,
    /// Bzip2.
    Bzip2,
    /// Tar.
    Tar,
    /// OLE compound file (older Office).
    Ole,
    /// SQLite.
    Sqlite,
    /// WebAssembly.
    Wasm,
    /// Windows program.
    WindowsExe,
    /// ELF program.
    Elf,
    /// Mach-O program.
    MachO,
    /// Java class.
    JavaClass,
    /// Web font.
    Woff,
    /// Font.
    OpenType,
}

/// What is known of a format without a file.
struct Kind {
    format: Format,
    name: &'static str,
    /// The wider format that each file of this one also is.
    is_a: Option<Format>,
    /// Lower case, without the dot, separated by spaces. The first is the usual one.
    extensions: &'static str,
    /// Lower case, without parameters, separated by spaces. The first is the registered one.
    media_types: &'static str,
}

const fn kind(
    format: Format,
    name: &'static str,
    is_a: Option<Format>,
    extensions: &'static str,
    media_types: &'static str,
) -> Kind {
    Kind { format, name, is_a, extensions, media_types }
}

/// One row for each format, in the order of [`Format`].
#[rustfmt::skip]
static KINDS: &[Kind] = &[
    kind(F::Png, "PNG", None, "png apng",
        "image/png image/apng image/vnd.mozilla.apng image/x-png"),
    kind(F::Jpeg, "JPEG", None, "jpg jpeg jpe jfif", "image/jpeg image/jpg image/pjpeg"),
    kind(F::Gif, "GIF", None, "gif", "image/gif"),
    kind(F::WebP, "WebP", None, "webp", "image/webp"),
    kind(F::Heic, "HEIC", None, "heic heif hif",
        "image/heic image/heif image/heic-sequence image/heif-sequence"),
    kind(F::Avif, "AVIF", None, "avif", "image/avif image/avif-sequence"),
    kind(F::Mp4, "MP4", None, "mp4 m4v mp4v m4s cmfv cmfa m4a m4b 3gp 3g2",
        "video/mp4 video/x-m4v audio/mp4 application/mp4 video/3gpp video/3gpp2 audio/3gpp"),
    kind(F::M4a, "M4A", Some(F::Mp4), "m4a m4b m4p", "audio/x-m4a audio/m4a audio/mp4"),
    kind(F::Mov, "QuickTime", None, "mov qt", "video/quicktime"),
    kind(F::Matroska, "Matroska", None, "mkv mka mks mk3d",
        "video/matroska audio/matroska video/x-matroska audio/x-matroska"),
    kind(F::WebM, "WebM", Some(F::Matroska), "webm weba", "video/webm audio/webm"),
    kind(F::MpegTs, "MPEG-TS", None, "ts mts m2ts m2t", "video/mp2t"),
    kind(F::Y4m, "YUV4MPEG2", None, "y4m", "video/x-yuv4mpeg"),
    kind(F::Ivf, "IVF", None, "ivf", "video/x-ivf"),
    kind(F::Wav, "WAV", None, "wav wave rf64 bw64",
        "audio/wav audio/wave audio/x-wav audio/vnd.wave"),
    kind(F::Flac, "FLAC", None, "flac", "audio/flac audio/x-flac"),
    kind(F::Mp3, "MP3", None, "mp3 mp2 mpga",
        "audio/mpeg audio/mp3 audio/mpeg3 audio/x-mpeg audio/x-mp3"),
    kind(F::Ogg, "Ogg", None, "ogg oga ogv ogx opus spx",
        "audio/ogg video/ogg application/ogg audio/opus audio/vorbis"),
    kind(F::Pdf, "PDF", None, "pdf", "application/pdf application/x-pdf"),
    kind(F::Zip, "ZIP", None, "zip",
        "application/zip application/x-zip-compressed application/x-zip"),
    kind(F::Docx, "Word document", Some(F::Zip), "docx docm dotx dotm",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document \
         application/vnd.openxmlformats-officedocument.wordprocessingml.template \
         application/vnd.ms-word.document.macroenabled.12"),
    kind(F::Xlsx, "Excel workbook", Some(F::Zip), "xlsx xlsm xltx xltm",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet \
         application/vnd.openxmlformats-officedocument.spreadsheetml.template \
         application/vnd.ms-excel.sheet.macroenabled.12"),
    kind(F::Pptx, "PowerPoint presentation", Some(F::Zip), "pptx pptm potx ppsx",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation \
         application/vnd.openxmlformats-officedocument.presentationml.slideshow \
         application/vnd.openxmlformats-officedocument.presentationml.template"),
    kind(F::Odt, "OpenDocument text", Some(F::Zip), "odt ott",
        "application/vnd.oasis.opendocument.text application/vnd.oasis.opendocument.text-template"),
    kind(F::Ods, "OpenDocument spreadsheet", Some(F::Zip), "ods ots",
        "application/vnd.oasis.opendocument.spreadsheet \
         application/vnd.oasis.opendocument.spreadsheet-template"),
    kind(F::Odp, "OpenDocument presentation", Some(F::Zip), "odp otp",
        "application/vnd.oasis.opendocument.presentation \
         application/vnd.oasis.opendocument.presentation-template"),
    kind(F::Epub, "EPUB", Some(F::Zip), "epub", "application/epub+zip"),
    kind(F::Jar, "Java archive", Some(F::Zip), "jar war ear aar",
        "application/java-archive application/x-java-archive"),
    kind(F::Gzip, "gzip", None, "gz gzip tgz",
        "application/gzip application/x-gzip application/x-tgz"),
    kind(F::Zstd, "Zstandard", None, "zst zstd", "application/zstd application/x-zstd"),
    kind(F::Text, "text", None, "txt text log md markdown", "text/plain text/markdown"),
    kind(F::Json, "JSON", Some(F::Text), "json map geojson webmanifest",
        "application/json text/json application/geo+json application/manifest+json"),
    kind(F::Csv, "CSV", Some(F::Text), "csv tsv",
        "text/csv application/csv text/x-csv text/tab-separated-values"),
    kind(F::Xml, "XML", Some(F::Text), "xml xsd xsl xslt rss atom xhtml gpx kml",
        "application/xml text/xml application/rss+xml application/atom+xml application/xhtml+xml"),
    kind(F::Svg, "SVG", Some(F::Xml), "svg", "image/svg+xml"),
    kind(F::Srt, "SubRip", Some(F::Text), "srt", "application/x-subrip text/srt"),
    kind(F::WebVtt, "WebVTT", Some(F::Text), "vtt webvtt", "text/vtt"),
    kind(F::Html, "HTML", Some(F::Text), "html htm", "text/html"),
    kind(F::Script, "a script", Some(F::Text), "sh bash py pl rb js mjs cjs",
        "text/javascript application/javascript text/x-shellscript text/x-python application/x-sh"),
    kind(F::Rtf, "RTF", None, "rtf", "application/rtf text/rtf"),
    kind(F::PostScript, "PostScript", None, "ps eps", "application/postscript"),
    kind(F::Bmp, "BMP", None, "bmp dib", "image/bmp image/x-ms-bmp"),
    kind(F::Tiff, "TIFF", None, "tif tiff dng", "image/tiff"),
    kind(F::Psd, "Photoshop", None, "psd", "image/vnd.adobe.photoshop"),
    kind(F::Ico, "icon", None, "ico cur", "image/x-icon image/vnd.microsoft.icon"),
    kind(F::JpegXl, "JPEG XL", None, "jxl", "image/jxl"),
    kind(F::Avi, "AVI", None, "avi", "video/x-msvideo video/avi video/vnd.avi"),
    kind(F::Flv, "Flash video", None, "flv", "video/x-flv"),
    kind(F::Asf, "ASF", None, "wmv wma asf", "video/x-ms-wmv audio/x-ms-wma video/x-ms-asf"),
    kind(F::MpegPs, "MPEG program stream", None, "mpg mpeg vob", "video/mpeg video/mp2p"),
    kind(F::Aiff, "AIFF", None, "aif aiff aifc", "audio/aiff audio/x-aiff"),
    kind(F::Midi, "MIDI", None, "mid midi", "audio/midi audio/x-midi"),
    kind(F::SevenZip, "7-Zip", None, "7z", "application/x-7z-compressed"),
    kind(F::Rar, "RAR", None, "rar", "application/vnd.rar application/x-rar-compressed"),
    kind(F::Xz, "xz", None, "xz txz", "application/x-xz"),
    kind(F::Bzip2, "bzip2", None, "bz2 tbz2", "application/x-bzip2 application/bzip2"),
    kind(F::Tar, "tar", None, "tar", "application/x-tar"),
    kind(F::Ole, "OLE compound file (older Office)", None, "doc xls ppt msi msg",
        "application/msword application/vnd.ms-excel application/vnd.ms-powerpoint"),
    kind(F::Sqlite, "SQLite", None, "sqlite sqlite3",
        "application/vnd.sqlite3 application/x-sqlite3"),
    kind(F::Wasm, "WebAssembly", None, "wasm", "application/wasm"),
    kind(F::WindowsExe, "Windows program", None, "exe dll sys scr com",
        "application/x-msdownload application/vnd.microsoft.portable-executable \
         application/x-dosexec"),
    kind(F::Elf, "ELF program", None, "elf so o",
        "application/x-executable application/x-elf application/x-sharedlib"),
    kind(F::MachO, "Mach-O program", None, "dylib", "application/x-mach-binary"),
    kind(F::JavaClass, "Java class", None, "class", "application/java-vm"),
    kind(F::Woff, "web font", None, "woff woff2", "font/woff font/woff2 application/font-woff"),
    kind(F::OpenType, "font", None, "ttf otf ttc", "font/ttf font/otf font/sfnt font/collection"),
];

impl Format {
    /// All formats that are recognised.
    pub fn all() -> impl Iterator<Item = Self> {
        KINDS.iter().map(|kind| kind.format)
    }

    fn kind(self) -> Option<&'static Kind> {
        KINDS.get(self as usize)
    }

    /// Its name in prose.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.kind().map_or("", |kind| kind.name)
    }

    /// The wider format that each such file also is: a DOCX is a ZIP, an SVG is XML.
    #[must_use]
    pub fn is_a(self) -> Option<Self> {
        self.kind().and_then(|kind| kind.is_a)
    }

    /// Its file extensions, lower case and without the dot, the usual one first.
    pub fn extensions(self) -> impl Iterator<Item = &'static str> {
        self.kind().map_or("", |kind| kind.extensions).split_whitespace()
    }

    /// Its media types, lower case and without parameters, the registered one first.
    pub fn media_types(self) -> impl Iterator<Item = &'static str> {
        self.kind().map_or("", |kind| kind.media_types).split_whitespace()
    }

    /// This format and those that it also is.
    pub fn lineage(self) -> impl Iterator<Item = Self> {
        std::iter::successors(Some(self), |format| format.is_a())
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_has_its_row() {
        for (n, kind) in KINDS.iter().enumerate() {
            assert_eq!(kind.format as usize, n, "{}", kind.name);
            assert!(kind.format.extensions().next().is_some(), "{}", kind.name);
            for word in kind.format.extensions().chain(kind.format.media_types()) {
                assert_eq!(word, word.to_ascii_lowercase());
            }
        }
    }
}
