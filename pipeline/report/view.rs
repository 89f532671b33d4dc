//! Owns the view model: what the run found, turned into the text that both renderings show.
//!
//! Every number in HTML and Markdown comes from here, already formatted, so the two cannot differ.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::Serialize;

use super::chart::{DayBar, day_bars};
use super::data::{
    BlindCost, BlindSpot, ClassTotal, FindingData, RecommendationData, ReportData, WorkloadRow,
};
use super::format::{gpu_hours, per_mille, percent, usd};
use super::funnel::{DecidedData, FunnelView};
use super::governance::GovernanceView;
use super::limits::{LIMITS, Limits};
use super::returns::ReturnsView;
use super::sections::Sections;
use crate::model::time::{MONTH_HOURS, format_ms};

/// What templates see: text and small integers only.
#[derive(Debug, Clone, Serialize)]
pub struct ReportView {
    pub run_id: String,
    pub publication: u64,
    pub code_version: String,
    pub window_start: String,
    pub window_end: String,
    /// Both as they are shown, with what the days are.
    pub window: String,
    pub created: String,
    pub days: usize,
    /// What a reader must know before anything else: set by the caller where the report was asked for a
    /// week of which this publication has a part.
    pub notes: Vec<String>,
    pub price_basis: String,
    pub clusters: Vec<String>,
    pub gpus: u64,
    pub headline: Headline,
    pub ledger: Vec<LedgerLine>,
    pub ledger_total: LedgerLine,
    pub capacity_gpu_hours: String,
    pub ledger_balances: bool,
    pub chart: Vec<DayBar>,
    pub findings: Vec<FindingView>,
    /// Waste that somebody accepted for now: shown, and in no sum of what is avoidable.
    pub accepted: Vec<FindingView>,
    pub accepted_window: String,
    pub undetermined: Vec<FindingView>,
    pub workloads: Vec<WorkloadView>,
    pub blind_spots: Vec<BlindSpot>,
    pub blindness: Vec<BlindCost>,
    pub prices: Vec<PriceView>,
    pub sections: Sections,
    pub returns: ReturnsView,
    pub funnel: FunnelView,
    pub digests: BTreeMap<String, String>,
    pub limits: Limits,
    /// Files beside the page → SHA-256; set by the caller, who writes them.
    pub siblings: BTreeMap<String, String>,
    /// What people decided, and the audit log; set by the caller, who reads the log.
    pub governance: Option<GovernanceView>,
}

/// The first lines that a reader sees.
#[derive(Debug, Clone, Serialize)]
pub struct Headline {
    pub fleet_cost: String,
    pub fleet_monthly: String,
    pub avoidable_window: String,
    pub avoidable_monthly: String,
    pub avoidable_share: String,
    /// What the bill drops by once whole nodes can go, of findings that could be packed.
    pub realisable_monthly: Option<String>,
    pub unknown_share: String,
    pub unpriced_gpu_hours: Option<String>,
    pub alarms: usize,
}

/// One line of the ledger table.
#[derive(Debug, Clone, Serialize)]
pub struct LedgerLine {
    pub class: String,
    pub meaning: &'static str,
    pub gpu_hours: String,
    pub share: String,
    pub share_per_mille: i64,
    pub cost: String,
}

/// One finding, ready to print.
#[derive(Debug, Clone, Serialize)]
pub struct FindingView {
    pub rank: usize,
    pub id: String,
    pub handle: String,
    pub detector: String,
    pub title: String,
    pub reason: String,
    pub confidence: String,
    pub confidence_because: Vec<String>,
    pub accepted: Option<String>,
    /// Whether it claims seconds of the ledger; what does not adds no dollars.
    pub claims: bool,
    pub coverage: String,
    pub gpu_hours: String,
    pub gross_window: String,
    pub net_window: String,
    pub net_monthly: String,
    pub range: Option<String>,
    pub realisable: Option<String>,
    pub price_basis: String,
    pub remedy: String,
    pub evidence: Vec<(String, String)>,
    pub recommendation: Option<RecommendationData>,
}

/// One workload, ready to print.
#[derive(Debug, Clone, Serialize)]
pub struct WorkloadView {
    pub cluster: String,
    pub namespace: String,
    pub workload: String,
    pub model: String,
    pub gpu_product: String,
    pub team: String,
    pub gpu_hours: String,
    pub serving: String,
    pub lull: String,
    pub dark: String,
    pub unknown: String,
    pub other: String,
    pub cost: String,
}

/// One price, ready to print.
#[derive(Debug, Clone, Serialize)]
pub struct PriceView {
    pub key: String,
    pub price: String,
    pub rung: String,
    pub provenance: String,
}

/// The classes in the order in which a reader wants them, with what each means.
pub(super) const CLASSES: &[(&str, &str)] = &[
    ("productive", "serving, and demand needs it"),
    ("serving", "serving; no verdict could judge the need"),
    ("non_serving", "training, batch, notebooks"),
    ("standby", "quiet, and declared so"),
    (
        "lull",
        "quiet for half an hour to six: how services breathe",
    ),
    (
        "surplus",
        "serving or quiet replicas that demand did not need",
    ),
    ("misplaced", "serving on a dearer tier than demand needs"),
    ("starved", "work waiting while the CPU holds the GPU back"),
    ("dark", "no work for six hours and more"),
    ("pending", "held by a pod that does not serve yet"),
    ("unallocated", "paid for, held by nobody"),
    ("unavailable", "node or GPU lost or under repair"),
    (
        "unknown",
        "telemetry missing or contradictory: never counted as waste",
    ),
];

const WASTE: &[&str] = &["surplus", "misplaced", "starved", "dark", "unallocated"];

impl ReportView {
    /// Builds the view; findings come out ranked by what they save against what they disturb. `decided`
    /// is what the audit log says of findings, `None` where it was not read.
    #[must_use]
    pub fn new(data: &ReportData, decided: Option<&[DecidedData]>) -> Self {
        let total_ms: i64 = data.classes.iter().map(|class| class.ms).sum();
        let unpriced_ms: i64 = data.classes.iter().map(|class| class.unpriced_ms).sum();
        let unknown_ms: i64 = data
            .classes
            .iter()
            .filter(|c| c.class == "unknown")
            .map(|c| c.ms)
            .sum();
        let total_usd: Decimal = data.classes.iter().filter_map(|class| class.cost_usd).sum();
        let window_hours = Decimal::from(
            (data.window.end_ms - data.window.start_ms) / crate::model::time::HOUR_MS,
        );
        let monthly = |usd: Decimal| {
            if window_hours.is_zero() {
                usd
            } else {
                usd * Decimal::from(MONTH_HOURS) / window_hours
            }
        };
        let (accepted, alarms): (Vec<&FindingData>, Vec<&FindingData>) = ranked(data, "alarm")
            .into_iter()
            .partition(|finding| finding.accepted.is_some());
        let accepted_usd: Decimal = accepted.iter().filter_map(|f| f.net_window_usd).sum();
        let avoidable: Decimal = alarms.iter().filter_map(|f| f.net_window_usd).sum();
        let avoidable_monthly: Decimal = alarms.iter().filter_map(|f| f.net_monthly_usd).sum();
        let packed = alarms.iter().filter_map(|f| f.realisable_monthly_usd);
        let realisable_monthly = packed.reduce(|sum, one| sum + one).map(usd);
        Self {
            run_id: data.run_id.clone(),
            publication: data.publication,
            code_version: data.code_version.clone(),
            window_start: format_ms(data.window.start_ms),
            window_end: format_ms(data.window.end_ms),
            window: shown_window(data),
            created: data.zone.instant(data.created_ms),
            days: data.window.days().count(),
            notes: Vec::new(),
            price_basis: data.price_basis.clone(),
            clusters: data.clusters.clone(),
            gpus: data.gpus,
            headline: Headline {
                fleet_cost: usd(total_usd),
                fleet_monthly: usd(monthly(total_usd)),
                avoidable_window: usd(avoidable),
                avoidable_monthly: usd(avoidable_monthly),
                avoidable_share: percent(avoidable, total_usd),
                realisable_monthly,
                unknown_share: percent(Decimal::from(unknown_ms), Decimal::from(total_ms)),
                unpriced_gpu_hours: (unpriced_ms > 0).then(|| gpu_hours(unpriced_ms)),
                alarms: alarms.len(),
            },
            ledger: ledger_lines(&data.classes, total_ms),
            ledger_total: LedgerLine {
                class: "all".to_owned(),
                meaning: "",
                gpu_hours: gpu_hours(total_ms),
                share: percent(Decimal::from(total_ms), Decimal::from(total_ms)),
                share_per_mille: 1000,
                cost: usd(total_usd),
            },
            capacity_gpu_hours: gpu_hours(data.capacity_ms),
            ledger_balances: total_ms == data.capacity_ms,
            chart: day_bars(&data.days),
            findings: views(&alarms),
            accepted: views(&accepted),
            accepted_window: usd(accepted_usd),
            undetermined: views(&ranked(data, "undetermined")),
            workloads: by_cost(&data.workloads)
                .into_iter()
                .map(workload_view)
                .collect(),
            blind_spots: data.blind_spots.clone(),
            blindness: data.blindness.clone(),
            prices: data
                .prices
                .iter()
                .map(|row| PriceView {
                    key: row.key.clone(),
                    price: row.usd_per_gpu_hour.map_or_else(
                        || "unknown".to_owned(),
                        |p| format!("${:.4}", p.round_dp(4)),
                    ),
                    rung: row.rung.clone(),
                    provenance: row.provenance.clone(),
                })
                .collect(),
            sections: Sections::new(&data.sections, data.window, data.zone),
            returns: ReturnsView::new(data, &alarms),
            funnel: FunnelView::new(&alarms, decided),
            digests: data.digests.clone(),
            limits: LIMITS,
            siblings: BTreeMap::new(),
            governance: None,
        }
    }
}

/// Its edges in the report's zone; whatever that is, its days are UTC days.
pub(super) fn shown_window(data: &ReportData) -> String {
    let days = data.window.days().count();
    let (from, to) = (data.window.start_ms, data.window.end_ms);
    let edges = format!("{} to {}", data.zone.instant(from), data.zone.instant(to));
    if data.zone.is_utc() {
        format!("{edges} (UTC, {days} days)")
    } else {
        format!("{edges} ({days} UTC days)")
    }
}

fn ranked<'a>(data: &'a ReportData, status: &str) -> Vec<&'a FindingData> {
    let mut findings: Vec<&FindingData> = data
        .findings
        .iter()
        .filter(|finding| finding.status == status)
        .collect();
    findings.sort_by(|a, b| {
        b.priority_usd
            .cmp(&a.priority_usd)
            .then(b.net_monthly_usd.cmp(&a.net_monthly_usd))
            .then(b.net_window_usd.cmp(&a.net_window_usd))
            .then(a.handle.cmp(&b.handle))
    });
    findings
}

/// The dearest first; what has no price last.
fn by_cost(rows: &[WorkloadRow]) -> Vec<&WorkloadRow> {
    let mut rows: Vec<&WorkloadRow> = rows.iter().collect();
    // Stable: rows come in the order of their key.
    rows.sort_by_key(|row| std::cmp::Reverse(row.cost_usd));
    rows
}

fn views(findings: &[&FindingData]) -> Vec<FindingView> {
    findings
        .iter()
        .enumerate()
        .map(|(index, finding)| finding_view(index + 1, finding))
        .collect()
}

fn finding_view(rank: usize, finding: &FindingData) -> FindingView {
    let claims = finding.price_basis != "none";
    let money = |amount: Option<Decimal>| {
        amount.map_or_else(
            || {
                if claims {
                    "price unknown"
                } else {
                    "not claimed"
                }
                .to_owned()
            },
            usd,
        )
    };
    FindingView {
        claims,
        rank,
        id: finding.id.clone(),
        handle: finding.handle.clone(),
        detector: finding.detector.clone(),
        title: finding.title.clone(),
        reason: finding.reason.clone(),
        confidence: finding.confidence.clone(),
        confidence_because: finding.confidence_because.clone(),
        accepted: finding.accepted.clone(),
        coverage: finding
            .coverage
            .map_or_else(|| "unknown".to_owned(), |c| percent(c, Decimal::ONE)),
        gpu_hours: gpu_hours(finding.waste_gpu_ms),
        gross_window: money(finding.gross_window_usd),
        net_window: money(finding.net_window_usd),
        net_monthly: money(finding.net_monthly_usd),
        range: finding
            .net_p10_usd
            .zip(finding.net_p90_usd)
            .filter(|(low, high)| low != high)
            .map(|(low, high)| format!("{} to {}", usd(low), usd(high))),
        realisable: finding.realisable_monthly_usd.map(usd),
        price_basis: finding.price_basis.clone(),
        remedy: finding.remedy.clone(),
        evidence: finding.evidence.clone(),
        recommendation: finding.recommendation.clone(),
    }
}

fn ledger_lines(classes: &[ClassTotal], total_ms: i64) -> Vec<LedgerLine> {
    let order = |class: &str| CLASSES.iter().position(|(name, _)| *name == class);
    let mut classes: Vec<&ClassTotal> = classes.iter().filter(|class| class.ms > 0).collect();
    classes.sort_by_key(|class| {
        (
            order(&class.class).unwrap_or(usize::MAX),
            class.class.clone(),
        )
    });
    classes
        .into_iter()
        .map(|class| LedgerLine {
            meaning: order(&class.class).map_or("", |index| CLASSES[index].1),
            gpu_hours: gpu_hours(class.ms),
            share: percent(Decimal::from(class.ms), Decimal::from(total_ms)),
            share_per_mille: per_mille(class.ms, total_ms),
            cost: class
                .cost_usd
                .map_or_else(|| "price unknown".to_owned(), usd),
            class: class.class.clone(),
        })
        .collect()
}

fn workload_view(row: &WorkloadRow) -> WorkloadView {
    let of = |classes: &[&str]| -> i64 {
        classes
            .iter()
            .filter_map(|class| row.ms_by_class.get(*class))
            .sum()
    };
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "–".to_owned());
    let total: i64 = row.ms_by_class.values().sum();
    let serving = of(&["serving", "productive", "surplus", "misplaced"]);
    let (lull, dark, unknown) = (of(&["lull"]), of(&["dark"]), of(&["unknown"]));
    WorkloadView {
        cluster: row.cluster.clone(),
        namespace: row.namespace.clone(),
        workload: format!("{}/{}", row.kind, row.name),
        model: text(&row.model),
        gpu_product: text(&row.gpu_product),
        team: text(&row.team),
        gpu_hours: gpu_hours(total),
        serving: gpu_hours(serving),
        lull: gpu_hours(lull),
        dark: gpu_hours(dark),
        unknown: gpu_hours(unknown),
        other: gpu_hours(total - serving - lull - dark - unknown),
        cost: row.cost_usd.map_or_else(|| "price unknown".to_owned(), usd),
    }
}

/// Whether a class counts as avoidable in charts.
pub(super) fn is_waste(class: &str) -> bool {
    WASTE.contains(&class)
}
