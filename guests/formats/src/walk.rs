//! The structures of a file as they were met, for printing.

use std::fmt;

/// Bytes of a structure's name that are kept: names can come from the file.
const NAME_BYTES_MAX: usize = 64;

/// What protects the bytes of a structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// Nothing: only its place and its fields were checked.
    Fields,
    /// A checksum over all of its bytes was computed and agreed.
    Checksum,
}

/// A chunk, segment, box, page, entry or frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Structure {
    /// Offset of its first byte in the file.
    pub offset: u64,
    /// Its bytes with its header.
    pub len: u64,
    /// 0 for those that lie directly in the file.
    pub depth: u32,
    /// Its name in the format's specification; what comes from the file is escaped.
    pub name: String,
    /// What protects it.
    pub guard: Guard,
}

/// The first structures of a file in the order they were checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Walk {
    /// At most [`crate::Limits::walk_structures`].
    pub structures: Vec<Structure>,
    /// How many more there were.
    pub omitted: u64,
}

impl fmt::Display for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Structure { offset, len, depth, name, guard } in &self.structures {
            let mark = if *guard == Guard::Checksum { " (checksum)" } else { "" };
            let indent = *depth as usize * 2;
            writeln!(f, "{offset:>12} {len:>12} {:indent$}{name}{mark}", "")?;
        }
        if 0 < self.omitted {
            writeln!(f, "{:>25} and {} more", "", self.omitted)?;
        }
        Ok(())
    }
}

/// A name that came from the file: printable, and bounded.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let bytes = bytes.get(..NAME_BYTES_MAX).unwrap_or(bytes);
    String::from_utf8_lossy(bytes).chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
