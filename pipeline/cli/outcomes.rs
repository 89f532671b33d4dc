//! Owns what became of everything that was exported, as a run and `decisions outcomes` see it: fates
//! from the newest snapshots, days, latencies and prices of the newest publication, the bill that is
//! given. Arithmetic is `approve`'s; what is news goes into the log.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use rust_decimal::Decimal;
use serde_json::Value;

use super::args::ConfigArg;
use super::bill_days;
use super::books::{self, Books};
use super::data;
use super::error::CliError;
use super::export::Cluster;
use super::given::{Bill, bills};
use super::ungoverned::{STATE, ungoverned};
use crate::approve::{
    ChangeFate, DAYS_MAX, Day, Ground, Head, Kind, Latency, Outcome, PipelineKey, Realised,
    Records, Score, Seen, follow, held, realised, scoreboard, share, visible,
};
use crate::config::Config;
use crate::detect::economics::bill::machine;
use crate::exit::Exit;
use crate::inventory::changed_by;
use crate::lake::columns::{int, int_at, text, usd, usd_at};
use crate::lake::{Lake, LakeError, LakeView, Publication, read_only_sql};
use crate::model::canonical::{sha256_hex, to_canonical};
use crate::model::time::{DAY_MS, date_of};
use crate::model::zone::Zone;

/// Days that are read before a change: four weeks, and as many holes among them.
const LOOK_BACK_MS: i64 = 2 * DAYS_MAX as i64 * DAY_MS;
const MICROS_PER_MILLI: i64 = 1000;

pub(super) async fn outcomes(args: &ConfigArg) -> Result<Exit, CliError> {
    let config = Config::load(&args.config)?;
    let (lake, publication) = data::published(&config, None).await?;
    let bills = bills(&config, &mut BTreeMap::new())?;
    let output = config.resolve(&config.file.report.output);
    let (key, _) = PipelineKey::open_or_create(&books::key_path(&config, &output))?;
    let books = Books::open(&config, &lake, key).await?;
    let done = async {
        let head = books.log.recover(&books.key).await?;
        let records = Records::load(&books.log, head.as_ref(), "").await?;
        let told = observe(&lake, &publication, &records, &bills).await?;
        record(&books, &records, &told).await?;
        Ok::<_, CliError>(told)
    }
    .await;
    books.close().await?;
    let told = done?;
    let mut out = std::io::stdout().lock();
    let mut print = |text: &str| writeln!(out, "{}", visible(text)).map_err(CliError::Stdout);
    if told.is_empty() {
        print("nothing was exported yet, and nobody changed anything else")?;
    }
    for one in &told {
        print(&line(one))?;
    }
    for (detector, score) in scoreboard(&told) {
        print(&score_line(&detector, &score))?;
    }
    Ok(Exit::Done)
}

/// What a run knows of outcomes before it predicts anew: nothing before the first publication and
/// the first log.
pub(super) async fn before_run(
    config: &Config,
    lake: &Lake,
    base: Option<&Publication>,
    bills: &[Bill],
    output: &Path,
) -> Result<Vec<Outcome>, CliError> {
    let Some(base) = base else {
        return Ok(Vec::new());
    };
    let Some(records) = books::read_records(config, lake, output).await? else {
        return Ok(Vec::new());
    };
    observe(lake, base, &records, bills).await
}

/// Looks at every plan that the log holds.
async fn observe(
    lake: &Lake,
    publication: &Publication,
    records: &Records,
    bills: &[Bill],
) -> Result<Vec<Outcome>, CliError> {
    let mut told = Vec::new();
    let is_governed = records
        .entries
        .iter()
        .any(|entry| entry.kind == Kind::Authority);
    if !is_governed {
        return Ok(told);
    }
    let session = data::session(lake, &LakeView::published(publication)).await?;
    let mut clusters: BTreeMap<String, Cluster> = BTreeMap::new();
    let mut grounds = Vec::new();
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
            let (saved, latency, ground) = measured(&session, item, &fates, bills).await?;
            told.push(Outcome::of(item, *exported_ms, fates, saved, latency));
            grounds.push(ground);
        }
    }
    for one in ungoverned(&session, records).await? {
        let (saved, latency, ground) = measured(&session, &one.item, &one.fates, bills).await?;
        let mut outcome = Outcome::of(&one.item, one.seen_ms, one.fates, saved, latency);
        STATE.clone_into(&mut outcome.state);
        told.push(outcome);
        grounds.push(ground);
    }
    share(&mut told, &grounds);
    Ok(told)
}

/// What an item saved by itself while it stood, the latencies on both sides, and what the number rests on.
async fn measured(
    session: &SessionContext,
    item: &Value,
    fates: &[ChangeFate],
    bills: &[Bill],
) -> Result<(Option<Realised>, [Latency; 2], Ground), CliError> {
    let mut latency = [Latency::default(); 2];
    let mut ground = Ground::default();
    let Some(held) = held(fates) else {
        return Ok((None, latency, ground));
    };
    ground.held = Some(held);
    let days = days(session, item, held.before_ms - LOOK_BACK_MS).await?;
    let mut saved = realised(&days, held, None);
    let cluster = item["cluster"].as_str().unwrap_or_default();
    if let Some(free) = &saved
        && bills.iter().any(|bill| bill.cluster == cluster)
    {
        let span = (free.before_ms.0, free.after_ms.1);
        let machines = machines(session, item, span).await?;
        ground.products = bill_days::products(bills, cluster, &machines);
        let billed = bill_days::by_day(bills, cluster, ground.products.as_ref());
        saved = realised(&days, held, billed.as_ref());
    }
    if let Some(saved) = &saved {
        for (side, span) in latency.iter_mut().zip([saved.before_ms, saved.after_ms]) {
            *side = latency_of(session, item, span).await?;
        }
    }
    Ok((saved, latency, ground))
}

/// Logs what the log does not hold yet. The caller holds the lease.
pub(super) async fn record(
    books: &Books,
    records: &Records,
    told: &[Outcome],
) -> Result<Option<Head>, CliError> {
    let mut entries: Vec<(Kind, Value)> = Vec::new();
    for one in told {
        let bytes = to_canonical(&one.value())
            .map_err(|error| CliError::Unexpected(error.to_string()))?
            .into_bytes();
        let sha256 = sha256_hex(&bytes);
        let known = records
            .entries
            .iter()
            .filter(|entry| entry.kind == Kind::Outcome)
            .map(|entry| entry.text("outcome_sha256"))
            .chain(
                entries
                    .iter()
                    .filter_map(|(_, body)| body["outcome_sha256"].as_str()),
            )
            .any(|known| known == sha256);
        if !known {
            books.log.put_blob(&bytes).await?;
            let body = serde_json::json!({
                "outcome_sha256": sha256,
                "recommendation_id": one.recommendation_id,
                "state": one.state,
            });
            entries.push((Kind::Outcome, body));
        }
    }
    if entries.is_empty() {
        return Ok(None);
    }
    books.append(entries).await.map(Some)
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
        follow(change, exported_ms, &versions, listed_ms, &changed_by)
    };
    changes.iter().map(follow_one).collect()
}

fn subject(item: &Value) -> Vec<(&'static str, ScalarValue)> {
    let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
    let workload = text("workload");
    let (kind, name) = workload.split_once('/').unwrap_or(("", &workload));
    vec![
        ("cluster", ScalarValue::from(text("cluster"))),
        ("namespace", ScalarValue::from(text("namespace"))),
        ("kind", ScalarValue::from(kind)),
        ("workload", ScalarValue::from(name)),
    ]
}

async fn days(session: &SessionContext, item: &Value, from_ms: i64) -> Result<Vec<Day>, CliError> {
    let mut params = subject(item);
    params.push(("from_date", ScalarValue::from(date_of(from_ms))));
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
                    demand: int_at(&tokens, row),
                });
            }
        }
    }
    Ok(out)
}

/// What a bill calls the machines that held an item's workload.
async fn machines(
    session: &SessionContext,
    item: &Value,
    (from_ms, to_ms): (i64, i64),
) -> Result<BTreeSet<String>, CliError> {
    let mut params = subject(item);
    params.push(("from_ms", ScalarValue::Int64(Some(from_ms))));
    params.push(("to_ms", ScalarValue::Int64(Some(to_ms))));
    let sql = include_str!("../../queries/report/outcome_machines.sql");
    let batches = read_only_sql(session, sql, params)
        .await?
        .collect()
        .await
        .map_err(|cause| LakeError::sql("read the machines of a workload", cause))?;
    let mut out = BTreeSet::new();
    for batch in &batches {
        let ids = text(batch, "provider_id")?;
        out.extend((0..batch.num_rows()).map(|row| machine(ids.value(row))));
    }
    Ok(out)
}

async fn latency_of(
    session: &SessionContext,
    item: &Value,
    (from_ms, to_ms): (i64, i64),
) -> Result<Latency, CliError> {
    let mut params = subject(item);
    params.push(("from_ms", ScalarValue::Int64(Some(from_ms))));
    params.push(("to_ms", ScalarValue::Int64(Some(to_ms))));
    let sql = include_str!("../../queries/report/outcome_latency.sql");
    let batches = read_only_sql(session, sql, params)
        .await?
        .collect()
        .await
        .map_err(|cause| LakeError::sql("read the latencies of a workload", cause))?;
    let mut told = Latency::default();
    for batch in &batches {
        let (names, p95) = (text(batch, "histogram")?, int(batch, "p95_micro")?);
        for row in 0..batch.num_rows() {
            // The last bucket has no bound: what lies in it is not known.
            let ms = int_at(&p95, row)
                .filter(|micros| *micros < i64::MAX)
                .map(|micros| (micros + MICROS_PER_MILLI / 2) / MICROS_PER_MILLI);
            match names.value(row) {
                "ttft" => told.ttft_ms = ms,
                _ => told.itl_ms = ms,
            }
        }
    }
    Ok(told)
}

/// What was predicted; of what nobody approved, what was changed.
pub(super) fn asked(one: &Outcome) -> String {
    if one.state == STATE {
        return format!("{}, which nobody approved", one.action);
    }
    format!(
        "predicted {} a month",
        range(
            one.predicted_usd,
            one.predicted_low_usd,
            one.predicted_high_usd
        )
    )
}

/// Dollars a month with their range, for people.
pub(super) fn range(
    middle: Option<Decimal>,
    low: Option<Decimal>,
    high: Option<Decimal>,
) -> String {
    let usd =
        |usd: Option<Decimal>| usd.map_or_else(|| "unknown".to_owned(), |usd| format!("${usd:.2}"));
    format!("{} ({} to {})", usd(middle), usd(low), usd(high))
}

/// Two latencies side by side, where either is known.
pub(super) fn latencies(one: &Outcome) -> Option<String> {
    let ms = |ms: Option<i64>| ms.map_or_else(|| "unknown".to_owned(), |ms| format!("{ms} ms"));
    let told = |what: &str, pick: fn(&Latency) -> Option<i64>| {
        let [predicted, before, after] =
            [one.predicted_latency, one.latency_before, one.latency_after].map(|l| pick(&l));
        (predicted.is_some() || after.is_some()).then(|| {
            format!(
                "{what} p95 {} predicted, {} before, {} after",
                ms(predicted),
                ms(before),
                ms(after)
            )
        })
    };
    let both = [told("TTFT", |l| l.ttft_ms), told("ITL", |l| l.itl_ms)];
    let known: Vec<String> = both.into_iter().flatten().collect();
    (!known.is_empty()).then(|| known.join("; "))
}

/// With how many other changes a number is shared, where it is.
pub(super) fn shared(saved: &Realised) -> Option<String> {
    match saved.shared_with {
        0 => None,
        1 => Some("shared with one other change".to_owned()),
        others => Some(format!("shared with {others} other changes")),
    }
}

/// When and by whose hand, where anything was seen.
pub(super) fn hands(one: &Outcome, zone: Zone) -> Option<String> {
    let [applied, ended] = one.sights();
    let said = [("applied", applied), ("ended", ended)].map(|(what, sight)| {
        sight.map(|sight| {
            format!(
                "{what} between {} and {} by {}",
                zone.instant(sight.not_before_ms),
                zone.instant(sight.seen_ms),
                sight.by.as_deref().unwrap_or("an unknown hand")
            )
        })
    });
    let known: Vec<String> = said.into_iter().flatten().collect();
    (!known.is_empty()).then(|| known.join(", "))
}

fn line(one: &Outcome) -> String {
    let mut line = format!(
        "{}  {:<14} {}",
        one.recommendation_id,
        one.state,
        asked(one)
    );
    match &one.realised {
        None => line.push_str(", realised not yet known"),
        Some(saved) => {
            let _ = write!(
                line,
                ", realised {} over {} days against {} before{}",
                range(
                    Some(saved.monthly_usd),
                    Some(saved.low_usd),
                    Some(saved.high_usd)
                ),
                saved.days_after,
                saved.days_before,
                match saved.billed_usd {
                    Some(usd) if saved.capped => format!(", held to the bill's ${usd:.2}"),
                    Some(usd) => format!(", the bill fell by ${usd:.2}"),
                    None => String::new(),
                }
            );
            if let Some(others) = shared(saved) {
                let _ = write!(line, ", {others}");
            }
        }
    }
    for more in [hands(one, Zone::UTC), latencies(one)]
        .into_iter()
        .flatten()
    {
        let _ = write!(line, "; {more}");
    }
    line
}

/// A detector's record, for people.
pub(super) fn score_line(detector: &str, score: &Score) -> String {
    format!(
        "{detector}: {} of {} outcomes inside their bands, ${:.2} realised of ${:.2} predicted a month; its next bands are {} % as wide",
        score.inside, score.outcomes, score.realised_usd, score.predicted_usd, score.band_percent
    )
}

#[cfg(test)]
mod tests;
