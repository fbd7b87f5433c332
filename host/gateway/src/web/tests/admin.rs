//! Who may change something, and how much may be sent.

use super::*;

/// Every change there is.
const CHANGES: [(&str, &str); 5] = [
    ("POST", "/api/v1/events"),
    ("POST", "/api/v1/functions/encoder/invocations"),
    ("POST", "/api/v1/invocations/00000000000000000000000000000000/replay"),
    ("POST", "/api/v1/invocations/00000000000000000000000000000000/cancel"),
    ("DELETE", "/api/v1/invocations/00000000000000000000000000000000"),
];

fn request(method: &str, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path).header("host", "localhost:8080")
}

#[tokio::test]
async fn a_change_needs_the_token() {
    let site = Site::new().await;
    for (method, path) in CHANGES {
        let (head, body) = site.ask(request(method, path)).await;
        assert_eq!(head.status(), 401, "{method} {path}");
        assert_eq!(head.headers()["www-authenticate"], "Bearer");
        let text = String::from_utf8_lossy(&body).into_owned();
        assert!(text.contains("the first token is in /data/admin-token"), "{text}");
        let wrong = request(method, path).header("authorization", "Bearer TOKEM");
        assert_eq!(site.ask(wrong).await.0.status(), 401, "{method} {path}");
    }
    for path in ["/api/v1/functions", "/api/v1/invocations"] {
        assert_eq!(site.get(path).await.0.status(), 200, "{path} is read without");
    }
}

#[tokio::test]
async fn a_page_of_another_site_changes_nothing() {
    let site = Site::new().await;
    let token = format!("Bearer {TOKEN}");
    for (method, path) in CHANGES {
        for origin in ["https://evil.example", "http://localhost", "null"] {
            let hostile =
                request(method, path).header("authorization", &token).header("origin", origin);
            assert_eq!(site.ask(hostile).await.0.status(), 403, "{method} {path} {origin}");
        }
        let ours = request(method, path)
            .header("authorization", &token)
            .header("origin", "http://localhost:8080");
        let status = site.ask(ours).await.0.status();
        assert!([400, 404].contains(&status.as_u16()), "{method} {path}: {status}");
    }
}

#[tokio::test]
async fn large_bodies_are_refused() {
    let site = Site::new().await;
    let long = " ".repeat(BODY_BYTES_MAX + 1);
    let (status, answer) = site.change("POST", "/api/v1/events", &long).await;
    assert_eq!(status, 413, "{answer}");
    // Also where it is not known before how long it is.
    let chunk = Bytes::from(vec![b' '; 64 * 1024]);
    let chunks = stream::iter((0..40).map(move |_| Ok(hyper::body::Frame::data(chunk.clone()))));
    let unsized_body: Body = http_body_util::StreamBody::new(chunks).boxed_unsync();
    let request = request("POST", "/api/v1/events").header("authorization", "Bearer TOKEN");
    let response = site.web.answer(request.body(unsized_body).unwrap()).await;
    assert_eq!(response.status(), 413);
    // Of an event there may be less.
    let data = "a".repeat(1024 * 1024);
    let event = json!({ "specversion": "1.0", "type": "t", "data": data }).to_string();
    let (status, answer) = site.change("POST", "/api/v1/events", &event).await;
    assert_eq!(status, 413, "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().starts_with("event bytes"), "{answer}");
}

#[tokio::test]
async fn other_methods_are_named() {
    let site = Site::new().await;
    for (method, path, allow) in [
        ("PUT", "/api/v1/events", "GET, HEAD, POST"),
        ("GET", "/api/v1/functions/encoder/invocations", "POST"),
        ("POST", "/api/v1/invocations", "GET, HEAD"),
        ("PATCH", "/api/v1/invocations/x", "GET, HEAD, DELETE"),
    ] {
        let (head, _) = site.ask(request(method, path)).await;
        assert_eq!(
            (head.status().as_u16(), &head.headers()["allow"]),
            (405, &allow.parse().unwrap())
        );
    }
    for path in ["/api/v1/", "/api/v1/invocations/x/y", "/api/v1/invocations/x/replay/z"] {
        assert_eq!(site.ask(request("POST", path)).await.0.status(), 404, "{path}");
    }
}
