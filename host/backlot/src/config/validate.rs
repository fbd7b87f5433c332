//! Checks of `[[validate]]`: what the buckets that are validated take.

use std::collections::BTreeSet;

use super::Config;
use crate::fault::Fault;
use crate::validator::{BUCKETS_MAX, OWN_BUCKET, QUARANTINE_BUCKET};

/// What an entry has, for people.
pub(super) const SHAPE: &str = "bucket = \"documents\" and optionally types = [\"pdf\", \"image/*\"], \
     bytes_min, bytes_max, extension = \"match\"|\"require\"|\"any\", content_type = \"match\"|\"any\", \
     trailing = \"refuse\"|\"allow\", unknown = \"accept\"|\"leave\"|\"refuse\", \
     invalid = \"tag\"|\"deny\"|\"quarantine\", second_opinion, backup";

/// Refuses policies that make no sense.
pub(super) fn check(config: &Config) -> Result<(), Fault> {
    let wrong = |bucket: &str, what: String, help: &str| {
        Err(Fault::new("E0104", format!("[[validate]] of bucket {bucket:?}: {what}"), help))
    };
    let mut seen = BTreeSet::new();
    for policy in &config.validate {
        let bucket = policy.bucket.as_str();
        if bucket.is_empty() || [OWN_BUCKET, QUARANTINE_BUCKET].contains(&bucket) {
            let what = "it is no bucket that can be validated".to_owned();
            return wrong(bucket, what, "the validator does not judge what it writes itself");
        }
        if !seen.insert(bucket) {
            return wrong(bucket, "it is there twice".to_owned(), "make one entry of the two");
        }
        if policy.second_opinion && config.antivirus.address.is_none() {
            let what = "it asks for a second opinion, and there is no scanner".to_owned();
            return wrong(bucket, what, "set antivirus.address to clamd's socket");
        }
        if let Err(err) = policy.check() {
            return wrong(bucket, err.to_string(), "change the value");
        }
    }
    if BUCKETS_MAX < config.validate.len() {
        let count = config.validate.len();
        let what = format!("there are {count} [[validate]], the most is {BUCKETS_MAX}");
        return Err(Fault::new("E0104", what, "have some buckets share their objects"));
    }
    Ok(())
}
