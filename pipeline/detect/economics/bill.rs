//! Owns the provider's bill: FOCUS rows read, matched to nodes, turned into what a GPU-hour cost, and
//! what of the bill no node explains.
//!
//! Text and plain rows in, plain rows out. Rows name a resource, nodes a provider id; both end in the
//! machine's name. A bill speaks for the past: it replaces the price of a node type only where it
//! covers most of the window, and whatever it holds beyond the nodes is a residual by provider and
//! SKU, so that ledger and bill add up.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::prices::{PriceRow, Rung};
use crate::model::TimeWindow;
use crate::model::time::{HOUR_MS, parse_ms};

/// A bill that covers less of a node type's time says too little about its price.
const MIN_COVERED_PERCENT: i128 = 80;
/// A bill is an input like any other.
const MAX_ROWS: usize = 20_000_000;
const STORED_DECIMALS: u32 = 6;

/// One charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    pub provider: String,
    pub sku: String,
    /// The last part of the resource id, in lower case; empty where the charge has none.
    pub resource: String,
    pub start_ms: i64,
    pub end_ms: i64,
    pub effective_usd: Decimal,
    /// `Usage`; purchases, taxes, credits and adjustments are nobody's hours.
    pub is_usage: bool,
}

/// What is wrong with a bill.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bill {name}, line {line}: {what}")]
pub struct BillError {
    pub name: String,
    pub line: u64,
    pub what: String,
}

/// A node of the ledger, and the window's milliseconds of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BilledNode {
    pub provider_id: String,
    pub price_key: String,
    pub gpus: i64,
    pub gpu_ms: i64,
}

/// The bill's part of one provider and SKU, over the window.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BillLine {
    pub provider: String,
    pub sku: String,
    pub billed_usd: Decimal,
    /// Of nodes that the ledger has.
    pub matched_usd: Decimal,
}

impl BillLine {
    #[must_use]
    pub fn residual_usd(&self) -> Decimal {
        self.billed_usd - self.matched_usd
    }
}

/// The machine's name at the end of a resource or provider id: `aws:///us-east-1a/i-0abc`,
/// `arn:aws:ec2:…:instance/i-0abc` and `i-0abc` are one.
#[must_use]
pub fn machine(id: &str) -> String {
    id.trim()
        .rsplit(['/', ':'])
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase()
}

/// All that is read of a file; FOCUS 1.3 renames the provider's column.
pub const COLUMNS: &[&str] = &[
    "ResourceId",
    "EffectiveCost",
    "BillingCurrency",
    "ChargePeriodStart",
    "ChargePeriodEnd",
    "ChargeCategory",
    "ServiceProviderName",
    "ProviderName",
    "SkuId",
    "SkuMeter",
    "ServiceName",
];

/// Where a file keeps what is read of it.
struct Shape<'a> {
    name: &'a str,
    resource: usize,
    cost: usize,
    currency: usize,
    start: usize,
    end: usize,
    category: usize,
    provider: usize,
    sku: usize,
}

impl<'a> Shape<'a> {
    fn of(name: &'a str, header: &[&str]) -> Result<Self, BillError> {
        let column = |names: &[&str]| {
            names
                .iter()
                .find_map(|name| header.iter().position(|column| column == name))
                .ok_or_else(|| fail(name, 1, format!("no column {}", names.join(" or "))))
        };
        Ok(Self {
            name,
            resource: column(&["ResourceId"])?,
            cost: column(&["EffectiveCost"])?,
            currency: column(&["BillingCurrency"])?,
            start: column(&["ChargePeriodStart"])?,
            end: column(&["ChargePeriodEnd"])?,
            category: column(&["ChargeCategory"])?,
            provider: column(&["ServiceProviderName", "ProviderName"])?,
            sku: column(&["SkuId", "SkuMeter", "ServiceName"])?,
        })
    }

    fn charge<'c>(&self, line: u64, cell: impl Fn(usize) -> &'c str) -> Result<Charge, BillError> {
        let fail = |what: String| fail(self.name, line, what);
        if cell(self.currency) != "USD" {
            return Err(fail(format!(
                "currency {:?}: a bill is read in USD",
                cell(self.currency)
            )));
        }
        let date = |at: usize| {
            parse_ms(cell(at)).ok_or_else(|| fail(format!("{:?} is no time", cell(at))))
        };
        let cost = cell(self.cost);
        let effective_usd = Decimal::from_str_exact(cost)
            .or_else(|_| Decimal::from_scientific(cost))
            .map_err(|_| fail(format!("EffectiveCost {cost:?} is no amount")))?;
        let (start_ms, end_ms) = (date(self.start)?, date(self.end)?);
        if end_ms <= start_ms {
            return Err(fail("the charge period ends before it starts".to_owned()));
        }
        Ok(Charge {
            provider: cell(self.provider).to_owned(),
            sku: cell(self.sku).to_owned(),
            resource: machine(cell(self.resource)),
            start_ms,
            end_ms,
            effective_usd,
            is_usage: cell(self.category).eq_ignore_ascii_case("usage"),
        })
    }
}

fn fail(name: &str, line: u64, what: String) -> BillError {
    BillError {
        name: name.to_owned(),
        line,
        what,
    }
}

fn push(charges: &mut Vec<Charge>, name: &str, line: u64, charge: Charge) -> Result<(), BillError> {
    if charges.len() >= MAX_ROWS {
        return Err(fail(name, line, format!("more than {MAX_ROWS} charges")));
    }
    charges.push(charge);
    Ok(())
}

/// Reads a FOCUS 1.x cost-and-usage file as CSV.
pub fn read_bill(name: &str, text: &str) -> Result<Vec<Charge>, BillError> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(text.trim_start_matches('\u{feff}').as_bytes());
    let header = reader
        .headers()
        .map_err(|error| fail(name, 1, error.to_string()))?
        .clone();
    let shape = Shape::of(name, &header.iter().collect::<Vec<_>>())?;
    let mut charges = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| {
            let line = error.position().map_or(0, csv::Position::line);
            fail(name, line, error.to_string())
        })?;
        let line = record.position().map_or(0, csv::Position::line);
        let charge = shape.charge(line, |at| record.get(at).unwrap_or_default())?;
        push(&mut charges, name, line, charge)?;
    }
    Ok(charges)
}

/// The same from the rows of a Parquet file, each cell as text and times in RFC 3339; a line is a row.
pub fn read_bill_rows<E: std::fmt::Display>(
    name: &str,
    header: &[&str],
    rows: impl Iterator<Item = Result<Vec<String>, E>>,
) -> Result<Vec<Charge>, BillError> {
    let shape = Shape::of(name, header)?;
    let mut charges = Vec::new();
    for (row, line) in rows.zip(1..) {
        let row = row.map_err(|error| fail(name, line, error.to_string()))?;
        let charge = shape.charge(line, |at| row.get(at).map_or("", |cell| cell.trim()))?;
        push(&mut charges, name, line, charge)?;
    }
    Ok(charges)
}

/// Puts what nodes really cost into `prices`, by price key, and gives the bill by provider and SKU.
pub fn apply(
    charges: &[Charge],
    nodes: &[BilledNode],
    window: TimeWindow,
    prices: &mut BTreeMap<String, PriceRow>,
    name: &str,
) -> Vec<BillLine> {
    let mut known: BTreeMap<String, &BilledNode> = BTreeMap::new();
    for node in nodes.iter().filter(|node| !node.provider_id.is_empty()) {
        known.insert(machine(&node.provider_id), node);
    }
    let mut lines: BTreeMap<(&str, &str), BillLine> = BTreeMap::new();
    let mut spent: BTreeMap<&str, Decimal> = BTreeMap::new();
    let mut covered: BTreeMap<&str, Vec<(i64, i64)>> = BTreeMap::new();
    for charge in charges {
        let from = charge.start_ms.max(window.start_ms);
        let to = charge.end_ms.min(window.end_ms);
        if from >= to {
            continue;
        }
        let Some(usd) = part(
            charge.effective_usd,
            to - from,
            charge.end_ms - charge.start_ms,
        ) else {
            continue;
        };
        let line = lines
            .entry((&charge.provider, &charge.sku))
            .or_insert_with(|| BillLine {
                provider: charge.provider.clone(),
                sku: charge.sku.clone(),
                ..BillLine::default()
            });
        line.billed_usd += usd;
        let node = known.get(&charge.resource).filter(|_| charge.is_usage);
        if let Some(node) = node {
            line.matched_usd += usd;
            *spent.entry(node.price_key.as_str()).or_default() += usd;
            covered
                .entry(charge.resource.as_str())
                .or_default()
                .push((from, to));
        }
    }
    let mut billed_ms: BTreeMap<&str, i128> = BTreeMap::new();
    for (resource, spans) in covered {
        if let Some(node) = known.get(resource) {
            *billed_ms.entry(node.price_key.as_str()).or_default() +=
                i128::from(union_ms(spans)) * i128::from(node.gpus.max(0));
        }
    }
    let mut held_ms: BTreeMap<&str, i128> = BTreeMap::new();
    for node in nodes {
        *held_ms.entry(node.price_key.as_str()).or_default() += i128::from(node.gpu_ms);
    }
    for (key, usd) in spent {
        let billed = billed_ms.get(key).copied().unwrap_or(0);
        let held = held_ms.get(key).copied().unwrap_or(0);
        let enough = billed > 0 && billed * 100 >= held * MIN_COVERED_PERCENT;
        let price = i64::try_from(billed).ok().and_then(|ms| {
            usd.checked_mul(Decimal::from(HOUR_MS))?
                .checked_div(Decimal::from(ms))
        });
        if let (true, Some(price), Some(row)) = (enough, price, prices.get_mut(key)) {
            row.effective_usd_per_gpu_hour = Some(price.round_dp(STORED_DECIMALS));
            row.provenance = format!("bill {name}; before: {}", row.provenance);
            row.rung = Rung::Bill;
            row.band_percent = 0;
        }
    }
    lines.into_values().collect()
}

fn part(usd: Decimal, ms: i64, of: i64) -> Option<Decimal> {
    if ms == of {
        return Some(usd);
    }
    usd.checked_mul(Decimal::from(ms))?
        .checked_div(Decimal::from(of))
}

/// Several charges of one hour (machine, disk, licence) cover it once.
fn union_ms(mut spans: Vec<(i64, i64)>) -> i64 {
    spans.sort_unstable();
    let (mut sum, mut reached) = (0, i64::MIN);
    for (from, to) in spans {
        sum += (to - from.max(reached)).max(0);
        reached = reached.max(to);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::economics::prices::{NodeFacts, PriceBook};

    const HEADER: &str = "ResourceId,EffectiveCost,BillingCurrency,ChargePeriodStart,ChargePeriodEnd,ChargeCategory,ProviderName,SkuId\n";

    fn dollars(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    fn book(key: &str) -> BTreeMap<String, PriceRow> {
        let facts = NodeFacts::from_key(key).unwrap();
        let row = PriceBook::default().price(&facts, Some(8)).unwrap();
        BTreeMap::from([(key.to_owned(), row)])
    }

    const KEY: &str = "aws|us-east-1|p5.48xlarge|H100-SXM-80|on-demand";

    fn node(gpu_ms: i64) -> BilledNode {
        BilledNode {
            provider_id: "aws:///us-east-1a/i-0ABC".to_owned(),
            price_key: KEY.to_owned(),
            gpus: 8,
            gpu_ms,
        }
    }

    fn two_hours() -> TimeWindow {
        let start = parse_ms("2026-11-01").unwrap();
        TimeWindow::new(start, start + 2 * HOUR_MS)
    }

    #[test]
    fn a_bill_replaces_the_price_and_leaves_a_residual() {
        let rows = "arn:aws:ec2:us-east-1:1:instance/i-0abc,24,USD,2026-11-01T00:00:00Z,2026-11-01T01:00:00Z,Usage,AWS,gpu\n\
            i-0abc,1.60,USD,2026-11-01T00:00:00Z,2026-11-01T01:00:00Z,Usage,AWS,disk\n\
            i-0abc,24,USD,2026-11-01T01:00:00Z,2026-11-01T02:00:00Z,Usage,AWS,gpu\n\
            nat-1,5,USD,2026-11-01T00:00:00Z,2026-11-01T02:00:00Z,Usage,AWS,nat\n\
            ,7,USD,2026-10-31T22:00:00Z,2026-11-01T02:00:00Z,Tax,AWS,tax\n";
        let charges = read_bill("b.csv", &format!("{HEADER}{rows}")).unwrap();
        let mut prices = book(KEY);
        let lines = apply(
            &charges,
            &[node(16 * HOUR_MS)],
            two_hours(),
            &mut prices,
            "b.csv",
        );
        // $49.60 over sixteen GPU-hours.
        let row = &prices[KEY];
        assert_eq!(row.effective_usd_per_gpu_hour, Some(dollars("3.1")));
        assert_eq!(row.rung, Rung::Bill);
        assert!(
            row.provenance.starts_with("bill b.csv; before: catalogue"),
            "{}",
            row.provenance
        );
        let billed: Decimal = lines.iter().map(|line| line.billed_usd).sum();
        let residual: Decimal = lines.iter().map(BillLine::residual_usd).sum();
        // Half of the tax lies in the window; nat and tax are nobody's GPU-hours.
        assert_eq!((billed, residual), (dollars("58.10"), dollars("8.5")));
    }

    #[test]
    fn a_bill_of_half_the_time_prices_nothing() {
        let rows = "i-0abc,24,USD,2026-11-01T00:00:00Z,2026-11-01T01:00:00Z,Usage,AWS,gpu\n";
        let charges = read_bill("b.csv", &format!("{HEADER}{rows}")).unwrap();
        let mut prices = book(KEY);
        let lines = apply(
            &charges,
            &[node(16 * HOUR_MS)],
            two_hours(),
            &mut prices,
            "b.csv",
        );
        assert_eq!(prices[KEY].rung, Rung::Catalogue);
        assert_eq!(lines[0].residual_usd(), Decimal::ZERO);
    }

    #[test]
    fn rows_of_parquet_are_the_same_charges() {
        let line = "i-0,2.5,USD,2026-11-01T00:00:00Z,2026-11-01T01:00:00.000Z,Usage,aws,p5";
        let header: Vec<&str> = HEADER.trim().split(',').collect();
        let row: Vec<String> = line.split(',').map(str::to_owned).collect();
        let rows = [Ok::<_, BillError>(row.clone()), Ok(row)];
        let charges = read_bill_rows("b", &header, rows.into_iter()).unwrap();
        assert_eq!(
            charges,
            read_bill("b", &format!("{HEADER}{line}\n{line}\n")).unwrap()
        );
        let error = read_bill_rows("b", &header, [Err("torn")].into_iter()).unwrap_err();
        assert_eq!((error.line, error.what.as_str()), (1, "torn"));
    }

    #[test]
    fn faults_name_the_line() {
        for (rows, what) in [
            ("i,1,EUR,2026-11-01,2026-11-02,Usage,AWS,g\n", "USD"),
            ("i,much,USD,2026-11-01,2026-11-02,Usage,AWS,g\n", "amount"),
            ("i,1,USD,soon,2026-11-02,Usage,AWS,g\n", "no time"),
            (
                "i,1,USD,2026-11-02,2026-11-02,Usage,AWS,g\n",
                "before it starts",
            ),
        ] {
            let error = read_bill("b.csv", &format!("{HEADER}{rows}")).unwrap_err();
            assert_eq!(error.line, 2);
            assert!(error.what.contains(what), "{error}");
        }
        assert!(
            read_bill("b.csv", "a,b\n1,2\n")
                .unwrap_err()
                .what
                .contains("ResourceId")
        );
    }
}
