//! What buckets with versions keep, and what suspended ones replace.

use backlot_storage::{Delete, Deleted, ObjectRef, StoreError, Versioning, VersionsQuery};

use crate::{Bed, put};

fn delete(key: &str, version: Option<&str>) -> Delete {
    let version = version.map(Into::into);
    Delete { bucket: "films".into(), key: key.into(), version, ..Delete::default() }
}

impl Bed {
    /// Body and id of the current version, or why there is none.
    async fn now(&self, key: &str) -> String {
        match self.get(key).await {
            Ok(body) => String::from_utf8(body.to_vec()).unwrap(),
            Err(StoreError::NotFound(_)) => "-".into(),
            Err(StoreError::DeleteMarker { named: false, .. }) => "deleted".into(),
            Err(err) => panic!("{err}"),
        }
    }

    /// All versions of all keys, newest first: body or `marker`, `*` for the latest, `0` for null.
    async fn kept(&self) -> Vec<String> {
        let query = VersionsQuery { bucket: "films".into(), limit: 1_000, ..Default::default() };
        let mut kept = Vec::new();
        for info in self.store.list_versions(query).await.unwrap().versions {
            let body = if info.delete_marker {
                "marker".into()
            } else {
                let version = Some(info.version_id.as_str());
                let reader = self.store.open_object("films", &info.key, version).await.unwrap();
                String::from_utf8(reader.read_at(0, 100).await.unwrap().to_vec()).unwrap()
            };
            let latest = if info.is_latest { "*" } else { "" };
            let null = if info.version_id == "null" { "0" } else { "" };
            kept.push(format!("{}={body}{latest}{null}", info.key));
        }
        kept
    }
}

#[tokio::test]
async fn without_versions_there_is_one() {
    let bed = Bed::new().await;
    bed.put("a", "1").await;
    bed.put("a", "2").await;
    assert_eq!(bed.kept().await, ["a=2*0"]);
    let deleted = bed.store.delete(delete("a", None)).await.unwrap();
    assert_eq!(deleted, Deleted { version_id: None, delete_marker: false, existed: true });
    assert_eq!((bed.now("a").await, bed.kept().await.len()), ("-".into(), 0));
    bed.put("a", "3").await;
    bed.store.delete(delete("a", Some("null"))).await.unwrap();
    assert_eq!(bed.now("a").await, "-");
}

#[tokio::test]
async fn who_deletes_an_older_version_does_not_delete_the_object() {
    let bed = Bed::new().await;
    bed.store.set_versioning("films", Versioning::Enabled).await.unwrap();
    let old = bed.put("a", "1").await.version_id;
    let new = bed.put("a", "2").await.version_id;
    bed.events.kinds();
    bed.store.delete(delete("a", Some(&old))).await.unwrap();
    assert_eq!(bed.events.kinds(), ["backlot.object.version-removed"]);
    bed.store.delete(delete("a", Some(&new))).await.unwrap();
    assert_eq!(bed.events.kinds(), ["backlot.object.removed"]);
}

#[tokio::test]
async fn enabled_keeps_all_and_a_marker_hides_them() {
    let bed = Bed::new().await;
    bed.put("a", "0").await;
    bed.store.set_versioning("films", Versioning::Enabled).await.unwrap();
    let one = bed.put("a", "1").await;
    bed.put("a", "2").await;
    assert_eq!(bed.kept().await, ["a=2*", "a=1", "a=00"]);
    let marker = bed.store.delete(delete("a", None)).await.unwrap();
    assert!(marker.delete_marker && marker.existed);
    let again = bed.store.delete(delete("a", None)).await.unwrap();
    assert!(again.delete_marker && !again.existed);
    assert_eq!(bed.kept().await, ["a=marker*", "a=marker", "a=2", "a=1", "a=00"]);
    assert_eq!(bed.now("a").await, "deleted");
    let named = bed.store.head("films", "a", marker.version_id.as_deref()).await;
    assert!(matches!(named, Err(StoreError::DeleteMarker { named: true, .. })));
    // Taking the markers away brings back what they hid.
    for version in [again.version_id, marker.version_id] {
        let deleted = bed.store.delete(delete("a", version.as_deref())).await.unwrap();
        assert!(deleted.delete_marker);
    }
    assert_eq!(bed.now("a").await, "2");
    bed.store.delete(delete("a", Some(&one.version_id))).await.unwrap();
    assert_eq!(bed.kept().await, ["a=2*", "a=00"]);
    let gone = bed.store.head("films", "a", Some(&one.version_id)).await;
    assert!(matches!(gone, Err(StoreError::NoSuchVersion(_))));
    let names: Vec<_> = bed.events.take();
    assert_eq!(
        names[3..6].iter().map(String::as_str).collect::<Vec<_>>(),
        [
            "ObjectRemoved:DeleteMarkerCreated a",
            "ObjectRemoved:DeleteMarkerCreated a",
            "ObjectRemoved:Delete a",
        ]
    );
}

#[tokio::test]
async fn suspended_replaces_null_and_keeps_the_rest() {
    let bed = Bed::new().await;
    bed.put("a", "0").await;
    bed.store.set_versioning("films", Versioning::Enabled).await.unwrap();
    bed.put("a", "1").await;
    bed.store.set_versioning("films", Versioning::Suspended).await.unwrap();
    bed.put("a", "2").await;
    assert_eq!(bed.kept().await, ["a=2*0", "a=1"]);
    let marker = bed.store.delete(delete("a", None)).await.unwrap();
    assert_eq!(marker.version_id.as_deref(), Some("null"));
    assert_eq!(bed.kept().await, ["a=marker*0", "a=1"]);
    bed.put("a", "3").await;
    assert_eq!(bed.kept().await, ["a=3*0", "a=1"]);
    bed.store.set_versioning("films", Versioning::Enabled).await.unwrap();
    bed.put("a", "4").await;
    assert_eq!(bed.kept().await, ["a=4*", "a=30", "a=1"]);
    bed.store.set_versioning("films", Versioning::Suspended).await.unwrap();
    // The null version moves to the front, wherever it was.
    bed.put("a", "5").await;
    assert_eq!(bed.kept().await, ["a=5*0", "a=4", "a=1"]);
    let off = bed.store.set_versioning("films", Versioning::Off).await;
    assert!(matches!(off, Err(StoreError::Invalid(_))));
}

#[tokio::test]
async fn tags_belong_to_a_version() {
    let bed = Bed::new().await;
    bed.store.set_versioning("films", Versioning::Enabled).await.unwrap();
    let one = bed.put("a", "1").await;
    bed.put("a", "2").await;
    let version = Some(one.version_id.clone());
    let object = ObjectRef { version, ..ObjectRef::current("films", "a") };
    let tags = std::collections::BTreeMap::from([("t".to_owned(), "1".to_owned())]);
    assert_eq!(bed.store.set_tags(&object, tags.clone()).await.unwrap(), one.version_id);
    assert_eq!(bed.store.tags(&object).await.unwrap().1, tags);
    assert!(bed.store.tags(&ObjectRef::current("films", "a")).await.unwrap().1.is_empty());
}

#[tokio::test]
async fn pages_of_versions_are_whole_also_when_they_are_deleted_meanwhile() {
    for deleting in [false, true] {
        let bed = Bed::new().await;
        bed.try_put(put("b/1"), "0").await.unwrap();
        bed.store.set_versioning("films", Versioning::Enabled).await.unwrap();
        for key in ["a", "b/1", "b/2", "c"] {
            for body in ["1", "2", "3"] {
                bed.put(key, body).await;
            }
        }
        let all = bed.kept().await;
        assert_eq!(all.len(), 13);
        for limit in 1..6 {
            let mut seen = Vec::new();
            let mut query =
                VersionsQuery { bucket: "films".into(), limit, ..VersionsQuery::default() };
            loop {
                let page = bed.store.list_versions(query.clone()).await.unwrap();
                for info in page.versions {
                    if deleting {
                        bed.store.delete(delete(&info.key, Some(&info.version_id))).await.unwrap();
                    }
                    seen.push((info.key, info.version_id));
                }
                let Some((key, version)) = page.next else { break };
                (query.key_after, query.version_after) = (Some(key), version);
            }
            let expected = if deleting && 1 < limit { 0 } else { 13 };
            assert_eq!(seen.len(), expected, "{limit}");
        }
        let folded = VersionsQuery {
            bucket: "films".into(),
            delimiter: Some("/".into()),
            limit: 100,
            ..VersionsQuery::default()
        };
        let page = bed.store.list_versions(folded).await.unwrap();
        let expected = if deleting { (0, 0) } else { (6, 1) };
        assert_eq!((page.versions.len(), page.prefixes.len()), expected);
    }
}
