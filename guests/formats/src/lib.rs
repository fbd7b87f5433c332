//! What a file is, and whether it is whole.
//!
//! Runs inside the Wasm sandbox, where its caller reads the upload piece by piece. No file is
//! held whole: the working memory stays under 4 MiB whatever its size (but for large zstd windows,
//! see [`Limits::zstd_window_bytes`]), and every count that a file states has a limit
//! ([`Limits`]). Nothing is decoded but Deflate and Zstandard, for the checksums behind them.
//!
//! [`validate`] recognises a format by its magic number, compares it with what was declared, and
//! walks every structure from the first byte to the logical end. What follows that end is
//! reported apart ([`Trailing`]): to other programs it may be another file. Archives inside
//! archives are bytes.
//!
//! Walked are PNG, JPEG, GIF, WebP, HEIC, AVIF, MP4, M4A, QuickTime, Matroska, WebM, MPEG-TS,
//! YUV4MPEG2, IVF, WAV, FLAC, MP3, Ogg, PDF, ZIP (OOXML, OpenDocument, EPUB, JAR), gzip,
//! Zstandard, JSON, CSV, XML, SVG, SubRip, WebVTT and text. Each walker says in its file what it
//! cannot know.
#![forbid(unsafe_code)]

mod checksum;
mod declared;
mod detect;
mod format;
mod inflate;
mod input;
mod limits;
mod report;
mod scan;
mod stop;
mod walk;
mod walkers;

pub use declared::{Declared, Disagreement};
pub use format::Format;
pub use input::{Input, InputError, READ_BYTES_MAX};
pub use limits::Limits;
pub use report::{Report, Trailing, Verdict};
pub use walk::{Guard, Structure, Walk};

use input::Reader;
use scan::Scan;
use stop::Stop;

/// Walks a file to its end.
///
/// # Errors
/// [`InputError`] where the bytes could not be had. What is wrong with the file is no error.
pub fn validate(
    input: &dyn Input,
    declared: &Declared,
    limits: &Limits,
) -> Result<Report, InputError> {
    let mut reader = Reader::new(input);
    let format = match detect::detect(&mut reader, declared) {
        Ok(Some(format)) => format,
        Ok(None) => return Ok(unknown(input.is_empty())),
        Err(Stop::Input(error)) => return Err(error),
        Err(Stop::Invalid { offset, what } | Stop::Unsupported { offset, what }) => {
            let verdict = Verdict::Invalid { format: None, offset, what };
            return Ok(bare(verdict));
        }
    };
    let mut scan = Scan::new(reader, *limits, format);
    let (verdict, trailing) = match walkers::walk(&mut scan) {
        Ok(end) => {
            let trailing = behind(&mut scan.reader, end)?;
            let facts = std::mem::take(&mut scan.facts);
            (Verdict::Valid { format: scan.format, facts }, trailing)
        }
        Err(Stop::Invalid { offset, what }) => {
            (Verdict::Invalid { format: Some(scan.format), offset, what }, None)
        }
        Err(Stop::Unsupported { offset, what }) => {
            (Verdict::Unsupported { format: Some(scan.format), offset, what }, None)
        }
        Err(Stop::Input(error)) => return Err(error),
    };
    let disagreements = declared.disagreements(scan.format);
    Ok(Report { verdict, disagreements, trailing, walk: scan.walk })
}

fn bare(verdict: Verdict) -> Report {
    Report { verdict, disagreements: Vec::new(), trailing: None, walk: Walk::default() }
}

fn unknown(empty: bool) -> Report {
    bare(if empty {
        Verdict::Invalid { format: None, offset: 0, what: "the file is empty".to_owned() }
    } else {
        let what = "no known format begins like this, and it is not text".to_owned();
        Verdict::Unsupported { format: None, offset: 0, what }
    })
}

fn behind(reader: &mut Reader<'_>, end: u64) -> Result<Option<Trailing>, InputError> {
    let Some(len) = reader.len().checked_sub(end).filter(|len| 0 < *len) else { return Ok(None) };
    match detect::by_magic(reader, end) {
        Ok(looks_like) => Ok(Some(Trailing { offset: end, len, looks_like })),
        Err(Stop::Input(error)) => Err(error),
        Err(_) => Ok(Some(Trailing { offset: end, len, looks_like: None })),
    }
}
