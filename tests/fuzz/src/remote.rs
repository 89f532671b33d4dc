//! What a remote-read server sends: frames of a stream, one packed body, chunks of six encodings.

use super::chunks::{self, Encoding};
use super::wire::{self, Frames, ReadError};
use super::{Sample, SeriesBuilder, SeriesSamples};
use crate::model::TimeWindow;

const MAX_UNPACKED_BYTES: usize = 256 << 20;
const WINDOW: TimeWindow = TimeWindow::new(0, 86_400_000);

/// What every source promises of a series.
fn check(series: Option<SeriesSamples>) {
    let Some(series) = series else { return };
    assert!(series.samples.is_sorted_by(|a, b| a.ts_ms < b.ts_ms));
    assert!(series.histograms.is_sorted_by(|a, b| a.ts_ms < b.ts_ms));
    assert!(series.samples.iter().all(|s| WINDOW.contains(s.ts_ms)));
    assert!(series.histograms.iter().all(|s| WINDOW.contains(s.ts_ms)));
}

/// A stream, cut into pieces by its first byte; odd ones are the message of one whole frame.
pub fn frames(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let mut stream = Vec::new();
    if first & 1 == 1 {
        prost::encoding::encode_varint(rest.len() as u64, &mut stream);
        stream.extend(crc32c::crc32c(rest).to_be_bytes());
    }
    stream.extend(rest);
    let (mut frames, mut builder) = (Frames::default(), SeriesBuilder::new(WINDOW));
    for piece in stream.chunks(usize::from(first >> 1) * 8 + 1) {
        frames.push(piece);
        loop {
            match frames.next() {
                Ok(Some(frame)) => {
                    let read = wire::chunked_series(&frame, |series| {
                        for chunk in series.chunks {
                            let encoding = Encoding::from_number(i64::from(chunk.encoding));
                            encoding
                                .and_then(|encoding| builder.add_chunk(encoding, &chunk.data, &[]))
                                .map_err(|e| ReadError::Malformed(e.to_string()))?;
                        }
                        check(builder.finish(wire::labels(series.labels)));
                        Ok(())
                    });
                    if read.is_err() {
                        return;
                    }
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

/// A body as it comes, or, odd ones, what it unpacks to.
pub fn samples(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let unpacked = if first & 1 == 1 {
        rest.to_vec()
    } else {
        match snap::raw::decompress_len(rest) {
            Ok(len) if len <= MAX_UNPACKED_BYTES => {}
            _ => return,
        }
        match snap::raw::Decoder::new().decompress_vec(rest) {
            Ok(unpacked) => unpacked,
            Err(_) => return,
        }
    };
    let mut builder = SeriesBuilder::new(WINDOW);
    let _ = wire::time_series(&unpacked.into(), |series| {
        let bad = |e: chunks::ChunkError| ReadError::Malformed(e.to_string());
        for sample in series.samples {
            let (ts_ms, value) = (sample.timestamp, sample.value);
            builder.add_sample(Sample { ts_ms, value }).map_err(bad)?;
        }
        for histogram in series.histograms {
            let sample = histogram.into_sample().map_err(bad)?;
            builder.add_histogram(sample).map_err(bad)?;
        }
        check(builder.finish(wire::labels(series.labels)));
        Ok(())
    });
}

/// The first byte is the encoding.
pub fn chunks(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let Ok(encoding) = Encoding::from_number(i64::from(first % 7)) else {
        return;
    };
    let promised = chunks::promised_samples(encoding, rest);
    let mut told = 0;
    let outcome = if encoding.is_float() {
        chunks::decode_floats(encoding, rest, |_, _, _| told += 1)
    } else {
        chunks::decode_histograms(encoding, rest, |_, _| told += 1)
    };
    assert!(told <= 65_535);
    if outcome.is_ok() {
        assert_eq!(told, promised, "{encoding:?}");
    }
    let mut builder = SeriesBuilder::new(WINDOW);
    if builder.add_chunk(encoding, rest, &[]).is_ok() {
        check(builder.finish(super::Labels::default()));
    }
}
