//! The query of a request, and which invocations it asks for.

use std::str::FromStr;

use backlot_ledger::{Invocation, InvocationFilter, InvocationId, Ledger, PAGE_MAX, State};
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde_json::json;

use crate::web::reply::Fault;

/// Invocations on a page unless the query says otherwise.
pub(super) const LIMIT: usize = 50;
/// Pages of the ledger that are looked through for one answer: 10,000 invocations. The answer says
/// where to go on.
const PAGES_MAX: usize = 20;

/// Names and values of a query, decoded. A plus sign is one.
pub(super) fn pairs(query: &str) -> Result<Vec<(String, String)>, Fault> {
    let decoded = |text: &str| match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(Fault::bad("the query is not UTF-8")),
    };
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decoded(name)?, decoded(value)?))
        })
        .collect()
}

pub(super) fn unknown(name: &str, known: &str) -> Fault {
    Fault::bad(format!("unknown query {name:?}; known are {known}"))
}

/// The invocation of an id in a path or a query.
pub(super) fn id(text: &str) -> Result<InvocationId, Fault> {
    let unknown = |_| Fault::not_found("there is no invocation of that id");
    InvocationId::from_str(text).map_err(unknown)
}

/// Which invocations are wanted.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Wanted {
    /// This one and no other.
    pub(super) invocation: Option<InvocationId>,
    /// Of this function.
    pub(super) function: Option<String>,
    /// In this state.
    pub(super) state: Option<State>,
    /// Started by an event of exactly this kind.
    pub(super) kind: Option<String>,
    /// Started by an event with exactly this subject.
    pub(super) subject: Option<String>,
    /// Accepted then or later.
    pub(super) since: Option<Timestamp>,
    /// Not those that another invocation started.
    pub(super) roots: bool,
    /// Accepted before this one.
    pub(super) before: Option<InvocationId>,
    /// At most so many.
    pub(super) limit: usize,
}

impl Wanted {
    /// `function`, `state`, `kind`, `subject`, `since` (RFC 3339), `roots=1`, `invocation` and
    /// `before` (ids), `limit` (1 to 500).
    pub(super) fn parse(query: &str) -> Result<Self, Fault> {
        let mut wanted = Self { limit: LIMIT, ..Self::default() };
        for (name, value) in pairs(query)? {
            match name.as_str() {
                "function" => wanted.function = Some(value),
                "kind" => wanted.kind = Some(value),
                "subject" => wanted.subject = Some(value),
                "roots" => wanted.roots = value == "1",
                "invocation" => wanted.invocation = Some(id(&value)?),
                "state" => {
                    let state = serde_json::from_value::<State>(json!(value));
                    let states = "queued, running, parked, succeeded, failed or cancelled";
                    let state = state.map_err(|_| Fault::bad(format!("state is {states}")))?;
                    wanted.state = Some(state);
                }
                "since" => {
                    let since = value.parse().map_err(|_| {
                        Fault::bad("since is a moment as in RFC 3339, such as 2026-01-31T12:00:00Z")
                    });
                    wanted.since = Some(since?);
                }
                "before" => {
                    let id = InvocationId::from_str(&value);
                    let bad = |_| Fault::bad("before is an invocation's id");
                    wanted.before = Some(id.map_err(bad)?);
                }
                "limit" => {
                    wanted.limit = value
                        .parse()
                        .ok()
                        .filter(|limit| (1..=PAGE_MAX).contains(limit))
                        .ok_or_else(|| Fault::bad(format!("limit is 1 to {PAGE_MAX}")))?;
                }
                _ => {
                    let known =
                        "function, state, kind, subject, since, roots, invocation, before, limit";
                    return Err(unknown(&name, known));
                }
            }
        }
        Ok(wanted)
    }

    /// Whether it is asked for; `before` and `limit` aside.
    pub(super) fn has(&self, invocation: &Invocation) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        self.invocation.as_ref().is_none_or(|id| *id == invocation.id)
            && is(&self.function, Some(&invocation.function))
            && self.state.is_none_or(|state| state == invocation.state)
            && is(&self.kind, Some(&invocation.event_kind))
            && is(&self.subject, invocation.event_subject.as_deref())
            && self.since.is_none_or(|since| since <= invocation.accepted_at)
            && (!self.roots || invocation.parent.is_none())
    }

    /// Whether it asks for what the ledger has no index of.
    fn is_fine(&self) -> bool {
        self.kind.is_some() || self.subject.is_some() || self.since.is_some()
    }

    /// The newest that are asked for, newest first, and where to go on if there may be more.
    /// Through at most [`PAGES_MAX`] pages, so it may be few or none though there are more.
    pub(super) async fn find(
        &self,
        ledger: &Ledger,
    ) -> Result<(Vec<Invocation>, Option<InvocationId>), Fault> {
        if let Some(id) = &self.invocation {
            let found = ledger.invocation(id).await?.filter(|found| self.has(found));
            return Ok((found.into_iter().collect(), None));
        }
        let page_len = if self.is_fine() { PAGE_MAX } else { self.limit };
        let mut before = self.before.clone();
        let mut found = Vec::new();
        for _ in 0..PAGES_MAX {
            let page = ledger.invocations(InvocationFilter {
                function: self.function.clone(),
                state: self.state,
                roots_only: self.roots,
                before: before.clone(),
                limit: page_len,
            });
            let page = page.await?;
            let is_last = page.len() < page_len;
            for invocation in page {
                if self.since.is_some_and(|since| invocation.accepted_at < since) {
                    return Ok((found, None));
                }
                before = Some(invocation.id.clone());
                if self.has(&invocation) {
                    found.push(invocation);
                }
                if self.limit <= found.len() {
                    return Ok((found, before));
                }
            }
            if is_last {
                return Ok((found, None));
            }
        }
        Ok((found, before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_or_refused_whole() {
        let wanted = Wanted::parse(
            "function=encoder&state=failed&roots=1&limit=500&subject=a%20film%2B.mp4\
             &since=2026-01-31T12:00:00+02:00",
        )
        .unwrap();
        assert_eq!(wanted.function.as_deref(), Some("encoder"));
        assert_eq!(wanted.state, Some(State::Failed));
        assert!(wanted.roots);
        assert_eq!(wanted.limit, 500);
        assert_eq!(wanted.subject.as_deref(), Some("a film+.mp4"));
        assert_eq!(wanted.since, Some("2026-01-31T10:00:00Z".parse().unwrap()));
        assert_eq!(Wanted::parse("").unwrap().limit, LIMIT);
        for bad in [
            "limit=0",
            "limit=501",
            "limit=x",
            "state=dead",
            "before=zz",
            "colour=red",
            "since=yesterday",
            "subject=%ff",
            "invocation=zz",
        ] {
            assert!(Wanted::parse(bad).is_err(), "{bad}");
        }
    }
}
