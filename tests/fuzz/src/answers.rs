//! What servers answer as text: lines of VictoriaMetrics' export, matrices of range queries. Where
//! the pieces end that an answer arrives in must change nothing.

use super::Labels;
use super::answer::{self, Cutter, Wrong};
use super::lines::{self, Lines};

/// Labels of a series, and time and bits of its samples.
type Series = (Labels, Vec<(i64, u64)>);

fn series(labels: Labels, samples: &[super::Sample]) -> Series {
    let samples = samples.iter().map(|s| (s.ts_ms, s.value.to_bits()));
    (labels, samples.collect())
}

/// An export in pieces of so many bytes as the first says.
pub fn exports(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let read = |size: usize| {
        let (mut lines, mut all) = (Lines::default(), Vec::new());
        let taken = rest.chunks(size).try_for_each(|piece| {
            lines.push(piece, &mut |line| {
                let (labels, samples) = lines::parse(line)?;
                all.push(series(labels, &samples));
                Ok::<_, String>(())
            })
        });
        let whole = taken.is_ok() && lines.finish().is_ok();
        (all, whole)
    };
    assert_eq!(read(usize::from(*first) + 1), read(rest.len().max(1)));
}

/// An answer in pieces of so many bytes as the first says.
pub fn answers(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let read = |size: usize| {
        let (mut cutter, mut all) = (Cutter::default(), Vec::new());
        let taken = rest.chunks(size).try_for_each(|piece| {
            cutter.push(piece, &mut |bytes| {
                let one = answer::series(bytes)?;
                all.push(series(one.labels, &one.samples));
                Ok::<_, Wrong>(())
            })
        });
        let whole = taken.is_ok() && cutter.finish().is_ok();
        (all, whole)
    };
    let (all, whole) = read(usize::from(*first) + 1);
    assert_eq!(read(rest.len().max(1)), (all.clone(), whole));
    // No series is missed of an answer that is taken for a whole one.
    if whole && let Ok(answer) = serde_json::from_slice::<serde_json::Value>(rest) {
        let result = answer.pointer("/data/result").and_then(|r| r.as_array());
        assert_eq!(result.map(Vec::len), Some(all.len()));
    }
}
