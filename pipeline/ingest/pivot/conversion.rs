//! Owns how a sample becomes a column's value: scale, values that mean "not supported", values that stand
//! in a label. Called by `wide` and `histogram`.

use super::intake::WideSeries;
use crate::ingest::aliases::Aliases;

/// How samples of one series become values of a column: found once, used for each of them.
#[derive(Clone, Copy)]
pub(super) struct Conversion<'e> {
    /// The value stands in a label, and the sample says only that it is there.
    said: Option<f64>,
    reject: &'e [[f64; 2]],
    scale: f64,
}

impl<'e> Conversion<'e> {
    pub(super) fn of(aliases: &'e Aliases, series: &WideSeries<'_>) -> Self {
        let said = series.alias.from_label.as_ref().map(|label| {
            let text = series.labels.get(label);
            text.and_then(|text| text.parse::<f64>().ok())
                .filter(|number| number.is_finite())
                .unwrap_or(f64::NAN)
        });
        Self {
            said,
            reject: &aliases.exporters[series.alias.exporter].reject,
            scale: series.alias.scale,
        }
    }

    /// A factor and nothing else.
    pub(super) fn scaled(scale: f64) -> Self {
        Self {
            said: None,
            reject: &[],
            scale,
        }
    }

    /// The column's value of one sample; NaN where it means "not supported".
    pub(super) fn value(self, raw: f64) -> f64 {
        let value = self.said.unwrap_or(raw);
        let rejected = self
            .reject
            .iter()
            .any(|[from, to]| *from <= value && value <= *to);
        if rejected {
            f64::NAN
        } else {
            value * self.scale
        }
    }
}
