//! Tests of sorting and encoding.

use std::sync::Arc;

use datafusion::arrow::array::{AsArray, StringViewArray, UInt64Array};
use datafusion::arrow::compute::take_record_batch;
use datafusion::arrow::datatypes::Field;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

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
        let files = encode(spec, std::slice::from_ref(&batch)).unwrap();
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
        let one = encode(spec, &[a.clone(), b.clone()]).unwrap();
        let two = encode(spec, &[b.slice(0, 20), reversed, b.slice(20, 30)]).unwrap();
        assert_eq!(one[0].bytes, two[0].bytes);
        assert_eq!(one[0].content, two[0].content);
        assert_ne!(one[0].content, encode(spec, &[a]).unwrap()[0].content);
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
        columns[3] = Arc::new(datafusion::arrow::array::Int64Array::from(objects));
        RecordBatch::try_new(spec.file_schema(), columns).unwrap()
    };
    let one = encode(spec, &[batch(vec![3, 1, 2])]).unwrap();
    let two = encode(spec, &[batch(vec![2]), batch(vec![1, 3])]).unwrap();
    assert_eq!(one[0].content, two[0].content);
}

#[test]
fn rows_are_sorted_by_the_key_and_times_delta_packed() {
    let spec = schema::table("gpu_samples").unwrap();
    let files = encode(
        spec,
        &[rows("gpu_samples", 30, 2), rows("gpu_samples", 30, 1)],
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

#[test]
fn no_rows_make_no_file() {
    let spec = schema::table("ledger").unwrap();
    assert!(encode(spec, &[]).unwrap().is_empty());
    assert!(encode(spec, &[rows("ledger", 0, 1)]).unwrap().is_empty());
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
    columns.push(Arc::new(datafusion::arrow::array::StringArray::from(vec![
        "s", "s",
    ])));
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
