//! What a hostile guest cannot have.

use std::time::{Duration, Instant};

use backlot_builtin::PROBE;
use backlot_ledger::{LogSource, State};
use backlot_runtime::{Manifest, RuntimeConfig};

use crate::support::Host;

#[tokio::test]
async fn memory_is_limited_and_the_reason_says_so() {
    let host = Host::start().await;
    assert_eq!(host.answer("allocate 40").await, "40");
    let ended = host.invoke("allocate 100").await;
    assert_eq!(ended.state, State::Failed);
    let reason = ended.reason.unwrap();
    assert!(reason.contains("limit of 67108864 bytes"), "{reason}");
}

#[tokio::test]
async fn a_spinning_guest_ends_at_its_wall_limit() {
    let host = Host::with(|_, manifest| {
        manifest.limits.wall_secs = 1;
        manifest.retry.attempts = 1;
    })
    .await;
    let ended = host.invoke("spin").await;
    assert_eq!(ended.state, State::Failed);
    assert_eq!(ended.reason.unwrap(), "wall-clock limit of 1 s was reached");
}

#[tokio::test]
async fn the_wall_limit_covers_host_calls() {
    let host = Host::with(|_, manifest| {
        manifest.limits.wall_secs = 1;
        manifest.retry.attempts = 1;
    })
    .await;
    let ended = host.invoke("sleep 3600000").await;
    assert_eq!(ended.state, State::Failed);
    assert_eq!(ended.reason.unwrap(), "wall-clock limit of 1 s was reached");
}

#[tokio::test]
async fn guests_that_spin_on_every_thread_do_not_stop_the_others() {
    let host = Host::with(|config, manifest| {
        (config.threads, config.root_workers) = (1, 4);
        manifest.limits.wall_secs = 3;
        manifest.retry.attempts = 1;
    })
    .await;
    let mut spinning = Vec::new();
    for _ in 0..3 {
        spinning.push(host.publish("probe", "spin").await);
    }
    let started = Instant::now();
    assert_eq!(host.answer("sleep 50").await, "slept");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    for id in &spinning {
        assert!(host.ended(id).await.reason.unwrap().contains("wall-clock"));
    }
}

#[tokio::test]
async fn a_flooded_log_keeps_its_beginning_its_end_and_its_bound() {
    let host = Host::start().await;
    let ended = host.invoke("flood 100000").await;
    assert_eq!(ended.state, State::Succeeded);
    let lines = host.ledger.logs(&ended.id).await.unwrap();
    let bytes: usize = lines.iter().map(|line| line.text.len()).sum();
    assert!(bytes < 16 << 10, "{bytes}");
    assert_eq!(lines.first().unwrap().text, "line 0");
    assert!(lines.iter().any(|line| line.text.contains("left out here")));
    assert_eq!(host.log(&ended.id, LogSource::Stderr).await, ["the last words"]);
}

#[tokio::test]
async fn a_host_call_carries_no_more_than_its_limit() {
    let host = Host::with(|_, manifest| manifest.retry.attempts = 1).await;
    assert_eq!(host.answer("hostcall-bytes 1000000").await, "true");
    let ended = host.invoke("hostcall-bytes 3000000").await;
    assert_eq!(ended.state, State::Failed, "{:?}", ended.result);
}

#[tokio::test]
async fn an_answer_has_a_limit() {
    let host = Host::with(|_, manifest| manifest.retry.attempts = 1).await;
    let ended = host.invoke("answer-bytes 1048576").await;
    assert_eq!(ended.result.unwrap().len(), 1_048_576);
    let ended = host.invoke("answer-bytes 1048577").await;
    assert!(ended.reason.unwrap().contains("over the limit of 1048576"));
}

#[tokio::test]
async fn memory_for_later_attempts_has_a_limit() {
    let host = Host::start().await;
    let answer = host.answer("remember-many 100").await;
    assert!(answer.starts_with("64: Error::OverLimit"), "{answer}");
}

#[tokio::test]
async fn attempts_of_a_function_at_once_are_limited_and_others_pass_by() {
    let host = Host::with(|config, manifest| {
        config.root_workers = 8;
        manifest.limits.concurrency = Some(2);
    })
    .await;
    let mut other = Manifest::parse(PROBE.manifest).unwrap();
    other.name = "other".into();
    other.triggers =
        Manifest::parse("name = \"other\"\ntriggers = [{ type = \"event\", kind = \"other\" }]")
            .unwrap()
            .triggers;
    host.runtime.deploy(other, PROBE.component.to_vec()).await.unwrap();
    let mut running = Vec::new();
    for n in 0..9 {
        running.push(host.publish_about(&n.to_string(), "probe", "sleep 50").await);
    }
    let last = host.publish("other", "echo passed").await;
    assert_eq!(host.ended(&last).await.result.as_deref(), Some(b"passed".as_slice()));
    let at_work = host.ledger.invocation(running.last().unwrap()).await.unwrap().unwrap();
    assert!(!at_work.state.ended(), "the other one did not wait for nine");
    let mut spans = Vec::new();
    for id in &running {
        let ended = host.ended(id).await;
        assert_eq!(ended.state, State::Succeeded, "{:?}", ended.reason);
        for attempt in host.attempts(id).await {
            spans.push((attempt.started_at, attempt.ended_at.unwrap()));
        }
    }
    for (begun, _) in &spans {
        let at_once = spans.iter().filter(|(from, to)| from <= begun && begun < to).count();
        assert!(at_once <= 2, "{at_once} at once: {spans:?}");
    }
    spans.sort();
    // In the order in which they came.
    assert_eq!(spans.len(), 9);
}

#[tokio::test]
async fn what_is_held_back_goes_on_after_a_crash_and_when_the_limit_is_lifted() {
    let limited = |config: &mut RuntimeConfig, manifest: &mut Manifest| {
        config.root_workers = 4;
        manifest.limits.concurrency = Some(1);
    };
    let host = Host::with(limited).await;
    let mut waiting = Vec::new();
    for _ in 0..4 {
        waiting.push(host.publish("probe", "trap-until-attempt 2").await);
    }
    let spinning = host.publish("probe", "spin").await;
    waiting.push(host.publish("probe", "echo held").await);
    let folder = host.crash().await;
    let host = Host::over(folder, limited).await;
    for id in &waiting[..4] {
        assert_eq!(host.ended(id).await.result.as_deref(), Some(b"recovered".as_slice()));
    }
    // The one that spins has the only place.
    host.deploy(|manifest| manifest.limits.concurrency = None).await;
    assert_eq!(host.ended(&waiting[4]).await.result.as_deref(), Some(b"held".as_slice()));
    host.ledger.cancel(&spinning).await.unwrap();
}
