//! The host side of the guests' interface: grants, fences, handles.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use backlot_bindings::backlot::storage::objects::{
    Error, Host, HostReader, HostWriter, WriteOptions,
};
use backlot_ledger::{Fence, Lane};
use backlot_storage::guest::{Access, CALL_BYTES_MAX, Grant, HANDLES_MAX, StorageCtx, StorageView};
use backlot_storage::{Versioning, VersionsQuery};
use wasmtime::component::{Resource, ResourceTable};

use crate::Bed;

struct Guest {
    table: ResourceTable,
    ctx: StorageCtx,
    denials: Arc<Mutex<Vec<String>>>,
}

impl Guest {
    fn new(bed: &Bed, fence: Fence) -> Guest {
        let grant = |prefix: &str, access: &[Access]| Grant {
            bucket: "films".into(),
            prefix: prefix.into(),
            access: access.to_vec(),
        };
        let all = [Access::Read, Access::Write, Access::Delete];
        let grants = [grant("in/", &[Access::Read]), grant("out/", &all)];
        let denials = Arc::new(Mutex::new(Vec::new()));
        let told = denials.clone();
        let on_denied = Arc::new(move |text: &str| told.lock().unwrap().push(text.to_owned()));
        let (store, grants) = (bed.store.clone(), grants.into());
        let ctx = StorageCtx::new(store, "encoder".into(), grants, fence, on_denied);
        Guest { table: ResourceTable::new(), ctx, denials }
    }

    fn view(&mut self) -> StorageView<'_> {
        StorageView { table: &mut self.table, ctx: &mut self.ctx }
    }

    async fn write(&mut self, key: &str, body: &str) -> Result<String, Error> {
        let mut view = self.view();
        let writer = view.create("films".into(), key.into(), options()).await.unwrap()?;
        let rep = writer.rep();
        view.write(Resource::new_borrow(rep), body.into()).await.unwrap()?;
        let info = view.finish(Resource::new_borrow(rep)).await.unwrap();
        HostWriter::drop(&mut view, writer).await.unwrap();
        info.map(|info| info.content_id)
    }
}

fn options() -> WriteOptions {
    WriteOptions { content_type: None, metadata: vec![], if_match: None, if_none_match: false }
}

/// The fence of an attempt that runs.
async fn running(bed: &Bed) -> Fence {
    bed.put("in/film", "the film").await;
    let leased = bed.ledger.lease(Lane::Roots, 1, Duration::from_secs(60)).await.unwrap();
    leased.into_iter().next().unwrap().fence
}

#[tokio::test]
async fn a_grant_is_bucket_prefix_and_access() {
    let bed = Bed::new().await;
    let mut guest = Guest::new(&bed, running(&bed).await);
    guest.write("out/a", "1").await.unwrap();
    let mut view = guest.view();
    let films = || "films".to_owned();
    let denied = |answer: Result<(), Error>| assert!(matches!(answer, Err(Error::Denied(_))));
    let head = |key: &str| (films(), key.to_owned(), None);
    let (bucket, key, version) = head("in/film");
    assert_eq!(view.head(bucket, key, version).await.unwrap().unwrap().size, 8);
    for key in ["in", "other", "out", ""] {
        denied(view.head(films(), key.into(), None).await.unwrap().map(drop));
        denied(view.open(films(), key.into(), None).await.unwrap().map(drop));
        denied(view.list(films(), key.into(), None, 10).await.unwrap().map(drop));
    }
    for key in ["in/film", "other"] {
        denied(view.create(films(), key.into(), options()).await.unwrap().map(drop));
        denied(view.delete(films(), key.into()).await.unwrap());
        let sources = vec!["out/a".to_owned()];
        denied(view.compose(films(), key.into(), sources, options()).await.unwrap().map(drop));
        let sources = vec!["out/a".to_owned(), "other".to_owned()];
        denied(view.compose(films(), "out/b".into(), sources, options()).await.unwrap().map(drop));
    }
    denied(view.head("uploads".into(), "in/film".into(), None).await.unwrap().map(drop));
    let sources = vec!["in/film".to_owned(), "out/a".to_owned()];
    view.compose(films(), "out/b".into(), sources, options()).await.unwrap().unwrap();
    let listed = view.list(films(), "out/".into(), Some("out/a".into()), 10).await.unwrap();
    let listed = listed.unwrap();
    assert_eq!(listed.iter().map(|info| info.key.as_str()).collect::<Vec<_>>(), ["out/b"]);
    view.delete(films(), "out/b".into()).await.unwrap().unwrap();
    assert_eq!(bed.get("out/a").await.unwrap(), "1");
    // Each of them was told of.
    let denials = guest.denials.lock().unwrap();
    assert_eq!(denials.len(), 4 * 3 + 2 * 4 + 1);
    assert_eq!(denials[0], "no grant to read \"in\" in bucket \"films\"");
}

#[tokio::test]
async fn an_attempt_that_is_over_changes_nothing() {
    let bed = Bed::new().await;
    let fence = running(&bed).await;
    let mut guest = Guest::new(&bed, fence.clone());
    guest.write("out/a", "1").await.unwrap();
    bed.ledger.cancel(&fence.invocation).await.unwrap();
    assert!(matches!(guest.write("out/a", "2").await, Err(Error::Fenced)));
    let mut view = guest.view();
    let gone = view.delete("films".into(), "out/a".into()).await.unwrap();
    assert!(matches!(gone, Err(Error::Fenced)));
    let sources = vec!["in/film".to_owned()];
    let made = view.compose("films".into(), "out/a".into(), sources, options()).await.unwrap();
    assert!(matches!(made, Err(Error::Fenced)));
    assert_eq!(bed.get("out/a").await.unwrap(), "1");
}

#[tokio::test]
async fn handles_and_calls_are_bounded() {
    let bed = Bed::new().await;
    let mut guest = Guest::new(&bed, running(&bed).await);
    let mut view = guest.view();
    let mut readers = Vec::new();
    for _ in 0..HANDLES_MAX {
        readers.push(view.open("films".into(), "in/film".into(), None).await.unwrap().unwrap());
    }
    let full = view.open("films".into(), "in/film".into(), None).await.unwrap();
    assert!(matches!(full, Err(Error::OverLimit(_))));
    let full = view.create("films".into(), "out/a".into(), options()).await.unwrap();
    assert!(matches!(full, Err(Error::OverLimit(_))));
    let rep = readers[0].rep();
    let most = u32::try_from(CALL_BYTES_MAX).unwrap();
    let read = view.read(Resource::new_borrow(rep), 4, most).await.unwrap().unwrap();
    assert_eq!(read, b"film");
    let more = view.read(Resource::new_borrow(rep), 4, most + 1).await.unwrap();
    assert!(matches!(more, Err(Error::OverLimit(_))));
    HostReader::drop(&mut view, readers.pop().unwrap()).await.unwrap();
    assert!(view.open("films".into(), "in/film".into(), None).await.unwrap().is_ok());
}

#[tokio::test]
async fn conditions_are_those_of_the_store() {
    let bed = Bed::new().await;
    let mut guest = Guest::new(&bed, running(&bed).await);
    guest.write("out/a", "1").await.unwrap();
    let mut view = guest.view();
    let first = WriteOptions { if_none_match: true, ..options() };
    let writer = view.create("films".into(), "out/a".into(), first).await.unwrap().unwrap();
    let answer = view.finish(Resource::new_borrow(writer.rep())).await.unwrap();
    assert!(matches!(answer, Err(Error::PreconditionFailed)));
    let spent = view.finish(Resource::new_borrow(writer.rep())).await.unwrap();
    assert!(matches!(spent, Err(Error::Invalid(_))));
    let nowhere = view.head("films".into(), "out/b".into(), None).await.unwrap();
    assert!(matches!(nowhere, Err(Error::NotFound)));
}

#[tokio::test]
async fn what_an_earlier_attempt_did_is_not_done_again() {
    let bed = Bed::new().await;
    let fence = running(&bed).await;
    let films = || "films".to_owned();
    bed.store.set_versioning("films", Versioning::Enabled).await.unwrap();
    let large = "x".repeat(200_000);
    let mut answers = Vec::new();
    // The same code in two attempts; what tells an attempt apart is only what it has counted.
    for _ in 0..2 {
        let mut guest = Guest::new(&bed, fence.clone());
        let mut answer = vec![
            guest.write("out/a", "1").await.unwrap(),
            // The same again is meant again.
            guest.write("out/a", "1").await.unwrap(),
            guest.write("out/a", "2").await.unwrap(),
            guest.write("out/large", &large).await.unwrap(),
        ];
        let mut view = guest.view();
        let sources = vec!["in/film".to_owned(), "out/a".to_owned()];
        let composed = view.compose(films(), "out/b".into(), sources, options()).await.unwrap();
        answer.push(composed.unwrap().content_id);
        view.delete(films(), "out/a".into()).await.unwrap().unwrap();
        answers.push(answer);
    }
    assert_eq!(answers[0], answers[1]);
    let query = VersionsQuery { bucket: films(), limit: 100, ..VersionsQuery::default() };
    let versions = bed.store.list_versions(query).await.unwrap().versions;
    let of = |key: &str| versions.iter().filter(|version| version.key == key).count();
    assert_eq!((of("out/a"), of("out/large"), of("out/b")), (4, 1, 1), "three and a marker");
    let effects = bed.ledger.effects(&fence.invocation, 0).await.unwrap();
    assert_eq!(effects.len(), 6);
    assert_eq!(effects[0].call, "backlot:storage/objects.create");
    assert_eq!(effects[0].subject, "films/out/a");
    // The second attempt's bytes went with it.
    let swept = bed.store.sweep().await.unwrap();
    assert_eq!(swept.orphans, 0);
}

/// Whether it was done.
async fn compose_later(guest: &mut Guest) -> bool {
    let sources = vec!["in/later".to_owned()];
    let mut view = guest.view();
    view.compose("films".into(), "out/b".into(), sources, options()).await.unwrap().is_ok()
}

#[tokio::test]
async fn a_call_that_failed_did_nothing_and_is_the_same_call_again() {
    let bed = Bed::new().await;
    let fence = running(&bed).await;
    let mut guest = Guest::new(&bed, fence.clone());
    assert!(!compose_later(&mut guest).await);
    assert!(bed.ledger.effects(&fence.invocation, 0).await.unwrap().is_empty());
    bed.put("in/later", "now").await;
    assert!(compose_later(&mut guest).await);
    // A later attempt that succeeds at once comes to the same effect.
    assert!(compose_later(&mut Guest::new(&bed, fence.clone())).await);
    assert_eq!(bed.ledger.effects(&fence.invocation, 0).await.unwrap().len(), 1);
}

#[tokio::test]
async fn changes_are_shown_where_a_grant_allows_reading() {
    use backlot_bindings::backlot::storage::changes::{Host as Changes, Kind};
    let bed = Bed::new().await;
    let fence = running(&bed).await;
    for key in ["in/a", "secret/b", "out/c"] {
        bed.put(key, "x").await;
    }
    let mut guest = Guest::new(&bed, fence);
    let mut view = guest.view();
    let all = Changes::read(&mut view, None, None, String::new(), 100).await.unwrap().unwrap();
    let keys: Vec<_> = all.changes.iter().map(|change| change.key.as_str()).collect();
    assert_eq!(keys, ["in/film", "in/a", "out/c"]);
    assert!(all.changes.iter().all(|change| change.kind == Kind::Created));
    assert_eq!(all.cursor, view.end().await.unwrap().unwrap());
    let page =
        Changes::read(&mut view, Some("1".into()), Some("films".into()), "in/a".into(), 1).await;
    assert_eq!(page.unwrap().unwrap().changes[0].key, "in/a");
    for (cursor, bucket, prefix, limit) in [
        (None, Some("films"), "secret/", 1),
        (None, Some("other"), "", 1),
        (Some("x"), None, "", 1),
        (None, None, "", 0),
        (None, None, "", 1_001),
    ] {
        let (cursor, bucket) = (cursor.map(str::to_owned), bucket.map(str::to_owned));
        let refused = Changes::read(&mut view, cursor, bucket, prefix.into(), limit)
            .await
            .unwrap()
            .unwrap_err();
        match (prefix, limit) {
            ("secret/", _) => assert!(matches!(refused, Error::Denied(_)), "{refused:?}"),
            (_, 1) => {
                assert!(matches!(refused, Error::Denied(_) | Error::Invalid(_)), "{refused:?}")
            }
            _ => assert!(matches!(refused, Error::OverLimit(_)), "{refused:?}"),
        }
    }
    assert_eq!(guest.denials.lock().unwrap().len(), 2);
}
