//! Owns the way from a URL and options to an object store: local disk, memory, S3 and what speaks
//! its protocol, Google Cloud Storage, Azure Blob Storage.
//!
//! Credentials come from the environment as each cloud's own tools read it (static keys, web
//! identity, workload identity, the machine's metadata service); options stand above it. Called by
//! the lake's own store and by [`super::bucket`].

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use datafusion::object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use datafusion::object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use datafusion::object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use datafusion::object_store::local::LocalFileSystem;
use datafusion::object_store::memory::InMemory;
use datafusion::object_store::{
    BackoffConfig, Certificate, ClientConfigKey, ClientOptions, ObjectStore, RetryConfig,
};
use url::Url;

use super::encoding::Floats;
use super::error::LakeError;

/// A data file of 100 MB over a slow line takes longer than the client's 30 s.
const REQUEST_TIMEOUT: &str = "5 minutes";
/// A store that is away is reported within the minute, not after three.
const RETRIES: usize = 6;
const RETRY_TIMEOUT: Duration = Duration::from_mins(1);

/// URL schemes of stores behind HTTP; `file` and `memory` are the others.
pub(crate) const REMOTE_SCHEMES: [&str; 8] =
    ["s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "adl"];

/// How to reach a store: keys of the cloud's client (`endpoint`, `region`, `allow_http`,
/// `proxy_url`, …), and `ca_file`, a PEM bundle to trust besides the usual authorities. Of a lake
/// also `floats`, how its raw tables are written.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct StoreOptions {
    values: BTreeMap<String, String>,
}

impl StoreOptions {
    /// What is the lake's own among them, apart from the rest.
    pub(crate) fn apart(mut self) -> Result<(Self, Floats), LakeError> {
        let floats = match self.values.remove("floats").as_deref() {
            None | Some("decimal") => Floats::Decimal,
            Some("double") => Floats::Double,
            Some(other) => {
                return Err(LakeError::BadOption {
                    url: "[lake]".to_owned(),
                    key: "floats".to_owned(),
                    reason: format!("it is \"decimal\" or \"double\", not {other:?}"),
                });
            }
        };
        Ok((self, floats))
    }
}

/// Names only: a value may be a secret.
impl fmt::Debug for StoreOptions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.values.keys()).finish()
    }
}

impl From<BTreeMap<String, String>> for StoreOptions {
    fn from(values: BTreeMap<String, String>) -> Self {
        Self { values }
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for StoreOptions {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let pairs = pairs.into_iter();
        pairs
            .map(|(k, v)| (k.into(), v.into()))
            .collect::<BTreeMap<_, _>>()
            .into()
    }
}

/// The store of a path or URL, and the URL: of a folder, ending in `/`.
pub(crate) fn connect(
    text: &str,
    options: &StoreOptions,
) -> Result<(Arc<dyn ObjectStore>, Url), LakeError> {
    let bad = |reason: String| LakeError::BadUrl {
        url: text.to_owned(),
        reason,
    };
    let mut url = if text.contains("://") {
        Url::parse(text).map_err(|e| bad(e.to_string()))?
    } else {
        let path = std::path::absolute(FilePath::new(text)).map_err(|e| bad(e.to_string()))?;
        Url::from_directory_path(&path).map_err(|()| bad("not an absolute path".to_owned()))?
    };
    if url.password().is_some() || url.query().is_some() {
        return Err(LakeError::BadUrl {
            url: format!("{}://…", url.scheme()),
            reason: "credentials do not belong into a URL, which logs show".to_owned(),
        });
    }
    let folder = format!("{}/", url.path().trim_end_matches('/'));
    url.set_path(&folder);
    let store: Arc<dyn ObjectStore> = match url.scheme() {
        "file" | "memory" => {
            if let Some(key) = options.values.keys().next() {
                return Err(LakeError::BadOption {
                    url: text.to_owned(),
                    key: key.clone(),
                    reason: "a store on this machine has no options".to_owned(),
                });
            }
            if url.scheme() == "file" {
                Arc::new(LocalFileSystem::new())
            } else {
                Arc::new(InMemory::new())
            }
        }
        scheme if REMOTE_SCHEMES.contains(&scheme) => remote(&url, options)?,
        other => return Err(bad(format!("{other}:// stores are not supported"))),
    };
    Ok((store, url))
}

fn remote(url: &Url, options: &StoreOptions) -> Result<Arc<dyn ObjectStore>, LakeError> {
    let bad = |e: datafusion::object_store::Error| LakeError::BadUrl {
        url: url.to_string(),
        reason: e.to_string(),
    };
    // A store's own parsing takes the path for the bucket's in some schemes.
    let bucket = &url[..url::Position::BeforePath];
    match url.scheme() {
        "s3" | "s3a" => {
            let mut builder = AmazonS3Builder::from_env().with_url(bucket);
            for (key, value) in own_keys(url, options, |key| match key.parse() {
                Ok(AmazonS3ConfigKey::Client(_)) | Err(_) => None,
                Ok(key) => Some(key),
            })? {
                builder = builder.with_config(key, value);
            }
            let builder = builder
                .with_client_options(client(url, options, "aws_")?)
                .with_retry(retry());
            Ok(Arc::new(builder.build().map_err(bad)?))
        }
        "gs" => {
            let mut builder = GoogleCloudStorageBuilder::from_env().with_url(bucket);
            for (key, value) in own_keys(url, options, |key| match key.parse() {
                Ok(GoogleConfigKey::Client(_)) | Err(_) => None,
                Ok(key) => Some(key),
            })? {
                builder = builder.with_config(key, value);
            }
            let builder = builder
                .with_client_options(client(url, options, "google_")?)
                .with_retry(retry());
            Ok(Arc::new(builder.build().map_err(bad)?))
        }
        _ => {
            let mut builder = MicrosoftAzureBuilder::from_env().with_url(bucket);
            for (key, value) in own_keys(url, options, |key| match key.parse() {
                Ok(AzureConfigKey::Client(_)) | Err(_) => None,
                Ok(key) => Some(key),
            })? {
                builder = builder.with_config(key, value);
            }
            let builder = builder
                .with_client_options(client(url, options, "azure_")?)
                .with_retry(retry());
            Ok(Arc::new(builder.build().map_err(bad)?))
        }
    }
}

/// The options that the cloud's builder knows; one that nobody knows is an error.
fn own_keys<K>(
    url: &Url,
    options: &StoreOptions,
    parse: impl Fn(&str) -> Option<K>,
) -> Result<Vec<(K, String)>, LakeError> {
    let mut known = Vec::new();
    for (name, value) in &options.values {
        if name == "ca_file" || name.parse::<ClientConfigKey>().is_ok() {
            continue;
        }
        let key = parse(name).ok_or_else(|| LakeError::BadOption {
            url: url.to_string(),
            key: name.clone(),
            reason: format!("{}:// stores have no such option", url.scheme()),
        })?;
        known.push((key, value.clone()));
    }
    Ok(known)
}

/// The HTTP client's options: from the environment (`AWS_ALLOW_HTTP`, …), then our own.
fn client(url: &Url, options: &StoreOptions, prefix: &str) -> Result<ClientOptions, LakeError> {
    let bad = |reason: String| LakeError::BadOption {
        url: url.to_string(),
        key: "ca_file".to_owned(),
        reason,
    };
    let mut client = ClientOptions::new().with_config(ClientConfigKey::Timeout, REQUEST_TIMEOUT);
    for (name, value) in std::env::vars_os() {
        let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else {
            continue;
        };
        let name = name.to_ascii_lowercase();
        if let Some(Ok(key)) = name.strip_prefix(prefix).map(str::parse) {
            client = client.with_config(key, value);
        }
    }
    for (name, value) in &options.values {
        if let Ok(key) = name.parse() {
            client = client.with_config(key, value);
        }
    }
    if let Some(path) = options.values.get("ca_file") {
        let pem = std::fs::read(path).map_err(|e| bad(format!("cannot read {path}: {e}")))?;
        let bundle = Certificate::from_pem_bundle(&pem).map_err(|e| bad(e.to_string()))?;
        if bundle.is_empty() {
            return Err(bad(format!("{path} holds no PEM certificate")));
        }
        for certificate in bundle {
            client = client.with_root_certificate(certificate);
        }
    }
    Ok(client)
}

fn retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: RETRIES,
        retry_timeout: RETRY_TIMEOUT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(url: &str, options: &[(&str, &str)]) -> String {
        let options = options.iter().copied().collect();
        connect(url, &options).unwrap_err().to_string()
    }

    #[test]
    fn every_scheme_opens_without_a_connection() {
        let options: StoreOptions = [("region", "eu-west-1"), ("allow_http", "true")]
            .into_iter()
            .collect();
        let (_, url) = connect("s3://bucket/lake", &options).unwrap();
        assert_eq!(url.as_str(), "s3://bucket/lake/");
        let options: StoreOptions = [("skip_signature", "true")].into_iter().collect();
        assert!(connect("gs://bucket/lake/", &options).is_ok());
        let options: StoreOptions = [("account_name", "a"), ("skip_signature", "true")]
            .into_iter()
            .collect();
        assert!(connect("az://container/lake", &options).is_ok());
        let options = [("skip_signature", "true")].into_iter().collect();
        assert!(connect("abfss://c@a.dfs.core.windows.net/lake", &options).is_ok());
    }

    #[test]
    fn what_nobody_knows_is_named() {
        let text = error("s3://b/l", &[("endpiont", "http://x")]);
        assert!(text.contains("endpiont"), "{text}");
        let text = error("/tmp/x", &[("endpoint", "http://x")]);
        assert!(text.contains("endpoint"), "{text}");
        let text = error("ftp://x/y", &[]);
        assert!(text.contains("ftp://"), "{text}");
        let text = error("s3://b/l", &[("ca_file", "/does/not/exist.pem")]);
        assert!(text.contains("/does/not/exist.pem"), "{text}");
    }

    #[test]
    fn secrets_are_neither_accepted_in_urls_nor_printed() {
        let text = error("s3://key:hidden@bucket/l", &[]);
        assert!(!text.contains("hidden"), "{text}");
        let options: StoreOptions = [("secret_access_key", "hidden")].into_iter().collect();
        assert_eq!(format!("{options:?}"), r#"{"secret_access_key"}"#);
    }
}
