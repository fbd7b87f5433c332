//! Ended invocations are kept for a while, and not too many of them.

use std::time::Duration;

use backlot_ledger::{Ledger, Retention};
use tokio_util::sync::CancellationToken;

/// Pause between two looks.
const EVERY: Duration = Duration::from_secs(600);

/// Deletes what is too old or too much, now and then, until `stop`.
pub(crate) async fn keep(ledger: Ledger, retention: Retention, stop: CancellationToken) {
    loop {
        match ledger.prune(retention).await {
            Ok(0) => {}
            Ok(roots) => tracing::info!(roots, "old invocations are forgotten"),
            Err(err) => tracing::warn!(%err, "old invocations are not forgotten"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}
