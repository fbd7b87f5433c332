//! Filters of triggers: an expression in CEL (https://cel.dev) over an event.
//!
//! The variables are the event's `id`, `source`, `kind`, `subject` (a string, empty if there is
//! none), `time` (a string, RFC 3339) and `data` (the payload read as JSON; null if it is none). A
//! filter that cannot be evaluated for an event, say because a field is missing, does not match.
//!
//! Filters are evaluated on the thread that commits events, so their cost is bounded: their length,
//! one pass over a list, and the size of the data they see.

use std::fmt;
use std::sync::Arc;

use backlot_ledger::Event;
use cel::{Context, Program, Value};
use serde::{Deserialize, Serialize};

/// Longest expression, in bytes.
pub(crate) const FILTER_BYTES_MAX: usize = 1_024;
/// Largest data that is looked at; an event with more matches no filter that asks for `data`.
pub(crate) const DATA_BYTES_MAX: usize = 64 << 10;
/// What an expression can ask for.
const VARIABLES: [&str; 6] = ["id", "source", "kind", "subject", "time", "data"];
/// What goes through a list.
const LOOPS: [&str; 5] = [".all(", ".exists(", ".exists_one(", ".map(", ".filter("];

/// A checked expression.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Filter {
    text: String,
    program: Arc<Program>,
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Filter({:?})", self.text)
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl From<Filter> for String {
    fn from(filter: Filter) -> Self {
        filter.text
    }
}

impl TryFrom<String> for Filter {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if FILTER_BYTES_MAX < text.len() {
            let bytes = text.len();
            return Err(format!("filter: {bytes} bytes, at most {FILTER_BYTES_MAX} are allowed"));
        }
        let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let loops = LOOPS.iter().map(|name| compact.matches(name).count()).sum::<usize>();
        if 1 < loops {
            return Err(format!(
                "filter {text:?} goes through lists {loops} times, at most once is allowed"
            ));
        }
        let program = Program::compile(&text).map_err(|err| format!("filter {text:?}: {err}"))?;
        // The name that stands for each entry of a list is no variable of ours.
        let entry = LOOPS
            .iter()
            .find_map(|name| compact.split_once(name))
            .map_or("", |(_, rest)| rest.split(',').next().unwrap_or_default());
        let unknown = program
            .references()
            .variables()
            .into_iter()
            .find(|name| !VARIABLES.contains(name) && *name != entry && !name.starts_with('@'))
            .map(str::to_owned);
        if let Some(unknown) = unknown {
            return Err(format!(
                "filter {text:?} asks for `{unknown}`; an event has {}",
                VARIABLES.map(|name| format!("`{name}`")).join(", ")
            ));
        }
        Ok(Self { text, program: Arc::new(program) })
    }
}

impl Filter {
    /// Whether the event is one.
    pub(crate) fn matches(&self, event: &Event) -> bool {
        match self.evaluate(event) {
            Ok(matches) => matches,
            Err(reason) => {
                tracing::debug!(filter = self.text, event = %event.id, reason, "does not match");
                false
            }
        }
    }

    fn evaluate(&self, event: &Event) -> Result<bool, String> {
        let mut context = Context::default();
        let texts = [
            ("id", event.id.as_str()),
            ("source", event.source.as_str()),
            ("kind", event.kind.as_str()),
            ("subject", event.subject.as_deref().unwrap_or_default()),
        ];
        for (name, text) in texts {
            context.add_variable_from_value(name, text.to_owned());
        }
        context.add_variable_from_value("time", event.time.to_string());
        if self.program.references().has_variable("data") {
            if DATA_BYTES_MAX < event.data.len() {
                return Err(format!("data of {} bytes is too large", event.data.len()));
            }
            let data: serde_json::Value = serde_json::from_slice(&event.data).unwrap_or_default();
            context.add_variable("data", data).map_err(|err| err.to_string())?;
        }
        match self.program.execute(&context) {
            Ok(Value::Bool(matches)) => Ok(matches),
            Ok(other) => Err(format!("{other:?} is not true or false")),
            Err(err) => Err(err.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> Result<Filter, String> {
        Filter::try_from(text.to_owned())
    }

    #[test]
    fn an_event_is_asked_by_its_attributes_and_data() {
        let event = Event::json(
            "/buckets/uploads",
            "backlot.object.created",
            Some("in/a.mp4".into()),
            br#"{"s3":{"object":{"size":1000}},"tags":["a","b"],"share":0.5}"#.to_vec(),
        );
        for (text, matches) in [
            ("true", true),
            ("kind == 'backlot.object.created' && source.startsWith('/buckets/')", true),
            ("subject.endsWith('.mkv')", false),
            ("data.s3.object.size >= 1000", true),
            ("data.s3.object.size >= 1001", false),
            ("data.share < 0.6", true),
            ("data.tags.exists(tag, tag == 'b')", true),
            ("data.tags.exists(tag, tag == 'c')", false),
            ("has(data.tags) && !has(data.nothing)", true),
            ("data.nothing > 5", false),
            ("size(data.tags)", false),
            ("time.startsWith('20')", true),
        ] {
            assert_eq!(filter(text).unwrap().matches(&event), matches, "{text}");
        }
        let large = Event { data: vec![b' '; DATA_BYTES_MAX + 1], ..event };
        assert!(!filter("data == null").unwrap().matches(&large));
        assert!(filter("kind != ''").unwrap().matches(&large));
    }

    #[test]
    fn what_is_wrong_is_told_when_it_is_written() {
        for (text, wanted) in [
            ("dta.size > 5", "asks for `dta`; an event has `id`, `source`"),
            ("size >", "filter \"size >\""),
            ("data.a.all(x, data.b.all(y, x == y))", "goes through lists 2 times"),
            (&"a".repeat(1_025), "1025 bytes"),
        ] {
            let error = filter(text).unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }
}
