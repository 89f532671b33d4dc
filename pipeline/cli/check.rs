//! Owns `check`: whether the sources can be read, what they hold, and which detectors will be able
//! to see what. Reads a few minutes of each source and keeps nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::args::{CheckArgs, CheckOutput, CheckWhat};
use super::error::CliError;
use super::sources::{self, OpenSource};
use super::{now_ms, say};
use crate::config::Config;
use crate::detect::QuerySet;
use crate::exit::Exit;
use crate::ingest::Census;
use crate::lake::{Lake, LakeError};
use crate::model::TimeWindow;
use crate::model::time::{DAY_MS, HOUR_MS, format_ms};

const MINUTE_MS: i64 = HOUR_MS / 60;

/// How much of each source is read: several scrapes at any usual interval.
pub(super) const PROBE_MS: i64 = 15 * MINUTE_MS;
/// Days that a run looks at, and the one before them.
const WANTED_DAYS: i64 = 15;
/// Beyond this the clocks of server and machine are said to differ.
const CLOCK_SKEW_MS: i64 = MINUTE_MS;
/// Names of those that lack a signal; the rest are counted.
const NAMED: usize = 5;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignalFile {
    signal: Vec<Signal>,
}

/// What the detectors live on; see `signals.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signal {
    id: String,
    what: String,
    table: Option<String>,
    #[serde(default)]
    any: Vec<String>,
    #[serde(default)]
    narrow: Vec<String>,
    per: Per,
    series: u64,
    detectors: Vec<String>,
    without: String,
    advise: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Per {
    Gpu,
    GpuPod,
    Cluster,
}

/// Of one source.
#[derive(Debug, Serialize)]
struct SourceCheck {
    source: String,
    cluster: String,
    ok: bool,
    /// What is wrong, or worth knowing, as sentences.
    notes: Vec<String>,
    from: Option<String>,
    to: Option<String>,
    series: u64,
    interval_seconds: BTreeMap<String, i64>,
}

/// Of one signal in one cluster.
#[derive(Debug, Serialize)]
struct SignalCheck {
    cluster: String,
    signal: String,
    what: String,
    /// How many should have it, and how many do.
    wanted: usize,
    seen: usize,
    missing: Vec<String>,
    without: String,
    /// Series that bringing it to all of them adds.
    adds_series: u64,
    detectors: Vec<String>,
    #[serde(skip)]
    advise: String,
}

#[derive(Debug, Serialize)]
struct DetectorCheck {
    cluster: String,
    detector: String,
    /// Signals that all have, and those that some or all lack.
    complete: Vec<String>,
    lacking: Vec<String>,
}

#[derive(Debug, Default, Serialize)]
struct Answer {
    sources: Vec<SourceCheck>,
    signals: Vec<SignalCheck>,
    detectors: Vec<DetectorCheck>,
}

pub(super) async fn check(args: &CheckArgs) -> Result<Exit, CliError> {
    let config = Config::load(&args.config.config)?;
    let queries =
        Arc::new(QuerySet::embedded().map_err(|error| CliError::Unexpected(error.to_string()))?);
    super::conclude::Settings::new(&config, &queries)?;
    if args.what == Some(CheckWhat::Config) {
        say(&format!(
            "`{}` is usable: {} clusters, {} sources",
            config.path.display(),
            config.file.clusters.len(),
            config.file.sources.len()
        ));
        return Ok(Exit::Done);
    }
    let mut answer = Answer::default();
    let mut by_cluster: BTreeMap<String, Census> = BTreeMap::new();
    let (opened, failed) = sources::open_each(&config, None, None, false).await?;
    for (source, cluster, error) in failed {
        answer.sources.push(SourceCheck {
            source,
            cluster,
            ok: false,
            notes: vec![error.to_string()],
            from: None,
            to: None,
            series: 0,
            interval_seconds: BTreeMap::new(),
        });
    }
    for open in &opened {
        let (checked, census) = check_source(open).await;
        if let Some(census) = census {
            by_cluster
                .entry(open.cluster.clone())
                .or_default()
                .merge(census);
        }
        answer.sources.push(checked);
    }
    answer.sources.push(check_lake(&config).await);
    if args.what != Some(CheckWhat::Sources) {
        let signals = signals()?;
        for (cluster, census) in &by_cluster {
            answer
                .signals
                .extend(signals.iter().map(|s| check_signal(cluster, s, census)));
        }
        answer.detectors = detectors(&answer.signals);
    }
    print(&answer, args)?;
    if answer.sources.iter().all(|source| source.ok) {
        Ok(Exit::Done)
    } else {
        Ok(Exit::Unavailable)
    }
}

fn signals() -> Result<Vec<Signal>, CliError> {
    let file: SignalFile = toml::from_str(include_str!("signals.toml"))
        .map_err(|error| CliError::Unexpected(format!("signals.toml: {error}")))?;
    Ok(file.signal)
}

async fn check_source(open: &OpenSource) -> (SourceCheck, Option<Census>) {
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
    let Some(extent) = open.extent else {
        checked
            .notes
            .push("it holds nothing that idleproof reads".to_owned());
        return (checked, None);
    };
    let days = (extent.end_ms - extent.start_ms) / DAY_MS;
    if days < WANTED_DAYS && !open.is_export() {
        checked.notes.push(format!(
            "it holds {days} days; a run looks at 14 and the day before them: use --last {}d until \
             it holds more, or give it longer retention",
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

async fn check_lake(config: &Config) -> SourceCheck {
    let (ok, note) = match Lake::open_existing(&config.lake_url()).await {
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

fn check_signal(cluster: &str, signal: &Signal, census: &Census) -> SignalCheck {
    let has: BTreeSet<&str> = signal
        .table
        .as_deref()
        .and_then(|table| census.tables.get(table))
        .map(|table| {
            table
                .entities
                .iter()
                .filter(|(_, columns)| signal.any.iter().any(|c| columns.contains(c.as_str())))
                .map(|(entity, _)| entity.as_str())
                .collect()
        })
        .unwrap_or_default();
    let all: BTreeSet<&str> = match signal.per {
        Per::Gpu => census
            .tables
            .get("gpu_samples")
            .map(|t| t.entities.keys().map(String::as_str).collect())
            .unwrap_or_default(),
        Per::GpuPod => census.gpu_pods.iter().map(String::as_str).collect(),
        Per::Cluster => BTreeSet::from([cluster]),
    };
    let missing: Vec<String> = match signal.per {
        Per::Cluster => {
            let there = signal
                .narrow
                .iter()
                .any(|metric| census.narrow.contains_key(metric));
            if there {
                Vec::new()
            } else {
                vec![cluster.to_owned()]
            }
        }
        _ => all.difference(&has).map(|e| (*e).to_owned()).collect(),
    };
    let pods = census.gpu_pods.len().max(1) as u64;
    let adds_series = match signal.per {
        Per::Cluster if missing.is_empty() => 0,
        Per::Cluster => signal.series * pods,
        _ => signal.series * missing.len() as u64,
    };
    SignalCheck {
        cluster: cluster.to_owned(),
        signal: signal.id.clone(),
        what: signal.what.clone(),
        wanted: all.len(),
        seen: all.len() - missing.len(),
        missing,
        without: signal.without.clone(),
        adds_series,
        detectors: signal.detectors.clone(),
        advise: signal.advise.clone(),
    }
}

fn detectors(signals: &[SignalCheck]) -> Vec<DetectorCheck> {
    let mut by_detector: BTreeMap<(String, String), DetectorCheck> = BTreeMap::new();
    for signal in signals {
        for detector in &signal.detectors {
            let check = by_detector
                .entry((signal.cluster.clone(), detector.clone()))
                .or_insert_with(|| DetectorCheck {
                    cluster: signal.cluster.clone(),
                    detector: detector.clone(),
                    complete: Vec::new(),
                    lacking: Vec::new(),
                });
            if signal.wanted > 0 && signal.missing.is_empty() {
                check.complete.push(signal.signal.clone());
            } else {
                check.lacking.push(format!(
                    "{} ({} of {})",
                    signal.signal, signal.seen, signal.wanted
                ));
            }
        }
    }
    by_detector.into_values().collect()
}

fn print(answer: &Answer, args: &CheckArgs) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    let text = match args.output {
        CheckOutput::Json => serde_json::to_string_pretty(answer)
            .map_err(|error| CliError::Format(error.to_string()))?,
        CheckOutput::Text => lines(answer, args.advise).join("\n"),
    };
    writeln!(out, "{text}").map_err(CliError::Stdout)
}

fn lines(answer: &Answer, advise: bool) -> Vec<String> {
    let mut lines = vec!["Sources".to_owned()];
    for source in &answer.sources {
        let state = if source.ok { "ok  " } else { "FAIL" };
        let span = match (&source.from, &source.to) {
            (Some(from), Some(to)) => format!(", {from} to {to}"),
            _ => String::new(),
        };
        let cluster = match source.cluster.as_str() {
            "" => String::new(),
            cluster => format!(" of {cluster}"),
        };
        let series = match source.series {
            0 => String::new(),
            series => format!(", {series} series"),
        };
        lines.push(format!(
            "  {state} {}{cluster}{span}{series}",
            source.source
        ));
        let intervals: Vec<String> = source
            .interval_seconds
            .iter()
            .map(|(table, seconds)| format!("{table} every {seconds} s"))
            .collect();
        if !intervals.is_empty() {
            lines.push(format!("       {}", intervals.join(", ")));
        }
        lines.extend(source.notes.iter().map(|note| format!("       {note}")));
    }
    if !answer.signals.is_empty() {
        lines.push("Signals".to_owned());
    }
    for signal in &answer.signals {
        let state = match (signal.wanted, signal.missing.len()) {
            (0, _) => "none",
            (_, 0) => "all ",
            (wanted, missing) if missing == wanted => "none",
            _ => "part",
        };
        lines.push(format!(
            "  {state} {}: {}, {} of {}",
            signal.cluster, signal.what, signal.seen, signal.wanted
        ));
        if state == "all " {
            continue;
        }
        lines.push(format!("       without it: {}", signal.without));
        if signal.missing.len() < signal.wanted {
            let mut named: Vec<&str> = signal.missing.iter().map(String::as_str).collect();
            let more = named.len().saturating_sub(NAMED);
            named.truncate(NAMED);
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            lines.push(format!("       lacking: {}{more}", named.join(", ")));
        }
        if advise {
            lines.push(format!("       adds {} series:", signal.adds_series));
            lines.extend(
                signal
                    .advise
                    .trim()
                    .lines()
                    .map(|line| format!("         {line}")),
            );
        }
    }
    if !answer.detectors.is_empty() {
        lines.push("Detectors".to_owned());
    }
    for detector in &answer.detectors {
        let sees = match (detector.complete.is_empty(), detector.lacking.is_empty()) {
            (_, true) => "sees all".to_owned(),
            (true, false) => format!("blind: lacks {}", detector.lacking.join(", ")),
            (false, false) => format!("sees part: lacks {}", detector.lacking.join(", ")),
        };
        lines.push(format!(
            "  {}: {} {sees}",
            detector.cluster, detector.detector
        ));
    }
    let lacking = answer
        .signals
        .iter()
        .any(|signal| !signal.missing.is_empty() || signal.wanted == 0);
    if lacking && !advise {
        lines.push("--advise prints the lines that bring what is lacking".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::schema;

    #[test]
    fn every_signal_names_columns_and_detectors_that_exist() {
        let queries = QuerySet::embedded().unwrap();
        let known: BTreeSet<&str> = queries.detectors().iter().map(|d| d.id.as_str()).collect();
        for signal in signals().unwrap() {
            assert!(
                signal.any.is_empty() != signal.narrow.is_empty(),
                "{}",
                signal.id
            );
            if let Some(table) = &signal.table {
                let spec = schema::table(table).unwrap();
                for column in &signal.any {
                    assert!(spec.columns.iter().any(|c| c.name == column), "{column}");
                }
            }
            for detector in &signal.detectors {
                assert!(known.contains(detector.as_str()), "{detector}");
            }
            assert!(!signal.advise.trim().is_empty() && signal.series > 0);
        }
    }

    fn census() -> Census {
        let mut census = Census::default();
        let mut table = crate::ingest::TableCensus::default();
        table
            .entities
            .insert("n/0".to_owned(), BTreeSet::from(["util_percent"]));
        table.entities.insert("n/1".to_owned(), BTreeSet::new());
        census.tables.insert("gpu_samples", table);
        census.gpu_pods.insert("chat/a".to_owned());
        census.narrow.insert("kube_pod_owner".to_owned(), 3);
        census
    }

    #[test]
    fn what_lacks_a_signal_is_named_and_what_it_would_add_is_counted() {
        let census = census();
        let signals = signals().unwrap();
        let of = |id: &str| {
            let signal = signals.iter().find(|s| s.id == id).unwrap();
            check_signal("c", signal, &census)
        };
        let activity = of("gpu-activity");
        assert_eq!(
            (activity.wanted, activity.seen, activity.adds_series),
            (2, 1, 1)
        );
        assert_eq!(activity.missing, ["n/1"]);
        let engines = of("engine-counters");
        assert_eq!((engines.wanted, engines.seen), (1, 0));
        assert_eq!((of("owners").seen, of("node-labels").seen), (1, 0));
        let detectors = detectors(&[activity, engines, of("owners")]);
        let dark = detectors
            .iter()
            .find(|d| d.detector == "dark-capacity")
            .unwrap();
        assert_eq!(dark.complete, ["owners"]);
        assert_eq!(
            dark.lacking,
            ["gpu-activity (1 of 2)", "engine-counters (0 of 1)"]
        );
    }
}
