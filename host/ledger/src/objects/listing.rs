//! Walking keys in byte order, with those that share a delimiter folded into one entry.

use rusqlite::{Connection, Row};

use super::IndexError;

type Result<T, E = IndexError> = std::result::Result<T, E>;

/// Above every key: no byte of UTF-8 is 0xFF.
const ABOVE_ALL: &[u8] = &[0xFF];

/// What a walk meets.
pub(super) enum Entry<'a> {
    Row(&'a Row<'a>),
    Prefix(&'a str),
}

/// Which entries, and how many of them.
pub(super) struct Walk<'a> {
    pub(super) bucket: i64,
    pub(super) prefix: &'a str,
    pub(super) delimiter: Option<&'a str>,
    /// Only entries after this one.
    pub(super) after: Option<&'a str>,
    /// Most entries to visit.
    pub(super) room: usize,
}

impl Walk<'_> {
    /// Visits entries in order. `sql` has the bucket as ?1 and answers rows with ?2 <= key < ?3,
    /// by key, the key in its second column. Answers whether there is more than there was room
    /// for.
    ///
    /// Keys below a common prefix are skipped by one seek, however many they are.
    pub(super) fn run(
        &self,
        conn: &Connection,
        sql: &str,
        mut visit: impl FnMut(Entry<'_>) -> Result<()>,
    ) -> Result<bool> {
        let mut statement = conn.prepare_cached(sql)?;
        let end = above(self.prefix);
        let mut start = self.start();
        let mut room = self.room;
        'seek: loop {
            let mut rows = statement.query((self.bucket, &start, &end))?;
            while let Some(row) = rows.next()? {
                if room == 0 {
                    return Ok(true);
                }
                room -= 1;
                let key = row.get_ref(1)?.as_blob().map_err(super::rows::damaged)?;
                let key = std::str::from_utf8(key).map_err(super::rows::damaged)?;
                if let Some(common) = self.common_prefix(key) {
                    visit(Entry::Prefix(common))?;
                    start = above(common);
                    continue 'seek;
                }
                visit(Entry::Row(row))?;
            }
            return Ok(false);
        }
    }

    /// The lowest key that can be visited.
    fn start(&self) -> Vec<u8> {
        let Some(after) = self.after.filter(|after| self.prefix <= *after) else {
            return self.prefix.as_bytes().to_vec();
        };
        match self.common_prefix(after) {
            // A common prefix is one entry, and sorts before all that it stands for.
            Some(common) => above(common),
            None => just_above(after),
        }
    }

    /// The entry that a key is folded into.
    fn common_prefix<'k>(&self, key: &'k str) -> Option<&'k str> {
        let delimiter = self.delimiter.filter(|delimiter| !delimiter.is_empty())?;
        let rest = key.strip_prefix(self.prefix)?;
        let end = self.prefix.len() + rest.find(delimiter)? + delimiter.len();
        key.get(..end)
    }
}

/// The first key that does not begin with `prefix` and comes after all that do.
fn above(prefix: &str) -> Vec<u8> {
    let mut bytes = prefix.as_bytes().to_vec();
    match bytes.last_mut() {
        // No byte of UTF-8 is 0xFF, so there is no carry.
        Some(last) => *last += 1,
        None => bytes = ABOVE_ALL.to_vec(),
    }
    bytes
}

/// The next possible key.
fn just_above(key: &str) -> Vec<u8> {
    let mut bytes = key.as_bytes().to_vec();
    bytes.push(0);
    bytes
}
