//! Owns what became of an exported change: whether later snapshots show it, fully or in part, who made
//! it and when, whether it was taken back or overtaken; and the outcome of a recommendation, its
//! prediction beside what happened, as the log and the lake hold it.
//!
//! Pure: versions of objects come from the caller, who also knows whose hand a version shows. What was
//! saved is `realised`'s, what predictions were worth `scoreboard`'s. Called by the command line.

use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::export::{RESOURCE_VERSION, apply};
use super::realised::Realised;
use crate::model::time::format_ms;

/// One version of an object, as snapshots showed it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub body: Value,
    pub from_ms: i64,
    pub to_ms: i64,
}

/// What became of one change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// No snapshot since.
    Unseen,
    NotApplied,
    Applied,
    /// Some of its fields are as approved, the others as they were.
    Partly,
    /// It was applied, and what was observed before stands there again.
    Reverted,
    /// The field holds something that is neither what was nor what was approved.
    Overtaken,
    /// The object is gone.
    Gone,
}

impl Fate {
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unseen => "unseen",
            Self::NotApplied => "not_applied",
            Self::Applied => "applied",
            Self::Partly => "partly_applied",
            Self::Reverted => "reverted",
            Self::Overtaken => "overtaken",
            Self::Gone => "gone",
        }
    }
}

/// A change of an object that snapshots show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// The last that was seen before it: it lies between this and the next.
    pub not_before_ms: i64,
    pub seen_ms: i64,
    /// Who made it; unknown where the object does not say.
    pub by: Option<String>,
}

/// One change with its fate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeFate {
    pub fate: Fate,
    /// When it came to be as approved, the last time.
    pub applied: Option<Sight>,
    /// When it ceased to be so.
    pub ended: Option<Sight>,
}

/// Who changed a field (a JSON pointer) of an object between two instants, as its body says.
pub type WhoChanged<'a> = &'a dyn Fn(&Value, &str, i64, i64) -> Option<String>;

/// How one version of the object looks beside the change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    AsApproved,
    InPart,
    AsBefore,
    Otherwise,
}

/// Follows one change (as a plan holds it) through the versions of its object, oldest first.
/// `listed_ms` is when its kind was listed last.
#[must_use]
pub fn follow(
    change: &Value,
    exported_ms: i64,
    versions: &[Seen],
    listed_ms: Option<i64>,
    who: WhoChanged<'_>,
) -> ChangeFate {
    let mut told = ChangeFate {
        fate: Fate::NotApplied,
        applied: None,
        ended: None,
    };
    let since: Vec<&Seen> = versions
        .iter()
        .filter(|seen| seen.to_ms > exported_ms)
        .collect();
    if since.is_empty() {
        // Listed since, and not in it.
        let listed = listed_ms.is_some_and(|ms| ms > exported_ms);
        told.fate = if listed && !versions.is_empty() {
            Fate::Gone
        } else {
            Fate::Unseen
        };
        return told;
    }
    let fields = pointers(change);
    let mut before_ms = exported_ms;
    for seen in since {
        let from_ms = seen.from_ms.max(exported_ms);
        let sight = || Sight {
            not_before_ms: before_ms,
            seen_ms: from_ms,
            by: fields
                .iter()
                .find_map(|path| who(&seen.body, path, before_ms, from_ms)),
        };
        let held = matches!(told.fate, Fate::Applied | Fate::Partly);
        let next = match look(change, &seen.body) {
            Look::AsApproved => Fate::Applied,
            Look::InPart => Fate::Partly,
            Look::AsBefore if told.applied.is_some() => Fate::Reverted,
            Look::AsBefore => Fate::NotApplied,
            Look::Otherwise => Fate::Overtaken,
        };
        if next != told.fate {
            match next {
                Fate::Applied | Fate::Partly => {
                    // From part to whole and back it stays applied since the first part.
                    if !held {
                        told.applied = Some(sight());
                    }
                    told.ended = None;
                }
                Fate::Reverted | Fate::Overtaken if held || told.applied.is_none() => {
                    told.ended = Some(sight());
                }
                _ => {}
            }
            told.fate = next;
        }
        before_ms = seen.to_ms.max(from_ms);
    }
    told
}

/// The fields that a change writes.
fn pointers(change: &Value) -> Vec<String> {
    writes(change)
        .filter_map(|op| op["path"].as_str())
        .map(|path| path.strip_suffix("/-").unwrap_or(path).to_owned())
        .collect()
}

fn writes(change: &Value) -> impl Iterator<Item = &Value> {
    let ops = change["patch"]
        .as_array()
        .map_or(&[] as &[Value], Vec::as_slice);
    ops.iter().filter(|op| op["op"] != "test")
}

fn look(change: &Value, body: &Value) -> Look {
    let (mut all, mut as_approved, mut untouched) = (0, 0, 0);
    for op in writes(change) {
        all += 1;
        as_approved += usize::from(stands(op, body));
        untouched += usize::from(is_as_observed(change, op, body));
    }
    if all > 0 && as_approved == all {
        Look::AsApproved
    } else if is_as_before(change, body) {
        Look::AsBefore
    } else if as_approved > 0 && as_approved + untouched >= all {
        Look::InPart
    } else {
        Look::Otherwise
    }
}

/// Whether an operation's result is what stands there.
fn stands(op: &Value, body: &Value) -> bool {
    let path = op["path"].as_str().unwrap_or_default();
    // Added at a list's end: it stands somewhere in the list.
    if let Some(list) = path.strip_suffix("/-") {
        let list = body.pointer(list).and_then(Value::as_array);
        return list.is_some_and(|list| op.get("value").is_some_and(|v| list.contains(v)));
    }
    let found = body.pointer(path);
    match op["op"].as_str() {
        Some("remove") => found.is_none(),
        _ => found.is_some() && found == op.get("value"),
    }
}

fn preconditions(change: &Value) -> impl Iterator<Item = &Value> {
    let list = change["preconditions"]
        .as_array()
        .map_or(&[] as &[Value], Vec::as_slice);
    list.iter().filter(|one| one["path"] != RESOURCE_VERSION)
}

fn holds(precondition: &Value, body: &Value) -> bool {
    let found = precondition["path"]
        .as_str()
        .and_then(|path| body.pointer(path))
        .unwrap_or(&Value::Null);
    found == precondition.get("observed").unwrap_or(&Value::Null)
}

/// Whether the field that an operation writes is as it was observed.
fn is_as_observed(change: &Value, op: &Value, body: &Value) -> bool {
    let mut of_field = preconditions(change)
        .filter(|one| one["path"] == op["path"])
        .peekable();
    of_field.peek().is_some() && of_field.all(|one| holds(one, body))
}

fn is_as_before(change: &Value, body: &Value) -> bool {
    let patch = change["patch"].as_array().cloned().unwrap_or_default();
    preconditions(change).all(|one| holds(one, body)) && apply(body, &patch).is_ok()
}

/// The word for a recommendation from those of its changes.
#[must_use]
pub fn state(fates: &[ChangeFate]) -> &'static str {
    let all = |fate| !fates.is_empty() && fates.iter().all(|one| one.fate == fate);
    let any = |fate| fates.iter().any(|one| one.fate == fate);
    if fates.is_empty() {
        // Made by hand, where no snapshot of an object tells.
        return Fate::Unseen.word();
    }
    for fate in [
        Fate::Unseen,
        Fate::NotApplied,
        Fate::Applied,
        Fate::Reverted,
        Fate::Gone,
    ] {
        if all(fate) {
            return fate.word();
        }
    }
    if any(Fate::Overtaken) {
        Fate::Overtaken.word()
    } else if any(Fate::Reverted) {
        Fate::Reverted.word()
    } else if any(Fate::Applied) || any(Fate::Partly) {
        Fate::Partly.word()
    } else {
        Fate::NotApplied.word()
    }
}

/// For how long a recommendation's changes stood: all of them, as far as they were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Everything before this is before the first change.
    pub before_ms: i64,
    /// The last of them was seen then.
    pub from_ms: i64,
    /// None of them was seen to have ended before this.
    pub until_ms: Option<i64>,
}

/// `None` where nothing was ever seen applied.
#[must_use]
pub fn held(fates: &[ChangeFate]) -> Option<Held> {
    let applied = || fates.iter().filter_map(|one| one.applied.as_ref());
    Some(Held {
        before_ms: applied().map(|sight| sight.not_before_ms).min()?,
        from_ms: applied().map(|sight| sight.seen_ms).max()?,
        until_ms: fates
            .iter()
            .filter(|one| one.applied.is_some())
            .filter_map(|one| one.ended.as_ref())
            .map(|sight| sight.not_before_ms)
            .min(),
    })
}

/// 95th percentiles; what nobody measured or predicted is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Latency {
    pub ttft_ms: Option<i64>,
    pub itl_ms: Option<i64>,
}

impl Latency {
    fn value(self) -> Value {
        json!({"ttft_ms": self.ttft_ms, "itl_ms": self.itl_ms})
    }
}

/// What became of one exported recommendation.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub recommendation_id: String,
    pub manifest_sha256: String,
    pub finding_id: String,
    pub detector: String,
    pub action: String,
    pub cluster: String,
    pub namespace: String,
    pub workload_kind: String,
    pub workload_name: String,
    pub exported_ms: i64,
    pub state: String,
    pub changes: Vec<ChangeFate>,
    pub predicted_usd: Option<Decimal>,
    pub predicted_low_usd: Option<Decimal>,
    pub predicted_high_usd: Option<Decimal>,
    /// By how much the scoreboard had widened or narrowed the band when it was predicted.
    pub band_percent: i64,
    pub realised: Option<Realised>,
    pub predicted_latency: Latency,
    pub latency_before: Latency,
    pub latency_after: Latency,
}

impl Outcome {
    /// Of an item of a plan.
    #[must_use]
    pub fn of(
        item: &Value,
        exported_ms: i64,
        changes: Vec<ChangeFate>,
        realised: Option<Realised>,
        latency: [Latency; 2],
    ) -> Self {
        let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
        let usd = |name: &str| item[name].as_str().and_then(|text| text.parse().ok());
        let workload = text("workload");
        let (kind, name) = workload.split_once('/').unwrap_or(("", &workload));
        let word = match (state(&changes), &realised) {
            ("applied", Some(realised)) if realised.high_usd < Decimal::ZERO => "regressed",
            ("applied", Some(_)) => "realised",
            (word, _) => word,
        };
        let predicted = &item["predicted_latency"];
        Self {
            recommendation_id: text("recommendation_id"),
            manifest_sha256: text("manifest_sha256"),
            finding_id: text("finding_id"),
            detector: text("detector"),
            action: text("action"),
            cluster: text("cluster"),
            namespace: text("namespace"),
            workload_kind: kind.to_owned(),
            workload_name: name.to_owned(),
            exported_ms,
            state: word.to_owned(),
            changes,
            predicted_usd: usd("net_monthly_usd"),
            predicted_low_usd: usd("net_p10_usd"),
            predicted_high_usd: usd("net_p90_usd"),
            band_percent: item["band_percent"].as_i64().unwrap_or(100),
            realised,
            predicted_latency: Latency {
                ttft_ms: predicted["ttft_ms"].as_i64(),
                itl_ms: predicted["itl_ms"].as_i64(),
            },
            latency_before: latency[0],
            latency_after: latency[1],
        }
    }

    /// When and by whom it was last applied, and ended.
    #[must_use]
    pub fn sights(&self) -> [Option<&Sight>; 2] {
        let last = |pick: fn(&ChangeFate) -> Option<&Sight>| {
            let sights = self.changes.iter().filter_map(pick);
            sights.max_by_key(|sight| sight.seen_ms)
        };
        [
            last(|one| one.applied.as_ref()),
            last(|one| one.ended.as_ref()),
        ]
    }

    /// The changes as JSON.
    #[must_use]
    pub fn changes_value(&self) -> Value {
        let sight = |one: &Option<Sight>| {
            one.as_ref().map(|sight| {
                json!({
                    "not_before": format_ms(sight.not_before_ms),
                    "seen": format_ms(sight.seen_ms),
                    "by": sight.by,
                })
            })
        };
        let changes = self.changes.iter().map(|one| {
            json!({
                "fate": one.fate.word(),
                "applied": sight(&one.applied),
                "ended": sight(&one.ended),
            })
        });
        changes.collect()
    }

    /// What the log records: prediction and outcome side by side.
    #[must_use]
    pub fn value(&self) -> Value {
        let usd = |usd: Option<Decimal>| usd.map(|usd| usd.to_string());
        json!({
            "recommendation_id": self.recommendation_id,
            "manifest_sha256": self.manifest_sha256,
            "detector": self.detector,
            "cluster": self.cluster,
            "exported": format_ms(self.exported_ms),
            "state": self.state,
            "changes": self.changes_value(),
            "predicted": {
                "monthly_usd": usd(self.predicted_usd),
                "low_usd": usd(self.predicted_low_usd),
                "high_usd": usd(self.predicted_high_usd),
                "band_percent": self.band_percent,
                "latency_p95": self.predicted_latency.value(),
            },
            "realised": self.realised.as_ref().map(Realised::value),
            "latency_p95": {"before": self.latency_before.value(), "after": self.latency_after.value()},
        })
    }
}

#[cfg(test)]
mod tests;
