//! The memory limit of one guest: all linear memories and tables of its store together.
//!
//! wasmtime's own `StoreLimits` bounds each memory by itself, so a guest of many memories would get
//! many times its limit.

use wasmtime::ResourceLimiter;

use crate::engine::{CORE_INSTANCES_PER_GUEST, MEMORIES_PER_GUEST, TABLES_PER_GUEST};

/// What an element of a table costs the host, in bytes.
const TABLE_ELEMENT_BYTES: usize = size_of::<*const ()>();

/// Sums what a guest's memories and tables take, and refuses growth past the limit.
///
/// A refused growth is an ordinary answer to the guest (`memory.grow` gives -1), which most
/// toolchains turn into a trap; [`Limiter::refusal`] then says why.
#[derive(Debug)]
pub(crate) struct Limiter {
    limit_bytes: usize,
    used_bytes: usize,
    peak_bytes: usize,
    limit_elements: usize,
    used_elements: usize,
    refused: Option<Refused>,
}

/// What was wanted past a limit.
#[derive(Clone, Copy, Debug)]
enum Refused {
    Bytes(usize),
    Elements(usize),
}

impl Limiter {
    /// A limiter that allows `limit_bytes` in all, and of tables `limit_elements`.
    pub(crate) fn new(limit_bytes: usize, limit_elements: usize) -> Self {
        Self {
            limit_bytes,
            used_bytes: 0,
            peak_bytes: 0,
            limit_elements,
            used_elements: 0,
            refused: None,
        }
    }

    /// Most bytes that were in use at once.
    pub(crate) fn peak_bytes(&self) -> usize {
        self.peak_bytes
    }

    /// Why growth was last refused, if it was.
    pub(crate) fn refusal(&self) -> Option<String> {
        Some(match self.refused? {
            Refused::Bytes(wanted) => {
                let limit = self.limit_bytes;
                format!("memory of {wanted} bytes is over the function's limit of {limit} bytes")
            }
            Refused::Elements(wanted) => {
                let limit = self.limit_elements;
                format!("tables of {wanted} elements are over the function's limit of {limit}")
            }
        })
    }

    fn grow(&mut self, current: usize, desired: usize) -> bool {
        let more = desired.saturating_sub(current);
        let wanted = self.used_bytes.saturating_add(more);
        if wanted <= self.limit_bytes {
            self.used_bytes = wanted;
            self.peak_bytes = self.peak_bytes.max(wanted);
            true
        } else {
            self.refused = Some(Refused::Bytes(wanted));
            false
        }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // Growth past the memory's own maximum fails after we allowed it: do not count it.
        if maximum.is_some_and(|maximum| maximum < desired) {
            return Ok(false);
        }
        Ok(self.grow(current, desired))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| maximum < desired) {
            return Ok(false);
        }
        let elements = self.used_elements.saturating_add(desired.saturating_sub(current));
        if self.limit_elements < elements {
            self.refused = Some(Refused::Elements(elements));
            return Ok(false);
        }
        let bytes = |elements: usize| elements.saturating_mul(TABLE_ELEMENT_BYTES);
        let grows = self.grow(bytes(current), bytes(desired));
        if grows {
            self.used_elements = elements;
        }
        Ok(grows)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES_PER_GUEST as usize
    }

    fn tables(&self) -> usize {
        TABLES_PER_GUEST as usize
    }

    fn memories(&self) -> usize {
        MEMORIES_PER_GUEST as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_and_tables_are_summed_and_the_limit_is_inclusive() {
        let mut limiter = Limiter::new(1_000, 100);
        assert!(limiter.memory_growing(0, 400, None).unwrap());
        assert!(limiter.memory_growing(0, 400, None).unwrap(), "a second memory");
        assert!(limiter.table_growing(0, 25, None).unwrap(), "200 bytes of table");
        assert_eq!(limiter.peak_bytes(), 1_000);
        assert!(limiter.refusal().is_none());
        assert!(!limiter.memory_growing(400, 401, None).unwrap());
        let refusal = limiter.refusal().unwrap();
        assert!(refusal.contains("1001") && refusal.contains("limit of 1000"), "{refusal}");
    }

    #[test]
    fn what_was_refused_is_not_counted() {
        let mut limiter = Limiter::new(1_000, 100);
        assert!(!limiter.memory_growing(0, 2_000, None).unwrap());
        assert!(!limiter.memory_growing(0, 500, Some(400)).unwrap(), "the memory's own maximum");
        assert!(!limiter.table_growing(0, usize::MAX, None).unwrap(), "no overflow");
        assert!(limiter.memory_growing(0, 1_000, None).unwrap());
    }

    #[test]
    fn elements_of_all_tables_are_summed() {
        let mut limiter = Limiter::new(10_000, 100);
        assert!(limiter.table_growing(0, 60, None).unwrap());
        assert!(!limiter.table_growing(0, 41, None).unwrap(), "a second table");
        let refusal = limiter.refusal().unwrap();
        assert!(refusal.contains("tables of 101 elements"), "{refusal}");
        assert!(limiter.table_growing(60, 100, None).unwrap());
    }
}
