//! Owns Kubernetes snapshots: `kubectl get … -o json` lists in folders named by their time become
//! raw `objects`, whatever their kind, after redaction. Concludes nothing: `inventory` folds them.

mod export;
mod fold;
mod redact;

pub use export::{DayOfObjects, KubernetesExport};

/// Raised when redaction or folding changes what is stored of the same input.
pub(super) const RULES_VERSION: &str = "kubernetes-export/1";
