//! The front doors: S3, and HTTP for people and programs, over one kind of listener.
//!
//! Each front door is a hyper service; [`serve`] puts it behind the same limits, time-outs and
//! drain. Nothing here decides what is stored or run: that is the store's and the runtime's.

pub mod s3;
pub mod serve;
pub mod web;
