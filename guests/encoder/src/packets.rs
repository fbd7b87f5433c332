//! The packets of an audio track that are passed on as they are: which ones, and when.

use backlot_media::{Codec, Track};
use backlot_packaging::track::OpusHead;

use crate::fault::Fault;
use crate::opus::OPUS_RATE;

/// Packets kept before the first that is heard, so that the decoder is in its stride: AAC needs
/// one (ISO/IEC 14496-3, overlap of windows), Opus 80 ms (RFC 7845, section 4.6), which are four
/// of the usual 20 ms.
const AAC_PREROLL_PACKETS: usize = 2;
const OPUS_PREROLL_PACKETS: usize = 4;
/// Lengths of AAC packets in samples (ISO/IEC 14496-3, 4.5.2.1), also with doubled rate.
const AAC_PACKET_SAMPLES: [u64; 4] = [1_024, 960, 2_048, 1_920];

/// What to pass on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Ticks in a second.
    pub timescale: u32,
    /// Decode time of the first packet.
    pub start: u64,
    /// Ticks at the begin that are not presented.
    pub skip: u64,
    /// The packets: their number in the track, and how long each lasts.
    pub packets: Vec<(usize, u32)>,
}

/// Choose the packets of an AAC or Opus track. `opus_samples` gives the length of an Opus packet.
pub fn select(
    track: &Track,
    mut opus_samples: impl FnMut(usize) -> Result<u32, Fault>,
) -> Result<Selection, Fault> {
    let is_opus = track.codec == Codec::Opus;
    let rate = match (is_opus, track.audio()) {
        (false, Some(info)) if 0 < info.sample_rate => info.sample_rate,
        _ => OPUS_RATE,
    };
    let scale = |ticks: i64| -> i64 {
        let (rate, timescale) = (i128::from(rate), i128::from(track.timescale.max(1)));
        // To the nearest: times in milliseconds are off by half of one.
        let scaled = (i128::from(ticks) * rate * 2 + timescale).div_euclid(timescale * 2);
        i64::try_from(scaled).unwrap_or(i64::MAX)
    };
    // Without an edit list or a codec delay in the container, the codec's own word counts.
    let stated = match (is_opus, track.edit.skip) {
        (true, 0) => i64::from(header(track)?.pre_skip),
        (_, skip) => scale(skip),
    };
    let unstated = if track.edit.skip == 0 { stated } else { 0 };
    let times: Vec<i64> =
        track.samples.iter().map(|sample| scale(sample.pts).saturating_sub(unstated)).collect();
    let aac_samples = aac_packet_samples(track, &times, scale);
    let begin = times.first().map_or(0, |first| first.saturating_add(stated));
    let duration = track.edit.duration.map(|ticks| i64::try_from(ticks).unwrap_or(i64::MAX));

    // Times that are where the packets before them end, but for the container's rounding, are
    // there exactly; a real gap stays one.
    let mut exact: Vec<(i64, i64)> = Vec::with_capacity(times.len());
    for (number, &time) in times.iter().enumerate() {
        let samples = i64::from(if is_opus { opus_samples(number)? } else { aac_samples }).max(1);
        let at = match exact.last() {
            Some(&(before, length)) => {
                let follows = before.saturating_add(length);
                if (follows - time).abs() <= samples { follows } else { time.max(follows) }
            }
            None => time,
        };
        exact.push((at, samples));
    }
    let padding = Some(scale(track.edit.padding)).filter(|&padding| 0 < padding);
    let media_end = exact.last().map_or(0, |&(at, samples)| at.saturating_add(samples));
    let end = duration
        .map(|duration| begin.saturating_add(scale(duration)))
        .or(padding.map(|padding| media_end.saturating_sub(padding)));
    let heard = exact.partition_point(|&(at, samples)| at.saturating_add(samples) <= begin);
    let preroll = if is_opus { OPUS_PREROLL_PACKETS } else { AAC_PREROLL_PACKETS };
    let from = heard.saturating_sub(preroll);
    let to = end.map_or(exact.len(), |end| exact.partition_point(|&(at, _)| at < end));
    let chosen = exact.get(from..to).unwrap_or_default();
    let Some(&(first, _)) = chosen.first() else {
        return Ok(Selection { timescale: rate, start: 0, skip: 0, packets: Vec::new() });
    };
    let mut packets = Vec::with_capacity(chosen.len());
    for (place, &(at, samples)) in chosen.iter().enumerate() {
        let next = chosen.get(place + 1).map_or(at.saturating_add(samples), |next| next.0);
        // The last packet lasts as long as it is heard.
        let next = end.map_or(next, |end| next.min(end.max(at + 1)));
        packets.push((from + place, u32::try_from(next - at).unwrap_or(u32::MAX)));
    }
    Ok(Selection {
        timescale: rate,
        start: u64::try_from(begin.max(first)).unwrap_or(0),
        skip: u64::try_from(begin.saturating_sub(first)).unwrap_or(0),
        packets,
    })
}

/// The length of every packet of an AAC track: the one that is nearest to what is usually between
/// two of them. The middle one of the differences, and not their average, does not mind gaps.
fn aac_packet_samples(track: &Track, times: &[i64], scale: impl Fn(i64) -> i64) -> u32 {
    let mut steps: Vec<i64> = times
        .windows(2)
        .map(|pair| match pair {
            [before, after] => after.saturating_sub(*before),
            _ => 0,
        })
        .collect();
    steps.sort_unstable();
    let only = || track.samples.first().map_or(0, |sample| scale(i64::from(sample.duration)));
    let usual = steps.get(steps.len() / 2).copied().unwrap_or_else(only);
    let usual = u64::try_from(usual).unwrap_or(0);
    let nearest = AAC_PACKET_SAMPLES.into_iter().min_by_key(|length| length.abs_diff(usual));
    u32::try_from(nearest.unwrap_or(1_024)).unwrap_or(1_024)
}

/// Samples at 48 kHz of an Opus packet (RFC 6716, section 3.1), from its first two bytes.
pub fn opus_packet_samples(packet: &[u8]) -> u32 {
    let Some(&toc) = packet.first() else { return 0 };
    // Samples of 2.5 ms are 120.
    let frame: u32 = match toc >> 3 {
        config @ 0..=11 if config % 4 == 3 => 2_880,
        config @ 0..=11 => 480 << (config % 4),
        config @ 12..=15 => 480 << (config % 2),
        config => 120 << (config % 4),
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1).copied().unwrap_or(0) & 0x3f),
    };
    frame * frames
}

fn header(track: &Track) -> Result<OpusHead, Fault> {
    OpusHead::parse(&track.config).ok_or_else(|| {
        Fault::Publisher("the file is damaged: its Opus header is cut off".to_owned())
    })
}

/// The header of an Opus track as it is passed on: to drop as much as the selection says.
pub fn opus_head(track: &Track, selection: &Selection) -> Result<OpusHead, Fault> {
    let mut head = header(track)?;
    head.pre_skip = u16::try_from(selection.skip).unwrap_or(u16::MAX);
    Ok(head)
}

#[cfg(test)]
mod tests {
    use backlot_media::{AudioInfo, Edit, Sample, TrackKind};

    use super::*;

    fn track(codec: Codec, timescale: u32, pts: &[i64], edit: Edit) -> Track {
        let samples = pts.iter().map(|&pts| Sample {
            offset: 0,
            size: 1,
            dts: pts,
            pts,
            duration: 0,
            key: true,
            shown: true,
        });
        Track {
            id: 1,
            kind: TrackKind::Audio(AudioInfo { sample_rate: 48_000, channels: 2 }),
            codec,
            config: Vec::new(),
            timescale,
            samples: samples.collect(),
            language: None,
            default: true,
            edit,
            prefix: Vec::new(),
        }
    }

    fn chosen(track: &Track) -> (u64, u64, Vec<(usize, u32)>) {
        let selection = select(track, |_| Ok(960)).unwrap();
        assert_eq!(selection.timescale, 48_000);
        (selection.start, selection.skip, selection.packets)
    }

    #[test]
    fn priming_is_kept_and_skipped() {
        let edit = Edit { start: 0, skip: 1024, duration: Some(2500), ..Edit::default() };
        let aac = track(Codec::Aac, 48_000, &[-1024, 0, 1024, 2048, 3072], edit);
        assert_eq!(chosen(&aac), (0, 1024, vec![(0, 1024), (1, 1024), (2, 1024), (3, 452)]));
    }

    #[test]
    fn a_cut_keeps_what_the_decoder_needs_before_it() {
        let times: Vec<i64> = (-10..5).map(|n| n * 1024).collect();
        let edit = Edit { start: 0, skip: 10_240, ..Edit::default() };
        let (start, skip, packets) = chosen(&track(Codec::Aac, 48_000, &times, edit));
        assert_eq!((start, skip), (0, 2048));
        assert_eq!(packets.first(), Some(&(8, 1024)));
    }

    #[test]
    fn rounded_times_are_made_exact_and_gaps_stay() {
        // Milliseconds, as in Matroska; the last packet comes half a second late.
        let edit = Edit::default();
        let (_, _, packets) = chosen(&track(Codec::Aac, 1_000, &[0, 21, 43, 64, 85, 607], edit));
        let durations: Vec<u32> = packets.iter().map(|packet| packet.1).collect();
        assert_eq!(durations, [1024, 1024, 1024, 1024, 25_040, 1024]);
    }

    #[test]
    fn a_delayed_track_begins_later() {
        let edit = Edit { skip: 312, ..Edit::default() };
        let (start, skip, packets) = chosen(&track(Codec::Opus, 48_000, &[168, 1_128], edit));
        assert_eq!((start, skip, packets.len()), (480, 312, 2));
    }

    #[test]
    fn an_opus_header_tells_its_delay_where_nothing_else_does() {
        let mut opus = track(Codec::Opus, 48_000, &[0, 960, 1_920], Edit::default());
        opus.config = [&b"OpusHead\x01\x02\x38\x01"[..], &[0; 7]].concat();
        assert_eq!(chosen(&opus), (0, 312, vec![(0, 960), (1, 960), (2, 960)]));
        opus.edit.padding = 1_000;
        assert_eq!(chosen(&opus), (0, 312, vec![(0, 960), (1, 920)]));
    }

    #[test]
    fn opus_packets_tell_their_length() {
        // Configurations of RFC 6716, table 2.
        for (packet, samples) in [
            (&[0_u8][..], 480),
            (&[31 << 3], 960),
            (&[16 << 3], 120),
            (&[(12 << 3) | 1], 960),
            (&[(3 << 3) | 2], 5_760),
            (&[(31 << 3) | 3, 3], 2_880),
            (&[], 0),
        ] {
            assert_eq!(opus_packet_samples(packet), samples);
        }
    }
}
