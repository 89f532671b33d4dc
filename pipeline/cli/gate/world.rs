//! Owns the cluster as its objects alone declare it at the window's end, before and after a change: the
//! inventory's own fold over what the lake has of the cluster, with the changed objects put in.
//!
//! Pods, and whatever a changed object made, are left out on both sides: they tell what was, and a change is
//! judged by what is written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use crate::gate::document::ObjectKey;
use crate::gate::{Change, Document};
use crate::inventory::input::{Inputs, ObjectVersion};
use crate::inventory::rows::{AutoscalerRow, Inventory, WorkloadRow};
use crate::inventory::{Embedded, fold};
use crate::model::TimeWindow;
use crate::model::time::HOUR_MS;
use crate::model::workload::kind_of;

/// `(namespace, kind, name)`.
pub(super) type Id = (String, String, String);

/// What the lake has of a cluster at the window's end.
pub(super) struct World {
    bare: Inputs,
    alive: BTreeMap<ObjectKey, ObjectVersion>,
}

/// One side of the change.
#[derive(Debug, Default)]
pub(super) struct Declared {
    pub workloads: BTreeMap<Id, WorkloadRow>,
    /// Autoscalers by the workload that they move, the one that counts first.
    pub scalers: BTreeMap<Id, Vec<AutoscalerRow>>,
    /// Rule, scaler and sentence, by workload.
    pub lint: BTreeMap<Id, Vec<(String, String, String)>>,
    /// Bodies of the objects that scale, by key.
    pub bodies: BTreeMap<ObjectKey, Value>,
}

fn key_of(version: &ObjectVersion) -> ObjectKey {
    ObjectKey {
        kind: kind_of(&version.api_version, &version.kind),
        namespace: version.namespace.clone(),
        name: version.name.clone(),
    }
}

impl World {
    /// From the evidence of a run: objects that the last listing of their kind still showed.
    pub(super) fn new(inputs: Inputs) -> Self {
        let mut listed: BTreeMap<String, i64> = BTreeMap::new();
        for list in &inputs.snapshots {
            let last = listed.entry(list.kind.to_ascii_lowercase()).or_default();
            *last = (*last).max(list.ts_ms);
        }
        let mut alive: BTreeMap<ObjectKey, ObjectVersion> = BTreeMap::new();
        for version in inputs.objects {
            let key = key_of(&version);
            let newer = alive.get(&key).is_none_or(|known| {
                (known.seen_to_ms, known.seen_from_ms) <= (version.seen_to_ms, version.seen_from_ms)
            });
            if newer {
                alive.insert(key, version);
            }
        }
        alive.retain(|key, version| {
            let bare = key.kind.split('.').next().unwrap_or(&key.kind);
            let last = [key.kind.as_str(), bare]
                .iter()
                .filter_map(|name| listed.get(*name))
                .max();
            last.is_none_or(|last| version.seen_to_ms >= *last)
        });
        // Its pods say what ran, not what is written.
        alive.retain(|key, _| !matches!(key.kind.as_str(), "pod" | "replicaset.apps"));
        let end_ms = inputs.window.end_ms;
        let bare = Inputs {
            objects: Vec::new(),
            snapshots: Vec::new(),
            series: Vec::new(),
            gpu_pod_spans: Vec::new(),
            gpu_spans: Vec::new(),
            pod_models: BTreeMap::new(),
            window: TimeWindow::new(end_ms - HOUR_MS, end_ms),
            ..inputs
        };
        Self { bare, alive }
    }

    /// The body of an object as its newest snapshot has it.
    pub(super) fn body(&self, key: &ObjectKey) -> Option<Value> {
        serde_json::from_str(&self.alive.get(key)?.json).ok()
    }

    pub(super) fn holds(&self, key: &ObjectKey) -> bool {
        self.alive.contains_key(key)
    }

    /// Nodes at the window's end that carry all of these labels.
    pub(super) fn nodes_with(&self, labels: &BTreeMap<String, String>) -> usize {
        let nodes = self.alive.iter().filter(|(key, _)| key.kind == "node");
        nodes
            .filter_map(|(_, node)| serde_json::from_str::<Value>(&node.json).ok())
            .filter(|node| {
                labels
                    .iter()
                    .all(|(name, value)| node["metadata"]["labels"][name].as_str() == Some(value))
            })
            .count()
    }

    /// Everything that a changed object made, and what that made.
    fn made_by(&self, changed: &BTreeSet<ObjectKey>) -> BTreeSet<ObjectKey> {
        let owners: Vec<(&ObjectKey, Vec<ObjectKey>)> = self
            .alive
            .iter()
            .filter(|(_, version)| version.json.contains("ownerReferences"))
            .filter_map(|(key, version)| {
                let body: Value = serde_json::from_str(&version.json).ok()?;
                let owners = body["metadata"]["ownerReferences"].as_array()?;
                let keys = owners.iter().map(|owner| ObjectKey {
                    kind: kind_of(
                        owner["apiVersion"].as_str().unwrap_or(""),
                        owner["kind"].as_str().unwrap_or(""),
                    ),
                    namespace: key.namespace.clone(),
                    name: owner["name"].as_str().unwrap_or("").to_owned(),
                });
                Some((key, keys.collect()))
            })
            .collect();
        let mut made: BTreeSet<ObjectKey> = BTreeSet::new();
        loop {
            let before = made.len();
            for (key, owners) in &owners {
                let is_made = |owner: &ObjectKey| changed.contains(owner) || made.contains(owner);
                if owners.iter().any(is_made) {
                    made.insert((*key).clone());
                }
            }
            if made.len() == before {
                return made;
            }
        }
    }

    /// The cluster on one side. `unchanged` are documents of both sides, which speak where the lake has not
    /// seen the object.
    pub(super) fn side(
        &self,
        changes: &[Change],
        unchanged: &[&Document],
        of: fn(&Change) -> Option<&Document>,
    ) -> Declared {
        let changed: BTreeSet<ObjectKey> = changes.iter().map(|one| one.key.clone()).collect();
        let made = self.made_by(&changed);
        let (start_ms, end_ms) = (self.bare.window.start_ms, self.bare.window.end_ms);
        let mut objects: Vec<ObjectVersion> = self
            .alive
            .iter()
            .filter(|(key, _)| !changed.contains(key) && !made.contains(key))
            .map(|(_, version)| ObjectVersion {
                seen_from_ms: start_ms,
                seen_to_ms: end_ms - 1,
                ..version.clone()
            })
            .collect();
        let missing = unchanged
            .iter()
            .copied()
            .filter(|document| !self.alive.contains_key(&document.key));
        let put: Vec<&Document> = changes.iter().filter_map(of).chain(missing).collect();
        let mut bodies = BTreeMap::new();
        for document in &put {
            let mut body = document.body.clone();
            // Who made it, and what it was told, are a live object's.
            if let Some(meta) = body["metadata"].as_object_mut() {
                meta.insert(
                    "namespace".to_owned(),
                    document.key.namespace.clone().into(),
                );
                meta.remove("managedFields");
                meta.remove("creationTimestamp");
            }
            if let Some(fields) = body.as_object_mut() {
                fields.remove("status");
            }
            objects.push(ObjectVersion {
                api_version: document.api_version.clone(),
                kind: document.kind.clone(),
                namespace: document.key.namespace.clone(),
                name: document.key.name.clone(),
                uid: None,
                json: Arc::from(body.to_string()),
                seen_from_ms: start_ms,
                seen_to_ms: end_ms - 1,
            });
            bodies.insert(document.key.clone(), body);
        }
        let inputs = Inputs {
            objects,
            ..self.bare.clone()
        };
        declared(fold(&inputs, &Embedded), bodies)
    }
}

fn declared(folded: Inventory, bodies: BTreeMap<ObjectKey, Value>) -> Declared {
    let mut out = Declared {
        bodies,
        ..Declared::default()
    };
    for mut row in folded.workloads {
        row.uid = None;
        (row.valid_from_ms, row.valid_to_ms) = (0, 0);
        let id = (
            row.namespace.clone(),
            row.workload_kind.clone(),
            row.workload_name.clone(),
        );
        out.workloads.insert(id, row);
    }
    for mut row in folded.autoscalers {
        let (Some(kind), Some(name)) = (&row.workload_kind, &row.workload_name) else {
            continue;
        };
        let id = (row.namespace.clone(), kind.clone(), name.clone());
        (row.valid_from_ms, row.valid_to_ms) = (0, 0);
        let scalers = out.scalers.entry(id).or_default();
        scalers.retain(|known| {
            (&known.scaler_kind, &known.scaler_name) != (&row.scaler_kind, &row.scaler_name)
        });
        scalers.push(row);
    }
    for scalers in out.scalers.values_mut() {
        // KEDA makes an HPA, and what a resource says of itself comes last.
        let rank = |row: &AutoscalerRow| match row.scaler_kind.as_str() {
            "scaledobject.keda.sh" => 0,
            "horizontalpodautoscaler.autoscaling" => 1,
            _ => 2,
        };
        scalers.sort_by(|a, b| {
            (rank(a), &a.scaler_kind, &a.scaler_name).cmp(&(
                rank(b),
                &b.scaler_kind,
                &b.scaler_name,
            ))
        });
    }
    for row in folded.scaling_lint {
        let (Some(kind), Some(name)) = (row.workload_kind, row.workload_name) else {
            continue;
        };
        let lint = out.lint.entry((row.namespace, kind, name)).or_default();
        let scaler = format!("{}/{}", row.scaler_kind, row.scaler_name);
        let told = (row.rule, scaler, row.sentence);
        if !lint.contains(&told) {
            lint.push(told);
        }
    }
    out
}
