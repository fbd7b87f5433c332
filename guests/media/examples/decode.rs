//! Decodes the video and the sound of a file and says how fast: `decode FILE [parts]`.

use std::{fs::File, os::unix::fs::FileExt, time::Instant};

use backlot_media::{AudioDecoder, Input, Limits, MediaError, VideoDecoder, index};

/// A file as an input.
struct FileInput(File, u64);

impl Input for FileInput {
    fn len(&self) -> u64 {
        self.1
    }

    fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>, MediaError> {
        let len = usize::try_from(self.1.saturating_sub(offset)).unwrap_or(len).min(len);
        let mut bytes = vec![0; len];
        let read = self.0.read_exact_at(&mut bytes, offset);
        read.map(|()| bytes).map_err(|error| MediaError::Input(error.to_string()))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("which file?")?;
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    let input = FileInput(file, len);
    let started = Instant::now();
    let found = index(&input, &Limits::default())?;
    println!("index in {:?}, stored in {} bytes", started.elapsed(), found.to_bytes()?.len());
    let track = found.main_video()?;
    println!("{:?}: {:?}, {} samples", track.codec, track.kind, track.samples.len());
    let started = Instant::now();
    let mut decoder = VideoDecoder::open(track, &input)?;
    let frames = decoder.plan().frames();
    decoder.decode_range(0..frames)?;
    while decoder.next_frame()?.is_some() {}
    let seconds = started.elapsed().as_secs_f64();
    println!("{frames} frames in {seconds:.2} s: {:.0} a second", frames as f64 / seconds);
    for track in found.audio_tracks() {
        let started = Instant::now();
        let mut decoder = AudioDecoder::open(track, &input)?;
        let mut samples = 0;
        while let Some(block) = decoder.next_block()? {
            samples += block.samples.len() / decoder.channels() as usize;
        }
        let (codec, rate, layout) = (&track.codec, decoder.sample_rate(), decoder.layout());
        println!("{codec:?} {rate} Hz {layout:?}: {samples} samples in {:?}", started.elapsed());
    }
    Ok(())
}
