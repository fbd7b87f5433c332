//! Where the work is done. Alone in its file: it counts the threads of the process.
#![allow(clippy::unwrap_used, reason = "also in functions that tests call")]

mod common;

use std::time::{Duration, Instant};

use backlot_encoding::Chroma;
use common::{encode_range, encoder, picture, settings};

/// Threads by their name's beginning, with their nice value (proc_pid_stat(5), field 19).
fn threads(name: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap_or_default();
        let Some((head, tail)) = stat.rsplit_once(") ") else { continue };
        if head.contains(&format!("({name}")) {
            found.push(tail.split(' ').nth(16).unwrap().parse().unwrap());
        }
    }
    found
}

#[tokio::test]
async fn work_is_done_on_the_encoders_own_threads_at_low_priority() {
    let encoder = encoder(3);
    let before = threads("").len();
    let settings = settings(picture(64, 64, 8, Chroma::Yuv420), &[(64, 64)], 10, 4);
    encode_range(&encoder, &settings, 0..9).await;
    assert_eq!(threads("").len(), before, "rav1e started threads");
    assert_eq!(threads("encode"), [10; 3]);
    drop(encoder);
    let deadline = Instant::now() + Duration::from_secs(10);
    while !threads("encode").is_empty() {
        assert!(Instant::now() < deadline, "the threads do not end");
        tokio::task::yield_now().await;
    }
}
