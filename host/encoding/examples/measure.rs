//! What the presets rest on: speed, size and likeness of each rav1e speed and quantizer on real
//! footage, one line of a markdown table for each.
//!
//! ```text
//! ffmpeg -i FILM -frames:v 60 -vf scale=-2:360:flags=lanczos -pix_fmt yuv420p film-360.y4m
//! cargo run --release -p backlot-encoding --example measure -- \
//!     --speeds 10,6 --quantizers 100 --frames 60 film-360.y4m
//! ```
//!
//! Frames a second are those of one core: frames by CPU time of the encoding thread. Likeness is
//! the PSNR of luma after `dav1d`. Memory is the peak beyond what the process had before.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use backlot_encoding::testing::{psnr, squared_error, write_ivf};
use backlot_encoding::{
    Chroma, Colour, Encoder, EncoderConfig, Frame, Packet, Picture, Rung, Settings,
};

/// Seconds of a GOP.
const GOP_SECONDS: u32 = 2;

struct Options {
    speeds: Vec<u8>,
    quantizers: Vec<u8>,
    frames: usize,
    films: Vec<String>,
}

struct Film {
    picture: Picture,
    rate: (u32, u32),
    frames: Vec<Frame>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let options = options(std::env::args().skip(1))?;
    println!(
        "| lines | speed | quantizer | fps a core | kbit/s | bytes | PSNR-Y dB | longest step ms | memory MB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for path in &options.films {
        let film = read_film(path, options.frames).with_context(|| path.clone())?;
        for &speed in &options.speeds {
            for &quantizer in &options.quantizers {
                println!("{}", measure(&film, speed, quantizer).await?);
            }
        }
    }
    Ok(())
}

async fn measure(film: &Film, speed: u8, quantizer: u8) -> Result<String> {
    let Picture { width_px, height_px, bit_depth, .. } = film.picture;
    let encoder = Encoder::new(EncoderConfig { slots: 1, niceness: 10 })?;
    let settings = Settings {
        picture: film.picture,
        colour: Colour::BT709,
        frame_rate_num: film.rate.0,
        frame_rate_den: film.rate.1,
        speed,
        gop_frames: (film.rate.0 * GOP_SECONDS).div_ceil(film.rate.1),
        rungs: vec![Rung { name: format!("{height_px}p"), width_px, height_px, quantizer }],
    };
    let memory_before = reset_peak_memory()?;
    let session = encoder.open(settings).await?;
    let mut packets: Vec<Packet> = Vec::new();
    for frame in &film.frames {
        session.push(frame.clone()).await?;
        packets.extend(session.packets().await?);
    }
    session.finish()?;
    loop {
        let more = session.packets().await?;
        if more.is_empty() {
            break;
        }
        packets.extend(more);
    }
    let cpu = session.cpu_time().as_secs_f64();
    let memory = memory_kilobytes("VmHWM:")?.saturating_sub(memory_before) / 1_024;
    let frames = film.frames.len() as f64;
    let bytes: usize = packets.iter().map(|packet| packet.data.len()).sum();
    let seconds = frames * f64::from(film.rate.1) / f64::from(film.rate.0);
    let kilobits = bytes as f64 * 8.0 / seconds / 1_000.0;
    let likeness = likeness(film, &packets, bit_depth)?;
    let step = encoder.counters().longest_step.as_millis();
    let fps = frames / cpu;
    Ok(format!(
        "| {height_px} | {speed} | {quantizer} | {fps:.1} | {kilobits:.0} | {bytes} | \
         {likeness:.2} | {step} | {memory} |"
    ))
}

/// PSNR of luma over all frames, decoded by `dav1d`.
fn likeness(film: &Film, packets: &[Packet], bit_depth: u8) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let (ivf, yuv) = (folder.path().join("film.ivf"), folder.path().join("film.yuv"));
    let size = (film.picture.width_px, film.picture.height_px);
    let packets: Vec<&Packet> = packets.iter().collect();
    write_ivf(BufWriter::new(File::create(&ivf)?), size, film.rate, &packets)?;
    let status = Command::new("dav1d")
        .args(["--quiet", "--muxer", "yuv", "--input"])
        .arg(&ivf)
        .arg("--output")
        .arg(&yuv)
        .status()
        .context("dav1d")?;
    ensure!(status.success(), "dav1d: {status}");
    let decoded = std::fs::read(&yuv)?;
    let mut decoded = decoded.chunks_exact(film.picture.frame_bytes());
    ensure!(decoded.len() == film.frames.len(), "dav1d gave {} frames", decoded.len());
    let (mut error, mut samples) = (0.0, 0.0);
    for (frame, decoded) in film.frames.iter().zip(&mut decoded) {
        let luma = decoded.get(..frame.y.len()).context("a short frame")?;
        error += squared_error(&frame.y, luma, bit_depth);
        samples += (frame.y.len() / film.picture.sample_bytes()) as f64;
    }
    Ok(psnr(error, samples, bit_depth))
}

/// Kilobytes the process has now, and from now on its peak is counted anew.
fn reset_peak_memory() -> Result<u64> {
    // proc(5): writing 5 resets the peak resident set.
    std::fs::write("/proc/self/clear_refs", "5")?;
    memory_kilobytes("VmRSS:")
}

fn memory_kilobytes(field: &str) -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).context("no such field")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn read_film(path: &str, frames_max: usize) -> Result<Film> {
    let mut input = BufReader::new(File::open(path)?);
    let mut header = String::new();
    input.read_line(&mut header)?;
    let (mut width_px, mut height_px, mut rate, mut bit_depth) = (0, 0, (25, 1), 8);
    for field in header.split_whitespace().skip(1) {
        let (tag, value) = field.split_at(1);
        match tag {
            "W" => width_px = value.parse()?,
            "H" => height_px = value.parse()?,
            "F" => {
                let (num, den) = value.split_once(':').context("frame rate")?;
                rate = (num.parse()?, den.parse()?);
            }
            "C" if value.starts_with("420p10") => bit_depth = 10,
            "C" => ensure!(value.starts_with("420"), "only 4:2:0, not {value}"),
            _ => (),
        }
    }
    let picture = Picture { width_px, height_px, bit_depth, chroma: Chroma::Yuv420 };
    let (chroma_width, chroma_height) = picture.chroma_size();
    let luma = width_px as usize * height_px as usize * picture.sample_bytes();
    let chroma = chroma_width as usize * chroma_height as usize * picture.sample_bytes();
    let mut frames = Vec::new();
    let mut line = String::new();
    while frames.len() < frames_max && 0 < input.read_line(&mut line)? {
        line.clear();
        let mut plane = |bytes| {
            let mut samples = vec![0; bytes];
            input.read_exact(&mut samples).map(|()| samples)
        };
        frames.push(Frame { y: plane(luma)?, u: plane(chroma)?, v: plane(chroma)? });
    }
    Ok(Film { picture, rate, frames })
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options> {
    let mut options =
        Options { speeds: vec![10, 6], quantizers: vec![100], frames: 60, films: Vec::new() };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--speeds" => options.speeds = numbers(&value()?)?,
            "--quantizers" => options.quantizers = numbers(&value()?)?,
            "--frames" => options.frames = value()?.parse()?,
            other if other.starts_with('-') => bail!("unknown option {other}"),
            _ => options.films.push(argument),
        }
    }
    ensure!(!options.films.is_empty(), "name at least one Y4M file");
    Ok(options)
}

fn numbers(list: &str) -> Result<Vec<u8>> {
    Ok(list.split(',').map(str::parse).collect::<Result<_, _>>()?)
}
