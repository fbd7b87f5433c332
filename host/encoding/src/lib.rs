//! Video encoding: raw frames in, AV1 packets out, for all renditions of a ladder at once.
//!
//! An [`Encoder`] owns the process's encoding threads; a [`Session`] is one encode. The caller
//! pushes frames of a fixed shape, each rung scales them to its size and encodes them with rav1e,
//! and packets come out in order for each rung.
//!
//! **Invariant: the packets of a film are those of its parts.** Encoding N frames in one session,
//! or in several sessions cut at multiples of the GOP, gives the same bytes, whatever the number of
//! threads and of other sessions.
//!
//! # Memory
//!
//! A session holds at most [`QUEUE_BYTES_MAX`] of waiting frames (but at least
//! [`QUEUE_FRAMES_MIN`] frames), one frame being pushed, [`UNDELIVERED_BYTES_MAX`] of packets and
//! one packet for each slot, and for each rung what rav1e keeps for its lookahead: measured 98 MB at
//! 360p and 284 MB at 720p at speed 10, a quarter more at speed 6, half more at speed 4. There are
//! at most [`SESSIONS_PER_SLOT`] × slots sessions, and for each slot one encoder that was cancelled
//! in the middle of a step.
//!
//! # Cancelling
//!
//! Dropping a [`Session`] or one of its futures returns at once, frees what was waiting and gives
//! the session's slots to others. rav1e cannot be stopped inside a frame: a thread that is in the
//! middle of one ends it at the lowest priority (nice 19), no longer holding a slot, and then ends
//! itself; its time is still accounted. That is CPU time of at most 0.1 s at 360p, 0.3 s at 720p and
//! 0.5 s at 1080p at speed 10 (a key frame takes longest), 0.5, 1.7 and 2.6 s at speed 6, and 2.5 s
//! at 360p and 9 s at 720p at speed 4 (`examples/measure.rs` shows it as the longest step).

mod error;
mod frame;
pub mod guest;
mod level;
mod obu;
mod pool;
mod rung;
mod scale;
mod session;
mod settings;
pub mod testing;

pub use error::EncodeError;
pub use frame::Frame;
pub use level::Level;
pub use pool::{Counters, CpuAccount, UNDELIVERED_BYTES_MAX};
pub use session::{
    DELIVERY_BYTES_MAX, Encoder, EncoderConfig, Packet, QUEUE_BYTES_MAX, QUEUE_FRAMES_MAX,
    QUEUE_FRAMES_MIN, SESSIONS_PER_SLOT, Session,
};
pub use settings::{
    CheckedSettings, Chroma, Colour, FRAMES_PER_SECOND_MAX, GOP_FRAMES_MAX, LUMA_SAMPLES_MAX,
    Picture, RUNG_NAME_BYTES_MAX, RUNG_SIDE_PX_MIN, RUNGS_MAX, Rung, SIDE_PX_MAX, SPEED_MAX,
    Settings,
};
