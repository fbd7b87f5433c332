//! Repositories through the public functions, and in the eyes of restic.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use backlot_backup::{Backups, Batch, Keep, Restore, Settings, Target};
use backlot_ledger::Ledger;
use backlot_ledger::backup::{HandedOver, Outcome};
use backlot_storage::{Delete, ObjectHeaders, ObjectInfo, Put, Store, StoreLimits};
use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use futures::stream;

const BUCKET: &str = "documents";
const NAME: &str = "local";

struct Bed {
    store: Store,
    ledger: Ledger,
    backups: Backups,
    folder: tempfile::TempDir,
}

fn settings(folder: &Path) -> Settings {
    Settings {
        name: NAME.to_owned(),
        target: Target::Folder(folder.join("repository")),
        password_file: folder.join("password"),
        buckets: vec![BUCKET.to_owned(), "other".to_owned()],
        follow: false,
        // Only when asked: no test waits for a batch.
        batch: Batch { changes_max: 1_000, bytes_max: 1 << 30, wait: Duration::from_secs(86_400) },
        keep: Some(Keep { last: 1, ..Keep::default() }),
        append_only: false,
        verify_every: None,
        verify_parts: 1,
        drill_every: None,
        prune_every: None,
        overdue_after: Duration::from_secs(86_400),
    }
}

impl Bed {
    async fn new(change: impl FnOnce(&mut Settings)) -> Bed {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        let blobs = folder.path().join("blobs");
        fs::create_dir(&blobs).unwrap();
        let dir = Dir::open_ambient_dir(&blobs, ambient_authority()).unwrap();
        let limits = StoreLimits { inline_bytes_max: 1_000, ..StoreLimits::default() };
        let store = Store::open(dir, ledger.clone(), limits).unwrap();
        let mut settings = settings(folder.path());
        change(&mut settings);
        let backups = Backups::start(vec![settings], Vec::new(), &ledger, &store).unwrap();
        store.create_bucket(BUCKET).await.unwrap();
        Bed { store, ledger, backups, folder }
    }

    async fn put(&self, key: &str, body: &[u8]) -> ObjectInfo {
        let put = Put {
            bucket: BUCKET.to_owned(),
            key: key.to_owned(),
            headers: ObjectHeaders {
                content_type: Some("text/x-test".to_owned()),
                ..ObjectHeaders::default()
            },
            metadata: [("author".to_owned(), "someone".to_owned())].into(),
            tags: [("colour".to_owned(), "blue".to_owned())].into(),
            ..Put::default()
        };
        let body = Bytes::copy_from_slice(body);
        self.store.put(put, stream::iter([Ok::<_, std::io::Error>(body)])).await.unwrap()
    }

    async fn delete(&self, key: &str) {
        let delete = Delete { bucket: BUCKET.to_owned(), key: key.to_owned(), ..Delete::default() };
        self.store.delete(delete).await.unwrap();
    }

    async fn hand_over(&self, info: &ObjectInfo, removed: bool) -> Outcome {
        let item = HandedOver {
            bucket: info.bucket.clone(),
            key: info.key.clone(),
            version: info.version_id.clone(),
            content_id: info.content_id.clone(),
            removed,
            repositories: Vec::new(),
        };
        self.backups.hand_over(vec![item], None).await.unwrap()[0]
    }

    async fn now(&self) -> u64 {
        let taken = self.backups.now(NAME, Some(BUCKET.to_owned())).await.unwrap();
        taken.iter().filter(|taken| taken.snapshot.is_some()).count() as u64
    }

    fn restic(&self, arguments: &[&str]) -> Output {
        let output = Command::new("restic")
            .args(["--no-cache", "--repo"])
            .arg(self.folder.path().join("repository"))
            .arg("--password-file")
            .arg(self.folder.path().join("password"))
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        output
    }

    /// The files of the newest snapshot, by path.
    fn restic_restore(&self) -> BTreeMap<String, Vec<u8>> {
        let target = tempfile::tempdir_in(self.folder.path()).unwrap();
        self.restic(&["restore", "latest", "--target", target.path().to_str().unwrap()]);
        let mut files = BTreeMap::new();
        collect(target.path(), target.path(), &mut files);
        files
    }
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            files.insert(name, fs::read(&path).unwrap());
        }
    }
}

/// Bytes that do not compress, the same for the same seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn restic_checks_the_repository_and_restores_what_was_put() {
    let bed = Bed::new(|_| {}).await;
    let keys = [
        ("a", "a"),
        ("a/b", "a/b"),
        ("a/c/d.bin", "a/c/d.bin"),
        ("a$", "a$"),
        ("../up", "%2E%2E/up"),
        ("x//y/", "x/%/y/%"),
        ("Grüße 100%", "Grüße 100%25"),
        ("tab\there", "tab%09here"),
    ];
    let mut expected = BTreeMap::new();
    for (number, (key, path)) in keys.iter().enumerate() {
        let body = noise(number as u64 + 1, 3 + 400_000 * (number % 3));
        bed.put(key, &body).await;
        // An object beside a folder of its name.
        let path = if *path == "a" { "a%object" } else { path };
        expected.insert(format!("{BUCKET}/{path}"), body);
    }
    assert_eq!(bed.now().await, 1);
    bed.restic(&["check", "--read-data"]);
    assert_eq!(bed.restic_restore(), expected);

    // Nothing changed: no snapshot. Then one is replaced, one is gone, one is new.
    assert_eq!(bed.now().await, 0);
    bed.put("a/b", b"new bytes").await;
    bed.delete("x//y/").await;
    bed.put("new/one", b"1").await;
    assert_eq!(bed.now().await, 1);
    expected.insert(format!("{BUCKET}/a/b"), b"new bytes".to_vec());
    expected.insert(format!("{BUCKET}/new/one"), b"1".to_vec());
    expected.remove(&format!("{BUCKET}/x/%/y/%"));
    bed.restic(&["check", "--read-data"]);
    assert_eq!(bed.restic_restore(), expected);
    assert_eq!(bed.backups.snapshots(NAME).await.unwrap().len(), 2);

    let drilled = bed.backups.drill(NAME).await.unwrap();
    assert_eq!((drilled.objects, drilled.compared, drilled.differing.len()), (8, 8, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_gives_objects_back_with_all_that_was_kept() {
    let bed = Bed::new(|_| {}).await;
    let body = noise(7, 3_000_000);
    let before = bed.put("films/one.bin", &body).await;
    bed.put("empty", b"").await;
    bed.now().await;
    let restore = Restore {
        snapshot: "latest".to_owned(),
        to: Some("restored".to_owned()),
        ..Restore::default()
    };
    let restored = bed.backups.restore(NAME, restore.clone()).await.unwrap();
    assert_eq!((restored.objects, restored.bytes, restored.left), (2, 3_000_000, 0));
    let back = bed.store.open_object("restored", "films/one.bin", None).await.unwrap();
    assert_eq!(back.info().headers, before.headers);
    assert_eq!(back.info().metadata, before.metadata);
    assert_eq!(back.info().tags["colour"], "blue");
    assert_eq!(back.info().etag, before.etag);
    assert_eq!(back.read_at(0, 4_000_000).await.unwrap(), body);
    // What is there is left alone.
    let again = bed.backups.restore(NAME, restore).await.unwrap();
    assert_eq!((again.objects, again.left), (0, 2));

    let folder = bed.folder.path().join("out");
    let settings = settings(bed.folder.path());
    let restore = Restore { snapshot: "latest".to_owned(), ..Restore::default() };
    let target = folder.clone();
    let done = tokio::task::spawn_blocking(move || {
        backlot_backup::to_folder(&settings, &restore, &target, &mut |_| {})
    });
    assert_eq!(done.await.unwrap().unwrap().objects, 2);
    assert_eq!(fs::read(folder.join("documents/films/one.bin")).unwrap(), body);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_later_version_wins_in_whatever_order_they_are_handed_over() {
    let bed = Bed::new(|_| {}).await;
    bed.store.set_versioning(BUCKET, backlot_storage::Versioning::Enabled).await.unwrap();
    let first = bed.put("key", b"first").await;
    let second = bed.put("key", b"second").await;
    assert_eq!(bed.hand_over(&second, false).await, Outcome::Queued);
    assert_eq!(bed.hand_over(&second, false).await, Outcome::Known);
    assert_eq!(bed.hand_over(&first, false).await, Outcome::Known);
    bed.now().await;
    let path = format!("{BUCKET}/key");
    assert_eq!(bed.restic_restore()[&path], b"second");
    // Also when the later one is in a snapshot already.
    assert_eq!(bed.hand_over(&first, false).await, Outcome::Queued);
    bed.now().await;
    assert_eq!(bed.restic_restore()[&path], b"second");
    // The newest version goes: the one before is current again.
    let delete = Delete {
        bucket: BUCKET.to_owned(),
        key: "key".to_owned(),
        version: Some(second.version_id.clone()),
        ..Delete::default()
    };
    bed.store.delete(delete).await.unwrap();
    assert_eq!(bed.hand_over(&second, true).await, Outcome::Queued);
    bed.now().await;
    assert_eq!(bed.restic_restore()[&path], b"first");
    assert_eq!(bed.hand_over(&second, false).await, Outcome::Gone);
    let elsewhere = ObjectInfo { bucket: "uncovered".to_owned(), ..first };
    assert_eq!(bed.hand_over(&elsewhere, false).await, Outcome::NotCovered);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_pack_is_found_and_named_with_what_it_hits() {
    let bed = Bed::new(|_| {}).await;
    bed.put("lost.bin", &noise(1, 500_000)).await;
    bed.now().await;
    let first = packs(&bed);
    bed.put("safe.bin", &noise(2, 500_000)).await;
    bed.now().await;
    let verified = bed.backups.verify(NAME, true).await.unwrap();
    assert_eq!((verified.faults.len(), verified.hits.len()), (0, 0));
    let damaged = first.iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = fs::read(damaged).unwrap();
    bytes[1_000] ^= 1;
    let mut permissions = fs::metadata(damaged).unwrap().permissions();
    #[allow(clippy::permissions_set_readonly_false, reason = "a file of this test")]
    permissions.set_readonly(false);
    fs::set_permissions(damaged, permissions).unwrap();
    fs::write(damaged, bytes).unwrap();
    let verified = bed.backups.verify(NAME, true).await.unwrap();
    assert_eq!(verified.packs, [damaged.file_name().unwrap().to_str().unwrap()]);
    let hits: Vec<&str> = verified.hits.iter().map(|hit| hit.key.as_str()).collect();
    assert_eq!(hits, ["lost.bin"], "{verified:?}");
    let runs = bed.ledger.backup_runs(NAME, "verify", 2).await.unwrap();
    assert_eq!(runs.iter().map(|run| run.succeeded).collect::<Vec<_>>(), [false, true]);
    let drilled = bed.backups.drill(NAME).await.unwrap();
    assert_eq!(drilled.differing.len(), 1, "{drilled:?}");
    // What is whole comes back all the same.
    let to = Some("restored".to_owned());
    let restore = Restore { snapshot: "latest".to_owned(), to, ..Restore::default() };
    let restored = bed.backups.restore(NAME, restore).await.unwrap();
    assert_eq!((restored.objects, restored.failures), (1, 1), "{restored:?}");
    assert_eq!(restored.failed[0].1, "lost.bin");
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_forgotten_but_not_where_nothing_is_removed() {
    for append_only in [false, true] {
        let bed = Bed::new(|settings| settings.append_only = append_only).await;
        for number in 0..3 {
            bed.put("key", &noise(number + 1, 10_000)).await;
            bed.now().await;
        }
        let pruned = bed.backups.prune(NAME).await;
        let left = bed.backups.snapshots(NAME).await.unwrap().len();
        if append_only {
            assert!(pruned.unwrap_err().to_string().contains("append-only"));
            assert_eq!(left, 3);
        } else {
            assert_eq!(pruned.unwrap().forgotten.len(), 2);
            assert_eq!(left, 1);
        }
        bed.restic(&["check", "--read-data"]);
        assert_eq!(bed.restic_restore()[&format!("{BUCKET}/key")], noise(3, 10_000));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_and_went_below_a_name_leaves_the_object_of_that_name() {
    let bed = Bed::new(|_| {}).await;
    bed.put("a", b"one").await;
    bed.now().await;
    for body in ["one", "two"] {
        bed.put("a", body.as_bytes()).await;
        let gone = bed.put("a/gone", b"x").await;
        bed.delete("a/gone").await;
        assert_eq!(bed.hand_over(&gone, true).await, Outcome::Queued);
        bed.now().await;
        assert_eq!(bed.restic_restore()[&format!("{BUCKET}/a")], body.as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_is_gone_is_not_begun_anew() {
    let bed = Bed::new(|_| {}).await;
    bed.put("key", b"bytes").await;
    bed.now().await;
    let (there, away) = (bed.folder.path().join("repository"), bed.folder.path().join("unmounted"));
    fs::rename(&there, &away).unwrap();
    let again = || {
        let settings = vec![settings(bed.folder.path())];
        Backups::start(settings, Vec::new(), &bed.ledger, &bed.store).unwrap()
    };
    let refused = again().now(NAME, None).await.unwrap_err().to_string();
    assert!(refused.contains("there is no repository at"), "{refused}");
    assert!(!there.try_exists().unwrap());
    fs::rename(&away, &there).unwrap();
    again().now(NAME, None).await.unwrap();
    // A restore to a folder makes none either.
    let mut elsewhere = settings(bed.folder.path());
    elsewhere.target = Target::Folder(away.clone());
    let done = tokio::task::spawn_blocking(move || {
        let restore = Restore { snapshot: "latest".to_owned(), ..Restore::default() };
        backlot_backup::to_folder(&elsewhere, &restore, Path::new("unused"), &mut |_| {})
    });
    assert!(done.await.unwrap().unwrap_err().to_string().contains("there is no repository at"));
    assert!(!away.try_exists().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_set_up_anew_goes_on_with_the_repository_of_the_one_that_is_lost() {
    let lost = Bed::new(|_| {}).await;
    for number in 0..20 {
        lost.put("key", format!("{number}").as_bytes()).await;
    }
    lost.put("other", b"other").await;
    lost.now().await;
    let bed = Bed::new(|settings| {
        settings.target = Target::Folder(lost.folder.path().join("repository"));
        settings.password_file = lost.folder.path().join("password");
    })
    .await;
    bed.put("key", b"of the new one").await;
    bed.now().await;
    let files = lost.restic_restore();
    assert_eq!(files[&format!("{BUCKET}/key")], b"of the new one");
    assert_eq!(files.len(), 1, "what is not in the bucket any more is not in the newest snapshot");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_undeleted_is_back_in_the_next_snapshot() {
    let bed = Bed::new(|settings| settings.follow = true).await;
    let path = format!("{BUCKET}/key");
    bed.put("key", b"written before there were versions").await;
    bed.now().await;
    bed.store.set_versioning(BUCKET, backlot_storage::Versioning::Enabled).await.unwrap();
    let delete = Delete { bucket: BUCKET.into(), key: "key".into(), ..Delete::default() };
    let marker = bed.store.delete(delete.clone()).await.unwrap().version_id;
    bed.now().await;
    assert!(!bed.restic_restore().contains_key(&path));
    bed.store.delete(Delete { version: marker, ..delete }).await.unwrap();
    bed.now().await;
    assert!(bed.restic_restore().contains_key(&path));
}

fn packs(bed: &Bed) -> Vec<PathBuf> {
    let folders = fs::read_dir(bed.folder.path().join("repository/data")).unwrap();
    folders
        .flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap())
        .map(|file| file.unwrap().path())
        .collect()
}
