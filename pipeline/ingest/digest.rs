//! Owns the digest of a window's content: what its rows hold, and nothing else. Called by `driver`.

use datafusion::arrow::array::{
    Array, ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int64Array, ListArray,
    StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::Int32Type;
use sha2::{Digest, Sha256};

use super::rows::TableBatches;

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
    // Without NULLs the words lie side by side already, in the order in which they are hashed.
    let lies_ready = column.null_count() == 0 && cfg!(target_endian = "little");
    if let Some(text) = any.downcast_ref::<StringArray>() {
        hash_text(hasher, text);
    } else if let Some(labels) = any.downcast_ref::<DictionaryArray<Int32Type>>() {
        hash_labels(hasher, labels);
    } else if let (true, Some(words)) = (lies_ready, words_of(any)) {
        hasher.update(words);
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

/// The bytes of a column of eight-byte values.
fn words_of(column: &dyn std::any::Any) -> Option<&[u8]> {
    if let Some(floats) = column.downcast_ref::<Float64Array>() {
        Some(floats.values().inner().as_slice())
    } else if let Some(ints) = column.downcast_ref::<Int64Array>() {
        Some(ints.values().inner().as_slice())
    } else {
        let times = column.downcast_ref::<TimestampMicrosecondArray>()?;
        Some(times.values().inner().as_slice())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::rows::{Block, Cell, Lists, TableRows};
    use crate::lake::schema::{self, ColumnType};

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
        let of = |ttft: Option<&[f64]>, counts: Option<&[f64]>| {
            let (mut bounds, mut buckets) = (Lists::default(), Lists::default());
            bounds.push(ttft);
            buckets.push(counts);
            let row: Vec<Block<'_>> = spec
                .columns
                .iter()
                .map(|c| match (c.name, c.column_type, c.nullable) {
                    ("ttft_le_seconds", ..) => Block::Lists(&bounds),
                    ("ttft_bucket_counts", ..) => Block::Lists(&buckets),
                    (_, ColumnType::Text, false) => Block::Same(Cell::Text("x")),
                    (_, ColumnType::Timestamp, _) => Block::Times(&[1]),
                    _ => Block::Same(Cell::Null),
                })
                .collect();
            let mut rows = TableRows::labelled(spec).unwrap();
            rows.push_blocks(1, &row).unwrap();
            content_digest(&[rows.finish().unwrap()])
        };
        let counts = Some(&[1.0, 2.0][..]);
        let both = of(Some(&[0.1, f64::INFINITY]), counts);
        assert_ne!(both, of(Some(&[0.2, f64::INFINITY]), counts));
        assert_ne!(both, of(None, counts));
    }
}
