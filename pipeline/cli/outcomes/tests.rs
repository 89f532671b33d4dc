//! Outcomes from rows of the lake, through the SQL that the product runs.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use datafusion::datasource::MemTable;
use serde_json::json;

use super::*;
use crate::approve::{BAND_MAX, Fate, Sight};
use crate::detect::economics::bill::Charge;
use crate::lake::schema;
use crate::lake::{SessionLimits, session_config};
use crate::model::time::HOUR_MS;

const DAYS: i64 = 50;
/// The day in which a replica goes.
const CHANGED: i64 = 21;

fn register(session: &SessionContext, name: &str, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap();
    session.register_table(name, Arc::new(table)).unwrap();
}

/// A workload whose hours cost two dollars and a cent a thousand tokens, and one dollar less after the
/// change, while its traffic doubles.
fn lake() -> SessionContext {
    let session = SessionContext::new_with_config(session_config(SessionLimits::default()));
    let hours: Vec<i64> = (0..DAYS * 24).collect();
    let text = |word: &str| -> ArrayRef { Arc::new(StringArray::from(vec![word; hours.len()])) };
    let tokens = |hour: i64| {
        let wave = 1000 + 400 * (hour % 24 / 12) + 100 * (hour / 24 % 7);
        if hour / 24 > CHANGED { 2 * wave } else { wave }
    };
    let cost = |hour: i64| {
        let fixed = if hour / 24 > CHANGED { 1 } else { 2 };
        i128::from(fixed * 1_000_000 + tokens(hour) * 10)
    };
    let time = |hours: &[i64]| -> ArrayRef {
        let micros: Vec<i64> = hours.iter().map(|hour| hour * HOUR_MS * 1000).collect();
        Arc::new(TimestampMicrosecondArray::from(micros))
    };
    let dates: Vec<i32> = hours.iter().map(|hour| (hour / 24) as i32).collect();
    let usd: Decimal128Array = hours.iter().map(|hour| Some(cost(*hour))).collect();
    let shared = || {
        vec![
            ("cluster", text("a")),
            ("namespace", text("chat")),
            ("workload_kind", text("deployment.apps")),
            ("workload_name", text("llm")),
            ("hour", time(&hours)),
        ]
    };
    let mut ledger = shared();
    ledger.push(("date", Arc::new(Date32Array::from(dates))));
    let usd = usd.with_precision_and_scale(38, 6).unwrap();
    ledger.push(("effective_cost_usd", Arc::new(usd)));
    ledger.push((
        "final",
        Arc::new(BooleanArray::from(vec![true; hours.len()])),
    ));
    register(&session, "v_ledger", ledger);
    let mut demand = shared();
    let counted: Int64Array = hours.iter().map(|hour| Some(tokens(*hour))).collect();
    demand.push(("prompt_tokens", Arc::new(counted)));
    demand.push((
        "output_tokens",
        Arc::new(Int64Array::from(vec![0; hours.len()])),
    ));
    demand.push((
        "replica_hours",
        Arc::new(Float64Array::from(vec![1.0; hours.len()])),
    ));
    register(&session, "v_workload_hours", demand);
    // Every hour as fast as the other before, and slower after.
    let mut rows: Vec<(i64, &str, i64, i64)> = Vec::new();
    for hour in &hours {
        let bound = if hour / 24 > CHANGED {
            900_000
        } else {
            400_000
        };
        rows.push((hour * HOUR_MS, "ttft", bound, 100));
        rows.push((hour * HOUR_MS, "ttft", i64::MAX, 100));
        rows.push((hour * HOUR_MS, "itl", i64::MAX, 100));
    }
    let word = |word: &str| -> ArrayRef { Arc::new(StringArray::from(vec![word; rows.len()])) };
    let number = |pick: fn(&(i64, &str, i64, i64)) -> i64| -> ArrayRef {
        Arc::new(
            rows.iter()
                .map(|row| Some(pick(row)))
                .collect::<Int64Array>(),
        )
    };
    let names: StringArray = rows.iter().map(|row| Some(row.1)).collect();
    register(
        &session,
        "workload_latency_hours",
        vec![
            ("cluster", word("a")),
            ("namespace", word("chat")),
            ("workload_kind", word("deployment.apps")),
            ("workload_name", word("llm")),
            ("hour_ms", number(|row| row.0)),
            ("histogram", Arc::new(names)),
            ("le_micro", number(|row| row.2)),
            ("observations", number(|row| row.3)),
        ],
    );
    // Its one machine is p5 on the bill.
    let one = |word: &str| -> ArrayRef { Arc::new(StringArray::from(vec![word])) };
    let whole = |name: &'static str, value: i64| -> (&'static str, ArrayRef) {
        (name, Arc::new(Int64Array::from(vec![value])))
    };
    register(
        &session,
        "ledger",
        vec![
            ("cluster", one("a")),
            ("node", one("x")),
            ("namespace", one("chat")),
            ("workload_kind", one("deployment.apps")),
            ("workload_name", one("llm")),
            whole("hour_ms", CHANGED * DAY_MS),
            ("class", one("serving")),
            ("final", Arc::new(BooleanArray::from(vec![true]))),
        ],
    );
    register(
        &session,
        "nodes",
        vec![
            ("cluster", one("a")),
            ("node", one("x")),
            ("provider_id", one("aws:///us-east-1a/i-1")),
            whole("valid_from_ms", 0),
            whole("valid_to_ms", DAYS * DAY_MS),
        ],
    );
    session
}

fn item(predicted: &str, low: &str, high: &str) -> Value {
    json!({
        "recommendation_id": "r1", "manifest_sha256": "ab", "finding_id": "f1",
        "detector": "surplus-replicas", "action": "replicas", "cluster": "a", "namespace": "chat",
        "workload": "deployment.apps/llm", "net_monthly_usd": predicted, "net_p10_usd": low,
        "net_p90_usd": high, "band_percent": null,
        "predicted_latency": {"ttft_ms": 800, "itl_ms": null},
    })
}

fn applied(ended: Option<i64>) -> ChangeFate {
    let sight = |day: i64, by: &str| Sight {
        not_before_ms: day * DAY_MS + 9 * HOUR_MS,
        seen_ms: day * DAY_MS + 10 * HOUR_MS,
        by: Some(by.to_owned()),
    };
    ChangeFate {
        fate: if ended.is_some() {
            Fate::Reverted
        } else {
            Fate::Applied
        },
        applied: Some(sight(CHANGED, "argocd")),
        ended: ended.map(|day| sight(day, "kubectl-edit")),
    }
}

async fn outcome(item: &Value, fate: ChangeFate, bills: &[Bill]) -> Outcome {
    let session = lake();
    let fates = vec![fate];
    let (saved, latency, _) = measured(&session, item, &fates, bills).await.unwrap();
    Outcome::of(item, 0, fates, saved, latency)
}

#[tokio::test]
async fn rows_of_the_lake_become_dollars_latencies_and_the_width_of_the_next_bands() {
    // A dollar an hour: 730 a month, through doubled traffic.
    let item = item("600", "500", "700");
    let told = outcome(&item, applied(None), &[]).await;
    assert_eq!(told.state, "realised");
    let saved = told.realised.clone().unwrap();
    assert_eq!((saved.days_before, saved.days_after), (21, 28));
    assert!(
        (saved.monthly_usd - Decimal::from(730)).abs() < Decimal::ONE,
        "{saved:?}"
    );
    assert!(saved.low_usd <= saved.monthly_usd && saved.monthly_usd <= saved.high_usd);
    assert_eq!(
        [
            told.predicted_latency,
            told.latency_before,
            told.latency_after
        ]
        .map(|l| l.ttft_ms),
        [Some(800), Some(400), Some(900)]
    );
    assert_eq!(told.latency_after.itl_ms, None, "beyond the last bound");
    // 130 off where 100 were allowed: a third wider from here on.
    let score = &scoreboard(std::slice::from_ref(&told))["surplus-replicas"];
    assert_eq!(
        (score.outcomes, score.inside, score.band_percent),
        (1, 0, 130)
    );
    let line = line(&told);
    println!("{line}\n{}", score_line("surplus-replicas", score));
    for word in [
        "predicted $600.00 ($500.00 to $700.00)",
        "by argocd",
        "TTFT p95 800 ms predicted, 400 ms before, 900 ms after",
    ] {
        assert!(line.contains(word), "{word}: {line}");
    }
    let row = super::super::outcome_rows::batch(&[&told]).unwrap();
    assert_eq!(
        row.schema(),
        schema::table("outcomes").unwrap().file_schema()
    );
    assert_eq!(
        usd_at(&usd(&row, "realised_monthly_usd").unwrap(), 0),
        Some(saved.monthly_usd)
    );
    assert_eq!(int(&row, "ttft_p95_after_ms").unwrap().value(0), 900);
    assert_eq!(text(&row, "applied_by").unwrap().value(0), "argocd");
}

#[tokio::test]
async fn what_was_taken_back_counts_while_it_stood_and_a_bill_holds_it() {
    let back = applied(Some(CHANGED + 17));
    let told = outcome(&item("730", "700", "760"), back.clone(), &[]).await;
    assert_eq!(told.state, "reverted");
    let saved = told.realised.clone().unwrap();
    assert_eq!(
        (saved.days_after, saved.after_ms.1),
        (14, (CHANGED + 15) * DAY_MS)
    );
    assert!(line(&told).contains("by kubectl-edit"));
    // What its machine is charged under fell by six dollars a day, another product by fifty.
    let charge = |day: i64, sku: &str, resource: &str, usd: i64| Charge {
        provider: "aws".into(),
        sku: sku.into(),
        resource: resource.into(),
        start_ms: day * DAY_MS,
        end_ms: (day + 1) * DAY_MS,
        effective_usd: usd.into(),
        is_usage: true,
    };
    let charges = (0..DAYS).flat_map(|day| {
        let (ours, theirs) = if day > CHANGED { (94, 50) } else { (100, 100) };
        [
            charge(day, "p5", "i-1", ours),
            charge(day, "g6", "i-2", theirs),
        ]
    });
    let bill = Bill {
        cluster: "a".into(),
        name: "b.csv".into(),
        charges: charges.collect(),
    };
    let told = outcome(&item("730", "700", "760"), back, &[bill]).await;
    let saved = told.realised.clone().unwrap();
    assert_eq!(
        (saved.monthly_usd, saved.capped),
        (Decimal::new(18250, 2), true)
    );
    assert_eq!(
        scoreboard(&[told])["surplus-replicas"].band_percent,
        BAND_MAX
    );
    // Taken back too soon: no number, and no score.
    let soon = outcome(&item("730", "700", "760"), applied(Some(CHANGED + 10)), &[]).await;
    assert_eq!(
        (soon.realised.as_ref(), soon.state.as_str()),
        (None, "reverted")
    );
    assert!(scoreboard(&[soon]).is_empty());
}
