//! A function is swapped for another version while it answers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use backlot_builtin::WEB;
use http::{Request, StatusCode};
use http_body_util::BodyExt;

use crate::support::Host;

/// How often it is swapped. Ten thousand take about two minutes:
/// `BACKLOT_SWAPS=10000 cargo nextest run -p backlot-gateway --no-capture -E 'test(swaps)'`.
fn swaps() -> u64 {
    std::env::var("BACKLOT_SWAPS").map_or(1_000, |swaps| swaps.parse().unwrap())
}

/// What a swap may leave behind, in bytes. Of a thousand, most is the heap that finds its size.
fn growth_max(swaps: u64) -> u64 {
    if swaps < 10_000 { 8 << 10 } else { 1 << 10 }
}

/// What the clients ask together at least, in requests a second.
const RATE_MIN: u64 = 500;

/// Resident bytes of this process.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaps_fail_no_request_and_each_answer_is_of_one_version() {
    let swaps = swaps();
    let host = Arc::new(Host::start().await);
    let deploy = async |n: u64| {
        let settings =
            format!("env = {{ VERSION = \"{n}\" }}\nhttp = {{ timeout_secs = 3600 }}\nname");
        let text = WEB.manifest.replace("name", &settings);
        host.deploy(&WEB, backlot_runtime::Manifest::parse(&text).unwrap()).await;
    };
    deploy(0).await;
    // An answer that is under way all the time, on the first version.
    let mut connection = host.connect().await;
    let slow = Request::get("/drip/100000/5").header("host", "test");
    let slow = slow.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
    let mut slow = connection.send_request(slow).await.unwrap();
    assert_eq!(slow.status(), StatusCode::OK);

    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicU64::new(0));
    let live = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (host, stop) = (host.clone(), stop.clone());
            let (asked, live) = (asked.clone(), live.clone());
            tokio::spawn(async move {
                let mut connection = host.connect().await;
                let mut seen = BTreeSet::new();
                while !stop.load(Ordering::Relaxed) {
                    let before = live.load(Ordering::SeqCst);
                    let request = Request::get("/version").header("host", "test");
                    let request = request.body(http_body_util::Empty::<bytes::Bytes>::new());
                    let answer = connection.send_request(request.unwrap()).await.unwrap();
                    assert_eq!(answer.status(), StatusCode::OK);
                    let body = answer.into_body().collect().await.unwrap().to_bytes();
                    let version: u64 = std::str::from_utf8(&body).unwrap().parse().unwrap();
                    // The one that was live when it was asked, or one that came while it was.
                    assert!(before <= version && version <= live.load(Ordering::SeqCst) + 1);
                    seen.insert(version);
                    asked.fetch_add(1, Ordering::Relaxed);
                }
                seen
            })
        })
        .collect();

    let started = Instant::now();
    let mut resident_before = 0;
    for n in 1..=swaps {
        deploy(n).await;
        live.store(n, Ordering::SeqCst);
        if n == swaps / 4 {
            // By now what is kept anyway (old versions, warm memories, allocators) is there.
            resident_before = resident_bytes();
        }
        if let Ok(frame) = tokio::time::timeout(Duration::from_millis(100), slow.frame()).await {
            frame.unwrap().unwrap();
        }
        // So many requests a swap that the rate is kept whatever a swap takes.
        while asked.load(Ordering::Relaxed) * 1_000
            < RATE_MIN * u64::try_from(started.elapsed().as_millis()).unwrap()
        {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    }
    let took = started.elapsed();
    let resident_after = resident_bytes();
    stop.store(true, Ordering::Relaxed);
    let mut seen = BTreeSet::new();
    for client in clients {
        seen.extend(client.await.unwrap());
    }
    let asked = asked.load(Ordering::Relaxed);
    let rate = asked * 1_000 / u64::try_from(took.as_millis()).unwrap();
    let grown = resident_after.saturating_sub(resident_before) / (swaps * 3 / 4);
    println!(
        "{swaps} swaps in {took:?}, {asked} requests ({rate}/s), {} versions seen, \
         {grown} bytes resident more a swap",
        seen.len()
    );
    assert!(RATE_MIN <= rate, "{rate}");
    assert!(swaps / 10 < u64::try_from(seen.len()).unwrap());
    assert!(grown <= growth_max(swaps), "{grown} bytes a swap");
}
