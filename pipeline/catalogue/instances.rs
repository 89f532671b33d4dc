//! Owns instance types: their GPUs and their on-demand list price, by provider and region.
//!
//! It does not know price sheets or contracts: those are `detect::economics::prices`.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::{CatalogueError, Rows};

/// One instance type.
#[derive(Debug, Clone)]
pub struct Instance {
    /// `aws`, `azure`, `gcp`, `oci`, `nebius`, `lambda`, `coreweave`.
    pub provider: String,
    pub instance_type: String,
    pub gpu_product: String,
    /// Thousandths of a GPU: some instances are sold with a fraction of one.
    pub gpu_milli: i64,
    pub vcpus: Option<f64>,
    pub memory_gib: Option<f64>,
    pub on_demand_usd_per_hour: Option<Decimal>,
    pub spot_usd_per_hour: Option<Decimal>,
    /// The region of the price, as the source names it.
    pub region: String,
    pub source: String,
    /// As the source dates it: a date, a month or a year.
    pub price_date: String,
    pub confidence: String,
    pub note: Option<String>,
}

impl Instance {
    /// Physical GPUs; `None` for an instance with a fraction of one.
    #[must_use]
    pub fn gpu_count(&self) -> Option<i64> {
        (self.gpu_milli % 1000 == 0).then_some(self.gpu_milli / 1000)
    }

    /// The node's on-demand price ÷ its physical GPUs.
    #[must_use]
    pub fn usd_per_gpu_hour(&self) -> Option<Decimal> {
        let price = self.on_demand_usd_per_hour?;
        price
            .checked_mul(Decimal::ONE_THOUSAND)?
            .checked_div(Decimal::from(self.gpu_milli))
    }

    /// The price holds in that region: it is that region's, or the provider has one list for all.
    #[must_use]
    pub fn priced_in(&self, region: &str) -> bool {
        matches!(self.region.as_str(), "all" | "list" | "global list price")
            || self
                .region
                .split('/')
                .any(|name| name.eq_ignore_ascii_case(region.trim()))
    }
}

/// An instance that can be bought for a number of GPUs.
#[derive(Debug, Clone, Copy)]
pub struct Offer<'a> {
    pub instance: &'a Instance,
    pub gpu_count: i64,
    pub usd_per_gpu_hour: Decimal,
    /// The price is of another region than the one asked for.
    pub other_region: bool,
}

/// All instance types.
#[derive(Debug)]
pub struct Instances {
    rows: Vec<Instance>,
    by_name: BTreeMap<(String, String), usize>,
}

impl Instances {
    pub(super) fn parse(text: &str) -> Result<Self, CatalogueError> {
        let mut instances = Self {
            rows: Vec::new(),
            by_name: BTreeMap::new(),
        };
        for row in Rows::read("instance_catalogue", text)?.iter() {
            let instance = Instance {
                provider: row.required("cloud")?.to_owned(),
                instance_type: row.required("instance_type")?.to_owned(),
                gpu_product: row.required("gpu_key")?.to_owned(),
                gpu_milli: (row.required_positive("gpu_count")? * 1000.0).round() as i64,
                vcpus: row.positive("vcpu")?,
                memory_gib: row.positive("mem_gib")?,
                on_demand_usd_per_hour: row.parsed("ondemand_usd_h")?,
                spot_usd_per_hour: row.parsed("spot_usd_h")?,
                region: row.required("region")?.to_owned(),
                source: row.required("source")?.to_owned(),
                price_date: row.text("price_date")?.unwrap_or("undated").to_owned(),
                confidence: row.required("confidence")?.to_owned(),
                note: row.text("note")?.map(str::to_owned),
            };
            if instance.gpu_milli == 0 {
                return Err(row.error("gpu_count is zero"));
            }
            if [instance.on_demand_usd_per_hour, instance.spot_usd_per_hour]
                .into_iter()
                .flatten()
                .any(|price| price <= Decimal::ZERO)
            {
                return Err(row.error("a price is not above zero"));
            }
            let key = (
                instance.provider.clone(),
                instance.instance_type.to_ascii_lowercase(),
            );
            if instances
                .by_name
                .insert(key, instances.rows.len())
                .is_some()
            {
                return Err(row.error(format!("{} stands twice", instance.instance_type)));
            }
            instances.rows.push(instance);
        }
        Ok(instances)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Instance> {
        self.rows.iter()
    }

    /// The instance type of a provider.
    #[must_use]
    pub fn get(&self, provider: &str, instance_type: &str) -> Option<&Instance> {
        let key = (
            canonical_provider(provider),
            instance_type.trim().to_ascii_lowercase(),
        );
        self.by_name.get(&key).and_then(|at| self.rows.get(*at))
    }

    /// The cheapest instance per GPU that a provider sells with at least `gpus` whole GPUs of the
    /// product: prices of the region first, then of any other region. Of two at the same price the
    /// smaller node, since it can be returned in smaller steps.
    #[must_use]
    pub fn cheapest_for(
        &self,
        provider: &str,
        region: &str,
        gpu_product: &str,
        gpus: i64,
    ) -> Option<Offer<'_>> {
        let provider = canonical_provider(provider);
        self.rows
            .iter()
            .filter(|row| row.provider == provider && row.gpu_product == gpu_product)
            .filter_map(|instance| {
                Some(Offer {
                    gpu_count: instance.gpu_count().filter(|count| *count >= gpus.max(1))?,
                    usd_per_gpu_hour: instance.usd_per_gpu_hour()?,
                    other_region: !instance.priced_in(region),
                    instance,
                })
            })
            .min_by(|a, b| {
                (
                    a.other_region,
                    a.usd_per_gpu_hour,
                    a.gpu_count,
                    &a.instance.instance_type,
                )
                    .cmp(&(
                        b.other_region,
                        b.usd_per_gpu_hour,
                        b.gpu_count,
                        &b.instance.instance_type,
                    ))
            })
    }
}

/// The catalogue's name of a provider: what cloud-controller IDs and people call it otherwise.
#[must_use]
pub fn canonical_provider(name: &str) -> String {
    let name = name.trim().to_ascii_lowercase();
    match name.as_str() {
        "amazon" | "eks" | "ec2" => "aws".to_owned(),
        "gce" | "google" | "gke" => "gcp".to_owned(),
        "microsoft" | "aks" => "azure".to_owned(),
        "oracle" | "oke" => "oci".to_owned(),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use crate::catalogue::instances;

    #[test]
    fn look_ups_ignore_case_and_providers_other_names() {
        let node = instances().get("AWS", "p5.48xlarge").unwrap();
        assert_eq!(node.gpu_count(), Some(8));
        assert_eq!(node.usd_per_gpu_hour(), Some("6.88".parse().unwrap()));
        assert!(instances().get("gce", "a2-highgpu-1g").is_some());
        assert!(instances().get("aws", "p99.large").is_none());
    }

    #[test]
    fn a_fraction_of_a_gpu_is_no_gpu() {
        let node = instances().get("aws", "g6f.2xlarge").unwrap();
        assert_eq!((node.gpu_milli, node.gpu_count()), (250, None));
        let offer = instances()
            .cheapest_for("aws", "us-east-1", "L4-24", 1)
            .unwrap();
        assert_eq!(offer.instance.instance_type, "g6.xlarge");
    }

    #[test]
    fn the_cheapest_offer_is_one_that_is_sold() {
        let offer = |product: &str, n| instances().cheapest_for("aws", "us-east-1", product, n);
        // One H100 and eight cost the same per GPU: the node that can be returned singly.
        assert_eq!(
            offer("H100-SXM-80", 1).unwrap().instance.instance_type,
            "p5.4xlarge"
        );
        assert_eq!(
            offer("H100-SXM-80", 2).unwrap().instance.instance_type,
            "p5.48xlarge"
        );
        // Two L4 are sold as four.
        let two = offer("L4-24", 2).unwrap();
        assert_eq!(
            (two.instance.instance_type.as_str(), two.gpu_count),
            ("g6.12xlarge", 4)
        );
        assert!(offer("L4-24", 16).is_none());
        // An instance without a price is not on offer.
        assert!(offer("GB200-186", 1).is_none());
        let far = instances()
            .cheapest_for("aws", "eu-west-1", "L4-24", 1)
            .unwrap();
        assert!(far.other_region);
        let listed = instances()
            .cheapest_for("oci", "eu-frankfurt-1", "L40S-48", 1)
            .unwrap();
        assert!(!listed.other_region);
    }
}
