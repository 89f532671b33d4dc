//! Owns the way from a file's text to Kubernetes objects: YAML of many documents, JSON, lists; bounded.
//! What is no object is counted, what is a template that nobody rendered is refused by its name.

use serde::Deserialize as _;
use serde_json::Value;

use crate::model::workload::kind_of;

/// A manifest that is longer was not written to be read.
pub const FILE_BYTES_MAX: usize = 4 << 20;
/// Documents of one file, and items of one list.
pub const DOCUMENTS_MAX: usize = 5_000;
/// Objects of one side.
pub const OBJECTS_MAX: usize = 50_000;
/// Names are labels and file names; longer ones are no names.
const NAME_CHARS_MAX: usize = 253;

/// Kinds that stand in no namespace, as far as a gate meets them.
const CLUSTER_SCOPED: &[&str] = &[
    "namespace",
    "node",
    "persistentvolume",
    "clusterrole.rbac.authorization.k8s.io",
    "clusterrolebinding.rbac.authorization.k8s.io",
    "customresourcedefinition.apiextensions.k8s.io",
    "priorityclass.scheduling.k8s.io",
    "storageclass.storage.k8s.io",
    "runtimeclass.node.k8s.io",
    "deviceclass.resource.k8s.io",
    "nodepool.karpenter.sh",
    "nodeclaim.karpenter.sh",
    "ec2nodeclass.karpenter.k8s.aws",
    "clusterservingruntime.serving.kserve.io",
    "clusterstoragecontainer.serving.kserve.io",
    "clusterqueue.kueue.x-k8s.io",
    "resourceflavor.kueue.x-k8s.io",
    "validatingwebhookconfiguration.admissionregistration.k8s.io",
    "mutatingwebhookconfiguration.admissionregistration.k8s.io",
];

/// Why manifests cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("`{file}` is longer than {FILE_BYTES_MAX} bytes")]
    TooLong { file: String },
    #[error("`{file}` holds more than {DOCUMENTS_MAX} documents")]
    TooMany { file: String },
    #[error("one side holds more than {OBJECTS_MAX} objects: name a smaller folder with --path")]
    TooManyObjects,
    #[error("`{file}`, line {line}, begins a document that is neither YAML nor JSON: {why}")]
    NoYaml {
        file: String,
        line: usize,
        why: String,
    },
    #[error(
        "`{file}`, line {line}, is a template that is not rendered: give what `helm template` makes of the chart"
    )]
    Template { file: String, line: usize },
    #[error(
        "`{file}`, line {line}: a {kind} without {what}, so it is no object that can be compared"
    )]
    NoName {
        file: String,
        line: usize,
        kind: String,
        what: &'static str,
    },
    #[error(
        "{object} changes in several files ({files}): give the rendered manifests, or one folder with --path"
    )]
    Twice { object: String, files: String },
    #[error("the diff, line {line}: {why}")]
    Diff { line: usize, why: String },
    #[error(
        "{object}: {why}: give two folders with --before and --after, or the whole object with `KUBECTL_EXTERNAL_DIFF=\"diff -N -U100000\" kubectl diff`"
    )]
    Context { object: String, why: String },
}

/// An object's place in a cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectKey {
    /// `kind.group` in lower case.
    pub kind: String,
    /// Empty for what stands in no namespace.
    pub namespace: String,
    pub name: String,
}

impl ObjectKey {
    /// `kind.group/namespace/name`.
    #[must_use]
    pub fn path(&self) -> String {
        if self.namespace.is_empty() {
            format!("{}/{}", self.kind, self.name)
        } else {
            format!("{}/{}/{}", self.kind, self.namespace, self.name)
        }
    }
}

/// One object of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    pub key: ObjectKey,
    pub api_version: String,
    /// As it is written.
    pub kind: String,
    pub file: String,
    /// Where it begins, from 1.
    pub line: usize,
    pub body: Value,
}

/// All objects of a file. Documents that are none (values, kustomizations, empty ones) are left out.
pub fn parse(file: &str, text: &str, namespace: &str) -> Result<Vec<Document>, Refusal> {
    if text.len() > FILE_BYTES_MAX {
        return Err(Refusal::TooLong {
            file: file.to_owned(),
        });
    }
    let mut out = Vec::new();
    let pieces = pieces(text);
    if pieces.len() > DOCUMENTS_MAX {
        return Err(Refusal::TooMany {
            file: file.to_owned(),
        });
    }
    for (line, piece) in pieces {
        let body = value(file, line, &piece)?;
        read(file, line, body, namespace, &mut out)?;
    }
    Ok(out)
}

fn read(
    file: &str,
    line: usize,
    body: Value,
    namespace: &str,
    out: &mut Vec<Document>,
) -> Result<(), Refusal> {
    let word = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (word("apiVersion"), word("kind"));
    if kind.ends_with("List")
        && let Value::Array(items) = &body["items"]
    {
        if items.len() > DOCUMENTS_MAX {
            return Err(Refusal::TooMany {
                file: file.to_owned(),
            });
        }
        for item in items {
            let mut item = item.clone();
            // Items of a typed list need not say what they are.
            if let (Value::Object(fields), Some(of)) = (&mut item, kind.strip_suffix("List"))
                && !of.is_empty()
            {
                let told = |text: &str| Value::String(text.to_owned());
                fields.entry("kind").or_insert_with(|| told(of));
                fields
                    .entry("apiVersion")
                    .or_insert_with(|| told(&api_version));
            }
            read(file, line, item, namespace, out)?;
        }
        return Ok(());
    }
    // Kustomizations and charts describe files, not a cluster.
    if api_version.is_empty() || kind.is_empty() || api_version.starts_with("kustomize.config.") {
        return Ok(());
    }
    let meta = &body["metadata"];
    let (name, told) = (meta["name"].as_str(), meta["namespace"].as_str());
    let is_template = |text: &str| text.contains("{{");
    if [Some(api_version.as_str()), Some(&kind), name, told]
        .into_iter()
        .flatten()
        .any(is_template)
    {
        return Err(Refusal::Template {
            file: file.to_owned(),
            line,
        });
    }
    let refused = |what| Refusal::NoName {
        file: file.to_owned(),
        line,
        kind: kind.chars().take(80).collect(),
        what,
    };
    let name = name
        .filter(|name| !name.is_empty())
        .ok_or_else(|| refused("metadata.name"))?;
    let too_long = |text: &str| text.chars().count() > NAME_CHARS_MAX;
    if [name, &kind, &api_version, told.unwrap_or("")]
        .into_iter()
        .any(too_long)
    {
        return Err(refused("names of at most 253 characters"));
    }
    let full = kind_of(&api_version, &kind);
    let namespace = if CLUSTER_SCOPED.contains(&full.as_str()) {
        ""
    } else {
        told.filter(|told| !told.is_empty()).unwrap_or(namespace)
    };
    out.push(Document {
        key: ObjectKey {
            kind: full,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        },
        api_version,
        kind,
        file: file.to_owned(),
        line,
        body,
    });
    Ok(())
}

/// The documents of a text with the lines on which they begin. A line of `---` ends one wherever it stands.
fn pieces(text: &str) -> Vec<(usize, String)> {
    let mut out: Vec<(usize, String)> = Vec::new();
    let mut piece = String::new();
    let mut begins = 1;
    let mut is_empty = true;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, line) in text.lines().enumerate() {
        let marks = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r']));
        if marks {
            if !is_empty {
                out.push((begins, std::mem::take(&mut piece)));
            }
            piece.clear();
            is_empty = true;
            begins = index + 2;
            // What stands behind the mark is the first line of the document.
            let rest = line.trim_start_matches('-').trim();
            if !rest.is_empty() && !rest.starts_with('#') {
                piece.push_str(rest);
                is_empty = false;
                begins = index + 1;
            }
            piece.push('\n');
            continue;
        }
        let shown = line.trim();
        if is_empty && !(shown.is_empty() || shown.starts_with('#') || shown.starts_with('%')) {
            is_empty = false;
            begins = index + 1;
        }
        if !(is_empty && shown.starts_with('%')) {
            piece.push_str(line);
        }
        piece.push('\n');
    }
    if !is_empty {
        out.push((begins, piece));
    }
    out
}

fn value(file: &str, line: usize, piece: &str) -> Result<Value, Refusal> {
    let refused = |why: String| {
        if piece.contains("{{") {
            return Refusal::Template {
                file: file.to_owned(),
                line,
            };
        }
        Refusal::NoYaml {
            file: file.to_owned(),
            line,
            why: why.chars().take(200).collect(),
        }
    };
    if piece.trim_start().starts_with(['{', '['])
        && let Ok(value) = serde_json::from_str(piece)
    {
        return Ok(value);
    }
    // Through YAML's own value: a key that stands twice is an error there, and of two the last one here.
    let document = serde_yaml_ng::Deserializer::from_str(piece);
    let value = serde_yaml_ng::Value::deserialize(document).map_err(|e| refused(e.to_string()))?;
    serde_json::to_value(value).map_err(|e| refused(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_of_many_documents_and_lists_have_their_lines() {
        let text = "# two\n---\napiVersion: v1\nkind: Service\nmetadata: {name: a}\n---\n\n# b\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: b\n  namespace: x\n---\nvalues: {a: 1}\n---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: n, namespace: ignored}}\n";
        let found = parse("m.yaml", text, "chat").unwrap();
        let told: Vec<(String, usize)> = found.iter().map(|d| (d.key.path(), d.line)).collect();
        assert_eq!(
            told,
            [
                ("service/chat/a".to_owned(), 3),
                ("deployment.apps/x/b".to_owned(), 9),
                ("namespace/n".to_owned(), 17),
            ]
        );
        let typed = r#"{"apiVersion":"apps/v1","kind":"DeploymentList","items":[{"metadata":{"name":"a"}}]}"#;
        let found = parse("l.json", typed, "chat").unwrap();
        assert_eq!(found[0].key.path(), "deployment.apps/chat/a");
    }

    #[test]
    fn templates_are_refused_by_name_and_strings_with_braces_are_not() {
        for text in [
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: {{ .Values.name }}\n",
            "{{- if .Values.a }}\napiVersion: v1\n{{- end }}\n",
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: \"{{ .Release.Name }}\"\n",
        ] {
            let refused = parse("t/a.yaml", text, "x").unwrap_err().to_string();
            assert!(refused.contains("`t/a.yaml`"), "{refused}");
            assert!(refused.contains("helm template"), "{refused}");
        }
        let rule = "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata: {name: r}\nspec: {summary: '{{ $labels.pod }} waits'}\n";
        assert_eq!(parse("r.yaml", rule, "x").unwrap().len(), 1);
    }

    #[test]
    fn bad_input_is_refused_and_bounded() {
        let refused = |text: &str| parse("a.yaml", text, "x").unwrap_err().to_string();
        assert!(refused("a: [1").contains("line 1"));
        assert!(refused("kind: A\nkind: B\n").contains("neither"));
        assert!(refused("apiVersion: v1\nkind: Pod\n").contains("metadata.name"));
        assert!(refused(&"---\na: 1\n".repeat(DOCUMENTS_MAX + 1)).contains("documents"));
        assert!(refused(&"a".repeat(FILE_BYTES_MAX + 1)).contains("bytes"));
        assert!(refused(&"[".repeat(100_000)).contains("neither"));
        let bomb = "a: &a [1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e]\ng: &g [*f,*f,*f,*f,*f,*f,*f,*f]\nh: [*g,*g,*g,*g,*g,*g,*g,*g]\n";
        assert!(refused(bomb).contains("neither"));
        let long = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {}}}\n",
            "n".repeat(254)
        );
        assert!(refused(&long).contains("253"));
    }
}
