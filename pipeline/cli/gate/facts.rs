//! Owns the way from what manifests declare to what a workload will be: what is live, with the fields changed
//! that the change touches. A gate judges what is written; where nothing is written, what was seen stays.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::detect::economics::placements::WorkloadFacts;
use crate::inventory::rows::WorkloadRow;

/// Selectors of one manifest; more were not written by a person.
const SELECTORS_MAX: usize = 64;

/// What manifests alone say of a workload.
pub(super) fn declared(cluster: &str, row: &WorkloadRow) -> WorkloadFacts {
    WorkloadFacts {
        cluster: cluster.to_owned(),
        namespace: row.namespace.clone(),
        workload_kind: row.workload_kind.clone(),
        workload_name: row.workload_name.clone(),
        workload_class: row.workload_class.clone(),
        model: row.model.clone(),
        model_raw: row.model_raw.clone(),
        quantisation: row.quantisation.clone(),
        max_model_len: row.max_model_len,
        max_num_seqs: row.max_num_seqs,
        engine: row.engine.clone(),
        tensor_parallel: row.tensor_parallel,
        pipeline_parallel: row.pipeline_parallel,
        role: row.role.clone(),
        gpu_product: row.gpu_product.clone(),
        gpu_milli_per_replica: row.gpu_milli_per_replica,
        replicas: row.replicas,
        floor_replicas: row.floor_replicas,
        slo_ttft_p95_ms: row.slo_ttft_p95_ms,
        slo_itl_p95_ms: row.slo_itl_p95_ms,
        price_key: None,
    }
}

/// What is live, changed as the manifests change.
pub(super) fn after(
    cluster: &str,
    live: Option<&WorkloadFacts>,
    before: Option<&WorkloadRow>,
    after: &WorkloadRow,
) -> WorkloadFacts {
    let mut out = declared(cluster, after);
    let Some(live) = live else { return out };
    let before = before.map(|row| declared(cluster, row));
    // A field that the change does not touch stays what was seen of it.
    macro_rules! keep {
        ($($field:ident),*) => {$(
            let stays = match &before {
                Some(before) => before.$field == out.$field,
                None => out.$field.is_none(),
            };
            if stays {
                out.$field = live.$field.clone();
            }
        )*};
    }
    let moves_model = before
        .as_ref()
        .is_some_and(|before| before.model_raw != out.model_raw);
    keep!(
        max_model_len,
        max_num_seqs,
        engine,
        tensor_parallel,
        pipeline_parallel,
        role,
        gpu_product,
        slo_ttft_p95_ms,
        slo_itl_p95_ms
    );
    if !moves_model {
        keep!(model, model_raw, quantisation);
    }
    let untouched = before
        .as_ref()
        .is_some_and(|before| before.gpu_milli_per_replica == out.gpu_milli_per_replica);
    if untouched && live.gpu_milli_per_replica > 0 {
        out.gpu_milli_per_replica = live.gpu_milli_per_replica;
    }
    out.replicas = out.replicas.or(live.replicas);
    if before.is_some_and(|before| before.floor_replicas == out.floor_replicas) {
        out.floor_replicas = live.floor_replicas;
    }
    // What served goes on serving, whatever a manifest alone tells of it.
    if live.workload_class == "serving" || out.workload_class == "unknown" {
        out.workload_class.clone_from(&live.workload_class);
    }
    if out.gpu_product == live.gpu_product {
        out.price_key.clone_from(&live.price_key);
    }
    out
}

/// Whether a replica is another one: other weights, other GPUs, other room.
pub(super) fn moves(before: &WorkloadFacts, after: &WorkloadFacts) -> bool {
    before.model != after.model
        || before.model_raw != after.model_raw
        || before.quantisation != after.quantisation
        || before.gpu_product != after.gpu_product
        || before.gpu_milli_per_replica != after.gpu_milli_per_replica
        || before.tensor_parallel != after.tensor_parallel
        || before.pipeline_parallel != after.pipeline_parallel
        || before.max_num_seqs != after.max_num_seqs
        || before.max_model_len != after.max_model_len
        || before.engine != after.engine
}

/// The fields beside size, GPUs and model that differ, for people.
pub(super) fn differences(before: &WorkloadFacts, after: &WorkloadFacts) -> Vec<String> {
    let number = |value: Option<i64>| value.map_or_else(|| "not set".to_owned(), |n| n.to_string());
    let word = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
    [
        (
            "tensor parallel",
            number(before.tensor_parallel),
            number(after.tensor_parallel),
        ),
        (
            "pipeline parallel",
            number(before.pipeline_parallel),
            number(after.pipeline_parallel),
        ),
        (
            "max model length",
            number(before.max_model_len),
            number(after.max_model_len),
        ),
        (
            "max sequences",
            number(before.max_num_seqs),
            number(after.max_num_seqs),
        ),
        (
            "quantisation",
            word(&before.quantisation),
            word(&after.quantisation),
        ),
        ("engine", word(&before.engine), word(&after.engine)),
    ]
    .into_iter()
    .filter(|(_, before, after)| before != after)
    .map(|(name, before, after)| format!("{name}: {before} → {after}"))
    .collect()
}

/// All node selectors of a manifest, wherever its pod templates stand.
pub(super) fn selectors(body: &Value) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let mut open = vec![body];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(fields) => {
                if let Some(Value::Object(selector)) = fields.get("nodeSelector") {
                    let told = selector.iter().filter_map(|(name, value)| {
                        Some((name.clone(), value.as_str()?.to_owned()))
                    });
                    out.extend(told.take(SELECTORS_MAX));
                }
                open.extend(fields.values());
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    out
}

/// The machine that selectors name.
pub(super) fn instance_type(selectors: &BTreeMap<String, String>) -> Option<&str> {
    [
        "node.kubernetes.io/instance-type",
        "beta.kubernetes.io/instance-type",
    ]
    .iter()
    .find_map(|label| selectors.get(*label))
    .map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(model: Option<&str>, product: Option<&str>, replicas: i64) -> WorkloadRow {
        WorkloadRow {
            model: model.map(str::to_owned),
            model_raw: model.map(str::to_owned),
            gpu_product: product.map(str::to_owned),
            replicas: Some(replicas),
            gpu_milli_per_replica: 1000,
            floor_replicas: 1,
            workload_class: "unknown".to_owned(),
            ..WorkloadRow::default()
        }
    }

    fn live() -> WorkloadFacts {
        WorkloadFacts {
            workload_class: "serving".to_owned(),
            model: Some("seen".to_owned()),
            gpu_product: Some("L4-24".to_owned()),
            price_key: Some("aws|r|g6.xlarge|L4-24|".to_owned()),
            gpu_milli_per_replica: 1000,
            floor_replicas: 2,
            ..WorkloadFacts::default()
        }
    }

    #[test]
    fn what_a_change_leaves_alone_stays_as_it_was_seen() {
        let (one, two) = (row(None, None, 4), row(None, None, 2));
        let found = after("c", Some(&live()), Some(&one), &two);
        assert_eq!(found.model.as_deref(), Some("seen"));
        assert_eq!(found.gpu_product.as_deref(), Some("L4-24"));
        assert_eq!((found.replicas, found.floor_replicas), (Some(2), 2));
        assert_eq!(found.workload_class, "serving");
        assert!(!moves(&live(), &found));
        let moved = row(None, Some("H100-SXM-80"), 2);
        let found = after("c", Some(&live()), Some(&one), &moved);
        assert_eq!(found.gpu_product.as_deref(), Some("H100-SXM-80"));
        assert_eq!(found.price_key, None);
        assert!(moves(&live(), &found));
        // Nobody has seen it: what is written is all.
        assert_eq!(after("c", None, None, &moved).model, None);
    }

    #[test]
    fn selectors_are_found_wherever_templates_stand() {
        let body = serde_json::json!({"spec": {"predictor": {"nodeSelector": {"a": "b"}},
            "worker": [{"spec": {"nodeSelector": {"node.kubernetes.io/instance-type": "p5.48xlarge", "n": 1}}}]}});
        let found = selectors(&body);
        assert_eq!(found.len(), 2);
        assert_eq!(instance_type(&found), Some("p5.48xlarge"));
    }
}
