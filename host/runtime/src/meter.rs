//! CPU time of a future: the thread's own clock around each poll.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A future that counts the CPU time it takes, whatever threads it runs on. What it spawns and
/// what other threads do for it is not counted.
pub(crate) struct Metered<F> {
    future: Pin<Box<F>>,
    cpu: Duration,
}

impl<F: Future> Metered<F> {
    pub(crate) fn new(future: F) -> Self {
        Self { future: Box::pin(future), cpu: Duration::ZERO }
    }

    /// So far.
    pub(crate) fn cpu(&self) -> Duration {
        self.cpu
    }
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let before = thread_cpu();
        let polled = self.future.as_mut().poll(cx);
        self.cpu += thread_cpu().saturating_sub(before);
        polled
    }
}

fn thread_cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    // Neither part is ever negative on this clock.
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_counts_and_waiting_does_not() {
        let mut waiting = Metered::new(tokio::time::sleep(Duration::from_millis(50)));
        (&mut waiting).await;
        assert!(waiting.cpu() < Duration::from_millis(20), "{:?}", waiting.cpu());

        let mut working = Metered::new(async {
            for _ in 0..3 {
                let until = thread_cpu() + Duration::from_millis(10);
                while thread_cpu() < until {}
                tokio::task::yield_now().await;
            }
        });
        (&mut working).await;
        assert!(Duration::from_millis(30) <= working.cpu(), "{:?}", working.cpu());
    }
}
