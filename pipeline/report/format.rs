//! Owns how numbers become text. Rounding happens here, once, and nowhere before.

use rust_decimal::prelude::ToPrimitive as _;
use rust_decimal::{Decimal, RoundingStrategy};

use crate::model::time::HOUR_MS;

/// US dollars with thousands separators: whole from $100 up, cents below.
#[must_use]
pub fn usd(amount: Decimal) -> String {
    let places = if amount.abs() >= Decimal::from(100) {
        0
    } else {
        2
    };
    let rounded = amount.round_dp_with_strategy(places, RoundingStrategy::MidpointAwayFromZero);
    let sign = if rounded.is_sign_negative() && !rounded.is_zero() {
        "−"
    } else {
        ""
    };
    let text = format!("{:.*}", places as usize, rounded.abs());
    let (whole, cents) = text
        .split_once('.')
        .map_or((text.as_str(), ""), |(w, c)| (w, c));
    let cents = if cents.is_empty() {
        String::new()
    } else {
        format!(".{cents}")
    };
    format!("{sign}${}{cents}", thousands(whole))
}

/// Milliseconds of GPU time as GPU-hours: one decimal below 1,000, none above.
#[must_use]
pub fn gpu_hours(ms: i64) -> String {
    let hours = Decimal::from(ms) / Decimal::from(HOUR_MS);
    let places = u32::from(hours.abs() < Decimal::from(1000));
    let rounded = hours.round_dp_with_strategy(places, RoundingStrategy::MidpointAwayFromZero);
    let text = format!("{:.*}", places as usize, rounded);
    match text.split_once('.') {
        Some((whole, tenth)) => format!("{}.{tenth}", thousands(whole)),
        None => thousands(&text),
    }
}

/// A share of a whole in per cent with one decimal; `–` where there is no whole.
#[must_use]
pub fn percent(part: Decimal, whole: Decimal) -> String {
    if whole.is_zero() {
        return "–".to_owned();
    }
    let share = part * Decimal::ONE_HUNDRED / whole;
    format!(
        "{:.1} %",
        share.round_dp_with_strategy(1, RoundingStrategy::MidpointAwayFromZero)
    )
}

/// A share in per mille for bar widths, 0 to 1000.
pub(super) fn per_mille(part: i64, whole: i64) -> i64 {
    if whole <= 0 {
        return 0;
    }
    (Decimal::from(part) * Decimal::from(1000) / Decimal::from(whole))
        .round()
        .to_i64()
        .unwrap_or(0)
}

fn thousands(digits: &str) -> String {
    let (sign, digits) = digits
        .strip_prefix('-')
        .map_or(("", digits), |rest| ("−", rest));
    let mut out = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    format!("{sign}{out}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_reads_as_people_write_it() {
        let text = |value: &str| usd(value.parse().unwrap());
        assert_eq!(text("9100.4999"), "$9,100");
        assert_eq!(text("1234567.5"), "$1,234,568");
        assert_eq!(text("99.995"), "$100.00");
        assert_eq!(text("-12.3"), "−$12.30");
        assert_eq!(text("-0.001"), "$0.00");
    }

    #[test]
    fn hours_keep_a_decimal_while_it_matters() {
        assert_eq!(gpu_hours(HOUR_MS * 5 / 2), "2.5");
        assert_eq!(gpu_hours(HOUR_MS * 16_128), "16,128");
        assert_eq!(percent(Decimal::ONE, Decimal::from(3)), "33.3 %");
        assert_eq!(percent(Decimal::ONE, Decimal::ZERO), "–");
    }
}
