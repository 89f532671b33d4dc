//! Samples per second: XOR and XOR2 chunks decoded, and blocks read from files. Fixed sizes and a
//! fixed seed; the chunks hold what GPU exporters send: counters, noisy gauges, flat lines.

#![expect(clippy::expect_used, reason = "a bench without its input is no bench")]

use std::hint::black_box;
use std::path::Path;

use divan::Bencher;
use divan::counter::ItemsCount;
use idleproof::ingest::prometheus::SeriesSamples;
use idleproof::ingest::prometheus::chunks::{Encoding, decode_floats};
use idleproof::ingest::tsdb::BlockSource;
use idleproof::model::TimeWindow;

use crate::encode;

/// Counts what is allocated; the decoders' lines must show none.
#[global_allocator]
static ALLOCATIONS: divan::AllocProfiler = divan::AllocProfiler::system();

const SAMPLES: usize = 120;
const SERIES: usize = 1000;

/// Series of one chunk each, `(ts_ms, value bits)`, scraped every 30 s with 2 % jitter.
fn series() -> Vec<Vec<(i64, u64)>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut one = |kind: usize| {
        let (mut ts_ms, mut total) = (1_793_491_200_000_i64, 0.0);
        let mut sample = || {
            ts_ms += 30_000 + i64::from(random() % 50 == 0);
            let noise = (random() % 1000) as f64;
            total += noise;
            let value = match kind {
                0 => total,
                1 => 40_000.0,
                2 => (noise / 10.0).floor(),
                _ => noise / 128.0,
            };
            (ts_ms, value.to_bits())
        };
        (0..SAMPLES).map(|_| sample()).collect()
    };
    (0..SERIES).map(|at| one(at % 4)).collect()
}

pub(crate) fn main() {
    divan::main();
}

fn decode(bencher: Bencher<'_, '_>, encoding: Encoding, encoder: fn(&[(i64, u64)]) -> Vec<u8>) {
    let chunks: Vec<_> = series().iter().map(|samples| encoder(samples)).collect();
    let mut out: Vec<(i64, f64)> = Vec::with_capacity(SAMPLES);
    let counter = ItemsCount::new(SAMPLES * SERIES);
    bencher.counter(counter).bench_local(|| {
        for chunk in &chunks {
            out.clear();
            decode_floats(encoding, chunk, |ts_ms, _, value| out.push((ts_ms, value)))
                .expect("the chunk is whole");
            black_box(&out);
        }
    });
}

#[divan::bench]
fn decode_xor(bencher: Bencher<'_, '_>) {
    decode(bencher, Encoding::Xor, encode::xor);
}

#[divan::bench]
fn decode_xor2(bencher: Bencher<'_, '_>) {
    decode(bencher, Encoding::Xor2, encode::xor2);
}

/// Small blocks of hostile series: what opening files and finding chunks costs beside decoding.
#[divan::bench(args = ["xor", "xor2", "overlap"])]
fn read_blocks(bencher: Bencher<'_, '_>, fixture: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/tsdb")
        .join(fixture);
    let source = BlockSource::open(&folder).expect("the fixture is whole");
    let all = TimeWindow::new(i64::MIN, i64::MAX);
    let read = || {
        let mut samples = 0_usize;
        let mut count = |series: SeriesSamples| {
            samples += series.samples.len();
            Ok(())
        };
        let outcome = source.read_blocking(&[], all, &mut count);
        outcome.expect("the fixture is whole");
        samples
    };
    bencher.counter(ItemsCount::new(read())).bench_local(read);
}
