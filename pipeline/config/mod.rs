//! Owns the configuration file: its keys, their defaults and their checks.
//!
//! Unknown keys are errors that name the key; relative paths are relative to the file. It opens no
//! source and no lake. Imported by `cli` only: every room takes its own small options.

mod auth;
mod file;
mod selection;
mod zone;

pub use auth::{
    AuthorizationSection, AzureManagedSection, AzureOAuthSection, AzureSection,
    AzureWorkloadSection, BasicAuthSection, GoogleSection, HeaderSection, OAuth2Section,
    SigV4Section, TlsSection,
};
pub use file::{
    AcceptMatch, AcceptSection, ApproveSection, ClusterSection, ConfigFile, DetectorsSection,
    LakeSection, LogicalSource, NotifyEvery, NotifyKind, NotifySection, PricesSection,
    RecommendationsSection, ReportSection, SloMatch, SloSection, SourceKind, SourceMode,
    SourceSection, TeamSection, UpstreamSection,
};

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A configuration that cannot be used, by file and key.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration `{}`: {source}; name another with --config", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("`{}` is not a configuration that idleproof understands:\n{detail}", path.display())]
    Parse { path: PathBuf, detail: String },
    #[error("`{}`: {what}", path.display())]
    Invalid { path: PathBuf, what: String },
}

/// A checked configuration with the folder its relative paths start from.
#[derive(Debug, Clone)]
pub struct Config {
    pub path: PathBuf,
    pub folder: PathBuf,
    pub file: ConfigFile,
}

impl Config {
    /// Reads, parses and checks a configuration file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(path, &text)
    }

    /// Parses and checks the text of a configuration; `path` names it and anchors its paths.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let file: ConfigFile = toml::from_str(text).map_err(|error| ConfigError::Parse {
            path: path.to_owned(),
            detail: auth::redacted(error.to_string().trim_end()),
        })?;
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let config = Self {
            path: path.to_owned(),
            folder,
            file,
        };
        config.check()?;
        Ok(config)
    }

    /// A path of the file, absolute or relative to it; `file://` is a path too.
    #[must_use]
    pub fn resolve(&self, text: &str) -> PathBuf {
        let text = text.strip_prefix("file://").unwrap_or(text);
        self.folder.join(text)
    }

    /// The lake's location: an object-store URL as it is, else a path.
    #[must_use]
    pub fn lake_url(&self) -> String {
        self.place(&self.file.lake.url)
    }

    /// A place of the file: the URL of an object store as it is, else a path relative to the file.
    #[must_use]
    pub fn place(&self, text: &str) -> String {
        if text.contains("://") && !text.starts_with("file://") {
            text.to_owned()
        } else {
            self.resolve(text).to_string_lossy().into_owned()
        }
    }

    /// The options of the lake's store, as text.
    #[must_use]
    pub fn lake_options(&self) -> BTreeMap<String, String> {
        let mut options = self.store_options(&self.file.lake.options);
        if self.file.lake.floats == file::Floats::Double {
            options.insert("floats".to_owned(), "double".to_owned());
        }
        options
    }

    /// Options of a store as text, with `ca_file` relative to the file.
    #[must_use]
    pub fn store_options(
        &self,
        options: &BTreeMap<String, toml::Value>,
    ) -> BTreeMap<String, String> {
        let text = |key: &str, value: &toml::Value| match value {
            toml::Value::String(text) if key == "ca_file" => {
                self.resolve(text).to_string_lossy().into_owned()
            }
            toml::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        options
            .iter()
            .map(|(key, value)| (key.clone(), text(key, value)))
            .collect()
    }

    fn check_options(
        &self,
        place: &str,
        options: &BTreeMap<String, toml::Value>,
    ) -> Result<(), ConfigError> {
        for (key, value) in options {
            if value.is_table() || value.is_array() {
                return Err(ConfigError::Invalid {
                    path: self.path.clone(),
                    what: format!("{place} options: `{key}` must be a text, a number or a flag"),
                });
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), ConfigError> {
        let invalid = |what: String| ConfigError::Invalid {
            path: self.path.clone(),
            what,
        };
        let file = &self.file;
        self.check_options("[lake]", &file.lake.options)?;
        // A run looks at 14 days and a day on both sides; what it derives anew it must find.
        for (key, days, least) in [
            ("raw_days", file.lake.raw_days, 30),
            ("derived_days", file.lake.derived_days, 30),
            ("evidence_days", file.lake.evidence_days, 1),
            ("publication_days", file.lake.publication_days, 1),
        ] {
            if days.is_some_and(|days| days < least) {
                return Err(invalid(format!(
                    "[lake] {key} must be {least} or more: runs and replays need what is younger"
                )));
            }
        }
        if file.clusters.is_empty() {
            return Err(invalid(
                "it names no [[cluster]]: add one with a name".to_owned(),
            ));
        }
        let mut clusters = BTreeSet::new();
        for cluster in &file.clusters {
            if !clusters.insert(cluster.name.as_str()) {
                return Err(invalid(format!(
                    "[[cluster]] `{}` stands twice",
                    cluster.name
                )));
            }
            if cluster.name.is_empty() || cluster.name.contains(['/', '=', '%']) {
                return Err(invalid(format!(
                    "[[cluster]] name `{}` must not be empty or hold `/`, `=` or `%`: it becomes part of object keys",
                    cluster.name
                )));
            }
        }
        let mut names = BTreeSet::new();
        for (index, source) in file.sources.iter().enumerate() {
            let name = source.name(index);
            self.check_options(&format!("[[source]] `{name}`"), &source.options)?;
            selection::check(&name, source).map_err(invalid)?;
            for logical in source.logical(index) {
                if !clusters.contains(logical.cluster.as_str()) {
                    return Err(invalid(format!(
                        "[[source]] `{name}` belongs to cluster `{}`, which no [[cluster]] names",
                        logical.cluster
                    )));
                }
                if !names.insert(logical.name.clone()) {
                    return Err(invalid(format!(
                        "two [[source]] entries are called `{}`: give each a name of its own",
                        logical.name
                    )));
                }
            }
            selection::check_place(&name, source).map_err(invalid)?;
            let of_blocks = !source.tenants.is_empty() || source.external_labels.is_some();
            if source.kind != SourceKind::Tsdb && of_blocks {
                return Err(invalid(format!(
                    "[[source]] `{name}`: tenants and external_labels are for kind = \"tsdb\""
                )));
            }
            let is_folder = |tenant: &String| {
                !tenant.is_empty() && tenant != "." && tenant != ".." && !tenant.contains('/')
            };
            if let Some(tenant) = source.tenants.iter().find(|tenant| !is_folder(tenant)) {
                return Err(invalid(format!(
                    "[[source]] `{name}`: the tenant {tenant:?} cannot be the name of a folder"
                )));
            }
            auth::check(source).map_err(|what| invalid(format!("[[source]] `{name}`: {what}")))?;
            if source.qps == Some(0) {
                return Err(invalid(format!("[[source]] `{name}`: qps must not be 0")));
            }
            if let Some(hours) = source.window_hours
                && (hours == 0 || 24 % hours != 0 || hours % 2 != 0)
            {
                return Err(invalid(format!(
                    "[[source]] `{name}`: window_hours = {hours} must be 2, 4, 6, 8, 12 or 24, so that windows keep to the server's two-hour blocks and to UTC days"
                )));
            }
        }
        for (index, slo) in file.slos.iter().enumerate() {
            let limits = [slo.ttft_p95_ms, slo.itl_p95_ms];
            if limits == [None, None] || limits.into_iter().flatten().any(|ms| ms < 1) {
                return Err(invalid(format!(
                    "[[slo]] number {}: give ttft_p95_ms, itl_p95_ms or both, in whole milliseconds above 0",
                    index + 1
                )));
            }
        }
        for (index, accept) in file.accepts.iter().enumerate() {
            let place = format!("[[accept]] number {}", index + 1);
            let named = &accept.matching;
            if [
                &named.detector,
                &named.cluster,
                &named.namespace,
                &named.workload,
                &named.finding,
            ]
            .into_iter()
            .all(Option::is_none)
            {
                return Err(invalid(format!(
                    "{place} matches nothing: name a detector, cluster, namespace, workload or finding in `match`"
                )));
            }
            if accept.reason.trim().is_empty() || accept.by.trim().is_empty() {
                return Err(invalid(format!(
                    "{place} needs a reason, and a person in `by`: an acceptance is somebody's decision"
                )));
            }
            if accept.until_ms().is_none() {
                return Err(invalid(format!(
                    "{place}: until = `{}` is no UTC day, as in `2027-01-31`: what is accepted for ever is no decision",
                    accept.until
                )));
            }
        }
        for (finding, ticket) in &file.tickets {
            if ticket.trim().is_empty()
                || ticket.len() > 200
                || ticket.chars().any(char::is_control)
            {
                return Err(invalid(format!(
                    "[tickets] {finding}: give a ticket's number or address, of one line and at most 200 bytes"
                )));
            }
        }
        for word in &file.team.order {
            let label = word
                .strip_prefix("label:")
                .or_else(|| word.strip_prefix("namespace-label:"));
            let known = label.map_or_else(
                || ["cost", "queue", "project", "namespace"].contains(&word.as_str()),
                |label| !label.is_empty(),
            );
            if !known {
                return Err(invalid(format!(
                    "[team] order: `{word}` is none of `label:KEY`, `namespace-label:KEY`, `cost`, `queue`, `project`, `namespace`"
                )));
            }
        }
        for upstream in &file.upstreams {
            if !file.clusters.iter().any(|c| c.name == upstream.cluster) {
                return Err(invalid(format!(
                    "[[upstream]] {}: there is no [[cluster]] {}",
                    upstream.workload, upstream.cluster
                )));
            }
            if upstream.ends().is_none() {
                return Err(invalid(format!(
                    "[[upstream]] workload = `{}`, serves = `{}`: both are `namespace/name`",
                    upstream.workload, upstream.serves
                )));
            }
        }
        for (index, notify) in file.notify.iter().enumerate() {
            let address = notify.link.as_deref().unwrap_or("https://");
            let web = address.starts_with("https://") || address.starts_with("http://");
            // It stands between `<` and `|` in a message.
            let odd = |c: char| c.is_whitespace() || c.is_control() || "<>|\"".contains(c);
            if !web || address.contains(odd) {
                return Err(invalid(format!(
                    "[[notify]] number {}: link = {address:?} is no http or https address",
                    index + 1
                )));
            }
        }
        self.check_options("[report]", &file.report.output_options)?;
        zone::check(&file.report.timezone).map_err(invalid)
    }
}

#[cfg(test)]
mod tests;
