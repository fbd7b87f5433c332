//! Guests that try to take what they may not have. Each ends in time, with a reason that says so,
//! and leaves nothing behind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backlot_ledger::{Invocation, LogSource, State};
use backlot_runtime::{Manifest, Version};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::support::Host;

/// What ending a guest may take beyond its deadline on a machine that does other things too.
const SLACK: Duration = Duration::from_secs(1);

/// A host whose `probe` has one attempt of two seconds.
async fn strict(change: impl FnOnce(&mut Manifest)) -> Host {
    Host::with(|_, manifest| {
        manifest.retry.attempts = 1;
        manifest.limits.wall_secs = 2;
        change(manifest);
    })
    .await
}

/// Ends in failure, in time; why.
async fn failure(host: &Host, command: &str) -> String {
    let started = Instant::now();
    let ended = host.invoke(command).await;
    let took = started.elapsed();
    assert!(took < Duration::from_secs(2) + SLACK, "{command}: {took:?}");
    assert_eq!(ended.state, State::Failed, "{command}: {:?}", ended.result);
    ended.reason.unwrap()
}

#[tokio::test]
async fn a_recursion_without_end_is_a_trap() {
    let host = strict(|_| {}).await;
    // A Rust guest has its own stack in its memory, which ends first.
    let reason = failure(&host, "recurse").await;
    assert_eq!(reason, "the guest trapped: out of bounds memory access");
    let again = "(local.get 0) ".repeat(16);
    let recurse = format!("(drop (call $handle {again})) unreachable");
    deploy(&host, component("", &recurse, "")).await;
    assert_eq!(run(&host).await.reason.unwrap(), "the guest trapped: call stack exhausted");
    assert_eq!(host.answer("echo fine").await, "fine");
}

#[tokio::test]
async fn cpu_time_is_limited_and_waiting_is_not_counted() {
    let host = strict(|manifest| manifest.limits.cpu_ms = Some(200)).await;
    let started = Instant::now();
    let reason = failure(&host, "spin").await;
    assert_eq!(reason, "CPU time limit of 200ms was reached");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(host.answer("sleep 500").await, "slept");
}

#[tokio::test]
async fn ten_million_host_calls_end_at_the_wall() {
    let host = strict(|_| {}).await;
    let reason = failure(&host, "ask 10000000").await;
    assert_eq!(reason, "wall-clock limit of 2 s was reached");
}

#[tokio::test]
async fn handles_of_the_host_are_limited() {
    let host = strict(|manifest| manifest.limits.handles = 100).await;
    assert_eq!(host.answer("hold 50").await, "50");
    let reason = failure(&host, "hold 1000000").await;
    assert!(reason.contains("resource table") || reason.contains("handle"), "{reason}");
}

#[tokio::test]
async fn a_string_of_a_gibibyte_does_not_come_through() {
    let host = strict(|manifest| {
        manifest.limits.memory_megabytes = 3 << 10;
        manifest.limits.wall_secs = 60;
    })
    .await;
    let before = resident_bytes();
    let ended = host.invoke(&format!("tell {}", 1 << 30)).await;
    assert_eq!(ended.state, State::Failed, "{:?}", ended.result);
    let reason = ended.reason.unwrap();
    assert!(reason.contains("fuel"), "{reason}");
    let after = resident_bytes();
    assert!(after < before + (64 << 20), "{before} bytes before, {after} after");
}

#[tokio::test]
async fn a_gibibyte_of_logs_keeps_its_bound_and_its_last_words() {
    let host = strict(|manifest| manifest.limits.wall_secs = 60).await;
    let ended = host.invoke(&format!("write-bytes {}", 1 << 30)).await;
    assert_eq!(ended.state, State::Succeeded, "{:?}", ended.reason);
    let lines = host.ledger.logs(&ended.id).await.unwrap();
    let bytes: usize = lines.iter().map(|line| line.text.len()).sum();
    assert!(bytes < 256 << 10, "{bytes}");
    assert!(lines.iter().any(|line| line.text.contains("lines left out here")));
    assert_eq!(host.log(&ended.id, LogSource::Stderr).await, ["the last words"]);
}

#[tokio::test]
async fn what_all_logs_of_a_function_keep_in_a_second_is_limited() {
    let host = strict(|manifest| manifest.limits.log_kilobytes_per_sec = 1).await;
    let mut ids = Vec::new();
    let started = Instant::now();
    for _ in 0..8 {
        ids.push(host.publish("probe", "write-bytes 65536").await);
    }
    let mut bytes = 0;
    for id in &ids {
        host.ended(id).await;
        let lines = host.log(id, LogSource::Stdout).await;
        bytes += lines.iter().map(String::len).sum::<usize>();
    }
    let seconds = started.elapsed().as_secs() as usize + 2;
    assert!(bytes <= seconds << 10, "{bytes} bytes in {seconds} s");
}

/// The fields of an event, as the canonical ABI flattens them.
const PARAMS: &str = "i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32";

/// What `handle` and `cabi_realloc` do, as a component.
fn component(imports: &str, handle: &str, realloc: &str) -> Vec<u8> {
    let module = format!(
        r#"(module
            {imports}
            (memory (export "memory") 1)
            (table $table 1 funcref)
            (func $handle (export "backlot:function/handler@0.1.0#handle") 
                (param {PARAMS}) (result i32)
                {handle})
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                {realloc}
                (i32.const 1024)))"#
    );
    let mut module = wat::parse_str(module).unwrap();
    let mut resolve = Resolve::default();
    let wit = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/function/0.1.0");
    resolve.push_dir(wit).unwrap();
    let own = "package test:hostile;
        interface things { resource thing; }
        world guest { include backlot:function/function@0.1.0; export things; }";
    let own = resolve.push_str("own.wit", own).unwrap();
    let world = resolve.select_world(&[own], Some("guest")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).unwrap();
    ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap()
}

async fn deploy(host: &Host, component: Vec<u8>) -> Arc<Version> {
    let manifest = "name = \"hostile\"
        triggers = [{ type = \"event\", kind = \"hostile\" }]
        limits = { wall_secs = 2, handles = 1000, table_elements = 1000 }
        retry = { attempts = 1 }";
    host.runtime.deploy(Manifest::parse(manifest).unwrap(), component).await.unwrap()
}

async fn run(host: &Host) -> Invocation {
    let id = host.publish("hostile", "").await;
    host.ended(&id).await
}

#[tokio::test]
async fn tables_grow_to_their_limit() {
    let host = Host::start().await;
    let grow = "(loop $more
        (br_if $more (i32.ge_s
            (table.grow $table (ref.null func) (i32.const 10)) (i32.const 0))))
        unreachable";
    deploy(&host, component("", grow, "")).await;
    let reason = run(&host).await.reason.unwrap();
    assert!(
        reason.ends_with("(tables of 1001 elements are over the function's limit of 1000)"),
        "{reason}"
    );
}

#[tokio::test]
async fn handles_of_its_own_are_limited() {
    let host = Host::start().await;
    let import = r#"(import "[export]test:hostile/things" "[resource-new]thing"
        (func $new (param i32) (result i32)))"#;
    let make = "(loop $more (drop (call $new (i32.const 1))) (br $more)) unreachable";
    deploy(&host, component(import, make, "")).await;
    let before = resident_bytes();
    let reason = run(&host).await.reason.unwrap();
    assert!(reason.contains("handle limit exceeded"), "{reason}");
    assert!(resident_bytes() < before + (16 << 20));
}

#[tokio::test]
async fn the_host_is_not_asked_from_within_its_own_call() {
    let host = Host::start().await;
    let import = r#"(import "backlot:function/context@0.1.0" "current" (func $ask (param i32)))"#;
    deploy(&host, component(import, "unreachable", "(call $ask (i32.const 64))")).await;
    let ended = run(&host).await;
    assert_eq!(ended.state, State::Failed);
    let reason = ended.reason.unwrap();
    assert!(reason.contains("cannot leave component instance"), "{reason}");
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}
