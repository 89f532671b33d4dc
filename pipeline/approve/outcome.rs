//! Owns what became of an exported change: whether later snapshots show it, who made it and when,
//! whether it was taken back, and what it saved against a baseline that follows demand.
//!
//! Pure: versions of objects and days of cost come from the caller. The baseline is the line through
//! the days before (cost against demand), so that less traffic is no saving and more is no loss; its
//! range comes from how far those days lie from the line. Fewer than two full weeks on either side
//! give no number. Called by the command line, which logs the result.

use rust_decimal::prelude::{FromPrimitive as _, ToPrimitive as _};
use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::{Value, json};

use super::export::{RESOURCE_VERSION, apply};
use crate::model::time::{DAY_MS, format_ms};

/// Full days needed before and after the change.
pub const DAYS_MIN: usize = 14;
/// Quantile of the normal distribution: eight of ten outcomes lie within.
const Z80: f64 = 1.281_551_565_5;
const HOURS_PER_MONTH: f64 = 730.0;

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
            Self::Reverted => "reverted",
            Self::Overtaken => "overtaken",
            Self::Gone => "gone",
        }
    }
}

/// One change with its fate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeFate {
    pub fate: Fate,
    /// When it was first seen so: the change lies between the snapshot before and this.
    pub seen_ms: Option<i64>,
    /// Who wrote the object last then, as `managedFields` has it.
    pub by: Option<String>,
}

/// Follows one change (as a plan holds it) through the versions of its object, oldest first.
/// `listed_ms` is when its kind was listed last.
#[must_use]
pub fn follow(
    change: &Value,
    exported_ms: i64,
    versions: &[Seen],
    listed_ms: Option<i64>,
) -> ChangeFate {
    let since: Vec<&Seen> = versions
        .iter()
        .filter(|seen| seen.to_ms > exported_ms)
        .collect();
    let nothing = |fate| ChangeFate {
        fate,
        seen_ms: None,
        by: None,
    };
    let Some(last) = since.last() else {
        // Listed since, and not in it.
        return nothing(
            if listed_ms.is_some_and(|ms| ms > exported_ms) && !versions.is_empty() {
                Fate::Gone
            } else {
                Fate::Unseen
            },
        );
    };
    let mut applied: Option<&Seen> = None;
    let mut ended: Option<(&Seen, Fate)> = None;
    for seen in &since {
        if holds(change, "patch", &seen.body) {
            applied = applied.or(Some(seen));
            ended = None;
        } else if is_as_observed(change, &seen.body) {
            if applied.is_some() && ended.is_none() {
                ended = Some((seen, Fate::Reverted));
            }
        } else if ended.is_none_or(|(_, fate)| fate != Fate::Overtaken) {
            ended = Some((seen, Fate::Overtaken));
        }
    }
    let (seen, fate) = match (ended, applied) {
        (Some(ended), _) => ended,
        (None, Some(applied)) => (applied, Fate::Applied),
        (None, None) => (*last, Fate::NotApplied),
    };
    if fate == Fate::NotApplied {
        return nothing(fate);
    }
    ChangeFate {
        fate,
        seen_ms: Some(seen.from_ms.max(exported_ms)),
        by: last_writer(&seen.body),
    }
}

/// Whether an object is as a list of operations leaves it.
fn holds(change: &Value, ops: &str, body: &Value) -> bool {
    let ops = change[ops]
        .as_array()
        .map_or(&[] as &[Value], Vec::as_slice);
    let mut changes = ops.iter().filter(|op| op["op"] != "test").peekable();
    changes.peek().is_some()
        && changes.all(|op| {
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
        })
}

fn is_as_observed(change: &Value, body: &Value) -> bool {
    let list = change["preconditions"]
        .as_array()
        .map_or(&[] as &[Value], Vec::as_slice);
    let mut tested = list.iter().filter(|one| one["path"] != RESOURCE_VERSION);
    let as_before = tested.all(|one| {
        let found = one["path"]
            .as_str()
            .and_then(|path| body.pointer(path))
            .unwrap_or(&Value::Null);
        found == one.get("observed").unwrap_or(&Value::Null)
    });
    let patch = change["patch"].as_array().cloned().unwrap_or_default();
    as_before && apply(body, &patch).is_ok()
}

/// The manager of the newest entry of `managedFields` that is not about status.
fn last_writer(body: &Value) -> Option<String> {
    body["metadata"]["managedFields"]
        .as_array()?
        .iter()
        .filter(|entry| entry["subresource"].as_str().is_none_or(str::is_empty))
        .max_by_key(|entry| entry["time"].as_str().unwrap_or_default().to_owned())?["manager"]
        .as_str()
        .map(str::to_owned)
}

/// The word for a recommendation from those of its changes.
#[must_use]
pub fn state(fates: &[ChangeFate]) -> &'static str {
    let all = |fate| !fates.is_empty() && fates.iter().all(|one| one.fate == fate);
    let any = |fate| fates.iter().any(|one| one.fate == fate);
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
    } else if any(Fate::Applied) {
        "partly_applied"
    } else {
        Fate::NotApplied.word()
    }
}

/// A full day of a workload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Day {
    pub day_ms: i64,
    pub cost_usd: Decimal,
    /// Tokens or requests: what cost follows.
    pub demand: i64,
}

/// What was saved, a month, against the baseline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Realised {
    pub monthly_usd: Decimal,
    pub low_usd: Decimal,
    pub high_usd: Decimal,
    pub days_before: usize,
    pub days_after: usize,
}

/// What days after a change cost less than the days before say that they would have. The day of the
/// change belongs to neither. `None` with fewer than two full weeks on either side.
#[must_use]
pub fn realised(days: &[Day], changed_ms: i64) -> Option<Realised> {
    let changed_day = changed_ms.div_euclid(DAY_MS) * DAY_MS;
    let points = |keep: &dyn Fn(&Day) -> bool| -> Option<Vec<(f64, f64)>> {
        days.iter()
            .filter(|day| keep(day))
            .map(|day| Some((day.demand as f64, day.cost_usd.to_f64()?)))
            .collect()
    };
    let before = points(&|day| day.day_ms < changed_day)?;
    let after = points(&|day| day.day_ms > changed_day)?;
    if before.len() < DAYS_MIN || after.len() < DAYS_MIN {
        return None;
    }
    let n = before.len() as f64;
    let mean = |pick: fn(&(f64, f64)) -> f64| before.iter().map(pick).sum::<f64>() / n;
    let (mean_x, mean_y) = (mean(|p| p.0), mean(|p| p.1));
    let spread: f64 = before.iter().map(|p| (p.0 - mean_x).powi(2)).sum();
    let joint: f64 = before.iter().map(|p| (p.0 - mean_x) * (p.1 - mean_y)).sum();
    // More demand never costs less: a falling line is chance.
    let slope = if spread > 0.0 {
        (joint / spread).max(0.0)
    } else {
        0.0
    };
    let line = |x: f64| mean_y + slope * (x - mean_x);
    let variance = before
        .iter()
        .map(|p| (p.1 - line(p.0)).powi(2))
        .sum::<f64>()
        / (n - 2.0);
    let m = after.len() as f64;
    let saved = after.iter().map(|p| line(p.0) - p.1).sum::<f64>() / m;
    let after_x = after.iter().map(|p| p.0).sum::<f64>() / m;
    // Of the mean of m new days against the line: their own scatter, the line's height, its slope.
    let lever = if spread > 0.0 {
        (after_x - mean_x).powi(2) / spread
    } else {
        0.0
    };
    let error = (variance * (1.0 / m + 1.0 / n + lever)).sqrt();
    let month = |usd: f64| {
        Decimal::from_f64(usd * HOURS_PER_MONTH / 24.0)
            .map(|usd| usd.round_dp_with_strategy(2, RoundingStrategy::MidpointAwayFromZero))
    };
    Some(Realised {
        monthly_usd: month(saved)?,
        low_usd: month(saved - Z80 * error)?,
        high_usd: month(saved + Z80 * error)?,
        days_before: before.len(),
        days_after: after.len(),
    })
}

/// What the log records of an exported item: prediction and outcome side by side.
#[must_use]
pub fn outcome(
    item: &Value,
    exported_ms: i64,
    fates: &[ChangeFate],
    realised: Option<&Realised>,
) -> Value {
    let word = match (state(fates), realised) {
        ("applied", Some(realised)) if realised.high_usd < Decimal::ZERO => "regressed",
        ("applied", Some(_)) => "realised",
        (word, _) => word,
    };
    let changes: Vec<Value> = fates
        .iter()
        .map(|one| json!({"fate": one.fate.word(), "seen": one.seen_ms.map(format_ms), "by": one.by}))
        .collect();
    let realised = realised.map(|one| {
        json!({
            "monthly_usd": one.monthly_usd.to_string(),
            "low_usd": one.low_usd.to_string(),
            "high_usd": one.high_usd.to_string(),
            "days_before": one.days_before,
            "days_after": one.days_after,
        })
    });
    json!({
        "recommendation_id": item["recommendation_id"],
        "manifest_sha256": item["manifest_sha256"],
        "cluster": item["cluster"],
        "exported": format_ms(exported_ms),
        "state": word,
        "changes": changes,
        "predicted": {"monthly_usd": item["net_monthly_usd"], "low_usd": item["net_p10_usd"], "high_usd": item["net_p90_usd"]},
        "realised": realised,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn change() -> Value {
        json!({
            "patch": [{"op": "test", "path": "/spec/min", "value": 3}, {"op": "replace", "path": "/spec/min", "value": 1}],
            "preconditions": [{"path": "/spec/min", "observed": 3}],
        })
    }

    fn seen(min: i64, from: i64, to: i64) -> Seen {
        let by = if min == 1 { "argocd" } else { "kubectl-edit" };
        let managed = json!([
            {"manager": "kube-controller", "time": "2027-01-01T00:00:00Z", "subresource": "status"},
            {"manager": by, "time": "2026-11-01T00:00:00Z"},
        ]);
        Seen {
            body: json!({"spec": {"min": min}, "metadata": {"managedFields": managed}}),
            from_ms: from * HOUR,
            to_ms: to * HOUR,
        }
    }

    fn fate(versions: &[Seen]) -> ChangeFate {
        follow(&change(), 10 * HOUR, versions, Some(100 * HOUR))
    }

    #[test]
    fn each_fate_is_told_from_the_others() {
        assert_eq!(fate(&[seen(3, 0, 20)]).fate, Fate::NotApplied);
        let applied = fate(&[seen(3, 0, 12), seen(1, 13, 30)]);
        assert_eq!(
            (applied.fate, applied.seen_ms, applied.by.as_deref()),
            (Fate::Applied, Some(13 * HOUR), Some("argocd"))
        );
        let reverted = fate(&[seen(3, 0, 12), seen(1, 13, 30), seen(3, 31, 40)]);
        assert_eq!(
            (reverted.fate, reverted.seen_ms, reverted.by.as_deref()),
            (Fate::Reverted, Some(31 * HOUR), Some("kubectl-edit"))
        );
        assert_eq!(
            fate(&[seen(1, 13, 30), seen(3, 31, 40), seen(1, 41, 50)]).fate,
            Fate::Applied
        );
        assert_eq!(
            fate(&[seen(3, 0, 12), seen(2, 13, 30)]).fate,
            Fate::Overtaken
        );
        assert_eq!(
            fate(&[seen(1, 11, 12), seen(5, 13, 30)]).fate,
            Fate::Overtaken
        );
        assert_eq!(fate(&[seen(3, 0, 9)]).fate, Fate::Gone);
        assert_eq!(
            follow(&change(), 10 * HOUR, &[seen(3, 0, 9)], Some(9 * HOUR)).fate,
            Fate::Unseen
        );
        let [a, n] = [Fate::Applied, Fate::NotApplied].map(|fate| ChangeFate {
            fate,
            seen_ms: None,
            by: None,
        });
        assert_eq!(state(&[a.clone(), n.clone()]), "partly_applied");
        assert_eq!(state(&[a.clone(), a]), "applied");
        assert_eq!(state(&[n]), "not_applied");
    }

    fn days(before: usize, after: usize, cost: impl Fn(usize, bool) -> (f64, i64)) -> Vec<Day> {
        (0..before + 1 + after)
            .map(|n| {
                let (usd, demand) = cost(n, n > before);
                Day {
                    day_ms: n as i64 * DAY_MS,
                    cost_usd: Decimal::from_f64(usd).unwrap(),
                    demand,
                }
            })
            .collect()
    }

    #[test]
    fn less_traffic_is_no_saving_and_a_saving_is_seen_through_more_traffic() {
        // Cost is 100 + demand ÷ 10 a day, with a weekly wave; demand falls by half: nothing was saved.
        let wave = |n: usize| [900, 1000, 1100, 1000, 950, 400, 300][n % 7];
        let noise = |n: usize| f64::from([2, -1, 0, 3, -2, 1, -3, 0, 1, -1, 2][n % 11]);
        let quiet = days(21, 21, |n, after| {
            let demand = if after { wave(n) / 2 } else { wave(n) };
            (100.0 + demand as f64 / 10.0 + noise(n), demand)
        });
        let nothing = realised(&quiet, 21 * DAY_MS).unwrap();
        assert!(
            nothing.low_usd < Decimal::ZERO && nothing.high_usd > Decimal::ZERO,
            "{nothing:?}"
        );
        // Fixed cost falls by 30 a day while demand doubles: 912.50 a month.
        let busy = days(21, 21, |n, after| {
            let demand = if after { wave(n) * 2 } else { wave(n) };
            (
                if after { 70.0 } else { 100.0 } + demand as f64 / 10.0 + noise(n),
                demand,
            )
        });
        let saved = realised(&busy, 21 * DAY_MS).unwrap();
        let truth = Decimal::new(91250, 2);
        assert!(saved.low_usd < truth && truth < saved.high_usd, "{saved:?}");
        assert!(
            (saved.monthly_usd - truth).abs() < Decimal::from(100),
            "{saved:?}"
        );
        assert!(
            realised(&busy[9..], 21 * DAY_MS).is_none(),
            "twelve days before"
        );
        assert!(
            realised(&busy[..35], 21 * DAY_MS).is_none(),
            "thirteen days after"
        );
        let dearer = days(14, 14, |n, after| {
            (if after { 130.0 } else { 100.0 } + noise(n), 1)
        });
        assert!(realised(&dearer, 14 * DAY_MS).unwrap().high_usd < Decimal::ZERO);
        let fates = [ChangeFate {
            fate: Fate::Applied,
            seen_ms: Some(0),
            by: None,
        }];
        let told = outcome(
            &json!({}),
            0,
            &fates,
            realised(&dearer, 14 * DAY_MS).as_ref(),
        );
        assert_eq!(told["state"], "regressed");
    }
}
