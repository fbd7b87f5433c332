//! What a Rust guest needs: the bindings of Backlot's WIT packages, under short names.
//!
//! ```ignore
//! use backlot_sdk::{Event, Failure, Handler};
//!
//! struct Hello;
//!
//! impl Handler for Hello {
//!     fn handle(event: Event) -> Result<Option<Vec<u8>>, Failure> {
//!         Ok(Some(format!("hello, {}", event.kind).into_bytes()))
//!     }
//! }
//!
//! backlot_sdk::export!(Hello);
//! ```
//! A component imports only what its code calls, whatever the world lists.

/// The generated bindings, as wit-bindgen names them.
#[allow(missing_docs, unsafe_code, clippy::all, reason = "generated from wit/")]
pub mod bindings {
    wit_bindgen::generate!({
        inline: "
            package backlot:guest@0.1.0;
            world everything {
                include backlot:function/function@0.1.0;
                include backlot:storage/imports@0.1.0;
                include backlot:encoding/imports@0.1.0;
            }
        ",
        path: [
            "../../wit/function/0.1.0",
            "../../wit/storage/0.1.0",
            "../../wit/encoding/0.1.0",
        ],
        world: "backlot:guest/everything",
        pub_export_macro: true,
        default_bindings_module: "backlot_sdk::bindings",
        generate_all,
    });
}

pub use bindings::backlot::encoding::encoder;
pub use bindings::backlot::function::types::{Event, Failure, RetryRequest};
pub use bindings::backlot::function::{children, context};
pub use bindings::backlot::storage::{antivirus, backup, changes, objects};
/// Export a [`Handler`] as the component's `backlot:function/handler`.
pub use bindings::export;
pub use bindings::exports::backlot::function::handler::Guest as Handler;
