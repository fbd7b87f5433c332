//! The listener over TLS: what clients agree on with it, those that do not come to an end, and
//! certificates that are replaced.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "in a test a panic is the failure it should be"
)]

use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use backlot_gateway::serve::{
    Drained, FILE_BYTES_MAX, Limits, Listener, Refusal, RequestBody, Tls, TlsFault, TlsFiles, serve,
};
use bytes::Bytes;
use http::uri::Scheme;
use http::{Request, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

/// Long enough that only a hang reaches it.
const HANG: Duration = Duration::from_secs(20);
const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A certificate of its own authority in a folder; what clients trust.
fn write(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

fn files(folder: &Path) -> TlsFiles {
    TlsFiles { certificate: folder.join("cert.pem"), key: folder.join("key.pem") }
}

struct Running {
    address: SocketAddr,
    tls: Arc<Tls>,
    trusted: CertificateDer<'static>,
    folder: TempDir,
    stop: CancellationToken,
    ended: JoinHandle<Drained>,
}

/// Answers with the scheme that the request says it came by.
async fn door(request: Request<RequestBody>) -> Result<Response<Full<Bytes>>, Infallible> {
    let scheme = request.extensions().get::<Scheme>().map_or("none", Scheme::as_str);
    Ok(Response::new(Full::new(Bytes::from(scheme.to_owned()))))
}

fn refuse(_: Refusal) -> Response<Bytes> {
    Response::new(Bytes::new())
}

async fn start(limits: Limits) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let trusted = write(folder.path());
    let tls = Arc::new(Tls::load(files(folder.path())).unwrap());
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let stop = CancellationToken::new();
    let listener = Listener::new(socket, Some(tls.clone()));
    let ended = tokio::spawn(serve(listener, service_fn(door), limits, refuse, stop.clone()));
    Running { address, tls, trusted, folder, stop, ended }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A client that trusts one certificate and offers these protocols.
    async fn secure(
        &self,
        trusted: &CertificateDer<'static>,
        protocols: &[&[u8]],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = self.connect().await;
        timeout(HANG, TlsConnector::from(Arc::new(config)).connect(name, stream)).await.unwrap()
    }

    async fn stop(self) -> Drained {
        self.stop.cancel();
        timeout(HANG, self.ended).await.unwrap().unwrap()
    }
}

/// One request on a connection that stays open; the end of the answer.
async fn ask(stream: &mut TlsStream<TcpStream>) -> String {
    stream.write_all(REQUEST.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = async {
        while !answer.ends_with("\r\n\r\nhttps") {
            let mut chunk = [0; 4096];
            let len = stream.read(&mut chunk).await.unwrap();
            assert_ne!(len, 0, "closed after {answer:?}");
            answer.push_str(std::str::from_utf8(&chunk[..len]).unwrap());
        }
    };
    timeout(HANG, read).await.unwrap();
    answer
}

async fn until_closed(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    timeout(HANG, stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn the_protocol_is_agreed_on_and_the_scheme_is_told() {
    let server = start(Limits::default()).await;
    for (offered, agreed) in [
        (&[b"h2".as_slice(), b"http/1.1"][..], Some(b"h2".as_slice())),
        (&[b"http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let stream = server.secure(&server.trusted, offered).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed);
    }
    let mut stream = server.secure(&server.trusted, &[b"http/1.1"]).await.unwrap();
    assert!(ask(&mut stream).await.starts_with("HTTP/1.1 200 "));
    assert!(server.secure(&server.trusted, &[b"gopher"]).await.is_err());
    drop(stream);
    assert_eq!(server.stop().await, Drained { cut_off: 0 });
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_ended_and_takes_a_place_until_then() {
    let limits = Limits {
        connections_max: 1,
        handshake_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let server = start(limits).await;
    let silent = server.connect().await;
    // The first bytes of a client's hello, and no more.
    let mut begun = server.connect().await;
    begun.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
    let waited = std::time::Instant::now();
    let mut stream = server.secure(&server.trusted, &[]).await.unwrap();
    assert!(
        Duration::from_millis(550) < waited.elapsed(),
        "served while the others had the only place: {:?}",
        waited.elapsed()
    );
    ask(&mut stream).await;
    assert_eq!(until_closed(silent).await, "");
    assert_eq!(until_closed(begun).await, "");
}

#[tokio::test]
async fn a_stop_does_not_wait_for_handshakes() {
    let server = start(Limits::default()).await;
    let mut begun = server.connect().await;
    begun.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
    // Accepted after the one before it.
    ask(&mut server.secure(&server.trusted, &[]).await.unwrap()).await;
    assert_eq!(server.stop().await, Drained { cut_off: 0 });
}

#[tokio::test]
async fn whoever_speaks_no_tls_is_told_so_or_hung_up_on() {
    let server = start(Limits::default()).await;
    for request in [REQUEST, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n012345678"] {
        let mut stream = server.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = until_closed(stream).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.ends_with("use https:// instead\n"), "{answer}");
    }
    let mut stream = server.connect().await;
    stream.write_all(b"\0\0\0\0").await.unwrap();
    let mut bytes = Vec::new();
    // A reset ends a connection as well as a close does.
    timeout(HANG, stream.read_to_end(&mut bytes)).await.unwrap().ok();
    assert_eq!(bytes, b"");
    let mut stream = server.connect().await;
    stream.write_all(&[22, 3, 1, 0, 4, 0xff, 0xff, 0xff, 0xff]).await.unwrap();
    timeout(HANG, stream.read_to_end(&mut bytes)).await.unwrap().ok();
    assert!(bytes.first().is_none_or(|kind| *kind == 21), "an alert if anything: {bytes:?}");
    ask(&mut server.secure(&server.trusted, &[]).await.unwrap()).await;
}

#[tokio::test]
async fn new_connections_get_the_new_certificate_and_old_ones_go_on() {
    let server = start(Limits::default()).await;
    let mut old = server.secure(&server.trusted, &[]).await.unwrap();
    ask(&mut old).await;
    assert!(!server.tls.is_changed());
    // As those who renew do it: another file takes the name.
    let next = tempfile::tempdir().unwrap();
    let trusted = write(next.path());
    for name in ["cert.pem", "key.pem"] {
        fs::rename(next.path().join(name), server.folder.path().join(name)).unwrap();
    }
    assert!(server.tls.is_changed());
    server.tls.reload().unwrap();
    assert!(!server.tls.is_changed());
    ask(&mut old).await;
    ask(&mut server.secure(&trusted, &[]).await.unwrap()).await;
    assert!(server.secure(&server.trusted, &[]).await.is_err(), "the old one is gone");

    for broken in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        fs::write(server.folder.path().join("cert.pem"), broken).unwrap();
        assert!(server.tls.is_changed());
        server.tls.reload().unwrap_err();
        assert!(!server.tls.is_changed(), "told once");
        ask(&mut old).await;
        ask(&mut server.secure(&trusted, &[]).await.unwrap()).await;
    }
    fs::remove_file(server.folder.path().join("cert.pem")).unwrap();
    assert!(server.tls.is_changed());
}

#[test]
fn what_is_wrong_with_the_files_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    write(other.path());
    let fault = |cert: Option<&[u8]>, key: Option<&[u8]>| {
        write(folder.path());
        for (name, text) in [("cert.pem", cert), ("key.pem", key)] {
            if let Some(text) = text {
                fs::write(folder.path().join(name), text).unwrap();
            }
        }
        Tls::load(files(folder.path())).err().unwrap()
    };
    let key = fs::read(other.path().join("key.pem")).unwrap();
    let cert = fs::read(other.path().join("cert.pem")).unwrap();
    let large = vec![b'\n'; FILE_BYTES_MAX as usize + 1];
    let cut = &cert[..cert.len() / 2];
    let damaged = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".as_slice();
    let no_key = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".as_slice();

    assert!(matches!(fault(Some(&key), None), TlsFault::NoCertificate(_)));
    assert!(matches!(fault(Some(b"0\x82\x01"), None), TlsFault::NoCertificate(_)));
    assert!(matches!(fault(Some(cut), None), TlsFault::NotPem { .. }));
    assert!(matches!(fault(Some(damaged), None), TlsFault::BadCertificate { .. }));
    assert!(matches!(fault(Some(&large), None), TlsFault::TooLarge(_)));
    assert!(matches!(fault(None, Some(&cert)), TlsFault::NoKey(_)));
    assert!(matches!(fault(None, Some(no_key)), TlsFault::BadKey { .. }));
    let mismatch = fault(None, Some(&key));
    assert!(matches!(mismatch, TlsFault::Mismatch { .. }));
    let text = mismatch.to_string();
    assert!(text.contains("key.pem") && text.contains("cert.pem"), "{text}");

    fs::remove_file(folder.path().join("key.pem")).unwrap();
    let missing = Tls::load(files(folder.path())).err().unwrap();
    assert!(matches!(missing, TlsFault::Unreadable { .. }));
    assert!(missing.to_string().contains("key.pem cannot be read"), "{missing}");
}
