//! Owns what is known of a workload beyond what the ledger reads: the model's size, parallelism, who
//! is served, declared objectives, the chain with its sources. `workloads` calls it per stretch.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::command::CommandLine;
use super::detail_rows::WorkloadDetailRow;
use super::families::Family;
use super::identity::Identity;
use super::json;
use super::links;
use super::marks::Marks;
use super::metrics::Labels;
use super::objects::Key;
use super::parallel::Parallel;
use super::policy::Slo;
use super::scalers::Scaler;
use super::served_models;
use super::systems::View;
use super::workloads::Context;

/// What `workloads` has found out about a stretch already.
pub(super) struct Found<'f, 'a> {
    pub family: &'f Family,
    pub view: &'f View<'a>,
    pub lines: &'f [CommandLine],
    pub identity: &'f Identity,
    pub parallel: &'f Parallel,
    pub marks: &'f Marks<'a>,
    pub face_labels: Option<&'f Labels<'a>>,
    pub telemetry: &'f [&'a str],
    pub scalers: &'f [&'f Scaler],
    pub slos: &'f [Slo],
    pub team_source: String,
}

impl<'a> Context<'_, 'a> {
    pub(super) fn details(&self, found: Found<'_, '_>, ms: i64) -> WorkloadDetailRow {
        let Found {
            family,
            view,
            lines,
            identity,
            parallel,
            ..
        } = &found;
        let top = view.top;
        let model = served_models::describe(self.catalogue, identity, lines);
        let labels = |name: &str| {
            found
                .face_labels
                .and_then(|labels| labels.get(name))
                .or_else(|| view.label(name))
                .map(str::to_owned)
        };
        let objects: Vec<(&Key, &Value)> = std::iter::once((top, view.top_body))
            .chain(view.members.iter().copied())
            .collect();
        let mut served = self
            .network
            .served(self.store, &top.namespace, &labels, &objects, ms);
        for upstream in &self.inputs.upstreams {
            let (namespace, name) = &upstream.serves;
            if (namespace, name) == (&top.namespace, &top.name) {
                let (namespace, name) = &upstream.caller;
                served.related.push(json!({
                    "role": "declared", "object": format!("workload/{namespace}/{name}")}));
            }
        }
        let slos: Vec<Value> = found
            .slos
            .iter()
            .map(|slo| {
                json!({"ttft_p95_ms": slo.ttft_ms, "itl_p95_ms": slo.itl_ms, "source": slo.source})
            })
            .collect();
        WorkloadDetailRow {
            namespace: top.namespace.clone(),
            workload_kind: top.kind.clone(),
            workload_name: top.name.clone(),
            valid_from_ms: 0,
            valid_to_ms: 0,
            model_state: model.state.to_owned(),
            model_name: model.name,
            params_b: model.params_b,
            active_params_b: model.active_params_b,
            params_from: model.params_from.map(str::to_owned),
            quantisation_from: model.quantisation_from.map(str::to_owned),
            served_models_json: served_models::served(view, lines, identity, found.telemetry),
            tensor_parallel: parallel.tensor,
            pipeline_parallel: parallel.pipeline,
            data_parallel: parallel.data,
            expert_parallel: parallel.expert,
            parallel_json: Value::Array(parallel.found.clone()).to_string(),
            gpus_expected: parallel.expected_gpus,
            parallel_check: parallel.check.to_owned(),
            served: served.how.to_owned(),
            traffic_percent: served.traffic_percent,
            routes_json: Value::Array(served.routes).to_string(),
            related_json: Value::Array(served.related).to_string(),
            team_source: found.team_source.clone(),
            slo_candidates_json: Value::Array(slos).to_string(),
            chain_json: links::chain_json(
                self.store,
                self.metrics,
                self.pods,
                (top, family),
                found.marks,
                ms,
            ),
            autoscalers_json: links::scalers_json(found.scalers, ms),
        }
    }

    /// Every autoscaler that scales any hop of a family, the one that speaks for it first.
    pub(super) fn scalers_of(&self, family: &Family, top: &Key) -> Vec<&Scaler> {
        let mut out: Vec<&Scaler> = self
            .scalers
            .iter()
            .filter(|scaler| scaler.moves() && scaler.reaches(top, &family.members))
            .collect();
        out.sort_by_key(|scaler| (scaler.rank(), &scaler.key));
        out
    }

    /// The model names that the engines of a family's pods answer to.
    pub(super) fn telemetry(&self, family: &Family) -> Vec<&'a str> {
        let names: BTreeSet<&str> = family
            .pods
            .iter()
            .filter_map(|index| {
                let pod = &self.pods[*index];
                let key = (pod.namespace.clone(), pod.name.clone());
                self.inputs.pod_models.get(&key).map(String::as_str)
            })
            .collect();
        names.into_iter().collect()
    }
}

/// Deeper than any resource is.
const MAX_DEPTH: usize = 24;
/// Containers of one resource beyond this number are not read.
const MAX_CONTAINERS: usize = 64;

/// The words of every container anywhere in a resource, also of those that hold no GPU.
pub(super) fn all_lines(body: &Value) -> Vec<CommandLine> {
    fn walk(value: &Value, depth: usize, out: &mut Vec<CommandLine>) {
        if depth > MAX_DEPTH || out.len() >= MAX_CONTAINERS {
            return;
        }
        match value {
            Value::Object(fields) => {
                if json::get(value, &["args"]).is_array()
                    || json::get(value, &["command"]).is_array()
                {
                    out.push(CommandLine::of(value));
                }
                for (name, inner) in fields {
                    if name != "metadata" && name != "status" {
                        walk(inner, depth + 1, out);
                    }
                }
            }
            Value::Array(items) => {
                for inner in items.iter().take(MAX_CONTAINERS) {
                    walk(inner, depth + 1, out);
                }
            }
            _ => {}
        }
    }
    let mut out = Vec::new();
    walk(json::get(body, &["spec"]), 0, &mut out);
    out
}
