//! One change of what runs, and what it makes superfluous.

use rusqlite::params;

use super::{DECISIONS_KEPT, FUNCTIONS_MAX, FunctionChange, FunctionVersion, VERSIONS_KEPT};
use crate::error::at_most;
use crate::tx::Tx;
use crate::{FunctionState, LedgerError};

impl Tx<'_> {
    pub(super) fn change_function(
        &mut self,
        change: &FunctionChange,
    ) -> Result<Vec<String>, LedgerError> {
        let function = &change.state.name;
        if let Some(version) = &change.version {
            self.put_version(version)?;
        }
        self.put_state(&change.state)?;
        let functions: i64 =
            self.first("SELECT count(*) FROM functions", [], |row| row.get(0))?.unwrap_or_default();
        at_most("functions", usize::try_from(functions).unwrap_or(usize::MAX), FUNCTIONS_MAX)?;
        if let Some(serial) = change.serial {
            self.execute(
                "INSERT INTO function_serials (function, highest) VALUES (?1, ?2)
                 ON CONFLICT (function) DO UPDATE SET highest = max(highest, ?2)",
                (function, serial.cast_signed()),
            )?;
        }
        let decision = &change.decision;
        self.execute(
            "INSERT INTO function_decisions (function, time_ms, what, version, decided_by, details)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                function,
                self.now_ms(),
                decision.what,
                decision.version,
                decision.by,
                decision.details
            ],
        )?;
        self.execute(
            "DELETE FROM function_decisions WHERE function = ?1 AND seq <= (
                 SELECT seq FROM function_decisions WHERE function = ?1
                 ORDER BY seq DESC LIMIT 1 OFFSET ?2)",
            (function, DECISIONS_KEPT as i64),
        )?;
        if let Some(event) = &change.event {
            self.emit(event.clone())?;
        }
        self.forget_versions(function)
    }

    /// One that is there already becomes the newest again.
    fn put_version(&self, version: &FunctionVersion) -> Result<(), LedgerError> {
        let imports = serde_json::to_string(&version.imports)
            .map_err(|err| LedgerError::Invalid(err.to_string()))?;
        self.execute(
            "INSERT OR REPLACE INTO function_versions
             (function, id, component, bytes, manifest, imports, signer, deployed_by, deployed_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                version.function,
                version.id,
                version.component,
                version.bytes.cast_signed(),
                version.manifest,
                imports,
                version.signer,
                version.deployed_by,
                self.now_ms(),
            ],
        )?;
        Ok(())
    }

    fn put_state(&self, state: &FunctionState) -> Result<(), LedgerError> {
        let canary = state.canary.as_ref();
        self.execute(
            "INSERT OR REPLACE INTO functions
             (name, live, canary, weight, previous, enabled, folder)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                state.name,
                state.live,
                canary.map(|canary| &canary.version),
                canary.map(|canary| canary.weight),
                state.previous,
                state.enabled,
                state.folder,
            ],
        )?;
        Ok(())
    }

    /// Forgets the versions that are not kept; the components that are nobody's then.
    fn forget_versions(&self, function: &str) -> Result<Vec<String>, LedgerError> {
        let forgotten = self
            .sql(
                "DELETE FROM function_versions WHERE seq IN (
                     SELECT v.seq FROM function_versions AS v
                     JOIN functions AS f ON f.name = v.function
                     WHERE v.function = ?1
                       AND v.id NOT IN (f.live, coalesce(f.canary, ''), coalesce(f.previous, ''))
                       AND NOT EXISTS (
                           SELECT 1 FROM invocations AS i
                           WHERE i.state <> 3 AND i.state IN (0, 1, 2) AND i.function = ?1
                             AND i.version IS NOT NULL
                             AND substr(v.id, 1, length(i.version)) = i.version)
                     ORDER BY v.seq DESC LIMIT -1 OFFSET ?2)
                 RETURNING component",
            )?
            .query_map((function, VERSIONS_KEPT as i64), |row| row.get(0))?
            .collect::<Result<Vec<String>, _>>()?;
        self.nobodys(forgotten)
    }

    pub(super) fn remove_function(&mut self, name: &str) -> Result<Vec<String>, LedgerError> {
        let unended: i64 = self
            .first(
                "SELECT count(*) FROM invocations
                 WHERE state <> 3 AND state IN (0, 1, 2) AND function = ?1",
                [name],
                |row| row.get(0),
            )?
            .unwrap_or_default();
        if 0 < unended {
            return Err(LedgerError::Invalid(format!(
                "{unended} invocations of {name:?} have not ended: disable it and wait, or cancel \
                 them"
            )));
        }
        self.execute("DELETE FROM functions WHERE name = ?1", [name])?;
        self.execute("DELETE FROM function_decisions WHERE function = ?1", [name])?;
        let forgotten = self
            .sql("DELETE FROM function_versions WHERE function = ?1 RETURNING component")?
            .query_map([name], |row| row.get(0))?
            .collect::<Result<Vec<String>, _>>()?;
        self.nobodys(forgotten)
    }

    /// Those of the components that no version has.
    fn nobodys(&self, mut components: Vec<String>) -> Result<Vec<String>, LedgerError> {
        components.sort();
        components.dedup();
        let mut nobodys = Vec::new();
        for component in components {
            let used = self.first(
                "SELECT 1 FROM function_versions WHERE component = ?1 LIMIT 1",
                [&component],
                |_| Ok(()),
            )?;
            if used.is_none() {
                nobodys.push(component);
            }
        }
        Ok(nobodys)
    }
}
