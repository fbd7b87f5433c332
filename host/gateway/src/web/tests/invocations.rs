//! What is shown of invocations and functions.

use backlot_ledger::Effects;

use super::*;

#[tokio::test]
async fn lists_are_filtered_by_the_event_too() {
    let site = Site::new().await;
    for key in ["a.mp4", "b film.mp4", "c.mp4"] {
        site.put("uploads", key, b"film").await;
    }
    let subjects = async |query: &str| {
        let list = site.json(&format!("/api/v1/invocations?{query}")).await;
        let list = list["invocations"].as_array().unwrap().clone();
        let names = list.iter().map(|run| run["event"]["subject"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>().join(",")
    };
    assert_eq!(subjects("").await, "c.mp4,b film.mp4,a.mp4");
    assert_eq!(subjects("subject=b%20film.mp4").await, "b film.mp4");
    assert_eq!(subjects("subject=b").await, "");
    assert_eq!(subjects("kind=backlot.object.created&limit=2").await, "c.mp4,b film.mp4");
    assert_eq!(subjects("kind=order.paid").await, "");
    assert_eq!(subjects("since=2020-01-01T00:00:00Z").await, "c.mp4,b film.mp4,a.mp4");
    assert_eq!(subjects("since=2999-01-01T00:00:00%2B01:00").await, "");
    let page = site.json("/api/v1/invocations?kind=backlot.object.created&limit=2").await;
    let next = page["next"].as_str().unwrap();
    assert_eq!(subjects(&format!("kind=backlot.object.created&before={next}")).await, "a.mp4");
    assert_eq!(site.get("/api/v1/invocations?since=yesterday").await.0.status(), 400);
}

#[tokio::test]
async fn one_is_shown_with_event_attempts_and_effects() {
    let site = Site::new().await;
    site.put("uploads", KEY, b"film").await;
    let root = site.lease(Lane::Roots).await;
    let path = format!("/api/v1/invocations/{}", root.invocation.id);
    let mut effects = Effects::new(root.fence.clone());
    for number in 0..501 {
        let kind = format!("made.{number}");
        let effect = effects.next("backlot:function/events.publish", kind.clone(), &[]);
        let event = Event::json("/functions/encoder", kind, None, Vec::new());
        site.ledger.publish_once(&effect, event).await.unwrap();
        effects.done(&effect);
    }
    let end = AttemptEnd {
        outcome: Outcome::Rejected("no".to_owned()),
        logs: Vec::new(),
        cost: Cost::default(),
        progress: Vec::new(),
        retry: RetryPolicy::default(),
        version: Some("ab".repeat(32)),
    };
    site.ledger.finish(&root.fence, end).await.unwrap();

    let shown = site.json(&path).await;
    assert_eq!(shown["event"]["data"]["s3"]["object"]["key"], KEY);
    assert_eq!(shown["event"]["content_type"], "application/json");
    assert_eq!(shown["depth"], 0);
    assert_eq!(shown["attempts"][0]["version"], "ab".repeat(32));
    assert_eq!(shown["effects"].as_array().unwrap().len(), 500);
    assert_eq!(shown["more_effects"], true);
    let first = &shown["effects"][0];
    assert_eq!(first["call"], "backlot:function/events.publish");
    assert_eq!((&first["subject"], &first["attempt"]), (&json!("made.0"), &json!(1)));
    assert!(first["time"].is_string() && first["answer"].is_string(), "{first}");

    let page = site.json(&format!("{path}/effects?skip=1")).await;
    assert_eq!((page["effects"].as_array().unwrap().len(), &page["next"]), (500, &Value::Null));
    assert_eq!(page["effects"][499]["subject"], "made.500");
    assert_eq!(site.json(&format!("{path}/effects")).await["next"], 500);
    assert_eq!(site.get(&format!("{path}/effects?skip=-1")).await.0.status(), 400);
    let none = format!("/api/v1/invocations/{}/effects", "0".repeat(32));
    assert_eq!(site.get(&none).await.0.status(), 404);
}

#[tokio::test]
async fn functions_are_listed_without_their_environment() {
    let site = Site::new().await;
    let list = site.json("/api/v1/functions").await;
    let encoder = &list["functions"][0];
    assert_eq!(
        (&encoder["name"], &encoder["version"]),
        (&json!("encoder"), &json!("ab".repeat(32)))
    );
    assert_eq!(encoder["component"], "cd".repeat(32));
    assert_eq!(encoder["triggers"][0]["bucket"], "uploads");
    assert_eq!(encoder["limits"]["wall_secs"], 900);
    assert!(!list.to_string().contains("HIDDEN"));
}
