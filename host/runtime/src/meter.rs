//! CPU time of a future: the thread's own clock around each poll.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A future that counts the CPU time it takes, whatever threads it runs on, and is given up past a
/// limit. What it spawns and what other threads do for it is not counted.
pub(crate) struct Metered<F> {
    future: Pin<Box<F>>,
    cpu: Duration,
    limit: Duration,
}

/// It took more than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfCpu;

impl<F: Future> Metered<F> {
    pub(crate) fn new(future: F, limit: Duration) -> Self {
        Self { future: Box::pin(future), cpu: Duration::ZERO, limit }
    }

    /// So far.
    pub(crate) fn cpu(&self) -> Duration {
        self.cpu
    }
}

impl<F: Future> Future for Metered<F> {
    type Output = Result<F::Output, OutOfCpu>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let before = thread_cpu();
        let polled = self.future.as_mut().poll(cx);
        self.cpu += thread_cpu().saturating_sub(before);
        match polled {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending if self.limit < self.cpu => Poll::Ready(Err(OutOfCpu)),
            Poll::Pending => Poll::Pending,
        }
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

    async fn work(rounds: u32) {
        for _ in 0..rounds {
            let until = thread_cpu() + Duration::from_millis(10);
            while thread_cpu() < until {}
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn work_counts_and_waiting_does_not() {
        let sleep = tokio::time::sleep(Duration::from_millis(50));
        let mut waiting = Metered::new(sleep, Duration::MAX);
        (&mut waiting).await.unwrap();
        assert!(waiting.cpu() < Duration::from_millis(20), "{:?}", waiting.cpu());

        let mut working = Metered::new(work(3), Duration::MAX);
        (&mut working).await.unwrap();
        assert!(Duration::from_millis(30) <= working.cpu(), "{:?}", working.cpu());
    }

    #[tokio::test]
    async fn work_past_the_limit_is_given_up() {
        let mut working = Metered::new(work(u32::MAX), Duration::from_millis(25));
        assert_eq!((&mut working).await, Err(OutOfCpu));
        assert!(Duration::from_millis(25) < working.cpu(), "{:?}", working.cpu());
    }
}
