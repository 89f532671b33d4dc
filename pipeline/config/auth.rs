//! Owns the keys by which a metrics source authenticates, with Prometheus' own names, and their
//! checks: one kind at most, and no secret in the file itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::SourceSection;

/// A key of Prometheus' whose value is a secret: known, so that it can be refused with the name of
/// the key that takes a file. The value is thrown away at once.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Inline(bool);

impl<'de> Deserialize<'de> for Inline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer)?;
        Ok(Self(true))
    }
}

/// HTTP basic authentication.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BasicAuthSection {
    pub username: Option<String>,
    pub username_file: Option<String>,
    pub password_file: Option<String>,
    #[serde(default)]
    password: Inline,
}

/// Any `Authorization` header.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorizationSection {
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub credentials_file: Option<String>,
    #[serde(default)]
    credentials: Inline,
}

/// OAuth 2 client credentials.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OAuth2Section {
    pub client_id: String,
    pub client_secret_file: Option<String>,
    #[serde(default)]
    client_secret: Inline,
    #[serde(default)]
    pub scopes: Vec<String>,
    pub token_url: String,
    #[serde(default)]
    pub endpoint_params: BTreeMap<String, String>,
    #[serde(default)]
    pub tls_config: TlsSection,
    pub proxy_url: Option<String>,
}

/// TLS of a connection.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSection {
    pub ca_file: Option<String>,
    pub cert_file: Option<String>,
    pub key_file: Option<String>,
    pub server_name: Option<String>,
    #[serde(default)]
    pub insecure_skip_verify: bool,
    #[serde(default)]
    ca: Inline,
    #[serde(default)]
    cert: Inline,
    #[serde(default)]
    key: Inline,
}

/// AWS' signatures.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SigV4Section {
    pub region: Option<String>,
    pub service: Option<String>,
    pub profile: Option<String>,
    pub role_arn: Option<String>,
    pub external_id: Option<String>,
    pub access_key_file: Option<String>,
    pub secret_key_file: Option<String>,
    #[serde(default)]
    access_key: Inline,
    #[serde(default)]
    secret_key: Inline,
}

/// Google's tokens.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoogleSection {
    pub credentials_file: Option<String>,
}

/// Microsoft Entra's tokens: one of the three identities.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AzureSection {
    pub cloud: Option<String>,
    pub managed_identity: Option<AzureManagedSection>,
    pub workload_identity: Option<AzureWorkloadSection>,
    pub oauth: Option<AzureOAuthSection>,
    /// The audience of the token, where it is not Azure Monitor's.
    pub scope: Option<String>,
}

/// The identity of the machine or the pod.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AzureManagedSection {
    pub client_id: Option<String>,
}

/// The identity of a service account.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AzureWorkloadSection {
    pub client_id: Option<String>,
    pub tenant_id: Option<String>,
    pub token_file_path: Option<String>,
}

/// An application with a secret.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AzureOAuthSection {
    pub client_id: String,
    pub tenant_id: String,
    pub client_secret_file: Option<String>,
    #[serde(default)]
    client_secret: Inline,
}

/// A header of every request: its value, or the file that holds it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderSection {
    #[serde(default)]
    pub values: Vec<String>,
    #[serde(default)]
    pub files: Vec<String>,
    #[serde(default)]
    secrets: Inline,
}

/// Headers whose values are secrets, by their names.
const SECRET_HEADERS: [&str; 7] = [
    "authorization",
    "cookie",
    "token",
    "secret",
    "password",
    "api-key",
    "apikey",
];

/// Every kind of authentication of a source that is given.
fn kinds(source: &SourceSection) -> Vec<&'static str> {
    [
        ("basic_auth", source.basic_auth.is_some()),
        ("authorization", source.authorization.is_some()),
        ("bearer_token_file", source.bearer_token_file.is_some()),
        ("oauth2", source.oauth2.is_some()),
        ("sigv4", source.sigv4.is_some()),
        ("google_iam", source.google_iam.is_some()),
        ("azuread", source.azuread.is_some()),
    ]
    .into_iter()
    .filter_map(|(name, given)| given.then_some(name))
    .collect()
}

/// Secrets that stand in the file, and the keys that should be there instead.
fn inline(source: &SourceSection) -> Vec<(&'static str, &'static str)> {
    let mut all = vec![(source.bearer_token, "bearer_token", "bearer_token_file")];
    if let Some(basic) = &source.basic_auth {
        all.push((basic.password, "basic_auth.password", "password_file"));
    }
    if let Some(header) = &source.authorization {
        all.push((
            header.credentials,
            "authorization.credentials",
            "credentials_file",
        ));
    }
    let mut tls = vec![&source.tls_config];
    if let Some(oauth2) = &source.oauth2 {
        let secret = oauth2.client_secret;
        all.push((secret, "oauth2.client_secret", "client_secret_file"));
        tls.push(&oauth2.tls_config);
    }
    if let Some(sigv4) = &source.sigv4 {
        all.push((sigv4.access_key, "sigv4.access_key", "access_key_file"));
        all.push((sigv4.secret_key, "sigv4.secret_key", "secret_key_file"));
    }
    if let Some(oauth) = source.azuread.as_ref().and_then(|a| a.oauth.as_ref()) {
        let secret = oauth.client_secret;
        all.push((secret, "azuread.oauth.client_secret", "client_secret_file"));
    }
    for tls in tls {
        all.push((tls.ca, "tls_config.ca", "ca_file"));
        all.push((tls.cert, "tls_config.cert", "cert_file"));
        all.push((tls.key, "tls_config.key", "key_file"));
    }
    for header in source.http_headers.values() {
        all.push((header.secrets, "http_headers secrets", "files"));
    }
    all.into_iter()
        .filter_map(|(given, key, file)| given.0.then_some((key, file)))
        .collect()
}

/// What is wrong with a source's authentication.
pub(super) fn check(source: &SourceSection) -> Result<(), String> {
    if let Some((key, file)) = inline(source).first() {
        return Err(format!(
            "`{key}` must not stand in the configuration: write it to a file of its own and name that with `{file}`"
        ));
    }
    let kinds = kinds(source);
    if kinds.len() > 1 {
        return Err(format!(
            "{} are different ways to authenticate: keep one",
            kinds.join(" and ")
        ));
    }
    let missing = |key: &str| Err(format!("{key} is missing"));
    if let Some(basic) = &source.basic_auth
        && basic.username.is_some() == basic.username_file.is_some()
    {
        return Err("basic_auth takes username or username_file".to_owned());
    }
    if let Some(header) = &source.authorization {
        if header.credentials_file.is_none() {
            return missing("authorization.credentials_file");
        }
        if header
            .kind
            .as_deref()
            .is_some_and(|kind| kind.eq_ignore_ascii_case("basic"))
        {
            return Err("authorization is not for type Basic: use basic_auth".to_owned());
        }
    }
    if source
        .oauth2
        .as_ref()
        .is_some_and(|o| o.client_secret_file.is_none())
    {
        return missing("oauth2.client_secret_file");
    }
    if let Some(sigv4) = &source.sigv4
        && sigv4.access_key_file.is_some() != sigv4.secret_key_file.is_some()
    {
        return Err("sigv4 takes access_key_file and secret_key_file together".to_owned());
    }
    if let Some(azure) = &source.azuread {
        let given = [
            azure.managed_identity.is_some(),
            azure.workload_identity.is_some(),
            azure.oauth.is_some(),
        ];
        if given.into_iter().filter(|given| *given).count() != 1 {
            return Err(
                "azuread takes one of managed_identity, workload_identity and oauth".to_owned(),
            );
        }
        if azure
            .oauth
            .as_ref()
            .is_some_and(|o| o.client_secret_file.is_none())
        {
            return missing("azuread.oauth.client_secret_file");
        }
    }
    check_connection(source, &kinds)
}

fn check_connection(source: &SourceSection, kinds: &[&str]) -> Result<(), String> {
    let plain = source.headers.keys();
    let typed = source.http_headers.iter();
    let typed = typed.filter(|(_, header)| !header.values.is_empty());
    for name in plain.chain(typed.map(|(name, _)| name)) {
        let lower = name.to_ascii_lowercase();
        if SECRET_HEADERS.iter().any(|word| lower.contains(word)) {
            return Err(format!(
                "the value of header `{name}` must not stand in the configuration: write it to a file and name that with http_headers = {{ \"{name}\" = {{ files = [\"…\"] }} }}"
            ));
        }
    }
    for (name, header) in &source.http_headers {
        if header.values.len() + header.files.len() != 1 {
            return Err(format!("http_headers.`{name}` takes one value or one file"));
        }
        if name.eq_ignore_ascii_case("authorization") && !kinds.is_empty() {
            return Err(format!(
                "header `{name}` and {} exclude each other",
                kinds.join(", ")
            ));
        }
    }
    for tls in
        std::iter::once(&source.tls_config).chain(source.oauth2.as_ref().map(|o| &o.tls_config))
    {
        if tls.cert_file.is_some() != tls.key_file.is_some() {
            return Err("tls_config takes cert_file and key_file together".to_owned());
        }
    }
    if source.tls_config.server_name.is_some()
        && (source.proxy_url.is_some() || source.proxy_from_environment)
    {
        return Err("tls_config.server_name does not work through a proxy".to_owned());
    }
    let oauth2 = source.oauth2.as_ref();
    for (key, address) in [
        ("url", source.url.as_ref()),
        ("proxy_url", source.proxy_url.as_ref()),
        ("oauth2.token_url", oauth2.map(|o| &o.token_url)),
        (
            "oauth2.proxy_url",
            oauth2.and_then(|o| o.proxy_url.as_ref()),
        ),
    ] {
        let Some(address) = address.filter(|address| address.contains("://")) else {
            continue;
        };
        let authority = address.split("://").nth(1).unwrap_or_default();
        let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
        if authority
            .rsplit_once('@')
            .is_some_and(|(user, _)| user.contains(':'))
        {
            return Err(format!(
                "{key} must not hold a password: use basic_auth with password_file, or a proxy that asks for none"
            ));
        }
    }
    if source.connections.is_some_and(|n| !(1..=4).contains(&n)) {
        return Err(
            "connections must be 1, 2, 3 or 4: a server shares them with its dashboards".to_owned(),
        );
    }
    Ok(())
}

/// A parser's message shows the line that it could not read; a secret in it is left out, and so is
/// whatever stands behind a key that is not known: it may be a secret under a misspelt name.
pub(super) fn redacted(detail: &str) -> String {
    let unknown = detail.contains("unknown field");
    let lines = detail.lines().map(|line| {
        let Some((head, _)) = line.split_once('=') else {
            return line.to_owned();
        };
        let lower = head.to_ascii_lowercase();
        let secret = [
            "pass",
            "secret",
            "token",
            "credential",
            "key",
            "auth",
            "bearer",
        ];
        if unknown || secret.iter().any(|word| lower.contains(word)) {
            format!("{head}= …")
        } else {
            line.to_owned()
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}
