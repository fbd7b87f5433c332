//! Versions and aliases, tokens and the audit log.

use std::time::Duration;

use backlot_ledger::{
    Decision, FunctionChange, FunctionState, FunctionVersion, Lane, LedgerError, NewToken, Outcome,
    Scope, TOKENS_MAX, VERSIONS_KEPT,
};
use jiff::Timestamp;

use crate::support::{Bed, event};

fn version(number: usize) -> FunctionVersion {
    FunctionVersion {
        function: "f".to_owned(),
        id: format!("{number:064x}"),
        // Two versions share each component.
        component: format!("component-{}", number / 2),
        bytes: 7,
        manifest: "{}".to_owned(),
        imports: vec!["a:b/c@1.0.0".to_owned()],
        signer: None,
        deployed_by: "tester".to_owned(),
        deployed_at: Timestamp::UNIX_EPOCH,
    }
}

fn change(number: usize, previous: Option<usize>) -> FunctionChange {
    let id = |number: usize| version(number).id;
    FunctionChange {
        state: FunctionState {
            name: "f".to_owned(),
            live: id(number),
            canary: None,
            previous: previous.map(id),
            enabled: true,
            folder: None,
        },
        version: Some(version(number)),
        serial: Some(number as u64),
        decision: Decision {
            time: Timestamp::UNIX_EPOCH,
            what: "deployed".to_owned(),
            version: id(number),
            by: "tester".to_owned(),
            details: "{}".to_owned(),
        },
        event: None,
    }
}

#[tokio::test]
async fn old_versions_go_and_named_ones_stay() {
    let bed = Bed::new();
    let first = version(1).id;
    bed.ledger.change_function(change(1, None)).await.unwrap();
    // An invocation that has not ended is to run it.
    bed.ledger.invoke("f", event("f", "s"), Some(first.clone())).await.unwrap();
    let mut gone = Vec::new();
    for number in 16..40 {
        // 16 is the version before all the time.
        gone.extend(bed.ledger.change_function(change(number, Some(16))).await.unwrap());
    }
    let kept: Vec<String> = ids(&bed).await;
    assert_eq!(kept.len(), VERSIONS_KEPT + 2 + 1, "{kept:?}");
    assert!(kept.contains(&version(16).id), "the version before");
    assert!(kept.contains(&first), "the pinned one");
    assert_eq!(kept.first(), Some(&version(39).id));
    // A component goes with the last of its versions, and with no version that is kept.
    let components = bed.ledger.components().await.unwrap();
    assert!(gone.iter().all(|component| !components.contains(component)), "{gone:?}");
    assert!(!gone.is_empty());

    let state = bed.ledger.functions().await.unwrap();
    assert_eq!((state.len(), state[0].live.as_str()), (1, version(39).id.as_str()));
    assert_eq!(bed.ledger.function_serial("f").await.unwrap(), Some(39));
    let decisions = bed.ledger.function_decisions("f").await.unwrap();
    assert_eq!((decisions.len(), decisions[0].time), (25, bed.now()));
}

async fn ids(bed: &Bed) -> Vec<String> {
    let versions = bed.ledger.function_versions("f").await.unwrap();
    versions.into_iter().map(|version| version.id).collect()
}

#[tokio::test]
async fn a_function_is_removed_when_nothing_of_it_waits() {
    let bed = Bed::new();
    bed.ledger.change_function(change(1, None)).await.unwrap();
    let leased = bed.root("f", "s").await;
    let refused = bed.ledger.remove_function("f").await.unwrap_err();
    assert!(matches!(refused, LedgerError::Invalid(_)), "{refused}");
    bed.finish(&leased.fence, Outcome::Succeeded(None)).await;
    assert_eq!(bed.ledger.remove_function("f").await.unwrap(), ["component-0"]);
    assert!(bed.ledger.functions().await.unwrap().is_empty());
    // What was live once is not forgotten with it.
    assert_eq!(bed.ledger.function_serial("f").await.unwrap(), Some(1));
}

#[tokio::test]
async fn what_belongs_together_has_one_affinity() {
    let bed = Bed::new();
    let root = bed.root("f", "film.mp4").await;
    bed.child(&root.fence, "part-1").await;
    let child = bed.only(Lane::Children).await;
    assert_eq!(child.invocation.event_subject.as_deref(), Some("part-1"));
    assert_eq!(root.invocation.affinity(), "film.mp4");
    assert_eq!(child.invocation.affinity(), "film.mp4");
    bed.child(&child.fence, "part-1-1").await;
    assert_eq!(bed.only(Lane::Children).await.invocation.affinity(), "film.mp4");
}

fn token(name: &str, expires_at: Option<Timestamp>) -> NewToken {
    NewToken {
        name: name.to_owned(),
        digest: std::array::from_fn(|at| name.as_bytes().get(at).copied().unwrap_or_default()),
        scope: Scope::Deploy,
        created_by: "tester".to_owned(),
        expires_at,
    }
}

#[tokio::test]
async fn a_token_opens_until_it_expires_or_is_revoked() {
    let bed = Bed::new();
    let now = Timestamp::now();
    let soon = now + jiff::SignedDuration::from_hours(1);
    for (name, expires_at) in [("ever", None), ("soon", Some(soon)), ("past", Some(now))] {
        bed.ledger.create_token(token(name, expires_at)).await.unwrap();
    }
    let found = |name| bed.ledger.token(token(name, None).digest);
    assert_eq!(found("ever").await.unwrap().unwrap().scope, Scope::Deploy);
    assert!(found("soon").await.unwrap().is_some());
    assert!(found("past").await.unwrap().is_none());
    assert!(found("other").await.unwrap().is_none());
    let taken = bed.ledger.create_token(token("ever", None)).await.unwrap_err();
    assert!(taken.to_string().contains("already"), "{taken}");
    assert!(bed.ledger.revoke_token("ever").await.unwrap());
    assert!(!bed.ledger.revoke_token("ever").await.unwrap());
    assert!(found("ever").await.unwrap().is_none());
    for number in 2..TOKENS_MAX {
        bed.ledger.create_token(token(&format!("n{number}"), None)).await.unwrap();
    }
    let full = bed.ledger.create_token(token("one-more", None)).await.unwrap_err();
    assert!(matches!(full, LedgerError::OverLimit { .. }), "{full}");
}

#[tokio::test]
async fn the_audit_log_is_read_from_its_end() {
    let bed = Bed::new();
    for number in 0..5 {
        let subject = format!("f{number}");
        bed.ledger.audit("me", "functions.deploy", &subject, "done").await.unwrap();
        bed.pass(Duration::from_secs(1));
    }
    bed.ledger.audit("me", "x", &"é".repeat(2_000), "done").await.unwrap();
    let newest = bed.ledger.audit_log(None, 2).await.unwrap();
    assert_eq!(newest[0].subject.len(), 1_024);
    assert_eq!(newest[1].subject, "f4");
    let older = bed.ledger.audit_log(Some(newest[1].seq), 100).await.unwrap();
    assert_eq!(older.len(), 4);
    assert_eq!(older[0].subject, "f3");
}
