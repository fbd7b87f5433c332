//! Every route of the API, with every kind of token.

use backlot_ledger::{NewToken, Scope};
use sha2::{Digest, Sha256};

use super::*;
use crate::web::api::{Need, ROUTES};

/// Bearers in the order of what they may.
const BEARERS: [Option<&str>; 6] =
    [None, Some("WRONG"), Some("READ"), Some("DEPLOY"), Some("ADMIN"), Some(TOKEN)];

impl Site {
    async fn with_tokens(self) -> Self {
        for (token, scope) in
            [("READ", Scope::Read), ("DEPLOY", Scope::Deploy), ("ADMIN", Scope::Admin)]
        {
            let token = NewToken {
                name: token.to_lowercase(),
                digest: Sha256::digest(token).into(),
                scope,
                created_by: "tests".to_owned(),
                expires_at: None,
            };
            self.ledger.create_token(token).await.unwrap();
        }
        self
    }

    /// The status for a request with this bearer.
    async fn status(&self, method: &str, path: &str, bearer: Option<&str>) -> u16 {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        if let Some(bearer) = bearer {
            request = request.header("authorization", format!("Bearer {bearer}"));
        }
        let response = self.web.answer(request.body(reply::empty()).unwrap()).await;
        response.status().as_u16()
    }
}

/// What this bearer is told, if not let through.
fn refusal(need: Need, reads_open: bool, bearer: Option<&str>) -> Option<u16> {
    let needed = match need {
        Need::Nothing => return None,
        Need::Unless(_) if reads_open => return None,
        Need::Unless(scope) | Need::Token(scope) => scope,
    };
    let has = match bearer {
        None | Some("WRONG") => return Some(401),
        Some("READ") => Scope::Read,
        Some("DEPLOY") => Scope::Deploy,
        Some(_) => Scope::Admin,
    };
    (has < needed).then_some(403)
}

#[tokio::test]
async fn every_route_opens_to_those_it_says_and_to_no_other() {
    for reads_open in [true, false] {
        let site = Site::reached_by(reads_open).await.with_tokens().await;
        for (path, methods) in ROUTES {
            let parts = path.iter().map(|part| part.unwrap_or("0123"));
            let path = format!("/api/v1/{}", parts.collect::<Vec<_>>().join("/"));
            for (method, need) in *methods {
                for bearer in BEARERS {
                    let status = site.status(method, &path, bearer).await;
                    let what = format!("{method} {path} by {bearer:?}: {status}");
                    match refusal(*need, reads_open, bearer) {
                        Some(refused) => assert_eq!(status, refused, "{what}"),
                        None => assert!(![401, 403, 405].contains(&status), "{what}"),
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn metrics_open_to_whoever_may_read_the_api() {
    for reads_open in [true, false] {
        let site = Site::reached_by(reads_open).await.with_tokens().await;
        for bearer in BEARERS {
            let status = site.status("GET", "/metrics", bearer).await;
            let refused = refusal(Need::Unless(Scope::Read), reads_open, bearer);
            assert_eq!(status, refused.unwrap_or(200), "{bearer:?}");
        }
        assert_eq!(site.status("POST", "/metrics", Some(TOKEN)).await, 405);
    }
}

#[test]
fn nothing_is_changed_without_a_token() {
    for (path, methods) in ROUTES {
        for (method, need) in *methods {
            let token = matches!(need, Need::Token(_));
            assert!(token || *method == "GET", "{method} {path:?}");
        }
    }
}

#[tokio::test]
async fn a_token_is_shown_once_and_ends_when_it_is_revoked() {
    let site = Site::new().await;
    let body = r#"{"name":"ci","scope":"deploy","days":30}"#;
    let (status, made) = site.change("POST", "/api/v1/tokens", body).await;
    assert_eq!(status, 200, "{made}");
    let token = made["token"].as_str().unwrap();
    assert!(token.starts_with("backlot_") && token.len() == 48, "{token}");
    assert_eq!(site.status("POST", "/api/v1/events", Some(token)).await, 400, "let through");
    assert_eq!(site.status("GET", "/api/v1/tokens", Some(token)).await, 403);

    let request = Request::get("/api/v1/tokens")
        .header("host", "localhost")
        .header("authorization", format!("Bearer {TOKEN}"));
    let (_, list) = site.ask(request).await;
    let list = String::from_utf8(list.to_vec()).unwrap();
    assert!(list.contains("\"ci\"") && !list.contains(token), "{list}");

    let (status, _) = site.change("DELETE", "/api/v1/tokens/ci", "").await;
    assert_eq!(status, 200);
    assert_eq!(site.status("POST", "/api/v1/events", Some(token)).await, 401);
    let (status, _) = site.change("DELETE", "/api/v1/tokens/ci", "").await;
    assert_eq!(status, 404);
    for body in [
        "{}",
        r#"{"name":"","scope":"read"}"#,
        r#"{"name":"a b","scope":"read"}"#,
        r#"{"name":"admin-token","scope":"read"}"#,
        r#"{"name":"x","scope":"root"}"#,
        r#"{"name":"x","scope":"read","days":0}"#,
    ] {
        let (status, _) = site.change("POST", "/api/v1/tokens", body).await;
        assert!([400, 409].contains(&status), "{body}: {status}");
    }
}

#[tokio::test]
async fn changes_and_what_was_refused_are_in_the_audit_log() {
    let site = Site::new().await.with_tokens().await;
    site.change("POST", "/api/v1/tokens", r#"{"name":"ci","scope":"read"}"#).await;
    site.change("POST", "/api/v1/functions/f/promote", "").await;
    let event = r#"{"specversion":"1.0","type":"t"}"#;
    site.change("POST", "/api/v1/events", event).await;
    site.status("DELETE", "/api/v1/functions/f", Some("DEPLOY")).await;

    let lines = site.ledger.audit_log(None, 10).await.unwrap();
    let lines: Vec<String> = lines
        .iter()
        .map(|line| format!("{} {} {} {}", line.who, line.action, line.subject, line.outcome))
        .collect();
    assert_eq!(
        lines,
        [
            "deploy functions.remove f no functions are deployed here",
            "admin-token functions.promote f no functions are deployed here",
            "admin-token tokens.create  done",
        ]
    );
    let request = Request::get("/api/v1/audit?limit=1")
        .header("host", "localhost")
        .header("authorization", format!("Bearer {TOKEN}"));
    let (_, page) = site.ask(request).await;
    let page: Value = serde_json::from_slice(&page).unwrap();
    assert_eq!(page["audit"].as_array().unwrap().len(), 1);
    assert_eq!(page["audit"][0]["action"], "functions.remove");
}
