//! Owns HTTP towards a Prometheus API: address, credentials, timeouts, retries before the first
//! byte, and what an answer that is no answer means. Used by remote read and by the queries.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response, StatusCode};
use url::Url;

use super::SourceError;

/// How much of an error's text is shown.
const EXCERPT_BYTES: usize = 300;

/// How to reach a Prometheus API. Secrets are read from their files at every request, so that
/// rotated ones are taken up.
#[derive(Debug, Clone)]
pub struct RemoteOptions {
    /// Base address, with the path prefix of a proxy or of Mimir (`…/prometheus`).
    pub url: Url,
    pub headers: Vec<(String, String)>,
    pub bearer_token_file: Option<PathBuf>,
    pub basic_auth: Option<BasicAuth>,
    pub proxy_url: Option<Url>,
    pub connect_timeout: Duration,
    /// Longest silence of the server, before and within an answer.
    pub idle_timeout: Duration,
    /// Longest time that one answer may take as a whole.
    pub total_timeout: Duration,
    /// Attempts before the first byte of an answer.
    pub attempts: u32,
    /// Pause before the second attempt; doubles with each further one.
    pub backoff: Duration,
}

#[derive(Debug, Clone)]
pub struct BasicAuth {
    pub username: String,
    pub password_file: PathBuf,
}

impl RemoteOptions {
    /// No credentials, patient defaults.
    #[must_use]
    pub const fn new(url: Url) -> Self {
        Self {
            url,
            headers: Vec::new(),
            bearer_token_file: None,
            basic_auth: None,
            proxy_url: None,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_mins(2),
            total_timeout: Duration::from_hours(1),
            attempts: 4,
            backoff: Duration::from_millis(500),
        }
    }
}

/// A client for one base address.
#[derive(Debug, Clone)]
pub(super) struct Http {
    client: Client,
    pub(super) options: RemoteOptions,
    /// The address without credentials, for messages.
    pub(super) shown: String,
}

impl Http {
    pub(super) fn new(options: RemoteOptions) -> Result<Self, SourceError> {
        let mut shown = options.url.clone();
        // Both fail only for addresses that cannot have credentials.
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        shown.set_query(None);
        shown.set_fragment(None);
        let shown = shown.to_string();
        let failed = |error: reqwest::Error| SourceError::Remote {
            url: shown.clone(),
            what: format!("the client cannot be set up ({})", chain(&error)),
            todo: "check the url and proxy_url of the source",
        };
        let mut builder = Client::builder()
            .connect_timeout(options.connect_timeout)
            .read_timeout(options.idle_timeout)
            // A redirected POST becomes a GET, and credentials must not travel on.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("idleproof/", env!("CARGO_PKG_VERSION")))
            .no_proxy();
        if let Some(proxy) = &options.proxy_url {
            builder = builder.proxy(reqwest::Proxy::all(proxy.clone()).map_err(failed)?);
        }
        let client = builder.build().map_err(failed)?;
        Ok(Self {
            client,
            options,
            shown,
        })
    }

    /// The address of an API path (`api/v1/…`) with parameters.
    pub(super) fn endpoint(&self, path: &str, parameters: &[(&str, String)]) -> Url {
        let mut url = self.options.url.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/{path}"));
        if !parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(parameters);
        }
        url
    }

    pub(super) fn get(&self, url: Url) -> RequestBuilder {
        self.client.get(url)
    }

    pub(super) fn post(&self, url: Url, body: Vec<u8>) -> RequestBuilder {
        self.client.post(url).body(body)
    }

    pub(super) fn failed(&self, what: impl Into<String>) -> SourceError {
        SourceError::Remote {
            url: self.shown.clone(),
            what: what.into(),
            todo: "check the server and its log, then run again: the window was not stored",
        }
    }

    /// Bounds a whole read: a server that trickles bytes for ever is never silent.
    pub(super) async fn within_total<T>(
        &self,
        read: impl Future<Output = Result<T, SourceError>>,
    ) -> Result<T, SourceError> {
        let limit = self.options.total_timeout;
        tokio::time::timeout(limit, read).await.unwrap_or_else(|_| {
            let what = format!("the answer took more than {} s", limit.as_secs_f64());
            Err(self.failed(what))
        })
    }

    /// Sends what `request` builds until the server answers with success; only failures before
    /// the first byte of an answer, and answers that ask to come back, are tried again.
    pub(super) async fn send(
        &self,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<Response, SourceError> {
        let mut pause = self.options.backoff;
        let mut attempt = 1;
        loop {
            let failure = match self.authorised(request())?.send().await {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) => {
                    let status = response.status();
                    let again = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
                    let error = self.refused(status, response).await;
                    if !again {
                        return Err(error);
                    }
                    error
                }
                Err(error) => self.failed(chain(&error)),
            };
            if attempt >= self.options.attempts {
                return Err(failure);
            }
            tracing::warn!(%failure, attempt, "trying again");
            tokio::time::sleep(pause).await;
            attempt += 1;
            pause *= 2;
        }
    }

    async fn refused(&self, status: StatusCode, mut response: Response) -> SourceError {
        let mut text = Vec::new();
        while let Ok(Some(bytes)) = response.chunk().await {
            text.extend_from_slice(&bytes);
            if text.len() > EXCERPT_BYTES {
                break;
            }
        }
        let todo = match status.as_u16() {
            300..=399 => "set the source's url to where the server redirects",
            401 | 403 => "check the credentials and tenant headers of the source",
            404 | 405 => {
                "check the url and mode: the server has no remote read (or export, or query API) at \
                 this address"
            }
            _ => "check the server and its log, then run again: the window was not stored",
        };
        SourceError::Refused {
            url: self.shown.clone(),
            status: status.as_u16(),
            what: format!("the server answered {status}{}", excerpt(&text)),
            todo,
        }
    }

    fn authorised(&self, mut request: RequestBuilder) -> Result<RequestBuilder, SourceError> {
        for (name, value) in &self.options.headers {
            request = request.header(name, value);
        }
        if let Some(path) = &self.options.bearer_token_file {
            request = request.bearer_auth(self.secret(path)?);
        } else if let Some(basic) = &self.options.basic_auth {
            let password = self.secret(&basic.password_file)?;
            request = request.basic_auth(&basic.username, Some(password));
        }
        Ok(request)
    }

    fn secret(&self, path: &Path) -> Result<String, SourceError> {
        let text = std::fs::read_to_string(path).map_err(|error| SourceError::Remote {
            url: self.shown.clone(),
            what: format!(
                "the secret file {} cannot be read ({error})",
                path.display()
            ),
            todo: "mount the file or correct its path in the source",
        })?;
        Ok(text.trim().to_owned())
    }
}

/// An error with its causes, which reqwest keeps apart, and without the address.
pub(super) fn chain(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() {
        "the server was silent for too long".to_owned()
    } else if error.is_connect() {
        "the connection failed".to_owned()
    } else {
        "the exchange failed".to_owned()
    };
    let mut source = std::error::Error::source(error);
    let mut last = None;
    while let Some(cause) = source {
        last = Some(cause.to_string());
        source = cause.source();
    }
    if let Some(last) = last {
        text = format!("{text} ({last})");
    }
    text
}

/// A server's words, if they are words, on one line and bounded.
pub(super) fn excerpt(bytes: &[u8]) -> String {
    let head = bytes.get(..EXCERPT_BYTES).unwrap_or(bytes);
    let text = String::from_utf8_lossy(head);
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\u{fffd}');
    let odd = text.chars().filter(|c| c.is_control() || *c == '\u{fffd}');
    if text.is_empty() || odd.count() > text.len() / 10 {
        return String::new();
    }
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    format!(": \"{clean}\"")
}
