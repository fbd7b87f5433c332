//! Random interleavings of everything that moves the queue keep what must always hold.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use backlot_ledger::{Fence, Invocation, InvocationId, Lane, LedgerError, Outcome, State};
use proptest::prelude::*;

use crate::support::{Bed, LEASE, end};

#[derive(Clone, Debug)]
enum Step {
    Publish { kind: &'static str, key: u8 },
    Lease(Lane),
    Child { attempt: usize, key: u8 },
    Park { attempt: usize },
    Finish { attempt: usize, outcome: Outcome },
    Cancel { invocation: usize },
    Pass(u64),
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![Just("newest"), Just("in-order"), Just("job")];
    let outcome = prop_oneof![
        3 => Just(Outcome::Succeeded(None)),
        1 => Just(Outcome::Rejected("no".to_owned())),
        2 => Just(Outcome::Trapped("trap".to_owned())),
        1 => Just(Outcome::Released),
    ];
    prop_oneof![
        4 => (kind, 0..2_u8).prop_map(|(kind, key)| Step::Publish { kind, key }),
        4 => Just(Step::Lease(Lane::Roots)),
        4 => Just(Step::Lease(Lane::Children)),
        5 => (any::<usize>(), 0..3_u8).prop_map(|(attempt, key)| Step::Child { attempt, key }),
        4 => any::<usize>().prop_map(|attempt| Step::Park { attempt }),
        4 => (any::<usize>(), outcome)
            .prop_map(|(attempt, outcome)| Step::Finish { attempt, outcome }),
        1 => any::<usize>().prop_map(|invocation| Step::Cancel { invocation }),
        2 => (0..40_u64).prop_map(Step::Pass),
        1 => Just(Step::Crash),
    ]
}

/// Every fence ever given: most are stale, and must be refused.
#[derive(Default)]
struct Model {
    fences: Vec<Fence>,
    /// The newest token of each invocation; only that one may be valid.
    newest: HashMap<InvocationId, u64>,
    ended: HashMap<InvocationId, State>,
}

impl Model {
    fn pick(&self, attempt: usize) -> Option<&Fence> {
        self.fences.get(attempt.checked_rem(self.fences.len())?)
    }

    fn leased(&mut self, fence: &Fence) {
        let before = self.newest.insert(fence.invocation.clone(), fence.token);
        assert!(before.is_none_or(|before| before < fence.token), "tokens grow");
        self.fences.push(fence.clone());
    }

    /// A refusal is right when the attempt is over; an acceptance only when it runs.
    fn judge<T>(&self, fence: &Fence, before: &Invocation, result: &Result<T, LedgerError>) {
        let newest = self.newest[&fence.invocation] == fence.token;
        match result {
            Ok(_) => assert!(newest && before.state == State::Running, "a stale attempt wrote"),
            Err(LedgerError::Fenced(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

async fn run(mut bed: Bed, steps: Vec<Step>) {
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Publish { kind, key } => drop(bed.publish(kind, &key.to_string()).await),
            Step::Lease(lane) => {
                for leased in bed.lease(lane, 2).await {
                    model.leased(&leased.fence);
                }
            }
            Step::Child { attempt, key } => {
                let Some(fence) = model.pick(attempt) else { continue };
                let before = bed.get(&fence.invocation).await;
                let key = key.to_string();
                let child = bed.ledger.start_child(fence, "part", &key, vec![]).await;
                model.judge(fence, &before, &child);
            }
            Step::Park { attempt } => {
                let Some(fence) = model.pick(attempt) else { continue };
                let before = bed.get(&fence.invocation).await;
                let children = bed.ledger.children_of(&fence.invocation).await.unwrap();
                let children = children.into_iter().map(|child| child.id).collect();
                let parked = bed.ledger.finish(fence, end(Outcome::Parked { children })).await;
                model.judge(fence, &before, &parked);
            }
            Step::Finish { attempt, outcome } => {
                let Some(fence) = model.pick(attempt) else { continue };
                let before = bed.get(&fence.invocation).await;
                model.judge(fence, &before, &bed.ledger.finish(fence, end(outcome)).await);
            }
            Step::Cancel { invocation } => {
                let all = bed.all().await;
                let Some(index) = invocation.checked_rem(all.len()) else { continue };
                bed.ledger.cancel(&all[index].id).await.unwrap();
            }
            Step::Pass(secs) => bed.pass(Duration::from_secs(secs)),
            Step::Crash => bed = bed.reopen(),
        }
        check(&bed.all().await, &mut model);
    }
    drain(&bed).await;
}

/// What must hold after each step.
fn check(all: &[Invocation], model: &mut Model) {
    let by_id: HashMap<_, _> = all.iter().map(|i| (&i.id, i)).collect();
    let mut unended_keys = HashSet::new();
    for one in all {
        if let Some(parent) = &one.parent {
            let parent = by_id[parent];
            assert!(one.state.ended() || !parent.state.ended(), "unended below an ended one");
        }
        if one.state == State::Parked {
            let waits = all.iter().any(|c| c.parent.as_ref() == Some(&one.id) && !c.state.ended());
            assert!(waits, "parked on nothing");
        }
        if let Some(concurrency) = &one.concurrency {
            let unended = !one.state.ended();
            if unended && one.function == "newest" {
                assert!(unended_keys.insert(concurrency.key.clone()), "two of the newest");
            }
            let older = |other: &&Invocation| {
                other.id < one.id
                    && other.function == one.function
                    && !other.state.ended()
                    && other.concurrency.as_ref() == Some(concurrency)
            };
            let started = matches!(one.state, State::Running | State::Parked);
            let before_its_turn = one.function == "in-order" && started;
            assert!(!before_its_turn || all.iter().find(older).is_none(), "out of order");
        }
        assert_eq!(one.state.ended(), one.ended_at.is_some());
        if one.state.ended() {
            let before = model.ended.insert(one.id.clone(), one.state);
            assert!(before.is_none_or(|before| before == one.state), "an end is final");
        } else {
            assert!(!model.ended.contains_key(&one.id), "an end is final");
        }
    }
}

/// Whatever happened, a patient worker brings everything to an end: nothing is stuck.
async fn drain(bed: &Bed) {
    for _ in 0..200 {
        bed.pass(LEASE + Duration::from_secs(60));
        for lane in [Lane::Children, Lane::Roots] {
            for leased in bed.lease(lane, 64).await {
                // Refused when the end of its parent, just before, cancelled it.
                match bed.ledger.finish(&leased.fence, end(Outcome::Succeeded(None))).await {
                    Ok(()) | Err(LedgerError::Fenced(_)) => {}
                    Err(other) => panic!("{other}"),
                }
            }
        }
        if bed.all().await.iter().all(|one| one.state.ended()) {
            return;
        }
    }
    panic!("stuck: {:#?}", bed.all().await);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 32,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn the_queue_keeps_its_promises(steps in prop::collection::vec(step(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(Bed::new(), steps));
    }
}
