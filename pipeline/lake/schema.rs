//! Owns the column contract of every lake table: names, types, partitioning and sort order.
//!
//! It knows no file, no store and no SQL. `ingest` and `inventory` build record batches by it,
//! `lake` writes and reads Parquet by it, and the SQL tests type their given rows by it. A new
//! column is a line here and a migration under the fleet's lease, never a side effect of ingest.

mod inventory;
mod raw;
mod rollups;
mod runs;

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

/// How a table comes into being, which decides its partitioning and who may replace its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableKind {
    /// Written by `ingest`, window by window; partitioned by `(date, source)`.
    Raw,
    /// Rebuilt from raw tables day by day; partitioned by `(date, cluster)`.
    Derived,
    /// What one run concluded; partitioned by `(run_id, cluster)`, never replaced.
    Run,
}

/// The column types that Delta, Arrow, `DataFusion` and `DuckDB` all have.
///
/// There are no unsigned integers and no dictionaries: Delta has neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    Text,
    Int,
    Float,
    Bool,
    /// UTC microseconds.
    Timestamp,
    Date,
    /// US dollars or dollars per hour: `Decimal128(38, 6)`.
    Usd,
    FloatList,
}

impl ColumnType {
    #[must_use]
    pub fn arrow(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8,
            Self::Int => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::Bool => DataType::Boolean,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Date => DataType::Date32,
            Self::Usd => DataType::Decimal128(38, 6),
            Self::FloatList => {
                DataType::List(Arc::new(Field::new("element", DataType::Float64, true)))
            }
        }
    }
}

/// One column: its name carries the unit.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    pub name: &'static str,
    pub column_type: ColumnType,
    pub nullable: bool,
}

/// One table of the lake.
#[derive(Debug, Clone, Copy)]
pub struct TableSpec {
    pub name: &'static str,
    pub kind: TableKind,
    /// Columns as stored in the files: the partition columns are not among them.
    pub columns: &'static [Column],
    /// The full key, by which rows are sorted inside a file.
    pub sort: &'static [&'static str],
}

impl TableSpec {
    /// The two partition columns, which precede the stored ones when the table is read.
    #[must_use]
    pub fn partition_columns(&self) -> [Column; 2] {
        match self.kind {
            TableKind::Raw => [
                key("date", ColumnType::Date),
                key("source", ColumnType::Text),
            ],
            TableKind::Derived => [
                key("date", ColumnType::Date),
                key("cluster", ColumnType::Text),
            ],
            TableKind::Run => [
                key("run_id", ColumnType::Text),
                key("cluster", ColumnType::Text),
            ],
        }
    }

    /// The schema of a file: without partition columns.
    #[must_use]
    pub fn file_schema(&self) -> SchemaRef {
        Arc::new(Schema::new(
            self.columns.iter().map(field).collect::<Vec<_>>(),
        ))
    }

    /// The schema that a reader sees: partition columns first.
    #[must_use]
    pub fn table_schema(&self) -> SchemaRef {
        let partitions = self.partition_columns();
        Arc::new(Schema::new(
            partitions
                .iter()
                .chain(self.columns)
                .map(field)
                .collect::<Vec<_>>(),
        ))
    }
}

fn field(column: &Column) -> Field {
    Field::new(column.name, column.column_type.arrow(), column.nullable)
}

const fn key(name: &'static str, column_type: ColumnType) -> Column {
    Column {
        name,
        column_type,
        nullable: false,
    }
}

const fn value(name: &'static str, column_type: ColumnType) -> Column {
    Column {
        name,
        column_type,
        nullable: true,
    }
}

/// The table of that name.
#[must_use]
pub fn table(name: &str) -> Option<&'static TableSpec> {
    TABLES.iter().find(|spec| spec.name == name)
}

const PARTS: [&[TableSpec]; 4] = [
    raw::TABLES,
    inventory::TABLES,
    rollups::TABLES,
    runs::TABLES,
];

const COUNT: usize = {
    let (mut count, mut part) = (0, 0);
    while part < PARTS.len() {
        count += PARTS[part].len();
        part += 1;
    }
    count
};

static ALL: [TableSpec; COUNT] = {
    let mut all = [PARTS[0][0]; COUNT];
    let (mut at, mut part) = (0, 0);
    while part < PARTS.len() {
        let mut row = 0;
        while row < PARTS[part].len() {
            all[at] = PARTS[part][row];
            at += 1;
            row += 1;
        }
        part += 1;
    }
    all
};

/// Every table of the lake, in the order of the data's flow.
pub static TABLES: &[TableSpec] = &ALL;
