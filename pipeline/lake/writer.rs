//! Owns the way from record batches to Parquet bytes: sorted, and equal for equal rows.
//!
//! It names no store and no log. The order of input batches does not matter: rows are sorted by
//! the table's key and, where keys are equal, by all their columns, so a rerun writes the same
//! bytes and the file's digest can be its name. Columns are independent of each other, so they
//! are encoded one by one, on all cores. Called by `Lake`; how a column is encoded is `encoding`'s.

use std::num::NonZero;
use std::ops::Range;
use std::sync::Arc;
use std::sync::Mutex;

use bytes::Bytes;
use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::parquet::arrow::ArrowSchemaConverter;
use datafusion::parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves,
};
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::writer::SerializedFileWriter;
use sha2::{Digest, Sha256};

use super::decimals::Decimal;
use super::encoding::{self, Floats};
use super::error::LakeError;
use super::order::Ordered;
use super::schema::{ColumnType, TableSpec};
use super::stats;

/// Two row groups a core at a fleet's day, while 128 Ki rows cost an eighth more bytes.
pub(super) const ROWS_PER_GROUP: usize = 512 * 1024;
/// About 100 MB of telemetry.
const ROWS_PER_FILE: usize = 8 * ROWS_PER_GROUP;
/// Rows of a column handled at once: bounds the memory of the sort's last step.
pub(super) const ROWS_PER_STEP: usize = 64 * 1024;
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
    fit(spec, batch, false)
}

/// As [`conform`]; labels that are held as a dictionary may stay so.
fn fit(spec: &TableSpec, batch: &RecordBatch, labels: bool) -> Result<RecordBatch, LakeError> {
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
    let mut fields: Vec<Field> = Vec::with_capacity(spec.columns.len());
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
        let as_it_is = column.data_type() == field.data_type()
            || labels && is_label(column.data_type(), field.data_type());
        let column = if as_it_is {
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
        fields.push(
            field
                .as_ref()
                .clone()
                .with_data_type(column.data_type().clone()),
        );
        columns.push(column);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
        .map_err(|e| LakeError::arrow(spec.name, e))
}

fn is_label(from: &DataType, to: &DataType) -> bool {
    matches!(
        (from, to),
        (DataType::Dictionary(key, value), DataType::Utf8)
            if **key == DataType::Int32 && **value == DataType::Utf8
    )
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
pub(crate) fn encode(
    spec: &TableSpec,
    batches: &[RecordBatch],
    floats: Floats,
) -> Result<Vec<Encoded>, LakeError> {
    let batches = batches
        .iter()
        .filter(|batch| batch.num_rows() > 0)
        .map(|batch| fit(spec, batch, true))
        .collect::<Result<Vec<_>, _>>()?;
    let rows = Ordered::new(spec, batches).map_err(|e| LakeError::arrow(spec.name, e))?;
    pieces(0..rows.len(), ROWS_PER_FILE)
        .map(|range| encode_file(spec, &rows, range, floats))
        .collect()
}

/// Neighbouring parts of a range, each of `size` but the last.
pub(super) fn pieces(range: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range
        .step_by(size)
        .map(move |from| from..end.min(from + size))
}

fn encode_file(
    spec: &TableSpec,
    rows: &Ordered,
    range: Range<usize>,
    floats: Floats,
) -> Result<Encoded, LakeError> {
    let parquet = |e| LakeError::parquet(spec.name, e);
    let encoding::Plan {
        properties,
        decimals,
    } = encoding::plan(spec, rows, &range, floats)?;
    let properties = Arc::new(properties);
    let layout = Layout {
        schema: stored_schema(spec, &decimals),
        decimals,
    };
    let schema = &layout.schema;
    // What Parquet's own types cannot say is not in any table, and engines differ in how far
    // they trust an Arrow schema: none is written.
    let described = ArrowSchemaConverter::new()
        .convert(schema)
        .map_err(parquet)?;
    let root = described.root_schema_ptr();
    let mut writer =
        SerializedFileWriter::new(Vec::new(), root, Arc::clone(&properties)).map_err(parquet)?;
    let factory = ArrowRowGroupWriterFactory::new(&writer, Arc::clone(schema));
    let mut stats = stats::Collector::new(spec);
    for (number, group) in pieces(range.clone(), ROWS_PER_GROUP).enumerate() {
        let columns = factory.create_column_writers(number).map_err(parquet)?;
        let chunks = encode_group(spec, rows, &layout, &group, columns, &mut stats)?;
        let mut to = writer.next_row_group().map_err(parquet)?;
        for chunk in chunks {
            chunk.append_to_row_group(&mut to).map_err(parquet)?;
        }
        to.close().map_err(parquet)?;
    }
    let bytes = Bytes::from(writer.into_inner().map_err(parquet)?);
    let mut content = hex::encode(Sha256::digest(&bytes));
    content.truncate(NAME_DIGITS);
    Ok(Encoded {
        rows: range.len() as u64,
        stats: stats.finish(range.len() as u64),
        content,
        bytes,
    })
}

/// What a file's columns are, which may differ from the table's.
struct Layout {
    schema: Arc<Schema>,
    decimals: Vec<Option<Decimal>>,
}

fn stored_schema(spec: &TableSpec, decimals: &[Option<Decimal>]) -> Arc<Schema> {
    let schema = spec.file_schema();
    let fields = schema.fields().iter().zip(decimals);
    let stored = fields.map(|(field, decimal)| match decimal {
        Some(decimal) => Field::clone(field).with_data_type(decimal.data_type()),
        None => Field::clone(field),
    });
    Arc::new(Schema::new(stored.collect::<Vec<_>>()))
}

/// One column of one row group on its way through a thread.
struct Task {
    column: usize,
    writer: ArrowColumnWriter,
}

type Outcome = Result<(usize, ArrowColumnChunk, stats::Collector), LakeError>;

/// The chunks of one row group, in the order of the columns. No table's column has more than one
/// leaf, so there is one writer for each.
fn encode_group(
    spec: &TableSpec,
    rows: &Ordered,
    layout: &Layout,
    group: &Range<usize>,
    writers: Vec<ArrowColumnWriter>,
    stats: &mut stats::Collector,
) -> Result<Vec<ArrowColumnChunk>, LakeError> {
    let mut tasks: Vec<Task> = writers
        .into_iter()
        .enumerate()
        .map(|(column, writer)| Task { column, writer })
        .collect();
    // The last is taken first: columns that cost most must not come last.
    tasks.sort_by_key(|task| match spec.columns[task.column].column_type {
        ColumnType::FloatList => 2,
        ColumnType::Float => 1,
        _ => 0,
    });
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = match group.len() {
        0..ROWS_PER_STEP => 1,
        _ => cores.min(tasks.len()),
    };
    let tasks = Mutex::new(tasks);
    let work = || {
        let mut done: Vec<Outcome> = Vec::new();
        // Nobody panics while holding the lock.
        while let Some(task) = tasks.lock().ok().and_then(|mut tasks| tasks.pop()) {
            done.push(encode_column(spec, rows, layout, group, task));
        }
        done
    };
    let done: Vec<Outcome> = if threads < 2 {
        work()
    } else {
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut done = work();
            for other in others {
                match other.join() {
                    Ok(more) => done.extend(more),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            done
        })
    };
    let mut chunks = Vec::with_capacity(done.len());
    for outcome in done {
        let (column, chunk, more) = outcome?;
        stats.merge(more);
        chunks.push((column, chunk));
    }
    chunks.sort_by_key(|(column, _)| *column);
    Ok(chunks.into_iter().map(|(_, chunk)| chunk).collect())
}

fn encode_column(
    spec: &TableSpec,
    rows: &Ordered,
    layout: &Layout,
    group: &Range<usize>,
    task: Task,
) -> Outcome {
    let Task { column, mut writer } = task;
    let parquet = |e: ParquetError| LakeError::parquet(spec.name, e);
    let arrow = |e| LakeError::arrow(spec.name, e);
    let field = layout.schema.field(column);
    let mut stats = stats::Collector::new(spec);
    for step in pieces(group.clone(), ROWS_PER_STEP) {
        let mut array: ArrayRef = rows.column(column, step).map_err(arrow)?;
        stats.add(spec.columns[column].name, &array);
        if let Some(decimal) = layout.decimals[column] {
            array = decimal.numbers(&array).map_err(arrow)?;
        }
        for leaf in compute_leaves(field, &array).map_err(parquet)? {
            writer.write(&leaf).map_err(parquet)?;
        }
    }
    Ok((column, writer.close().map_err(parquet)?, stats))
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
