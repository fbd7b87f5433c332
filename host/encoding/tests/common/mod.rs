//! What the tests share: a session driven from start to end as a guest does it.
#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "as in tests; clippy knows only functions with the attribute"
)]

use std::ops::Range;

use backlot_encoding::testing::moving_frame;
use backlot_encoding::{
    Chroma, Colour, Encoder, EncoderConfig, Packet, Picture, Rung, Session, Settings,
};
use rav1e::prelude as av1;

pub(crate) fn encoder(slots: usize) -> Encoder {
    Encoder::new(EncoderConfig { slots, niceness: 10 }).unwrap()
}

pub(crate) fn picture(width_px: u32, height_px: u32, bit_depth: u8, chroma: Chroma) -> Picture {
    Picture { width_px, height_px, bit_depth, chroma }
}

pub(crate) fn settings(
    picture: Picture,
    rungs: &[(u32, u32)],
    speed: u8,
    gop_frames: u32,
) -> Settings {
    let rung = |&(width_px, height_px): &(u32, u32)| Rung {
        name: format!("{height_px}p"),
        width_px,
        height_px,
        quantizer: 80,
    };
    Settings {
        picture,
        colour: Colour::BT709,
        frame_rate_num: 25,
        frame_rate_den: 1,
        speed,
        gop_frames,
        rungs: rungs.iter().map(rung).collect(),
    }
}

/// Push the film's frames `range` and take everything, packets in between as a muxer would.
pub(crate) async fn encode_range(
    encoder: &Encoder,
    settings: &Settings,
    range: Range<u64>,
) -> Vec<Packet> {
    let session = encoder.open(settings.clone()).await.unwrap();
    let mut packets = Vec::new();
    for number in range {
        session.push(moving_frame(&settings.picture, number)).await.unwrap();
        packets.extend(session.packets().await.unwrap());
    }
    session.finish().unwrap();
    drain(&session, &mut packets).await;
    packets
}

pub(crate) async fn drain(session: &Session, packets: &mut Vec<Packet>) {
    loop {
        let more = session.packets().await.unwrap();
        if more.is_empty() {
            return;
        }
        packets.extend(more);
    }
}

/// Frame numbers and data as rav1e gives them: one context, the input's own size, 8 bits 4:2:0.
pub(crate) fn rav1e_at_a_stretch(settings: &Settings, frames: u64) -> Vec<(u64, Vec<u8>)> {
    let rung = &settings.rungs[0];
    let (width, height) = (rung.width_px as usize, rung.height_px as usize);
    let mut config = av1::EncoderConfig::with_speed_preset(settings.speed);
    config.width = width;
    config.height = height;
    config.time_base = av1::Rational { num: 1, den: u64::from(settings.frame_rate_num) };
    config.chroma_sample_position = av1::ChromaSamplePosition::Vertical;
    config.color_description = Some(av1::ColorDescription {
        color_primaries: av1::ColorPrimaries::BT709,
        transfer_characteristics: av1::TransferCharacteristics::BT709,
        matrix_coefficients: av1::MatrixCoefficients::BT709,
    });
    config.level_idx = Some(0);
    config.min_key_frame_interval = u64::from(settings.gop_frames);
    config.max_key_frame_interval = u64::from(settings.gop_frames);
    config.quantizer = usize::from(rung.quantizer);
    config.speed_settings.scene_detection_mode = av1::SceneDetectionSpeed::None;
    config.speed_settings.transform.tx_domain_distortion = false;
    let mut context: av1::Context<u8> =
        av1::Config::new().with_encoder_config(config).new_context().unwrap();
    for number in 0..frames {
        let pushed = moving_frame(&settings.picture, number);
        let mut frame = context.new_frame();
        for (plane, samples) in frame.planes.iter_mut().zip([pushed.y, pushed.u, pushed.v]) {
            let width = width >> plane.cfg.xdec;
            plane.copy_from_raw_u8(&samples, width, 1);
        }
        context.send_frame(frame).unwrap();
    }
    context.flush();
    let mut packets = Vec::new();
    loop {
        match context.receive_packet() {
            Ok(packet) => packets.push((packet.input_frameno, packet.data)),
            Err(av1::EncoderStatus::Encoded) => (),
            Err(av1::EncoderStatus::LimitReached) => return packets,
            Err(status) => panic!("{status}"),
        }
    }
}
