//! Functions that would start one another without end.
//!
//! Only what is certain is refused: a trigger of type `function` without a filter follows every end
//! of the other function. What goes through published events or children depends on what handlers
//! do; the ledger's bound on chains of events ends that.

use std::collections::BTreeMap;

use crate::manifest::Manifest;
use crate::triggers::Trigger;

/// A cycle through this function, with its beginning at its end too: `a`, `b`, `a`. `others` are
/// the manifests of the other functions.
pub(crate) fn cycle(manifest: &Manifest, others: &[&Manifest]) -> Option<Vec<String>> {
    let mut by_name: BTreeMap<&str, &Manifest> =
        others.iter().map(|other| (other.name.as_str(), *other)).collect();
    by_name.insert(&manifest.name, manifest);
    // Backwards: from a function to those that it follows. Depth first, each function once.
    let mut followed_from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut left = vec![manifest.name.as_str()];
    while let Some(at) = left.pop() {
        let Some(here) = by_name.get(at) else { continue };
        for before in here.triggers.iter().filter_map(follows) {
            if before == manifest.name {
                return Some(path(manifest, at, &followed_from));
            }
            if !followed_from.contains_key(before) {
                followed_from.insert(before, at);
                left.push(before);
            }
        }
    }
    None
}

/// The function whose every end starts the one with this trigger.
fn follows(trigger: &Trigger) -> Option<&str> {
    match trigger {
        Trigger::Function(trigger) if trigger.filter.is_none() => Some(&trigger.function),
        _ => None,
    }
}

/// From the function to itself, along the events.
fn path<'a>(
    manifest: &Manifest,
    mut at: &'a str,
    followed_from: &BTreeMap<&str, &'a str>,
) -> Vec<String> {
    let mut path = vec![manifest.name.clone()];
    while at != manifest.name {
        path.push(at.to_owned());
        let Some(next) = followed_from.get(at) else { break };
        at = next;
    }
    path.push(manifest.name.clone());
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str, follows: &[&str], filter: &str) -> Manifest {
        let triggers = follows.iter().map(|function| {
            format!("[[triggers]]\ntype = \"function\"\nfunction = \"{function}\"\n{filter}\n")
        });
        let triggers: String = triggers.collect();
        Manifest::parse(&format!("name = \"{name}\"\n{triggers}")).unwrap()
    }

    #[test]
    fn a_cycle_is_named_along_the_events() {
        let (b, c) = (manifest("b", &["a"], ""), manifest("c", &["b", "x"], ""));
        let a = manifest("a", &["d", "c"], "");
        assert_eq!(cycle(&a, &[&b, &c]).unwrap().join(" "), "a b c a");
        // What is there already under the name is replaced.
        assert_eq!(cycle(&manifest("a", &["d"], ""), &[&b, &c, &a]), None);
        let own = manifest("a", &["a"], "");
        assert_eq!(cycle(&own, &[]).unwrap().join(" "), "a a");
    }

    #[test]
    fn what_may_end_is_taken() {
        let filtered = manifest("a", &["a"], "filter = \"!data.rejected\"");
        assert_eq!(cycle(&filtered, &[]), None);
        // A cycle that does not go through the function is not its fault.
        let (b, c) = (manifest("b", &["c"], ""), manifest("c", &["b"], ""));
        assert_eq!(cycle(&manifest("a", &["b"], ""), &[&b, &c]), None);
    }
}
