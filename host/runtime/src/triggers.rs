//! What starts a function: the `[[triggers]]` of its manifest.

use std::time::Duration;

use backlot_ledger::{
    Concurrency, ConcurrencyPolicy, Event, FUNCTION_FAILED, FUNCTION_PROMOTED,
    FUNCTION_ROLLED_BACK, FUNCTION_SUCCEEDED, Route,
};
use serde::{Deserialize, Serialize};

use crate::filter::Filter;
use crate::manifest::{
    AGE_MAX_SECS, ENTRIES_MAX, ManifestError, at_most, check_name, out_of_range, within,
};
use crate::schedule::{SCHEDULE, Schedule};

/// Longest path of a route, in bytes.
const PATH_MAX_BYTES: usize = 1_024;
/// The host's own kinds that have no type of trigger to themselves.
const TOLD: [&str; 2] = [FUNCTION_PROMOTED, FUNCTION_ROLLED_BACK];

/// One trigger. An event starts a function once, by the first of its triggers that matches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Trigger {
    /// A change of an object.
    Object(ObjectTrigger),
    /// An event that a function or a client published.
    Event(EventTrigger),
    /// A moment.
    Schedule(Schedule),
    /// The end of another function's invocation.
    Function(FunctionTrigger),
    /// HTTP requests. They are answered at once: they are no events and start no invocation.
    Http(HttpTrigger),
}

/// A change of an object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectTrigger {
    /// In this bucket.
    pub bucket: String,
    /// Which changes; both by default.
    #[serde(default = "every_change")]
    pub events: Vec<ObjectChange>,
    /// Of keys that begin with this; empty is every key.
    #[serde(default)]
    pub prefix: String,
    /// Of keys that end with one of these; empty is every key.
    #[serde(default)]
    pub suffixes: Vec<String>,
    /// Of objects of at least so many bytes. A delete has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_min: Option<u64>,
    /// Of objects of at most so many bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_max: Option<u64>,
    /// What besides must hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// What holds among invocations for the same object; nothing by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<ConcurrencyRule>,
    /// Start so long after the event: 0 to 2,592,000 s; 0 by default.
    #[serde(default)]
    pub delay_secs: u64,
}

/// An event of a kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventTrigger {
    /// The event's kind, such as `content.ready`.
    pub kind: String,
    /// What besides must hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// What holds among invocations for the same source and subject; nothing by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<ConcurrencyRule>,
    /// Start so long after the event: 0 to 2,592,000 s; 0 by default.
    #[serde(default)]
    pub delay_secs: u64,
}

/// The end of a root invocation of a function. Its data names the invocation, the event that
/// started that, whether it was `rejected` by its handler, and the reason or the result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionTrigger {
    /// Whose.
    pub function: String,
    /// Which ends; both by default.
    #[serde(default = "every_end")]
    pub ends: Vec<FunctionEnd>,
    /// What besides must hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// What holds among invocations for the event that started the other function: as if this one
    /// were started by that event too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<ConcurrencyRule>,
}

/// HTTP requests to a route. Of the routes that match, the most specific answers: one with this
/// host before one of any host, an exact path before a prefix, a longer prefix before a shorter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpTrigger {
    /// `/one/path` exactly, or with `/*` at its end that path and everything below it; up to
    /// 1,024 bytes.
    pub path: String,
    /// Only of requests to this host name, without port; of any host by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Only these methods, in capitals, and HEAD where there is GET; all by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
}

/// What can happen to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectChange {
    /// A new version, also over an old one.
    Created,
    /// Deleted.
    Removed,
}

/// How an invocation can end by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FunctionEnd {
    /// With an answer.
    Succeeded,
    /// Rejected, or out of attempts.
    Failed,
}

fn every_change() -> Vec<ObjectChange> {
    vec![ObjectChange::Created, ObjectChange::Removed]
}

fn every_end() -> Vec<FunctionEnd> {
    vec![FunctionEnd::Succeeded, FunctionEnd::Failed]
}

/// What holds among a function's invocations for the same thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConcurrencyRule {
    /// A newer one cancels the older ones, but for one that caused it, which it waits for.
    NewestWins,
    /// A newer one waits for the older ones.
    InOrder,
}

impl ConcurrencyRule {
    fn on(self, source: &str, subject: Option<&str>) -> Concurrency {
        let policy = match self {
            Self::NewestWins => ConcurrencyPolicy::NewestWins,
            Self::InOrder => ConcurrencyPolicy::InOrder,
        };
        Concurrency { key: format!("{source}/{}", subject.unwrap_or_default()), policy }
    }
}

impl Trigger {
    /// How this event starts the function of that name, if it does.
    pub(crate) fn route(&self, function: &str, event: &Event) -> Option<Route> {
        let (rule, delay_secs) = match self {
            Self::Object(trigger) if trigger.matches(event) => {
                (trigger.concurrency, trigger.delay_secs)
            }
            Self::Event(trigger) if trigger.matches(event) => {
                (trigger.concurrency, trigger.delay_secs)
            }
            Self::Function(trigger) if trigger.matches(event) => (trigger.concurrency, 0),
            Self::Schedule(schedule)
                if event.kind == SCHEDULE && event.source == schedule.source(function) =>
            {
                (None, 0)
            }
            _ => return None,
        };
        let concurrency = rule.map(|rule| match self {
            Self::Function(_) => {
                let (source, subject) = cause(event);
                rule.on(&source, subject.as_deref())
            }
            _ => rule.on(&event.source, event.subject.as_deref()),
        });
        let delay = Duration::from_secs(delay_secs);
        Some(Route { function: function.to_owned(), concurrency, delay })
    }

    /// Its type, as manifests say it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Object(_) => "object",
            Self::Event(_) => "event",
            Self::Schedule(_) => "schedule",
            Self::Function(_) => "function",
            Self::Http(_) => "http",
        }
    }

    /// Whether it may match how invocations of that function end.
    pub(crate) fn follows(&self, function: &str) -> bool {
        matches!(self, Self::Function(trigger) if trigger.function == function)
    }
}

impl ObjectTrigger {
    fn matches(&self, event: &Event) -> bool {
        let change = match event.kind.as_str() {
            backlot_ledger::objects::CREATED => ObjectChange::Created,
            backlot_ledger::objects::REMOVED => ObjectChange::Removed,
            _ => return false,
        };
        let Some(key) = event.subject.as_deref() else { return false };
        self.events.contains(&change)
            && event.source.strip_prefix("/buckets/") == Some(self.bucket.as_str())
            && key.starts_with(self.prefix.as_str())
            && (self.suffixes.is_empty() || self.suffixes.iter().any(|end| key.ends_with(end)))
            && self.fits(change, event)
            && self.filter.as_ref().is_none_or(|filter| filter.matches(event))
    }

    fn fits(&self, change: ObjectChange, event: &Event) -> bool {
        if (self.size_min, self.size_max) == (None, None) || change == ObjectChange::Removed {
            return true;
        }
        let data: serde_json::Value = serde_json::from_slice(&event.data).unwrap_or_default();
        let size = data.pointer("/s3/object/size").and_then(serde_json::Value::as_u64);
        size.is_some_and(|size| {
            self.size_min.is_none_or(|least| least <= size)
                && self.size_max.is_none_or(|most| size <= most)
        })
    }
}

impl EventTrigger {
    fn matches(&self, event: &Event) -> bool {
        event.kind == self.kind && self.filter.as_ref().is_none_or(|filter| filter.matches(event))
    }
}

impl FunctionTrigger {
    fn matches(&self, event: &Event) -> bool {
        let end = match event.kind.as_str() {
            FUNCTION_SUCCEEDED => FunctionEnd::Succeeded,
            FUNCTION_FAILED => FunctionEnd::Failed,
            _ => return false,
        };
        self.ends.contains(&end)
            && event.source.strip_prefix("/functions/") == Some(self.function.as_str())
            && self.filter.as_ref().is_none_or(|filter| filter.matches(event))
    }
}

impl HttpTrigger {
    /// The methods; none means all.
    pub(crate) fn methods(&self) -> Vec<http::Method> {
        // Those that are none were refused when the manifest was read.
        self.methods.iter().filter_map(|method| method.parse().ok()).collect()
    }

    fn check(&self) -> Result<(), ManifestError> {
        at_most("bytes of triggers.path", self.path.len(), PATH_MAX_BYTES)?;
        let fixed = self.path.strip_suffix("/*").unwrap_or(&self.path);
        let visible = fixed.bytes().all(|byte| byte.is_ascii_graphic());
        let rooted = self.path.starts_with('/');
        if !rooted || !visible || fixed.contains(['*', '?', '#']) {
            let limit = "a path like \"/pay\", or all below one like \"/shop/*\"";
            return Err(out_of_range("triggers.path", format!("{:?}", self.path), limit));
        }
        if let Some(host) = &self.host {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte);
            let port = !host.starts_with('[') && host.contains(':');
            if host.is_empty() || port || !host.bytes().all(plain) {
                let limit = "a host name without a port";
                return Err(out_of_range("triggers.host", format!("{host:?}"), limit));
            }
        }
        at_most("number of triggers.methods", self.methods.len(), ENTRIES_MAX)?;
        for method in &self.methods {
            let capitals = !method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase());
            if !capitals || method.parse::<http::Method>().is_err() {
                let limit = "a method in capitals, such as \"GET\"";
                return Err(out_of_range("triggers.methods", format!("{method:?}"), limit));
            }
        }
        Ok(())
    }
}

/// Source and subject of the event that started the invocation whose end this is.
fn cause(event: &Event) -> (String, Option<String>) {
    let data: serde_json::Value = serde_json::from_slice(&event.data).unwrap_or_default();
    let text = |path| data.pointer(path).and_then(serde_json::Value::as_str).map(str::to_owned);
    (text("/event/source").unwrap_or_default(), text("/event/subject"))
}

/// Check triggers that were read or made.
pub(crate) fn check(triggers: &[Trigger]) -> Result<(), ManifestError> {
    let mut schedules: Vec<&str> = Vec::new();
    for trigger in triggers {
        match trigger {
            Trigger::Object(trigger) => {
                if trigger.events.is_empty() {
                    let limit = "one or both of \"created\" and \"removed\"";
                    return Err(out_of_range("triggers.events", "[]".into(), limit));
                }
                at_most("number of triggers.suffixes", trigger.suffixes.len(), ENTRIES_MAX)?;
                if let (Some(least), Some(most)) = (trigger.size_min, trigger.size_max) {
                    within("triggers.size_max", most, least, u64::MAX)?;
                }
                within("triggers.delay_secs", trigger.delay_secs, 0, AGE_MAX_SECS)?;
            }
            Trigger::Event(trigger) => {
                let hosts = trigger.kind.starts_with("backlot.");
                if trigger.kind.is_empty() || (hosts && !TOLD.contains(&trigger.kind.as_str())) {
                    let limit = "the kind of an event that a function or a client publishes \
                                 (for the host's own there are the other types of triggers)";
                    let value = format!("{:?}", trigger.kind);
                    return Err(out_of_range("triggers.kind", value, limit));
                }
                within("triggers.delay_secs", trigger.delay_secs, 0, AGE_MAX_SECS)?;
            }
            Trigger::Schedule(schedule) => {
                schedule.check()?;
                if schedules.contains(&schedule.name.as_str()) {
                    let value = format!("{:?} twice", schedule.name);
                    return Err(out_of_range("triggers.name", value, "another for each schedule"));
                }
                schedules.push(&schedule.name);
            }
            Trigger::Function(trigger) => {
                check_name("triggers.function", &trigger.function)?;
                if trigger.ends.is_empty() {
                    let limit = "one or both of \"succeeded\" and \"failed\"";
                    return Err(out_of_range("triggers.ends", "[]".into(), limit));
                }
            }
            Trigger::Http(trigger) => trigger.check()?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;

    fn event(kind: &str, source: &str, subject: &str, data: &str) -> Event {
        Event::json(source, kind, Some(subject.to_owned()), data.as_bytes().to_vec())
    }

    fn trigger(text: &str) -> Trigger {
        let manifest = Manifest::parse(&format!("name = \"f\"\n[[triggers]]\n{text}")).unwrap();
        manifest.triggers.into_iter().next().unwrap()
    }

    fn created(bucket: &str, key: &str, size: u64) -> Event {
        let data = format!("{{\"s3\":{{\"object\":{{\"size\":{size}}}}}}}");
        event("backlot.object.created", &format!("/buckets/{bucket}"), key, &data)
    }

    #[test]
    fn objects_match_by_bucket_change_key_size_and_filter() {
        let trigger = trigger(
            "type = \"object\"\nbucket = \"uploads\"\nevents = [\"created\"]\nprefix = \"in/\"\n\
             suffixes = [\".mp4\", \".mkv\"]\nsize_min = 10\nsize_max = 20\n\
             filter = \"!subject.contains('draft')\"\nconcurrency = \"newest-wins\"\ndelay_secs = 3",
        );
        let route = |event: &Event| trigger.route("f", event);
        let hit = route(&created("uploads", "in/a.mp4", 15)).unwrap();
        let concurrency = hit.concurrency.unwrap();
        assert_eq!(concurrency.key, "/buckets/uploads/in/a.mp4");
        assert_eq!(concurrency.policy, ConcurrencyPolicy::NewestWins);
        assert_eq!(hit.delay, Duration::from_secs(3));
        for other in [
            created("other", "in/a.mp4", 15),
            created("uploads", "a.mp4", 15),
            created("uploads", "in/a.txt", 15),
            created("uploads", "in/a.mp4", 9),
            created("uploads", "in/a.mp4", 21),
            created("uploads", "in/draft.mp4", 15),
            event("backlot.object.removed", "/buckets/uploads", "in/a.mp4", "{}"),
            event("backlot.object.version-removed", "/buckets/uploads", "in/a.mp4", "{}"),
        ] {
            assert_eq!(route(&other), None, "{other:?}");
        }
    }

    #[test]
    fn the_end_of_a_function_is_for_whoever_follows_it() {
        let trigger = trigger(
            "type = \"function\"\nfunction = \"encoder\"\nends = [\"failed\"]\n\
             filter = \"!data.rejected\"\nconcurrency = \"in-order\"",
        );
        assert!(trigger.follows("encoder") && !trigger.follows("f"));
        let failed = |rejected: bool| {
            let data = format!(
                "{{\"rejected\":{rejected},\
                 \"event\":{{\"source\":\"/buckets/uploads\",\"subject\":\"a.mp4\"}}}}"
            );
            event(FUNCTION_FAILED, "/functions/encoder", "a.mp4", &data)
        };
        let concurrency = trigger.route("f", &failed(false)).unwrap().concurrency.unwrap();
        assert_eq!(concurrency.key, "/buckets/uploads/a.mp4");
        assert_eq!(trigger.route("f", &failed(true)), None);
        let other = Event { source: "/functions/other".into(), ..failed(false) };
        assert_eq!(trigger.route("f", &other), None);
        let succeeded = Event { kind: FUNCTION_SUCCEEDED.into(), ..failed(false) };
        assert_eq!(trigger.route("f", &succeeded), None);
    }

    #[test]
    fn a_published_event_matches_by_kind() {
        let trigger = trigger("type = \"event\"\nkind = \"order.paid\"\nfilter = \"data.sum > 5\"");
        let paid = |data| event("order.paid", "/functions/shop", "1", data);
        assert!(trigger.route("f", &paid("{\"sum\":6}")).is_some());
        for data in ["{\"sum\":5}", "{}", "no JSON"] {
            assert!(trigger.route("f", &paid(data)).is_none(), "{data}");
        }
        assert!(trigger.route("f", &event("order.open", "/", "1", "{\"sum\":6}")).is_none());
    }
}
