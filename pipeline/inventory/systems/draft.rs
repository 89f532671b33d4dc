//! Owns the building of a change from the object as it was observed: its patch, which tests what it
//! replaces, and its exact inverse. Adapters draft with it; what the fields mean is theirs.

use json_patch::jsonptr::{PointerBuf, Token};
use json_patch::{
    AddOperation, Patch, PatchOperation, RemoveOperation, ReplaceOperation, TestOperation,
};
use serde_json::{Map, Value};

use super::super::objects::Key;
use super::remedy::{Action, Answer, Change, Precondition, Remedy, Target};
use super::{json, warnings};

/// A change in the making: edits of one object, each made on a copy, so that the next one sees it.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    key: &'a Key,
    observed: &'a Value,
    body: Value,
    edits: Vec<PatchOperation>,
    /// One group an edit, to be undone from the last to the first.
    undo: Vec<Vec<PatchOperation>>,
    preconditions: Vec<Precondition>,
    refused: Option<String>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(key: &'a Key, observed: &'a Value) -> Self {
        Self {
            key,
            observed,
            body: observed.clone(),
            edits: Vec::new(),
            undo: Vec::new(),
            preconditions: Vec::new(),
            refused: None,
        }
    }

    /// The object with all edits so far.
    pub(super) fn body(&self) -> &Value {
        &self.body
    }

    /// Sets the value at a path, with the objects above it where they are missing. `-` appends.
    pub(super) fn set<S: AsRef<str>>(&mut self, path: &[S], value: Value) -> &mut Self {
        let mut path: Vec<String> = path.iter().map(|token| token.as_ref().to_owned()).collect();
        if path.last().is_some_and(|last| last == "-") {
            let parent: Vec<&str> = path[..path.len() - 1].iter().map(String::as_str).collect();
            let end = json::items(&self.body, &parent).len().to_string();
            if let Some(last) = path.last_mut() {
                *last = end;
            }
        }
        let Some(depth) = self.known_depth(&path) else {
            return self;
        };
        let (before, place) = (at(&self.body, &path[..depth]), pointer(&path[..depth]));
        if depth == path.len() && before == Some(&value) {
            return self;
        }
        let wrapped = path[depth..].iter().rev().fold(value, |inner, token| {
            Value::Object(Map::from_iter([(token.clone(), inner)]))
        });
        let observed = before.cloned();
        self.edit(place, observed, Some(wrapped));
        self
    }

    /// Takes the value at a path away; nothing happens where there is none.
    pub(super) fn remove<S: AsRef<str>>(&mut self, path: &[S]) -> &mut Self {
        let path: Vec<String> = path.iter().map(|token| token.as_ref().to_owned()).collect();
        if let Some(before) = at(&self.body, &path).cloned() {
            self.edit(pointer(&path), Some(before), None);
        }
        self
    }

    /// How much of a path an edit replaces or adds: up to the first key that is missing or null.
    fn known_depth(&mut self, path: &[String]) -> Option<usize> {
        for depth in 1..=path.len() {
            match at(&self.body, &path[..depth]) {
                None | Some(Value::Null) => {
                    let parent = at(&self.body, &path[..depth - 1]);
                    let fits = match parent {
                        Some(Value::Object(_)) => true,
                        Some(Value::Array(items)) => path[depth - 1]
                            .parse::<usize>()
                            .is_ok_and(|index| index <= items.len()),
                        _ => false,
                    };
                    if !fits {
                        break;
                    }
                    return Some(depth);
                }
                Some(_) if depth == path.len() => return Some(depth),
                Some(_) => {}
            }
        }
        self.refused.get_or_insert_with(|| {
            format!(
                "{} as observed has no place for {}",
                self.key.path(),
                pointer(path)
            )
        });
        None
    }

    fn edit(&mut self, place: PointerBuf, before: Option<Value>, after: Option<Value>) {
        let path = || place.clone();
        let test = |value: &Value| {
            PatchOperation::Test(TestOperation {
                path: place.clone(),
                value: value.clone(),
            })
        };
        let step = |from: Option<&Value>, to: Option<&Value>| match (from, to) {
            (Some(from), Some(to)) => vec![
                test(from),
                PatchOperation::Replace(ReplaceOperation {
                    path: path(),
                    value: to.clone(),
                }),
            ],
            (None, Some(to)) => vec![PatchOperation::Add(AddOperation {
                path: path(),
                value: to.clone(),
            })],
            (Some(from), None) => vec![
                test(from),
                PatchOperation::Remove(RemoveOperation { path: path() }),
            ],
            (None, None) => Vec::new(),
        };
        let forward = step(before.as_ref(), after.as_ref());
        if let Err(cause) = json_patch::patch(&mut self.body, &forward) {
            self.refused
                .get_or_insert_with(|| format!("{}: {cause}", self.key.path()));
            return;
        }
        self.undo.push(step(after.as_ref(), before.as_ref()));
        self.edits.extend(forward);
        self.preconditions.push(Precondition {
            path: place.to_string(),
            observed: before,
        });
    }

    /// The finished remedy, with the warnings that hold for any object.
    pub(super) fn remedy(self, action: Action, verify: &[&str]) -> Remedy {
        let Some(api_version) = json::text(self.observed, &["apiVersion"]) else {
            return Remedy::not_possible(
                action,
                format!(
                    "no snapshot shows {}, so nothing is known to change",
                    self.key.path()
                ),
            );
        };
        if let Some(because) = self.refused {
            return Remedy::not_possible(action, because);
        }
        if self.edits.is_empty() {
            return Remedy::not_possible(action, format!("{} says so already", self.key.path()));
        }
        let warnings = warnings::of(self.key, self.observed, action, &self.preconditions);
        let mut patch = Vec::new();
        let mut inverse = Vec::new();
        let mut preconditions = Vec::new();
        for field in ["uid", "resourceVersion"] {
            let path = ["metadata", field];
            if let Some(known) = json::text(self.observed, &path) {
                let value = Value::from(known);
                preconditions.push(Precondition {
                    path: pointer(&path).to_string(),
                    observed: Some(value.clone()),
                });
                // Every write of a status moves the resource version: only the UID is tested.
                if field == "uid" {
                    let test = PatchOperation::Test(TestOperation {
                        path: pointer(&path),
                        value,
                    });
                    patch.push(test.clone());
                    inverse.push(test);
                }
            }
        }
        preconditions.extend(self.preconditions);
        patch.extend(self.edits);
        inverse.extend(self.undo.into_iter().rev().flatten());
        Remedy {
            action,
            answer: Answer::Change(Change {
                target: Target {
                    kind: self.key.kind.clone(),
                    api_version: api_version.to_owned(),
                    namespace: self.key.namespace.clone(),
                    name: self.key.name.clone(),
                },
                patch: Patch(patch),
                inverse: Patch(inverse),
                preconditions,
                verify: verify.iter().map(|line| (*line).to_owned()).collect(),
                managed_by: warnings::managed_by(self.observed),
            }),
            warnings,
            wakes: false,
        }
    }
}

/// The value at a path, told apart from a null.
fn at<'v, S: AsRef<str>>(value: &'v Value, path: &[S]) -> Option<&'v Value> {
    path.iter().try_fold(value, |here, token| match here {
        Value::Object(map) => map.get(token.as_ref()),
        Value::Array(items) => items.get(token.as_ref().parse::<usize>().ok()?),
        _ => None,
    })
}

/// A path of keys as a JSON pointer, escaped as RFC 6901 wants it.
pub(super) fn pointer<S: AsRef<str>>(path: &[S]) -> PointerBuf {
    PointerBuf::from_tokens(path.iter().map(|token| Token::new(token.as_ref())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn key() -> Key {
        Key::new("deployment.apps", "chat", "x")
    }

    fn there_and_back(body: &Value, edit: impl Fn(&mut Draft<'_>)) -> Option<Value> {
        let key = key();
        let mut draft = Draft::new(&key, body);
        edit(&mut draft);
        let remedy = draft.remedy(Action::Zero, &[]);
        let change = remedy.change()?;
        let mut live = body.clone();
        json_patch::patch(&mut live, &change.patch).unwrap();
        let patched = live.clone();
        json_patch::patch(&mut live, &change.inverse).unwrap();
        assert_eq!(&live, body);
        Some(patched)
    }

    #[test]
    fn absent_parents_are_made_and_taken_away_again() {
        let body = json!({"apiVersion": "apps/v1", "metadata": {"uid": "u"}, "spec": {"a": null}});
        let patched = there_and_back(&body, |draft| {
            draft
                .set(&["spec", "a", "b", "c/d"], json!(1))
                .set(&["spec", "new", "list"], json!(2))
                .set(&["spec", "a", "b", "e~f"], json!(3));
        })
        .unwrap();
        assert_eq!(
            patched["spec"],
            json!({"a": {"b": {"c/d": 1, "e~f": 3}}, "new": {"list": 2}})
        );
    }

    #[test]
    fn a_patch_refuses_an_object_that_has_changed() {
        let body =
            json!({"apiVersion": "apps/v1", "metadata": {"uid": "u"}, "spec": {"replicas": 2}});
        let key = key();
        let mut draft = Draft::new(&key, &body);
        draft.set(&["spec", "replicas"], json!(0));
        let remedy = draft.remedy(Action::Zero, &["no pods"]);
        let change = remedy.change().unwrap();
        for live in [
            json!({"apiVersion": "apps/v1", "metadata": {"uid": "u"}, "spec": {"replicas": 3}}),
            json!({"apiVersion": "apps/v1", "metadata": {"uid": "w"}, "spec": {"replicas": 2}}),
        ] {
            let mut changed = live.clone();
            assert!(json_patch::patch(&mut changed, &change.patch).is_err());
            assert_eq!(changed, live);
        }
    }

    #[test]
    fn what_is_so_already_or_has_no_place_is_no_change() {
        let body = json!({"apiVersion": "apps/v1", "spec": {"replicas": 0, "text": "x"}});
        let key = key();
        for (path, value, because) in [
            (&["spec", "replicas"][..], json!(0), "says so already"),
            (&["spec", "text", "deep"][..], json!(0), "has no place"),
        ] {
            let mut draft = Draft::new(&key, &body);
            draft.set(path, value);
            let remedy = draft.remedy(Action::Zero, &[]);
            assert!(
                matches!(&remedy.answer, Answer::NotPossible { because: why } if why.contains(because)),
                "{remedy:?}"
            );
        }
        let unseen = Draft::new(&key, &Value::Null).remedy(Action::Zero, &[]);
        assert!(unseen.change().is_none());
    }

    #[test]
    fn a_remedy_is_plain_data() {
        let body =
            json!({"apiVersion": "apps/v1", "metadata": {"resourceVersion": "7"}, "spec": {}});
        let key = key();
        let mut draft = Draft::new(&key, &body);
        draft.set(&["spec", "replicas"], json!(0));
        let shown = serde_json::to_value(draft.remedy(Action::Zero, &["no pods"])).unwrap();
        assert_eq!(shown["action"], "zero");
        assert_eq!(
            shown["change"]["patch"],
            json!([{"op": "add", "path": "/spec/replicas", "value": 0}])
        );
        assert_eq!(
            shown["change"]["preconditions"],
            json!([
                {"path": "/metadata/resourceVersion", "observed": "7"},
                {"path": "/spec/replicas", "observed": null}
            ])
        );
    }

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-z~/]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[ab/~0]{1,2}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn patch_then_inverse_restores_any_body(
            tree in tree(),
            edits in prop::collection::vec(
                (prop::collection::vec("[ab/~0-]{1,2}", 1..4), tree_value()), 1..5),
        ) {
            let body = json!({"apiVersion": "apps/v1", "metadata": {"uid": "u"}, "spec": tree});
            there_and_back(&body, |draft| {
                for (tail, value) in &edits {
                    let mut path = vec!["spec".to_owned()];
                    path.extend(tail.iter().cloned());
                    match value {
                        Some(value) => draft.set(&path, value.clone()),
                        None => draft.remove(&path),
                    };
                }
            });
        }
    }

    fn tree_value() -> impl Strategy<Value = Option<Value>> {
        prop::option::of(tree())
    }
}
