//! Owns XOR and XOR2 encoders for tests and benches: round trips need a writer, and the decoders
//! must be measured on chunks of realistic data. Never part of the program.

struct BitWriter {
    bytes: Vec<u8>,
    free: u32,
}

impl BitWriter {
    fn bits(&mut self, value: u64, count: u32) {
        for at in (0..count).rev() {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            self.free -= 1;
            if let Some(last) = self.bytes.last_mut() {
                *last |= ((value >> at & 1) as u8) << self.free;
            }
        }
    }

    fn uvarint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bits(value & 0x7f | 0x80, 8);
            value >>= 7;
        }
        self.bits(value, 8);
    }

    fn varint(&mut self, value: i64) {
        self.uvarint(((value << 1) ^ (value >> 63)) as u64);
    }
}

struct Window {
    leading: u32,
    trailing: u32,
    set: bool,
}

impl Window {
    /// Writes `reuse` or `renew` (a prefix and its length) and the difference.
    fn write(&mut self, out: &mut BitWriter, diff: u64, reuse: (u64, u32), renew: (u64, u32)) {
        let leading = diff.leading_zeros().min(31);
        let trailing = diff.trailing_zeros();
        if self.set && leading >= self.leading && trailing >= self.trailing {
            out.bits(reuse.0, reuse.1);
            out.bits(diff >> self.trailing, 64 - self.leading - self.trailing);
            return;
        }
        (self.leading, self.trailing, self.set) = (leading, trailing, true);
        let width = 64 - leading - trailing;
        out.bits(renew.0, renew.1);
        out.bits(u64::from(leading), 5);
        out.bits(u64::from(width & 63), 6);
        out.bits(diff >> trailing, width);
    }
}

const fn fits(value: i64, low: i64, high: i64) -> bool {
    low <= value && value <= high
}

/// Encodes `(ts_ms, value bits)` as an XOR chunk.
pub(crate) fn xor(samples: &[(i64, u64)]) -> Vec<u8> {
    let mut out = BitWriter {
        bytes: (samples.len() as u16).to_be_bytes().to_vec(),
        free: 0,
    };
    let mut window = Window {
        leading: 0,
        trailing: 0,
        set: false,
    };
    let (mut last_ts, mut last_bits, mut delta) = (0_i64, 0_u64, 0_i64);
    for (index, &(ts_ms, bits)) in samples.iter().enumerate() {
        let step = ts_ms.wrapping_sub(last_ts);
        match index {
            0 => {
                out.varint(ts_ms);
                out.bits(bits, 64);
            }
            1 => out.uvarint(step as u64),
            _ => match step.wrapping_sub(delta) {
                0 => out.bits(0, 1),
                dod if fits(dod, -8191, 8192) => out.bits(0b10 << 14 | dod as u64 & 0x3fff, 16),
                dod if fits(dod, -65535, 65536) => out.bits(0b110 << 17 | dod as u64 & 0x1ffff, 20),
                dod if fits(dod, -524_287, 524_288) => {
                    out.bits(0b1110 << 20 | dod as u64 & 0xfffff, 24);
                }
                dod => {
                    out.bits(0b1111, 4);
                    out.bits(dod as u64, 64);
                }
            },
        }
        if index > 0 {
            match bits ^ last_bits {
                0 => out.bits(0, 1),
                diff => window.write(&mut out, diff, (0b10, 2), (0b11, 2)),
            }
            delta = step;
        }
        (last_ts, last_bits) = (ts_ms, bits);
    }
    out.bytes
}

/// Encodes `(ts_ms, value bits)` as an XOR2 chunk without start timestamps for fewer than 128
/// samples (from the 127th on the format demands them).
pub(crate) fn xor2(samples: &[(i64, u64)]) -> Vec<u8> {
    const STALE: u64 = 0x7ff0_0000_0000_0002;
    let mut out = BitWriter {
        bytes: (samples.len() as u16).to_be_bytes().to_vec(),
        free: 0,
    };
    out.bytes.push(0);
    let mut window = Window {
        leading: 0,
        trailing: 0,
        set: false,
    };
    let (mut last_ts, mut baseline, mut delta) = (0_i64, 0_u64, 0_i64);
    for (index, &(ts_ms, bits)) in samples.iter().enumerate() {
        let step = ts_ms.wrapping_sub(last_ts);
        let dod = step.wrapping_sub(delta);
        if index == 0 {
            out.varint(ts_ms);
            out.bits(bits, 64);
        } else if index > 1 && dod == 0 {
            match bits ^ baseline {
                _ if bits == STALE => out.bits(0b11111, 5),
                0 => out.bits(0, 1),
                diff => window.write(&mut out, diff, (0b100, 3), (0b101, 3)),
            }
        } else {
            match dod {
                _ if index == 1 => out.uvarint(step as u64),
                dod if fits(dod, -4096, 4095) => out.bits(0b110 << 13 | dod as u64 & 0x1fff, 16),
                dod if fits(dod, -524_288, 524_287) => {
                    out.bits(0b1110 << 20 | dod as u64 & 0xfffff, 24);
                }
                dod => {
                    out.bits(0b11110, 5);
                    out.bits(dod as u64, 64);
                }
            }
            match bits ^ baseline {
                _ if bits == STALE => out.bits(0b111, 3),
                0 => out.bits(0, 1),
                diff => window.write(&mut out, diff, (0b10, 2), (0b110, 3)),
            }
        }
        if bits != STALE {
            baseline = bits;
        }
        if index > 0 {
            delta = step;
        }
        last_ts = ts_ms;
    }
    out.bytes
}
