//! Owns the reading of a query's JSON answer while it streams by: the series of `data.result` are
//! cut out one by one, what stands around them is kept and checked at the end. Nothing is held of
//! the body but the series at hand and its frame, both bounded. Pure; called by `range`.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Bucket, HistogramSample, Labels, Sample};

/// Bytes of one series: a day of a native histogram with 160 buckets at 15 s has about 40 MB.
const MAX_SERIES_BYTES: usize = 64 << 20;
/// Bytes of all that stands around the series.
const MAX_FRAME_BYTES: usize = 1 << 20;
/// Nesting of a well-meant answer is 7.
const MAX_DEPTH: usize = 32;

/// A histogram's schema is not in JSON.
pub(super) const UNKNOWN_SCHEMA: i32 = i32::MIN;
/// JSON has one NaN; Prometheus' ordinary one is meant, stale markers are not in answers.
const NORMAL_NAN_BITS: u64 = 0x7ff8_0000_0000_0001;

/// What is wrong with an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// One series is larger than may be held: less of it must be asked for.
    TooLarge,
    Malformed(String),
}

fn malformed(what: impl Into<String>) -> Wrong {
    Wrong::Malformed(what.into())
}

/// What stands around the series.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Frame {
    status: String,
    data: Option<Data>,
    #[serde(default)]
    warnings: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    #[serde(rename = "result")]
    _result: Vec<IgnoredAny>,
}

/// Cuts the elements of `data.result` out of an answer.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    /// Everything but the elements.
    frame: Vec<u8>,
    element: Vec<u8>,
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// Where the last string at the frame's level begins and ends: the key of what opens next.
    key: (usize, usize),
    place: Place,
}

/// Which object of the answer the frame stands in.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    Outside,
    Data,
    Result,
}

/// Depth within the array of `data.result`.
const RESULT_DEPTH: usize = 3;

impl Cutter {
    /// Takes the next bytes and hands on each series that is whole.
    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        take: &mut dyn FnMut(&[u8]) -> Result<(), Wrong>,
    ) -> Result<(), Wrong> {
        for byte in bytes {
            self.step(*byte, take)?;
        }
        Ok(())
    }

    fn step(
        &mut self,
        byte: u8,
        take: &mut dyn FnMut(&[u8]) -> Result<(), Wrong>,
    ) -> Result<(), Wrong> {
        let in_result = self.place == Place::Result;
        let within = in_result && self.depth > RESULT_DEPTH;
        let begins = in_result && self.depth == RESULT_DEPTH && !self.in_string;
        if begins && byte == b'{' {
            self.depth += 1;
            self.element.clear();
            self.element.push(byte);
            return Ok(());
        }
        if begins && byte != b']' {
            // Between the series stand commas, and nothing else.
            return match byte {
                b',' | b' ' | b'\n' | b'\r' | b'\t' => Ok(()),
                _ => Err(malformed("the result is no list of series")),
            };
        }
        if within {
            if self.element.len() >= MAX_SERIES_BYTES {
                return Err(Wrong::TooLarge);
            }
            self.element.push(byte);
        } else {
            if self.frame.len() >= MAX_FRAME_BYTES {
                return Err(malformed("more than 1 MiB stands around the series"));
            }
            self.frame.push(byte);
        }
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => {
                    self.in_string = false;
                    self.key.1 = self.frame.len().saturating_sub(1);
                }
                _ => {}
            }
            return Ok(());
        }
        match byte {
            b'"' => {
                self.in_string = true;
                self.key.0 = self.frame.len();
            }
            b'{' | b'[' => self.open(byte)?,
            b'}' | b']' => {
                self.depth = self
                    .depth
                    .checked_sub(1)
                    .ok_or_else(|| malformed("it closes more than it opens"))?;
                if within && self.depth == RESULT_DEPTH {
                    take(&self.element)?;
                    self.element.clear();
                } else if self.depth < 2 {
                    self.place = Place::Outside;
                } else if self.depth < RESULT_DEPTH && in_result {
                    self.place = Place::Data;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn open(&mut self, byte: u8) -> Result<(), Wrong> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(malformed("it is nested too deep"));
        }
        let key = self.frame.get(self.key.0..self.key.1).unwrap_or(b"");
        if self.depth == 2 && byte == b'{' && key == b"data" {
            self.place = Place::Data;
        } else if self.depth == RESULT_DEPTH
            && self.place == Place::Data
            && byte == b'['
            && key == b"result"
        {
            self.place = Place::Result;
        }
        Ok(())
    }

    /// Checks that the answer is whole and a success; gives the server's warnings.
    pub(super) fn finish(self) -> Result<Vec<String>, Wrong> {
        let frame: Frame = serde_json::from_slice(&self.frame)
            .map_err(|error| malformed(format!("it is no whole answer of a query ({error})")))?;
        let kind = frame.data.map(|data| data.result_type);
        if frame.status != "success" || kind.as_deref() != Some("matrix") {
            return Err(malformed(format!(
                "its status is {:?} and its result {:?}, not a matrix",
                frame.status,
                kind.unwrap_or_default()
            )));
        }
        Ok(frame.warnings.unwrap_or_default())
    }
}

#[derive(Deserialize)]
struct RawSeries<'a> {
    metric: std::collections::BTreeMap<String, String>,
    #[serde(borrow, default)]
    values: Vec<(f64, &'a str)>,
    #[serde(borrow, default)]
    histograms: Vec<(f64, RawHistogram<'a>)>,
}

#[derive(Deserialize)]
struct RawHistogram<'a> {
    count: &'a str,
    sum: &'a str,
    /// Which of its bounds a bucket includes, the bounds, and its own count.
    #[serde(borrow, default)]
    buckets: Vec<(u8, &'a str, &'a str, &'a str)>,
}

/// One series of an answer.
#[derive(Debug)]
pub(super) struct AnswerSeries {
    pub(super) labels: Labels,
    pub(super) samples: Vec<Sample>,
    pub(super) histograms: Vec<HistogramSample>,
}

/// Reads one series as [`Cutter`] cut it out.
pub(super) fn series(bytes: &[u8]) -> Result<AnswerSeries, Wrong> {
    let raw: RawSeries<'_> = serde_json::from_slice(bytes)
        .map_err(|error| malformed(format!("a series is malformed ({error})")))?;
    let sample = |(seconds, value): (f64, &str)| {
        Ok(Sample {
            ts_ms: milliseconds(seconds)?,
            value: number(value)?,
        })
    };
    let histogram = |(seconds, raw): (f64, RawHistogram<'_>)| {
        let bucket = |(_, lower, upper, count): (u8, &str, &str, &str)| {
            Ok(Bucket {
                lower: number(lower)?,
                upper: number(upper)?,
                count: number(count)?,
            })
        };
        Ok(HistogramSample {
            ts_ms: milliseconds(seconds)?,
            schema: UNKNOWN_SCHEMA,
            count: number(raw.count)?,
            sum: number(raw.sum)?,
            buckets: raw
                .buckets
                .into_iter()
                .map(bucket)
                .collect::<Result<_, _>>()?,
        })
    };
    Ok(AnswerSeries {
        labels: raw.metric.into_iter().collect(),
        samples: raw
            .values
            .into_iter()
            .map(sample)
            .collect::<Result<_, _>>()?,
        histograms: raw
            .histograms
            .into_iter()
            .map(histogram)
            .collect::<Result<_, _>>()?,
    })
}

/// Timestamps are decimal seconds, exact to the millisecond.
fn milliseconds(seconds: f64) -> Result<i64, Wrong> {
    let ms = (seconds * 1000.0).round();
    if ms.abs() > 9e15 {
        return Err(malformed(format!("a sample has the time {seconds}")));
    }
    Ok(ms as i64)
}

fn number(text: &str) -> Result<f64, Wrong> {
    let value: f64 = text
        .parse()
        .map_err(|_| malformed(format!("{text:?} is no number")))?;
    Ok(if value.is_nan() {
        f64::from_bits(NORMAL_NAN_BITS)
    } else {
        value
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cuts an answer that arrives in pieces of `size` bytes.
    fn cut(text: &str, size: usize) -> Result<(Vec<AnswerSeries>, Vec<String>), Wrong> {
        let mut all = Vec::new();
        let mut cutter = Cutter::default();
        for piece in text.as_bytes().chunks(size) {
            cutter.push(piece, &mut |bytes| {
                all.push(series(bytes)?);
                Ok(())
            })?;
        }
        Ok((all, cutter.finish()?))
    }

    const GOOD: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[
        {"metric":{"__name__":"a","x":"]}\"\\{[","data":"result"},"values":[[1.5,"NaN"],[2,"-0"],[1793491200.001,"+Inf"]]},
        {"metric":{"__name__":"h"},"histograms":[[3,{"count":"7","sum":"1e-310","buckets":[[3,"-0.001","0.001","2"],[0,"1","2","5"]]}]]}
    ]},"warnings":["odd"]}"#;

    #[test]
    fn series_are_cut_out_wherever_the_pieces_end() {
        for size in [1, 7, 64, 100_000] {
            let (all, warnings) = cut(GOOD, size).unwrap();
            assert_eq!(warnings, ["odd"]);
            assert_eq!(all.len(), 2);
            assert_eq!(all[0].labels.get("x"), Some("]}\"\\{["));
            let samples = all[0].samples.iter();
            let samples: Vec<_> = samples.map(|s| (s.ts_ms, s.value.to_bits())).collect();
            let infinite = f64::INFINITY.to_bits();
            let want = [
                (1500, NORMAL_NAN_BITS),
                (2000, (-0.0_f64).to_bits()),
                (1_793_491_200_001, infinite),
            ];
            assert_eq!(samples, want);
            let histogram = &all[1].histograms[0];
            assert_eq!((histogram.count, histogram.sum), (7.0, 1e-310));
            assert_eq!(histogram.buckets[1].upper.to_bits(), 2.0_f64.to_bits());
        }
    }

    #[test]
    fn an_answer_cut_anywhere_is_no_answer() {
        for end in 0..GOOD.len() {
            assert!(cut(&GOOD[..end], 64).is_err(), "{end}");
        }
    }

    #[test]
    fn other_answers_are_refused() {
        let cases = [
            r#"{"status":"error","errorType":"execution","error":"too many samples"}"#,
            r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#,
            r#"{"status":"success","data":{"resultType":"matrix","result":[1]}}"#,
            r#"{"status":"success","data":{"resultType":"matrix","result":[]}}{}"#,
            r#"{"status":"success","data":{"resultType":"matrix","result":[],"result":[]}}"#,
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"x"]]}]}}"#,
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1e300,"1"]]}]}}"#,
            "]]]]",
            "",
        ];
        for text in cases {
            assert!(matches!(cut(text, 5), Err(Wrong::Malformed(_))), "{text}");
        }
        let deep = "[".repeat(100_000);
        assert!(matches!(cut(&deep, 999), Err(Wrong::Malformed(_))));
        let wide = format!("{{\"status\":\"{}", "x".repeat(2 << 20));
        assert!(matches!(cut(&wide, 4096), Err(Wrong::Malformed(_))));
        let endless = format!(
            "{{\"status\":\"success\",\"data\":{{\"resultType\":\"matrix\",\"result\":[{{\"metric\":{{\"a\":\"{}",
            "x".repeat(MAX_SERIES_BYTES + 10)
        );
        assert!(matches!(cut(&endless, 1 << 20), Err(Wrong::TooLarge)));
    }
}
