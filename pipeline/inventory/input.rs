//! Owns what the fold reads: plain structs that hold one cluster's raw evidence of one span of
//! time. It knows no table and no SQL; `read` fills these, tests write them by hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::TimeWindow;

/// One version of one Kubernetes object, as a snapshot held it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectVersion {
    pub api_version: String,
    pub kind: String,
    /// Empty for cluster-scoped kinds.
    pub namespace: String,
    pub name: String,
    pub uid: Option<String>,
    /// Shared with the fold, which reads it when it is asked about.
    pub json: Arc<str>,
    /// The first and the last snapshot that showed this version.
    pub seen_from_ms: i64,
    pub seen_to_ms: i64,
}

/// A snapshot listed this kind at this time, whether or not it found any object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotList {
    pub ts_ms: i64,
    /// The bare kind (`Pod`) or `kind.group` in lower case.
    pub kind: String,
}

/// Consecutive samples of one value; a gap over 2.5 sampling intervals ends a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ValueRun {
    pub first_ms: i64,
    pub last_ms: i64,
    pub value: f64,
}

/// One kube-state-metrics series as its value runs, in order of time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MetricSeries {
    pub metric: String,
    pub labels: BTreeMap<String, String>,
    pub runs: Vec<ValueRun>,
}

impl MetricSeries {
    /// A label, preferring what the exported object carries over what the scrape target adds.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels
            .get(&format!("exported_{name}"))
            .or_else(|| self.labels.get(name))
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// The value that the samples at or around `ms` say, if the series was seen then.
    #[must_use]
    pub fn at(&self, ms: i64, hold_ms: i64) -> Option<f64> {
        self.runs
            .iter()
            .take_while(|run| run.first_ms <= ms)
            .last()
            .filter(|run| ms <= run.last_ms.saturating_add(hold_ms))
            .map(|run| run.value)
    }
}

/// Which pod a GPU's telemetry named, and when.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GpuPodSpan {
    pub node: String,
    pub gpu: String,
    pub uuid: String,
    pub mig_instance: Option<String>,
    pub namespace: String,
    pub pod: String,
    pub first_ms: i64,
    pub last_ms: i64,
}

/// A stretch without holes in which one GPU, or one MIG instance, was reported.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GpuSpan {
    pub node: String,
    pub gpu: String,
    /// The physical GPU, also for a MIG instance.
    pub uuid: String,
    pub mig_instance: Option<String>,
    pub mig_profile: Option<String>,
    pub model_name: Option<String>,
    /// The scrape target: devices of one exporter are missed only beside their siblings.
    pub target: String,
    pub first_ms: i64,
    pub last_ms: i64,
    pub interval_ms: i64,
}

/// How many replicas the user's policy wants at least; empty fields match anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FloorRule {
    pub namespace: Option<String>,
    pub kind: Option<String>,
    pub name: Option<String>,
    pub min_replicas: i64,
}

/// Everything that the fold reads about one cluster.
#[derive(Debug, Clone)]
pub struct Inputs {
    pub cluster: String,
    pub provider: Option<String>,
    pub region: Option<String>,
    /// Rows are made for this window only; evidence may reach beyond it on both sides.
    pub window: TimeWindow,
    pub objects: Vec<ObjectVersion>,
    pub snapshots: Vec<SnapshotList>,
    pub series: Vec<MetricSeries>,
    /// The sampling interval of the kube-state-metrics target.
    pub series_interval_ms: i64,
    pub gpu_pod_spans: Vec<GpuPodSpan>,
    pub gpu_spans: Vec<GpuSpan>,
    /// `(namespace, pod)` → the `model_name` that the engine's own telemetry says.
    pub pod_models: BTreeMap<(String, String), String>,
    pub floors: Vec<FloorRule>,
    /// Who answers for a workload: the first of these that says a name.
    pub team_order: Vec<TeamRule>,
    /// Who stands before whom where no object says so.
    pub upstreams: Vec<Upstream>,
}

/// A workload that asks another one, by namespace and name: an agent that reaches its model by an
/// address that no object shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    pub caller: (String, String),
    pub serves: (String, String),
}

/// A place that may name a workload's team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TeamRule {
    /// A label or annotation of the workload, else of its namespace.
    Label(String),
    /// A label or annotation of the namespace alone.
    NamespaceLabel(String),
    /// The usual labels of cost allocation.
    Cost,
    /// The queue of Kueue, KAI or Run:ai.
    Queue,
    /// The project of Run:ai, which its namespaces are named after.
    Project,
    Namespace,
}

impl TeamRule {
    /// A rule as the configuration writes it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let named = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        if let Some(label) = text.strip_prefix("label:") {
            return named(label).map(Self::Label);
        }
        if let Some(label) = text.strip_prefix("namespace-label:") {
            return named(label).map(Self::NamespaceLabel);
        }
        Some(match text {
            "cost" => Self::Cost,
            "queue" => Self::Queue,
            "project" => Self::Project,
            "namespace" => Self::Namespace,
            _ => return None,
        })
    }

    /// The order where nothing is configured.
    #[must_use]
    pub fn usual() -> Vec<Self> {
        vec![
            Self::Label("team".to_owned()),
            Self::Label("app.kubernetes.io/team".to_owned()),
            Self::Cost,
            Self::Queue,
            Self::Project,
            Self::Namespace,
        ]
    }
}

impl Inputs {
    /// No evidence at all.
    #[must_use]
    pub fn empty(cluster: &str, window: TimeWindow) -> Self {
        Self {
            cluster: cluster.to_owned(),
            provider: None,
            region: None,
            window,
            objects: Vec::new(),
            snapshots: Vec::new(),
            series: Vec::new(),
            series_interval_ms: 60_000,
            gpu_pod_spans: Vec::new(),
            gpu_spans: Vec::new(),
            pod_models: BTreeMap::new(),
            floors: Vec::new(),
            team_order: TeamRule::usual(),
            upstreams: Vec::new(),
        }
    }
}

/// A model that the catalogue knows.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownModel {
    pub id: String,
    pub params_b: f64,
}

/// What an instance type holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownInstance {
    pub gpu_count: i64,
    pub gpu_product: String,
}

/// The look-ups that the fold needs, so that tests need no embedded tables.
pub trait Catalogue {
    fn model(&self, name: &str) -> Option<KnownModel>;
    /// The product key of a GFD label or a DCGM model name, with or without sharing suffixes.
    fn product(&self, label: &str) -> Option<String>;
    fn instance(&self, provider: &str, instance_type: &str) -> Option<KnownInstance>;
    /// Parameters that one token passes through, in billions, of a model that `model` named.
    fn active_params_b(&self, _id: &str) -> Option<f64> {
        None
    }
    /// Whether the model is published in less than 16 bits.
    fn quantised(&self, _id: &str) -> bool {
        false
    }
}
