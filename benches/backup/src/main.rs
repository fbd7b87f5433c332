//! Question: how long until 10,000 changes among 100,000 objects are backed up, beside `restic
//! backup` of the same tree as files? And what does a look cost when there is nothing to do?
//!
//! Both repositories and both sources are in one temporary folder; each program writes its own
//! repository. The objects are of 1 to 8 KiB that do not compress, 100 to a folder; every tenth is
//! changed. Ours is measured from the first change handed over to nothing waiting, in the ledger.
//! restic is Debian's, with a cache, as its manual has it. Budget: the first run at least as fast
//! as restic's, the second five times as fast; a look 10 ms.
//!
//! Run: `cargo run --release -p backlot-bench-backup [OBJECTS]`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use backlot_backup::{Backups, Batch, Settings, Target};
use backlot_ledger::Ledger;
use backlot_ledger::backup::{HAND_OVER_MAX, HandedOver};
use backlot_storage::{ObjectInfo, Put, Store, StoreLimits};
use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use futures::StreamExt;

const BUCKET: &str = "documents";
const NAME: &str = "bench";
const OBJECTS: u64 = 100_000;
/// One of so many is changed.
const CHANGED: u64 = 10;
const IN_A_FOLDER: u64 = 100;
/// Objects written at once.
const PUTS: usize = 32;
/// How often is asked whether something still waits.
const POLL: Duration = Duration::from_millis(2);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let objects = match std::env::args().nth(1) {
        Some(count) => count.parse().context("OBJECTS is a number")?,
        None => OBJECTS,
    };
    let folder = tempfile::tempdir()?;
    let bed = Bed::new(folder.path(), usize::try_from(objects)?)?;
    bed.store.create_bucket(BUCKET).await?;
    let files = folder.path().join("files");
    let restic = Restic::new(folder.path())?;

    let written = bed.write(&files, 0, (0..objects).collect()).await?;
    let ours_first = bed.back_up(&written).await?;
    let restic_first = restic.back_up(&files)?;
    let changed: Vec<u64> = (0..objects).step_by(usize::try_from(CHANGED)?).collect();
    let written = bed.write(&files, 1, changed).await?;
    let ours_second = bed.back_up(&written).await?;
    let restic_second = restic.back_up(&files)?;

    println!("objects {objects}, changed {}", written.len());
    for (what, ours, theirs) in
        [("first run", ours_first, restic_first), ("incremental", ours_second, restic_second)]
    {
        let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
        println!("{what:<12} backlot {ours:>10.2?}  restic {theirs:>10.2?}  {ratio:.1}x as fast");
    }
    let mut looks = Vec::new();
    for _ in 0..100 {
        let begun = Instant::now();
        bed.ledger.backup_backlog(NAME, 1).await?;
        looks.push(begun.elapsed());
    }
    looks.sort();
    println!("a look with nothing to do: median {:.2?}", looks.get(50).context("looks")?);
    check(folder.path(), &restic)?;
    Ok(())
}

struct Bed {
    ledger: Ledger,
    store: Store,
    backups: Backups,
}

impl Bed {
    fn new(folder: &Path, objects: usize) -> anyhow::Result<Bed> {
        let ledger = Ledger::open(folder)?;
        let blobs = folder.join("blobs");
        fs::create_dir(&blobs)?;
        let dir = Dir::open_ambient_dir(&blobs, ambient_authority())?;
        let store = Store::open(dir, ledger.clone(), StoreLimits::default())?;
        let settings = Settings {
            name: NAME.to_owned(),
            target: Target::Folder(folder.join("ours")),
            password_file: folder.join("password"),
            buckets: vec![BUCKET.to_owned()],
            follow: false,
            // As soon as all of one round is handed over.
            batch: Batch {
                changes_max: objects.max(1),
                bytes_max: u64::MAX,
                wait: Duration::from_millis(200),
            },
            keep: None,
            append_only: false,
            verify_every: None,
            verify_parts: 1,
            drill_every: None,
            prune_every: None,
            overdue_after: Duration::from_secs(86_400),
        };
        let backups = Backups::start(vec![settings], Vec::new(), &ledger, &store)?;
        Ok(Bed { ledger, store, backups })
    }

    /// Writes the same bytes as objects and as files.
    async fn write(
        &self,
        files: &Path,
        round: u64,
        numbers: Vec<u64>,
    ) -> anyhow::Result<Vec<ObjectInfo>> {
        let put = |number: u64| async move {
            let mut random = fastrand::Rng::with_seed(number * 2 + round);
            let size = random.usize(1_024..8_192);
            let bytes: Bytes = std::iter::repeat_with(|| random.u8(..)).take(size).collect();
            let key = format!("folder-{:05}/object-{number:07}.bin", number / IN_A_FOLDER);
            let file = files.join(&key);
            fs::create_dir_all(file.parent().context("a folder")?)?;
            fs::write(&file, &bytes)?;
            let put = Put { bucket: BUCKET.to_owned(), key, ..Put::default() };
            let body = futures::stream::iter([Ok::<_, std::io::Error>(bytes)]);
            anyhow::Ok(self.store.put(put, body).await?)
        };
        let mut written = futures::stream::iter(numbers).map(put).buffered(PUTS);
        let mut all = Vec::new();
        while let Some(info) = written.next().await {
            all.push(info?);
        }
        Ok(all)
    }

    /// Hands all of it over, and waits until nothing waits.
    async fn back_up(&self, written: &[ObjectInfo]) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        for page in written.chunks(HAND_OVER_MAX) {
            let items = page.iter().map(|info| HandedOver {
                bucket: info.bucket.clone(),
                key: info.key.clone(),
                version: info.version_id.clone(),
                content_id: info.content_id.clone(),
                removed: false,
                repositories: Vec::new(),
            });
            self.backups.hand_over(items.collect(), None).await?;
        }
        while 0 < self.ledger.backup_backlog(NAME, 1).await?.changes {
            tokio::time::sleep(POLL).await;
        }
        Ok(begun.elapsed())
    }
}

struct Restic {
    repository: PathBuf,
    password: PathBuf,
    cache: PathBuf,
}

impl Restic {
    fn new(folder: &Path) -> anyhow::Result<Restic> {
        let password = folder.join("restic-password");
        fs::write(&password, "secret\n")?;
        let (repository, cache) = (folder.join("theirs"), folder.join("cache"));
        let restic = Restic { repository, password, cache };
        restic.run(&restic.repository, &restic.password, &["init"])?;
        Ok(restic)
    }

    fn run(&self, repository: &Path, password: &Path, what: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new("restic");
        command.arg("--quiet").arg("--repo").arg(repository);
        command.arg("--password-file").arg(password).arg("--cache-dir").arg(&self.cache);
        let output = command.args(what).output()?;
        ensure!(output.status.success(), "restic {what:?}: {output:?}");
        Ok(())
    }

    fn back_up(&self, files: &Path) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        self.run(&self.repository, &self.password, &["backup", files.to_str().context("UTF-8")?])?;
        Ok(begun.elapsed())
    }
}

/// Our repository in restic's eyes: whole, with the same files.
fn check(folder: &Path, restic: &Restic) -> anyhow::Result<()> {
    let (ours, password) = (folder.join("ours"), folder.join("password"));
    restic.run(&ours, &password, &["check", "--read-data"])?;
    let back = folder.join("back");
    let target = back.to_str().context("UTF-8")?;
    restic.run(&ours, &password, &["restore", "latest", "--target", target])?;
    let mut diff = Command::new("diff");
    let same = diff.arg("-rq").arg(folder.join("files")).arg(back.join(BUCKET)).output()?;
    ensure!(same.status.success(), "the restored files differ: {same:?}");
    println!("restic checked our repository and restored the same files");
    Ok(())
}
