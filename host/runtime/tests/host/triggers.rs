//! What starts functions, through the whole runtime.

use std::time::Duration;

use backlot_builtin::PROBE;
use backlot_ledger::{Invocation, State};
use backlot_runtime::{Manifest, Trigger};
use jiff::Timestamp;

use crate::support::{Host, grant_bucket};

/// The component of `probe` as another function, with these triggers.
async fn deploy(host: &Host, name: &str, triggers: &str) {
    let mut manifest = Manifest::parse(&format!("name = {name:?}\n{triggers}")).unwrap();
    grant_bucket(&mut manifest);
    host.runtime.deploy(manifest, PROBE.component.to_vec()).await.unwrap();
}

fn of<'a>(all: &'a [Invocation], function: &str) -> Vec<&'a Invocation> {
    all.iter().filter(|invocation| invocation.function == function).collect()
}

#[tokio::test]
async fn the_end_of_a_function_starts_those_that_follow_it() {
    let host = Host::start().await;
    let follow = |ends: &str| {
        format!(
            "[[triggers]]\ntype = \"function\"\nfunction = \"probe\"\nends = [{ends}]\n\
             filter = \"!data.rejected\""
        )
    };
    deploy(&host, "griever", &follow("\"failed\"")).await;
    deploy(&host, "admirer", &follow("\"succeeded\"")).await;
    let trapped = host.invoke("trap").await;
    assert_eq!(host.invoke("reject because").await.state, State::Failed);
    let succeeded = host.invoke("sum 2").await;
    assert_eq!(succeeded.state, State::Succeeded);

    let all = host.quiet().await;
    let told = |function: &str| {
        let started = of(&all, function);
        assert_eq!(started.len(), 1, "{function}: its children and the rejected one tell nothing");
        started[0].id.clone()
    };
    let grief = host.ended(&told("griever")).await;
    let data: serde_json::Value = serde_json::from_slice(&grief.result.unwrap()).unwrap();
    assert_eq!(data["invocation"], trapped.id.as_str());
    assert_eq!((&data["attempts"], &data["rejected"]), (&3.into(), &false.into()));
    assert!(data["reason"].as_str().unwrap().contains("trapped"), "{data}");
    let joy = host.ended(&told("admirer")).await;
    let data: serde_json::Value = serde_json::from_slice(&joy.result.unwrap()).unwrap();
    assert_eq!((&data["event"]["kind"], &data["result"]), (&"probe".into(), &1.into()), "{data}");
}

#[tokio::test]
async fn a_filter_decides_which_events_start_a_function() {
    let host = Host::start().await;
    let filtered = "[[triggers]]\ntype = \"event\"\nkind = \"order\"\n\
                    filter = \"subject == 'paid' && source != '/nowhere'\"";
    deploy(&host, "shop", filtered).await;
    host.answer("program publish order none").await;
    host.publish_about("paid", "probe", "program publish order none").await;
    let all = host.quiet().await;
    let shop = of(&all, "shop");
    assert_eq!(shop.len(), 1, "{shop:?}");
    assert_eq!(shop[0].state, State::Succeeded);
    assert_eq!(shop[0].event_source, "/functions/probe");
}

#[tokio::test]
async fn an_object_starts_a_function_that_reads_it() {
    let host = Host::with_bucket(|_, _| {}).await;
    let trigger = "[[triggers]]\ntype = \"object\"\nbucket = \"content\"\nprefix = \"jobs/\"\n\
                   events = [\"created\"]\nsize_max = 100";
    deploy(&host, "worker", trigger).await;
    host.put("jobs/one", "program put content done x").await;
    host.put("elsewhere", "program put content not x").await;
    host.put("jobs/large", &format!("program say {}; put content not x", "x".repeat(100))).await;
    let all = host.quiet().await;
    assert_eq!(of(&all, "worker").len(), 1);
    assert_eq!(host.text("done").await.as_deref(), Some("x"));
    assert!(host.text("not").await.is_none());
}

/// The slots that started a function, in their order.
async fn slots(host: &Host) -> Vec<Timestamp> {
    let mut slots: Vec<Timestamp> = host
        .roots()
        .await
        .iter()
        .filter(|root| root.event_kind == "backlot.schedule")
        .map(|root| root.event_subject.as_ref().unwrap().parse().unwrap())
        .collect();
    slots.sort_unstable();
    slots
}

async fn until_slots(host: &Host, least: usize) -> Vec<Timestamp> {
    let enough = async {
        loop {
            let found = slots(host).await;
            if least <= found.len() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, enough).await.unwrap()
}

#[tokio::test]
async fn a_schedule_fires_each_slot_once_also_over_a_crash() {
    let every_second: Trigger = Manifest::parse(
        "name = \"x\"\n[[triggers]]\ntype = \"schedule\"\nname = \"tick\"\ncron = \"* * * * * *\"",
    )
    .unwrap()
    .triggers
    .remove(0);
    let host = Host::with(|_, manifest| manifest.triggers.push(every_second.clone())).await;
    let before = until_slots(&host, 2).await;
    let folder = host.crash().await;
    let host = Host::over(folder, |_, manifest| manifest.triggers.push(every_second)).await;
    let all = until_slots(&host, before.len() + 2).await;
    for pair in all.windows(2) {
        let apart = pair[1].duration_since(pair[0]);
        assert_eq!(apart.as_millis(), 1_000, "none twice, none left out: {all:?}");
    }
    let roots = host.roots().await;
    let first = roots.iter().find(|root| root.event_kind == "backlot.schedule").unwrap();
    assert_eq!(host.ended(&first.id).await.state, State::Succeeded);
}

#[tokio::test]
async fn a_delayed_trigger_waits() {
    let host = Host::start().await;
    let trigger = "[[triggers]]\ntype = \"event\"\nkind = \"remind\"\ndelay_secs = 1";
    deploy(&host, "clerk", trigger).await;
    let id = host.publish("remind", "none").await;
    let waiting = host.ledger.invocation(&id).await.unwrap().unwrap();
    assert_eq!(waiting.state, State::Queued);
    let ended = host.ended(&id).await;
    assert_eq!(ended.state, State::Succeeded);
    let waited = ended.started_at.unwrap().duration_since(ended.accepted_at);
    assert!(1_000 <= waited.as_millis(), "{waited}");
}

#[tokio::test]
async fn functions_that_start_themselves_without_end_are_stopped() {
    let host = Host::start().await;
    host.publish("probe", "publish-again").await;
    let all = host.quiet().await;
    let succeeded = all.iter().filter(|run| run.state == State::Succeeded).count();
    assert_eq!((succeeded, all.len()), (17, 18));
    let dead = all.iter().find(|run| run.state == State::Failed).unwrap();
    assert_eq!(dead.attempt, 0, "it was not even started");
    assert!(dead.reason.as_ref().unwrap().contains("the limit is 16"), "{:?}", dead.reason);
}

#[tokio::test]
async fn in_order_is_one_after_another_for_a_key_and_side_by_side_for_others() {
    let host = Host::with_bucket(|config, _| config.root_workers = 4).await;
    let trigger = "[[triggers]]\ntype = \"event\"\nkind = \"entry\"\nconcurrency = \"in-order\"";
    deploy(&host, "clerk", trigger).await;
    // The first of one key waits for the last of the other: with one queue for both that would
    // never come.
    let first = "program until content b-3; put content a 0; sleep 150; put content a 0";
    host.publish_about("a", "entry", first).await;
    for number in 1..4 {
        for key in ["a", "b"] {
            let program = format!(
                "program put content {key} {number}; sleep 110; put content {key}-{number} x"
            );
            host.publish_about(key, "entry", &program).await;
        }
    }
    let all = host.quiet().await;
    for key in ["a", "b"] {
        let mut runs: Vec<_> =
            all.iter().filter(|run| run.event_subject.as_deref() == Some(key)).collect();
        runs.sort_by_key(|run| run.id.clone());
        assert!(runs.iter().all(|run| run.state == State::Succeeded), "{runs:?}");
        for pair in runs.windows(2) {
            assert!(pair[0].ended_at <= pair[1].started_at, "{pair:?}");
        }
    }
    let mut texts = Vec::new();
    for version in host.versions().await.remove("a").unwrap().into_iter().rev() {
        let reader = host.store.open_object("content", "a", Some(&version.version_id)).await;
        let bytes = reader.unwrap().read_at(0, 8).await.unwrap();
        texts.push(String::from_utf8(bytes.to_vec()).unwrap());
    }
    assert_eq!(texts, ["0", "0", "1", "2", "3"]);
}
