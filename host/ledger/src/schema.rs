//! The database's format: a list of steps, each run once, in order.

use std::path::Path;

use rusqlite::Connection;

use crate::LedgerError;

/// Marks the file as ours ("BKLG"), so that another program's database is never migrated.
const APPLICATION_ID: i64 = 0x424B_4C47;

/// One migration; its place in the list, counted from 1, is the format it leads to. A step that
/// was released is never edited: a later change is a new step.
const STEPS: &[&[&str]] = &[
    &[include_str!("schema/queue.sql"), include_str!("schema/objects.sql")],
    &[include_str!("schema/changes.sql")],
    &[include_str!("schema/functions.sql")],
    &[include_str!("schema/held.sql")],
    &[include_str!("schema/backup.sql")],
];

/// The database's format; 0 for one that is empty. Refuses what is not ours, or too new.
pub(crate) fn recognise(conn: &Connection, path: &Path) -> Result<i64, LedgerError> {
    let supported = STEPS.len() as i64;
    let found: i64 = conn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let owner: i64 = conn.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let untouched = owner == 0 && found == 0 && tables == 0;
    if owner != APPLICATION_ID && !untouched {
        return Err(LedgerError::NotALedger(path.to_owned()));
    }
    if supported < found {
        return Err(LedgerError::NewerFormat { path: path.to_owned(), found, supported });
    }
    Ok(found)
}

/// Brings the database to the newest format, or says why not. Each step commits on its own.
pub(crate) fn migrate(conn: &mut Connection, path: &Path) -> Result<(), LedgerError> {
    let found = recognise(conn, path)?;
    for (format, step) in (1..).zip(STEPS).filter(|(format, _)| found < *format) {
        let tx = conn.transaction()?;
        for sql in *step {
            tx.execute_batch(sql)?;
        }
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", format)?;
        tx.commit()?;
    }
    Ok(())
}
