//! How long a thousand workloads over four weeks take to replay, over demand that is made up.
//!
//!     cargo bench -- simulate
//!
//! Demand has a daily and a weekly rhythm with noise, one bucket every five minutes, and one day in the
//! fourth week that nobody knows. Each workload is replayed twice, as `simulate --all` does for a proposed
//! spec beside the present one: under an HPA and under the next of HPA, KEDA with a schedule, Knative, a
//! fixed count. Every core works. Reading the lake is not in it.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints its figures"
)]

use std::time::Instant;

use serde_json::{Value, json};

use idleproof::simulate::demand::BUCKET_MS;
use idleproof::simulate::manifest::{Known, parse};
use idleproof::simulate::{Bucket, Demand, Outcome, Serving, Spec, Timeline, replay};

const WORKLOADS: usize = 1000;
const DAYS: usize = 28;
const DAY_BUCKETS: usize = 288;
/// What the work is to take on two cores.
const BUDGET_SECONDS: f64 = 30.0;

const SERVING: Serving = Serving {
    startup_ms: 210_000,
    late_after_ms: 2000,
    patience_ms: 300_000,
    at_once: Some(128),
};

fn timeline(seed: u64) -> Timeline {
    let mut dice = fastrand::Rng::with_seed(seed);
    let size = 1.0 + dice.f64() * 7.0;
    let buckets = (0..DAYS * DAY_BUCKETS).map(|at| {
        let day = at / DAY_BUCKETS;
        let hour = (at % DAY_BUCKETS) as f64 / 12.0;
        let rhythm = 0.5 - 0.5 * (hour / 24.0 * std::f64::consts::TAU).cos();
        let week = if day % 7 >= 5 { 0.4 } else { 1.0 };
        let load = size * rhythm * week * (0.85 + 0.3 * dice.f64());
        let demand = Demand {
            requests_per_second: load * 4.0,
            prompt_tokens_per_second: load * 4000.0,
            output_tokens_per_second: load * 1000.0,
            running: Some((load * 16.0).round()),
            waiting: Some(0.0),
            cache_usage: Some(load * 0.5),
            cpu_milli: Some(load * 2000.0),
            load: Some(load),
        };
        Bucket {
            ready: size.ceil(),
            held: size.ceil(),
            demand: (day != 22).then_some(demand),
            recorded: None,
        }
    });
    Timeline {
        start_ms: 1_793_491_200_000,
        buckets: buckets.collect(),
    }
}

fn spec(body: &Value) -> Spec {
    parse(body, Known::default()).unwrap()
}

fn specs() -> Vec<(&'static str, Spec)> {
    let running = json!({"type": "Pods", "pods": {"metric": {"name": "vllm_requests_running"}, "target": {"type": "AverageValue", "averageValue": "12"}}});
    let hpa = json!({"kind": "HorizontalPodAutoscaler", "spec": {"minReplicas": 1, "maxReplicas": 12, "metrics": [running]}});
    let keda = json!({"kind": "ScaledObject", "spec": {"minReplicaCount": 0, "maxReplicaCount": 12, "triggers": [
        {"type": "prometheus", "metadata": {"query": "sum(vllm:num_requests_running)", "threshold": "12"}},
        {"type": "cron", "metadata": {"timezone": "Europe/Berlin", "start": "0 7 * * 1-5", "end": "0 19 * * 1-5", "desiredReplicas": "2"}},
    ]}});
    let knative = json!({"apiVersion": "serving.knative.dev/v1", "kind": "Service", "spec": {"template": {"metadata": {"annotations": {"autoscaling.knative.dev/target": "16"}}}}});
    let fixed = json!({"kind": "Deployment", "spec": {"replicas": 4}});
    vec![
        ("HPA", spec(&hpa)),
        ("KEDA", spec(&keda)),
        ("Knative", spec(&knative)),
        ("fixed", spec(&fixed)),
    ]
}

/// Replays every workload with the spec that `choose` gives it, on all cores.
fn run(timelines: &[Timeline], choose: impl Fn(usize) -> Spec + Sync) -> Vec<Outcome> {
    let cores = std::thread::available_parallelism().unwrap().get();
    let share = timelines.len().div_ceil(cores);
    std::thread::scope(|scope| {
        let choose = &choose;
        let workers: Vec<_> = timelines
            .chunks(share)
            .enumerate()
            .map(|(part, chunk)| {
                scope.spawn(move || {
                    let each = chunk.iter().enumerate();
                    each.map(|(at, one)| replay(one, &choose(part * share + at), &SERVING))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    })
}

pub(crate) fn main() {
    let timelines: Vec<Timeline> = (0..WORKLOADS as u64).map(timeline).collect();
    let days = timelines.len() * DAYS;
    let specs = specs();
    println!(
        "{WORKLOADS} workloads, {DAYS} days, buckets of {} s",
        BUCKET_MS / 1000
    );
    for (name, spec) in &specs {
        let start = Instant::now();
        let outcomes = run(&timelines, |_| spec.clone());
        let seconds = start.elapsed().as_secs_f64();
        let hours: f64 = outcomes.iter().map(|one| one.ready_ms / 3.6e6).sum();
        println!(
            "{name:<8} {seconds:>6.2} s, {:>6.1} us a workload and day, {hours:.0} replica-hours",
            seconds * 1e6 / days as f64
        );
    }
    let start = Instant::now();
    let _present = run(&timelines, |_| specs[0].1.clone());
    let _proposed = run(&timelines, |at| specs[at % specs.len()].1.clone());
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "present and proposed, mixed: {seconds:.2} s (budget {BUDGET_SECONDS} s on two cores){}",
        if seconds > BUDGET_SECONDS {
            ": MISSED"
        } else {
            ""
        }
    );
    if seconds > BUDGET_SECONDS {
        std::process::exit(1);
    }
}
