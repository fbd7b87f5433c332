//! Rows as the types that others see.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

use crate::clock::timestamp;
use crate::{
    Attempt, Concurrency, Cost, Event, EventId, Invocation, InvocationFilter, InvocationId,
    LedgerError, LogLine, State, rows,
};

/// Invocations on one page.
pub const PAGE_MAX: usize = 500;

/// What [`read_invocation`] reads; the result is last and only asked for where it is shown.
const COLUMNS: &str = "i.id, i.function, e.id, e.kind, e.source, e.subject, p.id, r.id, \
    i.child_key, i.concurrency_key, i.policy, i.state, i.attempt, i.failures, i.accepted_ms, \
    i.started_ms, i.ended_ms, i.due_ms, i.reason, i.cpu_ms, i.bytes_in, i.bytes_out, i.progress, \
    i.version, i.depth, t.subject";
const FROM: &str = "FROM invocations AS i JOIN events AS e ON e.seq = i.event_seq \
    LEFT JOIN invocations AS p ON p.seq = i.parent_seq \
    LEFT JOIN invocations AS r ON r.seq = i.root_seq \
    LEFT JOIN events AS t ON t.seq = r.event_seq";
const EVENT_COLUMNS: &str = "id, source, kind, subject, time_ms, content_type, data";

/// An invocation that was just leased, with its event.
pub(super) fn leased(conn: &Connection, seq: i64) -> Result<(Invocation, Event), LedgerError> {
    let sql = format!("SELECT {COLUMNS}, NULL {FROM} WHERE i.seq = ?1");
    let invocation = conn
        .prepare_cached(&sql)?
        .query_row([seq], |row| Ok(read_invocation(row)))
        .optional()?
        .ok_or_else(|| LedgerError::Damaged(format!("no invocation in row {seq}")))??;
    let event = event(conn, &invocation.event)?
        .ok_or_else(|| LedgerError::Damaged(format!("no event {}", invocation.event)))?;
    Ok((invocation, event))
}

pub(super) fn invocation(
    conn: &Connection,
    id: &InvocationId,
) -> Result<Option<Invocation>, LedgerError> {
    let sql = format!("SELECT {COLUMNS}, i.result {FROM} WHERE i.id = ?1");
    conn.prepare_cached(&sql)?
        .query_row([id.as_str()], |row| Ok(read_invocation(row)))
        .optional()?
        .transpose()
}

pub(super) fn children_of(
    conn: &Connection,
    id: &InvocationId,
) -> Result<Vec<Invocation>, LedgerError> {
    let sql = format!(
        "SELECT {COLUMNS}, NULL {FROM}
         WHERE i.parent_seq = (SELECT seq FROM invocations WHERE id = ?1) ORDER BY i.seq"
    );
    conn.prepare_cached(&sql)?
        .query_map([id.as_str()], |row| Ok(read_invocation(row)))?
        .map(|row| row?)
        .collect()
}

pub(super) fn invocations(
    conn: &Connection,
    filter: &InvocationFilter,
) -> Result<Vec<Invocation>, LedgerError> {
    // Only what is asked for is in the text, so that each question finds its index.
    let mut sql = format!("SELECT {COLUMNS}, NULL {FROM} WHERE 1");
    let mut values: Vec<Value> = Vec::new();
    if let Some(function) = &filter.function {
        sql += " AND i.function = ?";
        values.push(function.clone().into());
    }
    if let Some(state) = filter.state {
        sql += if state == State::Succeeded {
            " AND i.state = ?"
        } else {
            " AND i.state <> 3 AND i.state = ?"
        };
        values.push(rows::state(state).into());
    }
    if filter.roots_only {
        sql += " AND i.parent_seq IS NULL";
    }
    if let Some(before) = &filter.before {
        // A cursor that was deleted meanwhile ends the list.
        sql += " AND i.seq < coalesce((SELECT seq FROM invocations WHERE id = ?), 0)";
        values.push(before.as_str().to_owned().into());
    }
    let limit = if filter.limit == 0 { PAGE_MAX } else { filter.limit.min(PAGE_MAX) };
    sql += " ORDER BY i.seq DESC LIMIT ?";
    values.push((limit as i64).into());
    conn.prepare_cached(&sql)?
        .query_map(params_from_iter(values), |row| Ok(read_invocation(row)))?
        .map(|row| row?)
        .collect()
}

pub(super) fn attempts(conn: &Connection, id: &InvocationId) -> Result<Vec<Attempt>, LedgerError> {
    conn.prepare_cached(
        "SELECT number, started_ms, ended_ms, outcome, reason, cpu_ms, bytes_in, bytes_out, version
         FROM attempts WHERE invocation_seq = (SELECT seq FROM invocations WHERE id = ?1)
         ORDER BY number",
    )?
    .query_map([id.as_str()], |row| Ok(read_attempt(row)))?
    .map(|row| row?)
    .collect()
}

pub(super) fn logs(conn: &Connection, id: &InvocationId) -> Result<Vec<LogLine>, LedgerError> {
    let stored = conn
        .prepare_cached(
            "SELECT lines FROM logs
             WHERE invocation_seq = (SELECT seq FROM invocations WHERE id = ?1) ORDER BY number",
        )?
        .query_map([id.as_str()], |row| row.get(0))?
        .collect::<Result<Vec<String>, _>>()?;
    let mut lines = Vec::new();
    for attempt in stored {
        lines.extend(from_json::<Vec<LogLine>>(&attempt)?);
    }
    Ok(lines)
}

pub(super) fn event(conn: &Connection, id: &EventId) -> Result<Option<Event>, LedgerError> {
    let sql = format!("SELECT {EVENT_COLUMNS} FROM events WHERE id = ?1");
    let event = conn
        .prepare_cached(&sql)?
        .query_row([id.as_str()], |row| {
            Ok(Event {
                id: EventId::from(row.get::<_, String>(0)?),
                source: row.get(1)?,
                kind: row.get(2)?,
                subject: row.get(3)?,
                time: timestamp(row.get(4)?),
                content_type: row.get(5)?,
                data: row.get(6)?,
            })
        })
        .optional()?;
    Ok(event)
}

fn read_invocation(row: &Row<'_>) -> Result<Invocation, LedgerError> {
    let id = InvocationId::stored(row.get(0)?);
    let root = row.get::<_, Option<String>>(7)?.map(InvocationId::stored);
    let concurrency = match (row.get(9)?, row.get(10)?) {
        (Some(key), Some(policy)) => Some(Concurrency { key, policy: rows::read_policy(policy)? }),
        _ => None,
    };
    let event_subject: Option<String> = row.get(5)?;
    let root_subject = if root.is_some() { row.get(25)? } else { event_subject.clone() };
    Ok(Invocation {
        root: root.unwrap_or_else(|| id.clone()),
        root_subject,
        id,
        function: row.get(1)?,
        event: EventId::from(row.get::<_, String>(2)?),
        event_kind: row.get(3)?,
        event_source: row.get(4)?,
        event_subject,
        parent: row.get::<_, Option<String>>(6)?.map(InvocationId::stored),
        child_key: row.get(8)?,
        concurrency,
        state: rows::read_state(row.get(11)?)?,
        attempt: row.get(12)?,
        failures: row.get(13)?,
        accepted_at: timestamp(row.get(14)?),
        started_at: row.get::<_, Option<i64>>(15)?.map(timestamp),
        ended_at: row.get::<_, Option<i64>>(16)?.map(timestamp),
        due_at: row.get::<_, Option<i64>>(17)?.map(timestamp),
        reason: row.get(18)?,
        cost: read_cost(row, 19)?,
        progress: match row.get::<_, Option<String>>(22)? {
            Some(strands) => from_json(&strands)?,
            None => Vec::new(),
        },
        version: row.get(23)?,
        depth: row.get(24)?,
        result: row.get(26)?,
    })
}

fn read_attempt(row: &Row<'_>) -> Result<Attempt, LedgerError> {
    Ok(Attempt {
        number: row.get(0)?,
        started_at: timestamp(row.get(1)?),
        ended_at: row.get::<_, Option<i64>>(2)?.map(timestamp),
        outcome: row.get::<_, Option<i64>>(3)?.map(rows::read_outcome).transpose()?,
        reason: row.get(4)?,
        cost: read_cost(row, 5)?,
        version: row.get(8)?,
    })
}

fn read_cost(row: &Row<'_>, first: usize) -> Result<Cost, LedgerError> {
    let quantity = |column| Ok::<_, LedgerError>(row.get::<_, i64>(column)?.cast_unsigned());
    Ok(Cost {
        cpu_ms: quantity(first)?,
        bytes_in: quantity(first + 1)?,
        bytes_out: quantity(first + 2)?,
    })
}

fn from_json<T: serde::de::DeserializeOwned>(stored: &str) -> Result<T, LedgerError> {
    serde_json::from_str(stored).map_err(|err| LedgerError::Damaged(err.to_string()))
}
