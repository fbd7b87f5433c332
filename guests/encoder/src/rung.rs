//! One rung of one part: packets in, checked, and out as stored fragments.

use backlot_packaging::av1::Av1Config;
use backlot_packaging::fragment::{self, Fragment, Sample};
use sha2::{Digest, Sha256};

use crate::fault::Fault;
use crate::messages::RungDone;
use crate::plan::{Part, Rung};
use crate::timeline::Timeline;

/// Where fragments go: an object, or memory in tests.
pub trait Output {
    /// Append.
    fn write(&mut self, data: &[u8]) -> Result<(), Fault>;
}

impl Output for crate::store::Sink {
    fn write(&mut self, data: &[u8]) -> Result<(), Fault> {
        Self::write(self, data)
    }
}

/// The rung of a part, as it grows.
pub struct RungWriter<'a, O> {
    timeline: &'a Timeline,
    part: Part,
    gop: u64,
    config: Av1Config,
    config_content: Vec<u8>,
    output: O,
    /// The frame of the film that the next packet must be.
    next: u64,
    samples: Vec<Sample>,
    data: Vec<u8>,
    fragments: Vec<Fragment>,
    bytes: u64,
    packets: Sha256,
}

impl<'a, O: Output> RungWriter<'a, O> {
    /// Begin. The configuration is the encoder's `av1C`; it must be about this rung's size.
    pub fn new(
        timeline: &'a Timeline,
        part: Part,
        gop: u64,
        rung: &Rung,
        config_content: Vec<u8>,
        output: O,
    ) -> Result<Self, Fault> {
        let config = Av1Config::parse(&config_content)?;
        if config.size() != (rung.width, rung.height) {
            let (width, height) = config.size();
            return Err(Fault::Passing(format!(
                "the encoder's configuration is for {width}x{height} instead of {}x{}",
                rung.width, rung.height
            )));
        }
        Ok(Self {
            timeline,
            part,
            gop: gop.max(1),
            config,
            config_content,
            output,
            next: part.first,
            samples: Vec::new(),
            data: Vec::new(),
            fragments: Vec::new(),
            bytes: 0,
            packets: Sha256::new(),
        })
    }

    /// Frames whose packets have come.
    pub fn frames(&self) -> u64 {
        self.next - self.part.first
    }

    /// Take the packet of frame `frame` of the part, counted from 0.
    pub fn take(&mut self, frame: u64, key: bool, packet: &[u8]) -> Result<(), Fault> {
        let wanted = self.next - self.part.first;
        if frame != wanted || self.part.last <= self.next {
            return Err(Fault::Passing(format!(
                "the encoder answered frame {frame} instead of {wanted} of {}",
                self.part.last - self.part.first
            )));
        }
        let begins_group = self.next.is_multiple_of(self.gop);
        if key != begins_group {
            return Err(Fault::Passing(format!(
                "the encoder's frame {frame} is {}a key frame",
                if key { "" } else { "not " }
            )));
        }
        self.config.check_unit(packet, key)?;
        let size = u32::try_from(packet.len())
            .map_err(|_| Fault::Passing("a packet of more than 4 GiB".to_owned()))?;
        self.samples.push(Sample { duration: self.timeline.duration(self.next), size, key });
        self.data.extend_from_slice(packet);
        self.packets.update(packet);
        self.next += 1;
        if self.next.is_multiple_of(self.gop) || self.next == self.part.last {
            self.end_group()?;
        }
        Ok(())
    }

    fn end_group(&mut self) -> Result<(), Fault> {
        let first = self.next - self.samples.len() as u64;
        // Numbered over the film, so that the parts put together are one track.
        let sequence = u32::try_from(first / self.gop + 1)
            .map_err(|_| Fault::Publisher("the film has too many frames".to_owned()))?;
        let start = self.timeline.start(first);
        let bytes = fragment::write(sequence, start, &self.samples, &self.data)?;
        self.output.write(&bytes)?;
        self.fragments.push(Fragment {
            start,
            duration: self.timeline.start(self.next).saturating_sub(start),
            samples: u32::try_from(self.samples.len()).unwrap_or(u32::MAX),
            offset: self.bytes,
            bytes: bytes.len() as u64,
        });
        self.bytes += bytes.len() as u64;
        self.samples.clear();
        self.data.clear();
        Ok(())
    }

    /// End: every frame must have come. Gives the output back, to be committed.
    pub fn finish(self, key: String) -> Result<(RungDone, O), Fault> {
        if self.next != self.part.last {
            return Err(Fault::Passing(format!(
                "the encoder answered {} packets instead of {}",
                self.frames(),
                self.part.last - self.part.first
            )));
        }
        let done = RungDone {
            key,
            bytes: self.bytes,
            config: hex::encode(&self.config_content),
            fragments: self.fragments,
            sha256: hex::encode(self.packets.finalize()),
        };
        Ok((done, self.output))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `av1C` of a 64×64 stream, from SVT-AV1, and its sequence header as a key packet begins.
    const CONFIG: [u8; 16] =
        [0x81, 0, 0x0c, 0, 10, 10, 0, 0, 0, 2, 0xaf, 0xff, 0x9f, 0x7f, 0x20, 8];
    const GOP: u64 = 3;

    #[derive(Default)]
    struct Memory(Vec<u8>);

    impl Output for Memory {
        fn write(&mut self, data: &[u8]) -> Result<(), Fault> {
            self.0.extend_from_slice(data);
            Ok(())
        }
    }

    fn timeline() -> Timeline {
        // A variable frame rate, from a tick after 0.
        Timeline::of_times(25, [1, 2, 4, 5, 6, 9, 10, 11, 20])
    }

    fn rung() -> Rung {
        Rung { name: "64p".to_owned(), width: 64, height: 64, quantizer: 100 }
    }

    /// As much of a temporal unit as is looked at: a frame header that says shown, and key or not.
    fn packet(frame: u64) -> (bool, Vec<u8>) {
        let key = frame.is_multiple_of(GOP);
        let mut unit = if key { CONFIG[4..].to_vec() } else { Vec::new() };
        unit.extend([0x32, 2, if key { 0x10 } else { 0x30 }, frame as u8]);
        (key, unit)
    }

    fn writer(timeline: &Timeline, first: u64, last: u64) -> RungWriter<'_, Memory> {
        let part = Part { index: 0, first, last };
        RungWriter::new(timeline, part, GOP, &rung(), CONFIG.to_vec(), Memory::default()).unwrap()
    }

    fn encode(first: u64, last: u64) -> (RungDone, Vec<u8>) {
        let timeline = timeline();
        let mut writer = writer(&timeline, first, last);
        for frame in first..last {
            let (key, unit) = packet(frame);
            writer.take(frame - first, key, &unit).unwrap();
        }
        let (done, output) = writer.finish("k".to_owned()).unwrap();
        (done, output.0)
    }

    #[test]
    fn a_film_in_parts_equals_one_in_one_piece() {
        let (whole, bytes) = encode(0, 8);
        let (first, mut in_parts) = encode(0, 3);
        let (second, rest) = encode(3, 8);
        in_parts.extend(rest);
        assert_eq!(in_parts, bytes);
        assert_eq!(first.bytes + second.bytes, whole.bytes);
        let shape = |done: &RungDone| -> Vec<_> {
            done.fragments.iter().map(|one| (one.start, one.duration, one.samples)).collect()
        };
        assert_eq!(shape(&whole), [(1, 4, 3), (5, 5, 3), (10, 10, 2)]);
        assert_eq!(shape(&whole), [shape(&first), shape(&second)].concat());
    }

    #[test]
    fn the_encoder_must_answer_as_asked() {
        let timeline = timeline();
        let (key, unit) = packet(0);
        let (_, inter) = packet(1);
        let refused = |frames: &[(u64, bool, &[u8])]| {
            let mut writer = writer(&timeline, 0, 2);
            let taken = frames.iter().try_for_each(|&(n, key, data)| writer.take(n, key, data));
            let ended = taken.and_then(|()| writer.finish(String::new()).map(|_| ()));
            ended.map_or_else(|fault| fault.to_string(), |()| "taken".to_owned())
        };
        assert_eq!(refused(&[(0, key, &unit), (1, false, &inter)]), "taken");
        assert!(refused(&[(0, key, &unit)]).contains("1 packets instead of 2"));
        assert!(refused(&[(1, key, &unit)]).contains("frame 1 instead of 0"));
        assert!(refused(&[(0, false, &inter)]).contains("not a key frame"));
        assert!(refused(&[(0, true, &inter)]).contains("no random access"));
        assert!(refused(&[(0, key, &unit), (1, true, &unit)]).contains("is a key frame"));
        let many = [(0, key, &unit[..]), (1, false, &inter), (2, false, &inter)];
        assert!(refused(&many).contains("frame 2 instead of 2 of 2"));
        let other = Rung { width: 66, ..rung() };
        let part = Part { index: 0, first: 0, last: 2 };
        let output = Memory::default();
        let of_other = RungWriter::new(&timeline, part, GOP, &other, CONFIG.to_vec(), output);
        assert!(of_other.is_err_and(|fault| fault.to_string().contains("64x64 instead of 66x64")));
    }
}
