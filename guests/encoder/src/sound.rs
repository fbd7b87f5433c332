//! The invocation that makes one audio track: passed on as it is, encoded as Opus, or both.

use std::ops::Range;

use backlot_media::{AudioDecoder, Codec, Input, MediaError, Track};
use backlot_packaging::fragment::{self, Fragment, Sample};
use backlot_packaging::track::OpusHead;
use backlot_sdk::context;

use crate::fault::Fault;
use crate::messages::{SoundDone, SoundOrder, StreamCodec, StreamDone};
use crate::opus::{OPUS_RATE, OpusStream};
use crate::packets::{self, Selection};
use crate::part::read_index;
use crate::store::{self, Sink, Source};

/// Length of a fragment: about that of a group of pictures.
const FRAGMENT_SECS: u64 = 2;
/// Media type of stored fragments.
const FRAGMENTS_TYPE: &str = "audio/iso.segment";
/// Most bytes of a packet: those of eight channels of AAC (ISO/IEC 14496-3, 4.5.3), twice.
const PACKET_BYTES_MAX: u32 = 2 * 8 * 6_144 / 8 * 4;

/// Bytes that are read at once.
const WINDOW_BYTES: usize = 256 << 10;

/// Make the track that the order names, unless it is stored already; the answer is the key of its
/// [`SoundDone`].
pub fn handle(order: &SoundOrder) -> Result<String, Fault> {
    let answer = format!("{}audio-{}.json", order.work, order.track);
    if store::is_stored(&answer)? {
        return Ok(answer);
    }
    let source = Source::open(&order.upload)?;
    let index = read_index(&order.index)?;
    let track = index
        .tracks
        .get(order.track)
        .ok_or_else(|| Fault::Passing(format!("the index has no track {}", order.track)))?;
    let key = |suffix: &str| format!("{}audio-{}-{suffix}.m4s", order.work, order.track);
    let mut streams = Vec::new();
    match &track.codec {
        Codec::Opus => streams.push(pass_on(&source, track, &key("opus"), StreamCodec::Opus)?),
        Codec::Aac => {
            streams.push(pass_on(&source, track, &key("aac"), StreamCodec::Aac)?);
            match encode(&source, track, &key("opus")) {
                Ok(stream) => streams.push(stream),
                // What plays in AAC is worth more than no film; the log says what is missing.
                Err(Fault::Publisher(reason)) => {
                    eprintln!("track {} has no Opus: {reason}", track.id);
                }
                Err(other) => return Err(other),
            }
        }
        Codec::Other(name) => {
            return Err(MediaError::Unsupported { what: format!("{name} sound") }.into());
        }
        _ => return Err(Fault::Passing(format!("track {} is not sound", order.track))),
    }
    streams.retain(|stream| !stream.fragments.is_empty());
    let done = SoundDone { language: track.language.clone(), streams };
    // Written last: where it is, the rest is.
    store::put(&answer, "application/json", &serde_json::to_vec(&done)?)?;
    Ok(answer)
}

/// Fragments of one stream, as they grow.
struct StreamWriter {
    sink: Sink,
    key: String,
    timescale: u32,
    next: u64,
    samples: Vec<Sample>,
    data: Vec<u8>,
    fragments: Vec<Fragment>,
}

impl StreamWriter {
    fn new(key: &str, timescale: u32, start: u64) -> Result<Self, Fault> {
        Ok(Self {
            sink: Sink::create(key, FRAGMENTS_TYPE)?,
            key: key.to_owned(),
            timescale,
            next: start,
            samples: Vec::new(),
            data: Vec::new(),
            fragments: Vec::new(),
        })
    }

    fn take(&mut self, packet: &[u8], duration: u32) -> Result<(), Fault> {
        let size = u32::try_from(packet.len())
            .map_err(|_| Fault::Passing("a packet of more than 4 GiB".to_owned()))?;
        self.samples.push(Sample { duration, size, key: true });
        self.data.extend_from_slice(packet);
        let length: u64 = self.samples.iter().map(|sample| u64::from(sample.duration)).sum();
        if u64::from(self.timescale) * FRAGMENT_SECS <= length {
            self.end_fragment()?;
        }
        Ok(())
    }

    fn end_fragment(&mut self) -> Result<(), Fault> {
        if self.samples.is_empty() {
            return Ok(());
        }
        let sequence = u32::try_from(self.fragments.len() + 1).unwrap_or(u32::MAX);
        let bytes = fragment::write(sequence, self.next, &self.samples, &self.data)?;
        let duration = self.samples.iter().map(|sample| u64::from(sample.duration)).sum();
        self.fragments.push(Fragment {
            start: self.next,
            duration,
            samples: u32::try_from(self.samples.len()).unwrap_or(u32::MAX),
            offset: self.sink.bytes(),
            bytes: bytes.len() as u64,
        });
        self.sink.write(&bytes)?;
        self.next += duration;
        self.samples.clear();
        self.data.clear();
        Ok(())
    }

    fn finish(
        mut self,
        codec: StreamCodec,
        config: &[u8],
        (channels, sample_rate): (u8, u32),
        skip: u64,
    ) -> Result<StreamDone, Fault> {
        self.end_fragment()?;
        let done = StreamDone {
            key: self.key,
            bytes: self.sink.bytes(),
            codec,
            config: hex::encode(config),
            channels,
            sample_rate,
            timescale: self.timescale,
            skip,
            fragments: self.fragments,
        };
        self.sink.finish()?;
        Ok(done)
    }
}

/// Pass the source's own packets on.
fn pass_on(
    source: &Source,
    track: &Track,
    key: &str,
    codec: StreamCodec,
) -> Result<StreamDone, Fault> {
    let mut window = Window::new(source);
    let selection = packets::select(track, |number| {
        Ok(packets::opus_packet_samples(&window.packet(track, number)?))
    })?;
    let mut writer = StreamWriter::new(key, selection.timescale, selection.start)?;
    for &(number, duration) in &selection.packets {
        writer.take(&window.packet(track, number)?, duration)?;
    }
    let (config, channels) = configuration(source, track, codec, &selection)?;
    writer.finish(codec, &config, (channels, selection.timescale), selection.skip)
}

/// The configuration that goes with passed on packets, and their channels.
fn configuration(
    source: &Source,
    track: &Track,
    codec: StreamCodec,
    selection: &Selection,
) -> Result<(Vec<u8>, u8), Fault> {
    if codec == StreamCodec::Opus {
        let head = packets::opus_head(track, selection)?;
        return Ok((head_bytes(&head), head.channels));
    }
    // The decoder knows the channels where the container leaves them to the configuration.
    let channels = match AudioDecoder::open(track, source) {
        Ok(decoder) => decoder.channels(),
        Err(_) => track.audio().map_or(2, |info| info.channels),
    };
    Ok((track.config.clone(), u8::try_from(channels).unwrap_or(u8::MAX)))
}

/// A stretch of the source that was read in one call: an hour of sound has 180,000 packets, and a
/// call for each would take longer than what is done with it.
struct Window<'a> {
    source: &'a Source,
    start: u64,
    data: Vec<u8>,
}

impl<'a> Window<'a> {
    fn new(source: &'a Source) -> Self {
        Self { source, start: 0, data: Vec::new() }
    }

    /// A packet of the track, with what its container leaves out.
    fn packet(&mut self, track: &Track, number: usize) -> Result<Vec<u8>, Fault> {
        let damaged = |what: &str| Fault::Publisher(format!("the file is damaged: {what}"));
        let sample = track.samples.get(number).ok_or_else(|| damaged("a packet is missing"))?;
        if PACKET_BYTES_MAX < sample.size {
            return Err(damaged(&format!("a packet of sound of {} bytes", sample.size)));
        }
        let data = self.read(sample.offset, sample.size as usize)?;
        let data = data.ok_or_else(|| damaged("it ends in the middle of its sound"))?;
        Ok([track.prefix.as_slice(), data].concat())
    }

    /// None where the source has not so much.
    fn read(&mut self, offset: u64, len: usize) -> Result<Option<&[u8]>, Fault> {
        if self.within(offset, len).is_none() {
            self.data = self.source.read_at(offset, len.max(WINDOW_BYTES))?;
            self.start = offset;
        }
        Ok(self.within(offset, len).and_then(|range| self.data.get(range)))
    }

    fn within(&self, offset: u64, len: usize) -> Option<Range<usize>> {
        let from = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        let to = from.checked_add(len)?;
        (to <= self.data.len()).then_some(from..to)
    }
}

/// Decode a track and encode it as Opus.
fn encode(source: &Source, track: &Track, key: &str) -> Result<StreamDone, Fault> {
    let mut decoder = AudioDecoder::open(track, source)?;
    let rate = decoder.sample_rate();
    let channels = decoder.channels().max(1) as usize;
    let mut stream = OpusStream::new(rate, decoder.layout())?;
    let (skip, opus_channels) = (stream.pre_skip(), stream.channels());
    let begin = decoder.start() * u64::from(OPUS_RATE) / u64::from(rate.max(1));
    let mut writer = StreamWriter::new(key, OPUS_RATE, begin)?;
    let total_ms = total_ms(track);
    while let Some(block) = decoder.next_block()? {
        let next = block.start + (block.samples.len() / channels) as u64;
        stream.push(&block.samples, |packet, duration| writer.take(packet, duration))?;
        let done = next * 1_000 / u64::from(rate.max(1));
        report(done.min(total_ms), total_ms);
    }
    stream.finish(|packet, duration| writer.take(packet, duration))?;
    let head = OpusHead {
        channels: opus_channels,
        pre_skip: skip,
        input_sample_rate: rate,
        gain: 0,
        mapping: (0, Vec::new()),
    };
    writer.finish(
        StreamCodec::Opus,
        &head_bytes(&head),
        (opus_channels, OPUS_RATE),
        u64::from(skip),
    )
}

/// An OpusHead without its magic (RFC 7845, section 5.1).
fn head_bytes(head: &OpusHead) -> Vec<u8> {
    let mut bytes = vec![1, head.channels];
    bytes.extend_from_slice(&head.pre_skip.to_le_bytes());
    bytes.extend_from_slice(&head.input_sample_rate.to_le_bytes());
    bytes.extend_from_slice(&head.gain.to_le_bytes());
    bytes.push(head.mapping.0);
    bytes.extend_from_slice(&head.mapping.1);
    bytes
}

fn total_ms(track: &Track) -> u64 {
    let last = track.samples.last();
    let end = last.map_or(0, |last| last.pts.saturating_add(i64::from(last.duration)));
    let ms = i128::from(end - track.edit.start) * 1_000 / i128::from(track.timescale.max(1));
    u64::try_from(ms).unwrap_or(0)
}

fn report(done: u64, total: u64) {
    context::report_progress(&[context::Progress {
        name: "audio".to_owned(),
        done,
        total,
        unit: "ms".to_owned(),
    }]);
}
