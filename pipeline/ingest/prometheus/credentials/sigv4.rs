//! Owns AWS' Signature Version 4 of one request. Pure: keys and time are handed in. The signature
//! is checked in the tests by a signer that is not ours.

use chrono::DateTime;
use reqsign_core::hash::{hex_hmac_sha256, hex_sha256, hmac_sha256};
use reqwest::Request;
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};

use super::CredentialError;
use super::aws::Keys;

/// Signs the request as a whole: method, path, query, body, and the headers that matter.
pub(super) fn sign(
    request: &mut Request,
    keys: &Keys,
    region: &str,
    service: &str,
    now_ms: i64,
) -> Result<(), CredentialError> {
    let now = DateTime::from_timestamp_millis(now_ms)
        .ok_or_else(|| CredentialError::plain("the time of day is out of range"))?;
    let moment = now.format("%Y%m%dT%H%M%SZ").to_string();
    let scope = format!("{}/{region}/{service}/aws4_request", now.format("%Y%m%d"));
    let query = strict_query(request);
    request
        .url_mut()
        .set_query((!query.is_empty()).then_some(query.as_str()));
    let body = request.body().and_then(|body| body.as_bytes());
    let payload = hex_sha256(body.unwrap_or_default());

    let mut signed = vec![
        ("host", authority(request)),
        ("x-amz-content-sha256", payload.clone()),
        ("x-amz-date", moment.clone()),
    ];
    if let Some(token) = &keys.session_token {
        signed.push(("x-amz-security-token", token.clone()));
    }
    for (name, value) in &signed {
        if *name != "host" {
            set(request, name, value)?;
        }
    }
    if let Some(kind) = request.headers().get(CONTENT_TYPE) {
        let kind = kind.to_str().unwrap_or_default().trim().to_owned();
        signed.push(("content-type", kind));
    }
    signed.sort_unstable();
    let names: Vec<&str> = signed.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let headers: String = signed
        .iter()
        .map(|(name, value)| format!("{name}:{value}\n"))
        .collect();
    let canonical = format!(
        "{}\n{}\n{query}\n{headers}\n{names}\n{payload}",
        request.method(),
        path(request),
    );
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{moment}\n{scope}\n{}",
        hex_sha256(canonical.as_bytes())
    );
    let mut key = format!("AWS4{}", keys.secret_access_key).into_bytes();
    for part in scope.split('/') {
        key = hmac_sha256(&key, part.as_bytes());
    }
    let signature = hex_hmac_sha256(&key, to_sign.as_bytes());
    set(
        request,
        "authorization",
        &format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            keys.access_key_id
        ),
    )
}

fn set(request: &mut Request, name: &str, value: &str) -> Result<(), CredentialError> {
    let unfit =
        || CredentialError::plain("the AWS keys hold characters that a header cannot carry");
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unfit())?;
    let mut value = HeaderValue::from_str(value).map_err(|_| unfit())?;
    value.set_sensitive(true);
    request.headers_mut().insert(name, value);
    Ok(())
}

/// Host and port as they are sent.
fn authority(request: &Request) -> String {
    let url = request.url();
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// The path, encoded once more than it is sent; only S3 has it otherwise.
fn path(request: &Request) -> String {
    let path = request.url().path();
    let ends = if path.ends_with('/') && path.len() > 1 {
        "/"
    } else {
        ""
    };
    let parts: Vec<String> = path
        .split('/')
        .filter(|part| !part.is_empty())
        .map(encoded)
        .collect();
    format!("/{}{ends}", parts.join("/"))
}

/// The query, sorted, in the one encoding that signer and server agree on: a form's `+` is not
/// read as a space by all.
fn strict_query(request: &Request) -> String {
    let mut pairs: Vec<(String, String)> = request
        .url()
        .query_pairs()
        .map(|(name, value)| (encoded(&name), encoded(&value)))
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs.into_iter().map(|(n, v)| format!("{n}={v}")).collect();
    pairs.join("&")
}

fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
