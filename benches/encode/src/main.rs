//! Question: what does the whole pipeline cost (an upload over S3 until the film can be watched,
//! decoding in the sandbox and all), beside the same frames through rav1e's own command line and
//! through ffmpeg's libsvtav1?
//!
//! Input: a film, looped without re-encoding until it has at least [`FRAMES_MIN`] frames, and
//! scaled for the smaller picture. The peers get it decoded already, as Y4M: their figures hold no
//! decoding. Everybody encodes with the same quantizer and key frame distance (but for libsvtav1,
//! whose scale is its own; compare bytes and PSNR there). Unit: seconds of wall and of CPU, bytes,
//! dB of luma PSNR over all frames, MiB of peak resident memory.
//!
//! ```sh
//! cargo build --release --package backlot --package backlot-bench-encode
//! target/release/backlot-bench-encode FILM.mp4 [--runs 3] [--lines 360,720] [--speeds 10,6]
//! ```
//! `rav1e` (0.8.1, `cargo install rav1e --version 0.8.1 --locked`) and `ffmpeg` must be on the path.
//! Prints one line of JSON a measurement, then a table of medians and ratios.
//!
//! With `--ladder SPEED` another question: what does a film cost in three sizes at once, decoded
//! once, beside the sum of what each size costs alone?

mod ladder;
mod measure;
mod peers;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use backlot_tests::film;

use crate::measure::Measured;

/// Enough for eight parts and more at two seconds a GOP and 25 frames a second.
const FRAMES_MIN: u64 = 500;
/// Frames between key frames, for all alike: what the encoder guest chooses at 25 frames a second.
const GOP_FRAMES: u32 = 50;

struct Options {
    film: PathBuf,
    runs: usize,
    lines: Vec<u32>,
    speeds: Vec<u32>,
    /// The speed at which the ladder is measured, if that is asked for.
    ladder: Option<u32>,
}

fn main() -> anyhow::Result<()> {
    let options = options()?;
    let folder = tempfile::tempdir()?;
    if let Some(speed) = options.ladder {
        let source = looped(&options.film, ladder::LINES_MAX, folder.path())?;
        return ladder::measure(&source, speed, options.runs);
    }
    let mut table = BTreeMap::new();
    for &lines in &options.lines {
        let source = looped(&options.film, lines, folder.path())?;
        let raw = folder.path().join(format!("{lines}.y4m"));
        film::make(&format!("-i {} -an -pix_fmt yuv420p", source.display()), &raw)?;
        for &speed in &options.speeds {
            for run in 0..options.runs {
                // In turn, so that a slow minute of the machine hits everybody.
                for (name, measured) in peers::all(&source, &raw, lines, speed, folder.path())? {
                    println!("{}", measured.json(name, lines, speed, run));
                    table.entry((lines, speed, name)).or_insert_with(Vec::new).push(measured);
                }
            }
        }
    }
    print_table(&table);
    Ok(())
}

fn print_table(table: &BTreeMap<(u32, u32, &'static str), Vec<Measured>>) {
    println!(
        "\nlines speed who            wall s   CPU s    bytes     PSNR   MiB  wall/ours CPU/ours"
    );
    for ((lines, speed, name), runs) in table {
        let median = Measured::median(runs);
        let ours = table.get(&(*lines, *speed, peers::OURS)).map(|runs| Measured::median(runs));
        let ratio = |own: f64, of: fn(&Measured) -> f64| match &ours {
            Some(ours) => own / of(ours),
            None => f64::NAN,
        };
        println!(
            "{lines:5} {speed:5} {name:14} {:6.1} {:7.1} {:9} {:7.2} {:5} {:9.2} {:8.2}",
            median.wall_secs,
            median.cpu_secs,
            median.bytes,
            median.psnr_db,
            median.peak_mib,
            ratio(median.wall_secs, |ours| ours.wall_secs),
            ratio(median.cpu_secs, |ours| ours.cpu_secs),
        );
    }
}

/// The film, as often after itself as it takes, at this height.
fn looped(film: &Path, lines: u32, folder: &Path) -> anyhow::Result<PathBuf> {
    let out = folder.join(format!("{lines}.mp4"));
    let times = FRAMES_MIN.div_ceil(film::frames(film)?);
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "error", "-y", "-stream_loop", &(times - 1).to_string(), "-i"]);
    ffmpeg.arg(film).args(["-an", "-vf", &format!("scale=-2:{lines}"), "-c:v", "libx264"]);
    ffmpeg.args(["-preset", "medium", "-crf", "12", "-pix_fmt", "yuv420p"]).arg(&out);
    backlot_tests::run(&mut ffmpeg)?;
    Ok(out)
}

fn options() -> anyhow::Result<Options> {
    let mut arguments = std::env::args().skip(1);
    let film = arguments.next().context("usage: backlot-bench-encode FILM.mp4 [--runs 3] ...")?;
    let mut options = Options {
        film: film.into(),
        runs: 3,
        lines: vec![360, 720],
        speeds: vec![10, 6],
        ladder: None,
    };
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{name} wants a value"))?;
        let list = || value.split(',').map(str::parse).collect::<Result<Vec<u32>, _>>();
        match name.as_str() {
            "--runs" => options.runs = value.parse()?,
            "--lines" => options.lines = list()?,
            "--speeds" => options.speeds = list()?,
            "--ladder" => options.ladder = Some(value.parse()?),
            _ => anyhow::bail!("unknown option {name}"),
        }
    }
    Ok(options)
}
