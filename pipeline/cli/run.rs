//! Owns `run`: the nightly job, from sources to a signed manifest.
//!
//! Order: ingest (each source under its lease), then under the fleet's lease pin, fold, derive,
//! price, detect, keep evidence, publish; then render and sign. Whatever kills it before
//! publication leaves every reader where it was.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::args::{FailOn, RunArgs};
use super::error::CliError;
use super::notify::{self, News};
use super::shelf::{self, Shelf};
use super::stages::Workspace;
use super::{conclude, publish, say, sources};
use crate::config::Config;
use crate::detect::derive::MARGIN_MS;
use crate::exit::Exit;
use crate::lake::{FLEET_LEASE, Lake};
use crate::model::TimeWindow;
use crate::model::time::{DAY_MS, format_ms};

/// Closed days that a run looks at where nothing else is asked for.
const WINDOW_DAYS: i64 = 14;

/// What one run is asked for.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub last: Option<u32>,
    pub from: Option<i64>,
    pub to: Option<i64>,
    /// A folder, or the URL of an object store.
    pub output: String,
    pub lease_wait: Duration,
    /// Use what the lake holds; read no source.
    pub no_ingest: bool,
}

pub(super) async fn run(args: &RunArgs, now_ms: i64) -> Result<Exit, CliError> {
    let config = Config::load(&args.config.config)?;
    let asked = Asked {
        last: args.span.last,
        from: args.span.from,
        to: args.span.to,
        output: match &args.output {
            Some(folder) => folder.to_string_lossy().into_owned(),
            None => shelf::output_place(&config)?,
        },
        lease_wait: Duration::from_secs(args.lease_wait),
        no_ingest: args.no_ingest,
    };
    let published = once(&config, &asked, now_ms).await?;
    for line in &published.summary {
        say(line);
    }
    let news = News {
        digest: &published.digest,
        place: &published.place,
        first_of_week: published.first_of_week,
    };
    notify::deliver(&config, &news).await;
    for fail in &args.fail_on {
        match fail {
            FailOn::Findings { usd } if published.alarms_reaching(*usd) => {
                return Ok(Exit::Findings);
            }
            FailOn::Coverage { percent } if published.coverage_percent < *percent => {
                return Ok(Exit::Coverage);
            }
            _ => {}
        }
    }
    Ok(Exit::Done)
}

/// One run, from sources to a signed manifest.
pub(super) async fn once(
    config: &Config,
    asked: &Asked,
    now_ms: i64,
) -> Result<publish::Published, CliError> {
    let queries = Arc::new(super::detectors::query_set(config)?);
    let settings = conclude::Settings::new(config, &queries)?;
    let output = Path::new(&asked.output);
    // An output that cannot be written is found out before hours of work, not after.
    let shelf = Shelf::open(config, &asked.output).await?;
    let wait = asked.lease_wait;
    let holder = sources::holder(now_ms);

    let lake = if asked.no_ingest {
        let lake =
            Lake::open_existing_with(&config.lake_url(), &config.lake_options().into()).await?;
        lake.prove_writable().await?;
        super::lake::bring_up_to_date(&lake, &holder, wait).await?;
        lake
    } else {
        let open = sources::open(config, None, None, false).await?;
        let lake = Lake::open_with(&config.lake_url(), &config.lake_options().into()).await?;
        super::lake::bring_up_to_date(&lake, &holder, wait).await?;
        let end_of = |export: bool| {
            open.iter()
                .filter(|source| source.is_export() == export)
                .filter_map(|source| source.extent.map(|extent| extent.end_ms))
                .max()
        };
        if let Some(end_ms) = end_of(false).or_else(|| end_of(true)) {
            let window = window(asked, end_ms)?;
            // A day before, so that what began earlier is known as such; up to the end of what the
            // sources hold, so that the last day asked for can close.
            let span = TimeWindow::new(window.start_ms - DAY_MS, end_ms.max(window.end_ms));
            sources::ingest_all(&lake, &open, span, &holder, wait).await?;
        }
        lake
    };

    let lease = lake
        .acquire_lease(FLEET_LEASE, &holder, super::now_ms(), wait)
        .await?;
    let result = async {
        let mut work = Workspace::new(&lake, config, &lease, now_ms).await?;
        let ends = work.data_ends().await?;
        let Some(end_ms) = ends.values().max().copied() else {
            return Err(CliError::Usage(
                "the lake holds no samples yet: check the sources' spans against --from and --to"
                    .to_owned(),
            ));
        };
        let window = window(asked, end_ms)?;
        let last_ms = TimeWindow::day_of(end_ms)
            .end_ms
            .min(window.end_ms + DAY_MS);
        let span = TimeWindow::new(window.start_ms, last_ms.max(window.end_ms));
        check_retention(config, span.start_ms, end_ms)?;
        say(&format!(
            "window {} to {}",
            format_ms(window.start_ms),
            format_ms(window.end_ms)
        ));
        work.inventory(TimeWindow::new(span.start_ms - DAY_MS, span.end_ms), &ends)
            .await?;
        work.derive(&queries, span, &ends).await?;
        let concluded =
            conclude::conclude(&mut work, &queries, &settings, window, &ends, output).await?;
        publish::publish(work, concluded, window, span, output, &shelf).await
    }
    .await;
    let released = lease.release(super::now_ms()).await;
    let published = result?;
    released?;
    super::lake::after_run(&lake, config).await;

    Ok(published)
}

/// A day whose raw rows were let go would be derived again from nothing.
fn check_retention(config: &Config, start_ms: i64, data_end_ms: i64) -> Result<(), CliError> {
    let Some(days) = config.file.lake.raw_days else {
        return Ok(());
    };
    let kept_ms = (data_end_ms - 1).div_euclid(DAY_MS) * DAY_MS - (i64::from(days) - 1) * DAY_MS;
    // Days read margins, and the inventory two days before.
    if start_ms - 3 * DAY_MS < kept_ms {
        return Err(CliError::Usage(format!(
            "[lake] raw_days = {days} keeps rows from {} on, and the window begins {}: ask for a later --from, or raise raw_days before the rows are gone",
            format_ms(kept_ms),
            format_ms(start_ms)
        )));
    }
    Ok(())
}

/// The days that a run is about: what was asked for, else the last closed ones that there are.
fn window(span: &Asked, data_end_ms: i64) -> Result<TimeWindow, CliError> {
    let closed_ms = (data_end_ms - MARGIN_MS).div_euclid(DAY_MS) * DAY_MS;
    let end_ms = span.to.unwrap_or(closed_ms);
    let days = span.last.map_or(WINDOW_DAYS, i64::from);
    let window = TimeWindow::new(span.from.unwrap_or(end_ms - days * DAY_MS), end_ms);
    if window.is_empty() {
        return Err(CliError::Usage(format!(
            "the window {} to {} is empty",
            format_ms(window.start_ms),
            format_ms(window.end_ms)
        )));
    }
    Ok(window)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(last: Option<u32>, from: Option<i64>, to: Option<i64>) -> Asked {
        Asked {
            last,
            from,
            to,
            ..Asked::default()
        }
    }

    #[test]
    fn a_day_closes_six_hours_into_the_next() {
        let end = 20 * DAY_MS + MARGIN_MS;
        let default = window(&ask(None, None, None), end).unwrap();
        assert_eq!(default, TimeWindow::new(6 * DAY_MS, 20 * DAY_MS));
        let before = window(&ask(None, None, None), end - 1).unwrap();
        assert_eq!(before.end_ms, 19 * DAY_MS);
        let asked = window(&ask(Some(2), None, Some(10 * DAY_MS)), end).unwrap();
        assert_eq!(asked, TimeWindow::new(8 * DAY_MS, 10 * DAY_MS));
        assert!(window(&ask(None, Some(DAY_MS), Some(DAY_MS)), end).is_err());
    }
}
