//! Owns what the lake knows of one cluster's workloads when a gate asks: facts, demand and speed of the
//! window, who scaled them, what they cost, and the findings that are open.

use std::collections::BTreeMap;

use datafusion::arrow::array::RecordBatch;
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use rust_decimal::Decimal;

use super::world::Id;
use crate::cli::conclude::Settings;
use crate::cli::error::CliError;
use crate::cli::simulate::read::{Part, Reader, Subject};
use crate::config::ClusterSection;
use crate::detect::economics::placements::{
    Changed, Demand, KnownSpeed, Placement, SizingParams, SloRule, WorkloadFacts, place,
    place_changed,
};
use crate::detect::economics::prices::{NodeFacts, PriceBook, PriceRow};
use crate::detect::economics::rows::{demands, own_hours, workloads};
use crate::detect::economics::speed::OwnHours;
use crate::detect::{QuerySet, window_queries};
use crate::gate::effect::Known;
use crate::lake::columns::{int, int_at, text, text_at, usd, usd_at};
use crate::lake::{Lake, LakeError, LakeView, Publication, read_only_sql};
use crate::model::TimeWindow;

/// The detector whose threshold says how much surplus is a finding.
pub(super) const SURPLUS: &str = "surplus-replicas";

/// Dollars of a GPU-hour, and how well they are known.
#[derive(Debug, Clone)]
pub(super) struct Price {
    pub usd: Decimal,
    pub rung: String,
    pub band_percent: i64,
}

pub(super) struct Fleet<'a> {
    pub cluster: &'a ClusterSection,
    pub window: TimeWindow,
    pub session: &'a SessionContext,
    facts: BTreeMap<Id, WorkloadFacts>,
    demands: BTreeMap<Id, Demand>,
    hours: Vec<OwnHours>,
    settings: &'a Settings,
    rules: Vec<SloRule>,
    book: PriceBook,
    prices: BTreeMap<String, Option<Price>>,
    used: BTreeMap<(String, Id), Decimal>,
    subjects: BTreeMap<Id, Subject>,
    pub startups_ms: Vec<i64>,
    findings: BTreeMap<Id, Vec<Known>>,
    /// GPU-hours of a window below which surplus is no finding.
    pub min_surplus_gpu_hours: i64,
}

fn id_of(namespace: &str, kind: &str, name: &str) -> Id {
    (namespace.to_owned(), kind.to_owned(), name.to_owned())
}

async fn rows(
    session: &SessionContext,
    sql: &str,
    cluster: &str,
) -> Result<Vec<RecordBatch>, CliError> {
    let params = vec![("cluster", ScalarValue::from(cluster))];
    let failed = |cause| LakeError::sql("read what a gate compares with", cause);
    Ok(read_only_sql(session, sql, params)
        .await?
        .collect()
        .await
        .map_err(failed)?)
}

impl<'a> Fleet<'a> {
    pub(super) async fn new(
        lake: &Lake,
        publication: &Publication,
        session: &'a SessionContext,
        queries: &QuerySet,
        settings: &'a Settings,
        cluster: &'a ClusterSection,
    ) -> Result<Self, CliError> {
        let window = publication.window();
        // The results of window queries are registered beside the tables, so they get a session of their own.
        let own = lake.read_session(&LakeView::published(publication)).await?;
        let results = window_queries(&own, queries, window).await?;
        let of = |name: &str| results.get(name).map_or(&[][..], Vec::as_slice);
        let facts = workloads(of("workload_facts"))?
            .into_iter()
            .filter(|one| one.cluster == cluster.name)
            .map(|one| {
                (
                    id_of(&one.namespace, &one.workload_kind, &one.workload_name),
                    one,
                )
            })
            .collect();
        let demands = demands(of("demand"))?
            .into_iter()
            .filter(|one| one.cluster == cluster.name)
            .map(|one| {
                (
                    id_of(&one.namespace, &one.workload_kind, &one.workload_name),
                    one,
                )
            })
            .collect();
        let reader = Reader { session, window };
        let subjects = reader.subjects().await?.into_iter();
        let subjects = subjects
            .filter(|one| one.id.cluster == cluster.name)
            .map(|one| (one.key(), one))
            .collect();
        let given = settings
            .params
            .get(SURPLUS)
            .and_then(|params| params.0.get("min_surplus_gpu_hours"));
        let usual = || {
            let detector = queries.detectors().iter().find(|one| one.id == SURPLUS)?;
            detector
                .head
                .params
                .get("min_surplus_gpu_hours")?
                .default
                .as_i64()
        };
        let min_surplus_gpu_hours = match given {
            Some(ScalarValue::Int64(Some(hours))) => *hours,
            _ => usual().unwrap_or_default(),
        };
        Ok(Self {
            cluster,
            window,
            session,
            facts,
            demands,
            hours: own_hours(of("own_speed"))?,
            settings,
            rules: settings.slo_rules(&cluster.name),
            book: PriceBook::new(settings.sheets.clone(), window.end_ms),
            prices: prices(session, &cluster.name).await?,
            used: reader.prices().await?,
            subjects,
            startups_ms: reader.startups(window).await?,
            findings: findings(session, &cluster.name).await?,
            min_surplus_gpu_hours,
        })
    }

    pub(super) fn facts(&self, id: &Id) -> Option<&WorkloadFacts> {
        self.facts.get(id)
    }

    pub(super) fn subject(&self, id: &Id) -> Option<&Subject> {
        self.subjects.get(id)
    }

    pub(super) fn demand(&self, id: &Id) -> Option<&Demand> {
        self.demands.get(id)
    }

    pub(super) fn findings(&self, id: &Id) -> &[Known] {
        self.findings.get(id).map_or(&[], Vec::as_slice)
    }

    /// What the window recorded of one workload.
    pub(super) async fn part(&self, subject: &Subject) -> Result<Part, CliError> {
        let reader = Reader {
            session: self.session,
            window: self.window,
        };
        reader.part(std::slice::from_ref(subject)).await
    }

    fn known(&self) -> KnownSpeed<'_> {
        KnownSpeed {
            own_hours: &self.hours,
            measured: &self.settings.measured,
        }
    }

    pub(super) fn placed(
        &self,
        id: &Id,
        before: Option<&WorkloadFacts>,
        after: &WorkloadFacts,
    ) -> Changed {
        let params = SizingParams::default();
        place_changed(
            before,
            after,
            self.demand(id),
            &self.rules,
            params,
            self.known(),
        )
    }

    /// Every placement that would do for a workload, with the prices of those that are elsewhere.
    pub(super) fn candidates(
        &self,
        id: &Id,
        workload: &WorkloadFacts,
    ) -> Result<(Vec<Placement>, Vec<PriceRow>), CliError> {
        let Some(demand) = self.demand(id) else {
            return Ok((Vec::new(), Vec::new()));
        };
        let (one, demand) = ([workload.clone()], [demand.clone()]);
        let params = SizingParams::default();
        let placed = place(&one, &demand, &self.rules, &self.book, params, self.known())
            .map_err(|error| CliError::Usage(error.to_string()))?;
        Ok((placed.rows, placed.prices))
    }

    /// What a GPU-hour of a workload cost in the window.
    pub(super) fn used_price(&self, id: &Id) -> Option<Price> {
        let usd = *self.used.get(&(self.cluster.name.clone(), id.clone()))?;
        let key = self.facts(id)?.price_key.as_ref()?;
        let known = self.prices.get(key).cloned().flatten();
        Some(Price {
            usd,
            rung: known
                .as_ref()
                .map_or_else(|| "unknown".to_owned(), |one| one.rung.clone()),
            band_percent: known.map_or(0, |one| one.band_percent),
        })
    }

    /// What a GPU-hour of a product costs where a workload would get it: the machine that it names, else the
    /// cheapest with as many GPUs as a replica needs.
    pub(super) fn price_of(
        &self,
        live: Option<&WorkloadFacts>,
        product: &str,
        instance_type: Option<&str>,
        gpu_milli: i64,
    ) -> Result<Option<(Price, String)>, CliError> {
        let usage = |error: &dyn std::fmt::Display| CliError::Usage(error.to_string());
        let here = live
            .and_then(|live| NodeFacts::from_key(live.price_key.as_deref()?))
            .unwrap_or_else(|| NodeFacts {
                provider: self.cluster.provider.clone().unwrap_or_default(),
                region: self.cluster.region.clone().unwrap_or_default(),
                ..NodeFacts::default()
            });
        let row = if let Some(instance_type) = instance_type {
            let node = NodeFacts {
                instance_type: instance_type.to_owned(),
                gpu_product: product.to_owned(),
                ..here
            };
            Some(self.book.price(&node, None).map_err(|e| usage(&e))?)
        } else {
            let gpus = (gpu_milli + 999) / 1000;
            let offer = self.book.candidate(&here, product, gpus.max(1));
            offer.map_err(|e| usage(&e))?
        };
        Ok(row.and_then(|row| {
            // A key that the run priced was perhaps on a bill.
            let key = row.price_key();
            let told = self.prices.get(&key).cloned().flatten();
            let price = match told {
                Some(told) => told,
                None => Price {
                    usd: row.usd_per_gpu_hour()?,
                    rung: row.rung.as_str().to_owned(),
                    band_percent: row.band_percent,
                },
            };
            Some((price, key))
        }))
    }

    /// The price of a key that the run priced.
    pub(super) fn known_price(&self, key: &str) -> Option<Decimal> {
        Some(self.prices.get(key)?.as_ref()?.usd)
    }
}

async fn prices(
    session: &SessionContext,
    cluster: &str,
) -> Result<BTreeMap<String, Option<Price>>, CliError> {
    let sql = include_str!("../../../queries/gate/gate_prices.sql");
    let mut out = BTreeMap::new();
    for batch in rows(session, sql, cluster).await? {
        let (key, rung) = (text(&batch, "price_key")?, text(&batch, "rung")?);
        let (band, price) = (int(&batch, "band_percent")?, usd(&batch, "price_usd")?);
        for row in 0..batch.num_rows() {
            let known = usd_at(&price, row).map(|usd| Price {
                usd,
                rung: text_at(&rung, row).unwrap_or_default(),
                band_percent: int_at(&band, row).unwrap_or(0),
            });
            out.insert(key.value(row).to_owned(), known);
        }
    }
    Ok(out)
}

async fn findings(
    session: &SessionContext,
    cluster: &str,
) -> Result<BTreeMap<Id, Vec<Known>>, CliError> {
    let sql = include_str!("../../../queries/gate/gate_findings.sql");
    let mut out: BTreeMap<Id, Vec<Known>> = BTreeMap::new();
    for batch in rows(session, sql, cluster).await? {
        let words = |name| text(&batch, name);
        let id = (
            words("namespace")?,
            words("workload_kind")?,
            words("workload_name")?,
        );
        let (detector, handle) = (words("detector")?, words("handle")?);
        let (net, waste) = (
            usd(&batch, "net_monthly_usd")?,
            int(&batch, "waste_gpu_ms")?,
        );
        for row in 0..batch.num_rows() {
            let id = (
                id.0.value(row).to_owned(),
                id.1.value(row).to_owned(),
                id.2.value(row).to_owned(),
            );
            out.entry(id).or_default().push(Known {
                detector: detector.value(row).to_owned(),
                handle: handle.value(row).to_owned(),
                usd_month: usd_at(&net, row),
                gpu_hours: int_at(&waste, row)
                    .map(|ms| Decimal::from(ms) / Decimal::from(crate::model::time::HOUR_MS)),
            });
        }
    }
    Ok(out)
}
