//! Owns the conditions on labels by which an alias takes some series of a metric and leaves others.

use std::collections::BTreeMap;

use crate::ingest::prometheus::{Matcher, Pattern};

/// A condition on one label of a series.
#[derive(Debug, Clone)]
pub struct LabelFilter {
    pub label: String,
    accepted: Vec<Pattern>,
    refused: Vec<Pattern>,
}

impl LabelFilter {
    pub(super) fn list(raw: &BTreeMap<String, Vec<String>>) -> Vec<Self> {
        let pattern = |text: &str| match text.strip_suffix('*') {
            Some(prefix) => Pattern::Prefix(prefix.to_owned()),
            None => Pattern::Exact(text.to_owned()),
        };
        raw.iter()
            .map(|(label, values)| {
                let (refused, accepted): (Vec<_>, Vec<_>) =
                    values.iter().partition(|v| v.starts_with('!'));
                Self {
                    label: label.clone(),
                    accepted: accepted.into_iter().map(|v| pattern(v)).collect(),
                    refused: refused.into_iter().map(|v| pattern(&v[1..])).collect(),
                }
            })
            .collect()
    }

    /// Whether a value (empty for an absent label) passes.
    #[must_use]
    pub fn accepts(&self, value: &str) -> bool {
        let any = |patterns: &[Pattern]| patterns.iter().any(|p| p.accepts(value));
        (self.accepted.is_empty() || any(&self.accepted)) && !any(&self.refused)
    }

    pub(super) fn matcher(&self) -> Option<Matcher> {
        // Only positive lists travel to the source: what else there is costs little to drop here,
        // and a matcher on the empty value means "absent", which external labels can break.
        let sendable =
            !self.accepted.is_empty() && !self.accepted.contains(&Pattern::Exact(String::new()));
        sendable.then(|| Matcher::any_of(&self.label, self.accepted.clone()))
    }
}
