//! Owns which candidates a workload has, and what evidence each is judged on.

use crate::catalogue::{Product, products};
use crate::detect::economics::device::{Device, TIME_SHARES};
use crate::detect::economics::estimator::Estimator;
use crate::detect::economics::fit::Served;
use crate::detect::economics::prices::{NodeFacts, PriceBook, PriceRow, SheetError};
use crate::detect::economics::speed::{MIN_POINTS, Seen, seen};

use super::judge::{Judgement, Question, judge};
use super::served::served;
use super::{Evidence, Placements, Subject, Verdict};

/// GPUs of one replica that are sold together and joined by one fabric.
const GPU_COUNTS: [i64; 4] = [1, 2, 4, 8];

impl Subject<'_> {
    pub(super) fn place(&self, book: &PriceBook, out: &mut Placements) -> Result<(), SheetError> {
        let today = self.workload.gpu_product.as_deref();
        let gpu_milli = self.workload.gpu_milli_per_replica;
        let price_key = self.workload.price_key.clone();
        let same_tier = |judgement: &Judgement| {
            let name = candidate_name(today, gpu_milli);
            self.row(
                ("same-tier", name),
                today,
                price_key.clone(),
                gpu_milli,
                judgement,
                0,
            )
        };
        let served = match served(self.workload, self.demand) {
            Ok(served) => served,
            Err(why) => {
                out.rows.push(same_tier(&Judgement::unknown(why)));
                return Ok(());
            }
        };
        let product = today.and_then(|key| products().get(key));
        let held = product.and_then(|product| held_device(product, gpu_milli));
        let own = held
            .as_ref()
            .and_then(|(device, gpus)| self.own_hours(&served, device, *gpus));
        let judgement = match (product, &held) {
            (None, _) => Judgement::unknown("the GPU product is not known"),
            (Some(_), None) if gpu_milli > 0 && gpu_milli % 1000 == 0 => Judgement::unknown(
                format!("a replica of {} GPUs is not sized", gpu_milli / 1000),
            ),
            (Some(_), None) => {
                Judgement::unknown("a replica holds a fraction of a GPU, which is not sized")
            }
            (Some(_), Some((device, gpus))) => {
                self.judge(&served, device, *gpus, own.as_ref(), true)
            }
        };
        out.rows.push(same_tier(&judgement));
        if let (Some(product), Some((device, gpus))) = (product, &held)
            && !device.is_part()
        {
            self.place_on_product(&served, product, *gpus, own.as_ref(), out);
        }
        self.place_elsewhere(&served, own.as_ref(), book, out)
    }

    /// Today's product in other ways: a part of one GPU, or another number of them.
    fn place_on_product(
        &self,
        served: &Served<'static>,
        product: &'static Product,
        gpus: i64,
        own: Option<&Seen>,
        out: &mut Placements,
    ) {
        let price_key = self.workload.price_key.clone();
        if gpus == 1 {
            let mut parts = Device::slices(product);
            let kind = if parts.is_empty() {
                parts.extend(
                    TIME_SHARES
                        .iter()
                        .rev()
                        .map(|n| Device::shared(product, *n)),
                );
                "co-location"
            } else {
                "mig-slice"
            };
            for device in parts {
                let judgement = self.judge(served, &device, 1, own, false);
                out.rows.push(self.row(
                    (kind, device.name()),
                    Some(&product.key),
                    price_key.clone(),
                    device.card_milli(),
                    &judgement,
                    0,
                ));
            }
        }
        let node_gpus = self.node_gpus();
        for count in GPU_COUNTS {
            // More GPUs than a node has are not joined by its fabric.
            if count == gpus || node_gpus.is_some_and(|most| count > most) {
                continue;
            }
            let judgement = self.judge(served, &Device::whole(product), count, own, false);
            out.rows.push(self.row(
                (
                    "other-parallelism",
                    candidate_name(Some(&product.key), count * 1000),
                ),
                Some(&product.key),
                price_key.clone(),
                count * 1000,
                &judgement,
                0,
            ));
        }
    }

    /// GPUs of the node type that the workload runs on, where the catalogue knows it.
    fn node_gpus(&self) -> Option<i64> {
        let node = NodeFacts::from_key(self.workload.price_key.as_deref()?)?;
        crate::catalogue::instances()
            .get(&node.provider, &node.instance_type)?
            .gpu_count()
    }

    fn place_elsewhere(
        &self,
        served: &Served<'static>,
        own: Option<&Seen>,
        book: &PriceBook,
        out: &mut Placements,
    ) -> Result<(), SheetError> {
        let Some(node) = self
            .workload
            .price_key
            .as_deref()
            .and_then(NodeFacts::from_key)
            .filter(|node| !node.provider.is_empty())
        else {
            return Ok(());
        };
        let today = self.workload.gpu_product.as_deref();
        for product in products()
            .iter()
            .filter(|product| Some(product.key.as_str()) != today)
        {
            let device = Device::whole(product);
            let mut kept: Option<(Judgement, PriceRow, i64)> = None;
            for gpus in GPU_COUNTS {
                let Some(price) = book.candidate(&node, &product.key, gpus)? else {
                    continue;
                };
                let judgement = self.judge(served, &device, gpus, own, false);
                // The smallest count that will do; more GPUs are tried only where fewer fall short.
                let better = kept.as_ref().is_none_or(|(best, _, _)| {
                    judgement.verdict < best.verdict || (judgement.fits && !best.fits)
                });
                if better {
                    let done = matches!(judgement.verdict, Verdict::Feasible | Verdict::Unknown);
                    kept = Some((judgement, price, gpus));
                    if done {
                        break;
                    }
                }
            }
            if let Some((judgement, price, gpus)) = kept {
                out.rows.push(self.row(
                    (
                        "other-tier",
                        candidate_name(Some(&product.key), gpus * 1000),
                    ),
                    Some(&product.key),
                    Some(price.price_key()),
                    gpus * 1000,
                    &judgement,
                    price.band_percent,
                ));
                out.prices.push(price);
            }
        }
        Ok(())
    }

    pub(super) fn judge(
        &self,
        served: &Served<'static>,
        device: &Device,
        gpus: i64,
        own: Option<&Seen>,
        is_today: bool,
    ) -> Judgement {
        let measured = self.measured(served, device, gpus);
        let seen = measured
            .as_ref()
            .map(|seen| (Evidence::Measured, seen))
            .or_else(|| {
                let evidence = if is_today {
                    Evidence::OwnHours
                } else {
                    Evidence::Residual
                };
                own.map(|seen| (evidence, seen))
            });
        judge(&Question {
            served,
            device,
            gpus: u32::try_from(gpus).unwrap_or(u32::MAX),
            seen,
            demand: self.demand,
            slo: self.slo,
            params: self.params,
            floor_replicas: self.workload.floor_replicas.max(1),
            replicas_today: self.workload.replicas.unwrap_or(1).max(1),
        })
    }

    pub(super) fn own_hours(
        &self,
        served: &Served<'_>,
        device: &Device,
        gpus: i64,
    ) -> Option<Seen> {
        let workload = self.workload;
        let hours = self.known.own_hours.iter().find(|hours| {
            hours.cluster == workload.cluster
                && hours.namespace == workload.namespace
                && hours.workload_kind == workload.workload_kind
                && hours.workload_name == workload.workload_name
        })?;
        let model = Estimator::new(served, device, u32::try_from(gpus).ok()?).ok()?;
        seen(&hours.points, &model, MIN_POINTS)
    }

    /// The user's own measurement of the very model, storage type, product and count.
    fn measured(&self, served: &Served<'_>, device: &Device, gpus: i64) -> Option<Seen> {
        if device.is_part() {
            return None;
        }
        let points: Vec<_> = self
            .known
            .measured
            .iter()
            .filter(|one| {
                let stored = one.quantisation.as_deref();
                one.model == served.model.id
                    && one.gpu_product == device.product.key
                    && one.gpus == gpus
                    && stored.map_or(served.quantisation == served.model.native, |word| {
                        crate::catalogue::Quantisation::parse(word) == Some(served.quantisation)
                    })
            })
            .flat_map(|one| one.points.iter().copied())
            .collect();
        if points.is_empty() {
            return None;
        }
        let model = Estimator::new(served, device, u32::try_from(gpus).ok()?).ok()?;
        seen(&points, &model, 1)
    }
}

/// What a replica holds today: whole GPUs in a count that is sized, or a MIG instance whose part of
/// the card no other profile has.
pub(super) fn held_device(product: &'static Product, gpu_milli: i64) -> Option<(Device, i64)> {
    if gpu_milli > 0 && gpu_milli % 1000 == 0 {
        let gpus = gpu_milli / 1000;
        return GPU_COUNTS
            .contains(&gpus)
            .then(|| (Device::whole(product), gpus));
    }
    let mut same: Vec<Device> = Device::slices(product)
        .into_iter()
        .filter(|device| (device.card_milli() - gpu_milli).abs() <= 1)
        .collect();
    let only = same.pop()?;
    same.is_empty().then_some((only, 1))
}

/// `L40S-48 x1`; thousandths where a replica holds a fraction.
pub(super) fn candidate_name(gpu_product: Option<&str>, gpu_milli: i64) -> String {
    let product = gpu_product.unwrap_or("unknown");
    if gpu_milli % 1000 == 0 {
        format!("{product} x{}", gpu_milli / 1000)
    } else {
        format!("{product} x{gpu_milli}m")
    }
}
