//! MP4 and QuickTime: boxes to a sample index, whole files and fragmented ones.
//!
//! The walker is our own because it must take what cameras and phones write (boxes unknown,
//! out of order, in QuickTime's older forms), read only headers of a file that may be large,
//! and bound every table before it is made.

mod boxes;
mod edits;
mod entry;
mod fragments;
mod tables;
mod tracks;

use boxes::{FileBoxes, name};

use crate::{
    error::{MediaError, at_most},
    input::{Input, Window, read_exact},
    limits::Limits,
    model::{Container, Index},
    probe,
};

/// Bytes read at a time while walking the top of the file: enough for a small `moof`.
const WINDOW_BYTES: usize = 16 << 10;

/// Whether these first bytes are an ISO base media file.
pub(crate) fn is_mp4(head: &[u8]) -> bool {
    const KINDS: [&[u8; 4]; 8] =
        [b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp", b"pnot"];
    head.get(4..8).is_some_and(|kind| KINDS.iter().any(|known| known.as_slice() == kind))
}

/// Reads the index of a file.
pub(crate) fn index(input: &dyn Input, limits: &Limits) -> Result<Index, MediaError> {
    let window = Window::new(input, WINDOW_BYTES);
    let mut top = FileBoxes::new(&window, limits);
    let mut movie = None;
    let mut data_seen = false;
    let mut cut = None;
    while let Some(found) = top.next()? {
        match &found.kind {
            b"moov" if movie.is_none() => {
                movie = Some(tracks::Movie::parse(&body(input, &found, limits)?, limits)?);
            }
            b"moof" => {
                let movie: &mut tracks::Movie = movie.as_mut().ok_or_else(|| {
                    MediaError::damaged_at(
                        "a fragment comes before the movie's header",
                        found.start,
                    )
                })?;
                if found.cut {
                    return Err(cut_off(&found));
                }
                fragments::add(movie, &body(input, &found, limits)?, found.start, limits)
                    .map_err(|error| error.at(found.start))?;
            }
            b"mdat" => data_seen = true,
            _ => {}
        }
        if found.cut {
            cut = Some(found);
        }
    }
    if let Some(found) = cut {
        return Err(cut_off(&found));
    }
    let movie = movie.ok_or_else(|| {
        MediaError::damaged(if data_seen {
            "it has media but no header (moov): the recording or upload was not finished"
        } else {
            "it has no header (moov)"
        })
    })?;
    let tracks = movie.finish(input.len())?;
    let mut index = Index { container: Container::Mp4, tracks };
    probe::complete(&mut index, input, limits)?;
    Ok(index)
}

fn body(input: &dyn Input, found: &boxes::FileBox, limits: &Limits) -> Result<Vec<u8>, MediaError> {
    if found.cut {
        return Err(cut_off(found));
    }
    let len = found.end - found.body;
    at_most("bytes of the file's header", len, limits.header_bytes)?;
    let len = usize::try_from(len).map_err(|_| cut_off(found))?;
    read_exact(input, found.body, len, "the header")
}

fn cut_off(found: &boxes::FileBox) -> MediaError {
    let name = name(found.kind);
    MediaError::damaged_at(
        format!("it ends inside box {name}: the upload is incomplete"),
        found.start,
    )
}
