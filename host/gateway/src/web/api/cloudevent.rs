//! CloudEvents 1.0 over HTTP: structured as JSON, or binary with `ce-` headers.
//!
//! What the ledger keeps of an event are its id, source, type, subject, time, content type and
//! data. Extension attributes and `dataschema` are accepted and not kept.

use backlot_ledger::{Event, EventId};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use crate::web::reply::Fault;

/// Source of events that name none.
const SOURCE: &str = "/api";
/// Longest attribute, in bytes: as long as the longest key of an object.
const ATTRIBUTE_BYTES_MAX: usize = 1_024;
/// What our events are in JSON.
const JSON: &str = "application/json";

/// The event of a request.
pub(super) fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Event, Fault> {
    let content_type = match headers.get(CONTENT_TYPE).map(|value| value.to_str()) {
        None => None,
        Some(Ok(value)) => Some(value),
        Some(Err(_)) => return Err(Fault::bad("the Content-Type is not text")),
    };
    if headers.contains_key("ce-specversion") {
        return binary(headers, content_type, body);
    }
    let kind = content_type.map(essence).unwrap_or_default();
    match kind.as_str() {
        "" | JSON | "application/cloudevents+json" => structured(body),
        // What curl sends when it is told nothing else.
        "application/x-www-form-urlencoded" => structured(body),
        other => Err(Fault::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!(
                "{other} is not taken; send one event as application/cloudevents+json, or any data \
                 with the headers ce-specversion and ce-type"
            ),
        )),
    }
}

/// The media type without its parameters.
fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn is_json(content_type: &str) -> bool {
    let essence = essence(content_type);
    essence.ends_with("/json") || essence.ends_with("+json")
}

fn structured(body: &[u8]) -> Result<Event, Fault> {
    let event: Value = serde_json::from_slice(body)
        .map_err(|err| Fault::bad(format!("the body is not a CloudEvent in JSON: {err}")))?;
    let Value::Object(mut event) = event else {
        return Err(Fault::bad("the body is not a CloudEvent in JSON: it is not an object"));
    };
    let mut take = |name: &'static str| text(&mut event, name);
    let (version, kind) = (take("specversion")?, take("type")?);
    let (id, source, subject) = (take("id")?, take("source")?, take("subject")?);
    let (time, declared) = (take("time")?, take("datacontenttype")?);
    let (data, content_type) = match (event.remove("data"), event.remove("data_base64")) {
        (None | Some(Value::Null), None) => (Vec::new(), declared),
        (None, Some(Value::String(text))) => {
            let data = STANDARD.decode(text);
            let bad = |_| Fault::bad("data_base64 is not base64 (with padding, in one line)");
            (data.map_err(bad)?, declared)
        }
        (None, Some(_)) => return Err(Fault::bad("data_base64 is not a string")),
        (Some(_), Some(_)) => return Err(Fault::bad("there are both data and data_base64")),
        (Some(data), None) => match (declared, data) {
            (Some(declared), Value::String(text)) if !is_json(&declared) => {
                (text.into_bytes(), Some(declared))
            }
            (Some(declared), _) if !is_json(&declared) => {
                let reason = format!("data must be a string where datacontenttype is {declared:?}");
                return Err(Fault::bad(reason));
            }
            (declared, data) => {
                (data.to_string().into_bytes(), declared.or_else(|| Some(JSON.to_owned())))
            }
        },
    };
    event_of(Attributes { version, kind, id, source, subject, time }, content_type, data)
}

fn text(event: &mut Map<String, Value>, name: &'static str) -> Result<Option<String>, Fault> {
    match event.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Fault::bad(format!("{name} is not a string"))),
    }
}

fn binary(headers: &HeaderMap, content_type: Option<&str>, body: &[u8]) -> Result<Event, Fault> {
    let take = |name: &str| -> Result<Option<String>, Fault> {
        let Some(value) = headers.get(name) else { return Ok(None) };
        // Section 3.1.3.2 of the HTTP binding: UTF-8, percent-encoded.
        let bad = || Fault::bad(format!("{name} is not percent-encoded UTF-8"));
        let value = value.to_str().map_err(|_| bad())?;
        let value = percent_decode_str(value).decode_utf8().map_err(|_| bad())?;
        Ok(Some(value.into_owned()))
    };
    let attributes = Attributes {
        version: take("ce-specversion")?,
        kind: take("ce-type")?,
        id: take("ce-id")?,
        source: take("ce-source")?,
        subject: take("ce-subject")?,
        time: take("ce-time")?,
    };
    event_of(attributes, content_type.map(str::to_owned), body.to_vec())
}

struct Attributes {
    version: Option<String>,
    kind: Option<String>,
    id: Option<String>,
    source: Option<String>,
    subject: Option<String>,
    time: Option<String>,
}

fn event_of(
    attributes: Attributes,
    content_type: Option<String>,
    data: Vec<u8>,
) -> Result<Event, Fault> {
    let Attributes { version, kind, id, source, subject, time } = attributes;
    if version.as_deref() != Some("1.0") {
        let found = version.map_or_else(|| "missing".to_owned(), |version| format!("{version:?}"));
        return Err(Fault::bad(format!("specversion is {found}, must be \"1.0\"")));
    }
    for (name, value) in [
        ("type", &kind),
        ("id", &id),
        ("source", &source),
        ("subject", &subject),
        ("datacontenttype", &content_type),
    ] {
        check(name, value.as_deref())?;
    }
    let time = match time {
        None => Timestamp::now(),
        Some(time) => time.parse().map_err(|_| {
            Fault::bad("time is not a moment as in RFC 3339, such as 2026-01-31T12:00:00Z")
        })?,
    };
    Ok(Event {
        id: id.map(EventId::from).unwrap_or_default(),
        source: source.unwrap_or_else(|| SOURCE.to_owned()),
        kind: kind.ok_or_else(|| Fault::bad("type is missing"))?,
        subject,
        time,
        content_type,
        data,
    })
}

/// An attribute is a string that is not empty and has no control characters.
fn check(name: &str, value: Option<&str>) -> Result<(), Fault> {
    let reason = match value {
        Some("") => "is empty".to_owned(),
        Some(value) if value.contains(char::is_control) => "has control characters".to_owned(),
        Some(value) if ATTRIBUTE_BYTES_MAX < value.len() => {
            format!("has {} bytes, at most {ATTRIBUTE_BYTES_MAX} are taken", value.len())
        }
        _ => return Ok(()),
    };
    Err(Fault::bad(format!("{name} {reason}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(content_type: &'static str, body: &str) -> Result<Event, String> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type));
        parse(&headers, body.as_bytes()).map_err(|fault| fault.to_string())
    }

    fn event(rest: &str) -> Result<Event, String> {
        parsed(
            "application/cloudevents+json; charset=utf-8",
            &format!("{{\"specversion\":\"1.0\",\"type\":\"order.paid\"{rest}}}"),
        )
    }

    #[test]
    fn what_is_missing_is_filled_in_and_what_is_there_is_kept() {
        let bare = event("").unwrap();
        assert_eq!((bare.source.as_str(), bare.kind.as_str()), ("/api", "order.paid"));
        assert_eq!((bare.id.as_str().len(), bare.data.len(), bare.content_type), (32, 0, None));
        let full = event(
            ",\"id\":\"A-1\",\"source\":\"https://shop.example\",\"subject\":\"7\",\
             \"time\":\"2026-01-31T12:00:00.5+01:00\",\"traceparent\":\"x\",\"data\":{\"sum\":5}",
        )
        .unwrap();
        assert_eq!(full.id.as_str(), "A-1");
        assert_eq!(full.time.to_string(), "2026-01-31T11:00:00.5Z");
        assert_eq!(full.data, b"{\"sum\":5}");
        assert_eq!(full.content_type.as_deref(), Some("application/json"));
    }

    #[test]
    fn data_is_what_its_type_says() {
        for (rest, wanted) in [
            (",\"data\":\"text\"", "\"text\""),
            (",\"data\":\"text\",\"datacontenttype\":\"text/plain\"", "text"),
            (",\"data\":\"text\",\"datacontenttype\":\"application/ld+json\"", "\"text\""),
            (",\"data_base64\":\"dGV4dA==\"", "text"),
            (",\"data\":null", ""),
        ] {
            assert_eq!(event(rest).unwrap().data, wanted.as_bytes(), "{rest}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (rest, wanted) in [
            (",\"id\":\"\"", "id is empty"),
            (",\"id\":7", "id is not a string"),
            (",\"subject\":\"a\\u0007\"", "subject has control characters"),
            (",\"time\":\"now\"", "time is not a moment"),
            (",\"data\":1,\"data_base64\":\"\"", "both data and data_base64"),
            (",\"data_base64\":\"?\"", "data_base64 is not base64"),
            (",\"data\":1,\"datacontenttype\":\"text/plain\"", "data must be a string"),
        ] {
            let error = event(rest).unwrap_err();
            assert!(error.contains(wanted), "{rest}: {error}");
        }
        for (body, wanted) in [
            ("{\"type\":\"t\"}", "specversion is missing, must be \"1.0\""),
            ("{\"specversion\":\"0.3\",\"type\":\"t\"}", "specversion is \"0.3\""),
            ("{\"specversion\":\"1.0\"}", "type is missing"),
            ("[]", "it is not an object"),
            ("{", "not a CloudEvent in JSON"),
        ] {
            let error = parsed(JSON, body).unwrap_err();
            assert!(error.contains(wanted), "{body}: {error}");
        }
        assert!(
            parsed("application/cloudevents-batch+json", "[]").unwrap_err().contains("one event")
        );
    }

    #[test]
    fn headers_carry_an_event_too() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("ce-specversion", "1.0"),
            ("ce-type", "order.paid"),
            ("ce-subject", "Euro%20%E2%82%AC"),
            ("content-type", "image/png"),
        ] {
            headers.insert(name, http::HeaderValue::from_static(value));
        }
        let event = parse(&headers, &[0xff]).unwrap();
        assert_eq!(event.subject.as_deref(), Some("Euro €"));
        assert_eq!(
            (event.content_type.as_deref(), &event.data[..]),
            (Some("image/png"), &[0xff][..])
        );
        headers.insert("ce-subject", http::HeaderValue::from_static("%ff"));
        assert!(parse(&headers, &[]).is_err());
    }
}
