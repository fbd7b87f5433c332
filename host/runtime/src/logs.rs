//! What a guest writes to its standard output and error, by line and within a bound.
//!
//! The first half of the bound keeps how it began, the second half how it ended: a guest that
//! floods its log still leaves the panic message that explains it.

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use backlot_ledger::{InvocationId, LogLine, LogSource};
use jiff::Timestamp;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::log_rate::LogRate;

/// Longest line in bytes; longer ones are split.
pub(crate) const LINE_MAX_BYTES: usize = 8 << 10;

/// What a line costs against the bound beyond its text: its time and source.
const LINE_OVERHEAD_BYTES: usize = 32;

/// Host lines (traps, limits, refused calls) that an attempt keeps beside the guest's own: so many
/// at most, so that refused calls in a loop do not grow without end.
const HOST_LINES_MAX: usize = 256;

/// What one write may carry, in bytes.
pub(crate) const WRITE_MAX_BYTES: usize = 64 << 10;

/// The log of one attempt. Clones write to the same one.
#[derive(Clone)]
pub(crate) struct AttemptLog {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    half_bytes: usize,
    head: Vec<LogLine>,
    head_bytes: usize,
    head_full: bool,
    tail: VecDeque<LogLine>,
    tail_bytes: usize,
    host: Vec<LogLine>,
    dropped_lines: u64,
    partial: [Vec<u8>; 2],
}

impl AttemptLog {
    /// A log that keeps `limit_bytes`.
    pub(crate) fn new(limit_bytes: usize) -> Self {
        let inner = Inner {
            half_bytes: limit_bytes / 2,
            head: Vec::new(),
            head_bytes: 0,
            head_full: false,
            tail: VecDeque::new(),
            tail_bytes: 0,
            host: Vec::new(),
            dropped_lines: 0,
            partial: [Vec::new(), Vec::new()],
        };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// A line of the host's about the guest. Says whether it was kept.
    pub(crate) fn host(&self, text: impl Into<String>) -> bool {
        let mut inner = self.lock();
        let room = inner.host.len() < HOST_LINES_MAX;
        if room {
            inner.host.push(line(LogSource::Host, text.into()));
        }
        room
    }

    /// Takes what was denied to the guest: into its log, and into the server's audit log.
    pub(crate) fn denials(
        &self,
        function: &str,
        invocation: &InvocationId,
    ) -> Arc<dyn Fn(&str) + Send + Sync> {
        let (log, function, invocation) = (self.clone(), function.to_owned(), invocation.clone());
        Arc::new(move |text| {
            if log.host(format!("denied: {text}")) {
                tracing::warn!(target: "audit", function, %invocation, "denied: {text}");
            }
        })
    }

    /// What was kept, in the order of writing, and nothing from then on: all, or what a rate allows
    /// of it.
    pub(crate) fn take(&self, rate: Option<&LogRate>) -> Vec<LogLine> {
        let mut inner = self.lock();
        for source in [LogSource::Stdout, LogSource::Stderr] {
            let rest = std::mem::take(inner.partial_mut(source));
            if !rest.is_empty() {
                inner.keep(line(source, text(&rest)));
            }
        }
        let mut dropped = std::mem::take(&mut inner.dropped_lines);
        let mut lines = std::mem::take(&mut inner.head);
        let mut gap = lines.len();
        lines.extend(std::mem::take(&mut inner.tail));
        if let Some(rate) = rate {
            let over = middle_over(&lines, rate.take(lines.iter().map(cost).sum()));
            dropped += over.len() as u64;
            gap = if over.is_empty() { gap } else { over.start };
            lines.drain(over);
        }
        if 0 < dropped {
            let time = lines.get(gap).map_or_else(Timestamp::now, |line| line.time);
            let text = format!("{dropped} lines left out here: no more may be kept");
            lines.insert(gap, LogLine { time, source: LogSource::Host, text });
        }
        lines.append(&mut inner.host);
        // Stable, so lines of the same moment stay in order.
        lines.sort_by_key(|line| line.time);
        lines
    }

    /// A stream for the guest.
    pub(crate) fn stream(&self, source: LogSource) -> LogStream {
        LogStream { log: self.clone(), source }
    }

    fn write(&self, source: LogSource, bytes: &[u8]) {
        self.lock().write(source, bytes);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // What a panicking holder left is still a list of lines.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn partial_mut(&mut self, source: LogSource) -> &mut Vec<u8> {
        let [stdout, stderr] = &mut self.partial;
        if source == LogSource::Stderr { stderr } else { stdout }
    }

    fn write(&mut self, source: LogSource, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let partial = self.partial_mut(source);
            let room = LINE_MAX_BYTES - partial.len();
            let take = end.unwrap_or(bytes.len()).min(room);
            let (now, rest) = bytes.split_at(take);
            partial.extend_from_slice(now);
            // At the line's end its newline is used up; a full line is split where it is.
            let (done, rest) = match rest.strip_prefix(b"\n") {
                Some(rest) => (true, rest),
                None => (partial.len() == LINE_MAX_BYTES, rest),
            };
            if done {
                let whole = std::mem::take(partial);
                self.keep(line(source, text(&whole)));
            }
            bytes = rest;
        }
    }

    fn keep(&mut self, line: LogLine) {
        let bytes = cost(&line);
        if !self.head_full && self.head_bytes + bytes <= self.half_bytes {
            self.head_bytes += bytes;
            self.head.push(line);
            return;
        }
        self.head_full = true;
        self.tail_bytes += bytes;
        self.tail.push_back(line);
        while self.half_bytes < self.tail_bytes
            && let Some(oldest) = self.tail.pop_front()
        {
            self.tail_bytes -= cost(&oldest);
            self.dropped_lines += 1;
        }
    }
}

/// The lines in the middle that are too much where so many bytes may be kept.
fn middle_over(lines: &[LogLine], bytes: usize) -> Range<usize> {
    if lines.iter().map(cost).sum::<usize>() <= bytes {
        return 0..0;
    }
    let first = fitting(lines.iter(), bytes / 2);
    let last = fitting(lines.iter().rev(), bytes / 2);
    first..lines.len() - last
}

/// How many of the first of them fit into so many bytes.
fn fitting<'a>(lines: impl Iterator<Item = &'a LogLine>, bytes: usize) -> usize {
    let sums = lines.scan(0, |sum, line| {
        *sum += cost(line);
        Some(*sum)
    });
    sums.take_while(|sum| *sum <= bytes).count()
}

/// What a line counts for against the bound.
fn cost(line: &LogLine) -> usize {
    line.text.len() + LINE_OVERHEAD_BYTES
}

fn line(source: LogSource, text: String) -> LogLine {
    LogLine { time: Timestamp::now(), source, text }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// One of the guest's two streams. Always ready: what is too much is dropped, nobody waits.
#[derive(Clone)]
pub(crate) struct LogStream {
    log: AttemptLog,
    source: LogSource,
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for LogStream {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        self.log.write(self.source, &bytes);
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
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}

impl AsyncWrite for LogStream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.log.write(self.source, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(log: &AttemptLog) -> Vec<String> {
        log.take(None).into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn writes_become_lines_wherever_they_are_cut() {
        let log = AttemptLog::new(4_096);
        log.write(LogSource::Stdout, b"one\ntw");
        log.write(LogSource::Stderr, b"other\n");
        log.write(LogSource::Stdout, b"o\n\nrest");
        assert_eq!(texts(&log), ["one", "other", "two", "", "rest"]);
    }

    #[test]
    fn a_flood_keeps_its_beginning_and_its_end() {
        let limit = 4_096;
        let log = AttemptLog::new(limit);
        for n in 0..10_000 {
            log.write(LogSource::Stdout, format!("line {n}\n").as_bytes());
        }
        log.write(LogSource::Stderr, b"panicked\n");
        log.host("trapped");
        let lines = texts(&log);
        assert_eq!(lines.first().unwrap(), "line 0");
        assert_eq!(lines[lines.len() - 2..], ["panicked", "trapped"]);
        let bytes: usize = lines.iter().map(|line| line.len() + LINE_OVERHEAD_BYTES).sum();
        assert!(bytes < limit + 256, "{bytes}");
        let gap = lines.iter().find(|line| line.contains("left out")).unwrap();
        let kept = lines.len() - 2;
        let dropped: usize = gap.split(' ').next().unwrap().parse().unwrap();
        assert_eq!(kept - 1 + dropped, 10_000, "{gap}");
    }

    #[test]
    fn what_a_rate_does_not_allow_is_left_out_of_the_middle() {
        let log = AttemptLog::new(64 << 10);
        for n in 0..100 {
            log.write(LogSource::Stdout, format!("line {n}\n").as_bytes());
        }
        let line = "line 10".len() + LINE_OVERHEAD_BYTES;
        let rate = LogRate::new(10 * line);
        let lines: Vec<_> = log.take(Some(&rate)).into_iter().map(|line| line.text).collect();
        assert_eq!(lines.first().unwrap(), "line 0");
        assert_eq!(lines.last().unwrap(), "line 99");
        assert!(lines.len() <= 11, "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("lines left out here")), "{lines:?}");
    }

    #[test]
    fn a_line_without_end_is_split_and_bounded() {
        let log = AttemptLog::new(64 << 10);
        for _ in 0..1_000 {
            log.write(LogSource::Stdout, &[b'x'; 1_000]);
        }
        let lines = texts(&log);
        assert!(lines.iter().all(|line| line.len() <= LINE_MAX_BYTES));
        assert!(lines.len() < 10, "{}", lines.len());
    }

    #[test]
    fn refused_calls_in_a_loop_are_bounded() {
        let log = AttemptLog::new(1_024);
        for _ in 0..100_000 {
            log.host("denied");
        }
        assert_eq!(log.take(None).len(), HOST_LINES_MAX);
    }
}
