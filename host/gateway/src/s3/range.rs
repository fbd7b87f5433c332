//! The `Range` header, as RFC 9110 section 14.2 reads it.

use std::ops::Range;

/// What part of an object of a known size a request gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Selection {
    /// All of it: no range was asked for, or one that may be ignored (unknown unit, bad syntax, or
    /// several ranges, which S3 answers with the whole object too).
    Whole,
    /// These bytes; never empty.
    Part(Range<u64>),
    /// A range that the object does not have.
    Unsatisfiable,
}

/// Reads a `Range` header for an object of `size` bytes.
pub(super) fn select(header: Option<&str>, size: u64) -> Selection {
    let Some(spec) = header.and_then(byte_spec) else { return Selection::Whole };
    let Some((first, last)) = spec.split_once('-') else { return Selection::Whole };
    match (number(first), number(last)) {
        // A suffix: the last so many bytes.
        (None, Some(suffix)) if first.is_empty() => match suffix.min(size) {
            0 => Selection::Unsatisfiable,
            len => Selection::Part(size - len..size),
        },
        (Some(first), None) if last.is_empty() => within(first, u64::MAX, size),
        (Some(first), Some(last)) if first <= last => within(first, last, size),
        _ => Selection::Whole,
    }
}

fn byte_spec(header: &str) -> Option<&str> {
    let (unit, spec) = header.split_once('=')?;
    (unit.trim().eq_ignore_ascii_case("bytes") && !spec.contains(',')).then(|| spec.trim())
}

/// Digits only; a number too large to hold is larger than every object.
fn number(digits: &str) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| digits.parse().unwrap_or(u64::MAX))
}

fn within(first: u64, last: u64, size: u64) -> Selection {
    if size <= first {
        return Selection::Unsatisfiable;
    }
    Selection::Part(first..last.saturating_add(1).min(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_ten_bytes() {
        use Selection::{Part, Unsatisfiable, Whole};
        let cases = [
            ("bytes=0-9", Part(0..10)),
            ("bytes=0-0", Part(0..1)),
            ("bytes=9-", Part(9..10)),
            ("bytes=3-99", Part(3..10)),
            ("bytes=-3", Part(7..10)),
            ("bytes=-99", Part(0..10)),
            ("Bytes = 1-2", Part(1..3)),
            ("bytes=0-99999999999999999999", Part(0..10)),
            ("bytes=10-", Unsatisfiable),
            ("bytes=10-20", Unsatisfiable),
            ("bytes=99999999999999999999-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=0-1,3-4", Whole),
            ("bytes=5-2", Whole),
            ("bytes=-", Whole),
            ("bytes=a-b", Whole),
            ("bytes=+1-2", Whole),
            ("bytes", Whole),
            ("items=0-1", Whole),
        ];
        for (header, selection) in cases {
            assert_eq!(select(Some(header), 10), selection, "{header}");
        }
        assert_eq!(select(None, 10), Whole);
    }

    #[test]
    fn an_empty_object_has_no_bytes_to_select() {
        for header in ["bytes=0-", "bytes=0-0", "bytes=-1"] {
            assert_eq!(select(Some(header), 0), Selection::Unsatisfiable, "{header}");
        }
        assert_eq!(select(Some("bytes=0-1,2-3"), 0), Selection::Whole);
    }
}
