//! The front doors: S3, HTTP for people and programs, and HTTP functions, over one kind of listener.
//!
//! Each front door is a hyper service; [`serve`] puts it behind the same limits, time-outs and
//! drain. Nothing here decides what is stored or run: that is the store's and the runtime's.

pub mod functions;
pub mod s3;
pub mod serve;
pub mod web;
