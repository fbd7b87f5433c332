//! Multipart uploads: any order, replaced parts, what completes and what does not.

use std::collections::BTreeMap;

use backlot_storage::{
    ChecksumAlgorithm, ChecksumKind, CompleteMultipart, CompletedPart, Conditions, CopyPart,
    CreateMultipart, EtagMatch, ObjectRef, Part, PutPart, SourceConditions, StoreError, Upload,
    UploadsQuery,
};
use bytes::Bytes;
use futures::stream;

use crate::{Bed, noise};

impl Bed {
    async fn upload(&self, key: &str) -> Upload {
        self.upload_with(key, None).await.unwrap()
    }

    async fn upload_with(
        &self,
        key: &str,
        checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
    ) -> Result<Upload, StoreError> {
        let create = CreateMultipart {
            bucket: "films".into(),
            key: key.into(),
            checksum,
            metadata: BTreeMap::from([("a".into(), "1".into())]),
            ..CreateMultipart::default()
        };
        self.store.create_multipart(create).await
    }

    async fn part(&self, upload: &Upload, number: u32, body: Bytes) -> Result<Part, StoreError> {
        let part = PutPart {
            bucket: "films".into(),
            key: upload.key.clone(),
            upload_id: upload.upload_id.clone(),
            number,
            ..PutPart::default()
        };
        self.store.put_part(part, stream::iter([Ok(body)])).await
    }
}

fn complete(upload: &Upload, parts: &[&Part]) -> CompleteMultipart {
    let named = |part: &&Part| CompletedPart {
        number: part.number,
        etag: part.etag.clone(),
        checksums: part.checksums.iter().map(|sum| (sum.algorithm, sum.value.clone())).collect(),
    };
    CompleteMultipart {
        bucket: "films".into(),
        key: upload.key.clone(),
        upload_id: upload.upload_id.clone(),
        parts: parts.iter().map(named).collect(),
        ..CompleteMultipart::default()
    }
}

#[tokio::test]
async fn parts_may_come_in_any_order_and_twice() {
    let bed = Bed::new().await;
    let upload = bed.upload("whole").await;
    let bodies = [noise(5_000, 1), noise(300, 2), noise(6_000, 3), noise(7, 4)];
    let last = bed.part(&upload, 10_000, bodies[3].clone()).await.unwrap();
    let second = bed.part(&upload, 2, bodies[1].clone()).await.unwrap();
    bed.part(&upload, 1, noise(4_000, 9)).await.unwrap();
    let first = bed.part(&upload, 1, bodies[0].clone()).await.unwrap();
    let third = bed.part(&upload, 7, bodies[2].clone()).await.unwrap();
    bed.part(&upload, 8, noise(3_000, 8)).await.unwrap();
    let page = bed.store.list_parts("films", "whole", &upload.upload_id, 2, 2).await.unwrap();
    assert_eq!(page.parts.iter().map(|part| part.number).collect::<Vec<_>>(), [7, 8]);
    assert_eq!(page.next, Some(8));
    let whole = complete(&upload, &[&first, &second, &third, &last]);
    let info = bed.store.complete_multipart(whole.clone()).await.unwrap();
    let md5s: Vec<u8> = [&first, &second, &third, &last]
        .iter()
        .flat_map(|part| hex::decode(&part.etag).unwrap())
        .collect();
    let etag = format!("{}-4", hex::encode(<md5::Md5 as md5::Digest>::digest(md5s)));
    assert_eq!((info.etag, info.part_count, info.metadata.len()), (etag, 4, 1));
    assert_eq!(bed.get("whole").await.unwrap(), bodies.concat());
    let (_, parts) = bed.store.object_parts(&ObjectRef::current("films", "whole")).await.unwrap();
    let spans: Vec<_> = parts.iter().map(|part| (part.number, part.offset, part.size)).collect();
    assert_eq!(spans, [(1, 0, 5_000), (2, 5_000, 300), (7, 5_300, 6_000), (10_000, 11_300, 7)]);
    // The replaced part and the one left out are gone, the others not.
    bed.settles_at(2).await;
    let again = bed.store.complete_multipart(whole).await;
    assert!(matches!(again, Err(StoreError::NoSuchUpload(_))));
    assert_eq!(bed.events.take(), ["ObjectCreated:CompleteMultipartUpload whole"]);
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_the_upload_stays() {
    let bed = Bed::new().await;
    let upload = bed.upload("whole").await;
    let small = bed.part(&upload, 1, noise(99, 1)).await.unwrap();
    let other = bed.part(&upload, 2, noise(200, 2)).await.unwrap();
    let try_it = |complete| bed.store.complete_multipart(complete);
    let fine = || complete(&upload, &[&other]);
    assert!(matches!(
        try_it(complete(&upload, &[&small, &other])).await,
        Err(StoreError::PartTooSmall { number: 1, size: 99, limit: 100 })
    ));
    assert!(matches!(
        try_it(complete(&upload, &[&other, &small])).await,
        Err(StoreError::InvalidPartOrder)
    ));
    assert!(matches!(try_it(complete(&upload, &[])).await, Err(StoreError::InvalidPartOrder)));
    let mut wrong = fine();
    wrong.parts[0].etag = small.etag.clone();
    assert!(matches!(try_it(wrong).await, Err(StoreError::InvalidPart { number: 2 })));
    let wrong = CompleteMultipart { expected_size: Some(1), ..fine() };
    assert!(matches!(try_it(wrong).await, Err(StoreError::WrongSize { .. })));
    bed.put("whole", "in the way").await;
    let conditions = Conditions { if_none_match: Some(EtagMatch::Any), ..Conditions::default() };
    let wrong = CompleteMultipart { conditions, ..fine() };
    assert!(matches!(try_it(wrong).await, Err(StoreError::PreconditionFailed { .. })));
    for number in [0, 10_001] {
        assert!(bed.part(&upload, number, noise(1, 1)).await.is_err());
    }
    assert_eq!(try_it(fine()).await.unwrap().size, 200);
}

#[tokio::test]
async fn checksums_cover_the_whole_or_the_parts() {
    use ChecksumAlgorithm::{Crc32, Crc32c, Crc64Nvme, Sha1, Sha256};
    use ChecksumKind::{Composite, FullObject};
    let bed = Bed::new().await;
    for (algorithm, kind) in [(Crc64Nvme, Composite), (Sha1, FullObject), (Sha256, FullObject)] {
        let answer = bed.upload_with("a", Some((algorithm, kind))).await;
        assert!(matches!(answer, Err(StoreError::Invalid(_))));
    }
    let kinds = [
        (Crc32, FullObject),
        (Crc32c, Composite),
        (Crc64Nvme, FullObject),
        (Sha1, Composite),
        (Sha256, Composite),
    ];
    for (algorithm, kind) in kinds {
        let upload = bed.upload_with("a", Some((algorithm, kind))).await.unwrap();
        let one = bed.part(&upload, 1, noise(5_000, 1)).await.unwrap();
        let two = bed.part(&upload, 2, noise(123, 2)).await.unwrap();
        let whole = complete(&upload, &[&one, &two]);
        let promised = Some((algorithm, "AAAAAA==".to_owned()));
        let lied = CompleteMultipart { expected_checksum: promised, ..whole.clone() };
        let answer = bed.store.complete_multipart(lied).await;
        assert!(matches!(answer, Err(StoreError::BadDigest { .. })), "{algorithm:?}");
        let info = bed.store.complete_multipart(whole).await.unwrap();
        let value = &info.checksums[0].value;
        match kind {
            Composite => assert!(value.ends_with("-2"), "{value}"),
            FullObject => {
                // What a put of the same bytes has.
                let expected = backlot_storage::Expected {
                    checksums: vec![(algorithm, Some(value.clone()))],
                    ..Default::default()
                };
                let put = backlot_storage::Put { expected, ..crate::put("b") };
                let body = [noise(5_000, 1), noise(123, 2)].concat();
                bed.try_put(put, body).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_part_may_be_a_range_of_an_object_that_goes() {
    let bed = Bed::new().await;
    let film = noise(500_000, 1);
    bed.put("film", film.clone()).await;
    let upload = bed.upload("cut").await;
    let copy = |number, range| CopyPart {
        source: ObjectRef::current("films", "film"),
        source_conditions: SourceConditions::default(),
        range,
        bucket: "films".into(),
        key: "cut".into(),
        upload_id: upload.upload_id.clone(),
        number,
    };
    let range = bed.store.copy_part(copy(1, Some(1_000..300_000))).await.unwrap();
    let whole = bed.store.copy_part(copy(2, None)).await.unwrap();
    assert_eq!(range.etag, hex::encode(<md5::Md5 as md5::Digest>::digest(&film[1_000..300_000])));
    let outside = bed.store.copy_part(copy(3, Some(0..500_001))).await;
    assert!(matches!(outside, Err(StoreError::RangeNotSatisfiable { size: 500_000, .. })));
    bed.store
        .delete(backlot_storage::Delete {
            bucket: "films".into(),
            key: "film".into(),
            ..Default::default()
        })
        .await
        .unwrap();
    bed.store.complete_multipart(complete(&upload, &[&range, &whole])).await.unwrap();
    bed.settles_at(1).await;
    assert_eq!(bed.get("cut").await.unwrap(), [&film[1_000..300_000], &film[..]].concat());
}

#[tokio::test]
async fn uploads_are_listed_by_key_and_age_and_abort_removes_their_bytes() {
    let bed = Bed::new().await;
    let mut uploads = Vec::new();
    for key in ["b", "a", "b", "c/1", "c/2"] {
        let upload = bed.upload(key).await;
        bed.part(&upload, 1, noise(2_000, 1)).await.unwrap();
        uploads.push(upload);
    }
    for limit in 1..5 {
        let mut query = UploadsQuery {
            bucket: "films".into(),
            delimiter: Some("/".into()),
            limit,
            ..UploadsQuery::default()
        };
        let mut seen = Vec::new();
        loop {
            let page = bed.store.list_multiparts(query.clone()).await.unwrap();
            seen.extend(page.uploads.into_iter().map(|upload| upload.upload_id));
            seen.extend(page.prefixes);
            let Some((key, upload)) = page.next else { break };
            (query.key_after, query.upload_after) = (Some(key), upload);
        }
        let id = |index: usize| uploads[index].upload_id.clone();
        assert_eq!(seen, [id(1), id(0), id(2), "c/".into()], "{limit}");
    }
    assert_eq!(bed.files(), 5);
    for upload in &uploads[1..] {
        bed.store.abort_multipart("films", &upload.key, &upload.upload_id).await.unwrap();
    }
    bed.settles_at(1).await;
    let late = bed.part(&uploads[1], 2, noise(2_000, 1)).await;
    assert!(matches!(late, Err(StoreError::NoSuchUpload(_))));
    // The bucket has no objects; it goes with the upload that is left.
    bed.store.delete_bucket("films").await.unwrap();
    bed.settles_at(0).await;
}
