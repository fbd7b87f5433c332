//! What clients get, of guests of both versions of `wasi:http`.

use std::time::{Duration, Instant};

use backlot_builtin::{Builtin, WEB, WEB3};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};

use crate::support::{Answer, Host, PATIENCE};

const BOTH: [&Builtin; 2] = [&WEB, &WEB3];

/// An answer that tells nothing of the guest.
fn check_failure(answer: &Answer, status: StatusCode, text: &str) {
    assert_eq!((answer.status, answer.text().as_str()), (status, text));
    assert!(answer.header("content-type").starts_with("text/plain"));
}

#[tokio::test]
async fn a_short_answer_has_its_length() {
    for guest in BOTH {
        let host = Host::of(guest, "").await;
        let answer = host.get("/hello").await;
        assert_eq!((answer.status, answer.text().as_str()), (StatusCode::OK, "hello"));
        assert_eq!(answer.header("content-length"), "5", "{}", guest.name);
        let counts = host.counts(guest.name, |counts| counts.requests == 1).await;
        assert_eq!(counts.answered, [1, 0, 0, 0]);
    }
}

#[tokio::test]
async fn every_request_has_an_instance_of_its_own_unless_they_are_reused() {
    for guest in BOTH {
        let host = Host::of(guest, "").await;
        for _ in 0..3 {
            assert_eq!(host.get("/served").await.text(), "1");
        }
        let host = Host::of(guest, "[http]\nreuse = 3").await;
        let mut served = Vec::new();
        for _ in 0..7 {
            served.push(host.get("/served").await.text());
        }
        assert_eq!(served, ["1", "2", "3", "1", "2", "3", "1"], "{}", guest.name);
    }
}

#[tokio::test]
async fn an_instance_that_trapped_is_not_used_again() {
    for guest in BOTH {
        let host = Host::of(guest, "[http]\nreuse = 100").await;
        assert_eq!(host.get("/served").await.text(), "1");
        assert_eq!(host.get("/trap").await.status, StatusCode::BAD_GATEWAY);
        assert_eq!(host.get("/served").await.text(), "1");
    }
}

#[tokio::test]
async fn bodies_stream_both_ways_at_once() {
    for guest in BOTH {
        let host = Host::of(guest, "").await;
        let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Frame<Bytes>, String>>(1);
        let body = StreamBody::new(tokio_stream::wrappers::ReceiverStream::new(receiver));
        let request = Request::post("/echo").header("host", "test").body(body).unwrap();
        let mut connection = host.connect().await;
        let mut answer = connection.send_request(request).await.unwrap();
        for n in 0..20_u8 {
            let piece = Bytes::from(vec![n; 1 + usize::from(n) * 10_000]);
            sender.send(Ok(Frame::data(piece.clone()))).await.unwrap();
            let mut back = Vec::new();
            while back.len() < piece.len() {
                let frame = tokio::time::timeout(PATIENCE, answer.frame()).await.unwrap();
                back.extend(frame.unwrap().unwrap().into_data().unwrap());
            }
            assert_eq!(back, piece, "{} {n}", guest.name);
        }
        drop(sender);
        assert!(answer.frame().await.is_none());
    }
}

#[tokio::test]
async fn a_trap_before_the_head_is_a_bad_gateway_and_tells_nothing() {
    for guest in BOTH {
        let host = Host::of(guest, "").await;
        let answer = host.get("/trap").await;
        check_failure(&answer, StatusCode::BAD_GATEWAY, "the function failed\n");
        let counts = host.counts(guest.name, |counts| counts.requests == 1).await;
        assert_eq!(counts.failed, 1);
    }
    let host = Host::of(&WEB, "").await;
    let answer = host.get("/silent").await;
    check_failure(&answer, StatusCode::BAD_GATEWAY, "the function failed\n");
    let host = Host::of(&WEB3, "").await;
    let answer = host.get("/error").await;
    check_failure(&answer, StatusCode::BAD_GATEWAY, "the function failed\n");
}

#[tokio::test]
async fn a_trap_after_the_head_never_looks_like_an_end() {
    for guest in BOTH {
        let host = Host::of(guest, "").await;
        for _ in 0..200 {
            let answer = host.get("/trap-after").await;
            // The head may still have been at hand, and was not sent then.
            let ended = answer.status == StatusCode::BAD_GATEWAY || !answer.whole;
            assert!(ended, "{}: {answer:?}", guest.name);
        }
        let counts = host.counts(guest.name, |counts| counts.requests == 200).await;
        assert_eq!(counts.failed, 200, "{}", guest.name);
    }
}

#[tokio::test]
async fn a_guest_without_end_is_ended_in_time_and_disturbs_no_neighbour() {
    for guest in BOTH {
        let host = Host::of(guest, "[http]\ntimeout_secs = 1").await;
        let started = Instant::now();
        let spinning = async {
            let answers = futures::future::join_all((0..4).map(|_| host.get("/spin"))).await;
            let took = started.elapsed();
            for answer in answers {
                let text = "the function took too long to answer\n";
                check_failure(&answer, StatusCode::GATEWAY_TIMEOUT, text);
            }
            assert!(took < Duration::from_secs(3), "{took:?}");
        };
        let neighbour = async {
            let mut slowest = Duration::ZERO;
            while started.elapsed() < Duration::from_millis(900) {
                let asked = Instant::now();
                assert_eq!(host.get("/hello").await.text(), "hello");
                slowest = slowest.max(asked.elapsed());
            }
            println!("{}: the slowest neighbour took {slowest:?}", guest.name);
            assert!(slowest < Duration::from_millis(500), "{slowest:?}");
        };
        tokio::join!(spinning, neighbour);
        let answer = host.get("/spin-after").await;
        // Whether the head was out when it began to compute is a race within the guest.
        let late = answer.status == StatusCode::GATEWAY_TIMEOUT || !answer.whole;
        assert!(late, "{answer:?}");
        let counts = host.counts(guest.name, |counts| counts.timed_out == 5).await;
        assert_eq!(counts.gone, 0);
    }
}

#[tokio::test]
async fn a_sleep_in_a_host_call_counts_as_time() {
    for guest in BOTH {
        let host = Host::of(guest, "[http]\ntimeout_secs = 1").await;
        let started = Instant::now();
        assert_eq!(host.get("/sleep/20000").await.status, StatusCode::GATEWAY_TIMEOUT);
        assert!(started.elapsed() < Duration::from_secs(3));
        assert_eq!(host.get("/sleep/10").await.text(), "slept");
    }
}

#[tokio::test]
async fn cpu_time_is_limited_and_a_sleep_takes_none() {
    for guest in BOTH {
        let host = Host::of(guest, "[limits]\ncpu_ms = 100").await;
        let started = Instant::now();
        assert_eq!(host.get("/spin").await.status, StatusCode::GATEWAY_TIMEOUT);
        let answer = host.get("/spin-after").await;
        let late = answer.status == StatusCode::GATEWAY_TIMEOUT || !answer.whole;
        assert!(late, "{answer:?}");
        assert!(started.elapsed() < Duration::from_secs(10), "well before the 30 s of a request");
        assert_eq!(host.get("/sleep/300").await.text(), "slept");
        host.counts(guest.name, |counts| counts.timed_out == 2).await;
    }
}

#[tokio::test]
async fn an_instance_that_gave_no_answer_is_not_used_again() {
    let host = Host::of(&WEB, "[http]\nreuse = 100").await;
    assert_eq!(host.get("/served").await.text(), "1");
    assert_eq!(host.get("/served").await.text(), "2");
    assert_eq!(host.get("/silent").await.status, StatusCode::BAD_GATEWAY);
    assert_eq!(host.get("/served").await.text(), "1");
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_reset() {
    for guest in BOTH {
        let host = Host::of(guest, "[http]\ntimeout_secs = 1").await;
        let answer = host.get("/drip/1000/20").await;
        assert_eq!((answer.status, answer.whole), (StatusCode::OK, false), "{}", guest.name);
        assert!(answer.text().starts_with("0\n1\n"));
        let counts = host.counts(guest.name, |counts| counts.requests == 1).await;
        assert_eq!(counts.timed_out, 1);
    }
}

#[tokio::test]
async fn memory_past_the_limit_ends_the_guest_alone() {
    let host = Host::of(&WEB, "[limits]\nmemory_megabytes = 16").await;
    assert_eq!(host.get("/allocate/4").await.status, StatusCode::OK);
    let answer = host.get("/allocate/100").await;
    check_failure(&answer, StatusCode::BAD_GATEWAY, "the function failed\n");
    assert_eq!(host.get("/hello").await.text(), "hello");
}

#[tokio::test]
async fn too_many_headers_end_the_guest_alone() {
    let host = Host::of(&WEB, "").await;
    assert_eq!(host.get("/headers/50").await.status, StatusCode::OK);
    let answer = host.get("/headers/10000").await;
    check_failure(&answer, StatusCode::BAD_GATEWAY, "the function failed\n");
    assert_eq!(host.get("/hello").await.text(), "hello");
}

#[tokio::test]
async fn bodies_over_their_limits_are_refused_or_cut_off() {
    let host = Host::of(&WEB, "[http]\nrequest_megabytes = 1\nresponse_megabytes = 1").await;
    let upload = |bytes: usize| {
        let body = Full::new(Bytes::from(vec![1; bytes]));
        Request::post("/length").header("host", "test").body(body).unwrap()
    };
    assert_eq!(host.ask(upload(1 << 20)).await.text(), "1048576");
    assert_eq!(host.ask(upload((1 << 20) + 1)).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    // Without a length said before.
    let pieces = futures::stream::iter(
        (0..40).map(|_| Ok::<_, String>(Frame::data(Bytes::from(vec![1; 64 << 10])))),
    );
    let request = Request::post("/length").header("host", "test").body(StreamBody::new(pieces));
    assert_eq!(host.ask(request.unwrap()).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(host.get("/bytes/1048576").await.body.len(), 1 << 20);
    let long = host.get("/bytes/3000000").await;
    assert!(!long.whole && long.body.len() <= 1 << 20, "{} {}", long.whole, long.body.len());
    host.counts("web", |counts| counts.too_long == 1).await;
}

#[tokio::test]
async fn an_answer_goes_no_faster_than_it_may() {
    let host = Host::of(&WEB, "[http]\nresponse_kilobytes_per_sec = 100").await;
    let started = Instant::now();
    assert_eq!(host.get("/bytes/60000").await.body.len(), 60_000);
    // What is sent last needs no waiting for; that is one piece.
    assert!(Duration::from_millis(450) < started.elapsed(), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_guest() {
    for guest in BOTH {
        let host = Host::of(guest, "[http]\nrequests_max = 1").await;
        for path in ["/sleep/600000", "/drip/100000/10", "/spin", "/bytes/1000000000"] {
            let before = host.counts(guest.name, |_| true).await.gone;
            drop(host.occupied(path).await);
            host.counts(guest.name, |counts| before < counts.gone).await;
            while host.get("/hello").await.status != StatusCode::OK {}
        }
    }
}

#[tokio::test]
async fn what_is_over_the_limits_at_once_is_told_to_come_again() {
    for guest in BOTH {
        let host = Host::with(|config| config.http_requests = 2).await;
        let with = |name: &str, path: &str, max: u32| {
            let text = format!(
                "name = \"{name}\"\n[[triggers]]\ntype = \"http\"\npath = \"{path}\"\n\
                 [http]\nrequests_max = {max}"
            );
            backlot_runtime::Manifest::parse(&text).unwrap()
        };
        host.deploy(guest, with("one", "/*", 1)).await;
        host.deploy(guest, with("two", "/served", 5)).await;
        let occupied = host.occupied("/sleep/600000").await;
        let full = host.get("/hello").await;
        assert_eq!(full.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(full.header("retry-after"), "1");
        // The other function is not concerned.
        assert_eq!(host.get("/served").await.text(), "1");
        drop(occupied);
        while host.get("/hello").await.status != StatusCode::OK {}
        host.deploy(guest, with("one", "/*", 5)).await;
        let answers = futures::future::join_all((0..3).map(|_| host.get("/sleep/300"))).await;
        let refused: Vec<_> = answers
            .iter()
            .filter(|answer| answer.status == StatusCode::SERVICE_UNAVAILABLE)
            .collect();
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].header("retry-after"), "1");
    }
}

#[tokio::test]
async fn a_guest_knows_whom_it_was_asked_as() {
    let host = Host::of(&WEB, "").await;
    assert_eq!(host.get("/uri").await.text(), "test/uri");
    let request = Request::get("/uri").body(http_body_util::Empty::<Bytes>::new()).unwrap();
    assert_eq!(host.ask(request).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn the_end_of_the_host_waits_for_answers() {
    let host = Host::of(&WEB, "").await;
    let mut connection = host.connect::<http_body_util::Empty<Bytes>>().await;
    let request = Request::get("/drip/20/20").header("host", "test");
    let request = request.body(http_body_util::Empty::new()).unwrap();
    let answer = connection.send_request(request).await.unwrap();
    let ended = tokio::spawn(host.stop());
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(body.ends_with(b"19\n"));
    drop(connection);
    assert_eq!(ended.await.unwrap().cut_off, 0);
}

#[tokio::test]
async fn requests_of_one_instance_run_side_by_side() {
    let host = Host::of(&WEB3, "[http]\nreuse = 1000\nconcurrency = 8\ntimeout_secs = 2").await;
    let started = Instant::now();
    let slept = futures::future::join_all((0..8).map(|_| host.get("/sleep/400"))).await;
    assert!(slept.iter().all(|answer| answer.text() == "slept"));
    assert!(started.elapsed() < Duration::from_millis(1_600), "{:?}", started.elapsed());
    // They had one instance, which goes on.
    assert_eq!(host.get("/served").await.text(), "9");
    // A ninth at once needs another.
    let served = futures::future::join_all((0..9).map(|_| host.get("/sleep/300"))).await;
    assert!(served.iter().all(|answer| answer.text() == "slept"));
    // One that computes without end takes the others with it, in time, and nobody after them.
    let (spun, slept) = tokio::join!(host.get("/spin"), host.get("/sleep/100"));
    assert_eq!(spun.status, StatusCode::GATEWAY_TIMEOUT);
    assert!(slept.status == StatusCode::GATEWAY_TIMEOUT || slept.text() == "slept");
    assert_eq!(host.get("/hello").await.text(), "hello");
    // A trap ends all that share the instance.
    let answer = host.get("/trap").await;
    check_failure(&answer, StatusCode::BAD_GATEWAY, "the function failed\n");
    assert_eq!(host.get("/served").await.text(), "1");
}

#[tokio::test]
async fn bodies_of_one_instance_end_as_they_should() {
    let host = Host::of(&WEB3, "[http]\nreuse = 1000\nconcurrency = 8").await;
    let (long, dripped) = tokio::join!(host.get("/bytes/3000000"), host.get("/drip/20/10"));
    assert_eq!((long.body.len(), long.whole), (3_000_000, true));
    assert!(dripped.whole && dripped.text().ends_with("19\n"));
    let (broken, other) = tokio::join!(host.get("/trap-after"), host.get("/drip/100/20"));
    assert!(broken.status == StatusCode::BAD_GATEWAY || !broken.whole, "{broken:?}");
    // It was in the same instance, or in one that was begun after that.
    assert!(!other.whole || other.text().ends_with("99\n"));
    assert_eq!(host.get("/hello").await.text(), "hello");
}
