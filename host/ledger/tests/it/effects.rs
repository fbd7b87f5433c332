//! What is done once, what is run again, and what is told of endings.

use std::sync::Arc;
use std::time::Duration;

use backlot_ledger::{
    Backlog, CHAIN_MAX, Effects, Event, FUNCTION_FAILED, FUNCTION_SUCCEEDED, Fence, Lane,
    LedgerError, Outcome, Replay, RetryPolicy, Route, Router, State,
};

use crate::support::{Bed, POLICY, end, event};

async fn tell(bed: &Bed, effects: &mut Effects, kind: &str, subject: &str) {
    let effect =
        effects.next("publish", subject.to_owned(), &[kind.as_bytes(), subject.as_bytes()]);
    bed.ledger.publish_once(&effect, event(kind, subject)).await.unwrap();
    effects.done(&effect);
}

#[tokio::test]
async fn an_effect_is_recorded_with_its_attempt_and_answer() {
    let bed = Bed::new();
    let first = bed.root("job", "").await;
    tell(&bed, &mut Effects::new(first.fence.clone()), "nowhere", "a").await;
    bed.finish(&first.fence, Outcome::Trapped("oops".into())).await;
    bed.pass(Duration::from_secs(60));
    let second = bed.only(Lane::Roots).await;
    let mut effects = Effects::new(second.fence.clone());
    tell(&bed, &mut effects, "nowhere", "a").await;
    tell(&bed, &mut effects, "nowhere", "b").await;
    let listed = bed.ledger.effects(&first.invocation.id, 0).await.unwrap();
    let seen: Vec<_> = listed.iter().map(|e| (e.subject.as_str(), e.attempt)).collect();
    assert_eq!(seen, [("a", 1), ("b", 2)]);
    assert!(listed.iter().all(|effect| effect.call == "publish" && effect.answer.is_string()));
    assert_eq!(bed.ledger.effects(&first.invocation.id, 1).await.unwrap(), listed[1..]);
}

#[tokio::test]
async fn a_sleep_ends_when_the_first_attempt_said() {
    let mut bed = Bed::new();
    let minute = Duration::from_secs(60);
    let first = bed.root("job", "").await;
    let effect = |fence: &Fence| Effects::new(fence.clone()).next("sleep", String::new(), &[b"60"]);
    let until = bed.ledger.sleep(&effect(&first.fence), minute).await.unwrap();
    bed.finish(&first.fence, Outcome::Asleep { until }).await;
    bed.pass(minute / 2);
    assert!(bed.lease(Lane::Roots, 1).await.is_empty(), "it sleeps");
    assert_eq!(bed.ledger.next_due().await.unwrap(), Some(until));
    bed = bed.reopen();
    bed.pass(minute / 2);
    let again = bed.only(Lane::Roots).await;
    assert_eq!(bed.ledger.sleep(&effect(&again.fence), minute).await.unwrap(), until);
    assert_eq!(again.invocation.failures, 0);
}

#[tokio::test]
async fn events_that_start_one_another_without_end_stop() {
    let bed = Bed::new();
    bed.publish("loop", "x").await;
    for depth in 0..=CHAIN_MAX {
        let leased = bed.only(Lane::Roots).await;
        assert_eq!(leased.invocation.depth, depth);
        tell(&bed, &mut Effects::new(leased.fence.clone()), "loop", "x").await;
        bed.finish(&leased.fence, Outcome::Succeeded(None)).await;
    }
    assert!(bed.lease(Lane::Roots, 1).await.is_empty());
    let last = bed.all().await.remove(0);
    assert_eq!(last.state, State::Failed);
    assert!(last.reason.unwrap().contains("chain of 17 events"));
    let nothing = Backlog { invocations: 0, bytes: 0 };
    assert_eq!(bed.ledger.backlog().await.unwrap(), nothing);
}

#[tokio::test]
async fn what_an_invocation_starts_of_its_own_kind_waits_for_its_end() {
    let bed = Bed::new();
    let cause = bed.root("newest", "film").await;
    let mut effects = Effects::new(cause.fence.clone());
    tell(&bed, &mut effects, "newest", "film").await;
    tell(&bed, &mut effects, "newest", "film").await;
    assert!(bed.lease(Lane::Roots, 10).await.is_empty());
    bed.finish(&cause.fence, Outcome::Succeeded(None)).await;
    // Of the two the newer one is left; it gives way to what comes from elsewhere.
    let next = bed.only(Lane::Roots).await;
    bed.publish("newest", "film").await;
    let late = bed.ledger.finish(&next.fence, end(Outcome::Succeeded(None))).await;
    assert!(matches!(late, Err(LedgerError::Fenced(_))));
    bed.only(Lane::Roots).await;
}

#[tokio::test]
async fn what_is_too_old_is_not_tried_again() {
    let bed = Bed::new();
    let retry = RetryPolicy { age_max: Some(Duration::from_secs(10)), ..POLICY };
    let first = bed.root("job", "").await;
    let after = Some(Duration::from_secs(11));
    let outcome = Outcome::Retry { reason: "later".into(), after };
    let ended =
        bed.ledger.finish(&first.fence, backlot_ledger::AttemptEnd { retry, ..end(outcome) });
    ended.await.unwrap();
    assert_eq!(bed.get(&first.invocation.id).await.state, State::Failed);
}

#[tokio::test]
async fn a_full_backlog_takes_nothing_from_outside() {
    let bed = Bed::new();
    bed.ledger.limit_backlog(Backlog { invocations: 2, bytes: 1 << 20 });
    let first = bed.root("job", "").await;
    bed.publish("job", "").await;
    let refused = bed.ledger.publish(event("job", "")).await;
    assert!(matches!(refused, Err(LedgerError::Backlog { limit: 2, .. })), "{refused:?}");
    // What nobody wants costs nothing, and what an invocation causes must not fail.
    bed.publish("nowhere", "").await;
    tell(&bed, &mut Effects::new(first.fence.clone()), "job", "a").await;
    bed.child(&first.fence, "part").await;
    assert_eq!(bed.ledger.backlog().await.unwrap().invocations, 4);
    bed.finish(&first.fence, Outcome::Succeeded(None)).await;
    assert_eq!(bed.ledger.backlog().await.unwrap().invocations, 2);
    let bytes = bed.ledger.publish(event("job", "")).await;
    assert!(matches!(bytes, Err(LedgerError::Backlog { .. })));
}

#[tokio::test]
async fn a_failed_invocation_goes_on_where_it_was() {
    let bed = Bed::new();
    let first = bed.root("in-order", "k").await;
    let good = bed.child(&first.fence, "good").await;
    let bad = bed.child(&first.fence, "bad").await;
    tell(&bed, &mut Effects::new(first.fence.clone()), "nowhere", "a").await;
    for leased in bed.lease(Lane::Children, 10).await {
        let outcome = if leased.invocation.id == good {
            Outcome::Succeeded(None)
        } else {
            Outcome::Rejected("no".into())
        };
        bed.finish(&leased.fence, outcome).await;
    }
    let id = &first.invocation.id;
    assert!(bed.ledger.replay(id, Replay::default()).await.is_err(), "it has not ended");
    bed.finish(&first.fence, Outcome::Rejected("no".into())).await;
    assert!(bed.ledger.replay(&bad, Replay::default()).await.is_err(), "a child");

    let version = Some("v2".to_owned());
    let replay = Replay { version: version.clone(), fresh: false };
    assert_eq!(bed.ledger.replay(id, replay).await.unwrap(), *id);
    let again = bed.only(Lane::Roots).await;
    assert_eq!((again.invocation.version, again.invocation.failures), (version, 0));
    assert_eq!(bed.get(&bad).await.version, None, "a child of another function");
    assert_eq!(bed.child(&again.fence, "good").await, good);
    assert_eq!(bed.get(&good).await.state, State::Succeeded);
    assert_eq!(bed.get(&bad).await.state, State::Queued);
    tell(&bed, &mut Effects::new(again.fence.clone()), "nowhere", "a").await;
    assert_eq!(bed.ledger.effects(id, 0).await.unwrap().len(), 1);
    bed.finish(&again.fence, Outcome::Succeeded(None)).await;
    assert_eq!(bed.ledger.backlog().await.unwrap().invocations, 0);
}

#[tokio::test]
async fn a_fresh_replay_has_done_nothing_and_a_forgotten_one_is_gone() {
    let bed = Bed::new();
    let first = bed.root("job", "k").await;
    tell(&bed, &mut Effects::new(first.fence.clone()), "nowhere", "a").await;
    bed.finish(&first.fence, Outcome::Rejected("no".into())).await;
    let replay = Replay { fresh: true, version: None };
    let other = bed.ledger.replay(&first.invocation.id, replay).await.unwrap();
    assert_ne!(other, first.invocation.id);
    let again = bed.only(Lane::Roots).await;
    assert_eq!((&again.invocation.id, &again.event), (&other, &first.event));
    assert!(bed.ledger.effects(&other, 0).await.unwrap().is_empty());
    bed.ledger.forget(&first.invocation.id).await.unwrap();
    assert!(bed.ledger.invocation(&first.invocation.id).await.unwrap().is_none());
    assert!(bed.ledger.event(&first.event.id).await.unwrap().is_some(), "the other needs it");
    assert!(bed.ledger.forget(&other).await.is_err(), "it has not ended");
}

#[tokio::test]
async fn an_older_invocation_does_not_come_back_over_a_newer_one() {
    let bed = Bed::new();
    let old = bed.root("newest", "k").await;
    bed.finish(&old.fence, Outcome::Rejected("no".into())).await;
    let newer = bed.root("newest", "k").await;
    let refused = bed.ledger.replay(&old.invocation.id, Replay::default()).await;
    assert!(refused.unwrap_err().to_string().contains(newer.invocation.id.as_str()));
    bed.finish(&newer.fence, Outcome::Succeeded(None)).await;
    bed.ledger.replay(&old.invocation.id, Replay::default()).await.unwrap();
}

/// `watched` runs the function of that name, and `ends` whoever follows it.
struct Follower;

impl Router for Follower {
    fn route(&self, event: &Event) -> Vec<Route> {
        let function = match event.kind.as_str() {
            "watched" => "watched",
            FUNCTION_FAILED | FUNCTION_SUCCEEDED => "ends",
            _ => return Vec::new(),
        };
        vec![Route { function: function.to_owned(), concurrency: None, delay: Duration::ZERO }]
    }

    fn follows(&self, function: &str) -> bool {
        function == "watched"
    }
}

#[tokio::test]
async fn who_follows_a_function_is_told_how_it_ended() {
    let bed = Bed::new();
    bed.ledger.set_router(Arc::new(Follower));
    for (outcome, kind, rejected) in [
        (Outcome::Succeeded(Some(b"{\"a\":1}".to_vec())), FUNCTION_SUCCEEDED, false),
        (Outcome::Rejected("bad film".into()), FUNCTION_FAILED, true),
    ] {
        let watched = bed.root("watched", "film").await;
        bed.finish(&watched.fence, outcome).await;
        let told = bed.only(Lane::Roots).await;
        assert_eq!(told.event.kind, kind);
        assert_eq!(told.invocation.depth, 1);
        let data: serde_json::Value = serde_json::from_slice(&told.event.data).unwrap();
        assert_eq!(data["invocation"], watched.invocation.id.as_str());
        assert_eq!(data["event"]["subject"], "film");
        assert_eq!(data["rejected"], rejected);
        bed.finish(&told.fence, Outcome::Succeeded(None)).await;
    }
    assert!(bed.lease(Lane::Roots, 1).await.is_empty(), "nobody follows the follower");
}

#[tokio::test]
async fn a_slot_of_a_schedule_fires_once() {
    let mut bed = Bed::new();
    let begin = bed.ledger.begin_schedule("job", "nightly").await.unwrap();
    assert_eq!(begin, bed.now());
    bed.pass(Duration::from_secs(60));
    let slot = bed.now();
    assert!(bed.ledger.fire("job", "nightly", slot, Some(event("job", "x"))).await.unwrap());
    bed = bed.reopen();
    assert!(!bed.ledger.fire("job", "nightly", slot, Some(event("job", "x"))).await.unwrap());
    assert_eq!(bed.ledger.begin_schedule("job", "nightly").await.unwrap(), slot);
    bed.only(Lane::Roots).await;
}

#[tokio::test]
async fn one_function_can_be_invoked_whatever_the_router_says() {
    let bed = Bed::new();
    let event = event("nowhere", "x");
    let id = bed.ledger.invoke("chosen", event.clone(), None).await.unwrap();
    let leased = bed.only(Lane::Roots).await;
    assert_eq!((&leased.invocation.id, leased.invocation.function.as_str()), (&id, "chosen"));
    assert!(bed.ledger.invoke("chosen", event, None).await.is_err(), "the same event");
}
