//! Moments on the command line: RFC 3339, or so long ago.

use jiff::{SignedDuration, Timestamp};

/// Units of what is so long ago, in seconds.
const UNITS: [(char, i64); 5] =
    [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400), ('w', 7 * 86_400)];

/// For clap.
pub(crate) fn parse(text: &str) -> Result<Timestamp, String> {
    parse_at(text, Timestamp::now())
}

fn parse_at(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(moment) = text.parse() {
        return Ok(moment);
    }
    ago(text)
        .and_then(|ago| now.checked_sub(ago).ok())
        .ok_or_else(|| "a moment is 10m, 1h, 2d or such, or 2026-01-31T12:00:00Z".to_owned())
}

fn ago(text: &str) -> Option<SignedDuration> {
    let unit = text.chars().next_back()?;
    let (_, secs) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let digits = text.strip_suffix(unit)?;
    // `parse` would take a sign.
    let count: u32 = digits.parse().ok().filter(|_| !digits.starts_with('+'))?;
    Some(SignedDuration::from_secs(secs.checked_mul(i64::from(count))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_given_or_so_long_ago() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        for (text, wanted) in [
            ("30s", "2026-01-31T11:59:30Z"),
            ("10m", "2026-01-31T11:50:00Z"),
            ("1h", "2026-01-31T11:00:00Z"),
            ("2d", "2026-01-29T12:00:00Z"),
            ("1w", "2026-01-24T12:00:00Z"),
            ("2026-01-31T13:00:00+02:00", "2026-01-31T11:00:00Z"),
        ] {
            assert_eq!(parse_at(text, now).unwrap().to_string(), wanted, "{text}");
        }
        for bad in ["", "m", "10", "-1h", "+1h", "1.5h", "1y", "ten minutes", "4294967295w", "1h "]
        {
            assert!(parse_at(bad, now).is_err(), "{bad}");
        }
    }
}
