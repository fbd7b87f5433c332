//! A virus scanner beside us: clamd, asked over its socket.
//!
//! The protocol is that of clamd(8): `zINSTREAM`, then chunks with their length before them, then
//! one of length 0; the answer is `stream: OK`, `stream: NAME FOUND`, or a text that ends in
//! `ERROR`. Scanning is bounded in time, in bytes, and in how much of it is done at once.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use futures::StreamExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio::time;

use crate::{ObjectReader, StoreError};

/// Longest answer that is read, in bytes: a line with a name.
const ANSWER_BYTES_MAX: u64 = 4 << 10;
/// Longest name of what was found, in characters.
const NAME_CHARS_MAX: usize = 256;
/// What clamd answers when a stream is longer than its `StreamMaxLength`.
const TOO_LONG: &str = "size limit exceeded";

/// Where a scanner listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScannerAddress {
    /// A socket in the file system.
    Unix(PathBuf),
    /// A host and a port.
    Tcp(String),
}

impl std::str::FromStr for ScannerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with('/') {
            return Ok(Self::Unix(text.into()));
        }
        let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        match port.map(|(_, port)| port.parse::<u16>()) {
            Some(Ok(1..)) => Ok(Self::Tcp(text.to_owned())),
            _ => Err(format!("{text:?} is no path of a socket and no HOST:PORT")),
        }
    }
}

impl fmt::Display for ScannerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

/// What a scanner says of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opinion {
    /// It knows nothing bad of it.
    Clean,
    /// It knows it, under this name.
    Infected(String),
    /// It did not look; the text says why.
    NotScanned(String),
}

/// A scanner, and what may be asked of it.
#[derive(Debug)]
pub struct Scanner {
    address: ScannerAddress,
    /// Largest object that it is sent, in bytes.
    bytes_max: u64,
    /// Longest time for one object.
    timeout: Duration,
    /// One permit for each scan at a time.
    places: Semaphore,
}

impl Scanner {
    /// A scanner at an address, which is not looked for before it is needed: it is sent objects of
    /// at most `bytes_max`, `at_once` at a time, and has `timeout` for each.
    #[must_use]
    pub fn new(address: ScannerAddress, bytes_max: u64, timeout: Duration, at_once: usize) -> Self {
        Self { address, bytes_max, timeout, places: Semaphore::new(at_once) }
    }

    /// What the scanner says of an object.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be reached or hangs up; what reading the object failed with.
    /// That it takes too long over an object, or answers with an error, is an opinion: the object
    /// may be made so.
    pub async fn scan(&self, reader: &ObjectReader) -> Result<Opinion, StoreError> {
        let size = reader.info().size;
        if self.bytes_max < size {
            let most = self.bytes_max;
            let text = format!("{size} bytes are more than the {most} that the scanner takes");
            return Ok(Opinion::NotScanned(text));
        }
        let place = self.places.acquire().await;
        let _place = place.map_err(|_| StoreError::Unavailable("the scanner is closed".into()))?;
        match time::timeout(self.timeout, self.ask(reader)).await {
            Ok(answer) => answer,
            Err(_) => Ok(Opinion::NotScanned(format!("no answer within {:?}", self.timeout))),
        }
    }

    async fn ask(&self, reader: &ObjectReader) -> Result<Opinion, StoreError> {
        let unreachable = |err: io::Error| self.unavailable(&err);
        let answer = match &self.address {
            ScannerAddress::Unix(path) => {
                instream(UnixStream::connect(path).await.map_err(unreachable)?, reader).await
            }
            ScannerAddress::Tcp(address) => {
                instream(TcpStream::connect(address).await.map_err(unreachable)?, reader).await
            }
        };
        let answer = answer.map_err(|err| match err {
            Failure::Object(err) => err,
            Failure::Scanner(err) => self.unavailable(&err),
        })?;
        Ok(read_answer(&answer))
    }

    fn unavailable(&self, reason: &dyn fmt::Display) -> StoreError {
        StoreError::Unavailable(format!("the virus scanner at {}: {reason}", self.address))
    }
}

/// Whose fault it was.
enum Failure {
    Object(StoreError),
    Scanner(io::Error),
}

async fn instream(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    reader: &ObjectReader,
) -> Result<String, Failure> {
    let sent = send(&mut stream, reader).await;
    if let Err(Failure::Object(err)) = sent {
        return Err(Failure::Object(err));
    }
    // A scanner that has heard enough says so and hangs up; then that is the answer.
    let mut answer = Vec::new();
    let read = (&mut stream).take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await;
    match (read, sent) {
        (Ok(_), _) if !answer.is_empty() => Ok(String::from_utf8_lossy(&answer).into_owned()),
        (_, Err(failure)) => Err(failure),
        (Err(err), Ok(())) => Err(Failure::Scanner(err)),
        (Ok(_), Ok(())) => Err(Failure::Scanner(io::ErrorKind::UnexpectedEof.into())),
    }
}

async fn send(
    stream: &mut (impl AsyncWrite + Unpin),
    reader: &ObjectReader,
) -> Result<(), Failure> {
    stream.write_all(b"zINSTREAM\0").await.map_err(Failure::Scanner)?;
    let chunks = reader.clone().stream(0..reader.info().size).map_err(Failure::Object)?;
    let mut chunks = std::pin::pin!(chunks);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(Failure::Object)?;
        let len = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
        stream.write_all(&len.to_be_bytes()).await.map_err(Failure::Scanner)?;
        stream.write_all(&chunk).await.map_err(Failure::Scanner)?;
    }
    stream.write_all(&0_u32.to_be_bytes()).await.map_err(Failure::Scanner)?;
    stream.flush().await.map_err(Failure::Scanner)
}

fn read_answer(answer: &str) -> Opinion {
    let line = answer.trim_end_matches(['\0', '\n']);
    let said = line.strip_prefix("stream: ").unwrap_or(line);
    if said == "OK" {
        return Opinion::Clean;
    }
    if let Some(name) = said.strip_suffix(" FOUND") {
        return Opinion::Infected(name.chars().take(NAME_CHARS_MAX).collect());
    }
    if said.contains(TOO_LONG) {
        let text = "more bytes than the scanner takes (its StreamMaxLength)";
        return Opinion::NotScanned(text.to_owned());
    }
    Opinion::NotScanned(format!("it answered {said:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_those_of_clamd() {
        assert_eq!(read_answer("stream: OK\0"), Opinion::Clean);
        let found = Opinion::Infected("Win.Test.EICAR_HDB-1".to_owned());
        assert_eq!(read_answer("stream: Win.Test.EICAR_HDB-1 FOUND\0"), found);
        for other in [
            "INSTREAM size limit exceeded. ERROR\0",
            "stream: Can't allocate memory ERROR\0",
            "stream: ",
            "HTTP/1.1 400",
        ] {
            assert!(matches!(read_answer(other), Opinion::NotScanned(_)), "{other}");
        }
    }

    #[test]
    fn an_address_is_a_path_or_a_host_with_a_port() {
        let unix = ScannerAddress::Unix("/run/clamd.ctl".into());
        assert_eq!("/run/clamd.ctl".parse(), Ok(unix));
        assert_eq!("[::1]:3310".parse(), Ok(ScannerAddress::Tcp("[::1]:3310".into())));
        for bad in ["clamd.ctl", ":3310", "localhost", "localhost:0", "localhost:x"] {
            assert!(bad.parse::<ScannerAddress>().is_err(), "{bad}");
        }
    }
}
