//! Sessions: what a caller holds while it encodes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::error::EncodeError;
use crate::frame::Frame;
use crate::pool::{Counters, CpuAccount, Pool, SessionState, UNDELIVERED_BYTES_MAX};
use crate::rung::RungPlan;
use crate::settings::{CheckedSettings, Picture, Settings};

/// Bytes of input frames that may wait before a session's slowest rung, within
/// [`QUEUE_FRAMES_MIN`] and [`QUEUE_FRAMES_MAX`]. Enough to bridge the pauses of a decoder.
pub const QUEUE_BYTES_MAX: usize = 32 << 20;
/// Frames that may wait however large they are.
pub const QUEUE_FRAMES_MIN: usize = 2;
/// Frames that may wait however small they are.
pub const QUEUE_FRAMES_MAX: usize = 16;
/// Bytes of packets given out at a time, unless the first alone is larger.
pub const DELIVERY_BYTES_MAX: usize = 8 << 20;
/// Sessions open at a time for each slot: one to encode while another waits for its decoder.
pub const SESSIONS_PER_SLOT: usize = 2;

/// How the process encodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncoderConfig {
    /// Encoding threads, at least 1; the number of cores is right.
    pub slots: usize,
    /// Their nice value, 0 to 19: 10 leaves a core to whoever else wants it.
    pub niceness: i32,
}

impl Default for EncoderConfig {
    fn default() -> EncoderConfig {
        let slots = std::thread::available_parallelism().map_or(1, usize::from);
        EncoderConfig { slots, niceness: 10 }
    }
}

/// The process's encoder: clones share its threads. They end when the last clone and the last
/// session are gone.
#[derive(Clone)]
pub struct Encoder {
    shared: Arc<Shared>,
}

struct Shared {
    pool: Arc<Pool>,
    slots: usize,
    /// One permit an open session.
    sessions: Arc<Semaphore>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.pool.stop();
    }
}

impl Encoder {
    /// Start the threads.
    ///
    /// # Errors
    /// [`EncodeError::Failed`] if the system gives no threads.
    pub fn new(config: EncoderConfig) -> Result<Encoder, EncodeError> {
        let slots = config.slots.max(1);
        let pool = Pool::start(slots, config.niceness)
            .map_err(|error| EncodeError::Failed(format!("no encoding threads: {error}")))?;
        let sessions = Arc::new(Semaphore::new(slots * SESSIONS_PER_SLOT));
        Ok(Encoder { shared: Arc::new(Shared { pool, slots, sessions }) })
    }

    /// Encoding threads.
    pub fn slots(&self) -> usize {
        self.shared.slots
    }

    /// What was done since the encoder was made, and how many sessions are open.
    pub fn counters(&self) -> Counters {
        self.shared.pool.counters()
    }

    /// Open a session, waiting while [`SESSIONS_PER_SLOT`] × slots are open.
    ///
    /// # Errors
    /// Those of [`Settings::check`].
    pub async fn open(&self, settings: Settings) -> Result<Session, EncodeError> {
        self.open_for(settings, &CpuAccount::default()).await
    }

    /// Like [`Encoder::open`]; the CPU time is also added to `account`, which outlives the session.
    ///
    /// # Errors
    /// Those of [`Settings::check`].
    pub async fn open_for(
        &self,
        settings: Settings,
        account: &CpuAccount,
    ) -> Result<Session, EncodeError> {
        let settings = settings.check()?;
        let permit = self.shared.sessions.clone().acquire_owned().await;
        let permit = permit.map_err(|_| EncodeError::Failed("the encoder is closed".to_owned()))?;
        Ok(Session::new(self.shared.clone(), settings, permit, account))
    }

    /// Like [`Encoder::open_for`] without waiting: for a caller that holds a session already, and
    /// would otherwise wait for itself.
    ///
    /// # Errors
    /// Those of [`Settings::check`]; [`EncodeError::OverLimit`] if all sessions are taken.
    pub fn try_open_for(
        &self,
        settings: Settings,
        account: &CpuAccount,
    ) -> Result<Session, EncodeError> {
        let settings = settings.check()?;
        let limit = (self.shared.slots * SESSIONS_PER_SLOT) as u64;
        let permit = self.shared.sessions.clone().try_acquire_owned().map_err(|_| {
            EncodeError::OverLimit { what: "encoding sessions", got: limit + 1, limit }
        })?;
        Ok(Session::new(self.shared.clone(), settings, permit, account))
    }

    /// Name and version of everything that decides the bytes: belongs in the key of a stored
    /// result. Raise the last part when the settings given to rav1e or the scaling change.
    pub fn version() -> &'static str {
        concat!("rav1e 0.8.1, backlot-encoding ", env!("CARGO_PKG_VERSION"), ", recipe 1")
    }
}

/// One temporal unit of one rung.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Index in the settings' rungs.
    pub rung: u32,
    /// Number of the frame in the session, from 0, without gaps for each rung.
    pub frame: u64,
    /// Decoding can begin here.
    pub key: bool,
    /// OBUs in low-overhead format without a temporal delimiter.
    pub data: Vec<u8>,
}

/// One encode of all rungs. Dropping it cancels: waiting frames and packets are gone at once, and
/// its slots are free for others. What a thread is doing for it at that moment ends with the step
/// (one frame of one rung) at the lowest priority, and the result is dropped.
pub struct Session {
    shared: Arc<Shared>,
    id: u64,
    picture: Picture,
    queue_frames_max: usize,
    configs: Vec<Vec<u8>>,
    account: CpuAccount,
    changed: Arc<Notify>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.pool.remove(self.id);
    }
}

impl Session {
    fn new(
        shared: Arc<Shared>,
        settings: CheckedSettings,
        permit: OwnedSemaphorePermit,
        parent: &CpuAccount,
    ) -> Session {
        let plans: Vec<_> = settings
            .rungs_with_levels()
            .map(|(rung, level)| (rung, RungPlan::new(&settings, rung, level)))
            .collect();
        let configs = plans.iter().map(|(_, plan)| plan.av1c().to_vec()).collect();
        let tasks = plans.into_iter().map(|(rung, plan)| plan.task(&settings, rung)).collect();
        let account = CpuAccount::default();
        let changed = Arc::new(Notify::new());
        let accounts = vec![account.clone(), parent.clone()];
        let id = shared.pool.add(SessionState::new(tasks, accounts, changed.clone()));
        let picture = settings.picture();
        let queue_frames_max =
            (QUEUE_BYTES_MAX / picture.frame_bytes()).clamp(QUEUE_FRAMES_MIN, QUEUE_FRAMES_MAX);
        Session {
            shared,
            id,
            picture,
            queue_frames_max,
            configs,
            account,
            changed,
            _permit: permit,
        }
    }

    /// The `av1C` box's content for a rung, from the start.
    ///
    /// # Errors
    /// [`EncodeError::Invalid`] if there is no such rung.
    pub fn config(&self, rung: u32) -> Result<&[u8], EncodeError> {
        let config = self.configs.get(rung as usize).map(Vec::as_slice);
        config.ok_or_else(|| {
            EncodeError::invalid("rung", format!("{rung} of {}", self.configs.len()))
        })
    }

    /// Push the next frame. Waits while [`QUEUE_BYTES_MAX`] of frames wait for the slowest rung.
    /// Dropping the future pushes nothing.
    ///
    /// # Errors
    /// [`EncodeError::Invalid`] if the frame is not of the announced shape or follows
    /// [`Session::finish`]; [`EncodeError::OverLimit`] if [`UNDELIVERED_BYTES_MAX`] of packets
    /// wait: they must be taken first, waiting would not help; [`EncodeError::Failed`].
    pub async fn push(&self, frame: Frame) -> Result<(), EncodeError> {
        let mut frame = Some(Arc::new(frame.check(&self.picture)?));
        self.wait_for(|session| {
            if session.finished {
                return Some(Err(EncodeError::invalid("frame", "pushed after finish")));
            }
            if UNDELIVERED_BYTES_MAX <= session.packet_bytes {
                return Some(Err(EncodeError::OverLimit {
                    what: "bytes of packets not taken",
                    got: session.packet_bytes as u64,
                    limit: UNDELIVERED_BYTES_MAX as u64,
                }));
            }
            if self.queue_frames_max <= session.backlog_frames() {
                return None;
            }
            let frame = frame.take()?;
            session.push(frame);
            Some(Ok(()))
        })
        .await?;
        self.shared.pool.wake();
        Ok(())
    }

    /// No more frames will come. Doing it twice is no mistake.
    ///
    /// # Errors
    /// [`EncodeError::Failed`].
    pub fn finish(&self) -> Result<(), EncodeError> {
        self.shared
            .pool
            .with_session(self.id, |session| {
                session.finished = true;
                failure(session).map_or(Ok(()), Err)
            })
            .unwrap_or_else(|| Err(gone()))?;
        self.shared.pool.wake();
        Ok(())
    }

    /// Packets that are ready, at most [`DELIVERY_BYTES_MAX`] of them, in order for each rung.
    /// Before [`Session::finish`]: at once, possibly none. After it: waits for at least one; none
    /// means that all have been given. Dropping the future loses none.
    ///
    /// # Errors
    /// [`EncodeError::Failed`].
    pub async fn packets(&self) -> Result<Vec<Packet>, EncodeError> {
        let packets = self
            .wait_for(|session| {
                let packets = take_packets(session);
                let wait = packets.is_empty() && session.finished && !session.is_done();
                (!wait).then_some(Ok(packets))
            })
            .await?;
        // Rungs that stood still because of undelivered packets may go on.
        self.shared.pool.wake();
        Ok(packets)
    }

    /// CPU time of the steps done for this session so far.
    pub fn cpu_time(&self) -> Duration {
        self.account.total()
    }

    /// Packets made so far for each rung, also those that were not taken: for progress.
    pub fn packets_made(&self) -> Vec<u64> {
        let made = self.shared.pool.with_session(self.id, |session| session.packets_made());
        made.unwrap_or_default()
    }

    /// Ask `ready` now and after each change until it answers. A failed session answers by itself.
    async fn wait_for<T>(
        &self,
        mut ready: impl FnMut(&mut SessionState) -> Option<Result<T, EncodeError>>,
    ) -> Result<T, EncodeError> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Listen before looking, else a change in between would be missed.
            changed.as_mut().enable();
            let answer = self.shared.pool.with_session(self.id, |session| {
                failure(session).map(Err).or_else(|| ready(session))
            });
            match answer {
                None => return Err(gone()),
                Some(Some(answer)) => return answer,
                Some(None) => changed.await,
            }
        }
    }
}

fn take_packets(session: &mut SessionState) -> Vec<Packet> {
    let mut packets = Vec::new();
    let mut bytes = 0;
    while let Some((rung, packet)) = session.packets.pop_front() {
        bytes += packet.data.len();
        if DELIVERY_BYTES_MAX < bytes && !packets.is_empty() {
            session.packets.push_front((rung, packet));
            break;
        }
        session.packet_bytes -= packet.data.len();
        let crate::pool::Packet { frame, key, data } = packet;
        packets.push(Packet { rung, frame, key, data });
    }
    packets
}

fn failure(session: &SessionState) -> Option<EncodeError> {
    session.failed.clone().map(EncodeError::Failed)
}

/// Only a session that exists asks, so this is not seen.
fn gone() -> EncodeError {
    EncodeError::Failed("the session is closed".to_owned())
}
