//! Owns the files of evidence that a user gives beside the sources: load tests and bills, read and
//! checked before anything else is, each with its digest for the publication.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use datafusion::prelude::SessionContext;

use super::error::CliError;
use super::windowed::window_rows;
use crate::catalogue;
use crate::config::Config;
use crate::detect::economics::bill::{BilledNode, COLUMNS, Charge, read_bill, read_bill_rows};
use crate::detect::economics::measured::{Format, Measurement, read_points};
use crate::lake::columns::{int, text};
use crate::lake::{foreign_rows, is_parquet};
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
        let mut charges = Vec::new();
        for (name, path) in bill_files(&section.path, &config.resolve(&section.path))? {
            let bytes = std::fs::read(&path)
                .map_err(|error| CliError::file("read the bill", &path, error))?;
            digests.insert(format!("bill/{name}"), sha256_hex(&bytes));
            charges.extend(charges_of(&name, bytes)?);
        }
        all.push(Bill {
            cluster: section.cluster.clone(),
            name: section.path.clone(),
            charges,
        });
    }
    Ok(all)
}

/// The file itself, or a folder's `.csv` and `.parquet` files, as exports of providers come in parts.
fn bill_files(name: &str, path: &Path) -> Result<Vec<(String, PathBuf)>, CliError> {
    if !path.is_dir() {
        return Ok(vec![(name.to_owned(), path.to_owned())]);
    }
    let failed = |error| CliError::file("read the bills in", path, error);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let known = file
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("csv") || e.eq_ignore_ascii_case("parquet"));
        if let (true, Some(part)) = (known, file.file_name()) {
            files.push((format!("{name}/{}", part.to_string_lossy()), file));
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(CliError::Usage(format!(
            "[[bill]] {name}: the folder holds no .csv and no .parquet file"
        )));
    }
    Ok(files)
}

fn charges_of(name: &str, bytes: Vec<u8>) -> Result<Vec<Charge>, CliError> {
    let usage = |error: &dyn std::fmt::Display| CliError::Usage(format!("bill {name}: {error}"));
    let read = if is_parquet(&bytes) {
        let file = foreign_rows(bytes.into(), COLUMNS).map_err(|error| usage(&error))?;
        let header: Vec<&str> = file.columns.iter().map(String::as_str).collect();
        read_bill_rows(name, &header, file.rows)
    } else {
        let text = String::from_utf8(bytes)
            .map_err(|_| usage(&"it is neither Parquet nor CSV in UTF-8; give one of them"))?;
        read_bill(name, &text)
    };
    read.map_err(|error| CliError::Usage(error.to_string()))
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
