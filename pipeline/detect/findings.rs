//! Owns what a finding is: its identity, sentence, dollars, recommendation and stored rows.
//!
//! Quantities come from a detector's row, worth from `netting`; nothing is queried here. Called by
//! `runner`, and by `cli` for the rows to stage.

mod batches;
mod judge;
mod recommendation;
mod row;

use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::json;

use super::DetectError;
use super::accepted::{Acceptance, Subject, accepted};
use super::netting::bootstrap::{DayWorth, Quantiles, Spread, quantiles};
use super::netting::{ClaimFault, Worth, monthly};
use super::query::Detector;
use super::realisable::Realised;
use crate::model::canonical::{sha256_hex, to_canonical};
use crate::model::time::{DAY_MS, HOUR_MS, format_ms};

pub use batches::{RunRows, run_rows};
pub(super) use recommendation::answers_json;
pub use recommendation::{Answer, Observed, PlannedChange, PlannedTarget, Recommendation};
pub use row::{FoundRow, Remedy, found_rows};

/// What existed for less has window dollars and no monthly ones (design §9).
const MIN_EXISTED_MS: i64 = 3 * DAY_MS;
/// Decimals of stored money.
const USD_SCALE: u32 = 6;

/// One row of the table `findings`, with what it is made of. Money is exact until it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    pub finding_id: String,
    pub handle: String,
    pub detector: String,
    pub detector_version: String,
    pub detector_order: i64,
    pub title: String,
    /// `ok | alarm | undetermined | skip`.
    pub status: String,
    /// `open`, `accepted`, or `gone` when the subject did not exist at the window's end.
    pub state: &'static str,
    pub cluster: String,
    pub namespace: String,
    pub workload_kind: String,
    pub workload_name: String,
    pub model: Option<String>,
    pub gpu_product: Option<String>,
    pub team: Option<String>,
    pub window_start_ms: i64,
    pub window_end_ms: i64,
    pub first_seen_ms: i64,
    pub coverage: Option<f64>,
    /// GPU-milliseconds that the finding takes, after earlier findings took theirs.
    pub waste_gpu_ms: i64,
    pub ms_added: i64,
    /// What the claims would be worth if no earlier detector had claimed anything.
    pub gross_window_usd: Option<Decimal>,
    pub net_window_usd: Option<Decimal>,
    pub gross_monthly_usd: Option<Decimal>,
    pub net_monthly_usd: Option<Decimal>,
    pub net_p10_usd: Option<Decimal>,
    pub net_p90_usd: Option<Decimal>,
    /// By how much earlier outcomes widened or narrowed the two, in percent.
    pub band_percent: i64,
    /// The middle of the same draws; the net itself is their mean.
    pub net_p50_usd: Option<Decimal>,
    /// What the report ranks by: the net, discounted for doubt and disturbance. It is no money.
    pub priority_usd: Option<Decimal>,
    /// What the bill drops once nodes can go, after all findings before this one; less than zero
    /// where the node that is added costs more than what goes.
    pub realisable_monthly_usd: Option<Decimal>,
    /// The kinds and rungs of the prices used.
    pub price_basis: String,
    pub confidence: String,
    /// Why it is no surer, by name; empty where it is high.
    pub confidence_because: Vec<String>,
    /// Who accepted it as waste, until when and why.
    pub accepted: Option<String>,
    pub remedy: String,
    pub recommendation: Option<Recommendation>,
    pub reason: String,
    /// Name and text, in the detector's order.
    pub evidence: Vec<(String, String)>,
    /// SHA-256 of the run's evidence manifest; empty until that is made.
    pub evidence_digest: String,
}

/// A detector's row, with the worth of its claims after and without earlier ones.
#[derive(Debug)]
pub(super) struct Valued<'a> {
    pub detector: &'a Detector,
    pub row: FoundRow,
    /// `None` where the detector claims nothing.
    pub net: Option<Worth>,
    pub gross: Option<Worth>,
    /// What is claimed after earlier findings, by day; `None` where a price is unknown.
    pub days: Option<Vec<DayWorth>>,
    /// The cost of what is shown and not claimed, with the price used.
    pub shown_usd: Option<(Decimal, String)>,
    pub first_seen_ms: Option<i64>,
    pub assumes: Vec<String>,
    /// What the bill drops over the window; `None` where nothing was claimed or it is not known.
    pub realised: Option<Realised>,
    pub acceptances: &'a [Acceptance],
    pub band_percent: i64,
}

impl Valued<'_> {
    /// Whether the finding's claims bring nothing, so that it is withdrawn.
    pub(super) fn is_withdrawn(&self) -> bool {
        self.row.status == "alarm"
            && self
                .net
                .as_ref()
                .and_then(Worth::net_usd)
                .is_some_and(|net| net <= Decimal::ZERO)
    }
}

/// The stable identity of a finding: first 16 hexadecimal digits.
#[must_use]
pub fn finding_id(detector: &str, major_version: &str, grain: &[String]) -> String {
    let mut text = format!("{detector}\n{major_version}");
    for value in grain {
        text.push('\n');
        text.push_str(value);
    }
    short_hash(&text)
}

fn short_hash(text: &str) -> String {
    sha256_hex(text.as_bytes()).chars().take(16).collect()
}

/// Money as it is stored: six decimals, halves away from zero.
#[must_use]
pub fn stored_usd(usd: Decimal) -> Decimal {
    usd.round_dp_with_strategy(USD_SCALE, RoundingStrategy::MidpointAwayFromZero)
}

impl Finding {
    pub(super) fn new(valued: Valued<'_>) -> Result<Self, DetectError> {
        let withdrawn = valued.is_withdrawn();
        let Valued {
            detector,
            row,
            net,
            gross,
            days,
            shown_usd,
            first_seen_ms,
            assumes,
            realised,
            acceptances,
            band_percent,
        } = valued;
        let id = finding_id(&detector.id, detector.major_version(), &row.grain);
        let overflow = || DetectError::Claims {
            detector: detector.id.clone(),
            cause: ClaimFault::Overflow,
        };
        let alarm = row.status == "alarm" && !withdrawn;
        let worth = if alarm { net } else { None };
        let gross = if row.status == "alarm" { gross } else { None };
        let net_window = worth.as_ref().and_then(Worth::net_usd);
        let gross_window = gross.as_ref().and_then(Worth::net_usd);
        let per_month = |window: Option<Decimal>| -> Result<Option<Decimal>, DetectError> {
            match window {
                None => Ok(None),
                Some(_) if !row.alive => Ok(Some(Decimal::ZERO)),
                Some(_) if row.existed_ms < MIN_EXISTED_MS => Ok(None),
                Some(usd) => monthly(usd, row.existed_ms).map(Some).ok_or_else(overflow),
            }
        };
        let (net_monthly, gross_monthly) = (per_month(net_window)?, per_month(gross_window)?);
        let realised = realised.filter(|_| alarm);
        let realisable_monthly = per_month(realised.as_ref().and_then(|realised| realised.usd))?;
        let realisable_after = realised
            .filter(|realised| realised.committed)
            .map(|realised| {
                realised
                    .after_ms
                    .map_or_else(|| "the commitment ends".to_owned(), format_ms)
            });
        let price_band = worth.as_ref().map_or(0, |worth| worth.price_band_percent);
        let spread = Spread {
            price_band_percent: price_band,
            placement_band_percent: row.band_percent,
            coverage_ppm: row.coverage.map(ppm),
        };
        let drawn = net_window
            .and(days.as_deref())
            .map(|days| quantiles(days, row.existed_ms, spread, &id).ok_or_else(overflow))
            .transpose()?;
        let at = |pick: fn(&Quantiles) -> Decimal| per_month(drawn.as_ref().map(pick));
        let (net_p10, net_p50, net_p90) = (at(|q| q.p10)?, at(|q| q.p50)?, at(|q| q.p90)?);
        let banded = |edge: Option<Decimal>| match (net_monthly, edge) {
            (Some(middle), Some(edge)) => judge::scaled(middle, edge, band_percent)
                .map(Some)
                .ok_or_else(overflow),
            _ => Ok(edge),
        };
        let (net_p10, net_p90) = (banded(net_p10)?, banded(net_p90)?);
        let sure = judge::confidence(&judge::Grounds {
            detector: &row.confidence,
            coverage: row.coverage,
            existed_ms: row.existed_ms,
            price_band_percent: price_band,
            placement_band_percent: if worth.as_ref().is_some_and(|worth| worth.ms_added > 0) {
                row.band_percent
            } else {
                0
            },
        });
        let money = Money {
            net_window,
            net_monthly,
        };
        let title = if alarm {
            row.alarm_title(worth.as_ref(), &money)
        } else {
            row.quiet_title(withdrawn)
        };
        let reason = if withdrawn {
            format!(
                "{} Withdrawn: what earlier findings leave of it brings a net saving of no more than zero (net \u{2264} 0).",
                row.reason
            )
        } else {
            match realisable_monthly.filter(|usd| *usd < Decimal::ZERO) {
                // Addressable is not realisable: an approver must read it before any number.
                Some(usd) => format!(
                    "{} By itself it makes the bill grow by {} a month: what it adds is sold in whole nodes, and what it frees lets no node go.",
                    row.reason,
                    dollars(-usd)
                ),
                None => row.reason.clone(),
            }
        };
        let handle = format!("{}/{}", detector.id, row.grain.join("/"));
        let subject = Subject {
            finding_id: &id,
            handle: &handle,
            detector: &detector.id,
            cluster: &row.cluster,
            namespace: &row.namespace,
            workload: &row.workload_name,
        };
        let signed = accepted(acceptances, &subject, row.window_end_ms)
            .filter(|_| alarm && row.alive)
            .map(Acceptance::sentence);
        let mut evidence = row.evidence;
        if let Some(until) = realisable_after {
            evidence.push(("realisable_after".to_owned(), until));
        }
        if let Some((usd, basis)) = shown_usd.filter(|_| alarm) {
            evidence.push(("cost_usd_not_claimed".to_owned(), two_decimals(usd)));
            evidence.push(("cost_price".to_owned(), basis));
        }
        let recommendation = row
            .remedy
            .as_ref()
            .filter(|_| alarm && row.alive && signed.is_none())
            .map(|wish| Recommendation::new(&id, wish, assumes, gross_monthly));
        Ok(Self {
            handle,
            detector: detector.id.clone(),
            detector_version: detector.version.clone(),
            detector_order: detector.order,
            title,
            status: if withdrawn {
                "ok".to_owned()
            } else {
                row.status
            },
            state: match (&signed, row.alive) {
                (_, false) => "gone",
                (Some(_), true) => "accepted",
                (None, true) => "open",
            },
            cluster: row.cluster,
            namespace: row.namespace,
            workload_kind: row.workload_kind,
            workload_name: row.workload_name,
            model: row.model,
            gpu_product: row.gpu_product,
            team: row.team,
            window_start_ms: row.window_start_ms,
            window_end_ms: row.window_end_ms,
            first_seen_ms: first_seen_ms.unwrap_or(row.window_end_ms),
            coverage: row.coverage,
            waste_gpu_ms: worth.as_ref().map_or(0, |worth| worth.ms_freed),
            ms_added: worth.as_ref().map_or(0, |worth| worth.ms_added),
            gross_window_usd: gross_window,
            net_window_usd: net_window,
            gross_monthly_usd: gross_monthly,
            net_monthly_usd: net_monthly,
            net_p10_usd: net_p10,
            net_p90_usd: net_p90,
            band_percent,
            net_p50_usd: net_p50,
            priority_usd: judge::priority(
                net_monthly,
                sure.level,
                recommendation.as_ref().map(|r| r.risk.as_str()),
            ),
            realisable_monthly_usd: realisable_monthly,
            price_basis: worth.map_or_else(|| "none".to_owned(), |worth| worth.basis),
            confidence: if alarm {
                sure.level.to_owned()
            } else {
                row.confidence
            },
            confidence_because: if alarm { sure.because } else { Vec::new() },
            accepted: signed,
            remedy: if alarm {
                row.remedy_text
            } else {
                String::new()
            },
            recommendation,
            reason,
            evidence,
            evidence_digest: String::new(),
            finding_id: id,
        })
    }

    /// The evidence as canonical JSON: pairs of name and text, in order.
    pub fn evidence_json(&self) -> Result<String, DetectError> {
        Ok(to_canonical(&json!(self.evidence))?)
    }

    /// The finding's bytes: what `explain` must reproduce.
    pub fn canonical(&self) -> Result<String, DetectError> {
        let mut recommendation = self.recommendation_value()?;
        if let (Some(value), Some(sha256)) = (&mut recommendation, self.recommendation_sha256()?) {
            value["sha256"] = sha256.into();
        }
        let mut value = json!({
            "finding_id": self.finding_id,
            "handle": self.handle,
            "detector": self.detector,
            "detector_version": self.detector_version,
            "detector_order": self.detector_order,
            "title": self.title,
            "status": self.status,
            "state": self.state,
            "cluster": self.cluster,
            "namespace": self.namespace,
            "workload_kind": self.workload_kind,
            "workload_name": self.workload_name,
            "model": self.model,
            "gpu_product": self.gpu_product,
            "team": self.team,
            "window_start_ms": self.window_start_ms,
            "window_end_ms": self.window_end_ms,
            "first_seen_ms": self.first_seen_ms,
            "coverage": self.coverage.map(|share| share.to_string()),
            "waste_gpu_ms": self.waste_gpu_ms,
            "ms_added": self.ms_added,
            "gross_window_usd": usd_text(self.gross_window_usd),
            "net_window_usd": usd_text(self.net_window_usd),
            "gross_monthly_usd": usd_text(self.gross_monthly_usd),
            "net_monthly_usd": usd_text(self.net_monthly_usd),
            "net_p10_usd": usd_text(self.net_p10_usd),
            "net_p50_usd": usd_text(self.net_p50_usd),
            "net_p90_usd": usd_text(self.net_p90_usd),
            "priority_usd": usd_text(self.priority_usd),
            "realisable_monthly_usd": usd_text(self.realisable_monthly_usd),
            "price_basis": self.price_basis,
            "confidence": self.confidence,
            "confidence_because": self.confidence_because,
            "accepted": self.accepted,
            "remedy": self.remedy,
            "recommendation": recommendation,
            "reason": self.reason,
            "evidence": self.evidence,
            "evidence_digest": self.evidence_digest,
        });
        if self.band_percent != 100 {
            value["band_percent"] = self.band_percent.into();
        }
        Ok(to_canonical(&value)?)
    }
}

/// Money as text, with all six stored decimals.
fn usd_text(usd: Option<Decimal>) -> Option<String> {
    usd.map(|usd| {
        let mut usd = stored_usd(usd);
        usd.rescale(USD_SCALE);
        usd.to_string()
    })
}

/// A share in millionths.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a share is between 0 and 1"
)]
fn ppm(share: f64) -> i64 {
    (share * 1_000_000.0).round() as i64
}

/// Dollars and cents.
fn two_decimals(usd: Decimal) -> String {
    let mut usd = usd.round_dp_with_strategy(2, RoundingStrategy::MidpointAwayFromZero);
    usd.rescale(2);
    usd.to_string()
}

struct Money {
    net_window: Option<Decimal>,
    net_monthly: Option<Decimal>,
}

impl FoundRow {
    fn alarm_title(&self, worth: Option<&Worth>, money: &Money) -> String {
        let headline = &self.headline;
        let because = self.because.as_deref().unwrap_or(&self.reason);
        let Some(worth) = worth else {
            return format!("{headline}: {because}");
        };
        match (money.net_monthly, money.net_window) {
            (_, Some(window)) if !self.alive => {
                let usd = dollars(window);
                format!("{headline} cost {usd} more than it should before it went: {because}")
            }
            (Some(month), _) => {
                let usd = dollars(month);
                format!("{headline} costs {usd}/month more than it should: {because}")
            }
            (None, Some(window)) => {
                let (usd, hours) = (dollars(window), tenths(self.existed_ms));
                format!("{headline} cost {usd} more than it should in {hours} hours: {because}")
            }
            (None, None) => {
                let hours = tenths(worth.ms_freed);
                format!("{headline} wastes {hours} GPU-hours of unknown price: {because}")
            }
        }
    }

    /// `because` speaks for an alarm; what is none has its reason.
    fn quiet_title(&self, withdrawn: bool) -> String {
        let headline = &self.headline;
        match &self.because {
            _ if withdrawn => format!("{headline}: earlier findings leave no net saving"),
            _ if !self.reason.is_empty() => format!("{headline}: {}", self.reason),
            Some(because) => format!("{headline}: {because}"),
            None => headline.clone(),
        }
    }
}

/// Hours with one decimal.
fn tenths(ms: i64) -> String {
    let tenths = (ms + HOUR_MS / 20) / (HOUR_MS / 10);
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// Whole dollars with separators: `$9,100`; `less than $1` where that is so.
fn dollars(usd: Decimal) -> String {
    let whole = usd.round_dp_with_strategy(0, RoundingStrategy::MidpointAwayFromZero);
    if whole < Decimal::ONE {
        return "less than $1".to_owned();
    }
    let digits = whole.trunc().to_string();
    let mut out = String::from("$");
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests;
