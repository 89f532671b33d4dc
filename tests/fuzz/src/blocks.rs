//! What a block's files hold: the index, chunk segments, tombstones and `meta.json`.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::{index::Index, meta, select};
use crate::ingest::prometheus::{Matcher, Pattern};
use crate::model::TimeWindow;

/// The folder of one block, of this process.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let name = format!("idleproof-fuzz-{}", std::process::id());
        let memory = Path::new("/dev/shm");
        let below = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        let folder = below.join(name);
        std::fs::create_dir_all(folder.join("chunks")).expect("a folder for the block");
        folder
    })
}

fn put(name: &str, bytes: &[u8]) {
    std::fs::write(folder().join(name), bytes).expect("the block is writable");
}

/// Cuts `data` into parts by lengths of two bytes each; the last takes the rest.
fn parts<const N: usize>(mut data: &[u8]) -> [&[u8]; N] {
    let mut parts = [&[][..]; N];
    for (number, part) in parts.iter_mut().enumerate() {
        let Some((length, rest)) = data.split_first_chunk::<2>() else {
            break;
        };
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let length = if number + 1 == N { rest.len() } else { length };
        (*part, data) = rest.split_at(length);
    }
    parts
}

fn section(file: &mut Vec<u8>, body: &[u8]) -> u64 {
    file.resize(file.len().next_multiple_of(4), 0);
    let at = file.len() as u64;
    file.extend((body.len() as u32).to_be_bytes());
    file.extend(body);
    file.extend(crc32c::crc32c(body).to_be_bytes());
    at
}

/// An index whose sections hold the parts of `data`, checksums right.
fn assembled(data: &[u8]) -> Vec<u8> {
    let [symbols, series, more_series, postings, table] = parts(data);
    let mut file = vec![0xba, 0xaa, 0xd7, 0x00, 2, 0, 0, 0];
    let symbols_at = section(&mut file, symbols);
    file.resize(file.len().next_multiple_of(16), 0);
    let series_at = file.len() as u64;
    for body in [series, more_series] {
        file.resize(file.len().next_multiple_of(16), 0);
        prost::encoding::encode_varint(body.len() as u64, &mut file);
        file.extend(body);
        file.extend(crc32c::crc32c(body).to_be_bytes());
    }
    let postings_at = section(&mut file, postings);
    let table_at = section(&mut file, table);
    let mut toc = Vec::new();
    for at in [symbols_at, series_at, 0, 0, postings_at, table_at] {
        toc.extend(at.to_be_bytes());
    }
    let sum = crc32c::crc32c(&toc);
    file.extend(toc);
    file.extend(sum.to_be_bytes());
    file
}

fn read_block() {
    let matchers = [
        Matcher::any_of("__name__", vec![Pattern::Prefix("DCGM".into())]),
        Matcher::equal("job", ""),
    ];
    let all = TimeWindow::new(i64::MIN, i64::MAX);
    for matchers in [&[][..], &matchers[..1], &matchers[1..]] {
        let _ = select::read(std::iter::once(folder()), matchers, all, &mut |series| {
            assert!(series.samples.is_sorted_by(|a, b| a.ts_ms < b.ts_ms));
            Ok(())
        });
    }
}

/// An index as it comes, or, odd ones, assembled of parts.
pub fn index(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    if first & 1 == 1 {
        put("index", &assembled(rest));
    } else {
        put("index", rest);
    }
    if let Ok(mut index) = Index::open(&folder().join("index")) {
        let _ = index.verify();
        read_block();
    }
}

/// A chunk segment under an index that points into it.
pub fn block(data: &[u8]) {
    static INDEX: &[u8] = include_bytes!("../../fixtures/tsdb/xor/01M85479ZCDKVW87MJFXBXRHHV/index");
    let [chunk, segment] = parts(data);
    let mut file = vec![0x85, 0xbd, 0x40, 0xdd, 1, 0, 0, 0];
    if let Some((encoding, body)) = chunk.split_first() {
        prost::encoding::encode_varint(body.len() as u64, &mut file);
        let from = file.len();
        file.push(encoding % 8);
        file.extend(body);
        let sum = crc32c::crc32c(&file[from..]);
        file.extend(sum.to_be_bytes());
    }
    file.extend(segment);
    put("index", INDEX);
    put("chunks/000001", &file);
    read_block();
}

/// Tombstones, or, odd ones, `meta.json`.
pub fn meta(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let mut body = rest.to_vec();
    if first & 1 == 1 {
        put("meta.json", &body);
        if let Ok(meta) = meta::Meta::read(folder()) {
            let _ = meta.is_downsampled();
        }
        return;
    }
    if body.len() >= 9 && first & 2 == 2 {
        body[..5].copy_from_slice(&[0x01, 0x30, 0xba, 0x30, 1]);
        let end = body.len() - 4;
        let sum = crc32c::crc32c(&body[5..end]).to_be_bytes();
        body[end..].copy_from_slice(&sum);
    }
    put("tombstones", &body);
    let _ = meta::read_tombstones(folder());
    let _ = std::fs::remove_file(folder().join("tombstones"));
}
