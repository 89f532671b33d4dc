//! Owns the lines of `/api/v1/export`: one JSON object each, a part of a series. Whole lines are put
//! together from the pieces that arrive, bounded, and read. Pure; called by `export`.

use std::collections::BTreeMap;

use super::{Labels, STALE_NAN_BITS, Sample};

/// Bytes of one line: with `reduce_mem_usage` a line is a block of at most 8,192 samples.
const MAX_LINE_BYTES: usize = 16 << 20;

/// Puts lines together from pieces.
#[derive(Debug, Default)]
pub(super) struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    pub(super) fn push<E>(
        &mut self,
        mut bytes: &[u8],
        take: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (head, tail) = bytes.split_at(end);
            bytes = tail.get(1..).unwrap_or(&[]);
            if self.rest.is_empty() {
                take(head)?;
            } else {
                self.rest.extend_from_slice(head);
                take(&self.rest)?;
                self.rest.clear();
            }
        }
        self.rest.extend_from_slice(bytes);
        if self.rest.len() > MAX_LINE_BYTES {
            // No block is that long: this is refused as any other line that is no part of a series.
            take(self.rest.get(..1).unwrap_or(&[]))?;
        }
        Ok(())
    }

    /// What stands after the last line is an error.
    pub(super) fn finish(self) -> Result<(), Vec<u8>> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(self.rest)
    }
}

/// One line: `{"metric":{…},"values":[…],"timestamps":[…]}`, in this order since ever.
pub(super) fn parse(line: &[u8]) -> Result<(Labels, Vec<Sample>), String> {
    let wrong = |what: &str| format!("a line of the export {what}");
    let rest = line
        .strip_prefix(b"{\"metric\":")
        .ok_or_else(|| wrong("is no part of a series"))?;
    let mut parts =
        serde_json::Deserializer::from_slice(rest).into_iter::<BTreeMap<String, String>>();
    let Some(Ok(metric)) = parts.next() else {
        return Err(wrong("has malformed labels"));
    };
    let rest = rest.get(parts.byte_offset()..).unwrap_or(&[]);
    let rest = std::str::from_utf8(rest).map_err(|_| wrong("is no text"))?;
    let lists = rest
        .strip_prefix(",\"values\":[")
        .and_then(|rest| rest.split_once("],\"timestamps\":["))
        .and_then(|(values, rest)| Some((values, rest.trim_end().strip_suffix("]}")?)));
    let (values, times) = lists.ok_or_else(|| wrong("lacks values or timestamps"))?;
    let mut times = times.split(',');
    let mut samples = Vec::new();
    for value in values.split(',').filter(|value| !value.is_empty()) {
        let ts_ms = times.next().and_then(|text| text.trim().parse().ok());
        let ts_ms = ts_ms.ok_or_else(|| wrong("has fewer timestamps than values"))?;
        let value = value_of(value.trim()).ok_or_else(|| wrong("has a value that is no number"))?;
        samples.push(Sample { ts_ms, value });
    }
    if times.next().is_some_and(|text| !text.is_empty()) {
        return Err(wrong("has more timestamps than values"));
    }
    Ok((metric.into_iter().collect(), samples))
}

/// VictoriaMetrics keeps stale markers and writes them as `null`; other NaN it never takes in.
/// Infinity is quoted since some version, and bare before.
fn value_of(text: &str) -> Option<f64> {
    if text == "null" {
        return Some(f64::from_bits(STALE_NAN_BITS));
    }
    let bare = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(text);
    bare.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_versions_are_read() {
        let lines = [
            br#"{"metric":{"__name__":"a","x":"]\"}"},"values":[1,null,+Inf,-Inf,1e-310],"timestamps":[1,2,3,4,5]}"#
                .as_slice(),
            br#"{"metric":{"__name__":"a","x":"]\"}"},"values":[1,null,"Infinity","-Infinity",1e-310],"timestamps":[1,2,3,4,5]}"#,
        ];
        for line in lines {
            let (labels, samples) = parse(line).unwrap();
            assert_eq!(labels.get("x"), Some("]\"}"));
            let bits: Vec<_> = samples
                .iter()
                .map(|s| (s.ts_ms, s.value.to_bits()))
                .collect();
            let infinite = f64::INFINITY.to_bits();
            let want = [
                (1, 1.0_f64.to_bits()),
                (2, STALE_NAN_BITS),
                (3, infinite),
                (4, (-f64::INFINITY).to_bits()),
                (5, 1e-310_f64.to_bits()),
            ];
            assert_eq!(bits, want);
        }
        let (_, none) =
            parse(br#"{"metric":{"__name__":"a"},"values":[],"timestamps":[]}"#).unwrap();
        assert!(none.is_empty());
    }

    #[test]
    fn lines_that_are_no_part_of_a_series_are_refused() {
        for line in [
            "",
            "error: cannot read block",
            r#"{"metric":{"__name__":"a"},"values":[1,2],"timestamps":[1]}"#,
            r#"{"metric":{"__name__":"a"},"values":[1],"timestamps":[1,2]}"#,
            r#"{"metric":{"__name__":"a"},"values":[x],"timestamps":[1]}"#,
            r#"{"metric":{"__name__":"a"},"values":[1],"timestamps":[1.5]}"#,
            r#"{"metric":{"__name__":"a"},"values":[1],"timestamps":[1]"#,
            r#"{"metric":{"__name__":"a","values":[1],"timestamps":[1]}"#,
            r#"{"metric":{"__name__":5},"values":[1],"timestamps":[1]}"#,
        ] {
            assert!(parse(line.as_bytes()).is_err(), "{line}");
        }
    }

    #[test]
    fn lines_are_whole_wherever_pieces_end_and_bounded() {
        let mut got = Vec::new();
        let mut lines = Lines::default();
        for piece in ["ab", "c\nd\n", "\n", "ef"] {
            lines
                .push::<()>(piece.as_bytes(), &mut |line| {
                    got.push(String::from_utf8_lossy(line).into_owned());
                    Ok(())
                })
                .unwrap();
        }
        assert_eq!(got, ["abc", "d", ""]);
        assert!(lines.finish().is_err());
        let mut lines = Lines::default();
        let long = vec![b'x'; 1 << 20];
        let refused = (0..20).find(|_| {
            let refuse = |_: &[u8]| Err(());
            lines.push(&long, &mut { refuse }).is_err()
        });
        assert!(refused.is_some());
    }
}
