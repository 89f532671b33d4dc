//! Owns the samples of one series: what each metric of an exporter does over time.

use super::{Load, STEP_MS, mix, unit};

/// Bits of the marker that ends a series.
const STALE: u64 = 0x7ff0_0000_0000_0002;
const LE_SECONDS: &[&str] = &[
    "0.001", "0.005", "0.01", "0.02", "0.04", "0.06", "0.08", "0.1", "0.25", "0.5", "0.75", "1.0",
    "2.5", "5.0", "7.5", "10.0", "20.0", "40.0", "80.0", "160.0", "640.0", "2560.0",
];

#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// Whole percent.
    Percent,
    /// A share of the cycle, six decimals; the number scales it.
    Active(f64),
    Constant(f64),
    /// Watts with three decimals.
    Watts,
    /// Millijoules, counting.
    Millijoules,
    Celsius,
    /// Small whole numbers.
    Level(f64),
    /// A quotient with all its digits.
    Ratio,
    /// A count of requests times the number.
    Count(f64),
    /// Seconds that add up, with nine decimals.
    Seconds(f64),
    /// A bucket that holds this part of all requests.
    Bucket(f64),
    Bytes,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    shape: Shape,
}

const fn metric(name: &'static str, shape: Shape) -> Metric {
    Metric { name, shape }
}

impl Metric {
    pub(crate) const GPU: &[Self] = &[
        metric("DCGM_FI_DEV_GPU_UTIL", Shape::Percent),
        metric("DCGM_FI_PROF_GR_ENGINE_ACTIVE", Shape::Active(1.0)),
        metric("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", Shape::Active(0.31)),
        metric("DCGM_FI_PROF_DRAM_ACTIVE", Shape::Active(0.62)),
        metric("DCGM_FI_DEV_FB_USED", Shape::Constant(73_321.0)),
        metric("DCGM_FI_DEV_FB_FREE", Shape::Constant(7_715.0)),
        metric("DCGM_FI_DEV_POWER_USAGE", Shape::Watts),
        metric("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", Shape::Millijoules),
        metric("DCGM_FI_DEV_GPU_TEMP", Shape::Celsius),
        metric("DCGM_FI_DEV_XID_ERRORS", Shape::Constant(0.0)),
        metric("DCGM_FI_PROF_SM_ACTIVE", Shape::Active(0.83)),
    ];
    pub(crate) const ENGINE: &[Self] = &[
        metric("vllm:num_requests_running", Shape::Level(24.0)),
        metric("vllm:num_requests_waiting", Shape::Level(2.0)),
        metric("vllm:kv_cache_usage_perc", Shape::Ratio),
        metric("vllm:request_success_total", Shape::Count(1.0)),
        metric("vllm:prompt_tokens_total", Shape::Count(812.0)),
        metric("vllm:generation_tokens_total", Shape::Count(231.0)),
        metric("vllm:prefix_cache_hits_total", Shape::Count(400.0)),
        metric("vllm:prefix_cache_queries_total", Shape::Count(812.0)),
        metric("vllm:num_preemptions_total", Shape::Constant(0.0)),
        metric("vllm:time_to_first_token_seconds_sum", Shape::Seconds(0.23)),
        metric("vllm:time_to_first_token_seconds_count", Shape::Count(1.0)),
        metric("vllm:inter_token_latency_seconds_sum", Shape::Seconds(5.1)),
        metric(
            "vllm:inter_token_latency_seconds_count",
            Shape::Count(231.0),
        ),
    ];
    pub(crate) const CONTAINER: &[Self] = &[
        metric("container_cpu_usage_seconds_total", Shape::Seconds(3.0)),
        metric("container_cpu_cfs_periods_total", Shape::Count(300.0)),
        metric(
            "container_cpu_cfs_throttled_periods_total",
            Shape::Constant(17.0),
        ),
        metric("container_memory_working_set_bytes", Shape::Bytes),
    ];
    pub(crate) const HISTOGRAMS: &[(&'static str, &'static [&'static str])] = &[
        ("vllm:time_to_first_token_seconds_bucket", LE_SECONDS),
        ("vllm:inter_token_latency_seconds_bucket", LE_SECONDS),
    ];

    /// The buckets fill in the middle, as latencies do.
    pub(crate) fn bucket(name: &'static str, index: usize, count: usize) -> Self {
        let part = index as f64 / count as f64;
        let filled = (part * part * (3.0 - 2.0 * part)).min(1.0);
        metric(name, Shape::Bucket(filled))
    }
}

#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) metric: Metric,
    pub(crate) load: Load,
    pub(crate) seed: u64,
    pub(crate) clock: u64,
    pub(crate) from_ms: i64,
    pub(crate) to_ms: i64,
    pub(crate) ends_stale: bool,
}

fn rounded(value: f64, scale: f64) -> f64 {
    (value * scale).round() / scale
}

impl Series {
    /// How busy the device is, 0 to 1: levels of some minutes, day and night, and idle stretches.
    fn busy(&self, step: i64) -> f64 {
        let hour = step * STEP_MS / 3_600_000;
        let stretch = step as u64 / 20 + mix(self.seed) % 1000;
        let level = unit(self.seed ^ stretch << 20);
        match self.load {
            Load::Quiet if level < 0.97 => 0.0,
            Load::Quiet => (level - 0.97) * 30.0,
            Load::Noisy => {
                let day = 0.5 + 0.5 * ((hour % 24) as f64 / 24.0 * std::f64::consts::TAU).sin();
                if level < 0.05 {
                    0.0
                } else {
                    0.15 + 0.6 * day + 0.2 * level
                }
            }
        }
    }

    /// Every sample in order, as `(ts_ms, bits)`, into a buffer that is emptied first.
    pub(crate) fn samples(&self, out: &mut Vec<(i64, u64)>) {
        out.clear();
        let offset = (mix(self.clock) % STEP_MS as u64) as i64;
        let (first, last) = (
            self.from_ms.div_euclid(STEP_MS),
            self.to_ms.div_euclid(STEP_MS),
        );
        let noise_seed = mix(self.seed ^ (self.metric.name.len() as u64 * 0x1234_5678_9abc));
        let mut total = (mix(noise_seed) % 1_000_000_000) as f64;
        for step in first..last {
            let late = mix(self.clock ^ (step as u64) << 16);
            let late_ms = if late.is_multiple_of(50) {
                (late >> 32) as i64 % 5 + 1
            } else {
                0
            };
            let noise = unit(noise_seed ^ (step as u64).wrapping_mul(0x5851_f42d_4c95_7f2d));
            let busy = self.busy(step);
            let value = self.value(busy, noise, &mut total);
            out.push((step * STEP_MS + offset + late_ms, value.to_bits()));
        }
        if self.ends_stale {
            out.push((last * STEP_MS + offset, STALE));
        }
    }

    fn value(&self, busy: f64, noise: f64, total: &mut f64) -> f64 {
        let active = (busy * (0.9 + 0.2 * noise)).clamp(0.0, 1.0);
        let requests = (busy * 40.0 * (0.5 + noise)).floor();
        match self.metric.shape {
            Shape::Percent => (active * 100.0).floor(),
            Shape::Active(scale) => rounded(active * scale, 1e6),
            Shape::Constant(value) => value,
            Shape::Watts => rounded(68.0 + 560.0 * active + 3.0 * noise, 1e3),
            Shape::Millijoules => {
                *total += (30.0 * 1e3 * (68.0 + 560.0 * active + 3.0 * noise)).round();
                *total
            }
            Shape::Celsius => (31.0 + 38.0 * busy + 1.2 * noise).floor(),
            Shape::Level(scale) => (busy * scale * (0.6 + noise)).floor(),
            Shape::Ratio => (busy * 27_412.0 * (0.9 + 0.2 * noise)).floor() / 27_412.0,
            Shape::Count(scale) => {
                *total += (requests * scale * (0.8 + 0.4 * noise)).floor();
                *total
            }
            Shape::Seconds(scale) => {
                *total += requests * scale * noise + 0.01 * noise;
                rounded(*total, 1e9)
            }
            Shape::Bucket(part) => {
                *total += requests;
                (*total * part).floor()
            }
            Shape::Bytes => {
                let pages = 9_000_000.0 + busy * 400_000.0 + (noise * 900.0).floor();
                pages.floor() * 4096.0
            }
        }
    }
}
