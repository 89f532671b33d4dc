//! A day that is cut into parts is the day.

use super::work::fleet;
use super::*;
use crate::detect::derive::derive_in_parts;

/// Rows as text, so that the order of parts and the size of batches do not matter.
fn rows(derived: &Derived) -> BTreeMap<&'static str, Vec<String>> {
    let formatted = |batches: &Vec<RecordBatch>| {
        let mut rows = Vec::new();
        for batch in batches {
            let options = datafusion::arrow::util::display::FormatOptions::new().with_null("NULL");
            let columns: Vec<_> = batch
                .columns()
                .iter()
                .map(|c| {
                    datafusion::arrow::util::display::ArrayFormatter::try_new(c, &options).unwrap()
                })
                .collect();
            for row in 0..batch.num_rows() {
                let cells: Vec<String> = columns.iter().map(|c| c.value(row).to_string()).collect();
                rows.push(cells.join("|"));
            }
        }
        rows.sort_unstable();
        rows
    };
    derived
        .tables
        .iter()
        .map(|(table, batches)| (*table, formatted(batches)))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_in_parts_is_the_day() {
    let queries = QuerySet::embedded().unwrap();
    for seed in [3, 11] {
        let fleet = fleet(seed);
        let session = session(&fleet.tables()).await;
        let request = request(DAY + 32 * HOUR);
        let derive = async |scrapes_per_part| {
            derive_in_parts(&session, &queries, &request, None, scrapes_per_part)
                .await
                .unwrap()
                .unwrap()
        };
        let whole = derive(i64::MAX).await;
        let cut = derive(700).await;
        assert_eq!(whole.digest, cut.digest);
        let (whole, cut) = (rows(&whole), rows(&cut));
        for (table, rows) in &whole {
            assert_eq!(&cut[table], rows, "{table}, seed {seed}");
        }
        for table in ["gpu_5m", "gpu_hours", "workload_5m", "ledger"] {
            assert!(!whole[table].is_empty(), "{table} has rows to lose");
        }
    }
}
