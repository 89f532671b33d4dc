//! A real Kubernetes API server on loopback with its etcd, for tests: certificates, an administrator,
//! CRDs, accounts that may only read, and the audit log that tells what was asked of it.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::Deserialize as _;
use serde_json::{Value, json};

/// Only one server at a time: each takes up to a gigabyte.
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Kinds of fixtures that stand outside of namespaces.
const CLUSTER_SCOPED: &[&str] = &[
    "ClusterAIScaleTemplate",
    "ClusterQueue",
    "ClusterServingRuntime",
    "CustomResourceDefinition",
    "DeviceClass",
    "EC2NodeClass",
    "Namespace",
    "Node",
    "NodeClaim",
    "NodePool",
    "PriorityClass",
    "ResourceFlavor",
    "ResourceSlice",
];

/// Groups that the server serves itself.
const BUILT_IN: &[&str] = &[
    "",
    "apps",
    "autoscaling",
    "batch",
    "policy",
    "scheduling.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "rbac.authorization.k8s.io",
    "apiextensions.k8s.io",
];

pub(crate) struct KubeServer {
    etcd: Child,
    api: Child,
    pub(crate) port: u16,
    etcd_port: u16,
    pub(crate) folder: tempfile::TempDir,
    http: reqwest::Client,
    _one: tokio::sync::MutexGuard<'static, ()>,
}

impl Drop for KubeServer {
    fn drop(&mut self) {
        for child in [&mut self.api, &mut self.etcd] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// The API server's binary; its absence is an error where CI promises it.
fn binary() -> Option<PathBuf> {
    let peers = std::env::var("IDLEPROOF_PEERS").unwrap_or_else(|_| {
        let home = std::env::var("HOME").unwrap_or_default();
        format!("{home}/.cache/idleproof-peers")
    });
    let path = Path::new(&peers).join("servers/kube-apiserver-new");
    let etcd = Command::new("etcd").arg("--version").output().is_ok();
    if path.exists() && etcd {
        return Some(path);
    }
    let why = "kube-apiserver or etcd is not installed: run tests/peers/install";
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{why}");
    println!("skipped: {why}");
    None
}

fn openssl(folder: &Path, command: &str) {
    let made = Command::new("openssl")
        .args(command.split(' '))
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "openssl {command}: {}",
        String::from_utf8_lossy(&made.stderr)
    );
}

fn certificates(folder: &Path) {
    let new_key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    fs::write(folder.join("san.ext"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    fs::write(folder.join("client.ext"), "extendedKeyUsage=clientAuth\n").unwrap();
    openssl(
        folder,
        &format!("req -x509 {new_key} -keyout ca.key -out ca.crt -subj /CN=test -days 2"),
    );
    for (name, subject, extension) in [
        ("server", "/CN=127.0.0.1", "san.ext"),
        ("admin", "/O=system:masters/CN=admin", "client.ext"),
    ] {
        openssl(
            folder,
            &format!("req {new_key} -keyout {name}.key -out {name}.csr -subj {subject}"),
        );
        openssl(
            folder,
            &format!(
                "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out {name}.crt -days 2 -extfile {extension}"
            ),
        );
    }
    openssl(folder, "genrsa -out sa.key 2048");
    openssl(folder, "rsa -in sa.key -pubout -out sa.pub");
}

impl KubeServer {
    /// Starts one and waits until it is ready; `None` where there is no binary.
    pub(crate) async fn start(flags: &[&str]) -> Option<Self> {
        let binary = binary()?;
        let one = ONE.lock().await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        certificates(path);
        let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Metadata\n";
        fs::write(path.join("audit.yaml"), policy).unwrap();
        let (port, etcd_port, peer_port) = (free_port(), free_port(), free_port());
        let etcd_url = format!("http://127.0.0.1:{etcd_port}");
        let peer_url = format!("http://127.0.0.1:{peer_port}");
        let log = |name: &str| Stdio::from(fs::File::create(path.join(name)).unwrap());
        let etcd = Command::new("etcd")
            .arg("--unsafe-no-fsync")
            .args(["--data-dir", path.join("etcd").to_str().unwrap()])
            .args(["--listen-client-urls", &etcd_url])
            .args(["--advertise-client-urls", &etcd_url])
            .args(["--listen-peer-urls", &peer_url])
            .args(["--initial-advertise-peer-urls", &peer_url])
            .args(["--initial-cluster", &format!("default={peer_url}")])
            .stdout(Stdio::null())
            .stderr(log("etcd.log"))
            .spawn()
            .unwrap();
        let file = |name: &str| path.join(name).to_str().unwrap().to_owned();
        let api = Command::new(binary)
            .args(["--etcd-servers", &etcd_url])
            .args([
                "--bind-address",
                "127.0.0.1",
                "--advertise-address",
                "127.0.0.1",
            ])
            .args(["--secure-port", &port.to_string()])
            .args(["--endpoint-reconciler-type", "none"])
            .args(["--service-cluster-ip-range", "10.0.0.0/24"])
            .args(["--tls-cert-file", &file("server.crt")])
            .args(["--tls-private-key-file", &file("server.key")])
            .args(["--client-ca-file", &file("ca.crt")])
            .args(["--authorization-mode", "RBAC", "--anonymous-auth=false"])
            .args(["--service-account-issuer", "https://kubernetes.default.svc"])
            .args(["--service-account-key-file", &file("sa.pub")])
            .args(["--service-account-signing-key-file", &file("sa.key")])
            .args(["--disable-admission-plugins", "ServiceAccount"])
            .args(["--audit-policy-file", &file("audit.yaml")])
            .args(["--audit-log-path", &file("audit.log")])
            .args(["--audit-log-mode", "blocking"])
            .args(["--cert-dir", &file("certs")])
            .args(flags)
            .stdout(Stdio::null())
            .stderr(log("api.log"))
            .spawn()
            .unwrap();
        let mut identity = fs::read(path.join("admin.crt")).unwrap();
        identity.extend(fs::read(path.join("admin.key")).unwrap());
        let http = reqwest::Client::builder()
            .use_rustls_tls()
            .no_proxy()
            .identity(reqwest::Identity::from_pem(&identity).unwrap())
            .add_root_certificate(
                reqwest::Certificate::from_pem(&fs::read(path.join("ca.crt")).unwrap()).unwrap(),
            )
            .build()
            .unwrap();
        let server = Self {
            etcd,
            api,
            port,
            etcd_port,
            folder,
            http,
            _one: one,
        };
        server.wait("/readyz").await;
        Some(server)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.port)
    }

    /// Waits until a path answers with success.
    async fn wait(&self, path: &str) {
        for _ in 0..600 {
            let sent = self.http.get(self.url(path)).send().await;
            if sent.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let log = fs::read_to_string(self.folder.path().join("api.log")).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(20).collect();
        panic!("{path} does not answer:\n{}", tail.join("\n"));
    }

    /// What a path answers, as the administrator: its text, or why it is no success.
    pub(crate) async fn answer(&self, path: &str) -> Result<String, String> {
        let sent = self.http.get(self.url(path)).send().await;
        let answer = sent.map_err(|error| error.to_string())?;
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        if status.is_success() {
            Ok(text)
        } else {
            Err(format!("{status} {text}"))
        }
    }

    async fn send(&self, request: reqwest::RequestBuilder, what: &str) -> Value {
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{what}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// As the administrator.
    pub(crate) async fn get(&self, path: &str) -> Value {
        self.send(self.http.get(self.url(path)), path).await
    }

    pub(crate) async fn create(&self, path: &str, object: &Value) -> Value {
        let request = self
            .http
            .post(self.url(path))
            .header("content-type", "application/json")
            .body(object.to_string());
        self.send(request, &format!("{path} {}", object["metadata"]["name"]))
            .await
    }

    pub(crate) async fn merge(&self, path: &str, patch: &Value) -> Value {
        let request = self
            .http
            .patch(self.url(path))
            .header("content-type", "application/merge-patch+json")
            .body(patch.to_string());
        self.send(request, path).await
    }

    pub(crate) async fn delete(&self, path: &str) {
        let body = json!({"gracePeriodSeconds": 0});
        let request = self
            .http
            .delete(self.url(path))
            .header("content-type", "application/json")
            .body(body.to_string());
        self.send(request, path).await;
    }

    pub(crate) async fn namespace(&self, name: &str) {
        let object = json!({"metadata": {"name": name}});
        self.create("/api/v1/namespaces", &object).await;
    }

    /// Pods named `prefix-0` and so on, many at once.
    pub(crate) async fn pods(&self, namespace: &str, prefix: &str, count: usize) {
        use futures::StreamExt as _;
        let path = format!("/api/v1/namespaces/{namespace}/pods");
        let objects: Vec<Value> = (0..count)
            .map(|n| {
                json!({"metadata": {"name": format!("{prefix}-{n}")}, "spec": {
                    "nodeName": "node-1",
                    "containers": [{"name": "main", "image": "vllm"}]}})
            })
            .collect();
        futures::stream::iter(&objects)
            .for_each_concurrent(16, |object| async {
                self.create(&path, object).await;
            })
            .await;
    }

    /// Makes what is given, with CRDs that let anything pass for kinds that the server lacks.
    /// Returns the objects as the server has them, in the same order.
    pub(crate) async fn load(&self, objects: &[Value]) -> Vec<Value> {
        let mut served = BTreeSet::new();
        let crds = objects
            .iter()
            .filter(|o| o["kind"] == "CustomResourceDefinition");
        for crd in crds {
            self.crd(crd).await;
            let group = crd["spec"]["group"].as_str().unwrap();
            let kind = crd["spec"]["names"]["kind"].as_str().unwrap();
            served.insert((group.to_owned(), kind.to_owned()));
        }
        for object in objects {
            let (group, _) = group_version(object);
            let kind = object["kind"].as_str().unwrap();
            let key = (group.to_owned(), kind.to_owned());
            if !BUILT_IN.contains(&group) && served.insert(key) {
                self.crd(&permissive_crd(object, objects)).await;
            }
        }
        let mut made = Vec::new();
        for object in objects {
            if object["kind"] == "CustomResourceDefinition" {
                continue;
            }
            if let Some(namespace) = object["metadata"]["namespace"].as_str() {
                let path = format!("/api/v1/namespaces/{namespace}");
                let there = self.http.get(self.url(&path)).send().await.unwrap();
                if !there.status().is_success() {
                    self.namespace(namespace).await;
                }
            }
            made.push(self.create(&collection(object), object).await);
        }
        made
    }

    /// Makes one more object; kinds that nobody has defined yet let anything pass.
    pub(crate) async fn load_more(
        &self,
        object: &Value,
        defined: &mut BTreeSet<(String, String)>,
    ) -> Vec<Value> {
        let (group, _) = group_version(object);
        let kind = object["kind"].as_str().unwrap();
        let of_server = BUILT_IN.contains(&group);
        if !of_server && defined.insert((group.to_owned(), kind.to_owned())) {
            let alone = std::slice::from_ref(object);
            self.crd(&permissive_crd(object, alone)).await;
        }
        if let Some(namespace) = object["metadata"]["namespace"].as_str() {
            let path = format!("/api/v1/namespaces/{namespace}");
            let there = self.http.get(self.url(&path)).send().await.unwrap();
            if !there.status().is_success() {
                self.namespace(namespace).await;
            }
        }
        vec![self.create(&collection(object), object).await]
    }

    /// Applies an RFC 6902 patch under strict validation; the server's answer, or its refusal.
    pub(crate) async fn json_patch(&self, path: &str, patch: &Value) -> Result<Value, String> {
        let request = self
            .http
            .patch(self.url(&format!("{path}?fieldValidation=Strict")))
            .header("content-type", "application/json-patch+json")
            .body(patch.to_string());
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        if !status.is_success() {
            let said: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
            return Err(format!(
                "{status} {}",
                said["message"].as_str().unwrap_or(&text)
            ));
        }
        Ok(serde_json::from_str(&text).unwrap())
    }

    pub(crate) async fn crd(&self, crd: &Value) {
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        self.create(path, crd).await;
        let spec = &crd["spec"];
        for version in spec["versions"].as_array().unwrap() {
            if version["served"] == true {
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                self.wait(&format!(
                    "/apis/{}/{}/{}",
                    text(&spec["group"]),
                    text(&version["name"]),
                    text(&spec["names"]["plural"])
                ))
                .await;
            }
        }
        // Discovery follows a moment later.
        let plural = format!("\"resource\":{}", spec["names"]["plural"]);
        for _ in 0..300 {
            let forms = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
            let request = self.http.get(self.url("/apis")).header("accept", forms);
            if self
                .send(request, "/apis")
                .await
                .to_string()
                .contains(&plural)
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("discovery does not tell of {plural}");
    }

    /// A service account with the given ClusterRole's rules; returns its name as the audit log has it.
    pub(crate) async fn reader(&self, name: &str, rules: &Value) -> String {
        let path = "/api/v1/namespaces/default/serviceaccounts";
        self.create(path, &json!({"metadata": {"name": name}}))
            .await;
        let rbac = "/apis/rbac.authorization.k8s.io/v1";
        let role = json!({"metadata": {"name": name}, "rules": rules});
        self.create(&format!("{rbac}/clusterroles"), &role).await;
        let binding = json!({"metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "default"}]});
        self.create(&format!("{rbac}/clusterrolebindings"), &binding)
            .await;
        format!("system:serviceaccount:default:{name}")
    }

    /// A token of a service account.
    pub(crate) async fn token(&self, name: &str) -> String {
        let path = format!("/api/v1/namespaces/default/serviceaccounts/{name}/token");
        let asked = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"expirationSeconds": 3600}});
        let made = self.create(&path, &asked).await;
        made["status"]["token"].as_str().unwrap().to_owned()
    }

    /// A kubeconfig with the given user, which is JSON and so YAML too.
    pub(crate) fn kubeconfig(&self, name: &str, user: &Value) -> PathBuf {
        let ca = self.folder.path().join("ca.crt");
        let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {
                "server": self.url(""), "certificate-authority": ca}}],
            "users": [{"name": "test", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}]});
        let path = self.folder.path().join(format!("{name}.kubeconfig"));
        fs::write(&path, config.to_string()).unwrap();
        path
    }

    /// Finished requests of a user in the audit log.
    pub(crate) fn audit(&self, user: &str) -> Vec<Value> {
        let log = fs::read_to_string(self.folder.path().join("audit.log")).unwrap_or_default();
        log.lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|event| event["user"]["username"] == user)
            .filter(|event| event["stage"] == "ResponseComplete")
            .collect()
    }

    /// Throws away what etcd knows of the past: page tokens of before are worth nothing.
    pub(crate) async fn compact(&self) {
        let etcd = |path: &str| format!("http://127.0.0.1:{}/v3/kv/{path}", self.etcd_port);
        let asked = self.http.post(etcd("range")).body(r#"{"key":"AA=="}"#);
        let range = self.send(asked, "range").await;
        let revision = range["header"]["revision"].as_str().unwrap();
        let body = format!(r#"{{"revision":"{revision}","physical":true}}"#);
        self.send(self.http.post(etcd("compaction")).body(body), "compaction")
            .await;
    }
}

fn group_version(object: &Value) -> (&str, &str) {
    let api_version = object["apiVersion"].as_str().unwrap();
    api_version.split_once('/').unwrap_or(("", api_version))
}

fn plural(kind: &str) -> String {
    let lower = kind.to_ascii_lowercase();
    if let Some(base) = lower.strip_suffix('y') {
        format!("{base}ies")
    } else if ["s", "x", "ch"].iter().any(|end| lower.ends_with(end)) {
        format!("{lower}es")
    } else {
        format!("{lower}s")
    }
}

/// The path under which an object is made.
pub(crate) fn collection(object: &Value) -> String {
    let (group, version) = group_version(object);
    let root = if group.is_empty() {
        format!("/api/{version}")
    } else {
        format!("/apis/{group}/{version}")
    };
    let plural = plural(object["kind"].as_str().unwrap());
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{root}/namespaces/{namespace}/{plural}"),
        None => format!("{root}/{plural}"),
    }
}

/// A CRD for an object's kind with every version that the objects have, keeping every field.
fn permissive_crd(object: &Value, objects: &[Value]) -> Value {
    let (group, _) = group_version(object);
    let kind = object["kind"].as_str().unwrap();
    let mut versions: Vec<&str> = objects
        .iter()
        .filter(|other| other["kind"] == kind && group_version(other).0 == group)
        .map(|other| group_version(other).1)
        .collect();
    versions.sort_unstable();
    versions.dedup();
    let versions: Vec<Value> = versions
        .iter()
        .enumerate()
        .map(|(index, version)| {
            json!({"name": version, "served": true, "storage": index == 0,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
        })
        .collect();
    let plural = plural(kind);
    let scope = if CLUSTER_SCOPED.contains(&kind) {
        "Cluster"
    } else {
        "Namespaced"
    };
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}"),
            // Groups under k8s.io ask for it.
            "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"}},
        "spec": {"group": group, "scope": scope, "versions": versions,
            "names": {"kind": kind, "plural": plural, "singular": kind.to_ascii_lowercase(),
                "listKind": format!("{kind}List")}}})
}

/// Every object of the YAML files of a folder and of those in it, in the order of their paths;
/// namespaced ones without a namespace are in `default`.
pub(crate) fn manifests(folder: &Path) -> Vec<Value> {
    let mut paths: Vec<PathBuf> = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "yaml") {
                paths.push(path);
            }
        }
    }
    paths.sort();
    let mut objects = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        for document in serde_yaml_ng::Deserializer::from_str(&text) {
            let Ok(mut object) = Value::deserialize(document) else {
                continue;
            };
            if object.pointer("/metadata/name").is_none() {
                continue;
            }
            let kind = object["kind"].as_str().unwrap().to_owned();
            if object["metadata"]["namespace"].is_null() && !CLUSTER_SCOPED.contains(&kind.as_str())
            {
                object["metadata"]["namespace"] = json!("default");
            }
            // Placeholders of the samples are no base64.
            if kind == "Secret" && object["data"].is_object() {
                object["stringData"] = object["data"].take();
                object.as_object_mut().unwrap().remove("data");
            }
            let is_same = |other: &&Value| {
                collection(other) == collection(&object)
                    && other["metadata"]["name"] == object["metadata"]["name"]
            };
            if !objects.iter().any(|other| is_same(&other)) {
                objects.push(object);
            }
        }
    }
    objects
}
