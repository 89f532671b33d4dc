//! Owns what blindness costs: GPU time in `unknown`, in dollars, by the telemetry line that would
//! resolve it. The report shows it, and so does `check` where a lake has a publication.

use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use rust_decimal::Decimal;
use serde::Serialize;

use super::data;
use super::error::CliError;
use crate::config::Config;
use crate::lake::columns::{int, text, usd, usd_at};
use crate::lake::{Lake, LakeError, LakeView, read_only_sql};
use crate::report::gpu_hours;

/// One line that is lacking, and what its lack costs.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Blindness {
    pub cluster: String,
    /// A signal of `check`, or `contradiction`.
    pub signal: String,
    pub gpu_hours: String,
    /// Over the window of the cluster's findings; none where a price is unknown.
    pub cost_usd: Option<Decimal>,
    pub nodes: i64,
    pub holders: i64,
}

impl Blindness {
    /// What would resolve it, in words.
    pub(super) fn remedy(&self) -> &'static str {
        match self.signal.as_str() {
            "gpu-activity" => {
                "GPU metrics of every scrape: see idleproof check detectors --advise, gpu-activity"
            }
            "engine-counters" => {
                "the engine's own counters: see idleproof check detectors --advise, engine-counters"
            }
            "requests" => {
                "who asks for which GPU: see idleproof check detectors --advise, requests"
            }
            _ => {
                "no line by itself: signals were there and disagree, or the GPU worked and nothing says for whom"
            }
        }
    }

    /// For people, one line.
    pub(super) fn sentence(&self) -> String {
        let cost = self.cost_usd.map_or_else(
            || "of unknown price".to_owned(),
            |usd| format!("that cost {}", crate::report::usd(usd)),
        );
        format!(
            "{}: {} GPU-hours {cost} are unknown, on {} nodes; it takes {}",
            self.cluster,
            self.gpu_hours,
            self.nodes,
            self.remedy()
        )
    }
}

/// Reads it through a session over a publication.
pub(super) async fn read(session: &SessionContext) -> Result<Vec<Blindness>, CliError> {
    let sql = include_str!("../../queries/report/blindness.sql");
    let none: Vec<ScalarValue> = Vec::new();
    let batches = read_only_sql(session, sql, none)
        .await?
        .collect()
        .await
        .map_err(|cause| LakeError::sql("read what is unknown", cause))?;
    let mut rows = Vec::new();
    for batch in &batches {
        let (cluster, signal) = (text(batch, "cluster")?, text(batch, "signal")?);
        let (ms, cost) = (int(batch, "ms")?, usd(batch, "cost_usd")?);
        let (unpriced, nodes) = (int(batch, "unpriced_ms")?, int(batch, "nodes")?);
        let holders = int(batch, "holders")?;
        rows.extend((0..batch.num_rows()).map(|row| Blindness {
            cluster: cluster.value(row).to_owned(),
            signal: signal.value(row).to_owned(),
            gpu_hours: gpu_hours(ms.value(row)),
            cost_usd: usd_at(&cost, row).filter(|_| unpriced.value(row) == 0),
            nodes: nodes.value(row),
            holders: holders.value(row),
        }));
    }
    Ok(rows)
}

/// What the newest publication of the configured lake says; nothing where there is none yet.
pub(super) async fn of_lake(config: &Config) -> Vec<Blindness> {
    let opened = Lake::open_existing_with(&config.lake_url(), &config.lake_options().into()).await;
    let Ok(lake) = opened else {
        return Vec::new();
    };
    let Ok(Some(publication)) = lake.publication(None).await else {
        return Vec::new();
    };
    // A publication of an older version may lack a table: `check` then says nothing of it.
    match data::session(&lake, &LakeView::published(&publication)).await {
        Ok(session) => read(&session).await.unwrap_or_default(),
        Err(_) => Vec::new(),
    }
}
