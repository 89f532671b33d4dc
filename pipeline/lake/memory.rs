//! Owns how operators of a session share its memory.
//!
//! The engine's own fair pool gives every sort of a plan the same share from the start, also those that
//! hold nothing yet: a plan of ten windows has twenty sorts on two cores, and a twentieth is less than one
//! batch of a fleet's day. Its greedy pool lets one sort take all, and the sort that it feeds none. Here what
//! can spill takes what it needs, alone up to a sixth and together up to three quarters: the rest is for
//! joins and merges, which cannot, and for the first batches of a sort that comes late. Called by `session`.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::execution::memory_pool::{
    MemoryLimit, MemoryPool, MemoryReservation, human_readable_size,
};

/// No consumer that can spill holds more than the pool divided by this,
const SHARES: usize = 6;
/// while this much it may have whatever others hold.
const FLOORS: usize = 40;

/// A pool of bytes of which consumers that can spill take a part at most.
#[derive(Debug)]
pub(super) struct SharedPool {
    limit_bytes: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    spilling_bytes: usize,
    other_bytes: usize,
}

impl Taken {
    const fn all(&self) -> usize {
        self.spilling_bytes + self.other_bytes
    }

    fn of(&mut self, reservation: &MemoryReservation) -> &mut usize {
        if reservation.consumer().can_spill() {
            &mut self.spilling_bytes
        } else {
            &mut self.other_bytes
        }
    }
}

impl SharedPool {
    pub(super) const fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            taken: Mutex::new(Taken {
                spilling_bytes: 0,
                other_bytes: 0,
            }),
        }
    }

    /// Plain sums are whole whatever thread panicked.
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fits(&self, taken: &Taken, reservation: &MemoryReservation, additional: usize) -> bool {
        if taken.all() + additional > self.limit_bytes {
            return false;
        }
        let own = reservation.size() + additional;
        let together = taken.spilling_bytes + additional;
        !reservation.consumer().can_spill()
            || own <= self.limit_bytes / FLOORS
            || own <= self.limit_bytes / SHARES
                && together <= self.limit_bytes - self.limit_bytes / 4
    }

    fn refused(
        &self,
        taken: &Taken,
        reservation: &MemoryReservation,
        additional: usize,
    ) -> DataFusionError {
        DataFusionError::ResourcesExhausted(format!(
            "{} asked for {} beside the {} that it holds; {} of {} are taken",
            reservation.consumer().name(),
            human_readable_size(additional),
            human_readable_size(reservation.size()),
            human_readable_size(taken.all()),
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

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        *self.taken().of(reservation) += additional;
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        *self.taken().of(reservation) -= shrink;
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> DfResult<()> {
        let mut taken = self.taken();
        if !self.fits(&taken, reservation, additional) {
            return Err(self.refused(&taken, reservation, additional));
        }
        *taken.of(reservation) += additional;
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.taken().all()
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
    fn what_spills_leaves_room_for_what_cannot_and_for_what_comes_late() {
        let pool: Arc<dyn MemoryPool> = Arc::new(SharedPool::new(1200));
        let spilling = |name: &str| {
            MemoryConsumer::new(name)
                .with_can_spill(true)
                .register(&pool)
        };
        let sorts: Vec<_> = (0..40).map(|_| spilling("sort")).collect();
        assert!(sorts[0].try_grow(200).is_ok(), "however many wait");
        let refused = sorts[0].try_grow(1).unwrap_err().to_string();
        assert!(refused.contains("sort asked for"), "{refused}");
        for sort in &sorts[1..4] {
            assert!(sort.try_grow(200).is_ok());
        }
        assert!(
            sorts[4].try_grow(101).is_err(),
            "a quarter is not for sorts"
        );
        assert!(sorts[5].try_grow(30).is_ok(), "but for their first batches");
        let join = MemoryConsumer::new("join").register(&pool);
        assert!(join.try_grow(370).is_ok());
        assert!(join.try_grow(1).is_err());
        join.free();
        assert_eq!(pool.reserved(), 830);
    }
}
