//! Decides about canaries: promotes what is as good as what is live, withdraws what is not.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::catalogue::ChangeError;
use crate::runtime::Shared;
use crate::trial::Verdict;

/// Who decides.
const WATCHDOG: &str = "watchdog";

/// Pause after a decision could not be written down.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// Decides whenever enough is known, until `stop`.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let failed = decide(&shared).await;
        tokio::select! {
            () = stop.cancelled() => return,
            () = shared.functions.decidable() => {}
            () = tokio::time::sleep(FAILURE_PAUSE), if failed => {}
        }
    }
}

/// Whether something was to be done and could not.
async fn decide(shared: &Arc<Shared>) -> bool {
    let mut failed = false;
    for (function, canary, verdict, figures) in shared.functions.verdicts() {
        let figures = json!(figures);
        let (what, done) = match verdict {
            Verdict::Promote => {
                let details =
                    json!({ "reason": "as good as the live version", "figures": figures });
                ("promoted", shared.promote(&function, Some(&canary), WATCHDOG, details).await)
            }
            Verdict::Withdraw(reason) => {
                let details = json!({ "reason": reason, "figures": figures });
                ("rolled back", shared.withdraw(&function, Some(&canary), WATCHDOG, details).await)
            }
        };
        match done {
            Ok(()) => tracing::info!(function, canary, %figures, "the canary was {what}"),
            // Somebody else was faster.
            Err(ChangeError::NoCanary(_) | ChangeError::Unknown(_)) => {}
            Err(err) => {
                tracing::error!(function, canary, %err, "the canary is not {what}, trying again");
                failed = true;
            }
        }
    }
    failed
}
