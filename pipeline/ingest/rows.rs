//! Owns the way from rows to record batches, for any table by its column contract. Does not know
//! what a row means. Called by `pivot` and `kubernetes`.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayBuilder, ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, ListBuilder, RecordBatch,
    StringBuilder, StringDictionaryBuilder, TimestampMicrosecondBuilder,
};
use datafusion::arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;

use crate::lake::schema::{ColumnType, TableSpec};

/// Rows in one record batch. The digest of a window runs over batches, so this number is part of it.
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
            (builder, Block::Same(cell)) => return (0..count).all(|_| builder.push(cell)),
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
    use crate::ingest::digest::content_digest;
    use crate::lake::schema;

    #[test]
    fn rows_added_at_once_are_the_same_as_rows_added_one_by_one() {
        let spec = schema::table("misc_samples").unwrap();
        let count = ROWS_PER_BATCH + 1000;
        let times: Vec<i64> = (0..count as i64).collect();
        let values: Vec<f64> = (0..count)
            .map(|row| if row % 7 == 0 { f64::NAN } else { row as f64 })
            .collect();
        let mut at_once = TableRows::labelled(spec).unwrap();
        let mut one_by_one = TableRows::new(spec).unwrap();
        for metric in ["a", "b", "b"] {
            let fixed = [Cell::Text("c"), Cell::Text(metric), Cell::Int(7)];
            let mut blocks = fixed.map(Block::Same).to_vec();
            blocks.extend([Block::Times(&times), Block::Floats(&values)]);
            at_once.push_blocks(count, &blocks).unwrap();
            for (time, value) in times.iter().zip(&values) {
                let value = Some(*value).filter(|v| !v.is_nan());
                let mut row = fixed.to_vec();
                row.push(Cell::Time(*time));
                row.push(value.map_or(Cell::Null, Cell::Float));
                one_by_one.push(&row).unwrap();
            }
        }
        let (one, other) = (at_once.finish().unwrap(), one_by_one.finish().unwrap());
        assert_eq!(one.batches.len(), other.batches.len());
        assert_eq!(content_digest(&[one]), content_digest(&[other]));
    }

    #[test]
    fn lists_are_cut_where_batches_end() {
        let mut lists = Lists::default();
        assert!(lists.is_blank());
        for list in [Some(&[1.0, 2.0][..]), None, Some(&[]), Some(&[3.0])] {
            lists.push(list);
        }
        let taken = |rows: std::ops::Range<usize>| {
            let mut builder = Builder::new(ColumnType::FloatList, true).unwrap();
            assert!(builder.push_block(Block::Lists(&lists), rows));
            format!("{:?}", builder.finish())
        };
        let flat = |text: String| text.split_whitespace().collect::<String>();
        let all = flat(taken(0..4));
        assert!(
            all.contains("[1.0,2.0,],],null,") || all.contains("1.0,2.0"),
            "{all}"
        );
        let rest = flat(taken(1..4));
        assert!(!rest.contains("1.0,") && rest.contains("3.0"), "{rest}");
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
