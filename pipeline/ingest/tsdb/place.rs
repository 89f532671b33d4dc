//! Owns where blocks lie, a folder or a bucket: which are there, of what files, and opening them.
//! Does not judge which of them are read: that is `choose`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::file::{BlockFile, broken};
use super::remote::Remote;
use crate::ingest::prometheus::SourceError;

/// Folders that are looked into for blocks of tenants.
const FOLDERS_PROBED: usize = 1000;
/// Tenants that are named in a message.
const TENANTS_NAMED: usize = 20;
const DELETION_MARK: &str = "deletion-mark.json";

/// A folder on disk, or in a bucket.
#[derive(Debug, Clone)]
pub(super) enum Place {
    Folder(PathBuf),
    Bucket(Remote),
}

/// A block as a listing shows it: its files with their sizes, none of them read.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// The folder's key, without a `/` at its end; empty where the place itself is the block.
    pub(super) key: String,
    /// Its ULID; empty where the place itself is the block.
    pub(super) id: String,
    pub(super) tenant: String,
    pub(super) files: BTreeMap<String, u64>,
    /// Somebody means to delete it.
    pub(super) marked: bool,
}

/// The key of something in a folder.
pub(super) fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.to_owned()
    } else {
        format!("{folder}/{name}")
    }
}

impl Place {
    /// Where a key lies, for messages and for the file system.
    pub(super) fn path(&self, key: &str) -> PathBuf {
        match self {
            Self::Folder(folder) if key.is_empty() => folder.clone(),
            Self::Folder(folder) => folder.join(key),
            Self::Bucket(remote) => remote.path(key),
        }
    }

    /// Opens a file whose size a listing told.
    pub(super) fn open(&self, key: &str, size: u64) -> Result<BlockFile, SourceError> {
        match self {
            Self::Folder(folder) => BlockFile::local(&folder.join(key)),
            Self::Bucket(remote) => Ok(BlockFile::remote(remote.object(key, size))),
        }
    }

    /// Small files, whole, of the sizes that a listing told; `None` where one is gone meanwhile.
    pub(super) fn whole(
        &self,
        files: &[(String, u64)],
    ) -> Result<Vec<Option<Vec<u8>>>, SourceError> {
        match self {
            Self::Bucket(remote) => {
                let got = remote.whole(files)?;
                Ok(got.into_iter().map(|b| b.map(Into::into)).collect())
            }
            Self::Folder(folder) => files
                .iter()
                .map(|(key, size)| read_whole(&folder.join(key), *size))
                .collect(),
        }
    }

    fn folders(&self, prefix: &str) -> Result<Vec<String>, SourceError> {
        match self {
            Self::Bucket(remote) => remote.folders(prefix),
            Self::Folder(_) => {
                let names = list_folder(&self.path(prefix))?;
                let folders = names.into_iter().filter(|(_, size)| size.is_none());
                Ok(folders.map(|(name, _)| join(prefix, &name)).collect())
            }
        }
    }

    /// The blocks of the place: in it, or in folders of `tenants` in it.
    pub(super) fn discover(&self, tenants: &[String]) -> Result<Vec<Found>, SourceError> {
        let top = self.folders("")?;
        let mut found = Vec::new();
        if !tenants.is_empty() {
            for tenant in tenants {
                if !top.contains(tenant) {
                    return Err(SourceError::Block {
                        path: self.path(""),
                        what: format!("it holds no folder of the tenant {tenant:?}"),
                        todo: "correct tenants in [[source]], or the URL",
                    });
                }
                self.blocks_in(tenant, &mut found)?;
            }
        } else if top.iter().any(|name| is_ulid(name)) {
            self.blocks_in("", &mut found)?;
        } else if let Some(block) = self.itself()? {
            found.push(block);
        } else {
            let mut holders = Vec::new();
            for name in top.iter().take(FOLDERS_PROBED) {
                let below = self.folders(name)?;
                if below.iter().any(|key| is_ulid(last(key))) {
                    holders.push(name.as_str());
                }
            }
            match holders.as_slice() {
                [] => {}
                [tenant] => self.blocks_in(tenant, &mut found)?,
                several => {
                    let names: Vec<&str> = several.iter().take(TENANTS_NAMED).copied().collect();
                    return Err(SourceError::Block {
                        path: self.path(""),
                        what: format!(
                            "it holds blocks of {} tenants ({})",
                            several.len(),
                            names.join(", ")
                        ),
                        todo: "say whose to read with tenants = [\"…\"] in [[source]]",
                    });
                }
            }
        }
        if found.is_empty() {
            return Err(SourceError::Block {
                path: self.path(""),
                what: "no folder in it is a block (26 letters and digits, with a meta.json)".into(),
                todo: "point the source at the folder that holds the blocks",
            });
        }
        found.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }

    /// The place as a block.
    fn itself(&self) -> Result<Option<Found>, SourceError> {
        let files = match self {
            Self::Folder(folder) if !folder.join("meta.json").is_file() => return Ok(None),
            Self::Folder(folder) => files_of(folder)?,
            Self::Bucket(remote) => {
                // A bucket without blocks at its root is not listed whole to learn that.
                let Some(_) = remote.size("meta.json")? else {
                    return Ok(None);
                };
                let listed = remote.list("")?;
                listed.into_iter().map(|o| (o.key, o.size_bytes)).collect()
            }
        };
        Ok(Some(Found {
            key: String::new(),
            id: String::new(),
            tenant: String::new(),
            marked: files.contains_key(DELETION_MARK),
            files,
        }))
    }

    fn blocks_in(&self, tenant: &str, into: &mut Vec<Found>) -> Result<(), SourceError> {
        // Marks first: a block that is marked then has its successor in the listing that follows.
        let marks = self.marks(tenant)?;
        let mut blocks: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        match self {
            Self::Folder(folder) => {
                for key in self.folders(tenant)? {
                    if is_ulid(last(&key)) {
                        blocks.insert(last(&key).to_owned(), files_of(&folder.join(&key))?);
                    }
                }
            }
            Self::Bucket(remote) => {
                for object in remote.list(tenant)? {
                    let key = object.key.strip_prefix(tenant).unwrap_or(&object.key);
                    let parts = key.trim_start_matches('/').split_once('/');
                    let Some((id, file)) = parts.filter(|(id, _)| is_ulid(id)) else {
                        continue;
                    };
                    let files = blocks.entry(id.to_owned()).or_default();
                    files.insert(file.to_owned(), object.size_bytes);
                }
            }
        }
        into.extend(blocks.into_iter().map(|(id, files)| Found {
            key: join(tenant, &id),
            tenant: tenant.to_owned(),
            marked: files.contains_key(DELETION_MARK) || marks.contains(&id),
            id,
            files,
        }));
        Ok(())
    }

    /// The ULIDs that Mimir's and Cortex' `markers/` folder marks for deletion.
    fn marks(&self, tenant: &str) -> Result<BTreeSet<String>, SourceError> {
        let folder = join(tenant, "markers");
        let names: Vec<String> = match self {
            Self::Bucket(remote) => {
                let listed = remote.list(&folder)?;
                listed
                    .into_iter()
                    .map(|o| last(&o.key).to_owned())
                    .collect()
            }
            Self::Folder(_) if !self.path(&folder).is_dir() => Vec::new(),
            Self::Folder(_) => {
                let listed = list_folder(&self.path(&folder))?;
                listed.into_iter().map(|(name, _)| name).collect()
            }
        };
        let marked = names.iter().filter_map(|name| {
            let (id, what) = name.split_once('-')?;
            (is_ulid(id) && what == DELETION_MARK).then(|| id.to_owned())
        });
        Ok(marked.collect())
    }
}

fn last(key: &str) -> &str {
    key.rsplit('/').next().unwrap_or(key)
}

/// Blocks are named by ULIDs; beside them lie `wal`, `chunks_head` and half-written blocks.
pub(super) fn is_ulid(name: &str) -> bool {
    name.len() == 26
        && name
            .bytes()
            .all(|b| b.is_ascii_digit() || b.is_ascii_uppercase())
}

/// Names in a folder; files with their sizes. What is neither file nor folder is left out.
fn list_folder(folder: &Path) -> Result<Vec<(String, Option<u64>)>, SourceError> {
    let failed = |e: std::io::Error| broken(folder, format!("it cannot be listed ({e})"));
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (Ok(name), Ok(meta)) = (
            entry.file_name().into_string(),
            std::fs::metadata(entry.path()),
        ) else {
            continue;
        };
        if meta.is_dir() {
            names.push((name, None));
        } else if meta.is_file() {
            names.push((name, Some(meta.len())));
        }
    }
    names.sort();
    Ok(names)
}

/// The files of a block's folder, `chunks/…` among them.
fn files_of(block: &Path) -> Result<BTreeMap<String, u64>, SourceError> {
    let mut files = BTreeMap::new();
    for (name, size) in list_folder(block)? {
        match size {
            Some(size) => {
                files.insert(name, size);
            }
            None if name == "chunks" => {
                for (segment, size) in list_folder(&block.join("chunks"))? {
                    files.extend(size.map(|size| (format!("chunks/{segment}"), size)));
                }
            }
            None => {}
        }
    }
    Ok(files)
}

fn read_whole(path: &Path, size: u64) -> Result<Option<Vec<u8>>, SourceError> {
    use std::io::Read as _;
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(broken(path, format!("it cannot be opened ({error})"))),
    };
    let mut bytes = Vec::new();
    file.take(size)
        .read_to_end(&mut bytes)
        .map_err(|e| broken(path, format!("reading it failed ({e})")))?;
    Ok(Some(bytes))
}
