//! What is acknowledged is there after a crash, and a folder belongs to one process of one format.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use backlot_ledger::{Event, EventId, Lane, Ledger, LedgerError, Outcome, State};

use crate::support::Bed;

/// Set for the process that is to be killed: the folder it writes to.
const VICTIM: &str = "BACKLOT_LEDGER_TEST_VICTIM";

#[tokio::test]
async fn after_a_crash_running_attempts_start_again_and_all_else_stays() {
    let bed = Bed::new();
    let parent = bed.root("job", "").await;
    let part = bed.child(&parent.fence, "a").await;
    bed.finish(&parent.fence, Outcome::Parked { children: vec![part.clone()] }).await;
    let lost = bed.only(Lane::Children).await;

    let bed = bed.reopen();
    assert_eq!(bed.get(&parent.invocation.id).await.state, State::Parked);
    let again = bed.only(Lane::Children).await;
    assert_eq!((&again.invocation.id, again.invocation.attempt), (&part, 2));
    assert_eq!(again.invocation.failures, 0, "a crash is not the handler's failure");
    let late = bed.ledger.renew(&lost.fence, std::time::Duration::from_secs(1)).await;
    assert!(matches!(late, Err(LedgerError::Fenced(_))));
    bed.finish(&again.fence, Outcome::Succeeded(None)).await;
    assert_eq!(bed.only(Lane::Roots).await.invocation.id, parent.invocation.id);
}

/// Not a test of its own: as a child process it publishes, and prints each id once it was
/// acknowledged, until it is killed. A bound ends it when nobody does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn victim() {
    let Ok(dir) = std::env::var(VICTIM) else { return };
    let ledger = Ledger::open(Path::new(&dir)).unwrap();
    let mut producers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let ledger = ledger.clone();
        producers.spawn(async move {
            for _ in 0..100_000 {
                let event = Event::json("/victim", "job", None, vec![b'x'; 100]);
                let id = ledger.publish(event).await.unwrap();
                // One write a line: lines of several producers do not mix.
                std::io::stdout().write_all(format!("ack {id}\n").as_bytes()).unwrap();
            }
        });
    }
    producers.join_all().await;
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 1..=3 {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::victim", "--nocapture", "--test-threads=1"])
            .env(VICTIM, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
        let mut seen = 0;
        while let Some(Ok(line)) = lines.next() {
            // The harness prints the test's name without a line end before the first.
            if let Some((_, id)) = line.split_once("ack ") {
                acknowledged.push(EventId::from(id.to_owned()));
                seen += 1;
            }
            if seen == 200 * round {
                // SIGKILL on Unix: nothing is flushed, no destructor runs.
                victim.kill().unwrap();
            }
        }
        victim.wait().unwrap();
        assert!(200 * round <= seen, "the victim died too early");
    }
    let ledger = Ledger::open(dir.path()).unwrap();
    for id in &acknowledged {
        assert!(ledger.event(id).await.unwrap().is_some(), "{id} was acknowledged and is lost");
    }
}

#[test]
fn a_folder_belongs_to_one_process() {
    let bed = Bed::new();
    let second = Ledger::open(bed.dir.path());
    assert!(matches!(second, Err(LedgerError::InUse(_))));
}

#[test]
fn a_later_format_and_another_programs_database_are_refused() {
    let bed = Bed::new();
    let path = bed.dir.path().join("backlot.db");
    let Bed { ledger, dir, .. } = bed;
    drop(ledger);
    // The header of the file (https://sqlite.org/fileformat2.html, section 1.3): user version at
    // 60, application id at 68.
    let original = std::fs::read(&path).unwrap();
    let mut newer = original.clone();
    newer[60..64].copy_from_slice(&9_999_i32.to_be_bytes());
    std::fs::write(&path, &newer).unwrap();
    let refused = Ledger::open(dir.path()).err().unwrap();
    assert!(matches!(refused, LedgerError::NewerFormat { found: 9_999, .. }), "{refused}");
    assert_eq!(std::fs::read(&path).unwrap(), newer, "a refused database is left as it was");

    let mut foreign = original.clone();
    foreign[68..72].copy_from_slice(&[1, 2, 3, 4]);
    std::fs::write(&path, &foreign).unwrap();
    assert!(matches!(Ledger::open(dir.path()), Err(LedgerError::NotALedger(_))));
    std::fs::write(&path, "not a database at all, but longer than its header would be: ".repeat(9))
        .unwrap();
    assert!(matches!(Ledger::open(dir.path()), Err(LedgerError::Database(_))));
    std::fs::write(&path, &original).unwrap();
    Ledger::open(dir.path()).unwrap();
}

#[cfg(unix)]
#[test]
fn only_its_owner_reads_the_ledger() {
    use std::os::unix::fs::PermissionsExt;
    let bed = Bed::new();
    for file in ["backlot.db", "backlot.db-wal", "backlot.lock"] {
        let mode = std::fs::metadata(bed.dir.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}
