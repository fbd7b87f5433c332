//! Films made by ffmpeg, and what ffmpeg, ffprobe and dav1d say of films.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::{run, stdout};

/// Make a film: `arguments` are ffmpeg's, as a shell would split them, without the output.
///
/// # Errors
/// When ffmpeg fails.
pub fn make(arguments: &str, out: &Path) -> anyhow::Result<()> {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "error", "-y"]).args(arguments.split_whitespace()).arg(out);
    run(&mut ffmpeg)?;
    Ok(())
}

/// A film with motion and counters, H.264 with B-frames and stereo AAC, 25 frames a second.
///
/// # Errors
/// When ffmpeg fails.
pub fn synthetic(out: &Path, size: &str, seconds: u32) -> anyhow::Result<()> {
    make(
        &format!(
            "-f lavfi -i testsrc2=size={size}:rate=25:duration={seconds} \
             -f lavfi -i sine=frequency=440:sample_rate=48000:duration={seconds} \
             -c:v libx264 -preset veryfast -g 50 -bf 2 -pix_fmt yuv420p -ac 2 -c:a aac"
        ),
        out,
    )
}

/// sha256 over the packets of the first video track, in order.
///
/// # Errors
/// When ffmpeg cannot read the file.
pub fn packets_sha256(file: &Path) -> anyhow::Result<String> {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "error", "-i"]).arg(file);
    ffmpeg.args(["-map", "0:v:0", "-c", "copy", "-f", "streamhash", "-hash", "sha256", "-"]);
    let line = stdout(&mut ffmpeg)?;
    Ok(line.rsplit('=').next().context("a hash")?.to_owned())
}

/// How many frames the first video track decodes to.
///
/// # Errors
/// When ffprobe fails.
pub fn frames(file: &Path) -> anyhow::Result<u64> {
    let mut ffprobe = Command::new("ffprobe");
    ffprobe.args(["-v", "error", "-count_frames", "-select_streams", "v:0"]);
    ffprobe.args(["-show_entries", "stream=nb_read_frames", "-of", "csv=p=0"]).arg(file);
    Ok(stdout(&mut ffprobe)?.trim_end_matches(',').parse()?)
}

/// One entry of ffprobe for the first stream of a kind (`v` or `a`), such as `width`.
///
/// # Errors
/// When ffprobe fails.
pub fn probe(file: &Path, kind: &str, entry: &str) -> anyhow::Result<String> {
    let mut ffprobe = Command::new("ffprobe");
    ffprobe.args(["-v", "error", "-select_streams", &format!("{kind}:0")]);
    ffprobe.args(["-show_entries", &format!("stream={entry}"), "-of", "csv=p=0"]).arg(file);
    let said = stdout(&mut ffprobe)?;
    // A master playlist is several programs with the same streams: a line each.
    let first = said.lines().find(|line| !line.is_empty());
    Ok(first.unwrap_or_default().trim_end_matches(',').to_owned())
}

/// Fail unless ffmpeg decodes the whole file (or playlist) without a word of warning.
///
/// # Errors
/// With what ffmpeg said.
pub fn decodes_cleanly(file: &Path) -> anyhow::Result<()> {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "warning", "-i"]).arg(file);
    let output = run(ffmpeg.args(["-f", "null", "-"]))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(said.trim().is_empty(), "{}: {said}", file.display());
    Ok(())
}

/// Lowest PSNR of luma, in dB, over the frames of two films of the same length; the second is
/// scaled to the first.
///
/// # Errors
/// When ffmpeg fails or the films have different numbers of frames.
pub fn psnr_min(encoded: &Path, source: &Path) -> anyhow::Result<f64> {
    let (encoded_frames, source_frames) = (frames(encoded)?, frames(source)?);
    ensure!(encoded_frames == source_frames, "{encoded_frames} frames of {source_frames}");
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "error", "-i"]).arg(encoded).arg("-i").arg(source);
    // By number, not by time: films in different time bases would pair up wrongly at a rounding.
    ffmpeg.args([
        "-lavfi",
        "[0:v]settb=1/1000,setpts=N*40[a];[1:v]settb=1/1000,setpts=N*40[b];\
         [b][a]scale2ref=flags=bicubic[s][r];[r][s]psnr=stats_file=-",
        "-f",
        "null",
        "-",
    ]);
    let table = stdout(&mut ffmpeg)?;
    let values = table.lines().filter_map(|line| {
        line.split_whitespace().find_map(|cell| cell.strip_prefix("psnr_y:")).map(str::parse::<f64>)
    });
    let mut lowest = f64::INFINITY;
    for value in values {
        lowest = lowest.min(value?);
    }
    ensure!(lowest.is_finite(), "no frames were compared");
    Ok(lowest)
}
