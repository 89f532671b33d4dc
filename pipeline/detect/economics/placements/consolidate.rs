//! Owns joining small models on fewer GPUs: which workloads of one pool go onto parts of cards, and
//! how many cards that leaves.
//!
//! One workload on a part of a card frees nothing by itself: the rest of the card is still paid. So
//! a member's replica is charged its share of the *cards* that the joint packing needs, what stays
//! free on them included, and no row is made where no whole card is saved.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use crate::catalogue::products;
use crate::detect::economics::device::{Device, TIME_SHARES};
use crate::detect::economics::packing::cards_for;
use crate::detect::economics::prices::{NodeFacts, PriceBook, PriceRow, SheetError};

use super::{Placement, Verdict, WorkloadFacts, row_key};

type Subject = [String; 4];

/// One workload that would go onto parts of cards.
struct Member {
    /// Its row of the part that is chosen.
    row: usize,
    subject: Subject,
    slots: [i64; 4],
    replicas: i64,
    card_milli: i64,
    whole_gpus: i64,
    /// What another tier would cost an hour at the peak, in thousandths of a GPU times dollars.
    elsewhere: Option<Decimal>,
}

/// Adds a row `consolidation` to each workload of a pool whose joint packing saves whole cards.
pub(super) fn consolidate(
    workloads: &[WorkloadFacts],
    rows: &mut Vec<Placement>,
    prices: &[PriceRow],
    book: &PriceBook,
) -> Result<(), SheetError> {
    let mut pools: BTreeMap<(String, String), Vec<Member>> = BTreeMap::new();
    for workload in workloads {
        // Replicas that a budget or a spread keeps apart must not meet on one card.
        if workload.gpu_milli_per_replica != 1000 || workload.floor_replicas > 1 {
            continue;
        }
        let Some(key) = workload.price_key.clone() else {
            continue;
        };
        if let Some(member) = member(workload, rows, prices) {
            pools
                .entry((workload.cluster.clone(), key))
                .or_default()
                .push(member);
        }
    }
    let mut added = Vec::new();
    for ((_, price_key), members) in pools {
        let Some(usd) = NodeFacts::from_key(&price_key)
            .map(|facts| book.price(&facts, None))
            .transpose()?
            .and_then(|row| row.usd_per_gpu_hour())
        else {
            continue;
        };
        added.extend(join(members, usd, rows));
    }
    rows.extend(added);
    rows.sort_by(|a, b| row_key(a).cmp(&row_key(b)));
    Ok(())
}

fn subject(row: &Placement) -> Subject {
    [
        &row.cluster,
        &row.namespace,
        &row.workload_kind,
        &row.workload_name,
    ]
    .map(Clone::clone)
}

/// The part that carries the workload's peak with the least of a card.
fn member(workload: &WorkloadFacts, rows: &[Placement], prices: &[PriceRow]) -> Option<Member> {
    let own = |row: &&Placement| {
        row.cluster == workload.cluster
            && row.namespace == workload.namespace
            && row.workload_kind == workload.workload_kind
            && row.workload_name == workload.workload_name
    };
    let sized = |row: &&Placement| matches!(row.verdict, Verdict::Feasible | Verdict::Borderline);
    let today = rows
        .iter()
        .filter(own)
        .find(|row| row.candidate_kind == "same-tier")
        .filter(sized)?;
    let (at, row) = rows
        .iter()
        .enumerate()
        .filter(|(_, row)| own(row) && row.verdict == Verdict::Feasible)
        .filter(|(_, row)| matches!(row.candidate_kind, "mig-slice" | "co-location"))
        .min_by_key(|(_, row)| {
            (
                row.replicas_at_peak
                    .unwrap_or(i64::MAX / 2000)
                    .saturating_mul(row.gpu_milli_per_replica),
                row.candidate.as_str(),
            )
        })?;
    let product = products().get(row.gpu_product.as_deref()?)?;
    let device = Device::slices(product)
        .into_iter()
        .chain(TIME_SHARES.iter().map(|n| Device::shared(product, *n)))
        .find(|device| device.name() == row.candidate)?;
    let elsewhere = rows
        .iter()
        .filter(own)
        .filter(|row| row.candidate_kind == "other-tier" && row.verdict == Verdict::Feasible)
        .filter_map(|row| {
            let key = row.price_key.as_deref()?;
            let price = prices.iter().find(|price| price.price_key() == key)?;
            Decimal::from(row.replicas_at_peak?)
                .checked_mul(Decimal::from(row.gpu_milli_per_replica))?
                .checked_mul(price.usd_per_gpu_hour()?)
        })
        .min();
    Some(Member {
        row: at,
        subject: subject(row),
        slots: device.slots(),
        replicas: row.replicas_at_peak?,
        card_milli: device.card_milli(),
        whole_gpus: today.replicas_at_peak?,
        elsewhere,
    })
}

/// The joint packing, again and again without the members that another tier serves for less.
fn join(mut members: Vec<Member>, usd: Decimal, rows: &[Placement]) -> Vec<Placement> {
    loop {
        let Some(card) = members
            .first()
            .map(|member| [member.slots[2], member.slots[3]])
        else {
            return Vec::new();
        };
        let slices: Vec<[i64; 2]> = members
            .iter()
            .flat_map(|member| {
                let slice = [member.slots[0], member.slots[1]];
                std::iter::repeat_n(
                    slice,
                    usize::try_from(member.replicas.clamp(0, 10_000)).unwrap_or(0),
                )
            })
            .collect();
        let cards = cards_for(&slices, card).bins;
        let whole: i64 = members.iter().map(|member| member.whole_gpus).sum();
        if cards < 1 || cards >= whole {
            return Vec::new();
        }
        let weight: i64 = members.iter().map(|m| m.replicas * m.card_milli).sum();
        // Rounded up: what is charged covers the cards.
        let charged = |member: &Member| {
            let part = cards * 1000 * member.card_milli;
            part / weight + i64::from(part % weight > 0)
        };
        let before = members.len();
        let costs: Vec<(bool, i64)> = members
            .iter()
            .map(|member| {
                let here = Decimal::from(charged(member) * member.replicas) * usd;
                (
                    member.elsewhere.is_none_or(|other| here < other),
                    charged(member),
                )
            })
            .collect();
        let mut keep = costs.iter();
        members.retain(|_| keep.next().is_some_and(|(stays, _)| *stays));
        if members.len() < before {
            continue;
        }
        let names: Vec<String> = members.iter().map(|m| m.subject[1..].join("/")).collect();
        return members
            .iter()
            .zip(costs)
            .map(|(member, (_, charged))| {
                let row = &rows[member.row];
                let others: Vec<&str> = names
                    .iter()
                    .filter(|name| **name != member.subject[1..].join("/"))
                    .map(String::as_str)
                    .collect();
                let with = if others.is_empty() {
                    "its own replicas".to_owned()
                } else {
                    others.join(", ")
                };
                Placement {
                    candidate: format!("{} packed", row.candidate),
                    candidate_kind: "consolidation",
                    gpu_milli_per_replica: charged,
                    why: format!(
                        "{}; with {with} it fills {cards} of the {whole} GPUs that they need alone",
                        row.why
                    ),
                    ..row.clone()
                }
            })
            .collect();
    }
}
