//! Bounds on what a file may ask of us. The sandbox bounds memory and time besides.

/// Limits of [`crate::validate`]. All are inclusive; what is over them is refused with its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Structures (chunks, boxes, pages, entries, frames) walked in one file. 64 M: a day of
    /// MPEG-TS at 100 Mbit/s has 5.7 G packets, which are not counted one by one.
    pub structures: u64,
    /// Structures kept in [`crate::Report::walk`] for printing. 4,096 take about 300 kB.
    pub walk_structures: usize,
    /// Boxes or elements inside each other. Real files stay under 12.
    pub nesting: u32,
    /// Brackets or tags inside each other in JSON and XML. 512: the default of PHP's `json_decode`
    /// (Python's recursion ends near 1,000).
    pub text_nesting: u32,
    /// Entries of an archive. 100,000 take 2.4 MB of the working memory, the largest part of it.
    pub archive_entries: u64,
    /// Bytes that all compressed parts of a file may inflate to. 1 GiB: some seconds of work.
    pub inflated_bytes: u64,
    /// Inflated bytes for each compressed one. 200: Apache POI refuses at 100, sheets and logs of
    /// one repeated row come near to it; Deflate ends at 1,032. The first MiB is free.
    pub inflation_ratio: u64,
    /// Largest window of a zstd frame. 8 MiB, what RFC 8878 section 3.1.1.1.2 asks decoders to
    /// support. It is the one thing that may take more than 4 MiB of working memory: 16 MiB for
    /// a window of 8, 4 for one of 1.
    pub zstd_window_bytes: u64,
    /// Bytes of one line, tag or text between tags, of the formats that are text. 1 MiB.
    pub token_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            structures: 64 << 20,
            walk_structures: 4096,
            nesting: 32,
            text_nesting: 512,
            archive_entries: 100_000,
            inflated_bytes: 1 << 30,
            inflation_ratio: 200,
            zstd_window_bytes: 8 << 20,
            token_bytes: 1 << 20,
        }
    }
}
