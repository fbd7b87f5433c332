//! Host side of `backlot:storage/backup@0.1.0`: versions that a function hands over.

use std::sync::Arc;

use backlot_bindings::backlot::storage::{backup as wit, objects};
use backlot_ledger::backup::{HAND_OVER_MAX, HandedOver, Outcome};
use backlot_ledger::objects::IndexError;
use backlot_ledger::{Effects, Fence, LedgerError, crash};
use backlot_storage::KEY_BYTES_MAX;
use backlot_storage::guest::OnDenied;
use jiff::Timestamp;
use wasmtime::component::HasData;

use crate::service::{BackupError, Backups};

/// Backup capability of one guest instance.
pub struct BackupCtx {
    /// None: the server has no repositories.
    backups: Option<Backups>,
    /// Buckets that the function may hand over.
    grants: Arc<[String]>,
    /// None: no invocation is behind the guest, so it may only look.
    effects: Option<Effects>,
    on_denied: OnDenied,
}

impl BackupCtx {
    /// The capability of one attempt of a function; without a fence it may only look.
    #[must_use]
    pub fn new(
        backups: Option<Backups>,
        grants: Arc<[String]>,
        fence: Option<Fence>,
        on_denied: OnDenied,
    ) -> BackupCtx {
        BackupCtx { backups, grants, effects: fence.map(Effects::new), on_denied }
    }

    fn allow(&self, bucket: &str) -> Result<(), objects::Error> {
        if self.grants.iter().any(|granted| granted == bucket) {
            return Ok(());
        }
        Err(self.denied(format!("no grant to back up bucket {bucket:?}")))
    }

    fn denied(&self, text: String) -> objects::Error {
        (self.on_denied)(&text);
        objects::Error::Denied(text)
    }

    async fn hand_over(
        &mut self,
        items: Vec<wit::Item>,
    ) -> Result<Vec<wit::Outcome>, objects::Error> {
        if !(1..=HAND_OVER_MAX).contains(&items.len()) {
            let text = format!("{} items, it must be 1 to {HAND_OVER_MAX}", items.len());
            return Err(objects::Error::OverLimit(text));
        }
        items.iter().try_for_each(|item| self.allow(&item.object.bucket))?;
        for wit::Item { object, .. } in &items {
            if !(1..=KEY_BYTES_MAX).contains(&object.key.len()) {
                let text = format!("a key has 1 to {KEY_BYTES_MAX} bytes");
                return Err(objects::Error::OverLimit(text));
            }
        }
        let Some(effects) = &self.effects else {
            let text = "not a durable invocation: nothing can be handed over".to_owned();
            return Err(self.denied(text));
        };
        let Some(backups) = self.backups.clone() else {
            return Ok(vec![wit::Outcome::NotCovered; items.len()]);
        };
        let mut arguments: Vec<&[u8]> = Vec::new();
        for wit::Item { object, change } in &items {
            let objects::Pinned { bucket, key, version, content_id } = object;
            arguments.extend([bucket, key, version, content_id].map(|text| text.as_bytes()));
            arguments.push(if *change == wit::Change::Removed { b"removed" } else { b"stored" });
        }
        let first = items.first().map_or("", |item| item.object.key.as_str());
        let subject = match items.len() {
            1 => first.to_owned(),
            count => format!("{first} and {} more", count - 1),
        };
        let effect = effects.next("backlot:storage/backup.add", subject, &arguments);
        let handed_over = items.into_iter().map(convert_item).collect();
        let outcomes = backups.hand_over(handed_over, Some(effect.clone())).await;
        let outcomes = outcomes.map_err(convert_error)?;
        if let Some(effects) = &mut self.effects {
            effects.done(&effect);
        }
        crash::point("effect.after");
        Ok(outcomes.into_iter().map(convert_outcome).collect())
    }

    async fn coverage(&self, bucket: &str) -> Result<Vec<wit::Coverage>, objects::Error> {
        self.allow(bucket)?;
        let Some(backups) = &self.backups else { return Ok(Vec::new()) };
        let covered = backups.covered(bucket).await.map_err(convert_error)?;
        let coverage = covered.into_iter().map(|(repository, covered)| wit::Coverage {
            repository,
            last_success_ms: covered.last_success.map(millis),
            pending: covered.pending,
            oldest_pending_ms: covered.oldest_pending.map(millis),
        });
        Ok(coverage.collect())
    }
}

/// Names [`BackupCtx`] to the linker.
pub struct HasBackup;

impl HasData for HasBackup {
    type Data<'a> = &'a mut BackupCtx;
}

impl wit::Host for &mut BackupCtx {
    async fn add(
        &mut self,
        items: Vec<wit::Item>,
    ) -> wasmtime::Result<Result<Vec<wit::Outcome>, objects::Error>> {
        Ok(self.hand_over(items).await)
    }

    async fn covered(
        &mut self,
        bucket: String,
    ) -> wasmtime::Result<Result<Vec<wit::Coverage>, objects::Error>> {
        Ok(self.coverage(&bucket).await)
    }
}

fn convert_item(item: wit::Item) -> HandedOver {
    let objects::Pinned { bucket, key, version, content_id } = item.object;
    let removed = item.change == wit::Change::Removed;
    HandedOver { bucket, key, version, content_id, removed, repositories: Vec::new() }
}

fn convert_outcome(outcome: Outcome) -> wit::Outcome {
    match outcome {
        Outcome::Queued => wit::Outcome::Queued,
        Outcome::Known => wit::Outcome::Known,
        Outcome::Gone => wit::Outcome::Gone,
        Outcome::NotCovered => wit::Outcome::NotCovered,
    }
}

fn convert_error(err: BackupError) -> objects::Error {
    match err {
        BackupError::Ledger(IndexError::Ledger(LedgerError::Fenced(_))) => objects::Error::Fenced,
        err => objects::Error::Unavailable(err.to_string()),
    }
}

fn millis(time: Timestamp) -> u64 {
    u64::try_from(time.as_millisecond()).unwrap_or(0)
}
