//! Owns the replicas of a simulation: those that serve, those that start, and what a scaler sees of them.

use std::collections::VecDeque;

use super::signal::Readings;

/// What a scaler sees when it looks.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sight {
    pub ready: u32,
    pub starting: u32,
    pub readings: Readings,
}

impl Sight {
    /// Replicas that are asked for.
    #[must_use]
    pub fn current(&self) -> u32 {
        self.ready + self.starting
    }
}

/// Replicas, of which the starting ones become ready in the order of their start.
#[derive(Debug, Clone, Default)]
pub(super) struct Fleet {
    pub ready: u32,
    starting: VecDeque<(i64, u32)>,
    pub starting_count: u32,
}

impl Fleet {
    pub(super) fn ready(count: u32) -> Self {
        Self {
            ready: count,
            ..Self::default()
        }
    }

    pub(super) fn held(&self) -> u32 {
        self.ready + self.starting_count
    }

    /// Makes ready what has started by now; whether anything did.
    pub(super) fn advance(&mut self, now_ms: i64) -> bool {
        let before = self.ready;
        while let Some((at, count)) = self.starting.front().copied()
            && at <= now_ms
        {
            self.starting.pop_front();
            self.starting_count -= count;
            self.ready += count;
        }
        self.ready != before
    }

    /// Starts or stops replicas. Those that have not become ready go first, the newest of them first, as
    /// a ReplicaSet ranks its pods.
    pub(super) fn scale_to(&mut self, wanted: u32, now_ms: i64, startup_ms: i64) {
        let held = self.held();
        if wanted > held {
            let count = wanted - held;
            self.starting.push_back((now_ms + startup_ms, count));
            self.starting_count += count;
            return;
        }
        let mut surplus = held - wanted;
        while surplus > 0
            && let Some((at, count)) = self.starting.pop_back()
        {
            let gone = count.min(surplus);
            surplus -= gone;
            self.starting_count -= gone;
            if count > gone {
                self.starting.push_back((at, count - gone));
            }
        }
        self.ready -= surplus.min(self.ready);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_starts_serves_later_and_goes_first() {
        let mut fleet = Fleet::ready(2);
        fleet.scale_to(5, 0, 90_000);
        assert_eq!((fleet.ready, fleet.held()), (2, 5));
        assert!(!fleet.advance(89_999));
        fleet.scale_to(4, 30_000, 90_000);
        assert_eq!((fleet.ready, fleet.held()), (2, 4));
        assert!(fleet.advance(90_000));
        assert_eq!((fleet.ready, fleet.held()), (4, 4));
        fleet.scale_to(1, 100_000, 90_000);
        assert_eq!((fleet.ready, fleet.held()), (1, 1));
    }
}
