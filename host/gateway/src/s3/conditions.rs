//! Conditional requests: RFC 9110 section 13 for reads, S3's rules for writes and copies.

use backlot_storage::{Conditions, EtagMatch, ObjectInfo, SourceConditions};
use http::header::{
    IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE,
};
use http::{HeaderMap, HeaderName};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

/// The headers that make a read conditional or partial, taken out of the request because `s3s`
/// refuses what the RFC tells a server to ignore or to accept (lists of tags, several ranges).
#[derive(Debug, Clone, Default)]
pub(super) struct ReadConditions {
    if_match: Option<String>,
    if_none_match: Option<String>,
    if_modified_since: Option<Timestamp>,
    if_unmodified_since: Option<Timestamp>,
    if_range: Option<String>,
    range: Option<String>,
}

/// What the conditions make of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Proceed,
    NotModified,
    Failed(&'static str),
}

impl ReadConditions {
    pub(super) fn take(headers: &mut HeaderMap) -> Self {
        let taken = Self {
            if_match: text(headers, &IF_MATCH),
            if_none_match: text(headers, &IF_NONE_MATCH),
            if_modified_since: date(headers, &IF_MODIFIED_SINCE),
            if_unmodified_since: date(headers, &IF_UNMODIFIED_SINCE),
            if_range: text(headers, &IF_RANGE),
            range: text(headers, &RANGE),
        };
        for name in
            [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, IF_RANGE, RANGE]
        {
            headers.remove(name);
        }
        taken
    }

    /// RFC 9110, section 13.2.2: tags before dates, and a date only where its tag is missing.
    pub(super) fn judge(&self, object: &ObjectInfo) -> Verdict {
        let modified = object.modified_at.as_second();
        if let Some(tags) = &self.if_match {
            if !matches_any(tags, &object.etag, Comparison::Strong) {
                return Verdict::Failed("If-Match");
            }
        } else if self.if_unmodified_since.is_some_and(|since| since.as_second() < modified) {
            return Verdict::Failed("If-Unmodified-Since");
        }
        let not_modified = match &self.if_none_match {
            Some(tags) => matches_any(tags, &object.etag, Comparison::Weak),
            None => self.if_modified_since.is_some_and(|since| modified <= since.as_second()),
        };
        if not_modified { Verdict::NotModified } else { Verdict::Proceed }
    }

    /// The range asked for, unless `If-Range` says that the client's copy is another one.
    pub(super) fn range_for(&self, object: &ObjectInfo) -> Option<&str> {
        let same = match self.if_range.as_deref() {
            None => true,
            Some(tag) if tag.starts_with('"') || tag.starts_with("W/") => {
                matches_any(tag, &object.etag, Comparison::Strong)
            }
            // RFC 9110, section 13.1.5: a date has to be the very date of the object.
            Some(when) => parse_date(when)
                .is_some_and(|when| when.as_second() == object.modified_at.as_second()),
        };
        if same { self.range.as_deref() } else { None }
    }

    pub(super) fn has_range(&self) -> bool {
        self.range.is_some()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// Whether a list of entity tags (or `*`) has the object's. Tags without quotes are accepted, as
/// S3 does.
fn matches_any(list: &str, etag: &str, comparison: Comparison) -> bool {
    list.split(',').map(str::trim).any(|tag| {
        let (weak, tag) = match tag.strip_prefix("W/") {
            Some(tag) => (true, tag),
            None => (false, tag),
        };
        tag == "*" || (unquote(tag) == etag && (!weak || comparison == Comparison::Weak))
    })
}

fn unquote(tag: &str) -> &str {
    tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(tag)
}

/// All lines of a header as one list.
fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let lines: Vec<&str> =
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    (!lines.is_empty()).then(|| lines.join(","))
}

/// A date that cannot be read is ignored (RFC 9110, section 13.1.3).
fn date(headers: &HeaderMap, name: &HeaderName) -> Option<Timestamp> {
    headers.get(name).and_then(|value| value.to_str().ok()).and_then(parse_date)
}

fn parse_date(text: &str) -> Option<Timestamp> {
    static PARSER: DateTimeParser = DateTimeParser::new();
    PARSER.parse_timestamp(text.trim()).ok()
}

/// The conditions of a write on what is there now.
pub(super) fn of_write(headers: &HeaderMap) -> Conditions {
    Conditions {
        if_match: etag_match(headers, &IF_MATCH),
        if_none_match: etag_match(headers, &IF_NONE_MATCH),
    }
}

/// The conditions of a copy on its source. As with reads, a tag makes its date unimportant.
pub(super) fn of_source(headers: &HeaderMap) -> SourceConditions {
    const MATCH: HeaderName = HeaderName::from_static("x-amz-copy-source-if-match");
    const NONE_MATCH: HeaderName = HeaderName::from_static("x-amz-copy-source-if-none-match");
    const MODIFIED: HeaderName = HeaderName::from_static("x-amz-copy-source-if-modified-since");
    const UNMODIFIED: HeaderName = HeaderName::from_static("x-amz-copy-source-if-unmodified-since");
    let if_match: Vec<_> = etag_match(headers, &MATCH).into_iter().collect();
    let if_none_match: Vec<_> = etag_match(headers, &NONE_MATCH).into_iter().collect();
    SourceConditions {
        if_unmodified_since: date(headers, &UNMODIFIED).filter(|_| if_match.is_empty()),
        if_modified_since: date(headers, &MODIFIED).filter(|_| if_none_match.is_empty()),
        if_match,
        if_none_match,
        content_id: None,
    }
}

fn etag_match(headers: &HeaderMap, name: &HeaderName) -> Option<EtagMatch> {
    let value = text(headers, name)?;
    Some(match value.trim() {
        "*" => EtagMatch::Any,
        tag => EtagMatch::Is(unquote(tag).to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";

    fn object() -> ObjectInfo {
        ObjectInfo {
            bucket: "b".into(),
            key: "k".into(),
            version_id: "null".into(),
            content_id: String::new(),
            size: 10,
            etag: "abc".into(),
            // Millisecond precision; HTTP dates have seconds.
            modified_at: parse_date(MODIFIED).unwrap() + jiff::Span::new().milliseconds(700),
            headers: Default::default(),
            metadata: Default::default(),
            tags: Default::default(),
            checksums: Vec::new(),
            delete_marker: false,
            is_latest: true,
            part_count: 0,
        }
    }

    fn conditions(headers: &[(&'static str, &str)]) -> ReadConditions {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let taken = ReadConditions::take(&mut map);
        assert!(map.is_empty());
        taken
    }

    #[test]
    fn precedence_of_read_conditions() {
        use Verdict::{Failed, NotModified, Proceed};
        let check = |headers: &[(&'static str, &str)], verdict| {
            assert_eq!(conditions(headers).judge(&object()), verdict, "{headers:?}");
        };
        check(&[], Proceed);
        check(&[("if-match", "\"abc\"")], Proceed);
        check(&[("if-match", "abc")], Proceed);
        check(&[("if-match", "\"x\", \"abc\"")], Proceed);
        check(&[("if-match", "\"x\""), ("if-match", "\"abc\"")], Proceed);
        check(&[("if-match", "*")], Proceed);
        check(&[("if-match", "W/\"abc\"")], Failed("If-Match"));
        check(&[("if-match", "\"x\"")], Failed("If-Match"));
        check(&[("if-none-match", "\"x\", W/\"abc\"")], NotModified);
        check(&[("if-none-match", "*")], NotModified);
        check(&[("if-none-match", "\"x\"")], Proceed);
        check(&[("if-modified-since", MODIFIED)], NotModified);
        check(&[("if-modified-since", BEFORE)], Proceed);
        check(&[("if-modified-since", "yesterday")], Proceed);
        check(&[("if-unmodified-since", MODIFIED)], Proceed);
        check(&[("if-unmodified-since", BEFORE)], Failed("If-Unmodified-Since"));
        // A tag decides alone.
        check(&[("if-match", "\"abc\""), ("if-unmodified-since", BEFORE)], Proceed);
        check(&[("if-none-match", "\"x\""), ("if-modified-since", MODIFIED)], Proceed);
        // A failed precondition comes before "not modified".
        check(&[("if-match", "\"x\""), ("if-none-match", "\"abc\"")], Failed("If-Match"));
        check(&[("if-match", "\"abc\""), ("if-none-match", "\"abc\"")], NotModified);
    }

    #[test]
    fn a_range_holds_only_for_the_copy_the_client_has() {
        let check = |if_range: Option<&str>, kept: bool| {
            let mut headers = vec![("range", "bytes=1-2")];
            headers.extend(if_range.map(|value| ("if-range", value)));
            let range = conditions(&headers).range_for(&object()).map(str::to_owned);
            assert_eq!(range.is_some(), kept, "{if_range:?}");
        };
        check(None, true);
        check(Some("\"abc\""), true);
        check(Some("\"x\""), false);
        check(Some("W/\"abc\""), false);
        check(Some(MODIFIED), true);
        check(Some(BEFORE), false);
        check(Some("soon"), false);
    }

    #[test]
    fn conditions_of_copies_follow_the_tag() {
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-copy-source-if-match", "\"abc\"".parse().unwrap());
        headers.insert("x-amz-copy-source-if-unmodified-since", BEFORE.parse().unwrap());
        let source = of_source(&headers);
        assert_eq!(source.if_match, [EtagMatch::Is("abc".into())]);
        assert_eq!(source.if_unmodified_since, None);
        headers.insert("if-none-match", "*".parse().unwrap());
        assert_eq!(of_write(&headers).if_none_match, Some(EtagMatch::Any));
        assert_eq!(of_write(&headers).if_match, None);
    }
}
