//! Owns the rows that stand beside the ledger's own inputs: what else is known of workloads and
//! nodes, where sources disagree, and what changed when. `rows` has the tables that the ledger reads.

use crate::model::TimeWindow;

use super::rows::{Cell, Row, key_text, row};

row!(
    /// What else is known of a workload while it stays the same.
    WorkloadDetailRow, "workload_details", [namespace, workload_kind, workload_name], {
        namespace: String,
        workload_kind: String,
        workload_name: String,
        valid_from_ms: i64,
        valid_to_ms: i64,
        model_state: String,
        model_name: Option<String>,
        params_b: Option<f64>,
        active_params_b: Option<f64>,
        params_from: Option<String>,
        quantisation_from: Option<String>,
        served_models_json: String,
        tensor_parallel: Option<i64>,
        pipeline_parallel: Option<i64>,
        data_parallel: Option<i64>,
        expert_parallel: Option<i64>,
        parallel_json: String,
        gpus_expected: Option<i64>,
        parallel_check: String,
        served: String,
        traffic_percent: Option<i64>,
        routes_json: String,
        related_json: String,
        team_source: String,
        slo_candidates_json: String,
        chain_json: String,
        autoscalers_json: String,
    }
);

row!(
    /// What else is known of a node while it stays the same.
    NodeDetailRow, "node_details", [node], {
        node: String,
        valid_from_ms: i64,
        valid_to_ms: i64,
        pool: Option<String>,
        capacity_type: Option<String>,
        capacity_type_from: Option<String>,
        instance_type: Option<String>,
        instance_type_from: Option<String>,
        reservation_id: Option<String>,
        reservation_type: Option<String>,
        lifecycle_state: Option<String>,
        memory_bytes: Option<i64>,
        mig_strategy: Option<String>,
        sharing: String,
        sharers: i64,
        counts_json: String,
    }
);

row!(
    /// Where what sources say does not fit together.
    DataQualityRow, "data_quality", [scope, namespace, kind, name, check_id], {
        scope: String,
        namespace: String,
        kind: String,
        name: String,
        check_id: String,
        valid_from_ms: i64,
        valid_to_ms: i64,
        message: String,
        stated_json: String,
    }
);

row!(
    at seen_ms,
    /// One change of what a workload may use, and who made it.
    ScalingEventRow, "scaling_events", [namespace, workload_kind, workload_name], {
        namespace: String,
        workload_kind: String,
        workload_name: String,
        seen_ms: i64,
        not_before_ms: Option<i64>,
        object: String,
        field: String,
        what: String,
        before: Option<String>,
        after: Option<String>,
        seen_in: String,
        actor: Option<String>,
        actor_from: Option<String>,
        acted_ms: Option<i64>,
        cost_basis: Option<String>,
        gpu_milli_before: Option<i64>,
        gpu_milli_after: Option<i64>,
        price_key_before: Option<String>,
        price_key_after: Option<String>,
    }
);

row!(
    /// What is wrong with what an autoscaler listens to, while its policy stays the same.
    ScalingLintRow, "scaling_lint", [namespace, scaler_kind, scaler_name, rule, sentence], {
        namespace: String,
        scaler_kind: String,
        scaler_name: String,
        rule: String,
        sentence: String,
        valid_from_ms: i64,
        valid_to_ms: i64,
        workload_kind: Option<String>,
        workload_name: Option<String>,
        reference: String,
    }
);
