//! Owns what is served today: the model, how its weights are stored, its context; or the reason why
//! that is not known well enough to size anything.

use crate::catalogue::{Model, Quantisation, models, quantisation_stored};
use crate::detect::economics::engine::Engine;
use crate::detect::economics::fit::{MAX_SEQUENCES, Served};

use super::{Demand, WorkloadFacts};

/// What is served, or why that is not known well enough to size anything.
pub(super) fn served(workload: &WorkloadFacts, demand: &Demand) -> Result<Served<'static>, String> {
    let served = stored(workload)?;
    if demand.peak_lower_bound {
        return Err(
            "the peak is a lower bound: one of the ten highest 5-minute buckets had preemptions or a queue older than 15 minutes"
                .to_owned(),
        );
    }
    if demand.isl_tokens <= 0 || demand.osl_tokens <= 0 {
        return Err("the lengths of prompts and outputs were not observed".to_owned());
    }
    Ok(served)
}

/// What is served, whatever is asked of it.
pub(super) fn stored(workload: &WorkloadFacts) -> Result<Served<'static>, String> {
    let model: &'static Model = workload
        .model
        .as_deref()
        .and_then(|id| models().get(id).or_else(|| models().resolve(id)))
        .ok_or_else(|| match (&workload.model_raw, &workload.model) {
            (Some(name), _) | (None, Some(name)) => {
                format!("the model {name:?} is not in the catalogue")
            }
            (None, None) => "which model is served is not known".to_owned(),
        })?;
    if let Some(role) = workload.role.as_deref()
        && matches!(role, "prefill" | "decode" | "encode")
    {
        return Err(format!(
            "a {role} worker can only be sized together with its partners"
        ));
    }
    if workload.pipeline_parallel.unwrap_or(1) > 1 {
        return Err("pipeline parallelism is not calibrated".to_owned());
    }
    if workload
        .tensor_parallel
        .is_some_and(|gpus| gpus > 0 && gpus * 1000 < workload.gpu_milli_per_replica)
    {
        return Err("a replica runs several copies of the model, which is not sized".to_owned());
    }
    let quantisation = quantisation_served(workload, model)?;
    Ok(Served {
        model,
        quantisation,
        kv_value_bytes: 2.0,
        max_model_len: workload
            .max_model_len
            .filter(|len| *len > 0)
            .unwrap_or(model.max_context),
        max_num_seqs: workload
            .max_num_seqs
            .filter(|sequences| *sequences > 0)
            .unwrap_or(MAX_SEQUENCES),
        engine: workload
            .engine
            .as_deref()
            .map_or(Engine::Other, Engine::parse),
    })
}

/// As declared, else as the name says, else as the checkpoint was published.
fn quantisation_served(workload: &WorkloadFacts, model: &Model) -> Result<Quantisation, String> {
    let declared = workload.quantisation.as_deref();
    quantisation_stored(declared, workload.model_raw.as_deref(), model.native).ok_or_else(|| {
        let word = declared.unwrap_or_default();
        format!("quantisation {word:?} does not tell the size of a weight")
    })
}
