//! Owns the end of a run: publication, then the report, the findings and the signed manifest, put
//! onto the `shelf` together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rust_decimal::Decimal;
use serde_json::Value;

use super::conclude::Concluded;
use super::error::CliError;
use super::shelf::{Shelf, place_of, week_of};
use super::stages::Workspace;
use super::{CODE_VERSION, books, data, governance, outcomes, report_data, say};
use crate::approve::{
    Envelope, ManifestInput, PipelineKey, RecommendationEntry, Subject, statement_bytes, visible,
};
use crate::detect::Finding;
use crate::lake::{LakeView, PublicationDetails};
use crate::model::TimeWindow;
use crate::model::canonical::sha256_hex;
use crate::report::{Renderer, ReportView, usd};

/// How a run ended, for people and for `--fail-on`.
pub(super) struct Published {
    pub summary: Vec<String>,
    pub coverage_percent: i64,
    /// What the files show, and two of them.
    pub view: ReportView,
    pub html: Vec<u8>,
    pub digest: String,
    /// Where the files lie below the output.
    pub place: String,
    /// Whether the run before was another week's.
    pub first_of_week: bool,
    alarms_usd: Vec<Option<Decimal>>,
}

impl Published {
    /// Whether any alarm's net monthly dollars reach the limit; one without a price reaches any.
    pub(super) fn alarms_reaching(&self, usd: i64) -> bool {
        self.alarms_usd
            .iter()
            .any(|net| net.is_none_or(|net| net >= Decimal::from(usd)))
    }
}

/// Publishes what the run has staged, then writes and signs its files.
pub(super) async fn publish(
    work: Workspace<'_>,
    concluded: Concluded,
    window: TimeWindow,
    shown: TimeWindow,
    output: &Path,
    shelf: &Shelf,
) -> Result<Published, CliError> {
    let Workspace {
        lake,
        config,
        lease,
        raw,
        base,
        staged,
        digests,
        now_ms,
        ..
    } = work;
    let details = PublicationDetails {
        runs: concluded
            .clusters
            .iter()
            .map(|cluster| (cluster.clone(), concluded.run_id.clone()))
            .collect(),
        digests,
        window,
        code_version: CODE_VERSION.to_owned(),
        now_ms,
    };
    lease.renew(super::now_ms()).await?;
    let publication = lake
        .publish(lease, base.as_ref(), &raw, staged, details)
        .await?;

    let zone = report_data::zone(config);
    let session = data::session(lake, &LakeView::published(&publication)).await?;
    let findings = &concluded.detection.findings;
    let kept = findings
        .iter()
        .map(|finding| report_data::kept(&finding.canonical()?))
        .collect::<Result<Vec<Value>, CliError>>()?;
    let data = report_data::read(&session, &publication, &kept, window, shown.end_ms, zone).await?;
    let (key, created) = PipelineKey::open_or_create(&books::key_path(config, output))?;
    let mut books = books::Books::open(config, lake, key).await?;
    let imported = async {
        let mut imported = books.import(config).await?;
        // In the log before they are in the report.
        let logged = outcomes::record(&books, &imported.records, &concluded.outcomes).await?;
        imported.head = logged.or(imported.head);
        Ok::<_, CliError>(imported)
    }
    .await;
    // Given back while the report is rendered, which can fail on a user's template.
    books.close().await?;
    let imported = imported?;
    let mut digests = publication.digests.clone();
    if let Some(authority) = &imported.records.authority {
        digests.insert("authority".to_owned(), authority.sha256.clone());
    }
    let clock_ms = super::now_ms();
    let decided = governance::decided(&imported.records, &concluded.outcomes, clock_ms);
    let mut view = ReportView::new(&data, Some(&decided));
    view.governance = governance::view(&imported, &concluded.outcomes, clock_ms, zone);
    let templates = config
        .file
        .report
        .templates
        .as_ref()
        .map(|t| config.resolve(t));
    let renderer = Renderer::new(templates.as_deref())?;
    let all = findings_json(findings)?.into_bytes();
    let changes = recommendations_json(findings)?.into_bytes();
    let sibling = sha256_hex(&all);
    view.siblings.insert("findings.json".to_owned(), sibling);
    let digest = renderer.digest_markdown(&view)?;
    let mut files = vec![
        ("report.html", renderer.html(&view)?.into_bytes()),
        ("report.md", renderer.markdown(&view)?.into_bytes()),
        ("report.json", json_of(&view)?),
        ("findings.json", all),
        ("recommendations.json", changes),
        ("digest.html", renderer.digest_html(&view)?.into_bytes()),
        ("digest.md", digest.clone().into_bytes()),
    ];

    let manifest = ManifestInput {
        run_id: concluded.run_id.clone(),
        publication: publication.number,
        created_ms: now_ms,
        window,
        tables: publication.tables.clone(),
        digests,
        tool_version: CODE_VERSION.to_owned(),
        subjects: files
            .iter()
            .map(|(name, bytes)| Subject {
                name: (*name).to_owned(),
                sha256: sha256_hex(bytes),
            })
            .collect(),
        recommendations: recommendations(
            findings,
            &concluded.evidence.digest,
            &config.file.tickets,
        )?,
        checkpoint: imported.head.as_ref().map(|head| head.note.clone()),
    };
    let envelope = Envelope::sign(&statement_bytes(&manifest)?, &books.key)?.to_bytes()?;
    // Logged before it is seen: what nobody logged does not appear.
    books.reopen(lake).await?;
    let proof = books
        .record_manifest(&envelope, &concluded.run_id, publication.number)
        .await;
    books.close().await?;
    let proof = proof?;

    let html = files[0].1.clone();
    files.push(("manifest.tlog-proof", proof.into_bytes()));
    files.push(("manifest.dsse.json", envelope));
    let place = place_of(window, publication.number);
    shelf.put(&place, &files).await?;
    shelf.point_to(&place).await?;
    let shown = |name: &str| shelf.shown(&format!("{place}/{name}"));

    let alarms: Vec<&Finding> = findings
        .iter()
        .filter(|f| f.status == "alarm" && f.accepted.is_none())
        .collect();
    let known: i64 = data
        .classes
        .iter()
        .filter(|c| c.class != "unknown")
        .map(|c| c.ms)
        .sum();
    let total: i64 = data.classes.iter().map(|c| c.ms).sum();
    let avoidable: Decimal = alarms.iter().filter_map(|f| f.net_window_usd).sum();
    let mut summary = vec![
        format!(
            "{} findings, {} of {} avoidable ({}), ledger {} GPU-hours of {} capacity, {} not seen",
            alarms.len(),
            usd(avoidable),
            view.headline.fleet_cost,
            view.headline.avoidable_share,
            view.ledger_total.gpu_hours,
            view.capacity_gpu_hours,
            view.headline.unknown_share
        ),
        format!("report: {}", shown("report.html")),
        format!("        {}", shown("report.md")),
        format!("findings: {}", shown("findings.json")),
        format!("manifest: {}", shown("manifest.dsse.json")),
    ];
    if created {
        summary.push(format!(
            "made the pipeline's signing key; verify with `{}.pub`",
            books::key_path(config, output).display()
        ));
    }
    if !view.accepted.is_empty() {
        summary.insert(
            1,
            format!(
                "{} findings more, {}, are accepted as waste for now",
                view.accepted.len(),
                view.accepted_window
            ),
        );
    }
    if !view.ledger_balances {
        summary.push(
            "warning: the ledger does not sum to capacity: use no number of this report".to_owned(),
        );
    }
    Ok(Published {
        summary,
        view,
        html,
        digest,
        place,
        first_of_week: base
            .as_ref()
            .is_none_or(|base| week_of(base.window()) != week_of(window)),
        coverage_percent: if total > 0 { known * 100 / total } else { 0 },
        alarms_usd: alarms.iter().map(|f| f.net_monthly_usd).collect(),
    })
}

/// What both renderings show, for programs.
pub(super) fn json_of(view: &impl serde::Serialize) -> Result<Vec<u8>, CliError> {
    let mut bytes = serde_json::to_vec_pretty(view)
        .map_err(|error| CliError::Unexpected(format!("cannot write the view: {error}")))?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn findings_json(findings: &[Finding]) -> Result<String, CliError> {
    let lines = findings
        .iter()
        .map(|finding| Ok((finding.status.as_str(), finding.canonical()?)));
    Ok(findings_file(&lines.collect::<Result<Vec<_>, CliError>>()?))
}

/// The file of findings, from the status and the canonical line of each.
pub(super) fn findings_file(lines: &[(&str, String)]) -> String {
    let told = ["alarm", "undetermined", "error"];
    let lines: Vec<&str> = lines
        .iter()
        .filter(|(status, _)| told.contains(status))
        .map(|(_, line)| line.as_str())
        .collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}

fn recommendations_json(findings: &[Finding]) -> Result<String, CliError> {
    let mut lines = Vec::new();
    for finding in findings {
        lines.extend(finding.recommendation_canonical()?);
    }
    lines.sort();
    Ok(format!("[\n{}\n]\n", lines.join(",\n")))
}

fn recommendations(
    findings: &[Finding],
    evidence: &str,
    tickets: &BTreeMap<String, String>,
) -> Result<Vec<RecommendationEntry>, CliError> {
    let mut entries = Vec::new();
    let mut named = BTreeSet::new();
    for finding in findings {
        // What is bound is what was written, byte for byte.
        if let Some(content) = finding.recommendation_value()? {
            let id = content["recommendation_id"].as_str().unwrap_or_default();
            let ticket = [id, &finding.finding_id, &finding.handle]
                .into_iter()
                .find_map(|name| tickets.get_key_value(name));
            named.extend(ticket.map(|(name, _)| name));
            entries.push(RecommendationEntry {
                content,
                evidence_sha256: evidence.to_owned(),
                ticket: ticket.map(|(_, ticket)| ticket.clone()),
            });
        }
    }
    for (name, ticket) in tickets {
        if !named.contains(name) {
            say(&format!(
                "note: `{}` has the ticket {}, and nothing is recommended for it in this window",
                visible(name),
                visible(ticket)
            ));
        }
    }
    Ok(entries)
}
