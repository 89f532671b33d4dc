//! Owns `decisions outcomes`: what became of everything that was exported, predicted beside realised,
//! logged where it is news.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use serde_json::{Value, json};

use super::args::ConfigArg;
use super::books::{self, Books};
use super::data;
use super::error::CliError;
use super::export::Cluster;
use crate::approve::{
    ChangeFate, Day, Fate, Kind, PipelineKey, Records, Seen, follow, outcome, realised, visible,
};
use crate::config::Config;
use crate::exit::Exit;
use crate::lake::columns::{int, usd, usd_at};
use crate::lake::{Lake, LakeError, LakeView, read_only_sql};
use crate::model::canonical::{sha256_hex, to_canonical};

pub(super) async fn outcomes(args: &ConfigArg) -> Result<Exit, CliError> {
    let config = Config::load(&args.config)?;
    let (lake, publication) = data::published(&config, None).await?;
    let session = data::session(&lake, &LakeView::published(&publication)).await?;
    let output = config.resolve(&config.file.report.output);
    let (key, _) = PipelineKey::open_or_create(&books::key_path(&config, &output))?;
    let books = Books::open(&config, &lake, key).await?;
    let done = observe(&lake, &session, &books).await;
    books.close().await?;
    let lines = done?;
    let mut out = std::io::stdout().lock();
    for line in lines {
        writeln!(out, "{}", visible(&line)).map_err(CliError::Stdout)?;
    }
    Ok(Exit::Done)
}

async fn observe(
    lake: &Lake,
    session: &SessionContext,
    books: &Books,
) -> Result<Vec<String>, CliError> {
    let head = books.log.recover(&books.key).await?;
    let records = Records::load(&books.log, head.as_ref(), "").await?;
    let mut clusters: BTreeMap<String, Cluster> = BTreeMap::new();
    let mut lines = Vec::new();
    let mut entries = Vec::new();
    for (_, exported_ms, plan) in &records.plans {
        for item in plan["items"]
            .as_array()
            .map_or(&[] as &[Value], Vec::as_slice)
        {
            let name = item["cluster"].as_str().unwrap_or_default().to_owned();
            if !clusters.contains_key(&name) {
                let read = Cluster::read(lake, &name).await?;
                clusters.insert(name.clone(), read);
            }
            let fates = fates(item, *exported_ms, &clusters[&name]);
            let changed_ms = fates
                .iter()
                .filter(|one| one.fate == Fate::Applied)
                .filter_map(|one| one.seen_ms)
                .max();
            let saved = match changed_ms {
                Some(ms) => realised(&days(session, item).await?, ms),
                None => None,
            };
            let told = outcome(item, *exported_ms, &fates, saved.as_ref());
            lines.push(line(&told));
            let bytes = to_canonical(&told)
                .map_err(|error| CliError::Unexpected(error.to_string()))?
                .into_bytes();
            let sha256 = sha256_hex(&bytes);
            let known = records
                .entries
                .iter()
                .any(|entry| entry.kind == Kind::Outcome && entry.text("outcome_sha256") == sha256);
            if !known {
                books.log.put_blob(&bytes).await?;
                let body = json!({"outcome_sha256": sha256, "recommendation_id": told["recommendation_id"], "state": told["state"]});
                entries.push((Kind::Outcome, body));
            }
        }
    }
    if !entries.is_empty() {
        books.append(entries).await?;
    }
    if lines.is_empty() {
        lines.push("nothing was exported yet".to_owned());
    }
    Ok(lines)
}

fn fates(item: &Value, exported_ms: i64, cluster: &Cluster) -> Vec<ChangeFate> {
    let changes = item["changes"]
        .as_array()
        .map_or(&[] as &[Value], Vec::as_slice);
    let follow_one = |change: &Value| {
        let target = |name: &str| change["target"][name].as_str().unwrap_or_default();
        let kind = target("kind");
        let (changed_ms, listed_ms) = (cluster.changed_ms(kind), cluster.listed_ms(kind));
        let versions: Vec<Seen> = cluster
            .versions(kind, target("namespace"), target("name"))
            .iter()
            .filter_map(|version| {
                Some(Seen {
                    body: serde_json::from_str(&version.json).ok()?,
                    from_ms: version.from_ms,
                    to_ms: if Some(version.to_ms) == changed_ms {
                        version.to_ms.max(listed_ms.unwrap_or(i64::MIN))
                    } else {
                        version.to_ms
                    },
                })
            })
            .collect();
        follow(change, exported_ms, &versions, listed_ms)
    };
    changes.iter().map(follow_one).collect()
}

async fn days(session: &SessionContext, item: &Value) -> Result<Vec<Day>, CliError> {
    let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
    let workload = text("workload");
    let (kind, name) = workload.split_once('/').unwrap_or(("", &workload));
    let params = vec![
        ("cluster", ScalarValue::from(text("cluster"))),
        ("namespace", ScalarValue::from(text("namespace"))),
        ("kind", ScalarValue::from(kind)),
        ("workload", ScalarValue::from(name)),
    ];
    let sql = include_str!("../../queries/report/outcome_days.sql");
    let batches = read_only_sql(session, sql, params)
        .await?
        .collect()
        .await
        .map_err(|cause| LakeError::sql("read the days of a workload", cause))?;
    let mut out = Vec::new();
    for batch in &batches {
        let (day, tokens) = (int(batch, "day_ms")?, int(batch, "tokens")?);
        let cost = usd(batch, "cost_usd")?;
        for row in 0..batch.num_rows() {
            if let Some(cost_usd) = usd_at(&cost, row) {
                out.push(Day {
                    day_ms: day.value(row),
                    cost_usd,
                    demand: tokens.value(row),
                });
            }
        }
    }
    Ok(out)
}

fn line(told: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
    let mut line = format!(
        "{}  {:<14} predicted ${} a month ({} to {})",
        text(&told["recommendation_id"]),
        text(&told["state"]),
        text(&told["predicted"]["monthly_usd"]),
        text(&told["predicted"]["low_usd"]),
        text(&told["predicted"]["high_usd"])
    );
    let realised = &told["realised"];
    if realised.is_null() {
        line.push_str(", realised not yet known");
    } else {
        let _ = write!(
            line,
            ", realised ${} ({} to {})",
            text(&realised["monthly_usd"]),
            text(&realised["low_usd"]),
            text(&realised["high_usd"])
        );
    }
    for change in told["changes"]
        .as_array()
        .map_or(&[] as &[Value], Vec::as_slice)
    {
        if let (Some(seen), Some(by)) = (change["seen"].as_str(), change["by"].as_str()) {
            let _ = write!(
                line,
                "; {} seen {seen}, written by {by}",
                text(&change["fate"])
            );
        }
    }
    line
}
