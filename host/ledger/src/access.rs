//! Who may use the API, and who used it for a change.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use crate::clock::timestamp;
use crate::error::at_most;
use crate::tx::Tx;
use crate::{Ledger, LedgerError};

/// Tokens at once.
pub const TOKENS_MAX: usize = 256;
/// Longest name of a token, in bytes.
pub const TOKEN_NAME_BYTES_MAX: usize = 64;
/// Lines of the audit log that are kept, the newest: a year of some 250 a day.
pub const AUDIT_KEPT: i64 = 100_000;
/// Longest text of one line's subject and of its outcome, in bytes; the rest is cut off.
pub const AUDIT_TEXT_BYTES_MAX: usize = 1_024;
/// Lines of the audit log on one page.
pub const AUDIT_PAGE_MAX: usize = 500;

/// What a token opens; each scope opens what those before it do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Whatever can be looked at.
    Read,
    /// Functions, and what they are given to do.
    Deploy,
    /// Everything: tokens, the audit log, records.
    Admin,
}

impl Scope {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Deploy => "deploy",
            Self::Admin => "admin",
        }
    }

    fn stored(name: &str) -> Result<Self, LedgerError> {
        match name {
            "read" => Ok(Self::Read),
            "deploy" => Ok(Self::Deploy),
            "admin" => Ok(Self::Admin),
            other => Err(LedgerError::Damaged(format!("scope {other:?}"))),
        }
    }
}

/// A token, without what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Token {
    /// Its name, which is who used it in the audit log.
    pub name: String,
    /// What it opens.
    pub scope: Scope,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// When it stops to open anything; None: never.
    pub expires_at: Option<Timestamp>,
}

/// A token to be made.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Its name: not that of another one.
    pub name: String,
    /// SHA-256 of the token.
    pub digest: [u8; 32],
    /// What it opens.
    pub scope: Scope,
    /// Who makes it.
    pub created_by: String,
    /// When it stops to open anything; None: never.
    pub expires_at: Option<Timestamp>,
}

/// Who did what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditLine {
    /// Grows from line to line.
    pub seq: u64,
    /// When it was done, or refused.
    pub time: Timestamp,
    /// Name of the token.
    pub who: String,
    /// What was asked for, such as `functions.deploy`.
    pub action: String,
    /// Of what, such as a function's name.
    pub subject: String,
    /// `done`, or why not.
    pub outcome: String,
}

impl Ledger {
    /// Makes a token.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] when the name is taken or empty, [`LedgerError::OverLimit`] past
    /// [`TOKENS_MAX`] and [`TOKEN_NAME_BYTES_MAX`].
    pub async fn create_token(&self, token: NewToken) -> Result<(), LedgerError> {
        at_most("bytes of a token's name", token.name.len(), TOKEN_NAME_BYTES_MAX)?;
        self.write(move |tx| tx.create_token(&token)).await
    }

    /// Forgets a token; whether there was one.
    pub async fn revoke_token(&self, name: &str) -> Result<bool, LedgerError> {
        let name = name.to_owned();
        self.write(move |tx| Ok(0 < tx.execute("DELETE FROM tokens WHERE name = ?1", [&name])?))
            .await
    }

    /// The tokens, by name, those that have expired too.
    pub async fn tokens(&self) -> Result<Vec<Token>, LedgerError> {
        self.read(|conn| {
            conn.prepare_cached(&format!("SELECT {TOKEN} FROM tokens ORDER BY name"))?
                .query_map([], |row| Ok(read_token(row)))?
                .map(|row| row?)
                .collect()
        })
        .await
    }

    /// The token with this digest, unless it has expired.
    pub async fn token(&self, digest: [u8; 32]) -> Result<Option<Token>, LedgerError> {
        let found = self.read(move |conn| token(conn, digest)).await?;
        let now = Timestamp::now();
        Ok(found.filter(|token| token.expires_at.is_none_or(|end| now < end)))
    }

    /// Writes a line of the audit log; the oldest go when there are more than [`AUDIT_KEPT`].
    pub async fn audit(
        &self,
        who: &str,
        action: &str,
        subject: &str,
        outcome: &str,
    ) -> Result<(), LedgerError> {
        let [who, action, subject, outcome] = [who, action, subject, outcome].map(cut);
        self.write(move |tx| {
            tx.execute(
                "INSERT INTO audit (time_ms, who, action, subject, outcome)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![tx.now_ms(), who, action, subject, outcome],
            )?;
            tx.execute(
                "DELETE FROM audit WHERE seq <= (SELECT max(seq) FROM audit) - ?1",
                [AUDIT_KEPT],
            )?;
            Ok(())
        })
        .await
    }

    /// The newest lines of the audit log before that one; at most [`AUDIT_PAGE_MAX`].
    pub async fn audit_log(
        &self,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<AuditLine>, LedgerError> {
        let before = before.map_or(i64::MAX, |seq| i64::try_from(seq).unwrap_or(i64::MAX));
        let limit = limit.min(AUDIT_PAGE_MAX) as i64;
        self.read(move |conn| {
            let lines = conn
                .prepare_cached(
                    "SELECT seq, time_ms, who, action, subject, outcome FROM audit
                     WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2",
                )?
                .query_map((before, limit), |row| {
                    Ok(AuditLine {
                        seq: row.get::<_, i64>(0)?.cast_unsigned(),
                        time: timestamp(row.get(1)?),
                        who: row.get(2)?,
                        action: row.get(3)?,
                        subject: row.get(4)?,
                        outcome: row.get(5)?,
                    })
                })?
                .collect::<Result<_, _>>()?;
            Ok(lines)
        })
        .await
    }
}

impl Tx<'_> {
    fn create_token(&self, token: &NewToken) -> Result<(), LedgerError> {
        if token.name.is_empty() {
            return Err(LedgerError::Invalid("a token needs a name".to_owned()));
        }
        let tokens: i64 =
            self.first("SELECT count(*) FROM tokens", [], |row| row.get(0))?.unwrap_or_default();
        at_most("tokens", usize::try_from(tokens).unwrap_or(usize::MAX) + 1, TOKENS_MAX)?;
        let made = self.execute(
            "INSERT INTO tokens (name, digest, scope, created_by, created_ms, expires_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (name) DO NOTHING",
            params![
                token.name,
                token.digest,
                token.scope.name(),
                token.created_by,
                self.now_ms(),
                token.expires_at.map(Timestamp::as_millisecond),
            ],
        )?;
        if made == 0 {
            let name = &token.name;
            return Err(LedgerError::Invalid(format!("there is a token {name:?} already")));
        }
        Ok(())
    }
}

const TOKEN: &str = "name, scope, created_by, created_ms, expires_ms";

fn token(conn: &Connection, digest: [u8; 32]) -> Result<Option<Token>, LedgerError> {
    conn.prepare_cached(&format!("SELECT {TOKEN} FROM tokens WHERE digest = ?1"))?
        .query_row([digest], |row| Ok(read_token(row)))
        .optional()?
        .transpose()
}

fn read_token(row: &Row<'_>) -> Result<Token, LedgerError> {
    Ok(Token {
        name: row.get(0)?,
        scope: Scope::stored(&row.get::<_, String>(1)?)?,
        created_by: row.get(2)?,
        created_at: timestamp(row.get(3)?),
        expires_at: row.get::<_, Option<i64>>(4)?.map(timestamp),
    })
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(AUDIT_TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}
