//! Owns `approve`, `reject`, `defer`, `revoke`: a person's decision on a verified manifest, written
//! as two files. It reads no lake; the decision travels by mail, pull request or bucket.

use std::collections::BTreeMap;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use super::args_approve::{ApproveArgs, ApprovePolicyArgs, DecideArgs, DeferArgs};
use super::error::CliError;
use super::say;
use crate::approve::{
    DECISION_NAMESPACE, Decision, Limits, Recommendation, Verb, VerifiedManifest, VerifyingKey,
    authority_sha256, recommendations, review, review_decision, sign_decision, verify_envelope,
};
use crate::exit::Exit;
use crate::lake::StoreOptions;
use crate::lake::bucket::Bucket;
use crate::model::canonical::sha256_hex;

pub(super) async fn approve(args: &ApproveArgs) -> Result<Exit, CliError> {
    decide(&args.decide, |decision| {
        decision.break_glass = args.break_glass;
        decision.limits = Limits {
            not_before_ms: args.not_before,
            snapshot_max_age_hours: args.snapshot_max_age,
        };
    })
    .await
}

pub(super) async fn reject(args: &DecideArgs) -> Result<Exit, CliError> {
    decide(args, |decision| decision.verb = Verb::Reject).await
}

pub(super) async fn revoke(args: &DecideArgs) -> Result<Exit, CliError> {
    decide(args, |decision| decision.verb = Verb::Revoke).await
}

pub(super) async fn defer(args: &DeferArgs) -> Result<Exit, CliError> {
    decide(&args.decide, |decision| {
        decision.verb = Verb::Defer;
        decision.until_ms = Some(args.until);
    })
    .await
}

async fn decide(args: &DecideArgs, set: impl FnOnce(&mut Decision)) -> Result<Exit, CliError> {
    let (path, bytes) = fetch(&args.manifest).await?;
    let key = VerifyingKey::open(&args.pipeline_key)?;
    let manifest = verify_envelope(&path, &bytes, &key)?;
    let all = recommendations(&manifest)?;
    let chosen = choose(args, &all)?;
    let authority_sha256 = match authority_of(&manifest) {
        Ok(sha256) => sha256,
        // Who only looks may look.
        Err(why) if args.review && args.key.is_none() => {
            let mut out = std::io::stdout().lock();
            for recommendation in &chosen {
                let text = review(recommendation, None, super::now_ms());
                writeln!(out, "{text}").map_err(CliError::Stdout)?;
            }
            say(&why.to_string());
            return Ok(Exit::Done);
        }
        Err(why) => return Err(why),
    };
    let mut decision = Decision {
        verb: Verb::Approve,
        manifest_sha256: sha256_hex(&bytes),
        authority_sha256,
        subjects: chosen
            .iter()
            .map(|r| (r.subject(), r.sha256.clone()))
            .collect::<BTreeMap<_, _>>(),
        reason: args.reason.clone(),
        created_ms: super::now_ms(),
        expires_ms: args.expires,
        until_ms: None,
        limits: Limits::default(),
        break_glass: false,
    };
    set(&mut decision);
    if args.review {
        let mut text = String::new();
        for recommendation in &chosen {
            text.push_str(&review(recommendation, None, decision.created_ms));
            text.push('\n');
        }
        text.push_str(&review_decision(&decision));
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes()).map_err(CliError::Stdout)?;
        drop(out);
        if args.key.is_some() && std::io::stdin().is_terminal() && !confirmed()? {
            say("nothing was signed");
            return Ok(Exit::Done);
        }
    }
    write(&decision, args.key.as_deref(), &args.out)
}

/// Agreement to a new policy, which no manifest names.
pub(super) fn approve_policy(args: &ApprovePolicyArgs) -> Result<Exit, CliError> {
    let read =
        |path: &PathBuf| std::fs::read(path).map_err(|error| CliError::file("read", path, error));
    let (policy, signers) = (read(&args.policy)?, read(&args.allowed_signers)?);
    let decision = Decision {
        verb: Verb::ApprovePolicy,
        manifest_sha256: String::new(),
        authority_sha256: authority_sha256(&policy, &signers),
        subjects: BTreeMap::new(),
        reason: args.reason.clone(),
        created_ms: super::now_ms(),
        expires_ms: None,
        until_ms: None,
        limits: Limits::default(),
        break_glass: false,
    };
    write(&decision, args.key.as_deref(), &args.out)
}

/// Writes the decision and, where there is a key, its signature.
fn write(decision: &Decision, key: Option<&Path>, folder: &Path) -> Result<Exit, CliError> {
    let bytes = decision.to_bytes()?;
    // What cannot be read back must not be signed.
    Decision::parse(&bytes).map_err(CliError::Usage)?;
    let name = format!("decision-{}.json", &sha256_hex(&bytes)[..16]);
    let path = folder.join(&name);
    let signature = match key {
        None => None,
        Some(key) => {
            let agent = std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from);
            let ask = |prompt: &str| rpassword::prompt_password(prompt);
            Some(sign_decision(&bytes, key, agent.as_deref(), &ask)?)
        }
    };
    std::fs::create_dir_all(folder).map_err(|error| CliError::file("create", folder, error))?;
    let mut out = std::io::stdout().lock();
    if let Some(signature) = signature {
        let mut sig = path.clone().into_os_string();
        sig.push(".sig");
        // The signature first: who finds the decision finds both.
        create(Path::new(&sig), signature.as_bytes())?;
        create(&path, &bytes)?;
        writeln!(out, "{}", path.display()).map_err(CliError::Stdout)?;
        writeln!(out, "{}", Path::new(&sig).display()).map_err(CliError::Stdout)?;
    } else {
        create(&path, &bytes)?;
        writeln!(out, "{}", path.display()).map_err(CliError::Stdout)?;
        say(&format!(
            "not signed yet: ssh-keygen -Y sign -n {DECISION_NAMESPACE} -f KEY {name}"
        ));
    }
    Ok(Exit::Done)
}

/// A file that is there whole or not at all; one that is there already stays as it is.
fn create(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let failed = |error| CliError::file("write", path, error);
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = folder.join(format!(".{name}.{}", std::process::id()));
    std::fs::write(&partial, bytes).map_err(failed)?;
    let linked = std::fs::hard_link(&partial, path);
    let _ = std::fs::remove_file(&partial);
    linked.map_err(failed)
}

fn confirmed() -> Result<bool, CliError> {
    say("type `yes` to sign this:");
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| CliError::Usage(format!("no answer: {error}")))?;
    Ok(line.trim() == "yes")
}

fn authority_of(manifest: &VerifiedManifest) -> Result<String, CliError> {
    let digest = manifest.predicate["digests"]["authority"].as_str();
    digest.map(str::to_owned).ok_or_else(|| {
        CliError::Usage(
            "the manifest was made without a policy, so nothing in it can be approved: set [approve] policy and allowed_signers and run again".to_owned(),
        )
    })
}

/// The recommendations that a person named.
fn choose(args: &DecideArgs, all: &[Recommendation]) -> Result<Vec<Recommendation>, CliError> {
    if args.all {
        return if all.is_empty() {
            Err(CliError::Usage(
                "the manifest holds no recommendation".to_owned(),
            ))
        } else {
            Ok(all.to_vec())
        };
    }
    if args.recommendations.is_empty() {
        return Err(CliError::Usage(
            "name recommendations, or give --all".to_owned(),
        ));
    }
    let mut chosen: Vec<Recommendation> = Vec::new();
    for wanted in &args.recommendations {
        let handle =
            |r: &Recommendation| r.value["finding_handle"].as_str() == Some(wanted.as_str());
        let found: Vec<&Recommendation> = all
            .iter()
            .filter(|r| {
                r.id == *wanted
                    || handle(r)
                    || (wanted.len() >= 4 && r.id.starts_with(wanted.as_str()))
            })
            .collect();
        match found.as_slice() {
            [one] => {
                if !chosen.iter().any(|other| other.id == one.id) {
                    chosen.push((*one).clone());
                }
            }
            [] => {
                return Err(CliError::Usage(format!(
                    "the manifest holds no recommendation `{wanted}`"
                )));
            }
            several => {
                let ids: Vec<&str> = several.iter().map(|r| r.id.as_str()).collect();
                return Err(CliError::Usage(format!(
                    "`{wanted}` fits several: {}",
                    ids.join(", ")
                )));
            }
        }
    }
    Ok(chosen)
}

/// A manifest's bytes: from a file, or from an object store.
pub(super) async fn fetch(place: &str) -> Result<(PathBuf, Vec<u8>), CliError> {
    let path = PathBuf::from(place);
    let bytes = match place.rsplit_once('/') {
        Some((folder, name)) if place.contains("://") => {
            let bucket = Bucket::open(folder, &StoreOptions::default())?;
            let found = bucket.get(name).await?;
            found
                .ok_or_else(|| CliError::Usage(format!("there is no `{place}`")))?
                .to_vec()
        }
        _ => std::fs::read(&path).map_err(|error| CliError::file("read", &path, error))?,
    };
    Ok((path, bytes))
}
