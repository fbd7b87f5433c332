//! What every answer carries, and which names the server answers to.

use std::net::IpAddr;

use http::header::{
    CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderValue, Response, StatusCode};

use super::reply::Fault;

/// Pages: own scripts, styles and media only; `blob:` is where Media Source Extensions live.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self'; media-src 'self' blob:; connect-src 'self'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");
const CROSS_ORIGIN_OPENER_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-opener-policy");

/// Adds the headers that keep a browser from doing more with an answer than it should. What the
/// answer already says (published content has a policy of its own) stays.
pub(super) fn harden<B>(response: &mut Response<B>) {
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, PAGE_POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (CROSS_ORIGIN_OPENER_POLICY, "same-origin"),
        (CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
    ] {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// Refuses names that are not ours. A hostile page can make its own name resolve to our address
/// (DNS rebinding) and would then read everything here as its own origin; it cannot do that with
/// an address literal or with `localhost`.
pub(super) fn check_host(head: &http::request::Parts, hosts: &[String]) -> Result<(), Fault> {
    let named = head.uri.host().or_else(|| {
        head.headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).map(without_port)
    });
    let Some(name) = named else {
        return Err(Fault::bad("the request has no Host header"));
    };
    if is_ours(name, hosts) {
        return Ok(());
    }
    Err(Fault::new(
        StatusCode::MISDIRECTED_REQUEST,
        "this server does not answer to that host name; add it to `http.hosts` in backlot.toml",
    ))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn is_ours(name: &str, hosts: &[String]) -> bool {
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    if bare.parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || hosts.iter().any(|host| host.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(host: &str) -> bool {
        let request = http::Request::builder().uri("/").header("host", host).body(()).unwrap();
        check_host(&request.into_parts().0, &["video.example".to_owned()]).is_ok()
    }

    #[test]
    fn a_name_that_could_be_rebound_is_refused() {
        for ours in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1:8080",
            "[::1]:8080",
            "[::1]",
            "10.0.0.7",
            "video.example:1",
            "localhost.:80",
        ] {
            assert!(answer(ours), "{ours}");
        }
        for other in [
            "evil.example",
            "localhost.evil.example:8080",
            "127.0.0.1.evil.example",
            "",
            ":8080",
            "[::1].evil",
        ] {
            assert!(!answer(other), "{other}");
        }
    }

    #[test]
    fn own_headers_of_an_answer_stay() {
        let mut response = Response::new(());
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
        harden(&mut response);
        assert_eq!(response.headers()[CONTENT_SECURITY_POLICY], "sandbox");
        assert_eq!(response.headers()[X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert!(!PAGE_POLICY.contains("unsafe"));
    }
}
