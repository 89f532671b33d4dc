//! Tests of sorting and encoding.

use std::sync::Arc;

use datafusion::arrow::array::{
    AsArray, Float64Array, Int64Array, StringArray, StringViewArray, TimestampMicrosecondArray,
    UInt64Array,
};
use datafusion::arrow::compute::take_record_batch;
use datafusion::arrow::datatypes::Float64Type;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use datafusion::parquet::basic::{Compression, Encoding};

use super::*;
use crate::lake::schema::{self, TABLES};
use crate::lake::test_rows::rows;

fn read(bytes: &Bytes) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone())
        .unwrap()
        .with_batch_size(1 << 20)
        .build()
        .unwrap();
    let batches: Vec<_> = reader.map(Result::unwrap).collect();
    assert_eq!(batches.len(), 1);
    batches[0].clone()
}

#[test]
fn every_table_survives_parquet_with_its_types() {
    for spec in TABLES {
        let batch = rows(spec.name, 7, 1);
        let files = encode(spec, std::slice::from_ref(&batch), Floats::default()).unwrap();
        let back = read(&files[0].bytes);
        assert_eq!(back.num_rows(), 7);
        for field in spec.file_schema().fields() {
            let found = back.schema_ref().field_with_name(field.name()).unwrap();
            assert_eq!(
                found.data_type(),
                field.data_type(),
                "{}.{}",
                spec.name,
                field.name()
            );
        }
    }
}

#[test]
fn the_order_of_input_does_not_matter() {
    for table in ["gpu_samples", "serving_samples", "ledger"] {
        let spec = schema::table(table).unwrap();
        let (a, b) = (rows(table, 50, 1), rows(table, 50, 2));
        let backwards = UInt64Array::from_iter_values((0..50).rev());
        let reversed = take_record_batch(&a, &backwards).unwrap();
        let one = encode(spec, &[a.clone(), b.clone()], Floats::default()).unwrap();
        let two = encode(
            spec,
            &[b.slice(0, 20), reversed, b.slice(20, 30)],
            Floats::default(),
        )
        .unwrap();
        assert_eq!(one[0].bytes, two[0].bytes);
        assert_eq!(one[0].content, two[0].content);
        assert_ne!(
            one[0].content,
            encode(spec, &[a], Floats::default()).unwrap()[0].content
        );
    }
}

#[test]
fn rows_with_one_key_are_ordered_by_their_other_columns() {
    let spec = schema::table("snapshots").unwrap();
    let batch = |objects: Vec<i64>| {
        let whole = rows("snapshots", 1, 1);
        let count = objects.len();
        let repeat = UInt64Array::from_iter_values(std::iter::repeat_n(0, count));
        let mut columns = take_record_batch(&whole, &repeat)
            .unwrap()
            .columns()
            .to_vec();
        columns[3] = Arc::new(Int64Array::from(objects));
        RecordBatch::try_new(spec.file_schema(), columns).unwrap()
    };
    let one = encode(spec, &[batch(vec![3, 1, 2])], Floats::default()).unwrap();
    let two = encode(
        spec,
        &[batch(vec![2]), batch(vec![1, 3])],
        Floats::default(),
    )
    .unwrap();
    assert_eq!(one[0].content, two[0].content);
}

#[test]
fn rows_are_sorted_by_the_key_and_times_delta_packed() {
    let spec = schema::table("gpu_samples").unwrap();
    let files = encode(
        spec,
        &[rows("gpu_samples", 30, 2), rows("gpu_samples", 30, 1)],
        Floats::default(),
    )
    .unwrap();
    let back = read(&files[0].bytes);
    let nodes = back.column_by_name("node").unwrap().as_string::<i32>();
    assert!((1..60).all(|i| nodes.value(i - 1) <= nodes.value(i)));
    let reader = ParquetRecordBatchReaderBuilder::try_new(files[0].bytes.clone()).unwrap();
    let group = reader.metadata().row_group(0);
    let ts = (0..group.num_columns())
        .map(|i| group.column(i))
        .find(|c| c.column_path().string() == "ts")
        .unwrap();
    assert!(ts.encodings().any(|e| e == Encoding::DELTA_BINARY_PACKED));
    assert!(ts.dictionary_page_offset().is_none());
    assert!(matches!(ts.compression(), Compression::ZSTD(_)));
    assert!(ts.statistics().is_some() && ts.offset_index_offset().is_some());
}

/// Enough rows for trials of encodings, two row groups' worth of steps and more than one thread:
/// flat lines, counters, noise of six decimals, specials and gaps.
fn telemetry(rows: usize) -> RecordBatch {
    let spec = schema::table("gpu_samples").unwrap();
    let mut state = 7_u64;
    let mut random = move || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        state >> 33
    };
    let columns = spec
        .columns
        .iter()
        .enumerate()
        .map(|(at, column)| -> ArrayRef {
            match column.column_type {
                ColumnType::Text => Arc::new(
                    (0..rows)
                        .map(|row| Some(format!("{}-{:04}", column.name, row / 2880)))
                        .collect::<StringArray>(),
                ),
                ColumnType::Int => Arc::new(Int64Array::from(vec![30_000; rows])),
                ColumnType::Timestamp => Arc::new(
                    TimestampMicrosecondArray::from_iter_values(
                        (0..rows).map(|row| (row % 2880) as i64 * 30_000_000),
                    )
                    .with_timezone("UTC"),
                ),
                _ => Arc::new(
                    (0..rows)
                        .map(|row| match at % 5 {
                            0 => Some(row as f64 * 1e6 + random() as f64),
                            1 => Some((random() % 1_000_000) as f64 / 1e6),
                            2 => (row % 97 != 0).then_some(73_321.0),
                            3 => Some([-0.0, f64::INFINITY, 5e-324, f64::MAX, 0.1][row % 5]),
                            _ => Some((random() % 101) as f64),
                        })
                        .collect::<Float64Array>(),
                ),
            }
        })
        .collect();
    RecordBatch::try_new(spec.file_schema(), columns).unwrap()
}

fn labelled(batch: &RecordBatch) -> RecordBatch {
    let texts = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let is_text = field.data_type() == &DataType::Utf8;
        let column = if is_text {
            cast(column, &texts).unwrap()
        } else {
            Arc::clone(column)
        };
        fields.push(
            field
                .as_ref()
                .clone()
                .with_data_type(column.data_type().clone()),
        );
        columns.push(column);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn bits(batch: &RecordBatch, column: usize) -> Vec<Option<u64>> {
    let values = batch.column(column).as_primitive::<Float64Type>();
    values.iter().map(|value| value.map(f64::to_bits)).collect()
}

/// The rows with the table's types, as any reader casts them.
fn read_as(spec: &TableSpec, bytes: &Bytes) -> RecordBatch {
    let back = read(bytes);
    let schema = spec.file_schema();
    let columns = schema.fields().iter().zip(back.columns());
    let columns = columns.map(|(field, column)| cast(column, field.data_type()).unwrap());
    RecordBatch::try_new(Arc::clone(&schema), columns.collect()).unwrap()
}

#[test]
fn values_come_back_bit_by_bit_however_rows_are_held() {
    let spec = schema::table("gpu_samples").unwrap();
    let rows = ROWS_PER_STEP + 30_000;
    let batch = telemetry(rows);
    let mut sizes = Vec::new();
    for floats in [Floats::Decimal, Floats::Double] {
        let one = encode(spec, std::slice::from_ref(&batch), floats).unwrap();
        sizes.push(one[0].bytes.len());
        let back = read_as(spec, &one[0].bytes);
        for (index, column) in spec.columns.iter().enumerate() {
            match column.column_type {
                ColumnType::Float => assert!(bits(&back, index) == bits(&batch, index)),
                _ => assert!(back.column(index) == batch.column(index), "{}", column.name),
            }
        }
        // What repeats is stored as places in a dictionary; what does not as whole numbers where
        // all are decimals, and otherwise as it is.
        let reader = ParquetRecordBatchReaderBuilder::try_new(one[0].bytes.clone()).unwrap();
        let (group, stored) = (reader.metadata().row_group(0), reader.schema());
        let kind_of = |kind: usize| {
            let at = spec.columns.iter().enumerate();
            let mut of = at.filter(|(at, c)| c.column_type == ColumnType::Float && at % 5 == kind);
            let (at, _) = of.next().unwrap();
            let is_decimal = matches!(stored.field(at).data_type(), DataType::Decimal128(..));
            (
                is_decimal,
                group.column(at).dictionary_page_offset().is_some(),
            )
        };
        let decimal = floats == Floats::Decimal;
        let found = [0, 1, 2, 3, 4].map(kind_of);
        let wanted = [
            (decimal, false),
            (decimal, false),
            (false, true),
            (false, true),
            (false, true),
        ];
        assert_eq!(found, wanted, "{floats:?}");

        // In dictionaries, in pieces, backwards: the same bytes.
        let labels = labelled(&batch);
        let pieces = [labels.slice(0, 10_000), labels.slice(10_000, rows - 10_000)];
        let backwards = UInt64Array::from_iter_values((0..rows as u64).rev());
        let reversed = take_record_batch(&labels, &backwards).unwrap();
        for batches in [vec![labels], pieces.to_vec(), vec![reversed]] {
            assert!(encode(spec, &batches, floats).unwrap()[0].bytes == one[0].bytes);
        }
    }
    assert!(sizes[0] * 4 < sizes[1] * 3, "{sizes:?}");
}

#[test]
fn one_value_that_is_no_decimal_keeps_its_column_as_it_is() {
    let spec = schema::table("gpu_samples").unwrap();
    let rows = MANY;
    let batch = telemetry(rows);
    let at = spec
        .columns
        .iter()
        .position(|c| c.name == "power_watts")
        .unwrap();
    let noisy: Vec<f64> = (0..rows)
        .map(|row| ((row * 7919) % 700_001) as f64 / 1e3)
        .collect();
    for (odd, is_decimal) in [
        (None, true),
        (Some(f64::NAN), false),
        (Some(-0.0), false),
        (Some(1.0 / 3.0), false),
        // More digits than any row that is tried has.
        (Some(0.123_456_789), true),
    ] {
        let mut values = noisy.clone();
        if let Some(odd) = odd {
            values[rows - ODD_FROM_END] = odd;
        }
        let mut columns = batch.columns().to_vec();
        columns[at] = Arc::new(Float64Array::from(values));
        let batch = RecordBatch::try_new(spec.file_schema(), columns).unwrap();
        let one = encode(spec, std::slice::from_ref(&batch), Floats::Decimal).unwrap();
        let stored = read(&one[0].bytes);
        let found = matches!(stored.column(at).data_type(), DataType::Decimal128(..));
        assert_eq!(found, is_decimal, "{odd:?}");
        assert!(bits(&read_as(spec, &one[0].bytes), at) == bits(&batch, at));
    }
}

/// More rows than are tried, and a row that is not among those.
const MANY: usize = 20_000;
const ODD_FROM_END: usize = 5_000;

#[test]
fn no_rows_make_no_file() {
    let spec = schema::table("ledger").unwrap();
    assert!(encode(spec, &[], Floats::default()).unwrap().is_empty());
    assert!(
        encode(spec, &[rows("ledger", 0, 1)], Floats::default())
            .unwrap()
            .is_empty()
    );
}

#[test]
fn sql_results_are_made_to_fit_and_misfits_named() {
    let spec = schema::table("snapshots").unwrap();
    let batch = rows("snapshots", 2, 1);
    let mut fields: Vec<Field> = batch
        .schema()
        .fields()
        .iter()
        .map(|f| f.as_ref().clone())
        .collect();
    let mut columns = batch.columns().to_vec();
    fields[0] = Field::new("cluster", DataType::Utf8View, true);
    columns[0] = Arc::new(StringViewArray::from(vec!["a", "b"]));
    fields.push(Field::new("source", DataType::Utf8, true));
    columns.push(Arc::new(StringArray::from(vec!["s", "s"])));
    let wide =
        RecordBatch::try_new(Arc::new(Schema::new(fields.clone())), columns.clone()).unwrap();
    let fit = conform(spec, &wide).unwrap();
    assert_eq!(fit.schema(), spec.file_schema());

    columns[0] = Arc::new(StringViewArray::from(vec![Some("a"), None]));
    let holes = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let error = conform(spec, &holes).unwrap_err().to_string();
    assert!(error.contains("snapshots") && error.contains("cluster") && error.contains("NULL"));

    let missing = batch.project(&[0, 1, 2]).unwrap();
    let error = conform(spec, &missing).unwrap_err().to_string();
    assert!(error.contains("objects"), "{error}");
    let error = conform(schema::table("ledger").unwrap(), &batch).unwrap_err();
    assert!(error.to_string().contains("no column"), "{error}");
}
