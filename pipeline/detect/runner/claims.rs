//! Owns reading a claims query's result: the columns of the contract, each row given to its finding.

use std::collections::BTreeMap;

use datafusion::arrow::array::RecordBatch;

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

/// Claims by finding, in the findings' order; rows of one resource and hour are one claim.
pub(super) fn read(
    detector: &Detector,
    claimants: &[Claimant<'_>],
    window: TimeWindow,
    batches: &[RecordBatch],
) -> Result<Vec<Vec<Claim>>, DetectError> {
    let columns = |cause: ColumnError| DetectError::Columns {
        detector: format!("{}.claims", detector.id),
        cause,
    };
    let index: BTreeMap<&[String], usize> = claimants
        .iter()
        .enumerate()
        .map(|(at, claimant)| (claimant.grain, at))
        .collect();
    let mut claims: Vec<BTreeMap<(Resource, i64), Claim>> = vec![BTreeMap::new(); claimants.len()];
    let mut first = 0;
    for batch in batches {
        let grain = detector
            .head
            .grain
            .iter()
            .map(|name| text(batch, name))
            .collect::<Result<Vec<_>, _>>()
            .map_err(columns)?;
        let words = |name: &str| text(batch, name).map_err(columns);
        let numbers = |name: &str| int(batch, name).map_err(columns);
        let (cluster, namespace) = (words("cluster")?, words("namespace")?);
        let (kind, name) = (words("workload_kind")?, words("workload_name")?);
        let (instance, product) = (words("instance_type")?, words("gpu_product")?);
        let (price_key, class) = (words("price_key")?, words("class")?);
        let (hours, freed) = (numbers("hour_ms")?, numbers("ms_freed")?);
        let (added, product_added) = (numbers("ms_added")?, words("product_added")?);
        let price_key_added = words("price_key_added")?;
        for row in 0..batch.num_rows() {
            let fault = |why: String| DetectError::Contract {
                detector: format!("{}.claims", detector.id),
                row: first + row,
                why,
            };
            let subject: Vec<String> = grain
                .iter()
                .map(|column| text_at(column, row).unwrap_or_default())
                .collect();
            let at = index
                .get(subject.as_slice())
                .copied()
                .filter(|at| claimants[*at].alarm)
                .ok_or_else(|| {
                    fault(format!("`{}` has no alarm to claim for", subject.join("/")))
                })?;
            let word = |column| text_at(column, row).unwrap_or_default();
            let number = |column, name: &str| {
                int_at(column, row).ok_or_else(|| fault(format!("`{name}` is NULL")))
            };
            let resource = Resource {
                cluster: word(&cluster),
                namespace: word(&namespace),
                workload_kind: word(&kind),
                workload_name: word(&name),
                instance_type: word(&instance),
                gpu_product: word(&product),
                price_key: word(&price_key),
                class: word(&class),
            };
            if !detector.head.claims.contains(&resource.class) {
                return Err(fault(format!(
                    "it claims class `{}`, and its front matter allows {}",
                    resource.class,
                    detector.head.claims.join(", ")
                )));
            }
            let hour_ms = number(&hours, "hour_ms")?;
            if hour_ms.rem_euclid(HOUR_MS) != 0 || !window.contains(hour_ms) {
                return Err(fault(format!("{hour_ms} is no hour of the window")));
            }
            let (ms_freed, ms_added) = (number(&freed, "ms_freed")?, number(&added, "ms_added")?);
            if ms_freed < 0 || ms_added < 0 {
                return Err(fault(format!(
                    "ms_freed {ms_freed} or ms_added {ms_added} is negative"
                )));
            }
            let key_added = text_at(&price_key_added, row).filter(|_| ms_added > 0);
            if ms_added > 0 && key_added.is_none() {
                return Err(fault("ms_added has no price_key_added".to_owned()));
            }
            if ms_freed == 0 && ms_added == 0 {
                continue;
            }
            let product_added = text_at(&product_added, row).filter(|_| ms_added > 0);
            let claim = claims[at]
                .entry((resource.clone(), hour_ms))
                .or_insert_with(|| Claim {
                    resource,
                    hour_ms,
                    ms_freed: 0,
                    ms_added: 0,
                    product_added: None,
                    price_key_added: None,
                });
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
        first += batch.num_rows();
    }
    Ok(claims
        .into_iter()
        .map(|claims| claims.into_values().collect())
        .collect())
}
