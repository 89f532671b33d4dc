//! Owns what leaves: whether an approved change still holds against the newest snapshot, and the files
//! that people and GitOps apply. It writes no file and reaches no cluster.
//!
//! A change is refused, with the difference, where an observed value has moved, where its patch does
//! not apply to the object as it is, or where its inverse would not restore it. Names from clusters
//! are data: file names are slugs with a hash, YAML comes from a serialiser, shell words are quoted,
//! and a name that Kubernetes could not hold is not exported. Called by the command line.

mod plan;

use std::collections::BTreeMap;

use json_patch::Patch;
use serde_json::{Value, json};

use super::quorum::{Standing, State};
use super::{ApproveError, Change, Recommendation, visible};
use crate::model::canonical::{sha256_hex, to_canonical};
use crate::model::time::format_ms;

/// Moves with every write, also of what no change is about.
pub(super) const RESOURCE_VERSION: &str = "/metadata/resourceVersion";

/// An object as the newest snapshot of its kind shows it.
#[derive(Debug, Clone)]
pub struct ObjectNow {
    /// `None` where the kind was listed without it.
    pub body: Option<Value>,
    /// When its kind was listed last.
    pub seen_ms: i64,
}

/// A recommendation with what is known of it.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub recommendation: Recommendation,
    pub manifest_sha256: String,
    pub standing: Standing,
    /// In order of its changes; `None` where no snapshot of the kind exists.
    pub now: Vec<Option<ObjectNow>>,
}

/// What leaves and what does not.
#[derive(Debug, Default)]
pub struct Exported {
    /// Path below the output folder → bytes.
    pub files: BTreeMap<String, Vec<u8>>,
    /// `plan.json`, which the log names by its digest.
    pub plan: Vec<u8>,
    /// Recommendations that left.
    pub ready: Vec<String>,
    /// Those that did not, with the reasons.
    pub refused: Vec<(String, Vec<String>)>,
}

/// Why a candidate may not leave now; empty where it may.
#[must_use]
pub fn objections(
    candidate: &Candidate,
    snapshot_max_age_ms: i64,
    again: bool,
    now_ms: i64,
) -> Vec<String> {
    let mut why = Vec::new();
    let standing = &candidate.standing;
    let state_fits =
        standing.state == State::Approved || (again && standing.state == State::Exported);
    if !state_fits {
        why.push(format!("it is {}", standing.state.word()));
        why.extend(
            standing
                .missing
                .iter()
                .map(|missing| format!("it needs {missing}")),
        );
    }
    if let Some(name) = &standing.frozen {
        why.push(format!("it is frozen by `{name}`"));
    }
    if let Some(ms) = standing.limits.not_before_ms
        && now_ms < ms
    {
        why.push(format!("its approval holds from {} on", format_ms(ms)));
    }
    if !why.is_empty() {
        return why;
    }
    let own = standing
        .limits
        .snapshot_max_age_hours
        .map(|hours| hours.saturating_mul(3_600_000));
    let max_age_ms = own.map_or(snapshot_max_age_ms, |own| own.min(snapshot_max_age_ms));
    for (index, change) in candidate.recommendation.changes.iter().enumerate() {
        let now = candidate.now.get(index).and_then(Option::as_ref);
        for one in drift(change, now, max_age_ms, now_ms) {
            why.push(format!("{}: {one}", change.object()));
        }
    }
    why
}

/// How an object differs from what was approved.
fn drift(change: &Change, now: Option<&ObjectNow>, max_age_ms: i64, now_ms: i64) -> Vec<String> {
    for (what, name) in [
        ("name", &change.name),
        ("namespace", &change.namespace),
        ("kind", &change.kind),
    ] {
        if !(is_kubernetes_name(name) || (what == "namespace" && name.is_empty())) {
            return vec![format!("its {what} is none that Kubernetes could hold")];
        }
    }
    let Some(now) = now else {
        return vec!["no snapshot shows its kind: take one (`idleproof ingest`)".to_owned()];
    };
    if now_ms - now.seen_ms > max_age_ms {
        return vec![format!(
            "its newest snapshot is of {}, older than {} h: take a newer one",
            format_ms(now.seen_ms),
            max_age_ms / 3_600_000
        )];
    }
    let Some(body) = &now.body else {
        return vec![format!("it was gone at {}", format_ms(now.seen_ms))];
    };
    let mut why = Vec::new();
    // Every write of a status moves the resource version: the values say whether the change holds.
    let tested = change
        .preconditions
        .iter()
        .filter(|(path, _)| path != RESOURCE_VERSION);
    for (path, observed) in tested {
        let found = body.pointer(path).unwrap_or(&Value::Null);
        if found != observed {
            why.push(format!("{path} was {observed} and is {found}"));
        }
    }
    if !why.is_empty() {
        return why;
    }
    match apply(body, &change.patch) {
        Err(error) => why.push(format!("the patch does not apply: {error}")),
        Ok(patched) if patched == *body => {
            why.push("the patch changes nothing: it is so already".to_owned());
        }
        Ok(patched) => match apply(&patched, &change.inverse) {
            Err(error) => why.push(format!("the inverse does not apply: {error}")),
            Ok(restored) if restored != *body => {
                why.push("the inverse does not restore it".to_owned());
            }
            Ok(_) => {}
        },
    }
    why
}

/// The object with JSON Patch operations applied.
pub(super) fn apply(body: &Value, ops: &[Value]) -> Result<Value, String> {
    let patch: Patch =
        serde_json::from_value(Value::from(ops.to_vec())).map_err(|e| e.to_string())?;
    let mut out = body.clone();
    json_patch::patch(&mut out, &patch).map_err(|e| e.to_string())?;
    Ok(out)
}

/// What may leave, as files; what may not, with reasons.
pub fn export(
    candidates: &[Candidate],
    snapshot_max_age_ms: i64,
    again: bool,
    now_ms: i64,
) -> Result<Exported, ApproveError> {
    let mut exported = Exported::default();
    let mut leaving = Vec::new();
    for candidate in candidates {
        let why = objections(candidate, snapshot_max_age_ms, again, now_ms);
        if why.is_empty() {
            exported.ready.push(candidate.recommendation.id.clone());
            leaving.push(candidate);
        } else {
            exported
                .refused
                .push((candidate.recommendation.id.clone(), why));
        }
    }
    // Small risks first, then the largest saving; ids make the order whole.
    leaving.sort_by_key(|candidate| {
        let r = &candidate.recommendation;
        let risk = ["none", "low", "medium", "high"]
            .iter()
            .position(|word| r.text("risk") == Some(word));
        (
            risk.unwrap_or(9),
            std::cmp::Reverse(r.net_monthly_usd),
            r.id.clone(),
        )
    });
    let mut roots: BTreeMap<String, Vec<Piece<'_>>> = BTreeMap::new();
    for (order, candidate) in leaving.iter().enumerate() {
        for (index, change) in candidate.recommendation.changes.iter().enumerate() {
            let place = format!(
                "{}/{}",
                candidate.recommendation.cluster,
                change.managed_by.as_deref().unwrap_or("by-kubectl")
            );
            let body = candidate
                .now
                .get(index)
                .and_then(Option::as_ref)
                .and_then(|now| now.body.as_ref());
            let name = format!(
                "{:03}-{}",
                order + 1,
                slug(&format!(
                    "{}-{index}-{}",
                    candidate.recommendation.id,
                    change.object()
                ))
            );
            roots
                .entry(slug(&place))
                .or_default()
                .push(Piece { change, body, name });
        }
    }
    for (root, pieces) in &roots {
        let mut write =
            |path: String, bytes: Vec<u8>| exported.files.insert(format!("{root}/{path}"), bytes);
        for (folder, inverse) in [("patches", false), ("inverse", true)] {
            for piece in pieces {
                let ops = if inverse {
                    &piece.change.inverse
                } else {
                    &piece.change.patch
                };
                write(
                    format!("{folder}/{}.json", piece.name),
                    format!("{}\n", to_canonical(&Value::from(ops.clone()))?).into_bytes(),
                );
            }
            write(
                format!("{folder}/kustomization.yaml"),
                kustomization(pieces)?,
            );
            write(
                format!("{folder}/kubectl.sh"),
                plan::commands(pieces).into_bytes(),
            );
        }
    }
    exported.files.insert(
        "PLAN.md".to_owned(),
        plan::markdown(&leaving, &roots, &exported.refused, now_ms).into_bytes(),
    );
    let mut digests = serde_json::Map::new();
    for (path, bytes) in &exported.files {
        digests.insert(path.clone(), sha256_hex(bytes).into());
    }
    let items: Vec<Value> = leaving.iter().map(|candidate| item(candidate)).collect();
    let text =
        to_canonical(&json!({"exported_at": format_ms(now_ms), "files": digests, "items": items}))?;
    exported.plan = text.into_bytes();
    exported
        .files
        .insert("plan.json".to_owned(), exported.plan.clone());
    Ok(exported)
}

/// One change on its way to one root.
pub(super) struct Piece<'a> {
    pub(super) change: &'a Change,
    body: Option<&'a Value>,
    pub(super) name: String,
}

/// What the outcome is later measured against.
fn item(candidate: &Candidate) -> Value {
    let r = &candidate.recommendation;
    json!({
        "manifest_sha256": candidate.manifest_sha256,
        "recommendation_id": r.id,
        "finding_id": r.finding_id,
        "cluster": r.cluster,
        "namespace": r.namespace,
        "workload": r.workload,
        "action": r.action,
        "detector": r.detector,
        "break_glass": candidate.standing.break_glass,
        "approved_by": candidate.standing.approvals,
        "net_monthly_usd": r.value["net_monthly_usd"],
        "net_p10_usd": r.value["net_p10_usd"],
        "net_p90_usd": r.value["net_p90_usd"],
        "band_percent": r.value["band_percent"],
        "predicted_latency": r.value["predicted_latency"],
        "changes": r.value["changes"],
    })
}

/// A Kustomize component: an overlay of the root lists it under `components`.
fn kustomization(pieces: &[Piece<'_>]) -> Result<Vec<u8>, ApproveError> {
    let patches: Vec<Value> = pieces
        .iter()
        .map(|piece| {
            let (group, version) = piece
                .change
                .api_version
                .split_once('/')
                .unwrap_or(("", &piece.change.api_version));
            // The kind as Kubernetes spells it stands in the object; the word in lower case is ours.
            let kind = piece
                .body
                .and_then(|body| body["kind"].as_str())
                .unwrap_or(&piece.change.kind);
            let mut target = json!({"version": version, "kind": kind, "name": piece.change.name});
            if !group.is_empty() {
                target["group"] = group.into();
            }
            if !piece.change.namespace.is_empty() {
                target["namespace"] = piece.change.namespace.clone().into();
            }
            json!({"path": format!("{}.json", piece.name), "target": target})
        })
        .collect();
    let value = json!({
        "apiVersion": "kustomize.config.k8s.io/v1alpha1",
        "kind": "Component",
        "patches": patches,
    });
    serde_yaml_ng::to_string(&value)
        .map(String::into_bytes)
        .map_err(|error| ApproveError::Sign(error.to_string()))
}

/// A path segment as the API server accepts it, which no shell takes for an option.
fn is_kubernetes_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 253
        && !name.starts_with(['-', '.'])
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b':' | b'_'))
        && !name.contains("..")
}

/// A file name from any text: what is plain of it, and its hash.
pub(super) fn slug(text: &str) -> String {
    let mut plain = String::new();
    for c in text.chars() {
        let c = if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        };
        if !(c == '-' && plain.ends_with('-')) {
            plain.push(c);
        }
        if plain.len() >= 48 {
            break;
        }
    }
    let plain = plain.trim_matches('-');
    let plain = if plain.is_empty() { "x" } else { plain };
    format!("{plain}-{}", &sha256_hex(text.as_bytes())[..8])
}

/// One word for a POSIX shell.
pub(super) fn quoted(word: &str) -> String {
    format!("'{}'", visible(word).replace('\'', "'\\''"))
}
