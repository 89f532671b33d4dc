//! Makes the checksums of a block's files right, as far as their lengths can be followed: a
//! changed byte would never get past them.

use super::cursor::{Cursor, be32};

fn put(bytes: &mut [u8], from: usize, to: usize) {
    if let Some(sum) = bytes.get(from..to).map(crc32c::crc32c)
        && let Some(place) = bytes.get_mut(to..to + 4)
    {
        place.copy_from_slice(&sum.to_be_bytes());
    }
}

/// A section of four bytes of length, the bytes, their checksum; where the next begins.
fn section(bytes: &mut [u8], at: usize) -> Option<usize> {
    let len = be32(bytes.get(at..at.checked_add(4)?)?) as usize;
    let end = at.checked_add(4)?.checked_add(len)?;
    put(bytes, at + 4, end);
    end.checked_add(4)
}

/// Something behind an unsigned variable length, and `more` bytes of it that are not counted.
fn counted(bytes: &mut [u8], at: usize, more: usize) -> Option<usize> {
    let rest = bytes.get(at..)?;
    let mut cursor = Cursor(rest);
    let len = usize::try_from(cursor.uvarint()?).ok()?.checked_add(more)?;
    let from = at + rest.len() - cursor.0.len();
    let end = from.checked_add(len)?;
    put(bytes, from, end);
    end.checked_add(4)
}

pub(super) fn index(bytes: &mut [u8]) {
    let Some(toc) = bytes.len().checked_sub(52) else {
        return;
    };
    let at: Vec<usize> = bytes[toc..toc + 48]
        .chunks_exact(8)
        .map(|b| u64::from_be_bytes(b.try_into().expect("eight bytes")) as usize)
        .collect();
    put(bytes, toc, toc + 48);
    for single in [at[0], at[3], at[5]] {
        section(bytes, single);
    }
    for (from, align) in [(at[1], 16), (at[2], 4), (at[4], 4)] {
        let mut next = from;
        // As many as a block of the largest input has.
        for _ in 0..4096 {
            let Some(aligned) = next.checked_next_multiple_of(align).filter(|n| *n < toc) else {
                break;
            };
            let after = if align == 16 {
                counted(bytes, aligned, 0)
            } else {
                section(bytes, aligned)
            };
            match after {
                Some(after) if after > aligned => next = after,
                _ => break,
            }
        }
    }
}

pub(super) fn segment(bytes: &mut [u8]) {
    let mut next = 8;
    while let Some(after) = counted(bytes, next, 1).filter(|after| *after <= bytes.len()) {
        next = after;
    }
}

pub(super) fn tombstones(bytes: &mut [u8]) {
    if let Some(end) = bytes.len().checked_sub(4)
        && end >= 5
    {
        put(bytes, 5, end);
    }
}
