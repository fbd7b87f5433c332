//! Values of the server's answers as text.

use serde_json::Value;

/// Digits of a version's id that people see.
const VERSION_DIGITS: usize = 12;

/// The text at a path; empty where there is none.
pub(crate) fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// The number at a path; 0 where there is none.
pub(crate) fn number(value: &Value, path: &str) -> u64 {
    value.pointer(path).and_then(Value::as_u64).unwrap_or_default()
}

/// The list under a name; empty where there is none.
pub(crate) fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// A moment, to the second, without the zone.
pub(crate) fn moment(value: &Value, path: &str) -> String {
    text(value, path).chars().take(19).collect::<String>().replace('T', " ")
}

/// The first digits of a version's id.
pub(crate) fn version(value: &Value, path: &str) -> String {
    text(value, path).chars().take(VERSION_DIGITS).collect()
}

/// Of a value that may be anything as much as fits, on one line.
pub(crate) fn short(value: &Value, chars_max: usize) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    let mut short: String = text.chars().take(chars_max).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    printable(&short)
}

/// Keys and logs are other people's bytes: no control characters reach the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_long_value_is_cut_between_characters() {
        assert_eq!(short(&json!("ééé"), 2), "éé…");
        assert_eq!(short(&json!({ "a": 1 }), 40), "{\"a\":1}");
        assert_eq!(short(&Value::Null, 4), "");
        assert_eq!(short(&json!("a\nb"), 4), "a\u{fffd}b");
    }
}
