//! The validator on the real server: what arrives is judged, what is not whole is kept apart, and
//! nothing is missed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is the failure")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use backlot_tests::clients::python;
use backlot_tests::s3::S3;
use backlot_tests::server::Server;
use backlot_tests::{backlot, guest_cache, run, stdout, wait_for};
use jiff::Timestamp;
use serde_json::Value;

/// Far longer than anything here takes on an idle machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// The buckets that `tests/clients/validation.py` expects.
const CONFIG: &str = "
[[validate]]
bucket = \"docs\"

[[validate]]
bucket = \"inbox\"
invalid = \"quarantine\"

[[validate]]
bucket = \"kept\"
invalid = \"quarantine\"

[[validate]]
bucket = \"lenient\"
invalid = \"tag\"

[[validate]]
bucket = \"pictures\"
types = [\"image/*\"]
bytes_max = 1000
unknown = \"refuse\"
invalid = \"tag\"
";

/// What an upload would have, were it whole.
const GOOD: &[u8] = b"{\"n\": 1}";
/// And what is cut off.
const BROKEN: &[u8] = b"{\"n\": ";

/// A server with this configuration and with these buckets.
fn serve(folder: &Path, config: &str, buckets: &[&str], settings: &[(&str, &str)]) -> Server {
    let path = folder.join("backlot.toml");
    fs::write(&path, config).unwrap();
    let server = Server::start_with(folder, &["--config", path.to_str().unwrap()], settings);
    let server = server.unwrap();
    for bucket in buckets {
        S3::new(&server.ready).make_bucket(bucket).unwrap();
    }
    server
}

/// What is in quarantine.
fn quarantine(server: &Server) -> Vec<Value> {
    let answer = server.json("/api/v1/quarantine?limit=1000").unwrap();
    answer["quarantine"].as_array().unwrap().clone()
}

/// The record about an object, if there is one.
fn record(server: &Server, bucket: &str, key: &str) -> Option<Value> {
    let body = S3::new(&server.ready).get("validator", &format!("verdicts/{bucket}/{key}"));
    body.unwrap().map(|body| serde_json::from_slice(&body).unwrap())
}

fn verdict(server: &Server, bucket: &str, key: &str) -> Value {
    wait_for(&format!("a verdict about {key}"), PATIENCE, || Ok(record(server, bucket, key)))
        .unwrap()
}

#[test]
fn what_boto3_sees_of_validation() {
    let folder = tempfile::tempdir().unwrap();
    let buckets = ["docs", "inbox", "kept", "lenient", "pictures"];
    let server = serve(folder.path(), CONFIG, &buckets, &[]);
    println!("{}", stdout(&mut python(&server, "validation.py").unwrap()).unwrap());
    server.stop().unwrap();
}

/// `N` such files, as rclone copies them.
fn write_files(folder: &Path, count: usize) {
    fs::create_dir(folder).unwrap();
    for number in 0..count {
        let text: &[u8] = if number % 100 == 7 { BROKEN } else { GOOD };
        fs::write(folder.join(format!("{number:05}.json")), text).unwrap();
    }
}

#[test]
fn what_changed_while_it_was_disabled_is_judged_and_backed_up_afterwards() {
    const COUNT: usize = 10_000;
    let folder = tempfile::tempdir().unwrap();
    let repository = folder.path().join("repository");
    let config = format!(
        "
        [validator]
        schedule = \"* * * * * *\"
        settle_secs = 1
        [[validate]]
        bucket = \"docs\"
        [[backup]]
        name = \"disk\"
        folder = {repository:?}
        buckets = [\"docs\"]
        batch = {{ wait_secs = 1 }}
    "
    );
    let server = serve(folder.path(), &config, &["docs"], &[]);
    stdout(&mut server.backlot("disable validator")).unwrap();
    let files = folder.path().join("files");
    write_files(&files, COUNT);
    let copy = ["copy", "--transfers", "16", "--no-check-dest"];
    run(server.rclone().args(copy).arg(&files).arg("backlot:docs")).unwrap();
    assert_eq!(record(&server, "docs", "00000.json"), None, "nobody looked");
    // Nobody is told that the bucket is backed up.
    let time =
        |bucket: &Value, what: &str| -> Option<Timestamp> { bucket[what].as_str()?.parse().ok() };
    let standing = || -> anyhow::Result<Value> {
        Ok(server.json("/api/v1/backups")?["backups"][0]["buckets"][0].clone())
    };
    let waits = wait_for("what waits for a verdict", PATIENCE, || {
        let bucket = standing()?;
        Ok(time(&bucket, "oldest_pending").map(|oldest| (oldest, time(&bucket, "last_success"))))
    });
    let (oldest, success) = waits.unwrap();
    assert!(success.is_none_or(|success| success <= oldest), "{success:?}, {oldest}");

    stdout(&mut server.backlot("enable validator")).unwrap();
    let s3 = S3::new(&server.ready);
    wait_for("a verdict about each", PATIENCE, || {
        let keys = s3.keys("validator")?;
        let records = keys.iter().filter(|key| key.starts_with("verdicts/docs/")).count();
        Ok((records == COUNT).then_some(()))
    })
    .unwrap();
    // The rest is done when the cursor has passed.
    wait_for("the end of the sweep", PATIENCE, || {
        let state = s3.get("validator", "cursors/docs")?.unwrap_or_default();
        let state: Value = serde_json::from_slice(&state).unwrap_or_default();
        Ok((state["cursor"].is_string() && state["turn"].is_null()).then_some(()))
    })
    .unwrap();
    assert_eq!(quarantine(&server).len(), COUNT / 100);
    assert_eq!(verdict(&server, "docs", "00000.json")["verdict"], "valid");
    assert_eq!(verdict(&server, "docs", "09907.json")["became"], "denied");
    // What is valid is in the repository, each of them once.
    wait_for("the backup of all of it", PATIENCE, || {
        let bucket = standing()?;
        let done = time(&bucket, "last_success").is_some_and(|success| oldest < success);
        Ok((done && bucket["oldest_pending"].is_null()).then_some(()))
    })
    .unwrap();
    let mut restic = Command::new("restic");
    restic.args(["--no-cache", "--json", "ls", "latest", "/docs", "--repo"]).arg(&repository);
    restic.arg("--password-file").arg(folder.path().join("data/backup-passwords/disk"));
    let listed = stdout(&mut restic).unwrap();
    let of_files = |line: &&str| line.contains("\"type\":\"file\"");
    assert_eq!(listed.lines().filter(of_files).count(), COUNT - COUNT / 100);
    assert!(!listed.contains("09907.json"), "one that is invalid");
    let runs = server.json("/api/v1/backups/disk/runs?kind=snapshot").unwrap();
    let stored = |run: &Value| run["details"]["stored"].as_u64().unwrap_or_default();
    let stored: u64 = runs["runs"].as_array().unwrap().iter().map(stored).sum();
    assert_eq!(stored, (COUNT - COUNT / 100) as u64, "{runs}");
    let failed = server.json("/api/v1/invocations?state=failed").unwrap();
    assert_eq!(failed["invocations"].as_array().unwrap().len(), 0, "{failed}");
    server.stop().unwrap();
}

/// `backlot validate`, without a server.
fn validate(arguments: &[&str]) -> Output {
    let mut command = Command::new(backlot());
    command.env("XDG_CACHE_HOME", guest_cache()).arg("validate").args(arguments);
    command.output().unwrap()
}

#[test]
fn a_file_is_validated_without_a_server_and_an_object_with_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let good = file("good.json", GOOD);
    let answer = validate(&[&good]);
    assert_eq!(answer.status.code(), Some(0), "{answer:?}");
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    assert!(text.contains("\nvalid: JSON\n"), "{text}");
    let broken = file("broken.json", BROKEN);
    let answer = validate(&[&broken, "--json"]);
    assert_eq!(answer.status.code(), Some(1), "{answer:?}");
    let found: Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!((&found["verdict"], &found["where"]), (&"invalid".into(), &6.into()), "{found}");
    let lie = validate(&[&good, "--content-type", "image/png", "--quiet"]);
    let text = String::from_utf8_lossy(&lie.stdout).into_owned();
    assert!(text.starts_with("invalid: JSON: the content type image/png"), "{text}");
    let none = validate(&["no-such-file"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&none.stderr).contains("E0401"), "{none:?}");

    let server = serve(folder.path(), CONFIG, &["inbox", "other"], &[]);
    let s3 = S3::new(&server.ready);
    s3.put("inbox", "a/broken.json", BROKEN).unwrap();
    s3.put("other", "a.json", GOOD).unwrap();
    s3.put("inbox", "good.json", GOOD).unwrap();
    let record = verdict(&server, "inbox", "a/broken.json");
    assert_eq!(record["became"], "moved");
    let output = server.backlot("validate inbox/good.json").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let output = server.backlot("validate other/a.json").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("[[validate]]"), "{text}");

    let listed = wait_for("quarantine", PATIENCE, || {
        let listed = stdout(&mut server.backlot("quarantine list --json"))?;
        Ok((!listed.is_empty()).then_some(listed))
    });
    let entry: Value = serde_json::from_str(&listed.unwrap()).unwrap();
    let id = entry["id"].as_str().unwrap();
    let shown = stdout(&mut server.backlot(&format!("quarantine show {id}"))).unwrap();
    assert!(shown.contains("inbox/a/broken.json") && shown.contains("moved"), "{shown}");
    let released = stdout(&mut server.backlot(&format!("quarantine release {id}"))).unwrap();
    assert_eq!(released, format!("{id} released"));
    assert_eq!(s3.get("inbox", "a/broken.json").unwrap().as_deref(), Some(BROKEN));
    let again = server.backlot(&format!("quarantine drop {id} --json")).output().unwrap();
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    server.stop().unwrap();
}

#[test]
fn a_policy_that_makes_no_sense_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |entry: &str| {
        let path = folder.path().join("backlot.toml");
        fs::write(&path, format!("[[validate]]\n{entry}\n")).unwrap();
        let mut show = Command::new(backlot());
        show.args(["config", "show", "--config", path.to_str().unwrap()]);
        let output = show.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{entry}: {output:?}");
        String::from_utf8_lossy(&output.stderr).replace("\n  │", "")
    };
    for (entry, wanted) in [
        ("bucket = \"a\"\ntypes = [\"pfd\"]", "pfd"),
        ("bucket = \"quarantine\"", "no bucket that can be validated"),
        ("bucket = \"a\"\n[[validate]]\nbucket = \"a\"", "twice"),
        ("bucket = \"a\"\nsecond_opinion = true", "antivirus.socket"),
        ("bucket = \"a\"\ninvalid = \"burn\"", "burn"),
        ("bucket = \"a\"\ncolour = 1", "colour"),
    ] {
        let text = refused(entry);
        assert!(text.contains(wanted), "{entry}: {text}");
    }
}

/// clamd in the foreground, with signatures of our own; killed when dropped.
struct Clamd(std::process::Child);

impl Drop for Clamd {
    fn drop(&mut self) {
        if self.0.kill().is_ok() && self.0.wait().is_err() {
            eprintln!("clamd could not be waited for");
        }
    }
}

impl Clamd {
    fn start(folder: &Path) -> Self {
        let signatures = folder.join("signatures");
        fs::create_dir(&signatures).unwrap();
        // The tests' own, and the string that every scanner knows.
        let lines = format!(
            "Own.Test.Signature:0:*:{}\nEicar.Test:0:*:{}\n",
            hex::encode("backlot-own-signature"),
            hex::encode(eicar())
        );
        fs::write(signatures.join("own.ndb"), lines).unwrap();
        let config = folder.join("clamd.conf");
        let text = format!(
            "Foreground yes\nLocalSocket {}\nDatabaseDirectory {}\nStreamMaxLength 1M\n",
            folder.join("clamd.ctl").display(),
            signatures.display()
        );
        fs::write(&config, text).unwrap();
        let log = fs::File::create(folder.join("clamd.log")).unwrap();
        let mut clamd = Command::new("clamd");
        clamd.arg(format!("--config-file={}", config.display()));
        Self(clamd.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
    }
}

/// The EICAR test string, in two halves so that no scanner takes this file for it.
fn eicar() -> String {
    ["X5O!P%@AP[4\\PZX54(P^)7CC)7}$", "EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"].concat()
}

#[test]
fn a_virus_scanner_has_the_last_word() {
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "
        [antivirus]
        socket = {:?}
        [validator]
        schedule = \"* * * * * *\"
        settle_secs = 1
        [[validate]]
        bucket = \"docs\"
        second_opinion = true
        ",
        folder.path().join("clamd.ctl")
    );
    let server = serve(folder.path(), &config, &["docs"], &[]);
    let s3 = S3::new(&server.ready);
    // Nobody answers: no verdict is given without the scanner.
    s3.put("docs", "early.txt", b"harmless\n").unwrap();
    wait_for("an attempt without the scanner", PATIENCE, || {
        let log = server.backlot("runs --function validator --json").output()?;
        Ok(String::from_utf8_lossy(&log.stdout).contains("virus scanner").then_some(()))
    })
    .unwrap();
    assert_eq!(record(&server, "docs", "early.txt"), None);

    let _clamd = Clamd::start(folder.path());
    let early = verdict(&server, "docs", "early.txt");
    assert_eq!((&early["verdict"], &early["second_opinion"]), (&"valid".into(), &"clean".into()));
    for (key, body, wanted) in [
        ("eicar.txt", eicar(), "infected: Eicar.Test.UNOFFICIAL"),
        (
            "own.txt",
            "a backlot-own-signature\n".to_owned(),
            "infected: Own.Test.Signature.UNOFFICIAL",
        ),
        ("fine.txt", "fine\n".repeat(1_000), "clean"),
    ] {
        s3.put("docs", key, body.as_bytes()).unwrap();
        let found = verdict(&server, "docs", key);
        assert_eq!(found["second_opinion"], wanted, "{found}");
        let became = if wanted == "clean" { "kept" } else { "denied" };
        assert_eq!(found["became"], became, "{found}");
    }
    // More than this clamd takes is not valid, and no reason to refuse.
    s3.put("docs", "large.txt", "large\n".repeat(500_000).as_bytes()).unwrap();
    let large = verdict(&server, "docs", "large.txt");
    assert_eq!((&large["verdict"], &large["became"]), (&"unsupported".into(), &"kept".into()));
    assert!(large["second_opinion"].as_str().unwrap().starts_with("not scanned: "), "{large}");
    server.stop().unwrap();
}

/// How good files are made: name, what damage must always be found in it, command.
const GOOD_FILES: [(&str, &[&str], &str); 13] = [
    ("a.png", &["cut", "flip", "append"], "convert -size 64x48 -seed 7 plasma:fractal OUT"),
    ("a.jpg", &["cut", "append"], "convert -size 64x48 -seed 7 plasma:fractal OUT"),
    ("a.gif", &["cut", "append"], "convert -size 64x48 -seed 7 plasma:fractal OUT"),
    ("a.webp", &["cut", "append"], "convert -size 64x48 -seed 7 plasma:fractal OUT"),
    ("a.mp4", &["cut", "append"], "ffmpeg -v error -f lavfi -i testsrc2=s=96x64:d=1 OUT"),
    ("a.wav", &["cut", "append"], "ffmpeg -v error -f lavfi -i sine=d=1 OUT"),
    ("a.flac", &["append"], "ffmpeg -v error -f lavfi -i sine=d=1 OUT"),
    (
        "a.ogg",
        &["cut", "flip", "append"],
        "ffmpeg -v error -f lavfi -i sine=d=1 -c:a libvorbis OUT",
    ),
    (
        "a.pdf",
        &["cut", "append"],
        "echo '%!PS 9 9 moveto 99 99 lineto stroke showpage' | gs -q -dNOPAUSE -dBATCH -sDEVICE=pdfwrite -sOutputFile=OUT -",
    ),
    ("a.zip", &["cut", "append"], "cp \"$0\" x; zip -q OUT x"),
    ("a.gz", &["cut", "flip", "append"], "seq 5000 | gzip > OUT"),
    ("a.zst", &["cut", "append"], "seq 5000 | zstd -q > OUT"),
    ("a.json", &["cut", "append"], "echo '{\"a\": [1, 2, \"three\"]}' | tr -d '\\n' > OUT"),
];

#[test]
fn the_guest_finds_what_the_walkers_find() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(folder.path(), CONFIG, &["lenient"], &[]);
    let s3 = S3::new(&server.ready);
    let mut random = fastrand::Rng::with_seed(7);
    let mut cases: Vec<(String, &str, &str, bool)> = Vec::new();
    for (name, must, command) in GOOD_FILES {
        let command = format!("set -e; {}", command.replace("OUT", name));
        run(Command::new("bash").args(["-c", &command, "/etc/passwd"]).current_dir(folder.path()))
            .unwrap();
        let good = fs::read(folder.path().join(name)).unwrap();
        let mut put = |kind: &'static str, number: usize, name: &'static str, body: &[u8]| {
            let key = format!("{kind}-{number}-{name}");
            s3.put("lenient", &key, body).unwrap();
            cases.push((key, name, kind, kind != "good" && must.contains(&kind)));
        };
        put("good", 0, name, &good);
        for number in 0..6 {
            put("cut", number, name, &good[..random.usize(1..good.len() - 1)]);
            let mut flipped = good.clone();
            flipped[random.usize(0..good.len())] ^= 1 << random.u8(0..8);
            put("flip", number, name, &flipped);
        }
        let html = b"<html><script>alert(1)</script></html>".as_slice();
        for (number, tail) in [html, b"PK\x03\x04\x0a\0\0\0", &[7; 64]].iter().enumerate() {
            put("append", number, name, &[good.as_slice(), *tail].concat());
        }
    }
    println!("found of cases   {:>8}{:>8}{:>8}{:>8}", "good", "cut", "flip", "append");
    let mut missed = Vec::new();
    for (name, ..) in GOOD_FILES {
        let mut line = format!("{name:<16}");
        for kind in ["good", "cut", "flip", "append"] {
            let (mut found, mut count) = (0, 0);
            for (key, _, _, must) in cases.iter().filter(|case| case.1 == name && case.2 == kind) {
                let verdict = verdict(&server, "lenient", key);
                let whole = verdict["verdict"] == "valid";
                count += 1;
                found += usize::from(!whole);
                if (*must && whole) || (kind == "good" && !whole) {
                    missed.push(format!("{key}: {verdict}"));
                }
            }
            line.push_str(&format!("{:>8}", format!("{found}/{count}")));
        }
        println!("{line}");
    }
    assert!(missed.is_empty(), "{missed:#?}");
    server.stop().unwrap();
}
