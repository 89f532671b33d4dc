//! Owns who made a change, as the API server keeps it in `metadata.managedFields`. It says a name
//! only where the manager owns the field and its time lies between the two sightings.

use serde_json::Value;

use super::json;

/// Managed fields have whole seconds, sightings have milliseconds.
const ROUNDING_MS: i64 = 999;

/// Who is likely to have made a change, what says so, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Actor {
    pub name: String,
    pub from: &'static str,
    pub at_ms: i64,
}

/// A step from a value into a part of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Field(String),
    /// The element of a list that has this name.
    Named(String),
    Index(usize),
}

/// A path as people write it: `spec.components[main].replicas`.
pub(super) fn field(path: &[Step]) -> String {
    let mut out = String::new();
    for step in path {
        match step {
            Step::Field(name) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(name);
            }
            Step::Named(name) => {
                out.push('[');
                out.push_str(name);
                out.push(']');
            }
            Step::Index(index) => {
                out.push('[');
                out.push_str(&index.to_string());
                out.push(']');
            }
        }
    }
    out
}

/// The manager that changed a field after `after_ms` and until `until_ms`, the latest of several.
pub(super) fn actor(body: &Value, path: &[Step], after_ms: i64, until_ms: i64) -> Option<Actor> {
    json::items(body, &["metadata", "managedFields"])
        .iter()
        .take(64)
        .filter(|entry| json::text(entry, &["subresource"]) != Some("status"))
        .filter(|entry| owns(json::get(entry, &["fieldsV1"]), path))
        .filter_map(|entry| {
            let at_ms = json::time_ms(entry, &["time"])?;
            let inside = after_ms.saturating_sub(ROUNDING_MS) <= at_ms && at_ms <= until_ms;
            let name = json::text(entry, &["manager"])?;
            inside.then(|| Actor {
                name: match json::text(entry, &["subresource"]) {
                    Some(part) => format!("{name} ({part})"),
                    None => name.to_owned(),
                },
                from: "managedFields",
                at_ms,
            })
        })
        .max_by_key(|actor| actor.at_ms)
}

/// Who changed the field that a JSON pointer names, after one instant and until another, as the object
/// itself says; where the field is gone, of the nearest one above it.
#[must_use]
pub fn changed_by(body: &Value, pointer: &str, after_ms: i64, until_ms: i64) -> Option<String> {
    let mut here = Some(body);
    let mut path = Vec::new();
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        let next = match here {
            Some(Value::Array(items)) => {
                let item = part.parse().ok().and_then(|index: usize| items.get(index));
                let name = item.and_then(|item| json::text(item, &["name"]));
                path.push(match (name, part.parse::<usize>()) {
                    (Some(name), _) => Step::Named(name.to_owned()),
                    (None, Ok(index)) => Step::Index(index),
                    (None, Err(_)) => break,
                });
                item
            }
            other => {
                let next = other.and_then(|value| value.get(&part));
                path.push(Step::Field(part));
                next
            }
        };
        here = next;
    }
    while !path.is_empty() {
        if let Some(actor) = actor(body, &path, after_ms, until_ms) {
            return Some(actor.name);
        }
        // An owner of something above that still stands there changed something else of it.
        if here.is_some() {
            return None;
        }
        path.pop();
    }
    None
}

/// Whether a field set holds a path; an empty set below the root stands for all that is under it.
fn owns(fields: &Value, path: &[Step]) -> bool {
    let mut here = fields;
    for (depth, step) in path.iter().enumerate() {
        let Some(set) = here.as_object() else {
            return false;
        };
        let below = set.keys().filter(|key| key.as_str() != ".").count();
        if below == 0 {
            return depth > 0;
        }
        let next = match step {
            Step::Field(name) => set.get(&format!("f:{name}")),
            Step::Index(index) => set.get(&format!("i:{index}")),
            Step::Named(name) => set.iter().find_map(|(key, value)| {
                let wanted: Value = serde_json::from_str(key.strip_prefix("k:")?).ok()?;
                (json::text(&wanted, &["name"]) == Some(name)).then_some(value)
            }),
        };
        match next {
            Some(next) => here = next,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn path(names: &[&str]) -> Vec<Step> {
        names
            .iter()
            .map(|name| match name.strip_prefix('=') {
                Some(name) => Step::Named(name.to_owned()),
                None => Step::Field((*name).to_owned()),
            })
            .collect()
    }

    #[test]
    fn the_manager_that_owns_the_field_and_acted_between_the_sightings_is_named() {
        let body = json!({"metadata": {"managedFields": [
            {"manager": "helm", "time": "1970-01-01T00:00:10Z", "fieldsV1": {"f:spec": {"f:template": {}}}},
            {"manager": "kube-controller-manager", "subresource": "scale", "time": "1970-01-01T00:00:20Z",
             "fieldsV1": {"f:spec": {"f:replicas": {}}}},
        ]}});
        let replicas = path(&["spec", "replicas"]);
        let found = actor(&body, &replicas, 15_000, 25_000).unwrap();
        assert_eq!(found.name, "kube-controller-manager (scale)");
        assert_eq!(found.at_ms, 20_000);
        // Before the last sight of the old value, or after the first of the new one: not this change.
        assert_eq!(actor(&body, &replicas, 21_000, 25_000), None);
        assert_eq!(actor(&body, &replicas, 5_000, 15_000), None);
        let image = path(&["spec", "template", "spec", "containers", "=main", "image"]);
        assert_eq!(actor(&body, &image, 5_000, 15_000).unwrap().name, "helm");
    }

    #[test]
    fn a_pointer_finds_its_owner_and_a_removed_field_the_owner_above() {
        let body = json!({
            "metadata": {"managedFields": [
                {"manager": "argocd", "time": "1970-01-01T00:00:10Z", "fieldsV1": {"f:spec": {"f:parts": {"k:{\"name\":\"a\"}": {"f:n": {}}}}}},
                {"manager": "kubectl-edit", "time": "1970-01-01T00:00:20Z", "fieldsV1": {"f:spec": {"f:min": {}}}},
            ]},
            "spec": {"min": 1, "parts": [{"name": "a", "n": 2}]},
        });
        let who = |pointer: &str, after| changed_by(&body, pointer, after, 30_000);
        assert_eq!(who("/spec/parts/0/n", 5_000).as_deref(), Some("argocd"));
        assert_eq!(who("/spec/min", 5_000).as_deref(), Some("kubectl-edit"));
        assert_eq!(who("/spec/min", 25_000), None, "it stood so before");
        // Gone: whoever wrote the object since.
        assert_eq!(who("/spec/max", 15_000).as_deref(), Some("kubectl-edit"));
        assert_eq!(who("/spec/parts/0", 15_000), None);
    }

    #[test]
    fn elements_of_lists_are_owned_by_name() {
        let fields =
            json!({"f:spec": {"f:components": {"k:{\"name\":\"decode\"}": {"f:replicas": {}}}}});
        assert!(owns(
            &fields,
            &path(&["spec", "components", "=decode", "replicas"])
        ));
        assert!(!owns(
            &fields,
            &path(&["spec", "components", "=prefill", "replicas"])
        ));
        assert!(!owns(&json!({}), &path(&["spec"])));
        assert!(!owns(&json!("x"), &path(&["spec"])));
    }
}
