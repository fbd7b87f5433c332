//! SubRip: a number, a line of times, lines of text, an empty line; there is no standard, this is
//! what its program writes.
//!
//! What cannot be known: whether cues are missing at the end, and flipped bits in the text.

use crate::{
    scan::Scan,
    stop::{Stop, ensure, invalid},
};

use super::text::{Line, Lines};

pub(super) fn walk(scan: &mut Scan<'_>) -> Result<u64, Stop> {
    let mut lines = Lines::open(scan, true)?;
    let (mut cues, mut number) = (0_u64, 0_u64);
    while let Some(first) = next_cue(scan, &mut lines)? {
        let stated = first.text.trim().parse::<u64>();
        let stated = stated.map_err(|_| invalid(first.at, "the number of a cue is missing"))?;
        ensure(cues == 0 || stated == number + 1, first.at, || {
            format!("cue {stated} behind cue {number}")
        })?;
        number = stated;
        let end = scan.len();
        let times = lines.next(scan)?.ok_or_else(|| invalid(end, "a cue without times"))?;
        check_times(&times)?;
        let (mut text, mut closed) = (false, false);
        let mut last = times.end;
        while let Some(line) = lines.next(scan)? {
            last = line.end;
            closed = line.text.trim().is_empty();
            if closed {
                break;
            }
            text = true;
        }
        ensure(text || closed, end, || format!("the file ends before the text of cue {number}"))?;
        scan.met(0, "cue", first.at, last - first.at)?;
        cues += 1;
    }
    let end = scan.len();
    ensure(0 < cues, end, || "there is no cue".to_owned())?;
    scan.fact("encoding", if lines.utf8 { "UTF-8" } else { "8 bits" });
    scan.fact("cues", cues);
    Ok(end)
}

/// The first line of the next cue, behind empty lines.
fn next_cue(scan: &mut Scan<'_>, lines: &mut Lines) -> Result<Option<Line>, Stop> {
    while let Some(line) = lines.next(scan)? {
        if !line.text.trim().is_empty() {
            return Ok(Some(line));
        }
    }
    Ok(None)
}

/// `00:00:01,000 --> 00:00:02,000`, and perhaps a place behind it.
fn check_times(line: &Line) -> Result<(), Stop> {
    let wrong = || invalid(line.at, "the times of a cue cannot be read");
    let (start, rest) = line.text.split_once(" --> ").ok_or_else(wrong)?;
    let end = rest.split_whitespace().next().ok_or_else(wrong)?;
    let start = milliseconds(start.trim(), ',').ok_or_else(wrong)?;
    let end = milliseconds(end, ',').ok_or_else(wrong)?;
    ensure(start <= end, line.at, || "a cue ends before it begins".to_owned())
}

/// `hours:minutes:seconds` and three digits behind `point`; WebVTT may leave out the hours.
pub(super) fn milliseconds(text: &str, point: char) -> Option<u64> {
    let (whole, fraction) = text.split_once(point)?;
    let number = |text: &str, digits: std::ops::RangeInclusive<usize>, below: u64| {
        let plain = digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u64>().ok().filter(|value| plain && *value < below)
    };
    let mut parts = whole.rsplit(':');
    let seconds = number(parts.next()?, 2..=2, 60)?;
    let minutes = number(parts.next()?, 2..=2, 60)?;
    let hours = match parts.next() {
        Some(hours) => number(hours, 2..=4, 10_000)?,
        None if point == '.' => 0,
        None => return None,
    };
    let millis = number(fraction, 3..=3, 1000)?;
    parts.next().is_none().then_some(((hours * 60 + minutes) * 60 + seconds) * 1000 + millis)
}
