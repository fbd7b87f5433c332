//! Sockets that somebody else opened before the start, as systemd does.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

use std::path::Path;
use std::process::Command;

use backlot_tests::{backlot, guest_cache, stdout};
use serde_json::Value;

/// Start a server with these sockets (`NAME=KIND`), and what came of it.
fn activate(sockets: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/activate.py");
    let mut python = Command::new("python3");
    python.arg(program).arg(backlot()).arg(folder.path()).args(sockets);
    python.env("BACKLOT_CACHE", guest_cache()).current_dir(folder.path());
    for name in ["S3", "HTTP", "FUNCTIONS"] {
        python.env(format!("BACKLOT_{name}_ADDRESS"), "127.0.0.1:0");
    }
    serde_json::from_str(&stdout(&mut python).unwrap()).unwrap()
}

#[test]
fn what_came_in_before_the_start_is_answered() {
    let outcome = activate(&["http=tcp", "functions=tcp", "s3=tcp"]);
    for (name, answer) in [("http", "200 OK"), ("functions", "404 "), ("s3", "403 ")] {
        let got = outcome["answers"][name].as_str().unwrap();
        assert!(got.starts_with(&format!("HTTP/1.1 {answer}")), "{name}: {got}");
        assert_eq!(outcome["ready"][name], outcome["addresses"][name], "{name}");
    }
    assert_eq!(outcome["ended"], 0, "{outcome}");
}

#[test]
fn what_is_not_handed_over_is_opened_as_configured() {
    let outcome = activate(&["http=tcp"]);
    assert!(outcome["answers"]["http"].as_str().unwrap().starts_with("HTTP/1.1 200 OK"));
    assert_eq!(outcome["ready"]["http"], outcome["addresses"]["http"]);
    assert!(outcome["ready"]["s3"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(outcome["ended"], 0, "{outcome}");
}

#[test]
fn sockets_that_are_no_use_are_refused_by_name() {
    for (sockets, why) in [
        (&["https=tcp"][..], "there is none of the name \"https\""),
        (&["=tcp"], "there is none of the name \"\""),
        (&["s3=tcp", "s3=tcp"], "there are two of the name \"s3\""),
        (&["s3=bound"], "it does not listen"),
        (&["http=udp"], "\"http\""),
        (&["http=tcp", "functions=unix"], "\"functions\""),
        (&["functions=file"], "is not a socket"),
    ] {
        let outcome = activate(sockets);
        let log = outcome["log"].as_str().unwrap();
        // A person's terminal is narrower than some of the sentences.
        let words = log.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>();
        assert!(words.join(" ").contains(why), "{sockets:?}: {log}");
        assert!(log.contains("E0305") && outcome["ended"] == 2, "{sockets:?}: {outcome}");
        assert_eq!(outcome["ready"], Value::Null);
    }
}
