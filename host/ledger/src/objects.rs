//! Index of buckets, objects, versions and multipart uploads, in the same transactions as events.
//!
//! The index says what an object is: attributes, and a list of [`Piece`]s of blobs. It counts the
//! references to each blob; one that is down to none stays known until [`Ledger::forget_blobs`]
//! (so that readers may finish), and its bytes are removed by whoever called that.
//!
//! [`Ledger::forget_blobs`]: crate::Ledger::forget_blobs

mod blobs;
mod buckets;
mod changes;
mod error;
mod listing;
mod lists;
mod notice;
mod read;
mod remove;
mod rows;
mod tags;
mod types;
mod uploads;
mod write;

pub use changes::{CHANGES_MAX, ChangeKind, ChangesPage, ChangesQuery, ObjectChange};
pub use error::IndexError;
pub use notice::{CREATED, REMOVED, VERSION_REMOVED};
pub use read::Content;
pub use remove::Removal;
pub use tags::Tagging;
pub use types::*;
pub use uploads::{Completion, NewPart, NewUpload, PartContent, Sealed};
pub use write::{Composition, CopyOf, NewContent, NewObject, Origin, PIECES_MAX};

/// What a change of the index answers.
#[derive(Clone, Debug)]
pub struct Committed<T> {
    /// The answer.
    pub value: T,
    /// Blobs that nothing refers to any more.
    pub garbage: Vec<BlobId>,
    /// It is the answer of an effect that was done before: nothing was done now.
    pub again: bool,
}
