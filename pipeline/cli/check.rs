//! Owns `check`: whether the sources can be read, what they hold, and which detectors will be able
//! to see what. Reads a few minutes of each source and keeps nothing.

mod sources;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::args::{CheckArgs, CheckOutput, CheckWhat};
use super::blindness::{self, Blindness};
use super::error::CliError;
use super::say;
use super::sources::open_each;
use crate::config::Config;
use crate::detect::QuerySet;
use crate::exit::Exit;
use crate::ingest::Census;
use crate::model::time::HOUR_MS;

const MINUTE_MS: i64 = HOUR_MS / 60;

/// How much of each source is read: several scrapes at any usual interval.
pub(super) const PROBE_MS: i64 = 15 * MINUTE_MS;

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
    per: Per,
    advise: String,
}

#[derive(Debug, Serialize)]
struct DetectorCheck {
    cluster: String,
    detector: String,
    /// Signals that all have, and those that some or all lack.
    complete: Vec<String>,
    lacking: Vec<String>,
    /// Pods with GPUs, and those of them that lack any signal that each pod should have.
    pods: usize,
    blind_to: Vec<String>,
}

#[derive(Debug, Default, Serialize)]
struct Answer {
    sources: Vec<SourceCheck>,
    signals: Vec<SignalCheck>,
    detectors: Vec<DetectorCheck>,
    /// What is unknown in the lake's newest publication, by the line that would resolve it.
    blindness: Vec<Blindness>,
}

pub(super) async fn check(args: &CheckArgs) -> Result<Exit, CliError> {
    let config = Config::load(&args.config.config)?;
    let queries = Arc::new(super::detectors::query_set(&config)?);
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
    // The day before the window is the margin in which its first runs may have begun.
    let wanted_days = 1 + longest_window_days(&queries);
    let mut answer = Answer::default();
    let mut by_cluster: BTreeMap<String, Census> = BTreeMap::new();
    let (opened, failed) = open_each(&config, None, None, false).await?;
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
        let (checked, census) = sources::source(open, wanted_days).await;
        if let Some(census) = census {
            by_cluster
                .entry(open.cluster.clone())
                .or_default()
                .merge(census);
        }
        answer.sources.push(checked);
    }
    answer.sources.push(sources::lake(&config).await);
    if args.what != Some(CheckWhat::Sources) {
        let signals = signals()?;
        for (cluster, census) in &by_cluster {
            answer
                .signals
                .extend(signals.iter().map(|s| check_signal(cluster, s, census)));
        }
        answer.detectors = detectors(&answer.signals, &by_cluster);
        answer.blindness = blindness::of_lake(&config).await;
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
            let mut metrics = signal.narrow.iter();
            let there = !has.is_empty() || metrics.any(|m| census.narrow.contains_key(m));
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
        per: signal.per,
        advise: signal.advise.clone(),
    }
}

/// Days that the detector with the longest window looks at.
fn longest_window_days(queries: &QuerySet) -> i64 {
    queries
        .detectors()
        .iter()
        .filter_map(|d| d.head.window.default.strip_suffix('d')?.parse().ok())
        .max()
        .unwrap_or(14)
}

fn detectors(signals: &[SignalCheck], by_cluster: &BTreeMap<String, Census>) -> Vec<DetectorCheck> {
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
                    pods: by_cluster
                        .get(&signal.cluster)
                        .map_or(0, |census| census.gpu_pods.len()),
                    blind_to: Vec::new(),
                });
            if signal.per == Per::GpuPod {
                check.blind_to.extend(signal.missing.iter().cloned());
            }
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
    by_detector
        .into_values()
        .map(|mut check| {
            check.blind_to.sort();
            check.blind_to.dedup();
            check
        })
        .collect()
}

fn print(answer: &Answer, args: &CheckArgs) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    let text = match args.output {
        CheckOutput::Json => serde_json::to_string_pretty(answer)
            .map_err(|error| CliError::Format(error.to_string()))?,
        CheckOutput::Text => text::lines(answer, args.advise).join("\n"),
    };
    writeln!(out, "{text}").map_err(CliError::Stdout)
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
            assert_eq!(signal.any.is_empty(), signal.table.is_none());
            let both = signal.per == Per::Cluster;
            let one = signal.any.is_empty() != signal.narrow.is_empty();
            let some = !signal.any.is_empty() || !signal.narrow.is_empty();
            assert!(one || (some && both), "{}", signal.id);
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
        // A scaler's queue comes from KEDA, or from what kube-state-metrics says of an HPA.
        assert_eq!(of("autoscaler-queues").seen, 0);
        let scaler = |column| {
            let mut told = census.clone();
            let table = told.tables.entry("scaler_samples").or_default();
            let columns = BTreeSet::from([column]);
            table.entities.insert("chat/keda-a".to_owned(), columns);
            let checked = |id: &str| {
                let signal = signals.iter().find(|s| s.id == id).unwrap();
                check_signal("c", signal, &told).seen
            };
            (checked("autoscaler-replicas"), checked("autoscaler-queues"))
        };
        assert_eq!(
            (scaler("metric_value"), scaler("max_replicas")),
            ((0, 1), (1, 0))
        );
        let mut told = census.clone();
        for metric in [
            "kube_horizontalpodautoscaler_status_target_metric",
            "kube_pod_container_status_restarts_total",
        ] {
            told.narrow.insert(metric.to_owned(), 1);
        }
        for id in ["autoscaler-queues", "restarts"] {
            let signal = signals.iter().find(|s| s.id == id).unwrap();
            assert_eq!(check_signal("c", signal, &told).missing.len(), 0, "{id}");
        }
        let detectors = detectors(
            &[activity, engines, of("owners")],
            &BTreeMap::from([("c".to_owned(), census.clone())]),
        );
        let dark = detectors
            .iter()
            .find(|d| d.detector == "dark-capacity")
            .unwrap();
        assert_eq!(dark.complete, ["owners"]);
        assert_eq!(
            (dark.pods, dark.blind_to.as_slice()),
            (1, &["chat/a".to_owned()][..])
        );
        assert_eq!(
            dark.lacking,
            ["gpu-activity (1 of 2)", "engine-counters (0 of 1)"]
        );
    }
}
