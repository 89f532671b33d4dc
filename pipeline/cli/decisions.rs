//! Owns `decisions`: importing what people signed, and what it adds up to.

use std::io::Write as _;

use super::args::ConfigArg;
use super::args_approve::{DecisionsArgs, DecisionsWhat};
use super::books::{self, Books, PolicyFiles};
use super::error::CliError;
use super::{approve, data, outcomes};
use crate::approve::{
    Kind, PipelineKey, Policy, Records, Signers, Verdict, authority_sha256, visible,
};
use crate::config::Config;
use crate::exit::Exit;
use crate::lake::Lake;
use crate::model::canonical::sha256_hex;

pub(super) async fn decisions(args: &DecisionsArgs) -> Result<Exit, CliError> {
    match &args.what {
        DecisionsWhat::Import(config) => import(config).await,
        DecisionsWhat::List(config) => list(config).await,
        DecisionsWhat::Outcomes(config) => outcomes::outcomes(config).await,
        DecisionsWhat::ApprovePolicy(args) => approve::approve_policy(args),
        DecisionsWhat::Prove { file, config } => prove(file, config).await,
    }
}

pub(super) async fn open(config: &Config) -> Result<Lake, CliError> {
    Ok(Lake::open_existing_with(&config.lake_url(), &config.lake_options().into()).await?)
}

async fn import(args: &ConfigArg) -> Result<Exit, CliError> {
    let config = Config::load(&args.config)?;
    let lake = open(&config).await?;
    let output = config.resolve(&config.file.report.output);
    let (key, _) = PipelineKey::open_or_create(&books::key_path(&config, &output))?;
    let books = Books::open(&config, &lake, key).await?;
    let imported = books.import(&config).await;
    books.close().await?;
    let imported = imported?;
    let mut counts = [0_usize; 3];
    for judged in &imported.judged {
        counts[match judged.verdict {
            Verdict::Accepted { .. } => 0,
            Verdict::Refused { .. } => 1,
            Verdict::Known => 2,
        }] += 1;
    }
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{} accepted, {} refused, {} known already",
        counts[0], counts[1], counts[2]
    )
    .map_err(CliError::Stdout)?;
    Ok(if counts[1] > 0 {
        Exit::Verification
    } else {
        Exit::Done
    })
}

async fn list(args: &ConfigArg) -> Result<Exit, CliError> {
    let config = Config::load(&args.config)?;
    let (lake, _) = data::published(&config, None).await?;
    let (_, _, records) = books::read_log(&config, &lake).await?;
    let mut out = std::io::stdout().lock();
    for line in lines(&records) {
        writeln!(out, "{}", visible(&line)).map_err(CliError::Stdout)?;
    }
    Ok(Exit::Done)
}

/// What each recommendation with a decision, and each of the newest manifest, stands at.
fn lines(records: &Records) -> Vec<String> {
    let clock_ms = super::now_ms();
    let mut lines = Vec::new();
    for manifest in &records.manifests {
        let newest = records
            .manifests
            .last()
            .is_some_and(|last| last.sha256 == manifest.sha256);
        for recommendation in &manifest.recommendations {
            let decided = records.decisions.iter().any(|logged| {
                logged.decision.manifest_sha256 == manifest.sha256
                    && logged.decision.names(recommendation)
            });
            let Some(standing) = records.standing(manifest, recommendation, clock_ms) else {
                continue;
            };
            if !newest && !decided {
                continue;
            }
            let mut line = format!(
                "{}  {:<10} {}  {}",
                recommendation.id,
                standing.state.word(),
                recommendation.subject(),
                recommendation.action
            );
            if standing.break_glass {
                line.push_str("  BREAK GLASS");
            }
            lines.push(line);
            if !standing.approvals.is_empty() {
                lines.push(format!("    approved by {}", standing.approvals.join(", ")));
            }
            for missing in &standing.missing {
                lines.push(format!("    needs {missing}"));
            }
            for (who, why) in &standing.ignored {
                lines.push(format!("    {who} does not count: {why}"));
            }
            if let Some(name) = &standing.frozen {
                lines.push(format!("    frozen by {name}"));
            }
            lines.extend(
                standing
                    .reasons
                    .iter()
                    .map(|reason| format!("    {reason}")),
            );
        }
    }
    for (index, why) in &records.void {
        lines.push(format!("entry {index} of the log counts no more: {why}"));
    }
    lines
}

/// Reads the policy as it lies there and says whom each recommendation would need under it.
pub(super) async fn check_policy(args: &ConfigArg) -> Result<Exit, CliError> {
    let config = Config::load(&args.config)?;
    let files = PolicyFiles::read(&config)?.ok_or_else(|| {
        CliError::Usage("[approve] names no policy: nothing can be approved".to_owned())
    })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let signers = Signers::parse(&text(&files.allowed_signers), &files.revoked)?;
    let policy = Policy::parse(&text(&files.policy), &signers)?;
    let sha256 = authority_sha256(&files.policy, &files.allowed_signers);
    let mut lines = vec![format!("the policy can be used; its digest is {sha256}")];
    if let Ok((lake, _)) = data::published(&config, None).await {
        let (_, _, records) = books::read_log(&config, &lake).await?;
        match &records.authority {
            Some(authority) if authority.sha256 == sha256 => {
                lines.push("it is in force".to_owned());
            }
            Some(authority) => lines.push(format!(
                "in force is {}: this one holds when its people agree (decisions approve-policy)",
                authority.sha256
            )),
            None => lines.push("none is in force yet: the next run adopts this one".to_owned()),
        }
        let now_ms = records.now_ms(super::now_ms());
        for recommendation in records
            .manifests
            .last()
            .map_or(&[] as &[_], |m| &m.recommendations)
        {
            lines.push(format!(
                "{}  {} on {}",
                recommendation.id,
                recommendation.action,
                recommendation.subject()
            ));
            lines.extend(
                policy
                    .needs(recommendation, now_ms)
                    .iter()
                    .map(|need| format!("    {need}")),
            );
        }
    }
    let mut out = std::io::stdout().lock();
    for line in lines {
        writeln!(out, "{}", visible(&line)).map_err(CliError::Stdout)?;
    }
    Ok(Exit::Done)
}

async fn prove(file: &std::path::Path, args: &ConfigArg) -> Result<Exit, CliError> {
    let config = Config::load(&args.config)?;
    let lake = open(&config).await?;
    let (log, head, records) = books::read_log(&config, &lake).await?;
    let bytes = std::fs::read(file).map_err(|error| CliError::file("read", file, error))?;
    let sha256 = sha256_hex(&bytes);
    let entry = records.entries.iter().find(|entry| {
        (entry.kind == Kind::Decision && entry.text("decision_sha256") == sha256)
            || (entry.kind == Kind::Manifest && entry.text("manifest_sha256") == sha256)
    });
    let (Some(head), Some(entry)) = (head, entry) else {
        return Err(CliError::Verification(format!(
            "the log does not hold `{}`",
            file.display()
        )));
    };
    let proof = log.prove(&head, entry.index).await?;
    let mut out = std::io::stdout().lock();
    out.write_all(proof.to_text().as_bytes())
        .map_err(CliError::Stdout)?;
    Ok(Exit::Done)
}
