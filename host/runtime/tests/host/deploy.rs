//! What is refused at the door.

use backlot_runtime::{DeployError, Manifest};

use crate::support::Host;

fn manifest(name: &str) -> Manifest {
    Manifest::parse(&format!("name = {name:?}")).unwrap()
}

#[tokio::test]
async fn missing_imports_are_refused_all_at_once() {
    let host = Host::start().await;
    let component = wat::parse_str(
        r#"(component
            (import "backlot:email/sender@0.1.0" (instance))
            (import "wasi:http/types@0.4.0" (instance)))"#,
    )
    .unwrap();
    let refused = host.runtime.deploy(manifest("mailer"), component).await.unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("backlot:email/sender@0.1.0, wasi:http/types@0.4.0"), "{text}");
}

#[tokio::test]
async fn a_component_without_a_handler_is_refused() {
    let host = Host::start().await;
    let component = wat::parse_str("(component)").unwrap();
    let refused = host.runtime.deploy(manifest("empty"), component).await.unwrap_err();
    assert!(matches!(refused, DeployError::NoHandler { .. }), "{refused}");
    let refused = host.runtime.deploy(manifest("garbage"), vec![0; 64]).await.unwrap_err();
    assert!(matches!(refused, DeployError::Compile(_)), "{refused}");
    assert_eq!(host.runtime.functions().len(), 1);
}

#[test]
fn the_manifests_that_ship_are_valid() {
    let encoder = Manifest::parse(backlot_builtin::ENCODER.manifest).unwrap();
    assert_eq!(encoder.name, backlot_builtin::ENCODER.name);
}
