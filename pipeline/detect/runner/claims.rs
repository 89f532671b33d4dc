//! Owns reading a claims query's result: the columns of the contract, each row given to its finding.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use datafusion::arrow::array::{Array as _, Int64Array, RecordBatch, StringArray};

use crate::detect::DetectError;
use crate::detect::findings::FoundRow;
use crate::detect::netting::{Claim, Resource};
use crate::detect::query::Detector;
use crate::lake::columns::{ColumnError, int, int_at, text, text_at};
use crate::model::TimeWindow;
use crate::model::time::HOUR_MS;

/// A finding that may claim.
pub(super) struct Claimant<'a> {
    grain: &'a [String],
    alarm: bool,
}

impl<'a> Claimant<'a> {
    pub(super) fn of(row: &'a FoundRow) -> Self {
        Self {
            grain: &row.grain,
            alarm: row.status == "alarm",
        }
    }
}

/// The columns of one batch.
struct Columns {
    grain: Vec<StringArray>,
    /// As [`Resource`] names them.
    resource: [StringArray; 8],
    hour_ms: Int64Array,
    ms_freed: Int64Array,
    ms_added: Int64Array,
    product_added: StringArray,
    price_key_added: StringArray,
}

impl Columns {
    fn of(detector: &Detector, batch: &RecordBatch) -> Result<Self, ColumnError> {
        let grain = detector.head.grain.iter();
        Ok(Self {
            grain: grain
                .map(|name| text(batch, name))
                .collect::<Result<_, _>>()?,
            resource: [
                text(batch, "cluster")?,
                text(batch, "namespace")?,
                text(batch, "workload_kind")?,
                text(batch, "workload_name")?,
                text(batch, "instance_type")?,
                text(batch, "gpu_product")?,
                text(batch, "price_key")?,
                text(batch, "class")?,
            ],
            hour_ms: int(batch, "hour_ms")?,
            ms_freed: int(batch, "ms_freed")?,
            ms_added: int(batch, "ms_added")?,
            product_added: text(batch, "product_added")?,
            price_key_added: text(batch, "price_key_added")?,
        })
    }

    /// The resource's words in a row; NULL is blank.
    fn words(&self, row: usize) -> [&str; 8] {
        self.resource.each_ref().map(|column| word(column, row))
    }
}

fn word(column: &StringArray, row: usize) -> &str {
    if column.is_null(row) {
        ""
    } else {
        column.value(row)
    }
}

fn resource(
    [
        cluster,
        namespace,
        kind,
        name,
        instance,
        product,
        key,
        class,
    ]: [&str; 8],
) -> Resource {
    Resource {
        cluster: cluster.to_owned(),
        namespace: namespace.to_owned(),
        workload_kind: kind.to_owned(),
        workload_name: name.to_owned(),
        instance_type: instance.to_owned(),
        gpu_product: product.to_owned(),
        price_key: key.to_owned(),
        class: class.to_owned(),
    }
}

/// Claims by finding, in the findings' order; rows of one resource and hour are one claim.
pub(super) fn read(
    detector: &Detector,
    claimants: &[Claimant<'_>],
    window: TimeWindow,
    batches: &[RecordBatch],
) -> Result<Vec<Vec<Claim>>, DetectError> {
    let batches = batches
        .iter()
        .map(|batch| Columns::of(detector, batch))
        .collect::<Result<Vec<Columns>, _>>()
        .map_err(|cause| DetectError::Columns {
            detector: format!("{}.claims", detector.id),
            cause,
        })?;
    let index: BTreeMap<&[String], usize> = claimants
        .iter()
        .enumerate()
        .map(|(at, claimant)| (claimant.grain, at))
        .collect();
    // A workload's hours are hundreds of rows on few resources: each is made once and shared.
    let mut resources: HashMap<[&str; 8], (usize, Arc<Resource>)> = HashMap::new();
    let mut places: HashMap<(usize, usize, i64), usize> = HashMap::new();
    let mut claims: Vec<Vec<Claim>> = vec![Vec::new(); claimants.len()];
    let mut first = 0;
    let mut subject: Vec<String> = Vec::new();
    for batch in &batches {
        let rows = batch.hour_ms.len();
        let mut last: Option<usize> = None;
        for row in 0..rows {
            let fault = |why: String| DetectError::Contract {
                detector: format!("{}.claims", detector.id),
                row: first + row,
                why,
            };
            let same = subject.len() == batch.grain.len()
                && batch
                    .grain
                    .iter()
                    .zip(&subject)
                    .all(|(column, known)| word(column, row) == known);
            if !same || last.is_none() {
                subject = batch
                    .grain
                    .iter()
                    .map(|column| word(column, row).to_owned())
                    .collect();
                last = index
                    .get(subject.as_slice())
                    .copied()
                    .filter(|at| claimants[*at].alarm);
            }
            let at = last.ok_or_else(|| {
                fault(format!("`{}` has no alarm to claim for", subject.join("/")))
            })?;
            let number = |column: &Int64Array, name: &str| {
                int_at(column, row).ok_or_else(|| fault(format!("`{name}` is NULL")))
            };
            let words = batch.words(row);
            let next = resources.len();
            let (known, resource) = resources
                .entry(words)
                .or_insert_with(|| (next, Arc::new(resource(words))));
            if !detector.head.claims.contains(&resource.class) {
                return Err(fault(format!(
                    "it claims class `{}`, and its front matter allows {}",
                    resource.class,
                    detector.head.claims.join(", ")
                )));
            }
            let hour_ms = number(&batch.hour_ms, "hour_ms")?;
            if hour_ms.rem_euclid(HOUR_MS) != 0 || !window.contains(hour_ms) {
                return Err(fault(format!("{hour_ms} is no hour of the window")));
            }
            let ms_freed = number(&batch.ms_freed, "ms_freed")?;
            let ms_added = number(&batch.ms_added, "ms_added")?;
            if ms_freed < 0 || ms_added < 0 {
                return Err(fault(format!(
                    "ms_freed {ms_freed} or ms_added {ms_added} is negative"
                )));
            }
            let key_added = text_at(&batch.price_key_added, row).filter(|_| ms_added > 0);
            if ms_added > 0 && key_added.is_none() {
                return Err(fault("ms_added has no price_key_added".to_owned()));
            }
            if ms_freed == 0 && ms_added == 0 {
                continue;
            }
            let product_added = text_at(&batch.product_added, row).filter(|_| ms_added > 0);
            let mine = &mut claims[at];
            let place = *places.entry((at, *known, hour_ms)).or_insert(mine.len());
            if place == mine.len() {
                mine.push(Claim {
                    resource: Arc::clone(resource),
                    hour_ms,
                    ms_freed: 0,
                    ms_added: 0,
                    product_added: None,
                    price_key_added: None,
                });
            }
            let claim = &mut mine[place];
            claim.ms_freed = claim
                .ms_freed
                .checked_add(ms_freed)
                .ok_or_else(|| fault("its ms_freed are too many".to_owned()))?;
            if ms_added > 0 {
                if claim.ms_added > 0 {
                    return Err(fault(
                        "ms_added stands twice for one resource and hour".to_owned(),
                    ));
                }
                claim.ms_added = ms_added;
                claim.product_added = product_added;
                claim.price_key_added = key_added;
            }
        }
        first += rows;
    }
    for mine in &mut claims {
        mine.sort_by(|a, b| (&a.resource, a.hour_ms).cmp(&(&b.resource, b.hour_ms)));
    }
    Ok(claims)
}
