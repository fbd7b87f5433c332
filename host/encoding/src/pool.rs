//! The process's encoding threads and what they work on.
//!
//! There are as many threads as slots (cores), at low priority, and all sessions share them. A
//! thread takes a rung that has work, does one step of it and puts it back, so that whatever must
//! be decided (who is next, what was cancelled, who pays for the time) is decided between steps.
//! The oldest session goes first, so that one film is finished rather than ten half-done, and the
//! rungs of a session take turns. rav1e is built without its thread pool: a step runs on the thread
//! that took it and nowhere else.
//!
//! rav1e cannot be stopped inside a frame, and a key frame at a slow preset takes seconds. So when a
//! session is removed in the middle of a step, its thread is given the lowest priority, a new
//! thread takes over the slot at once, and the old one ends with its step.
//!
//! One mutex guards everything. A step takes milliseconds and the lock microseconds, and it is
//! never held during a step or an `.await`.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, setpriority_process};
use rustix::thread::gettid;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;

use crate::frame::CheckedFrame;

/// Bytes of stack of an encoding thread: rav1e recurses over partitions with large arrays.
const STACK_BYTES: usize = 8 << 20;

/// Nice value of a thread whose work nobody wants any more: the lowest priority. Beside a thread
/// at 10 it gets an eighth of a core (kernel's sched_prio_to_weight: 15 to 110).
const ABANDONED_NICENESS: i32 = 19;

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
    /// Steps being done.
    running: Vec<Running>,
    /// Threads that should end because another took their slot.
    surplus: usize,
    stopping: bool,
}

/// A step being done.
#[derive(Clone, Copy)]
struct Running {
    session: u64,
    thread: Pid,
    /// The session was removed, and another thread has the slot.
    abandoned: bool,
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
    /// The longest step so far in CPU time: how long a cancelled session's thread may go on.
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
    slots: usize,
    niceness: i32,
    state: Mutex<PoolState>,
    work: Condvar,
    totals: Totals,
}

impl Pool {
    /// Start `slots` threads that live until [`Pool::stop`].
    pub(crate) fn start(slots: usize, niceness: i32) -> std::io::Result<Arc<Pool>> {
        let pool = Arc::new(Pool { slots, niceness, ..Pool::default() });
        for _ in 0..slots {
            if let Err(error) = pool.start_thread() {
                pool.stop();
                return Err(error);
            }
        }
        Ok(pool)
    }

    fn start_thread(self: &Arc<Self>) -> std::io::Result<()> {
        let pool = self.clone();
        let builder = std::thread::Builder::new().name("encode".to_owned());
        builder.stack_size(STACK_BYTES).spawn(move || pool.run()).map(drop)
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

    /// Forget a session. Steps being done for it end by themselves, on threads that no longer
    /// hold a slot, and their results are dropped.
    pub(crate) fn remove(self: &Arc<Self>, id: u64) {
        let mut state = self.lock();
        let Some(mut session) = state.sessions.remove(&id) else { return };
        // A few frames and packets are freed at once; the encoders, hundreds of MB, by a thread
        // that has time.
        session.packets.clear();
        for rung in &mut session.rungs {
            rung.inputs.clear();
        }
        state.garbage.push(session);
        let already = state.running.iter().filter(|step| step.abandoned).count();
        let steps: Vec<Running> =
            state.running.iter().filter(|step| step.session == id).copied().collect();
        drop(state);
        self.work.notify_one();
        // Abandoned threads hold their encoder's memory: at most one for each slot, beyond that
        // slots are taken until the step ends.
        for step in steps.into_iter().take(self.slots.saturating_sub(already)) {
            self.replace_thread(step);
        }
    }

    /// Give the slot of a thread that is in the middle of `step` to a new thread.
    fn replace_thread(self: &Arc<Self>, step: Running) {
        if let Err(error) = self.start_thread() {
            tracing::warn!(%error, "a cancelled step keeps its encoding slot until it ends");
            return;
        }
        let mut state = self.lock();
        let still = state.running.iter_mut().find(|running| {
            running.session == step.session && running.thread == step.thread && !running.abandoned
        });
        let Some(running) = still else {
            // The step ended meanwhile and its thread goes on: one thread too many.
            state.surplus += 1;
            drop(state);
            self.work.notify_all();
            return;
        };
        running.abandoned = true;
        // Under the lock, so that the thread is the one that we mean.
        if let Err(error) = setpriority_process(Some(step.thread), ABANDONED_NICENESS) {
            tracing::warn!(%error, "a cancelled step keeps its priority until it ends");
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

    fn run(&self) {
        // On Linux priority belongs to the thread, and no process id means this thread.
        if let Err(error) = setpriority_process(None, self.niceness) {
            tracing::warn!(self.niceness, %error, "encoding threads keep the normal priority");
        }
        let thread = gettid();
        let mut state = self.lock();
        while !state.stopping {
            if 0 < state.surplus {
                state.surplus -= 1;
                return;
            }
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
            let session = work.session;
            state.running.push(Running { session, thread, abandoned: false });
            drop(state);
            if self.do_step(work, thread) {
                return;
            }
            state = self.lock();
        }
    }

    /// Do a step on this thread; true if it was abandoned meanwhile.
    fn do_step(&self, work: Work, thread: Pid) -> bool {
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
        let mut state = self.lock();
        // In the same breath as its result: who sees that a session is done sees no step of it.
        let at = state.running.iter().position(|running| running.thread == thread);
        let abandoned = at.is_some_and(|at| state.running.swap_remove(at).abandoned);
        let left_over = self.put_back(&mut state, id, rung, task, stepped);
        drop(state);
        self.work.notify_all();
        // Freed outside the lock.
        drop(left_over);
        abandoned
    }

    /// Record a step's result; gives back the task if nobody needs it any more.
    fn put_back(
        &self,
        state: &mut PoolState,
        id: u64,
        rung_index: usize,
        task: Box<dyn Task>,
        stepped: Result<Step, String>,
    ) -> Option<Box<dyn Task>> {
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
