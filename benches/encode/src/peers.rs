//! Who is measured: our pipeline, rav1e's command line, ffmpeg with libsvtav1.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use backlot_tests::server::Server;

use crate::GOP_FRAMES;
use crate::measure::{Measured, cpu_secs, peak_mib, psnr_db, timed};

/// How our rows are called.
pub(crate) const OURS: &str = "backlot";
const ENCODE_MAX: Duration = Duration::from_secs(3_600);

/// What the encoder guest chooses at its default quality (guests/encoder/src/settings.rs), for
/// everybody who counts in rav1e's quantizer.
fn quantizer(lines: u32) -> u32 {
    if lines <= 432 { 104 } else { 112 }
}

/// Measure everybody once.
pub(crate) fn all(
    source: &Path,
    raw: &Path,
    lines: u32,
    speed: u32,
    folder: &Path,
) -> anyhow::Result<Vec<(&'static str, Measured)>> {
    Ok(vec![
        (OURS, backlot(source, raw, lines, speed)?),
        ("rav1e", rav1e(raw, lines, speed, &[], folder)?),
        ("rav1e --tiles 2", rav1e(raw, lines, speed, &["--tiles", "2"], folder)?),
        ("svt-av1 (ffmpeg)", svt(raw, speed, folder)?),
    ])
}

/// A running server, warm: upload with an S3 client until the film is ready in these rungs, and
/// what is to be done with it then.
fn ready<T>(
    source: &Path,
    speed: u32,
    rungs: &str,
    then: impl FnOnce(&Server, f64, f64, &serde_json::Value) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let folder = tempfile::tempdir()?;
    let preset = match speed {
        10 => "fast",
        6 => "balanced",
        4 => "best",
        _ => bail!("no preset has speed {speed}"),
    };
    let settings = [("BACKLOT_ENCODER_PRESET", preset), ("BACKLOT_ENCODER_RUNGS", rungs)];
    let server = Server::start_with(folder.path(), &[], &settings)?;
    let cpu_before = cpu_secs(server.pid())?;
    let begun = Instant::now();
    server.upload(source, "uploads", "film.mp4")?;
    let job = server.settled("film.mp4", ENCODE_MAX)?;
    let wall_secs = begun.elapsed().as_secs_f64();
    let cpu_secs = cpu_secs(server.pid())? - cpu_before;
    ensure!(job.pointer("/state").is_some_and(|state| state == "ready"), "{job}");
    let answer = then(&server, wall_secs, cpu_secs, &job)?;
    server.stop()?;
    Ok(answer)
}

/// Wall and CPU seconds.
pub(crate) fn cost(source: &Path, speed: u32, rungs: &str) -> anyhow::Result<(f64, f64)> {
    ready(source, speed, rungs, |_, wall_secs, cpu_secs, _| Ok((wall_secs, cpu_secs)))
}

fn backlot(source: &Path, raw: &Path, lines: u32, speed: u32) -> anyhow::Result<Measured> {
    let rung = format!("{lines}p");
    ready(source, speed, &rung, |server, wall_secs, cpu_secs, job| {
        let peak_mib = peak_mib(server.pid()).context("the server is gone")?;
        let text = |name| job.get(name).and_then(|value| value.as_str()).context("a text");
        let path = format!("/content/{}/{}/video-{rung}.mp4", text("id")?, text("build")?);
        let (status, video) = server.get(&path)?;
        ensure!(status == 200, "{path}: {status}");
        let encoded = server.folder.join("video.mp4");
        fs::write(&encoded, &video)?;
        let bytes = video.len() as u64;
        Ok(Measured { wall_secs, cpu_secs, bytes, psnr_db: psnr_db(&encoded, raw)?, peak_mib })
    })
}

fn rav1e(
    raw: &Path,
    lines: u32,
    speed: u32,
    more: &[&str],
    folder: &Path,
) -> anyhow::Result<Measured> {
    let out = folder.join("rav1e.ivf");
    let gop = GOP_FRAMES.to_string();
    let mut command = Command::new("rav1e");
    command.arg(raw).args(["-y", "--output"]).arg(&out);
    command.args(["--speed", &speed.to_string(), "--quantizer", &quantizer(lines).to_string()]);
    command.args(["--keyint", &gop, "--min-keyint", &gop, "--no-scene-detection"]).args(more);
    finished(command.stdout(Stdio::null()).stderr(Stdio::null()), &out, raw)
}

fn svt(raw: &Path, speed: u32, folder: &Path) -> anyhow::Result<Measured> {
    let out = folder.join("svt.ivf");
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-y", "-i"]).arg(raw);
    command.args(["-c:v", "libsvtav1", "-preset", &speed.to_string(), "-qp", "35"]);
    command.args(["-g", &GOP_FRAMES.to_string()]).arg(&out).env("SVT_LOG", "1");
    finished(command.stderr(Stdio::null()), &out, raw)
}

fn finished(command: &mut Command, out: &Path, raw: &Path) -> anyhow::Result<Measured> {
    let (wall_secs, cpu_secs, peak_mib) = timed(command)?;
    let bytes = fs::metadata(out)?.len();
    Ok(Measured { wall_secs, cpu_secs, bytes, psnr_db: psnr_db(out, raw)?, peak_mib })
}
