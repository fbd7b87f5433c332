//! The capability as a guest sees it.

use wit::{Host, HostSession};

use super::*;
use crate::EncoderConfig;
use crate::testing::moving_frame;

fn settings() -> wit::Settings {
    wit::Settings {
        picture: wit::Picture {
            width_px: 64,
            height_px: 64,
            bit_depth: 8,
            chroma: wit::Chroma::Yuv420,
        },
        colour: wit::Colour { primaries: 1, transfer: 1, matrix: 1, full_range: false },
        frame_rate_num: 25,
        frame_rate_den: 1,
        speed: 10,
        gop_frames: 4,
        rungs: vec![wit::Rung {
            name: "64p".to_owned(),
            width_px: 64,
            height_px: 64,
            quantizer: 100,
        }],
    }
}

fn frame(number: u64) -> wit::Frame {
    let Picture { width_px, height_px, bit_depth, chroma } = Settings::from(settings()).picture;
    let Frame { y, u, v } =
        moving_frame(&Picture { width_px, height_px, bit_depth, chroma }, number);
    wit::Frame { y, u, v }
}

fn granted() -> (ResourceTable, EncodingCtx) {
    let encoder = Encoder::new(EncoderConfig { slots: 1, niceness: 10 }).unwrap();
    (ResourceTable::new(), EncodingCtx::granted(encoder))
}

#[tokio::test]
async fn a_guest_encodes_from_open_to_the_last_packet() {
    let (mut table, mut ctx) = granted();
    let mut view = EncodingView { table: &mut table, ctx: &mut ctx };
    let session = view.open(settings()).await.unwrap().unwrap();
    let handle = || Resource::new_borrow(session.rep());
    assert_eq!(view.config(handle(), 0).await.unwrap().unwrap()[0], 0x81);
    for number in 0..6 {
        view.push(handle(), frame(number)).await.unwrap().unwrap();
    }
    view.finish(handle()).await.unwrap().unwrap();
    let mut frames = Vec::new();
    loop {
        let packets = view.packets(handle()).await.unwrap().unwrap();
        if packets.is_empty() {
            break;
        }
        frames.extend(packets.iter().map(|packet| (packet.rung, packet.frame, packet.key)));
    }
    let expected: Vec<_> = (0..6).map(|number| (0, number, number % 4 == 0)).collect();
    assert_eq!(frames, expected);
    HostSession::drop(&mut view, session).await.unwrap();
    assert!(Duration::ZERO < ctx.cpu_time());
    assert!(table.is_empty(), "the session is left in the table");
}

#[tokio::test]
async fn without_the_grant_everything_is_denied() {
    let (told, denials) = std::sync::mpsc::channel();
    let on_denied = std::sync::Arc::new(move |text: &str| told.send(text.to_owned()).unwrap());
    let (mut table, mut ctx) = (ResourceTable::new(), EncodingCtx::denied(on_denied));
    let mut view = EncodingView { table: &mut table, ctx: &mut ctx };
    let opened = view.open(settings()).await.unwrap();
    assert!(matches!(opened, Err(wit::Error::Denied(_))), "{opened:?}");
    assert!(denials.try_recv().unwrap().contains("grant `encoding`"));
}

#[tokio::test]
async fn faults_have_their_case() {
    let (mut table, mut ctx) = granted();
    let mut view = EncodingView { table: &mut table, ctx: &mut ctx };
    let fast = view.open(wit::Settings { speed: 11, ..settings() }).await.unwrap();
    assert!(matches!(fast, Err(wit::Error::OverLimit(_))), "{fast:?}");
    let still = view.open(wit::Settings { gop_frames: 0, ..settings() }).await.unwrap();
    assert!(matches!(still, Err(wit::Error::Invalid(_))), "{still:?}");
    let session = view.open(settings()).await.unwrap().unwrap();
    let handle = || Resource::new_borrow(session.rep());
    assert!(matches!(view.config(handle(), 1).await.unwrap(), Err(wit::Error::Invalid(_))));
    let empty = wit::Frame { y: Vec::new(), u: Vec::new(), v: Vec::new() };
    assert!(matches!(view.push(handle(), empty).await.unwrap(), Err(wit::Error::Invalid(_))));
}

#[tokio::test]
async fn a_guest_has_so_many_sessions_and_never_waits_for_itself() {
    let (mut table, mut ctx) = granted();
    let mut view = EncodingView { table: &mut table, ctx: &mut ctx };
    let first = view.open(settings()).await.unwrap().unwrap();
    let _second = view.open(settings()).await.unwrap().unwrap();
    let third = view.open(settings()).await.unwrap();
    assert!(matches!(third, Err(wit::Error::OverLimit(_))), "{third:?}");
    HostSession::drop(&mut view, first).await.unwrap();
    view.open(settings()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_handle_that_is_not_a_session_traps() {
    let (mut table, mut ctx) = granted();
    let mut view = EncodingView { table: &mut table, ctx: &mut ctx };
    assert!(view.finish(Resource::new_borrow(7)).await.is_err());
}
