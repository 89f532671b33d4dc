//! Owns what people accept: findings that a person signed off as waste for now, until a day, with a
//! reason. The finding stays, its seconds stay claimed, its state says so; the ledger never changes.
//!
//! Pure: the configuration's entries come in as plain data, and are part of a run's evidence.

use serde::{Deserialize, Serialize};

use super::findings::Finding;

/// One acceptance. What is left out matches all; at least one place must be named.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acceptance {
    #[serde(default)]
    pub detector: Option<String>,
    #[serde(default)]
    pub cluster: Option<String>,
    #[serde(default)]
    pub namespace: Option<String>,
    #[serde(default)]
    pub workload: Option<String>,
    /// A whole handle or the finding's id, instead of the above.
    #[serde(default)]
    pub finding: Option<String>,
    pub reason: String,
    pub by: String,
    /// From this moment on it holds no more, and what it covered is open again.
    pub until_ms: i64,
}

impl Acceptance {
    fn covers(&self, subject: &Subject<'_>) -> bool {
        let is =
            |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|w| w == value);
        is(&self.detector, subject.detector)
            && is(&self.cluster, subject.cluster)
            && is(&self.namespace, subject.namespace)
            && is(&self.workload, subject.workload)
            && self
                .finding
                .as_deref()
                .is_none_or(|wanted| wanted == subject.handle || wanted == subject.finding_id)
    }

    /// For people: who, why, until when.
    #[must_use]
    pub fn sentence(&self) -> String {
        format!(
            "Accepted by {} until {}: {}",
            self.by,
            crate::model::time::format_ms(self.until_ms)
                .chars()
                .take(10)
                .collect::<String>(),
            self.reason
        )
    }
}

/// What an acceptance is matched against.
pub struct Subject<'a> {
    pub finding_id: &'a str,
    pub handle: &'a str,
    pub detector: &'a str,
    pub cluster: &'a str,
    pub namespace: &'a str,
    pub workload: &'a str,
}

impl<'a> Subject<'a> {
    #[must_use]
    pub fn of(finding: &'a Finding) -> Self {
        Self {
            finding_id: &finding.finding_id,
            handle: &finding.handle,
            detector: &finding.detector,
            cluster: &finding.cluster,
            namespace: &finding.namespace,
            workload: &finding.workload_name,
        }
    }
}

/// The first acceptance that covers a subject and still holds at `at_ms`.
#[must_use]
pub fn accepted<'a>(
    list: &'a [Acceptance],
    subject: &Subject<'_>,
    at_ms: i64,
) -> Option<&'a Acceptance> {
    list.iter()
        .find(|entry| at_ms < entry.until_ms && entry.covers(subject))
}

/// Those that hold no more, whose findings are open again.
pub fn expired(list: &[Acceptance], at_ms: i64) -> impl Iterator<Item = &Acceptance> {
    list.iter().filter(move |entry| entry.until_ms <= at_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBJECT: Subject<'static> = Subject {
        finding_id: "3f2a",
        handle: "dark-capacity/a/n/deployment.apps/w",
        detector: "dark-capacity",
        cluster: "a",
        namespace: "n",
        workload: "w",
    };

    fn entry() -> Acceptance {
        Acceptance {
            namespace: Some("n".to_owned()),
            reason: "launch on Monday".to_owned(),
            by: "ana@example.com".to_owned(),
            until_ms: 86_400_000,
            ..Acceptance::default()
        }
    }

    #[test]
    fn it_holds_until_its_day_and_then_no_more() {
        let list = [entry()];
        assert!(accepted(&list, &SUBJECT, 86_399_999).is_some());
        assert!(accepted(&list, &SUBJECT, 86_400_000).is_none());
        assert_eq!(expired(&list, 86_400_000).count(), 1);
        assert_eq!(
            list[0].sentence(),
            "Accepted by ana@example.com until 1970-01-02: launch on Monday"
        );
    }

    #[test]
    fn every_place_that_is_named_must_fit() {
        let other = Acceptance {
            detector: Some("surplus-replicas".to_owned()),
            ..entry()
        };
        assert!(accepted(std::slice::from_ref(&other), &SUBJECT, 0).is_none());
        assert!(accepted(&[other, entry()], &SUBJECT, 0).is_some());
        let one = Acceptance {
            finding: Some("3f2a".to_owned()),
            namespace: None,
            ..entry()
        };
        assert!(accepted(std::slice::from_ref(&one), &SUBJECT, 0).is_some());
        let else_where = Subject {
            finding_id: "77",
            handle: "x",
            ..SUBJECT
        };
        assert!(accepted(&[one], &else_where, 0).is_none());
    }
}
