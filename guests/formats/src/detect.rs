//! What a file is, by the bytes at its start and, among kinds of text, by what was declared.

use crate::{
    declared::Declared,
    format::Format,
    input::Reader,
    stop::Stop,
    walkers::{mp3::FrameHeader, zip},
};

/// Bytes that are looked at. 4 KiB hold an EBML header and the second packet of MPEG-TS.
const HEAD_BYTES: usize = 4 << 10;

/// Readers look for a PDF's header in this many bytes (ISO 32000-1 annex H, note 13).
const PDF_HEADER_BYTES: usize = 1024;

/// Offset, bytes, format; each from its format's specification. The first match counts.
#[rustfmt::skip]
static MAGIC: &[(usize, &[u8], Format)] = &[
    (0, b"\x89PNG\r\n\x1A\n", Format::Png), // PNG third edition, 5.2
    (0, b"\xFF\xD8\xFF", Format::Jpeg), // ITU-T T.81, B.1.1.3: SOI, and the next marker
    (0, b"GIF87a", Format::Gif), // GIF87a and GIF89a, Header
    (0, b"GIF89a", Format::Gif),
    (0, b"YUV4MPEG2 ", Format::Y4m), // yuv4mpeg(5)
    (0, b"DKIF", Format::Ivf), // libvpx ivfdec.c
    (0, b"fLaC", Format::Flac), // RFC 9639, 6
    (0, b"OggS", Format::Ogg), // RFC 3533, 6
    (0, b"ID3", Format::Mp3), // ID3v2.4.0, 3.1
    (0, b"%PDF-", Format::Pdf), // ISO 32000-1, 7.5.2
    (0, b"PK\x03\x04", Format::Zip), // APPNOTE 4.3.7
    (0, b"PK\x05\x06", Format::Zip), // APPNOTE 4.3.16: an archive without entries
    (0, b"\x1F\x8B", Format::Gzip), // RFC 1952, 2.3.1
    (0, b"\x28\xB5\x2F\xFD", Format::Zstd), // RFC 8878, 3.1.1
    (0, b"WEBVTT", Format::WebVtt), // WebVTT, 4.1
    (0, b"\xEF\xBB\xBFWEBVTT", Format::WebVtt),
    (0, b"{\\rtf", Format::Rtf),
    (0, b"%!PS", Format::PostScript),
    (0, b"\xC5\xD0\xD3\xC6", Format::PostScript),
    (0, b"II\x2A\0", Format::Tiff),
    (0, b"MM\0\x2A", Format::Tiff),
    (0, b"8BPS", Format::Psd),
    (0, b"\0\0\x01\0", Format::Ico),
    (0, b"\xFF\x0A", Format::JpegXl),
    (0, b"\0\0\0\x0CJXL \r\n\x87\n", Format::JpegXl),
    (0, b"FLV\x01", Format::Flv),
    (0, b"\x30\x26\xB2\x75\x8E\x66\xCF\x11", Format::Asf),
    (0, b"\0\0\x01\xBA", Format::MpegPs),
    (0, b"MThd", Format::Midi),
    (0, b"7z\xBC\xAF\x27\x1C", Format::SevenZip),
    (0, b"Rar!\x1A\x07", Format::Rar),
    (0, b"\xFD7zXZ\0", Format::Xz),
    (0, b"BZh", Format::Bzip2),
    (257, b"ustar", Format::Tar),
    (0, b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1", Format::Ole),
    (0, b"SQLite format 3\0", Format::Sqlite),
    (0, b"\0asm", Format::Wasm),
    (0, b"\x7FELF", Format::Elf),
    (0, b"\xFE\xED\xFA\xCE", Format::MachO),
    (0, b"\xFE\xED\xFA\xCF", Format::MachO),
    (0, b"\xCE\xFA\xED\xFE", Format::MachO),
    (0, b"\xCF\xFA\xED\xFE", Format::MachO),
    (0, b"\xCA\xFE\xBA\xBE", Format::JavaClass),
    (0, b"wOFF", Format::Woff),
    (0, b"wOF2", Format::Woff),
    (0, b"OTTO", Format::OpenType),
    (0, b"\0\x01\0\0\0", Format::OpenType),
    (0, b"ttcf", Format::OpenType),
];

/// The format of a file, or `None` for one that nothing is known about.
pub(crate) fn detect(reader: &mut Reader<'_>, declared: &Declared) -> Result<Option<Format>, Stop> {
    let head = reader.peek(0, HEAD_BYTES)?.to_vec();
    if let Some(format) = magic(&head) {
        return Ok(Some(format));
    }
    if let Some(format) = text(&head, declared) {
        return Ok(Some(format));
    }
    let start = head.get(..PDF_HEADER_BYTES).unwrap_or(&head);
    if memchr::memmem::find(start, b"%PDF-").is_some() {
        return Ok(Some(Format::Pdf));
    }
    // An archive can have anything before it; its directory is at the end.
    Ok(zip::find_end(reader)?.map(|_| Format::Zip))
}

/// What the bytes at `offset` look like, whatever was declared.
pub(crate) fn by_magic(reader: &mut Reader<'_>, offset: u64) -> Result<Option<Format>, Stop> {
    let head = reader.peek(offset, HEAD_BYTES)?;
    Ok(magic(head).or_else(|| text(head, &Declared::default())))
}

fn magic(head: &[u8]) -> Option<Format> {
    for (offset, bytes, format) in MAGIC {
        if head.get(*offset..).is_some_and(|rest| rest.starts_with(bytes)) {
            return Some(*format);
        }
    }
    riff(head)
        .or_else(|| iso_bmff(head))
        .or_else(|| ebml(head))
        .or_else(|| windows(head))
        .or_else(|| mpeg_ts(head))
        .or_else(|| FrameHeader::chained(head).then_some(Format::Mp3))
}

/// RIFF and IFF: the kind of file is in the third word.
fn riff(head: &[u8]) -> Option<Format> {
    match (head.get(..4)?, head.get(8..12)?) {
        (b"RIFF", b"WEBP") => Some(Format::WebP),
        (b"RIFF" | b"RF64" | b"BW64", b"WAVE") => Some(Format::Wav),
        (b"RIFF", b"AVI ") => Some(Format::Avi),
        (b"FORM", b"AIFF" | b"AIFC") => Some(Format::Aiff),
        _ => None,
    }
}

/// ISO/IEC 14496-12, 4.3: the file type box. QuickTime files from before it begin with others.
fn iso_bmff(head: &[u8]) -> Option<Format> {
    match head.get(4..8)? {
        b"ftyp" | b"styp" => Some(brand(head.get(8..12).unwrap_or_default(), head)),
        b"moov" | b"mdat" | b"wide" | b"pnot" => Some(Format::Mov),
        b"free" | b"skip" if head.get(..4)? < &[0, 1, 0, 0][..] => Some(Format::Mov),
        _ => None,
    }
}

/// The kind of file that a brand stands for (the brands registered at mp4ra.org).
fn brand(major: &[u8], head: &[u8]) -> Format {
    match major {
        b"qt  " => Format::Mov,
        b"M4A " | b"M4B " | b"M4P " => Format::M4a,
        b"avif" | b"avis" => Format::Avif,
        b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" => Format::Heic,
        // Of HEIF without a codec: the compatible brands say which.
        b"mif1" | b"msf1" => {
            let size = head.get(..4).and_then(|bytes| bytes.try_into().ok());
            let size = size.map_or(0, u32::from_be_bytes) as usize;
            let compatible = head.get(16..size.min(head.len())).unwrap_or_default();
            let avif = compatible.chunks(4).any(|brand| matches!(brand, b"avif" | b"avis"));
            if avif { Format::Avif } else { Format::Heic }
        }
        _ => Format::Mp4,
    }
}

/// RFC 8794, 11.2.1, and the DocType of RFC 9559, 6.
fn ebml(head: &[u8]) -> Option<Format> {
    let rest = head.strip_prefix(b"\x1A\x45\xDF\xA3")?;
    let near = rest.get(..64).unwrap_or(rest);
    let webm = memchr::memmem::find(near, b"\x42\x82\x84webm").is_some();
    Some(if webm { Format::WebM } else { Format::Matroska })
}

/// `MZ` alone begins too many texts: the offset of the PE header must be there as well.
fn windows(head: &[u8]) -> Option<Format> {
    head.strip_prefix(b"MZ")?;
    let text = std::str::from_utf8(head.get(..64)?).is_ok_and(|text| !text.contains('\0'));
    (!text).then_some(Format::WindowsExe)
}

/// ISO/IEC 13818-1, 2.4.3.2: a packet begins with 0x47 every 188 bytes; in M2TS after 4 more.
fn mpeg_ts(head: &[u8]) -> Option<Format> {
    [(0, 188), (4, 192)].into_iter().find_map(|(first, step): (usize, usize)| {
        let syncs: Vec<u8> = head.iter().skip(first).step_by(step).copied().take(5).collect();
        (2 <= syncs.len() && syncs.iter().all(|byte| *byte == 0x47)).then_some(Format::MpegTs)
    })
}

/// Which kind of text this is, or `None` for bytes that are not text.
fn text(head: &[u8], declared: &Declared) -> Option<Format> {
    let wide = head.starts_with(b"\xFF\xFE") || head.starts_with(b"\xFE\xFF");
    let bytes = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head);
    let start = bytes.trim_ascii_start();
    // These say their encoding themselves, or are written in the encodings of old systems.
    let any_encoding = declared.means(Format::Csv) || start.starts_with(b"<?xml") || is_srt(start);
    if head.is_empty() || !(wide || is_text(bytes, any_encoding)) {
        return None;
    }
    if let Some(format) = by_first_words(start) {
        return Some(format);
    }
    let candidates = [Format::Json, Format::Csv, Format::Svg, Format::Xml, Format::Srt];
    if let Some(format) = candidates.into_iter().find(|format| declared.means(*format)) {
        return Some(format);
    }
    for format in [Format::Html, Format::Script, Format::Text] {
        if declared.means(format) {
            return Some(format);
        }
    }
    let tag = start.strip_prefix(b"<").and_then(<[u8]>::first);
    let looks_like_xml = tag.is_some_and(u8::is_ascii_alphabetic);
    Some(if looks_like_xml { Format::Xml } else { Format::Text })
}

/// Kinds of text that their first words give away.
fn by_first_words(start: &[u8]) -> Option<Format> {
    let lower = start.get(..start.len().min(HEAD_BYTES)).unwrap_or_default().to_ascii_lowercase();
    let begins = |word: &str| lower.starts_with(word.as_bytes());
    let holds = |word: &str| memchr::memmem::find(&lower, word.as_bytes()).is_some();
    if begins("#!") {
        return Some(Format::Script);
    }
    if begins("<svg") || ((begins("<?xml") || begins("<!doctype svg")) && holds("<svg")) {
        return Some(Format::Svg);
    }
    if begins("<?xml") {
        return Some(Format::Xml);
    }
    if ["<!doctype html", "<html", "<head", "<body", "<script"].into_iter().any(begins) {
        return Some(Format::Html);
    }
    if is_srt(start) {
        return Some(Format::Srt);
    }
    is_json(start).then_some(Format::Json)
}

/// An object with a name, or an array of values: enough to tell from prose in brackets.
fn is_json(start: &[u8]) -> bool {
    let second = |open: u8| {
        let rest = start.strip_prefix(&[open])?;
        rest.trim_ascii_start().first().copied()
    };
    matches!(second(b'{'), Some(b'"' | b'}'))
        || matches!(second(b'['), Some(b'{' | b'[' | b'"' | b']'))
}

/// A number on a line of its own, then a line with an arrow.
fn is_srt(start: &[u8]) -> bool {
    let mut lines = start.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let numbered = lines.next().is_some_and(|line| {
        !line.is_empty() && line.len() <= 9 && line.iter().all(u8::is_ascii_digit)
    });
    numbered && lines.next().is_some_and(|line| memchr::memmem::find(line, b" --> ").is_some())
}

/// UTF-8 without control characters, maybe cut within a character; or any encoding of 8 bits.
fn is_text(head: &[u8], any_encoding: bool) -> bool {
    let encoded = match std::str::from_utf8(head) {
        Ok(_) => true,
        // Only the end of the file cuts a character in a short head; the walker finds that.
        Err(error) => any_encoding || error.error_len().is_none(),
    };
    encoded && !head.iter().any(|byte| crate::walkers::text::is_control(*byte))
}
