//! How an attempt ends, and what is left of it in the record.

use backlot_builtin::CLOCK3;
use backlot_ledger::{AttemptOutcome, LogSource, REASON_BYTES_MAX, State};
use backlot_runtime::Manifest;
use tokio::time::timeout;

use crate::support::{Host, PATIENCE};

#[tokio::test]
async fn an_answer_is_the_invocations_result() {
    let host = Host::start().await;
    assert_eq!(host.answer("echo hello there").await, "hello there");
    let ended = host.invoke("none").await;
    assert_eq!((ended.state, ended.result), (State::Succeeded, None));
    let attempts = host.ledger.attempts(&ended.id).await.unwrap();
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0].outcome, Some(AttemptOutcome::Succeeded));
}

#[tokio::test]
async fn a_handler_sees_itself_and_a_clock_that_stands_still() {
    let host = Host::start().await;
    assert_eq!(host.answer("who").await, "probe attempt 1 frozen true left true");
}

#[tokio::test]
async fn clock_and_randomness_of_wasi_3_are_those_of_the_invocation_too() {
    let host = Host::start().await;
    let manifest = "name = \"clock\"\ntriggers = [{ type = \"event\", kind = \"clock\" }]";
    let mut manifest = Manifest::parse(manifest).unwrap();
    manifest.retry.base_secs = 0;
    host.runtime.deploy(manifest, CLOCK3.component.to_vec()).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let id = host.publish("clock", "").await;
        let ended = host.ended(&id).await;
        assert_eq!(ended.attempt, 2, "{:?}", ended.reason);
        let answer = String::from_utf8(ended.result.unwrap()).unwrap();
        let (same, rest) = answer.split_once(' ').unwrap();
        assert_eq!(same, "true", "the second attempt saw something else than {rest}");
        let seconds: i64 = rest.split('.').next().unwrap().parse().unwrap();
        assert_eq!(seconds, ended.accepted_at.as_second());
        seen.push(rest.split_once(' ').unwrap().1.to_owned());
    }
    assert_ne!(seen[0], seen[1], "each invocation has random numbers of its own");
}

#[tokio::test]
async fn what_it_writes_is_kept_by_line() {
    let host = Host::start().await;
    let ended = host.invoke("say one").await;
    assert_eq!(host.log(&ended.id, LogSource::Stdout).await, ["one, and more"]);
    assert_eq!(host.log(&ended.id, LogSource::Stderr).await, ["unfinished"]);
}

#[tokio::test]
async fn a_trap_is_retried_by_policy_then_failed_with_its_record() {
    let host = Host::start().await;
    let ended = host.invoke("trap").await;
    assert_eq!((ended.state, ended.attempt, ended.failures), (State::Failed, 3, 3));
    assert!(ended.reason.unwrap().contains("trapped"));
    let attempts = host.ledger.attempts(&ended.id).await.unwrap();
    let outcomes: Vec<_> = attempts.iter().map(|attempt| attempt.outcome.unwrap()).collect();
    assert_eq!(outcomes, [AttemptOutcome::Trapped; 3]);
    let said = host.log(&ended.id, LogSource::Stderr).await.join("\n");
    assert!(said.contains("asked to trap"), "{said}");
    let frames = host.log(&ended.id, LogSource::Host).await.join("\n");
    // Behind the crate's name, in either way of mangling.
    assert!(frames.contains("::trap_in_a_named_function"), "{frames}");
    assert!(frames.contains("attempt 3 ended"), "{frames}");
}

#[tokio::test]
async fn a_later_attempt_may_succeed() {
    let host = Host::start().await;
    let ended = host.invoke("trap-until-attempt 2").await;
    assert_eq!((ended.state, ended.attempt, ended.failures), (State::Succeeded, 2, 1));
}

#[tokio::test]
async fn an_exit_is_a_trap_that_says_so() {
    let host = Host::start().await;
    let ended = host.invoke("exit").await;
    assert_eq!(ended.state, State::Failed);
    // WASI 0.2 knows success and failure only: 3 arrives as 1.
    assert_eq!(ended.reason.unwrap(), "the guest exited with status 1");
}

#[tokio::test]
async fn a_rejected_event_is_not_retried() {
    let host = Host::start().await;
    let ended = host.invoke("reject unreadable").await;
    assert_eq!((ended.state, ended.attempt), (State::Failed, 1));
    assert_eq!(ended.reason.unwrap(), "unreadable");
    let ended = host.invoke("reject-bytes 100000").await;
    let reason = ended.reason.unwrap();
    assert!(reason.len() <= REASON_BYTES_MAX && reason.starts_with('é'), "{}", reason.len());
}

#[tokio::test]
async fn a_handler_may_ask_for_another_attempt() {
    let host = Host::start().await;
    let ended = host.invoke("retry").await;
    assert_eq!((ended.state, ended.attempt), (State::Failed, 3));
    assert_eq!(ended.reason.unwrap(), "not yet");
}

#[tokio::test]
async fn progress_is_live_while_it_runs_and_the_ledgers_afterwards() {
    let host = Host::start().await;
    let mut reports = host.runtime.subscribe_progress();
    let ended = host.invoke("progress 5000").await;
    let mut received = Vec::new();
    while received.last() != Some(&5_000) {
        let report = timeout(PATIENCE, reports.recv()).await.expect("the last one is never lost");
        let (id, strands) = report.unwrap();
        assert_eq!(id, ended.id);
        received.push(strands[0].done);
    }
    assert!(received.is_sorted());
    assert!(received.len() < 1_000, "{} of 5,000 were sent on", received.len());
    assert_eq!((ended.progress[0].done, ended.progress[0].total), (5_000, 5_000));
    // The live one goes a moment after the ledger has it.
    let gone = async {
        while !host.runtime.progress(&ended.id).is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, gone).await.unwrap();
}

#[tokio::test]
async fn what_a_guest_costs_is_accounted() {
    let host = Host::with(|_, manifest| {
        manifest.limits.wall_secs = 1;
        manifest.retry.attempts = 1;
    })
    .await;
    let spun = host.invoke("spin").await;
    assert!(100 < spun.cost.cpu_ms, "{:?}", spun.cost);
    let slept = host.invoke("sleep 500").await;
    assert!(slept.cost.cpu_ms < 400, "waiting costs nothing: {:?}", slept.cost);
}
