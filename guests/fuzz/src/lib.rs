//! Coverage-guided fuzzing of what reads untrusted media.
//!
//! ```sh
//! cargo install cargo-fuzz --locked
//! guests/fuzz/seeds.sh                  # small films of every container and codec, as a start
//! cd guests/fuzz && cargo fuzz run --sanitizer none demux corpus/demux -- -max_total_time=600
//! ```
//! What is found goes into the tests of guests/media or guests/formats as the case that failed.
//! `formats` starts from the files that the tests of guests/formats have made (see seeds.sh).

use backlot_media::{Input, MediaError};

/// Bytes in memory as a film.
pub struct Bytes<'a>(pub &'a [u8]);

impl Input for Bytes<'_> {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>, MediaError> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.0.get(offset..));
        let rest = rest.unwrap_or_default();
        Ok(rest.get(..len).unwrap_or(rest).to_vec())
    }
}
