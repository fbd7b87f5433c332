//! Walks files and says what they are, and how fast: `walk FILE...`, `walk --structures FILE`.
//! `walk --once FILE...` prints only what is wrong, to look for false alarms among many files.
//!
//! Each file is walked until half a second has passed; the best time counts. A file's name is its
//! declaration. The file is in memory, so that the walker is timed and not the disk.

use std::time::{Duration, Instant};

use backlot_formats::{Declared, Limits, Verdict, validate};

/// For how long each file is walked again.
const EACH: Duration = Duration::from_millis(500);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut paths: Vec<String> = std::env::args().skip(1).collect();
    let structures = paths.first().is_some_and(|word| word == "--structures");
    let once = paths.first().is_some_and(|word| word == "--once");
    paths.drain(..usize::from(structures || once));
    for path in paths {
        let bytes = std::fs::read(&path)?;
        let declared = Declared { name: Some(path.clone()), content_type: None };
        let (begun, mut best) = (Instant::now(), Duration::MAX);
        let report = loop {
            let started = Instant::now();
            let report = validate(&bytes, &declared, &Limits::default())?;
            best = best.min(started.elapsed());
            if once || EACH < begun.elapsed() {
                break report;
            }
        };
        if once && report.is_clean() {
            continue;
        }
        let megabytes = bytes.len() as f64 / 1e6;
        let speed = megabytes / best.as_secs_f64();
        let format = report.format().map_or("unknown", backlot_formats::Format::name);
        let answer = report.complaint().unwrap_or_else(|| "whole".to_owned());
        println!("{format:<16} {megabytes:>9.3} MB {speed:>9.1} MB/s  {path}: {answer}");
        if let Verdict::Valid { facts, .. } = &report.verdict {
            let facts: Vec<String> =
                facts.iter().map(|(name, value)| format!("{name} {value}")).collect();
            println!("{:<16} {}", "", facts.join(", "));
        }
        if structures {
            print!("{}", report.walk);
        }
    }
    Ok(())
}
