//! Nothing is granted that is not named; what is refused is refused with a type.

use backlot_ledger::LogSource;
use backlot_runtime::{Access, Grants, StorageGrant};

use crate::support::Host;

#[tokio::test]
async fn without_grants_every_call_is_denied_and_none_is_missing() {
    let host = Host::with(|_, manifest| manifest.grants = Grants::default()).await;
    for command in ["encode", "head uploads film.mp4", "start-other probe", "publish content.ready"]
    {
        let answer = host.answer(command).await;
        assert!(answer.contains("Denied"), "{command}: {answer}");
    }
}

#[tokio::test]
async fn refused_calls_are_in_the_log() {
    let host = Host::start().await;
    let ended = host.invoke("start-other encoder").await;
    let log = host.log(&ended.id, LogSource::Host).await;
    assert_eq!(log, ["denied: children.start needs \"encoder\" in the grant `children`"]);
}

#[tokio::test]
async fn a_grant_holds_for_what_it_names() {
    let host = Host::with(|_, manifest| {
        manifest.grants.storage = vec![StorageGrant {
            bucket: "uploads".into(),
            prefix: "mine/".into(),
            access: vec![Access::Read],
        }];
    })
    .await;
    host.store.create_bucket("uploads").await.unwrap();
    let answer = host.answer("head uploads mine/film.mp4").await;
    assert!(answer.contains("NotFound"), "{answer}");
    let answer = host.answer("head uploads other/film.mp4").await;
    assert!(answer.contains("Denied"), "{answer}");
}

#[tokio::test]
async fn objects_go_out_and_in_and_are_accounted() {
    let host = Host::with(|_, manifest| {
        manifest.grants.storage = vec![StorageGrant {
            bucket: "content".into(),
            prefix: String::new(),
            access: vec![Access::Read, Access::Write],
        }];
    })
    .await;
    host.store.create_bucket("content").await.unwrap();
    let ended = host.invoke("write-and-read content film.bin 100000").await;
    assert_eq!(ended.result.as_deref(), Some(b"100000".as_slice()), "{:?}", ended.reason);
    assert_eq!((ended.cost.bytes_in, ended.cost.bytes_out), (100_000, 100_000));
    assert_eq!(host.store.head("content", "film.bin", None).await.unwrap().size, 100_000);
}

#[tokio::test]
async fn wasi_has_nothing_behind_it() {
    let host = Host::start().await;
    assert_eq!(host.answer("outside").await, "open: []");
    let env = host.answer("env").await;
    assert!(env.contains(r#"("PROBE_GREETING", "hello")"#), "{env}");
    assert!(env.contains("BACKLOT_CORES"), "{env}");
    assert!(!env.contains("PATH"), "{env}");
}

#[tokio::test]
async fn a_kind_of_the_hosts_own_is_invalid() {
    let host = Host::start().await;
    let answer = host.answer("publish backlot.object.created").await;
    assert!(answer.contains("Invalid"), "{answer}");
}

#[tokio::test]
async fn only_ones_own_children_can_be_waited_for() {
    let host = Host::start().await;
    let other = host.invoke("none").await;
    let answer = host.answer(&format!("wait-for {}", other.id)).await;
    assert!(answer.contains("Invalid"), "{answer}");
    let answer = host.answer("wait-for nonsense").await;
    assert!(answer.contains("Invalid"), "{answer}");
}
