//! Owns how rows of the lake become a timeline of demand: what is known of each bucket, and how much of a
//! replica it keeps busy.

use super::read::{Part, PodLife, Row, Subject, held_ms};
use crate::model::TimeWindow;
use crate::simulate::demand::BUCKET_MS;
use crate::simulate::{Bucket, Demand, Timeline};

/// A bucket whose engines were seen for less of its replicas' time has no known demand.
const MIN_KNOWN_PERCENT: i64 = 80;
/// What a scaler said holds for so long.
const TOLD_MS: i64 = 600_000;

/// Where the capacity of a replica is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum CapacityFrom {
    /// The estimator's, inside the SLO.
    Estimate,
    /// More than the estimate: what one replica was seen to serve.
    Seen,
    /// There is no estimate: what one replica was seen to serve, which is the least that it can.
    SeenOnly,
    /// Nobody was ever asked anything.
    NoTraffic,
}

impl CapacityFrom {
    pub(in crate::cli) fn word(self) -> &'static str {
        match self {
            Self::Estimate => "estimated",
            Self::Seen => "seen above the estimate",
            Self::SeenOnly => "seen",
            Self::NoTraffic => "no traffic",
        }
    }
}

/// A workload's timeline and how it was made.
#[derive(Debug)]
pub(in crate::cli) struct Made {
    pub timeline: Timeline,
    pub capacity_from: CapacityFrom,
    /// What every estimated load was multiplied by, for what one replica was seen to do.
    pub scale: f64,
    /// From creation to ready, of the workload's own pods, in order.
    pub startups_ms: Vec<i64>,
}

/// Sums over the window, for the shape of a mean request.
#[derive(Default)]
struct Shape {
    requests: i64,
    prompt: i64,
    output: i64,
    cpu_ms: i64,
}

impl Shape {
    fn of(rows: &[Row]) -> Self {
        let mut shape = Self::default();
        for row in rows {
            shape.requests += row.requests;
            shape.prompt += row.prompt_tokens - row.hit_tokens;
            shape.output += row.output_tokens;
            shape.cpu_ms += row.cpu_ms;
        }
        shape
    }

    fn each(&self, sum: i64) -> f64 {
        if self.requests > 0 {
            sum as f64 / self.requests as f64
        } else {
            0.0
        }
    }
}

pub(in crate::cli) fn make(subject: &Subject, part: &Part, window: TimeWindow) -> Made {
    let mut made = estimated(subject, part, window);
    let busiest = made.timeline.busiest_replica();
    made.capacity_from = match (busiest, subject.capacity) {
        (None, _) => CapacityFrom::NoTraffic,
        (Some(busiest), Some(_)) if busiest <= 1.0 => CapacityFrom::Estimate,
        (Some(busiest), estimate) => {
            made.scale = 1.0 / busiest;
            made.timeline.scale_load(made.scale);
            match estimate {
                Some(_) => CapacityFrom::Seen,
                None => CapacityFrom::SeenOnly,
            }
        }
    };
    made
}

/// A timeline whose loads are in replicas as they are estimated, whatever replicas were seen to do: what was
/// seen was seen on other GPUs than those that are asked about.
pub(in crate::cli) fn estimated(subject: &Subject, part: &Part, window: TimeWindow) -> Made {
    let key = subject.key();
    let rows = part.rows.get(&key).map_or(&[][..], Vec::as_slice);
    let pods = part.pods.get(&key).map_or(&[][..], Vec::as_slice);
    let count = ((window.end_ms - window.start_ms) / BUCKET_MS) as usize;
    let mut buckets = vec![Bucket::default(); count];
    for (bucket, held) in buckets.iter_mut().zip(held_ms(pods, window)) {
        bucket.held = held as f64 / BUCKET_MS as f64;
    }
    let place = |ms: i64| {
        let index = usize::try_from((ms - window.start_ms).div_euclid(BUCKET_MS)).ok()?;
        (index < count).then_some(index)
    };
    let shape = Shape::of(rows);
    let mut has_row = vec![false; count];
    for row in rows {
        let Some(index) = place(row.bucket_ms) else {
            continue;
        };
        has_row[index] = true;
        let bucket = &mut buckets[index];
        bucket.ready = row.replica_ms as f64 / BUCKET_MS as f64;
        // A replica that serves holds its GPUs, whatever its pods' lives say.
        bucket.held = bucket.held.max(bucket.ready);
        if row.known_ms * 100 >= row.replica_ms * MIN_KNOWN_PERCENT {
            bucket.demand = Some(demand(row, &shape, subject));
        }
    }
    if let Some((_, scaler)) = subject
        .scaler
        .as_ref()
        .filter(|_| subject.is_scaled_object())
    {
        let values = part
            .values
            .get(&(subject.id.namespace.clone(), scaler.clone()));
        for (bucket_ms, value) in values.map_or(&[][..], Vec::as_slice) {
            let last = bucket_ms + TOLD_MS;
            let mut at = *bucket_ms;
            while at < last {
                if let Some(index) = place(at) {
                    buckets[index].recorded = Some(*value);
                }
                at += BUCKET_MS;
            }
        }
        // With nobody there to count, the scaler's own metric is what tells of demand. Who waits at the
        // door is counted when he is served.
        for (bucket, has_row) in buckets.iter_mut().zip(&has_row) {
            if !has_row && bucket.demand.is_none() && bucket.recorded.is_some() {
                bucket.demand = Some(Demand {
                    load: Some(0.0),
                    ..Demand::default()
                });
            }
        }
    }
    Made {
        timeline: Timeline {
            start_ms: window.start_ms,
            buckets,
        },
        capacity_from: CapacityFrom::Estimate,
        scale: 1.0,
        startups_ms: startups(pods),
    }
}

fn startups(pods: &[PodLife]) -> Vec<i64> {
    let took = |pod: &PodLife| pod.ready_ms.map(|ready| ready - pod.from_ms);
    let mut all: Vec<i64> = pods.iter().filter_map(took).filter(|ms| *ms > 0).collect();
    all.sort_unstable();
    all
}

fn demand(row: &Row, shape: &Shape, subject: &Subject) -> Demand {
    let seconds = BUCKET_MS as f64 / 1000.0;
    // A queue that shrinks was counted when it grew.
    let waiting = row.waiting_requests as f64;
    let rate = |sum: f64| (sum / seconds).max(0.0);
    let prompt = (row.prompt_tokens - row.hit_tokens) as f64 + waiting * shape.each(shape.prompt);
    let output = row.output_tokens as f64 + waiting * shape.each(shape.output);
    let requests = rate(row.requests as f64 + waiting);
    let (prompt, output) = (rate(prompt), rate(output));
    let load = match subject.capacity {
        Some((prefill, decode)) => prompt / prefill + output / decode,
        // Scaled afterwards to what one replica was seen to do.
        None if shape.output > 0 => output,
        None if shape.prompt > 0 => prompt,
        None => requests,
    };
    Demand {
        requests_per_second: requests,
        prompt_tokens_per_second: row.prompt_tokens.max(0) as f64 / seconds,
        output_tokens_per_second: row.output_tokens.max(0) as f64 / seconds,
        running: row.running_max.map(|running| running as f64),
        waiting: row.queue_max.map(|queue| queue as f64),
        cache_usage: row
            .kv_ppm_max
            .map(|ppm| ppm as f64 / 1e6 * row.replica_ms as f64 / BUCKET_MS as f64),
        // Where no container was ever seen, nothing is known of CPU.
        cpu_milli: (shape.cpu_ms > 0).then(|| row.cpu_ms as f64 / seconds),
        load: Some(load),
    }
}
