//! Cross-reference tables (7.5.4) and streams (7.5.8).

use crate::{
    inflate::{Budget, Inflater},
    scan::Scan,
    stop::{Stop, ensure, invalid, unsupported},
};

use super::{
    lexer::{Lexer, Token, is_blank},
    object::{Dictionary, Objects, data_start, open},
};

/// Bytes of an entry of a table.
const ENTRY_BYTES: u64 = 20;
/// Bytes of a row of a stream: three fields of at most 8.
const ROW_BYTES_MAX: usize = 24;

/// What one section says about the others.
pub(super) struct Section {
    pub(super) previous: Option<u64>,
    /// A stream beside a table, for newer readers (7.5.8.4).
    pub(super) hybrid: Option<u64>,
    pub(super) root: bool,
}

impl Section {
    fn of(trailer: &Dictionary, objects: &mut Objects) -> Self {
        objects.encrypted |= trailer.value("Encrypt").is_some();
        Self {
            previous: trailer.integer("Prev"),
            hybrid: trailer.integer("XRefStm"),
            root: trailer.value("Root").is_some(),
        }
    }
}

/// Checks the section at `at`, and the objects that it lists.
pub(super) fn section(
    scan: &mut Scan<'_>,
    objects: &mut Objects,
    at: u64,
) -> Result<Section, Stop> {
    ensure(at < scan.len(), at, || "the cross-reference is behind the end".to_owned())?;
    let mut lexer = Lexer::new(scan.reader.glance(), at);
    lexer.skip_blanks()?;
    if scan.reader.peek(lexer.at, 4)? == b"xref" {
        lexer.at += 4;
        table(scan, objects, &mut lexer, at)
    } else {
        stream(scan, objects, at)
    }
}

/// A table: subsections of entries of 20 bytes, then the trailer.
fn table(
    scan: &mut Scan<'_>,
    objects: &mut Objects,
    lexer: &mut Lexer<'_>,
    start: u64,
) -> Result<Section, Stop> {
    // The trailer comes last, but says whether streams are encrypted.
    let first = lexer.at;
    while subsection(scan, lexer)?.is_some() {}
    lexer.keyword("trailer")?;
    let opened = lexer.next()? == Token::DictionaryOpen;
    ensure(opened, lexer.at, || "the trailer is no dictionary".to_owned())?;
    let trailer = Dictionary::read(lexer, scan)?;
    let found = Section::of(&trailer, objects);
    let size = trailer.integer("Size");
    let size = size.ok_or_else(|| invalid(start, "the trailer has no size"))?;
    scan.met(0, "cross-reference table", start, lexer.at - start)?;
    lexer.at = first;
    while let Some((number, count, entries)) = subsection(scan, lexer)? {
        ensure(number.saturating_add(count) <= size, entries, || {
            format!("objects up to {} of {size}", number.saturating_add(count))
        })?;
        for n in 0..count {
            entry(scan, objects, number + n, entries + n * ENTRY_BYTES)?;
        }
    }
    Ok(found)
}

/// First object, number of objects, and offset of the entries; skips them.
fn subsection(scan: &mut Scan<'_>, lexer: &mut Lexer<'_>) -> Result<Option<(u64, u64, u64)>, Stop> {
    lexer.skip_blanks()?;
    if !scan.reader.peek(lexer.at, 1)?.iter().all(u8::is_ascii_digit) {
        return Ok(None);
    }
    let at = lexer.at;
    scan.count(at)?;
    let first = lexer.integer("a subsection")?;
    let count = lexer.integer("a subsection")?;
    lexer.skip_blanks()?;
    let entries = lexer.at;
    let end = count.checked_mul(ENTRY_BYTES).and_then(|bytes| entries.checked_add(bytes));
    let end = end.filter(|end| *end <= scan.len());
    lexer.at = end.ok_or_else(|| invalid(at, format!("a subsection of {count} objects")))?;
    Ok(Some((first, count, entries)))
}

/// `0000000016 00000 n` and two bytes of line end.
fn entry(scan: &mut Scan<'_>, objects: &mut Objects, number: u64, at: u64) -> Result<(), Stop> {
    let bytes = scan.reader.bytes(at, ENTRY_BYTES as usize, "an entry")?;
    let digits = |range: std::ops::Range<usize>| {
        let text = std::str::from_utf8(bytes.get(range)?).ok()?;
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok())?
    };
    let fields = (digits(0..10), digits(11..16), bytes.get(17));
    let spaced = bytes.get(10) == Some(&b' ') && bytes.get(16) == Some(&b' ');
    let ended = bytes.get(18..).is_some_and(|end| end.iter().all(|byte| is_blank(*byte)));
    match fields {
        (Some(offset), Some(generation), Some(b'n')) if spaced && ended => {
            objects.check(scan, offset, number, generation)
        }
        (Some(_), Some(_), Some(b'f')) if spaced && ended => Ok(()),
        _ => Err(invalid(at, "an entry of the cross-reference cannot be read")),
    }
}

/// A stream: rows of three fields, inflated and with PNG's prediction undone.
fn stream(scan: &mut Scan<'_>, objects: &mut Objects, at: u64) -> Result<Section, Stop> {
    let (_, _, mut lexer) = open(scan, at)?;
    let opened = lexer.next()? == Token::DictionaryOpen;
    ensure(opened, at, || "the cross-reference is no dictionary".to_owned())?;
    let dictionary = Dictionary::read(&mut lexer, scan)?;
    let typed = matches!(dictionary.value("Type"), Some([Token::Name(name)]) if name == b"XRef");
    ensure(typed, at, || "no cross-reference begins here".to_owned())?;
    lexer.keyword("stream")?;
    let start = data_start(scan, lexer.at)?;
    let found = Section::of(&dictionary, objects);
    let len = dictionary.integer("Length");
    let len = len.ok_or_else(|| invalid(at, "the cross-reference has no length"))?;
    let end = start.checked_add(len).filter(|end| *end <= scan.len());
    let end = end.ok_or_else(|| invalid(at, "the cross-reference is cut off"))?;
    let mut rows = Rows::new(&dictionary, at)?;
    if dictionary.value("Filter").is_none() {
        rows.each_piece(scan, objects, start, end)?;
    } else if dictionary.is_flate() {
        rows.each_inflated(scan, objects, start, end)?;
    } else {
        return Err(unsupported(at, "a cross-reference that is not compressed with Flate"));
    }
    rows.finish(at)?;
    lexer.at = end;
    lexer.keyword("endstream")?;
    scan.met(0, "cross-reference stream", at, lexer.at - at)?;
    Ok(found)
}

/// Takes the bytes of a stream apart into entries.
struct Rows {
    widths: [usize; 3],
    /// Pairs of first object and number of objects.
    index: Vec<u64>,
    /// Which pair, and how many of its objects are done.
    place: (usize, u64),
    predicted: bool,
    row: Vec<u8>,
    above: Vec<u8>,
}

impl Rows {
    fn new(dictionary: &Dictionary, at: u64) -> Result<Self, Stop> {
        let widths = dictionary.integers("W");
        let widths: Option<Vec<usize>> = widths
            .iter()
            .map(|width| usize::try_from(*width).ok().filter(|width| *width <= 8))
            .collect();
        let widths = widths.and_then(|widths| <[usize; 3]>::try_from(widths).ok());
        let widths = widths.filter(|widths| 0 < widths.iter().sum::<usize>());
        let widths = widths.ok_or_else(|| invalid(at, "the widths of a cross-reference"))?;
        let size = dictionary.integer("Size");
        let size = size.ok_or_else(|| invalid(at, "the cross-reference has no size"))?;
        let mut index = dictionary.integers("Index");
        if index.is_empty() {
            index = vec![0, size];
        }
        let inside = index.chunks(2).all(|pair| match pair {
            [first, count] => first.saturating_add(*count) <= size,
            _ => false,
        });
        ensure(inside, at, || "the index of a cross-reference is over its size".to_owned())?;
        let parameters = dictionary.value("DecodeParms").unwrap_or_default();
        let predictor = parameter(parameters, b"Predictor").unwrap_or(1);
        let row_bytes: usize = widths.iter().sum();
        let columns = parameter(parameters, b"Columns").unwrap_or(1);
        let predicted = 10 <= predictor;
        let plain = matches!(predictor, 1 | 10..=15) && (!predicted || columns == row_bytes as u64);
        if !plain {
            return Err(unsupported(at, "a cross-reference with an unusual prediction"));
        }
        let (row, above) = (Vec::with_capacity(ROW_BYTES_MAX + 1), vec![0; row_bytes]);
        Ok(Self { widths, index, place: (0, 0), predicted, row, above })
    }

    fn each_piece(
        &mut self,
        scan: &mut Scan<'_>,
        objects: &mut Objects,
        start: u64,
        end: u64,
    ) -> Result<(), Stop> {
        let mut at = start;
        while at < end {
            let piece = scan.reader.piece(at, end, "a cross-reference")?.to_vec();
            self.push(scan, objects, &piece, at)?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    fn each_inflated(
        &mut self,
        scan: &mut Scan<'_>,
        objects: &mut Objects,
        start: u64,
        end: u64,
    ) -> Result<(), Stop> {
        // Of its own: the objects have theirs, and use it between two pieces of this stream.
        let mut budget = Budget::new(&scan.limits);
        let (mut inflater, mut at) = (Inflater::zlib(), start);
        let mut reader = scan.reader.cursor();
        while !inflater.ended() {
            ensure(at < end, at, || "the cross-reference is not finished".to_owned())?;
            let piece = reader.piece(at, end, "a cross-reference")?;
            let used = inflater
                .push(piece, at, &mut budget, |bytes| self.push(scan, objects, bytes, at))?;
            ensure(0 < used || inflater.ended(), at, || "a stream does not go on".to_owned())?;
            at += used as u64;
        }
        Ok(())
    }

    fn push(
        &mut self,
        scan: &mut Scan<'_>,
        objects: &mut Objects,
        bytes: &[u8],
        at: u64,
    ) -> Result<(), Stop> {
        let wanted = self.above.len() + usize::from(self.predicted);
        for byte in bytes {
            self.row.push(*byte);
            if self.row.len() == wanted {
                self.predict(at)?;
                self.row.clear();
                self.entry(scan, objects, at)?;
            }
        }
        Ok(())
    }

    /// PNG's filters (its section 9.2) on rows of one byte a pixel; the result is in `above`.
    fn predict(&mut self, at: u64) -> Result<(), Stop> {
        let (filter, row) = match (self.predicted, self.row.split_first()) {
            (true, Some((filter, row))) => (*filter, row),
            _ => (0, self.row.as_slice()),
        };
        let (mut left, mut corner) = (0_u8, 0_u8);
        for (above, byte) in self.above.iter_mut().zip(row) {
            let up = *above;
            let guess = match filter {
                0 => 0,
                1 => left,
                2 => up,
                3 => ((u16::from(left) + u16::from(up)) / 2) as u8,
                4 => paeth(left, up, corner),
                other => return Err(invalid(at, format!("prediction {other}"))),
            };
            *above = byte.wrapping_add(guess);
            (left, corner) = (*above, up);
        }
        Ok(())
    }

    fn entry(&mut self, scan: &mut Scan<'_>, objects: &mut Objects, at: u64) -> Result<(), Stop> {
        let mut fields = [0_u64; 3];
        let mut rest = self.above.as_slice();
        for (field, width) in fields.iter_mut().zip(self.widths) {
            let (bytes, after) = rest.split_at_checked(width).unwrap_or((rest, &[]));
            *field = bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
            rest = after;
        }
        let [kind, offset, generation] = fields;
        // Without a first field all entries are of type 1.
        let kind = if matches!(self.widths, [0, ..]) { 1 } else { kind };
        let number = self.number().ok_or_else(|| invalid(at, "more entries than the index has"))?;
        match kind {
            1 => objects.check(scan, offset, number, generation),
            _ => scan.count(at),
        }
    }

    /// The number of the object of the next row.
    fn number(&mut self) -> Option<u64> {
        loop {
            let (pair, done) = self.place;
            let (first, count) = (self.index.get(pair * 2)?, self.index.get(pair * 2 + 1)?);
            if done < *count {
                self.place.1 += 1;
                return Some(first + done);
            }
            self.place = (pair + 1, 0);
        }
    }

    fn finish(&mut self, at: u64) -> Result<(), Stop> {
        let whole = self.row.is_empty() && self.number().is_none();
        ensure(whole, at, || "fewer entries than the index has".to_owned())
    }
}

/// PNG, section 9.4.
fn paeth(left: u8, up: u8, corner: u8) -> u8 {
    let estimate = i16::from(left) + i16::from(up) - i16::from(corner);
    let distance = |value: u8| (estimate - i16::from(value)).abs();
    if distance(left) <= distance(up) && distance(left) <= distance(corner) {
        left
    } else if distance(up) <= distance(corner) {
        up
    } else {
        corner
    }
}

/// A number of the dictionary of decoding parameters, or of the first of several.
fn parameter(tokens: &[Token], key: &[u8]) -> Option<u64> {
    tokens.windows(2).find_map(|pair| match pair {
        [Token::Name(name), Token::Integer(value)] if name.as_slice() == key => Some(*value),
        _ => None,
    })
}
