//! Owns the configuration file's shape, section by section, as a user writes it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::auth::{
    AuthorizationSection, AzureSection, BasicAuthSection, GoogleSection, HeaderSection, Inline,
    OAuth2Section, SigV4Section, TlsSection,
};

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    pub lake: LakeSection,
    #[serde(rename = "cluster", default)]
    pub clusters: Vec<ClusterSection>,
    #[serde(rename = "source", default)]
    pub sources: Vec<SourceSection>,
    #[serde(default)]
    pub prices: PricesSection,
    #[serde(rename = "slo", default)]
    pub slos: Vec<SloSection>,
    #[serde(default)]
    pub measured: Vec<MeasuredSection>,
    #[serde(rename = "bill", default)]
    pub bills: Vec<BillSection>,
    #[serde(default)]
    pub team: TeamSection,
    #[serde(default)]
    pub report: ReportSection,
    #[serde(rename = "notify", default)]
    pub notify: Vec<NotifySection>,
    #[serde(default)]
    pub approve: ApproveSection,
    #[serde(default)]
    pub recommendations: RecommendationsSection,
    /// Parameters of detectors and rollups by query name: `[params.dark-capacity]`.
    #[serde(default)]
    pub params: BTreeMap<String, BTreeMap<String, toml::Value>>,
    /// Findings that a person accepts as waste for now.
    #[serde(rename = "accept", default)]
    pub accepts: Vec<AcceptSection>,
    /// Where people speak of a finding: its handle or id, or its recommendation's id → a ticket's
    /// number or address. It stands beside the recommendation in the manifest and is no part of it:
    /// a ticket that is opened later takes no approval away.
    #[serde(default)]
    pub tickets: BTreeMap<String, String>,
    #[serde(default)]
    pub detectors: DetectorsSection,
    /// Who stands before whom where no object says so.
    #[serde(rename = "upstream", default)]
    pub upstreams: Vec<UpstreamSection>,
}

/// A workload that asks another one by an address that no object shows.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamSection {
    pub cluster: String,
    /// `namespace/name` of the router, transformer, agent or orchestrator.
    pub workload: String,
    /// `namespace/name` of the workload that it asks.
    pub serves: String,
}

impl UpstreamSection {
    /// Namespace and name of both; `None` where either is written otherwise.
    #[must_use]
    pub fn ends(&self) -> Option<[(String, String); 2]> {
        let end = |text: &str| {
            let (namespace, name) = text.split_once('/')?;
            let whole = !namespace.is_empty() && !name.is_empty() && !name.contains('/');
            whole.then(|| (namespace.to_owned(), name.to_owned()))
        };
        Some([end(&self.workload)?, end(&self.serves)?])
    }
}

/// Where the lake lies.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LakeSection {
    pub url: String,
    /// How to reach the store, in the words of its client: `endpoint`, `region`, `ca_file`, ….
    #[serde(default)]
    pub options: BTreeMap<String, toml::Value>,
    /// How floats of raw tables are stored.
    #[serde(default)]
    pub floats: Floats,
    /// Days of raw tables that are kept, counted back from the newest; unset keeps all.
    pub raw_days: Option<u32>,
    /// Days of derived tables that are kept, counted back from the newest; unset keeps all.
    pub derived_days: Option<u32>,
    /// Days for which evidence is kept that no newer publication rests on; unset keeps all.
    pub evidence_days: Option<u32>,
    /// Days for which publications can be read as they were; unset keeps all.
    pub publication_days: Option<u32>,
}

/// How floats of raw tables are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Floats {
    /// As decimals where that loses nothing and is smaller.
    #[default]
    Decimal,
    /// As floats: Spark and Trino refuse files with other types than the table's.
    Double,
}

/// One Kubernetes cluster.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterSection {
    pub name: String,
    pub provider: Option<String>,
    pub region: Option<String>,
    /// Replicas that policy keeps for every serving workload, whatever demand says.
    #[serde(default = "one")]
    pub min_replicas: u32,
}

fn one() -> u32 {
    1
}

/// What a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    /// A running Prometheus, by streamed remote read.
    Prometheus,
    /// A folder or bucket of Prometheus TSDB blocks.
    Tsdb,
    /// A folder of `kubectl get … -o json` lists, one folder a snapshot.
    KubernetesExport,
    /// The API of a running cluster.
    Kubernetes,
}

/// How a Prometheus is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceMode {
    /// Whatever a probe finds, remote read first.
    #[default]
    Auto,
    RemoteRead,
    /// VictoriaMetrics' `/api/v1/export`.
    Export,
    /// Range-vector queries.
    Range,
}

/// A source as it stands in the lake: one cluster of one back end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogicalSource {
    pub name: String,
    pub cluster: String,
    /// The label and its value that select the cluster in a back end of many.
    pub label: Option<(String, String)>,
}

/// One source of telemetry or inventory.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceSection {
    pub name: Option<String>,
    pub kind: SourceKind,
    /// The cluster that all of it is about; empty where `cluster_label` tells clusters apart.
    #[serde(default)]
    pub cluster: String,
    /// One back end, many clusters: the label whose value says which.
    pub cluster_label: Option<String>,
    /// Values of that label and the clusters that they mean.
    #[serde(default)]
    pub clusters: BTreeMap<String, String>,
    /// Prometheus: how it is read.
    #[serde(default)]
    pub mode: SourceMode,
    /// Selectors that are added to everything that is asked for: `'{env="prod"}'`.
    #[serde(default)]
    pub matchers: Vec<String>,
    /// Metrics that are kept beside those that idleproof knows, sample by sample.
    #[serde(default)]
    pub metrics: Vec<String>,
    /// Labels that tell the Prometheis of a pair apart; one of them is kept for each target.
    pub replica_labels: Option<Vec<String>>,
    pub url: Option<String>,
    /// Prometheus: instead of a url, `namespace/service:port` of a cluster, reached through its API server.
    pub service: Option<String>,
    pub path: Option<String>,
    /// Hours that one read covers; smaller needs less memory on large fleets.
    pub window_hours: Option<u32>,
    /// Hours after a window's end in which its samples may still arrive: so long it is read again.
    pub look_back_hours: Option<u32>,
    /// Seconds without a byte after which a read is given up.
    pub timeout_seconds: Option<u64>,
    /// Windows that are read at once, 1 to 4.
    pub connections: Option<usize>,
    /// How it authenticates: one of these at most.
    pub basic_auth: Option<BasicAuthSection>,
    pub authorization: Option<AuthorizationSection>,
    pub bearer_token_file: Option<String>,
    #[serde(default)]
    pub(super) bearer_token: Inline,
    pub oauth2: Option<OAuth2Section>,
    pub sigv4: Option<SigV4Section>,
    pub google_iam: Option<GoogleSection>,
    pub azuread: Option<AzureSection>,
    #[serde(default)]
    pub tls_config: TlsSection,
    /// The tenant of Mimir, Cortex or Thanos (`X-Scope-OrgID`).
    pub tenant: Option<String>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    #[serde(default)]
    pub http_headers: BTreeMap<String, HeaderSection>,
    /// Kubernetes, and a `service`: a kubeconfig, else `KUBECONFIG`, `~/.kube/config` or the pod's service account.
    pub kubeconfig: Option<String>,
    /// Kubernetes, and a `service`: a context of the kubeconfig, else its current one.
    pub context: Option<String>,
    pub proxy_url: Option<String>,
    /// Whether `HTTPS_PROXY` and its kin hold for a metrics source.
    #[serde(default)]
    pub proxy_from_environment: bool,
    /// Kubernetes: requests a second.
    pub qps: Option<u32>,
    /// Blocks of Mimir and Cortex: the tenants whose blocks are read.
    #[serde(default)]
    pub tenants: Vec<String>,
    /// Blocks of Thanos: the external labels of the blocks that are read.
    pub external_labels: Option<BTreeMap<String, String>>,
    /// How to reach a store that holds the source's files, as for the lake.
    #[serde(default)]
    pub options: BTreeMap<String, toml::Value>,
}

impl SourceSection {
    /// The given name, or one made of kind, cluster and place.
    #[must_use]
    pub fn name(&self, index: usize) -> String {
        self.name.clone().unwrap_or_else(|| {
            let kind = match self.kind {
                SourceKind::Prometheus => "prometheus",
                SourceKind::Tsdb => "tsdb",
                SourceKind::KubernetesExport => "kubernetes-export",
                SourceKind::Kubernetes => "kubernetes",
            };
            let whose = match &self.cluster_label {
                Some(label) if self.cluster.is_empty() => label,
                _ => &self.cluster,
            };
            format!("{kind}-{whose}-{index}")
        })
    }

    /// The sources that this one is in the lake: itself, or one a value of its cluster label. They
    /// are named by the value, so that a value that is added later renames none.
    #[must_use]
    pub fn logical(&self, index: usize) -> Vec<LogicalSource> {
        let name = self.name(index);
        let Some(label) = &self.cluster_label else {
            let cluster = self.cluster.clone();
            return vec![LogicalSource {
                name,
                cluster,
                label: None,
            }];
        };
        self.clusters
            .iter()
            .map(|(value, cluster)| LogicalSource {
                name: format!("{name}-{value}"),
                cluster: cluster.clone(),
                label: Some((label.clone(), value.clone())),
            })
            .collect()
    }
}

/// Where prices come from besides the embedded catalogue.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PricesSection {
    #[serde(default)]
    pub sheets: Vec<String>,
}

/// A provider's bill, as a FOCUS cost-and-usage file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BillSection {
    pub cluster: String,
    pub path: String,
}

/// A result file of a load test, which outranks the estimator for its placement.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasuredSection {
    /// The file that guidellm, `vllm bench serve --save-result` or Dynamo's profiler wrote.
    pub path: String,
    /// `guidellm`, `vllm-bench` or `dynamo`.
    pub format: String,
    pub model: String,
    /// The catalogue's key or the node label of the GPU.
    pub gpu: String,
    #[serde(default = "one_gpu")]
    pub gpus: i64,
    /// How the weights were stored; left out, as the checkpoint is published.
    pub quantisation: Option<String>,
}

fn one_gpu() -> i64 {
    1
}

/// A declared service level objective: one of the two limits, or both. The one that is left out is
/// that of an annotation, else the named default's.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SloSection {
    #[serde(rename = "match", default)]
    pub matching: SloMatch,
    pub ttft_p95_ms: Option<i64>,
    pub itl_p95_ms: Option<i64>,
}

/// Which workloads an objective is for; what is left out matches all.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SloMatch {
    pub cluster: Option<String>,
    pub namespace: Option<String>,
    pub workload: Option<String>,
    pub model: Option<String>,
}

/// An acceptance: which findings, why, who says so, and until when.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptSection {
    #[serde(rename = "match", default)]
    pub matching: AcceptMatch,
    pub reason: String,
    /// The person who answers for it.
    pub by: String,
    /// The first UTC day on which it holds no more, `YYYY-MM-DD`.
    pub until: String,
}

impl AcceptSection {
    /// The moment from which it holds no more; `None` where `until` is no UTC day.
    #[must_use]
    pub fn until_ms(&self) -> Option<i64> {
        let day: chrono::NaiveDate = self.until.parse().ok()?;
        Some(
            day.and_time(chrono::NaiveTime::MIN)
                .and_utc()
                .timestamp_millis(),
        )
    }
}

/// Which findings; what is left out matches all, and nothing at all matches none.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptMatch {
    /// A detector's id.
    pub detector: Option<String>,
    pub cluster: Option<String>,
    pub namespace: Option<String>,
    pub workload: Option<String>,
    /// A finding's whole handle or its id.
    pub finding: Option<String>,
}

/// Detectors of one's own.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectorsSection {
    /// A folder with `<id>.sql` and `<id>.claims.sql`, under the contract of the built-in ones.
    pub folder: Option<String>,
}

/// Who answers for a workload.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeamSection {
    /// Where a team's name may stand, the first that has one wins: `label:KEY`,
    /// `namespace-label:KEY`, `cost`, `queue`, `project`, `namespace`. Empty is the usual order.
    #[serde(default)]
    pub order: Vec<String>,
}

/// Where the report goes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportSection {
    #[serde(default = "out")]
    pub output: String,
    #[serde(default = "utc")]
    pub timezone: String,
    /// A folder whose files take the place of the built-in templates of the same name.
    pub templates: Option<String>,
    /// How to reach the output where it is an object store.
    #[serde(default)]
    pub output_options: BTreeMap<String, toml::Value>,
}

impl Default for ReportSection {
    fn default() -> Self {
        Self {
            output: out(),
            timezone: utc(),
            templates: None,
            output_options: BTreeMap::new(),
        }
    }
}

fn out() -> String {
    "./out".to_owned()
}

fn utc() -> String {
    "UTC".to_owned()
}

/// Who is told of a run.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotifySection {
    pub kind: NotifyKind,
    /// A file with the address, which is a secret: whoever has it can post.
    pub url_file: String,
    /// How often.
    #[serde(default)]
    pub every: NotifyEvery,
    /// Where people find the report's output in a browser.
    pub link: Option<String>,
    /// Authorities that are trusted instead of the built-in ones.
    pub ca_file: Option<String>,
    pub proxy_url: Option<String>,
    #[serde(default)]
    pub proxy_from_environment: bool,
}

/// How often somebody is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotifyEvery {
    #[default]
    Run,
    /// Of the first run whose window ends in another ISO week than that of the run before.
    Week,
}

/// How somebody is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotifyKind {
    /// A JSON body that Slack, Mattermost and Rocket.Chat understand.
    Webhook,
}

/// How manifests are signed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApproveSection {
    /// The pipeline's OpenSSH Ed25519 key; made on first use. Default: beside the report's output.
    pub signing_key: Option<String>,
    /// Public halves of keys that signed before: manifests and checkpoints of theirs still count.
    #[serde(default)]
    pub former_keys: Vec<String>,
    /// Who must agree to what. Without it nothing can be approved.
    pub policy: Option<String>,
    /// Who can sign, as OpenSSH has it.
    pub allowed_signers: Option<String>,
    /// Keys that count no more: a public key or a `SHA256:` fingerprint a line.
    pub revoked_keys: Option<String>,
    /// Where decisions come in: a folder, a bucket's prefix or a git checkout.
    pub inbox: Option<String>,
    /// How to reach the inbox, in the words of its store's client.
    #[serde(default)]
    pub inbox_options: BTreeMap<String, toml::Value>,
}

/// What every recommendation is given.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecommendationsSection {
    /// Days after a window's end in which its recommendations can be approved and applied: what was
    /// observed two weeks ago no longer speaks for a fleet that changes every week.
    #[serde(default = "expires_days")]
    pub expires_days: u32,
}

impl Default for RecommendationsSection {
    fn default() -> Self {
        Self {
            expires_days: expires_days(),
        }
    }
}

fn expires_days() -> u32 {
    14
}
