//! TLS on the real server: ordinary clients on each listener, certificates that are replaced while
//! it works, files that cannot be used.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use backlot_builtin::WEB;
use backlot_tests::certificate::Certificate;
use backlot_tests::clients::{CONFIG, python};
use backlot_tests::server::Server;
use backlot_tests::{backlot, stdout, wait_for};
use serde_json::Value;

/// Files are looked at every ten seconds; the rest is for a busy machine.
const NOTICED_MAX: Duration = Duration::from_secs(60);
/// How long certificates are swapped under load, in seconds.
const SWAPPING_SECS: &str = "5";

/// A server whose three listeners have this certificate.
fn start(folder: &Path, certificate: &Certificate, more: &str) -> Server {
    let tables: String =
        ["s3", "http", "functions"].map(|listener| certificate.table(listener)).concat();
    let config = folder.join("backlot.toml");
    fs::write(&config, format!("{more}\n{tables}")).unwrap();
    Server::start_with(folder, &["--config", config.to_str().unwrap()], &[]).unwrap()
}

/// curl with a protocol; the protocol that came of it, the status and the body.
fn curl(certificate: &Certificate, protocol: &str, url: &str) -> (String, String) {
    let mut curl = Command::new("curl");
    curl.args(["-sS", protocol, "-w", "\n%{http_version} %{http_code}", "--cacert"]);
    let answer = stdout(curl.arg(&certificate.certificate).arg(url)).unwrap();
    let (body, status) = answer.rsplit_once('\n').unwrap();
    (status.to_owned(), body.to_owned())
}

/// The certificate that a listener shows, as PEM.
fn shown(address: &str) -> String {
    let mut client = Command::new("openssl");
    client.args(["s_client", "-connect", address, "-showcerts"]).stdin(Stdio::null());
    let text = stdout(client.stderr(Stdio::null())).unwrap();
    let begin = text.find("-----BEGIN CERTIFICATE-----").unwrap();
    let end = text.find("-----END CERTIFICATE-----").unwrap();
    text[begin..end].split_whitespace().collect()
}

/// The certificate in a file, as [`shown`] gives it.
fn written(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let end = text.find("-----END CERTIFICATE-----").unwrap();
    text[..end].split_whitespace().collect()
}

#[test]
fn ordinary_clients_speak_tls_on_each_listener() {
    let folder = tempfile::tempdir().unwrap();
    let functions = folder.path().join("functions");
    fs::create_dir(&functions).unwrap();
    fs::write(functions.join("web.wasm"), WEB.component).unwrap();
    fs::write(functions.join("web.toml"), WEB.manifest).unwrap();
    let certificate = Certificate::write(folder.path(), "server").unwrap();
    let more = format!("{CONFIG}\n[functions]\nfolder = {functions:?}");
    let server = start(folder.path(), &certificate, &more);

    for (protocol, spoken) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let pages = format!("https://{}/healthz", server.ready.http);
        let function = format!("https://{}/hello", server.ready.functions);
        let s3 = format!("https://{}/", server.ready.s3);
        let answer = curl(&certificate, protocol, &pages);
        assert_eq!(answer, (format!("{spoken} 200"), "ok\n".to_owned()));
        assert_eq!(curl(&certificate, protocol, &function).0, format!("{spoken} 200"));
        assert_eq!(curl(&certificate, protocol, &s3).0, format!("{spoken} 403"));
    }
    for (version, fits) in [("-tls1_1", false), ("-tls1_2", true), ("-tls1_3", true)] {
        let mut client = Command::new("openssl");
        // Debian's openssl does not offer 1.1 by itself.
        client.args(["s_client", version, "-cipher", "DEFAULT@SECLEVEL=0", "-connect"]);
        let output = client.arg(&server.ready.http).stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.success(), fits, "{version}: {output:?}");
    }
    let plain = format!("http://{}/healthz", server.ready.http);
    let (status, told) = curl(&certificate, "--http1.1", &plain);
    assert_eq!(
        (status.as_str(), told.trim()),
        ("1.1 400", "this port speaks TLS: use https:// instead")
    );

    for program in ["access.py", "multipart.py"] {
        let mut python = python(&server, program).unwrap();
        python.env("BACKLOT_TEST_SCHEME", "https");
        python.env("AWS_CA_BUNDLE", &certificate.certificate);
        python.env("SSL_CERT_FILE", &certificate.certificate);
        println!("{}", stdout(&mut python).unwrap());
    }
    let log = server.log().unwrap();
    assert!(log.contains(&format!("Upload     https://{}", server.ready.s3)), "{log}");
    server.stop().unwrap();
}

#[test]
fn the_command_line_knows_the_server_by_its_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = Certificate::write(folder.path(), "server").unwrap();
    let other = Certificate::write(folder.path(), "other").unwrap();
    let server = start(folder.path(), &certificate, "");
    let port = server.ready.http.rsplit_once(':').unwrap().1.to_owned();
    let list = |options: &[&str]| {
        let mut command = Command::new(backlot());
        command.args(["functions", "--json"]).args(options).current_dir(folder.path());
        command.env("BACKLOT_DATA", folder.path().join("data"));
        command.env("BACKLOT_HTTP_ADDRESS", &server.ready.http).output().unwrap()
    };
    let code = |options: &[&str]| {
        let output = list(options);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let error: Value = serde_json::from_slice(&output.stderr).unwrap();
        error["error"]["code"].as_str().unwrap().to_owned()
    };
    let named = format!("https://localhost:{port}");
    let ours = certificate.certificate.to_str().unwrap();
    for options in [&[][..], &["--http", &named, "--ca", ours]] {
        let output = list(options);
        assert!(output.status.success(), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("encoder"), "{output:?}");
    }
    assert_eq!(code(&["--http", &named]), "E0509");
    assert_eq!(code(&["--http", &named, "--ca", other.certificate.to_str().unwrap()]), "E0509");
    assert_eq!(code(&["--http", &server.ready.http]), "E0502", "without TLS");

    // Whoever shows another certificate is not the server of the configuration.
    let config = folder.path().join("backlot.toml");
    fs::write(config, other.table("http")).unwrap();
    assert_eq!(code(&[]), "E0509");
    server.stop().unwrap();
}

#[test]
fn a_renewed_certificate_is_noticed_and_a_broken_one_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let first = Certificate::write(folder.path(), "first").unwrap();
    let second = Certificate::write(folder.path(), "second").unwrap();
    // As certbot has it: what is configured are links.
    let live = Certificate {
        certificate: folder.path().join("live.pem"),
        key: folder.path().join("live.key"),
    };
    let point = |to: &Certificate| {
        for (link, file) in [(&live.certificate, &to.certificate), (&live.key, &to.key)] {
            let next = folder.path().join("next");
            symlink(file, &next).unwrap();
            fs::rename(next, link).unwrap();
        }
    };
    point(&first);
    let server = start(folder.path(), &live, "");
    let addresses = [&server.ready.s3, &server.ready.http, &server.ready.functions];
    for address in addresses {
        assert_eq!(shown(address), written(&first.certificate));
    }
    point(&second);
    for address in addresses {
        wait_for("the second certificate", NOTICED_MAX, || {
            Ok((shown(address) == written(&second.certificate)).then_some(()))
        })
        .unwrap();
    }
    point(&Certificate { certificate: first.certificate.clone(), key: second.key.clone() });
    server.signal("HUP").unwrap();
    wait_for("the complaint", NOTICED_MAX, || {
        Ok(server.log()?.contains("does not belong to the certificate").then_some(()))
    })
    .unwrap();
    for address in addresses {
        assert_eq!(shown(address), written(&second.certificate), "still");
    }
    point(&first);
    server.signal("HUP").unwrap();
    wait_for("the first certificate again", Duration::from_secs(5), || {
        let all = addresses.iter().all(|address| shown(address) == written(&first.certificate));
        Ok(all.then_some(()))
    })
    .unwrap();
    server.stop().unwrap();
}

#[test]
fn no_request_fails_while_certificates_are_swapped() {
    let folder = tempfile::tempdir().unwrap();
    let pairs = ["a", "b"].map(|name| Certificate::write(folder.path(), name).unwrap());
    let live = Certificate {
        certificate: folder.path().join("live.pem"),
        key: folder.path().join("live.key"),
    };
    fs::copy(&pairs[0].certificate, &live.certificate).unwrap();
    fs::copy(&pairs[0].key, &live.key).unwrap();
    let server = start(folder.path(), &live, "");
    let swap = folder.path().join("swap");
    // Swaps the key first: in between the pair is broken, which must hurt nobody.
    let script = format!(
        "#!/bin/sh\nset -e\ncd {}\nif cmp -s live.pem a.pem; then next=b; else next=a; fi\n\
         cp $next.key k && mv k live.key\ncp $next.pem c && mv c live.pem\nkill -HUP {}\n",
        folder.path().display(),
        server.pid()
    );
    fs::write(&swap, script).unwrap();
    fs::set_permissions(&swap, fs::Permissions::from_mode(0o755)).unwrap();
    let mut python = python(&server, "reloads.py").unwrap();
    python.arg(&swap).arg(SWAPPING_SECS);
    python.args(pairs.iter().map(|pair| &pair.certificate));
    let counts: Value = serde_json::from_str(&stdout(&mut python).unwrap()).unwrap();
    println!("{counts}");
    assert_eq!(counts["failed"].as_array().unwrap().len(), 0, "{counts}");
    assert_eq!(counts["certificates"].as_array().unwrap().len(), 2, "{counts}");
    assert!(10 < counts["swaps"].as_u64().unwrap() && 100 < counts["asked"].as_u64().unwrap());
    server.stop().unwrap();
}

#[test]
fn a_start_with_files_that_cannot_be_used_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let good = Certificate::write(folder.path(), "good").unwrap();
    let other = Certificate::write(folder.path(), "other").unwrap();
    let refused = |certificate: &Path, key: &Path| {
        let pair = Certificate { certificate: certificate.to_owned(), key: key.to_owned() };
        fs::write(folder.path().join("backlot.toml"), pair.table("functions")).unwrap();
        let mut serve = Command::new(backlot());
        serve.args(["serve", "--json", "--s3", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
        serve.args(["--functions", "127.0.0.1:0"]).current_dir(folder.path());
        let output = serve.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let errors = String::from_utf8(output.stderr).unwrap();
        let error: Value = serde_json::from_str(errors.lines().last().unwrap()).unwrap();
        assert_eq!(error["error"]["code"], "E0304", "{errors}");
        error["error"]["message"].as_str().unwrap().to_owned()
    };
    let missing = refused(&folder.path().join("no.pem"), &good.key);
    assert!(missing.contains("no.pem cannot be read"), "{missing}");
    let swapped = refused(&good.key, &good.certificate);
    assert!(swapped.contains("has no certificate in it"), "{swapped}");
    let mismatch = refused(&good.certificate, &other.key);
    assert!(mismatch.contains("does not belong to the certificate in"), "{mismatch}");
    assert!(!folder.path().join("backlot-data").is_dir(), "nothing was made");
}

#[test]
fn a_key_that_everyone_can_read_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = Certificate::write(folder.path(), "server").unwrap();
    let mode = |mode| fs::set_permissions(&certificate.key, fs::Permissions::from_mode(mode));
    let told = |server: &Server| server.log().unwrap().contains("can read the private key");
    mode(0o600).unwrap();
    let server = start(folder.path(), &certificate, "");
    assert!(!told(&server));
    mode(0o644).unwrap();
    server.signal("HUP").unwrap();
    wait_for("the warning", NOTICED_MAX, || Ok(told(&server).then_some(()))).unwrap();
    server.stop().unwrap();
}
