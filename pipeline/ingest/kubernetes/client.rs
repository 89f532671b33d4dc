//! Owns the connection to an API server: where it is, how to authenticate, and GETs that are paced,
//! bounded and tried again. It sends nothing but GET; `route` sends what a metrics client asks. Kinds and
//! lists are its callers' matter.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use kube::api::{GetParams, ListParams};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Request;
use kube::{Client, Config};
use reqwest::header::{ACCEPT, HeaderValue, RETRY_AFTER};

use super::error::KubernetesError;

/// Bytes of one answer, after decompression.
const MAX_ANSWER_BYTES: usize = 256 << 20;
const MAX_ATTEMPTS: u32 = 4;
/// A server may ask for a pause, but not for an hour of it.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// A whole answer takes at most this many times the idle timeout.
const WHOLE_ANSWER: u32 = 5;

/// How to reach the API server.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// A kubeconfig; else `KUBECONFIG`, `~/.kube/config`, or the pod's own service account.
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig; else its current one.
    pub context: Option<String>,
    /// `http://` or `https://`, instead of the kubeconfig's `proxy-url`.
    pub proxy_url: Option<String>,
    /// Requests a second.
    pub qps: u32,
    /// Without a byte for so long, a request is given up.
    pub idle_timeout: Duration,
    /// The first pause before a request is tried again.
    pub backoff: Duration,
    /// Objects of one page.
    pub page_limit: u32,
    pub max_answer_bytes: usize,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            context: None,
            proxy_url: None,
            qps: 20,
            idle_timeout: Duration::from_mins(1),
            backoff: Duration::from_millis(500),
            page_limit: 500,
            max_answer_bytes: MAX_ANSWER_BYTES,
        }
    }
}

/// An API server, ready to be asked.
pub struct ClusterApi {
    client: Client,
    pub(super) server: String,
    pub(super) options: ClusterOptions,
    last_request: Mutex<Option<Instant>>,
}

impl std::fmt::Debug for ClusterApi {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("ClusterApi");
        shown.field("server", &self.server).finish_non_exhaustive()
    }
}

/// An answer that is final: success, or a refusal that asking again does not change.
pub(super) struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

enum Question<'a> {
    List(ListParams),
    Get(&'a str),
    /// With the forms of an answer that are understood.
    Discover(&'static str),
}

enum Attempt {
    Done(Answer),
    Again {
        what: String,
        pause: Option<Duration>,
    },
}

impl ClusterApi {
    /// Reads the kubeconfig and makes the client; exec plugins run here.
    pub async fn connect(options: ClusterOptions) -> Result<Self, KubernetesError> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // An error says that another thread was faster: there is one then.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let mut config = load(&options).await?;
        // Retries are ours: they follow Retry-After and are counted.
        config.default_retry = false;
        config.read_timeout = Some(options.idle_timeout);
        if let Some(proxy) = &options.proxy_url {
            let parsed = proxy.parse().map_err(|error| KubernetesError::Config {
                what: format!("proxy_url `{proxy}` is no URL ({error})"),
                todo: "write it as http://host:port",
            })?;
            config.proxy_url = Some(parsed);
        }
        let server = config.cluster_url.to_string();
        let client = Client::try_from(config).map_err(|error| KubernetesError::Config {
            what: format!("no client for {server}: {}", chain(&error)),
            todo: "check the kubeconfig's certificates, token file and exec plugin",
        })?;
        Ok(Self {
            client,
            server,
            options,
            last_request: Mutex::new(None),
        })
    }

    /// The client itself, for requests that are somebody else's.
    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }

    /// One page of a list.
    pub(super) async fn list(
        &self,
        path: &str,
        limit: u32,
        token: Option<&str>,
    ) -> Result<Answer, KubernetesError> {
        let mut params = ListParams::default().limit(limit);
        params.continue_token = token.map(str::to_owned);
        self.ask(path, &Question::List(params)).await
    }

    /// One object by name.
    pub(super) async fn get(&self, path: &str, name: &str) -> Result<Answer, KubernetesError> {
        self.ask(path, &Question::Get(name)).await
    }

    /// A path of discovery.
    pub(super) async fn discover(
        &self,
        path: &str,
        accept: &'static str,
    ) -> Result<Answer, KubernetesError> {
        self.ask(path, &Question::Discover(accept)).await
    }

    async fn ask(&self, path: &str, question: &Question<'_>) -> Result<Answer, KubernetesError> {
        let mut pause = self.options.backoff;
        let mut last = String::new();
        for attempt in 0..MAX_ATTEMPTS {
            if attempt > 0 {
                let half_ms = self.options.backoff.as_millis() as u64 / 2;
                let jitter = Duration::from_millis(fastrand::u64(0..=half_ms));
                tokio::time::sleep(pause.min(MAX_PAUSE) + jitter).await;
                pause *= 2;
            }
            self.pace().await;
            match self.attempt(path, question).await {
                Attempt::Done(answer) if answer.status == 401 => {
                    return Err(KubernetesError::Refused {
                        server: self.server.clone(),
                        path: path.to_owned(),
                        status: answer.status,
                    });
                }
                Attempt::Done(answer) => return Ok(answer),
                Attempt::Again { what, pause: asked } => {
                    tracing::info!(
                        path,
                        attempt,
                        what,
                        "a request to the Kubernetes API failed"
                    );
                    last = what;
                    pause = asked.unwrap_or(pause).max(pause);
                }
            }
        }
        Err(KubernetesError::Unreachable {
            server: self.server.clone(),
            what: format!("does not answer {path} after {MAX_ATTEMPTS} attempts: it {last}"),
        })
    }

    /// Waits until the next request is due.
    async fn pace(&self) {
        let gap = Duration::from_secs(1) / self.options.qps.max(1);
        let wait = {
            let Ok(mut last) = self.last_request.lock() else {
                return;
            };
            let now = Instant::now();
            let due = last.map_or(now, |last| (last + gap).max(now));
            *last = Some(due);
            due - now
        };
        tokio::time::sleep(wait).await;
    }

    async fn attempt(&self, path: &str, question: &Question<'_>) -> Attempt {
        let again = |what: String| Attempt::Again { what, pause: None };
        let asked = Request::new(path);
        let made = match question {
            Question::List(params) => asked.list(params),
            Question::Get(name) => asked.get(name, &GetParams::default()),
            Question::Discover(_) => asked.list(&ListParams::default()),
        };
        let mut request = match made {
            Ok(request) => request,
            Err(error) => return again(format!("cannot be asked for it ({error})")),
        };
        if let Question::Discover(accept) = question {
            let accept = HeaderValue::from_static(accept);
            request.headers_mut().insert(ACCEPT, accept);
        }
        let idle = self.options.idle_timeout;
        let deadline = tokio::time::Instant::now() + idle * WHOLE_ANSWER;
        let sent = self.client.send(request.map(Body::from));
        let response = match tokio::time::timeout(idle, sent).await {
            Err(_) => return again(format!("was silent for {} s", idle.as_secs_f32())),
            Ok(Err(error)) => return again(format!("failed ({})", chain(&error))),
            Ok(Ok(response)) => response,
        };
        let status = response.status().as_u16();
        if status == 429 || status >= 500 {
            let pause = response
                .headers()
                .get(RETRY_AFTER)
                .and_then(|value| value.to_str().ok()?.trim().parse().ok())
                .map(Duration::from_secs);
            return Attempt::Again {
                what: format!("answered with status {status}"),
                pause,
            };
        }
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        loop {
            let next = (tokio::time::Instant::now() + idle).min(deadline);
            let frame = match tokio::time::timeout_at(next, body.frame()).await {
                Err(_) => return again("did not finish its answer in time".to_owned()),
                Ok(None) => break,
                Ok(Some(Err(error))) => {
                    return again(format!("broke off its answer ({})", chain(&error)));
                }
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if bytes.len() + data.len() > self.options.max_answer_bytes {
                // Asking again would give as much again: whoever asked decides.
                return Attempt::Done(Answer {
                    status: TOO_LARGE,
                    body: Vec::new(),
                });
            }
            bytes.extend_from_slice(&data);
        }
        Attempt::Done(Answer {
            status,
            body: bytes,
        })
    }
}

/// No HTTP status: the answer was longer than `max_answer_bytes`.
pub(super) const TOO_LARGE: u16 = 0;

async fn load(options: &ClusterOptions) -> Result<Config, KubernetesError> {
    const TODO: &str = "give kubeconfig and context, or run as a pod with a service account";
    let wrong = |what: String| KubernetesError::Config { what, todo: TODO };
    let choice = KubeConfigOptions {
        context: options.context.clone(),
        ..KubeConfigOptions::default()
    };
    if let Some(path) = &options.kubeconfig {
        let read = Kubeconfig::read_from(path)
            .map_err(|e| wrong(format!("kubeconfig `{}`: {}", path.display(), chain(&e))))?;
        return Config::from_custom_kubeconfig(read, &choice)
            .await
            .map_err(|e| wrong(format!("kubeconfig `{}`: {}", path.display(), chain(&e))));
    }
    match Config::from_kubeconfig(&choice).await {
        Ok(config) => Ok(config),
        // A context that is asked for is meant: the pod's own cluster is not a substitute.
        Err(error) if options.context.is_some() => Err(wrong(chain(&error))),
        Err(error) => Config::incluster().map_err(|inside| {
            wrong(format!(
                "no kubeconfig ({}), and not in a pod ({})",
                chain(&error),
                chain(&inside)
            ))
        }),
    }
}

/// An error with its causes: the innermost one says what happened.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = inner.source();
    }
    text
}
