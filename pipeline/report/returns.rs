//! Owns the section on what can be handed back, and when: by kind of node what is free today and would
//! be free once all is done, under which commitment; and the findings in the order in which their
//! realisable dollars hold. It adds up what it is given.

use rust_decimal::Decimal;
use serde::Serialize;

use super::data::{FindingData, ReportData};
use super::format::usd;
use crate::model::time::{HOUR_MS, MONTH_HOURS, date_of};
use crate::model::zone::Zone;

/// Names of empty nodes beyond these are counted.
const NODES_NAMED: usize = 8;

/// One kind of node in one cluster, at the window's end.
#[derive(Debug, Clone, Default)]
pub struct PoolData {
    pub cluster: String,
    /// Provider, region, type, product and capacity, as prices are kept.
    pub key: String,
    pub nodes: i64,
    pub gpus: i64,
    /// Of one node; unknown where no price row or inventory says.
    pub gpus_per_node: Option<i64>,
    /// GPU-milliseconds: the least of any hour of the last week, and all of them, once every open
    /// recommendation is carried out.
    pub least_free_ms: i64,
    pub free_ms: i64,
    /// Hours of the last week in which there were such nodes.
    pub hours: i64,
    pub usd_per_gpu_hour: Option<Decimal>,
    pub commitment: Option<String>,
    pub commitment_end_ms: Option<i64>,
    /// Nodes that run on a reservation, as their labels say.
    pub reserved_nodes: i64,
    /// Nodes that nobody has held anything of for a day and more, and since when.
    pub empty: Vec<(String, i64)>,
}

/// What can be handed back, ready to print.
#[derive(Debug, Clone, Serialize)]
pub struct ReturnsView {
    pub pools: Vec<PoolView>,
    pub steps: Vec<StepView>,
}

/// One kind of node.
#[derive(Debug, Clone, Serialize)]
pub struct PoolView {
    pub pool: String,
    pub nodes: String,
    pub empty: String,
    /// GPUs that would be free in every hour, and as many whole nodes.
    pub free: String,
    pub whole_nodes: String,
    pub mean_free: String,
    pub node_monthly: String,
    pub commitment: String,
    pub when: String,
}

/// One finding, in its place.
#[derive(Debug, Clone, Serialize)]
pub struct StepView {
    pub place: usize,
    pub title: String,
    pub realisable: String,
    /// With all before it.
    pub so_far: String,
    pub when: String,
}

impl ReturnsView {
    #[must_use]
    pub(super) fn new(data: &ReportData, alarms: &[&FindingData]) -> Self {
        Self {
            pools: (data.pools)
                .iter()
                .filter(|pool| !pool.empty.is_empty() || pool.free_ms > 0)
                .map(|pool| pool_view(pool, data.window.end_ms, data.zone))
                .collect(),
            steps: steps(alarms),
        }
    }
}

fn gpus(ms: i64, hours: i64) -> String {
    let span = Decimal::from(hours.max(1) * HOUR_MS);
    format!("{:.1}", (Decimal::from(ms) / span).round_dp(1))
}

fn pool_view(pool: &PoolData, window_end_ms: i64, zone: Zone) -> PoolView {
    // What is claimed can be more than is there in an hour in which a remedy adds nodes.
    let least = pool.least_free_ms.max(0) / HOUR_MS;
    let per_node = pool.gpus_per_node.filter(|gpus| *gpus > 0);
    let unknown = || "unknown".to_owned();
    let mut named: Vec<String> = (pool.empty.iter().take(NODES_NAMED))
        .map(|(node, since_ms)| format!("{node} since {}", zone.instant(*since_ms)))
        .collect();
    if pool.empty.len() > NODES_NAMED {
        named.push(format!("{} more", pool.empty.len() - NODES_NAMED));
    }
    let running = pool.commitment_end_ms.filter(|end| *end > window_end_ms);
    let (mut commitment, when) = match (&pool.commitment, pool.commitment_end_ms) {
        (None, _) => (
            "no commitment in the price sheet".to_owned(),
            "at once".to_owned(),
        ),
        (Some(id), None) => (
            format!("{id}, its end is not known"),
            "when the commitment ends".to_owned(),
        ),
        (Some(id), Some(end)) => (
            format!("{id} until {}", date_of(end)),
            running.map_or_else(
                || "at once".to_owned(),
                |end| format!("from {}", date_of(end)),
            ),
        ),
    };
    if pool.reserved_nodes > 0 {
        commitment = format!("{commitment}; {} on a reservation", pool.reserved_nodes);
    }
    PoolView {
        pool: format!("{} · {}", pool.cluster, shown_key(&pool.key)),
        nodes: format!("{} with {} GPUs", pool.nodes, pool.gpus),
        empty: if named.is_empty() {
            "none".to_owned()
        } else {
            format!("{}: {}", pool.empty.len(), named.join(", "))
        },
        free: least.to_string(),
        whole_nodes: per_node.map_or_else(unknown, |gpus| (least / gpus).to_string()),
        mean_free: gpus(pool.free_ms, pool.hours),
        node_monthly: per_node.zip(pool.usd_per_gpu_hour).map_or_else(
            || "price unknown".to_owned(),
            |(gpus, price)| usd(price * Decimal::from(gpus * MONTH_HOURS)),
        ),
        commitment,
        when,
    }
}

/// What a price hangs on, as far as it is known.
fn shown_key(key: &str) -> String {
    let parts: Vec<&str> = key.split('|').filter(|part| !part.is_empty()).collect();
    parts.join(" · ")
}

/// In the order of netting: each figure holds once those before it are carried out.
fn steps(alarms: &[&FindingData]) -> Vec<StepView> {
    let mut ordered: Vec<&FindingData> = alarms
        .iter()
        .copied()
        .filter(|finding| {
            finding.realisable_monthly_usd.is_some() || finding.realisable_after.is_some()
        })
        .collect();
    ordered.sort_by(|a, b| a.order.cmp(&b.order).then_with(|| a.handle.cmp(&b.handle)));
    let mut so_far = Decimal::ZERO;
    ordered
        .iter()
        .enumerate()
        .map(|(index, finding)| {
            so_far += finding.realisable_monthly_usd.unwrap_or_default();
            StepView {
                place: index + 1,
                title: finding.title.clone(),
                realisable: finding
                    .realisable_monthly_usd
                    .map_or_else(|| "price unknown".to_owned(), usd),
                so_far: usd(so_far),
                when: finding.realisable_after.as_ref().map_or_else(
                    || "once done".to_owned(),
                    // A day is enough; where no day is known it says so in words.
                    |until| match until.split_once('T') {
                        Some((day, _)) => format!("once done; the rest from {day}"),
                        None => format!("once done; the rest when {until}"),
                    },
                ),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::render::tests::data;
    use super::*;
    use crate::model::time::DAY_MS;

    #[test]
    fn what_is_under_a_commitment_goes_when_it_ends() {
        let pool = PoolData {
            cluster: "a".into(),
            key: "aws|p5".into(),
            nodes: 3,
            gpus: 24,
            gpus_per_node: Some(8),
            least_free_ms: 17 * HOUR_MS + 1,
            free_ms: 20 * 168 * HOUR_MS,
            hours: 168,
            usd_per_gpu_hour: Some(Decimal::from(2)),
            commitment: Some("ri-1".into()),
            commitment_end_ms: Some(40 * DAY_MS),
            reserved_nodes: 1,
            empty: vec![("n1".into(), 10 * DAY_MS)],
        };
        let view = pool_view(&pool, 20 * DAY_MS, Zone::UTC);
        assert_eq!((view.free.as_str(), view.whole_nodes.as_str()), ("17", "2"));
        assert_eq!(view.mean_free, "20.0");
        assert_eq!(view.empty, "1: n1 since 1970-01-11T00:00:00Z");
        assert_eq!(view.node_monthly, "$11,680");
        assert_eq!(view.commitment, "ri-1 until 1970-02-10; 1 on a reservation");
        assert_eq!(view.when, "from 1970-02-10");
        assert_eq!(pool_view(&pool, 41 * DAY_MS, Zone::UTC).when, "at once");
        let unsaid = PoolData {
            commitment_end_ms: None,
            gpus_per_node: None,
            ..pool
        };
        let view = pool_view(&unsaid, 0, Zone::UTC);
        assert_eq!(view.when, "when the commitment ends");
        assert_eq!(view.whole_nodes, "unknown");
        assert_eq!(view.node_monthly, "price unknown");
        let mut nothing = data("chat");
        nothing.pools = vec![PoolData::default()];
        assert!(ReturnsView::new(&nothing, &[]).pools.is_empty());
    }

    #[test]
    fn dollars_add_up_in_the_order_in_which_they_hold() {
        let data = data("chat");
        let step = |id: &str, order: i64, usd: Option<i64>, after: Option<&str>| {
            let mut finding = data.findings[0].clone();
            finding.handle = id.into();
            finding.title = id.into();
            finding.order = order;
            finding.realisable_monthly_usd = usd.map(Decimal::from);
            finding.realisable_after = after.map(str::to_owned);
            finding
        };
        let all = [
            step("tier", 50, Some(-300), None),
            step("dark", 20, Some(500), Some("2027-01-01T00:00:00Z")),
            step("free", 10, Some(1000), None),
            step("unpacked", 30, None, None),
            step("sealed", 30, Some(0), Some("the commitment ends")),
        ];
        let steps = steps(&all.iter().collect::<Vec<_>>());
        let read: Vec<_> = steps
            .iter()
            .map(|row| (row.title.as_str(), row.so_far.as_str(), row.when.as_str()))
            .collect();
        assert_eq!(
            read,
            [
                ("free", "$1,000", "once done"),
                ("dark", "$1,500", "once done; the rest from 2027-01-01"),
                (
                    "sealed",
                    "$1,500",
                    "once done; the rest when the commitment ends"
                ),
                ("tier", "$1,200", "once done"),
            ]
        );
    }
}
