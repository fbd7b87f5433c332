//! Sleep: it takes no instance and no worker, and ends when the first attempt said it would.

use std::time::Duration;

use backlot_ledger::{AttemptOutcome, State};
use jiff::Timestamp;

use crate::support::{Host, grant_bucket};

/// When the only sleep of an invocation ends.
async fn wakes(host: &Host, id: &backlot_ledger::InvocationId) -> Timestamp {
    let effects = host.effects(id).await;
    let mut sleeps = effects.iter().filter(|effect| effect.call.ends_with("context.sleep"));
    let ms = sleeps.next().expect("it sleeps").answer.as_i64().unwrap();
    assert!(sleeps.next().is_none(), "it sleeps once: {effects:?}");
    Timestamp::from_millisecond(ms).unwrap()
}

#[tokio::test]
async fn a_sleeper_is_parked_and_wakes_in_time() {
    let host = Host::with_bucket(|config, _| config.root_workers = 1).await;
    let id = host.publish("probe", "program sleep 700; put content woken yes").await;
    // The only worker is free for others meanwhile: the sleeper has no instance.
    assert_eq!(host.answer("echo meanwhile").await, "meanwhile");
    let asleep = host.ledger.invocation(&id).await.unwrap().unwrap();
    assert_eq!(asleep.state, State::Queued);
    assert_eq!(host.outcomes(&id).await, [Some(AttemptOutcome::Parked)]);
    let wake = wakes(&host, &id).await;
    assert_eq!(asleep.due_at, Some(wake));

    let ended = host.ended(&id).await;
    assert_eq!((ended.state, ended.failures), (State::Succeeded, 0), "{:?}", ended.reason);
    let attempts = host.attempts(&id).await;
    assert_eq!(attempts.len(), 2, "{attempts:?}");
    assert!(wake <= attempts[1].started_at, "{attempts:?}");
    assert!(host.text("woken").await.is_some());
}

#[tokio::test]
async fn a_short_sleep_is_slept_through() {
    let host = Host::start().await;
    let ended = host.invoke("program sleep 20; sleep 20; sleep 20").await;
    assert_eq!((ended.state, ended.attempt), (State::Succeeded, 1));
    assert!(Duration::from_millis(60) <= took(&ended), "{:?}", took(&ended));
}

#[tokio::test]
async fn after_a_crash_it_wakes_when_it_was_first_said() {
    let host = Host::with_bucket(|_, _| {}).await;
    let id = host
        .publish("probe", "program put content before x; sleep 1500; put content after x")
        .await;
    let parked = async {
        while host.outcomes(&id).await != [Some(AttemptOutcome::Parked)] {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, parked).await.unwrap();
    let wake = wakes(&host, &id).await;
    let folder = host.crash().await;

    let host = Host::over(folder, |_, manifest| grant_bucket(manifest)).await;
    let ended = host.ended(&id).await;
    assert_eq!(ended.state, State::Succeeded, "{:?}", ended.reason);
    assert_eq!(wakes(&host, &id).await, wake);
    let attempts = host.attempts(&id).await;
    assert_eq!(attempts.len(), 2, "{attempts:?}");
    assert!(wake <= attempts[1].started_at, "{wake} {attempts:?}");
    assert_eq!(host.counts().await.into_values().collect::<Vec<_>>(), [1, 1]);
}

#[tokio::test]
async fn what_traps_after_a_sleep_does_not_sleep_again() {
    let host = Host::start().await;
    let ended = host.invoke("program sleep 300; trap-on 3").await;
    assert_eq!((ended.state, ended.attempt), (State::Succeeded, 4), "{:?}", ended.reason);
    assert!(took(&ended) < Duration::from_millis(3 * 300) + OVERHEAD_MAX, "{:?}", took(&ended));
    wakes(&host, &ended.id).await;
}

/// What four attempts may take on a loaded machine, beside their sleeps.
const OVERHEAD_MAX: Duration = Duration::from_secs(5);

fn took(ended: &backlot_ledger::Invocation) -> Duration {
    ended.ended_at.unwrap().duration_since(ended.accepted_at).try_into().unwrap()
}
