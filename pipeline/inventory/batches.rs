//! Owns the way from rows to Arrow, by the lake's column contract. It knows no row's meaning.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
};
use datafusion::arrow::error::ArrowError;

use crate::lake::schema::{self, ColumnType};

use super::rows::{Cell, Inventory, Row};

/// Rows that do not fit the lake's column contract.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    #[error("cannot write inventory rows: the lake has no table `{table}`; update the schema")]
    NoTable { table: &'static str },
    #[error(
        "cannot write table `{table}`: its rows have no `{column}` of the column's type; \
         rows and schema are of different versions"
    )]
    NoColumn {
        table: &'static str,
        column: &'static str,
    },
    #[error("cannot write table `{table}`: {source}")]
    Arrow {
        table: &'static str,
        source: ArrowError,
    },
}

/// One batch in the file schema of the rows' table, without partition columns.
pub fn batch<R: Row>(rows: &[R]) -> Result<RecordBatch, BatchError> {
    let table = R::TABLE;
    let spec = schema::table(table).ok_or(BatchError::NoTable { table })?;
    let cells: Vec<Vec<(&'static str, Cell)>> = rows.iter().map(Row::cells).collect();
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(spec.columns.len());
    for column in spec.columns {
        let missing = || BatchError::NoColumn {
            table,
            column: column.name,
        };
        let values = cells.iter().map(|row| {
            row.iter()
                .find(|(name, _)| *name == column.name)
                .map(|(_, cell)| cell)
        });
        macro_rules! array {
            ($variant:ident, $array:ty) => {{
                let values: Option<Vec<_>> = values
                    .map(|cell| match cell {
                        Some(Cell::$variant(value)) => Some(value.clone()),
                        _ => None,
                    })
                    .collect();
                Arc::new(<$array>::from(values.ok_or_else(missing)?)) as ArrayRef
            }};
        }
        arrays.push(match column.column_type {
            ColumnType::Text => array!(Text, StringArray),
            ColumnType::Int => array!(Int, Int64Array),
            ColumnType::Float => array!(Float, Float64Array),
            ColumnType::Bool => array!(Bool, BooleanArray),
            _ => return Err(missing()),
        });
    }
    RecordBatch::try_new(spec.file_schema(), arrays)
        .map_err(|source| BatchError::Arrow { table, source })
}

/// Every inventory table as one batch, also the empty ones, in the order of the data's flow.
pub fn batches(inventory: &Inventory) -> Result<Vec<(&'static str, RecordBatch)>, BatchError> {
    Ok(vec![
        ("nodes", batch(&inventory.nodes)?),
        ("slices", batch(&inventory.slices)?),
        ("gpu_holders", batch(&inventory.gpu_holders)?),
        ("pods", batch(&inventory.pods)?),
        ("workloads", batch(&inventory.workloads)?),
        ("autoscalers", batch(&inventory.autoscalers)?),
        ("workload_details", batch(&inventory.workload_details)?),
        ("node_details", batch(&inventory.node_details)?),
        ("data_quality", batch(&inventory.data_quality)?),
        ("scaling_events", batch(&inventory.scaling_events)?),
        ("scaling_lint", batch(&inventory.scaling_lint)?),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::detail_rows::{
        DataQualityRow, NodeDetailRow, ScalingEventRow, ScalingLintRow, WorkloadDetailRow,
    };
    use crate::inventory::rows::{
        AutoscalerRow, HolderRow, NodeRow, PodRow, SliceRow, WorkloadRow,
    };

    #[test]
    fn every_row_fits_its_table() {
        let inventory = Inventory {
            nodes: vec![NodeRow::default()],
            slices: vec![SliceRow::default()],
            gpu_holders: vec![HolderRow::default()],
            pods: vec![PodRow::default()],
            workloads: vec![WorkloadRow::default()],
            autoscalers: vec![AutoscalerRow::default()],
            workload_details: vec![WorkloadDetailRow::default()],
            node_details: vec![NodeDetailRow::default()],
            data_quality: vec![DataQualityRow::default()],
            scaling_events: vec![ScalingEventRow::default()],
            scaling_lint: vec![ScalingLintRow::default()],
        };
        for (table, batch) in batches(&inventory).unwrap() {
            let spec = schema::table(table).unwrap();
            assert_eq!(batch.num_columns(), spec.columns.len(), "{table}");
            assert_eq!(batch.num_rows(), 1, "{table}");
        }
        assert_eq!(batches(&Inventory::default()).unwrap().len(), 11);
    }
}
