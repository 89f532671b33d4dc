//! Owns how a request to a metrics server proves who asks: options with Prometheus' own key names,
//! secrets that are read from their files at every use, and tokens that are renewed before they
//! end. Knows no remote read; called by `http`. Secrets stand in no Debug output and no error.

mod aws;
mod azure;
mod exchange;
mod google;
mod oauth2;
mod sigv4;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Request;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use tokio::sync::Mutex;

pub use aws::SigV4;
pub use azure::{Azure, AzureCloud, AzureIdentity};
pub use google::Google;
pub use oauth2::OAuth2;

use super::http::RemoteOptions;
use crate::ingest::sink::Clock;
use exchange::Exchange;

/// Larger than any secret.
const MAX_SECRET_BYTES: u64 = 1 << 20;
/// How long a token is used whose end its server did not say.
const UNSAID_LIFE: Duration = Duration::from_mins(5);

/// A text that is given, or lies in a file that is read at every use, so that a rotated one is
/// taken up.
#[derive(Clone, PartialEq, Eq)]
pub enum Text {
    Given(String),
    File(PathBuf),
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Given(_) => f.write_str("Given(…)"),
            Self::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

impl Text {
    pub(super) fn read(&self) -> Result<String, CredentialError> {
        match self {
            Self::Given(text) => Ok(text.clone()),
            Self::File(path) => read_secret(path),
        }
    }
}

/// A secret file's text without the white space around it.
fn read_secret(path: &Path) -> Result<String, CredentialError> {
    let unreadable = |why: String| CredentialError {
        what: format!("the secret file {} cannot be read ({why})", path.display()),
        again: false,
    };
    let file = std::fs::File::open(path).map_err(|e| unreadable(e.to_string()))?;
    let mut text = String::new();
    file.take(MAX_SECRET_BYTES)
        .read_to_string(&mut text)
        .map_err(|e| unreadable(e.to_string()))?;
    let text = text.trim();
    if text.is_empty() {
        return Err(unreadable("it is empty".to_owned()));
    }
    Ok(text.to_owned())
}

/// Why a request could not be authorised, and whether trying again may help.
#[derive(Debug)]
pub(super) struct CredentialError {
    pub(super) what: String,
    pub(super) again: bool,
}

impl CredentialError {
    fn plain(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            again: false,
        }
    }
}

/// HTTP basic authentication.
#[derive(Debug, Clone)]
pub struct BasicAuth {
    pub username: Text,
    /// None is an empty one, as Prometheus has it.
    pub password: Option<Text>,
}

/// The one way in which a source authenticates.
#[derive(Debug, Clone, Default)]
pub enum Auth {
    #[default]
    None,
    Basic(BasicAuth),
    /// `Authorization: kind credentials`.
    Header {
        kind: String,
        credentials: Text,
    },
    OAuth2(Box<OAuth2>),
    SigV4(Box<SigV4>),
    Google(Box<Google>),
    Azure(Box<Azure>),
}

/// The variables of an environment: the process's own, or given ones.
#[derive(Clone, Default)]
pub struct Vars(Option<Arc<BTreeMap<String, String>>>);

impl Vars {
    #[must_use]
    pub fn given(vars: BTreeMap<String, String>) -> Self {
        Self(Some(Arc::new(vars)))
    }

    /// The value of a variable that is set and not empty.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let value = match &self.0 {
            Some(given) => given.get(name).cloned(),
            None => std::env::var(name).ok(),
        };
        value.filter(|value| !value.is_empty())
    }

    /// The same for the cloud clients that are not ours.
    fn context(&self) -> reqsign_core::Context {
        let context = reqsign_core::Context::new()
            .with_file_read(reqsign_file_read_tokio::TokioFileRead)
            .with_http_send(reqsign_http_send_reqwest::ReqwestHttpSend::default());
        match &self.0 {
            None => context.with_env(reqsign_core::OsEnv),
            Some(given) => context.with_env(reqsign_core::StaticEnv {
                home_dir: given.get("HOME").map(PathBuf::from),
                envs: given
                    .iter()
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect(),
            }),
        }
    }
}

impl std::fmt::Debug for Vars {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "given" } else { "process" })
    }
}

/// The time of day, which only the command line has.
#[derive(Clone)]
pub struct WallClock(pub Clock);

impl std::fmt::Debug for WallClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WallClock")
    }
}

/// A bearer token and until when it is used.
#[derive(Clone)]
struct Token {
    value: String,
    fresh_until: Instant,
}

impl Token {
    /// Renewed when four fifths of its life are gone, a minute before its end at the latest.
    fn new(value: String, life: Option<Duration>, asked: Instant) -> Self {
        let life = life.unwrap_or(UNSAID_LIFE);
        let margin = (life / 5).min(Duration::from_mins(1));
        Self {
            value,
            fresh_until: asked + life.saturating_sub(margin),
        }
    }
}

/// What authorises the requests of one source. Clones share their tokens.
#[derive(Clone)]
pub(super) struct Credentials {
    auth: Auth,
    vars: Vars,
    clock: Option<WallClock>,
    exchange: Exchange,
    token: Arc<Mutex<Option<Token>>>,
    keys: Arc<Mutex<Option<aws::Keys>>>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Credentials").field(&self.auth).finish()
    }
}

impl Credentials {
    pub(super) fn new(options: &RemoteOptions) -> Result<Self, String> {
        let exchange = if let Auth::OAuth2(oauth2) = &options.auth {
            let proxy_url = oauth2.proxy_url.as_ref();
            Exchange::new(&oauth2.tls, Some(&oauth2.token_url), proxy_url)?
        } else {
            let tls = super::TlsOptions::default();
            Exchange::new(&tls, None, options.proxy_url.as_ref())?
        };
        Ok(Self {
            auth: options.auth.clone(),
            vars: options.vars.clone(),
            clock: options.clock.clone(),
            exchange,
            token: Arc::default(),
            keys: Arc::default(),
        })
    }

    /// Puts what proves who asks into the request, which is complete but for that.
    pub(super) async fn authorise(&self, request: &mut Request) -> Result<(), CredentialError> {
        let value = match &self.auth {
            Auth::None => return Ok(()),
            Auth::Basic(basic) => {
                let username = basic.username.read()?;
                let password = match &basic.password {
                    Some(password) => password.read()?,
                    None => String::new(),
                };
                format!(
                    "Basic {}",
                    STANDARD.encode(format!("{username}:{password}"))
                )
            }
            Auth::Header { kind, credentials } => format!("{kind} {}", credentials.read()?),
            Auth::SigV4(options) => {
                let now_ms = self.now_ms()?;
                let keys = self.keys(options, now_ms).await?;
                let region = options.region(&self.vars)?;
                return sigv4::sign(request, &keys, &region, &options.service, now_ms);
            }
            Auth::OAuth2(_) | Auth::Google(_) | Auth::Azure(_) => {
                format!("Bearer {}", self.token().await?)
            }
        };
        let mut value = HeaderValue::from_str(&value).map_err(|_| {
            CredentialError::plain("the credentials hold characters that a header cannot carry")
        })?;
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
        Ok(())
    }

    /// Throws away what was fetched and was refused; whether there was any.
    pub(super) async fn forget(&self) -> bool {
        let token = self.token.lock().await.take().is_some();
        let keys = self.keys.lock().await.take().is_some();
        token || keys
    }

    /// A token that is fresh; one request fetches it, the others wait for that.
    async fn token(&self) -> Result<String, CredentialError> {
        let mut held = self.token.lock().await;
        if let Some(token) = held.as_ref().filter(|t| Instant::now() < t.fresh_until) {
            return Ok(token.value.clone());
        }
        let token = match &self.auth {
            Auth::OAuth2(options) => options.fetch(&self.exchange).await?,
            Auth::Google(options) => {
                options
                    .fetch(&self.exchange, &self.vars, self.now_ms())
                    .await?
            }
            Auth::Azure(options) => options.fetch(&self.exchange, &self.vars).await?,
            _ => return Err(CredentialError::plain("this kind needs no token")),
        };
        *held = Some(token.clone());
        Ok(token.value)
    }

    async fn keys(&self, options: &SigV4, now_ms: i64) -> Result<aws::Keys, CredentialError> {
        let mut held = self.keys.lock().await;
        if let Some(keys) = held.as_ref().filter(|keys| keys.is_fresh(now_ms)) {
            return Ok(keys.clone());
        }
        let keys = options.fetch(&self.exchange, &self.vars, now_ms).await?;
        // Keys that do not say when they end are read anew each time: their file may be rotated.
        *held = keys.expires_ms.is_some().then(|| keys.clone());
        Ok(keys)
    }

    fn now_ms(&self) -> Result<i64, CredentialError> {
        let clock = self.clock.as_ref().ok_or_else(|| {
            CredentialError::plain("this kind of authentication needs the time of day")
        })?;
        Ok((clock.0)())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_show() {
        let auth = Auth::Header {
            kind: "Bearer".to_owned(),
            credentials: Text::Given("s3cret".to_owned()),
        };
        let shown = format!("{auth:?}");
        assert!(
            shown.contains("Bearer") && !shown.contains("s3cret"),
            "{shown}"
        );
        let vars = Vars::given([("A".to_owned(), "s3cret".to_owned())].into());
        assert!(!format!("{vars:?}").contains("s3cret"));
    }

    #[test]
    fn a_token_is_renewed_before_its_end() {
        let now = Instant::now();
        let fresh = |seconds| {
            let token = Token::new("t".to_owned(), Some(Duration::from_secs(seconds)), now);
            token.fresh_until - now
        };
        assert_eq!(fresh(3600), Duration::from_mins(59));
        assert_eq!(fresh(10), Duration::from_secs(8));
        assert_eq!(fresh(0), Duration::ZERO);
    }

    #[test]
    fn an_empty_secret_file_is_an_error_that_names_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Text::File(file.path().to_owned()).read().unwrap_err();
        assert!(error.what.contains("is empty"), "{}", error.what);
        assert!(error.what.contains(&file.path().display().to_string()));
    }
}
