//! Any bytes as a film: an index or a reason, never a panic, and an index is read back as written.
#![no_main]

use backlot_fuzz::Bytes;
use backlot_media::{Index, Limits, index};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(found) = index(&Bytes(data), &Limits::default()) {
        let stored = found.to_bytes().expect("an index can be stored");
        let read = Index::from_bytes(&stored).expect("a stored index can be read");
        assert_eq!(read.to_bytes().expect("and stored again"), stored);
    }
    // And as an index that somebody else wrote.
    drop(Index::from_bytes(data));
});
