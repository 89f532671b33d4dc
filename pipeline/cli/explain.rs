//! Owns `explain`: a finding run again from its evidence, which must give the same bytes.

use std::io::Write as _;

use datafusion::scalar::ScalarValue;

use super::args::ExplainArgs;
use super::data;
use super::error::CliError;
use crate::config::Config;
use crate::detect::{EvidenceManifest, replay};
use crate::exit::Exit;
use crate::lake::columns::text;
use crate::lake::{Lake, LakeError, LakeView, Publication, read_only_sql};

pub(super) async fn explain(args: &ExplainArgs) -> Result<Exit, CliError> {
    let config = Config::load(&args.config.config)?;
    let (lake, publication) = data::published(&config, args.as_of).await?;
    let session = lake
        .read_session(&LakeView::published(&publication))
        .await?;
    let params = vec![
        ("handle", ScalarValue::from(args.finding.clone())),
        (
            "prefix",
            ScalarValue::from(format!("{}%", escape_like(&args.finding))),
        ),
    ];
    let sql = include_str!("../../queries/report/find_finding.sql");
    let batches = read_only_sql(&session, sql, params)
        .await?
        .collect()
        .await
        .map_err(|cause| LakeError::sql("find the finding", cause))?;
    let mut found = Vec::new();
    for batch in &batches {
        let (id, handle) = (text(batch, "finding_id")?, text(batch, "handle")?);
        let evidence = text(batch, "evidence_digest")?;
        for row in 0..batch.num_rows() {
            found.push((
                id.value(row).to_owned(),
                handle.value(row).to_owned(),
                evidence.value(row).to_owned(),
            ));
        }
    }
    let [(id, handle, digest)] = found.as_slice() else {
        return Err(CliError::Usage(if found.is_empty() {
            format!(
                "publication {} has no finding `{}`: `idleproof sql 'select handle from v_findings'` lists them",
                publication.number, args.finding
            )
        } else {
            let handles: Vec<&str> = found.iter().map(|(_, handle, _)| handle.as_str()).collect();
            format!(
                "`{}` fits several findings: {}",
                args.finding,
                handles.join(", ")
            )
        }));
    };

    let manifest = EvidenceManifest::from_bytes(&lake.get_evidence(digest).await?, digest)?;
    let replayed = replay(
        &manifest,
        async |sha256: String| lake.get_evidence(&sha256).await,
        id,
    )
    .await?;
    let stored = stored(&lake, &publication, id).await?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{replayed}").map_err(CliError::Stdout)?;
    drop(out);
    if stored != replayed {
        return Err(CliError::Verification(format!(
            "the replay of `{handle}` differs from what was published:\n{stored}"
        )));
    }
    super::say(&format!(
        "replayed `{handle}` from evidence {digest}: equal to what was published, byte for byte ({} rows of {} tables, {} detectors)",
        manifest.tables.iter().map(|t| t.rows).sum::<usize>(),
        manifest.tables.len(),
        manifest.detectors.len()
    ));
    Ok(Exit::Done)
}

/// The finding's bytes as they were kept when it was published.
async fn stored(
    lake: &Lake,
    publication: &Publication,
    finding_id: &str,
) -> Result<String, CliError> {
    let missing = || {
        CliError::Verification(format!(
            "publication {} keeps no bytes of finding {finding_id}",
            publication.number
        ))
    };
    let digest = publication.digests.get("findings").ok_or_else(missing)?;
    let lines = lake.get_evidence(digest).await?;
    let quoted = format!("\"finding_id\":\"{finding_id}\"");
    String::from_utf8_lossy(&lines)
        .lines()
        .find(|line| line.contains(&quoted))
        .map(str::to_owned)
        .ok_or_else(missing)
}

/// `%` and `_` of what a person typed mean themselves.
fn escape_like(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('%', "\\%")
        .replace('_', "\\_")
}
