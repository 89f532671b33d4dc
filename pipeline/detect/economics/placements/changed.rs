//! Owns the verdict on one placement that somebody asks for: whether it fits, and whether it holds the SLO at
//! the demand that the workload had on its GPUs of today. `cli/gate` asks it.

use crate::catalogue::products;
use crate::detect::economics::fit::{Misfit, fit};

use super::candidates::{candidate_name, held_device};
use super::judge::Judgement;
use super::served::{served, stored};
use super::{
    Demand, KnownSpeed, Placement, SizingParams, SloRule, Subject, Verdict, WorkloadFacts,
    resolve_slo,
};

/// What is known of a placement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Room in memory and as many GPUs as the parallelism needs; none where that is unknown.
    pub fits: Option<bool>,
    pub fit_why: String,
    /// The placement at the workload's demand; none where it has none, and `unplaced` says why.
    pub placement: Option<Placement>,
    pub unplaced: String,
}

/// Judges `after`. Where `before` serves the same weights, what its own hours show is carried over; demand
/// is that of the window.
#[must_use]
pub fn place_changed(
    before: Option<&WorkloadFacts>,
    after: &WorkloadFacts,
    demand: Option<&Demand>,
    rules: &[SloRule],
    params: SizingParams,
    known: KnownSpeed<'_>,
) -> Changed {
    let (fits, fit_why) = fits(after);
    let mut out = Changed {
        fits,
        fit_why,
        placement: None,
        unplaced: String::new(),
    };
    if fits == Some(false) {
        "what does not fit serves nothing".clone_into(&mut out.unplaced);
        return out;
    }
    let Some(demand) = demand.filter(|demand| demand.requests > 0) else {
        "no demand of it was seen, so only fit and price are judged".clone_into(&mut out.unplaced);
        return out;
    };
    let subject = Subject {
        workload: after,
        demand,
        slo: resolve_slo(after, rules),
        params,
        known,
    };
    let judgement = match subject.judge_changed(before, demand) {
        Ok(judgement) => judgement,
        Err(why) => Judgement::unknown(why),
    };
    if judgement.verdict == Verdict::Unknown {
        out.unplaced.clone_from(&judgement.why);
    }
    out.placement = Some(subject.row(
        (
            "changed",
            candidate_name(after.gpu_product.as_deref(), after.gpu_milli_per_replica),
        ),
        after.gpu_product.as_deref(),
        after.price_key.clone(),
        after.gpu_milli_per_replica,
        &judgement,
        0,
    ));
    out
}

impl Subject<'_> {
    fn judge_changed(
        &self,
        before: Option<&WorkloadFacts>,
        demand: &Demand,
    ) -> Result<Judgement, String> {
        let after = self.workload;
        let now = served(after, demand)?;
        let product = after
            .gpu_product
            .as_deref()
            .and_then(|key| products().get(key));
        let product = product.ok_or("which GPU it runs on is not known")?;
        let (device, gpus) = held_device(product, after.gpu_milli_per_replica)
            .ok_or("a replica of that part or number of GPUs is not sized")?;
        // Its own hours speak of these weights on the GPUs that they were served on.
        let own = before.and_then(|before| {
            let then = served(before, demand).ok()?;
            let same = then.model.id == now.model.id && then.quantisation == now.quantisation;
            let product = products().get(before.gpu_product.as_deref()?)?;
            let (device, gpus) = held_device(product, before.gpu_milli_per_replica)?;
            same.then(|| self.own_hours(&then, &device, gpus)).flatten()
        });
        let stays = before.is_some_and(|before| {
            before.gpu_product == after.gpu_product
                && before.gpu_milli_per_replica == after.gpu_milli_per_replica
                && before.tensor_parallel == after.tensor_parallel
        });
        Ok(self.judge(&now, &device, gpus, own.as_ref(), stays))
    }
}

/// Whether a replica's GPUs are enough for the parallelism and have room for weights and context.
fn fits(workload: &WorkloadFacts) -> (Option<bool>, String) {
    let milli = workload.gpu_milli_per_replica;
    let needed = workload.tensor_parallel.unwrap_or(1).max(1)
        * workload.pipeline_parallel.unwrap_or(1).max(1);
    if milli > 0 && needed.saturating_mul(1000) > milli.max(1000) {
        return (
            Some(false),
            format!(
                "its parallelism needs {needed} GPUs and a replica asks for {}",
                milli / 1000
            ),
        );
    }
    let unknown = |why: String| (None, why);
    let served = match stored(workload) {
        Ok(served) => served,
        Err(why) => return unknown(why),
    };
    let Some(product) = workload.gpu_product.as_deref() else {
        return unknown(
            "no node selector names a GPU or a machine, so which GPU it gets is not known"
                .to_owned(),
        );
    };
    let Some(product) = products().get(product) else {
        return unknown(format!("the catalogue does not have the GPU {product}"));
    };
    let Some((device, gpus)) = held_device(product, milli) else {
        return unknown("a replica of that part or number of GPUs is not sized".to_owned());
    };
    let gpus = u32::try_from(gpus).unwrap_or(u32::MAX);
    match fit(&served, &device, gpus) {
        Ok(fitted) => (
            Some(true),
            format!(
                "{} fits on {gpus} × {} with room for {} tokens at once, {} a request at most",
                served.model.id,
                device.name(),
                fitted.max_tokens,
                served.max_model_len
            ),
        ),
        Err(why @ Misfit::Geometry { .. }) => unknown(why.to_string()),
        Err(why) => (Some(false), why.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(product: &str, milli: i64) -> WorkloadFacts {
        WorkloadFacts {
            workload_class: "serving".to_owned(),
            model: Some("Qwen/Qwen3-8B".to_owned()),
            gpu_product: Some(product.to_owned()),
            gpu_milli_per_replica: milli,
            floor_replicas: 1,
            max_model_len: Some(8192),
            ..WorkloadFacts::default()
        }
    }

    fn place(after: &WorkloadFacts, demand: Option<&Demand>) -> Changed {
        let before = workload("H100-SXM-80", 1000);
        let (params, known) = (SizingParams::default(), KnownSpeed::default());
        place_changed(Some(&before), after, demand, &[], params, known)
    }

    #[test]
    fn what_does_not_fit_is_told_apart_from_what_is_unknown() {
        assert_eq!(place(&workload("L4-24", 1000), None).fits, Some(true));
        let mut long = workload("L4-24", 1000);
        long.model = Some("Qwen/Qwen2.5-32B-Instruct".to_owned());
        let no = place(&long, None);
        assert_eq!(no.fits, Some(false), "{no:?}");
        let mut split = workload("H100-SXM-80", 2000);
        split.tensor_parallel = Some(4);
        let no = place(&split, None);
        assert_eq!(no.fits, Some(false));
        assert!(no.fit_why.contains("needs 4 GPUs"), "{no:?}");
        let mut nowhere = workload("L4-24", 1000);
        nowhere.gpu_product = None;
        assert_eq!(place(&nowhere, None).fits, None);
        nowhere.model = None;
        assert!(place(&nowhere, None).fit_why.contains("not known"));
    }

    #[test]
    fn without_demand_fit_alone_is_judged_and_with_it_the_slo() {
        let none = place(&workload("H100-SXM-80", 1000), None);
        assert_eq!(none.placement, None);
        assert!(none.unplaced.contains("only fit and price"), "{none:?}");
        let demand = Demand {
            days_seen: 14,
            requests: 1000,
            isl_tokens: 500,
            isl_net_tokens: 500,
            osl_tokens: 100,
            peak_requests_5m: 30,
            peak_prompt_net_tokens_5m: 15_000,
            peak_output_tokens_5m: 3_000,
            ..Demand::default()
        };
        let fast = place(&workload("H100-SXM-80", 1000), Some(&demand));
        let slow = place(&workload("L4-24", 1000), Some(&demand));
        let itl = |one: &Changed| one.placement.as_ref().unwrap().itl_ms.unwrap();
        assert!(itl(&slow) > itl(&fast), "{slow:?}");
        assert_eq!(fast.placement.unwrap().verdict, Verdict::Feasible);
    }
}
