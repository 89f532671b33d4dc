//! A small world for tests of approvals: a log in memory, a pipeline, people with keys, a policy and
//! manifests of hand-made recommendations in the form that the run writes.

use std::collections::BTreeMap;

use idleproof::approve::{
    AuthorityFiles, DECISION_NAMESPACE, Decision, Envelope, Head, Imported, Incoming, Kind, Limits,
    Log, ManifestInput, PipelineKey, RecommendationEntry, Records, State, Verb, Verdict,
    authority_sha256, import, statement_bytes,
};
use idleproof::lake::bucket::Bucket;
use idleproof::model::TimeWindow;
use idleproof::model::canonical::sha256_hex;
use serde_json::{Value, json};
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey, SshSig};

pub(crate) const ORIGIN: &str = "log.test/idleproof";
/// 2026-11-23 00:00 UTC.
pub(crate) const NOW: i64 = 1_795_392_000_000;
pub(crate) const HOUR: i64 = 3_600_000;

pub(crate) const POLICY: &str = r#"
max_age = "14d"
snapshot_max_age = "72h"
[roles]
platform = ["ada", "bob", "writer"]
finops = ["eve"]
oncall = ["ada"]
[[rule]]
name = "all"
require = [{count = 1, roles = ["platform"]}]
[[rule]]
name = "prod-over-1k"
match = {cluster = "prod-*", min_monthly_usd = 1000}
require = [{count = 1, roles = ["platform"]}, {count = 1, roles = ["finops"]}]
[change]
require = [{count = 2, roles = ["platform", "finops"]}]
[break_glass]
roles = ["oncall"]
max_age = "4h"
[authors]
policy = ["writer"]
"#;

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) bucket: Bucket,
    pub(crate) key: PipelineKey,
    pub(crate) people: BTreeMap<String, PrivateKey>,
    pub(crate) policy: String,
    pub(crate) signers: String,
    pub(crate) revoked: String,
    /// Who edited the policy, as version control would say.
    pub(crate) authors: Vec<String>,
}

pub(crate) fn person() -> PrivateKey {
    PrivateKey::random(&mut ssh_key::rand_core::OsRng, Algorithm::Ed25519).unwrap()
}

/// A recommendation as a run writes it.
pub(crate) fn recommendation(id: &str, cluster: &str, usd: &str, proposed: i64) -> Value {
    json!({
        "recommendation_id": id,
        "finding_id": format!("f-{id}"),
        "finding_handle": format!("dark-capacity/{cluster}/chat/deployment.apps/{id}"),
        "detector": "dark-capacity",
        "action": "bounds",
        "cluster": cluster,
        "namespace": "chat",
        "workload_kind": "deployment.apps",
        "workload_name": "llama",
        "team": "chat",
        "changes": [{
            "target": {"kind": "scaledobject.keda.sh", "api_version": "keda.sh/v1alpha1", "namespace": "chat", "name": "llama"},
            "field": "/spec/minReplicaCount",
            "current": "3",
            "proposed": proposed.to_string(),
            "patch": [
                {"op": "test", "path": "/spec/minReplicaCount", "value": 3},
                {"op": "replace", "path": "/spec/minReplicaCount", "value": proposed},
            ],
            "inverse": [
                {"op": "test", "path": "/spec/minReplicaCount", "value": proposed},
                {"op": "replace", "path": "/spec/minReplicaCount", "value": 3},
            ],
            "preconditions": [{"path": "/spec/minReplicaCount", "observed": 3}],
            "resource_version": "812",
            "observed_at": "2026-11-22T22:00:00Z",
            "warnings": ["the scaler scales up in steps of one"],
            "verify": ["kubectl -n chat get scaledobject llama"],
            "managed_by": null,
        }],
        "not_possible": null,
        "assumes": [],
        "net_monthly_usd": usd,
        "net_p10_usd": usd,
        "net_p90_usd": usd,
        "realisable_monthly_usd": null,
        "price_basis": "list",
        "limits": {},
        "expires": "2027-01-01T00:00:00Z",
        "risk": "low",
        "disruption": "none",
    })
}

impl World {
    pub(crate) fn new() -> Self {
        Self::on(Bucket::open("memory://", &idleproof::lake::StoreOptions::default()).unwrap())
    }

    pub(crate) fn on(bucket: Bucket) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (key, _) = PipelineKey::open_or_create(&folder.path().join("pipeline")).unwrap();
        let mut world = Self {
            folder,
            bucket,
            key,
            people: BTreeMap::new(),
            policy: POLICY.to_owned(),
            signers: String::new(),
            revoked: String::new(),
            authors: Vec::new(),
        };
        for name in ["ada", "bob", "eve", "writer", "guest"] {
            let key = person();
            world.enlist(name, &key, "");
            world.people.insert(name.to_owned(), key);
        }
        world
    }

    /// Another line of allowed_signers.
    pub(crate) fn enlist(&mut self, name: &str, key: &PrivateKey, options: &str) {
        let line = format!(
            "{name} {options} {}\n",
            key.public_key().to_openssh().unwrap()
        );
        self.signers.push_str(&line);
    }

    pub(crate) fn log(&self) -> Log {
        Log::new(self.bucket.clone(), vec![self.key.verifying_key()])
    }

    pub(crate) fn authority(&self) -> String {
        authority_sha256(self.policy.as_bytes(), self.signers.as_bytes())
    }

    /// A signed manifest under the policy as it lies there.
    pub(crate) fn manifest(&self, recommendations: &[Value]) -> Vec<u8> {
        let input = ManifestInput {
            run_id: "run-1".into(),
            publication: 1,
            created_ms: NOW,
            window: TimeWindow::new(NOW - 14 * 24 * HOUR, NOW),
            tables: BTreeMap::new(),
            digests: BTreeMap::from([("authority".to_owned(), self.authority())]),
            tool_version: "0.1.0".into(),
            subjects: Vec::new(),
            recommendations: recommendations
                .iter()
                .map(|content| RecommendationEntry {
                    content: content.clone(),
                    evidence_sha256: "ee".repeat(32),
                    ticket: Some("OPS-7".to_owned()),
                })
                .collect(),
            checkpoint: None,
        };
        Envelope::sign(&statement_bytes(&input).unwrap(), &self.key)
            .unwrap()
            .to_bytes()
            .unwrap()
    }

    pub(crate) async fn append(&self, bodies: Vec<(Kind, Value)>, clock_ms: i64) -> Head {
        let log = self.log();
        let head = log.recover(&self.key).await.unwrap();
        log.append(&self.key, head.as_ref(), ORIGIN, bodies, clock_ms)
            .await
            .unwrap()
            .unwrap()
    }

    /// Logs a manifest, as a run does; returns its digest.
    pub(crate) async fn publish(&self, recommendations: &[Value]) -> String {
        self.import_at(&[], NOW).await;
        let bytes = self.manifest(recommendations);
        let sha256 = self.log().put_blob(&bytes).await.unwrap();
        self.append(
            vec![(Kind::Manifest, json!({"manifest_sha256": sha256}))],
            NOW,
        )
        .await;
        sha256
    }

    /// A decision that approves these recommendations of a manifest.
    pub(crate) fn approval(&self, manifest_sha256: &str, recommendations: &[Value]) -> Decision {
        Decision {
            verb: Verb::Approve,
            manifest_sha256: manifest_sha256.to_owned(),
            authority_sha256: self.authority(),
            subjects: recommendations
                .iter()
                .map(|r| {
                    let text = |name: &str| r[name].as_str().unwrap().to_owned();
                    let canonical = idleproof::model::canonical::to_canonical(r).unwrap();
                    (
                        format!("{}/{}", text("cluster"), text("recommendation_id")),
                        sha256_hex(canonical.as_bytes()),
                    )
                })
                .collect(),
            reason: Some("reviewed".into()),
            created_ms: NOW,
            expires_ms: None,
            until_ms: None,
            limits: Limits::default(),
            break_glass: false,
        }
    }

    pub(crate) fn signed(&self, who: &str, decision: &Decision) -> Incoming {
        sign(
            &self.people[who],
            decision.to_bytes().unwrap(),
            DECISION_NAMESPACE,
        )
    }

    pub(crate) async fn import_at(&self, inbox: &[Incoming], clock_ms: i64) -> Imported {
        self.try_import(inbox, clock_ms).await.unwrap()
    }

    pub(crate) async fn try_import(
        &self,
        inbox: &[Incoming],
        clock_ms: i64,
    ) -> Result<Imported, String> {
        let files = AuthorityFiles {
            policy: self.policy.as_bytes(),
            allowed_signers: self.signers.as_bytes(),
            revoked: &self.revoked,
            authors: &self.authors,
        };
        import(&self.log(), &self.key, ORIGIN, files, inbox, clock_ms)
            .await
            .map_err(|error| error.to_string())
    }

    /// What one decision comes to.
    pub(crate) async fn verdict(&self, incoming: Incoming) -> Verdict {
        self.import_at(&[incoming], NOW)
            .await
            .judged
            .remove(0)
            .verdict
    }

    /// Why one decision is refused.
    pub(crate) async fn refusal(&self, incoming: Incoming) -> String {
        match self.verdict(incoming).await {
            Verdict::Refused { why } => why,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn records(&self) -> Records {
        let log = self.log();
        let head = log.head().await.unwrap();
        Records::load(&log, head.as_ref(), &self.revoked)
            .await
            .unwrap()
    }

    pub(crate) async fn state(&self, manifest_sha256: &str, id: &str, clock_ms: i64) -> State {
        let records = self.records().await;
        let manifest = records.manifest(manifest_sha256).unwrap();
        let recommendation = manifest
            .recommendations
            .iter()
            .find(|r| r.id == id)
            .unwrap();
        records
            .standing(manifest, recommendation, clock_ms)
            .unwrap()
            .state
    }
}

pub(crate) fn sign(key: &PrivateKey, decision: Vec<u8>, namespace: &str) -> Incoming {
    let signature = SshSig::sign(key, namespace, HashAlg::Sha512, &decision).unwrap();
    Incoming {
        name: format!("{}.json", &sha256_hex(&decision)[..8]),
        decision,
        signature: signature.to_pem(LineEnding::LF).unwrap().into_bytes(),
    }
}
