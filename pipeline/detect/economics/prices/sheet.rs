//! Owns the user's price sheet: its columns, which row applies, and what is wrong with it.
//!
//! The most specific row that is valid wins; two equally specific ones are an error that names both
//! lines, since either price would be a guess.

use rust_decimal::Decimal;

use crate::catalogue::canonical_provider;
use crate::model::time::{MONTH_HOURS, parse_ms};

use super::{Commitment, NodeFacts, PriceRow, Rung, STORED_DECIMALS};

const COLUMNS: &[&str] = &[
    "provider",
    "region",
    "instance_type",
    "gpu_product",
    "node_selector",
    "capacity_type",
    "unit",
    "list",
    "contracted",
    "effective",
    "currency",
    "valid_from",
    "valid_to",
    "commitment_id",
    "commitment_end",
    "note",
];
/// A sheet is an input like any other.
const MAX_ROWS: usize = 100_000;

/// What is wrong with a price sheet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SheetError {
    #[error("price sheet {sheet}, line {line}: {what}")]
    Row {
        sheet: String,
        line: u64,
        what: String,
    },
    #[error(
        "price sheet {first_sheet}, line {first_line} and {second_sheet}, line {second_line} are equally specific for {price_key}: make one of them more specific or end its validity"
    )]
    Tie {
        first_sheet: String,
        first_line: u64,
        second_sheet: String,
        second_line: u64,
        price_key: String,
    },
    #[error(
        "price sheet {sheet}, line {line}: {currency} has no rate on or before the priced day: add a row with unit usd_rate, this currency, a valid_from and the dollars per unit as its list"
    )]
    NoRate {
        sheet: String,
        line: u64,
        currency: String,
    },
    #[error(
        "price sheet {sheet}, line {line}: a price per node needs the node's GPU count, which {price_key} does not tell: give the price per gpu_hour"
    )]
    NoGpuCount {
        sheet: String,
        line: u64,
        price_key: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    NodeHour,
    GpuHour,
    NodeMonth,
}

#[derive(Debug, Clone)]
struct SheetRow {
    line: u64,
    provider: Option<String>,
    region: Option<String>,
    instance_type: Option<String>,
    gpu_product: Option<String>,
    capacity_type: Option<String>,
    unit: Unit,
    list: Option<Decimal>,
    contracted: Option<Decimal>,
    effective: Option<Decimal>,
    currency: String,
    valid_from_ms: Option<i64>,
    valid_to_ms: Option<i64>,
    valid_from: Option<String>,
    commitment: Option<Commitment>,
    note: Option<String>,
}

#[derive(Debug, Clone)]
struct Rate {
    currency: String,
    from_ms: i64,
    usd: Decimal,
}

/// What a `node_selector` says. Prices are kept by the facts of a node, so labels that stand for one
/// of them select; any other label would price nodes that it does not name.
#[derive(Debug, Default)]
struct Selected(std::collections::BTreeMap<&'static str, String>);

impl Selected {
    fn add(&mut self, part: &str) -> Result<(), String> {
        let Some((label, value)) = part.split_once('=') else {
            return Err(format!("node_selector {part:?} is not label=value"));
        };
        let value = value.trim();
        let fact = match label.trim() {
            "node.kubernetes.io/instance-type" | "beta.kubernetes.io/instance-type" => {
                "instance_type"
            }
            "topology.kubernetes.io/region" | "failure-domain.beta.kubernetes.io/region" => {
                "region"
            }
            "nvidia.com/gpu.product" | "cloud.google.com/gke-accelerator" => "gpu_product",
            "karpenter.sh/capacity-type"
            | "eks.amazonaws.com/capacityType"
            | "kubernetes.azure.com/scalesetpriority" => "capacity_type",
            other => {
                return Err(format!(
                    "node_selector {other} is no fact of a price: select by node.kubernetes.io/instance-type, topology.kubernetes.io/region, nvidia.com/gpu.product or karpenter.sh/capacity-type"
                ));
            }
        };
        let value = if fact == "gpu_product" {
            crate::catalogue::products()
                .resolve_label(value)
                .map(|found| found.product.key.clone())
                .ok_or_else(|| {
                    format!("node_selector {value} is no GPU that the catalogue knows")
                })?
        } else {
            value.to_ascii_lowercase().replace('_', "-")
        };
        self.0.insert(fact, value);
        Ok(())
    }

    fn or(&self, column: Option<String>, fact: &str) -> Option<String> {
        column.or_else(|| self.0.get(fact).cloned())
    }
}

/// One parsed sheet.
#[derive(Debug, Clone, Default)]
pub struct PriceSheet {
    name: String,
    rows: Vec<SheetRow>,
    rates: Vec<Rate>,
}

impl PriceSheet {
    /// Reads the sheet's text; `name` is how errors and provenance call it.
    pub fn parse(name: &str, text: &str) -> Result<Self, SheetError> {
        let fail = |line: u64, what: String| SheetError::Row {
            sheet: name.to_owned(),
            line,
            what,
        };
        let csv_fail = |error: csv::Error| {
            fail(
                error.position().map_or(1, csv::Position::line),
                error.to_string(),
            )
        };
        let mut reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .comment(Some(b'#'))
            .from_reader(text.trim_start_matches('\u{feff}').as_bytes());
        let header: Vec<String> = reader
            .headers()
            .map_err(csv_fail)?
            .iter()
            .map(str::to_ascii_lowercase)
            .collect();
        for (at, column) in header.iter().enumerate() {
            if !COLUMNS.contains(&column.as_str()) {
                return Err(fail(
                    1,
                    format!(
                        "unknown column {column:?}: the columns are {}",
                        COLUMNS.join(",")
                    ),
                ));
            }
            if header[..at].contains(column) {
                return Err(fail(1, format!("column {column} stands twice")));
            }
        }
        if !header.iter().any(|column| column == "unit") {
            return Err(fail(1, "no column unit".to_owned()));
        }
        let mut sheet = Self {
            name: name.to_owned(),
            ..Self::default()
        };
        for record in reader.records() {
            let record = record.map_err(csv_fail)?;
            let line = record.position().map_or(0, csv::Position::line);
            if sheet.rows.len() + sheet.rates.len() >= MAX_ROWS {
                return Err(fail(line, format!("more than {MAX_ROWS} rows")));
            }
            let cell = |column: &str| {
                header
                    .iter()
                    .position(|name| name == column)
                    .and_then(|at| record.get(at))
                    .filter(|text| !text.is_empty())
            };
            let money = |column: &str| {
                cell(column)
                    .map(|text| {
                        text.parse::<Decimal>()
                            .ok()
                            .filter(|price| !price.is_sign_negative())
                            .ok_or_else(|| {
                                fail(line, format!("{column} is no price: {text:?}; write 12.34"))
                            })
                    })
                    .transpose()
            };
            let date = |column: &str| {
                cell(column)
                    .map(|text| {
                        parse_ms(text).ok_or_else(|| {
                            fail(
                                line,
                                format!("{column} is no date: {text:?}; write 2026-01-31"),
                            )
                        })
                    })
                    .transpose()
            };
            let currency = cell("currency").unwrap_or("USD").to_ascii_uppercase();
            let (list, contracted, effective) =
                (money("list")?, money("contracted")?, money("effective")?);
            let (valid_from_ms, valid_to_ms) = (date("valid_from")?, date("valid_to")?);
            let commitment_end = date("commitment_end")?;
            let commitment = match (cell("commitment_id"), commitment_end) {
                (None, None) => None,
                (id, end_ms) => Some(Commitment {
                    id: id.unwrap_or("commitment").to_owned(),
                    end_ms,
                }),
            };
            let unit = match cell("unit") {
                Some("node_hour") => Unit::NodeHour,
                Some("gpu_hour") => Unit::GpuHour,
                Some("node_month") => Unit::NodeMonth,
                Some("usd_rate") => {
                    let (Some(usd), Some(from_ms)) = (list, valid_from_ms) else {
                        return Err(fail(
                            line,
                            "a usd_rate needs list and valid_from".to_owned(),
                        ));
                    };
                    if usd.is_zero() {
                        return Err(fail(line, "a usd_rate of zero".to_owned()));
                    }
                    sheet.rates.push(Rate {
                        currency,
                        from_ms,
                        usd,
                    });
                    continue;
                }
                other => {
                    return Err(fail(
                        line,
                        format!(
                            "unit is {:?}: write node_hour, gpu_hour or node_month",
                            other.unwrap_or("")
                        ),
                    ));
                }
            };
            let mut selected = Selected::default();
            for part in cell("node_selector")
                .into_iter()
                .flat_map(|text| text.split(';'))
            {
                selected.add(part).map_err(|what| fail(line, what))?;
            }
            if list.or(contracted).or(effective).is_none() {
                return Err(fail(
                    line,
                    "no price: fill list, contracted or effective".to_owned(),
                ));
            }
            if valid_from_ms
                .zip(valid_to_ms)
                .is_some_and(|(from, to)| to <= from)
            {
                return Err(fail(line, "valid_to is not after valid_from".to_owned()));
            }
            let owned = |column: &str| cell(column).map(str::to_owned);
            sheet.rows.push(SheetRow {
                line,
                provider: cell("provider").map(canonical_provider),
                region: selected.or(owned("region"), "region"),
                instance_type: selected.or(owned("instance_type"), "instance_type"),
                gpu_product: selected.or(owned("gpu_product"), "gpu_product"),
                capacity_type: selected.or(owned("capacity_type"), "capacity_type"),
                unit,
                list,
                contracted,
                effective,
                currency,
                valid_from_ms,
                valid_to_ms,
                valid_from: owned("valid_from"),
                commitment,
                note: owned("note"),
            });
        }
        Ok(sheet)
    }

    /// Nodes that this sheet alone knows how to price for a product at the same provider.
    pub(super) fn offers(
        &self,
        today: &NodeFacts,
        gpu_product: &str,
    ) -> impl Iterator<Item = NodeFacts> {
        self.rows
            .iter()
            .filter(move |row| row.gpu_product.as_deref() == Some(gpu_product))
            .map(move |row| NodeFacts {
                instance_type: row.instance_type.clone().unwrap_or_default(),
                gpu_product: gpu_product.to_owned(),
                ..today.clone()
            })
    }

    fn rate(&self, currency: &str, as_of_ms: i64) -> Option<Decimal> {
        if currency == "USD" {
            return Some(Decimal::ONE);
        }
        self.rates
            .iter()
            .filter(|rate| rate.currency == currency && rate.from_ms <= as_of_ms)
            .max_by_key(|rate| rate.from_ms)
            .map(|rate| rate.usd)
    }
}

impl SheetRow {
    /// How many columns name these facts; `None` where one names other facts.
    fn specificity(&self, facts: &NodeFacts) -> Option<usize> {
        let provider = canonical_provider(&facts.provider);
        let columns = [
            (&self.provider, provider.as_str()),
            (&self.region, facts.region.as_str()),
            (&self.instance_type, facts.instance_type.as_str()),
            (&self.gpu_product, facts.gpu_product.as_str()),
            (&self.capacity_type, facts.capacity_type.as_str()),
        ];
        let mut named = 0;
        for (wanted, fact) in columns {
            if let Some(wanted) = wanted {
                if !wanted.eq_ignore_ascii_case(fact) {
                    return None;
                }
                named += 1;
            }
        }
        Some(named)
    }

    fn valid_at(&self, as_of_ms: i64) -> bool {
        self.valid_from_ms.is_none_or(|from| from <= as_of_ms)
            && self.valid_to_ms.is_none_or(|to| as_of_ms < to)
    }
}

/// The row that the sheets give for a node, if any.
pub(super) fn best(
    sheets: &[PriceSheet],
    facts: &NodeFacts,
    gpus: Option<i64>,
    as_of_ms: i64,
) -> Result<Option<PriceRow>, SheetError> {
    let mut best: Option<(usize, &PriceSheet, &SheetRow)> = None;
    let mut tie: Option<(&PriceSheet, &SheetRow)> = None;
    for sheet in sheets {
        for row in sheet.rows.iter().filter(|row| row.valid_at(as_of_ms)) {
            let Some(named) = row.specificity(facts) else {
                continue;
            };
            match best {
                Some((kept, _, _)) if named < kept => {}
                Some((kept, _, _)) if named == kept => tie = Some((sheet, row)),
                _ => {
                    best = Some((named, sheet, row));
                    tie = None;
                }
            }
        }
    }
    let Some((_, sheet, row)) = best else {
        return Ok(None);
    };
    if let Some((other_sheet, other)) = tie {
        return Err(SheetError::Tie {
            first_sheet: sheet.name.clone(),
            first_line: row.line,
            second_sheet: other_sheet.name.clone(),
            second_line: other.line,
            price_key: facts.key(),
        });
    }
    let rate = sheets
        .iter()
        .find_map(|sheet| sheet.rate(&row.currency, as_of_ms))
        .ok_or_else(|| SheetError::NoRate {
            sheet: sheet.name.clone(),
            line: row.line,
            currency: row.currency.clone(),
        })?;
    let divisor = match row.unit {
        Unit::GpuHour => Decimal::ONE,
        Unit::NodeHour | Unit::NodeMonth => {
            let gpus = gpus.ok_or_else(|| SheetError::NoGpuCount {
                sheet: sheet.name.clone(),
                line: row.line,
                price_key: facts.key(),
            })?;
            let hours = if row.unit == Unit::NodeMonth {
                MONTH_HOURS
            } else {
                1
            };
            Decimal::from(gpus) * Decimal::from(hours)
        }
    };
    let per_gpu = |price: Option<Decimal>| {
        price
            .map(|price| {
                price
                    .checked_mul(rate)
                    .and_then(|usd| usd.checked_div(divisor))
                    .map(|usd| usd.round_dp(STORED_DECIMALS))
                    .ok_or_else(|| SheetError::Row {
                        sheet: sheet.name.clone(),
                        line: row.line,
                        what: "the price is too large".to_owned(),
                    })
            })
            .transpose()
    };
    let list = per_gpu(row.list)?;
    let contracted = per_gpu(row.contracted)?;
    let effective = per_gpu(row.effective)?;
    let note = row
        .note
        .as_deref()
        .map_or(String::new(), |note| format!(": {note}"));
    Ok(Some(PriceRow {
        facts: facts.clone(),
        gpus_per_node: gpus,
        list_usd_per_gpu_hour: list,
        contracted_usd_per_gpu_hour: contracted,
        effective_usd_per_gpu_hour: effective,
        rung: Rung::Sheet,
        band_percent: 0,
        provenance: format!("{}, line {}{note}", sheet.name, row.line),
        price_date: row.valid_from.clone(),
        commitment: row.commitment.clone(),
    }))
}
