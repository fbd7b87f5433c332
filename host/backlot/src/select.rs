//! Invocations by filters: the query that lists them, and all of them.

use serde_json::Value;

use crate::answers::{list, text};
use crate::cli::{Filter, Letters, State};
use crate::client::{Client, encoded};
use crate::fault::Fault;

/// Most invocations that one command works on.
const SELECTED_MAX: usize = 100_000;
/// The most on a page of the server.
const PAGE: usize = 500;

/// As a query without the question mark; empty for no filter.
pub(crate) fn query(filter: &Filter) -> String {
    let since = filter.since.map(|since| since.to_string());
    [
        ("function", filter.function.as_deref()),
        ("state", filter.state.map(State::name)),
        ("kind", filter.kind.as_deref()),
        ("subject", filter.subject.as_deref()),
        ("since", since.as_deref()),
    ]
    .iter()
    .filter_map(|(name, value)| Some(format!("{name}={}", encoded((*value)?))))
    .collect::<Vec<_>>()
    .join("&")
}

/// Dead letters: roots that failed.
pub(crate) fn dead(letters: &Letters) -> Filter {
    Filter {
        function: letters.function.clone(),
        since: letters.since,
        state: Some(State::Failed),
        ..Filter::default()
    }
}

/// The newest roots that a filter lets through, and no more than `limit`.
pub(crate) async fn roots(
    client: &Client,
    filter: &Filter,
    limit: usize,
) -> Result<Vec<Value>, Fault> {
    listed(client, &format!("roots=1&{}", query(filter)), limit).await
}

/// The newest that a query lists, and no more than `limit`. A page may be short though there are
/// more.
pub(crate) async fn listed(
    client: &Client,
    query: &str,
    limit: usize,
) -> Result<Vec<Value>, Fault> {
    let mut found = Vec::new();
    let mut before = String::new();
    while found.len() < limit {
        let page = PAGE.min(limit - found.len());
        let path = format!("/api/v1/invocations?limit={page}&{query}{before}");
        let answer = client.get(&path).await?.unwrap_or_default();
        found.extend(list(&answer, "invocations").iter().cloned());
        let next = text(&answer, "/next");
        if next.is_empty() {
            break;
        }
        before = format!("&before={next}");
    }
    Ok(found)
}

/// Ids of all roots that a filter lets through, the oldest first.
pub(crate) async fn ids(client: &Client, filter: &Filter) -> Result<Vec<String>, Fault> {
    let found = roots(client, filter, SELECTED_MAX).await?;
    Ok(found.iter().rev().map(|run| text(run, "/id").to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_add_to_the_query() {
        let filter = Filter {
            function: Some("f&limit=1 HTTP/1.1\r\n".to_owned()),
            subject: Some("a film+é.mp4".to_owned()),
            since: Some("2026-01-31T12:00:00Z".parse().unwrap()),
            state: Some(State::Failed),
            kind: None,
        };
        assert_eq!(
            query(&filter),
            "function=f%26limit%3D1%20HTTP%2F1.1%0D%0A&state=failed\
             &subject=a%20film%2B%C3%A9.mp4&since=2026-01-31T12%3A00%3A00Z"
        );
        assert_eq!(query(&Filter::default()), "");
    }
}
