//! The pool with tasks that do nothing but tell.

use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use super::*;

type Log = Arc<Mutex<Vec<(&'static str, usize)>>>;

/// Makes a packet of each frame and logs each step.
struct Teller {
    name: &'static str,
    rung: usize,
    log: Log,
    packets: u64,
    packet_bytes: usize,
    /// Panics at this frame.
    panics_at: Option<u64>,
}

impl Task for Teller {
    fn wants_input(&self) -> bool {
        true
    }

    fn step(&mut self, input: Option<Arc<CheckedFrame>>) -> Result<Step, String> {
        self.log.lock().unwrap().push((self.name, self.rung));
        assert_ne!(self.panics_at, Some(self.packets), "told to");
        if input.is_none() {
            return Ok(Step::Done);
        }
        self.packets += 1;
        let data = vec![0; self.packet_bytes];
        Ok(Step::Packet(Packet { frame: self.packets - 1, key: false, data }))
    }
}

/// Waits until it is told to go on.
struct Sleeper {
    running: Arc<AtomicUsize>,
    go_on: Arc<(Mutex<bool>, Condvar)>,
}

impl Task for Sleeper {
    fn wants_input(&self) -> bool {
        false
    }

    fn step(&mut self, _input: Option<Arc<CheckedFrame>>) -> Result<Step, String> {
        self.running.fetch_add(1, Ordering::SeqCst);
        let (lock, condvar) = &*self.go_on;
        let mut gone_on = lock.lock().unwrap();
        while !*gone_on {
            gone_on = condvar.wait(gone_on).unwrap();
        }
        Ok(Step::Done)
    }
}

fn frame() -> Arc<CheckedFrame> {
    Arc::new(CheckedFrame::Eight([vec![0], vec![0], vec![0]]))
}

fn teller(name: &'static str, rung: usize, log: &Log) -> Teller {
    Teller { name, rung, log: log.clone(), packets: 0, packet_bytes: 1, panics_at: None }
}

fn session(tasks: Vec<Teller>) -> SessionState {
    let tasks = tasks.into_iter().map(|task| Box::new(task) as Box<dyn Task>).collect();
    SessionState::new(tasks, Vec::new(), Arc::new(Notify::new()))
}

/// Take work and do it on this thread until there is none: the scheduler without threads.
fn run_dry(pool: &Pool) {
    loop {
        let Some(work) = pool.lock().next_work() else { return };
        pool.do_step(work, gettid());
    }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn the_oldest_session_goes_first_and_its_rungs_take_turns() {
    let pool = Pool::default();
    let log = Log::default();
    let old = pool.add(session(vec![teller("old", 0, &log), teller("old", 1, &log)]));
    let young = pool.add(session(vec![teller("young", 0, &log)]));
    for id in [young, old] {
        pool.with_session(id, |session| {
            session.push(frame());
            session.push(frame());
        });
    }
    run_dry(&pool);
    let told = log.lock().unwrap().clone();
    let expected = [("old", 0), ("old", 1), ("old", 0), ("old", 1), ("young", 0), ("young", 0)];
    assert_eq!(told, expected);
}

#[test]
fn an_idle_old_session_leaves_the_threads_to_others() {
    let pool = Pool::default();
    let log = Log::default();
    pool.add(session(vec![teller("old", 0, &log)]));
    let young = pool.add(session(vec![teller("young", 0, &log)]));
    pool.with_session(young, |session| session.push(frame()));
    run_dry(&pool);
    assert_eq!(*log.lock().unwrap(), [("young", 0)]);
}

#[test]
fn a_panic_fails_the_session_and_nobody_else() {
    let pool = Pool::default();
    let log = Log::default();
    let doomed = Teller { panics_at: Some(1), ..teller("doomed", 0, &log) };
    let doomed = pool.add(session(vec![doomed, teller("doomed", 1, &log)]));
    let other = pool.add(session(vec![teller("other", 0, &log)]));
    for id in [doomed, other] {
        pool.with_session(id, |session| {
            (0..3).for_each(|_| session.push(frame()));
            session.finished = true;
        });
    }
    run_dry(&pool);
    let reason = pool.with_session(doomed, |session| session.failed.clone()).unwrap().unwrap();
    assert!(reason.starts_with("panicked: ") && reason.contains("told to"), "{reason}");
    assert_eq!(pool.with_session(doomed, |session| session.backlog_frames()), Some(0));
    let (done, failed) =
        pool.with_session(other, |session| (session.is_done(), session.failed.clone())).unwrap();
    assert!(done && failed.is_none());
}

#[test]
fn rungs_stand_still_while_too_much_is_undelivered() {
    let pool = Pool::default();
    let log = Log::default();
    let large = Teller { packet_bytes: UNDELIVERED_BYTES_MAX / 2, ..teller("large", 0, &log) };
    let id = pool.add(session(vec![large]));
    pool.with_session(id, |session| (0..5).for_each(|_| session.push(frame())));
    run_dry(&pool);
    assert_eq!(pool.with_session(id, |session| session.packets.len()), Some(2));
    pool.with_session(id, |session| {
        session.packets.clear();
        session.packet_bytes = 0;
    });
    run_dry(&pool);
    assert_eq!(pool.with_session(id, |session| session.packets.len()), Some(2));
}

/// One slot whose thread is in the middle of a step of the session that is removed.
#[test]
fn removing_a_session_frees_its_slot_in_the_middle_of_a_step() {
    let pool = Pool::start(1, 0).unwrap();
    let running = Arc::new(AtomicUsize::new(0));
    let go_on = Arc::new((Mutex::new(false), Condvar::new()));
    let sleeper = || Sleeper { running: running.clone(), go_on: go_on.clone() };
    let add = |task: Box<dyn Task>| {
        let id = pool.add(SessionState::new(vec![task], Vec::new(), Arc::new(Notify::new())));
        pool.wake();
        id
    };
    let abandoned = add(Box::new(sleeper()));
    wait_until("the step begins", || running.load(Ordering::SeqCst) == 1);

    let start = Instant::now();
    pool.remove(abandoned);
    assert!(start.elapsed() < Duration::from_millis(100), "{:?}", start.elapsed());
    assert!(pool.with_session(abandoned, |_| ()).is_none());
    let thread = pool.lock().running[0].thread;
    let niceness = rustix::process::getpriority_process(Some(thread)).unwrap();
    assert_eq!(niceness, ABANDONED_NICENESS);

    let log = Log::default();
    let next = add(Box::new(teller("next", 0, &log)));
    pool.with_session(next, |session| session.push(frame()));
    pool.wake();
    wait_until("another session has the slot", || log.lock().unwrap().len() == 1);
    // Counted after the task has told; the abandoned step still runs.
    wait_until("its step is counted", || pool.counters().steps == 1);

    // There is one replacement for each slot; the next removed session's step keeps it.
    let second = add(Box::new(sleeper()));
    wait_until("the second step begins", || running.load(Ordering::SeqCst) == 2);
    pool.remove(second);
    let abandoned = pool.lock().running.iter().filter(|step| step.abandoned).count();
    assert_eq!(abandoned, 1);

    *go_on.0.lock().unwrap() = true;
    go_on.1.notify_all();
    wait_until("the steps end", || pool.lock().running.is_empty());
    wait_until("their memory is freed", || pool.lock().garbage.is_empty());
    // This test's handle and the one thread of the one slot.
    wait_until("the abandoned thread ends", || Arc::strong_count(&pool) == 2);
    pool.stop();
}

#[test]
fn a_thread_survives_a_panic() {
    let pool = Pool::start(1, 0).unwrap();
    let log = Log::default();
    let doomed = Teller { panics_at: Some(0), ..teller("doomed", 0, &log) };
    for tasks in [vec![doomed], vec![teller("next", 0, &log)]] {
        let id = pool.add(session(tasks));
        pool.with_session(id, |session| session.push(frame()));
        pool.wake();
        wait_until("a result", || {
            pool.with_session(id, |s| s.failed.is_some() || s.packets.len() == 1).unwrap()
        });
    }
    assert_eq!(*log.lock().unwrap(), [("doomed", 0), ("next", 0)]);
    pool.stop();
}
