//! Owns what changed between two sides: objects paired by kind, namespace and name; what a server fills
//! in and who owns which field is no change.

use std::collections::BTreeMap;

use serde_json::Value;

use super::document::{Document, ObjectKey, Refusal};

/// One object that is not the same on both sides.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub key: ObjectKey,
    pub before: Option<Document>,
    pub after: Option<Document>,
}

impl Change {
    /// The document that people look at: what is to be, else what was.
    #[must_use]
    pub fn document(&self) -> Option<&Document> {
        self.after.as_ref().or(self.before.as_ref())
    }

    /// `added`, `removed` or `changed`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match (&self.before, &self.after) {
            (None, _) => "added",
            (_, None) => "removed",
            _ => "changed",
        }
    }
}

/// What somebody wrote of an object.
fn essential(body: &Value) -> Value {
    let mut body = body.clone();
    let Some(fields) = body.as_object_mut() else {
        return body;
    };
    fields.remove("status");
    if let Some(meta) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
        for name in [
            "generation",
            "resourceVersion",
            "uid",
            "creationTimestamp",
            "managedFields",
            "selfLink",
            // Said by the command line or not at all: the key holds it.
            "namespace",
        ] {
            meta.remove(name);
        }
        let annotations = meta.get_mut("annotations").and_then(Value::as_object_mut);
        if let Some(annotations) = annotations {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
            annotations.remove("deployment.kubernetes.io/revision");
        }
        if meta
            .get("annotations")
            .and_then(Value::as_object)
            .is_some_and(serde_json::Map::is_empty)
        {
            meta.remove("annotations");
        }
    }
    body
}

fn same(one: Option<&Document>, other: Option<&Document>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => {
            one.api_version == other.api_version && essential(&one.body) == essential(&other.body)
        }
        (None, None) => true,
        _ => false,
    }
}

/// What differs, in order of kind, namespace and name.
pub fn changes(before: Vec<Document>, after: Vec<Document>) -> Result<Vec<Change>, Refusal> {
    let mut sides: BTreeMap<ObjectKey, [Vec<Document>; 2]> = BTreeMap::new();
    for (index, side) in [before, after].into_iter().enumerate() {
        for document in side {
            let entry = sides.entry(document.key.clone()).or_default();
            entry[index].push(document);
        }
    }
    let mut out = Vec::new();
    for (key, [before, after]) in sides {
        if before.len() <= 1 && after.len() <= 1 {
            let (before, after) = (before.into_iter().next(), after.into_iter().next());
            if !same(before.as_ref(), after.as_ref()) {
                out.push(Change { key, before, after });
            }
            continue;
        }
        out.extend(of_many(key, before, after)?);
    }
    Ok(out)
}

/// An object that stands in several files, such as a base and its overlays: which of them the cluster
/// gets is not known, so at most one may change.
fn of_many(
    key: ObjectKey,
    before: Vec<Document>,
    after: Vec<Document>,
) -> Result<Option<Change>, Refusal> {
    let mut by_file: BTreeMap<String, [Vec<Document>; 2]> = BTreeMap::new();
    for (index, side) in [before, after].into_iter().enumerate() {
        for document in side {
            let entry = by_file.entry(document.file.clone()).or_default();
            entry[index].push(document);
        }
    }
    let twice = |files: Vec<&str>| Refusal::Twice {
        object: key.path(),
        files: files.join(", "),
    };
    if let Some((file, _)) = by_file
        .iter()
        .find(|(_, [before, after])| before.len() > 1 || after.len() > 1)
    {
        return Err(twice(vec![file, file]));
    }
    let mut changed: Vec<Change> = by_file
        .into_values()
        .map(|[before, after]| (before.into_iter().next(), after.into_iter().next()))
        .filter(|(before, after)| !same(before.as_ref(), after.as_ref()))
        .map(|(before, after)| Change {
            key: key.clone(),
            before,
            after,
        })
        .collect();
    // A file that was moved is one object that went and came.
    if let [one, other] = changed.as_slice()
        && let Some((before, after)) = match (one, other) {
            (
                Change {
                    before: Some(b),
                    after: None,
                    ..
                },
                Change {
                    before: None,
                    after: Some(a),
                    ..
                },
            )
            | (
                Change {
                    before: None,
                    after: Some(a),
                    ..
                },
                Change {
                    before: Some(b),
                    after: None,
                    ..
                },
            ) => Some((b.clone(), a.clone())),
            _ => None,
        }
    {
        if same(Some(&before), Some(&after)) {
            return Ok(None);
        }
        return Ok(Some(Change {
            key,
            before: Some(before),
            after: Some(after),
        }));
    }
    if changed.len() > 1 {
        let files = changed
            .iter()
            .filter_map(Change::document)
            .map(|document| document.file.as_str())
            .collect();
        return Err(twice(files));
    }
    Ok(changed.pop())
}

#[cfg(test)]
mod tests {
    use super::super::document::parse;
    use super::*;

    fn deployment(file: &str, replicas: i64, more: &str) -> Vec<Document> {
        let text = format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: a{more}}}\nspec: {{replicas: {replicas}}}\n"
        );
        parse(file, &text, "x").unwrap()
    }

    fn words(before: Vec<Document>, after: Vec<Document>) -> Vec<(String, &'static str)> {
        let found = changes(before, after).unwrap();
        found.iter().map(|c| (c.key.path(), c.word())).collect()
    }

    #[test]
    fn what_a_server_fills_in_is_no_change() {
        let live = deployment(
            "a",
            2,
            ", uid: u, generation: 3, annotations: {deployment.kubernetes.io/revision: '7'}",
        );
        assert_eq!(words(live.clone(), deployment("b", 2, "")), []);
        assert_eq!(
            words(live, deployment("b", 3, "")),
            [("deployment.apps/x/a".to_owned(), "changed")]
        );
        assert_eq!(words(Vec::new(), deployment("b", 3, ""))[0].1, "added");
        assert_eq!(words(deployment("b", 3, ""), Vec::new())[0].1, "removed");
    }

    #[test]
    fn of_an_object_in_several_files_one_may_change() {
        let both = |one, other| {
            let mut all = deployment("base/a.yaml", one, "");
            all.extend(deployment("prod/a.yaml", other, ""));
            all
        };
        let found = changes(both(1, 2), both(1, 3)).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].document().unwrap().file, "prod/a.yaml");
        assert_eq!(changes(both(1, 2), both(1, 2)).unwrap(), []);
        let refused = changes(both(1, 2), both(3, 4)).unwrap_err().to_string();
        assert!(refused.contains("base/a.yaml, prod/a.yaml"), "{refused}");
        // Moved to another file beside one that stayed.
        let mut moved = deployment("base/a.yaml", 1, "");
        moved.extend(deployment("new/a.yaml", 5, ""));
        let found = changes(both(1, 2), moved).unwrap();
        assert_eq!(found[0].word(), "changed");
    }
}
