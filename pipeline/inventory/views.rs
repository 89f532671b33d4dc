//! Owns what an adapter is shown of one workload at one instant. The fold and the remedies make
//! the same view, so that a change is written for what the inventory says.

use serde_json::Value;

use super::families::Family;
use super::objects::{Key, ObjectStore};
use super::scalers::Scaler;
use super::systems::{View, World};

static NULL: Value = Value::Null;

/// The view of a family; `pod` is the body of the pod that stands for it, and `own` has the objects
/// whose bodies are kept for this family only.
pub(super) fn view<'v>(
    store: &'v ObjectStore,
    own: &'v ObjectStore,
    top: &'v Key,
    family: &'v Family,
    scalers: &'v [Scaler],
    pod: Option<&'v Value>,
    ms: i64,
) -> View<'v> {
    let body_of = |key: &Key| {
        let version = own.nearest(key, ms).or_else(|| store.nearest(key, ms))?;
        Some(version.body())
    };
    // The one that counts first; what a resource declares of itself is its adapter's.
    let mut aiming: Vec<&Scaler> = scalers
        .iter()
        .filter(|scaler| !scaler.is_own() && scaler.moves() && scaler.reaches(top, &family.members))
        .collect();
    aiming.sort_by_key(|scaler| (scaler.rank(), &scaler.key));
    View {
        top,
        top_body: body_of(top)
            .or(pod.filter(|_| top.kind == "pod"))
            .unwrap_or(&NULL),
        members: family
            .members
            .iter()
            .filter(|key| *key != top && key.kind != "replicaset.apps")
            .filter_map(|key| Some((key, body_of(key)?)))
            .collect(),
        pod: pod.unwrap_or(&NULL),
        scalers: aiming
            .into_iter()
            .map(|scaler| (&scaler.key, body_of(&scaler.key).unwrap_or(&NULL)))
            .collect(),
        world: World {
            store: Some(store),
            ms,
        },
    }
}
