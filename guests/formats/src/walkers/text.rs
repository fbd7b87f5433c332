//! Plain text: UTF-8 (RFC 3629), or UTF-16 with a byte order mark; and the lines of the formats
//! that are text.
//!
//! What cannot be known: whether it ends where it was meant to, and flipped bits that make
//! another character.

use crate::{
    scan::Scan,
    stop::{Stop, ensure, invalid, unsupported},
};

/// Control characters that text does not hold: all but tab, line feed, form feed, carriage
/// return and escape.
pub(crate) fn is_control(byte: u8) -> bool {
    byte == 0x7F || (byte < 0x20 && !matches!(byte, b'\t' | b'\n' | 0x0C | b'\r' | 0x1B))
}

pub(super) fn walk(scan: &mut Scan<'_>) -> Result<u64, Stop> {
    let end = scan.len();
    let mark = scan.reader.peek(0, 2)?;
    if mark == b"\xFF\xFE" || mark == b"\xFE\xFF" {
        let big = mark == b"\xFE\xFF";
        utf16(scan, big)?;
        scan.met(0, "text", 0, end)?;
        scan.fact("encoding", "UTF-16");
        return Ok(end);
    }
    let (mut at, mut utf8, mut lines) = (0, Utf8::default(), 0_u64);
    while at < end {
        let piece = scan.reader.piece(at, end, "text")?;
        utf8.push(piece, at)?;
        if let Some(n) = piece.iter().position(|byte| is_control(*byte)) {
            return Err(invalid(at + n as u64, "a control character, as binary data has"));
        }
        lines += memchr::memchr_iter(b'\n', piece).count() as u64;
        at += piece.len() as u64;
    }
    utf8.finish(end)?;
    scan.met(0, "text", 0, end)?;
    scan.fact("lines", lines);
    Ok(end)
}

/// RFC 2781, 2.2: surrogates come in pairs.
fn utf16(scan: &mut Scan<'_>, big: bool) -> Result<(), Stop> {
    let end = scan.len();
    ensure(end.is_multiple_of(2), end, || "half a character at the end".to_owned())?;
    let (mut at, mut high) = (2, false);
    while at < end {
        let unit =
            if big { scan.reader.u16_be(at, "text")? } else { scan.reader.u16_le(at, "text")? };
        let low = (0xDC00..0xE000).contains(&unit);
        let control = u8::try_from(unit).is_ok_and(is_control);
        ensure(low == high && !control, at, || format!("{unit:04X} cannot stand here in UTF-16"))?;
        high = (0xD800..0xDC00).contains(&unit);
        at += 2;
    }
    ensure(!high, end, || "half a character at the end".to_owned())
}

/// Checks UTF-8 piece by piece; a character may be cut by the edge of two pieces.
#[derive(Debug, Default)]
pub(crate) struct Utf8 {
    /// The first bytes of a character whose others are to come.
    cut: Vec<u8>,
}

impl Utf8 {
    pub(crate) fn push(&mut self, piece: &[u8], at: u64) -> Result<(), Stop> {
        let mut rest = piece;
        while !self.cut.is_empty() {
            let Some((first, after)) = rest.split_first() else { return Ok(()) };
            self.cut.push(*first);
            rest = after;
            match std::str::from_utf8(&self.cut) {
                Ok(_) => self.cut.clear(),
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(invalid(at, "this is not UTF-8")),
            }
        }
        if let Err(error) = std::str::from_utf8(rest) {
            let good = piece.len() - rest.len() + error.valid_up_to();
            ensure(error.error_len().is_none(), at + good as u64, || {
                "this is not UTF-8".to_owned()
            })?;
            self.cut = piece.get(good..).unwrap_or_default().to_vec();
        }
        Ok(())
    }

    pub(crate) fn finish(&self, end: u64) -> Result<(), Stop> {
        ensure(self.cut.is_empty(), end, || "the last character is cut off".to_owned())
    }
}

/// Reads text line by line, without the ends of the lines.
pub(super) struct Lines {
    at: u64,
    /// Whether lines may be in an encoding of 8 bits, of which all bytes are characters.
    any_encoding: bool,
    /// Whether all lines were UTF-8.
    pub(super) utf8: bool,
}

/// A line, the offset of its first byte, and that behind its end.
pub(super) struct Line {
    pub(super) at: u64,
    pub(super) end: u64,
    pub(super) text: String,
}

impl Lines {
    /// From the start, behind a byte order mark.
    pub(super) fn open(scan: &mut Scan<'_>, any_encoding: bool) -> Result<Self, Stop> {
        let mark = scan.reader.peek(0, 3)?;
        if mark.starts_with(b"\xFF\xFE") || mark.starts_with(b"\xFE\xFF") {
            return Err(unsupported(0, "subtitles in UTF-16 are not walked"));
        }
        let at = if mark == b"\xEF\xBB\xBF" { 3 } else { 0 };
        Ok(Self { at, any_encoding, utf8: true })
    }

    /// The next line, or `None` at the end of the file.
    pub(super) fn next(&mut self, scan: &mut Scan<'_>) -> Result<Option<Line>, Stop> {
        let (start, total) = (self.at, scan.len());
        let mut bytes = Vec::new();
        while self.at < total {
            let piece = scan.reader.piece(self.at, total, "a line")?;
            let found = memchr::memchr(b'\n', piece);
            bytes.extend_from_slice(piece.get(..found.unwrap_or(piece.len())).unwrap_or_default());
            self.at += found.map_or(piece.len(), |n| n + 1) as u64;
            if scan.limits.token_bytes < bytes.len() as u64 {
                let most = scan.limits.token_bytes;
                return Err(unsupported(start, format!("a line over the limit of {most} bytes")));
            }
            if found.is_some() {
                break;
            }
        }
        if start == self.at {
            return Ok(None);
        }
        if let Some(n) = bytes.iter().position(|byte| is_control(*byte)) {
            return Err(invalid(start + n as u64, "a control character, as binary data has"));
        }
        let mut text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) if self.any_encoding => {
                self.utf8 = false;
                String::from_utf8_lossy(error.as_bytes()).into_owned()
            }
            Err(error) => {
                let good = error.utf8_error().valid_up_to() as u64;
                return Err(invalid(start + good, "this is not UTF-8"));
            }
        };
        if text.ends_with('\r') {
            text.pop();
        }
        Ok(Some(Line { at: start, end: self.at, text }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_may_be_cut_anywhere() {
        let text = "aä€😀z".as_bytes();
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let mut utf8 = Utf8::default();
                for piece in [&text[..first], &text[first..second], &text[second..]] {
                    utf8.push(piece, 0).unwrap();
                }
                utf8.finish(0).unwrap();
            }
        }
        let mut utf8 = Utf8::default();
        utf8.push(&text[..2], 0).unwrap();
        assert!(utf8.finish(2).is_err());
        assert_eq!(utf8.push(b"a", 2).unwrap_err(), invalid(2, "this is not UTF-8"));
    }
}
