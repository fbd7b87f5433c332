//! Server-Sent Events as they arrive.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::time;
use tokio_util::task::AbortOnDropHandle;

use super::{Endpoint, silent, unreachable};
use crate::fault::Fault;

/// Longest silence: the server sends a comment every 15 seconds.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Longest event, in bytes.
const EVENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A stream of events.
pub(crate) struct Events {
    server: Endpoint,
    body: Incoming,
    /// What has arrived and is not a whole event yet.
    rest: Vec<u8>,
    _driver: AbortOnDropHandle<()>,
}

impl Events {
    pub(super) fn new(server: Endpoint, body: Incoming, driver: AbortOnDropHandle<()>) -> Self {
        Self { server, body, rest: Vec::new(), _driver: driver }
    }

    /// Kind and data of the next event.
    ///
    /// # Errors
    /// E0508 when the server ends the stream, E0501 when it is gone.
    pub(crate) async fn next(&mut self) -> Result<(String, Value), Fault> {
        loop {
            while let Some(event) = take(&mut self.rest) {
                match parse(&event) {
                    Some((kind, data)) if kind == "end" => {
                        let reason = data.get("reason").and_then(Value::as_str).unwrap_or_default();
                        return Err(ended(reason));
                    }
                    Some(event) => return Ok(event),
                    None => {}
                }
            }
            if EVENT_BYTES_MAX < self.rest.len() {
                return Err(ended("an event is too long"));
            }
            let frame = match time::timeout(SILENCE_MAX, self.body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(err))) => return Err(unreachable(&self.server, &err)),
                Ok(None) => return Err(ended("the connection was closed")),
                Err(_) => {
                    let silence = format!("nothing was heard for {SILENCE_MAX:?}");
                    return Err(silent(&self.server, &silence));
                }
            };
            if let Some(data) = frame.data_ref() {
                self.rest.extend_from_slice(data);
            }
        }
    }
}

fn ended(reason: &str) -> Fault {
    Fault::new("E0508", format!("the server ended the stream: {reason}"), "ask again")
}

/// Takes the first whole event, without the empty line after it.
fn take(rest: &mut Vec<u8>) -> Option<Vec<u8>> {
    let end = rest.windows(2).position(|pair| pair == b"\n\n")?;
    let mut event: Vec<u8> = rest.drain(..end + 2).collect();
    event.truncate(end);
    Some(event)
}

/// Kind and data; None for comments and what is not ours.
fn parse(event: &[u8]) -> Option<(String, Value)> {
    let text = std::str::from_utf8(event).ok()?;
    let mut kind = None;
    let mut data = None;
    for line in text.lines() {
        match line.split_once(": ") {
            Some(("event", value)) => kind = Some(value.to_owned()),
            Some(("data", value)) => data = serde_json::from_str(value).ok(),
            _ => {}
        }
    }
    Some((kind?, data?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_taken_when_they_are_whole() {
        let mut rest = b": hello\n\nevent: line\ndata: {\"a\":1}\n\nevent: li".to_vec();
        assert_eq!(parse(&take(&mut rest).unwrap()), None);
        assert_eq!(parse(&take(&mut rest).unwrap()), Some(("line".to_owned(), json!({"a": 1}))));
        assert_eq!(take(&mut rest), None);
        rest.extend_from_slice(b"ne\ndata: 2\n\n");
        assert_eq!(parse(&take(&mut rest).unwrap()), Some(("line".to_owned(), json!(2))));
        assert!(rest.is_empty());
    }
}
