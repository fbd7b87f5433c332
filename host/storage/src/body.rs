//! A body on its way into a blob: digested and written away from the async threads, a chunk at a
//! time, so that a slow disk holds back the client instead of filling the memory.

use std::fs::File;

use backlot_ledger::objects::{BlobId, NewContent};
use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::digest::{Digested, Digests};
use crate::limits::at_most;
use crate::store::{Result, Shared};
use crate::{ChecksumAlgorithm, Expected, StoreError};
use std::sync::Arc;

/// Bytes gathered before they are handed to a blocking thread: large enough that the hand-over
/// costs little, small enough that a thousand slow uploads fit in memory. At most twice this, and
/// the chunk that filled it, are held for one body.
const BATCH_BYTES: usize = 256 * 1024;

/// A body under way. Dropped before it is committed: its file is removed.
pub(crate) struct Body {
    shared: Arc<Shared>,
    expected: Expected,
    size: u64,
    batch: Vec<Bytes>,
    batch_bytes: usize,
    state: State,
}

enum State {
    /// Nothing was handed over yet.
    Small(Box<Digests>),
    /// A blocking thread has it, or had it and it waits for the next batch.
    Large(JoinHandle<Result<Sink>>),
    /// Something failed, or it is finished.
    Ended,
}

/// A large body's file, which goes with it unless it is kept.
struct Sink {
    file: File,
    digests: Box<Digests>,
    arrival: Arrival,
}

/// A body that is durable, or becomes so with its commit.
pub(crate) struct Stored {
    pub(crate) digested: Digested,
    pub(crate) content: NewContent,
    /// To be kept until the commit is answered.
    pub(crate) arrival: Arrival,
}

/// A blob that the ledger does not know yet: its file is removed unless it is accepted.
pub(crate) struct Arrival {
    shared: Arc<Shared>,
    id: BlobId,
    /// Whether there is a file to remove.
    pub(crate) file: bool,
}

impl Arrival {
    fn new(shared: &Arc<Shared>) -> Arrival {
        let id = BlobId::new();
        shared.pins.arrive(id);
        Arrival { shared: shared.clone(), id, file: false }
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        if self.file
            && let Err(err) = self.shared.disk.remove(self.id)
        {
            tracing::warn!(blob = %self.id, %err, "an abandoned blob stays until the next sweep");
        }
        self.shared.pins.arrived(self.id);
    }
}

impl Body {
    pub(crate) fn new(shared: Arc<Shared>, expected: Expected) -> Result<Body> {
        if let Some(size) = expected.size {
            at_most("body bytes", size, shared.limits.put_bytes_max)?;
        }
        let state = State::Small(Box::new(Digests::new(&expected)));
        Ok(Body { shared, expected, size: 0, batch: Vec::new(), batch_bytes: 0, state })
    }

    pub(crate) fn expect_checksum(
        &mut self,
        algorithm: ChecksumAlgorithm,
        base64: String,
    ) -> Result<()> {
        let known = self.expected.checksums.iter().any(|(known, _)| *known == algorithm);
        if !known {
            let text = format!("a {algorithm:?} checksum came that was not announced");
            return Err(StoreError::Invalid(text));
        }
        self.expected.checksums.push((algorithm, Some(base64)));
        Ok(())
    }

    pub(crate) async fn write(&mut self, data: Bytes) -> Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        self.size = self.size.saturating_add(data.len() as u64);
        at_most("body bytes", self.size, self.shared.limits.put_bytes_max)?;
        if let Some(expected) = self.expected.size.filter(|expected| *expected < self.size) {
            return Err(StoreError::WrongSize { expected, got: self.size });
        }
        self.batch_bytes += data.len();
        self.batch.push(data);
        if BATCH_BYTES <= self.batch_bytes { self.hand_over().await } else { Ok(()) }
    }

    /// Gives the batch to a blocking thread, once the one before is written.
    async fn hand_over(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        let shared = self.shared.clone();
        let job = match std::mem::replace(&mut self.state, State::Ended) {
            State::Ended => return Err(spent()),
            State::Small(digests) => {
                self.shared.disk_job(move || append(Sink::create(&shared, digests)?, &batch)).await
            }
            State::Large(job) => {
                let sink = joined(job).await?;
                self.shared.disk_job(move || append(sink, &batch)).await
            }
        };
        self.state = State::Large(job?);
        Ok(())
    }

    /// Verifies what was expected and makes the bytes durable (small ones will be so by the
    /// commit that carries them).
    pub(crate) async fn finish(mut self) -> Result<Stored> {
        if let Some(expected) = self.expected.size.filter(|expected| *expected != self.size) {
            return Err(StoreError::WrongSize { expected, got: self.size });
        }
        let batch = std::mem::take(&mut self.batch);
        let (expected, size, shared) = (self.expected, self.size, self.shared);
        let inline = self.batch_bytes <= shared.limits.inline_bytes_max;
        match self.state {
            State::Ended => Err(spent()),
            State::Small(mut digests) if inline => {
                let mut data = Vec::with_capacity(self.batch_bytes);
                batch.iter().for_each(|chunk| data.extend_from_slice(chunk));
                digests.update(&data);
                let digested = digests.finish(&expected)?;
                let arrival = Arrival::new(&shared);
                let content = NewContent { blob: arrival.id, size, data: Some(data) };
                Ok(Stored { digested, content, arrival })
            }
            State::Small(digests) => {
                let sharing = shared.clone();
                let job = shared.disk_job(move || {
                    flush(append(Sink::create(&sharing, digests)?, &batch)?, &expected, size)
                });
                joined(job.await?).await
            }
            State::Large(job) => {
                let sink = joined(job).await?;
                let job = shared.disk_job(move || flush(append(sink, &batch)?, &expected, size));
                joined(job.await?).await
            }
        }
    }
}

impl Sink {
    fn create(shared: &Arc<Shared>, digests: Box<Digests>) -> Result<Sink> {
        let mut arrival = Arrival::new(shared);
        let file = shared.disk.create(arrival.id).map_err(StoreError::Disk)?;
        arrival.file = true;
        Ok(Sink { file, digests, arrival })
    }
}

fn append(mut sink: Sink, batch: &[Bytes]) -> Result<Sink> {
    batch.iter().for_each(|chunk| sink.digests.update(chunk));
    crate::disk::append(&mut sink.file, batch).map_err(StoreError::Disk)?;
    Ok(sink)
}

fn flush(sink: Sink, expected: &Expected, size: u64) -> Result<Stored> {
    let Sink { file, digests, arrival } = sink;
    // What is refused need not be flushed first.
    let digested = digests.finish(expected)?;
    arrival.shared.disk.flush(arrival.id, &file).map_err(StoreError::Disk)?;
    Ok(Stored { digested, content: NewContent { blob: arrival.id, size, data: None }, arrival })
}

/// The answer of a job on a blocking thread.
pub(crate) async fn joined<T>(job: JoinHandle<Result<T>>) -> Result<T> {
    job.await.unwrap_or_else(|err| Err(StoreError::Unavailable(format!("a disk job died: {err}"))))
}

fn spent() -> StoreError {
    StoreError::Invalid("the body failed before".into())
}
