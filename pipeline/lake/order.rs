//! Owns the order of rows in a file: by the table's key and, where keys are equal, by all columns.
//!
//! Rows of `ingest` mostly come in that order already; then nothing is copied. Called by `writer`
//! and `encoding`, column by column.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::arrow::compute::{LexicographicalComparator, SortColumn, cast, concat, interleave};
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::row::{RowConverter, Rows, SortField};

use super::schema::TableSpec;

/// Batches and the order of all their rows.
pub(super) struct Ordered {
    batches: Vec<RecordBatch>,
    /// Where each batch begins, and the number of all rows.
    starts: Vec<usize>,
    /// The rows' places as `(batch, row)`; `None` if they stand in order.
    places: Option<Vec<(usize, usize)>>,
}

impl Ordered {
    /// Batches have the columns of the table's files; texts may be dictionaries.
    pub(super) fn new(spec: &TableSpec, batches: Vec<RecordBatch>) -> Result<Self, ArrowError> {
        let schema = spec.file_schema();
        let key: Vec<usize> = spec
            .sort
            .iter()
            .map(|name| schema.index_of(name))
            .collect::<Result<_, _>>()?;
        if ascends(&key, &batches)? {
            return Ok(Self::with_places(batches, None));
        }
        let plain = batches.iter().map(|batch| without_labels(&schema, batch));
        let batches = plain.collect::<Result<Vec<_>, _>>()?;
        let places = sorted(&schema, &key, &batches)?;
        Ok(Self::with_places(batches, Some(places)))
    }

    fn with_places(batches: Vec<RecordBatch>, places: Option<Vec<(usize, usize)>>) -> Self {
        let mut starts = vec![0];
        for batch in &batches {
            starts.push(starts.last().unwrap_or(&0) + batch.num_rows());
        }
        Self {
            batches,
            starts,
            places,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    /// Some rows of a column, in order.
    pub(super) fn column(
        &self,
        column: usize,
        range: Range<usize>,
    ) -> Result<ArrayRef, ArrowError> {
        if let Some(places) = &self.places {
            let arrays: Vec<&dyn Array> = self
                .batches
                .iter()
                .map(|batch| batch.column(column).as_ref())
                .collect();
            return interleave(&arrays, places.get(range).unwrap_or(&[]));
        }
        let mut parts: Vec<ArrayRef> = Vec::new();
        for (batch, start) in self.batches.iter().zip(&self.starts) {
            let from = range.start.max(*start);
            let to = range.end.min(start + batch.num_rows());
            if from < to {
                parts.push(batch.column(column).slice(from - start, to - from));
            }
        }
        if let [whole] = parts.as_slice() {
            return Ok(Arc::clone(whole));
        }
        let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        concat(&parts)
    }
}

/// Whether each row's key is greater than that of the row before it.
fn ascends(key: &[usize], batches: &[RecordBatch]) -> Result<bool, ArrowError> {
    let mut last: Option<RecordBatch> = None;
    for batch in batches {
        let columns = |batch: &RecordBatch| -> Vec<ArrayRef> {
            key.iter().map(|at| Arc::clone(batch.column(*at))).collect()
        };
        let here = columns(batch);
        if let Some(before) = last.replace(batch.slice(batch.num_rows() - 1, 1)) {
            let mut seam = Vec::with_capacity(key.len());
            for (before, here) in columns(&before).iter().zip(&here) {
                if before.data_type() != here.data_type() {
                    return Ok(false);
                }
                seam.push(concat(&[before.as_ref(), here.slice(0, 1).as_ref()])?);
            }
            if !all_ascend(seam)? {
                return Ok(false);
            }
        }
        if !all_ascend(here)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn all_ascend(columns: Vec<ArrayRef>) -> Result<bool, ArrowError> {
    let rows = columns.first().map_or(0, |column| column.len());
    let columns: Vec<SortColumn> = columns
        .into_iter()
        .map(|values| SortColumn {
            values,
            // Ascending, NULLs first: as the rows' encoding below orders them.
            options: None,
        })
        .collect();
    let order = LexicographicalComparator::try_new(&columns)?;
    Ok((1..rows).all(|row| order.compare(row - 1, row).is_lt()))
}

fn without_labels(schema: &Arc<Schema>, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = schema
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| {
            if column.data_type() == field.data_type() {
                Ok(Arc::clone(column))
            } else {
                cast(column, field.data_type())
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns)
}

/// The rows' places as `(batch, row)`, in the order of the table's key.
fn sorted(
    schema: &Schema,
    key: &[usize],
    batches: &[RecordBatch],
) -> Result<Vec<(usize, usize)>, ArrowError> {
    let keys = encode_rows(schema, key, batches)?;
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
        let whole = encode_rows(schema, &all, batches)?;
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
) -> Result<Rows, ArrowError> {
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
