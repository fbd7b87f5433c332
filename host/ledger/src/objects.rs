//! Index of buckets, objects and multipart uploads, in the same transactions as events.

mod error;
mod types;

pub use error::IndexError;
pub use types::*;
