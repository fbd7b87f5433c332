//! Versions follow one another under what runs.

use backlot_ledger::{AttemptOutcome, Change, State};

use crate::support::{Host, next};

/// Waits at its third effect until there is a `go`.
const SIX: &str = "program put content e1 x; put content e2 x; put content e3 x; \
                   until content go; put content e4 x; put content e5 x; greet content e6";

#[tokio::test]
async fn a_new_version_goes_on_behind_the_last_effect() {
    let host = Host::with_bucket(|_, _| {}).await;
    let old = host.deploy(|_| {}).await;
    let id = host.publish("probe", SIX).await;
    host.made("e3").await;
    let mut changes = host.ledger.changes();
    let new = host
        .deploy(|manifest| {
            manifest.env.insert("PROBE_GREETING".into(), "welcome".into());
        })
        .await;
    next(&mut changes, |change| *change == Change::Started(id.clone())).await;
    host.put("go", "").await;

    let ended = host.ended(&id).await;
    assert_eq!((ended.state, ended.failures), (State::Succeeded, 0), "{:?}", ended.reason);
    let effects = host.effects(&id).await;
    let done: Vec<_> =
        effects.iter().map(|effect| (effect.subject.as_str(), effect.attempt)).collect();
    assert_eq!(
        done,
        [
            ("content/e1", 1),
            ("content/e2", 1),
            ("content/e3", 1),
            ("content/e4", 2),
            ("content/e5", 2),
            ("content/e6", 2),
        ]
    );
    assert!(host.counts().await.into_values().all(|versions| versions == 1));
    assert_eq!(host.text("e6").await.as_deref(), Some("welcome"));

    let attempts = host.attempts(&id).await;
    let versions: Vec<_> =
        attempts.iter().map(|attempt| attempt.version.as_deref().unwrap()).collect();
    assert_eq!(versions, [old.id(), new.id()]);
    assert_eq!(attempts[0].outcome, Some(AttemptOutcome::Released));
}

#[tokio::test]
async fn the_same_version_again_interrupts_nothing() {
    let host = Host::with_bucket(|_, _| {}).await;
    host.deploy(|_| {}).await;
    let id = host.publish("probe", SIX).await;
    host.made("e3").await;
    host.deploy(|_| {}).await;
    host.put("go", "").await;
    let ended = host.ended(&id).await;
    assert_eq!((ended.state, ended.attempt), (State::Succeeded, 1), "{:?}", ended.reason);
}

#[tokio::test]
async fn an_attempt_that_worked_hard_ends_on_the_version_it_started_with() {
    let host = Host::with_bucket(|_, _| {}).await;
    let old = host.deploy(|_| {}).await;
    // Over the limit of 1 s of processor time also where it gets only half of a core.
    let program = "program work 2500; put content worked x; until content go; greet content by";
    let id = host.publish("probe", program).await;
    host.made("worked").await;
    let new = host
        .deploy(|manifest| {
            manifest.env.insert("PROBE_GREETING".into(), "welcome".into());
        })
        .await;
    // What comes now runs on the new one.
    let later = host.invoke("env").await;
    assert!(String::from_utf8_lossy(&later.result.unwrap()).contains("welcome"));
    assert_eq!(host.attempts(&later.id).await[0].version.as_deref(), Some(new.id()));

    host.put("go", "").await;
    let ended = host.ended(&id).await;
    assert_eq!((ended.state, ended.attempt), (State::Succeeded, 1), "{:?}", ended.cost);
    assert_eq!(host.attempts(&id).await[0].version.as_deref(), Some(old.id()));
    assert_eq!(host.text("by").await.as_deref(), Some("hello"));
}

#[tokio::test]
async fn a_parked_parent_and_its_next_children_go_on_by_the_new_version() {
    let host = Host::with_bucket(|_, _| {}).await;
    host.deploy(|_| {}).await;
    let mut changes = host.ledger.changes();
    let id = host
        .publish(
            "probe",
            "program child program until content go, greet content first; wait; \
             child program greet content second; wait; greet content third",
        )
        .await;
    next(&mut changes, |change| *change == Change::Parked(id.clone())).await;
    host.deploy(|manifest| {
        manifest.env.insert("PROBE_GREETING".into(), "welcome".into());
    })
    .await;
    host.put("go", "").await;
    let ended = host.ended(&id).await;
    assert_eq!((ended.state, ended.failures), (State::Succeeded, 0), "{:?}", ended.reason);
    for key in ["first", "second", "third"] {
        assert_eq!(host.text(key).await.as_deref(), Some("welcome"), "{key}");
        assert_eq!(host.counts().await[key], 1, "{key}");
    }
}
