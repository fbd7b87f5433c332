//! HTTP functions: real guests behind a real listener.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "in a test a panic is the failure it should be"
)]

mod answers;
mod capabilities;
mod outbound;
mod routes;
mod support;
mod swaps;
