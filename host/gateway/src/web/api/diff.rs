//! How two JSON values differ.

use serde_json::{Value, json};

/// What is different in `to`, a line each: `what` is a dotted path; a value that changed has `from`
/// and `to`, an entry of a list that came or went only one of them.
pub(super) fn differences(from: &Value, to: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    compare("", from, to, &mut found);
    found
}

fn compare(path: &str, from: &Value, to: &Value, found: &mut Vec<Value>) {
    match (from, to) {
        (Value::Object(before), Value::Object(after)) => {
            let mut keys: Vec<&String> = before.keys().chain(after.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let none = Value::Null;
                let of = |side: &'_ serde_json::Map<String, Value>| {
                    side.get(key).cloned().unwrap_or(none.clone())
                };
                compare(&path, &of(before), &of(after), found);
            }
        }
        // The order of a list says nothing.
        (Value::Array(before), Value::Array(after)) => {
            let gone = before.iter().filter(|entry| !after.contains(entry));
            found.extend(gone.map(|entry| json!({ "what": path, "from": entry })));
            let new = after.iter().filter(|entry| !before.contains(entry));
            found.extend(new.map(|entry| json!({ "what": path, "to": entry })));
        }
        (from, to) if from != to => {
            found.push(json!({ "what": path, "from": from, "to": to }));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sets_and_the_rest_is_compared_in_place() {
        let from = json!({ "a": { "b": 1, "c": [1, 2] }, "same": true, "gone": "x" });
        let to = json!({ "a": { "b": 2, "c": [2, 3] }, "same": true });
        assert_eq!(
            differences(&from, &to),
            [
                json!({ "what": "a.b", "from": 1, "to": 2 }),
                json!({ "what": "a.c", "from": 1 }),
                json!({ "what": "a.c", "to": 3 }),
                json!({ "what": "gone", "from": "x", "to": null }),
            ]
        );
        assert_eq!(differences(&json!([1, 2]), &json!([2, 1])), [] as [Value; 0]);
    }
}
