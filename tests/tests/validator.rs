//! The validator on the real server: what arrives is judged, what is not whole is kept apart, and
//! nothing is missed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is the failure")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use backlot_tests::clients::python;
use backlot_tests::s3::S3;
use backlot_tests::server::Server;
use backlot_tests::{backlot, guest_cache, run, stdout, wait_for};
use serde_json::Value;

/// Far longer than anything here takes on an idle machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// The buckets that `tests/clients/validation.py` expects.
const CONFIG: &str = "
[[validate]]
bucket = \"docs\"

[[validate]]
bucket = \"inbox\"
invalid = \"quarantine\"

[[validate]]
bucket = \"kept\"
invalid = \"quarantine\"

[[validate]]
bucket = \"lenient\"
invalid = \"tag\"

[[validate]]
bucket = \"pictures\"
types = [\"image/*\"]
bytes_max = 1000
unknown = \"refuse\"
invalid = \"tag\"
";

/// What an upload would have, were it whole.
const GOOD: &[u8] = b"{\"n\": 1}";
/// And what is cut off.
const BROKEN: &[u8] = b"{\"n\": ";

/// A server with this configuration and with these buckets.
fn serve(folder: &Path, config: &str, buckets: &[&str], settings: &[(&str, &str)]) -> Server {
    let path = folder.join("backlot.toml");
    fs::write(&path, config).unwrap();
    let server = Server::start_with(folder, &["--config", path.to_str().unwrap()], settings);
    let server = server.unwrap();
    for bucket in buckets {
        S3::new(&server.ready).make_bucket(bucket).unwrap();
    }
    server
}

/// What is in quarantine.
fn quarantine(server: &Server) -> Vec<Value> {
    let answer = server.json("/api/v1/quarantine?limit=1000").unwrap();
    answer["quarantine"].as_array().unwrap().clone()
}

/// The record about an object, if there is one.
fn record(server: &Server, bucket: &str, key: &str) -> Option<Value> {
    let body = S3::new(&server.ready).get("validator", &format!("verdicts/{bucket}/{key}"));
    body.unwrap().map(|body| serde_json::from_slice(&body).unwrap())
}

fn verdict(server: &Server, bucket: &str, key: &str) -> Value {
    wait_for(&format!("a verdict about {key}"), PATIENCE, || Ok(record(server, bucket, key)))
        .unwrap()
}

#[test]
fn what_boto3_sees_of_validation() {
    let folder = tempfile::tempdir().unwrap();
    let buckets = ["docs", "inbox", "kept", "lenient", "pictures"];
    let server = serve(folder.path(), CONFIG, &buckets, &[]);
    println!("{}", stdout(&mut python(&server, "validation.py").unwrap()).unwrap());
    server.stop().unwrap();
}
