//! Owns how each column of a file is encoded. Floats are of many kinds, levels that repeat,
//! counters, readings that never repeat, so for each of them some rows of the file itself are tried.
//! The choice depends on the rows and on nothing else. Called by `writer`.
//!
//! In raw tables a float column whose values are all decimals may be stored as such, where that is
//! smaller: Parquet's own decimal type, which readers cast to the table's type. Delta knows no
//! such thing, so strict engines refuse the column: `docs/lake.md`.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::concat;
use datafusion::arrow::datatypes::{DataType, Decimal64Type, Field, Float64Type, Schema};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{Compression, Encoding, ZstdLevel};
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::properties::{
    EnabledStatistics, WriterProperties, WriterPropertiesBuilder,
};
use datafusion::parquet::schema::types::ColumnPath;

use super::decimals::{Decimal, Finder};
use super::error::LakeError;
use super::order::Ordered;
use super::schema::{Column, ColumnType, TableKind, TableSpec};
use super::writer::{ROWS_PER_GROUP, ROWS_PER_STEP, pieces};

const ZSTD_LEVEL: i32 = 3;
/// Gauges of decimal origin repeat few values; the default of 1 MiB gives up on them.
const DICTIONARY_BYTES: usize = 8 << 20;
/// Stretches of rows that are tried, and the rows and list values of each.
const STRETCHES: usize = 4;
const ROWS_PER_STRETCH: usize = 4096;
const LISTS_PER_STRETCH: usize = 512;
/// A column of fewer rows than this is not worth a trial.
const MIN_ROWS: usize = STRETCHES * ROWS_PER_STRETCH;
/// Floats that take no more bytes than this each stay what they are.
const SMALL: f64 = 0.75;
/// Decimals must save a tenth to be worth another type in the file.
const DECIMALS_AT_MOST: f64 = 0.9;

/// How a column is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    /// Values by their place in a dictionary.
    Dictionary,
    /// One value after the other.
    Plain,
    /// The differences of whole numbers.
    Deltas,
}

/// Which floats may be stored as decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Floats {
    /// Those of raw tables.
    #[default]
    Decimal,
    /// None: for engines that want a file's types to be the table's.
    Double,
}

/// How a file is written.
pub(super) struct Plan {
    pub(super) properties: WriterProperties,
    /// By column: the decimals that its floats are stored as.
    pub(super) decimals: Vec<Option<Decimal>>,
}

pub(super) fn plan(
    spec: &TableSpec,
    rows: &Ordered,
    range: &Range<usize>,
    floats: Floats,
) -> Result<Plan, LakeError> {
    let parquet = |e| LakeError::parquet(spec.name, e);
    let arrow = |e| LakeError::arrow(spec.name, e);
    let mut properties = base()
        .map_err(parquet)?
        .set_created_by(concat!("idleproof lake format ", "1").to_owned())
        .set_statistics_enabled(EnabledStatistics::Page);
    let mut decimals = vec![None; spec.columns.len()];
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
        if !is_float || range.len() < MIN_ROWS {
            continue;
        }
        let tried = some_rows(column, index, rows, range).map_err(arrow)?;
        let floats_best = best(column, &tried, range.len()).map_err(parquet)?;
        let mut chosen = floats_best.packing;
        if spec.kind == TableKind::Raw
            && floats == Floats::Decimal
            && column.column_type == ColumnType::Float
            && floats_best.bytes > SMALL
            && let Some(packing) =
                decimals_best(column, &tried, range.len(), floats_best.bytes).map_err(parquet)?
            && let Some(found) = all_decimals(index, rows, range).map_err(arrow)?
        {
            decimals[index] = Some(found);
            chosen = packing;
        }
        properties = match chosen {
            Packing::Dictionary => properties,
            Packing::Plain => properties.set_column_dictionary_enabled(path, false),
            Packing::Deltas => properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED),
        };
    }
    Ok(Plan {
        properties: properties.build(),
        decimals,
    })
}

/// The decimals that all rows of a column are.
fn all_decimals(
    index: usize,
    rows: &Ordered,
    range: &Range<usize>,
) -> Result<Option<Decimal>, datafusion::arrow::error::ArrowError> {
    let mut finder = Finder::default();
    for step in pieces(range.clone(), ROWS_PER_STEP) {
        if !finder.add(&rows.column(index, step)?) {
            return Ok(None);
        }
    }
    Ok(finder.found())
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

/// A packing and about how many bytes a value takes in it.
#[derive(Debug, Clone, Copy)]
struct Best {
    packing: Packing,
    bytes: f64,
}

fn best(column: &Column, tried: &ArrayRef, rows: usize) -> Result<Best, ParquetError> {
    let values = match tried.as_list_opt::<i32>() {
        Some(lists) => lists.values(),
        None => tried,
    };
    let few = Best {
        packing: Packing::Dictionary,
        bytes: 0.0,
    };
    let Some(values) = values.as_primitive_opt::<Float64Type>() else {
        return Ok(few);
    };
    let times = times_of(values.iter().flatten().map(f64::to_bits));
    let count: usize = times.values().sum();
    // Few values: a dictionary holds them, and nothing needs to be tried.
    if times.len() * 16 <= count {
        return Ok(few);
    }
    let bytes = size(column, tried, Packing::Plain)? as f64 / count as f64;
    let plain = Best {
        packing: Packing::Plain,
        bytes,
    };
    let dictionary = dictionary(&times, count, tried.len(), rows, bytes, 8.0);
    Ok(dictionary.filter(|d| d.bytes < bytes).unwrap_or(plain))
}

/// The best packing of a column's decimals, where it is clearly better than the best of its floats.
fn decimals_best(
    column: &Column,
    tried: &ArrayRef,
    rows: usize,
    floats_bytes: f64,
) -> Result<Option<Packing>, ParquetError> {
    let mut finder = Finder::default();
    let found = finder.add(tried).then(|| finder.found()).flatten();
    let Some(decimal) = found else {
        return Ok(None);
    };
    let numbers = decimal.numbers(tried)?;
    let count = tried.len() - tried.null_count();
    let bytes_of =
        |packing| Ok::<_, ParquetError>(size(column, &numbers, packing)? as f64 / count as f64);
    let mut best = Best {
        packing: Packing::Deltas,
        bytes: bytes_of(Packing::Deltas)?,
    };
    let plain = bytes_of(Packing::Plain)?;
    if plain < best.bytes {
        best = Best {
            packing: Packing::Plain,
            bytes: plain,
        };
    }
    let times = times_of(
        numbers
            .as_primitive_opt::<Decimal64Type>()
            .into_iter()
            .flat_map(|numbers| numbers.iter().flatten())
            .map(|number| number as u64),
    );
    if let Some(dictionary) = dictionary(&times, count, tried.len(), rows, plain, 4.0)
        && dictionary.bytes < best.bytes
    {
        best = dictionary;
    }
    Ok((best.bytes < floats_bytes * DECIMALS_AT_MOST).then_some(best.packing))
}

fn times_of(values: impl Iterator<Item = u64>) -> HashMap<u64, usize> {
    let mut times = HashMap::new();
    for value in values {
        *times.entry(value).or_default() += 1;
    }
    times
}

/// What a dictionary would take; `None` where it would be too long. `alone` is what a value takes
/// that stands alone, `width` its bytes before they are compressed.
fn dictionary(
    times: &HashMap<u64, usize>,
    count: usize,
    tried: usize,
    rows: usize,
    alone: f64,
    width: f64,
) -> Option<Best> {
    let in_group = count as f64 / tried as f64 * rows.min(ROWS_PER_GROUP) as f64;
    let entries = expected_distinct(times, count, in_group);
    // A place takes the bits that number all entries; an entry is as hard to pack as a value that
    // stands alone.
    let place = entries.max(2.0).log2().ceil() / 8.0;
    (entries * width <= DICTIONARY_BYTES as f64).then(|| Best {
        packing: Packing::Dictionary,
        bytes: place + entries / in_group * alone,
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

fn size(column: &Column, tried: &ArrayRef, packing: Packing) -> Result<usize, ParquetError> {
    let field = Field::new(column.name, DataType::clone(tried.data_type()), true);
    let schema = Arc::new(Schema::new(vec![field]));
    let mut properties = base()?
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None);
    if packing == Packing::Deltas {
        properties = properties.set_encoding(Encoding::DELTA_BINARY_PACKED);
    }
    let properties = properties.build();
    let mut writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties))?;
    writer.write(&RecordBatch::try_new(schema, vec![Arc::clone(tried)])?)?;
    let metadata = writer.finish()?;
    Ok(metadata
        .row_groups()
        .iter()
        .map(|group| group.compressed_size() as usize)
        .sum())
}
