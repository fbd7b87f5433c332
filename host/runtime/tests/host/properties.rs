//! Random programs that trap, sleep, wait and lose their host in between leave what one calm run
//! would have left.

use std::collections::BTreeMap;
use std::time::Duration;

use backlot_ledger::{Change, State};
use backlot_runtime::{EventTrigger, Manifest, Trigger};
use proptest::prelude::*;
use tokio::sync::broadcast::Receiver;

use crate::support::{BUCKET, Host, grant_bucket};

/// Programs that are tried.
const CASES: u32 = 24;
/// Kind of the events that programs publish: each starts an invocation, so that it is seen.
const NOTE: &str = "note";

#[derive(Clone, Debug)]
enum Step {
    Put { key: u8, text: u8 },
    Delete { key: u8 },
    Publish { text: u8 },
    Sleep { ms: u64 },
    Trap { attempts: u32 },
    Remember { name: u8 },
    Child(Vec<Step>),
    Wait,
}

fn small() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3_u8, 0..2_u8).prop_map(|(key, text)| Step::Put { key, text }),
        2 => (0..3_u8).prop_map(|key| Step::Delete { key }),
        2 => (0..2_u8).prop_map(|text| Step::Publish { text }),
        1 => (1..40_u64).prop_map(|ms| Step::Sleep { ms }),
        1 => (101..160_u64).prop_map(|ms| Step::Sleep { ms }),
        2 => (1..5_u32).prop_map(|attempts| Step::Trap { attempts }),
        1 => (0..2_u8).prop_map(|name| Step::Remember { name }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => small(),
        2 => prop::collection::vec(small(), 1..5).prop_map(Step::Child),
        1 => Just(Step::Wait),
    ]
}

/// When the host dies: so many changes in the ledger after its start, and microseconds after those.
#[derive(Clone, Debug)]
struct Crash {
    changes: usize,
    micros: u64,
}

fn crash() -> impl Strategy<Value = Crash> {
    (0..10_usize, 0..4_000_u64).prop_map(|(changes, micros)| Crash { changes, micros })
}

/// What the probe is told. `place` is in the names of its objects: no two invocations share any,
/// so that what is left does not depend on who was first.
fn program(steps: &[Step], place: &str, separator: &str) -> String {
    let steps = steps.iter().enumerate().map(|(position, step)| match step {
        Step::Put { key, text } => format!("put {BUCKET} {place}{key} {text}"),
        Step::Delete { key } => format!("delete {BUCKET} {place}{key}"),
        Step::Publish { text } => format!("publish {NOTE} echo {text}"),
        Step::Sleep { ms } => format!("sleep {ms}"),
        Step::Trap { attempts } => format!("trap-on {attempts}"),
        Step::Remember { name } => format!("remember {name} {name}"),
        Step::Child(steps) => {
            format!("child {}", program(steps, &format!("{place}{position}-"), ","))
        }
        Step::Wait => "wait".to_owned(),
    });
    // The end of a handler is the end of its children: it waits for them.
    format!("program {}{separator} wait", steps.collect::<Vec<_>>().join(&format!("{separator} ")))
}

/// What is left in the end.
#[derive(Debug, Default, PartialEq)]
struct Left {
    /// Versions and markers of each key, and the current text.
    objects: BTreeMap<String, (usize, Option<String>)>,
    notes: usize,
    children: usize,
}

/// The model: each step once, in order.
fn calm(steps: &[Step], place: &str, left: &mut Left) {
    for (position, step) in steps.iter().enumerate() {
        match step {
            Step::Put { key, text } => {
                let object = left.objects.entry(format!("{place}{key}")).or_default();
                *object = (object.0 + 1, Some(text.to_string()));
            }
            Step::Delete { key } => {
                let object = left.objects.entry(format!("{place}{key}")).or_default();
                *object = (object.0 + 1, None);
            }
            Step::Publish { .. } => left.notes += 1,
            Step::Child(steps) => {
                left.children += 1;
                calm(steps, &format!("{place}{position}-"), left);
            }
            Step::Sleep { .. } | Step::Trap { .. } | Step::Remember { .. } | Step::Wait => {}
        }
    }
}

fn patient(manifest: &mut Manifest) {
    grant_bucket(manifest);
    manifest.retry.attempts = 100;
    manifest.triggers.push(Trigger::Event(EventTrigger {
        kind: NOTE.to_owned(),
        filter: None,
        concurrency: None,
        delay_secs: 0,
    }));
}

async fn changes(news: &mut Receiver<Change>, count: usize) {
    for _ in 0..count {
        if news.recv().await.is_err() {
            return;
        }
    }
}

async fn rough(steps: &[Step], crashes: &[Crash]) -> Left {
    let mut host = Host::with(|_, manifest| patient(manifest)).await;
    host.make_bucket(BUCKET).await;
    let mut news = host.ledger.changes();
    let id = host.publish("probe", &program(steps, "o", ";")).await;
    for crash in crashes {
        tokio::select! {
            () = changes(&mut news, crash.changes) => {}
            _ = host.quiet() => break,
        }
        tokio::time::sleep(Duration::from_micros(crash.micros)).await;
        drop(news);
        host = Host::over(host.crash().await, |_, manifest| patient(manifest)).await;
        news = host.ledger.changes();
    }
    let all = host.quiet().await;
    let ended = host.ended(&id).await;
    assert_eq!(ended.state, State::Succeeded, "{:?}", ended.reason);
    assert!(all.iter().all(|run| run.state == State::Succeeded), "{all:?}");

    let mut objects = BTreeMap::new();
    for (key, count) in host.counts().await {
        let text = host.text(&key).await;
        objects.insert(key, (count, text));
    }
    Left {
        objects,
        notes: all.iter().filter(|run| run.event_kind == NOTE).count(),
        children: all.iter().filter(|run| run.parent.is_some()).count(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: CASES,
        max_shrink_iters: 40,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_crashes_and_traps_leave_is_what_a_calm_run_leaves(
        steps in prop::collection::vec(step(), 1..9),
        crashes in prop::collection::vec(crash(), 0..4),
    ) {
        let mut wanted = Left::default();
        calm(&steps, "o", &mut wanted);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let left = runtime.block_on(rough(&steps, &crashes));
        prop_assert_eq!(left, wanted);
    }
}
