//! What is refused at the door, and how versions follow one another.

use backlot_builtin::PROBE;
use backlot_ledger::Change;
use backlot_runtime::{DeployError, Manifest};

use crate::support::{Host, next};

fn manifest(name: &str) -> Manifest {
    Manifest::parse(&format!("name = {name:?}")).unwrap()
}

#[tokio::test]
async fn missing_imports_are_refused_all_at_once() {
    let host = Host::start().await;
    let component = wat::parse_str(
        r#"(component
            (import "backlot:email/sender@0.1.0" (instance))
            (import "wasi:http/types@0.2.3" (instance)))"#,
    )
    .unwrap();
    let refused = host.runtime.deploy(manifest("mailer"), component).await.unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("backlot:email/sender@0.1.0, wasi:http/types@0.2.3"), "{text}");
}

#[tokio::test]
async fn a_component_without_a_handler_is_refused() {
    let host = Host::start().await;
    let component = wat::parse_str("(component)").unwrap();
    let refused = host.runtime.deploy(manifest("empty"), component).await.unwrap_err();
    assert!(matches!(refused, DeployError::Shape { .. }), "{refused}");
    let refused = host.runtime.deploy(manifest("garbage"), vec![0; 64]).await.unwrap_err();
    assert!(matches!(refused, DeployError::Compile(_)), "{refused}");
    assert_eq!(host.runtime.functions().len(), 1);
}

#[tokio::test]
async fn an_attempt_ends_on_the_version_it_started_with() {
    let host = Host::start().await;
    let mut changes = host.ledger.changes();
    let old = host.publish("probe", "sleep 500").await;
    next(&mut changes, |change| *change == Change::Started(old.clone())).await;

    let mut newer = Manifest::parse(PROBE.manifest).unwrap();
    newer.limits.wall_secs = 1;
    newer.env.insert("PROBE_GREETING".into(), "welcome".into());
    host.runtime.deploy(newer, PROBE.component.to_vec()).await.unwrap();
    assert!(host.answer("env").await.contains("welcome"));
    assert_eq!(host.ended(&old).await.result.as_deref(), Some(b"slept".as_slice()));
}

#[test]
fn the_manifests_that_ship_are_valid() {
    let encoder = Manifest::parse(backlot_builtin::ENCODER.manifest).unwrap();
    assert_eq!(encoder.name, backlot_builtin::ENCODER.name);
}
