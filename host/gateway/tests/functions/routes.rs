//! Which function answers what, and what is refused at the door.

use backlot_builtin::{ECHO, PROBE, WEB};
use backlot_runtime::{DeployError, Manifest};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Empty;

use crate::support::{Answer, Host};

/// A function that answers with its own name.
async fn add(host: &Host, name: &str, triggers: &str) -> Result<(), DeployError> {
    let text = format!("name = \"{name}\"\nenv = {{ VERSION = \"{name}\" }}\n{triggers}");
    let manifest = Manifest::parse(&text).unwrap();
    host.runtime.deploy(manifest, WEB.component.to_vec()).await.map(drop)
}

fn route(path: &str, more: &str) -> String {
    format!("[[triggers]]\ntype = \"http\"\npath = \"{path}\"\n{more}\n")
}

async fn ask(host: &Host, method: &str, name: &str, path: &str) -> Answer {
    let request = Request::builder().method(method).uri(path).header("host", name);
    host.ask(request.body(Empty::<Bytes>::new()).unwrap()).await
}

#[tokio::test]
async fn the_most_specific_route_answers() {
    let host = Host::start().await;
    // The guest answers with its name at /version alone, so that is the last part of each path.
    for (name, path, more) in [
        ("all", "/*", ""),
        ("exact", "/version", "methods = [\"GET\"]"),
        ("hosted", "/*", "host = \"Shop.example\""),
        ("post", "/version", "methods = [\"POST\", \"PUT\"]"),
    ] {
        add(&host, name, &route(path, more)).await.unwrap();
    }
    for (method, name, wanted) in [
        ("GET", "x", "exact"),
        ("POST", "x", "post"),
        ("PUT", "x:8081", "post"),
        ("DELETE", "x", "all"),
        ("GET", "shop.example", "hosted"),
        ("GET", "SHOP.EXAMPLE:8081", "hosted"),
        ("GET", "other.shop.example", "exact"),
    ] {
        let answer = ask(&host, method, name, "/version").await;
        assert_eq!(answer.text(), wanted, "{method} {name}");
    }
    // HEAD is answered where GET is.
    let answer = ask(&host, "HEAD", "x", "/version").await;
    assert_eq!((answer.status, answer.text().as_str()), (StatusCode::OK, ""));
}

#[tokio::test]
async fn what_has_no_route_is_not_found_and_what_has_another_method_is_told() {
    let host = Host::start().await;
    add(&host, "one", &route("/version", "methods = [\"GET\"]")).await.unwrap();
    add(&host, "two", &route("/version", "methods = [\"POST\"]")).await.unwrap();
    add(&host, "three", &route("/a/b/*", "")).await.unwrap();
    for path in ["/", "/versions", "/version/", "/a", "/a/bc"] {
        let answer = host.get(path).await;
        let found = (answer.status, answer.text());
        assert_eq!(found, (StatusCode::NOT_FOUND, "no function answers here\n".into()), "{path}");
    }
    for path in ["/a/b", "/a/b/", "/a/b/c/d?e=f"] {
        assert_eq!(host.get(path).await.text(), "no such command", "{path}");
    }
    let answer = ask(&host, "DELETE", "x", "/version").await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.header("allow"), "GET, POST");
}

#[tokio::test]
async fn a_route_has_one_function_and_moves_with_it() {
    let host = Host::start().await;
    let version = route("/version", "methods = [\"GET\", \"PUT\"]");
    add(&host, "one", &version).await.unwrap();
    let more = route("/version", "methods = [\"POST\", \"PUT\"]");
    let refused = add(&host, "two", &more).await.unwrap_err().to_string();
    let text = "function \"two\" wants the route \"PUT /version\", which function \"one\" has";
    assert_eq!(refused, text);
    assert_eq!(host.runtime.functions().len(), 1);
    // The same function may change its routes, and another have what it gave up.
    add(&host, "one", &route("/other", "")).await.unwrap();
    add(&host, "two", &more).await.unwrap();
    assert_eq!(ask(&host, "PUT", "x", "/version").await.text(), "two");
    assert_eq!(ask(&host, "GET", "x", "/version").await.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_trigger_needs_its_handler() {
    let host = Host::start().await;
    let with_route = Manifest::parse(&format!("name = \"p\"\n{}", route("/", ""))).unwrap();
    let refused = host.runtime.deploy(with_route, PROBE.component.to_vec()).await.unwrap_err();
    assert!(refused.to_string().contains("does not export wasi:http/"), "{refused}");
    let event = "name = \"w\"\n[[triggers]]\ntype = \"event\"\nkind = \"k\"";
    let event = Manifest::parse(event).unwrap();
    let refused = host.runtime.deploy(event, WEB.component.to_vec()).await.unwrap_err();
    assert!(refused.to_string().contains("does not export backlot:function/handler"), "{refused}");
    let bare = Manifest::parse("name = \"e\"").unwrap();
    host.runtime.deploy(bare, ECHO.component.to_vec()).await.unwrap();
}

#[tokio::test]
async fn a_component_without_a_handler_is_told_what_would_do() {
    let host = Host::start().await;
    let manifest = || Manifest::parse("name = \"f\"").unwrap();
    let wasm =
        wat::parse_str("(component (instance $i) (export \"wasi:cli/run@0.2.0\" (instance $i)))")
            .unwrap();
    let refused = host.runtime.deploy(manifest(), wasm).await.unwrap_err().to_string();
    assert!(refused.contains("exports wasi:cli/run@0.2.0, and none of what"), "{refused}");
    assert!(refused.contains("wasi:http/incoming-handler@0.2"), "{refused}");
    // What is missing is told of HTTP handlers too.
    let wasm = wat::parse_str(
        r#"(component
            (import "backlot:email/sender@0.1.0" (instance))
            (import "wasi:http/types@0.3.0" (instance))
            (instance $i) (export "wasi:http/handler@0.3.0" (instance $i)))"#,
    )
    .unwrap();
    let refused = host.runtime.deploy(manifest(), wasm).await.unwrap_err();
    let DeployError::MissingImports { missing, .. } = refused else { panic!("{refused}") };
    assert_eq!(missing, ["backlot:email/sender@0.1.0"]);
}
