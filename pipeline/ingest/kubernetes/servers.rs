//! Owns the search for metrics servers in a cluster: Services by the labels that charts and operators
//! give them (`servers.toml`, embedded). It asks none of them; called by `scan` and `init`.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::Value;

use super::client::ClusterApi;
use super::error::KubernetesError;
use super::route::ServicePlace;

const TEXT: &str = include_str!("servers.toml");
/// Pages of Services that are looked at: fifty thousand of them.
const MAX_PAGES: u32 = 100;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    server: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    kind: String,
    rank: u8,
    labels: BTreeMap<String, String>,
    ports: Vec<String>,
    #[serde(default)]
    prefix: String,
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "said for whoever reads the file")
    )]
    source: String,
}

/// A Service that looks like a metrics server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundServer {
    pub kind: String,
    rank: u8,
    pub place: ServicePlace,
}

impl FoundServer {
    /// Its address for a pod of the same cluster.
    #[must_use]
    pub fn url_inside(&self) -> String {
        let ServicePlace {
            namespace,
            name,
            port,
            prefix,
        } = &self.place;
        format!("http://{name}.{namespace}.svc:{port}{prefix}")
    }
}

fn rules() -> &'static [Rule] {
    static RULES: OnceLock<File> = OnceLock::new();
    // A test parses the same text: the default is never used.
    &RULES
        .get_or_init(|| toml::from_str(TEXT).unwrap_or_default())
        .server
}

/// Every Service that a rule names, those that see most first.
pub async fn find_servers(api: &ClusterApi) -> Result<Vec<FoundServer>, KubernetesError> {
    let path = "/api/v1/services";
    let mut found = Vec::new();
    let mut token: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let answer = api
            .list(path, api.options.page_limit, token.as_deref())
            .await?;
        if answer.status != 200 {
            return Err(KubernetesError::Refused {
                server: api.server.clone(),
                path: path.to_owned(),
                status: answer.status,
            });
        }
        let page: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let items = page.get("items").and_then(Value::as_array);
        found.extend(items.into_iter().flatten().filter_map(judge));
        token = page
            .pointer("/metadata/continue")
            .and_then(Value::as_str)
            .filter(|token| !token.is_empty())
            .map(str::to_owned);
        if token.is_none() {
            break;
        }
    }
    found.sort_by_key(|one| (one.rank, one.place.to_string()));
    Ok(found)
}

/// What a Service is, if a rule fits its labels and it has one of the rule's ports.
fn judge(service: &Value) -> Option<FoundServer> {
    let text = |pointer: &str| service.pointer(pointer).and_then(Value::as_str);
    let labels = service.pointer("/metadata/labels")?;
    let rule = rules().iter().find(|rule| {
        rule.labels
            .iter()
            .all(|(key, wanted)| labels.get(key).and_then(Value::as_str) == Some(wanted))
    })?;
    let ports = service.pointer("/spec/ports").and_then(Value::as_array)?;
    let port = rule.ports.iter().find_map(|wanted| {
        ports.iter().find_map(|port| {
            let number = port.get("port").and_then(Value::as_u64)?.to_string();
            let name = port.get("name").and_then(Value::as_str);
            (name == Some(wanted) || number == *wanted).then_some(number)
        })
    })?;
    let written = format!(
        "{}/{}:{port}{}",
        text("/metadata/namespace")?,
        text("/metadata/name")?,
        rule.prefix
    );
    Some(FoundServer {
        kind: rule.kind.clone(),
        rank: rule.rank,
        place: ServicePlace::parse(&written)?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(labels: Value, ports: Value) -> Value {
        json!({"metadata": {"namespace": "monitoring", "name": "metrics", "labels": labels},
               "spec": {"ports": ports}})
    }

    #[test]
    fn every_rule_can_be_read_and_names_labels_and_ports() {
        let file: File = toml::from_str(TEXT).unwrap();
        assert!(file.server.len() > 8);
        for rule in &file.server {
            assert!(
                !rule.labels.is_empty() && !rule.ports.is_empty(),
                "{rule:?}"
            );
            assert!(!rule.source.is_empty() && !rule.kind.is_empty());
            assert!(rule.prefix.is_empty() || rule.prefix.starts_with('/'));
        }
    }

    #[test]
    fn servers_are_known_by_their_labels_and_ports() {
        let stack = service(
            json!({"app": "kube-prometheus-stack-prometheus", "release": "kps"}),
            json!([{"name": "reloader-web", "port": 8080}, {"name": "http-web", "port": 9090}]),
        );
        let found = judge(&stack).unwrap();
        assert_eq!(found.place.to_string(), "monitoring/metrics:9090");
        assert_eq!(found.url_inside(), "http://metrics.monitoring.svc:9090");
        let select = service(
            json!({"app.kubernetes.io/name": "vmselect"}),
            json!([{"name": "http", "port": 8481}]),
        );
        assert_eq!(
            judge(&select).unwrap().url_inside(),
            "http://metrics.monitoring.svc:8481/select/0/prometheus"
        );
        // An exporter carries the same labels and serves something else.
        let other = service(
            json!({"app.kubernetes.io/name": "prometheus", "app.kubernetes.io/component": "server"}),
            json!([{"name": "grpc", "port": 10901}]),
        );
        assert_eq!(judge(&other), None);
        let nothing = service(
            json!({"app": "web"}),
            json!([{"name": "http", "port": 9090}]),
        );
        assert_eq!(judge(&nothing), None);
    }
}
