//! Owns the configuration file: its keys, their defaults and their checks.
//!
//! Unknown keys are errors that name the key; relative paths are relative to the file. It opens no
//! source and no lake. Imported by `cli` only: every room takes its own small options.

mod auth;
mod file;

pub use auth::{
    AuthorizationSection, AzureManagedSection, AzureOAuthSection, AzureSection,
    AzureWorkloadSection, BasicAuthSection, GoogleSection, HeaderSection, OAuth2Section,
    SigV4Section, TlsSection,
};
pub use file::{
    ApproveSection, ClusterSection, ConfigFile, LakeSection, PricesSection, ReportSection,
    SloMatch, SloSection, SourceKind, SourceSection,
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
        let url = &self.file.lake.url;
        if url.contains("://") && !url.starts_with("file://") {
            url.clone()
        } else {
            self.resolve(url).to_string_lossy().into_owned()
        }
    }

    /// The options of the lake's store, as text.
    #[must_use]
    pub fn lake_options(&self) -> BTreeMap<String, String> {
        self.store_options(&self.file.lake.options)
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
            if !clusters.contains(source.cluster.as_str()) {
                return Err(invalid(format!(
                    "[[source]] `{name}` belongs to cluster `{}`, which no [[cluster]] names",
                    source.cluster
                )));
            }
            if !names.insert(name.clone()) {
                return Err(invalid(format!(
                    "two [[source]] entries are called `{name}`: give each a name of its own"
                )));
            }
            let (given, wanted) = match source.kind {
                SourceKind::Prometheus | SourceKind::Tsdb => (source.url.is_some(), "url"),
                SourceKind::KubernetesExport => (source.path.is_some(), "path"),
                SourceKind::Kubernetes => (true, ""),
            };
            if !given {
                return Err(invalid(format!("[[source]] `{name}` has no `{wanted}`")));
            }
            let of_cluster = source.kubeconfig.is_some() || source.context.is_some();
            if source.kind != SourceKind::Kubernetes && (of_cluster || source.qps.is_some()) {
                return Err(invalid(format!(
                    "[[source]] `{name}`: kubeconfig, context and qps are for kind = \"kubernetes\""
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
        if file.report.timezone != "UTC" {
            return Err(invalid(format!(
                "[report] timezone = `{}` is not supported: hours and days are UTC",
                file.report.timezone
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
