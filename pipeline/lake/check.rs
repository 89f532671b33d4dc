//! Owns the check that a lake is whole: every live file is there, has the size that the log says
//! and the rows that its statistics say.

use datafusion::object_store::ObjectStoreExt;
use datafusion::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use super::error::LakeError;
use super::files::DataFile;
use super::schema::TABLES;
use super::store::LakeStore;
use super::{commit, paths};

/// One thing that is wrong with the lake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where, as a URL.
    pub path: String,
    pub reason: String,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    pub tables: usize,
    pub files: usize,
    pub rows: u64,
    pub size_bytes: u64,
    pub faults: Vec<Fault>,
}

pub(crate) async fn check(store: &LakeStore) -> Result<CheckReport, LakeError> {
    let mut report = CheckReport::default();
    for spec in TABLES {
        let Some(delta) = commit::open(store, spec.name, None).await? else {
            continue;
        };
        report.tables += 1;
        for file in commit::live_files(spec, &delta)?.values() {
            report.files += 1;
            report.rows += file.rows;
            report.size_bytes += file.size_bytes;
            let key = format!("{}/{}", paths::table_root(spec.name), file.path);
            if let Some(reason) = fault_of(store, &key, file).await? {
                report.faults.push(Fault {
                    path: store.describe(&key),
                    reason,
                });
            }
        }
    }
    Ok(report)
}

async fn fault_of(
    store: &LakeStore,
    key: &str,
    file: &DataFile,
) -> Result<Option<String>, LakeError> {
    let Some(meta) = store.head(key).await? else {
        return Ok(Some("the log names it and it does not exist".to_owned()));
    };
    if meta.size != file.size_bytes {
        return Ok(Some(format!(
            "it has {} bytes and the log says {}",
            meta.size, file.size_bytes
        )));
    }
    Ok(match footer(store, key, file.size_bytes).await? {
        Err(reason) => Some(reason),
        Ok(footer) => {
            let rows = footer.file_metadata().num_rows();
            (rows as u64 != file.rows)
                .then(|| format!("it has {rows} rows and the log says {}", file.rows))
        }
    })
}

async fn footer(
    store: &LakeStore,
    key: &str,
    size: u64,
) -> Result<Result<ParquetMetaData, String>, LakeError> {
    let read = |e| LakeError::store("read", store.describe(key), e);
    let tail = async |bytes: u64| {
        let range = size.saturating_sub(bytes)..size;
        store.root.get_range(&store.path(key), range).await
    };
    let mut bytes = 64 << 10;
    loop {
        let data = tail(bytes).await.map_err(read)?;
        let parsed = footer_length(&data);
        match parsed {
            None => return Ok(Err("it does not end as a Parquet file".to_owned())),
            Some(length) if length > size => {
                return Ok(Err("its footer is longer than the file".to_owned()));
            }
            Some(length) if length > data.len() as u64 => bytes = length,
            Some(length) => {
                let start = data.len() - length as usize;
                let body = &data[start..data.len() - 8];
                return Ok(ParquetMetaDataReader::decode_metadata(body)
                    .map_err(|e| format!("its footer cannot be read: {e}")));
            }
        }
    }
}

/// Bytes from the footer's start to the file's end.
fn footer_length(tail: &[u8]) -> Option<u64> {
    let (rest, magic) = tail.split_last_chunk::<4>()?;
    let (_, length) = rest.split_last_chunk::<4>()?;
    (magic == b"PAR1").then(|| u64::from(u32::from_le_bytes(*length)) + 8)
}
