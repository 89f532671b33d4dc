//! Owns discovery: which kinds a server serves, by what version and path. Only this tells an absent
//! CRD from one that may not be read: a list says "forbidden" of both.

use std::collections::BTreeMap;

use serde_json::Value;

use super::client::{Answer, ClusterApi};
use super::error::KubernetesError;
use super::kinds::Wanted;

/// Aggregated discovery is two requests where a walk by group makes dozens; a server before 1.27
/// answers in the last form.
const FORMS: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
    application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
const PLAIN: &str = "application/json";

/// A kind that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Served {
    pub api_version: String,
    pub plural: String,
}

impl Served {
    /// The path of its list over all namespaces.
    pub(super) fn path(&self) -> String {
        if self.api_version.contains('/') {
            format!("/apis/{}/{}", self.api_version, self.plural)
        } else {
            format!("/api/{}/{}", self.api_version, self.plural)
        }
    }
}

/// What discovery says of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    Served(Served),
    Absent,
    /// The server itself does not know: an aggregated API is down.
    Unknown(String),
}

#[derive(Debug, Default)]
struct GroupVersion {
    version: String,
    stale: bool,
    /// Plurals of listable kinds.
    kinds: BTreeMap<String, String>,
}

/// The groups of a server; versions in its own order of preference.
#[derive(Debug, Default)]
pub(super) struct Discovery {
    groups: BTreeMap<String, Vec<GroupVersion>>,
}

impl Discovery {
    pub(super) async fn read(api: &ClusterApi, wanted: &[Wanted]) -> Result<Self, KubernetesError> {
        let mut discovery = Self::default();
        for path in ["/api", "/apis"] {
            let answer = read(api, path, FORMS).await?;
            if answer["kind"] == "APIGroupDiscoveryList" {
                discovery.take_aggregated(&answer);
            } else {
                discovery.walk(api, path, &answer, wanted).await?;
            }
        }
        if discovery.groups.is_empty() {
            return Err(misshapen(api, "/apis", "it names no API group"));
        }
        Ok(discovery)
    }

    pub(super) fn find(&self, wanted: Wanted) -> Found {
        let Some(versions) = self.groups.get(wanted.group) else {
            return Found::Absent;
        };
        let served = versions.iter().find_map(|version| {
            let plural = version.kinds.get(wanted.kind)?;
            Some(Served {
                api_version: api_version(wanted.group, &version.version),
                plural: plural.clone(),
            })
        });
        match served {
            Some(served) => Found::Served(served),
            None if versions.iter().any(|version| version.stale) => Found::Unknown(format!(
                "the API group {} does not answer the API server",
                wanted.group
            )),
            None => Found::Absent,
        }
    }

    fn take_aggregated(&mut self, answer: &Value) {
        for group in items(answer, "items") {
            let name = group["metadata"]["name"].as_str().unwrap_or_default();
            let versions = items(group, "versions").map(|version| GroupVersion {
                version: string(version, "version"),
                stale: version["freshness"] == "Stale",
                kinds: items(version, "resources")
                    .filter(|resource| is_listable(resource))
                    .map(|resource| {
                        let kind = string(&resource["responseKind"], "kind");
                        (kind, string(resource, "resource"))
                    })
                    .collect(),
            });
            self.groups.insert(name.to_owned(), versions.collect());
        }
    }

    /// The older form: one request for each version of each group that is wanted.
    async fn walk(
        &mut self,
        api: &ClusterApi,
        path: &str,
        answer: &Value,
        wanted: &[Wanted],
    ) -> Result<(), KubernetesError> {
        let mut versions: Vec<(String, String)> = Vec::new();
        if path == "/api" {
            let core = items(answer, "versions").filter_map(Value::as_str);
            versions.extend(core.map(|version| (String::new(), version.to_owned())));
        }
        for group in items(answer, "groups") {
            let name = string(group, "name");
            if !wanted.iter().any(|wanted| wanted.group == name) {
                continue;
            }
            let first = string(&group["preferredVersion"], "version");
            let mut of_group: Vec<String> = items(group, "versions")
                .map(|v| string(v, "version"))
                .collect();
            of_group.sort_by_key(|version| *version != first);
            versions.extend(of_group.into_iter().map(|version| (name.clone(), version)));
        }
        for (group, version) in versions {
            let path = format!("{path}/{}", api_version(&group, &version));
            let resources = match read(api, &path, PLAIN).await {
                Ok(resources) => Some(resources),
                Err(KubernetesError::Refused { .. }) => {
                    return Err(misshapen(api, &path, "it may not be read"));
                }
                Err(_) => None,
            };
            let kinds = resources.as_ref().map(|resources| {
                items(resources, "resources")
                    .filter(|resource| is_listable(resource))
                    // `pods/status` is no resource of its own.
                    .filter(|resource| !string(resource, "name").contains('/'))
                    .map(|resource| (string(resource, "kind"), string(resource, "name")))
                    .collect()
            });
            self.groups.entry(group).or_default().push(GroupVersion {
                version,
                stale: kinds.is_none(),
                kinds: kinds.unwrap_or_default(),
            });
        }
        Ok(())
    }
}

fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

async fn read(api: &ClusterApi, path: &str, forms: &'static str) -> Result<Value, KubernetesError> {
    let Answer { status, body } = api.discover(path, forms).await?;
    if status != 200 {
        return Err(KubernetesError::Refused {
            server: api.server.clone(),
            path: path.to_owned(),
            status,
        });
    }
    serde_json::from_slice(&body).map_err(|error| misshapen(api, path, &error.to_string()))
}

fn misshapen(api: &ClusterApi, path: &str, reason: &str) -> KubernetesError {
    KubernetesError::Answer {
        server: api.server.clone(),
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}

fn items<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value
        .get(name)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn string(value: &Value, name: &str) -> String {
    let text = value.get(name).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

fn is_listable(resource: &Value) -> bool {
    items(resource, "verbs").any(|verb| verb == "list")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wanted(group: &'static str, kind: &'static str) -> Wanted {
        Wanted { group, kind }
    }

    #[test]
    fn the_preferred_version_wins_and_stale_groups_are_not_absent() {
        let verbs = json!(["get", "list"]);
        let resource = |plural: &str, kind: &str, verbs: &Value| json!({"resource": plural, "responseKind": {"kind": kind}, "verbs": verbs});
        let answer = json!({"kind": "APIGroupDiscoveryList", "items": [
            {"metadata": {"name": "a.io"}, "versions": [
                {"version": "v1", "freshness": "Current",
                 "resources": [resource("foos", "Foo", &verbs), resource("bars", "Bar", &json!(["create"]))]},
                {"version": "v1beta1", "freshness": "Current",
                 "resources": [resource("foos", "Foo", &verbs), resource("olds", "Old", &verbs)]}]},
            {"metadata": {"name": "down.io"}, "versions": [{"version": "v1", "freshness": "Stale"}]},
        ]});
        let mut discovery = Discovery::default();
        discovery.take_aggregated(&answer);
        let served = |version: &str, plural: &str| {
            Found::Served(Served {
                api_version: version.to_owned(),
                plural: plural.to_owned(),
            })
        };
        assert_eq!(
            discovery.find(wanted("a.io", "Foo")),
            served("a.io/v1", "foos")
        );
        assert_eq!(
            discovery.find(wanted("a.io", "Old")),
            served("a.io/v1beta1", "olds")
        );
        assert_eq!(discovery.find(wanted("a.io", "Bar")), Found::Absent);
        assert_eq!(discovery.find(wanted("b.io", "Foo")), Found::Absent);
        let found = discovery.find(wanted("down.io", "Foo"));
        assert!(matches!(found, Found::Unknown(reason) if reason.contains("down.io")));
    }
}
