//! Owns what a cluster's bills charge for usage by day, and which products of a provider a workload's
//! machines are there. Called by `outcomes`.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;

use super::given::Bill;
use crate::detect::economics::bill::Charge;
use crate::model::time::DAY_MS;

/// A provider and what it sells under one number.
type Products = BTreeSet<(String, String)>;

/// What is charged for using something: purchases, taxes and credits belong to no day of a workload.
fn usage<'a>(bills: &'a [Bill], cluster: &'a str) -> impl Iterator<Item = &'a Charge> {
    bills
        .iter()
        .filter(move |bill| bill.cluster == cluster)
        .flat_map(|bill| &bill.charges)
        .filter(|charge| charge.is_usage && charge.start_ms < charge.end_ms)
}

/// The products under which these machines are charged; `None` where the bills name none of them.
pub(super) fn products(
    bills: &[Bill],
    cluster: &str,
    machines: &BTreeSet<String>,
) -> Option<Products> {
    let found: Products = usage(bills, cluster)
        .filter(|charge| !charge.resource.is_empty() && machines.contains(&charge.resource))
        .map(|charge| (charge.provider.clone(), charge.sku.clone()))
        .collect();
    (!found.is_empty()).then_some(found)
}

/// What a cluster's bills charge for usage, by full day, of all or of some products; `None` where no
/// bill is given. Which days are covered the whole bill says: a product that is gone costs nothing.
pub(super) fn by_day(
    bills: &[Bill],
    cluster: &str,
    products: Option<&Products>,
) -> Option<BTreeMap<i64, Decimal>> {
    let first = usage(bills, cluster).map(|charge| charge.start_ms).min()?;
    let last = usage(bills, cluster).map(|charge| charge.end_ms).max()?;
    let day_of = |ms: i64| ms.div_euclid(DAY_MS) * DAY_MS;
    let mut days: BTreeMap<i64, Decimal> = BTreeMap::new();
    let mut day = day_of(first + DAY_MS - 1);
    while day + DAY_MS <= last {
        days.insert(day, Decimal::ZERO);
        day += DAY_MS;
    }
    let counts = |charge: &&Charge| {
        products.is_none_or(|all| all.contains(&(charge.provider.clone(), charge.sku.clone())))
    };
    for charge in usage(bills, cluster).filter(counts) {
        let length = Decimal::from(charge.end_ms - charge.start_ms);
        for (day, usd) in days.range_mut(day_of(charge.start_ms)..charge.end_ms) {
            let ms = charge.end_ms.min(day + DAY_MS) - charge.start_ms.max(*day);
            let share = charge.effective_usd.checked_mul(Decimal::from(ms))? / length;
            *usd = usd.checked_add(share)?;
        }
    }
    Some(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charge(from: i64, to: i64, usd: i64, is_usage: bool) -> Charge {
        Charge {
            provider: "aws".into(),
            sku: "p5".into(),
            resource: "i-1".into(),
            start_ms: from * DAY_MS / 2,
            end_ms: to * DAY_MS / 2,
            effective_usd: usd.into(),
            is_usage,
        }
    }

    fn bill(charges: Vec<Charge>) -> Vec<Bill> {
        vec![Bill {
            cluster: "a".into(),
            name: "b.csv".into(),
            charges,
        }]
    }

    #[test]
    fn a_bill_is_dealt_to_the_days_that_it_covers_whole() {
        // From noon of the first day to the end of the third; a purchase is no usage.
        let bills = bill(vec![
            charge(1, 5, 40, true),
            charge(4, 6, 6, true),
            charge(0, 6, 999, false),
        ]);
        let usd: Vec<(i64, Decimal)> = by_day(&bills, "a", None).unwrap().into_iter().collect();
        assert_eq!(
            usd,
            [(DAY_MS, Decimal::from(20)), (2 * DAY_MS, Decimal::from(16))]
        );
        assert_eq!(by_day(&bills, "b", None), None);
    }

    #[test]
    fn machines_say_which_products_count_and_a_product_that_is_gone_costs_nothing() {
        let mut other = charge(0, 6, 60, true);
        other.sku = "g6".into();
        other.resource = "i-2".into();
        // The first ends with the first day.
        let bills = bill(vec![charge(0, 2, 10, true), other]);
        let named = |id: &str| products(&bills, "a", &BTreeSet::from([id.to_owned()]));
        assert_eq!(named("i-3"), None);
        let mine = named("i-1").unwrap();
        assert_eq!(mine, BTreeSet::from([("aws".into(), "p5".into())]));
        let days = by_day(&bills, "a", Some(&mine)).unwrap();
        let usd: Vec<Decimal> = days.into_values().collect();
        assert_eq!(usd, [Decimal::TEN, Decimal::ZERO, Decimal::ZERO]);
    }
}
