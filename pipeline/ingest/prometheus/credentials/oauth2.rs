//! Owns OAuth 2 client credentials (RFC 6749, 4.4): the token of one source. Called by
//! `credentials`, which keeps it.

use std::collections::BTreeMap;

use url::Url;

use super::exchange::{Exchange, form};
use super::{CredentialError, Text, Token};
use crate::ingest::prometheus::tls::TlsOptions;

/// Prometheus' `oauth2`.
#[derive(Debug, Clone)]
pub struct OAuth2 {
    pub client_id: String,
    pub client_secret: Text,
    pub scopes: Vec<String>,
    pub token_url: Url,
    pub endpoint_params: BTreeMap<String, String>,
    pub tls: TlsOptions,
    pub proxy_url: Option<Url>,
}

impl OAuth2 {
    pub(super) async fn fetch(&self, exchange: &Exchange) -> Result<Token, CredentialError> {
        let secret = self.client_secret.read()?;
        // The standard's way first; some servers take the client only from the body.
        match self.ask(exchange, &secret, true).await {
            Err((400 | 401, _)) => self
                .ask(exchange, &secret, false)
                .await
                .map_err(|(_, error)| error),
            other => other.map_err(|(_, error)| error),
        }
    }

    async fn ask(
        &self,
        exchange: &Exchange,
        secret: &str,
        in_header: bool,
    ) -> Result<Token, (u16, CredentialError)> {
        let scope = self.scopes.join(" ");
        let mut pairs = vec![("grant_type", "client_credentials")];
        if !scope.is_empty() {
            pairs.push(("scope", &scope));
        }
        let params = self.endpoint_params.iter();
        pairs.extend(params.map(|(name, value)| (name.as_str(), value.as_str())));
        if !in_header {
            pairs.push(("client_id", &self.client_id));
            pairs.push(("client_secret", secret));
        }
        let mut request = exchange
            .outward
            .get()
            .post(self.token_url.clone())
            .header("Content-Type", "application/x-www-form-urlencoded")
            .header("Accept", "application/json")
            .body(form(pairs));
        if in_header {
            // Both are form-encoded before they are joined (RFC 6749, 2.3.1).
            request = request.basic_auth(encoded(&self.client_id), Some(encoded(secret)));
        }
        let asks = format!("the token request to {}", shown(&self.token_url));
        exchange
            .token(request, &asks, &[secret, &encoded(secret)])
            .await
    }
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// An address without what may be secret in it.
pub(super) fn shown(url: &Url) -> String {
    let port = url
        .port()
        .map_or_else(String::new, |port| format!(":{port}"));
    format!(
        "{}://{}{port}{}",
        url.scheme(),
        url.host_str().unwrap_or(""),
        url.path()
    )
}
