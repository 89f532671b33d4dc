//! Owns Google's tokens: a service account's key file, workload identity and the other files of
//! application default credentials, or the metadata server. Called by `credentials`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reqsign_core::ProvideCredential as _;
use serde::Deserialize;
use serde_json::json;

use super::exchange::{Exchange, form};
use super::{CredentialError, Token, Vars, read_secret};

const TOKEN_URL: &str = "https://oauth2.googleapis.com/token";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// Reading metrics is all that is asked for.
const SCOPE: &str = "https://www.googleapis.com/auth/monitoring.read";

/// Prometheus' `google_iam`.
#[derive(Debug, Clone, Default)]
pub struct Google {
    /// None is application default credentials: `GOOGLE_APPLICATION_CREDENTIALS`, gcloud's own
    /// file, then the metadata server.
    pub credentials_file: Option<PathBuf>,
}

/// What a credentials file says of itself; only a service account's is used here.
#[derive(Deserialize)]
struct KeyFile {
    #[serde(rename = "type")]
    kind: String,
    client_email: Option<String>,
    private_key: Option<String>,
    private_key_id: Option<String>,
    token_uri: Option<String>,
}

impl Google {
    pub(super) async fn fetch(
        &self,
        exchange: &Exchange,
        vars: &Vars,
        now_ms: Result<i64, CredentialError>,
    ) -> Result<Token, CredentialError> {
        let Some(path) = self.file(vars) else {
            return metadata(exchange, vars).await;
        };
        let unusable = |why: &str| {
            let what = format!("the Google credentials file {} {why}", path.display());
            CredentialError::plain(what)
        };
        let text = read_secret(&path)?;
        let file: KeyFile = serde_json::from_str(&text)
            .map_err(|_| unusable("is no JSON of a known kind of credentials"))?;
        if file.kind != "service_account" {
            return other_kind(&path, &text, vars, now_ms?).await;
        }
        let (Some(email), Some(key)) = (&file.client_email, &file.private_key) else {
            return Err(unusable("has no client_email or no private_key"));
        };
        let url = file.token_uri.as_deref().unwrap_or(TOKEN_URL);
        let issued_s = now_ms?.div_euclid(1000);
        let header = json!({"alg": "RS256", "typ": "JWT", "kid": file.private_key_id});
        let claims = json!({
            "iss": email, "scope": SCOPE, "aud": url, "iat": issued_s, "exp": issued_s + 3600,
        });
        let assertion = reqsign_core::jwt::encode_rs256_pem(&header, &claims, key.as_bytes())
            .map_err(|_| unusable("holds a private_key that cannot sign"))?;
        let request = exchange
            .outward
            .get()
            .post(url)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(form([("grant_type", GRANT), ("assertion", &assertion)]));
        exchange
            .token(request, "Google's token request", &[&assertion])
            .await
            .map_err(|(_, error)| error)
    }

    fn file(&self, vars: &Vars) -> Option<PathBuf> {
        if let Some(path) = &self.credentials_file {
            return Some(path.clone());
        }
        if let Some(path) = vars.get("GOOGLE_APPLICATION_CREDENTIALS") {
            return Some(PathBuf::from(path));
        }
        let config = vars
            .get("CLOUDSDK_CONFIG")
            .map(PathBuf::from)
            .or_else(|| Some(Path::new(&vars.get("HOME")?).join(".config/gcloud")))?;
        let path = config.join("application_default_credentials.json");
        path.is_file().then_some(path)
    }
}

async fn metadata(exchange: &Exchange, vars: &Vars) -> Result<Token, CredentialError> {
    let host = vars.get("GCE_METADATA_HOST");
    let host = host.as_deref().unwrap_or("metadata.google.internal");
    let url = format!(
        "http://{host}/computeMetadata/v1/instance/service-accounts/default/token?scopes={SCOPE}"
    );
    let request = exchange.local.get(url).header("Metadata-Flavor", "Google");
    exchange
        .token(request, "Google's metadata server", &[])
        .await
        .map_err(|(_, error)| error)
}

/// The file with the format of its workload's token, which may be left out where it is plain text: the
/// client that reads the file demands it.
fn with_format(text: &str) -> String {
    let Ok(mut file) = serde_json::from_str::<serde_json::Value>(text) else {
        return text.to_owned();
    };
    let source = file.get_mut("credential_source");
    if let Some(source) = source.and_then(serde_json::Value::as_object_mut)
        && (source.contains_key("file") || source.contains_key("url"))
        && !source.contains_key("environment_id")
    {
        source
            .entry("format")
            .or_insert_with(|| json!({"type": "text"}));
    }
    file.to_string()
}

/// Workload identity federation, impersonation and a user's own login.
async fn other_kind(
    path: &Path,
    text: &str,
    vars: &Vars,
    now_ms: i64,
) -> Result<Token, CredentialError> {
    let asked = Instant::now();
    let provider = reqsign_google::StaticCredentialProvider::new(with_format(text));
    let found = provider
        .with_scope(SCOPE)
        .provide_credential(&vars.context())
        .await
        .map_err(|error| CredentialError {
            what: format!(
                "the Google credentials file {} gives no token ({})",
                path.display(),
                error.kind()
            ),
            again: error.is_retryable(),
        })?;
    let token = found
        .and_then(|found| found.token)
        .ok_or_else(|| CredentialError::plain(format!("{} gives no token", path.display())))?;
    let life = token.expires_at.map(|end| {
        let seconds = end.as_second() - now_ms.div_euclid(1000);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    });
    Ok(Token::new(token.access_token, life, asked))
}
