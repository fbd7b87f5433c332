//! Deflate with bounds: what a few bytes may become is limited before it is allocated.

use miniz_oxide::{
    DataFormat, MZError, MZFlush, MZStatus,
    inflate::stream::{InflateState, inflate},
};

use crate::{
    limits::Limits,
    stop::{Stop, ensure, invalid, unsupported},
};

/// Bytes of one step of output.
const OUT_BYTES: usize = 32 << 10;

/// Inflated bytes that no ratio is asked of: 1 MiB cannot hurt anyone.
const FREE_BYTES: u64 = 1 << 20;

/// What the compressed parts of one file may still inflate to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    inflated: u64,
    compressed: u64,
    bytes_max: u64,
    ratio_max: u64,
}

impl Budget {
    pub(crate) fn new(limits: &Limits) -> Self {
        let (bytes_max, ratio_max) = (limits.inflated_bytes, limits.inflation_ratio);
        Self { inflated: 0, compressed: 0, bytes_max, ratio_max }
    }

    /// For parts whose inflated size was checked beforehand: only the total is limited.
    pub(crate) fn any_ratio(limits: &Limits) -> Self {
        Self { ratio_max: u64::MAX, ..Self::new(limits) }
    }

    /// Takes what one step used and gave.
    pub(crate) fn spend(
        &mut self,
        compressed: u64,
        inflated: u64,
        offset: u64,
    ) -> Result<(), Stop> {
        self.compressed += compressed;
        self.inflated += inflated;
        let fair = self.compressed.saturating_mul(self.ratio_max).saturating_add(FREE_BYTES);
        ensure(self.inflated <= fair, offset, || {
            let ratio = self.ratio_max;
            format!("inflates to more than {ratio} times its size, as decompression bombs do")
        })?;
        let (got, most) = (self.inflated, self.bytes_max);
        if most < got {
            return Err(unsupported(
                offset,
                format!("inflates to more than the limit of {most} bytes"),
            ));
        }
        Ok(())
    }
}

/// A stream that is fed piece by piece.
pub(crate) struct Inflater {
    state: Box<InflateState>,
    out: Vec<u8>,
    ended: bool,
    /// Inflated so far.
    pub(crate) given: u64,
}

impl Inflater {
    /// A Deflate stream without a wrapper (RFC 1951).
    pub(crate) fn raw() -> Self {
        Self::new(DataFormat::Raw)
    }

    /// A Deflate stream with zlib's header and Adler-32 (RFC 1950); the sum is checked.
    pub(crate) fn zlib() -> Self {
        Self::new(DataFormat::Zlib)
    }

    fn new(format: DataFormat) -> Self {
        Self {
            state: InflateState::new_boxed(format),
            out: vec![0; OUT_BYTES],
            ended: false,
            given: 0,
        }
    }

    /// Whether the last block, and with zlib the checksum, has been read.
    pub(crate) fn ended(&self) -> bool {
        self.ended
    }

    /// Inflates `piece`, which lies at `offset`; says how many of its bytes belong to the stream.
    pub(crate) fn push(
        &mut self,
        piece: &[u8],
        offset: u64,
        budget: &mut Budget,
        mut sink: impl FnMut(&[u8]) -> Result<(), Stop>,
    ) -> Result<usize, Stop> {
        let mut used = 0;
        while !self.ended {
            let rest = piece.get(used..).unwrap_or_default();
            let step = inflate(&mut self.state, rest, &mut self.out, MZFlush::None);
            let at = offset + (used + step.bytes_consumed) as u64;
            budget.spend(step.bytes_consumed as u64, step.bytes_written as u64, at)?;
            used += step.bytes_consumed;
            self.given += step.bytes_written as u64;
            sink(self.out.get(..step.bytes_written).unwrap_or_default())?;
            match step.status {
                Ok(MZStatus::StreamEnd) => self.ended = true,
                Ok(_) if step.bytes_written == 0 && step.bytes_consumed == 0 => break,
                Ok(_) => {}
                Err(MZError::Buf) => break,
                Err(_) => return Err(invalid(at, "the compressed data is broken")),
            }
        }
        Ok(used)
    }
}
