//! Owns the protobuf messages of remote read and the frames of its stream. The structs are
//! written by hand after `prompb/remote.proto`, so that no build needs `protoc`.

use bytes::{Buf, Bytes, BytesMut};
use prost::Message;

use super::chunks::{ChunkError, Layout, Span, is_known_schema};
use super::{HistogramSample, Labels, MatchOp, Matcher, Pattern};
use crate::model::TimeWindow;

/// No frame is longer: what the Go client refuses as well. Prometheus aims at 1 MiB.
const MAX_FRAME_BYTES: u64 = 50 << 20;
/// Parts of one series in one message. A part of two bytes becomes a struct of fifty, so they are
/// counted before any is made.
const MAX_LABELS: usize = 1024;
const MAX_CHUNKS: usize = 1 << 20;
const MAX_SAMPLES: usize = 16 << 20;
/// Bytes of one histogram: thousands of buckets.
const MAX_HISTOGRAM_BYTES: usize = 64 << 10;

pub(super) const SAMPLES: i32 = 0;
pub(super) const STREAMED_XOR_CHUNKS: i32 = 1;

#[derive(Clone, PartialEq, Message)]
pub(super) struct ReadRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) queries: Vec<Query>,
    #[prost(int32, repeated, tag = "2")]
    pub(super) accepted_response_types: Vec<i32>,
}

/// Field 4 of the protocol, the hints, is left out on purpose: a server lets their range replace
/// the query's, and answers a request whose range is only in one of them with nothing at all.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Query {
    #[prost(int64, tag = "1")]
    pub(super) start_timestamp_ms: i64,
    #[prost(int64, tag = "2")]
    pub(super) end_timestamp_ms: i64,
    #[prost(message, repeated, tag = "3")]
    pub(super) matchers: Vec<LabelMatcher>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LabelMatcher {
    #[prost(int32, tag = "1")]
    pub(super) kind: i32,
    #[prost(string, tag = "2")]
    pub(super) name: String,
    #[prost(string, tag = "3")]
    pub(super) value: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ChunkedSeries {
    #[prost(message, repeated, tag = "1")]
    pub(super) labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub(super) chunks: Vec<Chunk>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Label {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Chunk {
    #[prost(int64, tag = "1")]
    pub(super) min_time_ms: i64,
    #[prost(int64, tag = "2")]
    pub(super) max_time_ms: i64,
    #[prost(int32, tag = "3")]
    pub(super) encoding: i32,
    #[prost(bytes = "bytes", tag = "4")]
    pub(super) data: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    pub(super) labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub(super) samples: Vec<WireSample>,
    #[prost(message, repeated, tag = "4")]
    pub(super) histograms: Vec<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct WireSample {
    #[prost(double, tag = "1")]
    pub(super) value: f64,
    #[prost(int64, tag = "2")]
    pub(super) timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Histogram {
    #[prost(uint64, optional, tag = "1")]
    count_int: Option<u64>,
    #[prost(double, optional, tag = "2")]
    count_float: Option<f64>,
    #[prost(double, tag = "3")]
    sum: f64,
    #[prost(sint32, tag = "4")]
    schema: i32,
    #[prost(double, tag = "5")]
    zero_threshold: f64,
    #[prost(uint64, optional, tag = "6")]
    zero_count_int: Option<u64>,
    #[prost(double, optional, tag = "7")]
    zero_count_float: Option<f64>,
    #[prost(message, repeated, tag = "8")]
    negative_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "9")]
    negative_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "10")]
    negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "11")]
    positive_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "12")]
    positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    positive_counts: Vec<f64>,
    #[prost(int64, tag = "15")]
    timestamp: i64,
    #[prost(double, repeated, tag = "16")]
    custom_values: Vec<f64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct BucketSpan {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

/// The request for one window: closed at its end on the wire, so one millisecond less.
pub(super) fn read_request(matchers: &[Matcher], window: TimeWindow) -> ReadRequest {
    ReadRequest {
        queries: vec![Query {
            start_timestamp_ms: window.start_ms,
            end_timestamp_ms: window.end_ms.saturating_sub(1),
            matchers: matchers.iter().map(wire_matcher).collect(),
        }],
        accepted_response_types: vec![STREAMED_XOR_CHUNKS, SAMPLES],
    }
}

fn wire_matcher(matcher: &Matcher) -> LabelMatcher {
    let (kind, value) = match &matcher.op {
        MatchOp::Equal(value) => (0, value.clone()),
        MatchOp::NotEqual(value) => (1, value.clone()),
        MatchOp::AnyOf(patterns) => (2, regex(patterns)),
        MatchOp::NoneOf(patterns) => (3, regex(patterns)),
    };
    LabelMatcher {
        kind,
        name: matcher.label.clone(),
        value,
    }
}

/// The alternatives as an RE2 expression, which Prometheus anchors at both ends.
pub(super) fn regex(patterns: &[Pattern]) -> String {
    if patterns.is_empty() {
        // Matches no value, not even the empty one.
        return r"[^\s\S]".to_owned();
    }
    let one = |pattern: &Pattern| match pattern {
        Pattern::Exact(text) => quote(text),
        Pattern::Prefix(text) => format!("{}(?s:.*)", quote(text)),
    };
    patterns.iter().map(one).collect::<Vec<_>>().join("|")
}

fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

pub(super) fn labels(wire: Vec<Label>) -> Labels {
    wire.into_iter().map(|l| (l.name, l.value)).collect()
}

/// The series of one frame of a stream (`ChunkedReadResponse`), one at a time.
pub(super) fn chunked_series(
    frame: &Bytes,
    mut each: impl FnMut(ChunkedSeries) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    walk(frame, |number, field| match (number, field) {
        (1, Field::Bytes(series)) => {
            weigh(&series, MAX_CHUNKS, usize::MAX)?;
            each(decode(series)?)
        }
        (2, Field::Number(0)) => Ok(()),
        (2, _) => Err(malformed("a frame answers a query that was not asked")),
        _ => Ok(()),
    })
}

/// The series of an unstreamed answer (`ReadResponse`), one at a time.
pub(super) fn time_series(
    answer: &Bytes,
    mut each: impl FnMut(TimeSeries) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    walk(answer, |number, field| {
        let (1, Field::Bytes(result)) = (number, field) else {
            return Ok(());
        };
        walk(&result, |number, field| {
            let (1, Field::Bytes(series)) = (number, field) else {
                return Ok(());
            };
            weigh(&series, MAX_SAMPLES, MAX_HISTOGRAM_BYTES)?;
            each(decode(series)?)
        })
    })
}

/// Why a message was not read to its end: it is bad, or who took its series had enough.
pub(super) enum ReadError {
    Malformed(String),
    Taker(super::SourceError),
}

fn malformed(what: impl Into<String>) -> ReadError {
    ReadError::Malformed(what.into())
}

fn decode<M: Message + Default>(bytes: Bytes) -> Result<M, ReadError> {
    M::decode(bytes).map_err(|e| malformed(format!("a message is malformed ({e})")))
}

/// Counts what a series holds before it is made: labels (field 1), chunks or samples (field 2),
/// histograms (field 4).
fn weigh(series: &Bytes, most_parts: usize, most_histogram_bytes: usize) -> Result<(), ReadError> {
    let (mut labels, mut parts) = (0, 0);
    walk(series, |number, field| {
        match number {
            1 => labels += 1,
            2 | 4 => parts += 1,
            _ => {}
        }
        if labels > MAX_LABELS {
            return Err(malformed(format!(
                "a series has more than {MAX_LABELS} labels"
            )));
        }
        if parts > most_parts {
            return Err(malformed(format!(
                "a series has more than {most_parts} parts"
            )));
        }
        match field {
            Field::Bytes(bytes) if number == 4 && bytes.len() > most_histogram_bytes => {
                Err(malformed("a histogram has more than 64 KiB"))
            }
            _ => Ok(()),
        }
    })
}

enum Field {
    Number(u64),
    Bytes(Bytes),
}

/// The fields of a message, none of them decoded.
fn walk(
    message: &Bytes,
    mut each: impl FnMut(u64, Field) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let bad = |e: prost::DecodeError| malformed(format!("a message is malformed ({e})"));
    let short = || malformed("a message is malformed (it ends within a field)");
    let mut rest = message.clone();
    while rest.has_remaining() {
        let key = prost::encoding::decode_varint(&mut rest).map_err(bad)?;
        let field = match key & 7 {
            0 => Field::Number(prost::encoding::decode_varint(&mut rest).map_err(bad)?),
            1 if rest.remaining() >= 8 => Field::Number(rest.get_u64_le()),
            5 if rest.remaining() >= 4 => Field::Number(u64::from(rest.get_u32_le())),
            2 => {
                let len = prost::encoding::decode_varint(&mut rest).map_err(bad)?;
                let len = usize::try_from(len).map_err(|_| short())?;
                if len > rest.remaining() {
                    return Err(short());
                }
                Field::Bytes(rest.split_to(len))
            }
            _ => return Err(short()),
        };
        each(key >> 3, field)?;
    }
    Ok(())
}

impl Histogram {
    pub(super) fn into_sample(self) -> Result<HistogramSample, ChunkError> {
        if !is_known_schema(self.schema) {
            return Err(ChunkError::Malformed("an unknown bucket schema"));
        }
        let spans = |spans: Vec<BucketSpan>| {
            let one = |s: BucketSpan| Span {
                offset: s.offset,
                length: s.length,
            };
            spans.into_iter().map(one).collect()
        };
        let counts = |deltas: Vec<i64>, counts: Vec<f64>| {
            if deltas.is_empty() {
                return counts;
            }
            let mut running = 0_i64;
            let add = |delta: i64| {
                running = running.wrapping_add(delta);
                running as f64
            };
            deltas.into_iter().map(add).collect()
        };
        let either =
            |int: Option<u64>, float: Option<f64>| float.or(int.map(|n| n as f64)).unwrap_or(0.0);
        let layout = Layout {
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            positive: spans(self.positive_spans),
            negative: spans(self.negative_spans),
            custom_bounds: self.custom_values,
        };
        Ok(HistogramSample {
            ts_ms: self.timestamp,
            schema: self.schema,
            count: either(self.count_int, self.count_float),
            sum: self.sum,
            buckets: layout.buckets(
                either(self.zero_count_int, self.zero_count_float),
                &counts(self.positive_deltas, self.positive_counts),
                &counts(self.negative_deltas, self.negative_counts),
            ),
        })
    }
}

/// The stream's bytes, cut into frames: length, checksum, message.
#[derive(Default)]
pub(super) struct Frames {
    buffer: BytesMut,
}

impl Frames {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, `None` if more bytes are needed.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, String> {
        let Some((len, prefix)) = frame_length(&self.buffer)? else {
            return Ok(None);
        };
        let body = prefix + 4;
        let whole = body + len;
        if self.buffer.len() < whole {
            self.buffer.reserve(whole - self.buffer.len());
            return Ok(None);
        }
        let sum = self.buffer.get(prefix..body).unwrap_or(&[]);
        let message = self.buffer.get(body..whole).unwrap_or(&[]);
        if crc32c::crc32c(message).to_be_bytes() != sum {
            return Err("a frame fails its checksum".to_owned());
        }
        let mut frame = self.buffer.split_to(whole).freeze();
        frame.advance(body);
        Ok(Some(frame))
    }

    /// The bytes that are in no whole frame yet.
    pub(super) fn rest(&self) -> &[u8] {
        &self.buffer
    }
}

/// A frame's message length and the bytes that this number takes.
fn frame_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, String> {
    let mut len = 0_u64;
    for (at, byte) in bytes.iter().take(5).enumerate() {
        len |= u64::from(byte & 0x7f) << (7 * at);
        if *byte < 0x80 {
            if len > MAX_FRAME_BYTES {
                return Err(format!("a frame of {len} bytes is more than 50 MiB"));
            }
            return Ok(Some((len as usize, at + 1)));
        }
    }
    if bytes.len() >= 5 {
        return Err("a frame is longer than 50 MiB".to_owned());
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(message: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        prost::encoding::encode_varint(message.len() as u64, &mut out);
        out.extend(crc32c::crc32c(message).to_be_bytes());
        out.extend(message);
        out
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_they_are_cut(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6),
            piece in 1..50_usize,
        ) {
            let stream: Vec<u8> = messages.iter().flat_map(|m| frame(m)).collect();
            let (mut frames, mut got) = (Frames::default(), Vec::new());
            for part in stream.chunks(piece) {
                frames.push(part);
                while let Some(message) = frames.next().unwrap() {
                    got.push(message.to_vec());
                }
            }
            prop_assert_eq!(got, messages);
            prop_assert!(frames.rest().is_empty());
        }

        #[test]
        fn any_bytes_are_frames_or_an_error(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut frames = Frames::default();
            frames.push(&bytes);
            while let Ok(Some(message)) = frames.next() {
                let _ = chunked_series(&message, |_| Ok(()));
            }
            let bytes = Bytes::from(bytes);
            let _ = chunked_series(&bytes, |_| Ok(()));
            let _ = time_series(&bytes, |series| {
                for histogram in series.histograms {
                    let _ = histogram.into_sample();
                }
                Ok(())
            });
        }
    }

    /// A few bytes that would become gigabytes are refused before they do.
    #[test]
    fn parts_are_counted_before_they_are_made() {
        let refusal = |message: Vec<u8>, stream: bool| {
            let mut taken = 0;
            let message = Bytes::from(message);
            let outcome = if stream {
                chunked_series(&message, |_| {
                    taken += 1;
                    Ok(())
                })
            } else {
                time_series(&message, |_| {
                    taken += 1;
                    Ok(())
                })
            };
            assert_eq!(taken, 0);
            match outcome {
                Err(ReadError::Malformed(what)) => what,
                _ => panic!("nothing was refused"),
            }
        };
        let field = |number: u8, body: &[u8]| {
            let mut out = vec![number << 3 | 2];
            prost::encoding::encode_varint(body.len() as u64, &mut out);
            out.extend(body);
            out
        };
        let labels = field(1, &[0x0a, 0].repeat(1025));
        assert!(refusal(labels, true).contains("1024 labels"));
        let chunks = field(1, &[0x12, 0].repeat((1 << 20) + 1));
        assert!(refusal(chunks, true).contains("parts"));
        let samples = field(1, &field(1, &[0x12, 0].repeat((16 << 20) + 1)));
        assert!(refusal(samples, false).contains("parts"));
        let histogram = field(1, &field(1, &field(4, &vec![0; 70_000])));
        assert!(refusal(histogram, false).contains("64 KiB"));
    }

    #[test]
    fn a_request_is_closed_at_its_end_and_has_no_hints() {
        let one = Matcher::any_of(
            "__name__",
            vec![Pattern::Exact("a.b".into()), Pattern::Prefix("c+".into())],
        );
        let request = read_request(&[one], TimeWindow::new(10, 20));
        let query = &request.queries[0];
        assert_eq!((query.start_timestamp_ms, query.end_timestamp_ms), (10, 19));
        assert_eq!(query.matchers[0].kind, 2);
        assert_eq!(query.matchers[0].value, r"a\.b|c\+(?s:.*)");
        // Field 4 (tag byte 0x22) would be the hints.
        assert!(!query.encode_to_vec().contains(&0x22));
        assert_eq!(request.accepted_response_types, [1, 0]);
    }
}
