//! What a request must show before it changes anything: a token, such as the one that only those know
//! who may read the data folder, and that it does not come from a page of another site.

use std::fmt;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::{HeaderMap, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use sha2::{Digest, Sha256};

use super::reply::Fault;
use crate::serve::{BodyFault, BoxError};

/// Largest body of a request, in bytes: twice the largest event, which is 1 MiB, because data in
/// base64 or with escapes takes more.
pub const BODY_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The token that changes need, and where whoever lacks it finds it.
#[derive(Clone)]
pub struct AdminToken {
    digest: [u8; 32],
    pub(super) place: String,
}

impl AdminToken {
    /// `place` is for people: the path of the file that holds the token.
    #[must_use]
    pub fn new(token: &str, place: impl Into<String>) -> Self {
        Self { digest: Sha256::digest(token).into(), place: place.into() }
    }

    /// In a time that does not depend on how much of it is right: digests are compared, and to
    /// their end.
    pub(super) fn is(&self, token: &str) -> bool {
        let other: [u8; 32] = Sha256::digest(token).into();
        let differing = self.digest.iter().zip(other).fold(0, |seen, (a, b)| seen | (a ^ b));
        std::hint::black_box(differing) == 0
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminToken").field("place", &self.place).finish_non_exhaustive()
    }
}

/// A browser names the page that sends a request; only our own pages may.
pub(super) fn check_origin(head: &http::request::Parts) -> Result<(), Fault> {
    let own = match head.uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => head.headers.get(HOST).and_then(|host| host.to_str().ok()),
    };
    for origin in head.headers.get_all(ORIGIN) {
        let site = origin.to_str().ok().and_then(|origin| {
            origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"))
        });
        let is_ours =
            matches!((site, own), (Some(site), Some(own)) if site.eq_ignore_ascii_case(own));
        if !is_ours {
            return Err(Fault::new(
                StatusCode::FORBIDDEN,
                "a page of another site asked for this change (its Origin is not this server)",
            ));
        }
    }
    Ok(())
}

pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (Some(only), None) = (all.next(), all.next()) else { return None };
    let (scheme, token) = only.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Reads a body of at most [`BODY_BYTES_MAX`].
pub(super) async fn body<B>(body: B) -> Result<Bytes, Fault>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let too_large = || {
        let limit = format!("the body is over the limit of {BODY_BYTES_MAX} bytes");
        Fault::new(StatusCode::PAYLOAD_TOO_LARGE, limit)
    };
    if (BODY_BYTES_MAX as u64) < body.size_hint().lower() {
        return Err(too_large());
    }
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(err) if err.is::<LengthLimitError>() => Err(too_large()),
        Err(err) => Err(broken(&err)),
    }
}

/// What became of a body that did not come to its end.
pub(super) fn broken(err: &BoxError) -> Fault {
    match err.downcast_ref::<BodyFault>() {
        Some(BodyFault::TooLarge { .. }) => {
            Fault::new(StatusCode::PAYLOAD_TOO_LARGE, err.to_string())
        }
        Some(BodyFault::TooSlow(_)) => Fault::new(StatusCode::REQUEST_TIMEOUT, err.to_string()),
        _ => Fault::bad("the body broke off"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(headers: &[(&str, &str)]) -> http::request::Parts {
        let mut request = http::Request::post("/api/v1/events");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn only_the_token_opens() {
        let token = AdminToken::new("SECRET", "/data/admin-token");
        let opens = |headers: &[(&str, &str)]| {
            bearer(&head(headers).headers).is_some_and(|given| token.is(given))
        };
        assert!(opens(&[("authorization", "Bearer SECRET")]));
        assert!(opens(&[("authorization", "bearer SECRET")]));
        for other in ["Bearer SECRE", "Bearer SECRETS", "Bearer ", "Basic SECRET", "SECRET", ""] {
            assert!(!opens(&[("authorization", other)]), "{other}");
        }
        let twice = ("authorization", "Bearer SECRET");
        assert!(!opens(&[twice, twice]));
        assert!(!format!("{token:?}").contains("SECRET"));
    }

    #[test]
    fn a_page_of_another_site_is_refused() {
        let refused = |headers: &[(&str, &str)]| {
            check_origin(&head(headers)).err().map(|fault| fault.status.as_u16())
        };
        let host = ("host", "localhost:8080");
        for ours in ["http://localhost:8080", "http://LOCALHOST:8080", "https://localhost:8080"] {
            assert_eq!(refused(&[host, ("origin", ours)]), None, "{ours}");
        }
        for other in [
            "http://evil.example",
            "http://localhost",
            "http://localhost:80801",
            "http://localhost:8080.evil.example",
            "null",
            "",
        ] {
            assert_eq!(refused(&[host, ("origin", other)]), Some(403), "{other}");
        }
        let ours = ("origin", "http://localhost:8080");
        assert_eq!(refused(&[host, ours, ("origin", "http://evil.example")]), Some(403));
        assert_eq!(refused(&[ours]), Some(403));
    }
}
