//! Owns packing: how many cards hold a set of slices, how many nodes hold a set of replicas.
//!
//! Pure, and deterministic: first fit, the largest first, with the lower bound beside the answer, so
//! that a reader sees how far it can be from the best. Called by `placements::consolidate` and by
//! the runner for what the bill drops.

use std::collections::BTreeMap;

/// How many bins were used, and the number below which no packing goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Packed {
    pub bins: i64,
    pub lower_bound: i64,
}

/// Items of one size, in thousandths of a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Items {
    pub gpu_milli: i64,
    pub count: i64,
}

/// Nodes of `node_gpus` GPUs that hold the items. An item larger than a node takes whole nodes of its
/// own. Thousandths of a GPU share one GPU, whole GPUs share none.
#[must_use]
pub fn nodes_for(items: &[Items], node_gpus: i64) -> Packed {
    let node_gpus = node_gpus.max(1);
    let mut whole: BTreeMap<i64, i64> = BTreeMap::new();
    let mut parts: Vec<[i64; 2]> = Vec::new();
    for item in items
        .iter()
        .filter(|item| item.gpu_milli > 0 && item.count > 0)
    {
        let gpus = item.gpu_milli / 1000;
        let part = item.gpu_milli % 1000;
        if gpus > 0 {
            // A replica of a GPU and a half takes two: GPUs are not split between its ranks.
            *whole.entry(gpus + i64::from(part > 0)).or_default() += item.count;
        } else {
            parts.extend(std::iter::repeat_n(
                [part, 0],
                item.count.min(MOST_ITEMS) as usize,
            ));
        }
    }
    let shared = cards_for(&parts, [1000, 0]).bins;
    if shared > 0 {
        *whole.entry(1).or_default() += shared;
    }
    let mut bins = 0_i64;
    let mut total = 0_i64;
    // Free GPUs of open nodes → how many such nodes: identical nodes are counted, not listed.
    let mut open: BTreeMap<i64, i64> = BTreeMap::new();
    for (gpus, count) in whole.into_iter().rev() {
        total = total.saturating_add(gpus.saturating_mul(count));
        if gpus >= node_gpus {
            let each = (gpus + node_gpus - 1) / node_gpus;
            bins = bins.saturating_add(each.saturating_mul(count));
            let free = each * node_gpus - gpus;
            if free > 0 {
                *open.entry(free).or_default() += count;
            }
            continue;
        }
        let mut left = count;
        while left > 0 {
            let Some((free, nodes)) = open.range(gpus..).next().map(|(f, n)| (*f, *n)) else {
                let per_node = node_gpus / gpus;
                let full = left / per_node;
                bins = bins.saturating_add(full);
                let rest = left % per_node;
                if full > 0 && node_gpus % gpus > 0 {
                    *open.entry(node_gpus % gpus).or_default() += full;
                }
                if rest > 0 {
                    bins = bins.saturating_add(1);
                    *open.entry(node_gpus - rest * gpus).or_default() += 1;
                }
                break;
            };
            // The fullest node that still has room.
            let taken = nodes.min(left);
            left -= taken;
            if nodes == taken {
                open.remove(&free);
            } else {
                open.insert(free, nodes - taken);
            }
            if free > gpus {
                *open.entry(free - gpus).or_default() += taken;
            }
        }
    }
    Packed {
        bins,
        lower_bound: total / node_gpus + i64::from(total % node_gpus > 0),
    }
}

/// More slices of one size than this are more than any fleet has.
const MOST_ITEMS: i64 = 100_000;

/// Cards that hold slices, each of so many of two resources (compute and memory slices, or
/// thousandths and nothing), on cards that have `card` of them.
#[must_use]
pub fn cards_for(slices: &[[i64; 2]], card: [i64; 2]) -> Packed {
    let mut sorted: Vec<[i64; 2]> = slices.to_vec();
    sorted.sort_by_key(|slice| std::cmp::Reverse((slice[0].max(slice[1]), *slice)));
    // Free room → cards that have it.
    let mut open: BTreeMap<[i64; 2], i64> = BTreeMap::new();
    let mut bins = 0;
    let mut sums = [0_i64; 2];
    for slice in sorted {
        sums = [sums[0] + slice[0], sums[1] + slice[1]];
        let fits = |free: &[i64; 2]| free[0] >= slice[0] && free[1] >= slice[1];
        let room = open.keys().find(|free| fits(free)).copied();
        let free = room.unwrap_or_else(|| {
            bins += 1;
            *open.entry(card).or_default() += 1;
            card
        });
        if let Some(count) = open.get_mut(&free) {
            *count -= 1;
            if *count == 0 {
                open.remove(&free);
            }
        }
        *open
            .entry([free[0] - slice[0], free[1] - slice[1]])
            .or_default() += 1;
    }
    let bound = |at: usize| match card[at] {
        0 => 0,
        size => (sums[at] + size - 1) / size,
    };
    Packed {
        bins,
        lower_bound: bound(0).max(bound(1)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn items(list: &[(i64, i64)]) -> Vec<Items> {
        list.iter()
            .map(|(gpu_milli, count)| Items {
                gpu_milli: *gpu_milli,
                count: *count,
            })
            .collect()
    }

    #[test]
    fn replicas_fill_nodes() {
        let on = |list: &[(i64, i64)], node| nodes_for(&items(list), node);
        assert_eq!(on(&[(1000, 7)], 8).bins, 1);
        assert_eq!(
            on(&[(1000, 9)], 8),
            Packed {
                bins: 2,
                lower_bound: 2
            }
        );
        // Two fours and three threes on nodes of eight: 4+4, 3+3, 3.
        assert_eq!(
            on(&[(4000, 2), (3000, 3)], 8),
            Packed {
                bins: 3,
                lower_bound: 3
            }
        );
        // Five fives on nodes of eight: one each, though 25 GPUs would fit into four.
        assert_eq!(
            on(&[(5000, 5)], 8),
            Packed {
                bins: 5,
                lower_bound: 4
            }
        );
        // Sixteen GPUs of one replica are two nodes of eight.
        assert_eq!(on(&[(16_000, 1)], 8).bins, 2);
        assert_eq!(on(&[], 8), Packed::default());
        // Two halves share a GPU, three need a second one.
        assert_eq!(on(&[(500, 2)], 1).bins, 1);
        assert_eq!(on(&[(500, 3)], 1).bins, 2);
    }

    #[test]
    fn slices_share_cards_by_compute_and_memory() {
        let card = [7, 8];
        let (half, third, seventh, wide) = ([3, 4], [2, 2], [1, 1], [1, 2]);
        assert_eq!(cards_for(&[half, half], card).bins, 1);
        assert_eq!(cards_for(&[half, third, third], card).bins, 1);
        assert_eq!(cards_for(&[seventh; 7], card).bins, 1);
        assert_eq!(
            cards_for(&[seventh; 8], card),
            Packed {
                bins: 2,
                lower_bound: 2
            }
        );
        // Five wide slices run out of memory, not of compute.
        assert_eq!(
            cards_for(&[wide; 5], card),
            Packed {
                bins: 2,
                lower_bound: 2
            }
        );
    }

    proptest! {
        #[test]
        fn packing_is_between_its_bound_and_one_bin_an_item(
            list in prop::collection::vec((1_i64..=8, 1_i64..6), 0..6),
            node in 1_i64..=16,
        ) {
            let given: Vec<(i64, i64)> = list.iter().map(|(g, n)| (g * 1000, *n)).collect();
            let packed = nodes_for(&items(&given), node);
            prop_assert!(packed.bins >= packed.lower_bound);
            let alone: i64 = list.iter().map(|(g, n)| (g + node - 1) / node * n).sum();
            prop_assert!(packed.bins <= alone);
            // First fit, the largest first, is never worse than twice the bound where items fit.
            if list.iter().all(|(g, _)| *g <= node) {
                prop_assert!(packed.bins <= 2 * packed.lower_bound);
            }
        }

        #[test]
        fn fewer_of_the_same_items_never_need_more_nodes_than_bins_of_one_each(
            count in 1_i64..50, gpus in 1_i64..=8, node in 1_i64..=8,
        ) {
            let many = nodes_for(&items(&[(gpus * 1000, count)]), node);
            let fewer = nodes_for(&items(&[(gpus * 1000, count - 1)]), node);
            prop_assert!(fewer.bins <= many.bins);
        }

        #[test]
        fn cards_hold_what_they_were_given(slices in prop::collection::vec((1_i64..=4, 1_i64..=4), 0..30)) {
            let slices: Vec<[i64; 2]> = slices.into_iter().map(|(c, m)| [c, m]).collect();
            let packed = cards_for(&slices, [7, 8]);
            prop_assert!(packed.bins >= packed.lower_bound);
            prop_assert!(packed.bins <= slices.len() as i64);
        }
    }
}
