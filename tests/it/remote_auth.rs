//! What arrives at a metrics server, at a token endpoint and at a cloud's metadata service when a
//! source authenticates; signatures and certificates are checked by programs that are not ours.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use idleproof::ingest::prometheus::{
    Auth, Azure, AzureCloud, AzureIdentity, BasicAuth, Google, Matcher, OAuth2, RemoteOptions,
    RemoteSource, SampleSource as _, SigV4, Text, TlsOptions, Vars, WallClock,
};
use idleproof::model::TimeWindow;
use serde_json::json;

use super::loopback::{Loopback, Request, answer, nothing};
use super::prometheus::installed;

const NOW_MS: i64 = 1_793_491_200_000;

pub(crate) fn options(url: &str, auth: Auth) -> RemoteOptions {
    let mut options = RemoteOptions::new(url.parse().unwrap());
    options.auth = auth;
    options.backoff = Duration::from_millis(5);
    options.attempts = 2;
    options.clock = Some(WallClock(Arc::new(|| NOW_MS)));
    options.vars = Vars::given(BTreeMap::new());
    options
}

pub(crate) fn vars(pairs: &[(&str, &str)]) -> Vars {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Vars::given(pairs.iter().map(own).collect())
}

pub(crate) async fn read(source: &RemoteSource) -> Result<(), String> {
    let mut sink = |_| Ok(());
    let matchers = [Matcher::equal("__name__", "up")];
    let window = TimeWindow::new(0, 1000);
    let outcome = source.read(&matchers, window, &mut sink).await;
    outcome.map_err(|error| error.to_string())
}

pub(crate) fn token(value: &str, seconds: u64) -> Vec<u8> {
    let body = json!({"access_token": value, "token_type": "Bearer", "expires_in": seconds});
    answer("200 OK", "application/json", &body.to_string())
}

#[tokio::test]
async fn secrets_of_files_are_sent_and_rotated_ones_taken_up() {
    let server = Loopback::start(|_| nothing()).await;
    let folder = tempfile::tempdir().unwrap();
    let (user, password) = (folder.path().join("u"), folder.path().join("p"));
    std::fs::write(&user, "me\n").unwrap();
    std::fs::write(&password, "first-secret\n").unwrap();
    let mut with = options(
        &server.url(),
        Auth::Basic(BasicAuth {
            username: Text::File(user),
            password: Some(Text::File(password.clone())),
        }),
    );
    with.headers = vec![("X-Scope-OrgID".to_owned(), Text::Given("team".to_owned()))];
    let shown = format!("{with:?}");
    let source = RemoteSource::new(with).unwrap();
    read(&source).await.unwrap();
    std::fs::write(&password, "second-secret").unwrap();
    read(&source).await.unwrap();
    let got = server.requests();
    let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
    assert_eq!(got[0].header("authorization"), basic("me:first-secret"));
    assert_eq!(got[1].header("authorization"), basic("me:second-secret"));
    assert_eq!(got[0].header("x-scope-orgid"), "team");
    assert!(!shown.contains("secret") && !format!("{source:?}").contains("secret"));

    std::fs::remove_file(&password).unwrap();
    let error = read(&source).await.unwrap_err();
    assert!(error.contains(&password.display().to_string()), "{error}");
}

#[tokio::test]
async fn no_secret_is_repeated_or_sent_on() {
    let elsewhere = Loopback::start(|_| nothing()).await;
    let to = elsewhere.url();
    let server = Loopback::start(move |request| {
        if request.target.contains("moved") {
            format!(
                "HTTP/1.1 302 Found\r\nLocation: {to}/api/v1/read\r\nConnection: \
                 close\r\nContent-Length: 0\r\n\r\n"
            )
            .into_bytes()
        } else {
            let said = format!("bad: {}", request.header("authorization"));
            answer("400 Bad Request", "text/plain", &said)
        }
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t");
    std::fs::write(&file, "hunter2hunter2").unwrap();
    let auth = || Auth::Header {
        kind: "Token".to_owned(),
        credentials: Text::File(file.clone()),
    };
    let source = RemoteSource::new(options(&server.url(), auth())).unwrap();
    let error = read(&source).await.unwrap_err();
    assert!(
        error.contains("bad: Token") && !error.contains("hunter2"),
        "{error}"
    );
    assert_eq!(
        server.requests()[0].header("authorization"),
        "Token hunter2hunter2"
    );

    let moved = format!("{}/moved", server.url());
    let source = RemoteSource::new(options(&moved, auth())).unwrap();
    let error = read(&source).await.unwrap_err();
    assert!(
        error.contains("302") && error.contains("redirects"),
        "{error}"
    );
    assert!(elsewhere.requests().is_empty());
}

pub(crate) fn oauth2(token_url: &str, secret: &Path) -> Auth {
    Auth::OAuth2(Box::new(OAuth2 {
        client_id: "the client".to_owned(),
        client_secret: Text::File(secret.to_owned()),
        scopes: vec!["read".to_owned(), "metrics".to_owned()],
        token_url: token_url.parse().unwrap(),
        endpoint_params: [("audience".to_owned(), "prom".to_owned())].into(),
        tls: TlsOptions::default(),
        proxy_url: None,
    }))
}

#[tokio::test]
async fn oauth2_tokens_are_kept_until_they_end_and_fetched_anew_when_refused() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "client-secret").unwrap();
    let count = std::sync::atomic::AtomicU64::new(0);
    let issuer = Loopback::start(move |request: &Request| {
        // This one takes the client from the body only.
        if request.form().get("client_secret").map(String::as_str) != Some("client-secret") {
            return answer("401 Unauthorized", "application/json", "{}");
        }
        let n = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        token(&format!("token-{n}"), if n == 0 { 1 } else { 3600 })
    })
    .await;
    let server = Loopback::start(|request| {
        if request.header("authorization") == "Bearer token-1" {
            answer("401 Unauthorized", "text/plain", "revoked")
        } else {
            nothing()
        }
    })
    .await;
    let auth = oauth2(&format!("{}/token", issuer.url()), secret.path());
    let source = RemoteSource::new(options(&server.url(), auth)).unwrap();
    read(&source).await.unwrap();
    read(&source).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    // The first has ended, the second is refused: a third is fetched.
    read(&source).await.unwrap();
    read(&source).await.unwrap();
    let sent: Vec<String> = server
        .requests()
        .iter()
        .map(|request| request.header("authorization").to_owned())
        .collect();
    let want = [0, 0, 1, 2, 2].map(|n| format!("Bearer token-{n}"));
    assert_eq!(sent, want);
    let asked = issuer.requests();
    let basic = STANDARD.encode("the+client:client-secret");
    assert_eq!(asked[0].header("authorization"), format!("Basic {basic}"));
    let form = asked[1].form();
    assert_eq!(form["grant_type"], "client_credentials");
    assert_eq!(form["scope"], "read metrics");
    assert_eq!(form["audience"], "prom");

    let refuses = Loopback::start(|request| {
        let said = String::from_utf8_lossy(&request.body).into_owned();
        answer("400 Bad Request", "text/plain", &said)
    })
    .await;
    let auth = oauth2(&refuses.url(), secret.path());
    let source = RemoteSource::new(options(&server.url(), auth)).unwrap();
    let error = read(&source).await.unwrap_err();
    assert!(error.contains("token request"), "{error}");
    assert!(!error.contains("client-secret"), "{error}");
}

/// Whether botocore comes to the same signature; `None` where it is not there.
fn botocore_agrees(url: &str, request: &Request, keys: (&str, &str, Option<&str>)) -> Option<bool> {
    let peers = std::env::var("IDLEPROOF_PEERS").unwrap_or_default();
    let python = Path::new(&peers).join("bin/python3");
    if !python.is_file() {
        assert_ne!(
            std::env::var("CI").as_deref(),
            Ok("true"),
            "botocore is missing"
        );
        println!("skipped: botocore is not installed");
        return None;
    }
    let sent = request.header("authorization");
    let (_, names) = sent.split_once("SignedHeaders=")?;
    let names = names.split(',').next()?;
    let signed: BTreeMap<&str, &str> = names.split(';').map(|n| (n, request.header(n))).collect();
    let scope: Vec<&str> = sent
        .split_once('/')?
        .1
        .split(',')
        .next()?
        .split('/')
        .collect();
    let given = json!({
        "method": request.method, "url": format!("{url}{}", request.target),
        "headers": signed, "body": STANDARD.encode(&request.body),
        "id": keys.0, "secret": keys.1, "token": keys.2,
        "region": scope[1], "service": scope[2],
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/sigv4.py");
    let mut child = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(given.to_string().as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let signature = String::from_utf8(output.stdout).unwrap();
    Some(sent.ends_with(&format!("Signature={}", signature.trim())))
}

pub(crate) fn sigv4() -> SigV4 {
    SigV4 {
        region: Some("eu-west-1".to_owned()),
        service: "aps".to_owned(),
        profile: None,
        role_arn: None,
        external_id: None,
        keys: None,
    }
}

#[tokio::test]
async fn aws_signatures_are_those_of_botocore() {
    let server = Loopback::start(|request| {
        if request.target.contains("/api/v1/read") {
            nothing()
        } else {
            answer(
                "200 OK",
                "application/json",
                r#"{"status":"success","data":[]}"#,
            )
        }
    })
    .await;
    let url = format!("{}/workspaces/ws a*b/", server.url());
    let mut with = options(&url, Auth::SigV4(Box::new(sigv4())));
    with.vars = vars(&[
        ("AWS_ACCESS_KEY_ID", "AKID"),
        ("AWS_SECRET_ACCESS_KEY", "the-secret"),
    ]);
    let source = RemoteSource::new(with).unwrap();
    read(&source).await.unwrap();
    source.extent().await.unwrap();
    let got = server.requests();
    assert!(got.len() >= 2);
    for request in &got {
        assert!(
            request
                .header("authorization")
                .contains("/eu-west-1/aps/aws4_request")
        );
        let keys = ("AKID", "the-secret", None);
        assert_ne!(
            botocore_agrees(&server.url(), request, keys),
            Some(false),
            "{request:?}"
        );
    }
}

#[tokio::test]
async fn a_web_identity_and_a_role_become_keys_at_sts() {
    let sts = Loopback::start(|request| {
        let action = &request.form()["Action"];
        let id = if action == "AssumeRole" { "ROLE" } else { "WEB" };
        let body = format!(
            "<R><Credentials><AccessKeyId>{id}</AccessKeyId><SecretAccessKey>s-{id}</SecretAccessKey>\
             <SessionToken>t-{id}</SessionToken><Expiration>2027-01-01T00:00:00Z</Expiration>\
             </Credentials></R>"
        );
        answer("200 OK", "text/xml", &body)
    })
    .await;
    let server = Loopback::start(|_| nothing()).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "the-web-token").unwrap();
    let mut role = sigv4();
    role.role_arn = Some("arn:aws:iam::1:role/reader".to_owned());
    let mut with = options(&server.url(), Auth::SigV4(Box::new(role)));
    with.vars = vars(&[
        ("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_str().unwrap()),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/pod"),
        ("AWS_ENDPOINT_URL_STS", &sts.url()),
    ]);
    let source = RemoteSource::new(with).unwrap();
    read(&source).await.unwrap();
    read(&source).await.unwrap();
    let asked = sts.requests();
    // Keys that have not ended are not asked for again.
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].form()["WebIdentityToken"], "the-web-token");
    assert_eq!(asked[0].form()["RoleArn"], "arn:aws:iam::1:role/pod");
    assert_eq!(asked[1].form()["RoleArn"], "arn:aws:iam::1:role/reader");
    let web = ("WEB", "s-WEB", Some("t-WEB"));
    assert_ne!(botocore_agrees(&sts.url(), &asked[1], web), Some(false));
    let request = &server.requests()[0];
    assert_eq!(request.header("x-amz-security-token"), "t-ROLE");
    let keys = ("ROLE", "s-ROLE", Some("t-ROLE"));
    assert_ne!(botocore_agrees(&server.url(), request, keys), Some(false));
}

#[tokio::test]
async fn google_is_asked_by_the_metadata_server_or_a_signed_assertion() {
    let issuer = Loopback::start(|_| token("google-token", 3600)).await;
    let server = Loopback::start(|_| nothing()).await;
    let google = |credentials_file| Auth::Google(Box::new(Google { credentials_file }));
    let mut with = options(&server.url(), google(None));
    with.vars = vars(&[("GCE_METADATA_HOST", &format!("127.0.0.1:{}", issuer.port))]);
    read(&RemoteSource::new(with).unwrap()).await.unwrap();
    let asked = issuer.requests();
    assert_eq!(asked[0].header("metadata-flavor"), "Google");
    assert!(asked[0].target.contains("service-accounts/default/token"));
    assert!(asked[0].target.contains("monitoring.read"));
    assert_eq!(
        server.requests()[0].header("authorization"),
        "Bearer google-token"
    );

    if !installed("openssl") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    run(&[
        "genpkey",
        "-algorithm",
        "RSA",
        "-out",
        at("key").to_str().unwrap(),
    ]);
    let file = json!({
        "type": "service_account", "client_email": "me@p.iam", "private_key_id": "k1",
        "private_key": std::fs::read_to_string(at("key")).unwrap(),
        "token_uri": format!("{}/token", issuer.url()),
    });
    std::fs::write(at("account.json"), file.to_string()).unwrap();
    let with = options(&server.url(), google(Some(at("account.json"))));
    read(&RemoteSource::new(with).unwrap()).await.unwrap();
    let assertion = issuer.requests()[1].form()["assertion"].clone();
    let parts: Vec<&str> = assertion.split('.').collect();
    let claims = URL_SAFE_NO_PAD.decode(parts[1]).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["iss"], "me@p.iam");
    assert_eq!(claims["aud"], format!("{}/token", issuer.url()));
    assert_eq!(claims["iat"], NOW_MS / 1000);
    // OpenSSL finds the signature good.
    std::fs::write(at("signed"), format!("{}.{}", parts[0], parts[1])).unwrap();
    std::fs::write(at("signature"), URL_SAFE_NO_PAD.decode(parts[2]).unwrap()).unwrap();
    let path = |name: &str| at(name).to_str().unwrap().to_owned();
    run(&["pkey", "-in", &path("key"), "-pubout", "-out", &path("pub")]);
    run(&[
        "dgst",
        "-sha256",
        "-verify",
        &path("pub"),
        "-signature",
        &path("signature"),
        &path("signed"),
    ]);
}

#[tokio::test]
async fn azure_is_asked_by_the_metadata_service_or_at_the_login() {
    let issuer = Loopback::start(|_| {
        let body = json!({"access_token": "azure-token", "expires_in": "3599"});
        answer("200 OK", "application/json", &body.to_string())
    })
    .await;
    let server = Loopback::start(|_| nothing()).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f");
    std::fs::write(&file, "federated-or-secret").unwrap();
    let azure = |identity| {
        Auth::Azure(Box::new(Azure {
            cloud: AzureCloud::Public,
            identity,
            audience: None,
        }))
    };
    let mut with = options(
        &server.url(),
        azure(AzureIdentity::Managed {
            client_id: Some("c-1".to_owned()),
        }),
    );
    with.vars = vars(&[("AZURE_POD_IDENTITY_AUTHORITY_HOST", &issuer.url())]);
    read(&RemoteSource::new(with).unwrap()).await.unwrap();
    let workload = AzureIdentity::Workload {
        client_id: None,
        tenant_id: None,
        token_file: Some(file.clone()),
    };
    let mut with = options(&server.url(), azure(workload));
    with.vars = vars(&[
        ("AZURE_AUTHORITY_HOST", &issuer.url()),
        ("AZURE_CLIENT_ID", "c-2"),
        ("AZURE_TENANT_ID", "t-2"),
    ]);
    read(&RemoteSource::new(with).unwrap()).await.unwrap();
    let secret = AzureIdentity::Secret {
        client_id: "c-3".to_owned(),
        tenant_id: "t-3".to_owned(),
        client_secret: Text::File(file),
    };
    let mut with = options(&server.url(), azure(secret));
    with.vars = vars(&[("AZURE_AUTHORITY_HOST", &issuer.url())]);
    read(&RemoteSource::new(with).unwrap()).await.unwrap();

    let asked = issuer.requests();
    assert_eq!(asked[0].header("metadata"), "true");
    assert!(
        asked[0]
            .target
            .starts_with("/metadata/identity/oauth2/token?")
    );
    assert!(asked[0].target.contains("prometheus.monitor.azure.com"));
    assert!(asked[0].target.contains("client_id=c-1"));
    assert_eq!(asked[1].target, "/t-2/oauth2/v2.0/token");
    assert_eq!(asked[1].form()["client_assertion"], "federated-or-secret");
    assert_eq!(
        asked[1].form()["scope"],
        "https://prometheus.monitor.azure.com/.default"
    );
    assert_eq!(asked[2].target, "/t-3/oauth2/v2.0/token");
    assert_eq!(asked[2].form()["client_secret"], "federated-or-secret");
    for request in server.requests() {
        assert_eq!(request.header("authorization"), "Bearer azure-token");
    }
}

pub(crate) fn run(arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// A certificate for a common name, signed by the authority of the folder.
pub(crate) fn certificate(folder: &Path, name: &str, common: &str) {
    let path = |ending: &str| {
        folder
            .join(format!("{name}.{ending}"))
            .to_str()
            .unwrap()
            .to_owned()
    };
    let at = |file: &str| folder.join(file).to_str().unwrap().to_owned();
    let subject = format!("/CN={common}");
    run(&[
        "req",
        "-new",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        &subject,
        "-keyout",
        &path("key"),
        "-out",
        &path("csr"),
    ]);
    std::fs::write(folder.join("ext"), format!("subjectAltName=DNS:{common}\n")).unwrap();
    run(&[
        "x509",
        "-req",
        "-in",
        &path("csr"),
        "-CA",
        &at("ca.pem"),
        "-CAkey",
        &at("ca.key"),
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        &at("ext"),
        "-out",
        &path("pem"),
    ]);
}

#[tokio::test]
async fn a_server_that_asks_for_certificates_gets_ours_and_the_renewed_one() {
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
    certificate(folder.path(), "server", "prometheus.test");
    certificate(folder.path(), "client", "first");
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
    let url = format!("https://127.0.0.1:{port}/");
    let with = |tls: TlsOptions| {
        let mut with = options(&url, Auth::None);
        with.tls = tls;
        RemoteSource::new(with).unwrap()
    };
    let ours = TlsOptions {
        ca_file: Some(at("ca.pem")),
        cert_file: Some(at("client.pem")),
        key_file: Some(at("client.key")),
        server_name: Some("prometheus.test".to_owned()),
        insecure_skip_verify: false,
    };
    let source = with(ours.clone());
    read(&source).await.unwrap();
    certificate(folder.path(), "client", "second");
    read(&source).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let line: serde_json::Value =
            serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(line["host"], format!("127.0.0.1:{port}"));
        seen.push(line["client"].clone());
    }
    assert_eq!(seen, ["first", "second"]);

    // Another name, another authority, no certificate: no exchange.
    for (tls, ends) in [
        (
            TlsOptions {
                server_name: None,
                ..ours.clone()
            },
            false,
        ),
        (
            TlsOptions {
                ca_file: None,
                ..ours.clone()
            },
            false,
        ),
        (
            TlsOptions {
                cert_file: None,
                key_file: None,
                ..ours.clone()
            },
            false,
        ),
        (
            TlsOptions {
                ca_file: None,
                server_name: None,
                insecure_skip_verify: true,
                ..ours
            },
            true,
        ),
    ] {
        assert_eq!(read(&with(tls)).await.is_ok(), ends);
    }
    let _ = process.kill();
    let _ = process.wait();
}
