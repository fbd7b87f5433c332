//! JSON: RFC 8259, one value, checked byte by byte.
//!
//! What cannot be known: flipped bits that make another letter or digit, a file of one number
//! that was cut, and blanks that are missing at the end.

use crate::{
    scan::Scan,
    stop::{Stop, at_most, ensure, invalid},
};

use super::text::Utf8;

/// What may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A value.
    Value,
    /// A value, or the end of an empty array.
    FirstValue,
    /// A name, or the end of an empty object.
    FirstName,
    /// A name.
    Name,
    /// The colon behind a name.
    Colon,
    /// A comma, or the end of the array or object; outside of them, the end.
    AfterValue,
    /// Inside a string; whether it is a name.
    Text(bool),
    /// Behind a backslash in a string.
    Escape(bool),
    /// Digits of `\u` that are still to come.
    Hex(bool, u8),
    /// The rest of `true`, `false` or `null`.
    Word(&'static [u8]),
    /// A number, at one of its places (section 6).
    Number(Number),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Digits,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

pub(super) fn walk(scan: &mut Scan<'_>) -> Result<u64, Stop> {
    let end = scan.len();
    let mut parser = Parser {
        state: State::Value,
        open: Vec::new(),
        nesting_max: scan.limits.text_nesting,
        deepest: 0,
    };
    let (mut at, mut utf8) = (0, Utf8::default());
    while at < end {
        let piece = scan.reader.piece(at, end, "a value")?;
        utf8.push(piece, at)?;
        parser.push(piece, at)?;
        at += piece.len() as u64;
    }
    utf8.finish(end)?;
    let whole = parser.state == State::AfterValue || parser.number_may_end();
    ensure(whole && parser.open.is_empty(), end, || "the value is not finished".to_owned())?;
    scan.met(0, "value", 0, end)?;
    scan.fact("nesting", parser.deepest);
    Ok(end)
}

struct Parser {
    state: State,
    /// Whether each open bracket is that of an object.
    open: Vec<bool>,
    nesting_max: u32,
    deepest: usize,
}

impl Parser {
    fn push(&mut self, piece: &[u8], at: u64) -> Result<(), Stop> {
        let mut n = 0;
        while let Some(byte) = piece.get(n) {
            if let State::Text(is_name) = self.state {
                n += self.text(piece.get(n..).unwrap_or_default(), is_name, at + n as u64)?;
                continue;
            }
            self.step(*byte, at + n as u64)?;
            n += 1;
        }
        Ok(())
    }

    /// Goes through a string to its end, an escape, or the end of the piece.
    fn text(&mut self, rest: &[u8], is_name: bool, at: u64) -> Result<usize, Stop> {
        let stop = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
        let Some(n) = stop else { return Ok(rest.len()) };
        self.state = match rest.get(n) {
            Some(b'"') if is_name => State::Colon,
            Some(b'"') => State::AfterValue,
            Some(b'\\') => State::Escape(is_name),
            _ => return Err(invalid(at + n as u64, "a control character inside a string")),
        };
        Ok(n + 1)
    }

    fn step(&mut self, byte: u8, at: u64) -> Result<(), Stop> {
        let blank = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        let wrong = || {
            let shown = char::from(byte).escape_default();
            invalid(at, format!("'{shown}' cannot stand here"))
        };
        self.state = match self.state {
            State::Number(number) => match number.next(byte) {
                Some(next) => State::Number(next),
                None if number.may_end() => {
                    self.state = State::AfterValue;
                    return self.step(byte, at);
                }
                None => return Err(wrong()),
            },
            State::Escape(is_name) => match byte {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => State::Text(is_name),
                b'u' => State::Hex(is_name, 4),
                _ => return Err(wrong()),
            },
            State::Hex(is_name, left) if byte.is_ascii_hexdigit() => {
                if left == 1 {
                    State::Text(is_name)
                } else {
                    State::Hex(is_name, left - 1)
                }
            }
            State::Word(rest) => match rest.split_first() {
                Some((expected, rest)) if *expected == byte => {
                    if rest.is_empty() {
                        State::AfterValue
                    } else {
                        State::Word(rest)
                    }
                }
                _ => return Err(wrong()),
            },
            state if blank && !matches!(state, State::Hex(..)) => state,
            State::FirstName if byte == b'}' => return self.close(true).ok_or_else(wrong),
            State::FirstName | State::Name if byte == b'"' => State::Text(true),
            State::Colon if byte == b':' => State::Value,
            State::FirstValue if byte == b']' => return self.close(false).ok_or_else(wrong),
            State::Value | State::FirstValue => {
                return self.value(byte, at).unwrap_or_else(|| Err(wrong()));
            }
            State::AfterValue => match (byte, self.open.last()) {
                (b',', Some(true)) => State::Name,
                (b',', Some(false)) => State::Value,
                (b'}', _) => return self.close(true).ok_or_else(wrong),
                (b']', _) => return self.close(false).ok_or_else(wrong),
                _ => return Err(wrong()),
            },
            _ => return Err(wrong()),
        };
        Ok(())
    }

    /// Begins a value; `None` where no value begins like this.
    fn value(&mut self, byte: u8, at: u64) -> Option<Result<(), Stop>> {
        self.state = match byte {
            b'{' | b'[' => {
                self.open.push(byte == b'{');
                self.deepest = self.deepest.max(self.open.len());
                let depth = at_most("nesting", self.open.len() as u64, self.nesting_max.into(), at);
                if depth.is_err() {
                    return Some(depth);
                }
                if byte == b'{' { State::FirstName } else { State::FirstValue }
            }
            b'"' => State::Text(false),
            b't' => State::Word(b"rue"),
            b'f' => State::Word(b"alse"),
            b'n' => State::Word(b"ull"),
            b'-' => State::Number(Number::Minus),
            b'0' => State::Number(Number::Zero),
            b'1'..=b'9' => State::Number(Number::Digits),
            _ => return None,
        };
        Some(Ok(()))
    }

    fn close(&mut self, object: bool) -> Option<()> {
        self.state = State::AfterValue;
        (self.open.pop() == Some(object)).then_some(())
    }

    fn number_may_end(&self) -> bool {
        matches!(self.state, State::Number(number) if number.may_end())
    }
}

impl Number {
    fn next(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Minus, b'0') => Some(Self::Zero),
            (Self::Minus, b'1'..=b'9') | (Self::Digits, b'0'..=b'9') => Some(Self::Digits),
            (Self::Zero | Self::Digits, b'.') => Some(Self::Point),
            (Self::Point | Self::Fraction, b'0'..=b'9') => Some(Self::Fraction),
            (Self::Zero | Self::Digits | Self::Fraction, b'e' | b'E') => Some(Self::Exponent),
            (Self::Exponent, b'+' | b'-') => Some(Self::ExponentSign),
            (Self::Exponent | Self::ExponentSign | Self::ExponentDigits, b'0'..=b'9') => {
                Some(Self::ExponentDigits)
            }
            _ => None,
        }
    }

    fn may_end(self) -> bool {
        matches!(self, Self::Zero | Self::Digits | Self::Fraction | Self::ExponentDigits)
    }
}
