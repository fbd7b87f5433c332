//! The power fails: what was acknowledged is there when it is back. A file system of its own is
//! shut down without flushing its log, under a server that is busy.
#![allow(clippy::unwrap_used, reason = "a panic is the failure")]

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use backlot_tests::mount::Mount;
use backlot_tests::probe::{self, JOBS, OUT, PLAIN};
use backlot_tests::s3::S3;
use backlot_tests::wait_for;

/// How often the power fails, unless the environment says.
const CUTS: usize = 5;
/// Clients that upload side by side.
const CLIENTS: usize = 8;
/// The longest that anything here may take on a loaded machine.
const SETTLED_MAX: Duration = Duration::from_secs(120);
/// Acknowledgements to wait for before the power fails.
const OBJECTS_MIN: usize = 150;

/// What was acknowledged, and is not there.
struct Loss {
    acknowledged: usize,
    lost: Vec<String>,
}

/// Bytes that tell which object they are of. One in eight is a file, the others fit the ledger.
fn body(client: usize, number: usize) -> Vec<u8> {
    let key = format!("{client}-{number} ");
    let bytes = if number % 8 == 7 { 70_000 } else { 100 };
    key.bytes().cycle().take(bytes).collect()
}

/// Upload until the power fails, and some more: what is acknowledged.
fn upload(client: usize, s3: &S3, acknowledged: &Mutex<Vec<(usize, usize)>>) {
    for number in 0.. {
        if s3.put(PLAIN, &format!("{client}-{number}"), &body(client, number)).is_err() {
            return;
        }
        acknowledged.lock().unwrap().push((client, number));
    }
}

/// One power cut in a new file system.
fn cut(settings: &[(&str, &str)]) -> Loss {
    let folder = tempfile::tempdir().unwrap();
    let mount = Mount::new(folder.path(), &folder.path().join("data")).unwrap();
    let mut server = probe::start(folder.path(), settings).unwrap();
    let s3 = S3::new(&server.ready);
    probe::make_buckets(&s3).unwrap();
    let program = "program put out first x; sleep 200; put out second x; until out never";
    s3.put(JOBS, "job", program.as_bytes()).unwrap();
    wait_for("an effect", SETTLED_MAX, || s3.get(OUT, "second")).unwrap();

    let acknowledged = Mutex::new(Vec::new());
    let before = std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (s3, acknowledged) = (&s3, &acknowledged);
            scope.spawn(move || upload(client, s3, acknowledged));
        }
        wait_for("acknowledged uploads", SETTLED_MAX, || {
            Ok((OBJECTS_MIN <= acknowledged.lock().unwrap().len()).then_some(()))
        })
        .unwrap();
        // Later ones do not count: where the power is gone nobody is told anything, and a flush
        // that the kernel was in the middle of may pass for done.
        let before = acknowledged.lock().unwrap().clone();
        mount.cut().unwrap();
        before
    });
    server.kill().unwrap();
    mount.mount_again().unwrap();

    server = probe::start(folder.path(), settings).unwrap();
    let s3 = S3::new(&server.ready);
    let mut lost = Vec::new();
    for &(client, number) in &before {
        let key = format!("{client}-{number}");
        match s3.get(PLAIN, &key) {
            Ok(Some(bytes)) if bytes == body(client, number) => {}
            found => lost.push(format!("{key}: {:?}", found.map(|bytes| bytes.map(|b| b.len())))),
        }
    }
    for key in ["first", "second"] {
        if s3.get(OUT, key).ok().flatten().is_none() {
            lost.push(key.to_owned());
        }
    }
    server.kill().unwrap();
    // The two effects are as good as acknowledged: they were seen.
    Loss { acknowledged: before.len() + 2, lost }
}

/// Whether a file system can be made and mounted here; says so where it cannot.
fn can_mount() -> bool {
    let folder = tempfile::tempdir().unwrap();
    let place: &Path = &folder.path().join("mount");
    match Mount::new(folder.path(), place) {
        Ok(_) => true,
        Err(err) => {
            println!("SKIPPED: no file system of its own to cut the power of: {err:#}");
            false
        }
    }
}

#[test]
fn what_was_acknowledged_survives_a_power_cut() {
    if !can_mount() {
        return;
    }
    let cuts = std::env::var("BACKLOT_SOAK_CUTS");
    let cuts = cuts.map_or(CUTS, |cuts| cuts.parse().expect("a number of cuts"));
    let mut all = 0;
    for round in 0..cuts {
        let loss = cut(&[]);
        all += loss.acknowledged;
        assert!(loss.lost.is_empty(), "round {round}: {:#?}", loss.lost);
    }
    println!("{cuts} power cuts: 0 of {all} acknowledged objects and effects lost");
}

/// The same with a ledger that does not flush its commits: the cut is a real one.
#[test]
fn without_flushing_a_power_cut_loses_what_was_acknowledged() {
    if !can_mount() {
        return;
    }
    let loss = cut(&[("BACKLOT_TEST_SYNCHRONOUS", "NORMAL")]);
    println!("without flushing: {} of {} lost", loss.lost.len(), loss.acknowledged);
    assert!(
        !loss.lost.is_empty(),
        "nothing is lost: the cut cuts nothing, or the binary was built without \
         `--features backlot/crash-points` and does not know BACKLOT_TEST_SYNCHRONOUS"
    );
}
