//! An attempt that lost its lease and does not know it yet: it changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use backlot_ledger::{
    AttemptEnd, AttemptOutcome, Clock, Cost, Lane, Leased, Outcome, RetryPolicy, State,
};
use jiff::{SignedDuration, Timestamp};

use crate::support::{BUCKET, Host, grant_bucket};

/// Longer than any lease.
const LATER: Duration = Duration::from_secs(3_600);

/// A clock that can be set forward: a lease runs out without anybody waiting for it, and long
/// before the attempt's next heartbeat.
#[derive(Clone, Default)]
struct Jump(Arc<AtomicI64>);

impl Jump {
    fn clock(&self) -> Clock {
        let ahead = self.0.clone();
        Arc::new(move || Timestamp::now() + SignedDuration::from_secs(ahead.load(Ordering::SeqCst)))
    }

    fn forward(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_secs()).unwrap(), Ordering::SeqCst);
    }
}

/// A host whose only root attempt runs this program and has come to make the object `held`, and
/// another lease of the same invocation.
async fn zombie(program: &str) -> (Host, Leased) {
    let jump = Jump::default();
    let folder = tempfile::tempdir().unwrap();
    let host = Host::at(jump.clock(), folder, |config, manifest| {
        config.root_workers = 1;
        grant_bucket(manifest);
    })
    .await;
    host.make_bucket(BUCKET).await;
    let id = host.publish("probe", program).await;
    host.made("held").await;
    jump.forward(LATER);
    // As another host would.
    let leased = host.ledger.lease(Lane::Roots, 1, LATER).await.unwrap();
    assert_eq!(leased.len(), 1, "its lease had run out");
    let leased = leased.into_iter().next().unwrap();
    assert_eq!(leased.invocation.id, id);
    (host, leased)
}

async fn finish(host: &Host, leased: &Leased) {
    let end = AttemptEnd {
        outcome: Outcome::Succeeded(Some(b"by the other".to_vec())),
        logs: Vec::new(),
        cost: Cost::default(),
        progress: Vec::new(),
        retry: RetryPolicy::default(),
        version: None,
    };
    host.ledger.finish(&leased.fence, end).await.unwrap();
}

#[tokio::test]
async fn it_can_neither_write_nor_say_how_it_ended() {
    for deed in [
        "hold content late go",
        "until content go; put content late x",
        "until content go; delete content held",
        "until content go; publish probe none",
        "until content go; child none",
        "until content go; remember name value",
        "until content go; sleep 10",
        "until content go; say nothing but that it ended",
    ] {
        let (host, leased) = zombie(&format!("program put content held x; {deed}")).await;
        let id = leased.invocation.id.clone();
        host.put("go", "").await;
        // The only worker is free again when the zombie has ended.
        let after = host.invoke("echo after").await;
        assert_eq!(after.state, State::Succeeded, "{deed}");

        let mut counts = host.counts().await;
        counts.remove("go");
        assert_eq!(counts.into_iter().collect::<Vec<_>>(), [("held".to_owned(), 1)], "{deed}");
        let effects = host.effects(&id).await;
        assert_eq!(effects.len(), 1, "{deed}: {effects:?}");
        assert!(host.ledger.children_of(&id).await.unwrap().is_empty(), "{deed}");
        assert_eq!(host.roots().await.len(), 2, "{deed}: nothing was published");
        let runs = host.ledger.invocation(&id).await.unwrap().unwrap();
        assert_eq!((runs.state, runs.attempt), (State::Running, 2), "{deed}");

        finish(&host, &leased).await;
        let ended = host.ended(&id).await;
        assert_eq!(ended.result.as_deref(), Some(b"by the other".as_slice()), "{deed}");
        assert_eq!(
            host.outcomes(&id).await,
            [Some(AttemptOutcome::Lost), Some(AttemptOutcome::Succeeded)],
            "{deed}"
        );
    }
}

#[tokio::test]
async fn a_lease_that_is_renewed_too_late_is_taken_and_the_work_done_once() {
    // Renewed every millisecond at best, and lost again and again by a host that looks for work.
    let host = Host::with_bucket(|config, _| {
        config.lease = Duration::from_millis(3);
        config.root_workers = 4;
    })
    .await;
    let id = host
        .publish("probe", "program put content a x; put content b x; sleep 5; put content c x")
        .await;
    let ended = host.ended(&id).await;
    // Lost too often in a row it fails; it never does anything twice.
    assert!(matches!(ended.state, State::Succeeded | State::Failed), "{:?}", ended.reason);
    assert!(host.counts().await.into_values().all(|versions| versions == 1));
}
