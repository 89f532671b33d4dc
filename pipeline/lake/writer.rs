//! Owns the way from record batches to Parquet bytes: sorted, and equal for equal rows.
//!
//! It names no store and no log. The order of input batches does not matter: rows are sorted by
//! the table's key and, where keys are equal, by all their columns, so a rerun writes the same
//! bytes and the file's digest can be its name.

use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::{Array, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::{cast, interleave_record_batch};
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::arrow::row::{RowConverter, Rows, SortField};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::arrow::arrow_writer::ArrowWriterOptions;
use datafusion::parquet::basic::{Compression, Encoding, ZstdLevel};
use datafusion::parquet::file::properties::{EnabledStatistics, WriterProperties};
use datafusion::parquet::schema::types::ColumnPath;
use sha2::{Digest, Sha256};

use super::error::LakeError;
use super::schema::{ColumnType, TableSpec};
use super::stats;

/// Two row groups a core at a fleet's day, while 128 Ki rows cost an eighth more bytes.
const ROWS_PER_GROUP: usize = 512 * 1024;
/// About 100 MB of telemetry.
const ROWS_PER_FILE: usize = 8 * ROWS_PER_GROUP;
/// Rows gathered at once: bounds the memory of the sort's last step.
const ROWS_PER_STEP: usize = 64 * 1024;
/// Gauges of decimal origin repeat few values; the default of 1 MiB gives up on them.
const DICTIONARY_BYTES: usize = 8 << 20;
/// Hexadecimal digits of the content's digest in a file's name.
const NAME_DIGITS: usize = 40;

/// A Parquet file in memory.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) bytes: Bytes,
    pub(crate) rows: u64,
    pub(crate) stats: String,
    pub(crate) content: String,
}

/// Makes a batch fit a table's file schema: columns by name, in order, cast where the value
/// stays the same. Partition columns are dropped, any other unknown column is an error.
pub fn conform(spec: &TableSpec, batch: &RecordBatch) -> Result<RecordBatch, LakeError> {
    let misfit = |reason: String| LakeError::Rows {
        table: spec.name.to_owned(),
        reason,
    };
    let schema = spec.file_schema();
    let partitions = spec.partition_columns();
    for field in batch.schema_ref().fields() {
        let known = spec.columns.iter().any(|c| c.name == field.name())
            || partitions.iter().any(|c| c.name == field.name());
        if !known {
            return Err(misfit(format!("it has no column {}", field.name())));
        }
    }
    let mut columns = Vec::with_capacity(spec.columns.len());
    for field in schema.fields() {
        let column = batch
            .column_by_name(field.name())
            .ok_or_else(|| misfit(format!("the column {} is missing", field.name())))?;
        if !field.is_nullable() && column.null_count() > 0 {
            return Err(misfit(format!(
                "{} of {} values of {} are NULL, and none may be",
                column.null_count(),
                column.len(),
                field.name()
            )));
        }
        let column = if column.data_type() == field.data_type() {
            Arc::clone(column)
        } else if is_lossless(column.data_type(), field.data_type()) {
            cast(column, field.data_type()).map_err(|e| LakeError::arrow(spec.name, e))?
        } else {
            return Err(misfit(format!(
                "{} is {} and must be {}",
                field.name(),
                column.data_type(),
                field.data_type()
            )));
        };
        columns.push(column);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema, columns, &options)
        .map_err(|e| LakeError::arrow(spec.name, e))
}

/// Casts that SQL results need and that cannot change a value (a decimal that does not fit is an
/// error of the cast, and a NULL in a column without NULLs one of the batch).
fn is_lossless(from: &DataType, to: &DataType) -> bool {
    use DataType::{
        Boolean, Decimal128, Dictionary, Float32, Float64, Int8, Int16, Int32, Int64, LargeList,
        LargeUtf8, List, Null, Timestamp, UInt8, UInt16, UInt32, Utf8, Utf8View,
    };
    match (from, to) {
        (Null, _)
        | (Utf8View | LargeUtf8, Utf8)
        | (Int8 | Int16 | Int32 | UInt8 | UInt16 | UInt32, Int64)
        | (Int8 | Int16 | Int32 | UInt8 | UInt16 | Float32, Float64)
        | (Boolean, Boolean) => true,
        (Dictionary(_, value), to) => value.as_ref() == to || is_lossless(value, to),
        (Timestamp(_, zone), Timestamp(..)) => zone.is_some(),
        (Int64 | Decimal128(..), Decimal128(_, scale)) => match from {
            Decimal128(_, have) => have <= scale,
            _ => true,
        },
        (List(item) | LargeList(item), List(wanted)) => {
            item.data_type() == wanted.data_type()
                || is_lossless(item.data_type(), wanted.data_type())
        }
        _ => false,
    }
}

/// Sorts and encodes; no rows give no file.
pub(crate) fn encode(spec: &TableSpec, batches: &[RecordBatch]) -> Result<Vec<Encoded>, LakeError> {
    let batches = batches
        .iter()
        .filter(|batch| batch.num_rows() > 0)
        .map(|batch| conform(spec, batch))
        .collect::<Result<Vec<_>, _>>()?;
    let order = sorted(spec, &batches).map_err(|e| LakeError::arrow(spec.name, e))?;
    let sources: Vec<&RecordBatch> = batches.iter().collect();
    let mut files = Vec::new();
    for rows in order.chunks(ROWS_PER_FILE) {
        files.push(encode_file(spec, &sources, rows)?);
    }
    Ok(files)
}

fn encode_file(
    spec: &TableSpec,
    sources: &[&RecordBatch],
    order: &[(usize, usize)],
) -> Result<Encoded, LakeError> {
    let parquet = |e| LakeError::parquet(spec.name, e);
    let options = ArrowWriterOptions::new()
        .with_properties(properties(spec)?)
        // What Parquet's own types cannot say is not in any table, and engines differ in how far
        // they trust an Arrow schema.
        .with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), spec.file_schema(), options)
        .map_err(parquet)?;
    let mut stats = stats::Collector::new(spec);
    for step in order.chunks(ROWS_PER_STEP) {
        let batch =
            interleave_record_batch(sources, step).map_err(|e| LakeError::arrow(spec.name, e))?;
        stats.add(&batch);
        writer.write(&batch).map_err(parquet)?;
    }
    let bytes = Bytes::from(writer.into_inner().map_err(parquet)?);
    let mut content = hex::encode(Sha256::digest(&bytes));
    content.truncate(NAME_DIGITS);
    Ok(Encoded {
        rows: order.len() as u64,
        stats: stats.finish(order.len() as u64),
        content,
        bytes,
    })
}

fn properties(spec: &TableSpec) -> Result<WriterProperties, LakeError> {
    let level = ZstdLevel::try_new(3).map_err(|e| LakeError::parquet(spec.name, e))?;
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("idleproof lake format ", "1").to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .set_max_row_group_row_count(Some(ROWS_PER_GROUP))
        .set_statistics_enabled(EnabledStatistics::Page);
    for column in spec.columns {
        let path = ColumnPath::from(column.name);
        if column.column_type == ColumnType::Timestamp {
            properties = properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
        } else if column.column_type == ColumnType::FloatList || column.name.ends_with("_json") {
            // Nobody prunes by the smallest JSON text or bucket count.
            properties = properties.set_column_statistics_enabled(path, EnabledStatistics::None);
        }
    }
    Ok(properties.build())
}

/// The rows' places as `(batch, row)`, in the order of the table's key.
fn sorted(
    spec: &TableSpec,
    batches: &[RecordBatch],
) -> Result<Vec<(usize, usize)>, datafusion::arrow::error::ArrowError> {
    let schema = spec.file_schema();
    let key: Vec<usize> = spec
        .sort
        .iter()
        .map(|name| schema.index_of(name))
        .collect::<Result<_, _>>()?;
    let keys = encode_rows(&schema, &key, batches)?;
    let mut places: Vec<(usize, usize)> = batches
        .iter()
        .enumerate()
        .flat_map(|(batch, rows)| (0..rows.num_rows()).map(move |row| (batch, row)))
        .collect();
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_unstable_by(|&a, &b| keys.row(a).cmp(&keys.row(b)));
    let ties = order
        .windows(2)
        .any(|pair| keys.row(pair[0]) == keys.row(pair[1]));
    if ties {
        // Two rows with one key: only then are all columns worth encoding.
        let all: Vec<usize> = (0..schema.fields().len()).collect();
        let whole = encode_rows(&schema, &all, batches)?;
        order.sort_unstable_by(|&a, &b| {
            keys.row(a)
                .cmp(&keys.row(b))
                .then_with(|| whole.row(a).cmp(&whole.row(b)))
        });
    }
    places = order.into_iter().map(|index| places[index]).collect();
    Ok(places)
}

fn encode_rows(
    schema: &Schema,
    columns: &[usize],
    batches: &[RecordBatch],
) -> Result<Rows, datafusion::arrow::error::ArrowError> {
    let fields = columns
        .iter()
        .map(|&index| SortField::new(schema.field(index).data_type().clone()))
        .collect();
    let converter = RowConverter::new(fields)?;
    let count = batches.iter().map(RecordBatch::num_rows).sum();
    let mut rows = converter.empty_rows(count, 0);
    for batch in batches {
        let arrays: Vec<_> = columns
            .iter()
            .map(|&index| Arc::clone(batch.column(index)))
            .collect();
        converter.append(&mut rows, &arrays)?;
    }
    Ok(rows)
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
