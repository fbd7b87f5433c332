//! An object as the walkers read it: piece by piece, pinned to its bytes.

use std::cell::Cell;

use backlot_formats::{Declared, Input, InputError};
use backlot_sdk::bindings::backlot::function::context::Progress;
use backlot_sdk::context;
use backlot_sdk::objects::{self, ObjectInfo, Pinned, Reader};

use crate::fault::Fault;

/// Bytes between two reports of progress.
const REPORT_BYTES: u64 = 16 << 20;

/// An open object.
pub struct Source {
    reader: Reader,
    info: ObjectInfo,
    /// How far it was read.
    reached: Cell<u64>,
    reported: Cell<u64>,
}

impl Source {
    /// Opens it. [`Fault::Gone`] if it was deleted or replaced.
    pub fn open(object: &Pinned) -> Result<Self, Fault> {
        let source = Self::current(&object.bucket, &object.key, Some(&object.version))?;
        if source.info.content_id == object.content_id { Ok(source) } else { Err(Fault::Gone) }
    }

    /// Opens whatever is there now.
    pub fn current(bucket: &str, key: &str, version: Option<&str>) -> Result<Self, Fault> {
        let reader = objects::open(bucket, key, version)?;
        let info = reader.info();
        Ok(Self { reader, info, reached: Cell::new(0), reported: Cell::new(0) })
    }

    /// What is known of it.
    pub fn info(&self) -> &ObjectInfo {
        &self.info
    }

    /// What its sender says it is.
    pub fn declared(&self) -> Declared {
        Declared { name: Some(self.info.key.clone()), content_type: self.info.content_type.clone() }
    }
}

impl Input for Source {
    fn len(&self) -> u64 {
        self.info.size
    }

    fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>, InputError> {
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        let bytes = self.reader.read(offset, len);
        let bytes = bytes.map_err(|error| InputError(Fault::from(error).to_string()))?;
        let end = offset + bytes.len() as u64;
        self.reached.set(self.reached.get().max(end));
        if self.reported.get() + REPORT_BYTES <= self.reached.get() {
            self.reported.set(self.reached.get());
            context::report_progress(&[Progress {
                name: "walk".to_owned(),
                done: self.reached.get(),
                total: self.info.size,
                unit: "bytes".to_owned(),
            }]);
        }
        Ok(bytes)
    }
}
