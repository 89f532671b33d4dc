//! Owns XOR2 chunks (encoding 4): one control prefix for time and value together, stale markers
//! beside the value chain, optional start timestamps.

use super::bits::{Bits, PEEK_BITS, XorWindow};
use super::{ChunkError, split_count};
use crate::ingest::prometheus::STALE_NAN_BITS;

struct Values {
    /// The last value that was not a stale marker: what the next difference is taken from.
    baseline: u64,
    window: XorWindow,
}

/// Start timestamps: written as the distance from the previous sample's time.
pub(super) struct Starts {
    first_known: bool,
    /// Index of the first sample that carries a distance; 0: none does.
    change_on: u16,
    distance: i64,
    start_ms: i64,
}

impl Starts {
    pub(super) const fn new(header: u8) -> Self {
        Self {
            first_known: header & 0x80 != 0,
            change_on: (header & 0x7f) as u16,
            distance: 0,
            start_ms: 0,
        }
    }

    /// Reads what the stream holds for the sample `index` and returns its start (0: unknown).
    #[inline]
    pub(super) fn read(
        &mut self,
        bits: &mut Bits<'_>,
        index: u16,
        ts_ms: i64,
        previous_ms: i64,
    ) -> Result<i64, ChunkError> {
        if index == 0 {
            if self.first_known {
                self.start_ms = ts_ms.wrapping_sub(bits.varint()?);
            }
        } else if self.change_on > 0 && index >= self.change_on {
            let step = bits.varbit_int()?;
            self.distance = if index == self.change_on {
                step
            } else {
                self.distance.wrapping_add(step)
            };
            self.start_ms = previous_ms.wrapping_sub(self.distance);
        }
        Ok(self.start_ms)
    }
}

pub(super) fn decode(data: &[u8], mut emit: impl FnMut(i64, i64, f64)) -> Result<(), ChunkError> {
    let (count, body) = split_count(data)?;
    let (header, body) = body.split_first().ok_or(ChunkError::Truncated)?;
    let mut starts = Starts::new(*header);
    let mut bits = Bits::new(body);
    if count == 0 {
        return Ok(());
    }
    let mut ts_ms = bits.varint()?;
    let first = bits.take(64);
    bits.check()?;
    let mut values = Values {
        baseline: if first == STALE_NAN_BITS { 0 } else { first },
        window: XorWindow::new(),
    };
    let start_ms = starts.read(&mut bits, 0, ts_ms, 0)?;
    emit(ts_ms, start_ms, f64::from_bits(first));
    if count == 1 {
        return Ok(());
    }
    let mut previous_ms = ts_ms;
    let mut delta = bits.uvarint()? as i64;
    ts_ms = ts_ms.wrapping_add(delta);
    let second = values.read_any(&mut bits)?;
    let start_ms = starts.read(&mut bits, 1, ts_ms, previous_ms)?;
    bits.check()?;
    emit(ts_ms, start_ms, f64::from_bits(second));

    for index in 2..count {
        previous_ms = ts_ms;
        let word = bits.peek();
        let value = if word >> 63 == 0 {
            bits.skip(1);
            values.baseline
        } else if word >> 62 == 0b10 {
            values.read_changed(&mut bits, word)?
        } else if word >> 59 == 0b11111 {
            bits.skip(5);
            STALE_NAN_BITS
        } else {
            delta = delta.wrapping_add(read_dod(&mut bits, word));
            values.read_any(&mut bits)?
        };
        ts_ms = ts_ms.wrapping_add(delta);
        let start_ms = starts.read(&mut bits, index, ts_ms, previous_ms)?;
        bits.check()?;
        emit(ts_ms, start_ms, f64::from_bits(value));
    }
    Ok(())
}

/// The delta of deltas after the prefixes `110`, `1110` and `11110`; plain two's complement.
#[inline]
fn read_dod(bits: &mut Bits<'_>, word: u64) -> i64 {
    let (prefix, width) = if word >> 61 == 0b110 {
        (3, 13)
    } else if word >> 60 == 0b1110 {
        (4, 20)
    } else {
        bits.skip(5);
        return bits.take(64) as i64;
    };
    bits.skip(prefix + width);
    ((word << prefix) as i64) >> (64 - width)
}

impl Values {
    /// After a new delta: same, old window, new window or stale.
    #[inline]
    fn read_any(&mut self, bits: &mut Bits<'_>) -> Result<u64, ChunkError> {
        let word = bits.peek();
        if word >> 63 == 0 {
            bits.skip(1);
        } else if word >> 62 == 0b10 {
            bits.skip(2);
            self.baseline ^= self.window.reuse(bits);
        } else {
            bits.skip(3);
            if word >> 61 == 0b111 {
                return Ok(STALE_NAN_BITS);
            }
            self.baseline ^= self.window.renew(bits)?;
        }
        Ok(self.baseline)
    }

    /// After the prefix `10`, which says that the value differs: old window or new window.
    #[inline]
    fn read_changed(&mut self, bits: &mut Bits<'_>, word: u64) -> Result<u64, ChunkError> {
        let width = self.window.width();
        if word >> 61 == 0b101 {
            bits.skip(3);
            self.baseline ^= self.window.renew(bits)?;
        } else if width + 3 <= PEEK_BITS {
            self.baseline ^= self.window.place((word << 3) >> (64 - width));
            bits.skip(width + 3);
        } else {
            bits.skip(3);
            self.baseline ^= self.window.reuse(bits);
        }
        Ok(self.baseline)
    }
}
