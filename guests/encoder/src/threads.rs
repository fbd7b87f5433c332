//! Threads where there are none.
//!
//! The standard library for `wasm32-wasip1` calls the C library's thread functions, and the C
//! library answers that it cannot. Releases of wasi-libc before 2024, Debian's among them, do not
//! have these functions at all; then they are here. The decoders never start a thread by
//! themselves: these are only what their code could call.

use std::ffi::{c_int, c_void};

/// "Resource temporarily unavailable" of wasi-libc: what `pthread_create` answers when it cannot.
const EAGAIN: c_int = 6;

/// Attributes are of no consequence to threads that are not started.
#[unsafe(no_mangle)]
extern "C" fn pthread_attr_init(_attributes: *mut c_void) -> c_int {
    0
}

#[unsafe(no_mangle)]
extern "C" fn pthread_attr_setstacksize(_attributes: *mut c_void, _bytes: usize) -> c_int {
    0
}

#[unsafe(no_mangle)]
extern "C" fn pthread_attr_destroy(_attributes: *mut c_void) -> c_int {
    0
}

/// No thread is started, and the caller is told so.
#[unsafe(no_mangle)]
extern "C" fn pthread_create(
    _thread: *mut c_void,
    _attributes: *const c_void,
    _begin: extern "C" fn(*mut c_void) -> *mut c_void,
    _argument: *mut c_void,
) -> c_int {
    EAGAIN
}

#[unsafe(no_mangle)]
extern "C" fn pthread_join(_thread: *mut c_void, _value: *mut *mut c_void) -> c_int {
    EAGAIN
}

#[unsafe(no_mangle)]
extern "C" fn pthread_detach(_thread: *mut c_void) -> c_int {
    EAGAIN
}
