//! Fixes the features of shared dependencies; see Cargo.toml.
