//! Owns rows as evidence bytes: which rows, in which order, in which encoding.

use std::io::Read as _;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::arrow::ipc::writer::StreamWriter;
use datafusion::common::TableReference;
use datafusion::logical_expr::SortExpr;
use datafusion::prelude::{SessionContext, ident, lit};
use datafusion::scalar::ScalarValue;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use crate::detect::DetectError;
use crate::lake::columns::text;
use crate::lake::schema;
use crate::model::TimeWindow;
use crate::model::time::DAY_MS;

/// No blob of a table's day comes near this; a longer one is not ours.
const MAX_DECODED_BYTES: u64 = 1 << 30;

/// Rows of a table that belong together.
pub(super) struct Part {
    pub cluster: Option<String>,
    pub day: Option<String>,
    pub rows: RecordBatch,
}

/// The window's rows of a table, cut by day and cluster where it has them, in the order of its full
/// key. A table without rows is one part without rows: a replay needs its columns.
pub(super) async fn parts(
    session: &SessionContext,
    table: &str,
    window: TimeWindow,
) -> Result<Vec<Part>, DetectError> {
    let failed = || DetectError::session(format!("copy `{table}`"));
    let frame = session
        .table(TableReference::bare(table))
        .await
        .map_err(failed())?;
    let schema = frame.schema().as_arrow().clone();
    let has = |name: &str| schema.field_with_name(name).is_ok();
    let order = sort_order(table, &schema);
    let mut frames = Vec::new();
    if has("date") {
        for day in window.days() {
            let days = i32::try_from(day.start_ms / DAY_MS).unwrap_or(i32::MAX);
            let of_day = ident("date").eq(lit(ScalarValue::Date32(Some(days))));
            frames.push((
                Some(day.date()),
                frame.clone().filter(of_day).map_err(failed())?,
            ));
        }
    } else {
        frames.push((None, frame));
    }
    let mut parts = Vec::new();
    let mut empty = RecordBatch::new_empty(std::sync::Arc::new(schema.clone()));
    for (day, frame) in frames {
        let frame = frame.sort(order.clone()).map_err(failed())?;
        let batches = frame.collect().await.map_err(failed())?;
        let Some(first) = batches.first() else {
            continue;
        };
        let rows = concat_batches(&first.schema(), &batches)
            .map_err(DetectError::arrow(format!("copy `{table}`")))?;
        if rows.num_rows() == 0 {
            empty = rows;
            continue;
        }
        if !has("cluster") {
            parts.push(Part {
                cluster: None,
                day,
                rows,
            });
            continue;
        }
        let clusters = text(&rows, "cluster")?;
        let mut from = 0;
        for row in 1..=rows.num_rows() {
            if row == rows.num_rows() || clusters.value(row) != clusters.value(from) {
                parts.push(Part {
                    cluster: Some(clusters.value(from).to_owned()),
                    day: day.clone(),
                    rows: rows.slice(from, row - from),
                });
                from = row;
            }
        }
    }
    if parts.is_empty() {
        parts.push(Part {
            cluster: None,
            day: None,
            rows: empty,
        });
    }
    Ok(parts)
}

/// The cluster, the table's key, then all other columns: no two different rows compare equal.
fn sort_order(table: &str, schema: &Schema) -> Vec<SortExpr> {
    let key = schema::table(table).map_or(&[] as &[&str], |spec| spec.sort);
    let mut names: Vec<&str> = Vec::new();
    let all = schema
        .fields()
        .iter()
        .filter(|field| !field.data_type().is_nested());
    let all = all.map(|field| field.name().as_str());
    for name in std::iter::once("cluster")
        .chain(key.iter().copied())
        .chain(all)
    {
        if !names.contains(&name) && schema.field_with_name(name).is_ok() {
            names.push(name);
        }
    }
    names
        .into_iter()
        .map(|name| ident(name).sort(true, true))
        .collect()
}

/// Rows as a compressed Arrow stream of one batch.
pub(super) fn encode(table: &str, rows: &RecordBatch) -> Result<Vec<u8>, DetectError> {
    let failed = || DetectError::arrow(format!("copy `{table}`"));
    // A slice would carry its neighbours' buffers, and its bytes depend on them.
    let rows = concat_batches(&rows.schema(), [rows]).map_err(failed())?;
    let gzip = GzEncoder::new(Vec::new(), Compression::default());
    let mut writer = StreamWriter::try_new(gzip, &rows.schema()).map_err(failed())?;
    writer.write(&rows).map_err(failed())?;
    let gzip = writer.into_inner().map_err(failed())?;
    gzip.finish().map_err(|error| failed()(error.into()))
}

/// The rows of a blob.
pub(in crate::detect) fn decode(
    sha256: &str,
    bytes: &[u8],
) -> Result<Vec<RecordBatch>, DetectError> {
    let broken = |why: String| DetectError::Evidence {
        sha256: sha256.to_owned(),
        why,
    };
    let mut plain = Vec::new();
    GzDecoder::new(bytes)
        .take(MAX_DECODED_BYTES)
        .read_to_end(&mut plain)
        .map_err(|error| broken(error.to_string()))?;
    let reader =
        StreamReader::try_new(plain.as_slice(), None).map_err(|error| broken(error.to_string()))?;
    let schema = reader.schema();
    let mut batches = reader
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| broken(error.to_string()))?;
    if batches.is_empty() {
        batches.push(RecordBatch::new_empty(schema));
    }
    Ok(batches)
}
