//! Reads the file, lays environment and flags over it, and checks the whole.

use std::fs;
use std::io;
use std::path::Path;

use backlot_policy::Policy;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::backup::{self, Backup};
use super::keys::{KEYS, Key, Kind};
use super::{Config, Trust, User, validate};
use crate::cli::ConfigFlags;
use crate::fault::Fault;

/// Read when no file is named.
const FILE: &str = "backlot.toml";
/// Largest configuration file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// How alike a known key must be to be suggested (Jaro-Winkler, 0 to 1).
const ALIKE: f64 = 0.75;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    Default,
    File(String),
    Env(String),
    Flag(&'static str),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(file) => write!(f, "file {file}"),
            Self::Env(variable) => write!(f, "env {variable}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// A configuration and where each value is from.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) config: Config,
    /// In the order of [`KEYS`]; None as value: unset.
    pub(crate) values: Vec<(&'static str, Option<Value>, Origin)>,
}

/// The file's text, kept to point into it.
struct File {
    name: String,
    text: String,
    table: Table,
}

/// Loads the configuration for this process.
pub(crate) fn load(flags: &ConfigFlags) -> Result<Loaded, Fault> {
    load_with(flags, &|name| std::env::var(name).ok())
}

fn load_with(
    flags: &ConfigFlags,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, Fault> {
    let file = match &flags.config {
        Some(path) => Some(read(path)?.ok_or_else(|| {
            Fault::new(
                "E0101",
                format!("there is no configuration file {}", path.display()),
                "name one that exists, or leave out --config",
            )
        })?),
        None => read(Path::new(FILE))?,
    };
    if let Some(file) = &file {
        check_names(file)?;
    }
    let mut merged = Table::new();
    let mut values = Vec::with_capacity(KEYS.len());
    for key in KEYS {
        let (value, origin) = pick(key, flags, variable, file.as_ref())?;
        if let Some(value) = &value {
            check(key, value, &origin, file.as_ref())?;
            put(&mut merged, key, value.clone());
        }
        values.push((key.path, value, origin));
    }
    check_pairs(&values)?;
    for name in ["users", "trust", "validate", "backup"] {
        if let Some(list) = file.as_ref().and_then(|file| file.table.get(name)) {
            merged.insert(name.to_owned(), list.clone());
        }
    }
    let config: Config = merged.try_into().map_err(|err: toml::de::Error| {
        Fault::new("E0102", err.message().to_owned(), "`backlot config show` lists all keys")
    })?;
    validate::check(&config)?;
    backup::check(&config)?;
    Ok(Loaded { config, values })
}

fn read(path: &Path) -> Result<Option<File>, Fault> {
    let unreadable = |reason: String| {
        Fault::new(
            "E0101",
            format!("the configuration {} cannot be read: {reason}", path.display()),
            "make it readable, or name another with --config",
        )
    };
    match fs::metadata(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(unreadable(err.to_string())),
        Ok(meta) if FILE_BYTES_MAX < meta.len() => {
            return Err(unreadable(format!("it is over {FILE_BYTES_MAX} bytes")));
        }
        Ok(_) => {}
    }
    let text = fs::read_to_string(path).map_err(|err| unreadable(err.to_string()))?;
    let name = path.display().to_string();
    match text.parse::<Table>() {
        Ok(table) => Ok(Some(File { name, text, table })),
        Err(err) => {
            let fault =
                Fault::new("E0102", format!("{name} is not TOML: {}", err.message()), "mend it");
            Err(match err.span() {
                Some(span) => fault.at(&name, &text, span, "here"),
                None => fault,
            })
        }
    }
}

/// Refuses keys that we do not know, with the most alike that we do.
fn check_names(file: &File) -> Result<(), Fault> {
    let tables: Vec<&str> = KEYS.iter().filter_map(Key::top).collect();
    for (name, value) in &file.table {
        if name == "users" {
            let shape = "name, access_key, secret_key and optionally buckets = [{ bucket = \"uploads\", access = [\"read\", \"write\"] }]";
            check_list::<User>(file, name, value, shape)?;
        } else if name == "trust" {
            let shape = "functions = \"pay-*\", keys = [\"RWQ…\"] and optionally downgrade = true";
            check_list::<Trust>(file, name, value, shape)?;
        } else if name == "validate" {
            check_list::<Policy>(file, name, value, validate::SHAPE)?;
        } else if name == "backup" {
            check_list::<Backup>(file, name, value, backup::SHAPE)?;
        } else if tables.contains(&name.as_str()) {
            check_table(file, name, value)?;
        } else if !KEYS.iter().any(|key| key.path == name) {
            let mut names = tables.clone();
            names.extend(KEYS.iter().filter(|key| key.split().0.is_none()).map(|key| key.path));
            names.extend(["users", "trust", "validate", "backup"]);
            names.dedup();
            return Err(unknown(file, name, "the top level", &names));
        }
    }
    Ok(())
}

/// Refuses keys of a table that we do not know, and of the tables in it.
fn check_table(file: &File, path: &str, value: &Value) -> Result<(), Fault> {
    let Some(table) = value.as_table() else {
        let name = path.rsplit('.').next().unwrap_or(path);
        return Err(wrong_type(file, name, path, "a table"));
    };
    let below = |key: &Key| key.path.strip_prefix(path)?.strip_prefix('.');
    let mut names: Vec<&str> =
        KEYS.iter().filter_map(below).filter_map(|name| name.split('.').next()).collect();
    names.dedup();
    for (key, value) in table {
        let within = format!("{path}.{key}");
        if KEYS.iter().any(|known| known.split().0 == Some(within.as_str())) {
            check_table(file, &within, value)?;
        } else if !names.contains(&key.as_str()) {
            return Err(unknown(file, key, &format!("[{path}]"), &names));
        }
    }
    Ok(())
}

/// Refuses half of what only works together.
fn check_pairs(values: &[(&'static str, Option<Value>, Origin)]) -> Result<(), Fault> {
    let is_set = |path: &str| values.iter().any(|(key, value, _)| *key == path && value.is_some());
    for listener in ["s3", "http", "functions"] {
        let paths = ["certificate", "key"].map(|name| format!("{listener}.tls.{name}"));
        for (one, other) in [(&paths[0], &paths[1]), (&paths[1], &paths[0])] {
            if is_set(one) && !is_set(other) {
                return Err(Fault::new(
                    "E0103",
                    format!("{one} is set and {other} is not"),
                    format!("set {other} too"),
                ));
            }
        }
    }
    Ok(())
}

/// Serde's own words, with the file beside them: an entry is read as a whole.
fn check_list<T: DeserializeOwned>(
    file: &File,
    name: &str,
    list: &Value,
    shape: &str,
) -> Result<(), Fault> {
    list.clone().try_into::<Vec<T>>().map(drop).map_err(|err| {
        let head = format!("[[{name}]]");
        let fault = Fault::new(
            "E0102",
            format!("{head}: {}", err.message()),
            format!("an entry has {shape}"),
        );
        match file.text.find(&head) {
            Some(at) => fault.at(&file.name, &file.text, at..at + head.len(), "in one of these"),
            None => fault,
        }
    })
}

fn unknown(file: &File, key: &str, place: &str, known: &[&str]) -> Fault {
    let closest = known
        .iter()
        .map(|name| (strsim::jaro_winkler(key, name), *name))
        .filter(|(alike, _)| ALIKE <= *alike)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let help = match closest {
        Some((_, name)) => format!("did you mean `{name}`?"),
        None => format!("known here: {}", known.join(", ")),
    };
    point_at(
        file,
        key,
        Fault::new("E0102", format!("unknown key `{key}`"), help),
        &format!("not a key of {place}"),
    )
}

fn wrong_type(file: &File, key: &str, name: &str, expected: &str) -> Fault {
    let fault = Fault::new("E0103", format!("{name} must be {expected}"), "change the value");
    point_at(file, key, fault, "this")
}

/// Finds a key at the beginning of a line, bare or as a table.
fn point_at(file: &File, key: &str, fault: Fault, label: &str) -> Fault {
    let mut start = 0;
    for line in file.text.split_inclusive('\n') {
        let bare = line.trim_start_matches([' ', '\t', '[']);
        if let Some(rest) = bare.strip_prefix(key)
            && rest.trim_start().starts_with(['=', ']', '.'])
        {
            let at = start + (line.len() - bare.len());
            return fault.at(&file.name, &file.text, at..at + key.len(), label);
        }
        start += line.len();
    }
    fault
}

fn pick(
    key: &Key,
    flags: &ConfigFlags,
    variable: &dyn Fn(&str) -> Option<String>,
    file: Option<&File>,
) -> Result<(Option<Value>, Origin), Fault> {
    let flag = match key.path {
        "data" => flags.data.as_ref().map(|data| (data.display().to_string(), "--data")),
        "s3.address" => flags.s3.map(|address| (address.to_string(), "--s3")),
        "http.address" => flags.http.map(|address| (address.to_string(), "--http")),
        "functions.address" => flags.functions.map(|address| (address.to_string(), "--functions")),
        _ => None,
    };
    if let Some((text, flag)) = flag {
        return Ok((Some(Value::String(text)), Origin::Flag(flag)));
    }
    let name = key.variable();
    if let Some(text) = variable(&name) {
        return Ok((Some(from_text(key, &text, &name)?), Origin::Env(name)));
    }
    if let Some(file) = file {
        let (table, name) = key.split();
        let mut tables = table.into_iter().flat_map(|table| table.split('.'));
        let within =
            tables.try_fold(&file.table, |within, name| within.get(name).and_then(Value::as_table));
        if let Some(value) = within.and_then(|table| table.get(name)) {
            return Ok((Some(value.clone()), Origin::File(file.name.clone())));
        }
    }
    let default = key.default.map(|text| {
        let table: Result<Table, _> = format!("v = {text}").parse();
        table.ok().and_then(|mut table| table.remove("v")).ok_or_else(|| {
            Fault::new("E0901", format!("the default of {} is not TOML", key.path), "report this")
        })
    });
    Ok((default.transpose()?, Origin::Default))
}

fn from_text(key: &Key, text: &str, variable: &str) -> Result<Value, Fault> {
    let bad = |expected: &str| {
        Fault::new("E0103", format!("{variable} is {text:?}, must be {expected}"), "change it")
    };
    Ok(match &key.kind {
        Kind::Text | Kind::Choice(_) => Value::String(text.to_owned()),
        Kind::Texts => Value::Array(
            text.split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(|part| Value::String(part.to_owned()))
                .collect(),
        ),
        Kind::Bool => match text {
            "1" | "true" => Value::Boolean(true),
            "0" | "false" => Value::Boolean(false),
            _ => return Err(bad("true or false")),
        },
        Kind::Int(_) => Value::Integer(text.parse().map_err(|_| bad("a whole number"))?),
    })
}

fn check(key: &Key, value: &Value, origin: &Origin, file: Option<&File>) -> Result<(), Fault> {
    let (fine, expected) = match &key.kind {
        Kind::Text => (value.is_str(), "a string".to_owned()),
        Kind::Texts => (
            value.as_array().is_some_and(|list| list.iter().all(Value::is_str)),
            "a list of strings".to_owned(),
        ),
        Kind::Bool => (value.is_bool(), "true or false".to_owned()),
        Kind::Int(range) => (
            value.as_integer().is_some_and(|number| range.contains(&number)),
            format!("{} to {}", range.start(), range.end()),
        ),
        Kind::Choice(choices) => {
            (value.as_str().is_some_and(|choice| choices.contains(&choice)), choices.join(", "))
        }
    };
    let (fine, expected) = if fine && key.path.ends_with(".address") {
        let parsed = value.as_str().map(str::parse::<std::net::SocketAddr>);
        (matches!(parsed, Some(Ok(_))), "an address with a port, such as 127.0.0.1:9000".to_owned())
    } else {
        (fine, expected)
    };
    if fine {
        return Ok(());
    }
    let fault = Fault::new(
        "E0103",
        format!("{} is {value} ({origin}), must be {expected}", key.path),
        format!("set {} to {expected}", key.path),
    );
    Err(match (origin, file) {
        (Origin::File(_), Some(file)) => point_at(file, key.split().1, fault, "this value"),
        _ => fault,
    })
}

fn put(merged: &mut Table, key: &Key, value: Value) {
    let (tables, name) = key.split();
    let mut within = merged;
    for table in tables.into_iter().flat_map(|tables| tables.split('.')) {
        let entry = within.entry(table).or_insert_with(|| Value::Table(Table::new()));
        let Some(table) = entry.as_table_mut() else { return };
        within = table;
    }
    within.insert(name.to_owned(), value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(text: &str, env: &[(&str, &str)]) -> Result<Loaded, Fault> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backlot.toml");
        fs::write(&path, text).unwrap();
        let flags = ConfigFlags { config: Some(path), ..ConfigFlags::default() };
        load_with(&flags, &|name| {
            env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn fault(text: &str, env: &[(&str, &str)]) -> String {
        let fault = loaded(text, env).expect_err("refused");
        format!("{} {} | {}", fault.code, fault.message, fault.help)
    }

    #[test]
    fn defaults_are_a_whole_configuration() {
        let loaded = loaded("", &[]).unwrap();
        assert_eq!(loaded.config.s3.address.to_string(), "127.0.0.1:9000");
        assert_eq!(loaded.config.encoder.preset, "balanced");
        assert_eq!(loaded.config.encoder.slots, None);
        assert!(loaded.values.iter().all(|(_, _, origin)| *origin == Origin::Default));
    }

    #[test]
    fn the_environment_goes_over_the_file() {
        let text = "[encoder]\npreset = \"best\"\nslots = 3\n";
        let env =
            [("BACKLOT_ENCODER_PRESET", "fast"), ("BACKLOT_HTTP_HOSTS", "a.example, b.example")];
        let loaded = loaded(text, &env).unwrap();
        assert_eq!(loaded.config.encoder.preset, "fast");
        assert_eq!(loaded.config.encoder.slots, Some(3));
        assert_eq!(loaded.config.http.hosts, ["a.example", "b.example"]);
        let origin =
            |path| loaded.values.iter().find(|value| value.0 == path).unwrap().2.to_string();
        assert_eq!(origin("encoder.preset"), "env BACKLOT_ENCODER_PRESET");
        assert!(origin("encoder.slots").starts_with("file "));
        assert_eq!(origin("encoder.mp4"), "default");
    }

    #[test]
    fn what_is_unknown_or_out_of_range_is_refused_with_the_remedy() {
        assert_eq!(
            fault("[s3]\nadress = \"x\"\n", &[]),
            "E0102 unknown key `adress` | did you mean `address`?"
        );
        assert_eq!(
            fault("[encodr]\n", &[]),
            "E0102 unknown key `encodr` | did you mean `encoder`?"
        );
        assert!(fault("zzz = 1\n", &[]).contains("known here: s3"));
        assert!(fault("s3 = 1\n", &[]).starts_with("E0103 s3 must be a table"));
        assert_eq!(fault("[s3.tlss]\n", &[]), "E0102 unknown key `tlss` | did you mean `tls`?");
        assert_eq!(
            fault("[s3.tls]\ncertificat = \"x\"\n", &[]),
            "E0102 unknown key `certificat` | did you mean `certificate`?"
        );
        assert!(fault("[s3]\ntls = 1\n", &[]).starts_with("E0103 s3.tls must be a table"));
        assert_eq!(
            fault("[s3.tls]\nkey = \"x\"\n", &[]),
            "E0103 s3.tls.key is set and s3.tls.certificate is not | set s3.tls.certificate too"
        );
        assert!(fault("[s3\n", &[]).contains("is not TOML"));
        assert!(fault("[encoder]\nslots = 0\n", &[]).contains("must be 1 to 256"));
        assert!(
            fault("[encoder]\npreset = \"quick\"\n", &[]).contains("must be fast, balanced, best")
        );
        assert!(fault("[http]\naddress = \"localhost\"\n", &[]).contains("with a port"));
        assert!(fault("", &[("BACKLOT_ENCODER_SLOTS", "two")]).contains("must be a whole number"));
        assert!(
            fault("", &[("BACKLOT_ENCODER_SLOTS", "999")]).contains("env BACKLOT_ENCODER_SLOTS")
        );
        assert!(
            fault("[[users]]\nname = \"a\"\nkey = \"b\"\n", &[]).starts_with("E0102 [[users]]")
        );
    }

    #[test]
    fn a_certificate_may_be_in_the_file_and_its_key_in_the_environment() {
        let text = "[s3.tls]\ncertificate = \"a.pem\"\n";
        let s3 = loaded(text, &[("BACKLOT_S3_TLS_KEY", "b.pem")]).unwrap().config.s3;
        let tls = s3.tls.unwrap();
        assert_eq!((tls.certificate.to_str(), tls.key.to_str()), (Some("a.pem"), Some("b.pem")));
        assert!(loaded("", &[]).unwrap().config.http.tls.is_none());
    }

    #[test]
    fn the_configurations_in_the_readme_are_some() {
        let readme = include_str!("../../../../README.md");
        let blocks = readme.split("```toml backlot.toml\n").skip(1);
        let blocks: Vec<&str> = blocks.filter_map(|rest| rest.split("```").next()).collect();
        assert_eq!(blocks.len(), 4);
        for block in blocks {
            loaded(block, &[]).unwrap();
        }
    }

    #[test]
    fn a_user_may_be_bound_to_buckets() {
        let text = "[[users]]\nname = \"a\"\naccess_key = \"k\"\nsecret_key = \"s\"\n\
            buckets = [{ bucket = \"uploads\", access = [\"write\"] }]\n";
        let users = loaded(text, &[]).unwrap().config.users;
        assert_eq!(users[0].buckets.as_ref().unwrap()[0].bucket, "uploads");
    }
}
