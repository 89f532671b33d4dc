//! Owns arithmetic on ascending lists of timestamps. Pure.

use std::sync::Arc;

/// Timestamps in milliseconds, strictly ascending, shared by the series of a scrape.
pub(super) type Times = Arc<[i64]>;

/// The distinct timestamps of several lists.
pub(super) fn union<'t>(lists: impl Iterator<Item = &'t Times>) -> Times {
    let mut distinct: Vec<&Times> = Vec::new();
    for list in lists {
        // Most series of a target share one list; comparing pointers first keeps this linear.
        if !distinct.iter().any(|known| Arc::ptr_eq(known, list)) {
            distinct.push(list);
        }
    }
    match distinct.as_slice() {
        [] => Arc::from([]),
        [only] => Arc::clone(only),
        many => {
            let mut all: Vec<i64> = many.iter().flat_map(|list| list.iter().copied()).collect();
            all.sort_unstable();
            all.dedup();
            all.into()
        }
    }
}

/// The spacings between neighbours.
pub(super) fn spacings(times: &[i64]) -> impl Iterator<Item = i64> {
    times.windows(2).map(|pair| pair[1] - pair[0])
}

/// The lower median; `None` of nothing.
pub(super) fn lower_median(mut values: Vec<i64>) -> Option<i64> {
    let middle = values.len().checked_sub(1)? / 2;
    let (_, median, _) = values.select_nth_unstable(middle);
    Some(*median)
}

/// Calls `each(position in all, position in part)` for every timestamp of `part`, which is a
/// subset of `all`.
pub(super) fn align(all: &Times, part: &Times, mut each: impl FnMut(usize, usize)) {
    if Arc::ptr_eq(all, part) {
        (0..part.len()).for_each(|i| each(i, i));
        return;
    }
    let mut at = 0;
    for (from, ts) in part.iter().enumerate() {
        while at < all.len() && all[at] < *ts {
            at += 1;
        }
        if all.get(at) == Some(ts) {
            each(at, from);
        }
    }
}

/// Splits ascending timestamps where a gap is longer than 2.5 intervals: `(first, last, count)`.
pub(super) fn spans(times: &[i64], interval_ms: Option<i64>) -> Vec<(i64, i64, i64)> {
    let mut spans: Vec<(i64, i64, i64)> = Vec::new();
    for &ts in times {
        match spans.last_mut() {
            // In integers: gap > 2.5 × interval.
            Some(last) if interval_ms.is_some_and(|i| 2 * (ts - last.1) <= 5 * i) => {
                last.1 = ts;
                last.2 += 1;
            }
            _ => spans.push((ts, ts, 1)),
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_the_lower_ones() {
        assert_eq!(lower_median(vec![]), None);
        assert_eq!(lower_median(vec![30, 15]), Some(15));
        assert_eq!(lower_median(vec![60, 15, 30]), Some(30));
    }

    #[test]
    fn spans_break_beyond_two_and_a_half_intervals() {
        assert_eq!(spans(&[0, 30, 105, 181], Some(30)), [(0, 105, 3), (181, 181, 1)]);
        assert_eq!(spans(&[5], None), [(5, 5, 1)]);
    }

    #[test]
    fn unions_keep_order_and_align_finds_every_part() {
        let (a, b): (Times, Times) = (Arc::from([1, 3]), Arc::from([2, 3, 9]));
        let all = union([&a, &b, &a].into_iter());
        assert_eq!(&*all, &[1, 2, 3, 9]);
        let mut pairs = Vec::new();
        align(&all, &b, |to, from| pairs.push((to, from)));
        assert_eq!(pairs, [(1, 0), (2, 1), (3, 2)]);
    }
}
