//! Any bytes as a film whose first pictures and sound are decoded: frames or a reason.
#![no_main]

use backlot_fuzz::Bytes;
use backlot_media::{AudioDecoder, Limits, VideoDecoder, index};
use libfuzzer_sys::fuzz_target;

/// Pictures and blocks of sound that are decoded: what is wrong is mostly wrong at once.
const DECODED_MAX: u64 = 4;

fuzz_target!(|data: &[u8]| {
    let film = Bytes(data);
    let Ok(found) = index(&film, &Limits::default()) else { return };
    if let Ok(track) = found.main_video()
        && let Ok(mut decoder) = VideoDecoder::open(track, &film)
    {
        let frames = decoder.plan().frames().min(DECODED_MAX);
        if decoder.decode_range(0..frames).is_ok() {
            while let Ok(Some(_)) = decoder.next_frame() {}
        }
    }
    for track in found.audio_tracks() {
        let Ok(mut decoder) = AudioDecoder::open(track, &film) else { continue };
        for _ in 0..DECODED_MAX {
            if !matches!(decoder.next_block(), Ok(Some(_))) {
                break;
            }
        }
    }
});
