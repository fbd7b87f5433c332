//! S3 as ordinary clients see it. The programs of `tests/clients` go through the operations with
//! boto3 and raw sockets; here are the command lines people use, and what must survive a crash.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use backlot_tests::clients::{aws, installed, python, s3cmd, start};
use backlot_tests::{run, stdout, wait_for};
use sha2::{Digest, Sha256};

/// Long enough for notes to pile up on a loaded machine.
const WRITING_MAX: Duration = Duration::from_secs(60);
/// Acknowledged uploads to wait for before the server is killed.
const NOTES_MIN: usize = 200;

/// Runs a program of `tests/clients` against a server of its own; prints what it printed.
fn program(name: &str) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let server = start(folder.path())?;
    println!("{}", stdout(&mut python(&server, name)?)?);
    server.stop()
}

#[test]
fn objects() -> anyhow::Result<()> {
    program("objects.py")
}

#[test]
fn lists_and_versions() -> anyhow::Result<()> {
    program("listing.py")
}

#[test]
fn multipart_uploads() -> anyhow::Result<()> {
    program("multipart.py")
}

#[test]
fn checksums() -> anyhow::Result<()> {
    program("checksums.py")
}

#[test]
fn refusals() -> anyhow::Result<()> {
    program("refusals.py")
}

#[test]
fn slow_and_rude_peers() -> anyhow::Result<()> {
    program("listener.py")
}

#[test]
fn races() -> anyhow::Result<()> {
    program("races.py")
}

#[test]
fn access_and_its_audit() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let server = start(folder.path())?;
    println!("{}", stdout(&mut python(&server, "access.py")?)?);
    let log = server.log()?;
    let audited =
        |what: &str| log.lines().any(|line| line.contains("denied") && line.contains(what));
    assert!(audited("AccessDenied") && audited("reader"), "{log}");
    assert!(audited("SignatureDoesNotMatch") && audited("InvalidAccessKeyId"), "{log}");
    assert!(!log.contains("reader-secret") && !log.contains(&server.ready.secret_key), "{log}");
    server.stop()
}

#[test]
fn aws_copies_large_files_in_parts() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let server = start(folder.path())?;
    let film = folder.path().join("film.bin");
    write_noise(&film, 33 << 20)?;
    run(aws(&server)?.args(["s3", "mb", "s3://films"]))?;
    run(aws(&server)?.args(["s3", "cp", "--no-progress"]).arg(&film).arg("s3://films/a/film.bin"))?;
    let head = stdout(aws(&server)?.args([
        "s3api",
        "head-object",
        "--bucket",
        "films",
        "--key",
        "a/film.bin",
    ]))?;
    assert!(head.contains("-7\\\"\""), "uploaded in 7 parts: {head}");
    run(aws(&server)?.args([
        "s3",
        "cp",
        "--no-progress",
        "s3://films/a/film.bin",
        "s3://films/b",
    ]))?;
    let back = folder.path().join("back.bin");
    run(aws(&server)?.args(["s3", "cp", "--no-progress", "s3://films/b"]).arg(&back))?;
    assert_eq!(digest(&back)?, digest(&film)?);
    let listed = stdout(aws(&server)?.args(["s3", "ls", "--recursive", "s3://films"]))?;
    assert!(listed.contains("a/film.bin") && listed.lines().count() == 2, "{listed}");

    let url = stdout(aws(&server)?.args(["s3", "presign", "s3://films/b"]))?;
    let curled = folder.path().join("curled.bin");
    run(Command::new("curl").args(["--silent", "--fail", "--output"]).arg(&curled).arg(&url))?;
    assert_eq!(digest(&curled)?, digest(&film)?);

    run(aws(&server)?.args(["s3", "rb", "--force", "s3://films"]))?;
    assert_eq!(stdout(aws(&server)?.args(["s3", "ls"]))?.matches("films").count(), 0);
    server.stop()
}

#[test]
fn rclone_copies_checks_and_syncs() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let server = start(folder.path())?;
    let tree = tree(folder.path())?;
    let rclone = |arguments: &[&str]| {
        let mut command = server.rclone();
        command.args(["--s3-chunk-size", "5Mi", "--s3-upload-cutoff", "5Mi"]).args(arguments);
        command
    };
    let local = tree.to_str().expect("a temporary folder's name is UTF-8");
    run(&mut rclone(&["mkdir", "backlot:synced"]))?;
    run(&mut rclone(&["copy", local, "backlot:synced/x"]))?;
    run(&mut rclone(&["check", local, "backlot:synced/x"]))?;
    run(&mut rclone(&["check", "--download", local, "backlot:synced/x"]))?;
    fs::remove_file(tree.join("plain.txt"))?;
    fs::write(tree.join("new.txt"), "new")?;
    run(&mut rclone(&["sync", local, "backlot:synced/x"]))?;
    run(&mut rclone(&["check", local, "backlot:synced/x"]))?;
    let listed = stdout(&mut rclone(&["lsf", "-R", "backlot:synced/x"]))?;
    assert!(listed.contains("new.txt") && !listed.contains("plain.txt"), "{listed}");
    run(&mut rclone(&["moveto", "backlot:synced/x/new.txt", "backlot:synced/y.txt"]))?;
    assert_eq!(stdout(&mut rclone(&["cat", "backlot:synced/y.txt"]))?, "new");
    run(&mut rclone(&["purge", "backlot:synced"]))?;
    server.stop()
}

#[test]
fn s3cmd_syncs_both_ways() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let server = start(folder.path())?;
    let tree = tree(folder.path())?;
    let source = format!("{}/", tree.display());
    run(s3cmd(&server)?.args(["mb", "s3://synced"]))?;
    run(s3cmd(&server)?.args(["sync", &source, "s3://synced/x/"]))?;
    let again = stdout(s3cmd(&server)?.args(["sync", &source, "s3://synced/x/"]))?;
    assert!(!again.contains("upload:"), "nothing changed, nothing to send: {again}");
    let back = folder.path().join("back");
    fs::create_dir(&back)?;
    run(s3cmd(&server)?.args(["sync", "s3://synced/x/"]).arg(format!("{}/", back.display())))?;
    run(Command::new("diff").arg("--recursive").arg(&tree).arg(&back))?;
    run(s3cmd(&server)?.args(["del", "--recursive", "--force", "s3://synced"]))?;
    run(s3cmd(&server)?.args(["rb", "s3://synced"]))?;
    server.stop()
}

#[test]
fn what_was_acknowledged_survives_kill_9() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let notes = folder.path().join("notes");
    let server = start(folder.path())?;
    let mut writer = python(&server, "durable.py")?
        .arg("write")
        .arg(&notes)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    wait_for("acknowledged uploads", WRITING_MAX, || {
        let noted = fs::read_to_string(&notes).unwrap_or_default();
        Ok((NOTES_MIN <= noted.lines().count()).then_some(()))
    })?;
    server.kill()?;
    writer.wait()?;

    let server = start(folder.path())?;
    println!("{}", stdout(python(&server, "durable.py")?.arg("check").arg(&notes))?);
    server.stop()
}

#[test]
fn the_pinned_clients_are_the_ones_that_run() -> anyhow::Result<()> {
    let version = installed("aws")?.arg("--version").output()?;
    assert!(
        String::from_utf8_lossy(&version.stdout).starts_with("aws-cli/1.45.11 "),
        "{version:?}"
    );
    Ok(())
}

/// Small, empty, nested and multipart files, one with a name that is not ASCII.
fn tree(folder: &Path) -> anyhow::Result<std::path::PathBuf> {
    let tree = folder.join("tree");
    fs::create_dir_all(tree.join("deep/er"))?;
    fs::write(tree.join("plain.txt"), "plain")?;
    fs::write(tree.join("empty"), "")?;
    fs::write(tree.join("deep/er/ünïcödé + space.txt"), "nested")?;
    write_noise(&tree.join("deep/large.bin"), 12 << 20)?;
    Ok(tree)
}

/// Bytes that do not repeat, the same in every run.
fn write_noise(path: &Path, bytes: usize) -> anyhow::Result<()> {
    let mut noise = Vec::with_capacity(bytes + 32);
    let mut block = Sha256::digest(b"noise");
    while noise.len() < bytes {
        noise.extend_from_slice(&block);
        block = Sha256::digest(block);
    }
    noise.truncate(bytes);
    fs::write(path, noise)?;
    Ok(())
}

fn digest(path: &Path) -> anyhow::Result<String> {
    Ok(hex::encode(Sha256::digest(fs::read(path)?)))
}
