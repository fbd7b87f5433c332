//! Crash points: places where a test ends the process as `kill -9` would.
//!
//! Only with the feature `crash-points`, which a release build refuses; without it [`point`] is
//! nothing. `BACKLOT_CRASH_AT=NAME:N` aborts the process when it passes the point of that name for
//! the Nth time.

#[cfg(all(feature = "crash-points", not(debug_assertions)))]
compile_error!("crash points are for tests: build without the feature `crash-points`");

/// Every point: those of a deploy, then in the order in which an upload passes them, then those of
/// a backup.
pub const POINTS: &[&str] = &[
    "deploy.after-stage",
    "deploy.before-publish",
    "deploy.after-publish",
    "blob.before-sync",
    "blob.after-sync",
    "object.before-commit",
    "object.after-commit",
    "ledger.before-commit",
    "ledger.after-commit",
    "lease.after",
    "child.after-start",
    "effect.after",
    "park.before",
    "park.after",
    "attempt.before-finish",
    "attempt.after-finish",
    "backup.before-init",
    "backup.after-init",
    "backup.before-pack",
    "backup.after-pack",
    "backup.before-index",
    "backup.after-index",
    "backup.before-snapshot",
    "backup.after-snapshot",
    "backup.after-commit",
];

/// A place where a test may end the process.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn point(_: &'static str) {}

/// A place where a test may end the process.
#[cfg(feature = "crash-points")]
pub fn point(name: &'static str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicI64, Ordering};

    /// The point to crash at, and how often it is to be passed first.
    static CRASH: LazyLock<Option<(String, AtomicI64)>> = LazyLock::new(|| {
        let wanted = std::env::var("BACKLOT_CRASH_AT").ok()?;
        let (name, times) = wanted.rsplit_once(':')?;
        assert!(POINTS.contains(&name), "there is no crash point {name:?}");
        Some((name.to_owned(), AtomicI64::new(times.parse().ok()?)))
    });
    debug_assert!(POINTS.contains(&name), "the crash point {name:?} is not listed");
    if let Some((wanted, left)) = &*CRASH
        && wanted == name
        && left.fetch_sub(1, Ordering::SeqCst) == 1
    {
        // No destructor, no flush: what is not on disk is lost.
        std::process::abort();
    }
}
