//! XML 1.0 (fifth edition): well-formed, with no entities of its own; and SVG.
//!
//! Documents that declare entities are refused rather than expanded: that is how small ones
//! become large. What cannot be known: flipped bits that make another character, and blanks or
//! comments that are missing behind the root.

use std::{cell::Cell, io, rc::Rc};

use xml::{
    common::Position,
    reader::{ErrorKind, EventReader, ParserConfig, XmlEvent},
};

use crate::{
    input::{InputError, Reader},
    scan::Scan,
    stop::{Stop, at_most, ensure, invalid, unsupported},
};

/// Attributes of one element.
const ATTRIBUTES_MAX: usize = 1024;

/// Counts what the parser has read, and ends the input where one token takes too much.
struct Source<'a> {
    reader: Reader<'a>,
    at: Rc<Cell<u64>>,
    /// The parser may read up to here before its next event.
    until: Rc<Cell<u64>>,
    failed: Rc<Cell<Option<InputError>>>,
}

impl io::Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let at = self.at.get();
        let room = usize::try_from(self.until.get().saturating_sub(at)).unwrap_or(usize::MAX);
        if room == 0 && at < self.reader.len() {
            return Err(io::Error::other("a tag or text over the limit"));
        }
        let found = match self.reader.peek(at, buffer.len().min(room)) {
            Ok(found) => found,
            Err(stop) => {
                if let Stop::Input(error) = stop {
                    self.failed.set(Some(error));
                }
                return Err(io::Error::other("the input could not be read"));
            }
        };
        for (to, from) in buffer.iter_mut().zip(found) {
            *to = *from;
        }
        self.at.set(at + found.len() as u64);
        Ok(found.len())
    }
}

pub(super) fn walk(scan: &mut Scan<'_>) -> Result<u64, Stop> {
    let end = scan.len();
    let token_bytes = scan.limits.token_bytes;
    let (at, until, failed) = (Rc::default(), Rc::default(), Rc::default());
    let source = Source {
        reader: scan.reader.cursor(),
        at: Rc::clone(&at),
        until: Rc::clone(&until),
        failed: Rc::clone(&failed),
    };
    let mut parser = EventReader::new_with_config(source, config(token_bytes));
    let mut tree = Tree::default();
    loop {
        let before = at.get();
        until.set(before.saturating_add(token_bytes));
        let event = match parser.next() {
            Ok(event) => event,
            Err(error) => {
                if let Some(error) = failed.take() {
                    return Err(Stop::Input(error));
                }
                let (line, offset) = (parser.position().row + 1, at.get().saturating_sub(1));
                return Err(match error.kind() {
                    _ if until.get() <= at.get() && at.get() < end => unsupported(
                        offset,
                        format!("a token over the limit of {token_bytes} bytes"),
                    ),
                    _ if error.msg().contains("Unsupported encoding") => {
                        unsupported(offset, error.msg().to_lowercase())
                    }
                    ErrorKind::UnexpectedEof => invalid(end, "the document is not finished"),
                    _ => invalid(offset, format!("line {line}: {}", error.msg())),
                });
            }
        };
        if tree.accept(scan, &event, before, at.get())? {
            scan.met(0, "document", 0, end)?;
            scan.fact("elements", tree.elements);
            return Ok(end);
        }
    }
}

fn config(token_bytes: u64) -> ParserConfig {
    let bytes = usize::try_from(token_bytes).unwrap_or(usize::MAX);
    let mut config = ParserConfig::new();
    config.ignore_comments = true;
    config.allow_multiple_root_elements = false;
    config.max_entity_expansion_length = 0;
    config.max_entity_expansion_depth = 1;
    config.max_attributes = ATTRIBUTES_MAX;
    config.max_attribute_length = bytes;
    config.max_data_length = bytes;
    config
}

/// The open elements, by the bytes of their start tags: the parser keeps those.
#[derive(Default)]
struct Tree {
    open: Vec<u64>,
    held_bytes: u64,
    elements: u64,
}

impl Tree {
    /// Checks an event that was read from `start..end`; whether it was the last.
    fn accept(
        &mut self,
        scan: &mut Scan<'_>,
        event: &XmlEvent,
        start: u64,
        end: u64,
    ) -> Result<bool, Stop> {
        match event {
            XmlEvent::StartElement { name, .. } => {
                let root = self.elements == 0;
                self.elements += 1;
                scan.count(start)?;
                let bytes = end.saturating_sub(start);
                self.open.push(bytes);
                self.held_bytes = self.held_bytes.saturating_add(bytes);
                let (depth, most) = (self.open.len() as u64, scan.limits.text_nesting.into());
                at_most("nesting", depth, most, start)?;
                at_most("bytes of open tags", self.held_bytes, scan.limits.token_bytes, start)?;
                if root {
                    scan.fact("root", &name.local_name);
                    let svg = scan.format != crate::Format::Svg || name.local_name == "svg";
                    ensure(svg, start, || format!("the root is {}, not svg", name.local_name))?;
                }
            }
            XmlEvent::EndElement { .. } => {
                let bytes = self.open.pop().unwrap_or(0);
                self.held_bytes = self.held_bytes.saturating_sub(bytes);
            }
            XmlEvent::Doctype { syntax } => {
                ensure(!syntax.contains("<!ENTITY"), start, || {
                    "the document declares entities".to_owned()
                })?;
            }
            XmlEvent::EndDocument => return Ok(true),
            _ => {}
        }
        Ok(false)
    }
}
