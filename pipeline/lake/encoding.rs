//! Owns how each column of a file is encoded. Floats are of many kinds, levels that repeat,
//! counters, readings that never repeat, so for each of them some rows of the file itself are tried.
//! The choice depends on the rows and on nothing else. Called by `writer`.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::concat;
use datafusion::arrow::datatypes::{DataType, Field, Float64Type, Schema};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{Compression, Encoding, ZstdLevel};
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::properties::{
    EnabledStatistics, WriterProperties, WriterPropertiesBuilder,
};
use datafusion::parquet::schema::types::ColumnPath;

use super::error::LakeError;
use super::order::Ordered;
use super::schema::{Column, ColumnType, TableSpec};
use super::writer::ROWS_PER_GROUP;

const ZSTD_LEVEL: i32 = 3;
/// Gauges of decimal origin repeat few values; the default of 1 MiB gives up on them.
const DICTIONARY_BYTES: usize = 8 << 20;
/// Stretches of rows that are tried, and the rows and list values of each.
const STRETCHES: usize = 4;
const ROWS_PER_STRETCH: usize = 4096;
const LISTS_PER_STRETCH: usize = 512;
/// A column of fewer rows than this is not worth a trial.
const MIN_ROWS: usize = STRETCHES * ROWS_PER_STRETCH;

/// How floats are stored: by their place in a dictionary, or one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Floats {
    Dictionary,
    Plain,
}

pub(super) fn properties(
    spec: &TableSpec,
    rows: &Ordered,
    range: &Range<usize>,
) -> Result<WriterProperties, LakeError> {
    let parquet = |e| LakeError::parquet(spec.name, e);
    let mut properties = base()
        .map_err(parquet)?
        .set_created_by(concat!("idleproof lake format ", "1").to_owned())
        .set_statistics_enabled(EnabledStatistics::Page);
    for (index, column) in spec.columns.iter().enumerate() {
        let path = path_of(column);
        if column.column_type == ColumnType::Timestamp {
            properties = properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
            continue;
        }
        if column.column_type == ColumnType::FloatList || column.name.ends_with("_json") {
            // Nobody prunes by the smallest JSON text or bucket count.
            properties =
                properties.set_column_statistics_enabled(path.clone(), EnabledStatistics::None);
        }
        let is_float = matches!(
            column.column_type,
            ColumnType::Float | ColumnType::FloatList
        );
        if is_float && range.len() >= MIN_ROWS {
            let tried = some_rows(column, index, rows, range)
                .map_err(|e| LakeError::arrow(spec.name, e))?;
            if best(column, &tried, range.len()).map_err(parquet)? == Floats::Plain {
                properties = properties.set_column_dictionary_enabled(path, false);
            }
        }
    }
    Ok(properties.build())
}

fn base() -> Result<WriterPropertiesBuilder, ParquetError> {
    Ok(WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .set_max_row_group_row_count(Some(ROWS_PER_GROUP)))
}

/// The leaf that a column's values are in.
fn path_of(column: &Column) -> ColumnPath {
    match column.column_type {
        ColumnType::FloatList => {
            ColumnPath::new([column.name, "list", "element"].map(str::to_owned).to_vec())
        }
        _ => ColumnPath::from(column.name),
    }
}

/// Stretches of a column, evenly spread.
fn some_rows(
    column: &Column,
    index: usize,
    rows: &Ordered,
    range: &Range<usize>,
) -> Result<ArrayRef, datafusion::arrow::error::ArrowError> {
    let length = match column.column_type {
        ColumnType::FloatList => LISTS_PER_STRETCH,
        _ => ROWS_PER_STRETCH,
    };
    let stretches = (0..STRETCHES)
        .map(|number| {
            let from = range.start + (range.len() - length) / (STRETCHES - 1) * number;
            rows.column(index, from..from + length)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let stretches: Vec<&dyn Array> = stretches.iter().map(AsRef::as_ref).collect();
    concat(&stretches)
}

fn best(column: &Column, tried: &ArrayRef, rows: usize) -> Result<Floats, ParquetError> {
    let values = match tried.as_list_opt::<i32>() {
        Some(lists) => lists.values(),
        None => tried,
    };
    let Some(values) = values.as_primitive_opt::<Float64Type>() else {
        return Ok(Floats::Dictionary);
    };
    let mut times: HashMap<u64, usize> = HashMap::new();
    for value in values.iter().flatten() {
        *times.entry(value.to_bits()).or_default() += 1;
    }
    let count: usize = times.values().sum();
    // Few values: a dictionary holds them, and nothing needs to be tried.
    if times.len() * 16 <= count {
        return Ok(Floats::Dictionary);
    }
    let plain = size_of_plain(column, tried)? as f64 / count as f64;
    let in_group = count as f64 / tried.len() as f64 * rows.min(ROWS_PER_GROUP) as f64;
    let entries = expected_distinct(&times, count, in_group);
    if entries * 8.0 > DICTIONARY_BYTES as f64 {
        return Ok(Floats::Plain);
    }
    // A place takes the bits that number all entries; an entry is as hard to pack as a value that
    // stands alone.
    let place = entries.max(2.0).log2().ceil() / 8.0;
    Ok(if place + entries / in_group * plain < plain {
        Floats::Dictionary
    } else {
        Floats::Plain
    })
}

/// How many distinct values `rows` would show, by Chao's estimate: the values that were met once
/// and twice tell how many were not met yet. A value that is met all the time tells nothing.
fn expected_distinct(times: &HashMap<u64, usize>, count: usize, rows: f64) -> f64 {
    let met = |wanted: usize| times.values().filter(|t| **t == wanted).count() as f64;
    let (once, twice) = (met(1), met(2).max(1.0));
    let unmet = once * once / (2.0 * twice);
    if unmet == 0.0 {
        return times.len() as f64;
    }
    let more = (rows / count as f64 - 1.0).max(0.0);
    times.len() as f64 + unmet * -(-more * once / unmet).exp_m1()
}

fn size_of_plain(column: &Column, tried: &ArrayRef) -> Result<usize, ParquetError> {
    let field = Field::new(column.name, DataType::clone(tried.data_type()), true);
    let schema = Arc::new(Schema::new(vec![field]));
    let properties = base()?
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties))?;
    writer.write(&RecordBatch::try_new(schema, vec![Arc::clone(tried)])?)?;
    let metadata = writer.finish()?;
    Ok(metadata
        .row_groups()
        .iter()
        .map(|group| group.compressed_size() as usize)
        .sum())
}
