//! Requests that guests send: `wasi:http/outgoing-handler` 0.2 and `wasi:http/client` 0.3.
//!
//! A guest reaches the hosts that its grant names and nothing else. Names are resolved here, the
//! address is checked, and that very address is connected to, so that no second answer of a name
//! server can lead elsewhere. Redirects are the guest's business: each is a request of its own.

use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::uri::{PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::address::is_public;
use super::grant::HttpGrant;

/// Requests that a guest may have open at once, their answers included.
pub(crate) const OPEN_MAX: usize = 32;
/// Addresses of a name that are tried, one after the other.
const ADDRESSES_MAX: usize = 4;
/// Longest wait for a connection, name lookup and TLS included, and what it is by default.
const CONNECT_MAX: Duration = Duration::from_secs(30);
/// Longest wait for the head of an answer, or between two pieces of its body.
const ANSWER_MAX: Duration = Duration::from_secs(600);
/// What that is unless the guest says otherwise.
const ANSWER_DEFAULT: Duration = Duration::from_secs(60);
/// Pieces of a body that a guest may be ahead of the network, besides the one it writes.
const BODY_CHUNKS: usize = 16;
/// Largest piece, in bytes.
const BODY_CHUNK_BYTES: usize = 64 << 10;

/// Takes what was denied, in words.
pub(crate) type OnDenied = Arc<dyn Fn(&str) + Send + Sync>;

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Answered = Result<(Response<WasiBody>, Io), Error>;

/// The requests of one guest instance.
pub(crate) struct Outbound {
    grants: Arc<[HttpGrant]>,
    on_denied: OnDenied,
    calls_max: u64,
    calls_left: u64,
    /// Made with the first request: most guests send none.
    open: Option<Arc<Semaphore>>,
}

impl Outbound {
    pub(crate) fn new(grants: Arc<[HttpGrant]>, calls_max: u64, on_denied: OnDenied) -> Self {
        Self { grants, on_denied, calls_max, calls_left: calls_max, open: None }
    }

    /// The instance answers another request: it may send as many again.
    pub(crate) fn start_request(&mut self) {
        self.calls_left = self.calls_max;
    }

    /// One request more.
    fn count(&mut self) -> Result<(), Error> {
        match self.calls_left.checked_sub(1) {
            Some(left) => {
                self.calls_left = left;
                Ok(())
            }
            None => {
                let limit = self.calls_max;
                (self.on_denied)(&format!("over the limit of {limit} requests (outbound_calls)"));
                Err(Error::ConnectionLimitReached)
            }
        }
    }

    /// Where the request may go, if anywhere.
    fn target(&self, request: &Request<WasiBody>) -> Result<Target, Error> {
        let authority = request.uri().authority().ok_or(Error::HttpRequestUriInvalid)?;
        let tls = request.uri().scheme() == Some(&Scheme::HTTPS);
        let scheme_port = if tls { 443 } else { 80 };
        let (host, port) = (authority.host(), authority.port_u16().unwrap_or(scheme_port));
        let covering = |grant: &&HttpGrant| grant.covers(host, port, scheme_port);
        let Some(private) = self.grants.iter().filter(covering).map(HttpGrant::private).max()
        else {
            (self.on_denied)(&format!("no grant to ask {host:?} at port {port}"));
            return Err(Error::HttpRequestDenied);
        };
        let host = host.to_owned();
        Ok(Target { host, port, tls, private, on_denied: self.on_denied.clone() })
    }
}

impl WasiHttpHooks for Outbound {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        // Tells how the guest's reading of the answer ended; nobody asks.
        _read: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Answered> + Send> {
        let target = self.target(&request);
        let counted = self.count();
        let open = self.open.get_or_insert_with(|| Arc::new(Semaphore::new(OPEN_MAX)));
        let permit = open.clone().try_acquire_owned();
        Box::new(async move {
            let target = target?;
            counted?;
            let permit = permit.map_err(|_| Error::ConnectionLimitReached)?;
            send(target, request, Timeouts::of(options), permit).await
        })
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        BODY_CHUNKS
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }
}

/// Where a request goes.
struct Target {
    host: String,
    port: u16,
    tls: bool,
    private: bool,
    on_denied: OnDenied,
}

struct Timeouts {
    connect: Duration,
    first_byte: Duration,
    between_bytes: Duration,
}

impl Timeouts {
    fn of(options: Option<RequestOptions>) -> Self {
        let options = options.unwrap_or_default();
        let answer = |wanted: Option<Duration>| wanted.unwrap_or(ANSWER_DEFAULT).min(ANSWER_MAX);
        Self {
            connect: options.connect_timeout.unwrap_or(CONNECT_MAX).min(CONNECT_MAX),
            first_byte: answer(options.first_byte_timeout),
            between_bytes: answer(options.between_bytes_timeout),
        }
    }
}

async fn send(
    target: Target,
    mut request: Request<WasiBody>,
    timeouts: Timeouts,
    permit: OwnedSemaphorePermit,
) -> Answered {
    let connected = timeout(timeouts.connect, target.connect());
    let stream = connected.await.map_err(|_| Error::ConnectionTimeout)??;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Its failures are also those of the request or of the answer's body.
    let connection = AbortOnDropHandle::new(tokio::spawn(async move {
        if let Err(err) = connection.await {
            tracing::debug!(%err, "connection of a guest's request ended with a fault");
        }
    }));
    // The request line has path and query alone (RFC 9112, section 3.2.1); the host is a header.
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from(path.unwrap_or(PathAndQuery::from_static("/")));
    let answered = timeout(timeouts.first_byte, sender.send_request(request));
    let answer = answered.await.map_err(|_| Error::ConnectionReadTimeout)??;
    let pause_max = timeouts.between_bytes;
    let body = |incoming| AnswerBody {
        incoming,
        pause_max,
        alarm: Box::pin(tokio::time::sleep(pause_max)),
        _connection: connection,
        _permit: permit,
    };
    Ok((answer.map(|incoming| body(incoming).boxed_unsync()), Box::new(std::future::ready(Ok(())))))
}

/// A plain or encrypted connection.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Target {
    async fn connect(&self) -> Result<Box<dyn Stream>, Error> {
        let addresses = self.addresses().await?;
        let mut failure = Error::DestinationNotFound;
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => return self.encrypt(stream).await,
                Err(err) => failure = Error::Connect(err),
            }
        }
        Err(failure)
    }

    /// What the name means now, without the addresses that are not for this guest.
    async fn addresses(&self) -> Result<Vec<SocketAddr>, Error> {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let found = lookup_host((host, self.port))
            .await
            .map_err(|err| Error::DnsError { rcode: Some(err.to_string()), info_code: None })?;
        let mut prohibited = None;
        let mut allowed = Vec::new();
        for address in found.take(ADDRESSES_MAX) {
            if self.private || is_public(address.ip()) {
                allowed.push(address);
            } else {
                prohibited = Some(address.ip());
            }
        }
        if let Some(address) = prohibited {
            let host = &self.host;
            (self.on_denied)(&format!("{host:?} is {address}, which is not a public address"));
            if allowed.is_empty() {
                return Err(Error::DestinationIpProhibited);
            }
        }
        Ok(allowed)
    }

    async fn encrypt(&self, stream: TcpStream) -> Result<Box<dyn Stream>, Error> {
        stream.set_nodelay(true).map_err(Error::Connect)?;
        if !self.tls {
            return Ok(Box::new(stream));
        }
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host).map_err(|_| Error::HttpRequestUriInvalid)?;
        let encrypted = TlsConnector::from(TLS.clone()).connect(name.to_owned(), stream).await;
        Ok(Box::new(encrypted.map_err(Error::Tls)?))
    }
}

/// Trusts the authorities that browsers trust.
static TLS: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the cipher suites of TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
});

/// The body of an answer: holds its connection, and its place among the open requests.
struct AnswerBody {
    incoming: Incoming,
    pause_max: Duration,
    /// Ends a pause that is too long.
    alarm: Pin<Box<Sleep>>,
    _connection: AbortOnDropHandle<()>,
    _permit: OwnedSemaphorePermit,
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Poll::Ready(frame) = pin!(&mut self.incoming).poll_frame(cx) {
            let next = Instant::now() + self.pause_max;
            self.alarm.as_mut().reset(next);
            return Poll::Ready(frame.map(|frame| frame.map_err(Error::from)));
        }
        ready!(self.alarm.as_mut().poll(cx));
        Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
