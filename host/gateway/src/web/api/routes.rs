//! Which paths there are, which methods they answer to, and what each needs.

use backlot_ledger::Scope;
use http::Method;

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::web) enum Need {
    /// Nothing: it is on the public pages too.
    Nothing,
    /// A token of this scope, unless the server listens on loopback alone.
    Unless(Scope),
    /// A token of this scope.
    Token(Scope),
}

/// A path is its parts; None stands for any.
pub(in crate::web) type Path = &'static [Option<&'static str>];

const ANY: Option<&str> = None;

/// Every path below `/api/v1` with what each of its methods needs. GET answers to HEAD too. A path
/// that comes first is meant first.
pub(in crate::web) const ROUTES: &[(Path, &[(&str, Need)])] = {
    use Need::{Nothing, Token, Unless};
    use Scope::{Admin, Deploy, Read};
    &[
        (&[Some("content")], &[("GET", Nothing)]),
        (&[Some("content"), ANY], &[("GET", Nothing)]),
        (&[Some("events")], &[("GET", Nothing), ("POST", Token(Deploy))]),
        (&[Some("logs")], &[("GET", Unless(Read))]),
        (&[Some("invocations")], &[("GET", Unless(Read))]),
        (&[Some("invocations"), Some("follow")], &[("GET", Unless(Read))]),
        (&[Some("invocations"), ANY], &[("GET", Unless(Read)), ("DELETE", Token(Admin))]),
        (&[Some("invocations"), ANY, Some("effects")], &[("GET", Unless(Read))]),
        (&[Some("invocations"), ANY, Some("replay")], &[("POST", Token(Deploy))]),
        (&[Some("invocations"), ANY, Some("cancel")], &[("POST", Token(Deploy))]),
        (&[Some("components"), ANY], &[("GET", Unless(Read)), ("PUT", Token(Deploy))]),
        (&[Some("functions")], &[("GET", Unless(Read))]),
        (&[Some("functions"), ANY], &[("GET", Unless(Read)), ("DELETE", Token(Deploy))]),
        (
            &[Some("functions"), ANY, Some("versions")],
            &[("GET", Unless(Read)), ("POST", Token(Deploy))],
        ),
        (&[Some("functions"), ANY, Some("diff")], &[("GET", Unless(Read))]),
        (&[Some("functions"), ANY, Some("promote")], &[("POST", Token(Deploy))]),
        (&[Some("functions"), ANY, Some("rollback")], &[("POST", Token(Deploy))]),
        (&[Some("functions"), ANY, Some("enable")], &[("POST", Token(Deploy))]),
        (&[Some("functions"), ANY, Some("disable")], &[("POST", Token(Deploy))]),
        (&[Some("functions"), ANY, Some("invocations")], &[("POST", Token(Deploy))]),
        (&[Some("quarantine")], &[("GET", Unless(Read))]),
        (&[Some("quarantine"), ANY], &[("GET", Unless(Read)), ("DELETE", Token(Admin))]),
        (&[Some("quarantine"), ANY, Some("release")], &[("POST", Token(Admin))]),
        (&[Some("tokens")], &[("GET", Token(Admin)), ("POST", Token(Admin))]),
        (&[Some("tokens"), ANY], &[("DELETE", Token(Admin))]),
        (&[Some("backups")], &[("GET", Unless(Read))]),
        (&[Some("backups"), ANY], &[("GET", Unless(Read))]),
        (&[Some("backups"), ANY, Some("snapshots")], &[("GET", Unless(Read))]),
        (&[Some("backups"), ANY, Some("objects")], &[("GET", Token(Admin))]),
        (&[Some("backups"), ANY, Some("runs")], &[("GET", Unless(Read))]),
        (&[Some("backups"), ANY, Some("now")], &[("POST", Token(Admin))]),
        (&[Some("backups"), ANY, Some("verify")], &[("POST", Token(Admin))]),
        (&[Some("backups"), ANY, Some("drill")], &[("POST", Token(Admin))]),
        (&[Some("backups"), ANY, Some("restore")], &[("POST", Token(Admin))]),
        (&[Some("backups"), ANY, Some("prune")], &[("POST", Token(Admin))]),
        (&[Some("audit")], &[("GET", Token(Admin))]),
    ]
};

/// What a request for a path needs.
pub(super) enum Found {
    /// There is such a path and such a method.
    Needs(Need),
    /// There is such a path: these are its methods.
    Other(String),
    /// There is no such path.
    None,
}

pub(super) fn find(method: &Method, segments: &[&str]) -> Found {
    let is = |(path, _): &&(Path, &[(&str, Need)])| {
        path.len() == segments.len()
            && path.iter().zip(segments).all(|(part, at)| part.is_none_or(|part| part == *at))
    };
    let Some((_, methods)) = ROUTES.iter().find(is) else { return Found::None };
    let asked = if method == Method::HEAD { "GET" } else { method.as_str() };
    match methods.iter().find(|(name, _)| *name == asked) {
        Some((_, need)) => Found::Needs(*need),
        None => {
            let names = methods.iter().flat_map(|(name, _)| match *name {
                "GET" => vec!["GET", "HEAD"],
                name => vec![name],
            });
            Found::Other(names.collect::<Vec<_>>().join(", "))
        }
    }
}
