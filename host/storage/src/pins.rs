//! Which blobs are being read, and which are to go once they are not.
//!
//! A reader looks into the ledger, and then pins the blobs that it found there. In between, a
//! commit may let go of those blobs: so a blob that nothing refers to is kept for everybody who
//! began to look before that commit, and for everybody who pinned it.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use backlot_ledger::objects::{BlobId, Piece};

/// Told that there is something to collect. Called without locks held.
pub(crate) type Wake = Box<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct State {
    /// Number of the next look.
    next: u64,
    looking: BTreeSet<u64>,
    pinned: HashMap<BlobId, u32>,
    /// Blobs that the ledger let go of before look number `.0` began.
    doomed: VecDeque<(u64, BlobId)>,
    /// Blobs being written, which the ledger does not know yet.
    arriving: HashSet<BlobId>,
}

/// The pins of one store.
#[derive(Clone, Default)]
pub(crate) struct Pins {
    state: Arc<Mutex<State>>,
    wake: Arc<Mutex<Option<Arc<Wake>>>>,
}

impl Pins {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets who is told when something can be collected.
    pub(crate) fn on_wake(&self, wake: Wake) {
        *self.wake.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(wake));
    }

    fn wake(&self) {
        let wake = self.wake.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(wake) = wake {
            wake();
        }
    }

    /// Begins to look into the ledger for blobs to read.
    pub(crate) fn look(&self) -> Look {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.looking.insert(number);
        Look { pins: self.clone(), number }
    }

    /// The ledger has let go of these blobs.
    pub(crate) fn doom(&self, ids: &[BlobId]) {
        if ids.is_empty() {
            return;
        }
        {
            let mut state = self.state();
            let next = state.next;
            state.doomed.extend(ids.iter().map(|id| (next, *id)));
        }
        self.wake();
    }

    /// Takes the doomed blobs that nobody can be reading.
    pub(crate) fn collectable(&self) -> Vec<BlobId> {
        let state = &mut *self.state();
        let oldest = state.looking.first().copied().unwrap_or(u64::MAX);
        let mut free = Vec::new();
        state.doomed.retain(|(next, id)| {
            let held = oldest < *next || state.pinned.contains_key(id);
            if !held {
                free.push(*id);
            }
            held
        });
        free
    }

    /// A blob begins to be written.
    pub(crate) fn arrive(&self, id: BlobId) {
        self.state().arriving.insert(id);
    }

    /// A blob is known to the ledger now, or given up.
    pub(crate) fn arrived(&self, id: BlobId) {
        self.state().arriving.remove(&id);
    }

    /// Whether a blob is being written.
    pub(crate) fn is_arriving(&self, id: BlobId) -> bool {
        self.state().arriving.contains(&id)
    }

    /// Whether a blob is read, or may be.
    pub(crate) fn is_held(&self, id: BlobId) -> bool {
        let state = self.state();
        !state.looking.is_empty() || state.pinned.contains_key(&id)
    }
}

/// A look into the ledger under way: nothing that it may find is removed.
pub(crate) struct Look {
    pins: Pins,
    number: u64,
}

impl Look {
    /// Pins what the look found.
    pub(crate) fn pin(self, pieces: &[Piece]) -> Pin {
        let ids: HashSet<BlobId> = pieces.iter().map(|piece| piece.blob).collect();
        {
            let mut state = self.pins.state();
            for id in &ids {
                *state.pinned.entry(*id).or_default() += 1;
            }
        }
        Pin { pins: self.pins.clone(), ids: ids.into_iter().collect() }
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        let waiting = {
            let mut state = self.pins.state();
            state.looking.remove(&self.number);
            !state.doomed.is_empty()
        };
        if waiting {
            self.pins.wake();
        }
    }
}

/// Blobs that stay until this is dropped.
pub(crate) struct Pin {
    pins: Pins,
    ids: Vec<BlobId>,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let waiting = {
            let mut state = self.pins.state();
            for id in &self.ids {
                if let Some(count) = state.pinned.get_mut(id) {
                    *count -= 1;
                    if *count == 0 {
                        state.pinned.remove(id);
                    }
                }
            }
            !state.doomed.is_empty()
        };
        if waiting {
            self.pins.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use backlot_ledger::objects::Place;

    use super::*;

    fn piece(blob: BlobId) -> Piece {
        Piece { blob, place: Place::File, offset: 0, len: 1 }
    }

    #[test]
    fn a_look_that_began_before_keeps_what_it_may_find_and_a_later_one_does_not() {
        let pins = Pins::default();
        let id = BlobId::new();
        let before = pins.look();
        pins.doom(&[id]);
        let _after = pins.look();
        assert_eq!(pins.collectable(), []);
        let pin = before.pin(&[piece(id)]);
        assert_eq!(pins.collectable(), []);
        drop(pin);
        assert_eq!(pins.collectable(), [id]);
        assert_eq!(pins.collectable(), []);
    }

    #[test]
    fn every_pin_counts() {
        let pins = Pins::default();
        let id = BlobId::new();
        let first = pins.look().pin(&[piece(id), piece(id)]);
        let second = pins.look().pin(&[piece(id)]);
        pins.doom(&[id]);
        drop(first);
        assert_eq!(pins.collectable(), []);
        drop(second);
        assert_eq!(pins.collectable(), [id]);
    }
}
