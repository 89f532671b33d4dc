//! Owns the sections on what was changed, on what the bill says beside the ledger, and on where the sources
//! contradict each other. Plain data in, final text out; `sections` asks it.

use rust_decimal::Decimal;
use serde::Serialize;

use super::super::format::usd;
use super::weeks::signed;
use crate::model::zone::Zone;

/// One change of scale.
#[derive(Debug, Clone)]
pub struct EventData {
    pub workload: String,
    pub seen_ms: i64,
    pub what: String,
    pub before: Option<String>,
    pub after: Option<String>,
    pub actor: Option<String>,
    pub gpu_milli_added: Option<i64>,
    pub cost_usd: Option<Decimal>,
}

/// The same, ready to print.
#[derive(Debug, Clone, Serialize)]
pub struct EventView {
    pub workload: String,
    pub seen: String,
    pub what: String,
    pub change: String,
    pub actor: String,
    pub gpus: String,
    pub cost: String,
}

/// One line of a bill beside what GPU time explains of it.
#[derive(Debug, Clone)]
pub struct BillData {
    pub bill: String,
    pub provider: String,
    pub sku: String,
    pub billed_usd: Decimal,
    pub matched_usd: Decimal,
    pub residual_usd: Decimal,
}

/// A bill, ready to print.
#[derive(Debug, Clone, Serialize)]
pub struct BillView {
    /// One sentence: how much of it the ledger explains.
    pub sentence: String,
    pub lines: Vec<BillLineView>,
}

/// One line of it.
#[derive(Debug, Clone, Serialize)]
pub struct BillLineView {
    pub what: String,
    pub billed: String,
    pub matched: String,
    pub residual: String,
}

/// One check of the inventory that something fails.
#[derive(Debug, Clone, Serialize)]
pub struct Contradiction {
    pub cluster: String,
    pub scope: String,
    pub check: String,
    pub things: i64,
    /// What it says of one of them.
    pub example: String,
}

pub(super) fn event(row: &EventData, zone: Zone) -> EventView {
    let side = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
    EventView {
        workload: row.workload.clone(),
        seen: zone.instant(row.seen_ms),
        what: row.what.clone(),
        change: format!("{} → {}", side(&row.before), side(&row.after)),
        actor: row.actor.clone().unwrap_or_else(|| "not known".to_owned()),
        gpus: row.gpu_milli_added.map_or_else(
            || "–".to_owned(),
            |milli| {
                let gpus = (Decimal::from(milli) / Decimal::ONE_THOUSAND).normalize();
                if milli < 0 {
                    format!("−{}", gpus.abs())
                } else {
                    format!("+{gpus}")
                }
            },
        ),
        cost: row
            .cost_usd
            .map_or_else(|| "price unknown".to_owned(), signed),
    }
}

/// `None` where no bill was read.
pub(super) fn bill(rows: &[BillData]) -> Option<BillView> {
    if rows.is_empty() {
        return None;
    }
    let sum = |pick: fn(&BillData) -> Decimal| -> Decimal { rows.iter().map(pick).sum() };
    let (billed, matched) = (sum(|row| row.billed_usd), sum(|row| row.matched_usd));
    let residual = sum(|row| row.residual_usd);
    Some(BillView {
        sentence: format!(
            "Of {} billed in this window, {} is GPU time of this ledger; {} ({}) is not: other machines, \
             disks, network, taxes.",
            usd(billed),
            usd(matched),
            usd(residual),
            super::super::format::percent(residual, billed)
        ),
        lines: rows
            .iter()
            .map(|row| BillLineView {
                what: format!("{}: {} {}", row.bill, row.provider, row.sku),
                billed: usd(row.billed_usd),
                matched: usd(row.matched_usd),
                residual: usd(row.residual_usd),
            })
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bill_is_told_with_what_nothing_explains() {
        assert!(bill(&[]).is_none());
        let row = |billed: i64, matched: i64| BillData {
            bill: "focus.csv".into(),
            provider: "aws".into(),
            sku: "p5".into(),
            billed_usd: billed.into(),
            matched_usd: matched.into(),
            residual_usd: (billed - matched).into(),
        };
        let view = bill(&[row(900, 900), row(100, 0)]).unwrap();
        assert!(
            view.sentence.contains("$1,000") && view.sentence.contains("10.0 %"),
            "{}",
            view.sentence
        );
        assert_eq!(view.lines[1].residual, "$100");
    }

    #[test]
    fn a_change_without_actor_or_price_says_so() {
        let row = EventData {
            workload: "w".into(),
            seen_ms: 0,
            what: "replicas".into(),
            before: Some("1".into()),
            after: None,
            actor: None,
            gpu_milli_added: Some(-1500),
            cost_usd: None,
        };
        let view = event(&row, Zone::UTC);
        assert_eq!(
            (view.change.as_str(), view.actor.as_str()),
            ("1 → nothing", "not known")
        );
        assert_eq!(
            (view.gpus.as_str(), view.cost.as_str()),
            ("−1.5", "price unknown")
        );
    }
}
