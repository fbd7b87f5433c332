//! The servers that are measured, each on a port of its own with a folder of its own.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use backlot_tests::server::Server;
use backlot_tests::wait_for;

/// How our rows are called.
pub(crate) const OURS: &str = "backlot";
const ACCESS_KEY: &str = "bench";
const SECRET: &str = "bench-secret-key";
const START_MAX: Duration = Duration::from_secs(60);

/// One running server.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) endpoint: String,
    pub(crate) access_key: String,
    pub(crate) secret: String,
    _process: Process,
}

/// Ended when dropped.
enum Process {
    Ours { _server: Box<Server> },
    Theirs(Child),
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Self::Theirs(child) = self
            && (child.kill().is_err() || child.wait().is_err())
        {
            eprintln!("process {} could not be ended", child.id());
        }
    }
}

/// Start Backlot and the peers that are installed.
pub(crate) fn start(folder: &Path) -> anyhow::Result<Vec<Peer>> {
    let ours = folder.join("backlot");
    fs::create_dir(&ours)?;
    let server = Server::start(&ours)?;
    let ready = server.ready.clone();
    let mut peers = vec![Peer {
        name: OURS,
        endpoint: ready.s3,
        access_key: ready.access_key,
        secret: ready.secret_key,
        _process: Process::Ours { _server: Box::new(server) },
    }];

    let root = folder.join("s3s-fs");
    fs::create_dir(&root)?;
    let port = free_port()?.to_string();
    let mut s3s = Command::new("s3s-fs");
    s3s.args(["--host", "127.0.0.1", "--port", &port]);
    s3s.args(["--access-key", ACCESS_KEY, "--secret-key", SECRET]).arg(&root);
    peers.extend(peer("s3s-fs", s3s, &port)?);

    let root = folder.join("weed");
    fs::create_dir(&root)?;
    let identities = root.join("s3.json");
    fs::write(
        &identities,
        format!(
            r#"{{"identities":[{{"name":"bench","credentials":[{{"accessKey":"{ACCESS_KEY}",
            "secretKey":"{SECRET}"}}],"actions":["Admin","Read","Write","List"]}}]}}"#
        ),
    )?;
    let port = free_port()?.to_string();
    let mut weed = Command::new("weed");
    weed.args(["server", "-ip=127.0.0.1", "-s3", "-master.volumeSizeLimitMB=1024"]);
    weed.arg(format!("-s3.port={port}")).arg(format!("-s3.config={}", identities.display()));
    weed.arg(format!("-dir={}", root.display()));
    for (option, port) in [
        ("master.port", free_port()?),
        ("master.port.grpc", free_port()?),
        ("volume.port", free_port()?),
        ("volume.port.grpc", free_port()?),
        ("filer.port", free_port()?),
        ("filer.port.grpc", free_port()?),
        ("s3.port.grpc", free_port()?),
    ] {
        weed.arg(format!("-{option}={port}"));
    }
    peers.extend(peer("seaweedfs", weed, &port)?);
    Ok(peers)
}

/// A peer, once it accepts connections; none if it is not installed.
fn peer(name: &'static str, mut command: Command, port: &str) -> anyhow::Result<Option<Peer>> {
    let child = match command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("{name} is left out: {error}");
            return Ok(None);
        }
    };
    let process = Process::Theirs(child);
    let endpoint = format!("127.0.0.1:{port}");
    wait_for(name, START_MAX, || Ok(TcpStream::connect(&endpoint).ok()))?;
    Ok(Some(Peer {
        name,
        endpoint,
        access_key: ACCESS_KEY.to_owned(),
        secret: SECRET.to_owned(),
        _process: process,
    }))
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
