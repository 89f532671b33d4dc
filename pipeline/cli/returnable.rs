//! Owns the way from a publication to what can be handed back: kinds of node with what is free of them,
//! their prices and commitments, and the nodes that nobody holds. `report_data` asks it.

use std::collections::BTreeMap;

use datafusion::prelude::SessionContext;

use super::error::CliError;
use super::windowed::window_rows;
use crate::lake::columns::{int, int_at, text, text_at, usd, usd_at};
use crate::model::TimeWindow;
use crate::report::PoolData;

pub(super) async fn read(
    session: &SessionContext,
    window: TimeWindow,
) -> Result<Vec<PoolData>, CliError> {
    let mut empty = empty_nodes(session, window).await?;
    let sql = include_str!("../../queries/report/returnable.sql");
    let mut rows = Vec::new();
    for batch in window_rows(session, sql, window, window.end_ms).await? {
        let (cluster, key) = (text(&batch, "cluster")?, text(&batch, "price_key")?);
        let (nodes, gpus) = (int(&batch, "nodes")?, int(&batch, "gpus")?);
        let (per_node, hours) = (int(&batch, "gpus_per_node")?, int(&batch, "hours")?);
        let (least, free) = (int(&batch, "least_free_ms")?, int(&batch, "free_ms")?);
        let price = usd(&batch, "usd_per_gpu_hour")?;
        let commitment = text(&batch, "commitment_id")?;
        let ends = int(&batch, "commitment_end_ms")?;
        let reserved = int(&batch, "reserved_nodes")?;
        for row in 0..batch.num_rows() {
            let place = (cluster.value(row).to_owned(), key.value(row).to_owned());
            let empty = empty.remove(&place).unwrap_or_default();
            rows.push(PoolData {
                cluster: place.0,
                key: place.1,
                nodes: nodes.value(row),
                gpus: gpus.value(row),
                gpus_per_node: int_at(&per_node, row),
                least_free_ms: least.value(row),
                free_ms: free.value(row),
                hours: hours.value(row),
                usd_per_gpu_hour: usd_at(&price, row),
                commitment: text_at(&commitment, row),
                commitment_end_ms: int_at(&ends, row),
                reserved_nodes: reserved.value(row),
                empty,
            });
        }
    }
    Ok(rows)
}

/// Cluster and price key → nodes and the hour since which they are free.
type Empty = BTreeMap<(String, String), Vec<(String, i64)>>;

async fn empty_nodes(session: &SessionContext, window: TimeWindow) -> Result<Empty, CliError> {
    let sql = include_str!("../../queries/report/empty_nodes.sql");
    let mut found = Empty::new();
    for batch in window_rows(session, sql, window, window.end_ms).await? {
        let (cluster, key) = (text(&batch, "cluster")?, text(&batch, "price_key")?);
        let (node, since) = (text(&batch, "node")?, int(&batch, "free_from_ms")?);
        for row in 0..batch.num_rows() {
            let place = (cluster.value(row).to_owned(), key.value(row).to_owned());
            let one = (node.value(row).to_owned(), since.value(row));
            found.entry(place).or_default().push(one);
        }
    }
    Ok(found)
}
