//! The feed of changes.

use std::time::Duration;

use backlot_ledger::Retention;
use backlot_ledger::objects::{ChangeKind, ChangesPage, ChangesQuery};
use backlot_storage::{Delete, Versioning};

use crate::Bed;

impl Bed {
    async fn changed(&self, query: ChangesQuery) -> ChangesPage {
        self.ledger.object_changes(query).await.unwrap()
    }

    /// All changes after a place, read in pages of so many, as `+key`, `-key` and `~key`.
    async fn feed(&self, mut after: u64, limit: usize) -> (Vec<String>, u64) {
        let mut seen = Vec::new();
        loop {
            let query = ChangesQuery { after, limit, ..ChangesQuery::default() };
            let page = self.changed(query).await;
            assert!(page.changes.is_sorted_by(|one, other| one.place < other.place));
            seen.extend(page.changes.iter().map(|change| {
                let sign = match change.kind {
                    ChangeKind::Created => '+',
                    ChangeKind::Removed => '-',
                    ChangeKind::VersionRemoved => '~',
                };
                format!("{sign}{}", change.key)
            }));
            after = page.next;
            if !page.more {
                return (seen, after);
            }
        }
    }

    async fn delete(&self, key: &str, version: Option<&str>) {
        let version = version.map(Into::into);
        let delete =
            Delete { bucket: "films".into(), key: key.into(), version, ..Delete::default() };
        self.store.delete(delete).await.unwrap();
    }
}

#[tokio::test]
async fn changes_come_in_the_order_of_commit_whatever_the_pages() {
    let bed = Bed::new().await;
    assert_eq!(bed.feed(0, 0).await, (vec![], 0));
    for key in ["a", "b", "c"] {
        bed.put(key, "1").await;
    }
    let (_, start) = bed.feed(0, 0).await;
    assert_eq!(bed.ledger.last_change().await.unwrap(), start);
    bed.delete("b", None).await;
    bed.put("a", "2").await;
    bed.delete("nothing", None).await;
    bed.delete("c", None).await;
    bed.put("b", "3").await;
    for limit in [1, 2, 3, 100] {
        let (seen, end) = bed.feed(0, limit).await;
        assert_eq!(seen, ["-b", "+a", "-c", "+b"], "pages of {limit}");
        assert_eq!(end, bed.ledger.last_change().await.unwrap());
        assert_eq!(bed.feed(start, limit).await.0, ["-b", "+a", "-c", "+b"]);
        assert_eq!(bed.feed(end, limit).await, (vec![], end));
    }
    let bed = bed.reopen().await;
    bed.put("d", "4").await;
    assert_eq!(bed.feed(start, 1).await.0, ["-b", "+a", "-c", "+b", "+d"]);
}

#[tokio::test]
async fn versions_and_markers_are_changes_of_their_own() {
    let bed = Bed::new().await;
    bed.store.set_versioning("films", Versioning::Enabled).await.unwrap();
    let first = bed.put("a", "1").await;
    bed.put("a", "2").await;
    bed.delete("a", None).await;
    assert_eq!(bed.feed(0, 0).await.0, ["+a", "+a", "-a"]);
    let (_, end) = bed.feed(0, 0).await;
    bed.delete("a", Some(&first.version_id)).await;
    let page = bed.changed(ChangesQuery { after: end, ..ChangesQuery::default() }).await;
    assert_eq!(page.changes[0].kind, ChangeKind::VersionRemoved);
    assert_eq!(page.changes[0].version_id, first.version_id);
    assert_eq!((page.changes[0].size, &page.changes[0].etag), (1, &first.etag));
}

#[tokio::test]
async fn only_the_places_asked_for_are_shown_and_the_others_are_passed_over() {
    let bed = Bed::new().await;
    bed.store.create_bucket("other").await.unwrap();
    for key in ["in/1", "out/1", "in/2"] {
        bed.put(key, "x").await;
    }
    let places = vec![("films".to_owned(), "in/".to_owned()), ("other".to_owned(), String::new())];
    let query = ChangesQuery { places: places.clone(), ..ChangesQuery::default() };
    let page = bed.changed(query.clone()).await;
    let keys: Vec<_> = page.changes.iter().map(|change| change.key.as_str()).collect();
    assert_eq!(keys, ["in/1", "in/2"]);
    bed.put("out/2", "x").await;
    let next = bed.changed(ChangesQuery { after: page.next, ..query }).await;
    assert!(next.changes.is_empty() && page.next < next.next, "{next:?}");
}

#[tokio::test]
async fn removals_are_forgotten_with_a_word_and_what_is_there_never() {
    let bed = Bed::new().await;
    for key in ["a", "b"] {
        bed.put(key, "1").await;
    }
    bed.delete("a", None).await;
    let all = Retention { age_max: Duration::MAX, roots_max: u32::MAX, bytes_max: u64::MAX };
    bed.ledger.prune(all).await.unwrap();
    let page = bed.changed(ChangesQuery::default()).await;
    assert_eq!((page.changes.len(), page.gap), (2, false));
    // Older than nothing: all but those of this very millisecond.
    tokio::time::sleep(Duration::from_millis(5)).await;
    bed.ledger.prune(Retention { age_max: Duration::ZERO, ..all }).await.unwrap();
    let page = bed.changed(ChangesQuery::default()).await;
    assert_eq!((page.changes.len(), page.gap), (1, true));
    let after = bed.ledger.last_change().await.unwrap();
    let page = bed.changed(ChangesQuery { after, ..ChangesQuery::default() }).await;
    assert!(!page.gap, "whoever had read them misses nothing");
}
