//! Owns what a gate says of a change, as plain data: a row a workload with both sides, verdicts, dollars and
//! findings, the sums over all rows, and what of it ends a pipeline.

use rust_decimal::Decimal;
use serde::Serialize;

use super::effect::FindingEffect;

/// Whether the weights, the context and the parallelism have room on a replica's GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    Fits,
    DoesNotFit,
    Unknown,
}

/// Whether the SLO holds; the order is from good to bad, unknown last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Feasible,
    Borderline,
    Infeasible,
    Unknown,
}

impl Fit {
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fits => "fits",
            Self::DoesNotFit => "does not fit",
            Self::Unknown => "unknown",
        }
    }
}

impl Verdict {
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Feasible => "feasible",
            Self::Borderline => "borderline",
            Self::Infeasible => "infeasible",
            Self::Unknown => "unknown",
        }
    }

    /// What two judges say together: a no of either is a no, and what either does not know is not known.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Infeasible, _) | (_, Self::Infeasible) => Self::Infeasible,
            (one, other) => one.max(other),
        }
    }
}

/// A workload on one side of the change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Side {
    pub replicas: Option<i64>,
    pub min_replicas: Option<i64>,
    pub max_replicas: Option<i64>,
    pub scaler: Option<String>,
    /// What the scaler's spec is, as a replay names it.
    pub scaling: Option<String>,
    pub model: Option<String>,
    pub quantisation: Option<String>,
    pub gpu_product: Option<String>,
    /// Thousandths of GPUs of one replica.
    pub gpu_milli_per_replica: i64,
    pub tensor_parallel: Option<i64>,
    pub pipeline_parallel: Option<i64>,
    pub max_model_len: Option<i64>,
    pub max_num_seqs: Option<i64>,
    pub replicas_at_peak: Option<i64>,
    pub ttft_p95_ms: Option<i64>,
    pub itl_p95_ms: Option<i64>,
    /// Of a month of 730 hours; from a replay, or from a fixed count.
    pub gpu_hours_month: Option<Decimal>,
    pub usd_month: Option<Decimal>,
    /// Hundredths of a percent of the requests of the replay that came too late or were not served.
    pub late_basis_points: Option<i64>,
    pub slo_minutes_missed: Option<i64>,
}

/// A verdict with the sentence that carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Judged<V> {
    pub verdict: V,
    pub why: String,
}

impl<V> Judged<V> {
    pub fn new(verdict: V, why: impl Into<String>) -> Self {
        Self {
            verdict,
            why: why.into(),
        }
    }
}

/// Dollars a month: after less before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub usd_month: Decimal,
    pub p10_usd_month: Decimal,
    pub p90_usd_month: Decimal,
}

/// What a workload becomes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    pub cluster: String,
    pub namespace: String,
    pub workload_kind: String,
    pub workload_name: String,
    /// `added`, `removed`, `changed`.
    pub change: &'static str,
    /// The changed objects that it is made of or scaled by.
    pub objects: Vec<String>,
    pub file: String,
    pub line: usize,
    /// Whether the lake has seen it serve.
    pub has_history: bool,
    pub before: Option<Side>,
    pub after: Option<Side>,
    /// Fields that differ, as `field: before → after`.
    pub fields: Vec<String>,
    pub fit: Judged<Fit>,
    pub slo: Judged<Verdict>,
    /// What the SLO's verdict was before the change, where that is known.
    pub slo_before: Verdict,
    pub fit_before: Fit,
    pub difference: Option<Difference>,
    /// What the dollars are made of.
    pub dollars_from: String,
    pub price_rung: Option<String>,
    pub price_band_percent: Option<i64>,
    pub findings: Vec<FindingEffect>,
    pub notes: Vec<String>,
}

impl Row {
    /// `namespace/name`.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{}/{}", self.namespace, self.workload_name)
    }

    /// Whether the change takes something that held, or was not there, below its limits.
    #[must_use]
    pub fn adds_infeasible(&self) -> bool {
        let fit = self.fit.verdict == Fit::DoesNotFit && self.fit_before != Fit::DoesNotFit;
        let slo = self.slo.verdict == Verdict::Infeasible && self.slo_before != Verdict::Infeasible;
        fit || slo
    }
}

/// All that a gate says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub cluster: String,
    pub publication: u64,
    pub from: String,
    pub to: String,
    pub rows: Vec<Row>,
    /// Changed objects that are no workload and scale none, as `word kind/namespace/name`.
    pub others: Vec<String>,
    /// Changed custom resources of kinds that the inventory does not read, in the same words.
    pub unread: Vec<String>,
    pub notes: Vec<String>,
    pub totals: Totals,
}

/// Sums over all rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Of rows whose dollars are known.
    pub usd_month: Decimal,
    pub p10_usd_month: Decimal,
    pub p90_usd_month: Decimal,
    /// Rows of which no dollars are known.
    pub without_dollars: usize,
    /// Dollars a month of findings that the change opens or makes larger.
    pub findings_added_usd_month: Decimal,
    pub findings_opened: usize,
    pub findings_closed: usize,
    /// Rows that no longer fit or no longer hold their SLO, by this change.
    pub infeasible: usize,
    pub unknown: usize,
}

/// What ends a pipeline with a code of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailOn {
    /// Findings that the change opens or makes larger: any, or those whose dollars together reach this.
    Findings { usd: i64 },
    /// A row that no longer fits or no longer holds its SLO.
    Infeasible,
}

impl Totals {
    #[must_use]
    pub fn of(rows: &[Row]) -> Self {
        let mut sums = Self::default();
        for row in rows {
            match &row.difference {
                Some(difference) => {
                    sums.usd_month += difference.usd_month;
                    sums.p10_usd_month += difference.p10_usd_month;
                    sums.p90_usd_month += difference.p90_usd_month;
                }
                None => sums.without_dollars += 1,
            }
            for finding in &row.findings {
                sums.findings_added_usd_month += finding.added_usd_month.unwrap_or_default();
                sums.findings_opened += usize::from(finding.adds());
                sums.findings_closed += usize::from(finding.effect == "closes");
            }
            sums.infeasible += usize::from(row.adds_infeasible());
            sums.unknown += usize::from(
                row.change != "removed"
                    && (row.slo.verdict == Verdict::Unknown || row.fit.verdict == Fit::Unknown),
            );
        }
        sums
    }

    /// Whether a policy holds, so that the pipeline ends.
    #[must_use]
    pub fn fails(&self, on: FailOn) -> bool {
        match on {
            FailOn::Infeasible => self.infeasible > 0,
            FailOn::Findings { usd: 0 } => self.findings_opened > 0,
            FailOn::Findings { usd } => self.findings_added_usd_month >= Decimal::from(usd),
        }
    }
}

impl Report {
    /// The whole change in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let count = |n: usize, one: &str, many: &str| match n {
            1 => format!("1 {one}"),
            n => format!("{n} {many}"),
        };
        if self.rows.is_empty() && !self.unread.is_empty() {
            return format!(
                "No change to what is read: {} changed, {} of them of kinds that idleproof does not read and cannot judge.",
                count(self.others.len() + self.unread.len(), "object", "objects"),
                self.unread.len()
            );
        }
        if self.rows.is_empty() && self.others.is_empty() {
            return "No change to what serves: both sides hold the same objects.".to_owned();
        }
        if self.rows.is_empty() {
            return format!(
                "No change to what serves: {} changed, none of them a workload with GPUs or its scaler.",
                count(self.others.len(), "object", "objects")
            );
        }
        let totals = &self.totals;
        let mut parts = vec![count(
            self.rows.len(),
            "workload changes",
            "workloads change",
        )];
        let known = self.rows.len() - totals.without_dollars;
        if known > 0 {
            parts.push(format!(
                "{} a month ({} to {}){}",
                signed(totals.usd_month),
                signed(totals.p10_usd_month),
                signed(totals.p90_usd_month),
                if totals.without_dollars > 0 {
                    format!(" for {known} of them, the rest without dollars")
                } else {
                    String::new()
                }
            ));
        } else {
            parts.push("no dollars are known".to_owned());
        }
        if totals.infeasible > 0 {
            parts.push(format!(
                "{} would no longer fit or hold the SLO",
                totals.infeasible
            ));
        }
        if totals.findings_opened > 0 {
            parts.push(format!(
                "{} opened or larger ({} a month)",
                count(totals.findings_opened, "finding", "findings"),
                signed(totals.findings_added_usd_month)
            ));
        }
        if totals.findings_closed > 0 {
            parts.push(count(
                totals.findings_closed,
                "finding closed",
                "findings closed",
            ));
        }
        if totals.unknown > 0 {
            parts.push(format!("{} not judged in full", totals.unknown));
        }
        format!("{}.", parts.join("; "))
    }
}

/// Whole dollars with their sign: cents of an estimate are noise to a reader.
#[must_use]
pub fn signed(usd: Decimal) -> String {
    let whole = usd.round();
    let digits = whole.abs().to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    match whole.cmp(&Decimal::ZERO) {
        std::cmp::Ordering::Less => format!("−${out}"),
        std::cmp::Ordering::Greater => format!("+${out}"),
        std::cmp::Ordering::Equal => "$0".to_owned(),
    }
}

/// Whole dollars without a sign.
#[must_use]
pub fn dollars(usd: Decimal) -> String {
    signed(usd).trim_start_matches('+').to_owned()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::gate) fn row(name: &str) -> Row {
        Row {
            cluster: "prod-a".to_owned(),
            namespace: "chat".to_owned(),
            workload_kind: "deployment.apps".to_owned(),
            workload_name: name.to_owned(),
            change: "changed",
            objects: vec![format!("deployment.apps/chat/{name}")],
            file: "chat/a b.yaml".to_owned(),
            line: 7,
            has_history: true,
            before: Some(Side {
                replicas: Some(4),
                gpu_product: Some("L4-24".to_owned()),
                gpu_milli_per_replica: 1000,
                usd_month: Some(Decimal::from(2400)),
                ..Side::default()
            }),
            after: Some(Side {
                replicas: Some(2),
                gpu_product: Some("L4-24".to_owned()),
                gpu_milli_per_replica: 1000,
                usd_month: Some(Decimal::from(1200)),
                ttft_p95_ms: Some(310),
                itl_p95_ms: Some(42),
                ..Side::default()
            }),
            fields: vec!["replicas: 4 → 2".to_owned()],
            fit: Judged::new(Fit::Fits, "it fits"),
            slo: Judged::new(Verdict::Feasible, "it holds"),
            slo_before: Verdict::Feasible,
            fit_before: Fit::Fits,
            difference: Some(Difference {
                usd_month: Decimal::from(-1200),
                p10_usd_month: Decimal::from(-1300),
                p90_usd_month: Decimal::from(-1100),
            }),
            dollars_from: "replays of both specs".to_owned(),
            price_rung: Some("catalogue".to_owned()),
            price_band_percent: Some(0),
            findings: vec![FindingEffect {
                effect: "closes",
                detector: "surplus-replicas".to_owned(),
                finding: "surplus-replicas/prod-a/chat/deployment.apps/a".to_owned(),
                finding_usd_month: Some(Decimal::from(1200)),
                added_usd_month: None,
                why: "nothing is left of it".to_owned(),
            }],
            notes: Vec::new(),
        }
    }

    pub(in crate::gate) fn report(rows: Vec<Row>) -> Report {
        Report {
            cluster: "prod-a".to_owned(),
            publication: 3,
            from: "2026-11-08".to_owned(),
            to: "2026-11-22".to_owned(),
            totals: Totals::of(&rows),
            rows,
            others: vec!["changed service/chat/a".to_owned()],
            unread: Vec::new(),
            notes: Vec::new(),
        }
    }

    #[test]
    fn only_what_the_change_adds_ends_a_pipeline() {
        let mut bad = row("a");
        bad.slo.verdict = Verdict::Infeasible;
        assert!(Totals::of(&[bad.clone()]).fails(FailOn::Infeasible));
        bad.slo_before = Verdict::Infeasible;
        assert!(!Totals::of(&[bad.clone()]).fails(FailOn::Infeasible));
        bad.fit.verdict = Fit::DoesNotFit;
        assert!(Totals::of(&[bad]).fails(FailOn::Infeasible));

        let mut more = row("b");
        assert!(!Totals::of(&[more.clone()]).fails(FailOn::Findings { usd: 0 }));
        more.findings[0].effect = "opens";
        more.findings[0].added_usd_month = Some(Decimal::from(999));
        let totals = Totals::of(&[more.clone()]);
        assert!(totals.fails(FailOn::Findings { usd: 0 }));
        assert!(!totals.fails(FailOn::Findings { usd: 1000 }));
        let mut other = row("c");
        other.findings[0].effect = "grows";
        other.findings[0].added_usd_month = Some(Decimal::from(1));
        assert!(Totals::of(&[more, other]).fails(FailOn::Findings { usd: 1000 }));
    }

    #[test]
    fn the_summary_says_what_there_is_and_what_is_not_known() {
        let text = report(vec![row("a")]).summary();
        assert_eq!(
            text,
            "1 workload changes; −$1,200 a month (−$1,300 to −$1,100); 1 finding closed."
        );
        let mut blind = row("b");
        blind.difference = None;
        blind.slo.verdict = Verdict::Unknown;
        let text = report(vec![row("a"), blind]).summary();
        assert!(text.contains("for 1 of them"), "{text}");
        assert!(text.contains("1 not judged in full"), "{text}");
        let none = report(Vec::new()).summary();
        assert!(
            none.starts_with("No change to what serves: 1 object"),
            "{none}"
        );
        let mut unread = report(Vec::new());
        unread.unread = vec!["added farm.acme.io/chat/x".to_owned()];
        let text = unread.summary();
        assert!(
            text.contains("2 objects changed, 1 of them of kinds"),
            "{text}"
        );
    }

    #[test]
    fn verdicts_add_up_to_the_worse_one() {
        use Verdict::{Borderline, Feasible, Infeasible, Unknown};
        assert_eq!(Feasible.and(Borderline), Borderline);
        assert_eq!(Unknown.and(Infeasible), Infeasible);
        assert_eq!(Feasible.and(Unknown), Unknown);
        assert_eq!(signed(Decimal::new(12_345_674, 1)), "+$1,234,567");
        assert_eq!(signed(Decimal::new(-4, 1)), "$0");
    }
}
