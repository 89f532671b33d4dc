//! Owns what one version of a pod says of its life: when it was placed, ready, deleted and done. `pods`
//! makes a life of all of them; nothing of the body is kept.

use serde_json::Value;

use super::json;
use super::objects::Version;

/// What one version says of a pod's life.
#[derive(Debug)]
pub(super) struct Look {
    pub node: Option<String>,
    pub scheduled_ms: Option<i64>,
    pub deleted_ms: Option<i64>,
    pub done_ms: Option<i64>,
    pub ready: Vec<(i64, bool)>,
}

impl Look {
    pub(super) fn at(version: &Version, body: &Value) -> Self {
        let phase = json::text(body, &["status", "phase"]);
        let statuses = json::items(body, &["status", "containerStatuses"]);
        let done = matches!(phase, Some("Succeeded" | "Failed")).then(|| {
            statuses
                .iter()
                .filter_map(|status| json::time_ms(status, &["state", "terminated", "finishedAt"]))
                .max()
                .unwrap_or(version.seen_from_ms)
        });
        let condition = condition_since(body, "Ready");
        let mut ready: Vec<(i64, bool)> = condition.into_iter().collect();
        if condition.is_none() && phase == Some("Running") {
            let since = json::time_ms(body, &["status", "startTime"]);
            ready.push((since.unwrap_or(version.seen_from_ms), true));
        }
        for status in statuses {
            // A container that ended and came back took the readiness with it.
            let ended = json::time_ms(status, &["lastState", "terminated", "finishedAt"]);
            let back = condition
                .filter(|(_, ready)| *ready)
                .map(|(since, _)| since);
            if let Some(ended) = ended
                && back.is_some_and(|back| ended < back)
            {
                ready.push((ended, false));
            }
        }
        Self {
            node: json::text(body, &["spec", "nodeName"]).map(str::to_owned),
            scheduled_ms: scheduled(body),
            deleted_ms: json::time_ms(body, &["metadata", "deletionTimestamp"]),
            done_ms: done,
            ready,
        }
    }
}

fn scheduled(body: &Value) -> Option<i64> {
    condition_since(body, "PodScheduled")
        .filter(|(_, status)| *status)
        .map(|(since, _)| since)
        .or_else(|| json::time_ms(body, &["status", "startTime"]))
}

/// Since when a condition of an object has its status.
pub(super) fn condition_since(body: &Value, name: &str) -> Option<(i64, bool)> {
    json::items(body, &["status", "conditions"])
        .iter()
        .find(|condition| json::text(condition, &["type"]) == Some(name))
        .and_then(|condition| {
            Some((
                json::time_ms(condition, &["lastTransitionTime"])?,
                json::text(condition, &["status"])? == "True",
            ))
        })
}
