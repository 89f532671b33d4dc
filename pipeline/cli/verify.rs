//! Owns `verify`: signed files and the log against public keys, with no lake and no network.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::args_approve::{VerifyArgs, VerifyWhat};
use super::error::CliError;
use crate::approve::{
    Anchor, Checkpoint, Decision, Entry, Log, PipelineKey, Proof, Signers, SubjectCheck,
    VerifyingKey, cosign, recommendations, verify_envelope, verify_manifest_file, verify_person,
    visible, witnesses,
};
use crate::exit::Exit;
use crate::lake::StoreOptions;
use crate::lake::bucket::Bucket;
use crate::model::canonical::sha256_hex;
use crate::model::time::format_ms;

pub(super) async fn verify(args: &VerifyArgs) -> Result<Exit, CliError> {
    match &args.what {
        VerifyWhat::Manifest { file, key, proof } => manifest(file, key, proof.as_deref()),
        VerifyWhat::Decision {
            file,
            allowed_signers,
            revoked_keys,
            manifest,
            key,
            proof,
        } => decision(
            file,
            allowed_signers,
            revoked_keys.as_deref(),
            manifest.as_deref(),
            key.as_deref(),
            proof.as_deref(),
        ),
        VerifyWhat::Evidence {
            file,
            key,
            allowed_signers,
        } => super::evidence::verify(file, key, allowed_signers.as_deref()).await,
        VerifyWhat::Log {
            place,
            key,
            anchor,
            witness,
            cosign,
        } => log(place, key, anchor, witness, cosign.as_deref()).await,
    }
}

fn line(text: &str) -> Result<(), CliError> {
    writeln!(std::io::stdout().lock(), "{text}").map_err(CliError::Stdout)
}

fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    std::fs::read(path).map_err(|error| CliError::file("read", path, error))
}

fn read_text(path: &Path) -> Result<String, CliError> {
    String::from_utf8(read(path)?)
        .map_err(|_| CliError::Verification(format!("`{}` is not UTF-8", path.display())))
}

fn manifest(file: &Path, key: &Path, proof: Option<&Path>) -> Result<Exit, CliError> {
    let key = VerifyingKey::open(key)?;
    let manifest = verify_manifest_file(file, &key)?;
    line(&format!(
        "verified: `{}`, signed by {}",
        file.display(),
        manifest.keyid
    ))?;
    for field in ["run_id", "publication", "created"] {
        if let Some(value) = manifest.predicate.get(field) {
            line(&format!(
                "  {field}: {}",
                visible(value.to_string().trim_matches('"'))
            ))?;
        }
    }
    for (name, check) in &manifest.checks {
        let found = match check {
            SubjectCheck::Matches => "matches",
            SubjectCheck::Absent => "not beside the manifest, not checked",
        };
        line(&format!("  {}: {found}", visible(name)))?;
    }
    line(&format!(
        "  recommendations: {}",
        recommendations(&manifest)?.len()
    ))?;
    if let Some(proof) = proof {
        logged(proof, &key, "manifest_sha256", &sha256_hex(&read(file)?))?;
    }
    Ok(Exit::Done)
}

/// Holds a proof to the log's key, and its entry to a file's digest.
fn logged(path: &Path, key: &VerifyingKey, name: &str, sha256: &str) -> Result<Entry, CliError> {
    let fault = |why: String| {
        CliError::Verification(format!("`{}` does not verify: {why}", path.display()))
    };
    let (proof, checkpoint) =
        Proof::verify(&read_text(path)?, std::slice::from_ref(key)).map_err(fault)?;
    let entry = Entry::parse(&proof.entry).map_err(fault)?;
    if entry.text(name) != sha256 || entry.index != proof.index {
        return Err(fault("it proves another entry".to_owned()));
    }
    line(&format!(
        "  logged: entry {} of {} in {}, at {}",
        proof.index,
        checkpoint.size,
        visible(&checkpoint.origin),
        format_ms(entry.time_ms)
    ))?;
    Ok(entry)
}

fn decision(
    file: &Path,
    allowed_signers: &Path,
    revoked_keys: Option<&Path>,
    manifest: Option<&Path>,
    key: Option<&Path>,
    proof: Option<&Path>,
) -> Result<Exit, CliError> {
    let fault = |why: String| {
        CliError::Verification(format!("`{}` does not verify: {why}", file.display()))
    };
    let revoked = revoked_keys.map(read_text).transpose()?.unwrap_or_default();
    let signers = Signers::parse(&read_text(allowed_signers)?, &revoked)?;
    let bytes = read(file)?;
    let mut sig = file.as_os_str().to_owned();
    sig.push(".sig");
    let key = key.map(VerifyingKey::open).transpose()?;
    let entry = match (proof, &key) {
        (Some(proof), Some(key)) => {
            Some(logged(proof, key, "decision_sha256", &sha256_hex(&bytes))?)
        }
        _ => None,
    };
    // The log's time is when the signature had to be somebody's.
    let at_ms = entry
        .as_ref()
        .map_or_else(super::now_ms, |entry| entry.time_ms);
    let who = verify_person(&bytes, &read(Path::new(&sig))?, &signers, at_ms).map_err(fault)?;
    let decision = Decision::parse(&bytes).map_err(fault)?;
    line(&format!(
        "verified: `{}`, signed by {} with {}",
        file.display(),
        visible(&who.principal),
        who.fingerprint
    ))?;
    line(&crate::approve::review_decision(&decision))?;
    if let (Some(path), Some(key)) = (manifest, &key) {
        let bytes = read(path)?;
        if sha256_hex(&bytes) != decision.manifest_sha256 {
            return Err(fault(format!(
                "it names another manifest than `{}`",
                path.display()
            )));
        }
        let manifest = verify_envelope(path, &bytes, key)?;
        let strangers = decision.strangers(&recommendations(&manifest)?);
        if !strangers.is_empty() {
            return Err(fault(format!(
                "the manifest holds no {} with this digest",
                strangers.join(", ")
            )));
        }
        line("its manifest holds all that it names, with these digests")?;
    }
    Ok(Exit::Done)
}

async fn log(
    place: &str,
    keys: &[PathBuf],
    anchors: &[PathBuf],
    known: &[String],
    cosigner: Option<&str>,
) -> Result<Exit, CliError> {
    let keys = keys
        .iter()
        .map(|path| VerifyingKey::open(path))
        .collect::<Result<Vec<_>, _>>()?;
    let anchors = anchors
        .iter()
        .map(|path| anchor(path, &keys))
        .collect::<Result<Vec<_>, _>>()?;
    let log = Log::new(Bucket::open(place, &StoreOptions::default())?, keys);
    let audit = log.audit(&anchors, true).await?;
    let mut faults = audit.faults.clone();
    if let Some(head) = log.head().await? {
        let line = |text: &str| {
            if cosigner.is_some() {
                Ok(())
            } else {
                line(text)
            }
        };
        line(&format!(
            "{}: {} entries under {} checkpoints, root {}",
            visible(&audit.origin),
            audit.size,
            audit.checkpoints,
            STANDARD.encode(audit.root)
        ))?;
        for (kind, count) in &audit.by_kind {
            line(&format!("  {:<10} {count}", kind.word()))?;
        }
        for text in known {
            let (name, path) = named(text)?;
            let witness = [(name.clone(), VerifyingKey::open(&path)?)];
            let seen = anchors
                .iter()
                .map(|anchor| witnesses(&anchor.note, &witness).map(|seen| !seen.is_empty()))
                .collect::<Result<Vec<bool>, _>>()
                .map_err(CliError::Verification)?;
            if !seen.contains(&true) {
                faults.push(format!("no --anchor carries a cosignature of {name}"));
            }
        }
        if let (Some(text), true) = (cosigner, faults.is_empty()) {
            let (name, path) = named(text)?;
            if !path.exists() {
                return Err(CliError::Usage(format!(
                    "there is no key `{}`",
                    path.display()
                )));
            }
            let (key, _) = PipelineKey::open_or_create(&path)?;
            let seen_s = u64::try_from(super::now_ms() / 1000).unwrap_or_default();
            let signature = cosign(&head.note, &name, &key, seen_s)?;
            let note = format!("{}{signature}", head.note);
            let mut out = std::io::stdout().lock();
            out.write_all(note.as_bytes()).map_err(CliError::Stdout)?;
            return Ok(Exit::Done);
        }
    } else {
        line("the log is empty")?;
    }
    for anchor in &anchors {
        line(&format!(
            "  held to {} ({} entries)",
            anchor.from, anchor.checkpoint.size
        ))?;
    }
    if faults.is_empty() {
        line("nothing is altered, dropped, reordered or replayed")?;
        Ok(Exit::Done)
    } else {
        Err(CliError::Verification(format!(
            "the log does not verify:\n  {}",
            faults
                .iter()
                .map(|fault| visible(fault))
                .collect::<Vec<_>>()
                .join("\n  ")
        )))
    }
}

/// `NAME=FILE`.
fn named(text: &str) -> Result<(String, PathBuf), CliError> {
    text.split_once('=')
        .map(|(name, path)| (name.to_owned(), PathBuf::from(path)))
        .ok_or_else(|| CliError::Usage(format!("`{text}` is not NAME=FILE")))
}

/// A checkpoint from a manifest, a proof or a note, under the log's keys.
fn anchor(path: &Path, keys: &[VerifyingKey]) -> Result<Anchor, CliError> {
    let fault = |why: String| {
        CliError::Verification(format!("`{}` gives no checkpoint: {why}", path.display()))
    };
    let text = read_text(path)?;
    let note = if text.starts_with('{') {
        let mut found = Err(fault("no key verifies it".to_owned()));
        for key in keys {
            if let Ok(manifest) = verify_envelope(path, text.as_bytes(), key) {
                let note = manifest.predicate["log_checkpoint"]
                    .as_str()
                    .map(str::to_owned);
                found = note.ok_or_else(|| fault("it was made before the log".to_owned()));
                break;
            }
        }
        found?
    } else if text.starts_with("c2sp.org/tlog-proof") {
        text.split_once("\n\n")
            .map(|(_, note)| note.to_owned())
            .unwrap_or_default()
    } else {
        text
    };
    let checkpoint = Checkpoint::verify(&note, keys).map_err(fault)?;
    Ok(Anchor {
        from: path.display().to_string(),
        checkpoint,
        note,
    })
}
