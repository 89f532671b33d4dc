//! Owns how commands reach the audit log: the pipeline's key, the lease, the policy's files and the
//! inbox, all as the configuration names them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::error::CliError;
use super::{CODE_VERSION, authors, say};
use crate::approve::{
    AuthorityFiles, DECISION_BYTES_MAX, Head, Imported, Incoming, Kind, LOG_LEASE, Log,
    PipelineKey, Records, Verdict, VerifyingKey, import,
};
use crate::config::Config;
use crate::lake::bucket::Bucket;
use crate::lake::{LEASE_EXPIRY, Lake, Lease};
use crate::model::canonical::sha256_hex;

/// Files of an inbox beyond these are not looked at: nobody decides that much.
const INBOX_MAX: usize = 10_000;
/// How long a command waits for another writer of the log: longer than a dead one's lease holds, since
/// what this one has published must get its report.
const LEASE_WAIT: Duration = LEASE_EXPIRY.saturating_add(Duration::from_mins(1));

/// Where the pipeline's signing key lies: configured, or beside the report's output.
pub(super) fn key_path(config: &Config, output: &Path) -> PathBuf {
    config.file.approve.signing_key.as_ref().map_or_else(
        || output.with_file_name("pipeline_ed25519"),
        |path| config.resolve(path),
    )
}

/// The keys under which the lake's manifests and checkpoints count.
pub(super) fn verifying_keys(
    config: &Config,
    now: &VerifyingKey,
) -> Result<Vec<VerifyingKey>, CliError> {
    let mut keys = vec![now.clone()];
    for path in &config.file.approve.former_keys {
        keys.push(VerifyingKey::open(&config.resolve(path))?);
    }
    Ok(keys)
}

/// The log opened for writing, under its lease.
pub(super) struct Books {
    pub log: Log,
    pub key: PipelineKey,
    lease: Lease,
    origin: String,
}

/// The policy's files as they lie there now.
pub(super) struct PolicyFiles {
    pub policy: Vec<u8>,
    pub allowed_signers: Vec<u8>,
    pub revoked: String,
}

impl PolicyFiles {
    /// `None` where no policy is configured.
    pub(super) fn read(config: &Config) -> Result<Option<Self>, CliError> {
        let section = &config.file.approve;
        let read = |path: &String| {
            let path = config.resolve(path);
            std::fs::read(&path).map_err(|error| CliError::file("read", path, error))
        };
        match (&section.policy, &section.allowed_signers) {
            (None, None) => Ok(None),
            (Some(policy), Some(signers)) => Ok(Some(Self {
                policy: read(policy)?,
                allowed_signers: read(signers)?,
                revoked: match &section.revoked_keys {
                    Some(path) => String::from_utf8_lossy(&read(path)?).into_owned(),
                    None => String::new(),
                },
            })),
            _ => Err(CliError::Usage(
                "[approve] needs `policy` and `allowed_signers` together".to_owned(),
            )),
        }
    }
}

impl Books {
    pub(super) async fn open(
        config: &Config,
        lake: &Lake,
        key: PipelineKey,
    ) -> Result<Self, CliError> {
        let lease = take_lease(lake).await?;
        let keys = verifying_keys(config, &key.verifying_key())?;
        let log = Log::new(lake.audit_log(), keys);
        // The first checkpoint fixes the name; it says nothing of the place.
        let seed = format!("{} {}", key.verifying_key().fingerprint(), super::now_ms());
        let origin = format!("idleproof.dev/log/{}", &sha256_hex(seed.as_bytes())[..16]);
        Ok(Self {
            log,
            key,
            lease,
            origin,
        })
    }

    /// Takes the lease again after [`Self::close`].
    pub(super) async fn reopen(&mut self, lake: &Lake) -> Result<(), CliError> {
        self.lease = take_lease(lake).await?;
        Ok(())
    }

    pub(super) async fn close(&self) -> Result<(), CliError> {
        Ok(self.lease.release(super::now_ms()).await?)
    }

    /// Judges what lies in the inbox, logs it, and says what it did.
    pub(super) async fn import(&self, config: &Config) -> Result<Imported, CliError> {
        let clock_ms = super::now_ms();
        let Some(files) = PolicyFiles::read(config)? else {
            let head = self.log.recover(&self.key).await?;
            let records = Records::load(&self.log, head.as_ref(), "").await?;
            return Ok(Imported {
                judged: Vec::new(),
                policy_pending: None,
                head,
                records,
            });
        };
        let inbox = inbox(config).await?;
        let authors = authors::of_policy(config);
        let authority = AuthorityFiles {
            policy: &files.policy,
            allowed_signers: &files.allowed_signers,
            revoked: &files.revoked,
            authors: &authors,
        };
        let imported = import(
            &self.log,
            &self.key,
            &self.origin,
            authority,
            &inbox,
            clock_ms,
        )
        .await?;
        if let Some(why) = &imported.policy_pending {
            say(&format!("warning: {why}"));
        }
        for judged in &imported.judged {
            match &judged.verdict {
                Verdict::Accepted {
                    principal,
                    verb,
                    recommendations,
                } => say(&format!(
                    "decision {}: {principal} {} ({recommendations} recommendations)",
                    judged.name,
                    verb.word()
                )),
                Verdict::Refused { why } => {
                    say(&format!("decision {} refused: {why}", judged.name));
                }
                Verdict::Known => {}
            }
        }
        Ok(imported)
    }

    /// Logs a run and its manifest, and gives the proof that the manifest stands in the log.
    pub(super) async fn record_manifest(
        &self,
        envelope: &[u8],
        run_id: &str,
        publication: u64,
    ) -> Result<String, CliError> {
        let sha256 = self.log.put_blob(envelope).await?;
        let run = json!({"run_id": run_id, "publication": publication, "version": CODE_VERSION});
        let manifest =
            json!({"manifest_sha256": sha256, "publication": publication, "run_id": run_id});
        let head = self
            .append(vec![(Kind::Run, run), (Kind::Manifest, manifest)])
            .await?;
        let index = head.checkpoint.size - 1;
        Ok(self.log.prove(&head, index).await?.to_text())
    }

    /// Appends entries, with one that names the key where another key signed before.
    pub(super) async fn append(&self, bodies: Vec<(Kind, Value)>) -> Result<Head, CliError> {
        self.lease.renew(super::now_ms()).await?;
        let print = self.key.verifying_key().fingerprint();
        for _ in 0..8 {
            let head = self.log.recover(&self.key).await?;
            let entries = match &head {
                Some(head) => self.log.entries(&head.checkpoint).await?,
                None => Vec::new(),
            };
            let last = entries.iter().rfind(|entry| entry.kind == Kind::Key);
            let mut all = bodies.clone();
            if last.is_none_or(|entry| entry.text("key") != print) {
                all.insert(0, (Kind::Key, json!({"key": print})));
            }
            let clock_ms = super::now_ms();
            if let Some(head) = self
                .log
                .append(&self.key, head.as_ref(), &self.origin, all, clock_ms)
                .await?
            {
                return Ok(head);
            }
        }
        Err(CliError::Unexpected(
            "other writers kept moving the log on: run again".to_owned(),
        ))
    }
}

async fn take_lease(lake: &Lake) -> Result<Lease, CliError> {
    let holder = format!("pid {}", std::process::id());
    let taken = lake
        .acquire_lease(LOG_LEASE, &holder, super::now_ms(), LEASE_WAIT)
        .await?;
    Ok(taken)
}

/// What lies in the inbox: every `NAME.json` that has a `NAME.json.sig` beside it.
async fn inbox(config: &Config) -> Result<Vec<Incoming>, CliError> {
    let Some(place) = &config.file.approve.inbox else {
        return Ok(Vec::new());
    };
    let options = config.store_options(&config.file.approve.inbox_options);
    let bucket = Bucket::open(&config.place(place), &options.into())?;
    let listed = bucket.list("").await?;
    let mut incoming = Vec::new();
    for object in &listed {
        let Some(name) = object
            .key
            .strip_suffix(".sig")
            .filter(|name| name.strip_suffix(".json").is_some())
        else {
            continue;
        };
        let Some(decision) = listed.iter().find(|other| other.key == name) else {
            continue;
        };
        if incoming.len() == INBOX_MAX {
            say(&format!(
                "warning: the inbox holds more than {INBOX_MAX} decisions; take old ones out"
            ));
            break;
        }
        // One that is too large is refused by its beginning: it is not read whole.
        let most = DECISION_BYTES_MAX as u64 + 1;
        incoming.push(Incoming {
            name: name.to_owned(),
            decision: bucket
                .get_range(name, 0..decision.size_bytes.min(most))
                .await?
                .to_vec(),
            signature: bucket
                .get_range(&object.key, 0..object.size_bytes.min(most))
                .await?
                .to_vec(),
        });
    }
    Ok(incoming)
}

/// What the log says, for a run that has not opened it for writing yet; `None` before there is a key.
pub(super) async fn read_records(
    config: &Config,
    lake: &Lake,
    output: &Path,
) -> Result<Option<Records>, CliError> {
    let private = key_path(config, output);
    let mut public = private.clone().into_os_string();
    public.push(".pub");
    let key = if Path::new(&public).exists() {
        VerifyingKey::open(Path::new(&public))?
    } else if private.exists() {
        // A key that was mounted comes alone.
        PipelineKey::open_or_create(&private)?.0.verifying_key()
    } else {
        return Ok(None);
    };
    let log = Log::new(lake.audit_log(), verifying_keys(config, &key)?);
    let head = log.head().await?;
    Ok(Some(Records::load(&log, head.as_ref(), "").await?))
}

/// The log opened for reading.
pub(super) async fn read_log(
    config: &Config,
    lake: &Lake,
) -> Result<(Log, Option<Head>, Records), CliError> {
    let output = config.resolve(&config.file.report.output);
    let mut public = key_path(config, &output).into_os_string();
    public.push(".pub");
    let key = VerifyingKey::open(Path::new(&public))?;
    let log = Log::new(lake.audit_log(), verifying_keys(config, &key)?);
    let head = log.head().await?;
    let revoked = PolicyFiles::read(config)?
        .map(|files| files.revoked)
        .unwrap_or_default();
    let records = Records::load(&log, head.as_ref(), &revoked).await?;
    Ok((log, head, records))
}
