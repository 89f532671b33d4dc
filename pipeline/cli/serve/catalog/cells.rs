//! Owns how rows of PostgreSQL's catalogue are put together: columns that differ by row, columns that are the
//! same in each, and tables without rows. What stands in them is `tables`'.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Int64Array, RecordBatch, StringArray, new_null_array,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::error::Result;

/// The cells of one column.
pub(super) enum Cells {
    Texts(Vec<String>),
    SomeTexts(Vec<Option<String>>),
    Numbers(Vec<i64>),
    SomeNumbers(Vec<Option<i64>>),
    Flags(Vec<bool>),
    EachText(&'static str),
    EachNumber(i64),
    EachFlag(bool),
    EachReal(f32),
    NoText,
    NoNumber,
    NoTexts,
}

impl Cells {
    fn array(self, rows: usize) -> ArrayRef {
        match self {
            Self::Texts(cells) => Arc::new(StringArray::from(cells)),
            Self::SomeTexts(cells) => Arc::new(StringArray::from(cells)),
            Self::Numbers(cells) => Arc::new(Int64Array::from(cells)),
            Self::SomeNumbers(cells) => Arc::new(Int64Array::from(cells)),
            Self::Flags(cells) => Arc::new(BooleanArray::from(cells)),
            Self::EachText(cell) => Arc::new(StringArray::from(vec![cell; rows])),
            Self::EachNumber(cell) => Arc::new(Int64Array::from(vec![cell; rows])),
            Self::EachFlag(cell) => Arc::new(BooleanArray::from(vec![cell; rows])),
            Self::EachReal(cell) => Arc::new(Float32Array::from(vec![cell; rows])),
            Self::NoText => new_null_array(&DataType::Utf8, rows),
            Self::NoNumber => new_null_array(&DataType::Int64, rows),
            Self::NoTexts => new_null_array(&list(DataType::Utf8), rows),
        }
    }
}

fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, true)))
}

pub(super) fn table(rows: usize, columns: Vec<(&str, Cells)>) -> Result<Arc<dyn TableProvider>> {
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns
        .into_iter()
        .map(|(name, cells)| {
            let array = cells.array(rows);
            (Field::new(name, array.data_type().clone(), true), array)
        })
        .unzip();
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays)?;
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
}

/// A table of nothing, from `name:kind` words: text, number, flag, and many of the first two.
pub(super) fn without_rows(columns: &str) -> Result<Arc<dyn TableProvider>> {
    let field = |word: &str| {
        let (name, kind) = word.split_once(':').unwrap_or((word, "t"));
        let kind = match kind {
            "n" => DataType::Int64,
            "f" => DataType::Boolean,
            "N" => list(DataType::Int64),
            "T" => list(DataType::Utf8),
            _ => DataType::Utf8,
        };
        Field::new(name, kind, true)
    };
    let fields: Vec<Field> = columns.split_whitespace().map(field).collect();
    let schema = Arc::new(Schema::new(fields));
    Ok(Arc::new(MemTable::try_new(schema, vec![Vec::new()])?))
}
