//! The process's encoding threads and what they work on.
//!
//! There are as many threads as slots (cores), at low priority, and all sessions share them. A
//! thread takes a rung that has work, does one step of it and puts it back, so that whatever must
//! be decided (who is next, what was cancelled, who pays for the time) is decided between steps.
//! The oldest session goes first, so that one film is finished rather than ten half-done, and the
//! rungs of a session take turns. rav1e is built without its thread pool: a step runs on the thread
//! that took it and nowhere else.
//!
//! One mutex guards everything. A step takes milliseconds and the lock microseconds, and it is
//! never held during a step or an `.await`.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;

use crate::frame::CheckedFrame;

/// Bytes of stack of an encoding thread: rav1e recurses over partitions with large arrays.
const STACK_BYTES: usize = 8 << 20;

/// Packets that may wait for the caller, in bytes. Beyond it a session's rungs stand still.
pub const UNDELIVERED_BYTES_MAX: usize = 32 << 20;

/// One rung's work in steps. Called by one thread at a time, not always the same.
pub(crate) trait Task: Send {
    /// Whether the next step needs a frame, or the knowledge that there are no more.
    fn wants_input(&self) -> bool;

    /// Do one step. `input` is given if [`Task::wants_input`]; then `None` means the end.
    fn step(&mut self, input: Option<Arc<CheckedFrame>>) -> Result<Step, String>;
}

/// What a step led to.
pub(crate) enum Step {
    /// Nothing to hand out; more to do or more input needed.
    Working,
    /// The next packet.
    Packet(Packet),
    /// Everything was handed out.
    Done,
}

/// One temporal unit of one rung.
pub(crate) struct Packet {
    pub(crate) frame: u64,
    pub(crate) key: bool,
    pub(crate) data: Vec<u8>,
}

/// CPU time of encoding threads, counted after each step; clones count together.
#[derive(Clone, Debug, Default)]
pub struct CpuAccount {
    nanos: Arc<AtomicU64>,
}

impl CpuAccount {
    /// CPU time of the finished steps.
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }

    fn add(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }
}

/// State of a rung between steps.
struct RungState {
    /// Absent while a thread works on it, and when it is done.
    task: Option<Box<dyn Task>>,
    inputs: VecDeque<Arc<CheckedFrame>>,
    done: bool,
    packets: u64,
}

impl RungState {
    fn is_ready(&self, finished: bool) -> bool {
        self.task
            .as_ref()
            .is_some_and(|task| !task.wants_input() || !self.inputs.is_empty() || finished)
    }
}

/// Everything about a session that threads and callers share.
pub(crate) struct SessionState {
    rungs: Vec<RungState>,
    /// Index of the rung whose turn it is.
    turn: usize,
    pub(crate) packets: VecDeque<(u32, Packet)>,
    pub(crate) packet_bytes: usize,
    pub(crate) finished: bool,
    pub(crate) failed: Option<String>,
    accounts: Vec<CpuAccount>,
    changed: Arc<Notify>,
}

impl SessionState {
    pub(crate) fn new(
        tasks: Vec<Box<dyn Task>>,
        accounts: Vec<CpuAccount>,
        changed: Arc<Notify>,
    ) -> SessionState {
        let rungs = tasks
            .into_iter()
            .map(|task| RungState {
                task: Some(task),
                inputs: VecDeque::new(),
                done: false,
                packets: 0,
            })
            .collect();
        SessionState {
            rungs,
            turn: 0,
            packets: VecDeque::new(),
            packet_bytes: 0,
            finished: false,
            failed: None,
            accounts,
            changed,
        }
    }

    /// Frames that wait before the rung that is furthest behind.
    pub(crate) fn backlog_frames(&self) -> usize {
        self.rungs.iter().map(|rung| rung.inputs.len()).max().unwrap_or(0)
    }

    /// Whether every rung has handed out everything.
    pub(crate) fn is_done(&self) -> bool {
        self.rungs.iter().all(|rung| rung.done)
    }

    /// Packets made so far, by rung.
    pub(crate) fn packets_made(&self) -> Vec<u64> {
        self.rungs.iter().map(|rung| rung.packets).collect()
    }

    /// Give a frame to every rung.
    pub(crate) fn push(&mut self, frame: Arc<CheckedFrame>) {
        for rung in &mut self.rungs {
            rung.inputs.push_back(frame.clone());
        }
    }

    /// The rung whose turn it is among those with work; then it is another's turn.
    fn next_rung(&mut self) -> Option<usize> {
        if self.failed.is_some() || UNDELIVERED_BYTES_MAX <= self.packet_bytes {
            return None;
        }
        let count = self.rungs.len();
        let ready = (0..count).map(|step| (self.turn + step) % count).find(|&index| {
            self.rungs.get(index).is_some_and(|rung| rung.is_ready(self.finished))
        })?;
        self.turn = (ready + 1) % count;
        Some(ready)
    }
}

/// A step that a thread has taken.
struct Work {
    session: u64,
    rung: usize,
    task: Box<dyn Task>,
    input: Option<Arc<CheckedFrame>>,
    accounts: Vec<CpuAccount>,
}

#[derive(Default)]
struct PoolState {
    /// By age: the keys count up.
    sessions: BTreeMap<u64, SessionState>,
    next_session: u64,
    /// Memory to free where it delays nobody: encoders of dropped sessions.
    garbage: Vec<SessionState>,
    stopping: bool,
}

impl PoolState {
    fn next_work(&mut self) -> Option<Work> {
        self.sessions.iter_mut().find_map(|(&id, session)| {
            let index = session.next_rung()?;
            let rung = session.rungs.get_mut(index)?;
            let task = rung.task.take()?;
            let input = if task.wants_input() { rung.inputs.pop_front() } else { None };
            if input.is_some() {
                session.changed.notify_waiters();
            }
            Some(Work { session: id, rung: index, task, input, accounts: session.accounts.clone() })
        })
    }
}

/// Steps and their CPU time since the pool began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Sessions open now.
    pub sessions: u64,
    /// Steps done.
    pub steps: u64,
    /// Packets made.
    pub packets: u64,
    /// Bytes of those packets.
    pub packet_bytes: u64,
    /// CPU time of the steps.
    pub cpu: Duration,
    /// The longest step so far in CPU time: how long a cancelled session may still hold a slot.
    pub longest_step: Duration,
}

#[derive(Default)]
struct Totals {
    steps: AtomicU64,
    packets: AtomicU64,
    packet_bytes: AtomicU64,
    cpu: CpuAccount,
    longest_step_nanos: AtomicU64,
}

/// The threads' and callers' common ground.
#[derive(Default)]
pub(crate) struct Pool {
    state: Mutex<PoolState>,
    work: Condvar,
    totals: Totals,
}

impl Pool {
    /// Start `slots` threads that live until [`Pool::stop`].
    pub(crate) fn start(slots: usize, niceness: i32) -> std::io::Result<Arc<Pool>> {
        let pool = Arc::new(Pool::default());
        for slot in 0..slots {
            let thread_pool = pool.clone();
            let spawned = std::thread::Builder::new()
                .name(format!("encode-{slot}"))
                .stack_size(STACK_BYTES)
                .spawn(move || thread_pool.run(niceness));
            if let Err(error) = spawned {
                pool.stop();
                return Err(error);
            }
        }
        Ok(pool)
    }

    /// Let the threads end after the step that they are doing.
    pub(crate) fn stop(&self) {
        self.lock().stopping = true;
        self.work.notify_all();
    }

    /// Add a session; the answer is its key.
    pub(crate) fn add(&self, session: SessionState) -> u64 {
        let mut state = self.lock();
        let id = state.next_session;
        state.next_session += 1;
        state.sessions.insert(id, session);
        id
    }

    /// Forget a session. Steps being done end by themselves and their results are dropped.
    pub(crate) fn remove(&self, id: u64) {
        let mut state = self.lock();
        if let Some(mut session) = state.sessions.remove(&id) {
            // A few frames and packets are freed at once; the encoders, hundreds of MB, by a
            // thread that has time.
            session.packets.clear();
            for rung in &mut session.rungs {
                rung.inputs.clear();
            }
            state.garbage.push(session);
            drop(state);
            self.work.notify_one();
        }
    }

    /// Look at or change a session. None if it was removed.
    pub(crate) fn with_session<T>(
        &self,
        id: u64,
        change: impl FnOnce(&mut SessionState) -> T,
    ) -> Option<T> {
        self.lock().sessions.get_mut(&id).map(change)
    }

    /// There may be new work.
    pub(crate) fn wake(&self) {
        self.work.notify_all();
    }

    pub(crate) fn counters(&self) -> Counters {
        let sessions = self.lock().sessions.len() as u64;
        Counters {
            sessions,
            steps: self.totals.steps.load(Ordering::Relaxed),
            packets: self.totals.packets.load(Ordering::Relaxed),
            packet_bytes: self.totals.packet_bytes.load(Ordering::Relaxed),
            cpu: self.totals.cpu.total(),
            longest_step: Duration::from_nanos(
                self.totals.longest_step_nanos.load(Ordering::Relaxed),
            ),
        }
    }

    /// No code that can panic runs under the lock, so a poisoned one is as good as any.
    fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, niceness: i32) {
        // On Linux priority belongs to the thread, and no process id means this thread.
        if let Err(error) = rustix::process::setpriority_process(None, niceness) {
            tracing::warn!(niceness, %error, "encoding threads keep the normal priority");
        }
        let mut state = self.lock();
        while !state.stopping {
            if !state.garbage.is_empty() {
                let garbage = std::mem::take(&mut state.garbage);
                drop(state);
                drop(garbage);
                state = self.lock();
                continue;
            }
            let Some(work) = state.next_work() else {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(state);
            self.do_step(work);
            state = self.lock();
        }
    }

    fn do_step(&self, work: Work) {
        let Work { session: id, rung, mut task, input, accounts } = work;
        let before = clock_gettime(ClockId::ThreadCPUTime);
        let stepped = catch_unwind(AssertUnwindSafe(|| task.step(input)));
        let after = clock_gettime(ClockId::ThreadCPUTime);
        let spent = Duration::try_from(after)
            .unwrap_or_default()
            .saturating_sub(Duration::try_from(before).unwrap_or_default());
        for account in accounts.iter().chain([&self.totals.cpu]) {
            account.add(spent);
        }
        self.totals.steps.fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX);
        self.totals.longest_step_nanos.fetch_max(nanos, Ordering::Relaxed);

        let stepped = stepped.unwrap_or_else(|panic| Err(panic_text(panic.as_ref())));
        if let Err(reason) = &stepped {
            tracing::warn!(session = id, rung, reason, "encoding failed");
        }
        // What is left over is dropped outside the lock.
        let left_over = self.put_back(id, rung, task, stepped);
        drop(left_over);
        self.work.notify_all();
    }

    /// Record a step's result; gives back the task if nobody needs it any more.
    fn put_back(
        &self,
        id: u64,
        rung_index: usize,
        task: Box<dyn Task>,
        stepped: Result<Step, String>,
    ) -> Option<Box<dyn Task>> {
        let mut state = self.lock();
        let Some(session) = state.sessions.get_mut(&id) else { return Some(task) };
        let Some(rung) = session.rungs.get_mut(rung_index) else { return Some(task) };
        let mut left_over = None;
        match stepped {
            Ok(Step::Working) => rung.task = Some(task),
            Ok(Step::Packet(packet)) => {
                rung.task = Some(task);
                rung.packets += 1;
                let bytes = packet.data.len();
                self.totals.packets.fetch_add(1, Ordering::Relaxed);
                self.totals.packet_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
                session.packet_bytes += bytes;
                session.packets.push_back((rung_index as u32, packet));
                session.changed.notify_waiters();
            }
            Ok(Step::Done) => {
                rung.done = true;
                left_over = Some(task);
                session.changed.notify_waiters();
            }
            Err(reason) => {
                session.failed.get_or_insert(reason);
                for rung in &mut session.rungs {
                    rung.inputs.clear();
                }
                left_over = Some(task);
                session.changed.notify_waiters();
            }
        }
        left_over
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message");
    format!("panicked: {text}")
}

#[cfg(test)]
mod tests;
