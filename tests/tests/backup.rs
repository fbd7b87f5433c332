//! Backups with the real server: put there by rclone, checked and restored by restic, killed at
//! every step.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use backlot_tests::s3::S3;
use backlot_tests::server::Server;
use backlot_tests::{run, wait_for};
use serde_json::Value;

const BUCKET: &str = "documents";
/// The longest a backup may take on a loaded machine.
const BACKUP_MAX: Duration = Duration::from_secs(120);
/// Every step of a backup at which the server is killed.
const POINTS: [&str; 6] = [
    "backup.before-pack",
    "backup.after-pack",
    "backup.after-index",
    "backup.before-snapshot",
    "backup.after-snapshot",
    "backup.after-commit",
];

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
        let listed = run(server.backlot("backup ls --json --repository").arg(name)).unwrap();
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
    let mut command = server.backlot("backup restore latest --repository one --to-folder");
    command.arg(&out).arg("--data").arg(place.join("data"));
    command.arg("--config").arg(place.join("backlot.toml"));
    server.stop().unwrap();
    run(&mut command).unwrap();
    assert_eq!(files(&out.join(BUCKET)), files(&source));
}

#[test]
fn a_server_killed_at_any_step_of_a_backup_loses_no_change_and_leaves_no_half_of_a_snapshot() {
    for point in POINTS {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path();
        let config = local(place, "one", "batch = { wait_secs = 0 }");
        let calm = start(place, &config, &[]);
        let source = place.join("source");
        tree(&source, 1);
        S3::new(&calm.ready).make_bucket(BUCKET).unwrap();
        let copy = |server: &Server| {
            run(server.rclone().arg("sync").arg(&source).arg(format!("backlot:{BUCKET}"))).unwrap();
        };
        copy(&calm);
        run(calm.backlot("backup now").arg(BUCKET)).unwrap();
        calm.stop().unwrap();

        let crash = format!("{point}:1");
        let mut server = start(place, &config, &[("BACKLOT_CRASH_AT", &crash)]);
        fs::remove_dir_all(source.join("f1")).unwrap();
        tree(&source.join("more"), 2);
        copy(&server);
        // It dies at it, so this cannot succeed.
        let asked = server.backlot("backup now").arg(BUCKET).output().unwrap();
        assert!(!asked.status.success(), "{point}: {asked:?}");
        wait_for("the crash", BACKUP_MAX, || server.ended()).unwrap();

        let (repository, password) = (place.join("one"), password(place, "one"));
        let repository = repository.to_str().unwrap();
        restic(repository, &password, &[], &["check", "--read-data"]);
        // What waited is backed up by itself.
        let server = start(place, &config, &[]);
        wait_for("nothing waits", BACKUP_MAX, || Ok((pending(&server) == 0).then_some(())))
            .unwrap();
        restic(repository, &password, &[], &["check", "--read-data"]);
        let back = restored(repository, &password, &place.join("back"));
        assert_eq!(back, files(&source), "{point}");
        let snapshots = server.json("/api/v1/backups/one/snapshots").unwrap();
        assert_eq!(snapshots["snapshots"].as_array().unwrap().len(), 2, "{point}");
        server.stop().unwrap();
    }
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
