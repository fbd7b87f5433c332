//! Invocations and logs as they happen.

use backlot_ledger::{LogLine, LogSource};
use jiff::Timestamp;

use super::*;

/// The next events of a stream that are not heartbeats: their kinds and data.
async fn next(stream: &mut Body) -> Vec<(String, Value)> {
    loop {
        let frame = tokio::time::timeout(Duration::from_secs(10), stream.frame()).await.unwrap();
        let Some(frame) = frame else { return Vec::new() };
        let text = String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap();
        let events: Vec<(String, Value)> = text
            .split("\n\n")
            .filter_map(|event| event.strip_prefix("event: ")?.split_once("\ndata: "))
            .map(|(kind, data)| (kind.to_owned(), serde_json::from_str(data).unwrap()))
            .collect();
        if !events.is_empty() {
            return events;
        }
    }
}

async fn end_with_log(site: &Site, leased: &Leased, outcome: Outcome, text: &str) {
    let line = LogLine { time: Timestamp::now(), source: LogSource::Stdout, text: text.to_owned() };
    let end = AttemptEnd {
        outcome,
        logs: vec![line],
        cost: Cost::default(),
        progress: Vec::new(),
        retry: RetryPolicy { base: Duration::ZERO, ..RetryPolicy::default() },
        version: None,
    };
    site.ledger.finish(&leased.fence, end).await.unwrap();
}

#[tokio::test]
async fn invocations_are_followed_through_their_states() {
    let site = Site::new().await;
    site.put("uploads", "before.mp4", b"film").await;
    let mut all = site.stream("/api/v1/invocations/follow").await;
    let mut failed = site.stream("/api/v1/invocations/follow?state=failed").await;
    let known = next(&mut all).await;
    assert_eq!(known[0].0, "invocation");
    assert_eq!(known[0].1["event"]["subject"], "before.mp4");

    site.put("uploads", KEY, b"film").await;
    let new = next(&mut all).await;
    assert_eq!(
        (&new[0].1["event"]["subject"], &new[0].1["state"]),
        (&json!(KEY), &json!("queued"))
    );
    let root = site.lease(Lane::Roots).await;
    let started = next(&mut all).await;
    assert_eq!((&started[0].1["state"], &started[0].1["attempt"]), (&json!("running"), &json!(1)));
    let again = Outcome::Retry { reason: "later".to_owned(), after: Some(Duration::ZERO) };
    end_with_log(&site, &root, again, "x").await;
    let queued = next(&mut all).await;
    assert_eq!(
        (&queued[0].1["state"], &queued[0].1["reason"]),
        (&json!("queued"), &json!("later"))
    );
    let root = site.lease(Lane::Roots).await;
    site.end(&root, Outcome::Rejected("no".to_owned()), Vec::new()).await;
    let told = next(&mut failed).await;
    assert_eq!(told[0].1["reason"], "no");
    assert_eq!(told[0].1["id"], root.invocation.id.as_str());
    site.shutdown.cancel();
    assert_eq!(
        next(&mut failed).await,
        [("end".to_owned(), json!({"reason": "the server stops"}))]
    );
    assert_eq!(next(&mut failed).await, []);
}

#[tokio::test]
async fn one_invocation_is_followed_to_its_end() {
    let site = Site::new().await;
    site.put("uploads", KEY, b"film").await;
    let root = site.lease(Lane::Roots).await;
    let id = root.invocation.id.clone();
    site.put("uploads", "other.mp4", b"film").await;
    let mut one = site.stream(&format!("/api/v1/invocations/follow?invocation={id}")).await;
    let first = next(&mut one).await;
    assert_eq!((first.len(), &first[0].1["state"]), (1, &json!("running")));
    site.end(&root, Outcome::Succeeded(None), Vec::new()).await;
    assert_eq!(next(&mut one).await[0].1["state"], "succeeded");
    assert_eq!(site.get("/api/v1/invocations/follow?colour=red").await.0.status(), 400);
}

#[tokio::test]
async fn lines_are_told_once_when_their_attempt_ends() {
    let site = Site::new().await;
    site.put("uploads", KEY, b"film").await;
    let root = site.lease(Lane::Roots).await;
    let mut all = site.stream("/api/v1/logs?function=encoder").await;
    let mut other = site.stream("/api/v1/logs?function=other").await;
    for number in 1..=2 {
        let root = if number == 1 { root.clone() } else { site.lease(Lane::Roots).await };
        let again = Outcome::Retry { reason: "later".to_owned(), after: Some(Duration::ZERO) };
        end_with_log(&site, &root, again, &format!("line {number}")).await;
        let lines = next(&mut all).await;
        assert_eq!(lines.len(), 1, "{lines:?}");
        let (kind, line) = &lines[0];
        assert_eq!((kind.as_str(), &line["text"]), ("line", &json!(format!("line {number}"))));
        assert_eq!(line["invocation"], root.invocation.id.as_str());
        assert_eq!((&line["attempt"], &line["source"]), (&json!(number), &json!("stdout")));
    }
    site.shutdown.cancel();
    assert_eq!(next(&mut other).await[0].0, "end", "lines of another function");
}

#[tokio::test]
async fn a_reader_that_falls_behind_is_told_so() {
    let site = Site::new().await;
    let mut slow = site.stream("/api/v1/invocations/follow").await;
    // More than the ledger's news channel holds.
    let publish = (0..9_000).map(|number| {
        let ledger = site.ledger.clone();
        async move {
            let source = "/buckets/uploads";
            let event = Event::json(source, "k", Some(number.to_string()), Vec::new());
            ledger.publish(event).await.unwrap();
        }
    });
    futures::StreamExt::for_each_concurrent(stream::iter(publish), 256, |done| done).await;
    let told = next(&mut slow).await;
    assert_eq!(told[0].0, "end");
    assert!(told[0].1["reason"].as_str().unwrap().contains("fell behind"), "{told:?}");
    assert_eq!(next(&mut slow).await, []);
}
