//! CloudEvents for `invoke` and `publish`: read, made, or such as the host makes.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::cli::Example;
use crate::fault::Fault;

/// Largest file that is read, in bytes: what the server takes.
const FILE_BYTES_MAX: u64 = 2 * 1024 * 1024;

/// JSON from a file, `-` for standard input.
pub(crate) fn read(path: &Path) -> Result<Value, Fault> {
    let bad = |why: String| {
        Fault::new(
            "E0602",
            format!("{} cannot be used: {why}", path.display()),
            "name a file with JSON, or - for standard input",
        )
    };
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(path).map_err(|err| bad(err.to_string()))?)
    };
    let mut text = String::new();
    let read = source.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    let read = read.map_err(|err| bad(err.to_string()))?;
    if FILE_BYTES_MAX < read as u64 {
        return Err(bad(format!("it is over {FILE_BYTES_MAX} bytes")));
    }
    serde_json::from_str(&text).map_err(|err| bad(format!("it is not JSON: {err}")))
}

/// What `--data` says: JSON, or a file with JSON.
pub(crate) fn data(argument: &str) -> Result<Value, Fault> {
    if let Some(path) = argument.strip_prefix('@') {
        return read(Path::new(path));
    }
    serde_json::from_str(argument).map_err(|err| {
        Fault::new(
            "E0602",
            format!("the data is not JSON: {err}"),
            "give JSON, such as '{\"n\":1}' or '\"text\"', or @FILE",
        )
    })
}

/// An event of a file, with the version of the format if it has none.
pub(crate) fn complete(mut event: Value) -> Result<Value, Fault> {
    let Some(fields) = event.as_object_mut() else {
        return Err(Fault::new(
            "E0602",
            "the event is not a JSON object",
            "give a CloudEvent, such as {\"type\":\"order.paid\",\"data\":{}}",
        ));
    };
    fields.entry("specversion").or_insert_with(|| "1.0".into());
    Ok(event)
}

/// What an example has unless it is set, by what it can be set with.
fn defaults(example: Example, now: &str) -> Vec<(&'static str, String)> {
    let list: &[(&str, &str)] = match example {
        Example::ObjectCreated | Example::ObjectRemoved => &[
            ("bucket", "uploads"),
            ("key", "film.mp4"),
            ("size", "1048576"),
            ("etag", "d41d8cd98f00b204e9800998ecf8427e"),
            ("version", "null"),
            ("content", "example"),
        ],
        Example::Schedule => &[("name", "example"), ("slot", now)],
    };
    list.iter().map(|(key, value)| (*key, (*value).to_owned())).collect()
}

/// An event such as the host makes, for this function.
pub(crate) fn example(
    example: Example,
    function: &str,
    settings: &[String],
) -> Result<Value, Fault> {
    let now = Timestamp::now().to_string();
    let mut values = defaults(example, &now);
    for setting in settings {
        let (key, value) = setting.split_once('=').unwrap_or((setting, ""));
        let Some(known) = values.iter_mut().find(|(known, _)| *known == key) else {
            let known: Vec<&str> = values.iter().map(|(known, _)| *known).collect();
            return Err(Fault::new(
                "E0602",
                format!("the example has nothing that is called {key:?}"),
                format!("set {} as KEY=VALUE", known.join(", ")),
            ));
        };
        known.1 = value.to_owned();
    }
    let values: Map<String, Value> =
        values.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
    let value = |key: &str| values.get(key).and_then(Value::as_str).unwrap_or_default();
    let (kind, name) = match example {
        Example::ObjectCreated => ("backlot.object.created", "ObjectCreated:Put"),
        Example::ObjectRemoved => ("backlot.object.removed", "ObjectRemoved:Delete"),
        Example::Schedule => {
            let (name, slot) = (value("name"), value("slot"));
            return Ok(json!({
                "specversion": "1.0",
                "type": "backlot.schedule",
                "source": format!("/functions/{function}/schedules/{name}"),
                "subject": slot,
                "data": { "function": function, "schedule": name, "slot": slot },
            }));
        }
    };
    let size: u64 = value("size").parse().map_err(|_| {
        Fault::new(
            "E0602",
            format!("the size is {:?}", value("size")),
            "set it to a number of bytes, such as size=1048576",
        )
    })?;
    Ok(json!({
        "specversion": "1.0",
        "type": kind,
        "source": format!("/buckets/{}", value("bucket")),
        "subject": value("key"),
        "data": {
            "eventName": name,
            "s3": {
                "bucket": { "name": value("bucket") },
                "object": {
                    "key": value("key"),
                    "size": size,
                    "eTag": value("etag"),
                    "versionId": value("version"),
                    "contentId": value("content"),
                },
            },
            "userIdentity": { "principalId": "example" },
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(kind: Example, settings: &[&str]) -> Result<Value, String> {
        let settings: Vec<String> = settings.iter().map(|text| (*text).to_owned()).collect();
        example(kind, "f", &settings).map_err(|fault| format!("{} {}", fault.message, fault.help))
    }

    #[test]
    fn an_example_is_what_the_host_makes_with_what_was_set() {
        let event = set(Example::ObjectCreated, &["key=a=b.mp4", "size=7"]).unwrap();
        assert_eq!(event["type"], "backlot.object.created");
        assert_eq!(event["source"], "/buckets/uploads");
        assert_eq!(event["subject"], "a=b.mp4");
        assert_eq!(event["data"]["s3"]["object"]["size"], 7);
        assert_eq!(event["data"]["s3"]["object"]["key"], "a=b.mp4");
        let removed = set(Example::ObjectRemoved, &["bucket=b"]).unwrap();
        assert_eq!(removed["source"], "/buckets/b");
        assert_eq!(removed["data"]["eventName"], "ObjectRemoved:Delete");
        let schedule = set(Example::Schedule, &["name=daily"]).unwrap();
        assert_eq!(schedule["source"], "/functions/f/schedules/daily");
        assert_eq!(schedule["data"]["slot"], schedule["subject"]);
    }

    #[test]
    fn what_an_example_does_not_have_is_refused_with_what_it_has() {
        let error = set(Example::ObjectCreated, &["colour=red"]).unwrap_err();
        assert!(error.contains("\"colour\"") && error.contains("bucket, key, size"), "{error}");
        let error = set(Example::Schedule, &["key=x"]).unwrap_err();
        assert!(error.ends_with("set name, slot as KEY=VALUE"), "{error}");
        assert!(set(Example::ObjectCreated, &["size=big"]).unwrap_err().contains("\"big\""));
    }

    #[test]
    fn data_is_json_or_a_file_with_json() {
        assert_eq!(data("{\"n\":1}").ok(), Some(json!({ "n": 1 })));
        assert_eq!(data("text").err().map(|fault| fault.code), Some("E0602"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.json");
        std::fs::write(&path, "[1, 2]").unwrap();
        assert_eq!(data(&format!("@{}", path.display())).ok(), Some(json!([1, 2])));
        assert_eq!(data("@/nowhere/data.json").err().map(|fault| fault.code), Some("E0602"));
        std::fs::write(&path, " ".repeat(3 * 1024 * 1024)).unwrap();
        assert!(read(&path).unwrap_err().message.contains("over 2097152 bytes"));
    }

    #[test]
    fn an_event_without_a_version_gets_one() {
        let event = complete(json!({ "type": "t" })).unwrap();
        assert_eq!(event, json!({ "specversion": "1.0", "type": "t" }));
        assert!(complete(json!({ "specversion": "0.3" })).unwrap()["specversion"] == "0.3");
        assert!(complete(json!([])).is_err());
    }
}
