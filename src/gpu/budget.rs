//! The bytes that elbow owns on a device, counted and kept below a limit.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::error::{Error, Result};

/// Bytes in use, and their limit.
#[derive(Debug)]
pub(super) struct Budget {
    used: AtomicU64,
    limit: AtomicU64,
}

/// Bytes taken from a budget: dropping it gives them back.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    /// Without a limit: drivers promise more memory than they have, so no default of ours would be right.
    pub(super) fn unlimited() -> Arc<Self> {
        Arc::new(Budget { used: AtomicU64::new(0), limit: AtomicU64::new(u64::MAX) })
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    pub(super) fn set_limit(&self, bytes: u64) {
        self.limit.store(bytes, Ordering::Relaxed);
    }

    /// Takes all the bytes, or fails and takes none.
    pub(super) fn take(self: &Arc<Self>, bytes: u64) -> Result<Share> {
        let limit = self.limit();
        let with = |used: u64| used.checked_add(bytes).filter(|total| *total <= limit);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, with) {
            Ok(_) => Ok(Share { budget: Arc::clone(self), bytes }),
            Err(used) => Err(Error::OutOfMemory { asked: used.saturating_add(bytes), limit }),
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_come_back() {
        let budget = Budget::unlimited();
        budget.set_limit(100);
        let share = budget.take(60).expect("60 of 100");
        assert_eq!(budget.take(41).err(), Some(Error::OutOfMemory { asked: 101, limit: 100 }));
        let rest = budget.take(40).expect("40 of the 40 that are left");
        assert_eq!(budget.used(), 100);
        drop(share);
        assert_eq!(budget.used(), 40);
        drop(rest);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_sum_past_64_bits_is_refused() {
        let budget = Budget::unlimited();
        let _share = budget.take(2).expect("2 of no bound");
        assert_eq!(budget.take(u64::MAX).err(), Some(Error::OutOfMemory { asked: u64::MAX, limit: u64::MAX }));
    }

    /// Threads that take and give back never pass the bound between them, and leave nothing behind.
    #[test]
    fn threads_never_pass_the_bound_together() {
        let budget = Budget::unlimited();
        budget.set_limit(3);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let share = budget.take(1);
                        assert!(budget.used() <= 3);
                        drop(share);
                    }
                });
            }
        });
        assert_eq!(budget.used(), 0);
    }
}
