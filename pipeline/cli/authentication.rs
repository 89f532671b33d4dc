//! Owns how the keys of a metrics source become the options of its client: paths relative to the
//! configuration, addresses, the clock. Opens no file and asks no server.

use std::time::Duration;

use url::Url;

use super::error::CliError;
use super::{now_ms, say};
use crate::config::{AzureSection, Config, OAuth2Section, SourceSection, TlsSection};
use crate::ingest::prometheus::{
    Auth, Azure, AzureCloud, AzureIdentity, BasicAuth, Google, OAuth2, RemoteOptions, SigV4, Text,
    TlsOptions, WallClock,
};

/// Amazon's managed Prometheus.
const AWS_SERVICE: &str = "aps";

/// A source's options. A certificate that is not checked is said at every run.
pub(super) fn remote(
    config: &Config,
    section: &SourceSection,
    name: &str,
    mut options: RemoteOptions,
) -> Result<RemoteOptions, CliError> {
    options.headers = headers(config, section);
    options.auth = auth(config, section, name)?;
    options.tls = tls(config, &section.tls_config);
    options.proxy_url = address(name, "proxy_url", section.proxy_url.as_deref())?;
    options.proxy_from_environment = section.proxy_from_environment;
    options.clock = Some(WallClock(std::sync::Arc::new(now_ms)));
    if let Some(connections) = section.connections {
        options.connections = connections;
    }
    if let Some(seconds) = section.timeout_seconds {
        if seconds == 0 {
            return Err(CliError::Usage("timeout_seconds must not be 0".to_owned()));
        }
        options.idle_timeout = Duration::from_secs(seconds);
    }
    let of_oauth2 = section.oauth2.as_ref().map(|oauth2| &oauth2.tls_config);
    for tls in std::iter::once(&section.tls_config).chain(of_oauth2) {
        if tls.insecure_skip_verify {
            say(&format!(
                "{name}: WARNING: insecure_skip_verify is set: anyone on the way can read the \
                 credentials and forge the metrics"
            ));
        }
    }
    Ok(options)
}

fn file(config: &Config, path: &str) -> Text {
    Text::File(config.resolve(path))
}

fn address(name: &str, key: &str, text: Option<&str>) -> Result<Option<Url>, CliError> {
    let parse = |text: &str| {
        Url::parse(text).map_err(|e| {
            CliError::Usage(format!(
                "[[source]] `{name}`: {key} `{text}` is no URL ({e})"
            ))
        })
    };
    text.map(parse).transpose()
}

fn headers(config: &Config, section: &SourceSection) -> Vec<(String, Text)> {
    let tenant = section.tenant.iter();
    let tenant = tenant.map(|tenant| ("X-Scope-OrgID".to_owned(), Text::Given(tenant.clone())));
    let plain = section.headers.iter();
    let plain = plain.map(|(name, value)| (name.clone(), Text::Given(value.clone())));
    let typed = section.http_headers.iter().flat_map(|(name, header)| {
        let values = header.values.iter().cloned().map(Text::Given);
        let files = header.files.iter().map(|path| file(config, path));
        values.chain(files).map(|text| (name.clone(), text))
    });
    tenant.chain(plain).chain(typed).collect()
}

fn tls(config: &Config, section: &TlsSection) -> TlsOptions {
    let path = |path: &Option<String>| path.as_deref().map(|path| config.resolve(path));
    TlsOptions {
        ca_file: path(&section.ca_file),
        cert_file: path(&section.cert_file),
        key_file: path(&section.key_file),
        server_name: section.server_name.clone(),
        insecure_skip_verify: section.insecure_skip_verify,
    }
}

/// The one way to authenticate; that there is no second was checked with the configuration.
fn auth(config: &Config, section: &SourceSection, name: &str) -> Result<Auth, CliError> {
    if let Some(basic) = &section.basic_auth {
        let username = match (&basic.username, &basic.username_file) {
            (Some(username), _) => Text::Given(username.clone()),
            (None, path) => file(config, path.as_deref().unwrap_or_default()),
        };
        let password = basic.password_file.as_deref();
        return Ok(Auth::Basic(BasicAuth {
            username,
            password: password.map(|path| file(config, path)),
        }));
    }
    if let Some(path) = &section.bearer_token_file {
        return Ok(Auth::Header {
            kind: "Bearer".to_owned(),
            credentials: file(config, path),
        });
    }
    if let Some(header) = &section.authorization {
        return Ok(Auth::Header {
            kind: header.kind.clone().unwrap_or_else(|| "Bearer".to_owned()),
            credentials: file(
                config,
                header.credentials_file.as_deref().unwrap_or_default(),
            ),
        });
    }
    if let Some(section) = &section.oauth2 {
        return Ok(Auth::OAuth2(Box::new(oauth2(config, section, name)?)));
    }
    if let Some(sigv4) = &section.sigv4 {
        let keys = sigv4
            .access_key_file
            .as_ref()
            .zip(sigv4.secret_key_file.as_ref());
        return Ok(Auth::SigV4(Box::new(SigV4 {
            region: sigv4.region.clone(),
            service: sigv4
                .service
                .clone()
                .unwrap_or_else(|| AWS_SERVICE.to_owned()),
            profile: sigv4.profile.clone(),
            role_arn: sigv4.role_arn.clone(),
            external_id: sigv4.external_id.clone(),
            keys: keys.map(|(id, secret)| (file(config, id), file(config, secret))),
        })));
    }
    if let Some(google) = &section.google_iam {
        let path = google.credentials_file.as_deref();
        return Ok(Auth::Google(Box::new(Google {
            credentials_file: path.map(|path| config.resolve(path)),
        })));
    }
    if let Some(section) = &section.azuread {
        return Ok(Auth::Azure(Box::new(azure(config, section, name)?)));
    }
    Ok(Auth::None)
}

fn oauth2(config: &Config, section: &OAuth2Section, name: &str) -> Result<OAuth2, CliError> {
    let token_url = address(name, "oauth2.token_url", Some(&section.token_url))?;
    let token_url =
        token_url.ok_or_else(|| CliError::Usage("oauth2 has no token_url".to_owned()))?;
    let secret = section.client_secret_file.as_deref().unwrap_or_default();
    Ok(OAuth2 {
        client_id: section.client_id.clone(),
        client_secret: file(config, secret),
        scopes: section.scopes.clone(),
        token_url,
        endpoint_params: section.endpoint_params.clone(),
        tls: tls(config, &section.tls_config),
        proxy_url: address(name, "oauth2.proxy_url", section.proxy_url.as_deref())?,
    })
}

fn azure(config: &Config, section: &AzureSection, name: &str) -> Result<Azure, CliError> {
    let cloud = section.cloud.as_deref().map(|cloud| {
        AzureCloud::parse(cloud).ok_or_else(|| {
            CliError::Usage(format!(
                "[[source]] `{name}`: azuread.cloud = `{cloud}` must be AzurePublic, AzureChina or \
                 AzureGovernment"
            ))
        })
    });
    let identity = if let Some(workload) = &section.workload_identity {
        let path = workload.token_file_path.as_deref();
        AzureIdentity::Workload {
            client_id: workload.client_id.clone(),
            tenant_id: workload.tenant_id.clone(),
            token_file: path.map(|path| config.resolve(path)),
        }
    } else if let Some(oauth) = &section.oauth {
        AzureIdentity::Secret {
            client_id: oauth.client_id.clone(),
            tenant_id: oauth.tenant_id.clone(),
            client_secret: file(
                config,
                oauth.client_secret_file.as_deref().unwrap_or_default(),
            ),
        }
    } else {
        let managed = section.managed_identity.as_ref();
        AzureIdentity::Managed {
            client_id: managed.and_then(|managed| managed.client_id.clone()),
        }
    };
    Ok(Azure {
        cloud: cloud.transpose()?.unwrap_or_default(),
        identity,
        audience: section.scope.clone(),
    })
}
