//! Owns Parquet beside the lake: files that others wrote, read as text, and rows for others to read.
//!
//! A bill is read and tables are exported this way by `cli`. Nothing of the lake is touched, and nothing is believed: a file
//! is bounded by its rows, and a column that is not there is the caller's to name.

use bytes::Bytes;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use datafusion::parquet::arrow::{ArrowWriter, ProjectionMask};

use datafusion::parquet::errors::ParquetError;

use super::LakeError;

const RFC3339: &str = "%Y-%m-%dT%H:%M:%S%.3fZ";

/// The columns that a file has of those asked for, and its rows in their order; times are RFC 3339 in
/// UTC, what is null is empty.
pub struct ForeignRows {
    pub columns: Vec<String>,
    pub rows: Box<dyn Iterator<Item = Result<Vec<String>, LakeError>>>,
}

/// Whether bytes begin as a Parquet file does.
#[must_use]
pub fn is_parquet(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PAR1")
}

/// Opens a file's `wanted` columns; nested ones are left out.
pub fn foreign_rows(bytes: Bytes, wanted: &[&str]) -> Result<ForeignRows, LakeError> {
    let wrong = |error: String| LakeError::Foreign(error);
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes)
        .map_err(|error| wrong(error.to_string()))?;
    let flat: Vec<usize> = (builder.schema().fields().iter().enumerate())
        .filter(|(_, field)| {
            wanted.contains(&field.name().as_str()) && !field.data_type().is_nested()
        })
        .map(|(at, _)| at)
        .collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), flat);
    let reader = builder
        .with_projection(mask)
        .build()
        .map_err(|error| wrong(error.to_string()))?;
    let columns = {
        use datafusion::arrow::array::RecordBatchReader as _;
        let fields = reader.schema();
        fields.fields().iter().map(|f| f.name().clone()).collect()
    };
    let rows = reader.flat_map(|batch| match batch.and_then(|batch| texts(&batch)) {
        Ok(rows) => rows.into_iter().map(Ok).collect::<Vec<_>>(),
        Err(error) => vec![Err(LakeError::Foreign(error.to_string()))],
    });
    Ok(ForeignRows {
        columns,
        rows: Box::new(rows),
    })
}

/// One Parquet file with these rows; none makes no file.
pub fn parquet_bytes(batches: &[RecordBatch]) -> Result<Vec<u8>, LakeError> {
    let failed = |cause: ParquetError| LakeError::Parquet {
        table: "export".to_owned(),
        cause: Box::new(cause),
    };
    let mut bytes = Vec::new();
    let Some(first) = batches.first() else {
        return Ok(bytes);
    };
    let mut writer = ArrowWriter::try_new(&mut bytes, first.schema(), None).map_err(failed)?;
    for batch in batches {
        writer.write(batch).map_err(failed)?;
    }
    writer.close().map_err(failed)?;
    Ok(bytes)
}

fn texts(batch: &RecordBatch) -> Result<Vec<Vec<String>>, ArrowError> {
    let utc = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let options = FormatOptions::default()
        .with_timestamp_format(Some(RFC3339))
        .with_timestamp_tz_format(Some(RFC3339));
    let mut rows = vec![Vec::with_capacity(batch.num_columns()); batch.num_rows()];
    for column in batch.columns() {
        let column = match column.data_type() {
            DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => cast(column, &utc)?,
            _ => column.clone(),
        };
        let text = ArrayFormatter::try_new(column.as_ref(), &options)?;
        for (at, row) in rows.iter_mut().enumerate() {
            row.push(text.value(at).try_to_string()?);
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use datafusion::arrow::array::{
        ArrayRef, Decimal128Array, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
    };

    fn file() -> Bytes {
        let cost = Decimal128Array::from(vec![Some(12_500_000), None]);
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("Other", Arc::new(Int64Array::from(vec![1, 2]))),
            (
                "EffectiveCost",
                Arc::new(cost.with_precision_and_scale(20, 6).unwrap()),
            ),
            (
                "ChargePeriodStart",
                Arc::new(
                    TimestampMicrosecondArray::from(vec![
                        1_793_664_000_000_000,
                        1_793_664_000_001_000,
                    ])
                    .with_timezone("+02:00"),
                ),
            ),
            (
                "ResourceId",
                Arc::new(StringArray::from(vec!["i-0", "i-1"])),
            ),
            ("ListCost", Arc::new(Float64Array::from(vec![0.1, 1e-7]))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        bytes.into()
    }

    #[test]
    fn wanted_columns_come_as_text_and_times_in_utc() {
        assert!(is_parquet(&file()));
        let wanted = ["ResourceId", "EffectiveCost", "ChargePeriodStart", "Absent"];
        let file = foreign_rows(file(), &wanted).unwrap();
        assert_eq!(
            file.columns,
            ["EffectiveCost", "ChargePeriodStart", "ResourceId"]
        );
        let rows: Vec<Vec<String>> = file.rows.map(Result::unwrap).collect();
        assert_eq!(rows[0], ["12.500000", "2026-11-03T00:00:00.000Z", "i-0"]);
        assert_eq!(rows[1], ["", "2026-11-03T00:00:00.001Z", "i-1"]);
    }

    #[test]
    fn a_broken_file_is_told() {
        let whole = file();
        let cut = whole.slice(..whole.len() / 2);
        let error = foreign_rows(cut, &["ResourceId"]).err().unwrap();
        assert!(error.to_string().contains("export it anew"), "{error}");
    }
}
