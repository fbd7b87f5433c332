//! `/content/…`: the content bucket for everyone to read, in ranges, from any site.

use std::ops::Range;
use std::sync::Arc;

use backlot_storage::{ObjectInfo, QUARANTINE_TAG};
use futures::TryStreamExt;
use http::header::{
    ACCEPT_RANGES, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW,
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    HeaderName, IF_NONE_MATCH, IF_RANGE, RANGE,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use percent_encoding::percent_decode_str;

use super::Shared;
use super::reply::{self, Body, Fault};

/// What the encoder writes once and never changes.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";
/// Everything else may be kept, but is asked about each time.
const REVALIDATE: &str = "no-cache";
/// Uploaded bytes are nobody's page: no scripts, no origin.
const FILE_POLICY: &str = "default-src 'none'; sandbox";

/// Serves one object. Parts in progress (`<id>/<build>/work/…`) are not for the public.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    head: &http::request::Parts,
    key: &str,
) -> Result<Response<Body>, Fault> {
    let mut response = match head.method {
        Method::OPTIONS => preflight(),
        Method::GET | Method::HEAD => read(shared, head, key).await?,
        _ => return Err(Fault::method()),
    };
    for (name, value) in [
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (ACCESS_CONTROL_EXPOSE_HEADERS, "accept-ranges, content-length, content-range, etag"),
        (HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
        (CONTENT_SECURITY_POLICY, FILE_POLICY),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

fn preflight() -> Response<Body> {
    let mut response = Response::new(reply::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    for (name, value) in [
        (ALLOW, "GET, HEAD, OPTIONS"),
        (ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD"),
        (ACCESS_CONTROL_ALLOW_HEADERS, "range, if-none-match, if-range"),
        (ACCESS_CONTROL_MAX_AGE, "86400"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn read(
    shared: &Shared,
    head: &http::request::Parts,
    key: &str,
) -> Result<Response<Body>, Fault> {
    let key = percent_decode_str(key).decode_utf8().map_err(|_| Fault::bad("not UTF-8"))?;
    if key.split('/').nth(2) == Some("work") {
        return Err(Fault::not_found("there is no such file"));
    }
    let reader = shared.store.open_object(&shared.config.content, &key, None).await?;
    let info = reader.info();
    if info.tags.contains_key(QUARANTINE_TAG) {
        return Err(Fault::new(StatusCode::FORBIDDEN, "the file is in quarantine"));
    }
    let etag = format!("\"{}\"", info.etag);
    let mut response = Response::new(reply::empty());
    describe(response.headers_mut(), &key, info, &etag)?;
    if header(&head.headers, IF_NONE_MATCH).is_some_and(|tags| none_match_hits(tags, &etag)) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    let size = info.size;
    let wanted = header(&head.headers, RANGE)
        .filter(|_| header(&head.headers, IF_RANGE).is_none_or(|tag| tag == etag))
        .map_or(Wanted::Whole, |range| Wanted::parse(range, size));
    let range = match wanted {
        Wanted::Whole => 0..size,
        Wanted::Range(range) => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let (first, last) = (range.start, range.end - 1);
            insert(&mut response, CONTENT_RANGE, &format!("bytes {first}-{last}/{size}"))?;
            range
        }
        Wanted::Nothing => {
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            insert(&mut response, CONTENT_RANGE, &format!("bytes */{size}"))?;
            return Ok(response);
        }
    };
    insert(&mut response, CONTENT_LENGTH, &(range.end - range.start).to_string())?;
    if head.method == Method::GET && !range.is_empty() {
        let stream = reader.stream(range)?;
        let frames = stream.map_ok(Frame::data).map_err(Into::into);
        *response.body_mut() = StreamBody::new(frames).boxed_unsync();
    }
    Ok(response)
}

fn describe(
    headers: &mut HeaderMap,
    key: &str,
    info: &ObjectInfo,
    etag: &str,
) -> Result<(), Fault> {
    let declared = info.headers.content_type.as_deref();
    let kind = media_type(key).or(declared).unwrap_or("application/octet-stream");
    headers.insert(CONTENT_TYPE, value(kind)?);
    headers.insert(ETAG, value(etag)?);
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // `<id>/<build>/<file>`: the build is a digest of everything that decides its bytes.
    let cache = if 2 < key.split('/').count() { IMMUTABLE } else { REVALIDATE };
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    Ok(())
}

/// By the name, because players decide by it; writers often do not declare one.
fn media_type(key: &str) -> Option<&'static str> {
    let (_, extension) = key.rsplit_once('.')?;
    Some(match extension {
        "m3u8" => "application/vnd.apple.mpegurl",
        "mpd" => "application/dash+xml",
        "mp4" | "m4s" => "video/mp4",
        "m4a" => "audio/mp4",
        "vtt" => "text/vtt; charset=utf-8",
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "json" => "application/json",
        _ => return None,
    })
}

fn value(text: &str) -> Result<HeaderValue, Fault> {
    HeaderValue::from_str(text).map_err(|_| Fault::internal("a header cannot be written"))
}

fn insert(response: &mut Response<Body>, name: HeaderName, text: &str) -> Result<(), Fault> {
    response.headers_mut().insert(name, value(text)?);
    Ok(())
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// RFC 9110, 13.1.2: weak comparison.
fn none_match_hits(tags: &str, etag: &str) -> bool {
    tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
}

#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Whole,
    Range(Range<u64>),
    /// Not satisfiable: 416.
    Nothing,
}

impl Wanted {
    /// RFC 9110, 14.1.2. What is not understood, and several ranges at once, are answered whole
    /// (14.2 allows it; no player asks for several).
    fn parse(header: &str, size: u64) -> Self {
        let Some((first, last)) = header
            .strip_prefix("bytes=")
            .filter(|set| !set.contains(','))
            .and_then(|set| set.trim().split_once('-'))
        else {
            return Self::Whole;
        };
        let range = if first.is_empty() {
            match number(last) {
                Some(suffix) => size.saturating_sub(suffix)..size,
                None => return Self::Whole,
            }
        } else {
            let last = if last.is_empty() { Some(u64::MAX) } else { number(last) };
            match (number(first), last) {
                (Some(first), Some(last)) if first <= last => {
                    first..last.saturating_add(1).min(size)
                }
                _ => return Self::Whole,
            }
        };
        if range.is_empty() { Self::Nothing } else { Self::Range(range) }
    }
}

fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_clamped_to_the_file() {
        let ten = |header| Wanted::parse(header, 10);
        assert_eq!(ten("bytes=0-3"), Wanted::Range(0..4));
        assert_eq!(ten("bytes=4-"), Wanted::Range(4..10));
        assert_eq!(ten("bytes=4-99999999999999999999999"), Wanted::Range(4..10));
        assert_eq!(ten("bytes=-3"), Wanted::Range(7..10));
        assert_eq!(ten("bytes=-30"), Wanted::Range(0..10));
        for nothing in ["bytes=10-", "bytes=10-12", "bytes=-0", "bytes=99999999999999999999-"] {
            assert_eq!(ten(nothing), Wanted::Nothing, "{nothing}");
        }
        for whole in
            ["bytes=3-1", "bytes=0-1,3-4", "lines=0-1", "bytes=a-b", "bytes=-", "bytes=+1-2"]
        {
            assert_eq!(ten(whole), Wanted::Whole, "{whole}");
        }
        assert_eq!(Wanted::parse("bytes=0-0", 0), Wanted::Nothing);
    }

    #[test]
    fn a_tag_is_found_in_a_list() {
        assert!(none_match_hits("\"a\", W/\"b\"", "\"b\""));
        assert!(none_match_hits("*", "\"b\""));
        assert!(!none_match_hits("\"a\"", "\"b\""));
    }
}
