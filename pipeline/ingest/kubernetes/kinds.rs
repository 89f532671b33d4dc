//! Owns the list of what a snapshot of a live cluster reads: `kinds.toml`, embedded.

use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::Value;

use crate::model::workload::kind_of;

const TEXT: &str = include_str!("kinds.toml");

/// The file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kinds {
    list: Vec<GroupRule>,
    config_map: Vec<ConfigMapRule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupRule {
    group: String,
    kinds: Vec<String>,
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "said for whoever reads the file")
    )]
    why: String,
}

/// Where a custom resource names a ConfigMap.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigMapRule {
    group: String,
    kind: String,
    at: Vec<String>,
}

/// One kind to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wanted {
    pub group: &'static str,
    pub kind: &'static str,
}

fn file() -> &'static Kinds {
    static FILE: OnceLock<Kinds> = OnceLock::new();
    // A test parses the same text: the default is never used.
    FILE.get_or_init(|| toml::from_str(TEXT).unwrap_or_default())
}

/// Whether a snapshot reads a kind, given as [`crate::model::workload::kind_of`] spells it.
#[must_use]
pub fn is_read(kind: &str) -> bool {
    wanted().any(|one| {
        let group = if one.group.is_empty() {
            "v1".to_owned()
        } else {
            format!("{}/v1", one.group)
        };
        kind_of(&group, one.kind) == kind
    })
}

/// Every kind that is listed, in the file's order. Never a Secret, and no ConfigMap.
pub(super) fn wanted() -> impl Iterator<Item = Wanted> {
    file().list.iter().flat_map(|rule| {
        rule.kinds.iter().map(|kind| Wanted {
            group: &rule.group,
            kind,
        })
    })
}

/// The name of the ConfigMap in its own namespace that an object names, if its kind does that.
pub(super) fn config_map_of<'a>(
    api_version: &str,
    kind: &str,
    object: &'a Value,
) -> Option<&'a str> {
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    file()
        .config_map
        .iter()
        .filter(|rule| rule.group == group && rule.kind == kind)
        .find_map(|rule| {
            let found = rule.at.iter().try_fold(object, |value, key| value.get(key));
            found.and_then(|value| value.as_str().or_else(|| value.get("name")?.as_str()))
        })
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_file_parses_names_each_kind_once_and_neither_secrets_nor_config_maps() {
        let parsed: Kinds = toml::from_str(TEXT).unwrap();
        assert!(parsed.list.iter().all(|rule| !rule.why.is_empty()));
        let all: Vec<Wanted> = wanted().collect();
        let mut once = all.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), all.len());
        assert!(all.len() > 50);
        assert!(
            all.iter()
                .all(|w| !["Secret", "ConfigMap"].contains(&w.kind))
        );
        // The cluster's identity is known before the rest is read.
        assert_eq!(all[0].kind, "Namespace");
    }

    #[test]
    fn the_documented_role_grants_exactly_what_is_read() {
        let docs = include_str!("../../../docs/sources.md");
        let yaml = docs.split("```yaml\n").nth(1).unwrap();
        let yaml = yaml.split("\n---").next().unwrap();
        let role: Value = serde_yaml_ng::from_str(yaml).unwrap();
        let rules = role["rules"].as_array().unwrap();
        let mut granted = Vec::new();
        for rule in rules {
            let is_named_only = rule["resources"] == json!(["configmaps"]);
            let verbs = if is_named_only {
                json!(["get"])
            } else {
                json!(["get", "list"])
            };
            assert_eq!(rule["verbs"], verbs, "{rule}");
            let resources = rule["resources"].as_array().unwrap().iter();
            let resources = resources.filter(|_| !is_named_only);
            granted.extend(resources.map(|r| (rule["apiGroups"][0].clone(), r.clone())));
        }
        // A plural is its kind in lower case but for the end.
        let fits = |wanted: &Wanted, granted: &(Value, Value)| {
            let kind = wanted.kind.to_ascii_lowercase();
            let plural = granted.1.as_str().unwrap();
            granted.0 == wanted.group
                && plural.starts_with(kind.trim_end_matches('y'))
                && plural.len() <= kind.len() + 2
        };
        let all: Vec<Wanted> = wanted().collect();
        assert_eq!(granted.len(), all.len());
        for wanted in &all {
            assert!(
                granted.iter().any(|granted| fits(wanted, granted)),
                "{wanted:?}"
            );
        }
    }

    #[test]
    fn config_maps_are_found_by_string_and_by_reference() {
        let workspace = json!({"inference": {"config": "params"}});
        let found = config_map_of("kaito.sh/v1beta1", "Workspace", &workspace);
        assert_eq!(found, Some("params"));
        let request = json!({"spec": {"profilingConfig": {"configMapRef": {"name": "c"}}}});
        let kind = "DynamoGraphDeploymentRequest";
        assert_eq!(
            config_map_of("nvidia.com/v1alpha1", kind, &request),
            Some("c")
        );
        assert_eq!(config_map_of("example.com/v1", kind, &request), None);
        assert_eq!(
            config_map_of("kaito.sh/v1beta1", "Workspace", &json!({})),
            None
        );
    }
}
