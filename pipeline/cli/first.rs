//! Owns a first configuration: what `init` writes and `scan` works with, and how a metrics server is
//! found where none is named. Every value is written as TOML text, whatever it holds.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::error::CliError;
use super::say;
use crate::config::Config;
use crate::ingest::prometheus::{Mode, RemoteOptions};
use crate::ingest::{
    ClusterApi, ClusterOptions, FoundServer, IngestError, ServicePlace, Source, SourceKind,
    SourceLocation, SourceSpec, find_servers,
};

const TEMPLATE: &str = include_str!("first/idleproof.toml");

/// Where metrics are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Metrics {
    Url(String),
    /// Reached through the API server of the cluster.
    Service(String),
}

/// Where inventory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Inventory {
    /// From kube-state-metrics alone.
    None,
    Cluster,
    Lists(PathBuf),
}

/// The metrics server that a person names, if they do.
#[derive(Debug, Args)]
pub(super) struct ServerArgs {
    /// The metrics server; default: the cluster's own, found by its labels
    #[arg(long, value_name = "URL", value_parser = parse_url)]
    pub prometheus: Option<String>,
    /// The metrics server, reached through the cluster's API server
    #[arg(
        long,
        value_name = "NAMESPACE/NAME:PORT",
        value_parser = parse_service,
        conflicts_with = "prometheus"
    )]
    pub service: Option<String>,
}

fn parse_url(text: &str) -> Result<String, String> {
    match url::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(text.to_owned()),
        _ => Err("give an http or https address, as in `http://prometheus:9090`".to_owned()),
    }
}

fn parse_service(text: &str) -> Result<String, String> {
    let place = ServicePlace::parse(text);
    place.map(|place| place.to_string()).ok_or_else(|| {
        "give a Service and its port, as in `monitoring/prometheus-operated:9090`".to_owned()
    })
}

impl ServerArgs {
    pub(super) fn named(&self) -> Option<Metrics> {
        match (&self.prometheus, &self.service) {
            (Some(url), _) => Some(Metrics::Url(url.clone())),
            (None, Some(service)) => Some(Metrics::Service(service.clone())),
            (None, None) => None,
        }
    }
}

/// How the cluster is reached.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Access {
    /// A context of the kubeconfig; default: its current one
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// A kubeconfig; default: $KUBECONFIG, ~/.kube/config, or the pod's service account
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

impl Access {
    pub(super) fn options(&self) -> ClusterOptions {
        ClusterOptions {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
            ..ClusterOptions::default()
        }
    }
}

/// What a first configuration says.
#[derive(Debug, Clone)]
pub(super) struct First {
    pub cluster: String,
    pub lake: String,
    pub output: String,
    pub metrics: Metrics,
    pub inventory: Inventory,
    pub access: Access,
    pub sheets: Vec<PathBuf>,
}

impl First {
    /// The file's text, with the usual further sections as comments.
    pub(super) fn text(&self) -> String {
        let quote = |text: &str| toml::Value::from(text).to_string();
        let cluster = quote(&self.cluster);
        let mut access = String::new();
        if let Some(path) = &self.access.kubeconfig {
            let _ = writeln!(access, "kubeconfig = {}", quote(&path.to_string_lossy()));
        }
        if let Some(context) = &self.access.context {
            let _ = writeln!(access, "context = {}", quote(context));
        }
        let head = |about: &str, kind: &str| {
            format!("# {about}\n[[source]]\nkind = \"{kind}\"\ncluster = {cluster}\n")
        };
        let metrics = head(
            "Prometheus, Thanos, Mimir, VictoriaMetrics or a managed service (docs/sources.md).",
            "prometheus",
        ) + &match &self.metrics {
            Metrics::Url(url) => format!("url = {}\n", quote(url)),
            Metrics::Service(service) => format!("service = {}\n{access}", quote(service)),
        };
        let kubernetes = match &self.inventory {
            Inventory::None => "# Objects say who owns a GPU and what to change. Without them idleproof knows what\n\
                 # kube-state-metrics tells.\n# [[source]]\n# kind = \"kubernetes\"\n"
                .to_owned()
                + &format!("# cluster = {cluster}\n"),
            Inventory::Cluster => {
                head("Objects of the cluster, read only; never Secrets.", "kubernetes") + &access
            }
            Inventory::Lists(path) => {
                head("Lists that `idleproof snapshot --out` wrote.", "kubernetes-export")
                    + &format!("path = {}\n", quote(&path.to_string_lossy()))
            }
        };
        let prices = if self.sheets.is_empty() {
            "# [prices]\n# sheets = [\"./prices.csv\"]\n".to_owned()
        } else {
            let sheets: Vec<String> = self
                .sheets
                .iter()
                .map(|path| quote(&path.to_string_lossy()))
                .collect();
            format!("[prices]\nsheets = [{}]\n", sheets.join(", "))
        };
        // One pass: a value that looks like a placeholder stays text.
        let mut text = String::with_capacity(TEMPLATE.len() * 2);
        let mut rest = TEMPLATE;
        while let Some((before, after)) = rest.split_once('@') {
            text += before;
            let Some((name, after)) = after.split_once('@') else {
                break;
            };
            text += match name {
                "lake" => quote(&self.lake),
                "output" => quote(&self.output),
                "metrics" => metrics.clone(),
                "kubernetes" => kubernetes.clone(),
                "prices" => prices.clone(),
                _ => cluster.clone(),
            }
            .as_str();
            rest = after;
        }
        text + rest
    }

    /// The same, checked as a file of this name would be.
    pub(super) fn config(&self, path: &Path) -> Result<(String, Config), CliError> {
        let text = self.text();
        let config = Config::parse(path, &text)?;
        Ok((text, config))
    }
}

/// What a cluster is called where nobody says: its context, made fit for object keys.
pub(super) fn cluster_name(context: Option<&str>) -> String {
    let name: String = context
        .unwrap_or("cluster")
        .chars()
        .map(|c| {
            if c.is_control() || "/=%".contains(c) {
                '-'
            } else {
                c
            }
        })
        .take(100)
        .collect();
    if name.is_empty() {
        "cluster".to_owned()
    } else {
        name
    }
}

/// The metrics server of a cluster: the first that answers and holds something.
pub(super) async fn find(access: &Access, in_pod: bool) -> Result<Metrics, CliError> {
    let api = ClusterApi::connect(access.options()).await;
    let api = api.map_err(|error| {
        CliError::Usage(format!(
            "no metrics server is named, and no cluster can be searched for one: {error}; or give the \
             server's address with --prometheus URL"
        ))
    })?;
    let found = find_servers(&api).await.map_err(IngestError::from)?;
    let mut why = Vec::new();
    for server in &found {
        let metrics = way(server, in_pod);
        match holds(access, server, in_pod).await {
            Ok(true) => {
                say(&format!("found {} at {}", server.kind, server.place));
                for other in found.iter().filter(|other| other.place != server.place) {
                    say(&format!("  also there: {} at {}", other.kind, other.place));
                }
                return Ok(metrics);
            }
            Ok(false) => why.push(format!("{} {} holds nothing", server.kind, server.place)),
            Err(error) => why.push(format!("{} {}: {error}", server.kind, server.place)),
        }
    }
    Err(CliError::Usage(if why.is_empty() {
        "no Service of the cluster has the labels of a Prometheus, Thanos, Mimir or VictoriaMetrics: \
         give its address with --prometheus URL, or --service NAMESPACE/NAME:PORT"
            .to_owned()
    } else {
        format!(
            "no metrics server of the cluster can be read: {}; give one with --prometheus URL, or \
             --service NAMESPACE/NAME:PORT (the account needs `get` and `create` on services/proxy)",
            why.join("; ")
        )
    }))
}

fn way(server: &FoundServer, in_pod: bool) -> Metrics {
    if in_pod {
        Metrics::Url(server.url_inside())
    } else {
        Metrics::Service(server.place.to_string())
    }
}

async fn holds(access: &Access, server: &FoundServer, in_pod: bool) -> Result<bool, IngestError> {
    let inside = url::Url::parse(&server.url_inside()).map_err(|error| IngestError::Config {
        what: format!("{} is no URL ({error})", server.url_inside()),
        todo: "give the server's address with --prometheus",
    })?;
    // A server that was only found, not named, gets one try.
    let options = RemoteOptions {
        attempts: 1,
        ..RemoteOptions::new(inside)
    };
    let place = ServicePlace::clone(&server.place);
    let location = if in_pod {
        SourceLocation::Remote(Box::new(options), Mode::Auto)
    } else {
        let cluster = Box::new(access.options());
        SourceLocation::Behind(cluster, place, Box::new(options), Mode::Auto)
    };
    let spec = SourceSpec {
        name: server.place.to_string(),
        kind: SourceKind::Prometheus,
        location,
    };
    Ok(Source::open(spec).await?.extent().await?.is_some())
}

/// Whether this is a pod: its API server is in the environment, and no kubeconfig is asked for.
pub(super) fn in_pod(access: &Access) -> bool {
    access.kubeconfig.is_none()
        && access.context.is_none()
        && std::env::var_os("KUBECONFIG").is_none()
        && std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first() -> First {
        First {
            cluster: "prod\"a@b@".to_owned(),
            lake: "./lake".to_owned(),
            output: "./out".to_owned(),
            metrics: Metrics::Service("monitoring/prometheus-operated:9090".to_owned()),
            inventory: Inventory::Cluster,
            access: Access {
                kubeconfig: Some(PathBuf::from("./kube\nconfig")),
                context: Some("it's \"quoted\"".to_owned()),
            },
            sheets: vec![PathBuf::from("prices.csv")],
        }
    }

    #[test]
    fn whatever_is_written_reads_back_as_it_was() {
        let (text, config) = first().config(Path::new("x/idleproof.toml")).unwrap();
        let file = &config.file;
        assert_eq!(file.clusters[0].name, "prod\"a@b@", "{text}");
        assert_eq!(file.sources.len(), 2);
        for source in &file.sources {
            assert_eq!(source.context.as_deref(), Some("it's \"quoted\""));
            assert_eq!(source.kubeconfig.as_deref(), Some("./kube\nconfig"));
            assert_eq!(source.cluster, "prod\"a@b@");
        }
        assert_eq!(file.prices.sheets, ["prices.csv"]);
    }

    #[test]
    fn what_is_left_out_is_a_comment_that_can_be_used() {
        let plain = First {
            cluster: "prod".to_owned(),
            metrics: Metrics::Url("http://prometheus:9090".to_owned()),
            inventory: Inventory::None,
            sheets: Vec::new(),
            ..first()
        };
        let (text, config) = plain.config(Path::new("idleproof.toml")).unwrap();
        assert_eq!(config.file.sources.len(), 1);
        // Every comment that looks like a setting is one.
        let uncommented: String = text
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(rest) if rest.starts_with('[') || rest.contains(" = ") => rest,
                _ => line,
            })
            .fold(String::new(), |all, line| all + line + "\n");
        Config::parse(Path::new("idleproof.toml"), &uncommented).unwrap();
    }

    #[test]
    fn a_cluster_is_called_by_its_context() {
        assert_eq!(
            cluster_name(Some("arn:aws:eks:eu-west-1:1:cluster/prod")),
            "arn:aws:eks:eu-west-1:1:cluster-prod"
        );
        assert_eq!(cluster_name(Some("")), "cluster");
        assert_eq!(cluster_name(None), "cluster");
    }
}
