//! What the operator set, as the host passes it in the environment.

use backlot_policy::Policy;

use crate::fault::Fault;

/// Each bucket's policy as JSON, in `BACKLOT_POLICY_0` and so on.
const POLICY_PREFIX: &str = "BACKLOT_POLICY_";
/// For how long a change is left to its own event before the schedule looks at it.
const SETTLE_VARIABLE: &str = "BACKLOT_SETTLE_SECS";
/// Its default.
const SETTLE_SECS: u64 = 60;

/// Every bucket's policy, in the order of the configuration.
pub fn policies() -> Result<Vec<Policy>, Fault> {
    let mut found: Vec<(usize, Policy)> = Vec::new();
    for (name, value) in std::env::vars() {
        let Some(Ok(place)) = name.strip_prefix(POLICY_PREFIX).map(str::parse) else { continue };
        let policy = serde_json::from_str(&value)
            .map_err(|error| Fault::Never(format!("{name} is no policy: {error}")))?;
        found.push((place, policy));
    }
    found.sort_by_key(|(place, _)| *place);
    Ok(found.into_iter().map(|(_, policy)| policy).collect())
}

/// A bucket's policy, if it has one.
pub fn policy(bucket: &str) -> Result<Option<Policy>, Fault> {
    Ok(policies()?.into_iter().find(|policy| policy.bucket == bucket))
}

/// For how long a change is left to its own event, in milliseconds.
pub fn settle_ms() -> u64 {
    let secs = std::env::var(SETTLE_VARIABLE).ok().and_then(|text| text.parse().ok());
    secs.unwrap_or(SETTLE_SECS).saturating_mul(1_000)
}
