//! Every key of the configuration but `[[users]]`, `[[trust]]`, `[[validate]]` and `[[backup]]`: the one list that defaults, the environment,
//! range checks and `config show` are made from.

use std::ops::RangeInclusive;

/// One key.
pub(crate) struct Key {
    /// With its table: `s3.address`.
    pub(crate) path: &'static str,
    pub(crate) kind: Kind,
    /// As TOML; None: unset, and the text says what that means.
    pub(crate) default: Option<&'static str>,
    pub(crate) doc: &'static str,
}

/// What a value may be.
pub(crate) enum Kind {
    Text,
    /// A list of strings, in the environment separated by commas.
    Texts,
    Bool,
    Int(RangeInclusive<i64>),
    Choice(&'static [&'static str]),
}

impl Key {
    /// The environment variable: `BACKLOT_S3_ADDRESS`.
    pub(crate) fn variable(&self) -> String {
        format!("BACKLOT_{}", self.path.replace('.', "_").to_uppercase())
    }

    /// The table at the top of the file that it is in.
    pub(crate) fn top(&self) -> Option<&'static str> {
        self.path.split_once('.').map(|(table, _)| table)
    }

    /// Table (`s3`, `s3.tls`) and name; top-level keys have no table.
    pub(crate) fn split(&self) -> (Option<&'static str>, &'static str) {
        match self.path.rsplit_once('.') {
            Some((table, name)) => (Some(table), name),
            None => (None, self.path),
        }
    }
}

const fn key(
    path: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    doc: &'static str,
) -> Key {
    Key { path, kind, default, doc }
}

pub(crate) const KEYS: &[Key] = &[
    key("data", Kind::Text, Some("\"backlot-data\""), "folder of everything that is kept"),
    key("cache", Kind::Text, None, "folder of compiled guests; unset: in the data folder"),
    key(
        "s3.address",
        Kind::Text,
        Some("\"127.0.0.1:9000\""),
        "where S3 clients connect; port 0: any free one",
    ),
    key(
        "s3.base_domain",
        Kind::Text,
        None,
        "host name under which BUCKET.NAME addresses a bucket; unset: by path only",
    ),
    key(
        "s3.connections_max",
        Kind::Int(1..=100_000),
        Some("1024"),
        "open connections; the next one waits",
    ),
    key(
        "s3.requests_max",
        Kind::Int(1..=100_000),
        Some("256"),
        "requests at work; the next one is told to slow down",
    ),
    key(
        "s3.body_megabytes_max",
        Kind::Int(1..=5_120),
        Some("5120"),
        "largest body of one request, in MiB",
    ),
    key(
        "s3.drain_secs",
        Kind::Int(0..=3_600),
        Some("20"),
        "how long requests may go on after a stop was asked for",
    ),
    key(
        "s3.tls.certificate",
        Kind::Text,
        None,
        "certificate chain as PEM, read again when it changes; unset: no TLS",
    ),
    key("s3.tls.key", Kind::Text, None, "private key of the certificate as PEM"),
    key(
        "http.address",
        Kind::Text,
        Some("\"127.0.0.1:8080\""),
        "where browsers connect; port 0: any free one",
    ),
    key(
        "http.hosts",
        Kind::Texts,
        Some("[]"),
        "host names, besides localhost and addresses, that browsers may use",
    ),
    key(
        "http.connections_max",
        Kind::Int(1..=100_000),
        Some("1024"),
        "open connections; the next one waits",
    ),
    key(
        "http.requests_max",
        Kind::Int(1..=100_000),
        Some("256"),
        "requests at work, open event streams included",
    ),
    key(
        "http.drain_secs",
        Kind::Int(0..=3_600),
        Some("20"),
        "how long requests may go on after a stop was asked for",
    ),
    key(
        "http.tls.certificate",
        Kind::Text,
        None,
        "certificate chain as PEM, read again when it changes; unset: no TLS",
    ),
    key("http.tls.key", Kind::Text, None, "private key of the certificate as PEM"),
    key(
        "functions.address",
        Kind::Text,
        Some("\"127.0.0.1:8081\""),
        "where clients of HTTP functions connect; port 0: any free one",
    ),
    key(
        "functions.connections_max",
        Kind::Int(1..=100_000),
        Some("1024"),
        "open connections; the next one waits",
    ),
    key(
        "functions.requests_max",
        Kind::Int(1..=10_000),
        Some("256"),
        "HTTP requests that guests answer at once; the next one is answered 503",
    ),
    key(
        "functions.idle_max",
        Kind::Int(0..=10_000),
        Some("64"),
        "idle instances of functions whose manifest lets them be used again (http.reuse)",
    ),
    key(
        "functions.drain_secs",
        Kind::Int(0..=3_600),
        Some("20"),
        "how long requests may go on after a stop was asked for",
    ),
    key(
        "functions.folder",
        Kind::Text,
        None,
        "functions to run: each NAME.toml in it with its NAME.wasm; read again on SIGHUP",
    ),
    key(
        "functions.compile_secs",
        Kind::Int(1..=3_600),
        Some("120"),
        "processor time that compiling one component may take, in all its threads",
    ),
    key(
        "functions.compile_megabytes",
        Kind::Int(64..=65_536),
        Some("4096"),
        "address space that compiling one component may take, in MiB",
    ),
    key(
        "functions.tls.certificate",
        Kind::Text,
        None,
        "certificate chain as PEM, read again when it changes; unset: no TLS",
    ),
    key("functions.tls.key", Kind::Text, None, "private key of the certificate as PEM"),
    key(
        "queue.invocations_max",
        Kind::Int(1..=100_000_000),
        Some("1000000"),
        "invocations that have not ended; past them uploads and events are told to slow down",
    ),
    key(
        "queue.megabytes_max",
        Kind::Int(1..=1_048_576),
        Some("4096"),
        "their events together, in MiB",
    ),
    key(
        "history.days",
        Kind::Int(0..=3_650),
        Some("30"),
        "how long ended invocations are kept, with their events, effects and logs",
    ),
    key(
        "history.invocations_max",
        Kind::Int(0..=100_000_000),
        Some("100000"),
        "how many ended invocations are kept, those that others started not counted",
    ),
    key(
        "history.megabytes_max",
        Kind::Int(0..=1_048_576),
        Some("2048"),
        "how much of them is kept, with their events, results, effects and logs, in MiB",
    ),
    key("encoder.slots", Kind::Int(1..=256), None, "parts encoded at once; unset: one a core"),
    key("encoder.niceness", Kind::Int(0..=19), Some("10"), "nice value of the encoding threads"),
    key(
        "encoder.uploads_at_once",
        Kind::Int(1..=256),
        Some("2"),
        "uploads that are probed or published at once",
    ),
    key(
        "encoder.preset",
        Kind::Choice(&["fast", "balanced", "best"]),
        Some("\"balanced\""),
        "how much time to spend for fewer bytes",
    ),
    key(
        "encoder.quality",
        Kind::Int(0..=100),
        None,
        "0 (smallest) to 100 (best); unset: the preset's",
    ),
    key(
        "encoder.rungs",
        Kind::Text,
        None,
        "the only renditions to make, such as \"720p,360p\"; unset: all that fit",
    ),
    key(
        "encoder.part_secs",
        Kind::Int(1..=300),
        None,
        "longest part of a film; unset: chosen by length and cores",
    ),
    key(
        "encoder.parts",
        Kind::Int(1..=9_000),
        None,
        "exactly so many parts; unset: chosen by length and cores",
    ),
    key("encoder.mp4", Kind::Bool, Some("false"), "also make a progressive MP4 for download"),
    key(
        "validator.schedule",
        Kind::Text,
        Some("\"* * * * *\""),
        "when to look for changes that no event told of, as a line of cron",
    ),
    key(
        "validator.settle_secs",
        Kind::Int(0..=3_600),
        Some("60"),
        "for how long a change is left to its own event before that",
    ),
    key(
        "antivirus.socket",
        Kind::Text,
        None,
        "socket of clamd, a path or HOST:PORT, for `second_opinion`; unset: there is none",
    ),
    key(
        "antivirus.megabytes_max",
        Kind::Int(1..=4_095),
        Some("25"),
        "largest object that is sent there, in MiB; at most clamd's StreamMaxLength",
    ),
    key(
        "antivirus.timeout_secs",
        Kind::Int(1..=3_600),
        Some("120"),
        "how long it may take for one object",
    ),
    key(
        "antivirus.scans_max",
        Kind::Int(1..=64),
        Some("4"),
        "objects that are sent there at once; at most clamd's MaxThreads",
    ),
    key(
        "log.level",
        Kind::Text,
        Some("\"info\""),
        "error, warn, info, debug, trace, or directives as in RUST_LOG",
    ),
    key("log.format", Kind::Choice(&["text", "json"]), Some("\"text\""), "how log lines look"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_derived_from_paths() {
        let names: Vec<String> = KEYS.iter().map(Key::variable).collect();
        assert!(names.contains(&"BACKLOT_ENCODER_PART_SECS".to_owned()));
        assert!(names.contains(&"BACKLOT_DATA".to_owned()));
    }
}
