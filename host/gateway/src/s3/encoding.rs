//! Percent-encoding and query strings.

use std::borrow::Cow;
use std::fmt::Write;

use http::Uri;

/// The query's pairs, decoded; what cannot be decoded is left as it is.
pub(super) fn query_pairs(uri: &Uri) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    raw_pairs(uri.query().unwrap_or_default()).map(|(name, value)| (decode(name), decode(value)))
}

/// The pairs of a query string as they were sent.
pub(super) fn raw_pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// Decodes `%XX`, and `+` as a space as forms do. Input that is not UTF-8 afterwards, or has a
/// broken escape, is answered unchanged.
pub(super) fn decode(text: &str) -> Cow<'_, str> {
    try_decode(text).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// As [`decode`], but `None` for what cannot be decoded.
pub(super) fn try_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (escape, tail) = rest.split_at_checked(2)?;
                rest = tail;
                let hex = std::str::from_utf8(escape).ok()?;
                if hex.starts_with('+') {
                    return None;
                }
                u8::from_str_radix(hex, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Encodes a key for `encoding-type=url`: everything but unreserved characters and slashes.
/// A space becomes `%20`, which every decoder takes back.
pub(super) fn encode_key(key: &str) -> String {
    let mut encoded = String::with_capacity(key.len());
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b'/') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            write!(encoded, "%{byte:02X}").ok();
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read_and_broken_ones_left_alone() {
        let check = |text: &str, decoded: &str| assert_eq!(decode(text), decoded);
        check("a%20b+c", "a b c");
        check("%F0%9F%8E%AC", "🎬");
        check("%", "%");
        check("%2", "%2");
        check("%+1", "%+1");
        check("%zz", "%zz");
        check("%FF", "%FF");
        assert_eq!(try_decode("%FF"), None);
    }

    #[test]
    fn every_key_survives_encoding() {
        for key in ["a//b", "../x", " ", "%2F", "🎬", "a+b&c=d", "\u{1}\n", "~-_."] {
            let encoded = encode_key(key);
            assert!(encoded.is_ascii() && !encoded.contains(['+', ' ', '\n']), "{encoded}");
            assert_eq!(decode(&encoded), key);
        }
    }

    #[test]
    fn pairs_without_a_value_count() {
        let uri: Uri = "/b?tagging&x-id=Put&&v=1=2".parse().unwrap();
        let pairs: Vec<_> = query_pairs(&uri).map(|(k, v)| format!("{k}:{v}")).collect();
        assert_eq!(pairs, ["tagging:", "x-id:Put", "v:1=2"]);
    }
}
