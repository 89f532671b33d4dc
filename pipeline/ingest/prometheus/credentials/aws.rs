//! Owns where AWS keys come from: files, the environment, profiles, a web identity (EKS), the
//! metadata services, and a role that these may assume. `sigv4` signs with them.

use std::path::PathBuf;

use chrono::DateTime;
use reqsign_aws_v4::DefaultCredentialProvider;
use reqsign_core::ProvideCredential as _;
use reqwest::RequestBuilder;

use super::exchange::{Exchange, form};
use super::{CredentialError, Text, Vars, read_secret, sigv4};

/// Keys are renewed that long before they end.
const RENEWED_BEFORE_MS: i64 = 2 * 60_000;
const SESSION: &str = "idleproof";

/// Prometheus' `sigv4`.
#[derive(Debug, Clone)]
pub struct SigV4 {
    /// None is `AWS_REGION`.
    pub region: Option<String>,
    /// `aps` for Amazon's managed Prometheus.
    pub service: String,
    pub profile: Option<String>,
    /// A role that the keys are used to assume.
    pub role_arn: Option<String>,
    pub external_id: Option<String>,
    /// Access key and secret key; None is AWS' usual chain.
    pub keys: Option<(Text, Text)>,
}

/// Keys to sign with.
#[derive(Clone)]
pub(super) struct Keys {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: String,
    pub(super) session_token: Option<String>,
    pub(super) expires_ms: Option<i64>,
}

impl Keys {
    pub(super) fn is_fresh(&self, now_ms: i64) -> bool {
        self.expires_ms
            .is_some_and(|end_ms| now_ms < end_ms - RENEWED_BEFORE_MS)
    }
}

impl SigV4 {
    pub(super) fn region(&self, vars: &Vars) -> Result<String, CredentialError> {
        self.region
            .clone()
            .or_else(|| vars.get("AWS_REGION"))
            .or_else(|| vars.get("AWS_DEFAULT_REGION"))
            .ok_or_else(|| {
                CredentialError::plain("sigv4 has no region: give it, or set AWS_REGION")
            })
    }

    pub(super) async fn fetch(
        &self,
        exchange: &Exchange,
        vars: &Vars,
        now_ms: i64,
    ) -> Result<Keys, CredentialError> {
        let keys = self.base(exchange, vars).await?;
        let Some(role) = &self.role_arn else {
            return Ok(keys);
        };
        let mut pairs = vec![("Action", "AssumeRole"), ("RoleArn", role)];
        pairs.push(("RoleSessionName", SESSION));
        if let Some(id) = &self.external_id {
            pairs.push(("ExternalId", id));
        }
        let region = self.region(vars)?;
        let request = sts_request(exchange, vars, &region, &pairs);
        let (client, built) = request.build_split();
        let mut built = built.map_err(|_| CredentialError::plain("the STS address is unusable"))?;
        sigv4::sign(&mut built, &keys, &region, "sts", now_ms)?;
        let request = RequestBuilder::from_parts(client, built);
        self.session(exchange, request, "AssumeRole", &[]).await
    }

    /// The keys before any role is assumed, in the order of AWS' own tools.
    async fn base(&self, exchange: &Exchange, vars: &Vars) -> Result<Keys, CredentialError> {
        if let Some((id, secret)) = &self.keys {
            return Ok(Keys {
                access_key_id: id.read()?,
                secret_access_key: secret.read()?,
                session_token: None,
                expires_ms: None,
            });
        }
        let token_file = vars.get("AWS_WEB_IDENTITY_TOKEN_FILE");
        let role = vars.get("AWS_ROLE_ARN");
        if self.profile.is_none()
            && vars.get("AWS_ACCESS_KEY_ID").is_none()
            && let (Some(file), Some(role)) = (token_file, role)
        {
            return self.web_identity(exchange, vars, file, &role).await;
        }
        let mut chain = DefaultCredentialProvider::builder().no_web_identity();
        if let Some(profile) = &self.profile {
            // A profile that is named is meant, whatever else the environment holds.
            chain = chain.no_env().no_ecs().no_imds().with_profile(profile);
        }
        let found = chain.build().provide_credential(&vars.context()).await;
        let found = found.map_err(|error| CredentialError {
            what: format!("no AWS keys were found ({})", error.kind()),
            again: error.is_retryable(),
        })?;
        let found = found.ok_or_else(|| {
            let of = self
                .profile
                .as_ref()
                .map(|name| format!(" in profile {name}"));
            CredentialError::plain(format!("no AWS keys were found{}", of.unwrap_or_default()))
        })?;
        Ok(Keys {
            access_key_id: found.access_key_id,
            secret_access_key: found.secret_access_key,
            session_token: found.session_token,
            expires_ms: found.expires_in.map(|end| end.as_second() * 1000),
        })
    }

    async fn web_identity(
        &self,
        exchange: &Exchange,
        vars: &Vars,
        token_file: String,
        role: &str,
    ) -> Result<Keys, CredentialError> {
        let token = read_secret(&PathBuf::from(token_file))?;
        let name = vars.get("AWS_ROLE_SESSION_NAME");
        let pairs = [
            ("Action", "AssumeRoleWithWebIdentity"),
            ("RoleArn", role),
            ("RoleSessionName", name.as_deref().unwrap_or(SESSION)),
            ("WebIdentityToken", &token),
        ];
        let region = self.region(vars)?;
        let request = sts_request(exchange, vars, &region, &pairs);
        self.session(exchange, request, "AssumeRoleWithWebIdentity", &[&token])
            .await
    }

    async fn session(
        &self,
        exchange: &Exchange,
        request: RequestBuilder,
        action: &str,
        secrets: &[&str],
    ) -> Result<Keys, CredentialError> {
        let asks = format!("AWS STS {action}");
        let answer = exchange.text(request, &asks, secrets).await;
        let answer = answer.map_err(|(_, error)| error)?;
        let part = |name: &str| {
            let missing = || CredentialError::plain(format!("{asks} answers without {name}"));
            element(&answer, name).ok_or_else(missing)
        };
        let expires = DateTime::parse_from_rfc3339(&part("Expiration")?)
            .map_err(|_| CredentialError::plain(format!("{asks} answers an unreadable time")))?;
        Ok(Keys {
            access_key_id: part("AccessKeyId")?,
            secret_access_key: part("SecretAccessKey")?,
            session_token: Some(part("SessionToken")?),
            expires_ms: Some(expires.timestamp_millis()),
        })
    }
}

fn sts_request(
    exchange: &Exchange,
    vars: &Vars,
    region: &str,
    pairs: &[(&str, &str)],
) -> RequestBuilder {
    let url = vars
        .get("AWS_ENDPOINT_URL_STS")
        .or_else(|| vars.get("AWS_ENDPOINT_URL"))
        .unwrap_or_else(|| {
            let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
            format!("https://sts.{region}.amazonaws.com{suffix}/")
        });
    let version = [("Version", "2011-06-15")];
    exchange
        .outward
        .get()
        .post(url)
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(form(version.into_iter().chain(pairs.iter().copied())))
}

/// The text of the first element of that name; STS' answers nest no names in themselves and escape
/// nothing in keys.
fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_fresh_until_two_minutes_before_their_end() {
        let keys = |expires_ms| Keys {
            access_key_id: "a".to_owned(),
            secret_access_key: "b".to_owned(),
            session_token: None,
            expires_ms,
        };
        assert!(keys(Some(200_000)).is_fresh(79_999));
        assert!(!keys(Some(200_000)).is_fresh(80_000));
        assert!(!keys(None).is_fresh(0));
    }

    #[test]
    fn elements_are_found_or_not() {
        let xml = "<R><Credentials><AccessKeyId> AK </AccessKeyId><B></B></Credentials></R>";
        assert_eq!(element(xml, "AccessKeyId").as_deref(), Some("AK"));
        assert_eq!(element(xml, "B"), None);
        assert_eq!(element(xml, "SecretAccessKey"), None);
    }
}
