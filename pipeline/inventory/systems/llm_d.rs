//! Owns llm-d's plain Deployments: no resource of its own kind, only labels tell them apart.

use super::{Facts, System, View, deployment, layers, named};

pub(super) static SYSTEM: System = System {
    name: "llm-d",
    serves: true,
    recognise: |view| {
        [
            "llm-d.ai/model",
            "llm-d.ai/role",
            "llm-d.ai/inferenceServing",
            "llm-d.ai/inference-serving",
        ]
        .iter()
        .any(|name| view.label(name).is_some())
    },
    facts,
    remedies: layers::remedies,
};

fn facts<'a>(view: &View<'a>) -> Facts<'a> {
    let mut facts = (deployment::SYSTEM.facts)(view);
    // The label is a short name for routing: a model resource comes first where both exist.
    facts.models.extend(named(
        "variantautoscaling.modelID",
        view.top_body,
        &["metadata", "annotations", "llm-d.ai/model-id"],
    ));
    facts
}
