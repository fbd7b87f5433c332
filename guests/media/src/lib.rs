//! Demuxers and decoders for uploads: hostile input in, checked frames and PCM out.
//!
//! Runs inside the Wasm sandbox, where its caller reads the upload piece by piece. Nothing here
//! reads a whole file, and every count that the file states has a limit ([`Limits`]). The codecs
//! themselves are crates of others; this one checks what they are given (parameter sets, sizes),
//! gives them one sample at a time, and checks what comes back.
//!
//! - [`index`] reads the headers of MP4, MOV, Matroska, WebM and Y4M into an [`Index`]: where
//!   each sample is and when it is presented, after edit lists and codec delays.
//! - [`VideoPlan`] numbers the presented frames; [`VideoDecoder`] decodes any range of them.
//!   However a film is cut into ranges, each frame comes out once.
//! - [`AudioDecoder`] gives the presented PCM, priming and padding removed.
//!
//! What cannot be read is an error that names it and lists what can ([`supported`]).

mod audio;
mod bytes;
mod error;
mod frame;
mod input;
mod limits;
mod mkv;
mod model;
mod mp4;
mod pack;
mod plan;
mod probe;
mod reader;
mod sniff;
mod syntax;
mod video;
mod y4m;

pub use audio::{AudioBlock, AudioDecoder, ChannelLayout};
pub use error::{MediaError, supported};
pub use frame::{Frame, rotate};
pub use input::{Input, READ_BYTES_MAX};
pub use limits::Limits;
pub use model::{
    AudioInfo, Chroma, Codec, Colour, Container, Edit, Index, Rotation, Sample, Track, TrackKind,
    VideoInfo,
};
pub use plan::{RangePlan, VideoPlan};
pub use video::VideoDecoder;

/// Bytes at the front of a file that tell its kind.
const HEAD_BYTES: usize = 4096;

/// Reads where the samples of a file are, and checks that its main video can be decoded.
///
/// Reads the headers, and the first pictures of each video track; not the media.
///
/// # Errors
/// [`MediaError::Unsupported`] for other kinds of files, codecs or features;
/// [`MediaError::Damaged`] for files that end too early or contradict themselves;
/// [`MediaError::OverLimit`] for what is larger than `limits`.
pub fn index(input: &dyn Input, limits: &Limits) -> Result<Index, MediaError> {
    let head = input.read_at(0, HEAD_BYTES)?;
    let index = if mp4::is_mp4(&head) {
        mp4::index(input, limits)?
    } else if mkv::is_matroska(&head) {
        mkv::index(input, limits)?
    } else if y4m::is_y4m(&head) {
        y4m::index(input, &head, limits)?
    } else {
        return Err(sniff::refuse(&head));
    };
    index.main_video()?;
    Ok(index)
}
