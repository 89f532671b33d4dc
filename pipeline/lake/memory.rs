//! Owns how operators of a session share its memory.
//!
//! The engine's own fair pool gives every sort of a plan the same share from the start, also those that
//! hold nothing yet: a plan of ten windows has twenty sorts on two cores, and a twentieth is less than one
//! batch of a fleet's day. Its greedy pool lets one sort take all, and the sort that it feeds none. Here a
//! sort takes what it needs up to a sixth: two sorts that feed each other, on two cores, leave a third for
//! joins and groups, which cannot spill. Called by `session`.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::execution::memory_pool::{
    MemoryLimit, MemoryPool, MemoryReservation, human_readable_size,
};

/// No consumer that can spill holds more than the pool divided by this.
const SHARES: usize = 6;

/// A pool of bytes of which one spilling consumer takes a part at most.
#[derive(Debug)]
pub(super) struct SharedPool {
    limit_bytes: usize,
    used_bytes: AtomicUsize,
}

impl SharedPool {
    pub(super) const fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            used_bytes: AtomicUsize::new(0),
        }
    }

    fn refused(&self, reservation: &MemoryReservation, additional: usize) -> DataFusionError {
        DataFusionError::ResourcesExhausted(format!(
            "{} asked for {} beside the {} that it holds; {} of {} are taken",
            reservation.consumer().name(),
            human_readable_size(additional),
            human_readable_size(reservation.size()),
            human_readable_size(self.reserved()),
            human_readable_size(self.limit_bytes),
        ))
    }
}

impl fmt::Display for SharedPool {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "shared({})", human_readable_size(self.limit_bytes))
    }
}

impl MemoryPool for SharedPool {
    fn name(&self) -> &'static str {
        "shared"
    }

    fn grow(&self, _: &MemoryReservation, additional: usize) {
        self.used_bytes.fetch_add(additional, Ordering::Relaxed);
    }

    fn shrink(&self, _: &MemoryReservation, shrink: usize) {
        self.used_bytes.fetch_sub(shrink, Ordering::Relaxed);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> DfResult<()> {
        let spills = reservation.consumer().can_spill();
        if spills && reservation.size() + additional > self.limit_bytes / SHARES {
            return Err(self.refused(reservation, additional));
        }
        self.used_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(additional)
                    .filter(|sum| *sum <= self.limit_bytes)
            })
            .map(|_| ())
            .map_err(|_| self.refused(reservation, additional))
    }

    fn reserved(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit_bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::execution::memory_pool::MemoryConsumer;

    use super::*;

    #[test]
    fn a_sort_takes_a_sixth_however_many_wait() {
        let pool: Arc<dyn MemoryPool> = Arc::new(SharedPool::new(600));
        let idle: Vec<_> = (0..40)
            .map(|_| {
                MemoryConsumer::new("idle")
                    .with_can_spill(true)
                    .register(&pool)
            })
            .collect();
        let sort = MemoryConsumer::new("sort")
            .with_can_spill(true)
            .register(&pool);
        assert!(sort.try_grow(100).is_ok());
        let refused = sort.try_grow(1).unwrap_err().to_string();
        assert!(refused.contains("sort asked for"), "{refused}");
        let join = MemoryConsumer::new("join").register(&pool);
        assert!(
            join.try_grow(500).is_ok(),
            "what cannot spill may take the rest"
        );
        assert!(idle[0].try_grow(1).is_err(), "and there is no more");
        join.free();
        assert!(idle[0].try_grow(100).is_ok());
        assert_eq!(pool.reserved(), 200);
    }
}
