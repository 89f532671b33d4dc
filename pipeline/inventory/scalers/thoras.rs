//! Owns Thoras' scale targets: which direction runs by itself, and the bounds that it keeps. Where
//! it says no bound, the HPA of the same target does.

use serde_json::Value;

use super::super::json;
use super::policy::{MAX_TRIGGERS, Policy, Trigger, scalar};

pub(in crate::inventory) const AI_SCALE_TARGET: &str = "aiscaletarget.thoras.ai";
/// A template for many targets; it has no target of its own.
pub(in crate::inventory) const TEMPLATE: &str = "clusteraiscaletemplate.thoras.ai";

/// Whether Thoras moves replicas by itself.
pub(in crate::inventory) fn is_autonomous(body: &Value) -> bool {
    matches!(
        json::text(body, &["spec", "horizontal", "mode"]),
        Some("autonomous" | "auto")
    )
}

pub(super) fn policy(body: &Value) -> Policy {
    let spec = json::get(body, &["spec"]);
    let horizontal = json::get(spec, &["horizontal"]);
    let triggers = json::items(horizontal, &["additional_metrics"])
        .iter()
        .take(MAX_TRIGGERS)
        .map(|one| {
            let kind = json::text(one, &["type"]).unwrap_or("unknown");
            let source = [
                "external",
                "object",
                "pods",
                "resource",
                "containerResource",
            ]
            .iter()
            .map(|name| json::get(one, &[name]))
            .find(|value| value.is_object())
            .unwrap_or(&Value::Null);
            Trigger {
                metric: scalar(source, &["metric", "name"]).or_else(|| scalar(source, &["name"])),
                ..Trigger::of(kind)
            }
        })
        .collect();
    let mut policy = Policy {
        min: json::int(horizontal, &["minReplicas"]),
        max: json::int(horizontal, &["maxReplicas"]),
        triggers,
        mode: scalar(horizontal, &["mode"]),
        paused: (horizontal.is_object() && !is_autonomous(body)).then(|| {
            let mode = json::text(horizontal, &["mode"]).unwrap_or("unset");
            format!("its horizontal mode is {mode}: it moves no replicas")
        }),
        ..Policy::default()
    };
    let more = [
        ("vertical_mode", vec!["vertical", "mode"]),
        ("multiple_of", vec!["horizontal", "multipleOf"]),
        ("forecast", vec!["model", "mode"]),
    ];
    for (name, path) in more {
        if let Some(value) = scalar(spec, &path) {
            policy.more.insert(name, value);
        }
    }
    let allowed: Vec<String> = json::items(horizontal, &["allowedReplicas"])
        .iter()
        .filter_map(|one| one.as_i64().map(|count| count.to_string()))
        .collect();
    if !allowed.is_empty() {
        policy.more.insert("allowed_replicas", allowed.join(","));
    }
    policy
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_it_does_not_say_stays_unset() {
        let body = json!({"spec": {"horizontal": {"mode": "autonomous", "allowedReplicas": [2, 4]},
            "vertical": {"mode": "recommendation", "containers": []}, "model": {}}});
        let read = policy(&body);
        assert_eq!((read.min, read.max), (None, None));
        assert!(is_autonomous(&body) && read.paused.is_none());
        assert_eq!(read.more["vertical_mode"], "recommendation");
        assert_eq!(read.more["allowed_replicas"], "2,4");
        let advising =
            json!({"spec": {"horizontal": {"mode": "recommendation", "minReplicas": 3}}});
        assert!(policy(&advising).paused.is_some());
    }
}
