//! Owns llm-d's Workload Variant Autoscaler in both of its forms: the legacy VariantAutoscaling
//! resource and annotations on an HPA or ScaledObject. It is deprecated: read, never recommended.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::json;
use super::policy::{Policy, Trigger, scalar};

pub(in crate::inventory) const VARIANT: &str = "variantautoscaling.llmd.ai";

/// The metric that it computes and an actuator scales by.
const DESIRED: &str = "wva_desired_replicas";
/// What it assumes where nobody says.
const DEFAULT_COST: &str = "10.0";

/// What the annotations of an actuator say.
pub(super) struct Annotated {
    pub mode: String,
    pub more: BTreeMap<&'static str, String>,
}

pub(super) fn annotated(body: &Value) -> Option<Annotated> {
    let mark = |name: &str| scalar(body, &["metadata", "annotations", name]);
    mark("llm-d.ai/managed").filter(|value| value == "true")?;
    let mut more = BTreeMap::new();
    more.insert(
        "variant_cost",
        mark("llm-d.ai/variant-cost").unwrap_or_else(|| DEFAULT_COST.to_owned()),
    );
    if let Some(model) = mark("llm-d.ai/model-id") {
        more.insert("model_id", model);
    }
    let label = [
        "metadata",
        "labels",
        "inference.optimization/acceleratorName",
    ];
    if let Some(accelerator) = scalar(body, &label) {
        more.insert("accelerator", accelerator);
    }
    Some(Annotated {
        mode: "workload variant autoscaler".to_owned(),
        more,
    })
}

/// The legacy resource: it has no bounds of its own, its actuator has them.
pub(super) fn policy(body: &Value) -> Policy {
    let spec = json::get(body, &["spec"]);
    let mut policy = Policy {
        triggers: vec![Trigger {
            metric: Some(DESIRED.to_owned()),
            ..Trigger::of("variant")
        }],
        mode: Some("workload variant autoscaler".to_owned()),
        ..Policy::default()
    };
    policy.more.insert(
        "variant_cost",
        scalar(spec, &["variantCost"]).unwrap_or_else(|| DEFAULT_COST.to_owned()),
    );
    if let Some(model) = scalar(spec, &["modelID"]) {
        policy.more.insert("model_id", model);
    }
    policy
}
