//! Owns the one archive that evidence travels in: a gzip-compressed ustar of plain files, with equal
//! bytes for equal content, read with bounds on everything. Called by the command line.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use super::ApproveError;

const BLOCK: usize = 512;
/// The evidence of a large fleet is some hundred megabytes, and all of it is held in memory before
/// any signature is known.
const UNPACKED_BYTES_MAX: u64 = 2 << 30;
const FILES_MAX: usize = 200_000;

/// Packs files, which must have plain names, in order of their names.
pub fn pack(files: &BTreeMap<String, Vec<u8>>) -> Result<Vec<u8>, ApproveError> {
    let failed = |error: std::io::Error| ApproveError::Sign(error.to_string());
    let mut out = GzEncoder::new(Vec::new(), Compression::default());
    for (name, bytes) in files {
        let header = header(name, bytes.len()).ok_or_else(|| ApproveError::Invalid {
            what: format!("the file name `{name}`"),
            why: "an archive holds plain, short names only".to_owned(),
        })?;
        out.write_all(&header).map_err(failed)?;
        out.write_all(bytes).map_err(failed)?;
        out.write_all(&vec![0; bytes.len().next_multiple_of(BLOCK) - bytes.len()])
            .map_err(failed)?;
    }
    out.write_all(&[0; 2 * BLOCK]).map_err(failed)?;
    out.finish().map_err(failed)
}

fn header(name: &str, size: usize) -> Option<[u8; BLOCK]> {
    if !is_plain(name) || size as u64 >= 8 << 30 {
        return None;
    }
    let mut out = [0; BLOCK];
    let mut put = |at: usize, text: &str| {
        out[at..at + text.len()].copy_from_slice(text.as_bytes());
    };
    put(0, name);
    put(100, "0000644");
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{size:011o}"));
    put(136, "00000000000");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar");
    put(263, "00");
    let sum: u32 = out.iter().map(|byte| u32::from(*byte)).sum();
    out[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Some(out)
}

/// Unpacks an archive into memory; nothing but what [`pack`] writes is read.
pub fn unpack(bytes: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let mut reader = GzDecoder::new(bytes).take(UNPACKED_BYTES_MAX);
    let mut files = BTreeMap::new();
    loop {
        let mut block = [0; BLOCK];
        reader
            .read_exact(&mut block)
            .map_err(|_| "it is cut off or is no archive".to_owned())?;
        if block.iter().all(|byte| *byte == 0) {
            let mut rest = Vec::new();
            reader.read_to_end(&mut rest).map_err(|e| e.to_string())?;
            return if rest.len() == BLOCK && rest.iter().all(|byte| *byte == 0) {
                Ok(files)
            } else {
                Err("something follows its end".to_owned())
            };
        }
        let text = |from: usize, to: usize| {
            let part = &block[from..to];
            let end = part
                .iter()
                .position(|byte| *byte == 0)
                .unwrap_or(part.len());
            std::str::from_utf8(&part[..end])
                .unwrap_or_default()
                .to_owned()
        };
        let name = text(0, 100);
        let size = usize::from_str_radix(&text(124, 136), 8)
            .map_err(|_| "a size in it is none".to_owned())?;
        // One form: every other header is another program's.
        if header(&name, size) != Some(block) {
            return Err("a header in it is not in the form that idleproof writes".to_owned());
        }
        if files.len() == FILES_MAX {
            return Err(format!("it holds more than {FILES_MAX} files"));
        }
        let mut content = Vec::new();
        let padded = size.next_multiple_of(BLOCK) as u64;
        reader
            .by_ref()
            .take(padded)
            .read_to_end(&mut content)
            .map_err(|e| e.to_string())?;
        if content.len() as u64 != padded || content[size..].iter().any(|byte| *byte != 0) {
            return Err(format!("`{name}` in it is cut off"));
        }
        content.truncate(size);
        if files.insert(name.clone(), content).is_some() {
            return Err(format!("it holds `{name}` twice"));
        }
    }
}

/// Lower-case segments without a way up, as [`pack`]'s callers name files.
fn is_plain(name: &str) -> bool {
    name.len() <= 99
        && name.split('/').all(|part| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.bytes().all(|b| {
                    b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_')
                })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked_and_nothing_else_is() {
        let files = BTreeMap::from([
            ("a/b.json".to_owned(), b"{}".to_vec()),
            ("empty".to_owned(), Vec::new()),
            ("z".to_owned(), vec![7; 1024]),
        ]);
        let bytes = pack(&files).unwrap();
        assert_eq!(pack(&files).unwrap(), bytes);
        assert_eq!(unpack(&bytes).unwrap(), files);
        for length in 0..bytes.len() {
            assert!(unpack(&bytes[..length]).is_err(), "cut at {length}");
        }
        for name in ["../up", "/etc/passwd", "A", "", "a//b", ".hidden", "a b"] {
            assert!(
                pack(&BTreeMap::from([(name.to_owned(), Vec::new())])).is_err(),
                "{name}"
            );
        }
    }
}
