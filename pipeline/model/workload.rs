//! Owns the identity of a workload: by name, never by UID, since reinstalling changes UIDs and
//! kube-state-metrics has none for owners.

use serde::{Deserialize, Serialize};

/// `(cluster, namespace, kind.group, name)` of the topmost controller.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkloadId {
    pub cluster: String,
    pub namespace: String,
    /// Lower-case `kind.group`, as in `deployment.apps`; a bare pod is `pod`.
    pub kind: String,
    pub name: String,
}

impl WorkloadId {
    /// `cluster/namespace/kind/name`, as in a finding's handle.
    #[must_use]
    pub fn path(&self) -> String {
        format!(
            "{}/{}/{}/{}",
            self.cluster, self.namespace, self.kind, self.name
        )
    }
}

/// `kind.group` in lower case from an object's `apiVersion` and `kind`.
#[must_use]
pub fn kind_of(api_version: &str, kind: &str) -> String {
    let kind = kind.to_ascii_lowercase();
    match api_version.split_once('/') {
        Some((group, _)) => format!("{kind}.{}", group.to_ascii_lowercase()),
        None => kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_kinds_have_no_group() {
        assert_eq!(kind_of("v1", "Pod"), "pod");
        assert_eq!(kind_of("apps/v1", "Deployment"), "deployment.apps");
        assert_eq!(
            kind_of("serving.kserve.io/v1beta1", "InferenceService"),
            "inferenceservice.serving.kserve.io"
        );
    }
}
