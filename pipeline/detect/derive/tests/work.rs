//! The property above all others: no second of measured work is ever called dark, whatever gaps,
//! probes, stuck sensors, vanishing gauges and restarts stand around it.

use std::fmt::Write as _;

use super::*;

const STEP: i64 = 300_000;
const SLOTS: usize = 6;

/// Small, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Regime {
    Quiet,
    Probed,
    Busy,
}

/// One fleet's rows as SQL, and the measured work of each slot: spans from scrape to scrape.
pub(super) struct Fleet {
    gpus: String,
    engines: String,
    pods: String,
    holders: String,
    slices: String,
    work: Vec<(usize, i64, i64)>,
}

pub(super) fn fleet(seed: u64) -> Fleet {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (from, to) = (DAY - 8 * HOUR, DAY + 32 * HOUR);
    let mut rows = [String::new(), String::new()];
    let mut work = Vec::new();
    let (mut pods, mut holders, mut slices) = (Vec::new(), Vec::new(), Vec::new());
    for slot in 0..SLOTS {
        let node = slot / 2;
        slices.push(format!(
            "SELECT 'c' AS cluster, CAST('2026-11-03' AS DATE) AS date, 'n{node}' AS node, {slot} AS slot, 'whole' AS slice, \
             {from} AS valid_from_ms, {to} AS valid_to_ms, 'GPU-{slot}' AS gpu_uuid, '{slot}' AS gpu, 'whole' AS slice_kind, \
             1 AS share_num, 1 AS share_den, 'k' AS price_key, false AS unavailable"
        ));
        holders.push(format!(
            "SELECT 'c' AS cluster, CAST('2026-11-03' AS DATE) AS date, 'n{node}' AS node, {slot} AS slot, 'whole' AS slice, \
             {from} AS valid_from_ms, {to} AS valid_to_ms, 'chat' AS namespace, 'p{slot}' AS pod, \
             'deployment.apps' AS workload_kind, 'w{slot}' AS workload_name, 'p{slot}' AS replica, 'dcgm' AS how"
        ));
        pods.push(format!(
            "SELECT 'c' AS cluster, CAST('2026-11-03' AS DATE) AS date, 'chat' AS namespace, 'p{slot}' AS pod, \
             {from} AS valid_from_ms, {to} AS valid_to_ms, 'u{slot}' AS uid, 'n{node}' AS node, 'ready' AS state, \
             'deployment.apps' AS workload_kind, 'w{slot}' AS workload_name, 'p{slot}' AS replica, \
             'serving' AS workload_class, false AS standby_declared, 1000 AS gpu_milli"
        ));
        let (mut regime, mut left) = (Regime::Quiet, 0_u64);
        let (mut engine_hole, mut gpu_hole) = (0_u64, 0_u64);
        let (mut requests, mut prompts, mut outputs) = (1000_i64, 10_000_i64, 10_000_i64);
        // The last scrape that was taken, with what it counted.
        let mut last: Option<(i64, i64)> = None;
        let mut at = from;
        while at < to {
            if left == 0 {
                regime = [Regime::Quiet, Regime::Quiet, Regime::Probed, Regime::Busy]
                    [random.below(4) as usize];
                left = 1 + random.below(if regime == Regime::Busy { 12 } else { 110 });
            }
            left -= 1;
            match regime {
                Regime::Busy => {
                    requests += 200;
                    prompts += 40_000;
                    outputs += 20_000;
                }
                Regime::Probed => {
                    requests += 10;
                    prompts += 80;
                    outputs += 10;
                }
                Regime::Quiet => {}
            }
            if engine_hole == 0 && random.chance(3) {
                engine_hole = 1 + random.below(14);
            }
            if gpu_hole == 0 && random.chance(3) {
                gpu_hole = 1 + random.below(14);
            }
            // A restart now and then: counters begin at zero again.
            if random.chance(1) {
                (requests, prompts, outputs) = (0, 0, 0);
                last = None;
            }
            if engine_hole == 0 {
                if let Some((before, counted)) = last
                    && at - before <= 2 * STEP
                    && requests - counted >= 200
                {
                    work.push((slot, before, at));
                }
                last = Some((at, requests));
                let _ = write!(
                    rows[1],
                    "{}({slot}, {at}, {requests}.0, {prompts}.0, {outputs}.0)",
                    if rows[1].is_empty() { "" } else { ", " }
                );
            }
            if gpu_hole == 0 {
                // Stuck at zero while it works; gone while it idles.
                let util = match regime {
                    Regime::Busy if random.chance(40) => "0.0".to_owned(),
                    Regime::Busy => format!("{}.0", 2 + random.below(90)),
                    _ if random.chance(20) => "CAST(NULL AS DOUBLE)".to_owned(),
                    _ => "0.0".to_owned(),
                };
                let _ = write!(
                    rows[0],
                    "{}({slot}, {at}, {util})",
                    if rows[0].is_empty() { "" } else { ", " }
                );
            }
            engine_hole = engine_hole.saturating_sub(1);
            gpu_hole = gpu_hole.saturating_sub(1);
            at += STEP;
        }
    }
    Fleet {
        gpus: format!(
            "SELECT 'c' AS cluster, CAST('2026-11-03' AS DATE) AS date, 'prom' AS source, \
             'n' || CAST(slot / 2 AS VARCHAR) AS node, \
             CAST(slot AS VARCHAR) AS gpu, 'GPU-' || CAST(slot AS VARCHAR) AS uuid, 'dcgm/n' || CAST(slot / 2 AS VARCHAR) AS target, \
             to_timestamp_millis(ms) AS ts, {STEP} AS scrape_interval_ms, util AS util_percent, \
             70.0 AS power_watts FROM (VALUES {}) AS v(slot, ms, util)",
            rows[0]
        ),
        engines: format!(
            "SELECT 'c' AS cluster, CAST('2026-11-03' AS DATE) AS date, 'prom' AS source, 'chat' AS namespace, \
             'p' || CAST(slot AS VARCHAR) AS pod, 'vllm/p' || CAST(slot AS VARCHAR) AS target, 'vllm' AS engine, \
             'm' AS model_name, to_timestamp_millis(ms) AS ts, {STEP} AS scrape_interval_ms, \
             r AS requests_total, p AS prompt_tokens_total, o AS generation_tokens_total, \
             0.0 AS requests_waiting, 0.0 AS requests_running FROM (VALUES {}) AS v(slot, ms, r, p, o)",
            rows[1]
        ),
        pods: pods.join(" UNION ALL "),
        holders: holders.join(" UNION ALL "),
        slices: slices.join(" UNION ALL "),
        work,
    }
}

impl Fleet {
    pub(super) fn tables(&self) -> [(&'static str, &str); 5] {
        [
            ("gpu_samples", &self.gpus),
            ("serving_samples", &self.engines),
            ("pods", &self.pods),
            ("gpu_holders", &self.holders),
            ("slices", &self.slices),
        ]
    }
}

#[tokio::test]
async fn no_second_of_measured_work_is_ever_dark() {
    let (mut dark_hours, mut work_spans) = (0_i64, 0_usize);
    for seed in 1..=3 {
        let fleet = fleet(seed);
        let derived = derive(&fleet.tables(), DAY + 32 * HOUR, None)
            .await
            .unwrap();
        let mut dark: BTreeMap<(i64, i64), i64> = BTreeMap::new();
        for batch in &derived.tables["ledger"] {
            let class = batch.column_by_name("class").unwrap().as_string::<i32>();
            let number = |name: &str| {
                batch
                    .column_by_name(name)
                    .unwrap()
                    .as_primitive::<Int64Type>()
                    .clone()
            };
            let (slots, hours, ms) = (number("slot"), number("hour_ms"), number("ms"));
            for row in 0..batch.num_rows() {
                if class.value(row) == "dark" {
                    *dark
                        .entry((slots.value(row), hours.value(row)))
                        .or_default() += ms.value(row);
                }
            }
        }
        let mut worked: BTreeMap<(i64, i64), i64> = BTreeMap::new();
        for (slot, from, to) in &fleet.work {
            let mut at = *from;
            while at < *to {
                let hour = at - at.rem_euclid(HOUR);
                let upto = (hour + HOUR).min(*to);
                *worked.entry((*slot as i64, hour)).or_default() += upto - at;
                at = upto;
            }
        }
        for (key, ms) in &dark {
            let work = worked.get(key).copied().unwrap_or(0);
            assert!(
                ms + work <= HOUR,
                "seed {seed}, slot {}, hour {}: {ms} ms are dark, and {work} ms of it were work",
                key.0,
                key.1
            );
        }
        dark_hours += dark.values().sum::<i64>() / HOUR;
        work_spans += fleet.work.len();
    }
    // A test in which nothing is dark, or nothing works, would hold of itself.
    assert!(dark_hours > 25, "{dark_hours} dark hours");
    assert!(work_spans > 150, "{work_spans} spans of work");
}
