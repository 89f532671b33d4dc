//! Owns the labels and annotations of a workload as a whole, whichever of its objects has them.

use serde_json::Value;

use super::json;
use super::metrics::Labels;
use super::systems::View;

/// Labels and annotations of everything that belongs to a workload, the topmost first.
pub(super) struct Marks<'a> {
    bodies: Vec<&'a Value>,
    pod: Labels<'a>,
}

impl<'a> Marks<'a> {
    pub(super) fn new(view: &View<'a>, pod: Option<Labels<'a>>) -> Self {
        Self {
            bodies: std::iter::once(view.top_body)
                .chain(view.members.iter().map(|(_, body)| *body))
                .collect(),
            pod: pod.unwrap_or_default(),
        }
    }

    /// The first of these labels or annotations that is set.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        let own = |body: &'a Value| {
            ["labels", "annotations"].into_iter().find_map(|field| {
                json::text(body, &["metadata", field, name])
                    .or_else(|| json::text(body, &["spec", "template", "metadata", field, name]))
            })
        };
        self.bodies
            .iter()
            .find_map(|body| own(body))
            .or_else(|| self.pod.mark(name))
    }

    /// Whether the objects declare the workload a warm standby.
    pub(super) fn standby(&self) -> bool {
        [
            "idleproof.dev/standby",
            "warm-pool",
            "idleproof.dev/warm-pool",
        ]
        .iter()
        .any(|name| {
            self.get(name)
                .is_some_and(|value| !matches!(value, "false" | "no" | "0" | "disabled"))
        })
    }
}
