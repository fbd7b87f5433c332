//! Objects (7.3): from `1 0 obj` to `endobj`, with the stream between them.

use crate::{
    inflate::{Budget, Inflater},
    scan::Scan,
    stop::{Stop, at_most, ensure, invalid},
};

use super::lexer::{Lexer, Token};

/// Tokens of one value that are kept: the widths and the index of a cross-reference stream.
const VALUE_TOKENS_MAX: usize = 4096;
/// Times that the file's length may be read as objects before they must overlap.
const PASSES_MAX: u64 = 4;

/// Checks the objects that the cross-references list.
pub(super) struct Objects {
    budget: Budget,
    /// Bytes of objects that may still be read.
    work: u64,
    pub(super) checked: u64,
    /// Set by a trailer that names an encryption dictionary.
    pub(super) encrypted: bool,
}

/// The keys of a dictionary that matter here, and the values' tokens.
#[derive(Debug, Default)]
pub(super) struct Dictionary(Vec<(&'static str, Vec<Token>)>);

const KEYS: &[&str] = &[
    "Length",
    "Filter",
    "F",
    "Type",
    "W",
    "Index",
    "Size",
    "Prev",
    "Root",
    "XRefStm",
    "Encrypt",
    "DecodeParms",
    "Columns",
    "Predictor",
    "Colors",
    "BitsPerComponent",
];

impl Dictionary {
    /// Reads up to the end of the dictionary whose opening was read.
    pub(super) fn read(lexer: &mut Lexer<'_>, scan: &mut Scan<'_>) -> Result<Self, Stop> {
        let (mut found, mut depth, start) = (Self::default(), 1_u32, lexer.at);
        // Whether the next name on the first level is a key; its value follows.
        let mut value_begun = true;
        let mut keep = false;
        while 0 < depth {
            let token = lexer.next()?;
            match token {
                Token::DictionaryOpen | Token::ArrayOpen => depth += 1,
                Token::DictionaryClose | Token::ArrayClose => depth -= 1,
                _ => {}
            }
            let most = scan.limits.text_nesting;
            at_most("nesting", depth.into(), most.into(), start)?;
            if depth == 0 {
                break;
            }
            match token {
                Token::Name(name) if depth == 1 && value_begun => {
                    let key = KEYS.iter().find(|key| key.as_bytes() == name.as_slice());
                    keep = key.is_some();
                    found.0.extend(key.map(|key| (*key, Vec::new())));
                    value_begun = false;
                }
                token => {
                    value_begun = true;
                    let value = found.0.last_mut().filter(|_| keep);
                    if let Some((_, value)) = value
                        && value.len() < VALUE_TOKENS_MAX
                    {
                        value.push(token);
                    }
                }
            }
            let many = found.0.len() <= KEYS.len() * 4;
            ensure(many, start, || "a dictionary repeats its keys".to_owned())?;
        }
        Ok(found)
    }

    pub(super) fn value(&self, key: &str) -> Option<&[Token]> {
        let found = self.0.iter().find(|(known, _)| *known == key);
        found.map(|(_, value)| value.as_slice())
    }

    /// A number that stands there itself, rather than a reference to one.
    pub(super) fn integer(&self, key: &str) -> Option<u64> {
        match self.value(key)? {
            [Token::Integer(value)] => Some(*value),
            _ => None,
        }
    }

    pub(super) fn integers(&self, key: &str) -> Vec<u64> {
        let tokens = self.value(key).unwrap_or_default().iter();
        let numbers = tokens.filter_map(|token| match token {
            Token::Integer(value) => Some(*value),
            _ => None,
        });
        numbers.collect()
    }

    /// Whether the bytes of the stream are those of Flate: it is the only or the first filter.
    pub(super) fn is_flate(&self) -> bool {
        let first = self.value("Filter").unwrap_or_default().iter().find_map(|token| match token {
            Token::Name(name) => Some(name.as_slice()),
            _ => None,
        });
        // With `F` the data is in another file.
        matches!(first, Some(b"FlateDecode" | b"Fl")) && self.value("F").is_none()
    }
}

/// The head of an indirect object: number, generation, and where its value begins.
pub(super) fn open<'a>(scan: &Scan<'a>, at: u64) -> Result<(u64, u64, Lexer<'a>), Stop> {
    let mut lexer = Lexer::new(scan.reader.glance(), at);
    let head = |_| invalid(at, "no object begins here");
    let number = lexer.integer("an object's number").map_err(head)?;
    let generation = lexer.integer("an object's generation").map_err(head)?;
    lexer.keyword("obj").map_err(head)?;
    Ok((number, generation, lexer))
}

impl Objects {
    pub(super) fn new(budget: Budget, file_bytes: u64) -> Self {
        let work = file_bytes.saturating_mul(PASSES_MAX);
        Self { budget, work, checked: 0, encrypted: false }
    }

    /// Checks that object `number` begins at `at` and is whole.
    pub(super) fn check(
        &mut self,
        scan: &mut Scan<'_>,
        at: u64,
        number: u64,
        generation: u64,
    ) -> Result<(), Stop> {
        ensure(at < scan.len(), scan.len(), || format!("object {number} at byte {at} is missing"))?;
        let (found, age, mut lexer) = open(scan, at)?;
        ensure(found == number && age == generation, at, || {
            format!("object {found} {age} instead of {number} {generation}")
        })?;
        self.body(scan, &mut lexer)?;
        scan.met(0, "object", at, lexer.at - at)?;
        self.checked += 1;
        let used = lexer.at - at;
        let left = self.work.checked_sub(used);
        self.work = left.ok_or_else(|| invalid(at, "objects overlap"))?;
        Ok(())
    }

    /// The value of an object, up to `endobj`.
    fn body(&mut self, scan: &mut Scan<'_>, lexer: &mut Lexer<'_>) -> Result<(), Stop> {
        let (mut depth, start) = (0_u32, lexer.at);
        loop {
            let at = lexer.at;
            match lexer.next()? {
                Token::DictionaryOpen if depth == 0 => {
                    let dictionary = Dictionary::read(lexer, scan)?;
                    lexer.skip_blanks()?;
                    let at = lexer.at;
                    if lexer.next()? == Token::Word(b"stream".to_vec()) {
                        self.stream(scan, lexer, &dictionary)?;
                        return lexer.keyword("endobj");
                    }
                    lexer.at = at;
                }
                Token::DictionaryOpen | Token::ArrayOpen => {
                    depth += 1;
                    at_most("nesting", depth.into(), scan.limits.text_nesting.into(), start)?;
                }
                Token::DictionaryClose | Token::ArrayClose => {
                    depth =
                        depth.checked_sub(1).ok_or_else(|| invalid(at, "a bracket too many"))?;
                }
                Token::Word(word) if word == b"endobj" => {
                    return ensure(depth == 0, at, || "a bracket is not closed".to_owned());
                }
                Token::Word(word) if word == b"obj" || word == b"stream" => {
                    return Err(invalid(at, "endobj is missing"));
                }
                _ => {}
            }
        }
    }

    /// 7.3.8: a line end, as many bytes as `Length` says, `endstream`.
    pub(super) fn stream(
        &mut self,
        scan: &mut Scan<'_>,
        lexer: &mut Lexer<'_>,
        dictionary: &Dictionary,
    ) -> Result<(), Stop> {
        let start = data_start(scan, lexer.at)?;
        let total = scan.len();
        let mut end = dictionary.integer("Length").map(|len| start.saturating_add(len));
        ensure(end.is_none_or(|end| end <= total), start, || "a stream is cut off".to_owned())?;
        if dictionary.is_flate() && !self.encrypted && end != Some(start) {
            let inflated = self.inflate(scan, start, end.unwrap_or(total))?;
            end.get_or_insert(inflated);
        }
        let near = match end {
            Some(end) => end,
            None => scan
                .reader
                .find(b"endstream", start, total)?
                .ok_or_else(|| invalid(start, "endstream is missing"))?,
        };
        lexer.at = near;
        lexer.keyword("endstream")
    }

    /// Inflates a stream, which must end before `limit`; gives its end.
    fn inflate(&mut self, scan: &mut Scan<'_>, start: u64, limit: u64) -> Result<u64, Stop> {
        let (mut inflater, mut at) = (Inflater::zlib(), start);
        while !inflater.ended() {
            ensure(at < limit, at, || "a compressed stream is not finished".to_owned())?;
            let piece = scan.reader.piece(at, limit, "a stream")?;
            let used = inflater.push(piece, at, &mut self.budget, |_| Ok(()))?;
            ensure(0 < used || inflater.ended(), at, || "a stream does not go on".to_owned())?;
            at += used as u64;
        }
        if let Some(sum) = at.checked_sub(5).filter(|sum| start < *sum) {
            // The last byte of Deflate may hold bits that nothing covers.
            scan.proved(1, "Flate data", start, sum - start)?;
        }
        Ok(at)
    }
}

/// Behind the keyword `stream` comes a line feed, with or without a carriage return.
pub(super) fn data_start(scan: &mut Scan<'_>, at: u64) -> Result<u64, Stop> {
    match scan.reader.peek(at, 2)? {
        [b'\r', b'\n'] => Ok(at + 2),
        [b'\n' | b'\r', ..] => Ok(at + 1),
        _ => Err(invalid(at, "no line end behind stream")),
    }
}
