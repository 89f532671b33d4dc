//! Owns the way in: sources are read here and become rows of raw tables. The only room with HTTP, so
//! `deliver` posts from here too.
//!
//! `prometheus` and `tsdb` give series, `pivot` makes them rows by `aliases.toml`, `kubernetes`
//! makes rows of snapshots, and `driver` keeps them window by window in a `sink`. Does not derive,
//! price or judge anything. Called by `cli`. A new kind of source is one folder here, one line in
//! [`SOURCES`] and one arm in [`Source::open`] and [`ingest`].

pub mod aliases;
mod census;
mod deliver;
mod digest;
mod driver;
mod error;
pub mod kubernetes;
pub mod pivot;
pub mod plan;
pub mod progress;
pub mod prometheus;
mod rows;
mod samples;
mod sink;
pub mod tsdb;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use url::Url;

pub use census::{Census, TableCensus};
pub use deliver::post_json;
pub use digest::content_digest;
pub use driver::{IngestOptions, IngestReport, Outcome, WindowReport, ingest_export};
pub use error::{ExportError, IngestError};
pub use kubernetes::{
    ClusterApi, ClusterOptions, ClusterRoute, FoundServer, KindCounts, KubernetesError,
    KubernetesExport, ServicePlace, Snapshot, find_servers, ingest_live,
};
pub use plan::windows;
pub use progress::{Listener, Progress};
pub use rows::{RowError, TableBatches};
pub use samples::{ingest_samples, selector_digest};
pub use sink::{Clock, LakeSink, ObjectSink, RawSink, StoredWindow, stored_windows};

use crate::lake::bucket::{Bucket, StoreOptions};
use crate::lake::{Lake, Lease};
use crate::model::TimeWindow;
use prometheus::{Mode, RemoteOptions, SampleSource, ServerSource};
use tsdb::{BlockSource, Choice};

/// A kind of source and the name that the configuration gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    Prometheus,
    Tsdb,
    KubernetesExport,
    Kubernetes,
}

/// Every kind of source.
pub const SOURCES: [(&str, SourceKind); 4] = [
    ("prometheus", SourceKind::Prometheus),
    ("tsdb", SourceKind::Tsdb),
    ("kubernetes-export", SourceKind::KubernetesExport),
    ("kubernetes", SourceKind::Kubernetes),
];

impl SourceKind {
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        SOURCES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, kind)| *kind)
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        SOURCES
            .iter()
            .find(|(_, kind)| *kind == self)
            .map_or("", |(name, _)| name)
    }
}

/// Where a source is.
#[derive(Debug, Clone)]
pub enum SourceLocation {
    Remote(Box<RemoteOptions>, Mode),
    Folder(PathBuf),
    /// Blocks in a folder or a bucket, and which of them.
    Blocks(Box<BlockLocation>),
    /// The API server of a cluster.
    Cluster(Box<ClusterOptions>),
    /// A metrics server that is reached through the API server of its cluster.
    Behind(Box<ClusterOptions>, ServicePlace, Box<RemoteOptions>, Mode),
}

/// Where blocks are.
#[derive(Debug, Clone, Default)]
pub struct BlockLocation {
    /// A path, or an `s3://`, `gs://` or `az://` URL.
    pub url: String,
    pub options: StoreOptions,
    pub choice: Choice,
}

/// A source as the configuration describes it, resolved.
#[derive(Debug, Clone)]
pub struct SourceSpec {
    /// Unique in the lake: it names the partition. A back end with several clusters needs a name
    /// for each of them.
    pub name: String,
    pub kind: SourceKind,
    pub location: SourceLocation,
}

/// An opened source.
#[derive(Debug)]
pub struct Source {
    name: String,
    kind: SourceKind,
    reader: Arc<Reader>,
    notice: Option<String>,
}

#[derive(Debug)]
enum Reader {
    Prometheus(Box<ServerSource>),
    Blocks(BlockSource),
    Export(KubernetesExport),
    Live(Box<ClusterApi>),
}

impl Source {
    /// Opens a source; blocks are verified here, and a server is asked how it can be read unless
    /// that is given.
    pub async fn open(spec: SourceSpec) -> Result<Self, IngestError> {
        let failed = |source| IngestError::Source {
            name: spec.name.clone(),
            window: "(opening)".to_owned(),
            source,
        };
        let mut notice = None;
        let reader = match (spec.kind, spec.location.clone()) {
            (SourceKind::Prometheus, SourceLocation::Remote(options, mode)) => {
                let opened = ServerSource::open(*options, mode).await;
                let (server, why) = opened.map_err(failed)?;
                notice = why;
                Reader::Prometheus(Box::new(server))
            }
            (SourceKind::Prometheus, SourceLocation::Behind(cluster, place, mut options, mode)) => {
                let (route, url) = ClusterRoute::open(*cluster, &place).await?;
                options.url = url;
                options.route = Some(route);
                let opened = ServerSource::open(*options, mode).await;
                let (server, why) = opened.map_err(failed)?;
                notice = why;
                Reader::Prometheus(Box::new(server))
            }
            (SourceKind::Tsdb, SourceLocation::Folder(folder)) => {
                let opened = open_folder(&spec.name, folder, Choice::default()).await?;
                Reader::Blocks(opened.map_err(failed)?)
            }
            (SourceKind::Tsdb, SourceLocation::Blocks(blocks)) => {
                let BlockLocation {
                    url,
                    options,
                    choice,
                } = *blocks;
                let opened = if is_bucket(&url) {
                    let bucket =
                        Bucket::open(&url, &options).map_err(|error| IngestError::Config {
                            what: format!("source `{}`: {error}", spec.name),
                            todo: "correct url or options in [[source]]",
                        })?;
                    BlockSource::open_bucket(bucket, choice).await
                } else {
                    open_folder(&spec.name, PathBuf::from(url), choice).await?
                };
                Reader::Blocks(opened.map_err(failed)?)
            }
            (SourceKind::KubernetesExport, SourceLocation::Folder(folder)) => {
                Reader::Export(KubernetesExport::new(folder))
            }
            (SourceKind::Kubernetes, SourceLocation::Cluster(options)) => {
                Reader::Live(Box::new(ClusterApi::connect(*options).await?))
            }
            (SourceKind::Kubernetes, _) => {
                return Err(misplaced(
                    &spec,
                    "give context and kubeconfig, or neither in a pod",
                ));
            }
            (SourceKind::Prometheus, _) => {
                return Err(misplaced(&spec, "give the URL of its HTTP API as url"));
            }
            (SourceKind::Tsdb, _) => {
                return Err(misplaced(
                    &spec,
                    "give a folder of blocks or a bucket's URL as url",
                ));
            }
            (SourceKind::KubernetesExport, _) => {
                return Err(misplaced(&spec, "give a local folder of snapshots as path"));
            }
        };
        Ok(Self {
            name: spec.name,
            kind: spec.kind,
            reader: Arc::new(reader),
            notice,
        })
    }

    /// The same source under the name of one of its clusters.
    #[must_use]
    pub fn named(&self, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: self.kind,
            reader: Arc::clone(&self.reader),
            notice: None,
        }
    }

    /// What there is to say of how it was opened.
    #[must_use]
    pub fn notice(&self) -> Option<&str> {
        self.notice.as_deref()
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub const fn kind(&self) -> SourceKind {
        self.kind
    }

    /// Whether it is a server that goes on, and not files that were.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(*self.reader, Reader::Prometheus(_))
    }

    /// Lists a running cluster as an ingest would and counts; `None` for other sources.
    pub async fn kinds(&self) -> Result<Option<KindCounts>, IngestError> {
        match &*self.reader {
            Reader::Live(api) => Ok(Some(Snapshot::take(api).await?.counts())),
            _ => Ok(None),
        }
    }

    /// Reads a short window as an ingest would and counts; `None` where the source holds no samples.
    pub async fn census(
        &self,
        cluster: &str,
        window: TimeWindow,
        options: &IngestOptions,
    ) -> Result<Option<Census>, IngestError> {
        match self.samples() {
            Some(source) => census::census(source, &self.name, cluster, window, options)
                .await
                .map(Some),
            None => Ok(None),
        }
    }

    /// The values of a label at the newest end of a source of samples, with the number of series
    /// that have each; none for other sources.
    pub async fn label_values(
        &self,
        label: &str,
        end_ms: i64,
        options: &IngestOptions,
    ) -> Result<BTreeMap<String, u64>, IngestError> {
        match self.samples() {
            Some(source) => census::label_values(source, &self.name, label, end_ms, options).await,
            None => Ok(BTreeMap::new()),
        }
    }

    fn samples(&self) -> Option<&dyn SampleSource> {
        match &*self.reader {
            Reader::Prometheus(server) => Some(server.as_ref()),
            Reader::Blocks(blocks) => Some(blocks),
            Reader::Export(_) | Reader::Live(_) => None,
        }
    }

    /// The half-open span in which the source may hold anything; `None` if it holds nothing.
    pub async fn extent(&self) -> Result<Option<TimeWindow>, IngestError> {
        let extent = match &*self.reader {
            Reader::Prometheus(remote) => remote.extent().await,
            Reader::Blocks(blocks) => blocks.extent().await,
            Reader::Export(export) => return Ok(export.extent()?),
            // It holds the present, which only the caller knows.
            Reader::Live(_) => return Ok(None),
        };
        extent.map_err(|source| IngestError::Source {
            name: self.name.clone(),
            window: "(extent)".to_owned(),
            source,
        })
    }
}

fn misplaced(spec: &SourceSpec, todo: &'static str) -> IngestError {
    IngestError::Config {
        what: format!(
            "source `{}` of kind {} is at the wrong sort of place",
            spec.name,
            spec.kind.name()
        ),
        todo,
    }
}

/// Verifies blocks on a thread that may block.
async fn open_folder(
    name: &str,
    folder: PathBuf,
    choice: Choice,
) -> Result<Result<BlockSource, prometheus::SourceError>, IngestError> {
    let opened = tokio::task::spawn_blocking(move || BlockSource::open_folder(&folder, choice));
    opened.await.map_err(|error| IngestError::Config {
        what: format!("opening source `{name}` was interrupted: {error}"),
        todo: "run again",
    })
}

/// Whether a place is a bucket: a URL of another scheme than `file`.
#[must_use]
pub fn is_bucket(place: &str) -> bool {
    place.contains("://") && !place.starts_with("file://")
}

/// A folder from a path or a `file://` URL, a server from an `http(s)://` one.
#[must_use]
pub fn locate(text: &str) -> SourceLocation {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => {
            SourceLocation::Remote(Box::new(RemoteOptions::new(url)), Mode::Auto)
        }
        Ok(url) if url.scheme() == "file" => {
            SourceLocation::Folder(url.to_file_path().unwrap_or_else(|()| PathBuf::from(text)))
        }
        _ => SourceLocation::Folder(PathBuf::from(text)),
    }
}

/// Ingests what a source holds of a span for one cluster, window by window.
///
/// `lease` is the source's (`lake::source_lease`) and is kept alive meanwhile. A window that fails
/// ends the ingest; those before it are kept, and a rerun finds them unchanged.
pub async fn ingest(
    source: &Source,
    cluster: &str,
    lake: &Lake,
    lease: &Lease,
    clock: Clock,
    span: TimeWindow,
    options: &IngestOptions,
) -> Result<IngestReport, IngestError> {
    let now_ms = clock();
    let sink = LakeSink::new(lake, lease, clock);
    let name = source.name.as_str();
    let kind = source.kind.name();
    match &*source.reader {
        Reader::Prometheus(remote) => {
            ingest_samples(remote.as_ref(), kind, name, cluster, &sink, span, options).await
        }
        Reader::Blocks(blocks) => {
            ingest_samples(blocks, kind, name, cluster, &sink, span, options).await
        }
        Reader::Export(export) => ingest_export(export, name, cluster, &sink, span, options).await,
        // Whatever the span: the present is all that it holds.
        Reader::Live(api) => ingest_live(api, name, cluster, &sink, now_ms).await,
    }
}
