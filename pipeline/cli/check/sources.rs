//! Owns what `check` asks of one source and of the lake: can it be reached, may it be read, what does
//! it hold, how old, how often, by whose clock.

use std::collections::BTreeMap;

use super::super::now_ms;
use super::super::sources::OpenSource;
use super::{MINUTE_MS, PROBE_MS, SourceCheck};
use crate::config::Config;
use crate::ingest::Census;
use crate::lake::{Lake, LakeError};
use crate::model::TimeWindow;
use crate::model::time::{DAY_MS, format_ms};

/// Beyond this the clocks of server and machine are said to differ.
const CLOCK_SKEW_MS: i64 = MINUTE_MS;

pub(super) async fn source(open: &OpenSource, wanted_days: i64) -> (SourceCheck, Option<Census>) {
    let mut checked = SourceCheck {
        source: open.source.name().to_owned(),
        cluster: open.cluster.clone(),
        ok: true,
        notes: Vec::new(),
        from: open.extent.map(|extent| format_ms(extent.start_ms)),
        to: open.extent.map(|extent| format_ms(extent.end_ms)),
        series: 0,
        interval_seconds: BTreeMap::new(),
    };
    if open.is_live() {
        cluster(open, &mut checked).await;
        return (checked, None);
    }
    let Some(extent) = open.extent else {
        checked
            .notes
            .push("it holds nothing that idleproof reads".to_owned());
        return (checked, None);
    };
    let days = (extent.end_ms - extent.start_ms) / DAY_MS;
    if days < wanted_days && !open.is_export() {
        checked.notes.push(format!(
            "it holds {days} days; the detectors look at {} and the day before them: use --last {}d \
             until it holds more, or give it longer retention",
            wanted_days - 1,
            (days - 1).max(1)
        ));
    }
    if open.source.is_live() {
        let behind_ms = now_ms() - extent.end_ms;
        if behind_ms.abs() > CLOCK_SKEW_MS {
            let (seconds, side) = (
                behind_ms.abs() / 1000,
                if behind_ms > 0 { "behind" } else { "ahead of" },
            );
            checked.notes.push(format!(
                "its newest samples are {seconds} s {side} this machine's clock: check the clocks, and \
                 that it still scrapes"
            ));
        }
    }
    let window = TimeWindow::new(extent.end_ms - PROBE_MS, extent.end_ms);
    match open
        .source
        .census(&open.cluster, window, &open.options)
        .await
    {
        Ok(Some(census)) => {
            checked.series = census.series;
            checked.interval_seconds = census
                .tables
                .iter()
                .filter_map(|(table, t)| Some(((*table).to_owned(), t.interval_ms()? / 1000)))
                .collect();
            for (table, seconds) in &checked.interval_seconds {
                if *seconds > 300 {
                    checked.notes.push(format!(
                        "{table} are scraped every {seconds} s: what is shorter than that is not seen"
                    ));
                }
            }
            if census.series == 0 {
                checked.notes.push(format!(
                    "its last {} minutes hold no series that idleproof reads",
                    PROBE_MS / MINUTE_MS
                ));
            }
            (checked, Some(census))
        }
        Ok(None) => (checked, None),
        Err(error) => {
            checked.ok = false;
            checked.notes.push(error.to_string());
            (checked, None)
        }
    }
}

pub(super) async fn lake(config: &Config) -> SourceCheck {
    let (ok, note) =
        match Lake::open_existing_with(&config.lake_url(), &config.lake_options().into()).await {
            Ok(_) => (true, "it is there and can be read".to_owned()),
            Err(LakeError::NotALake { .. }) => {
                (true, "not there yet: the first run makes it".to_owned())
            }
            Err(error) => (false, error.to_string()),
        };
    SourceCheck {
        source: "(lake)".to_owned(),
        cluster: String::new(),
        ok,
        notes: vec![note],
        from: None,
        to: None,
        series: 0,
        interval_seconds: BTreeMap::new(),
    }
}

/// A running cluster: every kind is listed as an ingest would, which is the proof that it may be.
async fn cluster(open: &OpenSource, checked: &mut SourceCheck) {
    match open.source.kinds().await {
        Ok(Some(found)) => {
            checked.notes.push(format!(
                "{} kinds listed with {} objects, {} not installed",
                found.kinds, found.objects, found.absent
            ));
            if !found.forbidden.is_empty() {
                checked.notes.push(format!(
                    "the account may not read {}: nothing will be known of them; docs/sources.md has \
                     the ClusterRole",
                    found.forbidden.join(", ")
                ));
            }
            for (kind, reason) in found.failed {
                checked.ok = false;
                checked
                    .notes
                    .push(format!("{kind} cannot be read: {reason}"));
            }
        }
        Ok(None) => {}
        Err(error) => {
            checked.ok = false;
            checked.notes.push(error.to_string());
        }
    }
}
