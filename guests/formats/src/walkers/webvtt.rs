//! WebVTT: W3C "WebVTT: The Web Video Text Tracks Format", section 4.
//!
//! What cannot be known: whether cues are missing at the end, and flipped bits in the text.

use crate::{
    scan::Scan,
    stop::{Stop, ensure, invalid},
};

use super::{
    srt::milliseconds,
    text::{Line, Lines},
};

pub(super) fn walk(scan: &mut Scan<'_>) -> Result<u64, Stop> {
    let mut lines = Lines::open(scan, false)?;
    let first = lines.next(scan)?.ok_or_else(|| invalid(0, "the file is empty"))?;
    let rest = first.text.strip_prefix("WEBVTT");
    let rest = rest.ok_or_else(|| invalid(0, "the first line is not WEBVTT"))?;
    ensure(rest.is_empty() || rest.starts_with([' ', '\t']), 6, || {
        "text right behind WEBVTT".to_owned()
    })?;
    scan.met(0, "header", 0, first.end)?;
    let (mut cues, end) = (0_u64, scan.len());
    let mut block = header(scan, &mut lines)?;
    while let Some(line) = block {
        cues += u64::from(self::block(scan, &mut lines, &line)?);
        block = lines.next(scan)?;
    }
    scan.fact("cues", cues);
    Ok(end)
}

/// Skips the lines of the header up to the empty one; gives the line behind it.
fn header(scan: &mut Scan<'_>, lines: &mut Lines) -> Result<Option<Line>, Stop> {
    while let Some(line) = lines.next(scan)? {
        ensure(!line.text.contains("-->"), line.at, || "a cue inside the header".to_owned())?;
        if line.text.is_empty() {
            return lines.next(scan);
        }
    }
    Ok(None)
}

/// A cue, a note, a style or a region, up to the empty line; whether it is a cue.
fn block(scan: &mut Scan<'_>, lines: &mut Lines, first: &Line) -> Result<bool, Stop> {
    if first.text.is_empty() {
        return Ok(false);
    }
    let word = first.text.split([' ', '\t']).next().unwrap_or_default();
    let other = matches!(word, "NOTE" | "STYLE" | "REGION") && !first.text.contains("-->");
    let mut last = first.end;
    if !other {
        // A cue may have a name on a line of its own.
        if first.text.contains("-->") {
            check_times(first)?;
        } else {
            let total = scan.len();
            let times = lines.next(scan)?.ok_or_else(|| invalid(total, "a cue without times"))?;
            check_times(&times)?;
            last = times.end;
        }
    }
    while let Some(line) = lines.next(scan)? {
        if line.text.is_empty() {
            break;
        }
        ensure(!line.text.contains("-->"), line.at, || "a cue inside a block".to_owned())?;
        last = line.end;
    }
    scan.met(0, if other { "block" } else { "cue" }, first.at, last - first.at)?;
    Ok(!other)
}

/// `00:01.000 --> 00:02.000` with settings behind it (section 4.1).
fn check_times(line: &Line) -> Result<(), Stop> {
    let wrong = || invalid(line.at, "the times of a cue cannot be read");
    let (start, rest) = line.text.split_once("-->").ok_or_else(wrong)?;
    let end = rest.split_whitespace().next().ok_or_else(wrong)?;
    let start = milliseconds(start.trim(), '.').ok_or_else(wrong)?;
    let end = milliseconds(end, '.').ok_or_else(wrong)?;
    ensure(start < end, line.at, || "a cue ends before it begins".to_owned())
}
