//! Owns the way from rows to record batches, for any table by its column contract, and the digest
//! of a window's content. Does not know what a row means. Called by `pivot` and `kubernetes`.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayBuilder, ArrayRef, BooleanArray, BooleanBuilder, DictionaryArray, Float64Array,
    Float64Builder, Int64Array, Int64Builder, ListArray, ListBuilder, RecordBatch, StringArray,
    StringBuilder, StringDictionaryBuilder, TimestampMicrosecondArray, TimestampMicrosecondBuilder,
};
use datafusion::arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use sha2::{Digest, Sha256};

use crate::lake::schema::{ColumnType, TableSpec};

/// Rows in one record batch. The digest runs over batches, so this number is part of it.
const ROWS_PER_BATCH: usize = 65_536;

/// One value of a row.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cell<'a> {
    Null,
    Text(&'a str),
    Int(i64),
    Float(f64),
    Bool(bool),
    /// Milliseconds since the epoch, stored as microseconds.
    Time(i64),
    Floats(&'a [f64]),
}

impl<'a> Cell<'a> {
    pub(crate) fn text(value: Option<&'a str>) -> Self {
        value.map_or(Self::Null, Self::Text)
    }
}

/// One column of neighbouring rows.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Block<'a> {
    /// The same in every row.
    Same(Cell<'a>),
    /// Milliseconds since the epoch.
    Times(&'a [i64]),
    /// NaN where there is no value.
    Floats(&'a [f64]),
    Lists(&'a Lists),
}

/// A list of floats, or none, for each of neighbouring rows.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    values: Vec<f64>,
    /// Where each row's list ends in `values`; `None` where there is no list.
    ends: Vec<Option<usize>>,
}

impl Lists {
    pub(crate) fn push(&mut self, list: Option<&[f64]>) {
        self.values.extend_from_slice(list.unwrap_or(&[]));
        self.ends.push(list.map(|_| self.values.len()));
    }

    /// Whether no row has a list.
    pub(crate) fn is_blank(&self) -> bool {
        self.ends.iter().all(Option::is_none)
    }
}

/// A row that does not fit its table: a mistake of this program, never of the input.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    #[error("a row of {table} has no fitting value for column {column}; report this as a bug")]
    Cell {
        table: &'static str,
        column: &'static str,
    },
    #[error("the rows of {table} do not make a record batch: {source}; report this as a bug")]
    Batch {
        table: &'static str,
        source: ArrowError,
    },
}

enum Builder {
    Text(StringBuilder),
    /// Texts that repeat from row to row, each kept once a batch.
    Label(StringDictionaryBuilder<Int32Type>),
    Int(Int64Builder),
    Float(Float64Builder),
    Bool(BooleanBuilder),
    Time(TimestampMicrosecondBuilder),
    Floats(ListBuilder<Float64Builder>),
}

impl Builder {
    fn new(column_type: ColumnType, labels: bool) -> Option<Self> {
        Some(match column_type {
            ColumnType::Text if labels => Self::Label(StringDictionaryBuilder::new()),
            ColumnType::Text => Self::Text(StringBuilder::new()),
            ColumnType::Int => Self::Int(Int64Builder::new()),
            ColumnType::Float => Self::Float(Float64Builder::new()),
            ColumnType::Bool => Self::Bool(BooleanBuilder::new()),
            ColumnType::Timestamp => {
                Self::Time(TimestampMicrosecondBuilder::new().with_timezone("UTC"))
            }
            ColumnType::FloatList => {
                let element = Field::new("element", DataType::Float64, true);
                Self::Floats(ListBuilder::new(Float64Builder::new()).with_field(element))
            }
            // No raw table has dates or money.
            ColumnType::Date | ColumnType::Usd => return None,
        })
    }

    /// False if the cell is of another type.
    fn push(&mut self, cell: Cell<'_>) -> bool {
        match (self, cell) {
            (Self::Text(b), Cell::Text(v)) => b.append_value(v),
            (Self::Text(b), Cell::Null) => b.append_null(),
            // Fails only beyond 2³¹ distinct texts.
            (Self::Label(b), Cell::Text(v)) => return b.append(v).is_ok(),
            (Self::Label(b), Cell::Null) => b.append_null(),
            (Self::Int(b), Cell::Int(v)) => b.append_value(v),
            (Self::Int(b), Cell::Null) => b.append_null(),
            (Self::Float(b), Cell::Float(v)) => b.append_value(v),
            (Self::Float(b), Cell::Null) => b.append_null(),
            (Self::Bool(b), Cell::Bool(v)) => b.append_value(v),
            (Self::Bool(b), Cell::Null) => b.append_null(),
            (Self::Time(b), Cell::Time(ms)) => match ms.checked_mul(1_000) {
                Some(us) => b.append_value(us),
                None => return false,
            },
            (Self::Time(b), Cell::Null) => b.append_null(),
            (Self::Floats(b), Cell::Floats(list)) => {
                b.values().append_slice(list);
                b.append(true);
            }
            (Self::Floats(b), Cell::Null) => b.append_null(),
            _ => return false,
        }
        true
    }

    /// Adds `rows` of a block; false if it is of another type.
    fn push_block(&mut self, block: Block<'_>, rows: std::ops::Range<usize>) -> bool {
        let count = rows.len();
        match (self, block) {
            (Self::Label(b), Block::Same(Cell::Text(v))) => return b.append_n(v, count).is_ok(),
            (Self::Label(b), Block::Same(Cell::Null)) => b.append_nulls(count),
            (Self::Int(b), Block::Same(Cell::Int(v))) => b.append_value_n(v, count),
            (Self::Int(b), Block::Same(Cell::Null)) => b.append_nulls(count),
            (Self::Float(b), Block::Same(Cell::Null)) => b.append_nulls(count),
            (Self::Float(b), Block::Floats(values)) => {
                let Some(values) = values.get(rows) else {
                    return false;
                };
                if values.iter().any(|value| value.is_nan()) {
                    let there = values.iter().map(|v| (!v.is_nan()).then_some(*v));
                    there.for_each(|value| b.append_option(value));
                } else {
                    b.append_slice(values);
                }
            }
            (Self::Time(b), Block::Times(times)) => {
                for ms in times.get(rows).unwrap_or(&[]) {
                    match ms.checked_mul(1_000) {
                        Some(us) => b.append_value(us),
                        None => return false,
                    }
                }
            }
            (Self::Floats(b), Block::Lists(lists)) => {
                let before = lists.ends.iter().take(rows.start).rev();
                let mut start = before.flatten().next().copied().unwrap_or(0);
                for end in lists.ends.get(rows).unwrap_or(&[]) {
                    let end_here = end.unwrap_or(start);
                    b.values().append_slice(&lists.values[start..end_here]);
                    b.append(end.is_some());
                    start = end_here;
                }
            }
            (builder, Block::Same(cell)) => return rows.into_iter().all(|_| builder.push(cell)),
            _ => return false,
        }
        true
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(b) => ArrayBuilder::finish(b),
            Self::Label(b) => ArrayBuilder::finish(b),
            Self::Int(b) => ArrayBuilder::finish(b),
            Self::Float(b) => ArrayBuilder::finish(b),
            Self::Bool(b) => ArrayBuilder::finish(b),
            Self::Time(b) => ArrayBuilder::finish(b),
            Self::Floats(b) => ArrayBuilder::finish(b),
        }
    }
}

/// Takes rows of one table and gives record batches of its file schema.
pub(crate) struct TableRows {
    spec: &'static TableSpec,
    schema: SchemaRef,
    builders: Vec<Builder>,
    pending: usize,
    done: Vec<RecordBatch>,
}

impl TableRows {
    pub(crate) fn new(spec: &'static TableSpec) -> Result<Self, RowError> {
        Self::with_builders(spec, false)
    }

    /// For tables whose texts are labels, the same in many rows: they are held as dictionaries,
    /// which takes a tenth of the memory. What is stored, and its digest, are the same.
    pub(crate) fn labelled(spec: &'static TableSpec) -> Result<Self, RowError> {
        Self::with_builders(spec, true)
    }

    fn with_builders(spec: &'static TableSpec, labels: bool) -> Result<Self, RowError> {
        let builders = spec
            .columns
            .iter()
            .map(|column| {
                Builder::new(column.column_type, labels).ok_or(RowError::Cell {
                    table: spec.name,
                    column: column.name,
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let stored = spec.file_schema();
        let held = stored.fields().iter().zip(&builders);
        let fields: Vec<Field> = held
            .map(|(field, builder)| match builder {
                Builder::Label(_) => {
                    let texts = DataType::Dictionary(
                        Box::new(DataType::Int32),
                        Box::new(field.data_type().clone()),
                    );
                    field.as_ref().clone().with_data_type(texts)
                }
                _ => field.as_ref().clone(),
            })
            .collect();
        Ok(Self {
            spec,
            schema: Arc::new(Schema::new(fields)),
            builders,
            pending: 0,
            done: Vec::new(),
        })
    }

    fn misfit(&self, column: &'static str) -> RowError {
        RowError::Cell {
            table: self.spec.name,
            column,
        }
    }

    /// Adds a row: one cell a column, in the table's order.
    pub(crate) fn push(&mut self, row: &[Cell<'_>]) -> Result<(), RowError> {
        for (index, column) in self.spec.columns.iter().enumerate() {
            let cell = row.get(index).copied().unwrap_or(Cell::Null);
            let fits =
                (column.nullable || !matches!(cell, Cell::Null)) && self.builders[index].push(cell);
            if !fits {
                return Err(self.misfit(column.name));
            }
        }
        self.pending += 1;
        if self.pending == ROWS_PER_BATCH {
            self.flush()?;
        }
        Ok(())
    }

    /// Adds `count` rows at once: one block a column, in the table's order.
    pub(crate) fn push_blocks(
        &mut self,
        count: usize,
        blocks: &[Block<'_>],
    ) -> Result<(), RowError> {
        let mut from = 0;
        while from < count {
            let to = count.min(from + ROWS_PER_BATCH - self.pending);
            for (index, column) in self.spec.columns.iter().enumerate() {
                let none = Block::Same(Cell::Null);
                let block = blocks.get(index).copied().unwrap_or(none);
                let fits = (column.nullable || !matches!(block, Block::Same(Cell::Null)))
                    && self.builders[index].push_block(block, from..to);
                if !fits {
                    return Err(self.misfit(column.name));
                }
            }
            self.pending += to - from;
            from = to;
            if self.pending == ROWS_PER_BATCH {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), RowError> {
        if self.pending == 0 {
            return Ok(());
        }
        let arrays = self.builders.iter_mut().map(Builder::finish).collect();
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays).map_err(|source| {
            RowError::Batch {
                table: self.spec.name,
                source,
            }
        })?;
        self.done.push(batch);
        self.pending = 0;
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<TableBatches, RowError> {
        self.flush()?;
        Ok(TableBatches {
            table: self.spec.name,
            batches: self.done,
        })
    }
}

/// All rows of one table in one window, in a deterministic order.
#[derive(Debug, Clone)]
pub struct TableBatches {
    pub table: &'static str,
    pub batches: Vec<RecordBatch>,
}

impl TableBatches {
    #[must_use]
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}

/// The digest of what a window holds: rows only, never files or the order of arrival.
#[must_use]
pub fn content_digest(tables: &[TableBatches]) -> String {
    let mut hasher = Sha256::new();
    for table in tables {
        hasher.update(table.table.as_bytes());
        hasher.update((table.rows() as u64).to_le_bytes());
        for batch in &table.batches {
            for column in batch.columns() {
                hash_column(&mut hasher, column);
            }
        }
    }
    hex::encode(hasher.finalize())
}

fn hash_column(hasher: &mut Sha256, column: &ArrayRef) {
    let rows = column.len();
    hasher.update((rows as u64).to_le_bytes());
    hasher.update((column.null_count() as u64).to_le_bytes());
    if column.null_count() == rows {
        return;
    }
    if column.null_count() > 0 {
        let bits: Vec<u8> = (0..rows).map(|row| u8::from(column.is_null(row))).collect();
        hasher.update(&bits);
    }
    let any = column.as_any();
    if let Some(text) = any.downcast_ref::<StringArray>() {
        hash_text(hasher, text);
    } else if let Some(labels) = any.downcast_ref::<DictionaryArray<Int32Type>>() {
        hash_labels(hasher, labels);
    } else if let Some(floats) = any.downcast_ref::<Float64Array>() {
        hash_words(hasher, floats.iter().flatten().map(f64::to_bits));
    } else if let Some(ints) = any.downcast_ref::<Int64Array>() {
        hash_words(hasher, ints.iter().flatten().map(i64::cast_unsigned));
    } else if let Some(times) = any.downcast_ref::<TimestampMicrosecondArray>() {
        hash_words(hasher, times.iter().flatten().map(i64::cast_unsigned));
    } else if let Some(lists) = any.downcast_ref::<ListArray>() {
        hash_words(
            hasher,
            (0..rows).map(|row| lists.value_length(row).cast_unsigned().into()),
        );
        hash_column(hasher, lists.values());
    } else if let Some(flags) = any.downcast_ref::<BooleanArray>() {
        hash_words(hasher, flags.iter().flatten().map(u64::from));
    } else {
        // `Builder` makes no other type.
        debug_assert!(
            false,
            "a column of type {} has no digest",
            column.data_type()
        );
    }
}

/// Labels repeat from row to row: each run of equal texts is hashed once.
fn hash_text(hasher: &mut Sha256, text: &StringArray) {
    let mut run: Option<(&str, u64)> = None;
    for value in text.iter().flatten() {
        match &mut run {
            Some((current, count)) if *current == value => *count += 1,
            _ => {
                hash_run(hasher, run);
                run = Some((value, 1));
            }
        }
    }
    hash_run(hasher, run);
}

/// As [`hash_text`]; equal keys are equal texts.
fn hash_labels(hasher: &mut Sha256, labels: &DictionaryArray<Int32Type>) {
    let Some(texts) = labels.values().as_any().downcast_ref::<StringArray>() else {
        return;
    };
    let mut run: Option<(i32, u64)> = None;
    let mut end = |run: Option<(i32, u64)>| {
        hash_run(
            hasher,
            run.map(|(key, count)| (texts.value(key as usize), count)),
        );
    };
    for key in labels.keys().iter().flatten() {
        match &mut run {
            Some((current, count)) if *current == key => *count += 1,
            _ => {
                end(run);
                run = Some((key, 1));
            }
        }
    }
    end(run);
}

fn hash_run(hasher: &mut Sha256, run: Option<(&str, u64)>) {
    if let Some((value, count)) = run {
        hasher.update((value.len() as u64).to_le_bytes());
        hasher.update(value.as_bytes());
        hasher.update(count.to_le_bytes());
    }
}

fn hash_words(hasher: &mut Sha256, words: impl Iterator<Item = u64>) {
    let mut buffer = [0_u8; 4096];
    let mut filled = 0;
    for word in words {
        buffer[filled..filled + 8].copy_from_slice(&word.to_le_bytes());
        filled += 8;
        if filled == buffer.len() {
            hasher.update(buffer);
            filled = 0;
        }
    }
    hasher.update(&buffer[..filled]);
}

/// A batch of one row, for tables with a single one.
pub(crate) fn single_row(
    spec: &'static TableSpec,
    row: &[Cell<'_>],
) -> Result<TableBatches, RowError> {
    let mut rows = TableRows::new(spec)?;
    rows.push(row)?;
    rows.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::schema;

    fn misc(rows: &[(&str, i64, f64)]) -> TableBatches {
        let mut table = TableRows::new(schema::table("misc_samples").unwrap()).unwrap();
        for (metric, ts, value) in rows {
            table
                .push(&[
                    Cell::Text("c"),
                    Cell::Text(metric),
                    Cell::Int(7),
                    Cell::Time(*ts),
                    Cell::Float(*value),
                ])
                .unwrap();
        }
        table.finish().unwrap()
    }

    #[test]
    fn the_digest_sees_every_value_and_nothing_else() {
        let base = content_digest(&[misc(&[("up", 1, 1.0), ("up", 2, 0.0)])]);
        assert_eq!(
            base,
            content_digest(&[misc(&[("up", 1, 1.0), ("up", 2, 0.0)])])
        );
        for other in [
            misc(&[("up", 1, 1.0), ("up", 2, -0.0)]),
            misc(&[("up", 1, 1.0), ("up", 3, 0.0)]),
            misc(&[("up", 1, 1.0), ("uq", 2, 0.0)]),
            misc(&[("up", 1, 1.0)]),
        ] {
            assert_ne!(base, content_digest(&[other]));
        }
    }

    #[test]
    fn lists_and_nulls_are_part_of_the_digest() {
        let spec = schema::table("serving_samples").unwrap();
        let of = |ttft: Cell<'_>, counts: Cell<'_>| {
            let row: Vec<Cell<'_>> = spec
                .columns
                .iter()
                .map(|c| match (c.name, c.column_type, c.nullable) {
                    ("ttft_le_seconds", ..) => ttft,
                    ("ttft_bucket_counts", ..) => counts,
                    (_, ColumnType::Text, false) => Cell::Text("x"),
                    (_, ColumnType::Timestamp, _) => Cell::Time(1),
                    _ => Cell::Null,
                })
                .collect();
            let batches = single_row(spec, &row).unwrap();
            assert_eq!(batches.rows(), 1);
            content_digest(&[batches])
        };
        let both = of(
            Cell::Floats(&[0.1, f64::INFINITY]),
            Cell::Floats(&[1.0, 2.0]),
        );
        assert_ne!(
            both,
            of(
                Cell::Floats(&[0.2, f64::INFINITY]),
                Cell::Floats(&[1.0, 2.0])
            )
        );
        assert_ne!(both, of(Cell::Null, Cell::Floats(&[1.0, 2.0])));
    }

    #[test]
    fn a_missing_key_is_refused_by_name() {
        let mut table = TableRows::new(schema::table("misc_samples").unwrap()).unwrap();
        let error = table.push(&[Cell::Text("c")]).unwrap_err().to_string();
        assert!(
            error.contains("misc_samples") && error.contains("metric"),
            "{error}"
        );
    }
}
