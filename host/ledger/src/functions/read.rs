//! Rows as the types that others see.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, Row};

use super::{Canary, DECISIONS_KEPT, Decision, FunctionState, FunctionVersion};
use crate::LedgerError;
use crate::clock::timestamp;

const STATE: &str = "SELECT name, live, canary, weight, previous, enabled, folder FROM functions";

pub(super) fn states(conn: &Connection) -> Result<Vec<FunctionState>, LedgerError> {
    let states = conn
        .prepare_cached(&format!("{STATE} ORDER BY name"))?
        .query_map([], read_state)?
        .collect::<Result<_, _>>()?;
    Ok(states)
}

fn read_state(row: &Row<'_>) -> rusqlite::Result<FunctionState> {
    let (version, weight): (Option<String>, Option<u32>) = (row.get(2)?, row.get(3)?);
    Ok(FunctionState {
        name: row.get(0)?,
        live: row.get(1)?,
        canary: version.zip(weight).map(|(version, weight)| Canary { version, weight }),
        previous: row.get(4)?,
        enabled: row.get(5)?,
        folder: row.get(6)?,
    })
}

pub(super) fn versions(
    conn: &Connection,
    function: &str,
) -> Result<Vec<FunctionVersion>, LedgerError> {
    conn.prepare_cached(
        "SELECT function, id, component, bytes, manifest, imports, signer, deployed_by, deployed_ms
         FROM function_versions WHERE function = ?1 ORDER BY seq DESC",
    )?
    .query_map([function], |row| Ok(read_version(row)))?
    .map(|row| row?)
    .collect()
}

fn read_version(row: &Row<'_>) -> Result<FunctionVersion, LedgerError> {
    let imports: String = row.get(5)?;
    let damaged = |err| LedgerError::Damaged(format!("imports of a version: {err}"));
    Ok(FunctionVersion {
        function: row.get(0)?,
        id: row.get(1)?,
        component: row.get(2)?,
        bytes: row.get::<_, i64>(3)?.cast_unsigned(),
        manifest: row.get(4)?,
        imports: serde_json::from_str(&imports).map_err(damaged)?,
        signer: row.get(6)?,
        deployed_by: row.get(7)?,
        deployed_at: timestamp(row.get(8)?),
    })
}

pub(super) fn decisions(conn: &Connection, function: &str) -> Result<Vec<Decision>, LedgerError> {
    let decisions = conn
        .prepare_cached(
            "SELECT time_ms, what, version, decided_by, details FROM function_decisions
             WHERE function = ?1 ORDER BY seq DESC LIMIT ?2",
        )?
        .query_map((function, DECISIONS_KEPT as i64), |row| {
            Ok(Decision {
                time: timestamp(row.get(0)?),
                what: row.get(1)?,
                version: row.get(2)?,
                by: row.get(3)?,
                details: row.get(4)?,
            })
        })?
        .collect::<Result<_, _>>()?;
    Ok(decisions)
}

pub(super) fn serial(conn: &Connection, function: &str) -> Result<Option<u64>, LedgerError> {
    let highest: Option<i64> = conn
        .prepare_cached("SELECT highest FROM function_serials WHERE function = ?1")?
        .query_row([function], |row| row.get(0))
        .optional()?;
    Ok(highest.map(i64::cast_unsigned))
}

pub(super) fn components(conn: &Connection) -> Result<BTreeSet<String>, LedgerError> {
    let components = conn
        .prepare_cached("SELECT DISTINCT component FROM function_versions")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    Ok(components)
}
