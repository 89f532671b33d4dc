//! Owns the recorded demand of a workload over time, as a simulation reads it: what was asked for in each
//! bucket, how much of a replica that keeps busy, and what is not known.

/// Milliseconds of a bucket of demand: the finest rollup that a lake keeps.
pub const BUCKET_MS: i64 = 300_000;

/// What was asked for in one bucket. Rates are a second's, gauges are sums over the workload.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Demand {
    pub requests_per_second: f64,
    pub prompt_tokens_per_second: f64,
    pub output_tokens_per_second: f64,
    pub running: Option<f64>,
    pub waiting: Option<f64>,
    /// The replicas' shares of cache in use, added up.
    pub cache_usage: Option<f64>,
    pub cpu_milli: Option<f64>,
    /// Replicas that this keeps busy to the limit of the SLO; `None` where no capacity is known.
    pub load: Option<f64>,
}

/// One bucket: who served, and what was asked for where that is known.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Bucket {
    /// Replicas that were ready, on average.
    pub ready: f64,
    /// Replicas that held their GPUs, those that start among them.
    pub held: f64,
    /// `None` is unknown and is no zero: nothing is simulated against it.
    pub demand: Option<Demand>,
    /// What the present scaler's own metric said.
    pub recorded: Option<f64>,
}

/// Buckets from `start_ms` on without a gap.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Timeline {
    pub start_ms: i64,
    pub buckets: Vec<Bucket>,
}

impl Timeline {
    #[must_use]
    pub fn end_ms(&self) -> i64 {
        self.start_ms + self.buckets.len() as i64 * BUCKET_MS
    }

    /// What comes before a bucket, and what comes from it on.
    #[must_use]
    pub fn split(&self, at: usize) -> (Self, Self) {
        let at = at.min(self.buckets.len());
        let (before, after) = self.buckets.split_at(at);
        let part = |start_ms, buckets: &[Bucket]| Self {
            start_ms,
            buckets: buckets.to_vec(),
        };
        (
            part(self.start_ms, before),
            part(self.start_ms + at as i64 * BUCKET_MS, after),
        )
    }

    /// Buckets with demand that is known.
    #[must_use]
    pub fn known(&self) -> usize {
        let known = |bucket: &&Bucket| bucket.demand.is_some();
        self.buckets.iter().filter(known).count()
    }

    /// The second-highest daily maximum of what one ready replica was busy with, or the highest where
    /// there is one day: one freak day must not say what a replica can do.
    #[must_use]
    pub fn busiest_replica(&self) -> Option<f64> {
        const DAY_BUCKETS: usize = 288;
        let mut days: Vec<f64> = self
            .buckets
            .chunks(DAY_BUCKETS)
            .filter_map(|day| {
                day.iter()
                    .filter(|bucket| bucket.ready >= 1.0)
                    .filter_map(|bucket| Some(bucket.demand?.load? / bucket.ready))
                    .filter(|load| *load > 0.0)
                    .max_by(f64::total_cmp)
            })
            .collect();
        days.sort_by(|a, b| b.total_cmp(a));
        days.get(1).or(days.first()).copied()
    }

    /// Multiplies every load, for a capacity that is `1 / factor` of what it was taken for.
    pub fn scale_load(&mut self, factor: f64) {
        for demand in self.buckets.iter_mut().filter_map(|b| b.demand.as_mut()) {
            demand.load = demand.load.map(|load| load * factor);
        }
    }

    /// Forgets every load: no capacity is known.
    pub fn forget_load(&mut self) {
        for demand in self.buckets.iter_mut().filter_map(|b| b.demand.as_mut()) {
            demand.load = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(ready: f64, load: f64) -> Bucket {
        Bucket {
            ready,
            held: ready,
            demand: Some(Demand {
                load: Some(load),
                ..Demand::default()
            }),
            recorded: None,
        }
    }

    #[test]
    fn the_second_busiest_day_says_what_a_replica_can_do() {
        let mut timeline = Timeline {
            start_ms: 0,
            buckets: vec![bucket(2.0, 1.0); 3 * 288],
        };
        timeline.buckets[5] = bucket(1.0, 9.0);
        timeline.buckets[400] = bucket(2.0, 3.0);
        timeline.buckets[401] = bucket(0.0, 7.0);
        assert_eq!(timeline.busiest_replica(), Some(1.5));
        timeline.buckets.truncate(288);
        assert_eq!(timeline.busiest_replica(), Some(9.0));
        timeline.forget_load();
        assert_eq!(timeline.busiest_replica(), None);
        assert_eq!(timeline.known(), 288);
        let (before, after) = timeline.split(100);
        assert_eq!(
            (before.end_ms(), after.buckets.len()),
            (after.start_ms, 188)
        );
        assert_eq!(after.end_ms(), timeline.end_ms());
    }
}
