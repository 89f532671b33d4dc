//! Owns the files of evidence that a user gives beside the sources: load tests and bills, read and
//! checked before anything else is, each with its digest for the publication.

use std::collections::BTreeMap;

use datafusion::prelude::SessionContext;

use super::conclude::window_rows;
use super::error::CliError;
use crate::catalogue;
use crate::config::Config;
use crate::detect::economics::bill::{BilledNode, Charge, read_bill};
use crate::detect::economics::measured::{Format, Measurement, read_points};
use crate::lake::columns::{int, text};
use crate::model::TimeWindow;
use crate::model::canonical::sha256_hex;

/// A measurement is a small file; a larger one is not one.
const MAX_MEASUREMENT_BYTES: u64 = 64 << 20;

/// Reads what `[[measured]]` names, with the digest of each file.
pub(super) fn measurements(
    config: &Config,
    digests: &mut BTreeMap<String, String>,
) -> Result<Vec<Measurement>, CliError> {
    let mut all = Vec::new();
    for section in &config.file.measured {
        let path = config.resolve(&section.path);
        let failed = |error| CliError::file("read the measurement", &path, error);
        let usage =
            |what: String| CliError::Usage(format!("[[measured]] {}: {what}", section.path));
        let size = std::fs::metadata(&path).map_err(failed)?.len();
        if size > MAX_MEASUREMENT_BYTES {
            return Err(usage(format!(
                "{size} bytes are more than a result file has"
            )));
        }
        let text = std::fs::read_to_string(&path).map_err(failed)?;
        digests.insert(
            format!("measured/{}", section.path),
            sha256_hex(text.as_bytes()),
        );
        let format = Format::parse(&section.format).ok_or_else(|| {
            usage(format!(
                "format {:?}: write guidellm, vllm-bench or dynamo",
                section.format
            ))
        })?;
        let model = catalogue::models()
            .resolve(&section.model)
            .ok_or_else(|| usage(format!("model {:?} is not in the catalogue", section.model)))?;
        let product = catalogue::products()
            .get(&section.gpu)
            .or_else(|| Some(catalogue::products().resolve_label(&section.gpu)?.product))
            .ok_or_else(|| usage(format!("gpu {:?} is not in the catalogue", section.gpu)))?;
        if let Some(word) = &section.quantisation
            && catalogue::Quantisation::parse(word).is_none()
        {
            return Err(usage(format!("quantisation {word:?} is not known")));
        }
        all.push(Measurement {
            model: model.id.clone(),
            gpu_product: product.key.clone(),
            gpus: section.gpus,
            quantisation: section.quantisation.clone(),
            name: section.path.clone(),
            points: read_points(&section.path, format, &text)
                .map_err(|error| CliError::Usage(error.to_string()))?,
        });
    }
    Ok(all)
}

/// A bill, read and checked before anything else is.
pub(super) struct Bill {
    pub cluster: String,
    pub name: String,
    pub charges: Vec<Charge>,
}

pub(super) fn bills(
    config: &Config,
    digests: &mut BTreeMap<String, String>,
) -> Result<Vec<Bill>, CliError> {
    let mut all = Vec::new();
    for section in &config.file.bills {
        if !config
            .file
            .clusters
            .iter()
            .any(|cluster| cluster.name == section.cluster)
        {
            return Err(CliError::Usage(format!(
                "[[bill]] {}: there is no [[cluster]] {}",
                section.path, section.cluster
            )));
        }
        let path = config.resolve(&section.path);
        let text = std::fs::read_to_string(&path)
            .map_err(|error| CliError::file("read the bill", &path, error))?;
        digests.insert(
            format!("bill/{}", section.path),
            sha256_hex(text.as_bytes()),
        );
        all.push(Bill {
            cluster: section.cluster.clone(),
            name: section.path.clone(),
            charges: read_bill(&section.path, &text)
                .map_err(|error| CliError::Usage(error.to_string()))?,
        });
    }
    Ok(all)
}

pub(super) async fn billed_nodes(
    session: &SessionContext,
    window: TimeWindow,
    cluster: &str,
) -> Result<Vec<BilledNode>, CliError> {
    let sql = include_str!("../../queries/report/billed_nodes.sql");
    let mut nodes = Vec::new();
    for batch in window_rows(session, sql, window, window.end_ms).await? {
        let (clusters, ids) = (text(&batch, "cluster")?, text(&batch, "provider_id")?);
        let keys = text(&batch, "price_key")?;
        let (gpus, ms) = (int(&batch, "gpus")?, int(&batch, "gpu_ms")?);
        nodes.extend(
            (0..batch.num_rows())
                .filter(|row| clusters.value(*row) == cluster)
                .map(|row| BilledNode {
                    provider_id: ids.value(row).to_owned(),
                    price_key: keys.value(row).to_owned(),
                    gpus: gpus.value(row),
                    gpu_ms: ms.value(row),
                }),
        );
    }
    Ok(nodes)
}
