//! The guests that ship inside the binary, as components built from guests/ by this crate's build
//! script. With the feature `fixtures` also the small guests that tests of the host run.

/// A guest in the binary.
#[derive(Clone, Copy, Debug)]
pub struct Builtin {
    /// The function's name, as its manifest says.
    pub name: &'static str,
    /// The component's bytes.
    pub component: &'static [u8],
    /// The manifest, TOML.
    pub manifest: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/guests.rs"));
