//! Host side of Backlot's WIT packages, generated once because it is slow to compile.
//!
//! Every import is async (the host may wait) and trappable (our own bugs, and parking, end the
//! guest rather than pass for an answer). Resources are the generated marker types: a capability
//! keeps its own struct in the `ResourceTable` and converts the handle by its number.
#![allow(missing_docs, reason = "generated from wit/, where every item is documented")]

wasmtime::component::bindgen!({
    inline: "
        package backlot:host@0.1.0;
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
    world: "backlot:host/everything",
    imports: { default: async | trappable },
    exports: { default: async },
});
