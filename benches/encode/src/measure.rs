//! What a run cost: wall and CPU time, and peak memory.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::{Value, json};

/// One run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) wall_secs: f64,
    pub(crate) cpu_secs: f64,
    /// Size of the encoded video.
    pub(crate) bytes: u64,
    /// Mean luma PSNR against the source.
    pub(crate) psnr_db: f64,
    /// Peak resident memory of the process.
    pub(crate) peak_mib: u64,
}

impl Measured {
    pub(crate) fn json(&self, name: &str, lines: u32, speed: u32, run: usize) -> Value {
        json!({
            "who": name, "lines": lines, "speed": speed, "run": run,
            "wall_secs": self.wall_secs, "cpu_secs": self.cpu_secs, "bytes": self.bytes,
            "psnr_db": self.psnr_db, "peak_mib": self.peak_mib,
        })
    }

    /// The median of each figure by itself.
    pub(crate) fn median(runs: &[Self]) -> Self {
        let middle = |of: fn(&Self) -> f64| {
            let mut values: Vec<f64> = runs.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
        };
        Self {
            wall_secs: middle(|run| run.wall_secs),
            cpu_secs: middle(|run| run.cpu_secs),
            bytes: middle(|run| run.bytes as f64) as u64,
            psnr_db: middle(|run| run.psnr_db),
            peak_mib: middle(|run| run.peak_mib as f64) as u64,
        }
    }
}

/// Run a program to its end; wall seconds, CPU seconds, peak MiB.
pub(crate) fn timed(command: &mut Command) -> anyhow::Result<(f64, f64, u64)> {
    let cpu_before = children_cpu_secs()?;
    let begun = Instant::now();
    let mut child = command.spawn().with_context(|| format!("starting {command:?}"))?;
    let mut peak = 0;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        // The kernel forgets it with the process, so it is asked while that runs.
        peak = peak_mib(child.id()).unwrap_or(peak);
        std::thread::sleep(Duration::from_millis(20));
    };
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok((begun.elapsed().as_secs_f64(), children_cpu_secs()? - cpu_before, peak))
}

/// CPU seconds of all ended children.
fn children_cpu_secs() -> anyhow::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let secs = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok(secs(usage.user_time()) + secs(usage.system_time()))
}

/// CPU seconds so far of a running process (proc(5): fields 14 and 15 of stat, in ticks of 10 ms).
pub(crate) fn cpu_secs(pid: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit_once(") ").context("a name in brackets")?.1;
    let ticks = after_name.split(' ').skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / 100.0)
}

/// Peak resident memory of a running process (proc(5): VmHWM).
pub(crate) fn peak_mib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib / 1024)
}

/// Mean luma PSNR of an encoded film against the source, frame by frame.
pub(crate) fn psnr_db(encoded: &Path, source: &Path) -> anyhow::Result<f64> {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "info", "-i"]).arg(encoded).arg("-i").arg(source);
    ffmpeg.args([
        "-lavfi",
        "[0:v]settb=1/1000,setpts=N*40[a];[1:v]settb=1/1000,setpts=N*40[b];[a][b]psnr",
        "-f",
        "null",
        "-",
    ]);
    let said = backlot_tests::run(&mut ffmpeg)?.stderr;
    let said = String::from_utf8_lossy(&said);
    let value = said.rsplit_once("PSNR y:").context("no PSNR")?.1;
    Ok(value.split_whitespace().next().context("no value")?.parse()?)
}
