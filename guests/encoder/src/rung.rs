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
