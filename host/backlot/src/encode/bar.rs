//! The progress bar: what is stored and what is in flight apart, so that it never promises what a
//! power cut could take back.

use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

use backlot_gateway::web::{Rung, Work, permille};
use indicatif::{DecimalBytes, MultiProgress, ProgressBar, ProgressStyle};

/// Width of a rung's bar in characters.
const WIDTH: u64 = 32;
/// Without a terminal: one line of progress in so long.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Draws on standard error.
pub(super) struct Bar {
    lines: MultiProgress,
    head: ProgressBar,
    rungs: Vec<ProgressBar>,
    name: String,
    begun: Instant,
    /// Frames that were there when this run began: they say nothing about its speed.
    frames_before: Option<u64>,
    is_terminal: bool,
    said: Option<Instant>,
}

impl Bar {
    pub(super) fn new(file: &Path) -> Self {
        let lines = MultiProgress::new();
        let head = lines.add(line());
        Self {
            lines,
            head,
            rungs: Vec::new(),
            name: file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            begun: Instant::now(),
            frames_before: None,
            is_terminal: std::io::stderr().is_terminal(),
            said: None,
        }
    }

    pub(super) fn show(&mut self, work: &Work, bytes: u64) {
        let head = self.headline(work, bytes);
        if !self.is_terminal {
            if self.said.is_none_or(|at| LINE_INTERVAL <= at.elapsed()) {
                self.said = Some(Instant::now());
                eprintln!("{head}");
            }
            return;
        }
        self.head.set_message(head);
        while self.rungs.len() < work.rungs.len() {
            self.rungs.push(self.lines.add(line()));
        }
        for (line, rung) in self.rungs.iter().zip(&work.rungs) {
            line.set_message(rung_line(rung));
        }
    }

    pub(super) fn finish(&self) {
        self.abandon();
    }

    /// Leaves the last state on the screen.
    pub(super) fn abandon(&self) {
        for line in std::iter::once(&self.head).chain(&self.rungs) {
            line.abandon();
        }
    }

    fn headline(&mut self, work: &Work, bytes: u64) -> String {
        let summary = work.summary();
        if summary.parts == 0 {
            return format!("{}: looking at the file", self.name);
        }
        let (mut stored, mut in_flight, mut total) = (0, 0, 0);
        for rung in work.rungs.iter().filter(|rung| rung.unit == "frames") {
            stored += rung.stored;
            in_flight += rung.in_flight;
            total += rung.total;
        }
        let done = stored + in_flight;
        let before = *self.frames_before.get_or_insert(done);
        let secs = self.begun.elapsed().as_secs_f64();
        let speed = if 0.0 < secs { done.saturating_sub(before) as f64 / secs } else { 0.0 };
        let mut text = format!("{}: {} stored", self.name, percent(summary.stored_permille),);
        if 0 < in_flight {
            text.push_str(&format!(", {} in flight", percent(summary.in_flight_permille)));
        }
        text.push_str(&format!(
            "; {} of {} parts; {speed:.1} fps; {}",
            summary.parts_stored,
            summary.parts,
            DecimalBytes(bytes),
        ));
        if 0.0 < speed && done < total {
            let left = Duration::from_secs_f64((total - done) as f64 / speed);
            text.push_str(&format!("; {} left", indicatif::HumanDuration(left)));
        }
        text
    }
}

fn line() -> ProgressBar {
    let style =
        ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new_spinner().with_style(style)
}

fn percent(permille: u64) -> String {
    format!("{}.{}%", permille / 10, permille % 10)
}

/// `  720p ████▒▒░░ 240 +12 / 1000 frames`: solid is stored, half-toned in flight.
fn rung_line(rung: &Rung) -> String {
    let is_sound = rung.unit == "ms";
    let name = if is_sound { "audio" } else { &rung.name };
    let solid = permille(rung.stored, rung.total) * WIDTH / 1_000;
    let either = permille(rung.stored + rung.in_flight, rung.total) * WIDTH / 1_000;
    let mut text = format!("{name:>7} ");
    for at in 0..WIDTH {
        text.push(if at < solid {
            '█'
        } else if at < either {
            '▒'
        } else {
            '░'
        });
    }
    let (divisor, unit) = if is_sound { (1_000, "s") } else { (1, "frames") };
    text.push_str(&format!(" {}", rung.stored / divisor));
    if 0 < rung.in_flight {
        text.push_str(&format!(" +{}", rung.in_flight / divisor));
    }
    let about = if rung.total_estimated { "~" } else { "" };
    text.push_str(&format!(" / {about}{} {unit}", rung.total / divisor));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_and_in_flight_are_drawn_apart() {
        let rung = Rung {
            name: "720p".to_owned(),
            unit: "frames".to_owned(),
            stored: 500,
            in_flight: 250,
            total: 1_000,
            total_estimated: false,
        };
        let text = rung_line(&rung);
        assert_eq!(text.matches('█').count(), 16);
        assert_eq!(text.matches('▒').count(), 8);
        assert!(text.ends_with(" 500 +250 / 1000 frames"), "{text}");
    }
}
