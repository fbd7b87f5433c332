//! Question: what does a request to a function cost, and how many are answered a second?
//!
//! Every server answers the same five bytes on loopback to `wrk`, which keeps its connections; each
//! is warmed up before. CPU is user and system time of the server's process and its children
//! (proc(5)) over the run, by the number of answers: it is what compares on a machine that does
//! other things too. Memory is resident after the run. Budget: 25 µs of CPU a request with a fresh
//! instance of a Rust guest.
//!
//! Peers that are not installed are left out: `wasmtime` (48.0.8, `serve`) and `workerd` (npm) are
//! looked for on the PATH. `bare hyper` is this program answering by itself.
//!
//! ```sh
//! apt-get install wrk
//! cargo build --release --package backlot --package backlot-bench-http
//! target/release/backlot-bench-http [--secs 10] [--connections 32] [--languages yes]
//! ```

mod peers;
mod sample;

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use backlot_builtin::{HELLO, WEB, WEB3};
use backlot_tests::server::Server;
use backlot_tests::stdout;

use sample::Load;

/// Guests that compute without end, beside which another is measured.
const LOOPERS: usize = 8;
/// Clients of that other one: few, so that what it waits for is not itself.
const NEIGHBOUR_CONNECTIONS: u64 = 2;

fn main() -> anyhow::Result<()> {
    let mut load = Load { secs: 10, connections: 32 };
    let mut languages = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{name} wants a value"))?;
        match name.as_str() {
            "--secs" => load.secs = value.parse()?,
            "--connections" => load.connections = value.parse()?,
            "--languages" => languages = value == "yes",
            peers::HYPER => return peers::serve_hyper(&value),
            _ => anyhow::bail!("unknown option {name}"),
        }
    }
    println!("who                                req/s   p50 µs   p99 µs  CPU µs/req  RSS MiB");
    let folder = tempfile::tempdir()?;
    peers::measure(folder.path(), load)?;
    ours(folder.path(), load, languages)
}

/// Our own server, with a function for each row.
fn ours(folder: &Path, load: Load, languages: bool) -> anyhow::Result<()> {
    let functions = folder.join("functions");
    fs::create_dir(&functions)?;
    let mut guests = vec![
        ("rust-p2", HELLO.component.to_vec(), "/hello"),
        ("rust-p3", WEB3.component.to_vec(), "/hello"),
    ];
    if languages {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests.sh");
        let made = PathBuf::from(stdout(&mut Command::new(script))?);
        guests.push(("js-p2", fs::read(made.join("hello-js.wasm"))?, "/"));
        guests.push(("py-p2", fs::read(made.join("hello-py.wasm"))?, "/"));
    }
    let mut rows = Vec::new();
    for (guest, component, path) in &guests {
        let mut modes = vec![("fresh", "")];
        // One of componentize-js answers one request and no more.
        if *guest != "js-p2" {
            modes.push(("reused", "reuse = 1000000"));
        }
        if *guest == "rust-p3" {
            modes.push(("crowded", "reuse = 1000000\nconcurrency = 16"));
        }
        for (mode, http) in modes {
            let name = format!("{guest}-{mode}");
            fs::write(functions.join(format!("{name}.wasm")), component)?;
            fs::write(functions.join(format!("{name}.toml")), manifest(&name, http))?;
            rows.push((name, *path));
        }
    }
    fs::write(functions.join("loopers.wasm"), WEB.component)?;
    fs::write(functions.join("loopers.toml"), manifest("loopers", ""))?;
    let config = folder.join("backlot.toml");
    fs::write(&config, format!("[functions]\nfolder = {functions:?}\nrequests_max = 1000\n"))?;
    let config = config.to_str().context("a path of text")?;
    let server = Server::start_with(folder, &["--config", config], &[])?;
    for (name, path) in rows {
        let url = format!("http://{}{path}", server.ready.functions);
        sample::measure(&format!("backlot {name}"), server.pid(), &url, Some(&name), load)?;
    }
    let few = Load { connections: NEIGHBOUR_CONNECTIONS, ..load };
    let url = format!("http://{}/hello", server.ready.functions);
    for (who, loopers) in [("alone", 0), ("beside eight loopers", LOOPERS)] {
        // Each is ended when its connection is dropped.
        let _looping = looping(&server.ready.functions, loopers)?;
        let who = format!("backlot rust-p2-fresh {who}");
        sample::measure(&who, server.pid(), &url, Some("rust-p2-fresh"), few)?;
    }
    server.stop()
}

/// A function under a host of its own name.
fn manifest(name: &str, http: &str) -> String {
    format!(
        "name = \"{name}\"\n[[triggers]]\ntype = \"http\"\npath = \"/*\"\n\
         host = \"{name}\"\n[http]\nrequests_max = 1000\ntimeout_secs = 600\n{http}\n"
    )
}

/// Requests whose guests compute without end.
fn looping(address: &str, count: usize) -> anyhow::Result<Vec<TcpStream>> {
    let request = b"GET /spin HTTP/1.1\r\nHost: loopers\r\n\r\n";
    let ask = |_| -> anyhow::Result<TcpStream> {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(request)?;
        Ok(stream)
    };
    (0..count).map(ask).collect()
}
