//! Digests of a body while it streams by, and of a whole made of parts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use crc_fast::CrcAlgorithm;
use md5::{Digest as _, Md5};
use sha1::Sha1;
use sha2::Sha256;

use crate::{Checksum, ChecksumAlgorithm, ChecksumKind, Expected, StoreError};

/// Name of an algorithm in messages.
fn name(algorithm: ChecksumAlgorithm) -> &'static str {
    match algorithm {
        ChecksumAlgorithm::Crc32 => "crc32",
        ChecksumAlgorithm::Crc32c => "crc32c",
        ChecksumAlgorithm::Crc64Nvme => "crc64nvme",
        ChecksumAlgorithm::Sha1 => "sha1",
        ChecksumAlgorithm::Sha256 => "sha256",
    }
}

/// The CRC behind an algorithm, and its size in bytes.
fn crc(algorithm: ChecksumAlgorithm) -> Option<(CrcAlgorithm, usize)> {
    match algorithm {
        ChecksumAlgorithm::Crc32 => Some((CrcAlgorithm::Crc32IsoHdlc, 4)),
        ChecksumAlgorithm::Crc32c => Some((CrcAlgorithm::Crc32Iscsi, 4)),
        ChecksumAlgorithm::Crc64Nvme => Some((CrcAlgorithm::Crc64Nvme, 8)),
        ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256 => None,
    }
}

/// One checksum under way.
enum Running {
    Crc(crc_fast::Digest, usize),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Running {
    fn new(algorithm: ChecksumAlgorithm) -> Running {
        match (algorithm, crc(algorithm)) {
            (_, Some((crc, bytes))) => Running::Crc(crc_fast::Digest::new(crc), bytes),
            (ChecksumAlgorithm::Sha1, None) => Running::Sha1(Sha1::new()),
            (_, None) => Running::Sha256(Sha256::new()),
        }
    }

    fn update(&mut self, data: &[u8]) {
        match self {
            Running::Crc(crc, _) => crc.update(data),
            Running::Sha1(sha) => sha.update(data),
            Running::Sha256(sha) => sha.update(data),
        }
    }

    fn finish(self) -> Vec<u8> {
        match self {
            Running::Crc(crc, bytes) => crc_bytes(crc.finalize(), bytes),
            Running::Sha1(sha) => sha.finalize().to_vec(),
            Running::Sha256(sha) => sha.finalize().to_vec(),
        }
    }
}

/// A CRC as S3 writes it: big-endian, as wide as it is.
fn crc_bytes(value: u64, bytes: usize) -> Vec<u8> {
    value.to_be_bytes().into_iter().skip(size_of::<u64>() - bytes).collect()
}

/// All digests of one body.
pub(crate) struct Digests {
    md5: Md5,
    /// The whole body's SHA-256 where only the signature wants it.
    signed: Option<Sha256>,
    checksums: Vec<(ChecksumAlgorithm, Running)>,
}

/// What a body turned out to be.
#[derive(Debug)]
pub(crate) struct Digested {
    pub(crate) etag: String,
    pub(crate) checksums: Vec<Checksum>,
}

impl Digests {
    pub(crate) fn new(expected: &Expected) -> Digests {
        let mut checksums: Vec<(ChecksumAlgorithm, Running)> = Vec::new();
        for (algorithm, _) in &expected.checksums {
            if checksums.iter().all(|(known, _)| known != algorithm) {
                checksums.push((*algorithm, Running::new(*algorithm)));
            }
        }
        let signed = expected.sha256.as_ref().map(|_| Sha256::new());
        Digests { md5: Md5::new(), signed, checksums }
    }

    pub(crate) fn update(&mut self, data: &[u8]) {
        self.md5.update(data);
        if let Some(signed) = &mut self.signed {
            signed.update(data);
        }
        for (_, running) in &mut self.checksums {
            running.update(data);
        }
    }

    /// Ends the digests and compares them with what was expected.
    pub(crate) fn finish(self, expected: &Expected) -> Result<Digested, StoreError> {
        let etag = hex::encode(self.md5.finalize());
        if let Some(md5) = &expected.md5 {
            equal("md5", hex::encode(md5), etag.clone())?;
        }
        if let (Some(wanted), Some(signed)) = (&expected.sha256, self.signed) {
            equal("sha256", wanted.to_ascii_lowercase(), hex::encode(signed.finalize()))?;
        }
        let mut checksums = Vec::with_capacity(self.checksums.len());
        for (algorithm, running) in self.checksums {
            let value = BASE64.encode(running.finish());
            for (_, wanted) in expected.checksums.iter().filter(|(wanted, _)| *wanted == algorithm)
            {
                if let Some(wanted) = wanted {
                    equal(name(algorithm), wanted.clone(), value.clone())?;
                }
            }
            checksums.push(Checksum { algorithm, kind: ChecksumKind::FullObject, value });
        }
        Ok(Digested { etag, checksums })
    }
}

fn equal(what: &'static str, expected: String, got: String) -> Result<(), StoreError> {
    if expected == got { Ok(()) } else { Err(StoreError::BadDigest { what, expected, got }) }
}

/// Refuses a checksum of a whole that differs from the one promised; a composite one may be
/// promised without its number of parts.
pub(crate) fn check_promise(
    promised: &(ChecksumAlgorithm, String),
    checksums: &[Checksum],
) -> Result<(), StoreError> {
    let (algorithm, value) = promised;
    let got = checksums.iter().find(|checksum| checksum.algorithm == *algorithm);
    let Some(got) = got else {
        let text = format!("the object has no {} checksum to compare with", name(*algorithm));
        return Err(StoreError::Invalid(text));
    };
    let bare = match got.kind {
        ChecksumKind::FullObject => None,
        ChecksumKind::Composite => got.value.split_once('-').map(|(bare, _)| bare),
    };
    if *value == got.value || Some(value.as_str()) == bare {
        return Ok(());
    }
    let (expected, got) = (value.clone(), got.value.clone());
    Err(StoreError::BadDigest { what: name(*algorithm), expected, got })
}

/// The entity tag of a whole made of parts: the MD5 of their MD5s, and how many they are. A part
/// that is such a whole itself counts with its own first half.
pub(crate) fn etag_of(etags: &[String]) -> String {
    let mut md5 = Md5::new();
    for etag in etags {
        let digest = etag.split('-').next().unwrap_or_default();
        match hex::decode(digest) {
            Ok(bytes) => md5.update(bytes),
            Err(_) => md5.update(digest),
        }
    }
    format!("{}-{}", hex::encode(md5.finalize()), etags.len())
}

/// The checksum of a whole from those of its parts (with their sizes). None when a part lacks it,
/// or when the algorithm cannot be combined.
pub(crate) fn whole(
    algorithm: ChecksumAlgorithm,
    kind: ChecksumKind,
    parts: &[(u64, &[Checksum])],
) -> Option<Checksum> {
    let mut digests = Vec::with_capacity(parts.len());
    for (size, checksums) in parts {
        let found = checksums.iter().find(|checksum| checksum.algorithm == algorithm)?;
        digests.push((*size, BASE64.decode(&found.value).ok()?));
    }
    let value = match kind {
        ChecksumKind::Composite => {
            let mut running = Running::new(algorithm);
            digests.iter().for_each(|(_, digest)| running.update(digest));
            format!("{}-{}", BASE64.encode(running.finish()), parts.len())
        }
        ChecksumKind::FullObject => {
            let (crc, bytes) = crc(algorithm)?;
            let combined = digests
                .iter()
                .map(|(size, digest)| (*size, crc_value(digest)))
                .reduce(|(_, sum), (size, next)| {
                    (0, crc_fast::checksum_combine(crc, sum, next, size))
                })
                .map_or(0, |(_, sum)| sum);
            BASE64.encode(crc_bytes(combined, bytes))
        }
    };
    Some(Checksum { algorithm, kind, value })
}

fn crc_value(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checksum(algorithm: ChecksumAlgorithm, data: &[u8]) -> Vec<Checksum> {
        let expected = Expected { checksums: vec![(algorithm, None)], ..Expected::default() };
        let mut digests = Digests::new(&expected);
        digests.update(data);
        digests.finish(&expected).unwrap().checksums
    }

    #[test]
    fn known_answers() {
        // CRC catalogue check values ("123456789") and FIPS 180 digests, in base64.
        let check = |algorithm, base64: &str| {
            assert_eq!(checksum(algorithm, b"123456789")[0].value, base64, "{algorithm:?}");
        };
        check(ChecksumAlgorithm::Crc32, "y/Q5Jg==");
        check(ChecksumAlgorithm::Crc32c, "4waSgw==");
        check(ChecksumAlgorithm::Crc64Nvme, "rosUhgp5mIg=");
        check(ChecksumAlgorithm::Sha1, "98O8HYCOBHMq32eZZczDTKeuNEE=");
        check(ChecksumAlgorithm::Sha256, "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=");
    }

    #[test]
    fn the_crc_of_a_whole_is_that_of_its_bytes_however_it_is_cut() {
        let data: Vec<u8> = (0..100_000_u32).map(|i| (i * 7 + i / 251) as u8).collect();
        for algorithm in
            [ChecksumAlgorithm::Crc32, ChecksumAlgorithm::Crc32c, ChecksumAlgorithm::Crc64Nvme]
        {
            for cuts in [vec![], vec![1], vec![0, 50_000], vec![3, 65_536, 99_999]] {
                let edges = [vec![0], cuts, vec![data.len()]].concat();
                let parts: Vec<_> = edges
                    .windows(2)
                    .map(|edge| {
                        let part = &data[edge[0]..edge[1]];
                        (part.len() as u64, checksum(algorithm, part))
                    })
                    .collect();
                let parts: Vec<_> = parts.iter().map(|(size, sums)| (*size, &sums[..])).collect();
                let sum = whole(algorithm, ChecksumKind::FullObject, &parts).unwrap();
                assert_eq!(sum, checksum(algorithm, &data)[0], "{algorithm:?}");
            }
        }
    }

    #[test]
    fn a_promise_that_does_not_hold_is_refused() {
        let expected = Expected { md5: Some([0; 16]), ..Expected::default() };
        let answer = Digests::new(&expected).finish(&expected);
        assert!(matches!(answer, Err(StoreError::BadDigest { what: "md5", .. })));
    }
}
