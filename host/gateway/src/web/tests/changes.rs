//! Events in, and invocations run again, ended and forgotten.

use backlot_ledger::Backlog;

use super::*;

const INVOKE: &str = "/api/v1/functions/encoder/invocations";
const EVENTS: &str = "/api/v1/events";

fn event(kind: &str, rest: &Value) -> String {
    let mut event = json!({ "specversion": "1.0", "type": kind });
    event.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    event.to_string()
}

/// The path of an invocation that failed for good.
async fn failed(site: &Site) -> String {
    site.put("uploads", KEY, b"film").await;
    let root = site.lease(Lane::Roots).await;
    site.end(&root, Outcome::Rejected("no film".to_owned()), Vec::new()).await;
    format!("/api/v1/invocations/{}", root.invocation.id)
}

#[tokio::test]
async fn a_function_is_invoked_by_name() {
    let site = Site::new().await;
    let body = event("backlot.object.created", &json!({ "subject": "a.mp4", "data": { "n": 1 } }));
    let (status, answer) = site.change("POST", &format!("{INVOKE}?version=abab"), &body).await;
    assert_eq!(status, 202, "{answer}");
    let shown = site.json(&format!("/api/v1/invocations/{}", answer["id"].as_str().unwrap())).await;
    assert_eq!(shown["function"], "encoder");
    assert_eq!(shown["version"], "abab");
    assert_eq!(shown["event"]["source"], "/api");
    assert_eq!(shown["event"]["data"], json!({ "n": 1 }));
    let leased = site.lease(Lane::Roots).await;
    assert_eq!(leased.event.data, b"{\"n\":1}");

    let (status, answer) =
        site.change("POST", "/api/v1/functions/decoder/invocations", &body).await;
    assert_eq!(status, 404);
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("\"decoder\"") && message.ends_with("deployed: encoder"), "{message}");
    for (path, body) in [
        (format!("{INVOKE}?version=main"), body.as_str()),
        (format!("{INVOKE}?colour=red"), body.as_str()),
        (INVOKE.to_owned(), "{}"),
        (INVOKE.to_owned(), ""),
    ] {
        assert_eq!(site.change("POST", &path, body).await.0, 400, "{path} {body}");
    }
    let twice = event("order.paid", &json!({ "id": "A-1" }));
    assert_eq!(site.change("POST", INVOKE, &twice).await.0, 202);
    assert_eq!(site.change("POST", INVOKE, &twice).await.0, 409);
}

#[tokio::test]
async fn an_event_is_published_once() {
    let site = Site::new().await;
    let paid = event(
        "order.paid",
        &json!({ "id": "A-1", "source": "/buckets/uploads", "subject": "7", "data": "é" }),
    );
    let (status, answer) = site.change("POST", EVENTS, &paid).await;
    assert_eq!((status, answer), (202, json!({ "id": "A-1" })));
    let (status, answer) = site.change("POST", EVENTS, &paid).await;
    assert_eq!((status, answer), (202, json!({ "id": "A-1", "duplicate": true })));
    let list = site.json("/api/v1/invocations?kind=order.paid").await;
    assert_eq!(list["invocations"].as_array().unwrap().len(), 1);

    let other = event("order.paid", &json!({ "id": "A-1", "source": "/other" }));
    assert_eq!(site.change("POST", EVENTS, &other).await.0, 409);
    let forged = event("backlot.object.created", &json!({ "source": "/buckets/uploads" }));
    let (status, answer) = site.change("POST", EVENTS, &forged).await;
    assert_eq!(status, 400, "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("the host's own"));
}

#[tokio::test]
async fn an_event_may_be_in_the_headers() {
    let site = Site::new().await;
    let request = Request::post(EVENTS)
        .header("host", "localhost")
        .header("authorization", "Bearer TOKEN")
        .header("ce-specversion", "1.0")
        .header("ce-type", "picture.taken")
        .header("ce-id", "P-1")
        .header("ce-source", "/buckets/uploads")
        .header("content-type", "image/png")
        .body(reply::full(&b"\xff\xd8"[..]));
    let response = site.web.answer(request.unwrap()).await;
    assert_eq!(response.status(), 202);
    let leased = site.lease(Lane::Roots).await;
    assert_eq!(leased.event.data, b"\xff\xd8");
    assert_eq!(leased.event.content_type.as_deref(), Some("image/png"));
    let id = leased.invocation.id;
    let shown = site.json(&format!("/api/v1/invocations/{id}")).await;
    assert_eq!((&shown["event"]["data"], &shown["event"]["data_bytes"]), (&Value::Null, &json!(2)));
}

#[tokio::test]
async fn too_much_that_waits_is_told_to_come_later() {
    let site = Site::new().await;
    site.ledger.limit_backlog(Backlog { invocations: 1, bytes: 1 << 20 });
    let first = event("order.paid", &json!({ "source": "/buckets/uploads", "subject": "1" }));
    assert_eq!(site.change("POST", EVENTS, &first).await.0, 202);
    let body = event("order.paid", &json!({ "source": "/buckets/uploads", "subject": "2" }));
    for path in [EVENTS, INVOKE] {
        let request = Request::post(path)
            .header("host", "localhost")
            .header("authorization", "Bearer TOKEN")
            .body(reply::full(body.clone()));
        let response = site.web.answer(request.unwrap()).await;
        assert_eq!(response.status(), 503, "{path}");
        assert_eq!(response.headers()["retry-after"], "1");
    }
}

#[tokio::test]
async fn an_ended_invocation_runs_again() {
    let site = Site::new().await;
    let path = failed(&site).await;
    let id = path.rsplit('/').next().unwrap().to_owned();
    let replay = format!("{path}/replay");
    // Fresh: another invocation of the same event.
    let (status, fresh) =
        site.change("POST", &replay, "{\"fresh\":true,\"version\":\"12ab\"}").await;
    assert_eq!(status, 202, "{fresh}");
    assert_ne!(fresh["id"], json!(id));
    let fresh = format!("/api/v1/invocations/{}", fresh["id"].as_str().unwrap());
    assert_eq!(site.json(&fresh).await["version"], "12ab");
    assert_eq!(site.change("POST", &format!("{fresh}/replay"), "").await.0, 409, "has not ended");
    // As it is superseded by the fresh one, the old one cannot go on before that has ended.
    let (status, answer) = site.change("POST", &replay, "").await;
    assert_eq!(status, 409, "{answer}");
    let (status, answer) = site.change("POST", &format!("{fresh}/cancel"), "").await;
    assert_eq!((status, &answer["state"]), (200, &json!("cancelled")));
    let (status, answer) = site.change("POST", &replay, "").await;
    assert_eq!((status, &answer["id"]), (202, &json!(id)));
    assert_eq!(site.json(&path).await["state"], "queued");

    for (body, wanted) in [("{\"fast\":true}", 400), ("7", 400), ("{\"version\":\"x\"}", 400)] {
        assert_eq!(site.change("POST", &replay, body).await.0, wanted, "{body}");
    }
    let none = format!("/api/v1/invocations/{}/replay", "0".repeat(32));
    assert_eq!(site.change("POST", &none, "").await.0, 404);
    assert_eq!(site.change("POST", "/api/v1/invocations/x/cancel", "").await.0, 404);
}

#[tokio::test]
async fn an_ended_invocation_can_be_forgotten() {
    let site = Site::new().await;
    let path = failed(&site).await;
    assert_eq!(site.change("DELETE", &path, "").await.0, 200);
    assert_eq!(site.get(&path).await.0.status(), 404);
    assert_eq!(site.change("DELETE", &path, "").await.0, 404);
    site.put("uploads", "other.mp4", b"film").await;
    let running = site.lease(Lane::Roots).await;
    let path = format!("/api/v1/invocations/{}", running.invocation.id);
    assert_eq!(site.change("DELETE", &path, "").await.0, 409);
}
