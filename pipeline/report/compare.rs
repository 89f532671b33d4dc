//! Owns the comparison of two reports: what was spent, where GPU time went, which findings came, went or
//! changed. Plain data of both in, final text out; windows of different lengths are compared by the day.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;
use serde::Serialize;

use super::data::{FindingData, ReportData, WorkloadRow};
use super::format::{gpu_hours, percent, usd};
use super::view::CLASSES;
use super::view::shown_window;
use crate::model::time::{DAY_MS, format_ms};

/// Workloads whose cost moved most that are shown.
const WORKLOADS_SHOWN: usize = 20;

/// Two reports side by side.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    pub before: Side,
    pub after: Side,
    /// What a reader must know before comparing.
    pub notes: Vec<String>,
    pub money: Vec<Row>,
    pub classes: Vec<Row>,
    pub appeared: Vec<Moved>,
    pub gone: Vec<Moved>,
    pub changed: Vec<Moved>,
    pub unchanged: usize,
    pub workloads: Vec<Row>,
}

/// One of the two.
#[derive(Debug, Clone, Serialize)]
pub struct Side {
    pub publication: u64,
    pub window_start: String,
    pub window_end: String,
    /// Both, as they are shown.
    pub window: String,
    pub days: usize,
    pub gpus: u64,
}

/// One number of both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    pub name: String,
    pub before: String,
    pub after: String,
    pub change: String,
}

/// One finding of either.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Moved {
    pub title: String,
    pub handle: String,
    pub before: String,
    pub after: String,
    pub change: String,
}

impl Comparison {
    #[must_use]
    pub fn new(before: &ReportData, after: &ReportData) -> Self {
        let (appeared, gone, changed, unchanged) = findings(before, after);
        Self {
            notes: notes(before, after),
            money: money(before, after),
            classes: classes(before, after),
            appeared,
            gone,
            changed,
            unchanged,
            workloads: workloads(before, after),
            before: side(before),
            after: side(after),
        }
    }
}

fn side(data: &ReportData) -> Side {
    Side {
        publication: data.publication,
        window_start: format_ms(data.window.start_ms),
        window_end: format_ms(data.window.end_ms),
        window: shown_window(data),
        days: data.window.days().count(),
        gpus: data.gpus,
    }
}

fn notes(before: &ReportData, after: &ReportData) -> Vec<String> {
    let mut notes = Vec::new();
    let (one, two) = (before.window, after.window);
    if one.end_ms - one.start_ms != two.end_ms - two.start_ms {
        notes.push(format!(
            "The windows have {} and {} days: everything is for one day of each.",
            one.days().count(),
            two.days().count()
        ));
    }
    if two.start_ms < one.end_ms && one.start_ms < two.end_ms {
        notes.push("The windows overlap: days that both have do not differ.".to_owned());
    }
    if before.code_version != after.code_version {
        notes.push(format!(
            "They were concluded by version {} and version {}.",
            before.code_version, after.code_version
        ));
    }
    let rests = |data: &ReportData, what: &str| {
        let named = data
            .digests
            .iter()
            .filter(|(name, _)| name.starts_with(what));
        named
            .map(|(name, digest)| (name.clone(), digest.clone()))
            .collect::<Vec<_>>()
    };
    for (what, words) in [
        ("queries/", "Queries"),
        ("params", "Parameters of detectors"),
        ("slo", "Service levels"),
        ("prices/", "Price sheets"),
        ("catalogue", "The catalogue"),
    ] {
        if rests(before, what) != rests(after, what) {
            notes.push(format!("{words} differ between them."));
        }
    }
    notes
}

/// What an amount of a window is for one of its days.
fn daily(amount: Decimal, data: &ReportData) -> Decimal {
    let ms = data.window.end_ms - data.window.start_ms;
    if ms <= 0 {
        return Decimal::ZERO;
    }
    amount * Decimal::from(DAY_MS) / Decimal::from(ms)
}

fn signed(amount: Decimal) -> String {
    if amount.round_dp(2).is_zero() {
        "±0".to_owned()
    } else if amount.is_sign_positive() {
        format!("+{}", usd(amount))
    } else {
        usd(amount)
    }
}

fn amounts(name: &str, before: Decimal, after: Decimal) -> Row {
    Row {
        name: name.to_owned(),
        before: usd(before),
        after: usd(after),
        change: signed(after - before),
    }
}

fn avoidable(data: &ReportData) -> impl Iterator<Item = &FindingData> {
    data.findings
        .iter()
        .filter(|finding| finding.status == "alarm" && finding.accepted.is_none())
}

fn money(before: &ReportData, after: &ReportData) -> Vec<Row> {
    let spent = |data: &ReportData| {
        let all: Decimal = data.classes.iter().filter_map(|class| class.cost_usd).sum();
        daily(all, data)
    };
    let waste = |data: &ReportData| {
        let all: Decimal = avoidable(data).filter_map(|f| f.net_window_usd).sum();
        daily(all, data)
    };
    let monthly =
        |data: &ReportData| -> Decimal { avoidable(data).filter_map(|f| f.net_monthly_usd).sum() };
    let unseen = |data: &ReportData| {
        let ms = |unknown: bool| -> i64 {
            let classes = data.classes.iter();
            let picked = classes.filter(|class| !unknown || class.class == "unknown");
            picked.map(|class| class.ms).sum()
        };
        percent(Decimal::from(ms(true)), Decimal::from(ms(false)))
    };
    vec![
        amounts("spent a day", spent(before), spent(after)),
        amounts("avoidable a day", waste(before), waste(after)),
        amounts(
            "avoidable a month from then",
            monthly(before),
            monthly(after),
        ),
        Row {
            name: "GPU time not seen".to_owned(),
            before: unseen(before),
            after: unseen(after),
            change: String::new(),
        },
    ]
}

fn classes(before: &ReportData, after: &ReportData) -> Vec<Row> {
    let of = |data: &ReportData, name: &str| -> Decimal {
        let ms: i64 = (data.classes.iter())
            .filter(|class| class.class == name)
            .map(|class| class.ms)
            .sum();
        daily(Decimal::from(ms), data)
    };
    // Whole milliseconds are all that is printed of a day's mean.
    let hours = |ms: Decimal| gpu_hours(i64::try_from(ms.round()).unwrap_or(i64::MAX));
    CLASSES
        .iter()
        .filter_map(|(name, _)| {
            let (one, two) = (of(before, name), of(after, name));
            let moved = two - one;
            (!one.is_zero() || !two.is_zero()).then(|| Row {
                name: (*name).to_owned(),
                before: hours(one),
                after: hours(two),
                change: if moved.is_sign_positive() && !moved.is_zero() {
                    format!("+{}", hours(moved))
                } else {
                    hours(moved)
                },
            })
        })
        .collect()
}

type Findings = (Vec<Moved>, Vec<Moved>, Vec<Moved>, usize);

fn findings(before: &ReportData, after: &ReportData) -> Findings {
    fn by_handle(data: &ReportData) -> BTreeMap<&str, &FindingData> {
        let findings = data.findings.iter();
        findings.map(|f| (f.handle.as_str(), f)).collect()
    }
    let is_open = |finding: &&FindingData| finding.status == "alarm" && finding.accepted.is_none();
    let text = |finding: &FindingData| {
        let known = || {
            finding
                .net_monthly_usd
                .map_or("price unknown".to_owned(), usd)
        };
        if finding.price_basis == "none" {
            "not claimed".to_owned()
        } else {
            known()
        }
    };
    let instead = |finding: Option<&&FindingData>| match finding {
        None => "not found".to_owned(),
        Some(finding) if finding.accepted.is_some() => "accepted".to_owned(),
        Some(finding) => finding.status.clone(),
    };
    let (one, two) = (by_handle(before), by_handle(after));
    let handles: BTreeSet<&str> = one.keys().chain(two.keys()).copied().collect();
    let (mut appeared, mut gone, mut changed, mut unchanged) = (vec![], vec![], vec![], 0);
    for handle in handles {
        let (earlier, later) = (one.get(handle), two.get(handle));
        let (was, is) = (
            earlier.copied().filter(is_open),
            later.copied().filter(is_open),
        );
        let Some(shown) = is.or(was) else { continue };
        let worth = |finding: Option<&FindingData>| {
            finding.and_then(|f| f.net_monthly_usd).unwrap_or_default()
        };
        let moved = worth(is) - worth(was);
        let change = Moved {
            title: shown.title.clone(),
            handle: handle.to_owned(),
            before: was.map_or_else(|| instead(earlier), text),
            after: is.map_or_else(|| instead(later), text),
            change: signed(moved),
        };
        match (was.is_some(), is.is_some()) {
            (false, _) => appeared.push((moved, change)),
            (true, false) => gone.push((moved, change)),
            // Cents move with every day's demand.
            _ if moved.abs() < Decimal::ONE => unchanged += 1,
            _ => changed.push((moved, change)),
        }
    }
    let ranked = |mut rows: Vec<(Decimal, Moved)>| -> Vec<Moved> {
        rows.sort_by(|(a, x), (b, y)| b.abs().cmp(&a.abs()).then(x.handle.cmp(&y.handle)));
        rows.into_iter().map(|(_, change)| change).collect()
    };
    (ranked(appeared), ranked(gone), ranked(changed), unchanged)
}

fn workloads(before: &ReportData, after: &ReportData) -> Vec<Row> {
    let name = |row: &WorkloadRow| {
        format!(
            "{}/{}/{}/{}",
            row.cluster, row.namespace, row.kind, row.name
        )
    };
    let mut all: BTreeMap<String, [Option<Decimal>; 2]> = BTreeMap::new();
    for (index, data) in [before, after].into_iter().enumerate() {
        for row in &data.workloads {
            // One without a price cannot be said to have moved.
            let cost = row.cost_usd.map(|cost| daily(cost, data));
            all.entry(name(row)).or_insert([Some(Decimal::ZERO); 2])[index] = cost;
        }
    }
    let mut moved: Vec<(Decimal, Row)> = all
        .into_iter()
        .filter_map(|(name, [one, two])| {
            let (one, two) = (one?, two?);
            let row = amounts(&name, one, two);
            ((two - one).abs() >= Decimal::ONE).then(|| ((two - one).abs(), row))
        })
        .collect();
    moved.sort_by(|(a, x), (b, y)| b.cmp(a).then(x.name.cmp(&y.name)));
    moved.truncate(WORKLOADS_SHOWN);
    moved.into_iter().map(|(_, row)| row).collect()
}

#[cfg(test)]
mod tests;
