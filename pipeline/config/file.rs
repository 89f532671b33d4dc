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
    pub report: ReportSection,
    #[serde(default)]
    pub approve: ApproveSection,
    /// Parameters of detectors and rollups by query name: `[params.dark-capacity]`.
    #[serde(default)]
    pub params: BTreeMap<String, BTreeMap<String, toml::Value>>,
}

/// Where the lake lies.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LakeSection {
    pub url: String,
    /// How to reach the store, in the words of its client: `endpoint`, `region`, `ca_file`, ….
    #[serde(default)]
    pub options: BTreeMap<String, toml::Value>,
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
    /// A folder of Prometheus TSDB blocks.
    Tsdb,
    /// A folder of `kubectl get … -o json` lists, one folder a snapshot.
    KubernetesExport,
    /// The API of a running cluster.
    Kubernetes,
}

/// One source of telemetry or inventory.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceSection {
    pub name: Option<String>,
    pub kind: SourceKind,
    pub cluster: String,
    pub url: Option<String>,
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
    /// Kubernetes: a kubeconfig, else `KUBECONFIG`, `~/.kube/config` or the pod's service account.
    pub kubeconfig: Option<String>,
    /// Kubernetes: a context of the kubeconfig, else its current one.
    pub context: Option<String>,
    pub proxy_url: Option<String>,
    /// Whether `HTTPS_PROXY` and its kin hold for a metrics source.
    #[serde(default)]
    pub proxy_from_environment: bool,
    /// Kubernetes: requests a second.
    pub qps: Option<u32>,
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
            format!("{kind}-{}-{index}", self.cluster)
        })
    }
}

/// Where prices come from besides the embedded catalogue.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PricesSection {
    #[serde(default)]
    pub sheets: Vec<String>,
}

/// A declared service level objective.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SloSection {
    #[serde(rename = "match", default)]
    pub matching: SloMatch,
    pub ttft_p95_ms: i64,
    pub itl_p95_ms: i64,
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
}

impl Default for ReportSection {
    fn default() -> Self {
        Self {
            output: out(),
            timezone: utc(),
            templates: None,
        }
    }
}

fn out() -> String {
    "./out".to_owned()
}

fn utc() -> String {
    "UTC".to_owned()
}

/// How manifests are signed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApproveSection {
    /// The pipeline's OpenSSH Ed25519 key; made on first use. Default: beside the report's output.
    pub signing_key: Option<String>,
}
