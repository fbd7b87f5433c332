//! The invocation that encodes one part of the video.

use backlot_media::{Chroma, Frame, Index};
use backlot_sdk::{context, encoder};

use crate::decode;
use crate::fault::Fault;
use crate::messages::{PartDone, PartOrder, RungDone, Upload};
use crate::names;
use crate::plan::Picture;
use crate::rung::RungWriter;
use crate::store::{self, Sink, Source};
use crate::thumbnails::Thumbnails;
use crate::timeline::Timeline;

/// Media type of stored fragments.
const FRAGMENTS_TYPE: &str = "video/iso.segment";

/// Encode the part that the order names, unless it is stored already; the answer is the key of its
/// [`PartDone`].
pub fn handle(order: &PartOrder) -> Result<String, Fault> {
    let name = stored_name(order)?;
    let answer = format!("{}{name}.json", order.work);
    if store::is_stored(&answer)? {
        return Ok(answer);
    }

    let source = Source::open(&order.upload)?;
    let index = read_index(&order.index)?;
    let track = index.main_video()?;
    let timeline = Timeline::new(track)?;
    let part = order.part;

    let session = encoder::open(&settings(order))?;
    let mut rungs = Vec::new();
    let mut keys = Vec::new();
    for (number, rung) in (0..).zip(&order.rungs) {
        let key = format!("{}{name}-{}.m4s", order.work, rung.name);
        let config = session.config(number)?;
        let output = Sink::create(&key, FRAGMENTS_TYPE)?;
        rungs.push(RungWriter::new(&timeline, part, order.gop, rung, config, output)?);
        keys.push(key);
    }

    let mut thumbnails = Thumbnails::new(order);
    decode::each_frame(&source, track, part.first..part.last, |frame| {
        check_shape(&frame, &order.picture)?;
        thumbnails.look(&frame)?;
        session.push(&encoder::Frame { y: frame.y, u: frame.u, v: frame.v })?;
        drain(&session, order, &mut rungs).map(|_| ())
    })?;
    session.finish()?;
    while drain(&session, order, &mut rungs)? {}

    let mut done: Vec<RungDone> = Vec::new();
    for (rung, key) in rungs.into_iter().zip(keys) {
        let (rung, output) = rung.finish(key)?;
        output.finish()?;
        done.push(rung);
    }
    let tiles = thumbnails.store(&name)?;
    let done = PartDone { part, rungs: done, tiles };
    // Written last: where it is, the rest is.
    store::put(&answer, "application/json", &serde_json::to_vec(&done)?)?;
    Ok(answer)
}

/// The name under which a part is stored: whatever decides its bytes is in it.
fn stored_name(order: &PartOrder) -> Result<String, Fault> {
    let upload = Upload { key: String::new(), ..order.upload.clone() };
    let facts = serde_json::to_string(&PartOrder { upload, ..order.clone() })?;
    let digest = names::digest(&[&facts, &encoder::version(), env!("CARGO_PKG_VERSION")]);
    Ok(format!("part-{:04}-{digest}", order.part.index))
}

/// The index that the parent stored.
pub fn read_index(key: &str) -> Result<Index, Fault> {
    let bytes =
        store::get(key)?.ok_or_else(|| Fault::Passing(format!("the index {key} is missing")))?;
    Ok(Index::from_bytes(&bytes)?)
}

fn settings(order: &PartOrder) -> encoder::Settings {
    let picture = &order.picture;
    let narrow = |side: u32| side.div_ceil(2);
    let chroma = match picture.chroma {
        (width, _) if width == picture.width => encoder::Chroma::Yuv444,
        (_, height) if height == narrow(picture.height) => encoder::Chroma::Yuv420,
        _ => encoder::Chroma::Yuv422,
    };
    let colour = &picture.colour;
    encoder::Settings {
        picture: encoder::Picture {
            width_px: picture.width,
            height_px: picture.height,
            bit_depth: picture.bit_depth,
            chroma,
        },
        colour: encoder::Colour {
            primaries: colour.primaries,
            transfer: colour.transfer,
            matrix: colour.matrix,
            full_range: colour.full_range,
        },
        frame_rate_num: order.frame_rate.0,
        frame_rate_den: order.frame_rate.1,
        speed: order.speed,
        gop_frames: u32::try_from(order.gop).unwrap_or(u32::MAX),
        rungs: order
            .rungs
            .iter()
            .map(|rung| encoder::Rung {
                name: rung.name.clone(),
                width_px: rung.width,
                height_px: rung.height,
                quantizer: rung.quantizer,
            })
            .collect(),
    }
}

/// A film whose picture changes its shape on the way is not one that a track can hold.
fn check_shape(frame: &Frame, picture: &Picture) -> Result<(), Fault> {
    let chroma: Chroma = frame.chroma;
    let same = (frame.width, frame.height) == (picture.width, picture.height)
        && frame.bit_depth == picture.bit_depth
        && chroma.plane(frame.width, frame.height) == picture.chroma;
    if same {
        return Ok(());
    }
    Err(Fault::Publisher(format!(
        "a picture that changes within the film is not supported: frame {} has {}x{} pixels of {} \
         bits, the first has {}x{} of {}",
        frame.index,
        frame.width,
        frame.height,
        frame.bit_depth,
        picture.width,
        picture.height,
        picture.bit_depth
    )))
}

/// Take what packets there are, and say whether there were any.
fn drain(
    session: &encoder::Session,
    order: &PartOrder,
    rungs: &mut [RungWriter<'_, Sink>],
) -> Result<bool, Fault> {
    let packets = session.packets()?;
    for packet in &packets {
        let rung = usize::try_from(packet.rung).ok().and_then(|number| rungs.get_mut(number));
        let rung = rung.ok_or_else(|| {
            Fault::Passing(format!("the encoder answered for a rung {}", packet.rung))
        })?;
        rung.take(packet.frame, packet.key, &packet.data)?;
    }
    if packets.is_empty() {
        return Ok(false);
    }
    let strands: Vec<context::Progress> = order
        .rungs
        .iter()
        .zip(rungs)
        .map(|(rung, writer)| context::Progress {
            name: rung.name.clone(),
            done: writer.frames(),
            total: order.part.last - order.part.first,
            unit: "frames".to_owned(),
        })
        .collect();
    context::report_progress(&strands);
    Ok(true)
}
