//! Samples per second: XOR and XOR2 chunks decoded, and blocks read from files. Fixed sizes and a
//! fixed seed; the chunks hold what GPU exporters send: counters, noisy gauges, flat lines.

#![expect(clippy::expect_used, reason = "a bench without its input is no bench")]

#[path = "../pipeline/ingest/prometheus/chunks/encode.rs"]
mod encode;

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use idleproof::ingest::prometheus::chunks::{Encoding, decode_floats};
use idleproof::ingest::tsdb::BlockSource;
use idleproof::model::TimeWindow;

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

fn decode(c: &mut Criterion) {
    let series = series();
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements((SAMPLES * SERIES) as u64));
    let kinds: [(&str, Encoding, fn(&[(i64, u64)]) -> Vec<u8>); 2] = [
        ("xor", Encoding::Xor, encode::xor),
        ("xor2", Encoding::Xor2, encode::xor2),
    ];
    for (name, encoding, encoder) in kinds {
        let chunks: Vec<_> = series.iter().map(|samples| encoder(samples)).collect();
        let mut out: Vec<(i64, f64)> = Vec::with_capacity(SAMPLES);
        group.bench_function(name, |b| {
            b.iter(|| {
                for chunk in &chunks {
                    out.clear();
                    decode_floats(encoding, chunk, |ts_ms, _, value| out.push((ts_ms, value)))
                        .expect("the chunk is whole");
                    black_box(&out);
                }
            });
        });
    }
    group.finish();
}

fn blocks(c: &mut Criterion) {
    let all = TimeWindow::new(i64::MIN, i64::MAX);
    let mut group = c.benchmark_group("blocks");
    for name in ["xor", "xor2"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures/tsdb")
            .join(name);
        let source = BlockSource::open(&folder).expect("the fixture is whole");
        let read = || {
            let mut samples = 0;
            let mut count = |series: idleproof::ingest::prometheus::SeriesSamples| {
                samples += series.samples.len();
                Ok(())
            };
            let outcome = source.read_blocking(&[], all, &mut count);
            outcome.expect("the fixture is whole");
            samples
        };
        group.throughput(Throughput::Elements(read() as u64));
        group.bench_function(name, |b| b.iter(read));
    }
    group.finish();
}

criterion_group!(benches, decode, blocks);
criterion_main!(benches);
