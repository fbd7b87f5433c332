//! The golden property: what a film's packets are does not depend on how the work was cut or who
//! did it.

mod common;

use backlot_encoding::{Chroma, Encoder, EncoderConfig, Packet, Settings};
use common::{encode_range, encoder, picture, settings};

/// Packets by rung, then frame, with session-relative frame numbers moved to the film's.
async fn in_parts(encoder: &Encoder, settings: &Settings, frames: u64, part: u64) -> Vec<Packet> {
    let mut all = Vec::new();
    let mut start = 0;
    while start < frames {
        let end = frames.min(start + part);
        let mut packets = encode_range(encoder, settings, start..end).await;
        for packet in &mut packets {
            packet.frame += start;
        }
        all.extend(packets);
        start = end;
    }
    sorted(all)
}

fn sorted(mut packets: Vec<Packet>) -> Vec<Packet> {
    packets.sort_by_key(|packet| (packet.rung, packet.frame));
    packets
}

/// One session over the film equals sessions over its parts, byte for byte.
async fn check_parts(settings: Settings, frames: u64, parts: &[u64]) {
    let encoder = encoder(2);
    let whole = sorted(encode_range(&encoder, &settings, 0..frames).await);
    assert_eq!(whole.len() as u64, frames * settings.rungs.len() as u64);
    for packet in &whole {
        let at_start = packet.frame.is_multiple_of(u64::from(settings.gop_frames));
        assert_eq!(packet.key, at_start, "frame {}", packet.frame);
    }
    for &part in parts {
        assert_eq!(part % u64::from(settings.gop_frames), 0, "parts are whole GOPs");
        let parts = in_parts(&encoder, &settings, frames, part).await;
        assert!(parts == whole, "parts of {part} frames give other packets");
    }
}

#[tokio::test]
async fn a_film_in_parts_is_the_film() {
    let picture = picture(320, 180, 8, Chroma::Yuv420);
    let settings = settings(picture, &[(320, 180)], 10, 12);
    check_parts(settings, 53, &[12, 24]).await;
}

#[tokio::test]
async fn two_rungs_in_parts_are_the_film() {
    let picture = picture(321, 181, 8, Chroma::Yuv420);
    let settings = settings(picture, &[(256, 144), (128, 72)], 10, 10);
    check_parts(settings, 41, &[10, 20]).await;
}

#[tokio::test]
async fn ten_bits_in_parts_are_the_film() {
    let picture = picture(256, 144, 10, Chroma::Yuv422);
    let settings = settings(picture, &[(192, 108)], 10, 8);
    check_parts(settings, 25, &[8, 16]).await;
}

#[tokio::test]
async fn a_slow_preset_in_parts_is_the_film() {
    let picture = picture(160, 90, 8, Chroma::Yuv420);
    let settings = settings(picture, &[(160, 90)], 4, 9);
    check_parts(settings, 30, &[9, 18]).await;
}

#[tokio::test]
async fn gops_of_one_and_two_frames_are_the_film() {
    let picture = picture(64, 64, 8, Chroma::Yuv420);
    check_parts(settings(picture, &[(64, 64)], 10, 1), 5, &[1, 2]).await;
    check_parts(settings(picture, &[(64, 64)], 10, 2), 7, &[2, 4]).await;
}

#[tokio::test]
async fn slots_and_neighbours_do_not_change_a_byte() {
    let picture = picture(192, 108, 8, Chroma::Yuv420);
    let settings = settings(picture, &[(192, 108), (96, 54)], 10, 10);
    let alone = sorted(encode_range(&encoder(1), &settings, 0..35).await);
    assert_eq!(alone.len(), 70);

    let two = encoder(2);
    let mut tasks = Vec::new();
    for start in [0, 0, 100] {
        let (encoder, settings) = (two.clone(), settings.clone());
        tasks.push(tokio::spawn(async move {
            sorted(encode_range(&encoder, &settings, start..start + 35).await)
        }));
    }
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap());
    }
    assert!(results[0] == alone, "two slots change the packets");
    assert!(results[1] == alone, "a session beside another changes the packets");
    assert!(results[2] != alone, "other frames must give other packets");
}

/// The reference is rav1e itself with one context over the whole film, as its command line uses it:
/// an encoder for each GOP must not cost a byte.
#[tokio::test]
async fn a_session_is_what_rav1e_makes_at_a_stretch() {
    let picture = picture(320, 180, 8, Chroma::Yuv420);
    let settings = settings(picture, &[(320, 180)], 10, 12);
    let ours = encode_range(&encoder(EncoderConfig::default().slots), &settings, 0..40).await;
    let theirs = common::rav1e_at_a_stretch(&settings, 40);
    assert_eq!(ours.len(), theirs.len());
    for (packet, (frame, data)) in ours.iter().zip(&theirs) {
        assert_eq!(packet.frame, *frame);
        // rav1e's own packet begins with a temporal delimiter.
        assert!(packet.data == data[2..], "frame {frame} differs");
    }
}
