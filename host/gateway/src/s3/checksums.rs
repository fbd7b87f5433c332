//! Checksums of request bodies: `Content-MD5`, `x-amz-checksum-*`, and the same in a trailer.
//! `s3s` reads trailers, and verifies their signature; comparing the sums is left to us.

use backlot_storage::{Checksum, ChecksumAlgorithm, ChecksumKind, Expected};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderMap;
use md5::{Digest as _, Md5};
use s3s::dto::{self, ChecksumType};
use s3s::{S3Request, S3Result, TrailingHeaders, s3_error};

/// Every algorithm, with its name in S3 and its header.
const ALGORITHMS: [(ChecksumAlgorithm, &str, &str); 5] = [
    (ChecksumAlgorithm::Crc32, "CRC32", "x-amz-checksum-crc32"),
    (ChecksumAlgorithm::Crc32c, "CRC32C", "x-amz-checksum-crc32c"),
    (ChecksumAlgorithm::Crc64Nvme, "CRC64NVME", "x-amz-checksum-crc64nvme"),
    (ChecksumAlgorithm::Sha1, "SHA1", "x-amz-checksum-sha1"),
    (ChecksumAlgorithm::Sha256, "SHA256", "x-amz-checksum-sha256"),
];

/// What the headers announce about a body.
#[derive(Debug, Default)]
pub(super) struct Announced {
    pub(super) expected: Expected,
    /// Comes after the body, in this header.
    trailer: Option<(ChecksumAlgorithm, &'static str)>,
}

/// Reads what the headers announce, and refuses what contradicts itself.
pub(super) fn announced(headers: &HeaderMap) -> S3Result<Announced> {
    let mut announced = Announced::default();
    if let Some(md5) = text(headers, "content-md5") {
        announced.expected.md5 = Some(parse_md5(md5)?);
    }
    for (algorithm, _, header) in ALGORITHMS {
        if let Some(value) = text(headers, header) {
            announced.expected.checksums.push((algorithm, Some(value.to_owned())));
        }
    }
    for name in text(headers, "x-amz-trailer").into_iter().flat_map(|list| list.split(',')) {
        let name = name.trim();
        if let Some((algorithm, _, header)) =
            ALGORITHMS.into_iter().find(|(_, _, header)| header.eq_ignore_ascii_case(name))
        {
            announced.expected.checksums.push((algorithm, None));
            announced.trailer = Some((algorithm, header));
        } else {
            return Err(s3_error!(
                InvalidRequest,
                "the value specified in the x-amz-trailer header is not supported"
            ));
        }
    }
    if 1 < announced.expected.checksums.len() {
        return Err(s3_error!(InvalidRequest, "expecting a single x-amz-checksum- header"));
    }
    if let Some(name) = text(headers, "x-amz-sdk-checksum-algorithm") {
        let named = algorithm(name)?;
        let found = announced.expected.checksums.first().map(|(algorithm, _)| *algorithm);
        if found != Some(named) {
            return Err(s3_error!(
                InvalidRequest,
                "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or \
                 x-amz-trailer headers were found"
            ));
        }
    }
    Ok(announced)
}

impl Announced {
    /// The checksum that came after the body; `None` if none was announced.
    pub(super) fn trailing(
        &self,
        trailers: Option<&HeaderMap>,
    ) -> S3Result<Option<(ChecksumAlgorithm, String)>> {
        let Some((algorithm, header)) = self.trailer else { return Ok(None) };
        let Some(value) = trailers.and_then(|trailers| text(trailers, header)) else {
            return Err(s3_error!(InvalidRequest, "the trailer lacks the announced {header}"));
        };
        Ok(Some((algorithm, value.to_owned())))
    }
}

/// Trailers that came with the body of an object, after the body was read to its end.
pub(super) fn take_trailers<T>(req: &S3Request<T>) -> Option<HeaderMap> {
    req.extensions.get::<TrailingHeaders>().and_then(TrailingHeaders::take)
}

/// Verifies a document (any body but an object's bytes) against what was announced.
pub(super) fn verify_document(
    headers: &HeaderMap,
    trailers: Option<&HeaderMap>,
    bytes: &[u8],
) -> S3Result<()> {
    if bytes.is_empty() && text(headers, "content-md5").is_none() {
        // The checksum headers of a completion without a document are the object's.
        return Ok(());
    }
    if let Some(md5) = text(headers, "content-md5")
        && parse_md5(md5)? != <[u8; 16]>::from(Md5::digest(bytes))
    {
        return Err(s3_error!(BadDigest, "the Content-MD5 you specified did not match"));
    }
    // A checksum header on anything with an `uploadId` describes the object, not the document;
    // `x-amz-sdk-checksum-algorithm` is what marks one of the document.
    if text(headers, "x-amz-sdk-checksum-algorithm").is_none() && trailers.is_none() {
        return Ok(());
    }
    let announced = announced(headers)?;
    let mut sums = announced.expected.checksums.clone();
    if let Some((algorithm, value)) = announced.trailing(trailers)? {
        sums = vec![(algorithm, Some(value))];
    }
    for (algorithm, value) in sums {
        if value.is_some_and(|value| value != compute(algorithm, bytes)) {
            return Err(s3_error!(
                BadDigest,
                "the {} you specified did not match",
                name(algorithm)
            ));
        }
    }
    Ok(())
}

fn compute(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> String {
    use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Sha1, Sha256};
    match algorithm {
        ChecksumAlgorithm::Crc32 => BASE64_STANDARD.encode(Crc32::checksum(bytes)),
        ChecksumAlgorithm::Crc32c => BASE64_STANDARD.encode(Crc32c::checksum(bytes)),
        ChecksumAlgorithm::Crc64Nvme => BASE64_STANDARD.encode(Crc64Nvme::checksum(bytes)),
        ChecksumAlgorithm::Sha1 => BASE64_STANDARD.encode(Sha1::checksum(bytes)),
        ChecksumAlgorithm::Sha256 => BASE64_STANDARD.encode(Sha256::checksum(bytes)),
    }
}

fn parse_md5(base64: &str) -> S3Result<[u8; 16]> {
    let bytes = BASE64_STANDARD.decode(base64).ok();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| s3_error!(InvalidDigest, "the Content-MD5 you specified is not valid"))
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok()).filter(|value| !value.is_empty())
}

/// The algorithm of an S3 name.
pub(super) fn algorithm(name: &str) -> S3Result<ChecksumAlgorithm> {
    ALGORITHMS
        .into_iter()
        .find(|(_, known, _)| known.eq_ignore_ascii_case(name))
        .map(|(algorithm, _, _)| algorithm)
        .ok_or_else(|| {
            s3_error!(InvalidRequest, "the checksum algorithm {name:?} is not supported")
        })
}

/// S3's name of an algorithm.
pub(super) fn name(algorithm: ChecksumAlgorithm) -> &'static str {
    ALGORITHMS.into_iter().find(|(known, _, _)| *known == algorithm).map_or("", |(_, name, _)| name)
}

/// S3's name of an algorithm, as `s3s` wants it.
pub(super) fn dto_name(algorithm: ChecksumAlgorithm) -> dto::ChecksumAlgorithm {
    dto::ChecksumAlgorithm::from_static(name(algorithm))
}

/// S3's name of what a checksum covers.
pub(super) fn dto_kind(kind: ChecksumKind) -> ChecksumType {
    ChecksumType::from_static(match kind {
        ChecksumKind::FullObject => ChecksumType::FULL_OBJECT,
        ChecksumKind::Composite => ChecksumType::COMPOSITE,
    })
}

/// What the checksums of an object cover, if it has any.
pub(super) fn kind_of(checksums: &[Checksum]) -> Option<ChecksumType> {
    checksums.first().map(|checksum| dto_kind(checksum.kind))
}

/// Writes checksums into the fields that many of the answers of `s3s` have in common.
macro_rules! fill_checksums {
    ($output:expr, $checksums:expr) => {
        for checksum in $checksums {
            let value = Some(checksum.value.clone());
            match checksum.algorithm {
                backlot_storage::ChecksumAlgorithm::Crc32 => $output.checksum_crc32 = value,
                backlot_storage::ChecksumAlgorithm::Crc32c => $output.checksum_crc32c = value,
                backlot_storage::ChecksumAlgorithm::Crc64Nvme => $output.checksum_crc64nvme = value,
                backlot_storage::ChecksumAlgorithm::Sha1 => $output.checksum_sha1 = value,
                backlot_storage::ChecksumAlgorithm::Sha256 => $output.checksum_sha256 = value,
            }
        }
    };
}
pub(super) use fill_checksums;

/// Reads the fields that many of the inputs of `s3s` have in common.
macro_rules! given_checksums {
    ($input:expr) => {{
        let given = [
            (backlot_storage::ChecksumAlgorithm::Crc32, $input.checksum_crc32.take()),
            (backlot_storage::ChecksumAlgorithm::Crc32c, $input.checksum_crc32c.take()),
            (backlot_storage::ChecksumAlgorithm::Crc64Nvme, $input.checksum_crc64nvme.take()),
            (backlot_storage::ChecksumAlgorithm::Sha1, $input.checksum_sha1.take()),
            (backlot_storage::ChecksumAlgorithm::Sha256, $input.checksum_sha256.take()),
        ];
        given.into_iter().filter_map(|(algorithm, value)| Some((algorithm, value?)))
    }};
}
pub(super) use given_checksums;

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.insert(*name, value.parse().unwrap());
        }
        map
    }

    fn verify(pairs: &[(&'static str, &str)], bytes: &[u8]) -> String {
        match verify_document(&headers(pairs), None, bytes) {
            Ok(()) => "fine".to_owned(),
            Err(err) => err.code().as_str().to_owned(),
        }
    }

    #[test]
    fn every_algorithm_is_computed_as_published() {
        // Check values of the CRC catalogue and of FIPS 180 for "123456789".
        let check = |algorithm, hex: &str| {
            let bytes = BASE64_STANDARD.decode(compute(algorithm, b"123456789")).unwrap();
            assert_eq!(hex::encode(bytes), hex, "{algorithm:?}");
        };
        check(ChecksumAlgorithm::Crc32, "cbf43926");
        check(ChecksumAlgorithm::Crc32c, "e3069283");
        check(ChecksumAlgorithm::Crc64Nvme, "ae8b14860a799888");
        check(ChecksumAlgorithm::Sha1, "f7c3bc1d808e04732adf679965ccc34ca7ae3441");
        check(
            ChecksumAlgorithm::Sha256,
            "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
        );
    }

    #[test]
    fn documents_are_verified() {
        let body = b"123456789";
        assert_eq!(verify(&[("content-md5", "JfnnlDI7RTiF9RgfG2JNCw==")], body), "fine");
        assert_eq!(verify(&[("content-md5", "JfnnlDI7RTiF9RgfG2JNCw==")], b"x"), "BadDigest");
        assert_eq!(verify(&[("content-md5", "short")], body), "InvalidDigest");
        let sdk = ("x-amz-sdk-checksum-algorithm", "CRC32");
        assert_eq!(verify(&[sdk, ("x-amz-checksum-crc32", "y/Q5Jg==")], body), "fine");
        assert_eq!(verify(&[sdk, ("x-amz-checksum-crc32", "AAAAAA==")], body), "BadDigest");
        assert_eq!(verify(&[sdk], body), "InvalidRequest");
    }

    #[test]
    fn announcements_that_contradict_themselves_are_refused() {
        let refused = |pairs: &[(&'static str, &str)]| announced(&headers(pairs)).is_err();
        let crc = ("x-amz-checksum-crc32", "y/Q5Jg==");
        assert!(!refused(&[crc]));
        assert!(refused(&[crc, ("x-amz-checksum-sha1", "x")]));
        assert!(refused(&[crc, ("x-amz-trailer", "x-amz-checksum-crc32c")]));
        assert!(refused(&[("x-amz-trailer", "x-amz-meta-a")]));
        assert!(refused(&[crc, ("x-amz-sdk-checksum-algorithm", "SHA1")]));
        assert!(refused(&[crc, ("x-amz-sdk-checksum-algorithm", "MD2")]));
        let trailer = announced(&headers(&[("x-amz-trailer", "x-amz-checksum-sha256")])).unwrap();
        assert!(trailer.trailing(None).is_err());
        let came = headers(&[("x-amz-checksum-sha256", "v")]);
        let value = trailer.trailing(Some(&came)).unwrap();
        assert_eq!(value, Some((ChecksumAlgorithm::Sha256, "v".into())));
    }
}
