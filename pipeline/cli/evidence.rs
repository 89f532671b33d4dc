//! Owns `evidence pack` and `verify evidence`: a finding with all that it rests on in one archive, and
//! the same archive held to signatures, the log and a replay, with no lake and no network.
//!
//! The chain is checked from its signed end: manifest, then the digests that it names, and only then
//! is any SQL of the archive run.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use bytes::Bytes;
use clap::{Args, Subcommand};
use serde_json::json;

use super::args::ConfigArg;
use super::error::CliError;
use super::{books, data, explain};
use crate::approve::{
    Decision, Entry, Kind, Proof, Signers, VerifyingKey, pack, parse_strict, unpack,
    verify_envelope, verify_person, visible,
};
use crate::config::Config;
use crate::detect::{EvidenceManifest, replay};
use crate::exit::Exit;
use crate::lake::{LakeError, LakeView};
use crate::model::canonical::{sha256_hex, to_canonical};

/// A page that checks an archive in a browser alone.
const PAGE: &str = include_str!("../../reports/evidence.html");
const INDEX_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug, Args)]
pub(super) struct EvidenceArgs {
    #[command(subcommand)]
    pub what: EvidenceWhat,
}

#[derive(Debug, Subcommand)]
pub(super) enum EvidenceWhat {
    /// One archive with a finding's rows, SQL, parameters, prices, manifest, decisions and proofs
    Pack(PackArgs),
}

#[derive(Debug, Args)]
pub(super) struct PackArgs {
    /// The finding: its handle, or a unique beginning of its id
    pub finding: String,
    #[command(flatten)]
    pub config: ConfigArg,
    /// The archive; the page that checks it is put beside it
    #[arg(long, value_name = "FILE", default_value = "evidence.tar.gz")]
    pub out: PathBuf,
    /// The publication to read; default: the newest
    #[arg(long, value_name = "N")]
    pub as_of: Option<u64>,
}

pub(super) async fn evidence(args: &EvidenceArgs) -> Result<Exit, CliError> {
    let EvidenceWhat::Pack(args) = &args.what;
    let config = Config::load(&args.config.config)?;
    let (lake, publication) = data::published(&config, args.as_of).await?;
    let session = lake
        .read_session(&LakeView::published(&publication))
        .await?;
    let (id, handle, digest) = explain::find(&session, &publication, &args.finding).await?;
    let (log, head, records) = books::read_log(&config, &lake).await?;
    let entry = records.entries.iter().rfind(|entry| {
        entry.kind == Kind::Manifest
            && entry.body["publication"].as_u64() == Some(publication.number)
    });
    let (Some(head), Some(entry)) = (head, entry) else {
        return Err(CliError::Usage(format!(
            "the log holds no manifest of publication {}: run again",
            publication.number
        )));
    };
    let missing = || {
        CliError::Verification(
            "the log lacks what its entries name: `idleproof verify log`".to_owned(),
        )
    };
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let envelope = log
        .blob(entry.text("manifest_sha256"))
        .await?
        .ok_or_else(missing)?;
    files.insert("manifest.dsse.json".to_owned(), envelope.to_vec());
    files.insert(
        "manifest.tlog-proof".to_owned(),
        log.prove(&head, entry.index).await?.to_text().into_bytes(),
    );
    let findings = publication.digests.get("findings").ok_or_else(missing)?;
    files.insert(
        "findings.ndjson".to_owned(),
        lake.get_evidence(findings).await?.to_vec(),
    );
    let manifest = EvidenceManifest::from_bytes(&lake.get_evidence(&digest).await?, &digest)?;
    files.insert(
        format!("evidence/{digest}"),
        lake.get_evidence(&digest).await?.to_vec(),
    );
    // What a replay asks for is what an archive needs, whatever that is.
    let asked: Mutex<Vec<(String, Bytes)>> = Mutex::new(Vec::new());
    let replayed = replay(
        &manifest,
        async |sha256: String| {
            let bytes = lake.get_evidence(&sha256).await?;
            if let Ok(mut asked) = asked.lock() {
                asked.push((sha256, bytes.clone()));
            }
            Ok::<Bytes, LakeError>(bytes)
        },
        &id,
    )
    .await?;
    if replayed != explain::stored(&lake, &publication, &id).await? {
        return Err(CliError::Verification(format!(
            "the replay of `{handle}` differs from what was published: nothing is packed"
        )));
    }
    for (sha256, bytes) in asked.into_inner().unwrap_or_default() {
        files.insert(format!("evidence/{sha256}"), bytes.to_vec());
    }
    let mut decisions = 0;
    for decided in records.entries.iter().filter(|other| {
        other.kind == Kind::Decision
            && other.text("manifest_sha256") == entry.text("manifest_sha256")
    }) {
        decisions += 1;
        let name = format!("decisions/{:03}.json", decided.index);
        let bytes = log
            .blob(decided.text("decision_sha256"))
            .await?
            .ok_or_else(missing)?;
        let sig = log
            .blob(decided.text("signature_sha256"))
            .await?
            .ok_or_else(missing)?;
        files.insert(
            format!("{name}.tlog-proof"),
            log.prove(&head, decided.index)
                .await?
                .to_text()
                .into_bytes(),
        );
        files.insert(format!("{name}.sig"), sig.to_vec());
        files.insert(name, bytes.to_vec());
    }
    if let Some(authority) = records
        .entries
        .iter()
        .rfind(|other| other.kind == Kind::Authority)
    {
        for (name, digest) in [
            ("policy.toml", "policy_sha256"),
            ("allowed_signers", "allowed_signers_sha256"),
        ] {
            let bytes = log
                .blob(authority.text(digest))
                .await?
                .ok_or_else(missing)?;
            files.insert(name.to_owned(), bytes.to_vec());
        }
    }
    let index = json!({"format": 1, "finding_id": id, "handle": handle, "evidence_sha256": digest, "publication": publication.number});
    let index = to_canonical(&index).map_err(|error| CliError::Unexpected(error.to_string()))?;
    files.insert("index.json".to_owned(), index.into_bytes());
    let archive = pack(&files)?;
    let page = args.out.with_file_name("evidence.html");
    replace(&page, PAGE.as_bytes())?;
    replace(&args.out, &archive)?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{}: {} files, {} bytes, {decisions} decisions on its manifest",
        args.out.display(),
        files.len(),
        archive.len()
    )
    .map_err(CliError::Stdout)?;
    writeln!(out, "{}: checks it in a browser", page.display()).map_err(CliError::Stdout)?;
    Ok(Exit::Done)
}

/// Writes beside the file and renames: a reader sees the old bytes or the new ones.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = path.with_file_name(format!(".{name}.{}", std::process::id()));
    std::fs::write(&partial, bytes)
        .and_then(|()| std::fs::rename(&partial, path))
        .map_err(|error| CliError::file("write", path, error))
}

/// Everything that an archive claims, from the signature on.
pub(super) async fn verify(
    file: &Path,
    key: &Path,
    allowed_signers: Option<&Path>,
) -> Result<Exit, CliError> {
    let fault = |why: String| {
        CliError::Verification(format!("`{}` does not verify: {why}", file.display()))
    };
    let read =
        |path: &Path| std::fs::read(path).map_err(|error| CliError::file("read", path, error));
    let keys = [VerifyingKey::open(key)?];
    let files = unpack(&read(file)?).map_err(fault)?;
    let get = |name: &str| {
        files
            .get(name)
            .ok_or_else(|| fault(format!("it lacks `{name}`")))
    };
    let text = |name: &str| {
        String::from_utf8(get(name)?.clone())
            .map_err(|_| fault(format!("`{name}` in it is not UTF-8")))
    };
    let mut lines = Vec::new();

    let envelope = get("manifest.dsse.json")?;
    let manifest_sha256 = sha256_hex(envelope);
    let manifest = verify_envelope(file, envelope, &keys[0])?;
    lines.push(format!(
        "manifest {manifest_sha256}, signed by {}",
        manifest.keyid
    ));
    let logged = |name: &str, what: &str, sha256: &str| -> Result<Entry, CliError> {
        let (proof, checkpoint) =
            Proof::verify(&text(name)?, &keys).map_err(|why| fault(format!("{name}: {why}")))?;
        let entry = Entry::parse(&proof.entry).map_err(|why| fault(format!("{name}: {why}")))?;
        if entry.text(what) == sha256 && entry.index == proof.index {
            Ok(entry)
        } else {
            Err(fault(format!(
                "{name} proves another entry of {}",
                visible(&checkpoint.origin)
            )))
        }
    };
    let entry = logged("manifest.tlog-proof", "manifest_sha256", &manifest_sha256)?;
    lines.push(format!("  logged as entry {}", entry.index));

    let index = parse_strict(get("index.json")?, INDEX_BYTES_MAX)
        .map_err(|why| fault(format!("index.json: {why}")))?;
    let (id, handle) = (
        index["finding_id"].as_str().unwrap_or_default(),
        index["handle"].as_str().unwrap_or_default(),
    );
    let named = |name: &str| {
        manifest.predicate["digests"][name]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let findings = get("findings.ndjson")?;
    if sha256_hex(findings) != named("findings") {
        return Err(fault(
            "its findings are not those of the manifest".to_owned(),
        ));
    }
    let digest = index["evidence_sha256"].as_str().unwrap_or_default();
    if digest != named("evidence") {
        return Err(fault("its evidence is not that of the manifest".to_owned()));
    }
    let quoted = format!("\"finding_id\":\"{id}\"");
    let findings = String::from_utf8_lossy(findings);
    let stored = findings
        .lines()
        .find(|line| line.contains(&quoted))
        .ok_or_else(|| fault("its findings lack the one it is about".to_owned()))?;

    let signers = match allowed_signers {
        Some(path) => Some(Signers::parse(&String::from_utf8_lossy(&read(path)?), "")?),
        None => None,
    };
    for (name, bytes) in files
        .iter()
        .filter(|(name, _)| name.starts_with("decisions/") && name.strip_suffix(".json").is_some())
    {
        let entry = logged(
            &format!("{name}.tlog-proof"),
            "decision_sha256",
            &sha256_hex(bytes),
        )?;
        let Some(signers) = &signers else {
            lines.push(format!(
                "{name}: logged as entry {}; give --allowed-signers to say whose it is",
                entry.index
            ));
            continue;
        };
        let sig = get(&format!("{name}.sig"))?;
        let who = verify_person(bytes, sig, signers, entry.time_ms)
            .map_err(|why| fault(format!("{name}: {why}")))?;
        let decision = Decision::parse(bytes).map_err(|why| fault(format!("{name}: {why}")))?;
        if decision.manifest_sha256 != manifest_sha256 {
            return Err(fault(format!("{name} is about another manifest")));
        }
        lines.push(format!(
            "{name}: {} by {}, entry {}",
            decision.verb.word(),
            visible(&who.principal),
            entry.index
        ));
    }

    // All that is signed has verified, so its SQL may run: it takes longest, and what is broken is
    // found before.
    let blob = |sha256: &str| files.get(&format!("evidence/{sha256}"));
    let evidence = EvidenceManifest::from_bytes(
        blob(digest).ok_or_else(|| fault("it lacks its evidence".to_owned()))?,
        digest,
    )?;
    let fetch = |sha256: String| {
        let found = blob(&sha256).map(|bytes| Bytes::copy_from_slice(bytes));
        async move { found.ok_or_else(|| format!("the archive lacks {sha256}")) }
    };
    let replayed = replay(&evidence, fetch, id).await?;
    if replayed != stored {
        return Err(fault(format!(
            "the replay of `{}` gives other bytes:\n{}",
            visible(handle),
            visible(&replayed)
        )));
    }
    lines.push(format!(
        "`{}` replayed from {} rows of {} tables: equal, byte for byte",
        visible(handle),
        evidence
            .tables
            .iter()
            .map(|table| table.rows)
            .sum::<usize>(),
        evidence.tables.len()
    ));
    let mut out = std::io::stdout().lock();
    for line in lines {
        writeln!(out, "{line}").map_err(CliError::Stdout)?;
    }
    writeln!(out, "verified").map_err(CliError::Stdout)?;
    Ok(Exit::Done)
}
