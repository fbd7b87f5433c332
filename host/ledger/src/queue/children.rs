//! Children: started once a key, and how they ended.

use rusqlite::{Connection, params};

use crate::error::at_most;
use crate::tx::{Tx, check_fence};
use crate::{Change, Ending, Event, Fence, InvocationId, Lane, LedgerError, State, rows};

/// Children that one invocation may start (the bound that the guests' contract states).
pub const CHILDREN_MAX: usize = 10_000;
/// Longest key of a child.
pub const CHILD_KEY_BYTES_MAX: usize = 256;
/// Largest payload of a child.
pub const CHILD_PAYLOAD_BYTES_MAX: usize = 256 * 1024;
/// Results of children read in one call, all together: they are held in memory at once.
pub const OUTCOMES_BYTES_MAX: usize = 64 * 1024 * 1024;

impl Tx<'_> {
    /// The child with this key; started now if there is none.
    pub(super) fn start_child(
        &mut self,
        fence: &Fence,
        function: &str,
        key: &str,
        payload: Vec<u8>,
    ) -> Result<InvocationId, LedgerError> {
        let parent_seq = self.fenced(fence)?;
        let known: Option<String> = self.first(
            "SELECT id FROM invocations WHERE parent_seq = ?1 AND child_key = ?2",
            (parent_seq, key),
            |row| row.get(0),
        )?;
        if let Some(id) = known {
            return Ok(InvocationId::stored(id));
        }
        // A child of the same function runs the version that was chosen for its parent.
        let (root_seq, children, depth, version): (i64, i64, u32, Option<String>) = self
            .first(
                "UPDATE invocations SET children = children + 1 WHERE seq = ?1
                 RETURNING coalesce(root_seq, seq), children, depth,
                           CASE WHEN function = ?2 THEN version END",
                (parent_seq, function),
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
            )?
            .ok_or_else(|| LedgerError::Fenced(fence.invocation.clone()))?;
        at_most("children", usize::try_from(children).unwrap_or(usize::MAX), CHILDREN_MAX)?;
        let source = format!("/invocations/{}", fence.invocation);
        let mut event = Event::json(source, "backlot.child", Some(key.to_owned()), payload);
        event.time = self.now();
        let event_seq = self
            .insert_event(&event, 1)?
            .ok_or_else(|| LedgerError::Damaged(format!("event {} exists", event.id)))?;
        let id = InvocationId::new();
        self.execute(
            "INSERT INTO invocations
             (id, function, event_seq, parent_seq, root_seq, child_key, depth, version, lane,
              rank, state, accepted_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 1, 0, 0, ?9)",
            params![
                id.as_str(),
                function,
                event_seq,
                parent_seq,
                root_seq,
                key,
                depth,
                version,
                self.now_ms()
            ],
        )?;
        self.add_to_backlog(event.bytes() as i64)?;
        self.change(Change::Queued(Lane::Children));
        Ok(id)
    }
}

/// How children ended, in the order asked.
pub(super) fn outcomes(
    conn: &Connection,
    fence: &Fence,
    ids: &[InvocationId],
) -> Result<Vec<Option<Ending>>, LedgerError> {
    let parent_seq = check_fence(conn, fence)?.seq;
    let mut statement = conn.prepare_cached(
        "SELECT state, reason, result FROM invocations WHERE id = ?1 AND parent_seq = ?2",
    )?;
    let mut bytes = 0;
    let mut endings = Vec::with_capacity(ids.len());
    for id in ids {
        let mut rows = statement.query((id.as_str(), parent_seq))?;
        let row = rows.next()?.ok_or_else(|| {
            LedgerError::Invalid(format!("{id} is not a child of this invocation"))
        })?;
        let ending = match rows::read_state(row.get(0)?)? {
            State::Queued | State::Running | State::Parked => None,
            State::Succeeded => {
                let result: Option<Vec<u8>> = row.get(2)?;
                bytes += result.as_ref().map_or(0, Vec::len);
                at_most("bytes of the children's results", bytes, OUTCOMES_BYTES_MAX)?;
                Some(Ending::Succeeded(result))
            }
            State::Failed => Some(Ending::Failed(row.get::<_, Option<_>>(1)?.unwrap_or_default())),
            State::Cancelled => Some(Ending::Cancelled),
        };
        endings.push(ending);
    }
    Ok(endings)
}

/// A set of ids as one parameter.
pub(super) fn ids_json(ids: &[InvocationId]) -> Result<String, LedgerError> {
    serde_json::to_string(ids).map_err(|err| LedgerError::Invalid(err.to_string()))
}
