//! Owns where sources contradict each other or leave a hole: one row a fault, with what each source
//! states. It decides nothing: the fold has chosen already, and these rows say against what.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::model::TimeWindow;

use super::detail_rows::{DataQualityRow, WorkloadDetailRow};
use super::families::Family;
use super::json;
use super::nodes::NodeLife;
use super::objects::{Key, ObjectStore};
use super::pods::PodLife;
use super::rows::WorkloadRow;

/// Kinds whose changes are told; their actors need managed fields.
const ACTED_ON: &[&str] = &[
    "deployment.apps",
    "statefulset.apps",
    "horizontalpodautoscaler.autoscaling",
    "scaledobject.keda.sh",
];

/// A fault of a workload, told for as long as it lasts.
pub(super) fn of_workload(
    rows: &[(TimeWindow, WorkloadRow)],
    details: &[(TimeWindow, WorkloadDetailRow)],
) -> Vec<DataQualityRow> {
    let mut out: Vec<DataQualityRow> = Vec::new();
    let mut put =
        |window: TimeWindow, key: [&str; 3], check: &str, message: String, stated: Value| {
            let row = DataQualityRow {
                scope: "workload".to_owned(),
                namespace: key[0].to_owned(),
                kind: key[1].to_owned(),
                name: key[2].to_owned(),
                check_id: check.to_owned(),
                valid_from_ms: window.start_ms,
                valid_to_ms: window.end_ms,
                message,
                stated_json: stated.to_string(),
            };
            join(&mut out, row);
        };
    for (window, row) in details {
        let key = [
            row.namespace.as_str(),
            row.workload_kind.as_str(),
            row.workload_name.as_str(),
        ];
        let found = || serde_json::from_str(&row.parallel_json).unwrap_or(Value::Null);
        match row.parallel_check.as_str() {
            "disagrees" => put(
                *window,
                key,
                "parallelism",
                format!(
                    "flags ask for {} GPUs a replica, the pods of a replica hold another number",
                    row.gpus_expected.unwrap_or(0)
                ),
                json!({"expected_gpus": row.gpus_expected, "found": found()}),
            ),
            "unresolved" => put(
                *window,
                key,
                "parallelism-unresolved",
                "a size is computed where only the shell can see it".to_owned(),
                found(),
            ),
            _ => {}
        }
    }
    for (window, row) in rows {
        let key = [
            row.namespace.as_str(),
            row.workload_kind.as_str(),
            row.workload_name.as_str(),
        ];
        if row.workload_class != "serving" {
            continue;
        }
        let candidates: Value =
            serde_json::from_str(&row.model_candidates_json).unwrap_or(Value::Null);
        let mut models: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for candidate in json::items(&candidates, &[]) {
            if let Some(model) = json::text(candidate, &["model"]) {
                let source = json::text(candidate, &["source"]).unwrap_or("");
                models.entry(model).or_default().push(source);
            }
        }
        if models.len() > 1 {
            put(
                *window,
                key,
                "model-candidates",
                format!("sources name {} different models", models.len()),
                json!(models),
            );
        }
        if row.model.is_none() {
            put(
                *window,
                key,
                "model-unresolved",
                "no source names a model that the catalogue knows".to_owned(),
                candidates,
            );
        }
    }
    out
}

/// Where the sources of a node's GPUs do not agree in number or product.
pub(super) fn of_node(node: &NodeLife<'_>) -> Vec<DataQualityRow> {
    let mut out: Vec<DataQualityRow> = Vec::new();
    let (Some((first, _)), Some((last, _))) = (node.segments.first(), node.segments.last()) else {
        return out;
    };
    let window = TimeWindow::new(first.start_ms, last.end_ms);
    let row = |window: TimeWindow, check: &str, message: String, stated: Value| DataQualityRow {
        scope: "node".to_owned(),
        kind: "node".to_owned(),
        name: node.name.clone(),
        check_id: check.to_owned(),
        valid_from_ms: window.start_ms,
        valid_to_ms: window.end_ms,
        message,
        stated_json: stated.to_string(),
        ..DataQualityRow::default()
    };
    if node.stated.values().any(|count| *count != node.gpu_count) {
        out.push(row(
            window,
            "gpu-count",
            format!(
                "sources count the node's GPUs differently; {} by {} is used",
                node.gpu_count, node.count_basis
            ),
            json!(node.stated),
        ));
    }
    for (window, facts) in &node.segments {
        let differs = facts
            .products_stated
            .values()
            .any(|product| Some(product) != facts.product.as_ref());
        if differs {
            let message = format!(
                "sources name different products; {} is used",
                facts.product.as_deref().unwrap_or("none")
            );
            let stated = json!(facts.products_stated);
            join(&mut out, row(*window, "gpu-product", message, stated));
        }
        if facts.virtual_gpus {
            let message = "its GPUs are virtual: parts of cards of a host that this cluster does not \
                           see, so a GPU here is such a part and the node's price is for it";
            let stated = json!({"nvidia.com/vgpu.present": "true", "label": facts.product_label});
            join(
                &mut out,
                row(*window, "gpu-virtual", message.to_owned(), stated),
            );
        }
        if facts.product.is_none() {
            join(
                &mut out,
                row(
                    *window,
                    "gpu-product-unknown",
                    "no source names a product that the catalogue knows".to_owned(),
                    json!({"label": facts.product_label}),
                ),
            );
        }
    }
    out
}

/// Pods that hold GPUs behind a revision to which no traffic goes.
pub(super) fn of_revisions(
    store: &ObjectStore,
    pods: &[PodLife<'_>],
    gpu_milli: &[i64],
    (top, family): (&Key, &Family),
) -> Vec<DataQualityRow> {
    let mut out: Vec<DataQualityRow> = Vec::new();
    let services = family
        .members
        .iter()
        .chain([top])
        .filter(|key| key.kind == "service.serving.knative.dev");
    for version in services.flat_map(|key| store.versions(key)) {
        let traffic = json::items(version.body(), &["status", "traffic"]);
        if traffic.is_empty() {
            continue;
        }
        for index in family.pods.iter().filter(|index| gpu_milli[**index] > 0) {
            let pod = &pods[*index];
            let Some(revision) = pod.labels.get("serving.knative.dev/revision") else {
                continue;
            };
            let percent: i64 = traffic
                .iter()
                .filter(|one| json::text(one, &["revisionName"]) == Some(revision))
                .filter_map(|one| json::int(one, &["percent"]))
                .sum();
            let window = TimeWindow::new(version.from_ms, version.to_ms)
                .intersect(&TimeWindow::new(pod.created_ms, pod.end_ms));
            if let Some(window) = window.filter(|_| percent == 0) {
                out.push(DataQualityRow {
                    scope: "pod".to_owned(),
                    namespace: pod.namespace.clone(),
                    kind: "pod".to_owned(),
                    name: pod.name.clone(),
                    check_id: "revision-without-traffic".to_owned(),
                    valid_from_ms: window.start_ms,
                    valid_to_ms: window.end_ms,
                    message: format!(
                        "holds GPUs for revision {revision}, to which no traffic goes"
                    ),
                    stated_json: json!({"traffic": traffic}).to_string(),
                });
            }
        }
    }
    out
}

/// What a whole cluster's evidence lacks.
pub(super) fn of_cluster(store: &ObjectStore, window: TimeWindow) -> Vec<DataQualityRow> {
    let mut seen = 0;
    let mut without = 0;
    for kind in ACTED_ON {
        for (_, versions) in store.of_kind(kind) {
            for version in versions.iter().filter(|version| version.is_known) {
                seen += 1;
                without += usize::from(!version.managed);
            }
        }
    }
    if without == 0 {
        return Vec::new();
    }
    vec![DataQualityRow {
        scope: "cluster".to_owned(),
        check_id: "no-managed-fields".to_owned(),
        valid_from_ms: window.start_ms,
        valid_to_ms: window.end_ms,
        message: "objects were exported without managedFields: who changed them is unknown; \
                  export with `kubectl get --show-managed-fields`"
            .to_owned(),
        stated_json: json!({"objects": seen, "without": without}).to_string(),
        ..DataQualityRow::default()
    }]
}

/// Adds a row, or lets the last equal one go on.
fn join(out: &mut Vec<DataQualityRow>, row: DataQualityRow) {
    let before = out.iter_mut().rev().find(|before| {
        before.valid_to_ms == row.valid_from_ms
            && before.check_id == row.check_id
            && before.stated_json == row.stated_json
            && before.message == row.message
    });
    match before {
        Some(before) => before.valid_to_ms = row.valid_to_ms,
        None => out.push(row),
    }
}
