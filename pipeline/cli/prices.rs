//! Owns `prices`: what the newest publication priced the fleet with, and the sheet that it lacks.

use std::io::Write as _;

use datafusion::arrow::array::RecordBatch;
use datafusion::scalar::ScalarValue;

use super::args::{PricesArgs, PricesWhat};
use super::data;
use super::error::CliError;
use super::output::print_rows;
use crate::config::Config;
use crate::detect::economics::prices::{NodeFacts, PriceRow, Rung, missing_sheet};
use crate::exit::Exit;
use crate::lake::columns::{int, int_at, text, usd, usd_at};
use crate::lake::{LakeError, LakeView, read_only_sql};

pub(super) async fn prices(args: &PricesArgs) -> Result<Exit, CliError> {
    let config = match &args.what {
        PricesWhat::List(list) => &list.config,
        PricesWhat::Missing(missing) => &missing.config,
    };
    let config = Config::load(&config.config)?;
    let (lake, publication) = data::published(&config, None).await?;
    let session = data::session(&lake, &LakeView::published(&publication)).await?;
    let rows = async |sql: &str| -> Result<Vec<RecordBatch>, CliError> {
        let none: Vec<ScalarValue> = Vec::new();
        Ok(read_only_sql(&session, sql, none)
            .await?
            .collect()
            .await
            .map_err(|cause| LakeError::sql("read the prices", cause))?)
    };
    match &args.what {
        PricesWhat::List(list) => {
            let sql = "SELECT cluster, provider, region, instance_type, gpu_product, capacity_type, \
                gpus_per_node, list_usd_per_gpu_hour, contracted_usd_per_gpu_hour, \
                effective_usd_per_gpu_hour, rung, band_percent, price_date, commitment_id, \
                commitment_end_ms, provenance FROM v_prices ORDER BY cluster, price_key";
            let batches = rows(sql).await?;
            print_rows(&mut std::io::stdout().lock(), &batches, list.output)?;
        }
        PricesWhat::Missing(_) => {
            let fleet = rows(include_str!("../../queries/report/fleet_prices.sql")).await?;
            let sheet = missing_sheet(&price_rows(&fleet)?);
            let mut out = std::io::stdout().lock();
            out.write_all(sheet.as_bytes()).map_err(CliError::Stdout)?;
            if sheet.lines().count() < 2 {
                super::say("every node of the fleet has a price of a sheet or of the catalogue");
            }
        }
    }
    Ok(Exit::Done)
}

fn price_rows(batches: &[RecordBatch]) -> Result<Vec<PriceRow>, CliError> {
    let mut prices = Vec::new();
    for batch in batches {
        let (keys, rungs) = (text(batch, "price_key")?, text(batch, "rung")?);
        let provenance = text(batch, "provenance")?;
        let (gpus, dollars) = (
            int(batch, "gpus_per_node")?,
            usd(batch, "usd_per_gpu_hour")?,
        );
        for row in 0..batch.num_rows() {
            let Some(facts) = NodeFacts::from_key(keys.value(row)) else {
                continue;
            };
            prices.push(PriceRow {
                facts,
                gpus_per_node: int_at(&gpus, row),
                list_usd_per_gpu_hour: usd_at(&dollars, row),
                contracted_usd_per_gpu_hour: None,
                effective_usd_per_gpu_hour: None,
                rung: Rung::parse(rungs.value(row)),
                band_percent: 0,
                provenance: provenance.value(row).to_owned(),
                price_date: None,
                commitment: None,
            });
        }
    }
    Ok(prices)
}
