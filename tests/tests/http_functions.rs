//! HTTP functions in the real server: guests of three languages from a folder, on a listener of
//! their own, swapped on SIGHUP.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use backlot_builtin::WEB;
use backlot_tests::server::Server;
use backlot_tests::{stdout, wait_for};

/// Compiling the interpreters of two languages takes a while on a busy machine.
const DEPLOYED_MAX: Duration = Duration::from_secs(300);

/// A function in the folder: its name, its path, its component.
fn add(folder: &Path, name: &str, path: &str, more: &str, component: &[u8]) {
    let manifest =
        format!("name = \"{name}\"\n{more}\n[[triggers]]\ntype = \"http\"\npath = \"{path}\"\n");
    fs::write(folder.join(format!("{name}.wasm")), component).unwrap();
    fs::write(folder.join(format!("{name}.toml")), manifest).unwrap();
}

/// Status and everything after it.
fn ask(server: &Server, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(&server.ready.functions).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    (answer[9..12].parse().unwrap(), answer.split_off(12))
}

#[test]
fn guests_of_three_languages_answer_and_are_swapped() {
    let folder = tempfile::tempdir().unwrap();
    let functions = folder.path().join("functions");
    fs::create_dir(&functions).unwrap();
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("guests.sh");
    let made = PathBuf::from(stdout(&mut Command::new(script)).unwrap());
    let component = |name: &str| fs::read(made.join(name)).unwrap();
    add(&functions, "js", "/js/*", "", &component("hello-js.wasm"));
    add(&functions, "py", "/py/*", "", &component("hello-py.wasm"));
    add(&functions, "web", "/version", "env = { VERSION = \"1\" }", WEB.component);
    let config = folder.path().join("backlot.toml");
    fs::write(&config, format!("[functions]\nfolder = {functions:?}\n")).unwrap();
    let config = config.to_str().unwrap();
    let server = Server::start_with(folder.path(), &["--config", config], &[]).unwrap();

    let (status, js) = ask(&server, "POST", "/js/a", "body");
    assert!(status == 200 && js.ends_with("js POST /js/a body"), "{status} {js}");
    assert!(js.contains("x-guest: js"), "{js}");
    let (status, py) = ask(&server, "GET", "/py/b?c", "");
    assert!(status == 200 && py.contains("py /py/b?c"), "{status} {py}");
    assert!(py.contains("x-guest: py"), "{py}");
    assert_eq!(ask(&server, "GET", "/other", "").0, 404);
    // The pages have another origin.
    assert_eq!(server.get("/version").unwrap().0, 404);

    assert!(ask(&server, "GET", "/version", "").1.ends_with("\r\n\r\n1"));
    add(&functions, "web", "/version", "env = { VERSION = \"2\" }", WEB.component);
    server.signal("HUP").unwrap();
    wait_for("the second version", DEPLOYED_MAX, || {
        let (status, answer) = ask(&server, "GET", "/version", "");
        assert_eq!(status, 200);
        Ok(answer.ends_with("\r\n\r\n2").then_some(()))
    })
    .unwrap();
    server.stop().unwrap();
}
