//! Owns floats that are decimals: whether a column's values are whole numbers of some power of ten,
//! to the bit, and their numbers. Called by `encoding`, which weighs them against floats, and by
//! `writer`.
//!
//! An exporter prints a gauge with so many digits. The float nearest to such a text takes eight
//! bytes that look like noise; the digits are two or three. A reader that divides a whole number
//! below 2^53 by a power of ten up to 10^22 gets the nearest float, and so the very bits.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Decimal64Array};
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::arrow::error::ArrowError;

/// Digits after the point that are tried: exporters print seconds with nine.
const MAX_SCALE: u8 = 9;
/// Far enough below 2^53 that a product's error never reaches the next whole number.
const MOST: f64 = 1e15;
const TENS: [f64; MAX_SCALE as usize + 1] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// Parquet keeps so many digits in four bytes, and twice as many in eight.
const SHORT: u8 = 9;
const LONG: u8 = 18;

/// Digits after the point, and how many in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decimal {
    pub(super) scale: u8,
    precision: u8,
}

impl Decimal {
    pub(super) fn data_type(self) -> DataType {
        DataType::Decimal64(self.precision, self.scale as i8)
    }

    /// The whole numbers of a column that [`Finder`] found to have them.
    pub(super) fn numbers(self, values: &dyn Array) -> Result<ArrayRef, ArrowError> {
        let lost = |value: f64| {
            ArrowError::ComputeError(format!("{value} is no decimal of {} digits", self.scale))
        };
        let floats = values
            .as_primitive_opt::<Float64Type>()
            .ok_or_else(|| ArrowError::ComputeError("not a column of floats".to_owned()))?;
        let numbers: Decimal64Array =
            floats.try_unary(|value| number(value, self.scale).ok_or_else(|| lost(value)))?;
        let numbers = numbers.with_precision_and_scale(self.precision, self.scale as i8)?;
        Ok(std::sync::Arc::new(numbers))
    }
}

/// The whole number that, divided by the power of ten, is this very float.
fn number(value: f64, scale: u8) -> Option<i64> {
    let ten = TENS[usize::from(scale)];
    let product = value * ten;
    // What is not a number is in no range.
    if !(-MOST..=MOST).contains(&product) {
        return None;
    }
    let number = (product + 0.5_f64.copysign(product)) as i64;
    (((number as f64) / ten).to_bits() == value.to_bits()).then_some(number)
}

/// Looks at all values of a column for the fewest digits that tell each of them.
#[derive(Debug, Default)]
pub(super) struct Finder {
    scale: u8,
    largest: f64,
}

impl Finder {
    /// Looks at more values; whether all so far are decimals.
    pub(super) fn add(&mut self, values: &dyn Array) -> bool {
        let Some(floats) = values.as_primitive_opt::<Float64Type>() else {
            return false;
        };
        floats.iter().flatten().all(|value| {
            while number(value, self.scale).is_none() {
                // A NaN, a negative zero, or more digits than any exporter prints.
                if self.scale == MAX_SCALE {
                    return false;
                }
                self.scale += 1;
            }
            self.largest = self.largest.max(value.abs());
            true
        })
    }

    /// What all values are. More digits for a later value may be too many for an earlier one.
    pub(super) fn found(&self) -> Option<Decimal> {
        let most = self.largest * TENS[usize::from(self.scale)];
        let precision = if most < 1e9 - 1.0 { SHORT } else { LONG };
        (most <= MOST).then_some(Decimal {
            scale: self.scale,
            precision,
        })
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::Float64Array;
    use datafusion::arrow::compute::cast;
    use proptest::prelude::*;

    use super::*;

    fn find(values: &[f64]) -> Option<Decimal> {
        let mut finder = Finder::default();
        let array = Float64Array::from(values.to_vec());
        finder.add(&array).then(|| finder.found()).flatten()
    }

    /// Through whole numbers, and back as a reader casts them.
    fn there_and_back(values: &[f64], decimal: Decimal) -> Vec<u64> {
        let numbers = decimal
            .numbers(&Float64Array::from(values.to_vec()))
            .unwrap();
        let DataType::Decimal64(precision, scale) = decimal.data_type() else {
            unreachable!()
        };
        let read = cast(&numbers, &DataType::Decimal128(precision, scale)).unwrap();
        let back = cast(&read, &DataType::Float64).unwrap();
        let back = back.as_primitive::<Float64Type>();
        back.values().iter().map(|v| v.to_bits()).collect()
    }

    #[test]
    fn digits_are_found_and_what_is_no_decimal_is_not() {
        let scale = |values: &[f64]| find(values).map(|d| (d.scale, d.precision));
        assert_eq!(scale(&[0.0, 17.0, -3.0]), Some((0, 9)));
        assert_eq!(scale(&[0.5, 0.25, 0.125]), Some((3, 9)));
        assert_eq!(scale(&[0.123456, 99.0]), Some((6, 9)));
        assert_eq!(scale(&[0.000_000_001, 86_400.0]), Some((9, 18)));
        assert_eq!(scale(&[1_234_567_890.5]), Some((1, 18)));
        assert_eq!(scale(&[]), Some((0, 9)));
        for not in [
            f64::NAN,
            -0.0,
            f64::INFINITY,
            1e300,
            1.0 / 3.0,
            5e-324,
            0.1 + 0.2,
        ] {
            assert_eq!(scale(&[1.0, not]), None, "{not}");
        }
        // Each is a decimal, and no one scale holds both.
        assert_eq!(scale(&[1e14, 0.000_001]), None);
        assert_eq!(scale(&[0.000_001, 1e14]), None);
    }

    proptest! {
        #[test]
        fn every_bit_comes_back(
            numbers in prop::collection::vec(-999_999_999_999_i64..999_999_999_999, 1..50),
            scale in 0..=MAX_SCALE,
        ) {
            let text = |n: &i64| format!("{n}e-{scale}").parse::<f64>().unwrap();
            let values: Vec<f64> = numbers.iter().map(text).map(|v| v + 0.0).collect();
            let decimal = find(&values).expect("all are decimals");
            prop_assert!(decimal.scale <= scale);
            let bits: Vec<u64> = values.iter().map(|v| v.to_bits()).collect();
            prop_assert_eq!(there_and_back(&values, decimal), bits);
        }

        #[test]
        fn what_is_taken_for_decimals_comes_back(
            values in prop::collection::vec(prop::num::f64::ANY, 1..4),
        ) {
            if let Some(decimal) = find(&values) {
                let bits: Vec<u64> = values.iter().map(|v| v.to_bits()).collect();
                prop_assert_eq!(there_and_back(&values, decimal), bits);
            }
        }
    }
}
