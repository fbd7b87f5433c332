//! What an HTTP guest writes to its standard output and error: into the server's log, by line and
//! within a bound, as it is written.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use super::profile::Profile;
use crate::logs::{LINE_MAX_BYTES, WRITE_MAX_BYTES};

/// The log of one instance. Clones write to the same one.
#[derive(Clone)]
pub(crate) struct Output {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    profile: Arc<Profile>,
    /// What may still be logged for the request at work, in bytes.
    left_bytes: usize,
    dropped_bytes: u64,
    partial: [Vec<u8>; 2],
}

/// One of a guest's two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Stdout,
    Stderr,
}

impl Output {
    pub(crate) fn new(profile: Arc<Profile>) -> Self {
        let left_bytes = profile.limits.log_bytes();
        let inner = Inner { profile, left_bytes, dropped_bytes: 0, partial: Default::default() };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// A request has ended: what is left of its lines is logged, and the next one may log again.
    pub(crate) fn end_request(&self) {
        let mut inner = self.lock();
        for source in [Source::Stdout, Source::Stderr] {
            inner.end_line(source);
        }
        let dropped_bytes = std::mem::take(&mut inner.dropped_bytes);
        if 0 < dropped_bytes {
            let function = &*inner.profile.function;
            tracing::warn!(target: "guest", function, dropped_bytes, "log limit was reached");
        }
        inner.left_bytes = inner.profile.limits.log_bytes();
    }

    pub(crate) fn stream(&self, source: Source) -> OutputTo {
        OutputTo { output: self.clone(), source }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // What a panicking holder left is still a beginning of a line.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn write(&mut self, source: Source, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            for text in text.chunks(LINE_MAX_BYTES) {
                self.append(source, text);
            }
            if ends {
                self.end_line(source);
            }
        }
    }

    /// At most a line's length.
    fn append(&mut self, source: Source, text: &[u8]) {
        let kept = self.profile.log_rate.take(text.len().min(self.left_bytes));
        self.left_bytes -= kept;
        self.dropped_bytes += (text.len() - kept) as u64;
        if LINE_MAX_BYTES < self.partial(source).len() + kept {
            self.end_line(source);
        }
        self.partial(source).extend_from_slice(text.get(..kept).unwrap_or_default());
    }

    fn partial(&mut self, source: Source) -> &mut Vec<u8> {
        let [stdout, stderr] = &mut self.partial;
        if source == Source::Stderr { stderr } else { stdout }
    }

    fn end_line(&mut self, source: Source) {
        let line = std::mem::take(self.partial(source));
        if line.is_empty() {
            return;
        }
        let (function, version) = (&*self.profile.function, self.profile.version.as_str());
        let line = String::from_utf8_lossy(&line);
        let stream = if source == Source::Stderr { "stderr" } else { "stdout" };
        tracing::info!(target: "guest", function, version, stream, "{line}");
    }
}

/// One stream of the guest's. Always ready: what is too much is dropped, nobody waits.
#[derive(Clone)]
pub(crate) struct OutputTo {
    output: Output,
    source: Source,
}

impl OutputTo {
    fn log(&self, bytes: &[u8]) {
        self.output.lock().write(self.source, bytes);
    }
}

impl IsTerminal for OutputTo {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for OutputTo {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for OutputTo {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        self.log(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_MAX_BYTES)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for OutputTo {
    async fn ready(&mut self) {}
}

impl AsyncWrite for OutputTo {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.log(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
