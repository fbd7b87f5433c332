//! The host's own interfaces, for a guest that answers a request and is no durable invocation.

use backlot_builtin::WEB;
use backlot_ledger::InvocationFilter;
use backlot_storage::Put;
use bytes::Bytes;

use crate::support::Host;

const GRANTS: &str = "[grants]\npublish = true\nchildren = [\"web\"]\n\
    storage = [{ bucket = \"objects\", access = [\"read\", \"write\", \"delete\"] }]";

#[tokio::test]
async fn a_request_knows_itself_and_remembers_nothing() {
    let host = Host::of(&WEB, GRANTS).await;
    let first = host.get("/capabilities/current").await.text();
    assert!(first.contains("id: \"request-") && first.contains("function: \"web\""), "{first}");
    assert_ne!(host.get("/capabilities/current").await.text(), first);
    assert_eq!(host.get("/capabilities/recall").await.text(), "None");
    for call in ["remember", "sleep", "start"] {
        let answer = host.get(&format!("/capabilities/{call}")).await.text();
        assert!(answer.contains("Denied") && answer.contains("durable invocation"), "{answer}");
    }
}

#[tokio::test]
async fn granted_objects_are_read_and_not_changed() {
    let host = Host::of(&WEB, GRANTS).await;
    host.store.create_bucket("objects").await.unwrap();
    let put = Put { bucket: "objects".into(), key: "k".into(), ..Put::default() };
    let mut writer = host.store.writer(put).await.unwrap();
    writer.write(Bytes::from_static(b"four")).await.unwrap();
    writer.finish().await.unwrap();
    assert_eq!(host.get("/capabilities/head/objects/k").await.text(), "Ok(4)");
    for call in ["create", "delete"] {
        let answer = host.get(&format!("/capabilities/{call}/objects/k")).await.text();
        assert!(answer.contains("Denied") && answer.contains("durable invocation"), "{answer}");
    }
    let answer = host.get("/capabilities/head/other/k").await.text();
    assert!(answer.contains("no grant to read"), "{answer}");
    host.store.head("objects", "k", None).await.unwrap();
}

#[tokio::test]
async fn a_published_event_is_in_the_ledger_when_it_is_answered() {
    let host = Host::of(&WEB, GRANTS).await;
    let listener = "name = \"listener\"\n[[triggers]]\ntype = \"event\"\nkind = \"order.paid\"";
    let listener = backlot_runtime::Manifest::parse(listener).unwrap();
    host.deploy(&backlot_builtin::ECHO, listener).await;
    assert_eq!(host.get("/capabilities/publish/order.paid").await.text(), "Ok(())");
    let started = host.ledger.invocations(InvocationFilter::default()).await.unwrap();
    assert_eq!(started.iter().map(|one| one.function.as_str()).collect::<Vec<_>>(), ["listener"]);
    let answer = host.get("/capabilities/publish/backlot.own").await.text();
    assert!(answer.contains("Invalid"), "{answer}");
    let bare = Host::of(&WEB, "").await;
    let answer = bare.get("/capabilities/publish/order.paid").await.text();
    assert!(answer.contains("needs the grant `publish`"), "{answer}");
}
