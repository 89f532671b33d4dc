//! Owns the HTTP client of a source: TLS with Prometheus' own key names, proxy and timeouts, built
//! anew when a certificate file changes. Used by `http` and by token requests.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HOST, HeaderValue};
use reqwest::{Certificate, Client, Identity, Request};
use url::Url;

use super::http::chain;
use crate::model::canonical::sha256_hex;

/// Larger than any bundle of certificates.
const MAX_PEM_BYTES: u64 = 8 << 20;

/// Prometheus' `tls_config`. With `ca_file` no other authority is trusted.
#[derive(Debug, Clone, Default)]
pub struct TlsOptions {
    pub ca_file: Option<PathBuf>,
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    /// The name that the server's certificate must have, where it is not the address's host.
    pub server_name: Option<String>,
    pub insecure_skip_verify: bool,
}

/// How a client is built.
#[derive(Debug, Clone)]
pub(super) struct ClientOptions {
    pub(super) tls: TlsOptions,
    pub(super) proxy_url: Option<Url>,
    pub(super) proxy_from_environment: bool,
    pub(super) connect_timeout: Duration,
    pub(super) idle_timeout: Duration,
    /// Connections kept for the next request.
    pub(super) connections: usize,
    /// Where the server really is, if `tls.server_name` takes its place in the address.
    pub(super) host: Option<String>,
}

impl ClientOptions {
    pub(super) fn build(&self) -> Result<Client, String> {
        self.build_with(&self.pem()?)
    }

    fn build_with(&self, pem: &Pem) -> Result<Client, String> {
        let unusable = |error: reqwest::Error| chain(&error);
        let mut builder = Client::builder()
            .connect_timeout(self.connect_timeout)
            .read_timeout(self.idle_timeout)
            .pool_max_idle_per_host(self.connections)
            // A redirected POST becomes a GET, and credentials must not travel on.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("idleproof/", env!("CARGO_PKG_VERSION")));
        if let Some(proxy) = &self.proxy_url {
            let proxy = reqwest::Proxy::all(proxy.clone()).map_err(unusable)?;
            builder = builder.no_proxy().proxy(proxy);
        } else if !self.proxy_from_environment {
            builder = builder.no_proxy();
        }
        if let Some(ca) = &pem.ca {
            builder = builder.tls_built_in_root_certs(false);
            let bundle = Certificate::from_pem_bundle(ca).map_err(unusable)?;
            if bundle.is_empty() {
                return Err("ca_file holds no certificate".to_owned());
            }
            for certificate in bundle {
                builder = builder.add_root_certificate(certificate);
            }
        }
        if let Some(pair) = &pem.pair {
            let identity = Identity::from_pem(pair)
                .map_err(|_| "cert_file and key_file are no certificate with its key".to_owned())?;
            builder = builder.identity(identity);
        }
        if let (Some(name), Some(host)) = (&self.tls.server_name, &self.host) {
            builder = builder.dns_resolver(Arc::new(Alias {
                name: name.clone(),
                host: host.clone(),
            }));
        }
        if self.tls.insecure_skip_verify {
            builder = builder.danger_accept_invalid_certs(true);
        }
        builder.build().map_err(unusable)
    }

    fn pem(&self) -> Result<Pem, String> {
        let read = |path: &Option<PathBuf>| path.as_deref().map(read_pem).transpose();
        let (cert, key) = (read(&self.tls.cert_file)?, read(&self.tls.key_file)?);
        let pair = match (cert, key) {
            (Some(mut cert), Some(key)) => {
                cert.push(b'\n');
                cert.extend(key);
                Some(cert)
            }
            (None, None) => None,
            _ => return Err("cert_file and key_file are given together or not at all".to_owned()),
        };
        Ok(Pem {
            ca: read(&self.tls.ca_file)?,
            pair,
        })
    }
}

fn read_pem(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_PEM_BYTES).read_to_end(&mut bytes))
        .map_err(|e| format!("{} cannot be read ({e})", path.display()))?;
    Ok(bytes)
}

/// What the files held.
struct Pem {
    ca: Option<Vec<u8>>,
    pair: Option<Vec<u8>>,
}

impl Pem {
    fn digest(&self) -> String {
        let parts = [&self.ca, &self.pair].map(|part| sha256_hex(part.as_deref().unwrap_or(&[])));
        parts.concat()
    }
}

/// A client that follows its certificate files.
#[derive(Debug, Clone)]
pub(super) struct Clients {
    options: ClientOptions,
    current: Arc<RwLock<(String, Client)>>,
}

impl Clients {
    pub(super) fn new(options: ClientOptions) -> Result<Self, String> {
        let pem = options.pem()?;
        let client = options.build_with(&pem)?;
        Ok(Self {
            options,
            current: Arc::new(RwLock::new((pem.digest(), client))),
        })
    }

    /// The client, built anew if its files changed. While they are half-written or gone, the one
    /// before serves.
    pub(super) fn get(&self) -> Client {
        let held = || {
            let current = self.current.read();
            let current = current.unwrap_or_else(std::sync::PoisonError::into_inner);
            (current.0.clone(), current.1.clone())
        };
        let (digest, client) = held();
        let tls = &self.options.tls;
        if tls.ca_file.is_none() && tls.cert_file.is_none() {
            return client;
        }
        let renewed = self.options.pem().and_then(|pem| {
            let now = pem.digest();
            if now == digest {
                return Ok(None);
            }
            Ok(Some((now, self.options.build_with(&pem)?)))
        });
        match renewed {
            Ok(None) => client,
            Ok(Some((digest, client))) => {
                let mut current = self
                    .current
                    .write()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                *current = (digest, client.clone());
                client
            }
            Err(why) => {
                tracing::warn!(why, "the certificate files changed and cannot be used");
                client
            }
        }
    }
}

/// The host of an address as resolvers take it.
pub(super) fn host_of(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    Some(host.trim_matches(['[', ']']).to_owned())
}

/// Makes the connection to the certificate's name, which leads to the real host ([`Alias`]), and
/// keeps that in the request's header.
pub(super) fn under_name(request: &mut Request, name: &str) -> Result<(), &'static str> {
    let Some(host) = request.url().host_str().map(str::to_owned) else {
        return Ok(());
    };
    let authority = match request.url().port() {
        Some(port) => format!("{host}:{port}"),
        None => host,
    };
    if let Ok(value) = HeaderValue::from_str(&authority) {
        request.headers_mut().insert(HOST, value);
    }
    request
        .url_mut()
        .set_host(Some(name))
        .map_err(|_| "server_name is no host name")
}

/// Finds a host by the name that its certificate has.
struct Alias {
    name: String,
    host: String,
}

impl Resolve for Alias {
    fn resolve(&self, name: Name) -> Resolving {
        let host = if name.as_str() == self.name {
            self.host.clone()
        } else {
            name.as_str().to_owned()
        };
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            let found: Vec<_> = found.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
