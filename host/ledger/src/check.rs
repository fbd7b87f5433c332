//! `backlot ledger check`: whether a ledger is whole, without changing it.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::{LedgerError, schema};

/// Most findings of one kind: a damaged file may have one in each row.
const FINDINGS_MAX: usize = 100;

/// What must hold between the rows: the query finds those for which it does not.
const RULES: &[(&str, &str)] = &[
    (
        "a parked invocation waits for nothing",
        "SELECT p.id FROM invocations AS p WHERE p.state = 2 AND NOT EXISTS (
             SELECT 1 FROM invocations AS c
             WHERE c.parent_seq = p.seq AND c.awaited = 1 AND c.state < 3)",
    ),
    (
        "an invocation has not ended, and its parent has",
        "SELECT c.id FROM invocations AS c JOIN invocations AS p ON p.seq = c.parent_seq
         WHERE c.state < 3 AND p.state >= 3",
    ),
    (
        "an invocation waits for an older one that has ended, or is gone",
        "SELECT i.id FROM invocations AS i LEFT JOIN invocations AS b ON b.seq = i.blocked_by
         WHERE i.blocked_by IS NOT NULL AND i.state < 3 AND (b.seq IS NULL OR b.state >= 3)",
    ),
    (
        "an invocation has no event",
        "SELECT i.id FROM invocations AS i LEFT JOIN events AS e ON e.seq = i.event_seq
         WHERE e.seq IS NULL",
    ),
    (
        "an event is not counted right",
        "SELECT e.id FROM events AS e WHERE e.invocations <> (
             SELECT count(*) FROM invocations AS i WHERE i.event_seq = e.seq)",
    ),
    (
        "the backlog is not counted right",
        "SELECT printf('%d invocations, %d bytes', b.invocations, b.bytes) FROM backlog AS b, (
             SELECT count(*) AS invocations, coalesce(sum(e.bytes), 0) AS bytes
             FROM invocations AS i JOIN events AS e ON e.seq = i.event_seq WHERE i.state < 3) AS c
         WHERE b.invocations <> c.invocations OR b.bytes <> c.bytes",
    ),
    (
        "a record belongs to no invocation",
        "SELECT r.what || ' ' || r.invocation_seq FROM (
             SELECT 'attempt of' AS what, invocation_seq FROM attempts
             UNION ALL SELECT 'log of', invocation_seq FROM logs
             UNION ALL SELECT 'memory of', invocation_seq FROM memories
             UNION ALL SELECT 'effect of', invocation_seq FROM effects) AS r
         LEFT JOIN invocations AS i ON i.seq = r.invocation_seq WHERE i.seq IS NULL",
    ),
    (
        "a key has not exactly one latest version",
        "SELECT CAST(key AS TEXT) FROM versions GROUP BY bucket, key HAVING sum(latest) <> 1",
    ),
];

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// What is wrong, in words; nothing if all is well. At most 100 of a kind.
    pub findings: Vec<String>,
    /// Invocations looked at.
    pub invocations: u64,
    /// Versions of objects looked at.
    pub versions: u64,
}

/// Looks through the ledger in a data folder: every page of the file, and what must hold between
/// its rows. Reads only, and may run beside a server. Blocks the thread, for seconds a GiB.
///
/// # Errors
/// Those of opening it; what is wrong in it is in the answer.
pub fn check(folder: &Path) -> Result<Checked, LedgerError> {
    let path = folder.join("backlot.db");
    let io = |source| LedgerError::Io { path: path.clone(), source };
    std::fs::metadata(&path).map_err(io)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(&path, flags)?;
    schema::recognise(&conn, &path)?;
    // One view for all of it, whatever a server commits meanwhile.
    let conn = conn.transaction()?;
    let mut checked = Checked::default();
    let mut pages = conn.prepare(&format!("PRAGMA integrity_check({FINDINGS_MAX})"))?;
    for finding in pages.query_map([], |row| row.get::<_, String>(0))? {
        let finding = finding?;
        if finding != "ok" {
            checked.findings.push(format!("the file: {finding}"));
        }
    }
    for (what, sql) in RULES {
        let mut found = conn.prepare(&format!("{sql} LIMIT {FINDINGS_MAX}"))?;
        for which in found.query_map([], |row| row.get::<_, String>(0))? {
            checked.findings.push(format!("{what}: {}", which?));
        }
    }
    let count = |sql| conn.query_row(sql, [], |row| row.get::<_, i64>(0));
    checked.invocations = count("SELECT count(*) FROM invocations")?.cast_unsigned();
    checked.versions = count("SELECT count(*) FROM versions")?.cast_unsigned();
    Ok(checked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, Ledger, Route, Router};

    struct ToJob;

    impl Router for ToJob {
        fn route(&self, _: &Event) -> Vec<Route> {
            let delay = std::time::Duration::ZERO;
            vec![Route { function: "job".to_owned(), concurrency: None, delay }]
        }
    }

    #[tokio::test]
    async fn a_whole_ledger_passes_and_a_changed_row_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        ledger.set_router(std::sync::Arc::new(ToJob));
        for _ in 0..3 {
            ledger.publish(Event::json("/tests", "k", None, b"{}".to_vec())).await.unwrap();
        }
        // Beside the server.
        let checked = check(dir.path()).unwrap();
        assert_eq!(checked, Checked { findings: vec![], invocations: 3, versions: 0 });
        drop(ledger);
        let conn = Connection::open(dir.path().join("backlot.db")).unwrap();
        conn.execute_batch(
            "UPDATE invocations SET state = 2 WHERE seq = 1;
             UPDATE invocations SET state = 4 WHERE seq = 2;
             UPDATE invocations SET event_seq = 99 WHERE seq = 3;",
        )
        .unwrap();
        let findings = check(dir.path()).unwrap().findings.join("\n");
        for wanted in ["waits for nothing", "has no event", "event is not counted", "backlog"] {
            assert!(findings.contains(wanted), "{wanted}: {findings}");
        }
        assert!(matches!(check(&dir.path().join("no")), Err(LedgerError::Io { .. })));
    }
}
