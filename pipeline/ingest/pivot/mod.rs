//! Owns the pivot: the series of one window become the exact rows of raw tables, nothing resampled.
//!
//! All series of one scrape share its timestamp, so a row is one GPU, engine, container or
//! autoscaler at one scrape. Stale markers and non-finite values are dropped first. Pure: knows no
//! source and no lake. Called by `driver`.

mod conversion;
mod gpu;
mod histogram;
mod intake;
mod misc;
mod times;
mod wide;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::aliases::{Aliases, WideKind};
use super::prometheus::{Labels, SeriesSamples, USUAL_REPLICA_LABELS};
use super::rows::{RowError, TableBatches, TableRows};
use crate::lake::schema;
use crate::model::TimeWindow;
use intake::Intake;

/// Series of one window that the pivot holds in memory at once.
const MAX_SERIES: usize = 4_000_000;

/// Samples of one window that the pivot holds in memory at once: with the rows that are made of
/// them, under 1 GiB.
pub const MAX_SAMPLES: u64 = 26_000_000;

/// Why a window cannot be pivoted.
#[derive(Debug, thiserror::Error)]
pub enum PivotError {
    #[error(
        "the window holds more than {MAX_SERIES} selected series; choose shorter windows, or one \
         source for each cluster"
    )]
    TooManySeries,
    #[error(
        "the window holds more than {limit} selected samples; choose shorter windows \
         (window_hours), or one source for each cluster"
    )]
    TooManySamples { limit: u64 },
    #[error(transparent)]
    Row(#[from] RowError),
}

/// What a window held and what the pivot left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PivotStats {
    /// Series and samples that the source handed over; stale markers are not samples.
    pub series: u64,
    pub samples: u64,
    pub stale_markers: u64,
    /// Series with oversized labels, or without the labels that make a row's key.
    pub series_rejected: u64,
    /// Values that mean "not supported", and values that are not finite.
    pub values_rejected: u64,
    /// Series of the second Prometheus of a pair, and of an instance scraped by a second job.
    pub series_duplicate: u64,
}

/// The rows of one window.
#[derive(Debug)]
pub struct Pivoted {
    /// In the order of [`RAW_SAMPLE_TABLES`].
    pub tables: Vec<TableBatches>,
    pub stats: PivotStats,
    /// Of the targets that several Prometheis scraped: those taken from each, by its replica label.
    pub replicas: Replicas,
}

/// Targets (`job/instance`) by the replica that they were taken from.
pub type Replicas = BTreeMap<String, Vec<String>>;

/// The raw tables that a window of samples fills.
pub const RAW_SAMPLE_TABLES: [&str; 7] = [
    "gpu_samples",
    "gpu_pod_spans",
    "serving_samples",
    "container_samples",
    "scaler_samples",
    "misc_samples",
    "series",
];

/// What the pivot must know beside the aliases.
#[derive(Debug, Clone)]
pub struct PivotOptions {
    /// Labels that tell the Prometheis of one pair apart: one of them is kept for each target.
    pub replica_labels: Vec<String>,
    /// Samples of one window; more of them are read in narrower windows.
    pub max_samples: u64,
}

impl Default for PivotOptions {
    fn default() -> Self {
        Self {
            replica_labels: USUAL_REPLICA_LABELS.map(str::to_owned).to_vec(),
            max_samples: MAX_SAMPLES,
        }
    }
}

/// Takes the series of one window, in any order, and gives its rows.
#[derive(Debug)]
pub struct WindowPivot<'a> {
    aliases: &'a Aliases,
    cluster: &'a str,
    max_samples: u64,
    intake: Intake<'a>,
}

impl<'a> WindowPivot<'a> {
    #[must_use]
    pub fn new(
        aliases: &'a Aliases,
        cluster: &'a str,
        window: TimeWindow,
        options: &'a PivotOptions,
    ) -> Self {
        Self {
            aliases,
            cluster,
            max_samples: options.max_samples,
            intake: Intake::new(aliases, window, options),
        }
    }

    pub fn add(&mut self, series: SeriesSamples) -> Result<(), PivotError> {
        if self.intake.stats.series as usize >= MAX_SERIES {
            return Err(PivotError::TooManySeries);
        }
        self.intake.add(series);
        if self.intake.stats.samples > self.max_samples {
            return Err(PivotError::TooManySamples {
                limit: self.max_samples,
            });
        }
        Ok(())
    }

    pub fn finish(self) -> Result<Pivoted, PivotError> {
        let mut intake = self.intake;
        let replicas = intake.choose_replicas();
        let mut tables = Vec::with_capacity(RAW_SAMPLE_TABLES.len());
        for name in RAW_SAMPLE_TABLES {
            let spec = schema::table(name).ok_or(RowError::Cell {
                table: "tables.rs",
                column: name,
            })?;
            // The labels of narrow series are one text each, all different.
            let mut rows = match name {
                "series" => TableRows::new(spec)?,
                _ => TableRows::labelled(spec)?,
            };
            match WideKind::ALL.into_iter().find(|kind| kind.table() == name) {
                Some(kind) => {
                    wide::write(
                        kind,
                        spec,
                        self.aliases,
                        self.cluster,
                        &mut intake,
                        &mut rows,
                    )?;
                }
                None if name == "gpu_pod_spans" => {
                    gpu::write_spans(self.aliases, self.cluster, &intake, &mut rows)?;
                }
                None if name == "misc_samples" => {
                    misc::write_samples(self.cluster, &mut intake, &mut rows)?;
                }
                None => misc::write_series(self.cluster, &intake, &mut rows)?,
            }
            tables.push(rows.finish()?);
        }
        Ok(Pivoted {
            tables,
            stats: intake.stats,
            replicas,
        })
    }
}

/// The first of these labels that is there.
fn first<'l>(labels: &'l Labels, names: &[String]) -> Option<&'l str> {
    names.iter().find_map(|name| labels.get(name))
}
