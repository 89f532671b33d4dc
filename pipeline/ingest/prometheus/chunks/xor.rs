//! Owns XOR chunks (encoding 1): the float chunk of every Prometheus so far.

use super::bits::{Bits, PEEK_BITS, XorWindow, skewed};
use super::{ChunkError, split_count};

pub(super) fn decode(data: &[u8], mut emit: impl FnMut(i64, f64)) -> Result<(), ChunkError> {
    let (count, body) = split_count(data)?;
    let mut bits = Bits::new(body);
    if count == 0 {
        return Ok(());
    }
    let mut ts_ms = bits.varint()?;
    let mut value = bits.take(64);
    bits.check()?;
    emit(ts_ms, f64::from_bits(value));
    if count == 1 {
        return Ok(());
    }
    // Wrapping like the writer does: a series may step over any distance.
    let mut delta = bits.uvarint()? as i64;
    ts_ms = ts_ms.wrapping_add(delta);
    let mut window = XorWindow::new();
    value ^= window.read(&mut bits)?;
    bits.check()?;
    emit(ts_ms, f64::from_bits(value));

    for _ in 2..count {
        let mut word = bits.peek();
        let mut left = PEEK_BITS;
        if word >> 63 == 0 {
            bits.skip(1);
            word <<= 1;
            left -= 1;
        } else {
            delta = delta.wrapping_add(read_dod(&mut bits, word));
            word = bits.peek();
        }
        ts_ms = ts_ms.wrapping_add(delta);

        if word >> 63 == 0 {
            bits.skip(1);
        } else if word >> 62 == 0b10 {
            let width = window.width();
            if width + 2 <= left {
                value ^= window.place((word << 2) >> (64 - width));
                bits.skip(width + 2);
            } else {
                bits.skip(2);
                value ^= window.reuse(&mut bits);
            }
        } else {
            bits.skip(2);
            value ^= window.renew(&mut bits)?;
        }
        bits.check()?;
        emit(ts_ms, f64::from_bits(value));
    }
    Ok(())
}

/// The delta of deltas whose prefix `word` begins with.
#[inline]
fn read_dod(bits: &mut Bits<'_>, word: u64) -> i64 {
    let width = match (!word).leading_zeros() {
        1 => 14,
        2 => 17,
        3 => 20,
        _ => {
            bits.skip(4);
            return bits.take(64) as i64;
        }
    };
    let prefix = match width {
        14 => 2,
        17 => 3,
        _ => 4,
    };
    bits.skip(prefix + width);
    skewed((word << prefix) >> (64 - width), width)
}
