//! Sessions from the outside: waiting, limits, order, cancelling, accounting.

mod common;

use std::time::{Duration, Instant};

use backlot_encoding::testing::moving_frame;
use backlot_encoding::{
    Chroma, CpuAccount, EncodeError, Frame, QUEUE_FRAMES_MAX, SESSIONS_PER_SLOT,
};
use common::{drain, encode_range, encoder, picture, settings};

#[tokio::test]
async fn frames_come_in_order_for_each_rung() {
    let picture = picture(128, 72, 8, Chroma::Yuv420);
    let settings = settings(picture, &[(128, 72), (64, 36), (32, 18)], 10, 7);
    let packets = encode_range(&encoder(2), &settings, 0..23).await;
    for rung in 0..3 {
        let frames: Vec<u64> =
            packets.iter().filter(|packet| packet.rung == rung).map(|p| p.frame).collect();
        assert_eq!(frames, (0..23).collect::<Vec<_>>(), "rung {rung}");
    }
    for packet in &packets {
        assert_ne!(packet.data[0] >> 3, 2, "begins with a temporal delimiter");
        assert_eq!(packet.key, packet.frame % 7 == 0);
    }
}

#[tokio::test]
async fn no_frames_give_no_packets() {
    let settings = settings(picture(64, 64, 8, Chroma::Yuv420), &[(64, 64)], 10, 10);
    assert!(encode_range(&encoder(1), &settings, 0..0).await.is_empty());
}

#[tokio::test]
async fn the_box_is_there_before_the_first_frame() {
    let picture = picture(1_280, 720, 8, Chroma::Yuv420);
    let session = encoder(1).open(settings(picture, &[(1_280, 720)], 10, 50)).await.unwrap();
    let av1c = session.config(0).unwrap();
    // Marker and version; profile 0 and level 3.1 (index 5); Main tier, 8 bits, 4:2:0, left chroma.
    assert_eq!(av1c[..4], [0x81, 0x05, 0x0d, 0x00]);
    // A sequence header OBU with its size, filling the box.
    assert_eq!(av1c[4], 0x0a);
    assert_eq!(usize::from(av1c[5]), av1c.len() - 6);
    assert_eq!(
        session.config(1),
        Err(EncodeError::Invalid { what: "rung", why: "1 of 1".to_owned() })
    );
}

/// The header that muxers get beforehand is the one in the stream, for every shape. A session
/// fails if it is not, so that packets are the proof.
#[tokio::test]
async fn the_announced_header_is_the_streams() {
    let encoder = encoder(2);
    for (size, bit_depth, speed) in [
        ((16, 16), 8, 10),
        ((30, 64), 8, 6),
        ((64, 64), 10, 6),
        ((130, 66), 8, 7),
        ((256, 256), 10, 8),
    ] {
        let picture = picture(size.0, size.1, bit_depth, Chroma::Yuv420);
        let mut settings = settings(picture, &[size], speed, 10);
        settings.colour.full_range = bit_depth == 10;
        if speed == 8 {
            settings.colour = backlot_encoding::Colour::UNSPECIFIED;
        }
        // A rate that only a level with a tier bit allows.
        settings.frame_rate_num = if speed == 7 { 240 } else { 25 };
        let session = encoder.open(settings.clone()).await.unwrap();
        let header = session.config(0).unwrap()[4..].to_vec();
        drop(session);
        let packets = encode_range(&encoder, &settings, 0..1).await;
        assert!(packets[0].data.starts_with(&header), "{size:?}");
    }
}

#[tokio::test]
async fn wrong_frames_are_refused_and_the_session_goes_on() {
    let shape = picture(64, 64, 8, Chroma::Yuv420);
    let session = encoder(1).open(settings(shape, &[(64, 64)], 10, 10)).await.unwrap();
    let small = moving_frame(&picture(62, 64, 8, Chroma::Yuv420), 0);
    assert!(matches!(session.push(small).await, Err(EncodeError::Invalid { .. })));
    assert!(matches!(session.push(Frame::default()).await, Err(EncodeError::Invalid { .. })));
    session.push(moving_frame(&shape, 0)).await.unwrap();
    session.finish().unwrap();
    session.finish().unwrap();
    let late = session.push(moving_frame(&shape, 1)).await;
    assert!(matches!(late, Err(EncodeError::Invalid { what: "frame", .. })), "{late:?}");
    let mut packets = Vec::new();
    drain(&session, &mut packets).await;
    assert_eq!(packets.len(), 1);
    assert_eq!(session.packets().await, Ok(Vec::new()), "asking again is no mistake");
}

#[tokio::test]
async fn pushing_waits_for_the_slowest_rung() {
    let shape = picture(320, 180, 8, Chroma::Yuv420);
    let session = encoder(1).open(settings(shape, &[(320, 180)], 2, 200)).await.unwrap();
    let frame = moving_frame(&shape, 0);
    let start = Instant::now();
    let mut waited = false;
    for _ in 0..200 {
        let before = Instant::now();
        session.push(frame.clone()).await.unwrap();
        waited |= Duration::from_millis(5) < before.elapsed();
        if waited {
            break;
        }
    }
    assert!(waited, "{} frames went in at once after {:?}", QUEUE_FRAMES_MAX, start.elapsed());
}

#[tokio::test]
async fn sessions_are_bounded_and_the_next_waits_for_one_to_end() {
    let encoder = encoder(1);
    let shape = settings(picture(64, 64, 8, Chroma::Yuv420), &[(64, 64)], 10, 10);
    let mut open = Vec::new();
    for _ in 0..SESSIONS_PER_SLOT {
        open.push(encoder.open(shape.clone()).await.unwrap());
    }
    let account = CpuAccount::default();
    let refused = encoder.try_open_for(shape.clone(), &account).err();
    assert!(matches!(refused, Some(EncodeError::OverLimit { limit: 2, .. })), "{refused:?}");
    let waiting = tokio::spawn({
        let (encoder, shape) = (encoder.clone(), shape.clone());
        async move { encoder.open(shape).await.map(drop) }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    open.pop();
    waiting.await.unwrap().unwrap();
    assert_eq!(encoder.counters().sessions, 1);
}

#[tokio::test]
async fn dropping_returns_at_once_and_frees_the_slot_for_others() {
    let encoder = encoder(1);
    let shape = picture(640, 360, 8, Chroma::Yuv420);
    let slow = encoder.open(settings(shape, &[(640, 360)], 6, 200)).await.unwrap();
    for number in 0..45 {
        slow.push(moving_frame(&shape, number)).await.unwrap();
    }
    let start = Instant::now();
    drop(slow);
    let dropped = start.elapsed();
    assert!(dropped < Duration::from_millis(20), "{dropped:?}");

    // One slot: the next session gets its packet as soon as the step in progress has ended.
    let small = settings(picture(64, 64, 8, Chroma::Yuv420), &[(64, 64)], 10, 10);
    assert_eq!(encode_range(&encoder, &small, 0..3).await.len(), 3);
}

#[tokio::test]
async fn a_push_that_is_given_up_pushes_nothing() {
    let shape = picture(320, 180, 8, Chroma::Yuv420);
    let session = encoder(1).open(settings(shape, &[(320, 180)], 6, 300)).await.unwrap();
    // Made beforehand and pushed without a pause: the queue must fill up.
    let frames: Vec<_> = (0..40).map(|number| moving_frame(&shape, number)).collect();
    let mut pushed = 0;
    for frame in frames {
        if tokio::time::timeout(Duration::ZERO, session.push(frame)).await.is_ok_and(|r| r.is_ok())
        {
            pushed += 1;
        }
    }
    session.finish().unwrap();
    let mut packets = Vec::new();
    drain(&session, &mut packets).await;
    assert!(0 < pushed && pushed < 40, "{pushed}");
    assert_eq!(packets.len(), pushed);
}

#[tokio::test]
async fn time_is_accounted_to_the_session_and_its_owner() {
    let encoder = encoder(2);
    let shape = picture(320, 180, 8, Chroma::Yuv420);
    let owner = CpuAccount::default();
    let mut sessions = Duration::ZERO;
    for _ in 0..2 {
        let settings = settings(shape, &[(320, 180), (160, 90)], 10, 10);
        let session = encoder.open_for(settings, &owner).await.unwrap();
        for number in 0..10 {
            session.push(moving_frame(&shape, number)).await.unwrap();
        }
        session.finish().unwrap();
        let mut packets = Vec::new();
        drain(&session, &mut packets).await;
        assert!(Duration::from_millis(5) < session.cpu_time());
        assert_eq!(session.packets_made(), [10, 10]);
        sessions += session.cpu_time();
    }
    assert_eq!(owner.total(), sessions);
    let counters = encoder.counters();
    assert_eq!(counters.cpu, sessions);
    assert_eq!((counters.packets, counters.sessions), (40, 0));
    assert!(counters.longest_step <= sessions);
}
