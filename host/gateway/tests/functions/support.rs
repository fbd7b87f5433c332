//! A listener of HTTP functions over a real runtime, and a client.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use backlot_builtin::Builtin;
use backlot_encoding::{Encoder, EncoderConfig};
use backlot_gateway::functions::{Functions, refuse};
use backlot_gateway::serve::{Drained, Limits, serve};
use backlot_ledger::Ledger;
use backlot_runtime::{HttpCounts, Manifest, Runtime, RuntimeConfig, Version};
use backlot_storage::{Store, StoreLimits};
use bytes::Bytes;
use cap_std::fs::Dir;
use http::{HeaderMap, Request, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Far longer than anything here takes on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Host {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) ledger: Ledger,
    pub(crate) store: Store,
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    served: JoinHandle<Drained>,
    _folder: TempDir,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// As far as it came.
    pub(crate) body: Vec<u8>,
    /// Whether its end came.
    pub(crate) whole: bool,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// The manifest of a fixture, with more tables.
pub(crate) fn manifest(guest: &Builtin, more: &str) -> Manifest {
    Manifest::parse(&format!("{}\n{more}", guest.manifest)).unwrap()
}

impl Host {
    /// A host without functions.
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// A host that runs this guest with these tables in its manifest.
    pub(crate) async fn of(guest: &Builtin, more: &str) -> Self {
        let host = Self::start().await;
        host.deploy(guest, manifest(guest, more)).await;
        host
    }

    pub(crate) async fn with(change: impl FnOnce(&mut RuntimeConfig)) -> Self {
        // The first host of a process sets it up.
        tracing_subscriber::fmt().with_test_writer().try_init().ok();
        let folder = tempfile::tempdir().unwrap();
        // Shared by all tests, so that the guests are compiled about once.
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest-cache");
        let mut config = RuntimeConfig::new(cache, folder.path().join("components"));
        change(&mut config);
        let ledger = Ledger::open(folder.path()).unwrap();
        std::fs::create_dir_all(folder.path().join("blobs")).unwrap();
        let blobs =
            Dir::open_ambient_dir(folder.path().join("blobs"), cap_std::ambient_authority());
        let store = Store::open(blobs.unwrap(), ledger.clone(), StoreLimits::default()).unwrap();
        let encoder = Encoder::new(EncoderConfig { slots: 1, niceness: 10 }).unwrap();
        let runtime = Runtime::new(config, ledger.clone(), store.clone(), encoder).unwrap();
        let stop = CancellationToken::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let door = Functions::new(runtime.http());
        let served = serve(listener, door, Limits::default(), refuse, stop.clone());
        let served = runtime.http_threads().spawn(served);
        Self { runtime, ledger, store, address, stop, served, _folder: folder }
    }

    pub(crate) async fn deploy(&self, guest: &Builtin, manifest: Manifest) -> Arc<Version> {
        self.runtime.deploy(manifest, guest.component.to_vec()).await.unwrap()
    }

    /// What was counted of a function's requests, once nothing of `wanted` is missing.
    pub(crate) async fn counts(
        &self,
        function: &str,
        wanted: impl Fn(&HttpCounts) -> bool,
    ) -> HttpCounts {
        let counted = async {
            loop {
                let functions = self.runtime.functions();
                let version = functions.iter().find(|version| version.function() == function);
                let counts = version.unwrap().http_counts().unwrap();
                if wanted(&counts) {
                    return counts;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(PATIENCE, counted).await.unwrap()
    }

    pub(crate) async fn connect<B>(&self) -> http1::SendRequest<B>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Request::get(path).header("host", "test").body(Empty::new()).unwrap()).await
    }

    pub(crate) async fn ask<B>(&self, request: Request<B>) -> Answer
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut sender = self.connect().await;
        let asked = async {
            let (head, mut body) = sender.send_request(request).await.unwrap().into_parts();
            let mut bytes = Vec::new();
            let mut whole = true;
            while let Some(frame) = body.frame().await {
                match frame {
                    Ok(frame) => bytes.extend(frame.into_data().unwrap_or_default()),
                    Err(_) => whole = false,
                }
            }
            Answer { status: head.status, headers: head.headers, body: bytes, whole }
        };
        timeout(PATIENCE, asked).await.unwrap()
    }

    /// Have a request under way that takes the function's only place; dropping what this gives
    /// drops the connection.
    pub(crate) async fn occupied(&self, path: &str) -> AbortOnDropHandle<()> {
        // One before may have its answer and not be done.
        self.running(0).await;
        let request = Request::get(path).header("host", "test");
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let mut connection = self.connect().await;
        let asked = AbortOnDropHandle::new(tokio::spawn(async move {
            let _held_and_not_read = connection.send_request(request).await.unwrap();
            std::future::pending().await
        }));
        self.running(1).await;
        asked
    }

    /// Waits until so many guests answer requests.
    async fn running(&self, count: u64) {
        let counted = async {
            let running = || {
                let functions = self.runtime.functions();
                functions
                    .iter()
                    .filter_map(|version| version.http_counts())
                    .map(|c| c.running)
                    .sum::<u64>()
            };
            while count != running() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(PATIENCE, counted).await.unwrap();
    }

    pub(crate) async fn stop(self) -> Drained {
        self.stop.cancel();
        timeout(PATIENCE, self.served).await.unwrap().unwrap()
    }
}
