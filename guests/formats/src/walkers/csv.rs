//! CSV: RFC 4180, with the separators and encodings that spreadsheets write.
//!
//! Each record has as many fields as the first; quotes stand only around whole fields. What
//! cannot be known: whether records are missing at the end, and flipped bits that make another
//! letter.

use crate::{
    scan::Scan,
    stop::{Stop, ensure, invalid, unsupported},
};

use super::text::{Utf8, is_control};

/// Separators, the more likely first: RFC 4180's comma, and those of Excel and of databases.
const SEPARATORS: &[u8] = b",;\t|";
/// Bytes from which the separator is chosen.
const SAMPLE_BYTES: usize = 64 << 10;
/// Fields of a record. Excel ends at 16,384 columns.
const FIELDS_MAX: u64 = 1 << 20;

/// Where in a field the walk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the start of a field.
    Start,
    /// In a field without quotes.
    Plain,
    /// Inside quotes.
    Quoted,
    /// Behind a quote inside quotes: another is one quote, else the field ends.
    Closed,
    /// Behind a carriage return, which a line feed may follow.
    Return,
}

pub(super) fn walk(scan: &mut Scan<'_>) -> Result<u64, Stop> {
    let end = scan.len();
    let head = scan.reader.peek(0, SAMPLE_BYTES)?;
    if head.starts_with(b"\xFF\xFE") || head.starts_with(b"\xFE\xFF") {
        return Err(unsupported(0, "UTF-16 is not walked as CSV"));
    }
    let mut at = if head.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
    let sample = head.get(at as usize..).unwrap_or_default();
    let mut records = Records::new(separator(sample));
    let mut utf8 = Some(Utf8::default());
    while at < end {
        let piece = scan.reader.piece(at, end, "a record")?;
        // What is not UTF-8 is in an encoding of 8 bits, of which all bytes are characters.
        utf8 = utf8.and_then(|mut utf8| utf8.push(piece, at).is_ok().then_some(utf8));
        records.push(piece, at)?;
        at += piece.len() as u64;
    }
    records.finish(end)?;
    let encoding =
        if utf8.is_some_and(|utf8| utf8.finish(end).is_ok()) { "UTF-8" } else { "8 bits" };
    scan.met(0, "records", 0, end)?;
    scan.fact("encoding", encoding);
    scan.fact("records", records.count);
    scan.fact("fields", records.expected.unwrap_or(0));
    Ok(end)
}

/// The separator that stands most often outside of quotes in the first line.
fn separator(sample: &[u8]) -> u8 {
    let mut counts = [0_u32; 4];
    let mut quoted = false;
    for byte in sample {
        quoted ^= *byte == b'"';
        if !quoted && matches!(byte, b'\n' | b'\r') {
            break;
        }
        let place = SEPARATORS.iter().position(|separator| separator == byte);
        if let (false, Some(count)) = (quoted, place.and_then(|n| counts.get_mut(n))) {
            *count += 1;
        }
    }
    let most = counts.iter().copied().max().unwrap_or(0);
    let place = counts.iter().position(|count| *count == most).unwrap_or(0);
    SEPARATORS.get(place).copied().unwrap_or(b',')
}

struct Records {
    separator: u8,
    state: State,
    fields: u64,
    expected: Option<u64>,
    count: u64,
    /// Whether the record has any byte: a file may end with empty lines.
    begun: bool,
    /// Offset of the first of the empty lines, which may only be at the end.
    blank: Option<u64>,
}

impl Records {
    fn new(separator: u8) -> Self {
        let state = State::Start;
        Self { separator, state, fields: 1, expected: None, count: 0, begun: false, blank: None }
    }

    fn push(&mut self, piece: &[u8], at: u64) -> Result<(), Stop> {
        for (n, byte) in piece.iter().enumerate() {
            self.step(*byte, at + n as u64)?;
        }
        Ok(())
    }

    fn step(&mut self, byte: u8, at: u64) -> Result<(), Stop> {
        ensure(!is_control(byte), at, || "a control character, as binary data has".to_owned())?;
        if self.state == State::Quoted {
            if byte == b'"' {
                self.state = State::Closed;
            }
            return Ok(());
        }
        match byte {
            b'\n' if self.state == State::Return => self.state = State::Start,
            b'\n' | b'\r' => {
                self.end_record(at)?;
                self.state = if byte == b'\r' { State::Return } else { State::Start };
            }
            _ => {
                if let Some(blank) = self.blank {
                    return Err(invalid(blank, "an empty line between records"));
                }
                self.begun = true;
                self.field(byte, at)?;
            }
        }
        Ok(())
    }

    fn field(&mut self, byte: u8, at: u64) -> Result<(), Stop> {
        self.state = match (self.state, byte) {
            (_, byte) if byte == self.separator => {
                self.fields += 1;
                ensure(self.fields <= FIELDS_MAX, at, || format!("over {FIELDS_MAX} fields"))?;
                State::Start
            }
            (State::Start | State::Return | State::Closed, b'"') => State::Quoted,
            (State::Closed, _) => return Err(invalid(at, "text behind a closing quote")),
            (State::Plain, b'"') => {
                return Err(invalid(at, "a quote inside a field without quotes"));
            }
            _ => State::Plain,
        };
        Ok(())
    }

    fn end_record(&mut self, at: u64) -> Result<(), Stop> {
        if !self.begun {
            self.blank.get_or_insert(at);
            return Ok(());
        }
        let (fields, expected) = (self.fields, *self.expected.get_or_insert(self.fields));
        ensure(fields == expected, at, || format!("{fields} fields instead of {expected}"))?;
        (self.fields, self.begun) = (1, false);
        self.count += 1;
        Ok(())
    }

    fn finish(&mut self, end: u64) -> Result<(), Stop> {
        ensure(self.state != State::Quoted, end, || "a quote is not closed".to_owned())?;
        if self.begun {
            self.end_record(end)?;
        }
        ensure(0 < self.count, end, || "there is no record".to_owned())
    }
}
