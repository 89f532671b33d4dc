//! Owns reading a detector's result: the columns of the contract, row by row, checked.

use std::collections::BTreeSet;

use datafusion::arrow::array::{Array as _, RecordBatch};
use datafusion::arrow::datatypes::DataType;
use rust_decimal::Decimal;

use crate::detect::DetectError;
use crate::detect::query::Detector;
use crate::lake::columns::{ColumnError, float, int, int_at, text, text_at};

const STATUSES: [&str; 4] = ["ok", "alarm", "undetermined", "skip"];
const CONFIDENCES: [&str; 3] = ["high", "medium", "low"];

/// One row of `<id>.sql`.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundRow {
    /// Values of the detector's grain, the cluster first; empty where NULL.
    pub grain: Vec<String>,
    pub cluster: String,
    pub namespace: String,
    pub workload_kind: String,
    pub workload_name: String,
    pub window_start_ms: i64,
    pub window_end_ms: i64,
    pub status: String,
    pub coverage: Option<f64>,
    pub confidence: String,
    pub model: Option<String>,
    pub gpu_product: Option<String>,
    pub team: Option<String>,
    pub headline: String,
    pub because: Option<String>,
    pub reason: String,
    pub existed_ms: i64,
    pub alive: bool,
    pub band_percent: i64,
    pub remedy_text: String,
    pub remedy: Option<Remedy>,
    pub evidence: Vec<(String, String)>,
    /// GPU time to show the cost of, and the key of its price: for detectors that claim nothing.
    pub shown: Option<(i64, String)>,
}

/// The change that a detector wishes for: where it goes is the inventory's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remedy {
    pub action: String,
    pub current: Option<String>,
    pub proposed: Option<String>,
    /// GPUs of one replica after the change, where the detector says so.
    pub gpu_milli: Option<i64>,
    pub risk: String,
    pub disruption: String,
}

/// Reads and checks the result of a detector's findings query.
pub fn found_rows(
    detector: &Detector,
    batches: &[RecordBatch],
) -> Result<Vec<FoundRow>, DetectError> {
    let columns = |cause: ColumnError| DetectError::Columns {
        detector: detector.id.clone(),
        cause,
    };
    let mut rows = Vec::new();
    for batch in batches {
        rows.extend(
            read(detector, batch, rows.len()).map_err(|fault| match fault {
                Fault::Column(cause) => columns(cause),
                Fault::Row { row, why } => DetectError::Contract {
                    detector: detector.id.clone(),
                    row,
                    why,
                },
            })?,
        );
    }
    let mut seen = BTreeSet::new();
    for (row, found) in rows.iter().enumerate() {
        if !seen.insert(&found.grain) {
            return Err(DetectError::Contract {
                detector: detector.id.clone(),
                row,
                why: format!("another row is about `{}` too", found.grain.join("/")),
            });
        }
    }
    Ok(rows)
}

enum Fault {
    Column(ColumnError),
    Row { row: usize, why: String },
}

impl From<ColumnError> for Fault {
    fn from(error: ColumnError) -> Self {
        Self::Column(error)
    }
}

fn read(detector: &Detector, batch: &RecordBatch, first: usize) -> Result<Vec<FoundRow>, Fault> {
    let words = |name: &str| text(batch, name);
    let numbers = |name: &str| int(batch, name);
    let grain = detector
        .head
        .grain
        .iter()
        .map(|name| words(name))
        .collect::<Result<Vec<_>, _>>()?;
    let in_grain = |name: &str| {
        detector
            .head
            .grain
            .iter()
            .position(|column| column == name)
            .map(|at| &grain[at])
    };
    let cluster = words("cluster")?;
    let (start, end) = (numbers("window_start_ms")?, numbers("window_end_ms")?);
    let (status, coverage) = (words("status")?, float(batch, "coverage")?);
    let (confidence, model) = (words("confidence")?, words("model")?);
    let (product, team) = (words("gpu_product")?, words("team")?);
    let (headline, because) = (words("headline")?, words("because")?);
    let (reason, existed) = (words("reason")?, numbers("existed_ms")?);
    let (alive, band) = (numbers("alive")?, numbers("band_percent")?);
    let (remedy, action) = (words("remedy")?, words("remedy_action")?);
    let (current, proposed) = (words("remedy_current")?, words("remedy_proposed")?);
    let gpu_milli = batch
        .column_by_name("remedy_gpu_milli")
        .map(|_| numbers("remedy_gpu_milli"))
        .transpose()?;
    let (risk, disruption) = (words("remedy_risk")?, words("remedy_disruption")?);
    let evidence = evidence_columns(batch)?;
    let optional = |name: &str| batch.schema_ref().column_with_name(name).is_some();
    let shown = if optional("cost_gpu_ms") || optional("cost_price_key") {
        Some((numbers("cost_gpu_ms")?, words("cost_price_key")?))
    } else {
        None
    };

    let mut rows = Vec::with_capacity(batch.num_rows());
    for row in 0..batch.num_rows() {
        let fault = |why: String| Fault::Row {
            row: first + row,
            why,
        };
        let must = |value: Option<String>, name: &str| {
            value.ok_or_else(|| fault(format!("`{name}` is NULL")))
        };
        let number = |value: Option<i64>, name: &str| {
            value.ok_or_else(|| fault(format!("`{name}` is NULL")))
        };
        let one_of = |value: String, allowed: &[&str], name: &str| {
            if allowed.contains(&value.as_str()) {
                Ok(value)
            } else {
                Err(fault(format!(
                    "`{name}` is `{value}` and none of {}",
                    allowed.join(", ")
                )))
            }
        };
        let place = |name: &str| {
            in_grain(name)
                .and_then(|column| text_at(column, row))
                .unwrap_or_default()
        };
        let share = (!coverage.is_null(row)).then(|| coverage.value(row));
        if share.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            return Err(fault("`coverage` is not between 0 and 1".to_owned()));
        }
        let band_percent = int_at(&band, row).unwrap_or(0);
        if band_percent < 0 {
            return Err(fault(format!("`band_percent` is {band_percent}")));
        }
        let status = one_of(must(text_at(&status, row), "status")?, &STATUSES, "status")?;
        let change = text_at(&action, row).map(|action| {
            Ok::<_, Fault>(Remedy {
                action,
                current: text_at(&current, row),
                proposed: text_at(&proposed, row),
                gpu_milli: gpu_milli.as_ref().and_then(|column| int_at(column, row)),
                risk: must(text_at(&risk, row), "remedy_risk")?,
                disruption: text_at(&disruption, row).unwrap_or_default(),
            })
        });
        rows.push(FoundRow {
            grain: grain
                .iter()
                .map(|column| text_at(column, row).unwrap_or_default())
                .collect(),
            cluster: must(text_at(&cluster, row), "cluster")?,
            namespace: place("namespace"),
            workload_kind: place("workload_kind"),
            workload_name: place("workload_name"),
            window_start_ms: number(int_at(&start, row), "window_start_ms")?,
            window_end_ms: number(int_at(&end, row), "window_end_ms")?,
            coverage: share,
            confidence: one_of(
                text_at(&confidence, row).unwrap_or_else(|| "low".to_owned()),
                &CONFIDENCES,
                "confidence",
            )?,
            model: text_at(&model, row),
            gpu_product: text_at(&product, row).filter(|product| !product.is_empty()),
            team: text_at(&team, row),
            headline: must(text_at(&headline, row), "headline")?,
            because: text_at(&because, row).filter(|text| !text.is_empty()),
            reason: text_at(&reason, row).unwrap_or_default(),
            existed_ms: number(int_at(&existed, row), "existed_ms")?,
            alive: number(int_at(&alive, row), "alive")? != 0,
            band_percent,
            remedy_text: text_at(&remedy, row).unwrap_or_default(),
            remedy: if status == "alarm" {
                change.transpose()?
            } else {
                None
            },
            evidence: evidence
                .iter()
                .map(|(name, texts)| (name.clone(), texts[row].clone()))
                .collect(),
            shown: shown.as_ref().and_then(|(ms, key)| {
                Some((int_at(ms, row).filter(|ms| *ms > 0)?, text_at(key, row)?))
            }),
            status,
        });
    }
    Ok(rows)
}

/// The `ev_` columns as text, in their order; what is NULL is unknown, and never zero.
fn evidence_columns(batch: &RecordBatch) -> Result<Vec<(String, Vec<String>)>, ColumnError> {
    let mut columns = Vec::new();
    for field in batch.schema_ref().fields() {
        let Some(name) = field.name().strip_prefix("ev_") else {
            continue;
        };
        let unknown = || "unknown".to_owned();
        let texts = if matches!(field.data_type(), DataType::Float32 | DataType::Float64) {
            let array = float(batch, field.name())?;
            array
                .iter()
                .map(|value| value.map_or_else(unknown, six_decimals))
                .collect()
        } else {
            let array = text(batch, field.name())?;
            array
                .iter()
                .map(|value| value.map_or_else(unknown, str::to_owned))
                .collect()
        };
        columns.push((name.to_owned(), texts));
    }
    Ok(columns)
}

/// A ratio for people: at most six decimals, no trailing zeros.
fn six_decimals(value: f64) -> String {
    Decimal::from_f64_retain(value).map_or_else(
        || value.to_string(),
        |decimal| decimal.round_dp(6).normalize().to_string(),
    )
}
