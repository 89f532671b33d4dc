//! Owns how replays are printed: one row a replay or an hour, prices put to GPU-hours, unknown left empty.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
};
use rust_decimal::Decimal;

use super::{Answer, Run, SimulateArgs};
use crate::cli::error::CliError;
use crate::cli::output::{OutputFormat, print_rows};
use crate::cli::say;
use crate::model::TimeWindow;
use crate::model::time::{HOUR_MS, date_of, format_ms};

/// What a terminal has room for.
const SHOWN: &[&str] = &[
    "workload",
    "run",
    "scaler",
    "replica_hours",
    "gpu_hours",
    "cost_usd",
    "peak_replicas",
    "late_requests",
    "unserved_requests",
    "slo_minutes_missed",
    "known_hours",
    "unknown_hours",
    "replay_error_percent",
];

/// Workloads of which a note is said one by one; the rest are counted.
const NOTES_MAX: usize = 20;

pub(super) fn print(
    args: &SimulateArgs,
    window: TimeWindow,
    answers: &[Answer],
) -> Result<(), CliError> {
    let rows: Vec<(&Answer, &Run)> = answers
        .iter()
        .flat_map(|answer| answer.runs.iter().map(move |run| (answer, run)))
        .collect();
    let failed =
        |error: datafusion::arrow::error::ArrowError| CliError::Unexpected(error.to_string());
    let batch = if args.hourly {
        hours(&rows)
    } else {
        summary(&rows)
    }
    .map_err(failed)?;
    let batch = if args.output == OutputFormat::Table && !args.hourly {
        let schema = batch.schema();
        let shown = SHOWN.iter().filter_map(|name| schema.index_of(name).ok());
        batch.project(&shown.collect::<Vec<_>>()).map_err(failed)?
    } else {
        batch
    };
    print_rows(&mut std::io::stdout(), &[batch], args.output)?;
    notes(window, answers);
    Ok(())
}

/// What the rows rest on, beside them.
fn notes(window: TimeWindow, answers: &[Answer]) {
    let noted: Vec<&str> = answers.iter().filter_map(|a| a.note.as_deref()).collect();
    for note in noted.iter().take(NOTES_MAX) {
        say(&format!("warning: not replayed: {note}"));
    }
    if noted.len() > NOTES_MAX {
        say(&format!(
            "warning: and {} more workloads were not replayed; `--workload` says why of each",
            noted.len() - NOTES_MAX
        ));
    }
    if let [answer] = answers {
        let window = answer.judged;
        if let Some(schedule) = &answer.schedule {
            say(schedule);
        }
        let slo = answer.subject.slo_source.as_deref().unwrap_or("assumed");
        let error = answer.error.map_or_else(
            || "the present spec has no error to print: it cannot be replayed, or nothing was observed".to_owned(),
            |error| {
                format!(
                    "replaying the present spec gives {:+.1} % of the observed replica-hours",
                    error * 100.0
                )
            },
        );
        say(&format!(
            "{} to {}; start-up {} s ({}); capacity of a replica: {}; SLO {} ms to the first token ({slo}); {error}",
            date_of(window.start_ms),
            date_of(window.end_ms),
            answer.startup_ms / 1000,
            answer.startup_from,
            answer.capacity_from.word(),
            answer.subject.slo_ttft_ms.unwrap_or(super::SLO_TTFT_MS),
        ));
    } else {
        let replayed: Vec<f64> = answers.iter().filter_map(|answer| answer.error).collect();
        let near = replayed.iter().filter(|error| error.abs() <= 0.05).count();
        say(&format!(
            "{} to {}: {} workloads, the present spec of {} replayed, {near} of them within 5 % of the observed replica-hours",
            date_of(window.start_ms),
            date_of(window.end_ms),
            answers.len(),
            replayed.len(),
        ));
    }
}

type Column = (&'static str, ArrayRef);

fn words<'r>(name: &'static str, values: impl Iterator<Item = &'r str>) -> Column {
    (name, Arc::new(StringArray::from_iter_values(values)))
}

fn whole(name: &'static str, values: impl Iterator<Item = Option<i64>>) -> Column {
    (name, Arc::new(values.collect::<Int64Array>()))
}

/// Two decimals: more would be noise of the model.
fn real(name: &'static str, values: impl Iterator<Item = Option<f64>>) -> Column {
    let rounded = values.map(|value| value.map(|value| (value * 100.0).round() / 100.0));
    (name, Arc::new(rounded.collect::<Float64Array>()))
}

fn gpu_ms(answer: &Answer, held_ms: f64) -> i64 {
    (held_ms * answer.subject.gpu_milli as f64 / 1000.0).round() as i64
}

/// Dollars in cents, rounded once.
fn cost(answer: &Answer, held_ms: f64) -> Option<i128> {
    let hours = Decimal::from(gpu_ms(answer, held_ms)).checked_div(Decimal::from(HOUR_MS))?;
    let usd = answer.price_usd?.checked_mul(hours)?.round_dp(2);
    let mut cents = usd;
    cents.rescale(2);
    Some(cents.mantissa())
}

fn money(
    name: &'static str,
    values: impl Iterator<Item = Option<i128>>,
) -> Result<Column, datafusion::arrow::error::ArrowError> {
    let array = values
        .collect::<Decimal128Array>()
        .with_precision_and_scale(38, 2)?;
    Ok((name, Arc::new(array)))
}

fn subject_columns(rows: &[(&Answer, &Run)]) -> Vec<Column> {
    let id = |of: fn(&crate::model::workload::WorkloadId) -> &String| {
        let ids = rows.iter().map(move |(answer, _)| of(&answer.subject.id));
        ids.map(String::as_str)
    };
    vec![
        words("cluster", id(|id| &id.cluster)),
        words("namespace", id(|id| &id.namespace)),
        words("workload_kind", id(|id| &id.kind)),
        words("workload_name", id(|id| &id.name)),
    ]
}

fn summary(rows: &[(&Answer, &Run)]) -> Result<RecordBatch, datafusion::arrow::error::ArrowError> {
    let outcome = || rows.iter().map(|(_, run)| &run.outcome);
    let served = |of: fn(&crate::simulate::Outcome) -> f64| {
        outcome().map(move |o| o.is_served.then(|| of(o).round() as i64))
    };
    let hours = |ms: f64| Some(ms / HOUR_MS as f64);
    let names: Vec<String> = rows
        .iter()
        .map(|(answer, _)| format!("{}/{}", answer.subject.id.namespace, answer.subject.id.name))
        .collect();
    let mut columns = subject_columns(rows);
    columns.extend([
        words("workload", names.iter().map(String::as_str)),
        words("run", rows.iter().map(|(_, run)| run.what)),
        words("scaler", rows.iter().map(|(_, run)| run.scaler.as_str())),
        real("replica_hours", outcome().map(|o| hours(o.ready_ms))),
        real(
            "gpu_hours",
            rows.iter()
                .map(|(answer, run)| hours(gpu_ms(answer, run.outcome.held_ms) as f64)),
        ),
        money(
            "cost_usd",
            rows.iter()
                .map(|(answer, run)| cost(answer, run.outcome.held_ms)),
        )?,
        real("peak_replicas", outcome().map(|o| Some(o.peak))),
        // How often replicas were started is not observed by bucket.
        whole(
            "starts",
            rows.iter()
                .map(|(_, run)| (run.what != "observed").then_some(i64::from(run.outcome.starts))),
        ),
        whole(
            "requests",
            outcome().map(|o| Some(o.requests.round() as i64)),
        ),
        whole("late_requests", served(|o| o.late_requests)),
        whole("unserved_requests", served(|o| o.unserved_requests)),
        whole(
            "slo_minutes_missed",
            served(|o| o.missed_ms as f64 / 60_000.0),
        ),
        real("known_hours", outcome().map(|o| hours(o.known_ms as f64))),
        real(
            "unknown_hours",
            outcome().map(|o| hours(o.unknown_ms as f64)),
        ),
        real(
            "replay_error_percent",
            rows.iter()
                .map(|(answer, _)| answer.error.map(|error| error * 100.0)),
        ),
        whole(
            "startup_seconds",
            rows.iter()
                .map(|(answer, _)| Some(answer.startup_ms / 1000)),
        ),
        words(
            "startup_from",
            rows.iter().map(|(answer, _)| answer.startup_from),
        ),
        words(
            "capacity_from",
            rows.iter().map(|(answer, _)| answer.capacity_from.word()),
        ),
        (
            "note",
            Arc::new(
                rows.iter()
                    .map(|(answer, _)| answer.note.as_deref())
                    .collect::<StringArray>(),
            ) as ArrayRef,
        ),
        (
            "schedule",
            Arc::new(
                rows.iter()
                    .map(|(answer, _)| answer.schedule.as_deref())
                    .collect::<StringArray>(),
            ) as ArrayRef,
        ),
    ]);
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
}

fn hours(rows: &[(&Answer, &Run)]) -> Result<RecordBatch, datafusion::arrow::error::ArrowError> {
    let all: Vec<(&Answer, &Run)> = rows
        .iter()
        .flat_map(|(answer, run)| run.outcome.hours.iter().map(move |_| (*answer, *run)))
        .collect();
    let each = || rows.iter().flat_map(|(_, run)| run.outcome.hours.iter());
    let times: Vec<String> = each().map(|hour| format_ms(hour.hour_ms)).collect();
    // An hour of which nothing is known has no replicas to show.
    let mean = |known_ms: i64, ms: f64| (known_ms > 0).then(|| ms / known_ms as f64);
    let mut columns = subject_columns(&all);
    columns.extend([
        words("run", all.iter().map(|(_, run)| run.what)),
        words("hour", times.iter().map(String::as_str)),
        real(
            "ready_replicas",
            each().map(|hour| mean(hour.known_ms, hour.ready_ms)),
        ),
        real(
            "held_replicas",
            each().map(|hour| mean(hour.known_ms, hour.held_ms)),
        ),
        whole(
            "late_requests",
            each().zip(&all).map(|(hour, (_, run))| {
                run.outcome
                    .is_served
                    .then(|| hour.late_requests.round() as i64)
            }),
        ),
        real(
            "slo_minutes_missed",
            each().zip(&all).map(|(hour, (_, run))| {
                run.outcome
                    .is_served
                    .then(|| hour.missed_ms as f64 / 60_000.0)
            }),
        ),
        real(
            "known_minutes",
            each().map(|hour| Some(hour.known_ms as f64 / 60_000.0)),
        ),
    ]);
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
}
