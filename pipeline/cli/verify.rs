//! Owns `verify`: a signed file against a public key, with no lake and no network.

use std::io::Write as _;

use super::args::{VerifyArgs, VerifyWhat};
use super::error::CliError;
use crate::approve::{SubjectCheck, VerifyingKey, verify_manifest_file};
use crate::exit::Exit;

pub(super) fn verify(args: &VerifyArgs) -> Result<Exit, CliError> {
    let VerifyWhat::Manifest { file, key } = &args.what;
    let key = VerifyingKey::open(key)?;
    let manifest = verify_manifest_file(file, &key)?;
    let mut out = std::io::stdout().lock();
    let mut line = |text: String| writeln!(out, "{text}").map_err(CliError::Stdout);
    line(format!(
        "verified: `{}`, signed by {}",
        file.display(),
        manifest.keyid
    ))?;
    for field in ["run_id", "publication", "created"] {
        if let Some(value) = manifest.predicate.get(field) {
            line(format!(
                "  {field}: {}",
                value.to_string().trim_matches('"')
            ))?;
        }
    }
    for (name, check) in &manifest.checks {
        let found = match check {
            SubjectCheck::Matches => "matches",
            SubjectCheck::Absent => "not beside the manifest, not checked",
        };
        line(format!("  {name}: {found}"))?;
    }
    let recommendations = manifest.predicate["recommendations"]
        .as_array()
        .map_or(0, std::vec::Vec::len);
    line(format!("  recommendations: {recommendations}"))?;
    Ok(Exit::Done)
}
