//! Those beside us: hyper alone, `wasmtime serve`, workerd.

use std::convert::Infallible;
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use backlot_builtin::{HELLO, WEB3};
use backlot_tests::wait_for;
use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::sample::{self, Load};

/// The option that makes this program the server `bare hyper`.
pub(crate) const HYPER: &str = "--serve-hyper";

/// How long a peer may take until it listens: wasmtime compiles first.
const START_MAX: Duration = Duration::from_secs(60);

/// What the workers' runtime is told to run.
const WORKERD: &str = r#"using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = (
    serviceWorkerScript =
      "addEventListener('fetch', e => e.respondWith(new Response('hello')))",
    compatibilityDate = "2024-01-01"))],
  sockets = [(name = "http", address = "ADDRESS", http = (), service = "main")]
);
"#;

/// Measure those that are installed.
pub(crate) fn measure(folder: &Path, load: Load) -> anyhow::Result<()> {
    let mut hyper = Command::new(std::env::current_exe()?);
    let address = free_address()?;
    row("bare hyper", hyper.arg(HYPER).arg(&address), &address, load)?;
    for (name, component) in [("0.2", HELLO.component), ("0.3", WEB3.component)] {
        let path = folder.join(format!("web-{name}.wasm"));
        fs::write(&path, component)?;
        for (mode, options) in [
            ("default", vec!["-W", "component-model-async"]),
            (
                "best",
                vec![
                    "-W",
                    "component-model-async",
                    "-O",
                    "pooling-allocator",
                    "-O",
                    "pooling-memory-keep-resident=1048576",
                    "-O",
                    "pooling-pagemap-scan=yes",
                ],
            ),
        ] {
            let address = free_address()?;
            let mut wasmtime = Command::new("wasmtime");
            wasmtime.arg("serve").args(options).args(["-S", "cli,p3,http"]);
            wasmtime.arg("--addr").arg(&address).arg(&path);
            row(&format!("wasmtime serve {name} {mode}"), &mut wasmtime, &address, load)?;
        }
    }
    let address = free_address()?;
    let config = folder.join("workerd.capnp");
    fs::write(&config, WORKERD.replace("ADDRESS", &address))?;
    row("workerd", Command::new("workerd").arg("serve").arg(&config), &address, load)
}

/// An address that was free a moment ago: these peers cannot say which one they took.
fn free_address() -> anyhow::Result<String> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

fn row(who: &str, command: &mut Command, address: &str, load: Load) -> anyhow::Result<()> {
    let child = match command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
        Ok(child) => child,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => {
            println!("{who:32} is not installed");
            return Ok(());
        }
        Err(err) => return Err(err).context(who.to_owned()),
    };
    let mut peer = Peer(child);
    wait_for(who, START_MAX, || {
        if let Some(status) = peer.0.try_wait()? {
            anyhow::bail!("{who} ended with {status}");
        }
        Ok(TcpStream::connect(address).ok())
    })?;
    sample::measure(who, peer.0.id(), &format!("http://{address}/hello"), None, load)
}

/// Ended when dropped.
struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        // Already ended is as good.
        if self.0.kill().is_ok() && self.0.wait().is_err() {
            eprintln!("a peer could not be waited for");
        }
    }
}

/// Answer with hyper alone, on as many threads as ours does, until killed.
pub(crate) fn serve_hyper(address: &str) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                let answer = async |_: Request<Incoming>| {
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello"))))
                };
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service_fn(answer));
                // A client that breaks off is no news.
                connection.await.ok();
            });
        }
    })
}
