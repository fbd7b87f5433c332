//! Where a file may end and still be whole: cuts that nobody can find. Computed from the bytes,
//! not from what the walkers say.

use backlot_formats::Format as F;

use super::Sample;

/// Whether what is left of the sample before `cut` is a whole file by its format's own rules.
pub(crate) fn may_end_at(sample: &Sample, cut: usize) -> bool {
    let (bytes, name) = (&sample.bytes, sample.name.as_str());
    let left = &bytes[..cut];
    let only_blanks_cut = bytes[cut..].iter().all(u8::is_ascii_whitespace);
    match sample.format {
        F::Text if name == "utf16.txt" => cut.is_multiple_of(2),
        F::Text => std::str::from_utf8(left).is_ok(),
        F::Json => only_blanks_cut,
        F::Svg => only_blanks_cut,
        F::Xml => only_blanks_cut || root_is_closed(left),
        F::Csv => !in_quotes(left) && last_record_is_whole(bytes, left),
        F::Srt | F::WebVtt => last_cue_is_whole(sample.format, left),
        // The line end behind %%EOF; and behind the first %%EOF the file was whole once.
        F::Pdf => only_blanks_cut || (name == "updated.pdf" && ends_with_eof(left)),
        // A frame of 96 kbit/s at 48 kHz has 288 bytes; nothing says how many there are.
        F::Mp3 if name == "no-xing.mp3" => cut.is_multiple_of(288),
        F::Mp3 => bytes[cut..].starts_with(b"TAG"),
        F::MpegTs => {
            let packet = if name.ends_with("m2ts") { 192 } else { 188 };
            cut.is_multiple_of(packet)
        }
        F::Y4m => bytes[cut..].starts_with(b"FRAME"),
        F::Gzip if name == "members.gz" => bytes[cut..].starts_with(b"\x1F\x8B\x08"),
        F::Zstd if name == "frames.zst" => {
            let next = &bytes[cut..];
            next.starts_with(b"\x28\xB5\x2F\xFD") || next.starts_with(b"\x50\x2A\x4D\x18")
        }
        // Between top-level boxes; with an index the parts are promised.
        F::Mp4 if name == "fragments.mp4" => {
            matches!(bytes.get(cut + 4..cut + 8), Some(b"moof" | b"mfra")) && has(left, b"mdat")
        }
        F::Mp4 if name == "dash.mp4" => bytes.get(cut + 4..cut + 8) == Some(b"mfra"),
        // Clusters of unknown size end with any of their children.
        F::WebM if name == "live.webm" => {
            let at_block = bytes[cut] == 0xA3 || bytes[cut] == 0xA0;
            at_block || bytes[cut..].starts_with(b"\x1F\x43\xB6\x75") || bytes[cut] == 0xE7
        }
        _ => false,
    }
}

fn has(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

fn ends_with_eof(left: &[u8]) -> bool {
    left.trim_ascii_end().ends_with(b"%%EOF")
}

fn root_is_closed(left: &[u8]) -> bool {
    let text = left.trim_ascii_end();
    text.ends_with(b"</r>") || (has(text, b"</r>") && text.ends_with(b"-->"))
}

fn in_quotes(left: &[u8]) -> bool {
    left.iter().filter(|byte| **byte == b'"').count() % 2 == 1
}

/// As many separators in the last line as in the first, or nothing in it.
fn last_record_is_whole(bytes: &[u8], left: &[u8]) -> bool {
    let separators = |line: &[u8]| {
        let (mut quoted, mut count) = (false, 0);
        for byte in line {
            quoted ^= *byte == b'"';
            count += usize::from(!quoted && matches!(byte, b',' | b';'));
        }
        count
    };
    let excel = bytes.starts_with(b"Name;");
    let mut start = 0;
    let mut quoted = false;
    for (n, byte) in left.iter().enumerate() {
        quoted ^= *byte == b'"';
        if !quoted && *byte == b'\n' {
            start = n + 1;
        }
    }
    let line = &left[start..];
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap();
    // In the sample of Excel commas are decimal points.
    let line: Vec<u8> = line.iter().copied().filter(|byte| !excel || *byte != b',').collect();
    // In the header any number of fields will do.
    let in_header = left.len() < first.len() + 1;
    let has_record = !left.is_empty();
    has_record && (in_header || line.is_empty() || separators(&line) == separators(first))
}

/// The last block has its times, and in SubRip the start of its text.
fn last_cue_is_whole(format: F, left: &[u8]) -> bool {
    let text = String::from_utf8_lossy(left);
    let text = text.replace("\r\n", "\n");
    let block = text.rsplit("\n\n").next().unwrap();
    let block = block.trim_start_matches('\n');
    if format == F::WebVtt && !text.contains("\n\n") {
        return text.starts_with("WEBVTT\n") || text == "WEBVTT" || text.starts_with("WEBVTT ");
    }
    if block.trim().is_empty() {
        return format == F::WebVtt || text.contains("-->");
    }
    if format == F::WebVtt && ["NOTE", "STYLE"].iter().any(|word| block.starts_with(word)) {
        return true;
    }
    let Some((_, times)) = block.split_once(" --> ") else { return false };
    let (end, cue) = times.split_once('\n').unwrap_or((times, ""));
    // hh:mm:ss,mmm or mm:ss.mmm, and settings.
    let end = end.split(' ').next().unwrap();
    let whole = end.len() == 12 || (format == F::WebVtt && end.len() == 9);
    whole && (format == F::WebVtt || !cue.trim().is_empty())
}
