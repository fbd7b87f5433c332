//! Leases and fences: an attempt that is over commits nothing.

use std::time::Duration;

use backlot_ledger::{
    AttemptOutcome, Change, Effects, Fence, LOST_MAX, Lane, Ledger, LedgerError, Outcome, State,
};

use crate::support::{Bed, LEASE, POLICY, end, event, told};

/// Tries everything that an attempt can do, and expects each to be refused.
async fn refused(ledger: &Ledger, fence: &Fence) {
    fn fenced<T>(what: &str, result: Result<T, LedgerError>) {
        assert!(matches!(result, Err(LedgerError::Fenced(_))), "{what} was not refused");
    }
    let id = &fence.invocation;
    fenced("renew", ledger.renew(fence, LEASE).await);
    let effect = Effects::new(fence.clone()).next("publish", String::new(), &[]);
    fenced("publish", ledger.publish_once(&effect, event("stale", "")).await);
    fenced("sleep", ledger.sleep(&effect, LEASE).await);
    fenced("start_child", ledger.start_child(fence, "part", "stale", vec![]).await);
    fenced("remember", ledger.remember(fence, "stale", vec![1]).await);
    fenced("recall", ledger.recall(fence, "name").await);
    fenced("outcomes", ledger.children_outcomes(fence, &[]).await);
    fenced("cancel_child", ledger.cancel_child(fence, id).await);
    for outcome in [
        Outcome::Succeeded(None),
        Outcome::Rejected(String::new()),
        Outcome::Trapped(String::new()),
        Outcome::Parked { children: vec![] },
        Outcome::Released,
    ] {
        fenced("finish", ledger.finish(fence, end(outcome)).await);
    }
}

#[tokio::test]
async fn a_stale_token_commits_nothing() {
    let bed = Bed::new();
    let first = bed.root("job", "").await;
    refused(&bed.ledger, &Fence { token: first.fence.token + 1, ..first.fence.clone() }).await;
    bed.finish(&first.fence, Outcome::Released).await;
    refused(&bed.ledger, &first.fence).await;

    let second = bed.only(Lane::Roots).await;
    assert_eq!(second.invocation.id, first.invocation.id);
    assert_ne!(second.fence, first.fence);
    refused(&bed.ledger, &first.fence).await;
    bed.ledger.renew(&second.fence, LEASE).await.unwrap();
    bed.ledger.cancel(&second.invocation.id).await.unwrap();
    refused(&bed.ledger, &second.fence).await;
    assert_eq!(bed.all().await.len(), 1, "nothing was started or published");
    assert_eq!(bed.get(&first.invocation.id).await.state, State::Cancelled);
}

#[tokio::test]
async fn a_lease_that_ran_out_goes_to_somebody_else() {
    let bed = Bed::new();
    let slow = bed.root("job", "").await;
    bed.pass(LEASE - Duration::from_millis(1));
    assert!(bed.lease(Lane::Roots, 10).await.is_empty());
    bed.ledger.renew(&slow.fence, LEASE).await.unwrap();
    bed.pass(LEASE - Duration::from_millis(1));
    assert!(bed.lease(Lane::Roots, 10).await.is_empty());
    assert_eq!(
        bed.ledger.next_due().await.unwrap(),
        Some(bed.now() + Duration::from_millis(1)),
        "the end of the lease is worth a look"
    );

    bed.pass(Duration::from_millis(1));
    let fast = bed.only(Lane::Roots).await;
    assert_eq!((fast.invocation.attempt, fast.invocation.failures), (2, 0));
    refused(&bed.ledger, &slow.fence).await;
    bed.finish(&fast.fence, Outcome::Succeeded(None)).await;
    let attempts = bed.ledger.attempts(&slow.invocation.id).await.unwrap();
    let outcomes: Vec<_> = attempts.iter().filter_map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes, [AttemptOutcome::Lost, AttemptOutcome::Succeeded]);
}

#[tokio::test]
async fn what_kills_its_host_each_time_fails_at_last() {
    let mut bed = Bed::new();
    bed.publish("job", "").await;
    for _ in 0..LOST_MAX {
        bed.only(Lane::Roots).await;
        bed = bed.reopen();
    }
    assert!(bed.lease(Lane::Roots, 1).await.is_empty());
    let failed = bed.all().await.remove(0);
    assert_eq!(failed.state, State::Failed);
    assert!(failed.reason.unwrap().contains("attempts in a row were lost"));
}

#[tokio::test]
async fn failures_back_off_until_the_attempts_are_used_up() {
    let bed = Bed::new();
    let mut changes = bed.ledger.changes();
    bed.publish("job", "").await;
    for failures in 1..POLICY.attempts {
        let leased = bed.only(Lane::Roots).await;
        bed.finish(&leased.fence, Outcome::Trapped(format!("trap {failures}"))).await;
        let failed = bed.get(&leased.invocation.id).await;
        assert_eq!((failed.state, failed.failures), (State::Queued, failures));
        let bound = POLICY.base * 2_u32.pow(failures - 1);
        if let Some(due) = failed.due_at {
            assert!(due <= bed.now() + bound);
            assert_eq!(bed.ledger.next_due().await.unwrap(), Some(due));
            assert!(bed.lease(Lane::Roots, 1).await.is_empty(), "before it is due");
        }
        bed.pass(bound);
    }
    told(&mut changes);
    let last = bed.only(Lane::Roots).await;
    bed.finish(&last.fence, Outcome::Trapped("the last straw".to_owned())).await;
    let dead = bed.get(&last.invocation.id).await;
    assert_eq!((dead.state, dead.attempt), (State::Failed, POLICY.attempts));
    assert_eq!(dead.reason.as_deref(), Some("the last straw"));
    assert!(bed.ledger.event(&dead.event).await.unwrap().is_some(), "the event is kept");
    let id = dead.id;
    assert_eq!(told(&mut changes), [Change::Started(id.clone()), Change::Ended(id)]);
    assert_eq!(bed.ledger.next_due().await.unwrap(), None);
}

#[tokio::test]
async fn a_handler_may_ask_for_its_delay() {
    let bed = Bed::new();
    let leased = bed.root("job", "").await;
    let after = Some(Duration::from_secs(3600));
    bed.finish(&leased.fence, Outcome::Retry { reason: "busy".to_owned(), after }).await;
    bed.pass(Duration::from_millis(3_599_999));
    assert!(bed.lease(Lane::Roots, 1).await.is_empty());
    bed.pass(Duration::from_millis(1));
    assert_eq!(bed.only(Lane::Roots).await.invocation.attempt, 2);
}

#[tokio::test]
async fn a_release_is_not_a_failure_and_a_rejection_is_final() {
    let bed = Bed::new();
    bed.publish("job", "").await;
    for _ in 0..10 {
        let leased = bed.only(Lane::Roots).await;
        bed.finish(&leased.fence, Outcome::Released).await;
    }
    let leased = bed.only(Lane::Roots).await;
    assert_eq!((leased.invocation.attempt, leased.invocation.failures), (11, 0));
    bed.finish(&leased.fence, Outcome::Rejected("not a film".to_owned())).await;
    let rejected = bed.get(&leased.invocation.id).await;
    assert_eq!((rejected.state, rejected.reason.as_deref()), (State::Failed, Some("not a film")));
}

#[tokio::test]
async fn roots_that_go_on_come_before_new_ones_and_are_leased_apart_from_children() {
    let bed = Bed::new();
    let old = bed.root("job", "old").await;
    let part = bed.child(&old.fence, "a").await;
    bed.finish(&old.fence, Outcome::Parked { children: vec![part.clone()] }).await;
    bed.publish("job", "new").await;
    bed.publish("job", "newer").await;
    let child = bed.only(Lane::Children).await;
    assert_eq!(child.event.data, b"a");
    assert_eq!(child.event.kind, "backlot.child");
    bed.finish(&child.fence, Outcome::Succeeded(None)).await;
    let order: Vec<_> = bed.lease(Lane::Roots, 10).await.into_iter().map(|l| l.event).collect();
    let subjects: Vec<_> = order.iter().filter_map(|event| event.subject.as_deref()).collect();
    assert_eq!(subjects, ["old", "new", "newer"]);
}

#[tokio::test]
async fn parts_of_the_older_root_come_first() {
    let bed = Bed::new();
    let old = bed.root("job", "old").await;
    let new = bed.root("job", "new").await;
    bed.child(&new.fence, "new-0").await;
    bed.child(&old.fence, "old-1").await;
    bed.child(&old.fence, "old-0").await;
    let order: Vec<_> = bed.lease(Lane::Children, 10).await;
    let keys: Vec<_> = order.iter().filter_map(|l| l.invocation.child_key.as_deref()).collect();
    assert_eq!(keys, ["old-1", "old-0", "new-0"]);
}
