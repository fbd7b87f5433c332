//! Any bytes under any name: a report about what is in the file, never a panic or a long wait.
#![no_main]

use backlot_formats::{Declared, Format, Limits, READ_BYTES_MAX, validate};
use libfuzzer_sys::fuzz_target;

/// Bytes that compressed data may inflate to: the fuzzer shall look for bugs, not inflate.
const INFLATED_BYTES: u64 = 4 << 20;

/// An input that refuses reads over the bound that is promised to hosts.
struct Bounded<'a>(&'a [u8]);

impl backlot_formats::Input for Bounded<'_> {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>, backlot_formats::InputError> {
        assert!(len <= READ_BYTES_MAX, "a read of {len} bytes");
        self.0.read_at(offset, len)
    }
}

fuzz_target!(|data: &[u8]| {
    // The first byte chooses the name, for the kinds of text that are told apart by it.
    let Some((first, bytes)) = data.split_first() else { return };
    let format = Format::all().nth(usize::from(*first));
    let extension = format.and_then(|format| format.extensions().next());
    let name = extension.map(|extension| format!("upload.{extension}"));
    let limits = Limits { inflated_bytes: INFLATED_BYTES, ..Limits::default() };
    let declared = Declared { name, content_type: None };
    let report = validate(&Bounded(bytes), &declared, &limits).expect("bytes in memory are read");
    for structure in &report.walk.structures {
        assert!(structure.offset + structure.len <= bytes.len() as u64, "{structure:?}");
    }
    if let Some(trailing) = report.trailing {
        assert_eq!(trailing.offset + trailing.len, bytes.len() as u64);
    }
});
