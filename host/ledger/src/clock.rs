//! Time as the ledger sees it. A parameter, so that leases expire in tests without waiting.

use std::sync::Arc;

use jiff::Timestamp;

/// Where the ledger takes the time from. Called once for each operation, on the writer's thread.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The machine's clock.
pub fn system_clock() -> Clock {
    Arc::new(Timestamp::now)
}

/// Timestamps are stored as milliseconds since the Unix epoch.
pub(crate) fn timestamp(ms: i64) -> Timestamp {
    // Out of range only in a damaged row; the far end is as good an answer as any.
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX)
}

/// `now` plus a duration; the far future instead of an overflow.
pub(crate) fn after(now_ms: i64, duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).map_or(i64::MAX, |ms| now_ms.saturating_add(ms))
}
