use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, StringArray};
use rust_decimal::Decimal;

use super::tests::*;
use super::*;
use crate::detect::run_rows;
use crate::lake::columns::{int, text};
use crate::lake::{register_views, schema};
use crate::model::time::HOUR_MS;

#[tokio::test]
async fn v_ledger_keeps_every_slots_sum_and_shows_the_net() {
    let (session, inputs) = (session(), inputs());
    let detection = detect(&session, &worked_example(), &inputs).await.unwrap();
    let rows = run_rows(
        &["a".to_owned(), "b".to_owned()],
        &detection.findings,
        &detection.claims,
    )
    .unwrap();
    assert_eq!(rows["b"].findings.num_rows(), 0);
    let prices = crate::detect::economics::rows::prices_batch(&inputs.prices).unwrap();
    for (table, batch) in [
        ("findings", &rows["a"].findings),
        ("recommendations", &rows["a"].recommendations),
        ("claims_netted", &rows["a"].claims_netted),
        ("prices", &prices),
    ] {
        let spec = schema::table(table).unwrap();
        assert_eq!(batch.schema(), spec.file_schema(), "{table}");
        let word = |text: &'static str| -> ArrayRef {
            Arc::new(StringArray::from(vec![text; batch.num_rows()]))
        };
        let mut columns = vec![word("r1"), word("a")];
        columns.extend(batch.columns().iter().cloned());
        let batch = RecordBatch::try_new(spec.table_schema(), columns).unwrap();
        register(&session, table, vec![batch]).unwrap();
    }
    let sql = include_str!("../../../queries/views/v_ledger.sql");
    register_views(&session, &[("v_ledger", sql)])
        .await
        .unwrap();
    let batches = session
        .sql("SELECT CAST(hour AS BIGINT) AS hour_ms, gpu_slot, class, ms, final, CAST(seconds * 1000 AS BIGINT) AS s_ms, CAST(effective_cost_usd AS TEXT) AS usd FROM v_ledger")
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    let mut slots: BTreeMap<(i64, i64), i64> = BTreeMap::new();
    let mut classes: BTreeMap<String, i64> = BTreeMap::new();
    let mut avoidable = Decimal::ZERO;
    for batch in &batches {
        let (hours, slot) = (
            int(batch, "hour_ms").unwrap(),
            int(batch, "gpu_slot").unwrap(),
        );
        let (class, ms) = (text(batch, "class").unwrap(), int(batch, "ms").unwrap());
        let (seconds, cost) = (int(batch, "s_ms").unwrap(), text(batch, "usd").unwrap());
        for row in 0..batch.num_rows() {
            assert!(ms.value(row) > 0);
            assert_eq!(ms.value(row), seconds.value(row));
            *slots
                .entry((hours.value(row), slot.value(row)))
                .or_default() += ms.value(row);
            *classes.entry(class.value(row).to_owned()).or_default() += ms.value(row);
            if ["surplus", "misplaced"].contains(&class.value(row)) {
                avoidable += usd(cost.value(row));
            }
        }
    }
    assert_eq!(slots.len() as i64, (DAYS * 24 + 1) * 6);
    assert!(slots.values().all(|ms| *ms == HOUR_MS), "{slots:?}");
    assert_eq!(classes["surplus"], DAYS * 36 * HOUR_MS);
    assert_eq!(
        classes["surplus"] + classes["misplaced"] + classes["productive"],
        DAYS * 86 * HOUR_MS
    );
    // The hour that is not closed was judged by nobody.
    let open: i64 = slots_of_class(DAYS * 24, "serving");
    assert_eq!(classes["serving"], open);
    let net: Decimal = detection
        .findings
        .iter()
        .filter_map(|finding| finding.net_window_usd)
        .sum();
    assert!((net - avoidable).abs() < usd("0.0001"), "{net} {avoidable}");
}

fn slots_of_class(hour: i64, class: &str) -> i64 {
    slots()
        .iter()
        .filter(|slot| slot.hour == hour && slot.class == class)
        .map(|slot| slot.ms)
        .sum()
}
