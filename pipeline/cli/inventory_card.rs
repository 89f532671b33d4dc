//! Owns the card of one workload: what is known of it as one JSON value, and that value as text. It
//! reads nothing: `inventory` hands it rows and remedies.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::config::SloSection;
use crate::inventory::remedy::{Answer, Remedy};

/// The rows about one workload.
pub(super) struct Known {
    pub row: Map<String, Value>,
    pub details: Map<String, Value>,
    pub events: Vec<Map<String, Value>>,
    pub faults: Vec<Map<String, Value>>,
    /// What is wrong with what its autoscalers listen to.
    pub lint: Vec<Map<String, Value>>,
    /// Where each kind of change would go; see [`places`].
    pub remedies: Vec<Remedy>,
}

fn text(row: &Map<String, Value>, name: &str) -> String {
    row.get(name)
        .and_then(Value::as_str)
        .unwrap_or("")
        .to_owned()
}

/// A column that holds JSON.
fn parsed(row: &Map<String, Value>, name: &str) -> Value {
    let text = row.get(name).and_then(Value::as_str);
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or(Value::Null)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Where each kind of change would go: the object and fields that its controller keeps, with what stands
/// there now, patch and inverse for a value that differs, or why it is not possible. Which value to write
/// is a recommendation's business.
fn places(remedies: &[Remedy]) -> Vec<Value> {
    remedies
        .iter()
        .map(|remedy| match &remedy.answer {
            Answer::Change(change) => {
                let to = &change.target;
                let (version, fields): (Vec<_>, Vec<_>) = change
                    .preconditions
                    .iter()
                    .partition(|one| one.path.starts_with("/metadata/resourceVersion"));
                json!({
                    "action": remedy.action,
                    "object": format!("{}/{}/{}", to.kind, to.namespace, to.name),
                    "api_version": to.api_version,
                    "fields": fields,
                    "patch": change.patch,
                    "inverse": change.inverse,
                    "resource_version": version.first().and_then(|one| one.observed.clone()),
                    "managed_by": change.managed_by,
                    "verify": change.verify,
                    "warnings": remedy.warnings,
                })
            }
            Answer::NotPossible { because } => json!({
                "action": remedy.action,
                "not_possible_because": because,
                "warnings": remedy.warnings,
            }),
        })
        .collect()
}

/// The objective that a workload is judged by, and every one that somebody declares.
fn objectives(known: &Known, rules: &[SloSection]) -> Value {
    let is = |wanted: &Option<String>, column: &str| {
        wanted
            .as_ref()
            .is_none_or(|wanted| *wanted == text(&known.row, column))
    };
    let configured = rules.iter().find(|rule| {
        is(&rule.matching.cluster, "cluster")
            && is(&rule.matching.namespace, "namespace")
            && is(&rule.matching.workload, "workload_name")
            && is(&rule.matching.model, "model")
    });
    let declared = parsed(&known.details, "slo_candidates_json");
    let used = match configured {
        Some(rule) => json!({"ttft_p95_ms": rule.ttft_p95_ms, "itl_p95_ms": rule.itl_p95_ms,
            "source": "configuration"}),
        None => list(&declared).first().cloned().unwrap_or_else(
            || json!({"source": "none declared: the profile `interactive` is assumed"}),
        ),
    };
    json!({"used": used, "declared": declared})
}

/// One workload, whole.
pub(super) struct Card {
    value: Value,
}

impl Card {
    pub(super) fn new(known: Known, rules: &[SloSection]) -> Self {
        let at = |name: &str| known.row.get(name).cloned().unwrap_or(Value::Null);
        let of = |name: &str| known.details.get(name).cloned().unwrap_or(Value::Null);
        let json_of = |name: &str| parsed(&known.details, name);
        let value = json!({
            "workload": {
                "cluster": at("cluster"), "namespace": at("namespace"),
                "kind": at("workload_kind"), "name": at("workload_name"),
                "class": at("workload_class"), "serving_system": at("serving_system"),
                "role": of("role"), "standby_declared": of("standby_declared"),
            },
            "cost": {
                "list_usd": at("list_usd"), "effective_usd": at("effective_usd"),
                "list_usd_month": at("list_usd_month"), "gpu_hours": at("gpu_hours"),
                "unpriced_gpu_hours": at("unpriced_gpu_hours"), "known_percent": at("known_percent"),
            },
            "chain": json_of("chain_json"),
            "model": {
                "state": at("model_state"), "model": at("model"), "name": of("model_name"),
                "raw": of("model_raw"), "source": of("model_source"),
                "params_b": at("params_b"), "active_params_b": of("active_params_b"),
                "params_from": of("params_from"), "quantisation": of("quantisation"),
                "quantisation_from": of("quantisation_from"), "max_model_len": of("max_model_len"),
                "candidates": json_of("model_candidates_json"),
                "served_as": json_of("served_models_json"),
            },
            "gpus": {
                "product": at("gpu_product"), "per_replica": at("gpus_per_replica"),
                "expected": of("gpus_expected"), "check": at("parallel_check"),
            },
            "parallelism": {
                "tensor": of("tensor_parallel"), "pipeline": of("pipeline_parallel"),
                "data": of("data_parallel"), "expert": of("expert_parallel"),
                "found": json_of("parallel_json"),
            },
            "scaling": {
                "replicas": at("replicas"), "min": at("min_replicas"), "max": at("max_replicas"),
                "autoscaler": at("autoscaler"), "floor": of("floor_replicas"),
                "floor_why": of("floor_why"), "autoscalers": json_of("autoscalers_json"),
                "faults": known.lint,
            },
            "routing": {
                "served": at("served"), "traffic_percent": of("traffic_percent"),
                "routes": json_of("routes_json"), "related": json_of("related_json"),
            },
            "team": {"name": at("team"), "source": at("team_source")},
            "objectives": objectives(&known, rules),
            "remedies": places(&known.remedies),
            "changes": known.events,
            "data_quality": known.faults,
        });
        Self { value }
    }

    pub(super) fn value(&self) -> &Value {
        &self.value
    }

    /// The same for a terminal: one section a fact.
    pub(super) fn text(&self) -> String {
        let v = &self.value;
        let mut out = String::new();
        let w = &v["workload"];
        let _ = writeln!(
            out,
            "{}/{}/{}/{}",
            plain(&w["cluster"]),
            plain(&w["namespace"]),
            plain(&w["kind"]),
            plain(&w["name"])
        );
        fields(&mut out, "class", w, &["class", "serving_system", "role"]);
        fields(
            &mut out,
            "cost",
            &v["cost"],
            &[
                "list_usd",
                "list_usd_month",
                "gpu_hours",
                "unpriced_gpu_hours",
                "known_percent",
            ],
        );
        for hop in list(&v["chain"]) {
            fields(&mut out, "owner", hop, &["kind", "namespace", "name", "by"]);
        }
        fields(
            &mut out,
            "model",
            &v["model"],
            &[
                "state",
                "model",
                "name",
                "source",
                "params_b",
                "active_params_b",
                "params_from",
                "quantisation",
                "quantisation_from",
                "max_model_len",
            ],
        );
        for one in list(&v["model"]["candidates"]) {
            fields(&mut out, "  heard", one, &["raw", "source", "model"]);
        }
        for one in list(&v["model"]["served_as"]) {
            fields(
                &mut out,
                "  serves",
                one,
                &["name", "kind", "base", "source"],
            );
        }
        fields(
            &mut out,
            "gpus",
            &v["gpus"],
            &["product", "per_replica", "expected", "check"],
        );
        fields(
            &mut out,
            "parallelism",
            &v["parallelism"],
            &["tensor", "pipeline", "data", "expert"],
        );
        for one in list(&v["parallelism"]["found"]) {
            fields(&mut out, "  found", one, &["kind", "size", "source", "raw"]);
        }
        fields(
            &mut out,
            "scaling",
            &v["scaling"],
            &["replicas", "min", "max", "autoscaler", "floor", "floor_why"],
        );
        for one in list(&v["scaling"]["autoscalers"]) {
            fields(
                &mut out,
                "  scaler",
                one,
                &["scaler", "target", "min", "max", "idle", "triggers"],
            );
        }
        fields(
            &mut out,
            "routing",
            &v["routing"],
            &["served", "traffic_percent"],
        );
        for one in list(&v["routing"]["routes"]) {
            fields(
                &mut out,
                "  by",
                one,
                &["by", "headless", "ready_endpoints", "routes"],
            );
        }
        for one in list(&v["routing"]["related"]) {
            fields(&mut out, "  with", one, &["role", "object", "by"]);
        }
        fields(&mut out, "team", &v["team"], &["name", "source"]);
        let slo = &v["objectives"];
        fields(
            &mut out,
            "objective",
            &slo["used"],
            &["ttft_p95_ms", "itl_p95_ms", "source"],
        );
        for one in list(&slo["declared"]) {
            fields(
                &mut out,
                "  declared",
                one,
                &["ttft_p95_ms", "itl_p95_ms", "source"],
            );
        }
        for one in list(&v["remedies"]) {
            let names = ["object", "managed_by", "not_possible_because"];
            let title = format!("to {}", plain(&one["action"]));
            fields(&mut out, &title, one, &names);
            for field in list(&one["fields"]) {
                fields(&mut out, "  at", field, &["path", "observed"]);
            }
            for (title, name) in [("  patch", "patch"), ("  inverse", "inverse")] {
                if one[name].is_array() {
                    let _ = writeln!(out, "  {title:<12} {}", plain(&one[name]));
                }
            }
            for warning in list(&one["warnings"]) {
                let _ = writeln!(out, "  {:<12} {}", "  beware", plain(warning));
            }
        }
        for one in list(&v["scaling"]["faults"]) {
            fields(&mut out, "  fault", one, &["rule", "scaler", "sentence"]);
        }
        for one in list(&v["changes"]) {
            fields(
                &mut out,
                "changed",
                one,
                &[
                    "seen",
                    "what",
                    "before",
                    "after",
                    "object",
                    "field",
                    "actor",
                    "actor_from",
                    "gpus_added",
                    "usd_per_hour",
                    "cost_usd",
                ],
            );
        }
        for one in list(&v["data_quality"]) {
            fields(
                &mut out,
                "note",
                one,
                &["check_id", "message", "stated_json"],
            );
        }
        out.trim_end().to_owned()
    }
}

/// One line of what is known; what is unknown is left out.
fn fields(out: &mut String, title: &str, value: &Value, names: &[&str]) {
    let parts: Vec<String> = names
        .iter()
        .filter(|name| !value[**name].is_null() && value[**name] != json!([]))
        .map(|name| format!("{name} {}", plain(&value[*name])))
        .collect();
    if !parts.is_empty() {
        let _ = writeln!(out, "  {title:<12} {}", parts.join(" · "));
    }
}

/// A value as text; control characters of a label must not drive the terminal.
fn plain(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_get_no_control_characters() {
        let mut out = String::new();
        fields(
            &mut out,
            "team",
            &json!({"name": "a\u{1b}[31m"}),
            &["name", "source"],
        );
        assert!(!out.contains('\u{1b}') && !out.contains("source"), "{out}");
    }
}
