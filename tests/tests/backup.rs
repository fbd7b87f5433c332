//! Backups with the real server: put there by rclone, checked and restored by restic, killed at
//! every step.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use backlot_tests::clients::{installed, python};
use backlot_tests::s3::S3;
use backlot_tests::server::Server;
use backlot_tests::{backlot, run, stdout, wait_for};
use serde_json::Value;

const BUCKET: &str = "documents";
/// The longest a backup may take on a loaded machine.
const BACKUP_MAX: Duration = Duration::from_secs(120);

/// A server whose configuration has these repositories.
fn start(folder: &Path, repositories: &str, environment: &[(&str, &str)]) -> Server {
    let config = folder.join("backlot.toml");
    fs::write(&config, repositories).unwrap();
    let config = config.to_str().unwrap().to_owned();
    Server::start_with(folder, &["--config", &config], environment).unwrap()
}

fn local(folder: &Path, name: &str, more: &str) -> String {
    let place = folder.join(name).display().to_string();
    format!(
        "[[backup]]\nname = \"{name}\"\nfolder = \"{place}\"\nbuckets = [\"{BUCKET}\"]\n{more}\n"
    )
}

fn restic(
    repository: &str,
    password: &Path,
    environment: &[(&str, &str)],
    what: &[&str],
) -> Output {
    let mut command = Command::new("restic");
    command.args(["--no-cache", "--repo", repository, "--password-file"]).arg(password);
    command.args(what).envs(environment.iter().copied());
    run(&mut command).unwrap()
}

fn password(folder: &Path, name: &str) -> std::path::PathBuf {
    folder.join("data/backup-passwords").join(name)
}

/// Files below a folder with their bytes.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn collect(root: &Path, folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(root, &path, found);
            } else {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    collect(folder, folder, &mut found);
    found
}

/// Writes files of many sizes into a folder.
fn tree(folder: &Path, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    for number in 0..60 {
        let size = [0, 1, 500, 70_000, 900_000][number % 5];
        let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(size).collect();
        let path = folder.join(format!("f{}/sub {}/file {number}.bin", number % 4, number % 3));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn restored(repository: &str, password: &Path, into: &Path) -> BTreeMap<String, Vec<u8>> {
    let target = into.to_str().unwrap();
    restic(repository, password, &[], &["restore", "latest", "--target", target]);
    files(&into.join(BUCKET))
}

fn pending(server: &Server) -> u64 {
    let all = server.json("/api/v1/backups").unwrap();
    let sum = |one: &Value| one["pending"]["changes"].as_u64().unwrap();
    all["backups"].as_array().unwrap().iter().map(sum).sum()
}

#[test]
fn what_rclone_put_there_restic_restores_from_every_repository() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let config = format!("{}{}", local(place, "one", ""), local(place, "two", ""));
    let server = start(place, &config, &[]);
    let source = place.join("source");
    tree(&source, 1);
    S3::new(&server.ready).make_bucket(BUCKET).unwrap();
    run(server.rclone().arg("copy").arg(&source).arg(format!("backlot:{BUCKET}"))).unwrap();
    run(server.backlot("backup now").arg(BUCKET)).unwrap();
    // A second round upon the first: some changed, some gone.
    fs::remove_dir_all(source.join("f1")).unwrap();
    fs::write(source.join("f2/new.txt"), b"new").unwrap();
    run(server.rclone().arg("sync").arg(&source).arg(format!("backlot:{BUCKET}"))).unwrap();
    run(server.backlot("backup now").arg(BUCKET)).unwrap();
    for name in ["one", "two"] {
        let (repository, password) = (place.join(name), password(place, name));
        let repository = repository.to_str().unwrap();
        restic(repository, &password, &[], &["check", "--read-data"]);
        let back = restored(repository, &password, &place.join(format!("back-{name}")));
        assert_eq!(back, files(&source));
        let listed = run(server.backlot("backup ls --json").args(["--repository", name])).unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        assert_eq!(listed.lines().count(), files(&source).len());
    }
    run(&mut server.backlot("backup verify --all")).unwrap();
    run(&mut server.backlot("backup drill")).unwrap();
    // With no server, from the configuration and the password alone.
    let status = run(&mut server.backlot("backup status --json")).unwrap();
    let status = String::from_utf8(status.stdout).unwrap();
    assert_eq!(status.lines().count(), 2);
    for line in status.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(line["buckets"][0]["last_success"].is_string(), "{line}");
        assert_eq!(line["pending"]["changes"], 0);
    }
    let out = place.join("out");
    let mut command = server.backlot("backup restore latest --repository one");
    command.arg("--to-folder").arg(&out).arg("--data").arg(place.join("data"));
    command.arg("--config").arg(place.join("backlot.toml"));
    server.stop().unwrap();
    run(&mut command).unwrap();
    assert_eq!(files(&out.join(BUCKET)), files(&source));
}

/// Keys of a bucket in the newest snapshot; none where there is no snapshot yet.
fn in_newest_snapshot(server: &Server, bucket: &str) -> Vec<String> {
    let listed = server.backlot("backup ls --json").args(["--bucket", bucket]).output().unwrap();
    let key = |line: &str| -> String {
        serde_json::from_str::<Value>(line).unwrap()["key"].as_str().unwrap().to_owned()
    };
    String::from_utf8(listed.stdout).unwrap().lines().map(key).collect()
}

#[test]
fn changes_are_backed_up_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let config = local(place, "one", "batch = { wait_secs = 0 }");
    let server = start(place, &config, &[]);
    let s3 = S3::new(&server.ready);
    s3.make_bucket(BUCKET).unwrap();
    s3.make_bucket("elsewhere").unwrap();
    let has = |keys: &[&str]| {
        wait_for(&format!("{keys:?} in the newest snapshot"), BACKUP_MAX, || {
            // Until there is a snapshot there is no list either.
            let found = in_newest_snapshot(&server, BUCKET);
            Ok(found.iter().map(String::as_str).eq(keys.iter().copied()).then_some(()))
        })
        .unwrap();
    };
    s3.put("elsewhere", "no.txt", b"not covered").unwrap();
    s3.put(BUCKET, "a.txt", b"one").unwrap();
    has(&["a.txt"]);
    s3.put(BUCKET, "b.txt", b"two").unwrap();
    has(&["a.txt", "b.txt"]);
    run(server.rclone().arg("deletefile").arg(format!("backlot:{BUCKET}/a.txt"))).unwrap();
    has(&["b.txt"]);
    server.stop().unwrap();

    // What changes while it is down too, and in a bucket that comes to be covered later.
    let config = config.replace(&format!("[\"{BUCKET}\"]"), "[\"*\"]");
    let server = start(place, &config, &[]);
    wait_for("the other bucket in a snapshot", BACKUP_MAX, || {
        Ok((in_newest_snapshot(&server, "elsewhere") == ["no.txt"]).then_some(()))
    })
    .unwrap();
    server.stop().unwrap();
}

/// Every step of a backup at which the server can be killed.
fn points() -> Vec<String> {
    let listed = stdout(Command::new(backlot()).arg("crash-points")).unwrap();
    listed.lines().filter(|point| point.starts_with("backup.")).map(str::to_owned).collect()
}

/// Waits until the server has died at its crash point, whatever it is asked meanwhile.
fn dies(server: &mut Server) {
    // It dies at it, so this cannot succeed.
    let asked = server.backlot("backup now").arg(BUCKET).output().unwrap();
    assert!(!asked.status.success(), "{asked:?}");
    wait_for("the crash", BACKUP_MAX, || server.ended()).unwrap();
}

/// What waited is backed up by a server that is started again, once, and is what is in the bucket.
fn catches_up(place: &Path, config: &str, source: &Path, snapshots: usize, point: &str) {
    let (repository, password) = (place.join("one"), password(place, "one"));
    let repository = repository.to_str().unwrap();
    let server = start(place, config, &[]);
    // The very first time nobody had handed anything over when it died.
    run(server.backlot("backup now").arg(BUCKET)).unwrap();
    assert_eq!(pending(&server), 0, "{point}");
    restic(repository, &password, &[], &["check", "--read-data"]);
    let back = tempfile::tempdir().unwrap();
    assert_eq!(restored(repository, &password, back.path()), files(source), "{point}");
    let listed = server.json("/api/v1/backups/one/snapshots").unwrap();
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), snapshots, "{point}");
    server.stop().unwrap();
}

#[test]
fn a_server_killed_at_any_step_of_a_backup_loses_no_change_and_leaves_no_half_of_a_snapshot() {
    let points = points();
    assert_eq!(points.len(), 9, "{points:?}");
    for point in points {
        println!("{point}");
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path();
        let config = local(place, "one", "batch = { wait_secs = 0 }");
        let crash = format!("{point}:1");
        let source = place.join("source");
        let copy = |server: &Server| {
            run(server.rclone().arg("sync").arg(&source).arg(format!("backlot:{BUCKET}"))).unwrap();
        };
        // The first snapshot of a repository that is not there yet.
        tree(&source, 1);
        let mut server = start(place, &config, &[("BACKLOT_CRASH_AT", &crash)]);
        S3::new(&server.ready).make_bucket(BUCKET).unwrap();
        copy(&server);
        dies(&mut server);
        catches_up(place, &config, &source, 1, &point);
        if point.ends_with("-init") {
            continue;
        }
        // One upon another.
        let mut server = start(place, &config, &[("BACKLOT_CRASH_AT", &crash)]);
        fs::remove_dir_all(source.join("f1")).unwrap();
        tree(&source.join("more"), 2);
        copy(&server);
        dies(&mut server);
        let (repository, password) = (place.join("one"), password(place, "one"));
        restic(repository.to_str().unwrap(), &password, &[], &["check", "--read-data"]);
        catches_up(place, &config, &source, 2, &point);
    }
}

#[test]
fn a_restore_gives_objects_back_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let server = start(place, &local(place, "one", ""), &[]);
    let client = |arguments: &[&str]| {
        stdout(python(&server, "restored.py").unwrap().args(arguments)).unwrap()
    };
    client(&["write", BUCKET]);
    run(&mut server.backlot("backup now")).unwrap();
    run(server.backlot("backup restore latest --to again").args(["--bucket", BUCKET])).unwrap();
    print!("{}", client(&["compare", BUCKET, "again"]));
    // Restored over what is there, nothing is touched; what was lost comes back.
    let s3 = S3::new(&server.ready);
    s3.put(BUCKET, "described.json", b"newer").unwrap();
    run(server.rclone().arg("deletefile").arg(format!("backlot:{BUCKET}/parts.bin"))).unwrap();
    run(server.backlot("backup restore latest").args(["--bucket", BUCKET])).unwrap();
    assert_eq!(s3.get(BUCKET, "described.json").unwrap().unwrap(), b"newer");
    run(server.backlot("backup restore latest --overwrite").args(["--bucket", BUCKET])).unwrap();
    print!("{}", client(&["compare", BUCKET, "again"]));
    // As files: each key has one of its own, and none leaves the folder.
    let keys = s3.keys(BUCKET).unwrap().len();
    let back = place.join("back");
    let (repository, password) = (place.join("one"), password(place, "one"));
    assert_eq!(restored(repository.to_str().unwrap(), &password, &back).len(), keys);
    let out = place.join("out");
    let to_folder = || {
        let mut command = server.backlot("backup restore latest");
        command.arg("--to-folder").arg(&out).arg("--data").arg(place.join("data"));
        command.arg("--config").arg(place.join("backlot.toml"));
        command
    };
    run(&mut to_folder()).unwrap();
    assert_eq!(files(&out.join(BUCKET)), files(&back.join(BUCKET)));
    let refused = to_folder().output().unwrap();
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("E0406"), "{refused:?}");
    server.stop().unwrap();
}

/// What a command prints for machines, a line each.
fn json_lines(command: &mut Command) -> Vec<Value> {
    let text = stdout(command.arg("--json")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_damaged_pack_is_found_and_named_with_the_objects_it_hits() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let server = start(place, &local(place, "one", ""), &[]);
    let s3 = S3::new(&server.ready);
    s3.make_bucket(BUCKET).unwrap();
    s3.put(BUCKET, "sound.bin", b"this one is in another pack").unwrap();
    run(&mut server.backlot("backup now")).unwrap();
    let mut random = fastrand::Rng::with_seed(5);
    let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(3_000_000).collect();
    s3.put(BUCKET, "film.mp4", &bytes).unwrap();
    run(&mut server.backlot("backup now")).unwrap();
    let whole = json_lines(&mut server.backlot("backup verify --all"));
    assert_eq!(whole[0]["answer"]["faults"], serde_json::json!([]), "{whole:?}");

    let packs = files(&place.join("one/data"));
    let (pack, bytes) = packs.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let mut bytes = bytes.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(place.join("one/data").join(pack), bytes).unwrap();
    let found = server.backlot("backup verify --all --json").output().unwrap();
    assert!(!found.status.success(), "{found:?}");
    let found: Value = serde_json::from_slice(&found.stdout).unwrap();
    let packs = found["answer"]["packs"].as_array().unwrap();
    assert!(pack.ends_with(packs[0].as_str().unwrap()) && packs.len() == 1, "{found}");
    let hits = found["answer"]["hits"].as_array().unwrap();
    assert_eq!(hits.len(), 1, "{found}");
    assert_eq!((&hits[0]["bucket"], &hits[0]["key"]), (&BUCKET.into(), &"film.mp4".into()));
    let told = server.backlot("backup verify --all").output().unwrap();
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains(&format!("lost: {BUCKET}/film.mp4")), "{told}");
    // A drill finds the same by restoring, and restic agrees.
    let drill = server.backlot("backup drill --json").output().unwrap();
    assert!(!drill.status.success());
    assert!(String::from_utf8_lossy(&drill.stdout).contains("film.mp4"), "{drill:?}");
    let mut check = Command::new("restic");
    check.args(["--no-cache", "check", "--read-data", "--repo"]).arg(place.join("one"));
    check.arg("--password-file").arg(password(place, "one"));
    assert!(!check.output().unwrap().status.success());
    // It is told to whoever listens.
    let events = server.json("/api/v1/backups/one/runs?kind=verify").unwrap();
    assert_eq!(events["runs"][0]["succeeded"], false, "{events}");
    server.stop().unwrap();
}

#[test]
fn several_repositories_each_have_their_own_policy() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let configs = [
        local(place, "near", "keep = { last = 1 }\nprune_hours = 0"),
        local(place, "vault", "append_only = true"),
        local(place, "other", "").replace(BUCKET, "something-else"),
    ];
    let server = start(place, &configs.concat(), &[]);
    let s3 = S3::new(&server.ready);
    s3.make_bucket(BUCKET).unwrap();
    let now = |name: &str| {
        run(server.backlot("backup now").args(["--repository", name])).unwrap();
    };
    for round in 0..3_u8 {
        s3.put(BUCKET, "a.txt", &[round]).unwrap();
        s3.put(BUCKET, &format!("{round}.bin"), &vec![round; 200_000]).unwrap();
        now("near");
        now("vault");
    }
    now("other");
    let snapshots =
        |name| json_lines(server.backlot("backup snapshots").args(["--repository", name])).len();
    assert_eq!(["near", "vault", "other"].map(snapshots), [3, 3, 0]);
    let pruned = json_lines(&mut server.backlot("backup prune --repository near"));
    assert_eq!(pruned[0]["answer"]["forgotten"].as_array().unwrap().len(), 2, "{pruned:?}");
    assert_eq!(snapshots("near"), 1);
    let refused = server.backlot("backup prune --repository vault").output().unwrap();
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("append-only"), "{refused:?}");
    for name in ["near", "vault"] {
        let (repository, password) = (place.join(name), password(place, name));
        restic(repository.to_str().unwrap(), &password, &[], &["check", "--read-data"]);
    }
    let made = fs::metadata(password(place, "near")).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&made) & 0o777, 0o600);
    server.stop().unwrap();
}

#[test]
fn a_repository_may_be_in_a_bucket_of_another_server() {
    let folder = tempfile::tempdir().unwrap();
    let (there, here) = (folder.path().join("there"), folder.path().join("here"));
    fs::create_dir_all(&there).unwrap();
    fs::create_dir_all(&here).unwrap();
    let far = Server::start(&there).unwrap();
    S3::new(&far.ready).make_bucket("repository").unwrap();
    let config = format!(
        "[[backup]]\nname = \"far\"\nbuckets = [\"{BUCKET}\"]\n\
         s3 = {{ endpoint = \"http://{}\", bucket = \"repository\", prefix = \"a/b\", \
         access_key = \"{}\", secret_key = \"{}\" }}\n",
        far.ready.s3, far.ready.access_key, far.ready.secret_key
    );
    let server = start(&here, &config, &[]);
    let source = here.join("source");
    tree(&source, 3);
    S3::new(&server.ready).make_bucket(BUCKET).unwrap();
    run(server.rclone().arg("copy").arg(&source).arg(format!("backlot:{BUCKET}"))).unwrap();
    run(server.backlot("backup now").arg(BUCKET)).unwrap();
    run(&mut server.backlot("backup verify --all")).unwrap();
    let keys = [
        ("AWS_ACCESS_KEY_ID", far.ready.access_key.as_str()),
        ("AWS_SECRET_ACCESS_KEY", far.ready.secret_key.as_str()),
    ];
    let repository = format!("s3:http://{}/repository/a/b", far.ready.s3);
    let password = password(&here, "far");
    restic(&repository, &password, &keys, &["check", "--read-data"]);
    let back = here.join("back");
    let target = back.to_str().unwrap();
    restic(&repository, &password, &keys, &["restore", "latest", "--target", target]);
    assert_eq!(files(&back.join(BUCKET)), files(&source));
    server.stop().unwrap();
    far.stop().unwrap();
}

#[test]
fn what_is_locked_for_days_cannot_be_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/locked.py");
    let mut other = installed("python").unwrap();
    let mut other =
        other.arg(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(other.stdout.take().unwrap()).lines();
    let address = said.next().unwrap().unwrap();
    let config = format!(
        "[[backup]]\nname = \"far\"\nbuckets = [\"{BUCKET}\"]\nappend_only = true\n\
         s3 = {{ endpoint = \"http://{address}\", bucket = \"repository\", lock_days = 30, \
         access_key = \"key\", secret_key = \"secret\" }}\n"
    );
    let server = start(place, &config, &[]);
    let s3 = S3::new(&server.ready);
    s3.make_bucket(BUCKET).unwrap();
    s3.put(BUCKET, "a.txt", b"a").unwrap();
    run(&mut server.backlot("backup now")).unwrap();
    run(&mut server.backlot("backup verify --all")).unwrap();
    server.stop().unwrap();
    other.stdin.take().unwrap().write_all(b"\n").unwrap();
    let said = said.next().unwrap().unwrap();
    assert!(other.wait().unwrap().success());
    // Key, configuration, index, snapshot, and packs of data and of folders.
    let count: u32 = said.split(' ').next().unwrap().parse().unwrap();
    assert!(6 <= count, "{said}");
}
