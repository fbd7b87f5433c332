//! What every walker is given: the input, the limits, and where to note what it met.

use crate::{
    format::Format,
    input::Reader,
    limits::Limits,
    stop::{Stop, at_most},
    walk::{Guard, Structure, Walk},
};

/// The state of one walk.
pub(crate) struct Scan<'a> {
    pub(crate) reader: Reader<'a>,
    pub(crate) limits: Limits,
    pub(crate) walk: Walk,
    pub(crate) facts: Vec<(&'static str, String)>,
    /// Set by the detector; a walker that learns better refines it (a ZIP that is a DOCX).
    pub(crate) format: Format,
    structures: u64,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(reader: Reader<'a>, limits: Limits, format: Format) -> Self {
        let (walk, facts) = (Walk::default(), Vec::new());
        Self { reader, limits, walk, facts, format, structures: 0 }
    }

    /// Length of the file in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.reader.len()
    }

    /// Notes a structure whose fields were checked.
    pub(crate) fn met(
        &mut self,
        depth: u32,
        name: &str,
        offset: u64,
        len: u64,
    ) -> Result<(), Stop> {
        self.note(depth, name, offset, len, Guard::Fields)
    }

    /// Notes a structure of which a checksum over all bytes agreed.
    pub(crate) fn proved(
        &mut self,
        depth: u32,
        name: &str,
        offset: u64,
        len: u64,
    ) -> Result<(), Stop> {
        self.note(depth, name, offset, len, Guard::Checksum)
    }

    fn note(
        &mut self,
        depth: u32,
        name: &str,
        offset: u64,
        len: u64,
        guard: Guard,
    ) -> Result<(), Stop> {
        self.count(offset)?;
        // The name is copied only where it is kept: files have millions of structures.
        if self.walk.structures.len() < self.limits.walk_structures {
            let structure = Structure { offset, len, depth, name: name.to_owned(), guard };
            self.walk.structures.push(structure);
        } else {
            self.walk.omitted += 1;
        }
        Ok(())
    }

    /// Counts a structure that is too small to be noted.
    pub(crate) fn count(&mut self, offset: u64) -> Result<(), Stop> {
        self.structures += 1;
        at_most("structures", self.structures, self.limits.structures, offset)
    }

    /// Notes a fact for the report.
    pub(crate) fn fact(&mut self, name: &'static str, value: impl ToString) {
        self.facts.push((name, value.to_string()));
    }
}
