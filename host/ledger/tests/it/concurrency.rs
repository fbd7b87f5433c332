//! Invocations that share a key.

use backlot_ledger::{AttemptOutcome, Change, Lane, LedgerError, Outcome, State};

use crate::support::{Bed, end, told};

#[tokio::test]
async fn the_newest_wins_over_an_older_one_and_its_running_children() {
    let bed = Bed::new();
    let old = bed.root("newest", "film").await;
    let parts = [bed.child(&old.fence, "a").await, bed.child(&old.fence, "b").await];
    bed.finish(&old.fence, Outcome::Parked { children: parts.to_vec() }).await;
    let running = bed.lease(Lane::Children, 1).await.remove(0);
    let other = bed.root("newest", "another film").await;

    let mut changes = bed.ledger.changes();
    let commits = bed.ledger.stats().commits;
    bed.publish("newest", "film").await;
    assert_eq!(bed.ledger.stats().commits, commits + 1);
    let [a, b] = parts;
    assert_eq!(
        told(&mut changes),
        [
            Change::Cancelled(old.invocation.id.clone()),
            Change::Cancelled(a.clone()),
            Change::Cancelled(b),
            Change::Queued(Lane::Roots)
        ]
    );
    let late = bed.ledger.finish(&running.fence, end(Outcome::Succeeded(None))).await;
    assert!(matches!(late, Err(LedgerError::Fenced(_))));
    let attempts = bed.ledger.attempts(&a).await.unwrap();
    assert_eq!(attempts[0].outcome, Some(AttemptOutcome::Cancelled));
    assert!(bed.lease(Lane::Children, 10).await.is_empty());

    let new = bed.only(Lane::Roots).await;
    assert_ne!(new.invocation.id, old.invocation.id);
    let superseded = bed.get(&old.invocation.id).await;
    assert_eq!(superseded.reason.as_deref(), Some("superseded by a newer event"));
    bed.finish(&new.fence, Outcome::Succeeded(None)).await;
    bed.finish(&other.fence, Outcome::Succeeded(None)).await;
}

#[tokio::test]
async fn of_a_burst_only_the_newest_is_left() {
    let bed = Bed::new();
    for _ in 0..20 {
        bed.publish("newest", "film").await;
    }
    let last = bed.publish("newest", "film").await;
    assert_eq!(bed.only(Lane::Roots).await.event.id, last.id);
    let cancelled = bed.all().await.iter().filter(|i| i.state == State::Cancelled).count();
    assert_eq!(cancelled, 20);
}

#[tokio::test]
async fn in_order_one_after_the_other() {
    let bed = Bed::new();
    let mut events = Vec::new();
    for _ in 0..3 {
        events.push(bed.publish("in-order", "key").await.id);
    }
    let elsewhere = bed.publish("in-order", "another key").await;
    let both = bed.lease(Lane::Roots, 10).await;
    let leased: Vec<_> = both.iter().map(|l| l.event.id.clone()).collect();
    assert_eq!(leased, [events[0].clone(), elsewhere.id]);
    // Neither a retry nor a park lets the next one by.
    let part = bed.child(&both[0].fence, "part").await;
    bed.finish(&both[0].fence, Outcome::Parked { children: vec![part.clone()] }).await;
    assert!(bed.lease(Lane::Roots, 10).await.is_empty());
    bed.ledger.cancel(&part).await.unwrap();
    let first = bed.only(Lane::Roots).await;
    assert_eq!(first.event.id, events[0]);
    bed.finish(&first.fence, Outcome::Rejected("no".to_owned())).await;
    let second = bed.only(Lane::Roots).await;
    assert_eq!(second.event.id, events[1]);
    bed.finish(&second.fence, Outcome::Succeeded(None)).await;
    assert_eq!(bed.only(Lane::Roots).await.event.id, events[2]);
}

#[tokio::test]
async fn cancelling_one_that_waits_does_not_let_the_next_one_by() {
    let bed = Bed::new();
    for _ in 0..3 {
        bed.publish("in-order", "key").await;
    }
    let first = bed.only(Lane::Roots).await;
    let all = bed.all().await;
    bed.ledger.cancel(&all[1].id).await.unwrap();
    assert!(bed.lease(Lane::Roots, 10).await.is_empty());
    let mut changes = bed.ledger.changes();
    bed.finish(&first.fence, Outcome::Succeeded(None)).await;
    assert!(told(&mut changes).contains(&Change::Queued(Lane::Roots)));
    assert_eq!(bed.only(Lane::Roots).await.invocation.id, all[0].id);
}

#[tokio::test]
async fn one_event_may_start_several_functions_or_none() {
    let bed = Bed::new();
    bed.publish("nowhere", "").await;
    assert!(bed.all().await.is_empty());
    let event = bed.publish("fan", "").await;
    // A redelivery of the same event starts nothing.
    bed.ledger.publish(event.clone()).await.unwrap();
    let functions: Vec<_> = bed.all().await.into_iter().map(|i| i.function).collect();
    assert_eq!(functions, ["right", "left"]);
    assert_eq!(bed.ledger.event(&event.id).await.unwrap().unwrap().data, event.data);
}
