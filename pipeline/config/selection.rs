//! Owns the checks of what a source is and selects: its place, its cluster or the label that tells
//! clusters apart, extra matchers, extra metrics, and how it is read. Matchers are read where they are used.

use super::file::{SourceKind, SourceMode, SourceSection};

/// Metrics that one source may add: they are kept sample by sample, which is dear.
const MAX_METRICS: usize = 200;
/// Longest name of a metric or label, and longest value of a label.
const MAX_NAME_BYTES: usize = 256;

/// Says what is wrong with the selection of a source.
pub(super) fn check(name: &str, source: &SourceSection) -> Result<(), String> {
    let of_samples = matches!(source.kind, SourceKind::Prometheus | SourceKind::Tsdb);
    let selects = source.cluster_label.is_some()
        || !source.clusters.is_empty()
        || !source.matchers.is_empty()
        || !source.metrics.is_empty();
    if !of_samples && selects {
        return Err(format!(
            "[[source]] `{name}`: cluster_label, clusters, matchers and metrics are for sources of \
             samples (kind = \"prometheus\" or \"tsdb\")"
        ));
    }
    if source.kind != SourceKind::Prometheus && source.mode != SourceMode::Auto {
        return Err(format!(
            "[[source]] `{name}`: mode is for kind = \"prometheus\""
        ));
    }
    match &source.cluster_label {
        None if !source.clusters.is_empty() => {
            return Err(format!(
                "[[source]] `{name}`: clusters needs cluster_label, the label whose values it lists"
            ));
        }
        None if source.cluster.is_empty() => {
            return Err(format!(
                "[[source]] `{name}` names no cluster: give cluster, or cluster_label and clusters"
            ));
        }
        None => {}
        Some(_) if !source.cluster.is_empty() => {
            return Err(format!(
                "[[source]] `{name}`: give either cluster or cluster_label, not both"
            ));
        }
        Some(_) if source.clusters.is_empty() => {
            return Err(format!(
                "[[source]] `{name}`: cluster_label needs clusters = {{ \"value\" = \"cluster\" }}: \
                 values that it does not list are never read"
            ));
        }
        Some(label) => {
            if !is_name(label, false) {
                return Err(format!(
                    "[[source]] `{name}`: cluster_label `{label}` is no name of a label"
                ));
            }
            if let Some(value) = source
                .clusters
                .keys()
                .find(|value| value.is_empty() || value.len() > MAX_NAME_BYTES)
            {
                return Err(format!(
                    "[[source]] `{name}`: clusters lists the value `{}`, which is empty or longer \
                     than {MAX_NAME_BYTES} bytes",
                    value.chars().take(40).collect::<String>()
                ));
            }
        }
    }
    if source.metrics.len() > MAX_METRICS {
        return Err(format!(
            "[[source]] `{name}`: metrics lists {}, at most {MAX_METRICS} may be added",
            source.metrics.len()
        ));
    }
    if let Some(metric) = source.metrics.iter().find(|metric| !is_name(metric, true)) {
        return Err(format!(
            "[[source]] `{name}`: `{metric}` is no name of a metric (letters, digits, `_` and `:`)"
        ));
    }
    Ok(())
}

/// Says what is wrong with where a source is: a URL, a Service behind an API server, a folder, a cluster.
pub(super) fn check_place(name: &str, source: &SourceSection) -> Result<(), String> {
    let is_cluster = source.kind == SourceKind::Kubernetes;
    if source.service.is_some() && source.kind != SourceKind::Prometheus {
        return Err(format!(
            "[[source]] `{name}`: service is for kind = \"prometheus\""
        ));
    }
    let lacks = |wanted: &str| Err(format!("[[source]] `{name}` has no `{wanted}`"));
    match source.kind {
        SourceKind::Prometheus if source.url.is_some() && source.service.is_some() => {
            return Err(format!(
                "[[source]] `{name}`: give either url or service, not both"
            ));
        }
        SourceKind::Prometheus if source.url.is_none() && source.service.is_none() => {
            return lacks("url");
        }
        SourceKind::Tsdb if source.url.is_none() => return lacks("url"),
        SourceKind::KubernetesExport if source.path.is_none() => return lacks("path"),
        _ => {}
    }
    let through = source.service.is_some();
    if !is_cluster && !through && (source.kubeconfig.is_some() || source.context.is_some()) {
        return Err(format!(
            "[[source]] `{name}`: kubeconfig and context are for kind = \"kubernetes\" and for a `service`"
        ));
    }
    if !is_cluster && source.qps.is_some() {
        return Err(format!(
            "[[source]] `{name}`: qps is for kind = \"kubernetes\""
        ));
    }
    let proves = source.basic_auth.is_some()
        || source.authorization.is_some()
        || source.bearer_token_file.is_some()
        || source.oauth2.is_some()
        || source.sigv4.is_some()
        || source.google_iam.is_some()
        || source.azuread.is_some();
    if through && proves {
        return Err(format!(
            "[[source]] `{name}`: a `service` is asked as the kubeconfig's user, and the API server \
             keeps other credentials for itself: give the server's url instead"
        ));
    }
    Ok(())
}

fn is_name(text: &str, is_metric: bool) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_' || (is_metric && c == ':');
    text.len() <= MAX_NAME_BYTES
        && text.chars().next().is_some_and(letter)
        && text.chars().all(|c| letter(c) || c.is_ascii_digit())
}
