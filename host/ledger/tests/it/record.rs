//! What is kept of invocations, for whom, and how long.

use std::time::Duration;

use backlot_ledger::{
    AttemptEnd, Cost, Effects, Event, InvocationFilter, Lane, LedgerError, LogLine, LogSource,
    Outcome, Progress, ROW_BYTES, Retention, State,
};
use jiff::Timestamp;

use crate::support::{Bed, POLICY, end};

const KEEP_ALL: Retention =
    Retention { age_max: Duration::MAX, roots_max: u32::MAX, bytes_max: u64::MAX };

#[tokio::test]
async fn each_attempt_leaves_its_record() {
    let bed = Bed::new();
    let line =
        |text: &str| LogLine { time: bed.now(), source: LogSource::Stderr, text: text.to_owned() };
    let progress =
        |done| Progress { name: "720p".to_owned(), done, total: 100, unit: "frames".to_owned() };
    let first = bed.root("job", "").await;
    bed.pass(Duration::from_secs(2));
    let failed = AttemptEnd {
        outcome: Outcome::Retry { reason: "busy".to_owned(), after: Some(Duration::ZERO) },
        logs: vec![line("one"), line("two")],
        cost: Cost { cpu_ms: 10, bytes_in: 20, bytes_out: 30 },
        progress: vec![progress(50)],
        retry: POLICY,
        version: Some("v1".to_owned()),
    };
    bed.ledger.finish(&first.fence, failed).await.unwrap();
    let second = bed.only(Lane::Roots).await;
    assert_eq!(second.invocation.progress, [progress(50)]);
    let done = AttemptEnd {
        outcome: Outcome::Succeeded(Some(b"answer".to_vec())),
        logs: vec![line("three")],
        cost: Cost { cpu_ms: 1, bytes_in: 2, bytes_out: u64::MAX },
        progress: vec![progress(100)],
        retry: POLICY,
        version: Some("v1".to_owned()),
    };
    bed.ledger.finish(&second.fence, done).await.unwrap();

    let bed = bed.reopen();
    let id = &first.invocation.id;
    let kept = bed.get(id).await;
    assert_eq!((kept.state, kept.attempt, kept.failures), (State::Succeeded, 2, 1));
    assert_eq!(kept.result.as_deref(), Some(&b"answer"[..]));
    assert_eq!((kept.cost.cpu_ms, kept.cost.bytes_in), (11, 22));
    assert_eq!(kept.progress, [progress(100)]);
    assert_eq!(kept.ended_at, Some(bed.now()));
    assert_eq!(kept.started_at, Some(bed.now() - Duration::from_secs(2)));
    let attempts = bed.ledger.attempts(id).await.unwrap();
    assert_eq!(attempts[0].reason.as_deref(), Some("busy"));
    assert_eq!(attempts[0].cost, Cost { cpu_ms: 10, bytes_in: 20, bytes_out: 30 });
    assert_eq!(attempts[1].number, 2);
    let logs = bed.ledger.logs(id).await.unwrap();
    let texts: Vec<_> = logs.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts, ["one", "two", "three"]);
    assert!(bed.all().await[0].result.is_none(), "lists leave the result out");
}

#[tokio::test]
async fn lists_are_paged_from_the_newest_and_filtered() {
    let bed = Bed::new();
    for n in 0..5 {
        bed.publish("job", &n.to_string()).await;
    }
    let other = bed.publish("other", "x").await;
    let parent = bed.lease(Lane::Roots, 1).await.remove(0);
    bed.child(&parent.fence, "part").await;
    let list = async |filter| {
        let found = bed.ledger.invocations(filter).await.unwrap();
        found.into_iter().map(|i| i.event_subject.unwrap()).collect::<Vec<_>>()
    };
    let filter = InvocationFilter::default;
    assert_eq!(list(filter()).await, ["part", "x", "4", "3", "2", "1", "0"]);
    let roots = InvocationFilter { roots_only: true, limit: 2, ..filter() };
    let page = bed.ledger.invocations(roots.clone()).await.unwrap();
    assert_eq!(page[0].event, other.id);
    let next = InvocationFilter { before: Some(page[1].id.clone()), ..roots };
    assert_eq!(list(next).await, ["3", "2"]);
    let function = Some("other".to_owned());
    assert_eq!(list(InvocationFilter { function, ..filter() }).await, ["x"]);
    let state = Some(State::Running);
    assert_eq!(list(InvocationFilter { state, ..filter() }).await, ["0"]);
    let state = Some(State::Succeeded);
    assert!(list(InvocationFilter { state, ..filter() }).await.is_empty());
}

#[tokio::test]
async fn what_is_over_a_limit_is_refused_and_changes_nothing() {
    let bed = Bed::new();
    let big = Event::json("/tests", "job", None, vec![0; 1024 * 1024]);
    let refused = bed.ledger.publish(big).await;
    assert!(matches!(refused, Err(LedgerError::OverLimit { what: "event bytes", .. })));
    assert!(bed.all().await.is_empty());
    let leased = bed.root("job", "").await;
    let big = Outcome::Succeeded(Some(vec![0; 1024 * 1024 + 1]));
    let refused = bed.ledger.finish(&leased.fence, end(big)).await;
    assert!(matches!(refused, Err(LedgerError::OverLimit { what: "result bytes", .. })));
    bed.finish(&leased.fence, Outcome::Succeeded(Some(vec![0; 1024 * 1024]))).await;
}

#[tokio::test]
async fn what_ended_long_ago_is_pruned_with_all_that_belongs_to_it() {
    let bed = Bed::new();
    let hour = Duration::from_secs(3600);
    bed.publish("nowhere", "unused").await;
    let old = bed.root("job", "old").await;
    let mut parts = Vec::new();
    for n in 0..300 {
        parts.push(bed.child(&old.fence, &n.to_string()).await);
    }
    bed.ledger.remember(&old.fence, "name", vec![1]).await.unwrap();
    let effect = Effects::new(old.fence.clone()).next("publish", String::new(), &[]);
    bed.ledger.publish_once(&effect, bed_event("nowhere")).await.unwrap();
    bed.finish(&old.fence, Outcome::Succeeded(None)).await;
    let unended = bed.root("job", "unended").await;
    bed.ledger.renew(&unended.fence, hour * 2).await.unwrap();
    bed.pass(hour);
    let young = bed.root("job", "young").await;
    bed.finish(&young.fence, Outcome::Succeeded(None)).await;

    assert_eq!(bed.ledger.prune(KEEP_ALL).await.unwrap(), 0);
    let retention = Retention { age_max: hour / 2, ..KEEP_ALL };
    assert_eq!(bed.ledger.prune(retention).await.unwrap(), 1);
    assert!(bed.ledger.invocation(&old.invocation.id).await.unwrap().is_none());
    assert!(bed.ledger.invocation(&parts[299]).await.unwrap().is_none());
    assert!(bed.ledger.event(&old.event.id).await.unwrap().is_none());
    let left: Vec<_> = bed.all().await.into_iter().map(|i| i.id).collect();
    assert_eq!(left, [young.invocation.id, unended.invocation.id.clone()]);
    assert!(bed.ledger.event(&unended.event.id).await.unwrap().is_some());
    assert_eq!(bed.ledger.prune(retention).await.unwrap(), 0);
}

#[tokio::test]
async fn more_than_the_count_to_keep_is_pruned_oldest_first() {
    let bed = Bed::new();
    for n in 0..10 {
        // All in one millisecond: the order of their ends decides.
        let leased = bed.root("job", &n.to_string()).await;
        bed.finish(&leased.fence, Outcome::Rejected("dead".to_owned())).await;
    }
    let event = bed.publish("fan", "shared").await;
    let mut both = bed.lease(Lane::Roots, 2).await;
    bed.finish(&both.remove(0).fence, Outcome::Succeeded(None)).await;
    let retention = Retention { roots_max: 3, ..KEEP_ALL };
    assert_eq!(bed.ledger.prune(retention).await.unwrap(), 8);
    let left: Vec<_> = bed.all().await.into_iter().map(|i| i.event_subject.unwrap()).collect();
    assert_eq!(left, ["shared", "shared", "9", "8"]);
    let retention = Retention { roots_max: 0, ..KEEP_ALL };
    assert_eq!(bed.ledger.prune(retention).await.unwrap(), 3);
    assert!(bed.ledger.event(&event.id).await.unwrap().is_some(), "the other still needs it");
}

#[tokio::test]
async fn more_bytes_than_are_to_be_kept_are_pruned_oldest_first() {
    const KIB: usize = 1024;
    let bed = Bed::new();
    // Each with 100 KiB in another place: result, memory, logs, and the result of a child.
    let of_result = bed.root("job", "result").await;
    bed.finish(&of_result.fence, Outcome::Succeeded(Some(vec![b'x'; 100 * KIB]))).await;
    let of_memory = bed.root("job", "memory").await;
    bed.ledger.remember(&of_memory.fence, "name", vec![0; 100 * KIB]).await.unwrap();
    bed.finish(&of_memory.fence, Outcome::Succeeded(None)).await;
    let of_logs = bed.root("job", "logs").await;
    let line = LogLine {
        time: Timestamp::UNIX_EPOCH,
        source: LogSource::Stdout,
        text: "x".repeat(100 * KIB),
    };
    let logged = AttemptEnd { logs: vec![line], ..end(Outcome::Succeeded(None)) };
    bed.ledger.finish(&of_logs.fence, logged).await.unwrap();
    let parent = bed.root("job", "child").await;
    bed.child(&parent.fence, "1").await;
    let child = bed.lease(Lane::Children, 1).await.remove(0);
    bed.finish(&child.fence, Outcome::Succeeded(Some(vec![b'x'; 100 * KIB]))).await;
    bed.finish(&parent.fence, Outcome::Succeeded(None)).await;

    let kept = async || {
        let roots = bed.all().await.into_iter().filter(|found| found.parent.is_none());
        roots.map(|found| found.event_subject.unwrap()).collect::<Vec<_>>()
    };
    let up_to = |kib: usize| Retention { bytes_max: (kib * KIB) as u64, ..KEEP_ALL };
    for (kib, pruned, left) in [
        (420, 0, vec!["child", "logs", "memory", "result"]),
        (399, 1, vec!["child", "logs", "memory"]),
        (220, 1, vec!["child", "logs"]),
        (150, 1, vec!["child"]),
        (99, 1, vec![]),
    ] {
        assert_eq!(bed.ledger.prune(up_to(kib)).await.unwrap(), pruned, "{kib} KiB");
        assert_eq!(kept().await, left, "{kib} KiB");
    }
}

#[tokio::test]
async fn what_a_row_takes_is_about_what_the_file_grows_by() {
    const ROOTS: u64 = 1_000;
    let bed = Bed::new();
    for n in 0..ROOTS {
        let leased = bed.root("job", &n.to_string()).await;
        let effect = Effects::new(leased.fence.clone()).next("publish", String::new(), &[]);
        bed.ledger.publish_once(&effect, bed_event("nowhere")).await.unwrap();
        bed.finish(&leased.fence, Outcome::Succeeded(None)).await;
    }
    // Closed, so that the log is in the file.
    let Bed { ledger, dir, .. } = bed;
    drop(ledger);
    let grown = std::fs::metadata(dir.path().join("backlot.db")).unwrap().len() / ROOTS;
    assert!((ROW_BYTES / 2..ROW_BYTES * 2).contains(&grown), "{grown} bytes a root");
}

fn bed_event(kind: &str) -> Event {
    crate::support::event(kind, "")
}
