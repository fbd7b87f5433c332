//! Functions on the real server: deployed, compared, swapped, rolled back, refused, and there again
//! after whatever happens to the server.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is the failure")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use backlot_builtin::{DECODE, ECHO, PROBE, WEB};
use backlot_tests::server::Server;
use backlot_tests::{backlot, stdout, wait_for};
use minisign::KeyPair;
use serde_json::{Value, json};

/// Far longer than anything here takes on an idle machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The function that the tests deploy: started by events of the kind `note`.
const MANIFEST: &str = "
name = \"f\"

[[triggers]]
type = \"event\"
kind = \"note\"

[retry]
attempts = 1
";

/// Write a version beside the server; `deploy` deploys it.
fn write(folder: &Path, component: &[u8], more: &str) {
    fs::write(folder.join("f.wasm"), component).unwrap();
    fs::write(folder.join("f.toml"), format!("{MANIFEST}\n{more}")).unwrap();
}

/// A version that differs from others by its environment alone.
fn numbered(number: u32) -> String {
    format!("[env]\nNUMBER = \"{number}\"\n")
}

/// Deploy what was written; its version.
fn deploy(server: &Server, options: &str) -> String {
    let answer = stdout(&mut server.backlot(&format!("deploy f.wasm --json{options}"))).unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    answer["version"].as_str().unwrap().to_owned()
}

/// Deploy what was written, which must be refused; why.
fn refused(server: &Server, options: &str) -> String {
    let before = live(server);
    let output = server.backlot(&format!("deploy f.wasm --json{options}")).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(live(server), before, "what ran still runs");
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    error["error"]["message"].as_str().unwrap().to_owned()
}

/// The function, if there is one.
fn show(server: &Server) -> Option<Value> {
    let (status, body) = server.get("/api/v1/functions/f").unwrap();
    (status == 200).then(|| serde_json::from_slice(&body).unwrap())
}

fn live(server: &Server) -> Option<String> {
    Some(show(server)?["version"].as_str()?.to_owned())
}

/// Publish a note.
fn note(server: &Server, subject: &str, data: &Value) {
    let event = json!({
        "specversion": "1.0", "type": "note", "source": "/tests", "subject": subject, "data": data,
    });
    let (status, answer) = server.change("POST", "/api/v1/events", &event.to_string()).unwrap();
    assert_eq!(status, 202, "{answer}");
}

/// Every invocation of the function that has ended, the newest first.
fn ended(server: &Server) -> Vec<Value> {
    let all = wait_for("quiet", PATIENCE, || server.quiet()).unwrap();
    all.into_iter().filter(|run| run["function"] == "f").collect()
}

/// The version that an invocation ran last.
fn ran(server: &Server, run: &Value) -> String {
    let path = format!("/api/v1/invocations/{}", run["id"].as_str().unwrap());
    let run = server.json(&path).unwrap();
    let attempts = run["attempts"].as_array().unwrap();
    attempts.last().unwrap()["version"].as_str().unwrap().to_owned()
}

#[test]
fn versions_follow_one_another_and_a_restart_keeps_them() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).unwrap();
    assert_eq!(live(&server), None);
    write(folder.path(), ECHO.component, &numbered(1));
    let first = deploy(&server, "");
    note(&server, "a", &json!({ "n": 1 }));
    assert_eq!(ran(&server, &ended(&server)[0]), first);
    // The same again is no new version.
    write(folder.path(), ECHO.component, &numbered(1));
    assert_eq!(deploy(&server, ""), first);
    write(folder.path(), ECHO.component, &format!("{}\n[limits]\nwall_secs = 7\n", numbered(2)));
    let second = deploy(&server, "");
    assert_ne!(first, second);

    server.kill().unwrap();
    let server = Server::start(folder.path()).unwrap();
    assert_eq!(live(&server).as_ref(), Some(&second), "a restart keeps it");
    note(&server, "b", &json!({ "n": 2 }));
    assert_eq!(ran(&server, &ended(&server)[0]), second);

    let changes = stdout(&mut server.backlot(&format!("diff f {first} {second}"))).unwrap();
    assert_eq!(changes, "limits.wall_secs -900 +7");
    stdout(&mut server.backlot("rollback f")).unwrap();
    assert_eq!(live(&server).as_ref(), Some(&first));
    stdout(&mut server.backlot(&format!("rollback f {}", &second[..10]))).unwrap();
    assert_eq!(live(&server).as_ref(), Some(&second));
    let mut invoke = server.backlot("invoke f --example object-created --version 0123456789abcdef");
    let output = invoke.output().unwrap();
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("\"f\" has no version 0123456789abcdef"), "{told}");
    let versions = stdout(&mut server.backlot("versions f --json")).unwrap();
    assert_eq!(versions.lines().count(), 2, "{versions}");
    let decisions = show(&server).unwrap()["decisions"].as_array().unwrap().len();
    assert_eq!(decisions, 4, "deployed twice, gone back twice");

    stdout(&mut server.backlot("disable f")).unwrap();
    let before = ended(&server).len();
    note(&server, "c", &json!({ "n": 3 }));
    assert_eq!(ended(&server).len(), before, "nothing starts it");
    stdout(&mut server.backlot("enable f")).unwrap();
    note(&server, "d", &json!({ "n": 4 }));
    assert_eq!(ended(&server).len(), before + 1);
    stdout(&mut server.backlot("remove f")).unwrap();
    assert_eq!(live(&server), None);
    server.stop().unwrap();
    let server = Server::start(folder.path()).unwrap();
    assert_eq!(live(&server), None);
}

#[test]
fn a_canary_gets_its_share_and_always_the_same() {
    const EVENTS: usize = 400;
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).unwrap();
    // Nothing is decided meanwhile.
    let rule = "[canary]\ncalls = 1000000\n";
    write(folder.path(), ECHO.component, &numbered(1));
    let old = deploy(&server, "");
    write(folder.path(), ECHO.component, &format!("{rule}{}", numbered(2)));
    let new = deploy(&server, " --canary 20%");
    assert_eq!(live(&server), Some(old.clone()), "the live one stays");
    for round in 0..2 {
        for number in 0..EVENTS {
            note(&server, &format!("s{number}"), &json!({ "round": round }));
        }
    }
    let mut by_subject: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for run in ended(&server) {
        let subject = run["event"]["subject"].as_str().unwrap().to_owned();
        by_subject.entry(subject).or_default().push(ran(&server, &run));
    }
    assert_eq!(by_subject.len(), EVENTS);
    assert!(by_subject.values().all(|ran| ran.len() == 2 && ran[0] == ran[1]), "sticky");
    let canaries = by_subject.values().filter(|ran| ran[0] == new).count();
    // Five standard deviations of a binomial: 400 of probability 0.2 have one of 8.
    assert!((40..=120).contains(&canaries), "{canaries} of {EVENTS}");
    assert!(by_subject.values().all(|ran| ran[0] == new || ran[0] == old));

    stdout(&mut server.backlot("promote f")).unwrap();
    assert_eq!(live(&server), Some(new));
    server.stop().unwrap();
}

/// A function that waits for news of others.
const LISTENER: &str = "
name = \"listener\"
[[triggers]]
type = \"event\"
kind = \"backlot.function.promoted\"
[[triggers]]
type = \"event\"
kind = \"backlot.function.rolled-back\"
";

#[test]
fn the_watchdog_withdraws_what_fails_and_promotes_what_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).unwrap();
    fs::write(folder.path().join("listener.wasm"), ECHO.component).unwrap();
    fs::write(folder.path().join("listener.toml"), LISTENER).unwrap();
    stdout(&mut server.backlot("deploy listener.wasm")).unwrap();
    let rule = "[canary]\ncalls = 20\nlatency_percent = 10000\n";
    write(folder.path(), ECHO.component, "");
    let echo = deploy(&server, "");
    // It rejects what is no command of its own, such as a text; the echo answers anything.
    write(folder.path(), PROBE.component, rule);
    let probe = deploy(&server, " --canary 50%");
    let canary = || show(&server).unwrap()["canary_version"].clone();
    let decided = |data: Value| {
        let mut number = 0;
        wait_for("a decision", PATIENCE, || {
            for _ in 0..10 {
                note(&server, &format!("s{number}"), &data);
                number += 1;
            }
            Ok(canary().is_null().then_some(()))
        })
        .unwrap();
        show(&server).unwrap()
    };
    let function = decided(json!("nonsense"));
    assert_eq!(function["version"], json!(echo));
    let decision = &function["decisions"][0];
    assert_eq!((&decision["what"], &decision["by"]), (&json!("rolled-back"), &json!("watchdog")));
    assert_eq!(decision["version"], json!(probe));
    assert!(decision["details"]["reason"].as_str().unwrap().contains("failed"), "{decision}");
    assert!(decision["details"]["figures"]["canary"]["errors"].as_u64() >= Some(1), "{decision}");

    assert_eq!(deploy(&server, " --canary 50%"), probe);
    let function = decided(json!({ "fine": true }));
    assert_eq!(function["version"], json!(probe));
    let decision = &function["decisions"][0];
    assert_eq!((&decision["what"], &decision["by"]), (&json!("promoted"), &json!("watchdog")));
    assert_eq!(function["previous"], json!(echo));

    let told = wait_for("quiet", PATIENCE, || server.quiet()).unwrap();
    let told = told.iter().filter(|run| run["function"] == "listener");
    let kinds: Vec<&str> = told.map(|run| run["event"]["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["backlot.function.promoted", "backlot.function.rolled-back"]);
    server.stop().unwrap();
}

#[test]
fn a_crash_in_the_middle_of_a_deploy_leaves_the_old_or_the_new() {
    for (point, published) in [
        ("deploy.after-stage", false),
        ("deploy.before-publish", false),
        ("deploy.after-publish", true),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let crash = format!("{point}:2");
        let settings = [("BACKLOT_CRASH_AT", crash.as_str())];
        let mut server = Server::start_with(folder.path(), &[], &settings).unwrap();
        write(folder.path(), ECHO.component, &numbered(1));
        let old = deploy(&server, "");
        write(folder.path(), ECHO.component, &numbered(2));
        let output = server.backlot("deploy f.wasm").output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{point}: {output:?}");
        wait_for("its end", PATIENCE, || server.ended()).unwrap();

        let server = Server::start(folder.path()).unwrap();
        let now = live(&server).unwrap();
        assert_eq!(now != old, published, "{point}");
        note(&server, "a", &json!({}));
        assert_eq!(ran(&server, &ended(&server)[0]), now, "{point}");
        // Again, it is what was wanted.
        assert_ne!(deploy(&server, ""), old, "{point}");
        server.stop().unwrap();
    }
}

#[test]
fn what_is_wrong_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).unwrap();
    write(folder.path(), ECHO.component, "");
    deploy(&server, "");

    let grants = "[grants]\npublish = true\nstorage = [{ bucket = \"b\", access = [\"read\"] }]\n";
    write(folder.path(), ECHO.component, grants);
    let reason = refused(&server, "");
    assert!(reason.contains("storage: read b/*; publish"), "{reason}");
    assert!(reason.contains("--accept-grants"), "{reason}");
    let told = stdout(&mut server.backlot("deploy f.wasm --accept-grants")).unwrap();
    assert!(told.contains("new grant: publish"), "{told}");
    write(folder.path(), ECHO.component, "");
    deploy(&server, "");

    write(folder.path(), b"\0asm nonsense", "");
    let reason = refused(&server, "");
    assert!(reason.contains("component does not compile"), "{reason}");
    write(folder.path(), ECHO.component, "[limits]\nwall_secs = 0\n");
    assert!(refused(&server, "").contains("limits.wall_secs is 0"));
    let own = "[[triggers]]\ntype = \"function\"\nfunction = \"f\"\n";
    write(folder.path(), ECHO.component, own);
    assert!(refused(&server, "").contains("f → f"));
    // The probe rejects what is no command of its own.
    write(folder.path(), PROBE.component, "[probe]\nevent = { kind = \"k\", data = \"x\" }\n");
    let reason = refused(&server, "");
    assert!(reason.contains("fails its trial: it rejects its probe: no such command"), "{reason}");
    write(folder.path(), PROBE.component, "[probe]\nevent = { kind = \"k\", data = { a = 1 } }\n");
    deploy(&server, "");
    let write_web = |path: &str| {
        let manifest = format!("name = \"f\"\n[probe]\nrequest = {{ path = \"{path}\" }}\n");
        fs::write(folder.path().join("f.wasm"), WEB.component).unwrap();
        fs::write(folder.path().join("f.toml"), manifest).unwrap();
    };
    write_web("/status/503");
    let reason = refused(&server, "");
    let wanted = "it answers 503 Service Unavailable to its probe GET /status/503, not 200";
    assert!(reason.contains(wanted), "{reason}");
    write_web("/trap");
    assert!(refused(&server, "").contains("it answers 502 Bad Gateway"));
    write_web("/hello");
    deploy(&server, "");
    server.stop().unwrap();
}

#[test]
fn compiling_takes_no_more_than_it_may() {
    let folder = tempfile::tempdir().unwrap();
    // What the server itself needs is compiled by a server without such limits.
    Server::start(folder.path()).unwrap().stop().unwrap();
    for (key, value, wanted) in [
        ("BACKLOT_FUNCTIONS_COMPILE_SECS", "1", "more than 1 s of processor time"),
        ("BACKLOT_FUNCTIONS_COMPILE_MEGABYTES", "64", "more than 64 MiB of memory"),
    ] {
        let server = Server::start_with(folder.path(), &[], &[(key, value)]).unwrap();
        write(folder.path(), DECODE.component, "");
        let reason = refused(&server, "");
        assert!(reason.contains(wanted), "{reason}");
        let (status, _) = server.get("/healthz").unwrap();
        assert_eq!(status, 200);
        server.stop().unwrap();
    }
}

#[test]
fn a_function_that_must_be_signed_is_and_never_goes_back() {
    let folder = tempfile::tempdir().unwrap();
    let keys = KeyPair::generate_unencrypted_keypair().unwrap();
    let config = folder.path().join("backlot.toml");
    let rule = format!("[[trust]]\nfunctions = \"f*\"\nkeys = [{:?}]\n", keys.pk.to_base64());
    fs::write(&config, rule).unwrap();
    let config = config.to_str().unwrap();
    let server = Server::start_with(folder.path(), &["--config", config], &[]).unwrap();
    let sign = || {
        let mut digest = Command::new(backlot());
        digest.args(["digest", "f.wasm"]).current_dir(folder.path());
        let text = stdout(&mut digest).unwrap() + "\n";
        let signature = minisign::sign(None, &keys.sk, text.as_bytes(), None, None).unwrap();
        fs::write(folder.path().join("f.minisig"), signature.to_string()).unwrap();
    };
    // Keys of the manifest's top level come first.
    let serial = |number: u32| {
        fs::write(folder.path().join("f.wasm"), ECHO.component).unwrap();
        let manifest = format!("serial = {number}\n{MANIFEST}");
        fs::write(folder.path().join("f.toml"), manifest).unwrap();
    };
    serial(2);
    assert!(refused(&server, "").contains("must be signed by one of the keys"));
    sign();
    let second = deploy(&server, " --signature f.minisig");
    serial(3);
    let reason = refused(&server, " --signature f.minisig");
    assert!(reason.contains("not one of this component and this manifest"), "{reason}");
    sign();
    deploy(&server, " --signature f.minisig");
    serial(2);
    sign();
    let reason = refused(&server, " --signature f.minisig");
    assert!(reason.contains("serial 2 is lower than 3"), "{reason}");
    let back = server.backlot(&format!("rollback f {second}")).output().unwrap();
    assert_eq!(back.status.code(), Some(2), "{back:?}");
    let versions = stdout(&mut server.backlot("versions f --json")).unwrap();
    let newest: Value = serde_json::from_str(versions.lines().next().unwrap()).unwrap();
    assert_eq!(newest["signer"].as_str().unwrap().len(), 16, "{newest}");
    server.stop().unwrap();
}

#[test]
fn a_token_does_what_its_scope_says_and_is_named_in_the_audit_log() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).unwrap();
    write(folder.path(), ECHO.component, "");
    let create = |name: &str, scope: &str| {
        stdout(&mut server.backlot(&format!("tokens create {name} --scope {scope}"))).unwrap()
    };
    let (reader, deployer) = (create("watch", "read"), create("ci", "deploy"));
    let with = |token: &str, verb: &str| {
        let mut command: Command = server.backlot(verb);
        command.env("BACKLOT_TOKEN", token).output().unwrap()
    };
    assert_eq!(with(&reader, "deploy f.wasm").status.code(), Some(2));
    assert_eq!(with(&deployer, "deploy f.wasm").status.code(), Some(0));
    assert_eq!(with(&deployer, "tokens list").status.code(), Some(2));
    stdout(&mut server.backlot("tokens revoke ci")).unwrap();
    assert_eq!(with(&deployer, "disable f").status.code(), Some(2));
    let audit = stdout(&mut server.backlot("audit --json")).unwrap();
    let lines: Vec<Value> = audit.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let deploys = lines.iter().filter(|line| line["action"] == "functions.deploy");
    let deploys: Vec<_> = deploys.map(|line| (&line["who"], &line["outcome"])).collect();
    assert_eq!(deploys, [(&json!("ci"), &json!("done"))]);
    // Tokens stay over a restart, as their digests alone.
    let database = fs::read(folder.path().join("data/backlot.db")).unwrap();
    let wal = fs::read(folder.path().join("data/backlot.db-wal")).unwrap_or_default();
    for bytes in [database, wal] {
        assert!(!bytes.windows(reader.len()).any(|window| window == reader.as_bytes()));
    }
    server.stop().unwrap();
}
