//! Owns the synthetic fleets of the benches: which series a cluster's exporters tell, and every
//! sample of them, as a pure function of the fleet's description. Same description, same bits.
//!
//! Values are spelled as the real exporters print them: DCGM gauges of its profiling module with six
//! decimals, power with three, vLLM ratios with all digits, cAdvisor seconds with nine. Scrapes
//! come every 30 s, two in a hundred a few milliseconds late; pods are replaced, and a series that
//! ends says so with the stale marker.

pub(crate) mod block;
pub(crate) mod series;

use series::{Metric, Series};

pub(crate) const STEP_MS: i64 = 30_000;
/// 2026-11-03T00:00:00Z.
pub(crate) const START_MS: i64 = 1_793_664_000_000;
const GPUS_PER_NODE: u32 = 8;
const GPUS_PER_ENGINE: u32 = 2;
const HOUR_MS: i64 = 3_600_000;

/// What a fleet is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// Most GPUs idle, short bursts.
    Quiet,
    /// Most GPUs busy, gauges that never repeat.
    Noisy,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Fleet {
    pub(crate) load: Load,
    pub(crate) gpus: u32,
    pub(crate) hours: i64,
    /// Engines and containers too, not only GPUs with ten series each.
    pub(crate) whole: bool,
}

/// Twice as good a mixer as the numbers here need.
pub(crate) const fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Between 0 and 1.
pub(crate) fn unit(x: u64) -> f64 {
    (mix(x) >> 11) as f64 / (1_u64 << 53) as f64
}

/// A pod on its GPUs, from its start to its end.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    pub(crate) pod: String,
    pub(crate) from_ms: i64,
    pub(crate) to_ms: i64,
}

impl Fleet {
    pub(crate) const fn end_ms(&self) -> i64 {
        START_MS + self.hours * HOUR_MS
    }

    /// The lives of the pods of one engine: each about a day and a half, without a gap.
    fn lives(&self, engine: u32) -> Vec<Life> {
        let seed = mix(u64::from(engine) ^ 0x11fe);
        let mut from_ms = START_MS - (unit(seed) * 36.0) as i64 * HOUR_MS;
        let mut lives = Vec::new();
        let mut number = seed;
        while from_ms < self.end_ms() {
            number = mix(number);
            let to_ms = from_ms + 30 * HOUR_MS + (unit(number) * 12.0 * HOUR_MS as f64) as i64;
            if to_ms > START_MS {
                let pod = format!("llama-{engine}-{:08x}-{:05x}", number as u32, number >> 44);
                lives.push(Life {
                    pod,
                    from_ms: from_ms.max(START_MS),
                    to_ms: to_ms.min(self.end_ms()),
                });
            }
            from_ms = to_ms;
        }
        lives
    }

    /// All series, sorted by their labels.
    pub(crate) fn series(&self) -> Vec<Series> {
        let mut all = Vec::new();
        for engine in 0..self.gpus.div_ceil(GPUS_PER_ENGINE) {
            let first = engine * GPUS_PER_ENGINE;
            for life in self.lives(engine) {
                for gpu in first..(first + GPUS_PER_ENGINE).min(self.gpus) {
                    self.add_gpu(&mut all, gpu, &life);
                }
                if self.whole {
                    self.add_engine(&mut all, engine, &life);
                    self.add_container(&mut all, engine, &life);
                }
            }
        }
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
        all
    }

    fn add_gpu(&self, all: &mut Vec<Series>, gpu: u32, life: &Life) {
        let (node, at) = (gpu / GPUS_PER_NODE, gpu % GPUS_PER_NODE);
        let id = mix(u64::from(gpu) ^ 0x9b0);
        let uuid = format!(
            "GPU-{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            id as u32,
            id >> 48,
            (id >> 32) & 0xffff,
            mix(id) >> 48,
            mix(id) & 0xffff_ffff_ffff
        );
        let labels = [
            ("DCGM_FI_DRIVER_VERSION", "550.90.07".to_owned()),
            ("Hostname", node_name(node)),
            ("UUID", uuid),
            ("device", format!("nvidia{at}")),
            ("exported_container", "vllm".to_owned()),
            ("exported_namespace", "chat".to_owned()),
            ("exported_pod", life.pod.clone()),
            ("gpu", at.to_string()),
            ("instance", format!("{}:9400", address(node))),
            ("job", "dcgm-exporter".to_owned()),
            ("modelName", "NVIDIA H100 80GB HBM3".to_owned()),
            ("pci_bus_id", format!("00000000:{:02X}:00.0", 0x10 + at)),
        ];
        let metrics = if self.whole {
            Metric::GPU
        } else {
            &Metric::GPU[..10]
        };
        self.add(all, metrics, &labels, u64::from(gpu), u64::from(node), life);
    }

    fn add_engine(&self, all: &mut Vec<Series>, engine: u32, life: &Life) {
        let node = engine * GPUS_PER_ENGINE / GPUS_PER_NODE;
        let labels = [
            ("engine", "0".to_owned()),
            ("instance", format!("{}:{}", address(node), 8000 + engine)),
            ("job", "vllm".to_owned()),
            ("model_name", "meta-llama/Llama-3.1-70B-Instruct".to_owned()),
            ("namespace", "chat".to_owned()),
            ("pod", life.pod.clone()),
        ];
        let seed = u64::from(engine) | 1 << 40;
        self.add(all, Metric::ENGINE, &labels, seed, seed, life);
        for (name, bounds) in Metric::HISTOGRAMS {
            for (index, bound) in bounds.iter().chain(&["+Inf"]).enumerate() {
                let mut labels = labels.to_vec();
                labels.push(("le", (*bound).to_owned()));
                let metric = Metric::bucket(name, index, bounds.len());
                self.add(all, &[metric], &labels, seed, seed, life);
            }
        }
    }

    fn add_container(&self, all: &mut Vec<Series>, engine: u32, life: &Life) {
        let node = engine * GPUS_PER_ENGINE / GPUS_PER_NODE;
        let labels = [
            ("container", "vllm".to_owned()),
            (
                "id",
                format!("/kubepods.slice/pod{:032x}", mix(u64::from(engine))),
            ),
            ("image", "docker.io/vllm/vllm-openai:v0.11.0".to_owned()),
            ("instance", format!("{}:10250", address(node))),
            ("job", "kubelet".to_owned()),
            ("metrics_path", "/metrics/cadvisor".to_owned()),
            ("namespace", "chat".to_owned()),
            ("node", node_name(node)),
            ("pod", life.pod.clone()),
        ];
        let seed = u64::from(engine) | 1 << 41;
        self.add(all, Metric::CONTAINER, &labels, seed, seed, life);
    }

    /// `clock` says which series share their scrapes.
    fn add(
        &self,
        all: &mut Vec<Series>,
        metrics: &[Metric],
        labels: &[(&str, String)],
        seed: u64,
        clock: u64,
        life: &Life,
    ) {
        for metric in metrics {
            let mut pairs: Vec<(String, String)> = labels
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect();
            pairs.push(("__name__".to_owned(), metric.name.to_owned()));
            pairs.sort();
            all.push(Series {
                labels: pairs,
                metric: *metric,
                load: self.load,
                seed,
                clock,
                from_ms: life.from_ms,
                to_ms: life.to_ms,
                ends_stale: life.to_ms < self.end_ms(),
            });
        }
    }
}

fn node_name(node: u32) -> String {
    format!("gpu-node-{node:04}.eu-west.compute.internal")
}

fn address(node: u32) -> String {
    format!(
        "10.{}.{}.{}",
        20 + node / 62_500,
        node / 250 % 250,
        node % 250 + 1
    )
}
