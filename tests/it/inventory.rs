//! The inventory's fold: upstream manifests, lives over snapshots and samples, and invariants
//! that hold whatever comes in.

use std::collections::BTreeMap;

use idleproof::inventory::input::{
    Catalogue, GpuPodSpan, GpuSpan, Inputs, KnownInstance, KnownModel, MetricSeries, ObjectVersion,
    SnapshotList, ValueRun,
};
use idleproof::inventory::rows::{Inventory, WorkloadRow};
use idleproof::inventory::{clip_to_days, fold};
use idleproof::model::TimeWindow;
use idleproof::model::time::{DAY_MS, parse_ms};
use proptest::prelude::*;
use serde::Deserialize as _;
use serde_json::{Value, json};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

struct Shelf;

impl Catalogue for Shelf {
    fn model(&self, name: &str) -> Option<KnownModel> {
        let (id, params_b) = match name.to_ascii_lowercase().as_str() {
            "openai/gpt-oss-120b" => ("openai/gpt-oss-120b", 117.0),
            "qwen/qwen2.5-7b-instruct" => ("Qwen/Qwen2.5-7B-Instruct", 7.6),
            "qwen/qwen3-0.6b" => ("Qwen/Qwen3-0.6B", 0.6),
            "meta-llama/llama-2-7b-chat-hf" => ("meta-llama/Llama-2-7b-chat-hf", 6.7),
            "meta-llama/llama-3.1-405b-instruct" => ("meta-llama/Meta-Llama-3.1-405B", 405.9),
            "deepseek-r1" => ("deepseek-ai/DeepSeek-R1", 671.0),
            _ => return None,
        };
        Some(KnownModel {
            id: id.to_owned(),
            params_b,
        })
    }

    fn product(&self, label: &str) -> Option<String> {
        let key = if label.contains("H100") {
            "H100-SXM-80"
        } else if label.contains("T4") {
            "T4-16"
        } else {
            return None;
        };
        Some(key.to_owned())
    }

    fn instance(&self, provider: &str, instance_type: &str) -> Option<KnownInstance> {
        (provider == "aws" && instance_type == "p5.48xlarge").then(|| KnownInstance {
            gpu_count: 8,
            gpu_product: "H100-SXM-80".to_owned(),
        })
    }
}

fn day() -> i64 {
    parse_ms("2026-11-02").unwrap()
}

fn inputs() -> Inputs {
    let mut inputs = Inputs::empty("prod-a", TimeWindow::new(day(), day() + DAY_MS));
    inputs.series_interval_ms = 5 * MINUTE;
    inputs
}

fn object(body: Value, from_ms: i64, to_ms: i64) -> ObjectVersion {
    let field = |path: &str| {
        body.pointer(path)
            .and_then(Value::as_str)
            .unwrap_or("")
            .to_owned()
    };
    ObjectVersion {
        api_version: field("/apiVersion"),
        kind: field("/kind"),
        namespace: field("/metadata/namespace"),
        name: field("/metadata/name"),
        uid: body
            .pointer("/metadata/uid")
            .and_then(Value::as_str)
            .map(str::to_owned),
        json: body.to_string().into(),
        seen_from_ms: from_ms,
        seen_to_ms: to_ms,
    }
}

fn series(metric: &str, labels: &[(&str, &str)], runs: &[(i64, i64, f64)]) -> MetricSeries {
    MetricSeries {
        metric: metric.to_owned(),
        labels: labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        runs: runs
            .iter()
            .map(|(first, last, value)| ValueRun {
                first_ms: day() + first,
                last_ms: day() + last,
                value: *value,
            })
            .collect(),
    }
}

fn gpu(node: &str, index: i64, first: i64, last: i64) -> GpuSpan {
    GpuSpan {
        node: node.to_owned(),
        gpu: index.to_string(),
        uuid: format!("GPU-{node}-{index}"),
        model_name: Some("NVIDIA H100 80GB HBM3".to_owned()),
        target: format!("dcgm/{node}"),
        first_ms: day() + first,
        last_ms: day() + last,
        interval_ms: 5 * MINUTE,
        ..GpuSpan::default()
    }
}

fn on_gpu(node: &str, index: i64, pod: &str, first: i64, last: i64) -> GpuPodSpan {
    GpuPodSpan {
        node: node.to_owned(),
        gpu: index.to_string(),
        uuid: format!("GPU-{node}-{index}"),
        mig_instance: None,
        namespace: "chat".to_owned(),
        pod: pod.to_owned(),
        first_ms: day() + first,
        last_ms: day() + last,
    }
}

/// The series of one pod of kube-state-metrics that is ready after five minutes.
fn sampled_pod(name: &str, node: &str, from: i64, to: i64, gpus: f64) -> Vec<MetricSeries> {
    let id = [("namespace", "chat"), ("pod", name), ("uid", name)];
    let with = |more: &[(&'static str, &str)]| -> Vec<(String, String)> {
        id.iter()
            .chain(more)
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    };
    let make = |metric: &str, labels: Vec<(String, String)>, runs: &[(i64, i64, f64)]| {
        let labels: Vec<(&str, &str)> = labels
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        series(metric, &labels, runs)
    };
    let born = (day() + from) as f64 / 1000.0;
    vec![
        make("kube_pod_info", with(&[("node", node)]), &[(from, to, 1.0)]),
        make("kube_pod_created", with(&[]), &[(from, to, born)]),
        make("kube_pod_start_time", with(&[]), &[(from, to, born)]),
        make(
            "kube_pod_status_ready",
            with(&[("condition", "true")]),
            &[(from, from, 0.0), (from + 5 * MINUTE, to, 1.0)],
        ),
        make(
            "kube_pod_container_resource_requests",
            with(&[
                ("container", "main"),
                ("resource", "nvidia_com_gpu"),
                ("unit", "integer"),
            ]),
            &[(from, to, gpus)],
        ),
    ]
}

fn sampled_node(name: &str, from: i64, to: i64, gpus: f64) -> Vec<MetricSeries> {
    vec![
        series("kube_node_info", &[("node", name)], &[(from, to, 1.0)]),
        series(
            "kube_node_status_capacity",
            &[
                ("node", name),
                ("resource", "nvidia_com_gpu"),
                ("unit", "integer"),
            ],
            &[(from, to, gpus)],
        ),
    ]
}

/// What must hold of every inventory, whatever was read.
fn check(found: &Inventory, window: TimeWindow) {
    let mut by_slice: BTreeMap<_, Vec<TimeWindow>> = BTreeMap::new();
    let mut by_slot: BTreeMap<_, Vec<(TimeWindow, i64, i64)>> = BTreeMap::new();
    let mut add = |key: String, from: i64, to: i64| {
        assert!(
            window.start_ms <= from && from < to && to <= window.end_ms,
            "{key} {from} {to}"
        );
        by_slice
            .entry(key)
            .or_default()
            .push(TimeWindow::new(from, to));
    };
    for row in &found.nodes {
        add(
            format!("node {}", row.node),
            row.valid_from_ms,
            row.valid_to_ms,
        );
    }
    for row in &found.slices {
        let key = format!("slice {} {} {}", row.node, row.slot, row.slice);
        add(key, row.valid_from_ms, row.valid_to_ms);
        by_slot
            .entry((row.node.clone(), row.slot))
            .or_default()
            .push((
                TimeWindow::new(row.valid_from_ms, row.valid_to_ms),
                row.share_num,
                row.share_den,
            ));
    }
    for row in &found.gpu_holders {
        let key = format!("holder {} {} {}", row.node, row.slot, row.slice);
        add(key, row.valid_from_ms, row.valid_to_ms);
        assert_ne!(row.slice, "rest");
    }
    for row in &found.pods {
        add(
            format!("pod {} {}", row.namespace, row.pod),
            row.valid_from_ms,
            row.valid_to_ms,
        );
    }
    for row in &found.workloads {
        let key = format!(
            "w {} {} {}",
            row.namespace, row.workload_kind, row.workload_name
        );
        add(key, row.valid_from_ms, row.valid_to_ms);
    }
    for row in &found.autoscalers {
        let key = format!(
            "a {} {} {}",
            row.namespace, row.scaler_kind, row.scaler_name
        );
        add(key, row.valid_from_ms, row.valid_to_ms);
    }
    for (key, mut windows) in by_slice {
        windows.sort();
        for pair in windows.windows(2) {
            assert!(
                pair[0].end_ms <= pair[1].start_ms,
                "{key} overlaps: {pair:?}"
            );
        }
    }
    // At every instant of a node's life each of its slots is exactly one GPU.
    for node in &found.nodes {
        for slot in 0..node.gpu_count {
            let parts = by_slot
                .get(&(node.node.clone(), slot))
                .map_or(&[][..], Vec::as_slice);
            let mut edges: Vec<i64> = parts.iter().map(|(part, _, _)| part.start_ms).collect();
            edges.push(node.valid_from_ms);
            for at in edges {
                if !(node.valid_from_ms..node.valid_to_ms).contains(&at) {
                    continue;
                }
                let here: Vec<_> = parts
                    .iter()
                    .filter(|(part, _, _)| part.contains(at))
                    .collect();
                let dens: Vec<i64> = here.iter().map(|(_, _, den)| *den).collect();
                assert!(
                    !dens.is_empty() && dens.iter().all(|den| *den == dens[0]),
                    "{slot} {dens:?}"
                );
                assert_eq!(here.iter().map(|(_, num, _)| num).sum::<i64>(), dens[0]);
            }
        }
    }
    // A holder holds only what exists.
    for row in &found.gpu_holders {
        let held: i64 = found
            .slices
            .iter()
            .filter(|s| s.node == row.node && s.slot == row.slot && s.slice == row.slice)
            .map(|s| {
                (s.valid_to_ms.min(row.valid_to_ms) - s.valid_from_ms.max(row.valid_from_ms)).max(0)
            })
            .sum();
        assert_eq!(held, row.valid_to_ms - row.valid_from_ms, "{row:?}");
    }
    // Clipping loses no millisecond.
    let whole: i64 = found
        .slices
        .iter()
        .map(|s| s.valid_to_ms - s.valid_from_ms)
        .sum();
    let clipped: i64 = clip_to_days(&found.slices, window)
        .iter()
        .flat_map(|(start, rows)| rows.iter().map(move |row| (start, row)))
        .map(|(start, row)| {
            assert!(*start <= row.valid_from_ms && row.valid_to_ms <= start + DAY_MS);
            row.valid_to_ms - row.valid_from_ms
        })
        .sum();
    assert_eq!(whole, clipped);
}

fn folded(inputs: &Inputs) -> Inventory {
    let found = fold(inputs, &Shelf);
    check(&found, inputs.window);
    found
}

fn manifests(name: &str) -> Vec<ObjectVersion> {
    let path = format!("{}/tests/fixtures/k8s/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    serde_yaml_ng::Deserializer::from_str(&text)
        .filter_map(|document| {
            let mut body = Value::deserialize(document).ok()?;
            body.pointer("/metadata/name")?;
            if body.pointer("/metadata/namespace").is_none() {
                body["metadata"]["namespace"] = json!("default");
            }
            Some(object(body, day() + HOUR, day() + HOUR))
        })
        .collect()
}

fn declared(name: &str) -> WorkloadRow {
    let mut inputs = inputs();
    inputs.objects = manifests(name);
    let found = folded(&inputs);
    assert_eq!(found.workloads.len(), 1, "{name}: {:#?}", found.workloads);
    found.workloads[0].clone()
}

#[test]
fn upstream_manifests_are_read() {
    let rows: Vec<String> = [
        "baseline-deployment.yaml",
        "isvc-hf-storageuri.yaml",
        "llmisvc-pd.yaml",
        "dgd-disagg-planner.yaml",
        "lws-vllm-405b.yaml",
        "rayservice-llm-serve.yaml",
        "nimservice-multinode.yaml",
        "inferenceset-mig-mixed.yaml",
    ]
    .iter()
    .map(|name| {
        let row = declared(name);
        assert_eq!(row.workload_class, "serving", "{name}");
        format!(
            "{} | {} | {} | {} mGPU | tp {} pp {} | x{} | {} {}",
            row.workload_kind,
            row.serving_system.unwrap_or_default(),
            row.model.unwrap_or_default(),
            row.gpu_milli_per_replica,
            row.tensor_parallel.unwrap_or(0),
            row.pipeline_parallel.unwrap_or(0),
            row.replicas.unwrap_or(-1),
            row.remedy_object,
            row.remedy_replicas_field,
        )
    })
    .collect();
    assert_eq!(
        rows,
        [
            "deployment.apps | deployment | openai/gpt-oss-120b | 1000 mGPU | tp 0 pp 0 | x16 | deployment.apps/default/baseline spec.replicas",
            "inferenceservice.serving.kserve.io | kserve | meta-llama/Llama-2-7b-chat-hf | 1000 mGPU | tp 0 pp 0 | x-1 | inferenceservice.serving.kserve.io/default/huggingface-llama2 spec.predictor.minReplicas",
            "llminferenceservice.serving.kserve.io | kserve | Qwen/Qwen2.5-7B-Instruct | 1000 mGPU | tp 0 pp 0 | x3 | llminferenceservice.serving.kserve.io/default/qwen2-7b-instruct-pd spec.replicas",
            "dynamographdeployment.nvidia.com | dynamo | Qwen/Qwen3-0.6B | 1000 mGPU | tp 0 pp 0 | x2 | dynamographdeployment.nvidia.com/default/vllm-disagg-planner spec.components[2].replicas",
            "leaderworkerset.leaderworkerset.x-k8s.io | lws | meta-llama/Meta-Llama-3.1-405B | 16000 mGPU | tp 8 pp 2 | x2 | leaderworkerset.leaderworkerset.x-k8s.io/default/vllm spec.replicas",
            "rayservice.ray.io | ray | Qwen/Qwen2.5-7B-Instruct | 4000 mGPU | tp 0 pp 0 | x1 | rayservice.ray.io/default/ray-serve-llm spec.rayClusterConfig.workerGroupSpecs[0].minReplicas",
            "nimservice.apps.nvidia.com | nim | deepseek-ai/DeepSeek-R1 | 16000 mGPU | tp 8 pp 2 | x1 | nimservice.apps.nvidia.com/nim-service/deepseek-r1 spec.replicas",
            "inferenceset.kaito.sh | kaito |  | 0 mGPU | tp 0 pp 0 | x2 | inferenceset.kaito.sh/default/phi-4-mini spec.replicas",
        ]
    );
}

fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": "chat", "uid": name, "labels": {"team": "search"}},
        "spec": {"replicas": 2, "template": {"metadata": {"labels": {"app": name}}, "spec": {
            "containers": [{"image": "vllm/vllm-openai", "args": ["--model", "Qwen/Qwen3-0.6B"],
                "resources": {"limits": {"nvidia.com/gpu": 1}}}]}}}
    })
}

#[test]
fn the_real_autoscaler_is_named_and_an_unset_minimum_is_zero() {
    let mut inputs = inputs();
    let target = json!({"name": "llama"});
    let scaled = json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
        "metadata": {"name": "llama", "namespace": "chat"},
        "spec": {"scaleTargetRef": target, "maxReplicaCount": 6},
    });
    let generated = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "keda-hpa-llama", "namespace": "chat"},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama"},
            "minReplicas": 1, "maxReplicas": 6},
    });
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": "keep", "namespace": "chat"},
        "spec": {"minAvailable": "50%", "selector": {"matchLabels": {"app": "llama"}}},
    });
    for body in [deployment("llama"), scaled, generated, budget] {
        inputs.objects.push(object(body, day(), day()));
    }
    let found = folded(&inputs);
    let row = &found.workloads[0];
    assert_eq!(
        row.autoscaler.as_deref(),
        Some("scaledobject.keda.sh/llama")
    );
    assert_eq!(
        (row.min_replicas, row.max_replicas, row.replicas),
        (Some(0), Some(6), Some(2))
    );
    assert_eq!(row.remedy_object, "scaledobject.keda.sh/chat/llama");
    assert_eq!(row.remedy_replicas_field, "spec.minReplicaCount");
    assert_eq!(
        (row.floor_replicas, row.floor_why.as_str()),
        (2, "poddisruptionbudget keep")
    );
    assert_eq!(row.team.as_deref(), Some("search"));
    assert_eq!(found.autoscalers.len(), 1);
    assert_eq!(found.autoscalers[0].workload_name.as_deref(), Some("llama"));
}

#[test]
fn a_pod_known_from_samples_is_pending_until_ready_and_holds_from_its_start() {
    let mut inputs = inputs();
    inputs
        .series
        .extend(sampled_node("n", 0, 23 * HOUR + 55 * MINUTE, 2.0));
    inputs
        .series
        .extend(sampled_pod("p", "n", 2 * HOUR, 6 * HOUR, 1.0));
    inputs.gpu_spans = vec![
        gpu("n", 0, 0, 23 * HOUR + 55 * MINUTE),
        gpu("n", 1, 0, 23 * HOUR + 55 * MINUTE),
    ];
    // The device is labelled late, and half an hour too long.
    inputs.gpu_pod_spans = vec![on_gpu(
        "n",
        1,
        "p",
        2 * HOUR + 10 * MINUTE,
        6 * HOUR + 30 * MINUTE,
    )];
    let found = folded(&inputs);
    let states: Vec<_> = found
        .pods
        .iter()
        .map(|row| {
            (
                row.valid_from_ms - day(),
                row.valid_to_ms - day(),
                row.state.as_str(),
            )
        })
        .collect();
    assert_eq!(
        states,
        [
            (2 * HOUR, 2 * HOUR + 5 * MINUTE, "pending"),
            (2 * HOUR + 5 * MINUTE, 6 * HOUR + 5 * MINUTE, "ready"),
        ]
    );
    let held = &found.gpu_holders;
    assert_eq!(held.len(), 1);
    assert_eq!(
        (
            held[0].slot,
            held[0].valid_from_ms - day(),
            held[0].valid_to_ms - day(),
            held[0].how.as_str()
        ),
        (1, 2 * HOUR, 6 * HOUR + 5 * MINUTE, "dcgm")
    );
    assert_eq!(found.nodes[0].gpu_count, 2);
    assert_eq!(found.nodes[0].gpu_count_basis, "capacity");
    assert_eq!(found.nodes[0].valid_to_ms, day() + DAY_MS);
}

#[test]
fn a_day_without_scrapes_ends_no_pod() {
    let mut inputs = inputs();
    let mut node = sampled_node("n", 0, 4 * HOUR, 1.0);
    node.extend(sampled_node("n", 20 * HOUR, 23 * HOUR, 1.0));
    let mut pod = sampled_pod("p", "n", 0, 4 * HOUR, 1.0);
    pod.extend(sampled_pod("p", "n", 20 * HOUR, 23 * HOUR, 1.0));
    for part in pod
        .iter_mut()
        .filter(|part| part.metric.ends_with("created") || part.metric.ends_with("start_time"))
    {
        for run in &mut part.runs {
            run.value = day() as f64 / 1000.0;
        }
    }
    inputs.series.extend(node);
    inputs.series.extend(pod);
    let found = folded(&inputs);
    let held: Vec<_> = found
        .gpu_holders
        .iter()
        .map(|h| {
            (
                h.valid_from_ms - day(),
                h.valid_to_ms - day(),
                h.how.clone(),
            )
        })
        .collect();
    assert_eq!(held, [(0, 23 * HOUR + 5 * MINUTE, "inferred".to_owned())]);
}

#[test]
fn exact_times_of_snapshots_win_over_samples() {
    let mut inputs = inputs();
    inputs.series.extend(sampled_node("n", 0, 12 * HOUR, 1.0));
    inputs
        .series
        .extend(sampled_pod("p", "n", HOUR, 12 * HOUR, 1.0));
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "namespace": "chat", "uid": "p", "creationTimestamp": "2026-11-02T00:58:00Z"},
        "spec": {"nodeName": "n", "containers": [{"resources": {"limits": {"nvidia.com/gpu": 1}}}]},
        "status": {"phase": "Running", "startTime": "2026-11-02T00:58:30Z", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-02T01:02:00Z"}]},
    });
    inputs
        .objects
        .push(object(pod, day() + 3 * HOUR, day() + 3 * HOUR));
    let found = folded(&inputs);
    let at: Vec<_> = found
        .pods
        .iter()
        .map(|row| {
            (
                (row.valid_from_ms - day()) / 1000,
                row.state.as_str(),
                row.node.is_some(),
            )
        })
        .collect();
    assert_eq!(
        at,
        [
            (58 * 60, "pending", false),
            (58 * 60 + 30, "pending", true),
            (62 * 60, "ready", true)
        ]
    );
}

#[test]
fn a_snapshot_without_the_pod_ends_it() {
    let mut inputs = inputs();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "namespace": "chat", "uid": "p"},
        "spec": {"nodeName": "n"}, "status": {"phase": "Running"},
    });
    inputs
        .objects
        .push(object(pod, day() + HOUR, day() + 2 * HOUR));
    for at in [1, 2, 3] {
        inputs.snapshots.push(SnapshotList {
            ts_ms: day() + at * HOUR,
            kind: "Pod".to_owned(),
        });
    }
    let found = folded(&inputs);
    assert_eq!(found.pods.last().unwrap().valid_to_ms, day() + 3 * HOUR);
}

#[test]
fn mig_instances_and_their_rest_make_one_gpu() {
    let mut inputs = inputs();
    for (instance, profile) in [("1", "3g.40gb"), ("9", "1g.10gb"), ("11", "1g.10gb")] {
        inputs.gpu_spans.push(GpuSpan {
            mig_instance: Some(instance.to_owned()),
            mig_profile: Some(profile.to_owned()),
            ..gpu("n", 0, HOUR, 5 * HOUR)
        });
    }
    inputs.gpu_pod_spans.push(GpuPodSpan {
        mig_instance: Some("9".to_owned()),
        ..on_gpu("n", 0, "small", 2 * HOUR, 3 * HOUR)
    });
    let found = folded(&inputs);
    let parts: Vec<_> = found
        .slices
        .iter()
        .map(|s| (s.slice.as_str(), s.share_num, s.share_den))
        .collect();
    assert_eq!(
        parts,
        [
            ("mig-1", 28, 56),
            ("mig-11", 8, 56),
            ("mig-9", 8, 56),
            ("rest", 12, 56)
        ]
    );
    assert_eq!(found.nodes[0].sharing, "mig");
    assert_eq!(found.gpu_holders[0].slice, "mig-9");
}

#[test]
fn a_lost_gpu_is_unavailable_and_a_silent_exporter_loses_none() {
    let mut inputs = inputs();
    inputs.gpu_spans = vec![
        gpu("n", 0, 0, 10 * HOUR),
        gpu("n", 1, 0, 4 * HOUR),
        gpu("n", 1, 6 * HOUR, 10 * HOUR),
        gpu("m", 0, 0, 4 * HOUR),
        gpu("m", 0, 6 * HOUR, 10 * HOUR),
        gpu("m", 1, 0, 4 * HOUR),
        gpu("m", 1, 6 * HOUR, 10 * HOUR),
    ];
    let found = folded(&inputs);
    let lost: Vec<_> = found
        .slices
        .iter()
        .filter(|s| s.unavailable)
        .map(|s| {
            (
                s.node.as_str(),
                s.slot,
                s.valid_from_ms - day(),
                s.valid_to_ms - day(),
            )
        })
        .collect();
    assert_eq!(lost, [("n", 1, 4 * HOUR + 5 * MINUTE, 6 * HOUR)]);
    let counts: Vec<_> = found
        .nodes
        .iter()
        .filter(|n| n.node == "n")
        .map(|n| n.gpus_lost)
        .collect();
    assert_eq!(counts, [0, 1, 0]);
}

#[test]
fn time_sliced_gpus_have_a_slice_a_share_and_pods_take_them_in_order() {
    let mut inputs = inputs();
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "n", "labels": {"nvidia.com/gpu.product": "Tesla-T4-SHARED",
            "nvidia.com/gpu.count": "1", "nvidia.com/gpu.replicas": "2",
            "nvidia.com/gpu.sharing-strategy": "time-slicing"}},
        "status": {"capacity": {"nvidia.com/gpu": "2"}},
    });
    inputs.objects.push(object(node, day(), day() + 20 * HOUR));
    inputs.gpu_spans = vec![gpu("n", 0, 0, 20 * HOUR)];
    for (name, from) in [("a", HOUR), ("b", 2 * HOUR)] {
        inputs
            .series
            .extend(sampled_pod(name, "n", from, 10 * HOUR, 1.0));
        inputs
            .gpu_pod_spans
            .push(on_gpu("n", 0, name, from, 10 * HOUR));
    }
    let found = folded(&inputs);
    assert_eq!((found.nodes[0].gpu_count, found.nodes[0].gpus_lost), (1, 0));
    let held: Vec<_> = found
        .gpu_holders
        .iter()
        .map(|h| (h.slice.as_str(), h.pod.as_str()))
        .collect();
    assert_eq!(held, [("ts-0", "a"), ("ts-1", "b")]);
    assert!(found.pods.iter().all(|pod| pod.gpu_milli == 500));
}

#[test]
fn the_instance_type_counts_gpus_and_capacity_below_it_is_lost() {
    let mut inputs = inputs();
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "n", "creationTimestamp": "2026-11-02T00:30:00Z", "labels": {
            "node.kubernetes.io/instance-type": "p5.48xlarge",
            "topology.kubernetes.io/region": "us-east-1", "karpenter.sh/capacity-type": "on-demand"}},
        "spec": {"providerID": "aws:///us-east-1a/i-1"},
        "status": {"capacity": {"nvidia.com/gpu": "7", "cpu": "192"}, "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-02T00:32:00Z"}]},
    });
    inputs
        .objects
        .push(object(node, day() + HOUR, day() + 2 * HOUR));
    let found = folded(&inputs);
    let node = found.nodes.last().unwrap();
    assert_eq!(
        (
            node.gpu_count,
            node.gpu_count_basis.as_str(),
            node.gpus_lost
        ),
        (8, "instance-catalogue", 1)
    );
    assert_eq!(
        found.slices[0].price_key,
        "aws|us-east-1|p5.48xlarge|H100-SXM-80|on-demand"
    );
    let starting = &found.nodes[0];
    assert_eq!(
        (starting.ready, starting.valid_to_ms - day()),
        (false, 32 * MINUTE)
    );
    // Evidence of a snapshot alone lasts half an hour.
    assert_eq!(node.valid_to_ms, day() + 2 * HOUR + 30 * MINUTE);
}

#[test]
fn hostile_objects_do_no_harm() {
    let mut inputs = inputs();
    let bodies = [
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "namespace": "chat",
            "ownerReferences": [{"controller": true, "kind": "Pod", "apiVersion": "v1", "name": "x"}],
            "creationTimestamp": "-9999999-01-01T00:00:00Z"}, "spec": {"containers": {}, "nodeName": 7}}),
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "labels": {
            "nvidia.com/gpu.count": "99999999999", "nvidia.com/gpu.replicas": "-4",
            "nvidia.com/gpu.product": "-MIG-"}}, "status": {"capacity": {"nvidia.com/gpu": "1e300"}}}),
        json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
            "metadata": {"name": "s", "namespace": "chat"}, "spec": {"scaleTargetRef": []}}),
        json!({"apiVersion": "nvidia.com/v1beta1", "kind": "DynamoGraphDeployment",
            "metadata": {"name": "d", "namespace": "chat"},
            "spec": {"components": [7, {"replicas": i64::MAX, "resources": {"limits": {"gpu": i64::MAX}}},
                {"replicas": i64::MAX, "multinode": {"nodeCount": i64::MAX},
                 "resources": {"limits": {"gpu": "8"}}}]}}),
        json!([1, 2]),
    ];
    for body in bodies {
        inputs
            .objects
            .push(object(body, i64::MIN / 4, i64::MAX / 4));
    }
    inputs.gpu_spans.push(GpuSpan {
        last_ms: i64::MAX,
        ..gpu("n", 0, HOUR, HOUR)
    });
    inputs.gpu_pod_spans.push(GpuPodSpan {
        last_ms: i64::MAX,
        ..on_gpu("n", 0, "y", 0, 0)
    });
    folded(&inputs);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn whatever_is_seen_no_slice_has_two_holders_and_no_slot_two_gpus(
        spans in prop::collection::vec((0..2_i64, 0..3_i64, 0..280_i64, 1..140_i64, 0..4_i64), 0..14),
        pods in prop::collection::vec((0..2_i64, 0..3_i64, 0..280_i64, 1..140_i64, 1..3_i64, 0..3_i64), 0..10),
        capacity in prop::collection::vec((0..2_i64, 0..280_i64, 1..140_i64, 0..4_i64), 0..5),
        reversed in any::<bool>(),
    ) {
        let step = 10 * MINUTE;
        let mut inputs = inputs();
        inputs.window = TimeWindow::new(day(), day() + 2 * DAY_MS);
        for (node, index, from, length, mig) in spans {
            let mut span = gpu(["n", "m"][node as usize], index, from * step, (from + length) * step);
            if mig > 1 {
                span.mig_instance = Some(mig.to_string());
                span.mig_profile = Some(["1g.10gb", "4g.40gb"][(mig - 2) as usize].to_owned());
            }
            inputs.gpu_spans.push(span);
        }
        for (number, (node, index, from, length, gpus, seen)) in pods.into_iter().enumerate() {
            let name = format!("p{}", number % 6);
            let (from, to) = (from * step, (from + length) * step);
            let node = ["n", "m"][node as usize];
            if seen != 1 {
                inputs.series.extend(sampled_pod(&name, node, from, to, gpus as f64));
            }
            if seen != 0 {
                inputs.gpu_pod_spans.push(on_gpu(node, index, &name, from, to + 2 * step));
            }
        }
        for (node, from, length, gpus) in capacity {
            inputs.series.extend(sampled_node(["n", "m"][node as usize], from * step, (from + length) * step, gpus as f64));
        }
        let found = folded(&inputs);
        if reversed {
            // The order in which evidence is read changes nothing.
            inputs.gpu_spans.reverse();
            inputs.gpu_pod_spans.reverse();
            prop_assert_eq!(&folded(&inputs), &found);
        }
    }
}

#[test]
fn a_rollout_is_a_change_of_hands_and_real_sharers_are_fractions() {
    let mut inputs = inputs();
    inputs.gpu_spans = vec![gpu("n", 0, 0, 20 * HOUR)];
    for (name, from, to) in [("old", 0, 4 * HOUR), ("new", 4 * HOUR + MINUTE, 12 * HOUR)] {
        inputs.series.extend(sampled_pod(name, "n", from, to, 1.0));
        inputs.gpu_pod_spans.push(on_gpu("n", 0, name, from, to));
    }
    let found = folded(&inputs);
    assert_eq!(found.slices.len(), 1, "{:#?}", found.slices);
    let held: Vec<_> = found
        .gpu_holders
        .iter()
        .map(|h| {
            (
                h.pod.as_str(),
                h.valid_from_ms - day(),
                h.valid_to_ms - day(),
            )
        })
        .collect();
    // Evidence of the newer pod is exact where the older one's end is only sampled.
    assert_eq!(held[0].0, "old");
    assert_eq!(held[1].0, "new");
    assert_eq!(held[0].2, held[1].1);

    inputs
        .gpu_pod_spans
        .push(on_gpu("n", 0, "guest", 6 * HOUR, 8 * HOUR));
    inputs
        .series
        .extend(sampled_pod("guest", "n", 6 * HOUR, 8 * HOUR, 0.0));
    let shared = folded(&inputs);
    let fractions: Vec<_> = shared
        .slices
        .iter()
        .filter(|s| s.slice_kind == "fraction")
        .map(|s| {
            (
                s.slice.as_str(),
                s.share_num,
                s.share_den,
                s.valid_from_ms - day(),
            )
        })
        .collect();
    assert_eq!(
        fractions,
        [("fr-0", 1, 2, 6 * HOUR), ("fr-1", 1, 2, 6 * HOUR)]
    );
}
