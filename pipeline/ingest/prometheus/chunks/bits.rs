//! Owns the bit reader under all chunk decoders: a position in a byte slice, read by loading the
//! eight bytes around it. Past the end it reads zeros and counts on; `check` tells.

use super::ChunkError;

/// Bits that one [`Bits::peek`] surely holds: a load starts up to seven bits before the position.
pub(super) const PEEK_BITS: u32 = 57;

pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// Position in bits; may lie past the end until the next `check`.
    at: usize,
}

impl<'a> Bits<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next bits, first bit on top; at least [`PEEK_BITS`] are valid, zeros past the end.
    #[inline]
    pub(super) fn peek(&self) -> u64 {
        let rest = self.bytes.get(self.at >> 3..).unwrap_or(&[]);
        let word = match rest.first_chunk::<8>() {
            Some(whole) => u64::from_be_bytes(*whole),
            None => tail_word(rest),
        };
        word << (self.at & 7)
    }

    #[inline]
    pub(super) const fn skip(&mut self, count: u32) {
        self.at += count as usize;
    }

    /// The next `count` bits, 1 to 64, as an integer.
    #[inline]
    pub(super) fn take(&mut self, count: u32) -> u64 {
        if count <= PEEK_BITS {
            let value = self.peek() >> (64 - count);
            self.skip(count);
            value
        } else {
            let low = count - 32;
            let high = self.peek() >> 32;
            self.skip(32);
            let value = (high << low) | (self.peek() >> (64 - low));
            self.skip(low);
            value
        }
    }

    /// An error if more bits were read than there are.
    #[inline]
    pub(super) const fn check(&self) -> Result<(), ChunkError> {
        if self.at <= self.bytes.len() * 8 {
            Ok(())
        } else {
            Err(ChunkError::Truncated)
        }
    }

    pub(super) const fn remaining(&self) -> usize {
        (self.bytes.len() * 8).saturating_sub(self.at)
    }

    pub(super) fn uvarint(&mut self) -> Result<u64, ChunkError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(8);
            self.check()?;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(ChunkError::Malformed("a varint of more than 64 bits"))
    }

    pub(super) fn varint(&mut self) -> Result<i64, ChunkError> {
        let zigzag = self.uvarint()?;
        Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }

    /// The prefix of the varbit code: how many payload bits follow.
    #[inline]
    fn varbit_width(&mut self) -> u32 {
        const WIDTHS: [u32; 9] = [0, 3, 6, 9, 12, 18, 25, 56, 64];
        let ones = (!self.peek()).leading_zeros().min(8);
        self.skip((ones + 1).min(8));
        WIDTHS.get(ones as usize).copied().unwrap_or(64)
    }

    /// A signed varbit; its ranges are skewed upwards (three bits are −3 to 4).
    #[inline]
    pub(super) fn varbit_int(&mut self) -> Result<i64, ChunkError> {
        let width = self.varbit_width();
        let value = if width == 0 {
            0
        } else {
            skewed(self.take(width), width)
        };
        self.check()?;
        Ok(value)
    }

    pub(super) fn varbit_uint(&mut self) -> Result<u64, ChunkError> {
        let width = self.varbit_width();
        let value = if width == 0 { 0 } else { self.take(width) };
        self.check()?;
        Ok(value)
    }
}

/// The signed value of `width` bits of which half of the range itself is still positive.
#[inline]
pub(super) const fn skewed(bits: u64, width: u32) -> i64 {
    if width < 64 && bits > 1 << (width - 1) {
        bits.wrapping_sub(1 << width) as i64
    } else {
        bits as i64
    }
}

#[cold]
fn tail_word(rest: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(rest) {
        *to = *from;
    }
    u64::from_be_bytes(bytes)
}

/// Which bits of two neighbouring values differ: the state of the XOR value code.
#[derive(Debug, Clone, Copy)]
pub(super) struct XorWindow {
    width: u32,
    trailing: u32,
}

impl XorWindow {
    /// Before the first window is written, all 64 bits are in it.
    pub(super) const fn new() -> Self {
        Self {
            width: 64,
            trailing: 0,
        }
    }

    pub(super) const fn width(self) -> u32 {
        self.width
    }

    pub(super) const fn place(self, bits: u64) -> u64 {
        bits << self.trailing
    }

    /// The difference in the window as it stands.
    #[inline]
    pub(super) fn reuse(self, bits: &mut Bits<'_>) -> u64 {
        self.place(bits.take(self.width))
    }

    /// Reads a new window and the difference in it.
    #[inline]
    pub(super) fn renew(&mut self, bits: &mut Bits<'_>) -> Result<u64, ChunkError> {
        let both = bits.take(11) as u32;
        let (leading, significant) = (both >> 6, both & 0x3f);
        // Six bits cannot say 64, and zero is never written.
        let width = if significant == 0 { 64 } else { significant };
        if leading + width > 64 {
            return Err(ChunkError::Malformed("a value wider than 64 bits"));
        }
        self.width = width;
        self.trailing = 64 - leading - width;
        Ok(self.reuse(bits))
    }

    /// The whole value code of XOR and histogram chunks: same, old window, new window.
    #[inline]
    pub(super) fn read(&mut self, bits: &mut Bits<'_>) -> Result<u64, ChunkError> {
        let word = bits.peek();
        if word >> 63 == 0 {
            bits.skip(1);
            return Ok(0);
        }
        bits.skip(2);
        if word >> 62 == 0b10 {
            Ok(self.reuse(bits))
        } else {
            self.renew(bits)
        }
    }
}
