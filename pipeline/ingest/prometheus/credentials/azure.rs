//! Owns Microsoft Entra's tokens: a managed identity by the metadata service, a workload identity by
//! its federated token, or a client secret. Called by `credentials`.

use std::path::PathBuf;

use url::Url;

use super::exchange::{Exchange, form};
use super::{CredentialError, Text, Token, Vars, read_secret};

const METADATA_HOST: &str = "http://169.254.169.254";
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Which of Azure's clouds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AzureCloud {
    #[default]
    Public,
    China,
    Government,
}

impl AzureCloud {
    /// As Prometheus names them.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "AzurePublic" => Some(Self::Public),
            "AzureChina" => Some(Self::China),
            "AzureGovernment" => Some(Self::Government),
            _ => None,
        }
    }

    const fn login(self) -> &'static str {
        match self {
            Self::Public => "https://login.microsoftonline.com",
            Self::China => "https://login.chinacloudapi.cn",
            Self::Government => "https://login.microsoftonline.us",
        }
    }

    /// Who reads from a workspace's query endpoint asks for this audience.
    const fn audience(self) -> &'static str {
        match self {
            Self::Public => "https://prometheus.monitor.azure.com",
            Self::China => "https://prometheus.monitor.azure.cn",
            Self::Government => "https://prometheus.monitor.azure.us",
        }
    }
}

/// Who asks. What is left out is taken from the environment, as Azure's own tools do.
#[derive(Debug, Clone)]
pub enum AzureIdentity {
    Managed {
        client_id: Option<String>,
    },
    Workload {
        client_id: Option<String>,
        tenant_id: Option<String>,
        token_file: Option<PathBuf>,
    },
    Secret {
        client_id: String,
        tenant_id: String,
        client_secret: Text,
    },
}

/// Prometheus' `azuread`.
#[derive(Debug, Clone)]
pub struct Azure {
    pub cloud: AzureCloud,
    pub identity: AzureIdentity,
    /// The audience, where it is not that of Azure Monitor.
    pub audience: Option<String>,
}

impl Azure {
    pub(super) async fn fetch(
        &self,
        exchange: &Exchange,
        vars: &Vars,
    ) -> Result<Token, CredentialError> {
        let audience = self.audience.as_deref();
        let audience = audience.unwrap_or_else(|| self.cloud.audience());
        let or_var = |given: &Option<String>, name: &str| {
            let missing = || CredentialError::plain(format!("azuread needs {name}, or its key"));
            given.clone().or_else(|| vars.get(name)).ok_or_else(missing)
        };
        match &self.identity {
            AzureIdentity::Managed { client_id } => {
                managed(exchange, vars, audience, client_id.as_deref()).await
            }
            AzureIdentity::Workload {
                client_id,
                tenant_id,
                token_file,
            } => {
                let file = token_file
                    .clone()
                    .or_else(|| vars.get("AZURE_FEDERATED_TOKEN_FILE").map(PathBuf::from))
                    .ok_or_else(|| {
                        CredentialError::plain(
                            "azuread needs token_file_path, or AZURE_FEDERATED_TOKEN_FILE",
                        )
                    })?;
                let assertion = read_secret(&file)?;
                let proof = [
                    ("client_assertion_type", ASSERTION),
                    ("client_assertion", &assertion),
                ];
                let client = or_var(client_id, "AZURE_CLIENT_ID")?;
                let tenant = or_var(tenant_id, "AZURE_TENANT_ID")?;
                self.login(exchange, vars, &tenant, &client, audience, &proof)
                    .await
            }
            AzureIdentity::Secret {
                client_id,
                tenant_id,
                client_secret,
            } => {
                let secret = client_secret.read()?;
                let proof = [("client_secret", secret.as_str())];
                self.login(exchange, vars, tenant_id, client_id, audience, &proof)
                    .await
            }
        }
    }

    async fn login(
        &self,
        exchange: &Exchange,
        vars: &Vars,
        tenant: &str,
        client: &str,
        audience: &str,
        proof: &[(&str, &str)],
    ) -> Result<Token, CredentialError> {
        let host = vars.get("AZURE_AUTHORITY_HOST");
        let host = host.as_deref().unwrap_or_else(|| self.cloud.login());
        let unusable = || CredentialError::plain("AZURE_AUTHORITY_HOST is no URL");
        let mut url = Url::parse(host).map_err(|_| unusable())?;
        url.path_segments_mut()
            .map_err(|()| unusable())?
            .pop_if_empty()
            .extend([tenant, "oauth2", "v2.0", "token"]);
        let scope = format!("{audience}/.default");
        let who = [
            ("grant_type", "client_credentials"),
            ("client_id", client),
            ("scope", &scope),
        ];
        let body = form(who.into_iter().chain(proof.iter().copied()));
        let secrets: Vec<&str> = proof.iter().map(|(_, value)| *value).collect();
        let request = exchange
            .outward
            .get()
            .post(url)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(body);
        exchange
            .token(request, "Microsoft's login", &secrets)
            .await
            .map_err(|(_, error)| error)
    }
}

async fn managed(
    exchange: &Exchange,
    vars: &Vars,
    audience: &str,
    client: Option<&str>,
) -> Result<Token, CredentialError> {
    let host = vars.get("AZURE_POD_IDENTITY_AUTHORITY_HOST");
    let host = host.as_deref().unwrap_or(METADATA_HOST);
    let endpoint = vars.get("IDENTITY_ENDPOINT");
    let header = vars.get("IDENTITY_HEADER");
    // App Service and Container Apps have an endpoint of their own.
    let (address, version, header) = match (&endpoint, &header) {
        (Some(endpoint), Some(header)) => (
            endpoint.clone(),
            "2019-08-01",
            ("X-IDENTITY-HEADER", header.as_str()),
        ),
        _ => (
            format!(
                "{}/metadata/identity/oauth2/token",
                host.trim_end_matches('/')
            ),
            "2018-02-01",
            ("Metadata", "true"),
        ),
    };
    let mut url = Url::parse(&address)
        .map_err(|_| CredentialError::plain("the address of Azure's metadata service is no URL"))?;
    url.query_pairs_mut()
        .append_pair("api-version", version)
        .append_pair("resource", audience);
    if let Some(client) = client {
        url.query_pairs_mut().append_pair("client_id", client);
    }
    let request = exchange.local.get(url).header(header.0, header.1);
    exchange
        .token(request, "Azure's metadata service", &[header.1])
        .await
        .map_err(|(_, error)| error)
}
