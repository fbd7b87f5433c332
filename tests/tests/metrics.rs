//! What is counted, on the real server: as the command line shows it, and as Prometheus reads it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

use std::fs;
use std::process::Command;
use std::time::Duration;

use backlot_builtin::WEB;
use backlot_tests::clients::python;
use backlot_tests::server::Server;
use backlot_tests::{stdout, wait_for};
use serde_json::Value;

#[test]
fn requests_are_counted_by_how_they_ended() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("web.wasm"), WEB.component).unwrap();
    fs::write(folder.path().join("web.toml"), WEB.manifest).unwrap();
    let server = Server::start(folder.path()).unwrap();
    stdout(&mut server.backlot("deploy web.wasm --json")).unwrap();
    for (path, times) in [("hello", 7), ("nothing-of-the-kind", 2), ("trap", 1)] {
        for _ in 0..times {
            let url = format!("http://{}/{path}", server.ready.functions);
            stdout(Command::new("curl").args(["-sS", "-o", "/dev/null"]).arg(url)).unwrap();
        }
    }
    // An answer may arrive before its end is counted.
    let shown = wait_for("the counts", Duration::from_secs(20), || {
        let shown = stdout(&mut server.backlot("functions show web --json"))?;
        let shown: Value = serde_json::from_str(&shown)?;
        let counts = &shown["http"][0];
        Ok((counts["requests"] == 10 && counts["running"] == 0).then_some(shown))
    })
    .unwrap();
    let counts = &shown["http"][0];
    assert_eq!(counts["version"], shown["version"]);
    let ends = [&counts["answered"]["2xx"], &counts["answered"]["4xx"], &counts["failed"]];
    assert_eq!(ends, [7, 2, 1], "{counts}");
    assert!(0.0 < counts["p50_ms"].as_f64().unwrap(), "{counts}");
    assert!(counts["p50_ms"].as_f64() <= counts["p99_ms"].as_f64(), "{counts}");
    let page = stdout(&mut server.backlot("functions show web")).unwrap();
    assert!(page.contains("10 requests, 7 2xx, 2 4xx, 1 failed, p50 "), "{page}");

    let read = stdout(&mut python(&server, "metrics.py").unwrap()).unwrap();
    let read: Value = serde_json::from_str(&read).unwrap();
    let version: String = shown["version"].as_str().unwrap().chars().take(12).collect();
    let of = |name: &str| read[format!("{name} web {version}")].as_f64();
    assert_eq!(of("backlot_http_requests_total 2xx"), Some(7.0), "{read}");
    assert_eq!(of("backlot_http_requests_total 4xx"), Some(2.0), "{read}");
    assert_eq!(of("backlot_http_requests_total failed"), Some(1.0), "{read}");
    assert_eq!(of("backlot_http_refused_total"), Some(0.0), "{read}");
    assert_eq!(of("backlot_http_running"), Some(0.0), "{read}");
    assert_eq!(of("backlot_http_duration_seconds_count"), Some(10.0), "{read}");
    assert_eq!(of("backlot_http_duration_seconds_bucket +Inf"), Some(10.0), "{read}");
    for state in ["ready", "delayed", "blocked", "running", "parked"] {
        assert_eq!(read[format!("backlot_queue_invocations {state}")], 0.0, "{read}");
    }
    assert_eq!(read["backlot_dead_letters"], 0.0);
    assert!(1e6 < read["process_resident_memory_bytes"].as_f64().unwrap(), "{read}");
    assert!(3.0 < read["process_open_fds"].as_f64().unwrap(), "{read}");
    server.stop().unwrap();
}
