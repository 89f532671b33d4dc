//! Owns the small requests by which tokens are fetched: bounded, without redirects, and with errors
//! that repeat no secret. Called by the kinds of credentials beside it.

use std::time::{Duration, Instant};

use reqwest::{Client, RequestBuilder};
use serde_json::Value;
use url::Url;

use super::{CredentialError, Token};
use crate::ingest::prometheus::http::{chain, excerpt, scrub};
use crate::ingest::prometheus::tls::{ClientOptions, Clients, TlsOptions, host_of, under_name};

/// Far larger than any token.
const MAX_ANSWER_BYTES: usize = 1 << 20;
const TIMEOUT: Duration = Duration::from_secs(30);

/// Clients for token requests: one that goes where the source's own requests go, and one for
/// metadata services, which are on this machine or link and never behind a proxy.
#[derive(Debug, Clone)]
pub(super) struct Exchange {
    pub(super) outward: Clients,
    pub(super) local: Client,
    /// What the certificate of an issuer is to be named.
    server_name: Option<String>,
}

impl Exchange {
    /// `issuer` is whom the TLS settings are for.
    pub(super) fn new(
        tls: &TlsOptions,
        issuer: Option<&Url>,
        proxy_url: Option<&Url>,
    ) -> Result<Self, String> {
        let options = ClientOptions {
            tls: tls.clone(),
            proxy_url: proxy_url.cloned(),
            proxy_from_environment: false,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: TIMEOUT,
            connections: 1,
            host: issuer.and_then(host_of),
        };
        let local = ClientOptions {
            tls: TlsOptions::default(),
            proxy_url: None,
            ..options.clone()
        };
        Ok(Self {
            outward: Clients::new(options)?,
            local: local.build()?,
            server_name: tls.server_name.clone(),
        })
    }

    /// The body of a successful answer. `asks` names the request, `secrets` are never repeated.
    pub(super) async fn text(
        &self,
        request: RequestBuilder,
        asks: &str,
        secrets: &[&str],
    ) -> Result<String, (u16, CredentialError)> {
        let work = async {
            let (client, built) = request.build_split();
            let mut built =
                built.map_err(|error| (0, format!("{asks}: {}", chain(&error)), false))?;
            if let Some(name) = &self.server_name {
                under_name(&mut built, name).map_err(|why| (0, format!("{asks}: {why}"), false))?;
            }
            let mut response = client
                .execute(built)
                .await
                .map_err(|error| (0, format!("{asks}: {}", chain(&error)), true))?;
            let status = response.status();
            let mut body = Vec::new();
            while let Some(piece) = response
                .chunk()
                .await
                .map_err(|error| (0, format!("{asks}: {}", chain(&error)), true))?
            {
                body.extend_from_slice(&piece);
                if body.len() > MAX_ANSWER_BYTES {
                    return Err((0, format!("{asks} answers more than 1 MiB"), false));
                }
            }
            let text = String::from_utf8_lossy(&body).into_owned();
            if status.is_success() {
                return Ok(text);
            }
            let said = excerpt(scrub(&text, secrets).as_bytes());
            let again = status.is_server_error() || status.as_u16() == 429;
            Err((
                status.as_u16(),
                format!("{asks} answered {status}{said}"),
                again,
            ))
        };
        match tokio::time::timeout(TIMEOUT, work).await {
            Ok(Ok(text)) => Ok(text),
            Ok(Err((status, what, again))) => Err((status, CredentialError { what, again })),
            Err(_) => {
                let what = format!("{asks} took more than {} s", TIMEOUT.as_secs());
                Err((0, CredentialError { what, again: true }))
            }
        }
    }

    /// The token of an OAuth 2 answer: `access_token`, and `expires_in` as a number or a text.
    pub(super) async fn token(
        &self,
        request: RequestBuilder,
        asks: &str,
        secrets: &[&str],
    ) -> Result<Token, (u16, CredentialError)> {
        let asked = Instant::now();
        let text = self.text(request, asks, secrets).await?;
        let answer: Value = serde_json::from_str(&text)
            .map_err(|_| (0, CredentialError::plain(format!("{asks} answers no JSON"))))?;
        let value = answer.get("access_token").and_then(Value::as_str);
        let value = value.filter(|value| !value.is_empty()).ok_or_else(|| {
            let what = format!("{asks} answers without an access_token");
            (0, CredentialError::plain(what))
        })?;
        let life = answer.get("expires_in").and_then(|life| {
            life.as_u64()
                .or_else(|| life.as_str().and_then(|text| text.parse().ok()))
        });
        Ok(Token::new(
            value.to_owned(),
            life.map(Duration::from_secs),
            asked,
        ))
    }
}

/// A form as requests for tokens carry it.
pub(super) fn form<'p>(pairs: impl IntoIterator<Item = (&'p str, &'p str)>) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}
