//! What is said of an object.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What is said of an object. There is one for each that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
pub enum Verdict {
    /// Whole, as declared, and as the policy asks.
    Valid {
        /// What it is.
        format: String,
        /// What was learned on the way, for people.
        facts: BTreeMap<String, String>,
    },
    /// Broken, not what it says it is, or against the policy.
    Invalid {
        /// What it is, if that was recognised.
        format: Option<String>,
        /// Where: an offset in bytes, 0 where it is about the whole.
        #[serde(rename = "where")]
        at: u64,
        /// What is wrong, in one sentence: lower case, no final period.
        what: String,
    },
    /// It could not be checked: that says nothing about whether it is whole.
    Unsupported {
        /// What it is, if that was recognised.
        format: Option<String>,
        /// Where the check ended.
        #[serde(rename = "where")]
        at: u64,
        /// Why.
        what: String,
    },
    /// It was not checked, on purpose.
    Skipped {
        /// Why not.
        why: String,
    },
}

impl Verdict {
    /// Its name: `valid`, `invalid`, `unsupported` or `skipped`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Valid { .. } => "valid",
            Self::Invalid { .. } => "invalid",
            Self::Unsupported { .. } => "unsupported",
            Self::Skipped { .. } => "skipped",
        }
    }
}
