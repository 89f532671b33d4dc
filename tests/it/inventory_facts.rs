//! What the inventory establishes beside the ledger's own inputs: changes of scale and who made them,
//! parts of devices, routes, chains, teams, objectives, parallelism, faults of the data.

use std::collections::BTreeMap;

use idleproof::inventory::detail_rows::{ScalingEventRow, WorkloadDetailRow};
use idleproof::inventory::input::{
    GpuPodSpan, GpuSpan, Inputs, MetricSeries, ObjectVersion, SnapshotList, TeamRule, Upstream,
    ValueRun,
};
use idleproof::inventory::rows::Inventory;
use idleproof::inventory::{Embedded, fold};
use idleproof::model::TimeWindow;
use idleproof::model::time::{DAY_MS, format_ms, parse_ms};
use serde_json::{Value, json};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

fn day() -> i64 {
    parse_ms("2026-11-02").unwrap()
}

fn at(ms: i64) -> String {
    format_ms(day() + ms)
}

fn inputs() -> Inputs {
    let mut inputs = Inputs::empty("prod-a", TimeWindow::new(day(), day() + DAY_MS));
    inputs.series_interval_ms = 5 * MINUTE;
    inputs
}

fn seen(body: &Value, from: i64, to: i64) -> ObjectVersion {
    let field = |path: &str| body.pointer(path).and_then(Value::as_str).unwrap_or("");
    ObjectVersion {
        api_version: field("/apiVersion").to_owned(),
        kind: field("/kind").to_owned(),
        namespace: field("/metadata/namespace").to_owned(),
        name: field("/metadata/name").to_owned(),
        uid: None,
        json: body.to_string().into(),
        seen_from_ms: day() + from,
        seen_to_ms: day() + to,
    }
}

fn listed(kind: &str, times: &[i64]) -> Vec<SnapshotList> {
    times
        .iter()
        .map(|ms| SnapshotList {
            ts_ms: day() + ms,
            kind: kind.to_owned(),
        })
        .collect()
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

fn deployment(name: &str, replicas: i64, image: &str, args: &[&str]) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"namespace": "chat", "name": name},
        "spec": {"replicas": replicas, "template": {"metadata": {"labels": {"app": name}}, "spec": {
            "containers": [{"name": "main", "image": image, "command": ["vllm"], "args": args,
                "resources": {"limits": {"nvidia.com/gpu": "2"}}}]}}},
    })
}

fn node(name: &str, gpus: i64) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name,
        "labels": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu.count": gpus.to_string()}},
        "status": {"capacity": {"nvidia.com/gpu": gpus.to_string()},
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": at(0)}]}})
}

fn pod(namespace: &str, name: &str, on: &str, more: &Value) -> Value {
    let mut body = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "creationTimestamp": at(HOUR)},
        "spec": {"nodeName": on, "containers": [{"name": "main", "image": "vllm"}]},
        "status": {"phase": "Running", "startTime": at(HOUR)}});
    merge(&mut body, more);
    body
}

fn merge(into: &mut Value, more: &Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more.clone(),
    }
}

fn told(events: &[ScalingEventRow]) -> Vec<String> {
    events
        .iter()
        .map(|event| {
            format!(
                "{} {} {}->{} by {} ({})",
                (event.seen_ms - day()) / MINUTE,
                event.what,
                event.before.as_deref().unwrap_or("-"),
                event.after.as_deref().unwrap_or("-"),
                event.actor.as_deref().unwrap_or("unknown"),
                event.actor_from.as_deref().unwrap_or("-"),
            )
        })
        .collect()
}

fn details(found: &Inventory, name: &str) -> WorkloadDetailRow {
    let rows = found.workload_details.iter();
    rows.filter(|row| row.workload_name == name)
        .max_by_key(|row| row.valid_to_ms)
        .unwrap_or_else(|| panic!("{name}: {:#?}", found.workload_details))
        .clone()
}

/// Every slot is whole at every change of its slices.
fn whole(found: &Inventory) {
    let mut cuts: Vec<i64> = found.slices.iter().map(|row| row.valid_from_ms).collect();
    cuts.sort_unstable();
    cuts.dedup();
    assert!(!cuts.is_empty());
    for cut in cuts {
        let mut sums: BTreeMap<(&str, i64), (i64, i64)> = BTreeMap::new();
        for row in &found.slices {
            if row.valid_from_ms <= cut && cut < row.valid_to_ms {
                let sum = sums
                    .entry((&row.node, row.slot))
                    .or_insert((0, row.share_den));
                sum.0 += row.share_num;
                assert_eq!(sum.1, row.share_den);
            }
        }
        for (slot, (num, den)) in sums {
            assert_eq!(num, den, "{slot:?} at {cut}");
        }
    }
}

#[test]
fn changes_of_scale_are_told_with_bounds_actor_and_gpus() {
    let mut first = deployment("llama", 2, "vllm:1", &["serve", "Qwen/Qwen3-8B"]);
    let mut second = deployment("llama", 2, "vllm:2", &["serve", "Qwen/Qwen3-32B"]);
    first["metadata"]["managedFields"] = json!([{"manager": "kubectl", "time": at(-HOUR),
        "fieldsV1": {"f:spec": {}}}]);
    second["metadata"]["managedFields"] = json!([
        {"manager": "argocd-controller", "time": at(3 * HOUR), "fieldsV1": {"f:spec": {"f:template": {}}}},
        {"manager": "kube-controller-manager", "subresource": "scale", "time": at(90 * MINUTE),
         "fieldsV1": {"f:spec": {"f:replicas": {}}}}]);
    let scaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"namespace": "chat", "name": "llama"},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama"},
            "minReplicas": 2, "maxReplicas": 6}});
    let mut inputs = inputs();
    inputs.objects = vec![
        seen(&first, 0, 2 * HOUR),
        seen(&second, 4 * HOUR, 20 * HOUR),
        seen(&scaler, 0, 20 * HOUR),
    ];
    let named = [("namespace", "chat"), ("deployment", "llama")];
    let hpa = [("namespace", "chat"), ("horizontalpodautoscaler", "llama")];
    inputs.series = vec![
        series(
            "kube_deployment_spec_replicas",
            &named,
            &[
                (0, 85 * MINUTE, 2.0),
                (90 * MINUTE, 10 * HOUR, 5.0),
                (10 * HOUR + 5 * MINUTE, 12 * HOUR, 3.0),
                (12 * HOUR + 5 * MINUTE, 23 * HOUR, 1.0),
            ],
        ),
        series(
            "kube_horizontalpodautoscaler_status_desired_replicas",
            &hpa,
            &[
                (0, 10 * HOUR, 5.0),
                (10 * HOUR + 5 * MINUTE, 23 * HOUR, 3.0),
            ],
        ),
        series(
            "kube_horizontalpodautoscaler_spec_min_replicas",
            &hpa,
            &[
                (0, 12 * HOUR, 2.0),
                (12 * HOUR + 5 * MINUTE, 23 * HOUR, 1.0),
            ],
        ),
    ];
    let found = fold(&inputs, &Embedded);
    let mut events = found.scaling_events.clone();
    events.sort_by_key(|event| (event.seen_ms, event.what.clone(), event.field.clone()));
    assert_eq!(
        told(&events),
        [
            "90 replicas 2->5 by kube-controller-manager (scale) (managedFields)",
            "240 image vllm:1->vllm:2 by argocd-controller (managedFields)",
            "240 model Qwen/Qwen3-8B->Qwen/Qwen3-32B by argocd-controller (managedFields)",
            "605 replicas 5->3 by hpa/llama (desired replicas)",
            "725 min_replicas 2->1 by unknown (-)",
            "725 replicas 3->1 by unknown (-)",
        ]
    );
    let grown = &events[0];
    assert_eq!(
        (grown.gpu_milli_before, grown.gpu_milli_after),
        (Some(4_000), Some(10_000))
    );
    assert_eq!(grown.not_before_ms, Some(day() + 85 * MINUTE));
    assert_eq!(grown.cost_basis.as_deref(), Some("replicas"));
    // An image holds no GPU of its own.
    assert_eq!(
        (events[1].cost_basis.as_deref(), events[1].gpu_milli_after),
        (None, None)
    );
    let floor = &events[4];
    assert_eq!(
        (floor.cost_basis.as_deref(), floor.gpu_milli_after),
        (Some("floor"), Some(2_000))
    );
    // An event belongs to the one day in which it was seen.
    let days = found.clip_to_days(inputs.window);
    assert_eq!(days[&day()].scaling_events.len(), 6);
}

fn gpu_node(inputs: &mut Inputs, name: &str, gpus: i64, body: &Value) {
    inputs.objects.push(seen(body, 0, 23 * HOUR));
    for index in 0..gpus {
        inputs.gpu_spans.push(GpuSpan {
            node: name.to_owned(),
            gpu: index.to_string(),
            uuid: format!("GPU-{name}-{index}"),
            model_name: Some("NVIDIA H100 80GB HBM3".to_owned()),
            target: "dcgm".to_owned(),
            first_ms: day(),
            last_ms: day() + 23 * HOUR,
            interval_ms: 5 * MINUTE,
            ..GpuSpan::default()
        });
    }
}

fn held(found: &Inventory) -> Vec<String> {
    let mut out: Vec<String> = found
        .gpu_holders
        .iter()
        .map(|row| format!("{} slot {} {} {}", row.pod, row.slot, row.slice, row.how))
        .collect();
    out.sort();
    out.dedup();
    out
}

#[test]
fn fractions_share_the_device_that_a_reservation_pod_keeps() {
    let mut inputs = inputs();
    gpu_node(&mut inputs, "n1", 2, &node("n1", 2));
    let group = json!({"metadata": {"labels": {"runai-gpu-group": "g1"}}});
    let keeper = {
        let mut more = group.clone();
        more["spec"] = json!({"containers": [{"name": "main", "image": "pause",
            "resources": {"limits": {"nvidia.com/gpu": "1"}}}]});
        pod("kai-resource-reservation", "gpu-reservation-x", "n1", &more)
    };
    let part = |name: &str, fraction: &str| {
        let mut more = group.clone();
        more["metadata"]["annotations"] = json!({"gpu-fraction": fraction});
        pod("chat", name, "n1", &more)
    };
    for body in [keeper, part("half", "0.5"), part("quarter", "0.25")] {
        inputs.objects.push(seen(&body, HOUR, 23 * HOUR));
    }
    // The exporter names the pod that holds the device by Kubernetes' accounting.
    inputs.gpu_pod_spans.push(GpuPodSpan {
        node: "n1".to_owned(),
        gpu: "1".to_owned(),
        uuid: "GPU-n1-1".to_owned(),
        mig_instance: None,
        namespace: "kai-resource-reservation".to_owned(),
        pod: "gpu-reservation-x".to_owned(),
        first_ms: day() + HOUR,
        last_ms: day() + 23 * HOUR,
    });
    let found = fold(&inputs, &Embedded);
    whole(&found);
    assert_eq!(
        held(&found),
        [
            "half slot 1 part-chat/half reservation",
            "quarter slot 1 part-chat/quarter reservation"
        ]
    );
    let parts: BTreeMap<&str, (i64, i64)> = found
        .slices
        .iter()
        .filter(|row| row.slot == 1 && row.valid_from_ms >= day() + HOUR)
        .map(|row| (row.slice.as_str(), (row.share_num, row.share_den)))
        .collect();
    assert_eq!(parts["part-chat/half"], (500, 1000));
    assert_eq!(parts["part-chat/quarter"], (250, 1000));
    assert_eq!(parts["rest"], (250, 1000));
    let pods: BTreeMap<&str, i64> = found
        .pods
        .iter()
        .map(|row| (row.pod.as_str(), row.gpu_milli))
        .collect();
    assert_eq!((pods["half"], pods["gpu-reservation-x"]), (500, 0));
    let chain = details(&found, "half").chain_json;
    assert!(
        chain.contains("label runai-gpu-group") && chain.contains("gpu-reservation-x"),
        "{chain}"
    );
}

#[test]
fn virtual_gpus_and_claimed_devices_are_parts_of_physical_ones() {
    let mut inputs = inputs();
    let mut hami = node("h1", 20);
    hami["metadata"]["annotations"] = json!({"hami.io/node-nvidia-register":
        "GPU-h1-0,10,80000,100,NVIDIA-H100,0,true:GPU-h1-1,10,80000,100,NVIDIA-H100,0,true:"});
    hami["metadata"]["labels"]["nvidia.com/gpu.count"] = json!("2");
    gpu_node(&mut inputs, "h1", 2, &hami);
    let given = json!({"metadata": {"annotations": {
            "hami.io/vgpu-devices-allocated": "GPU-h1-1,NVIDIA,20000,10:;"}},
        "spec": {"containers": [{"name": "main", "image": "vllm", "resources": {"limits": {
            "nvidia.com/gpu": "1", "nvidia.com/gpumem": "20000"}}}]}});
    inputs
        .objects
        .push(seen(&pod("chat", "virtual", "h1", &given), HOUR, 23 * HOUR));

    // A claimed card on a node whose devices only a ResourceSlice lists.
    inputs.objects.push(seen(&node("d1", 2), 0, 23 * HOUR));
    let device = |name: &str, attributes: Value| json!({"name": name, "attributes": attributes});
    let slice = json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice",
        "metadata": {"name": "d1"},
        "spec": {"nodeName": "d1", "driver": "gpu.nvidia.com", "pool": {"name": "d1"}, "devices": [
            device("gpu-0", json!({"uuid": {"string": "GPU-d1-0"}})),
            device("gpu-1", json!({"uuid": {"string": "GPU-d1-1"}})),
            device("mig-0", json!({"parentUUID": {"string": "GPU-d1-0"}, "profile": {"string": "3g.40gb"}}))]}});
    let claim = |name: &str, device: &str| {
        json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
            "metadata": {"name": name, "namespace": "chat"},
            "status": {"allocation": {"devices": {"results": [
                {"driver": "gpu.nvidia.com", "pool": "d1", "device": device}]}}}})
    };
    let claims = |claim: &str| json!({"spec": {"resourceClaims": [{"name": "c", "resourceClaimName": claim}]}});
    for body in [
        slice,
        claim("card", "gpu-1"),
        claim("instance", "mig-0"),
        pod("chat", "card", "d1", &claims("card")),
        pod("chat", "instance", "d1", &claims("instance")),
    ] {
        inputs.objects.push(seen(&body, HOUR, 23 * HOUR));
    }
    let found = fold(&inputs, &Embedded);
    whole(&found);
    assert_eq!(
        held(&found),
        [
            "card slot 1 whole dra",
            "instance slot 0 part-chat/instance dra",
            "virtual slot 1 part-chat/virtual hami"
        ]
    );
    let share = |pod: &str| {
        let slice = format!("part-chat/{pod}");
        let row = found.slices.iter().find(|row| row.slice == slice).unwrap();
        (row.share_num, row.share_den)
    };
    assert_eq!(share("virtual"), (250, 1000));
    assert_eq!(share("instance"), (500, 1000));
    let counts: BTreeMap<&str, i64> = found
        .nodes
        .iter()
        .map(|row| (row.node.as_str(), row.gpu_count))
        .collect();
    assert_eq!((counts["h1"], counts["d1"]), (2, 2));
}

fn service(name: &str, app: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "chat", "name": name},
        "spec": {"selector": {"app": app}}})
}

#[test]
fn routes_services_and_callers_say_who_is_served() {
    let mut inputs = inputs();
    let serve = ["serve", "Qwen/Qwen3-8B"];
    let mut router = deployment(
        "router",
        1,
        "router:1",
        &["--backends", "http://stable:8000"],
    );
    router["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({});
    let route = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"namespace": "chat", "name": "front"},
        "spec": {"rules": [{"backendRefs": [
            {"name": "stable", "port": 8000, "weight": 100},
            {"name": "canary", "port": 8000, "weight": 0}]}]}});
    for body in [
        deployment("stable", 2, "vllm:1", &serve),
        deployment("canary", 1, "vllm:2", &serve),
        deployment("inner", 1, "vllm:1", &serve),
        deployment("lonely", 1, "vllm:1", &serve),
        router,
        service("stable", "stable"),
        service("canary", "canary"),
        service("inner", "inner"),
        route,
    ] {
        inputs.objects.push(seen(&body, 0, 23 * HOUR));
    }
    inputs.snapshots = listed("service", &[0, 23 * HOUR]);
    let found = fold(&inputs, &Embedded);
    let served = |name: &str| {
        (
            details(&found, name).served,
            details(&found, name).traffic_percent,
        )
    };
    assert_eq!(served("stable"), ("routed".to_owned(), None));
    assert_eq!(served("canary"), ("zero weight".to_owned(), Some(0)));
    assert_eq!(served("inner"), ("service".to_owned(), None));
    assert_eq!(served("lonely"), ("nothing".to_owned(), None));
    let related = details(&found, "stable").related_json;
    assert!(
        related.contains("calls it") && related.contains("deployment.apps/chat/router"),
        "{related}"
    );
    // What no object shows a person may declare.
    inputs.upstreams = vec![Upstream {
        caller: ("agents".to_owned(), "planner".to_owned()),
        serves: ("chat".to_owned(), "inner".to_owned()),
    }];
    let declared = fold(&inputs, &Embedded);
    let related = |name: &str| details(&declared, name).related_json;
    assert!(related("inner").contains(r#""object":"workload/agents/planner""#));
    assert!(!related("stable").contains("planner"));
    // Without any list of Services nothing is said.
    inputs.objects.retain(|object| object.kind == "Deployment");
    inputs.snapshots.clear();
    let found = fold(&inputs, &Embedded);
    assert_eq!(details(&found, "lonely").served, "unknown");
}

#[test]
fn teams_follow_the_configured_order_and_nobody_is_said() {
    let mut inputs = inputs();
    let mut queued = deployment("queued", 1, "vllm:1", &["serve", "Qwen/Qwen3-8B"]);
    queued["metadata"]["labels"] =
        json!({"kueue.x-k8s.io/queue-name": "research-q", "team": "search"});
    inputs.objects = vec![
        seen(&queued, 0, 23 * HOUR),
        seen(
            &deployment("plain", 1, "vllm:1", &["serve", "Qwen/Qwen3-8B"]),
            0,
            23 * HOUR,
        ),
    ];
    let team = |inputs: &Inputs, name: &str| {
        let found = fold(inputs, &Embedded);
        let row = found
            .workloads
            .iter()
            .find(|row| row.workload_name == name)
            .unwrap();
        (row.team.clone(), details(&found, name).team_source)
    };
    let says = |team: &str, source: &str| (Some(team.to_owned()), source.to_owned());
    assert_eq!(team(&inputs, "queued"), says("search", "label team"));
    assert_eq!(team(&inputs, "plain"), says("chat", "namespace"));
    inputs.team_order = ["queue", "label:team"]
        .iter()
        .filter_map(|w| TeamRule::parse(w))
        .collect();
    assert_eq!(
        team(&inputs, "queued"),
        says("research-q", "label kueue.x-k8s.io/queue-name")
    );
    assert_eq!(team(&inputs, "plain"), (None, "unallocated".to_owned()));
    assert_eq!(TeamRule::parse("label:"), None);
}

#[test]
fn models_parallelism_objectives_and_faults_are_told_with_their_source() {
    let mut inputs = inputs();
    let mut wide = deployment(
        "wide",
        1,
        "vllm:1",
        &[
            "serve",
            "acme/secret-70b-awq",
            "--served-model-name",
            "chat",
            "gpt",
            "-tp",
            "4",
            "--lora-modules",
            "sql=/adapters/sql",
            r#"{"name": "law", "path": "/x", "base_model_name": "b"}"#,
        ],
    );
    wide["metadata"]["annotations"] = json!({"idleproof.dev/ttft-p95-ms": "1500",
        "meta.helm.sh/release-name": "wide", "kaito.sh/none": "x"});
    let nameless = deployment("nameless", 1, "vllm:1", &["serve", "/opt/ml/model"]);
    let confused = {
        let mut body = deployment(
            "confused",
            1,
            "vllm:1",
            &["serve", "Qwen/Qwen3-8B", "-tp", "2"],
        );
        body["spec"]["template"]["metadata"]["labels"]["llm-d.ai/model"] = json!("Qwen/Qwen3-32B");
        body
    };
    for body in [wide, nameless, confused] {
        inputs.objects.push(seen(&body, 0, 23 * HOUR));
    }
    let found = fold(&inputs, &Embedded);
    let wide = details(&found, "wide");
    assert_eq!(
        (
            wide.model_state.as_str(),
            wide.model_name.as_deref(),
            wide.params_b
        ),
        ("parsed", Some("acme/secret-70b-awq"), Some(70.0))
    );
    assert_eq!(
        (wide.gpus_expected, wide.parallel_check.as_str()),
        (Some(4), "disagrees")
    );
    for name in ["chat", "gpt", "sql", "law"] {
        assert!(
            wide.served_models_json
                .contains(&format!("\"name\":\"{name}\"")),
            "{}",
            wide.served_models_json
        );
    }
    assert!(
        wide.chain_json.contains("helm release"),
        "{}",
        wide.chain_json
    );
    let row = found
        .workloads
        .iter()
        .find(|row| row.workload_name == "wide")
        .unwrap();
    assert_eq!(
        (row.slo_ttft_p95_ms, row.slo_source.as_deref()),
        (Some(1500), Some("annotation"))
    );
    let nameless = details(&found, "nameless");
    assert_eq!(
        (nameless.model_state.as_str(), nameless.model_name),
        ("unresolved", None)
    );
    let confused = details(&found, "confused");
    assert_eq!(
        (
            confused.model_state.as_str(),
            confused.parallel_check.as_str()
        ),
        ("known", "agrees")
    );
    let faults: Vec<(&str, &str)> = found
        .data_quality
        .iter()
        .map(|row| (row.name.as_str(), row.check_id.as_str()))
        .collect();
    for fault in [
        ("wide", "parallelism"),
        ("wide", "model-unresolved"),
        ("nameless", "model-unresolved"),
        ("confused", "model-candidates"),
        ("", "no-managed-fields"),
    ] {
        assert!(faults.contains(&fault), "{fault:?} in {faults:?}");
    }
}

#[test]
fn nodes_say_what_their_price_hangs_on_and_where_counts_disagree() {
    let mut inputs = inputs();
    let mut body = node("n1", 8);
    merge(
        &mut body,
        &json!({"metadata": {"labels": {"karpenter.sh/nodepool": "h100", "nvidia.com/gpu.count": "8",
            "karpenter.k8s.aws/capacity-reservation-id": "cr-1", "nvidia.com/mig.strategy": "none"}},
            "status": {"capacity": {"memory": "2Ki"}}}),
    );
    gpu_node(&mut inputs, "n1", 7, &body);
    let found = fold(&inputs, &Embedded);
    let row = &found.node_details[0];
    assert_eq!(row.pool.as_deref(), Some("h100"));
    assert_eq!(row.reservation_id.as_deref(), Some("cr-1"));
    assert_eq!(
        (
            row.capacity_type.as_deref(),
            row.capacity_type_from.as_deref()
        ),
        (
            Some("reserved"),
            Some("karpenter.k8s.aws/capacity-reservation-id")
        )
    );
    assert_eq!(row.memory_bytes, Some(2048));
    assert_eq!(row.counts_json, r#"{"capacity":8,"gfd":8,"uuids":7}"#);
    let fault = found
        .data_quality
        .iter()
        .find(|row| row.check_id == "gpu-count")
        .unwrap();
    assert_eq!((fault.name.as_str(), fault.scope.as_str()), ("n1", "node"));
}

#[test]
fn workers_of_a_ray_cluster_with_engines_of_their_own_are_replicas() {
    let service = json!({"apiVersion": "ray.io/v1", "kind": "RayService",
        "metadata": {"namespace": "chat", "name": "llm", "uid": "service"},
        "spec": {"serveConfigV2": "args:\n  tensor_parallel_size: 1\n", "rayClusterConfig": {"workerGroupSpecs": [
            {"groupName": "gpu", "replicas": 3, "minReplicas": 3, "maxReplicas": 3, "numOfHosts": 1}]}}});
    let cluster = json!({"apiVersion": "ray.io/v1", "kind": "RayCluster",
        "metadata": {"namespace": "chat", "name": "llm-x", "uid": "cluster", "ownerReferences": [
            {"apiVersion": "ray.io/v1", "kind": "RayService", "name": "llm", "uid": "service", "controller": true}]},
        "spec": {}});
    let worker = |name: &str| {
        pod(
            "chat",
            name,
            "node-1",
            &json!({"metadata": {
                "labels": {"ray.io/cluster": "llm-x", "ray.io/node-type": "worker"},
                "ownerReferences": [{"apiVersion": "ray.io/v1", "kind": "RayCluster", "name": "llm-x",
                    "uid": "cluster", "controller": true}]},
                "spec": {"containers": [{"name": "main", "image": "ray",
                    "resources": {"limits": {"nvidia.com/gpu": "1"}}}]},
                "status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": at(HOUR)}]}}),
        )
    };
    let names = ["w-1", "w-2", "w-3"];
    let found = |speaking: &[&str]| {
        let mut inputs = inputs();
        let mut bodies = vec![node("node-1", 4), service.clone(), cluster.clone()];
        bodies.extend(names.iter().map(|name| worker(name)));
        inputs.objects = bodies
            .iter()
            .map(|body| seen(body, HOUR, 20 * HOUR))
            .collect();
        for name in speaking {
            let key = ("chat".to_owned(), (*name).to_owned());
            inputs.pod_models.insert(key, "m".to_owned());
        }
        let found = fold(&inputs, &Embedded);
        let row = found
            .workloads
            .iter()
            .find(|row| row.workload_name == "llm")
            .unwrap();
        let replicas: std::collections::BTreeSet<String> =
            found.pods.iter().map(|pod| pod.replica.clone()).collect();
        (row.gpu_milli_per_replica, row.replicas, replicas.len())
    };
    assert_eq!(found(&names), (1000, Some(3), 3));
    // One engine spans the workers: its leader speaks for all. So does a cluster of which nothing is heard.
    assert_eq!(found(&names[..1]), (3000, Some(3), 1));
    assert_eq!(found(&[]), (3000, Some(3), 1));
}
