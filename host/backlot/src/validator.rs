//! The validator as the configuration wants it: for each bucket that is validated a trigger, grants
//! and a policy.

use backlot_policy::{Consequence, Policy};
use backlot_runtime::{
    Access, ConcurrencyRule, Manifest, ManifestError, Missed, ObjectChange, ObjectTrigger,
    Schedule, StorageGrant, Trigger,
};

/// Name of the function.
pub(crate) const VALIDATOR: &str = "validator";
/// The bucket that it keeps its records in.
pub(crate) const OWN_BUCKET: &str = "validator";
/// Bucket of what is in quarantine.
pub(crate) const QUARANTINE_BUCKET: &str = "quarantine";
/// Most buckets that are validated: each is a trigger and a grant, of which a manifest may have 64.
pub(crate) const BUCKETS_MAX: usize = 60;
/// Name of the schedule.
const SWEEP: &str = "sweep";

/// What is validated, and when.
#[derive(Debug, Clone)]
pub(crate) struct Validation {
    pub(crate) policies: Vec<Policy>,
    /// When to look for changes that no event told of; None: never.
    pub(crate) schedule: Option<String>,
    /// For how long a change is left to its own event before that.
    pub(crate) settle_secs: u64,
}

impl Validation {
    /// The manifest of the function.
    pub(crate) fn manifest(&self) -> Result<Manifest, ManifestError> {
        let mut manifest = Manifest::parse(backlot_builtin::VALIDATOR.manifest)?;
        for (place, policy) in self.policies.iter().enumerate() {
            manifest.triggers.extend(self.schedule.is_some().then(|| trigger(policy)));
            manifest.grants.storage.push(grant(policy));
            manifest.grants.backup.extend(policy.backup.then(|| policy.bucket.clone()));
            manifest.env.insert(format!("BACKLOT_POLICY_{place}"), policy.json());
        }
        manifest.grants.antivirus = self.policies.iter().any(|policy| policy.second_opinion);
        if let Some(cron) = &self.schedule {
            manifest.triggers.push(Trigger::Schedule(Schedule {
                name: SWEEP.to_owned(),
                cron: cron.clone(),
                timezone: "UTC".to_owned(),
                jitter_secs: 0,
                missed: Missed::Once,
            }));
        }
        manifest.env.insert("BACKLOT_SETTLE_SECS".to_owned(), self.settle_secs.to_string());
        manifest.check()?;
        Ok(manifest)
    }
}

fn trigger(policy: &Policy) -> Trigger {
    Trigger::Object(ObjectTrigger {
        bucket: policy.bucket.clone(),
        events: vec![ObjectChange::Created, ObjectChange::Removed],
        prefix: String::new(),
        suffixes: Vec::new(),
        size_min: None,
        size_max: None,
        filter: None,
        concurrency: Some(ConcurrencyRule::NewestWins),
        delay_secs: 0,
    })
}

fn grant(policy: &Policy) -> StorageGrant {
    let mut access = vec![Access::Read, Access::Tag];
    if policy.invalid == Consequence::Quarantine {
        access.push(Access::Delete);
    }
    StorageGrant { bucket: policy.bucket.clone(), prefix: String::new(), access }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_buckets_as_may_be_validated_fit_a_manifest() {
        let policies = (0..BUCKETS_MAX).map(|n| Policy::of(&format!("bucket-{n}"))).collect();
        let schedule = Some("* * * * *".to_owned());
        let manifest = Validation { policies, schedule, settle_secs: 60 }.manifest().unwrap();
        let may_delete = |grant: &&StorageGrant| grant.access.contains(&Access::Delete);
        let may_delete: Vec<_> =
            manifest.grants.storage.iter().filter(may_delete).map(|grant| &grant.bucket).collect();
        assert_eq!(
            may_delete,
            [OWN_BUCKET, QUARANTINE_BUCKET],
            "only what is moved has to be deleted"
        );
    }
}
