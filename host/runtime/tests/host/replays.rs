//! Ended invocations, run again.

use backlot_ledger::{Replay, State};

use crate::support::Host;

/// Fails three times, which is all it may, then succeeds.
const FAILS: &str = "program put content a x; publish probe none; trap-on 3; put content b x";

#[tokio::test]
async fn with_its_effects_it_goes_on_where_it_failed() {
    let host = Host::with_bucket(|_, _| {}).await;
    let failed = host.invoke(FAILS).await;
    assert_eq!((failed.state, failed.failures), (State::Failed, 3));

    let id = host.ledger.replay(&failed.id, Replay::default()).await.unwrap();
    assert_eq!(id, failed.id);
    let ended = host.ended(&id).await;
    assert_eq!((ended.state, ended.attempt), (State::Succeeded, 4), "{:?}", ended.reason);
    let counts = host.counts().await;
    assert_eq!((counts["a"], counts["b"]), (1, 1));
    let published = host.quiet().await;
    assert_eq!(published.len(), 2, "it was published once");
}

#[tokio::test]
async fn fresh_it_does_everything_again() {
    let host = Host::with_bucket(|_, _| {}).await;
    let first = host.invoke("program put content a x; publish probe none; child none; wait").await;
    assert_eq!(first.state, State::Succeeded, "{:?}", first.reason);
    let fresh = Replay { fresh: true, ..Replay::default() };
    let id = host.ledger.replay(&first.id, fresh).await.unwrap();
    assert_ne!(id, first.id);
    let ended = host.ended(&id).await;
    assert_eq!(ended.state, State::Succeeded, "{:?}", ended.reason);
    assert_eq!(ended.event, first.event);
    assert_eq!(host.counts().await["a"], 2);
    assert_eq!(host.ledger.children_of(&id).await.unwrap().len(), 1);
    // Two runs, a child each, and what each published.
    assert_eq!(host.quiet().await.len(), 6);
}

#[tokio::test]
async fn a_version_may_be_chosen() {
    let host = Host::with_bucket(|_, _| {}).await;
    let old = host.deploy(|_| {}).await;
    let first = host.invoke("program child program greet content c; wait; greet content a").await;
    assert_eq!(host.text("a").await.as_deref(), Some("hello"));
    host.deploy(|manifest| {
        manifest.env.insert("PROBE_GREETING".into(), "welcome".into());
    })
    .await;
    for (version, greeting) in [(None, "welcome"), (Some(old.id().to_owned()), "hello")] {
        let fresh = Replay { fresh: true, version: version.clone() };
        let id = host.ledger.replay(&first.id, fresh).await.unwrap();
        assert_eq!(host.ended(&id).await.state, State::Succeeded);
        assert_eq!(host.text("a").await.as_deref(), Some(greeting), "{version:?}");
        assert_eq!(host.text("c").await.as_deref(), Some(greeting), "of its child too");
    }
}

#[tokio::test]
async fn failed_children_go_on_with_their_parent() {
    let host = Host::with_bucket(|_, _| {}).await;
    let program = "program child program put content c1 x; \
                   child program put content c2 x, trap-on 3, put content c3 x; wait";
    let failed = host.invoke(program).await;
    assert_eq!(failed.state, State::Failed, "a child failed, so the handler rejects");
    let id = host.ledger.replay(&failed.id, Replay::default()).await.unwrap();
    let ended = host.ended(&id).await;
    assert_eq!(ended.state, State::Succeeded, "{:?}", ended.reason);
    let counts = host.counts().await;
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [1, 1, 1]);
}

#[tokio::test]
async fn what_has_not_ended_is_not_replayed() {
    let host = Host::with_bucket(|_, _| {}).await;
    let id = host.publish("probe", "program put content a x; until content go").await;
    host.made("a").await;
    let refused = host.ledger.replay(&id, Replay::default()).await.unwrap_err();
    assert!(refused.to_string().contains("has not ended"), "{refused}");
    host.put("go", "").await;
    assert_eq!(host.ended(&id).await.state, State::Succeeded);
}
