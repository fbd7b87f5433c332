//! Effects: what an invocation does once, however many attempts that takes.
//!
//! An effect is known by what it is: the host function, its arguments, and how often this
//! invocation has made that very call before. What was done is recorded in the commit that does it;
//! a later attempt that makes the same call gets the recorded answer, and nothing is done again.
//! A call that failed did nothing: it is neither recorded nor counted.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::Fence;

/// Effects of one invocation: bounds what a guest in a loop can record.
pub const EFFECTS_MAX: usize = 100_000;
/// Longest subject that is kept with an effect, in bytes; the rest is cut off.
pub const EFFECT_SUBJECT_BYTES_MAX: usize = 1_024;

/// One call of a running attempt that changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// The attempt; a stale one does nothing.
    pub fence: Fence,
    /// The host function, such as `backlot:storage/objects.delete`.
    pub call: &'static str,
    /// What it is done to, for people; no part of what tells effects apart.
    pub subject: String,
    digest: [u8; 32],
    occurrence: u32,
}

impl Effect {
    /// The same in every attempt, and of no other effect anywhere: for whoever does the work and
    /// asks for an idempotency key. 64 hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> String {
        let mut id = Sha256::new_with_prefix(self.fence.invocation.as_str());
        id.update(self.key());
        hex::encode(id.finalize())
    }

    /// What tells it from the other effects of its invocation.
    pub(crate) fn key(&self) -> [u8; 32] {
        let mut key = Sha256::new_with_prefix(self.digest);
        key.update(self.occurrence.to_le_bytes());
        key.finalize().into()
    }
}

/// Counts, for one attempt, how often each effect was done.
#[derive(Debug)]
pub struct Effects {
    fence: Fence,
    done: HashMap<[u8; 32], u32>,
}

impl Effects {
    /// For an attempt that has done nothing yet.
    #[must_use]
    pub fn new(fence: Fence) -> Self {
        Self { fence, done: HashMap::new() }
    }

    /// The effect that this call with these arguments is now.
    #[must_use]
    pub fn next(&self, call: &'static str, subject: String, arguments: &[&[u8]]) -> Effect {
        let mut digest = Sha256::new();
        for part in std::iter::once(call.as_bytes()).chain(arguments.iter().copied()) {
            // Lengths, so that no two lists of arguments run together to the same bytes.
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        let digest = digest.finalize().into();
        let occurrence = self.done.get(&digest).copied().unwrap_or(0);
        Effect { fence: self.fence.clone(), call, subject, digest, occurrence }
    }

    /// It was done, now or in an earlier attempt: the same call is another effect from now on.
    pub fn done(&mut self, effect: &Effect) {
        self.done.insert(effect.digest, effect.occurrence.saturating_add(1));
    }
}

/// An effect as it was recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct EffectRecord {
    /// The host function.
    pub call: String,
    /// What it was done to.
    pub subject: String,
    /// The attempt that did it.
    pub attempt: u32,
    /// When.
    pub time: Timestamp,
    /// What it answered.
    pub answer: Value,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InvocationId;

    #[test]
    fn an_effect_is_known_by_call_arguments_and_occurrence() {
        let fence = |token| Fence { invocation: InvocationId::stored("a".repeat(32)), token };
        let (mut first, second) = (Effects::new(fence(1)), Effects::new(fence(2)));
        let put = first.next("put", "x".into(), &[b"bucket", b"key"]);
        assert_eq!(
            put.key(),
            second.next("put", "another name".into(), &[b"bucket", b"key"]).key()
        );
        for other in [
            first.next("delete", "x".into(), &[b"bucket", b"key"]),
            first.next("put", "x".into(), &[b"bucketkey"]),
            first.next("put", "x".into(), &[b"bucke", b"tkey"]),
            first.next("put", "x".into(), &[b"bucket", b"key", b""]),
        ] {
            assert_ne!(put.key(), other.key(), "{other:?}");
        }
        // Asked for again without having been done, it is the same.
        assert_eq!(put.key(), first.next("put", "x".into(), &[b"bucket", b"key"]).key());
        first.done(&put);
        assert_ne!(put.key(), first.next("put", "x".into(), &[b"bucket", b"key"]).key());
        let elsewhere = Fence { invocation: InvocationId::stored("b".repeat(32)), token: 1 };
        let same = Effects::new(elsewhere).next("put", "x".into(), &[b"bucket", b"key"]);
        assert_eq!(put.key(), same.key());
        assert_ne!(put.id(), same.id());
    }
}
