//! Owns `ingest --plan`: what an ingest would read, before it does. Reads a few minutes of each
//! source and scales what it finds; keeps nothing.

use std::io::Write as _;
use std::time::Instant;

use super::check::PROBE_MS;
use super::error::CliError;
use super::progress::short;
use super::sources::OpenSource;
use crate::exit::Exit;
use crate::ingest::{self, plan};
use crate::lake::Lake;
use crate::model::TimeWindow;
use crate::model::time::format_ms;

/// What reading one source would take.
#[derive(Debug)]
struct SourcePlan {
    from: String,
    to: String,
    /// Windows to be read, and those that the lake holds and that have settled.
    windows: usize,
    settled: usize,
    series: u64,
    samples: u64,
    requests: u64,
    seconds: u64,
}

pub(super) async fn print(
    lake: Option<&Lake>,
    sources: &[OpenSource],
    span: TimeWindow,
) -> Result<Exit, CliError> {
    let mut lines = Vec::new();
    for open in sources {
        let name = open.source.name();
        let Some(wanted) = open.extent.and_then(|extent| extent.intersect(&span)) else {
            lines.push(format!("{name}: holds nothing of the span"));
            continue;
        };
        let Some(plan) = of_source(lake, open, wanted).await? else {
            lines.push(format!("{name}: snapshots, read whole"));
            continue;
        };
        lines.push(format!(
            "{name}: {} to {}: {} windows to read, {} settled; about {} series, {} samples, {} \
             requests, {} s",
            plan.from,
            plan.to,
            plan.windows,
            plan.settled,
            short(plan.series as f64),
            short(plan.samples as f64),
            plan.requests,
            plan.seconds
        ));
    }
    writeln!(std::io::stdout().lock(), "{}", lines.join("\n")).map_err(CliError::Stdout)?;
    Ok(Exit::Done)
}

async fn of_source(
    lake: Option<&Lake>,
    open: &OpenSource,
    wanted: TimeWindow,
) -> Result<Option<SourcePlan>, CliError> {
    let probe = TimeWindow::new(
        (wanted.end_ms - PROBE_MS).max(wanted.start_ms),
        wanted.end_ms,
    );
    let began = Instant::now();
    let Some(census) = open
        .source
        .census(&open.cluster, probe, &open.options)
        .await?
    else {
        return Ok(None);
    };
    let probe_seconds = began.elapsed().as_secs_f64();
    let stored = match lake {
        Some(lake) => ingest::stored_windows(lake, open.source.name(), wanted).await?,
        None => Vec::new(),
    };
    let windows = plan::windows_beside(wanted, open.options.window_ms, &stored)?;
    let digest = ingest::selector_digest(&open.options)?;
    let look_back_ms = open.options.look_back_ms.unwrap_or(i64::MAX / 2);
    let (settled, to_read): (Vec<_>, Vec<_>) = windows.into_iter().partition(|window| {
        !open.options.force && plan::is_settled(&stored, *window, &digest, look_back_ms)
    });
    let read_ms: i64 = to_read
        .iter()
        .filter_map(|window| window.intersect(&wanted))
        .map(|window| window.end_ms - window.start_ms)
        .sum();
    let scale = read_ms as f64 / (probe.end_ms - probe.start_ms).max(1) as f64;
    let samples = (census.samples as f64 * scale) as u64;
    // A window that is too large for memory is read in narrower ones.
    let requests =
        census.reads * (to_read.len() as u64).max(samples / ingest::pivot::MAX_SAMPLES.max(1));
    Ok(Some(SourcePlan {
        from: format_ms(wanted.start_ms),
        to: format_ms(wanted.end_ms),
        windows: to_read.len(),
        settled: settled.len(),
        series: census.series,
        samples,
        requests,
        seconds: (probe_seconds * scale).ceil() as u64,
    }))
}
