//! Owns `export patches`: what is approved and still true leaves as files; the log says so first.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use datafusion::scalar::ScalarValue;
use serde_json::{Value, json};

use super::args::ConfigArg;
use super::books::{self, Books, PolicyFiles};
use super::decisions;
use super::error::CliError;
use super::export_rows::{self, FocusArgs, GaugesArgs, TablesArgs};
use crate::approve::{Candidate, Kind, ObjectNow, PipelineKey, Records, State, export, visible};
use crate::config::Config;
use crate::exit::Exit;
use crate::lake::columns::{int, text};
use crate::lake::{Lake, LakeError, LakeView, read_only_sql};
use crate::model::workload::kind_of;

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    #[command(subcommand)]
    pub what: ExportWhat,
}

#[derive(Debug, Subcommand)]
pub(super) enum ExportWhat {
    /// Approved changes that still hold: Kustomize, kubectl and JSON Patch, inverses, a plan
    Patches(PatchesArgs),
    /// Findings, recommendations and the ledger as CSV, NDJSON or Parquet
    Csv(TablesArgs),
    /// The ledger as FOCUS cost-and-usage rows, with its classes in x_ columns
    Focus(FocusArgs),
    /// Gauges of waste, cost and freshness, as text for Prometheus
    Openmetrics(GaugesArgs),
}

#[derive(Debug, Args)]
pub(super) struct PatchesArgs {
    #[command(flatten)]
    pub config: ConfigArg,
    /// A folder that does not exist yet
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,
    /// Also what was exported before, if it still holds
    #[arg(long)]
    pub again: bool,
}

pub(super) async fn run(args: &ExportArgs) -> Result<Exit, CliError> {
    let args = match &args.what {
        ExportWhat::Patches(args) => args,
        ExportWhat::Csv(args) => return export_rows::tables(args).await,
        ExportWhat::Focus(args) => return export_rows::focus(args).await,
        ExportWhat::Openmetrics(args) => return export_rows::gauges(args).await,
    };
    let config = Config::load(&args.config.config)?;
    if args.out.exists() {
        return Err(CliError::Usage(format!(
            "`{}` exists already: name a new folder",
            args.out.display()
        )));
    }
    let lake = decisions::open(&config).await?;
    let output = config.resolve(&config.file.report.output);
    let (key, _) = PipelineKey::open_or_create(&books::key_path(&config, &output))?;
    let books = Books::open(&config, &lake, key).await?;
    let done = patches(args, &config, &lake, &books).await;
    books.close().await?;
    done
}

async fn patches(
    args: &PatchesArgs,
    config: &Config,
    lake: &Lake,
    books: &Books,
) -> Result<Exit, CliError> {
    let imported = books.import(config).await?;
    let records = imported.records;
    let Some(authority) = &records.authority else {
        return Err(CliError::Usage(
            "no policy is in force: set [approve] policy and allowed_signers".to_owned(),
        ));
    };
    let files = PolicyFiles::read(config)?;
    if imported.policy_pending.is_some() || files.is_none() {
        return Err(CliError::Verification("the policy that lies there is not the one in force: nothing is exported until people agree to it".to_owned()));
    }
    let now_ms = records.now_ms(super::now_ms());
    let candidates = candidates(lake, &records, args.again, now_ms).await?;
    let exported = export(
        &candidates,
        authority.policy.snapshot_max_age_ms,
        args.again,
        now_ms,
    )?;
    let mut lines: Vec<String> = Vec::new();
    for (id, why) in &exported.refused {
        let why: Vec<String> = why.iter().map(|one| visible(one)).collect();
        lines.push(format!("{id} stays: {}", why.join("; ")));
    }
    if exported.ready.is_empty() {
        lines.push("nothing is approved and still true".to_owned());
        print(&lines)?;
        return Ok(Exit::Done);
    }
    let partial = write_partial(&args.out, &exported.files)?;
    // What leaves stands in the log before anybody can see it.
    let plan_sha256 = books.log.put_blob(&exported.plan).await?;
    let body = json!({"plan_sha256": plan_sha256, "recommendations": exported.ready.len()});
    books.append(vec![(Kind::Export, body)]).await?;
    std::fs::rename(&partial, &args.out)
        .map_err(|error| CliError::file("write the export to", &args.out, error))?;
    lines.extend(exported.ready.iter().map(|id| format!("{id} exported")));
    lines.push(args.out.join("PLAN.md").display().to_string());
    print(&lines)?;
    Ok(Exit::Done)
}

fn print(lines: &[String]) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    for line in lines {
        writeln!(out, "{line}").map_err(CliError::Stdout)?;
    }
    Ok(())
}

fn write_partial(folder: &Path, files: &BTreeMap<String, Vec<u8>>) -> Result<PathBuf, CliError> {
    let mut partial = folder.as_os_str().to_owned();
    partial.push(format!(".{}.partial", std::process::id()));
    let partial = PathBuf::from(partial);
    for (name, bytes) in files {
        let path = partial.join(name);
        let failed = |error| CliError::file("write", &path, error);
        std::fs::create_dir_all(path.parent().unwrap_or(&partial)).map_err(failed)?;
        std::fs::write(&path, bytes).map_err(failed)?;
    }
    Ok(partial)
}

/// What has a decision, with its objects as the newest snapshots show them.
async fn candidates(
    lake: &Lake,
    records: &Records,
    again: bool,
    now_ms: i64,
) -> Result<Vec<Candidate>, CliError> {
    let mut out = Vec::new();
    let mut clusters: BTreeMap<String, Cluster> = BTreeMap::new();
    for manifest in &records.manifests {
        for recommendation in &manifest.recommendations {
            let decided = records.decisions.iter().any(|logged| {
                logged.decision.manifest_sha256 == manifest.sha256
                    && logged.decision.names(recommendation)
            });
            let Some(standing) = records
                .standing(manifest, recommendation, now_ms)
                .filter(|_| decided)
            else {
                continue;
            };
            if standing.state == State::Exported && !again {
                continue;
            }
            if !clusters.contains_key(&recommendation.cluster) {
                clusters.insert(
                    recommendation.cluster.clone(),
                    Cluster::read(lake, &recommendation.cluster).await?,
                );
            }
            let cluster = &clusters[&recommendation.cluster];
            out.push(Candidate {
                now: recommendation
                    .changes
                    .iter()
                    .map(|c| cluster.now(&c.kind, &c.namespace, &c.name))
                    .collect(),
                recommendation: recommendation.clone(),
                manifest_sha256: manifest.sha256.clone(),
                standing,
            });
        }
    }
    Ok(out)
}

/// One version of an object.
#[derive(Debug, Clone)]
pub(super) struct Version {
    pub json: String,
    pub from_ms: i64,
    pub to_ms: i64,
}

/// The objects of a cluster through all snapshots.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    /// `(kind.group, namespace, name)` → versions, oldest first.
    objects: BTreeMap<(String, String, String), Vec<Version>>,
    /// When each kind was listed, as the snapshots name it.
    listed: BTreeMap<String, i64>,
}

impl Cluster {
    pub(super) async fn read(lake: &Lake, cluster: &str) -> Result<Self, CliError> {
        let mut pins = lake.head_of("objects").await?;
        pins.tables.extend(lake.head_of("snapshots").await?.tables);
        let session = lake.read_session(&LakeView::pinned(pins)).await?;
        let rows = async |sql: &str| {
            let params = vec![("cluster", ScalarValue::from(cluster))];
            let frame = read_only_sql(&session, sql, params).await?;
            frame
                .collect()
                .await
                .map_err(|cause| LakeError::sql("read the newest snapshots", cause))
        };
        let mut out = Self::default();
        for batch in rows(include_str!("../../queries/inventory/objects.sql")).await? {
            let (api, kind) = (text(&batch, "api_version")?, text(&batch, "kind")?);
            let (namespace, name) = (text(&batch, "namespace")?, text(&batch, "name")?);
            let json = text(&batch, "object_json")?;
            let (from, to) = (int(&batch, "seen_from_ms")?, int(&batch, "seen_to_ms")?);
            for row in 0..batch.num_rows() {
                let key = (
                    kind_of(api.value(row), kind.value(row)),
                    namespace.value(row).to_owned(),
                    name.value(row).to_owned(),
                );
                out.objects.entry(key).or_default().push(Version {
                    json: json.value(row).to_owned(),
                    from_ms: from.value(row),
                    to_ms: to.value(row),
                });
            }
        }
        for batch in rows(include_str!("../../queries/inventory/snapshots.sql")).await? {
            let (times, kinds) = (int(&batch, "ts_ms")?, text(&batch, "kind")?);
            for row in 0..batch.num_rows() {
                let last = out
                    .listed
                    .entry(kinds.value(row).to_ascii_lowercase())
                    .or_insert(i64::MIN);
                *last = (*last).max(times.value(row));
            }
        }
        Ok(out)
    }

    pub(super) fn versions(&self, kind: &str, namespace: &str, name: &str) -> &[Version] {
        let key = (kind.to_owned(), namespace.to_owned(), name.to_owned());
        self.objects.get(&key).map_or(&[], Vec::as_slice)
    }

    /// When a kind was listed last: the snapshots name it in one of several ways.
    pub(super) fn listed_ms(&self, kind: &str) -> Option<i64> {
        let bare = kind.split('.').next().unwrap_or(kind);
        let names = [
            kind.to_owned(),
            bare.to_owned(),
            format!("{bare}s"),
            format!("{bare}es"),
        ];
        self.listed
            .iter()
            .filter(|(listed, _)| {
                names.contains(listed)
                    || listed
                        .split(['.', '/'])
                        .next()
                        .is_some_and(|first| names.contains(&first.to_owned()))
            })
            .map(|(_, ms)| *ms)
            .max()
    }

    /// When objects of a kind changed last: a kind that stayed as it was gets no rows, so who was
    /// there then is there still.
    pub(super) fn changed_ms(&self, kind: &str) -> Option<i64> {
        let of_kind = self
            .objects
            .iter()
            .filter(|((other, _, _), _)| other == kind);
        of_kind
            .flat_map(|(_, versions)| versions.iter().map(|version| version.to_ms))
            .max()
    }

    fn now(&self, kind: &str, namespace: &str, name: &str) -> Option<ObjectNow> {
        let changed_ms = self.changed_ms(kind)?;
        let newest = self
            .versions(kind, namespace, name)
            .iter()
            .max_by_key(|version| version.to_ms);
        let body = newest
            .filter(|version| version.to_ms == changed_ms)
            .and_then(|version| serde_json::from_str::<Value>(&version.json).ok());
        Some(ObjectNow {
            body,
            seen_ms: self.listed_ms(kind).unwrap_or(changed_ms).max(changed_ms),
        })
    }
}
