//! Owns `ingest` and the first half of `run`: sources of the configuration, opened and read into
//! the lake, each under its own lease.

use std::path::Path;
use std::time::Duration;

use url::Url;

use super::args::IngestArgs;
use super::error::CliError;
use super::{authentication, now_ms, plan, progress, say, snapshot};
use crate::config::{Config, LogicalSource, SourceKind, SourceMode, SourceSection};
use crate::exit::Exit;
use crate::ingest::plan::DEFAULT_LOOK_BACK_MS;
use crate::ingest::prometheus::{Mode, RemoteOptions, USUAL_REPLICA_LABELS, parse_selector};
use crate::ingest::tsdb::Choice;
use crate::ingest::{
    self, BlockLocation, ClusterOptions, IngestOptions, Outcome, ServicePlace, Source,
    SourceLocation, SourceSpec,
};
use crate::lake::{Lake, LakeError, source_lease};
use crate::model::TimeWindow;
use crate::model::time::{DAY_MS, HOUR_MS, format_ms};

/// A Prometheus answers ten reads at once, for everyone.
const DEFAULT_CONNECTIONS: usize = 4;

/// A source of the configuration, opened, with what it holds.
pub(super) struct OpenSource {
    pub source: Source,
    pub cluster: String,
    pub extent: Option<TimeWindow>,
    pub options: IngestOptions,
}

impl OpenSource {
    /// Snapshots are few and name what the samples are about: all of them are read, always.
    pub(super) fn is_export(&self) -> bool {
        self.source.kind() == ingest::SourceKind::KubernetesExport
    }

    /// A running cluster holds the present only, which is read whatever the span.
    pub(super) fn is_live(&self) -> bool {
        self.source.kind() == ingest::SourceKind::Kubernetes
    }
}

/// Opens the sources that the selection names, all of them where it names none. The first that
/// cannot be opened ends it.
pub(super) async fn open(
    config: &Config,
    only_source: Option<&str>,
    only_cluster: Option<&str>,
    force: bool,
) -> Result<Vec<OpenSource>, CliError> {
    let (open, failed) = open_each(config, only_source, only_cluster, force).await?;
    match failed.into_iter().next() {
        Some((_, _, error)) => Err(error),
        None => Ok(open),
    }
}

/// A source that could not be opened: its name, its cluster and why.
pub(super) type Failed = (String, String, CliError);

/// [`open`], where a source that cannot be opened does not keep the others from it.
pub(super) async fn open_each(
    config: &Config,
    only_source: Option<&str>,
    only_cluster: Option<&str>,
    force: bool,
) -> Result<(Vec<OpenSource>, Vec<Failed>), CliError> {
    let (mut open, mut failed) = (Vec::new(), Vec::new());
    for (index, section) in config.file.sources.iter().enumerate() {
        let name = section.name(index);
        let mut wanted = section.logical(index);
        wanted.retain(|one| {
            only_source.is_none_or(|only| only == name || only == one.name)
                && only_cluster.is_none_or(|only| only == one.cluster)
        });
        if wanted.is_empty() {
            continue;
        }
        match open_one(config, section, name.clone(), &wanted, force).await {
            Ok(sources) => open.extend(sources),
            Err(error) => {
                let whose = section.cluster_label.as_ref().map_or_else(
                    || section.cluster.clone(),
                    |_| {
                        let clusters = wanted.iter().map(|one| one.cluster.as_str());
                        clusters.collect::<Vec<_>>().join(", ")
                    },
                );
                failed.push((name, whose, error));
            }
        }
    }
    if open.is_empty() && failed.is_empty() {
        let path = config.path.display();
        let sections = config.file.sources.iter().enumerate();
        let names: Vec<String> = sections.map(|(at, one)| one.name(at)).collect();
        return Err(CliError::Usage(if names.is_empty() {
            format!("`{path}` names no [[source]]")
        } else {
            format!(
                "no [[source]] of `{path}` fits the selection: it has {}",
                names.join(", ")
            )
        }));
    }
    Ok((open, failed))
}

/// Opens one back end, as often as it has clusters that are wanted.
async fn open_one(
    config: &Config,
    section: &SourceSection,
    name: String,
    wanted: &[LogicalSource],
    force: bool,
) -> Result<Vec<OpenSource>, CliError> {
    let mut matchers = Vec::new();
    for text in &section.matchers {
        let parsed = parse_selector(text)
            .map_err(|error| CliError::Usage(format!("[[source]] `{name}`: {error}")))?;
        matchers.extend(parsed);
    }
    let source = Source::open(spec(config, section, name)?).await?;
    if let Some(notice) = source.notice() {
        say(&format!("{}: {notice}", source.name()));
    }
    let extent = source.extent().await?;
    let look_back_ms = section
        .look_back_hours
        .map_or(DEFAULT_LOOK_BACK_MS, |hours| i64::from(hours) * HOUR_MS);
    let mut options = IngestOptions {
        force,
        look_back_ms: Some(look_back_ms),
        matchers,
        metrics: section.metrics.clone(),
        ..IngestOptions::default()
    };
    options.pivot.replica_labels = replica_labels(section);
    if section.kind == SourceKind::Prometheus {
        options.connections = section.connections.unwrap_or(DEFAULT_CONNECTIONS);
    }
    if let Some(hours) = section.window_hours {
        options.window_ms = i64::from(hours) * HOUR_MS;
    }
    if let (Some(label), Some(extent)) = (&section.cluster_label, extent) {
        warn_unmapped(&source, section, label, extent, &options).await?;
    }
    let open = wanted.iter().map(|one| OpenSource {
        source: source.named(&one.name),
        cluster: one.cluster.clone(),
        extent,
        options: IngestOptions {
            cluster_label: one.label.clone(),
            listener: progress::listener(&one.name),
            ..options.clone()
        },
    });
    Ok(open.collect())
}

/// Values of the cluster label that no cluster is given for: what they hold is nobody's.
const UNMAPPED_SHOWN: usize = 20;

/// Says which clusters of a back end are not read. They are never counted to another.
async fn warn_unmapped(
    source: &Source,
    section: &SourceSection,
    label: &str,
    extent: TimeWindow,
    options: &IngestOptions,
) -> Result<(), CliError> {
    let mut values = source.label_values(label, extent.end_ms, options).await?;
    values.retain(|value, _| !section.clusters.contains_key(value));
    for (value, series) in values.iter().take(UNMAPPED_SHOWN) {
        let which = if value.is_empty() {
            format!("series have no label {label}")
        } else {
            format!("series have {label}={value:?}, which clusters does not list")
        };
        say(&format!(
            "{}: warning: {series} {which}; they are not read",
            source.name()
        ));
    }
    if values.len() > UNMAPPED_SHOWN {
        say(&format!(
            "{}: warning: {} more values of {label} are not listed in clusters; they are not read",
            source.name(),
            values.len() - UNMAPPED_SHOWN
        ));
    }
    Ok(())
}

fn spec(config: &Config, section: &SourceSection, name: String) -> Result<SourceSpec, CliError> {
    let (kind, place) = match section.kind {
        SourceKind::Prometheus => (ingest::SourceKind::Prometheus, &section.url),
        SourceKind::Tsdb => (ingest::SourceKind::Tsdb, &section.url),
        SourceKind::KubernetesExport => (ingest::SourceKind::KubernetesExport, &section.path),
        SourceKind::Kubernetes => {
            return Ok(SourceSpec {
                name,
                kind: ingest::SourceKind::Kubernetes,
                location: SourceLocation::Cluster(Box::new(cluster_options(config, section))),
            });
        }
    };
    let place = place.clone().unwrap_or_default();
    let mode = match section.mode {
        SourceMode::Auto => Mode::Auto,
        SourceMode::RemoteRead => Mode::RemoteRead,
        SourceMode::Export => Mode::Export,
        SourceMode::Range => Mode::Range,
    };
    let location = if let Some(service) = &section.service {
        let place = ServicePlace::parse(service).ok_or_else(|| {
            CliError::Usage(format!(
                "[[source]] `{name}`: service `{service}` is no `namespace/service:port`"
            ))
        })?;
        // Its address on this way is known once there is a connection to the API server.
        let inside = format!("http://{}.{}.svc", place.name, place.namespace);
        let inside = Url::parse(&inside)
            .map_err(|error| CliError::Usage(format!("[[source]] `{name}`: {inside}: {error}")))?;
        let options = RemoteOptions::new(inside);
        let remote = authentication::remote(config, section, &name, options)?;
        let cluster = ClusterOptions {
            idle_timeout: remote.idle_timeout,
            ..cluster_options(config, section)
        };
        SourceLocation::Behind(Box::new(cluster), place, Box::new(remote), mode)
    } else if section.kind == SourceKind::Prometheus {
        match ingest::locate(&place) {
            SourceLocation::Remote(options, _) => {
                let remote = authentication::remote(config, section, &name, *options)?;
                SourceLocation::Remote(Box::new(remote), mode)
            }
            _ => {
                return Err(CliError::Usage(format!(
                    "[[source]] `{name}`: url `{place}` is no http or https URL"
                )));
            }
        }
    } else if section.kind == SourceKind::Tsdb {
        SourceLocation::Blocks(Box::new(BlockLocation {
            url: config.place(&place),
            options: config.store_options(&section.options).into(),
            choice: Choice {
                tenants: section.tenants.clone(),
                external_labels: section.external_labels.clone(),
                replica_labels: replica_labels(section),
            },
        }))
    } else {
        SourceLocation::Folder(config.resolve(&place))
    };
    Ok(SourceSpec {
        name,
        kind,
        location,
    })
}

fn replica_labels(section: &SourceSection) -> Vec<String> {
    let usual = || USUAL_REPLICA_LABELS.map(str::to_owned).to_vec();
    section.replica_labels.clone().unwrap_or_else(usual)
}

fn cluster_options(config: &Config, section: &SourceSection) -> ClusterOptions {
    let mut options = ClusterOptions {
        kubeconfig: section.kubeconfig.as_ref().map(|file| config.resolve(file)),
        context: section.context.clone(),
        proxy_url: section.proxy_url.clone(),
        ..ClusterOptions::default()
    };
    options.qps = section.qps.unwrap_or(options.qps);
    if let Some(seconds) = section.timeout_seconds.filter(|seconds| *seconds > 0) {
        options.idle_timeout = Duration::from_secs(seconds);
    }
    options
}

/// Reads what each source holds of the span; a source that fails ends the run.
pub(super) async fn ingest_all(
    lake: &Lake,
    sources: &[OpenSource],
    span: TimeWindow,
    holder: &str,
    lease_wait: Duration,
) -> Result<(), CliError> {
    for open in sources {
        let extent = if open.is_live() {
            Some(TimeWindow::day_of(now_ms()))
        } else {
            open.extent
        };
        let Some(extent) = extent else {
            say(&format!("{}: holds nothing", open.source.name()));
            continue;
        };
        let wanted = if open.is_export() || open.is_live() {
            Some(extent)
        } else {
            extent.intersect(&span)
        };
        let Some(wanted) = wanted else {
            say(&format!(
                "{}: holds {} to {}, nothing of the span",
                open.source.name(),
                format_ms(extent.start_ms),
                format_ms(extent.end_ms)
            ));
            continue;
        };
        warn_outdated(lake, open, extent).await?;
        // Whole days, so that the last one is read again when there is more of it.
        let days = TimeWindow::new(
            wanted.start_ms.div_euclid(DAY_MS) * DAY_MS,
            -(-wanted.end_ms).div_euclid(DAY_MS) * DAY_MS,
        );
        let lease = lake
            .acquire_lease(
                &source_lease(open.source.name()),
                holder,
                now_ms(),
                lease_wait,
            )
            .await?;
        let result = ingest::ingest(
            &open.source,
            &open.cluster,
            lake,
            &lease,
            std::sync::Arc::new(now_ms),
            days,
            &open.options,
        )
        .await;
        let released = lease.release(now_ms()).await;
        let report = result?;
        released?;
        if let Some(found) = &report.snapshot {
            snapshot::summarise(open.source.name(), found);
        }
        say(&format!(
            "{}: {} windows ({} written, {} unchanged, {} settled before, {} kept as they were fuller), {} samples, {} rows",
            open.source.name(),
            report.windows.len(),
            report.count(Outcome::Written),
            report.count(Outcome::Unchanged),
            report.count(Outcome::Settled),
            report.count(Outcome::KeptFuller),
            report.samples(),
            report.rows()
        ));
        if report.count(Outcome::KeptFuller) > 0 {
            say(&format!(
                "{}: warning: windows of which the source gives fewer samples than the lake holds stay as they are: it has forgotten some, or metrics or matchers became fewer; --force replaces them",
                open.source.name()
            ));
        }
        for (replica, targets) in report.replicas() {
            say(&format!(
                "{}: of a pair of Prometheis, {targets} targets were taken from {replica:?} (targets of all windows; ingest_windows.replicas_json names them)",
                open.source.name()
            ));
        }
        if report.secrets_skipped > 0 {
            say(&format!(
                "{}: warning: {} Secrets were in the lists; they were not kept",
                open.source.name(),
                report.secrets_skipped
            ));
        }
    }
    Ok(())
}

/// Says which windows of the lake were read with other metrics or other meanings of them and lie
/// before what the source holds now: they cannot be read again.
async fn warn_outdated(lake: &Lake, open: &OpenSource, extent: TimeWindow) -> Result<(), CliError> {
    if open.is_export() || open.is_live() {
        return Ok(());
    }
    let before = TimeWindow::new(0, extent.start_ms);
    if before.is_empty() {
        return Ok(());
    }
    let digest = ingest::selector_digest(&open.options)?;
    let stored = ingest::stored_windows(lake, open.source.name(), before).await?;
    let outdated = stored
        .iter()
        .filter(|known| known.selector_digest != digest && known.window.end_ms <= extent.start_ms)
        .count();
    if outdated > 0 {
        say(&format!(
            "{}: {outdated} windows were read with other metrics or aliases, and the source does not \
             hold them any more: they stay as they were read",
            open.source.name()
        ));
    }
    Ok(())
}

pub(super) async fn ingest_command(args: &IngestArgs, now_ms: i64) -> Result<Exit, CliError> {
    let config = Config::load(&args.config.config)?;
    let sources = open(
        &config,
        args.source.as_deref(),
        args.cluster.as_deref(),
        args.force,
    )
    .await?;
    let end_ms = args.span.to.or_else(|| {
        sources
            .iter()
            .filter_map(|s| s.extent.map(|extent| extent.end_ms))
            .max()
    });
    let start_ms = match (args.span.from, args.span.last, end_ms) {
        (Some(from), _, _) => Some(from),
        (None, Some(days), Some(end)) => Some(end - i64::from(days) * DAY_MS),
        _ => sources
            .iter()
            .filter_map(|s| s.extent.map(|extent| extent.start_ms))
            .min(),
    };
    let live = sources.iter().any(OpenSource::is_live);
    let (start_ms, end_ms) = match (start_ms, end_ms) {
        (Some(start_ms), Some(end_ms)) => (start_ms, end_ms),
        _ if live => (now_ms, now_ms + 1),
        _ => {
            say("the sources hold nothing");
            return Ok(Exit::Done);
        }
    };
    let span = TimeWindow::new(start_ms, end_ms);
    if args.plan {
        let lake = match Lake::open_existing_with(&config.lake_url(), &config.lake_options().into())
            .await
        {
            Ok(lake) => Some(lake),
            Err(LakeError::NotALake { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        return plan::print(lake.as_ref(), &sources, span).await;
    }
    let lake = Lake::open_with(&config.lake_url(), &config.lake_options().into()).await?;
    let holder = holder(now_ms);
    let wait = Duration::from_secs(args.lease_wait);
    super::lake::bring_up_to_date(&lake, &holder, wait).await?;
    ingest_all(&lake, &sources, span, &holder, wait).await?;
    Ok(Exit::Done)
}

/// Who holds a lease: this process, for people who read the lease's object.
pub(super) fn holder(now_ms: i64) -> String {
    let host = std::fs::read_to_string(Path::new("/proc/sys/kernel/hostname"))
        .map_or_else(|_| "host".to_owned(), |name| name.trim().to_owned());
    format!("{host}/{}/{now_ms}", std::process::id())
}
