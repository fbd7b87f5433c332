//! Parents, children, memory and publications.

use backlot_ledger::{
    CHILD_KEY_BYTES_MAX, CHILDREN_MAX, Change, Effects, Ending, Lane, LedgerError, MEMORIES_MAX,
    Outcome, State,
};

use crate::support::{Bed, end, event, told};

#[tokio::test]
async fn a_redelivered_parent_finds_its_children_again() {
    let bed = Bed::new();
    let first = bed.root("job", "").await;
    let part = bed.child(&first.fence, "part-0").await;
    let child = bed.only(Lane::Children).await;
    bed.finish(&child.fence, Outcome::Succeeded(Some(b"done".to_vec()))).await;

    let bed = bed.reopen();
    let again = bed.only(Lane::Roots).await;
    assert_eq!(bed.child(&again.fence, "part-0").await, part);
    let other = bed.child(&again.fence, "part-1").await;
    assert_ne!(other, part);
    let endings = bed.ledger.children_outcomes(&again.fence, &[other, part.clone()]).await;
    assert_eq!(endings.unwrap(), [None, Some(Ending::Succeeded(Some(b"done".to_vec())))]);
    assert_eq!(bed.ledger.children_of(&again.invocation.id).await.unwrap().len(), 2);
    assert_eq!(bed.get(&part).await.parent, Some(again.invocation.id.clone()));
    assert_eq!(bed.get(&part).await.root, again.invocation.id);
}

#[tokio::test]
async fn the_end_of_the_last_child_wakes_its_parent_in_the_same_commit() {
    let bed = Bed::new();
    let parent = bed.root("job", "").await;
    let id = parent.invocation.id.clone();
    let (a, b) = (bed.child(&parent.fence, "a").await, bed.child(&parent.fence, "b").await);
    let unawaited = bed.child(&parent.fence, "c").await;
    // Asked twice is waited for once.
    let children = vec![a.clone(), b.clone(), a.clone()];
    bed.finish(&parent.fence, Outcome::Parked { children }).await;
    assert_eq!(bed.get(&id).await.state, State::Parked);
    assert!(bed.lease(Lane::Roots, 1).await.is_empty());

    let parts = bed.lease(Lane::Children, 3).await;
    bed.finish(&parts[2].fence, Outcome::Succeeded(None)).await;
    bed.finish(&parts[0].fence, Outcome::Rejected("bad".to_owned())).await;
    assert_eq!(bed.get(&id).await.state, State::Parked);
    let mut changes = bed.ledger.changes();
    let commits = bed.ledger.stats().commits;
    bed.finish(&parts[1].fence, Outcome::Succeeded(None)).await;
    assert_eq!(bed.ledger.stats().commits, commits + 1);
    assert_eq!(told(&mut changes), [Change::Ended(b.clone()), Change::Queued(Lane::Roots)]);

    let woken = bed.only(Lane::Roots).await;
    assert_eq!((&woken.invocation.id, woken.invocation.attempt), (&id, 2));
    let endings = bed.ledger.children_outcomes(&woken.fence, &[b, a, unawaited]).await.unwrap();
    let failed = Ending::Failed("bad".to_owned());
    let done = Ending::Succeeded(None);
    assert_eq!(endings, [Some(done.clone()), Some(failed), Some(done)]);
}

#[tokio::test]
async fn parking_on_what_has_ended_goes_on_at_once() {
    let bed = Bed::new();
    let parent = bed.root("job", "").await;
    let part = bed.child(&parent.fence, "a").await;
    bed.ledger.cancel_child(&parent.fence, &part).await.unwrap();
    bed.finish(&parent.fence, Outcome::Parked { children: vec![part] }).await;
    let woken = bed.only(Lane::Roots).await;
    bed.finish(&woken.fence, Outcome::Parked { children: vec![] }).await;
    assert_eq!(bed.only(Lane::Roots).await.invocation.attempt, 3);
}

#[tokio::test]
async fn only_its_own_children_are_a_parents_business() {
    let bed = Bed::new();
    let one = bed.root("job", "one").await;
    let other = bed.root("job", "other").await;
    let foreign = bed.child(&other.fence, "a").await;
    let ids = vec![foreign.clone()];
    let outcomes = bed.ledger.children_outcomes(&one.fence, &ids).await;
    assert!(matches!(outcomes, Err(LedgerError::Invalid(_))));
    let cancelled = bed.ledger.cancel_child(&one.fence, &foreign).await;
    assert!(matches!(cancelled, Err(LedgerError::Invalid(_))));
    let parked = bed.ledger.finish(&one.fence, end(Outcome::Parked { children: ids })).await;
    assert!(matches!(parked, Err(LedgerError::Invalid(_))));
    // The refused end left nothing behind: the attempt still runs and can end otherwise.
    bed.finish(&one.fence, Outcome::Succeeded(None)).await;
    assert_eq!(bed.get(&foreign).await.state, State::Queued);
}

#[tokio::test]
async fn cancel_ends_the_whole_tree_and_wakes_who_waits_above_it() {
    let bed = Bed::new();
    let top = bed.root("job", "").await;
    let middle_id = bed.child(&top.fence, "middle").await;
    let middle = bed.only(Lane::Children).await;
    let leaf_id = bed.child(&middle.fence, "leaf").await;
    let leaf = bed.only(Lane::Children).await;
    bed.finish(&middle.fence, Outcome::Parked { children: vec![leaf_id.clone()] }).await;
    bed.finish(&top.fence, Outcome::Parked { children: vec![middle_id.clone()] }).await;

    let mut changes = bed.ledger.changes();
    bed.ledger.cancel(&middle_id).await.unwrap();
    assert_eq!(
        told(&mut changes),
        [
            Change::Cancelled(middle_id.clone()),
            Change::Cancelled(leaf_id.clone()),
            Change::Queued(Lane::Roots)
        ]
    );
    let late = bed.ledger.finish(&leaf.fence, end(Outcome::Succeeded(None))).await;
    assert!(matches!(late, Err(LedgerError::Fenced(_))));
    let woken = bed.only(Lane::Roots).await;
    let endings = bed.ledger.children_outcomes(&woken.fence, &[middle_id]).await.unwrap();
    assert_eq!(endings, [Some(Ending::Cancelled)]);
    assert_eq!(bed.get(&leaf_id).await.root, top.invocation.id);
    assert!(bed.lease(Lane::Children, 10).await.is_empty());
}

#[tokio::test]
async fn a_handlers_end_is_the_end_of_its_children() {
    let bed = Bed::new();
    for outcome in [Outcome::Succeeded(None), Outcome::Rejected("no".to_owned())] {
        let parent = bed.root("job", "").await;
        let (running, queued) =
            (bed.child(&parent.fence, "a").await, bed.child(&parent.fence, "b").await);
        assert_eq!(bed.lease(Lane::Children, 1).await[0].invocation.id, running);
        bed.finish(&parent.fence, outcome).await;
        assert_eq!(bed.get(&running).await.state, State::Cancelled);
        assert_eq!(bed.get(&queued).await.state, State::Cancelled);
    }
}

#[tokio::test]
async fn the_first_memory_of_a_name_stays() {
    let bed = Bed::new();
    let first = bed.root("job", "").await;
    assert_eq!(bed.ledger.recall(&first.fence, "plan").await.unwrap(), None);
    assert_eq!(bed.ledger.remember(&first.fence, "plan", vec![1]).await.unwrap(), [1]);
    let bed = bed.reopen();
    let again = bed.only(Lane::Roots).await;
    assert_eq!(bed.ledger.remember(&again.fence, "plan", vec![2]).await.unwrap(), [1]);
    assert_eq!(bed.ledger.recall(&again.fence, "plan").await.unwrap(), Some(vec![1]));
    for n in 1..MEMORIES_MAX {
        bed.ledger.remember(&again.fence, &n.to_string(), vec![]).await.unwrap();
    }
    let one_more = bed.ledger.remember(&again.fence, "more", vec![]).await;
    assert!(matches!(one_more, Err(LedgerError::OverLimit { got: 65, limit: 64, .. })));
    assert_eq!(bed.ledger.remember(&again.fence, "plan", vec![3]).await.unwrap(), [1]);
}

async fn tell(bed: &Bed, effects: &mut Effects, subject: &str) {
    let effect = effects.next("publish", subject.to_owned(), &[subject.as_bytes()]);
    bed.ledger.publish_once(&effect, event("told", subject)).await.unwrap();
    effects.done(&effect);
}

#[tokio::test]
async fn a_later_attempt_does_not_publish_again() {
    let bed = Bed::new();
    let first = bed.root("job", "").await;
    let mut effects = Effects::new(first.fence.clone());
    for subject in ["a", "a"] {
        tell(&bed, &mut effects, subject).await;
    }
    bed.finish(&first.fence, Outcome::Released).await;
    let again = bed.lease(Lane::Roots, 1).await.remove(0);
    assert_eq!(again.invocation.id, first.invocation.id);
    let mut effects = Effects::new(again.fence.clone());
    for subject in ["a", "a", "a", "b"] {
        tell(&bed, &mut effects, subject).await;
    }
    let told = bed.lease(Lane::Roots, 10).await;
    let subjects: Vec<_> = told.iter().filter_map(|l| l.event.subject.as_deref()).collect();
    assert_eq!(subjects, ["a", "a", "a", "b"]);
}

#[tokio::test]
async fn keys_and_the_number_of_children_are_bounded() {
    let bed = Bed::new();
    let parent = bed.root("job", "").await;
    let key = "k".repeat(CHILD_KEY_BYTES_MAX + 1);
    let long = bed.ledger.start_child(&parent.fence, "part", &key, vec![]).await;
    assert!(matches!(long, Err(LedgerError::OverLimit { got: 257, limit: 256, .. })));
    // Many at once, so that they share commits.
    let mut started = tokio::task::JoinSet::new();
    for n in 0..CHILDREN_MAX {
        let (ledger, fence) = (bed.ledger.clone(), parent.fence.clone());
        started.spawn(async move {
            ledger.start_child(&fence, "part", &n.to_string(), vec![]).await.unwrap()
        });
    }
    let children = started.join_all().await;
    let one_more = bed.ledger.start_child(&parent.fence, "part", "more", vec![]).await;
    assert!(matches!(one_more, Err(LedgerError::OverLimit { got: 10_001, limit: 10_000, .. })));
    bed.child(&parent.fence, "17").await;
    bed.finish(&parent.fence, Outcome::Parked { children }).await;
    bed.ledger.cancel(&parent.invocation.id).await.unwrap();
    assert!(bed.lease(Lane::Children, 1).await.is_empty());
}
