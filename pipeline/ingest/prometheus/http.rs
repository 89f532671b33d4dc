//! Owns HTTP towards a Prometheus API: address, timeouts, retries before the first byte, and what
//! an answer that is no answer means. Used by remote read and by the queries; `credentials` proves
//! who asks, `tls` makes the connection.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Request, RequestBuilder, Response, StatusCode};
use url::Url;

use super::SourceError;
use super::backoff;
use super::credentials::{Auth, CredentialError, Credentials, Text, Vars, WallClock};
use super::limits::{self, Refusal};
use super::tls::{ClientOptions, Clients, TlsOptions, host_of, under_name};
use crate::ingest::kubernetes::ClusterRoute;

/// How much of an error's text is shown, and how much of it is looked at.
const EXCERPT_BYTES: usize = 300;
const REFUSAL_BYTES: usize = 4096;
/// Shorter ones are no secrets but words.
const SECRET_BYTES: usize = 6;
pub(super) const NARROW: &str =
    "read shorter windows (window_hours) or one source for each cluster";

/// How to reach a Prometheus API. Secrets are read from their files at every request, so that
/// rotated ones are taken up.
#[derive(Debug, Clone)]
pub struct RemoteOptions {
    /// Base address, with the path prefix of a proxy or of Mimir (`…/prometheus`).
    pub url: Url,
    pub headers: Vec<(String, Text)>,
    pub auth: Auth,
    pub tls: TlsOptions,
    pub proxy_url: Option<Url>,
    /// Whether `HTTPS_PROXY` and its kin hold where `proxy_url` is not given.
    pub proxy_from_environment: bool,
    pub connect_timeout: Duration,
    /// Longest silence of the server, before and within an answer.
    pub idle_timeout: Duration,
    /// Longest time that one answer may take as a whole.
    pub total_timeout: Duration,
    /// Attempts before the first byte of an answer.
    pub attempts: u32,
    /// Longest pause before the second attempt; doubles with each further one.
    pub backoff: Duration,
    /// No pause is longer, whatever the server asks for.
    pub backoff_ceiling: Duration,
    /// Connections that are kept open for the next request.
    pub connections: usize,
    /// The environment in which credentials are looked for.
    pub vars: Vars,
    /// Signatures and some tokens need the time of day.
    pub clock: Option<WallClock>,
    /// The way through an API server, where `url` is a Service behind it.
    pub route: Option<ClusterRoute>,
}

impl RemoteOptions {
    /// No credentials, patient defaults.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self {
            url,
            headers: Vec::new(),
            auth: Auth::None,
            tls: TlsOptions::default(),
            proxy_url: None,
            proxy_from_environment: false,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_mins(2),
            total_timeout: Duration::from_hours(1),
            attempts: 5,
            backoff: Duration::from_millis(500),
            backoff_ceiling: Duration::from_secs(30),
            connections: 4,
            vars: Vars::default(),
            clock: None,
            route: None,
        }
    }
}

/// A client for one base address.
#[derive(Debug, Clone)]
pub(super) struct Http {
    clients: Clients,
    credentials: Credentials,
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
        let failed = |why: String| SourceError::Remote {
            url: shown.clone(),
            what: format!("the client cannot be set up ({why})"),
            todo: "check the url, proxy_url and tls_config of the source",
        };
        let clients = Clients::new(ClientOptions {
            tls: options.tls.clone(),
            proxy_url: options.proxy_url.clone(),
            proxy_from_environment: options.proxy_from_environment,
            connect_timeout: options.connect_timeout,
            idle_timeout: options.idle_timeout,
            connections: options.connections,
            host: host_of(&options.url),
        });
        Ok(Self {
            clients: clients.map_err(failed)?,
            credentials: Credentials::new(&options).map_err(failed)?,
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
        self.clients.get().get(url)
    }

    pub(super) fn post(&self, url: Url, body: Vec<u8>) -> RequestBuilder {
        self.clients.get().post(url).body(body)
    }

    /// What does not pass by asking again.
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
            Err(self.limited(what))
        })
    }

    /// An answer that broke off or came damaged.
    pub(super) fn broken(&self, what: impl Into<String>) -> SourceError {
        SourceError::Broken {
            url: self.shown.clone(),
            what: what.into(),
            todo: "check the server and its log, then run again: the window was not stored",
        }
    }

    /// More than may be asked for at once.
    pub(super) fn limited(&self, what: impl Into<String>) -> SourceError {
        SourceError::Limited {
            url: self.shown.clone(),
            what: what.into(),
            todo: NARROW,
        }
    }

    /// Sends what `request` builds until the server answers with success; only failures before
    /// the first byte of an answer, and answers that ask to come back, are tried again.
    pub(super) async fn send(
        &self,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<Response, SourceError> {
        let mut attempt = 1;
        let mut renewed = false;
        loop {
            let (failure, asked) = match self.attempt(&request).await {
                Ok(response) => return Ok(response),
                Err(Attempt::Ends(error)) => return Err(error),
                // A token may end before it said it would: once it is fetched anew.
                Err(Attempt::Unauthorised(error)) => {
                    if renewed || !self.credentials.forget().await {
                        return Err(error);
                    }
                    renewed = true;
                    continue;
                }
                Err(Attempt::Again(error, asked)) => (error, asked),
            };
            if attempt >= self.options.attempts {
                return Err(failure);
            }
            let pause = backoff::pause(
                attempt,
                self.options.backoff,
                self.options.backoff_ceiling,
                asked,
            );
            tracing::warn!(%failure, attempt, ?pause, "trying again");
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    async fn attempt(&self, request: impl Fn() -> RequestBuilder) -> Result<Response, Attempt> {
        let (client, built) = request().build_split();
        let mut built = built.map_err(|error| Attempt::Ends(self.failed(chain(&error))))?;
        let secrets = self.prepare(&mut built).await.map_err(|error| {
            let failure = SourceError::Remote {
                url: self.shown.clone(),
                what: error.what,
                todo: "check the credentials of the source and where they come from",
            };
            if error.again {
                Attempt::Again(failure, None)
            } else {
                Attempt::Ends(failure)
            }
        })?;
        let answered = match &self.options.route {
            None => client.execute(built).await.map_err(|error| chain(&error)),
            Some(route) => {
                let limit = self.options.idle_timeout;
                let sent = tokio::time::timeout(limit, route.execute(built)).await;
                sent.unwrap_or_else(|_| Err("the server was silent for too long".to_owned()))
            }
        };
        match answered {
            Ok(response) if response.status().is_success() => Ok(response),
            Ok(response) => Err(self.refused(response, &secrets).await),
            Err(why) => Err(Attempt::Again(self.failed(why), None)),
        }
    }

    /// Completes a request; returns the secrets that it carries, which no message may repeat.
    async fn prepare(&self, request: &mut Request) -> Result<Vec<String>, CredentialError> {
        let mut secrets = Vec::new();
        for (name, text) in &self.options.headers {
            let value = text.read()?;
            let unfit = || CredentialError {
                what: format!("the header {name} holds characters that a header cannot carry"),
                again: false,
            };
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unfit())?;
            let mut header = HeaderValue::from_str(&value).map_err(|_| unfit())?;
            header.set_sensitive(true);
            request.headers_mut().insert(name, header);
            if matches!(text, Text::File(_)) {
                secrets.push(value);
            }
        }
        self.credentials.authorise(request).await?;
        let sent = request.headers().get(AUTHORIZATION);
        if let Some(sent) = sent.and_then(|value| value.to_str().ok()) {
            secrets.extend(sent.split_once(' ').map(|(_, rest)| rest.to_owned()));
        }
        if let Some(name) = &self.options.tls.server_name {
            under_name(request, name).map_err(|what| CredentialError {
                what: what.to_owned(),
                again: false,
            })?;
        }
        Ok(secrets)
    }

    async fn refused(&self, mut response: Response, secrets: &[String]) -> Attempt {
        let status = response.status();
        let asked = backoff::retry_after(response.headers());
        let is_html = is_html(response.headers());
        let mut text = Vec::new();
        let read = async {
            while let Ok(Some(bytes)) = response.chunk().await {
                text.extend_from_slice(&bytes);
                if text.len() > REFUSAL_BYTES {
                    break;
                }
            }
        };
        // A refusal that trickles is a refusal.
        let _ = tokio::time::timeout(self.options.idle_timeout, read).await;
        let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
        let text = scrub(&String::from_utf8_lossy(&text), &secrets);
        let said = if is_html {
            String::new()
        } else {
            excerpt(text.as_bytes())
        };
        let what = format!("the server answered {status}{said}");
        match limits::refusal(status.as_u16(), &text) {
            Refusal::TooMuch => Attempt::Ends(self.limited(what)),
            Refusal::TooSlow => Attempt::Again(self.limited(what), asked),
            Refusal::Later => Attempt::Again(self.failed(what), asked),
            Refusal::No => {
                let todo = match status.as_u16() {
                    300..=399 => "set the source's url to where the server redirects",
                    401 | 403 => "check the credentials and tenant headers of the source",
                    404 | 405 => {
                        "check the url and mode: the server has no remote read (or export, or query \
                         API) at this address"
                    }
                    _ => "check the server and its log, then run again: the window was not stored",
                };
                let error = SourceError::Refused {
                    url: self.shown.clone(),
                    status: status.as_u16(),
                    what,
                    todo,
                };
                if status == StatusCode::UNAUTHORIZED {
                    Attempt::Unauthorised(error)
                } else {
                    Attempt::Ends(error)
                }
            }
        }
    }
}

/// Posts JSON to the address itself; the answer's body is not read.
pub(crate) async fn post(options: RemoteOptions, body: Vec<u8>) -> Result<(), SourceError> {
    let url = options.url.clone();
    let http = Http::new(options)?;
    let json = "application/json";
    let sent = http.send(|| {
        http.post(url.clone(), body.clone())
            .header("Content-Type", json)
    });
    http.within_total(async { sent.await.map(|_| ()) }).await
}

/// How an attempt failed.
enum Attempt {
    Ends(SourceError),
    Unauthorised(SourceError),
    Again(SourceError, Option<Duration>),
}

fn is_html(headers: &HeaderMap) -> bool {
    let kind = headers.get(reqwest::header::CONTENT_TYPE);
    kind.and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.starts_with("text/html"))
}

/// A text in which no secret is repeated.
pub(super) fn scrub(text: &str, secrets: &[&str]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().filter(|s| s.len() >= SECRET_BYTES) {
        text = text.replace(secret, "…");
    }
    text
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
