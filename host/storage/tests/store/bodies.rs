//! Bodies of all sizes, what is expected of them, and ranges.

use backlot_storage::{ChecksumAlgorithm, Expected, Put, StoreError};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use crate::{Bed, noise, put};

#[tokio::test]
async fn a_body_of_any_size_and_cut_comes_back_and_stays() {
    let bed = Bed::new().await;
    let sizes = [0, 1, 999, 1_000, 1_001, 262_143, 262_144, 262_145, 3_000_000];
    for (seed, size) in sizes.into_iter().enumerate() {
        let body = noise(size, seed as u64);
        for chunk in [7_919, 300_000] {
            let chunks: Vec<_> =
                body.chunks(chunk).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
            let key = format!("{size}-{chunk}");
            let info = bed.store.put(put(&key), stream::iter(chunks)).await.unwrap();
            assert_eq!((info.size, bed.get(&key).await.unwrap()), (size as u64, body.clone()));
        }
    }
    let bed = bed.reopen().await;
    for (seed, size) in sizes.into_iter().enumerate() {
        assert_eq!(bed.get(&format!("{size}-7919")).await.unwrap(), noise(size, seed as u64));
    }
}

#[tokio::test]
async fn the_etag_is_the_md5() {
    let bed = Bed::new().await;
    assert_eq!(bed.put("a", "123456789").await.etag, "25f9e794323b453885f5181f1b624d0b");
    let large = bed.put("b", vec![b'x'; 1_000_000]).await;
    assert_eq!(large.etag, "ec78dbd963d2fc01e51176ed4dec299e");
}

#[tokio::test]
async fn what_breaks_its_promise_leaves_no_trace() {
    let bed = Bed::new().await;
    for size in [9, 500_000] {
        let body = noise(size, 1);
        let bad = [
            Expected { md5: Some([7; 16]), ..Expected::default() },
            Expected { size: Some(size as u64 + 1), ..Expected::default() },
            Expected { size: Some(size as u64 - 1), ..Expected::default() },
            Expected { sha256: Some("00".repeat(32)), ..Expected::default() },
            Expected {
                checksums: vec![(ChecksumAlgorithm::Crc32, Some("AAAAAA==".into()))],
                ..Expected::default()
            },
        ];
        for expected in bad {
            let answer = bed.try_put(Put { expected, ..put("a") }, body.clone()).await;
            let refused =
                matches!(answer, Err(StoreError::BadDigest { .. } | StoreError::WrongSize { .. }));
            assert!(refused, "{answer:?}");
        }
        let gone = stream::iter([Ok(body), Err(std::io::ErrorKind::ConnectionReset.into())]);
        assert!(matches!(bed.store.put(put("a"), gone).await, Err(StoreError::Body(_))));
    }
    assert!(matches!(bed.get("a").await, Err(StoreError::NotFound(_))));
    bed.settles_at(0).await;
    assert_eq!(bed.events.take(), [""; 0]);
}

#[tokio::test]
async fn a_checksum_may_come_after_the_body() {
    let bed = Bed::new().await;
    let checksums = vec![(ChecksumAlgorithm::Crc32, None)];
    for (value, fine) in [("y/Q5Jg==", true), ("AAAAAA==", false)] {
        let expected = Expected { checksums: checksums.clone(), ..Expected::default() };
        let mut writer = bed.store.writer(Put { expected, ..put("a") }).await.unwrap();
        writer.write("123456789".into()).await.unwrap();
        assert!(writer.expect_checksum(ChecksumAlgorithm::Sha1, String::new()).is_err());
        writer.expect_checksum(ChecksumAlgorithm::Crc32, value.into()).unwrap();
        assert_eq!(writer.finish().await.is_ok(), fine);
    }
    let info = bed.store.head("films", "a", None).await.unwrap();
    assert_eq!(info.checksums[0].value, "y/Q5Jg==");
}

#[tokio::test]
async fn a_writer_that_is_dropped_leaves_no_trace() {
    let bed = Bed::new().await;
    let mut writer = bed.store.writer(put("a")).await.unwrap();
    writer.write(noise(700_000, 1)).await.unwrap();
    drop(writer);
    bed.settles_at(0).await;
    assert!(matches!(bed.get("a").await, Err(StoreError::NotFound(_))));
}

#[tokio::test]
async fn ranges_are_exact_across_pieces_and_chunks() {
    let bed = Bed::new().await;
    let parts = [noise(900, 1), noise(600_000, 2), noise(10, 3), noise(300_001, 4)];
    for (number, part) in parts.iter().enumerate() {
        bed.put(&format!("part-{number}"), part.clone()).await;
    }
    let sources = (0..parts.len()).map(|number| format!("part-{number}")).collect();
    let compose = backlot_storage::Compose {
        bucket: "films".into(),
        key: "whole".into(),
        sources,
        ..Default::default()
    };
    bed.store.compose(compose).await.unwrap();
    let whole = Bytes::from(parts.concat());
    let size = whole.len();
    let reader = bed.store.open_object("films", "whole", None).await.unwrap();
    for (start, end) in
        [(0, 0), (0, size), (899, 901), (900, 900), (1, 700_000), (600_905, 600_906), (size, size)]
    {
        let stream = reader.clone().stream(start as u64..end as u64).unwrap();
        let chunks: Vec<Bytes> = stream.boxed().try_collect().await.unwrap();
        assert_eq!(chunks.concat(), whole[start..end], "{start}..{end}");
        assert_eq!(reader.read_at(start as u64, end - start).await.unwrap(), whole[start..end]);
    }
    assert_eq!(reader.read_at(size as u64 - 5, 100).await.unwrap(), whole[size - 5..]);
    assert!(reader.read_at(u64::MAX, 100).await.unwrap().is_empty());
    assert!(matches!(
        reader.stream(0..size as u64 + 1).map(|_| ()),
        Err(StoreError::RangeNotSatisfiable { .. })
    ));
}
