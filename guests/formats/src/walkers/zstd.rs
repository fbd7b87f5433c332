//! Zstandard: RFC 8878, any number of frames and skippable frames.
//!
//! What cannot be known: flipped bits in frames that were written without a checksum or without
//! their size, skippable frames, and frames that are missing at the end.

use std::io;

use ruzstd::decoding::{
    BlockDecodingStrategy, FrameDecoder,
    errors::{FrameDecoderError, ReadFrameHeaderError},
};

use crate::{
    inflate::Budget,
    input::Reader,
    scan::Scan,
    stop::{Stop, ensure, invalid, unsupported},
};

/// Section 3.1.1.
const MAGIC: u32 = 0xFD2F_B528;
/// Section 3.1.2: 16 magic numbers of skippable frames.
const SKIPPABLE: u32 = 0x184D_2A50;
/// Inflated bytes after which the decoder is emptied: one block (section 3.1.1.2.4).
const STEP_BYTES: usize = 128 << 10;

/// Gives the decoder the bytes from an offset on, and remembers why it could not.
struct Source<'r, 'a> {
    reader: &'r mut Reader<'a>,
    at: u64,
    stop: Option<Stop>,
}

impl io::Read for Source<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.reader.peek(self.at, buffer.len()) {
            Ok(found) => {
                for (to, from) in buffer.iter_mut().zip(found) {
                    *to = *from;
                }
                self.at += found.len() as u64;
                Ok(found.len())
            }
            Err(stop) => {
                self.stop = Some(stop);
                Err(io::Error::other("the input could not be read"))
            }
        }
    }
}

pub(super) fn walk(scan: &mut Scan<'_>) -> Result<u64, Stop> {
    let (mut at, mut frames, mut inflated) = (0, 0_u64, 0);
    let mut budget = Budget::new(&scan.limits);
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(scan.limits.zstd_window_bytes);
    while at < scan.len() {
        let magic = match <[u8; 4]>::try_from(scan.reader.peek(at, 4)?) {
            Ok(magic) => u32::from_le_bytes(magic),
            Err(_) => break,
        };
        if magic & !15 == SKIPPABLE {
            let len = 8 + u64::from(scan.reader.u32_le(at + 4, "a skippable frame")?);
            let total = scan.len();
            ensure(at + len <= total, total, || "a skippable frame is cut off".to_owned())?;
            scan.met(0, "skippable frame", at, len)?;
            at += len;
            continue;
        }
        if magic != MAGIC {
            break;
        }
        let (end, given) = frame(scan, &mut decoder, &mut budget, at)?;
        inflated += given;
        frames += 1;
        at = end;
    }
    ensure(0 < frames, at, || "there is no frame".to_owned())?;
    scan.fact("frames", frames);
    scan.fact("inflated bytes", inflated);
    Ok(at)
}

/// Decodes a frame; gives its end and how many bytes it inflates to.
fn frame(
    scan: &mut Scan<'_>,
    decoder: &mut FrameDecoder,
    budget: &mut Budget,
    start: u64,
) -> Result<(u64, u64), Stop> {
    // Section 3.1.1.1.1: bits 6 and 7 and the single segment flag say whether the size is there.
    let descriptor = scan.reader.u8(start + 4, "a frame header")?;
    let sized = descriptor & 0xE0 != 0;
    ensure(descriptor & 8 == 0, start + 4, || "a reserved bit is set".to_owned())?;
    let mut source = Source { reader: &mut scan.reader, at: start, stop: None };
    let begun = decoder.reset(&mut source);
    begun.map_err(|error| fault(&mut source, start, &error))?;
    let (mut given, mut last) = (0_u64, start);
    loop {
        let strategy = BlockDecodingStrategy::UptoBytes(STEP_BYTES);
        let step = decoder.decode_blocks(&mut source, strategy);
        step.map_err(|error| fault(&mut source, last, &error))?;
        let drained = decoder.collect_to_writer(io::sink());
        let drained = drained.map_err(|error| invalid(last, error.to_string()))? as u64;
        budget.spend(source.at - last, drained, source.at)?;
        given += drained;
        last = source.at;
        if decoder.is_finished() {
            break;
        }
    }
    let (end, claimed) = (source.at, decoder.content_size());
    ensure(!sized || given == claimed, start, || format!("{given} bytes instead of {claimed}"))?;
    let stated = decoder.get_checksum_from_data();
    let right = stated.is_none() || stated == decoder.get_calculated_checksum();
    ensure(right, end.saturating_sub(4), || "the checksum is wrong".to_owned())?;
    scan.met(0, "frame", start, end - start)?;
    if stated.is_some() {
        let blocks = start + header_bytes(descriptor);
        scan.proved(1, "blocks and checksum", blocks, end.saturating_sub(blocks))?;
    }
    Ok((end, given))
}

/// Bytes of a frame's magic number and header, which its checksum does not cover (3.1.1.1).
fn header_bytes(descriptor: u8) -> u64 {
    let single = descriptor & 0x20 != 0;
    let dictionary = match descriptor & 3 {
        3 => 4,
        bytes => bytes.into(),
    };
    let size = match descriptor >> 6 {
        0 => u64::from(single),
        code => 1 << code,
    };
    5 + u64::from(!single) + dictionary + size
}

/// What the decoder refuses: a window over our limit, a dictionary, or a frame that is broken.
fn fault(source: &mut Source<'_, '_>, at: u64, error: &FrameDecoderError) -> Stop {
    if let Some(stop) = source.stop.take() {
        return stop;
    }
    let total = source.reader.len();
    match error {
        FrameDecoderError::WindowSizeTooBig { requested, max } => {
            unsupported(at, format!("a window of {requested} bytes is over the limit of {max}"))
        }
        FrameDecoderError::DictNotProvided { dict_id } => {
            unsupported(at, format!("dictionary {dict_id} is needed"))
        }
        FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { .. }) => {
            invalid(at, "a skippable frame where none can be")
        }
        _ if total <= source.at => invalid(total, "a frame is cut off"),
        error => invalid(at, format!("a frame is broken: {error}")),
    }
}
