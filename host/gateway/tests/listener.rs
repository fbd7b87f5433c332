//! The listener's limits, with a front door that does what a test tells it to.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "in a test a panic is the failure it should be"
)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use backlot_gateway::serve::{BodyFault, Drained, Limits, Progress, Refusal, RequestBody, serve};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Long enough that only a hang reaches it.
const HANG: Duration = Duration::from_secs(20);

struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    ended: JoinHandle<Drained>,
}

/// Answers by path: `/panic` panics, `/hang` never answers, `/body` reads the body and says how
/// that ended, `/slow` answers after a while, anything else answers at once.
async fn door(request: Request<RequestBody>) -> Result<Response<Full<Bytes>>, Infallible> {
    let text = match request.uri().path() {
        "/panic" => panic!("as the test asked"),
        "/hang" => std::future::pending().await,
        "/slow" => {
            tokio::time::sleep(Duration::from_millis(300)).await;
            "slow".to_owned()
        }
        "/body" => match request.into_body().collect().await {
            Ok(body) => format!("{} bytes", body.to_bytes().len()),
            Err(BodyFault::TooLarge { limit }) => format!("over {limit}"),
            Err(BodyFault::TooSlow(_)) => "too slow".to_owned(),
            Err(BodyFault::Broken(_)) => "broken".to_owned(),
        },
        _ => "fine".to_owned(),
    };
    Ok(Response::new(Full::new(Bytes::from(text))))
}

fn refuse(refusal: Refusal) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(format!("{refusal:?}")));
    *response.status_mut() = match refusal {
        Refusal::Busy => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Refusal::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
    };
    response
}

async fn start(limits: Limits) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let ended = tokio::spawn(serve(listener, service_fn(door), limits, refuse, stop.clone()));
    Running { address, stop, ended }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends raw bytes on a new connection and reads until the server closes it.
    async fn until_closed(&self, bytes: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes.as_bytes()).await.unwrap();
        read_all(&mut stream).await
    }

    async fn stop(self) -> Drained {
        self.stop.cancel();
        tokio::time::timeout(HANG, self.ended).await.unwrap().unwrap()
    }
}

async fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset ends a connection as well as a close does.
    tokio::time::timeout(HANG, stream.read_to_end(&mut bytes)).await.unwrap().ok();
    String::from_utf8(bytes).unwrap()
}

/// One request on a connection that stays open; the answer, head and body.
async fn ask(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = async {
        loop {
            let mut chunk = [0; 4096];
            let len = stream.read(&mut chunk).await.unwrap();
            answer.push_str(std::str::from_utf8(&chunk[..len]).unwrap());
            let Some((head, body)) = answer.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if length.unwrap().parse::<usize>().unwrap() <= body.len() {
                return;
            }
        }
    };
    tokio::time::timeout(HANG, read).await.unwrap();
    answer
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

#[tokio::test]
async fn a_panic_is_one_requests_fault() {
    let server = start(Limits::default()).await;
    let mut stream = server.connect().await;
    let answer = ask(&mut stream, &get("/panic")).await;
    assert!(answer.starts_with("HTTP/1.1 500 ") && answer.ends_with("Panicked"), "{answer}");
    assert!(ask(&mut stream, &get("/")).await.ends_with("fine"));
    assert_eq!(server.stop().await, Drained { cut_off: 0 });
}

#[tokio::test]
async fn requests_over_the_limit_are_told_to_come_back() {
    let server = start(Limits { requests_max: 1, ..Limits::default() }).await;
    let mut busy = server.connect().await;
    busy.write_all(get("/hang").as_bytes()).await.unwrap();
    let mut stream = server.connect().await;
    // The first request may not have been read yet.
    let begun = Instant::now();
    let answer = loop {
        let answer = ask(&mut stream, &get("/")).await;
        if !answer.ends_with("fine") || HANG < begun.elapsed() {
            break answer;
        }
    };
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    drop(busy);
    // Its place is free again as soon as the peer's end is noticed.
    while !ask(&mut stream, &get("/")).await.ends_with("fine") {
        assert!(begun.elapsed() < HANG);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn connections_over_the_limit_wait() {
    let server = start(Limits { connections_max: 1, ..Limits::default() }).await;
    let mut first = server.connect().await;
    assert!(ask(&mut first, &get("/")).await.ends_with("fine"));
    let mut second = server.connect().await;
    second.write_all(get("/").as_bytes()).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(200), second.readable()).await;
    assert!(early.is_err(), "answered while the first connection was open");
    drop(first);
    assert!(ask(&mut second, &get("/")).await.ends_with("fine"));
}

#[tokio::test]
async fn heads_are_bounded() {
    let limits = Limits { headers_max: 10, header_bytes_max: 1_000, ..Limits::default() };
    let server = start(limits).await;
    let with =
        |more: String| format!("GET / HTTP/1.1\r\nHost: x\r\n{more}Connection: close\r\n\r\n");
    assert!(server.until_closed(&with(String::new())).await.ends_with("fine"));
    let large = server.until_closed(&with(format!("A: {}\r\n", "x".repeat(1_000)))).await;
    assert!(large.starts_with("HTTP/1.1 431 ") && large.ends_with("HeadTooLarge"), "{large}");
    let target =
        format!("GET /{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "x".repeat(1_000));
    assert!(server.until_closed(&target).await.starts_with("HTTP/1.1 431 "));
    let many: String = (0..20).map(|n| format!("A{n}: x\r\n")).collect();
    assert!(server.until_closed(&with(many)).await.starts_with("HTTP/1.1 431 "));
}

#[tokio::test]
async fn slow_heads_and_idle_connections_are_closed() {
    let limits = Limits {
        header_read_timeout: Duration::from_millis(200),
        idle_timeout: Duration::from_secs(2),
        ..Limits::default()
    };
    let server = start(limits).await;
    let silent = Instant::now();
    assert_eq!(server.until_closed("").await, "");
    assert!(silent.elapsed() < Duration::from_secs(2), "{:?}", silent.elapsed());
    assert_eq!(server.until_closed("GET / HTTP/1.1\r\nHo").await, "");
    // After a request the idle time-out holds, and for the next head the other one again.
    let mut stream = server.connect().await;
    ask(&mut stream, &get("/")).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(
        ask(&mut stream, &get("/")).await.ends_with("fine"),
        "closed before it was idle for long"
    );
    let begun = Instant::now();
    read_all(&mut stream).await;
    assert!(Duration::from_secs(1) < begun.elapsed(), "{:?}", begun.elapsed());
    let mut stream = server.connect().await;
    ask(&mut stream, &get("/")).await;
    stream.write_all(b"GET").await.unwrap();
    let begun = Instant::now();
    read_all(&mut stream).await;
    assert!(begun.elapsed() < Duration::from_millis(1_800), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn bodies_are_bounded_in_size_and_slowness() {
    let limits = Limits {
        body_bytes_max: 100,
        body_progress: Progress { bytes: 10, interval: Duration::from_millis(300) },
        ..Limits::default()
    };
    let server = start(limits).await;
    let post = |more: &str| format!("POST /body HTTP/1.1\r\nHost: x\r\n{more}");
    let fits = post(&format!("Content-Length: 100\r\n\r\n{}", "x".repeat(100)));
    let mut stream = server.connect().await;
    assert!(ask(&mut stream, &fits).await.ends_with("100 bytes"));
    let declared = post(&format!("Content-Length: 101\r\n\r\n{}", "x".repeat(101)));
    let answer = ask(&mut stream, &declared).await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.ends_with("BodyTooLarge"), "{answer}");
    let chunked =
        post(&format!("Transfer-Encoding: chunked\r\n\r\n65\r\n{}\r\n0\r\n\r\n", "x".repeat(101)));
    assert!(ask(&mut server.connect().await, &chunked).await.ends_with("over 100"));
    let stalled = post("Content-Length: 50\r\n\r\nx");
    assert!(ask(&mut server.connect().await, &stalled).await.ends_with("too slow"));

    // A sender that keeps the pace may take longer than one interval.
    let mut stream = server.connect().await;
    stream.write_all(post("Content-Length: 90\r\n\r\n").as_bytes()).await.unwrap();
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        stream.write_all(b"0123456789").await.unwrap();
    }
    assert!(ask(&mut stream, "0123456789").await.ends_with("90 bytes"));
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_cut_off() {
    let limits = Limits { write_stall_timeout: Duration::from_millis(200), ..Limits::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    // More than both socket buffers hold.
    let endless = service_fn(async |_: Request<RequestBody>| {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(vec![0; 64 << 20]))))
    });
    let ended = tokio::spawn(serve(listener, endless, limits, refuse, stop.clone()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(get("/").as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(800)).await;
    stop.cancel();
    let drained = tokio::time::timeout(HANG, ended).await.unwrap().unwrap();
    assert_eq!(drained, Drained { cut_off: 0 }, "the connection had ended before");
}

#[tokio::test]
async fn shutdown_lets_work_finish_and_cuts_off_the_rest() {
    let limits = Limits { drain_timeout: Duration::from_secs(2), ..Limits::default() };
    let server = start(limits).await;
    let mut slow = server.connect().await;
    let mut hanging = server.connect().await;
    slow.write_all(get("/slow").as_bytes()).await.unwrap();
    hanging.write_all(get("/hang").as_bytes()).await.unwrap();
    // Both have to be at work, else there is nothing to let finish.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let address = server.address;
    let stopping = tokio::spawn(server.stop());
    assert!(read_all(&mut slow).await.ends_with("slow"));
    assert_eq!(stopping.await.unwrap(), Drained { cut_off: 1 });
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn http2_without_tls_works_too() {
    let server = start(Limits::default()).await;
    let io = TokioIo::new(server.connect().await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let driver = tokio::spawn(connection);
    for path in ["/", "/panic", "/"] {
        let uri = format!("http://{}{path}", server.address);
        let request = Request::get(uri).body(Full::<Bytes>::default()).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        let expected = if path == "/panic" { 500 } else { 200 };
        assert_eq!(answer.status(), expected, "{path}");
    }
    drop(sender);
    driver.await.unwrap().unwrap();
}
