//! From an accepted connection to a stream that HTTP is spoken on.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

/// What a connection is read from and written to.
pub(super) type Stream = Either<TcpStream, TlsStream<TcpStream>>;

/// First byte of a handshake record (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;
/// How long a peer that spoke plain HTTP may take to read why that does not work.
const FAREWELL: Duration = Duration::from_secs(1);
/// The most of its request that is read meanwhile, in bytes: with unread bytes the system would
/// reset the connection, and the answer with it.
const UNREAD_BYTES_MAX: u64 = 64 * 1024;

/// The stream, encrypted if it is to be; None when the connection ended instead.
pub(super) async fn open(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    timeout: Duration,
) -> Option<Stream> {
    let Some(config) = tls else { return Some(Either::Left(stream)) };
    match time::timeout(timeout, encrypt(stream, config)).await {
        Ok(Ok(stream)) => stream.map(Either::Right),
        Ok(Err(err)) => {
            tracing::debug!(%err, "no TLS connection came about");
            None
        }
        Err(_) => {
            tracing::debug!("connection closed: no TLS handshake in time");
            None
        }
    }
}

async fn encrypt(
    stream: TcpStream,
    config: Arc<ServerConfig>,
) -> io::Result<Option<TlsStream<TcpStream>>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Ok(None);
    }
    match first {
        [HANDSHAKE] => TlsAcceptor::from(config).accept(stream).await.map(Some),
        // A method of HTTP.
        [b'A'..=b'Z'] => refuse_plain(stream).await.map(|()| None),
        _ => Ok(None),
    }
}

async fn refuse_plain(mut stream: TcpStream) -> io::Result<()> {
    let text = "this port speaks TLS: use https:// instead\n";
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{text}",
        text.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    let unread =
        async { tokio::io::copy(&mut stream.take(UNREAD_BYTES_MAX), &mut tokio::io::sink()).await };
    // Whoever does not hang up by then is hung up on.
    time::timeout(FAREWELL, unread).await.map_or(Ok(()), |read| read.map(drop))
}
