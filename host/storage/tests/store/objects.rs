//! Conditions, readers, copies, compositions, deletes, limits, events.

use std::collections::BTreeMap;

use backlot_storage::{
    ChecksumAlgorithm, Compose, Conditions, Copy, Delete, EtagMatch, MetadataDirective,
    ObjectHeaders, ObjectRef, Put, SourceConditions, StoreError, TagDirective,
};
use futures::future::join_all;

use crate::{Bed, noise, put};

fn only_if(if_match: Option<&str>, if_none_match: bool) -> Conditions {
    Conditions {
        if_match: if_match.map(|etag| EtagMatch::Is(etag.into())),
        if_none_match: if_none_match.then_some(EtagMatch::Any),
    }
}

fn copy(from: &str, to: &str) -> Copy {
    Copy {
        source: ObjectRef::current("films", from),
        source_conditions: SourceConditions::default(),
        bucket: "films".into(),
        key: to.into(),
        metadata: MetadataDirective::Copy,
        tags: TagDirective::Copy,
        conditions: Conditions::default(),
        checksum: None,
        effect: None,
        principal: String::new(),
    }
}

fn delete(key: &str) -> Delete {
    Delete { bucket: "films".into(), key: key.into(), ..Delete::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_200_that_want_to_be_first_one_is() {
    let bed = Bed::new().await;
    let first = |number: u64| {
        // Both kinds of blobs: in the ledger and as files.
        let body = noise(if number.is_multiple_of(2) { 100 } else { 5_000 }, number);
        let put = Put { conditions: only_if(None, true), ..put("contested") };
        let bed = &bed;
        async move { (bed.try_put(put, body.clone()).await, body) }
    };
    let answers = join_all((0..200).map(first)).await;
    let mut winners = Vec::new();
    for (answer, body) in answers {
        match answer {
            Ok(_) => winners.push(body),
            Err(StoreError::PreconditionFailed { condition: "if-none-match" }) => {}
            Err(err) => panic!("{err}"),
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(bed.get("contested").await.unwrap(), winners[0]);
    bed.settles_at(usize::from(winners[0].len() == 5_000)).await;
    assert_eq!(bed.events.take(), ["ObjectCreated:Put contested"]);
}

#[tokio::test]
async fn if_match_swaps_only_what_is_there() {
    let bed = Bed::new().await;
    let swap = |etag: &str| Put { conditions: only_if(Some(etag), false), ..put("a") };
    assert!(matches!(bed.try_put(swap("x"), "1").await, Err(StoreError::NotFound(_))));
    let one = bed.put("a", "1").await;
    let two = bed.try_put(swap(&one.etag), "2").await.unwrap();
    let stale = bed.try_put(swap(&one.etag), "3").await;
    assert!(matches!(stale, Err(StoreError::PreconditionFailed { condition: "if-match" })));
    let stale = Delete { conditions: only_if(Some(&one.etag), false), ..delete("a") };
    assert!(matches!(
        bed.store.delete(stale).await,
        Err(StoreError::PreconditionFailed { condition: "if-match" })
    ));
    assert_eq!(bed.get("a").await.unwrap(), "2");
    assert_ne!(one.content_id, two.content_id);
}

#[tokio::test]
async fn a_reader_keeps_what_it_opened_through_overwrite_and_delete() {
    let bed = Bed::new().await;
    for size in [500, 400_000] {
        let (old, new) = (noise(size, 1), noise(size, 2));
        bed.put("a", old.clone()).await;
        let reader = bed.store.open_object("films", "a", None).await.unwrap();
        bed.put("a", new.clone()).await;
        bed.store.sweep().await.unwrap();
        assert_eq!(reader.read_at(0, size).await.unwrap(), old);
        let newer = bed.store.open_object("films", "a", None).await.unwrap();
        bed.store.delete(delete("a")).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(120)).await;
        bed.store.sweep().await.unwrap();
        assert_eq!(newer.read_at(0, size).await.unwrap(), new);
        assert_eq!(reader.read_at(0, size).await.unwrap(), old);
        drop((reader, newer));
        bed.settles_at(0).await;
    }
}

#[tokio::test]
async fn a_copy_shares_bytes_and_outlives_its_source() {
    let bed = Bed::new().await;
    let body = noise(400_000, 1);
    let source = Put {
        metadata: BTreeMap::from([("a".into(), "1".into())]),
        tags: BTreeMap::from([("t".into(), "1".into())]),
        headers: ObjectHeaders { content_type: Some("video/mp4".into()), ..Default::default() },
        ..put("source")
    };
    let source = bed.try_put(source, body.clone()).await.unwrap();
    let same = bed.store.copy(copy("source", "same")).await.unwrap();
    assert_eq!(bed.files(), 1);
    assert_eq!(
        (&same.etag, &same.metadata, &same.tags, &same.headers),
        (&source.etag, &source.metadata, &source.tags, &source.headers)
    );
    let other = MetadataDirective::Replace {
        headers: ObjectHeaders::default(),
        metadata: BTreeMap::from([("b".into(), "2".into())]),
    };
    let other = Copy {
        metadata: other,
        tags: TagDirective::Replace(BTreeMap::new()),
        checksum: Some(ChecksumAlgorithm::Crc32c),
        ..copy("source", "source")
    };
    // Onto itself: the bytes stay.
    let other = bed.store.copy(other).await.unwrap();
    assert_eq!(other.metadata.len() + other.tags.len() + other.checksums.len(), 2);
    bed.store.delete(delete("source")).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(120)).await;
    assert_eq!(bed.get("same").await.unwrap(), body);
    bed.store.delete(delete("same")).await.unwrap();
    bed.settles_at(0).await;
    assert_eq!(
        bed.events.take(),
        [
            "ObjectCreated:Put source",
            "ObjectCreated:Copy same",
            "ObjectCreated:Copy source",
            "ObjectRemoved:Delete source",
            "ObjectRemoved:Delete same"
        ]
    );
}

#[tokio::test]
async fn the_source_of_a_copy_is_checked_where_it_is_copied() {
    let bed = Bed::new().await;
    let source = bed.put("a", "1").await;
    let with = |source_conditions| Copy { source_conditions, ..copy("a", "b") };
    let is = |etag: &str| vec![EtagMatch::Is(etag.into())];
    let past = source.modified_at - jiff::SignedDuration::from_secs(60);
    let none = SourceConditions::default;
    let fine = [
        SourceConditions { if_match: is(&source.etag), if_unmodified_since: Some(past), ..none() },
        SourceConditions { if_none_match: is("x"), ..none() },
        SourceConditions { if_modified_since: Some(past), ..none() },
        SourceConditions { content_id: Some(source.content_id.clone()), ..none() },
    ];
    for conditions in fine {
        bed.store.copy(with(conditions)).await.unwrap();
    }
    let bad = [
        SourceConditions { if_match: is("x"), ..none() },
        SourceConditions { if_none_match: is(&source.etag), ..none() },
        SourceConditions { if_unmodified_since: Some(past), ..none() },
        SourceConditions { if_modified_since: Some(source.modified_at), ..none() },
        SourceConditions { content_id: Some("x".into()), ..none() },
    ];
    for conditions in bad {
        let answer = bed.store.copy(with(conditions.clone())).await;
        assert!(matches!(answer, Err(StoreError::PreconditionFailed { .. })), "{conditions:?}");
    }
}

#[tokio::test]
async fn compose_joins_without_writing_and_its_sources_may_go() {
    let bed = Bed::new().await;
    let (a, b) = (noise(500, 1), noise(300_000, 2));
    let etags = [bed.put("a", a.clone()).await.etag, bed.put("b", b.clone()).await.etag];
    let compose = |key: &str, sources: &[&str]| Compose {
        bucket: "films".into(),
        key: key.into(),
        sources: sources.iter().map(ToString::to_string).collect(),
        ..Compose::default()
    };
    let whole = bed.store.compose(compose("w", &["a", "b", "a"])).await.unwrap();
    let digests = [0, 1, 0].map(|part: usize| hex::decode(&etags[part]).unwrap()).concat();
    let md5 = hex::encode(<md5::Md5 as md5::Digest>::digest(digests));
    assert_eq!((whole.etag, bed.files()), (format!("{md5}-3"), 1));
    // Onto one of its sources.
    bed.store.compose(compose("b", &["b", "w"])).await.unwrap();
    for key in ["a", "w"] {
        bed.store.delete(delete(key)).await.unwrap();
    }
    let joined = [b.clone(), a.clone(), b, a].concat();
    assert_eq!(bed.reopen().await.get("b").await.unwrap(), joined);
}

#[tokio::test]
async fn compose_of_what_is_not_there_changes_nothing() {
    let bed = Bed::new().await;
    bed.put("a", "1").await;
    let compose = |sources: Vec<String>| Compose {
        bucket: "films".into(),
        key: "w".into(),
        sources,
        ..Compose::default()
    };
    let answer = bed.store.compose(compose(vec!["a".into(), "b".into()])).await;
    assert!(matches!(answer, Err(StoreError::NotFound(key)) if key == "b"));
    let answer = bed.store.compose(compose(vec![])).await;
    assert!(matches!(answer, Err(StoreError::Invalid(_))));
    let answer = bed.store.compose(compose(vec!["a".into(); 10_001])).await;
    assert!(matches!(answer, Err(StoreError::OverLimit { limit: 10_000, .. })));
    assert!(matches!(bed.get("w").await, Err(StoreError::NotFound(_))));
}

#[tokio::test]
async fn deletes_answer_each_and_empty_buckets_go() {
    let bed = Bed::new().await;
    bed.put("a", "1").await;
    bed.put("b", "2").await;
    let not_empty = bed.store.delete_bucket("films").await;
    assert!(matches!(not_empty, Err(StoreError::BucketNotEmpty(_))));
    let elsewhere = Delete { bucket: "nowhere".into(), ..delete("a") };
    let answers = bed.store.delete_many(vec![delete("a"), elsewhere, delete("c"), delete("b")]);
    let answers = answers.await.unwrap();
    let existed: Vec<_> = answers.iter().map(|a| a.as_ref().map(|d| d.existed).ok()).collect();
    assert_eq!(existed, [Some(true), None, Some(false), Some(true)]);
    bed.store.delete_bucket("films").await.unwrap();
    assert!(bed.store.bucket("films").await.unwrap().is_none());
    assert!(matches!(bed.try_put(put("a"), "1").await, Err(StoreError::NoSuchBucket(_))));
}

#[tokio::test]
async fn limits_are_inclusive() {
    let bed = Bed::new().await;
    let keyed = |len: usize| put(&"é".repeat(len / 2));
    assert!(bed.try_put(keyed(1_024), "1").await.is_ok());
    assert!(matches!(bed.try_put(keyed(1_026), "1").await, Err(StoreError::OverLimit { .. })));
    assert!(matches!(bed.try_put(put(""), "1").await, Err(StoreError::Invalid(_))));
    let described = |bytes: usize| Put {
        metadata: BTreeMap::from([("n".into(), "v".repeat(bytes - 1))]),
        ..put("a")
    };
    assert!(bed.try_put(described(2_048), "1").await.is_ok());
    assert!(matches!(bed.try_put(described(2_049), "1").await, Err(StoreError::OverLimit { .. })));
    let tagged = |count: usize| Put {
        tags: (0..count).map(|tag| (tag.to_string(), String::new())).collect(),
        ..put("a")
    };
    assert!(bed.try_put(tagged(10), "1").await.is_ok());
    assert!(matches!(bed.try_put(tagged(11), "1").await, Err(StoreError::OverLimit { .. })));
    for name in ["ab", "Films", "a..b", "-ab", "192.168.1.1", "a_b", &"a".repeat(64)] {
        let answer = bed.store.create_bucket(name).await;
        assert!(matches!(answer, Err(StoreError::Invalid(_))), "{name}");
    }
}

#[tokio::test]
async fn keys_are_names_and_never_paths() {
    let bed = Bed::new().await;
    let keys =
        ["../../etc/passwd", "/", "//", "a/../b", ".", "a\0b", "C:\\x", "a//b/", "\u{10FFFF}"];
    for key in keys {
        bed.put(key, key.to_owned()).await;
    }
    for key in keys {
        assert_eq!(bed.get(key).await.unwrap(), key);
    }
}

#[tokio::test]
async fn tags_belong_to_the_object_and_go_with_it() {
    let bed = Bed::new().await;
    bed.put("a", "1").await;
    let object = ObjectRef::current("films", "a");
    let tags = BTreeMap::from([("state".to_owned(), "fine".to_owned())]);
    bed.store.set_tags(&object, tags.clone()).await.unwrap();
    assert_eq!(bed.store.tags(&object).await.unwrap(), ("null".to_owned(), tags));
    bed.put("a", "2").await;
    assert!(bed.store.tags(&object).await.unwrap().1.is_empty());
    let missing = ObjectRef::current("films", "b");
    let answer = bed.store.set_tags(&missing, BTreeMap::new()).await;
    assert!(matches!(answer, Err(StoreError::NotFound(_))));
}
