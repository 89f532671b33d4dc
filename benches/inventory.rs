//! The fold of a large fleet: 20,000 pods of 2,000 workloads on 2,500 nodes over 90 days, with a
//! change of scale a day and workload. Prints seconds, rows and the process's peak memory; the budget
//! is a minute and 1 GiB. Fixed sizes, no randomness.

#![expect(clippy::expect_used, reason = "a bench without its input is no bench")]

use std::io::Write as _;
use std::time::Instant;

use idleproof::inventory::input::{
    GpuPodSpan, GpuSpan, Inputs, MetricSeries, ObjectVersion, SnapshotList, ValueRun,
};
use idleproof::inventory::{Embedded, fold};
use idleproof::model::TimeWindow;
use idleproof::model::time::{DAY_MS, HOUR_MS, format_ms};

const START_MS: i64 = 1_790_812_800_000;
const DAYS: i64 = 90;
const WORKLOADS: i64 = 2_000;
const PODS_EACH: i64 = 10;
const NODES: i64 = 2_500;

fn object(api: &str, kind: &str, name: &str, json: String, from: i64, to: i64) -> ObjectVersion {
    ObjectVersion {
        api_version: api.to_owned(),
        kind: kind.to_owned(),
        namespace: if kind == "Node" {
            String::new()
        } else {
            "chat".to_owned()
        },
        name: name.to_owned(),
        uid: None,
        json: json.into(),
        seen_from_ms: from,
        seen_to_ms: to,
    }
}

fn series(metric: &str, labels: &[(&str, &str)], runs: Vec<ValueRun>) -> MetricSeries {
    MetricSeries {
        metric: metric.to_owned(),
        labels: labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        runs,
    }
}

fn container(w: i64, image: i64) -> String {
    format!(
        r#"{{"containers":[{{"name":"main","image":"vllm/vllm-openai:v0.{image}.0","command":["python3","-m","vllm.entrypoints.openai.api_server"],"args":["--model","Qwen/Qwen2.5-14B-Instruct","--port","8000","--max-model-len","8192","--served-model-name","chat-{w}"],"resources":{{"limits":{{"nvidia.com/gpu":"1","cpu":"2"}}}}}}]}}"#
    )
}

fn inputs() -> Inputs {
    let end_ms = START_MS + DAYS * DAY_MS;
    let mut inputs = Inputs::empty("large", TimeWindow::new(START_MS, end_ms));
    inputs.series_interval_ms = 30_000;
    for n in 0..NODES {
        let name = format!("node-{n}");
        let json = format!(
            r#"{{"metadata":{{"name":"{name}","labels":{{"nvidia.com/gpu.product":"NVIDIA-H100-80GB-HBM3","nvidia.com/gpu.count":"8","node.kubernetes.io/instance-type":"p5.48xlarge"}}}},"status":{{"capacity":{{"cpu":"192","nvidia.com/gpu":"8"}},"conditions":[{{"type":"Ready","status":"True","lastTransitionTime":"{}"}}]}}}}"#,
            format_ms(START_MS)
        );
        inputs
            .objects
            .push(object("v1", "Node", &name, json, START_MS, end_ms));
        for gpu in 0..8 {
            inputs.gpu_spans.push(GpuSpan {
                node: name.clone(),
                gpu: gpu.to_string(),
                uuid: format!("GPU-{n}-{gpu}"),
                model_name: Some("NVIDIA H100 80GB HBM3".to_owned()),
                target: name.clone(),
                first_ms: START_MS,
                last_ms: end_ms,
                interval_ms: 30_000,
                ..GpuSpan::default()
            });
        }
    }
    for w in 0..WORKLOADS {
        let name = format!("llama-{w}");
        for day in 0..DAYS {
            let from = START_MS + day * DAY_MS;
            let json = format!(
                r#"{{"metadata":{{"name":"{name}","managedFields":[{{"manager":"kubectl","operation":"Update","time":"{}","fieldsV1":{{"f:spec":{{"f:replicas":{{}}}}}}}}]}},"spec":{{"replicas":{},"template":{{"metadata":{{"labels":{{"app":"{name}"}}}},"spec":{}}}}}}}"#,
                format_ms(from - HOUR_MS),
                1 + day % 3,
                container(w, day / 30)
            );
            let to = from + DAY_MS - HOUR_MS;
            inputs
                .objects
                .push(object("apps/v1", "Deployment", &name, json, from, to));
        }
        let service = format!(
            r#"{{"metadata":{{"name":"{name}"}},"spec":{{"selector":{{"app":"{name}"}}}}}}"#
        );
        inputs
            .objects
            .push(object("v1", "Service", &name, service, START_MS, end_ms));
        let set = format!("{name}-7d9fb6c5d4");
        let owned = format!(
            r#"{{"metadata":{{"name":"{set}","ownerReferences":[{{"apiVersion":"apps/v1","kind":"Deployment","name":"{name}","controller":true}}]}}}}"#
        );
        inputs.objects.push(object(
            "apps/v1",
            "ReplicaSet",
            &set,
            owned,
            START_MS,
            end_ms,
        ));
        let runs = (0..DAYS)
            .map(|day| ValueRun {
                first_ms: START_MS + day * DAY_MS,
                last_ms: START_MS + (day + 1) * DAY_MS - 30_000,
                value: (1 + day % 3) as f64,
            })
            .collect();
        let labels = [("namespace", "chat"), ("deployment", name.as_str())];
        inputs
            .series
            .push(series("kube_deployment_spec_replicas", &labels, runs));
        for p in 0..PODS_EACH {
            let pod = format!("{set}-{p}");
            let from = START_MS + p * (DAYS / PODS_EACH) * DAY_MS;
            let to = from + (DAYS / PODS_EACH) * DAY_MS;
            let slot = w * PODS_EACH + p;
            let (node, gpu) = (format!("node-{}", slot / 8), slot % 8);
            for (version, ready) in [(0, "False"), (1, "True")] {
                let json = format!(
                    r#"{{"metadata":{{"name":"{pod}","uid":"{pod}","creationTimestamp":"{}","labels":{{"app":"{name}"}},"ownerReferences":[{{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"{set}","controller":true}}]}},"spec":{{"nodeName":"{node}","containers":{}}},"status":{{"phase":"Running","startTime":"{}","conditions":[{{"type":"Ready","status":"{ready}","lastTransitionTime":"{}"}}]}}}}"#,
                    format_ms(from),
                    container(w, 1)
                        .strip_prefix(r#"{"containers":"#)
                        .and_then(|text| text.strip_suffix("}"))
                        .expect("containers"),
                    format_ms(from),
                    format_ms(from + version * HOUR_MS)
                );
                let seen = from + version * HOUR_MS;
                let last = if version == 0 { seen } else { to };
                let mut one = object("v1", "Pod", &pod, json, seen, last);
                one.uid = Some(pod.clone());
                inputs.objects.push(one);
            }
            inputs.gpu_pod_spans.push(GpuPodSpan {
                node: node.clone(),
                gpu: gpu.to_string(),
                uuid: format!("GPU-{}-{gpu}", slot / 8),
                mig_instance: None,
                namespace: "chat".to_owned(),
                pod,
                first_ms: from + HOUR_MS,
                last_ms: to,
            });
        }
    }
    for day in 0..=DAYS {
        for kind in ["pod", "deployment.apps", "node", "service"] {
            inputs.snapshots.push(SnapshotList {
                ts_ms: START_MS + day * DAY_MS,
                kind: kind.to_owned(),
            });
        }
    }
    inputs
}

/// The process's peak memory in MiB, where the kernel tells it.
fn peak_mib() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: i64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}

pub(crate) fn main() {
    let inputs = inputs();
    let before = peak_mib();
    let start = Instant::now();
    let found = fold(&inputs, &Embedded);
    let seconds = start.elapsed().as_secs_f64();
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "fold of {} object versions, {} pods: {seconds:.1} s; {} holders, {} workload rows, {} \
         events; peak {:?} MiB, of which the input {:?} MiB",
        inputs.objects.len(),
        WORKLOADS * PODS_EACH,
        found.gpu_holders.len(),
        found.workloads.len(),
        found.scaling_events.len(),
        peak_mib(),
        before,
    )
    .expect("standard output");
}
