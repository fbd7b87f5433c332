//! Every function of our own interfaces, granted and not: the list comes from `wit/`, so that a new
//! function needs a line here.

use std::collections::BTreeSet;
use std::path::Path;

use backlot_ledger::LogSource;
use backlot_runtime::Grants;

use crate::support::{BUCKET, Host, grant_bucket};

/// Functions that need a grant.
const GRANTED: [&str; 18] = [
    "antivirus#scan",
    "backup#add",
    "backup#covered",
    "changes#end",
    "changes#read",
    "children#start",
    "context#publish",
    "encoder#open",
    "objects#compose",
    "objects#copy",
    "objects#create",
    "objects#delete",
    "objects#delete-version",
    "objects#head",
    "objects#list",
    "objects#open",
    "objects#tag",
    "objects#tags",
];

/// Functions that need none: they tell a guest about itself, or are about its own children and what
/// it remembers.
const FREE: [&str; 8] = [
    "children#cancel",
    "children#wait",
    "context#current",
    "context#recall",
    "context#remember",
    "context#report-progress",
    "context#sleep",
    "encoder#version",
];

/// `interface#function` of everything that a guest can import from our packages. What belongs to a
/// resource is not there: only a call that was granted gives one.
fn functions() -> BTreeSet<String> {
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    let folders = |path: &Path| {
        let entries = std::fs::read_dir(path).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    };
    let mut found = BTreeSet::new();
    for version in folders(&wit).iter().flat_map(|package| folders(package)) {
        for file in folders(&version) {
            found.extend(functions_of(&std::fs::read_to_string(file).unwrap()));
        }
    }
    found
}

/// Those of one file. In it each function and each block begins on a line of its own.
fn functions_of(wit: &str) -> Vec<String> {
    let mut blocks: Vec<(&str, &str)> = Vec::new();
    let mut found = Vec::new();
    for line in wit.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
        if let Some((name, _)) = line.split_once(": func(")
            && let [("interface", interface)] = blocks.as_slice()
            // What a function exports is not imported.
            && *interface != "handler"
        {
            found.push(format!("{interface}#{}", name.trim_start_matches('%')));
        }
        if let Some(head) = line.strip_suffix('{') {
            let mut words = head.split_whitespace();
            blocks.push((words.next().unwrap_or_default(), words.next().unwrap_or_default()));
        } else if line.starts_with('}') {
            blocks.pop();
        }
    }
    assert!(blocks.is_empty(), "{blocks:?}");
    found
}

#[test]
fn every_function_is_in_one_of_the_lists() {
    let listed: BTreeSet<String> =
        GRANTED.iter().chain(&FREE).map(|name| (*name).to_owned()).collect();
    assert_eq!(functions(), listed);
}

#[tokio::test]
async fn what_is_not_granted_is_denied_with_a_type_and_a_line_in_the_log() {
    let host = Host::with(|_, manifest| manifest.grants = Grants::default()).await;
    for name in GRANTED {
        let ended = host.invoke(&format!("call {name}")).await;
        let answer = String::from_utf8(ended.result.unwrap_or_default()).unwrap();
        assert!(answer.contains("Denied("), "{name}: {answer:?} {:?}", ended.reason);
        let log = host.log(&ended.id, LogSource::Host).await;
        assert!(log.len() == 1 && log[0].starts_with("denied: "), "{name}: {log:?}");
    }
}

#[tokio::test]
async fn what_is_granted_is_not_denied() {
    let host = Host::with(|_, manifest| {
        grant_bucket(manifest);
        manifest.grants.antivirus = true;
        manifest.grants.backup = vec![BUCKET.to_owned()];
        manifest.grants.encoding = true;
        manifest.grants.publish = true;
        manifest.grants.children = vec!["probe".to_owned()];
    })
    .await;
    host.make_bucket(BUCKET).await;
    for name in GRANTED {
        let ended = host.invoke(&format!("call {name}")).await;
        let answer = String::from_utf8(ended.result.unwrap_or_default()).unwrap();
        assert!(!answer.is_empty() && !answer.contains("Denied"), "{name}: {answer:?}");
        assert!(host.log(&ended.id, LogSource::Host).await.is_empty(), "{name}");
    }
}
