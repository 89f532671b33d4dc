//! Where keys and tokens come from besides the source's own section: AWS' profiles, containers and
//! machines, Google's federation, an OAuth 2 issuer behind TLS or a proxy of its own; and the
//! source's proxy.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use idleproof::ingest::prometheus::{Auth, Google, OAuth2, RemoteSource, TlsOptions};

use super::loopback::{Loopback, answer, nothing};
use super::prometheus::installed;
use super::remote_auth::{certificate, oauth2, options, read, run, sigv4, token, vars};

const KEYS: &str = r#"{"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "ID", "SecretAccessKey": "the-secret",
    "Token": "the-session", "Expiration": "2027-01-01T00:00:00Z", "LastUpdated": "2026-11-01T00:00:00Z"}"#;

/// The key id and session token that a read is signed with.
async fn signed_by(
    profile: Option<&str>,
    given: &[(&str, &str)],
) -> Result<(String, String), String> {
    let server = Loopback::start(|_| nothing()).await;
    let mut auth = sigv4();
    auth.profile = profile.map(str::to_owned);
    let mut with = options(&server.url(), Auth::SigV4(Box::new(auth)));
    with.vars = vars(given);
    read(&RemoteSource::new(with).unwrap()).await?;
    let requests = server.requests();
    let sent = requests[0].header("authorization");
    let id = sent.split_once("Credential=").unwrap().1;
    let id = id.split('/').next().unwrap().to_owned();
    Ok((id, requests[0].header("x-amz-security-token").to_owned()))
}

#[tokio::test]
async fn aws_keys_come_from_a_named_profile_whatever_else_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credentials");
    std::fs::write(
        &file,
        "[default]\naws_access_key_id = DEFAULT\naws_secret_access_key = a\n\
         [metrics]\naws_access_key_id = METRICS\naws_secret_access_key = b\naws_session_token = t\n",
    )
    .unwrap();
    let missing = folder.path().join("none");
    let files = [
        ("AWS_SHARED_CREDENTIALS_FILE", file.to_str().unwrap()),
        ("AWS_CONFIG_FILE", missing.to_str().unwrap()),
    ];
    let with_env = [
        &files[..],
        &[("AWS_ACCESS_KEY_ID", "ENV"), ("AWS_SECRET_ACCESS_KEY", "c")],
    ]
    .concat();
    let of = async |profile, given: &[(&str, &str)]| signed_by(profile, given).await.unwrap();
    assert_eq!(of(None, &files).await.0, "DEFAULT");
    assert_eq!(of(None, &with_env).await.0, "ENV");
    let metrics = ("METRICS".to_owned(), "t".to_owned());
    assert_eq!(of(Some("metrics"), &with_env).await, metrics);
    let error = signed_by(Some("nobody"), &with_env).await.unwrap_err();
    assert!(
        error.contains("nobody") || error.contains("no AWS keys"),
        "{error}"
    );
    assert!(!error.contains("METRICS"), "{error}");
}

#[tokio::test]
async fn aws_keys_come_from_a_containers_endpoint() {
    let agent = Loopback::start(|request| {
        if request.header("authorization") == "the-container-token" {
            answer("200 OK", "application/json", KEYS)
        } else {
            answer("403 Forbidden", "text/plain", "no")
        }
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "the-container-token").unwrap();
    let url = format!("{}/v2/credentials", agent.url());
    let given = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str()),
        (
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            file.to_str().unwrap(),
        ),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    let keys = ("ID".to_owned(), "the-session".to_owned());
    assert_eq!(signed_by(None, &given).await.unwrap(), keys);
    assert_eq!(agent.requests()[0].target, "/v2/credentials");
    std::fs::write(&file, "another").unwrap();
    let error = signed_by(None, &given).await.unwrap_err();
    assert!(!error.contains("another"), "{error}");
}

#[tokio::test]
async fn aws_keys_come_from_the_machines_role() {
    let metadata = Loopback::start(|request| {
        let known = request.header("x-aws-ec2-metadata-token") == "session";
        match (request.method.as_str(), request.target.as_str()) {
            ("PUT", "/latest/api/token") => answer("200 OK", "text/plain", "session"),
            (_, "/latest/meta-data/iam/security-credentials/") if known => {
                answer("200 OK", "text/plain", "reader")
            }
            (_, "/latest/meta-data/iam/security-credentials/reader") if known => {
                answer("200 OK", "application/json", KEYS)
            }
            _ => answer("404 Not Found", "text/plain", ""),
        }
    })
    .await;
    let url = metadata.url();
    let given = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.as_str())];
    let keys = ("ID".to_owned(), "the-session".to_owned());
    assert_eq!(signed_by(None, &given).await.unwrap(), keys);
    assert_eq!(metadata.requests().len(), 3);
}

fn issued_by(url: &str, secret: &Path, change: impl Fn(&mut OAuth2)) -> Auth {
    let Auth::OAuth2(mut with) = oauth2(url, secret) else {
        unreachable!("it is that");
    };
    change(&mut with);
    Auth::OAuth2(with)
}

#[tokio::test]
async fn an_issuer_is_asked_through_its_own_proxy_and_the_server_is_not() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "client-secret").unwrap();
    let proxy = Loopback::start(|_| token("by-proxy", 3600)).await;
    let server = Loopback::start(|_| nothing()).await;
    let auth = issued_by("http://issuer.invalid/token", secret.path(), |with| {
        with.proxy_url = Some(proxy.url().parse().unwrap());
    });
    let source = RemoteSource::new(options(&server.url(), auth)).unwrap();
    read(&source).await.unwrap();
    let asked = proxy.requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].target, "http://issuer.invalid/token");
    let sent = server.requests();
    assert_eq!(sent[0].header("authorization"), "Bearer by-proxy");
}

#[tokio::test]
async fn a_server_is_asked_through_the_sources_proxy() {
    let proxy = Loopback::start(|_| nothing()).await;
    let mut with = options("http://prometheus.invalid:9090/team", Auth::None);
    with.proxy_url = Some(proxy.url().parse().unwrap());
    read(&RemoteSource::new(with).unwrap()).await.unwrap();
    let asked = proxy.requests();
    assert_eq!(asked.len(), 1);
    let wanted = "http://prometheus.invalid:9090/team/api/v1/read";
    assert_eq!(asked[0].target, wanted);
}

#[tokio::test]
async fn google_takes_a_workloads_token_for_one_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("token"), "the-workloads-token").unwrap();
    let sts = Loopback::start(|_| token("federated", 3600)).await;
    let server = Loopback::start(|_| nothing()).await;
    let audience =
        "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/k";
    let file = serde_json::json!({
        "type": "external_account", "audience": audience,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": format!("{}/sts", sts.url()),
        "credential_source": {"file": at("token")},
    });
    std::fs::write(at("credentials.json"), file.to_string()).unwrap();
    let credentials_file = None;
    let mut with = options(
        &server.url(),
        Auth::Google(Box::new(Google { credentials_file })),
    );
    let path = at("credentials.json");
    with.vars = vars(&[("GOOGLE_APPLICATION_CREDENTIALS", path.to_str().unwrap())]);
    read(&RemoteSource::new(with).unwrap()).await.unwrap();
    let asked = sts.requests();
    assert_eq!(asked.len(), 1);
    let form = asked[0].form();
    assert_eq!(form["subject_token"], "the-workloads-token");
    assert_eq!(form["audience"], audience);
    assert!(form["scope"].contains("monitoring.read"));
    let sent = server.requests();
    assert_eq!(sent[0].header("authorization"), "Bearer federated");
}

#[tokio::test]
async fn an_issuer_has_tls_settings_of_its_own() {
    if !installed("openssl") || !installed("python3") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |file: &str| folder.path().join(file);
    let text = |file: &str| at(file).to_str().unwrap().to_owned();
    run(&[
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=authority",
        "-days",
        "2",
        "-keyout",
        &text("ca.key"),
        "-out",
        &text("ca.pem"),
    ]);
    certificate(folder.path(), "server", "issuer.test");
    certificate(folder.path(), "client", "idleproof");
    std::fs::write(at("secret"), "client-secret").unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/tls_server.py");
    let mut process = Command::new("python3")
        .arg(script)
        .args([text("server.pem"), text("server.key"), text("ca.pem")])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let port: u16 = lines.next().unwrap().unwrap().parse().unwrap();
    let server = Loopback::start(|_| nothing()).await;
    let url = format!("https://127.0.0.1:{port}/token");
    let ours = TlsOptions {
        ca_file: Some(at("ca.pem")),
        cert_file: Some(at("client.pem")),
        key_file: Some(at("client.key")),
        server_name: Some("issuer.test".to_owned()),
        insecure_skip_verify: false,
    };
    let source = |tls: TlsOptions| {
        let auth = issued_by(&url, &at("secret"), |with| with.tls = tls.clone());
        RemoteSource::new(options(&server.url(), auth)).unwrap()
    };
    read(&source(ours.clone())).await.unwrap();
    assert_eq!(
        server.requests()[0].header("authorization"),
        "Bearer by-tls"
    );
    // Without its authority, or the certificate that it asks for, there is no token and no read.
    for tls in [
        TlsOptions {
            ca_file: None,
            ..ours.clone()
        },
        TlsOptions {
            cert_file: None,
            key_file: None,
            ..ours
        },
    ] {
        let error = read(&source(tls)).await.unwrap_err();
        assert!(!error.contains("client-secret"), "{error}");
    }
    assert_eq!(server.requests().len(), 1);
    let _ = process.kill();
    let _ = process.wait();
}
