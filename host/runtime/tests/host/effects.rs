//! What an invocation did, it did once, however many attempts it took.

use backlot_ledger::{AttemptOutcome, State};

use crate::support::Host;

/// Puts, a delete and events, in one handler.
const DEEDS: &str = "put content a one; put content b two; delete content a; publish probe none; \
                     publish probe none; child none; wait; remember name value";

#[tokio::test]
async fn nothing_is_done_again_after_a_trap() {
    let host = Host::with_bucket(|_, _| {}).await;
    let ended = host.invoke(&format!("program {DEEDS}; trap-on 3")).await;
    // One more than failed, because it waited for the child.
    assert_eq!((ended.state, ended.attempt), (State::Succeeded, 4), "{:?}", ended.reason);
    assert_eq!(ended.failures, 2);
    let counts = host.counts().await;
    assert_eq!(counts["a"], 2, "a version and the marker that the delete left");
    assert_eq!(counts["b"], 1);
    let roots = host.roots().await;
    assert_eq!(roots.iter().filter(|root| root.event_source == "/functions/probe").count(), 2);
    assert_eq!(host.ledger.children_of(&ended.id).await.unwrap().len(), 1);

    let effects = host.effects(&ended.id).await;
    let calls: Vec<&str> =
        effects.iter().map(|effect| effect.call.rsplit_once('/').unwrap().1).collect();
    for (call, times) in [("objects.create", 2), ("objects.delete", 1), ("context.publish", 2)] {
        assert_eq!(calls.iter().filter(|done| **done == call).count(), times, "{calls:?}");
    }
    assert!(effects.iter().all(|effect| effect.attempt == 1), "{effects:?}");
}

#[tokio::test]
async fn the_same_call_twice_is_done_twice() {
    let host = Host::with_bucket(|_, _| {}).await;
    let twice = "put content k same; put content k same";
    host.answer(&format!("program {twice}")).await;
    assert_eq!(host.counts().await["k"], 2);
    // And not four times, whatever happens to it.
    host.answer(&format!("program {}; trap-on 2", twice.replace(" k ", " l "))).await;
    assert_eq!(host.counts().await["l"], 2);
}

#[tokio::test]
async fn a_trap_between_two_effects_repeats_neither() {
    let host = Host::with_bucket(|_, _| {}).await;
    let ended = host
        .invoke("program put content a x; trap-on 1; put content a x; trap-on 2; put content a x")
        .await;
    assert_eq!(ended.state, State::Succeeded, "{:?}", ended.reason);
    assert_eq!(host.counts().await["a"], 3);
    let attempts: Vec<u32> =
        host.effects(&ended.id).await.iter().map(|effect| effect.attempt).collect();
    assert_eq!(attempts, [1, 2, 3]);
}

#[tokio::test]
async fn a_call_that_failed_is_neither_recorded_nor_counted() {
    let host = Host::with_bucket(|_, _| {}).await;
    let id = host
        .publish(
            "probe",
            "program try put later k v; put content failed yes; until content go; put later k v",
        )
        .await;
    host.made("failed").await;
    let subjects = async || {
        let effects = host.effects(&id).await;
        effects.into_iter().map(|effect| effect.subject).collect::<Vec<_>>()
    };
    assert_eq!(subjects().await, ["content/failed"]);
    host.make_bucket("later").await;
    host.put("go", "").await;
    assert_eq!(host.ended(&id).await.state, State::Succeeded);
    assert_eq!(subjects().await, ["content/failed", "later/k"]);
}

#[tokio::test]
async fn a_condition_that_did_not_hold_is_asked_for_again() {
    let host = Host::with_bucket(|_, _| {}).await;
    let program = "program put-new content k a; try put-new content k a; trap-on 2";
    let ended = host.invoke(program).await;
    assert_eq!((ended.state, ended.attempt), (State::Succeeded, 3), "{:?}", ended.reason);
    assert_eq!(host.counts().await["k"], 1);
    assert_eq!(host.effects(&ended.id).await.len(), 1);
}

#[tokio::test]
async fn what_a_cancelled_invocation_did_stays_and_no_more_is_done() {
    let host = Host::with_bucket(|_, _| {}).await;
    let id = host
        .publish("probe", "program put content a x; until content never; put content b x")
        .await;
    host.made("a").await;
    host.ledger.cancel(&id).await.unwrap();
    let ended = host.ended(&id).await;
    assert_eq!(ended.state, State::Cancelled);
    assert_eq!(host.outcomes(&id).await, [Some(AttemptOutcome::Cancelled)]);
    assert_eq!(host.counts().await.into_keys().collect::<Vec<_>>(), ["a"]);
}
