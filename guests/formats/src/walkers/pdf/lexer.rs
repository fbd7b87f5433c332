//! Tokens of PDF (7.2 and 7.3), read one by one.

use crate::{
    input::Reader,
    stop::{Stop, ensure, invalid},
};

/// Bytes of a name, number or keyword that are kept; Annex C ends names at 127.
const WORD_BYTES_MAX: usize = 127;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    DictionaryOpen,
    DictionaryClose,
    ArrayOpen,
    ArrayClose,
    /// A string of either kind; what is in it does not matter here.
    Text,
    Name(Vec<u8>),
    Integer(u64),
    /// Other numbers and keywords.
    Word(Vec<u8>),
}

pub(super) struct Lexer<'a> {
    reader: Reader<'a>,
    pub(super) at: u64,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(reader: Reader<'a>, at: u64) -> Self {
        Self { reader, at }
    }

    fn peek(&mut self) -> Result<Option<u8>, Stop> {
        Ok(self.reader.peek(self.at, 1)?.first().copied())
    }

    fn byte(&mut self) -> Result<u8, Stop> {
        let byte = self.reader.u8(self.at, "an object")?;
        self.at += 1;
        Ok(byte)
    }

    /// Skips blanks and comments.
    pub(super) fn skip_blanks(&mut self) -> Result<(), Stop> {
        while let Some(byte) = self.peek()? {
            match byte {
                b'%' => {
                    while !matches!(self.peek()?, None | Some(b'\n' | b'\r')) {
                        self.at += 1;
                    }
                }
                byte if is_blank(byte) => self.at += 1,
                _ => break,
            }
        }
        Ok(())
    }

    pub(super) fn next(&mut self) -> Result<Token, Stop> {
        self.skip_blanks()?;
        let start = self.at;
        match self.byte()? {
            b'<' if self.peek()? == Some(b'<') => {
                self.at += 1;
                Ok(Token::DictionaryOpen)
            }
            b'>' if self.peek()? == Some(b'>') => {
                self.at += 1;
                Ok(Token::DictionaryClose)
            }
            b'[' => Ok(Token::ArrayOpen),
            b']' => Ok(Token::ArrayClose),
            b'<' => self.hexadecimal(),
            b'(' => self.literal(),
            b'/' => Ok(Token::Name(self.word(None)?)),
            byte if is_regular(byte) => {
                let word = self.word(Some(byte))?;
                let text = std::str::from_utf8(&word).ok();
                let digits = word.iter().all(u8::is_ascii_digit);
                let number = text.and_then(|text| text.parse().ok()).filter(|_| digits);
                Ok(number.map_or(Token::Word(word), Token::Integer))
            }
            byte => Err(invalid(start, format!("{byte:02X} cannot stand here"))),
        }
    }

    pub(super) fn integer(&mut self, what: &str) -> Result<u64, Stop> {
        let at = self.at;
        match self.next()? {
            Token::Integer(value) => Ok(value),
            _ => Err(invalid(at, format!("{what} is no number"))),
        }
    }

    pub(super) fn keyword(&mut self, word: &str) -> Result<(), Stop> {
        self.skip_blanks()?;
        let at = self.at;
        let found = self.next()? == Token::Word(word.as_bytes().to_vec());
        ensure(found, at, || format!("{word} is missing"))
    }

    fn word(&mut self, first: Option<u8>) -> Result<Vec<u8>, Stop> {
        let mut word: Vec<u8> = first.into_iter().collect();
        while let Some(byte) = self.peek()?.filter(|byte| is_regular(*byte)) {
            self.at += 1;
            if word.len() < WORD_BYTES_MAX {
                word.push(byte);
            }
        }
        Ok(word)
    }

    fn hexadecimal(&mut self) -> Result<Token, Stop> {
        loop {
            let at = self.at;
            match self.byte()? {
                b'>' => return Ok(Token::Text),
                byte => ensure(byte.is_ascii_hexdigit() || is_blank(byte), at, || {
                    "a string is not hexadecimal".to_owned()
                })?,
            }
        }
    }

    /// Parentheses may nest; a backslash takes the next byte's meaning away.
    fn literal(&mut self) -> Result<Token, Stop> {
        let mut depth = 1_u64;
        while 0 < depth {
            match self.byte()? {
                b'(' => depth += 1,
                b')' => depth -= 1,
                b'\\' => drop(self.byte()?),
                _ => {}
            }
        }
        Ok(Token::Text)
    }
}

pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, 0 | b'\t' | b'\n' | 0x0C | b'\r' | b' ')
}

fn is_regular(byte: u8) -> bool {
    !is_blank(byte) && !b"()<>[]{}/%".contains(&byte)
}
