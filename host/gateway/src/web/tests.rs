//! The front door over a real ledger and store, with work that tests report by hand.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use backlot_ledger::{
    AttemptEnd, Concurrency, ConcurrencyPolicy, Cost, Event, Lane, Leased, Outcome, RetryPolicy,
    Route, Router,
};
use backlot_storage::{Put, StoreLimits};
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use futures::stream;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::*;

mod admin;
mod changes;
mod invocations;
mod scopes;
mod streams;

const LEASE: Duration = Duration::from_secs(60);
const TOKEN: &str = "TOKEN";
/// The upload that the tests encode, and what its id ends in.
const KEY: &str = "A film.mp4";

struct ToEncoder;

impl Router for ToEncoder {
    fn route(&self, event: &Event) -> Vec<Route> {
        if event.source != "/buckets/uploads" {
            return Vec::new();
        }
        let key = event.subject.clone().unwrap_or_default();
        let concurrency = Concurrency { key, policy: ConcurrencyPolicy::NewestWins };
        vec![Route {
            function: "encoder".to_owned(),
            concurrency: Some(concurrency),
            delay: Duration::ZERO,
        }]
    }
}

struct ByHand {
    running: Mutex<HashMap<InvocationId, Vec<Progress>>>,
    reports: broadcast::Sender<(InvocationId, Vec<Progress>)>,
}

impl LiveWork for ByHand {
    fn progress(&self, id: &InvocationId) -> Vec<Progress> {
        self.running.lock().unwrap().get(id).cloned().unwrap_or_default()
    }

    fn subscribe(&self) -> broadcast::Receiver<(InvocationId, Vec<Progress>)> {
        self.reports.subscribe()
    }

    fn functions(&self) -> Vec<Deployed> {
        let manifest = json!({
            "name": "encoder", "triggers": [{ "type": "object", "bucket": "uploads" }],
            "limits": { "wall_secs": 900 }, "env": { "KEY": "HIDDEN" },
        });
        vec![Deployed {
            name: "encoder".to_owned(),
            version: "ab".repeat(32),
            component: "cd".repeat(32),
            manifest,
        }]
    }
}

struct Site {
    web: Web,
    ledger: Ledger,
    store: Store,
    live: Arc<ByHand>,
    shutdown: CancellationToken,
    _folder: tempfile::TempDir,
}

impl Site {
    async fn new() -> Self {
        Self::reached_by(true).await
    }

    /// A site that is read without a token, or not.
    async fn reached_by(reads_open: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        ledger.set_router(Arc::new(ToEncoder));
        let blobs = folder.path().join("blobs");
        std::fs::create_dir(&blobs).unwrap();
        let dir = Dir::open_ambient_dir(&blobs, ambient_authority()).unwrap();
        let store = Store::open(dir, ledger.clone(), StoreLimits::default()).unwrap();
        for bucket in ["uploads", "content"] {
            store.create_bucket(bucket).await.unwrap();
        }
        let reports = broadcast::Sender::new(16);
        let live = Arc::new(ByHand { running: Mutex::default(), reports });
        let shutdown = CancellationToken::new();
        let config = WebConfig {
            hosts: Vec::new(),
            s3_url: "http://127.0.0.1:9000".to_owned(),
            uploads: "uploads".to_owned(),
            content: "content".to_owned(),
            encoder: "encoder".to_owned(),
            token: AdminToken::new(TOKEN, "/data/admin-token"),
            reads_open,
        };
        let web =
            Web::new(config, ledger.clone(), store.clone(), live.clone(), None, shutdown.clone());
        Self { web, ledger, store, live, shutdown, _folder: folder }
    }

    async fn put(&self, bucket: &str, key: &str, bytes: &'static [u8]) {
        let put = Put { bucket: bucket.to_owned(), key: key.to_owned(), ..Put::default() };
        let body = stream::iter([Ok(Bytes::from_static(bytes))]);
        self.store.put(put, body).await.unwrap();
    }

    async fn ask(&self, request: http::request::Builder) -> (Response<()>, Bytes) {
        let response = self.web.answer(request.body(reply::empty()).unwrap()).await;
        let (head, body) = response.into_parts();
        (Response::from_parts(head, ()), body.collect().await.unwrap().to_bytes())
    }

    /// A change, with the token.
    async fn change(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "127.0.0.1:8080")
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("content-type", "application/cloudevents+json")
            .body(reply::full(body.to_owned()));
        let response = self.web.answer(request.unwrap()).await;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// The body of a stream.
    async fn stream(&self, path: &str) -> Body {
        let request = Request::get(path).header("host", "localhost").body(reply::empty());
        let response = self.web.answer(request.unwrap()).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        response.into_body()
    }

    async fn get(&self, path: &str) -> (Response<()>, Bytes) {
        self.ask(Request::get(path).header("host", "127.0.0.1:8080")).await
    }

    async fn json(&self, path: &str) -> Value {
        let (head, body) = self.get(path).await;
        assert_eq!(head.status(), 200, "{path}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }

    /// The list as soon as it is as wanted.
    async fn list_until(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..200 {
            let list = self.json("/api/v1/content").await;
            if wanted(&list["content"]) {
                return list["content"].clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the list stayed {}", self.json("/api/v1/content").await);
    }

    async fn lease(&self, lane: Lane) -> Leased {
        self.ledger.lease(lane, 1, LEASE).await.unwrap().remove(0)
    }

    async fn end(&self, leased: &Leased, outcome: Outcome, progress: Vec<Progress>) {
        let end = AttemptEnd {
            outcome,
            logs: Vec::new(),
            cost: Cost::default(),
            progress,
            retry: RetryPolicy::default(),
            version: None,
        };
        self.ledger.finish(&leased.fence, end).await.unwrap();
    }

    fn report(&self, leased: &Leased, progress: Vec<Progress>) {
        let id = leased.invocation.id.clone();
        self.live.running.lock().unwrap().insert(id.clone(), progress.clone());
        self.live.reports.send((id, progress)).unwrap();
    }
}

fn frames(done: u64, total: u64) -> Vec<Progress> {
    vec![Progress { name: "360p".to_owned(), done, total, unit: "frames".to_owned() }]
}

/// A job with two parts, of which the first is leased.
async fn job_with_two_parts(site: &Site) -> (Leased, Leased) {
    site.put("uploads", KEY, b"film").await;
    let root = site.lease(Lane::Roots).await;
    let mut children = Vec::new();
    for key in ["part-0000", "part-0001"] {
        let child = site.ledger.start_child(&root.fence, "encoder", key, Vec::new()).await;
        children.push(child.unwrap());
    }
    site.end(&root, Outcome::Parked { children }, Vec::new()).await;
    (root, site.lease(Lane::Children).await)
}

#[tokio::test]
async fn progress_counts_as_stored_only_what_succeeded() {
    let site = Site::new().await;
    site.put("uploads", "other.mp4", b"film").await;
    let list = site.list_until(|list| list[0]["state"] == "queued").await;
    assert_eq!(list[0]["progress"]["rungs"], json!([]));
    let other = site.lease(Lane::Roots).await;
    site.list_until(|list| list[0]["state"] == "probing").await;
    site.end(&other, Outcome::Rejected("unsupported: radio".to_owned()), Vec::new()).await;
    let list = site.list_until(|list| list[0]["state"] == "failed").await;
    assert_eq!(list[0]["reason"], "unsupported: radio");

    let (_, part) = job_with_two_parts(&site).await;
    site.report(&part, frames(30, 50));
    let list = site.list_until(|list| list[0]["progress"]["rungs"][0]["in_flight"] == 30).await;
    let rung = &list[0]["progress"]["rungs"][0];
    assert_eq!(list[0]["state"], "encoding");
    assert_eq!(rung["stored"], 0, "nothing is stored before a part has ended");
    assert_eq!((&rung["total"], &rung["total_estimated"]), (&json!(100), &json!(true)));

    site.end(&part, Outcome::Succeeded(None), frames(50, 50)).await;
    let list = site.list_until(|list| list[0]["progress"]["rungs"][0]["stored"] == 50).await;
    assert_eq!(list[0]["progress"]["rungs"][0]["in_flight"], 0);
    let part = site.lease(Lane::Children).await;
    site.report(&part, frames(70, 60));
    let list = site.list_until(|list| list[0]["progress"]["rungs"][0]["in_flight"] != 0).await;
    let rung = &list[0]["progress"]["rungs"][0];
    assert_eq!(rung["in_flight"], 60, "a guest's numbers are clamped");
    assert_eq!(rung["total"], 110);
    site.end(&part, Outcome::Succeeded(None), frames(60, 60)).await;
    site.list_until(|list| list[0]["state"] == "publishing").await;
}

const POINTER: &[u8] = br#"{"id":"a-film-ID","title":"A film","source":{"bucket":"uploads","key":"A film.mp4","etag":"e","contentId":"c"},"build":"b1","duration_ms":4000,"frames":110,"width":640,"height":360,"master":"b1/master.m3u8","dash":"b1/manifest.mpd","poster":"b1/poster.jpg","storyboard":"b1/storyboard.vtt","mp4":null,"rungs":[{"name":"360p","width":640,"height":360,"bytes":12345,"codec":"av01.0.01M.08"}],"audio":[],"encoder":"e","preset":"fast"}"#;

#[tokio::test]
async fn a_published_film_is_listed_watched_and_linked() {
    let site = Site::new().await;
    let (_, first) = job_with_two_parts(&site).await;
    site.end(&first, Outcome::Succeeded(None), frames(50, 50)).await;
    let second = site.lease(Lane::Children).await;
    site.end(&second, Outcome::Succeeded(None), frames(60, 60)).await;
    let waiting = site.list_until(|list| list[0]["state"] == "publishing").await;
    let provisional = waiting[0]["id"].as_str().unwrap().to_owned();
    let (head, body) = site.get(&format!("/watch/{provisional}")).await;
    assert_eq!(head.status(), 200);
    assert!(!String::from_utf8_lossy(&body).contains("<video"));

    site.put("content", "a-film-ID/content.json", POINTER).await;
    let root = site.lease(Lane::Roots).await;
    site.end(&root, Outcome::Succeeded(Some(POINTER.to_vec())), Vec::new()).await;
    let list = site.list_until(|list| list[0]["state"] == "ready").await;
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!(list[0]["build"], "b1");
    assert_eq!(list[0]["links"]["hls"], "/content/a-film-ID/b1/master.m3u8");
    // The link from before it was published still works.
    for id in ["a-film-ID", provisional.as_str()] {
        let (_, body) = site.get(&format!("/watch/{id}")).await;
        let page = String::from_utf8_lossy(&body).into_owned();
        assert!(page.contains("data-hls=\"/content/a-film-ID/b1/master.m3u8\""), "{page}");
    }

    // Deleted at the source: not shown, even before the encoder has cleaned up.
    let delete = backlot_storage::Delete {
        bucket: "uploads".to_owned(),
        key: KEY.to_owned(),
        ..backlot_storage::Delete::default()
    };
    site.store.delete(delete).await.unwrap();
    site.list_until(|list| list == &json!([])).await;
}

#[tokio::test]
async fn content_is_served_in_ranges_and_parts_are_hidden() {
    let site = Site::new().await;
    site.put("content", "f/b1/video-360p.mp4", b"0123456789").await;
    site.put("content", "f/content.json", b"{}").await;
    site.put("content", "f/b1/work/part-0000", b"secret").await;
    let (head, body) = site.get("/content/f/b1/video-360p.mp4").await;
    assert_eq!(&body[..], b"0123456789");
    let headers = head.headers();
    assert_eq!(headers["content-type"], "video/mp4");
    assert_eq!(headers["access-control-allow-origin"], "*");
    assert!(headers["cache-control"].to_str().unwrap().contains("immutable"));
    assert!(headers["content-security-policy"].to_str().unwrap().contains("sandbox"));
    let etag = headers["etag"].clone();

    let film = || Request::get("/content/f/b1/video-360p.mp4").header("host", "localhost");
    let (head, body) = site.ask(film().header("range", "bytes=2-4")).await;
    assert_eq!((head.status().as_u16(), &body[..]), (206, &b"234"[..]));
    assert_eq!(head.headers()["content-range"], "bytes 2-4/10");
    let (head, _) = site.ask(film().header("range", "bytes=10-")).await;
    assert_eq!(
        (head.status().as_u16(), &head.headers()["content-range"]),
        (416, &"bytes */10".parse().unwrap())
    );
    let (head, body) = site.ask(film().header("if-none-match", etag)).await;
    assert_eq!((head.status().as_u16(), body.len()), (304, 0));
    let (head, body) =
        site.ask(film().header("range", "bytes=2-4").header("if-range", "\"other\"")).await;
    assert_eq!((head.status().as_u16(), body.len()), (200, 10));
    let (head, body) = site.ask(film().method("HEAD")).await;
    assert_eq!((&head.headers()["content-length"], body.len()), (&"10".parse().unwrap(), 0));

    let (head, _) = site.get("/content/f/content.json").await;
    assert_eq!(head.headers()["cache-control"], "no-cache");
    for hidden in [
        "/content/f/b1/work/part-0000",
        "/content/f/b1/%77ork/part-0000",
        "/content/",
        "/content/none",
        "/content/%ff",
    ] {
        let (head, body) = site.get(hidden).await;
        assert!(head.status().is_client_error(), "{hidden}: {}", head.status());
        assert!(!String::from_utf8_lossy(&body).contains("secret"));
    }
    let (head, _) = site.ask(film().method("OPTIONS")).await;
    assert_eq!(head.headers()["access-control-allow-methods"], "GET, HEAD");
}

#[tokio::test]
async fn pages_are_only_read_and_no_other_name_is_answered() {
    let site = Site::new().await;
    for path in ["/", "/content/f", "/api/v1/content"] {
        let (head, _) = site.ask(Request::post(path).header("host", "localhost")).await;
        assert_eq!(head.status(), 405, "{path}");
        let (head, _) = site.ask(Request::get(path).header("host", "evil.example")).await;
        assert_eq!(head.status(), 421, "{path}");
    }
    let (head, body) = site.get("/api/v1/nothing").await;
    assert_eq!(head.status(), 404);
    assert!(serde_json::from_slice::<Value>(&body).unwrap()["error"]["message"].is_string());
    assert_eq!(site.get("/readyz").await.0.status(), 503);
    site.web.set_ready(true);
    assert_eq!(site.get("/readyz").await.0.status(), 200);
}

#[tokio::test]
async fn names_of_uploads_are_text_and_nothing_else() {
    let site = Site::new().await;
    site.put("uploads", "<img src=x onerror=alert(1)>.mp4", b"film").await;
    site.list_until(|list| list[0]["state"] == "queued").await;
    let (_, body) = site.get("/").await;
    let page = String::from_utf8_lossy(&body);
    assert!(page.contains("&lt;img src=x"));
    assert!(!page.contains("<img src=x"));
}

#[tokio::test]
async fn events_tell_what_changed_and_end_with_the_server() {
    let site = Site::new().await;
    site.put("uploads", KEY, b"film").await;
    let request =
        Request::get("/api/v1/events").header("host", "localhost").body(reply::empty()).unwrap();
    let mut events = site.web.answer(request).await.into_body();
    let next = async |events: &mut Body| {
        let frame = tokio::time::timeout(Duration::from_secs(10), events.frame()).await.unwrap();
        frame.map(|frame| String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap())
    };
    let first = next(&mut events).await.unwrap();
    assert!(first.contains("event: content\ndata: {"), "{first}");
    let root = site.lease(Lane::Roots).await;
    site.end(&root, Outcome::Rejected("not a film".to_owned()), Vec::new()).await;
    let mut told = String::new();
    while !told.contains("not a film") {
        told = next(&mut events).await.unwrap();
    }
    // Places are bounded, and given back.
    let places = site.web.shared.event_clients.clone();
    let all = u32::try_from(EVENT_CLIENTS_MAX).unwrap();
    assert!(places.try_acquire_many(all).is_err(), "the stream holds no place");
    site.shutdown.cancel();
    while next(&mut events).await.is_some() {}
    let _taken = places.try_acquire_many(all).unwrap();
    assert_eq!(site.get("/api/v1/events").await.0.status(), 503);
}
