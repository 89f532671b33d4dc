//! Owns holding the estimator against measured serving points: reading them, predicting them, and
//! fitting the scalars to them.
//!
//! A run never calls it: it is for the bench and the tests that state how good the estimates are.

use crate::catalogue::{Quantisation, models, products};

use super::device::Device;
use super::engine::Engine;
use super::estimator::{Estimator, NoEstimate, Scalars, Shape};
use super::fit::{MAX_SEQUENCES, Served};

/// One configuration at one closed-loop concurrency.
#[derive(Debug, Clone)]
pub struct Point {
    pub model: &'static crate::catalogue::Model,
    pub quantisation: Quantisation,
    pub product: &'static crate::catalogue::Product,
    pub engine: Engine,
    pub gpus: u32,
    pub shape: Shape,
    pub concurrency: f64,
    pub ttft_seconds: f64,
    pub itl_seconds: f64,
    /// Repeats of one configuration share it.
    pub group: String,
}

/// A line of the file does not read as a point.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("measured points, line {line}: {what}")]
pub struct PointError {
    pub line: u64,
    pub what: String,
}

/// Reads points with the columns of `tests/fixtures/economics/measured_points.csv`.
pub fn read_points(text: &str) -> Result<Vec<Point>, PointError> {
    let mut points = Vec::new();
    for record in csv::Reader::from_reader(text.as_bytes()).records() {
        let record = record.map_err(|error| PointError {
            line: error.position().map_or(0, csv::Position::line),
            what: error.to_string(),
        })?;
        let fail = |what: &str| PointError {
            line: record.position().map_or(0, csv::Position::line),
            what: what.to_owned(),
        };
        let cell = |at: usize| record.get(at).unwrap_or_default();
        let number = |at: usize| {
            cell(at)
                .parse::<f64>()
                .ok()
                .filter(|number| number.is_finite() && *number > 0.0)
                .ok_or_else(|| fail(&format!("{:?} is not above zero", cell(at))))
        };
        points.push(Point {
            model: models()
                .resolve(cell(0))
                .ok_or_else(|| fail("the model is not in the catalogue"))?,
            quantisation: Quantisation::parse(cell(1))
                .ok_or_else(|| fail("unknown storage type"))?,
            product: products()
                .get(cell(2))
                .ok_or_else(|| fail("the GPU is not in the catalogue"))?,
            engine: Engine::parse(cell(3)),
            gpus: number(4)? as u32,
            shape: Shape {
                prompt_tokens: number(5)?,
                uncached_prompt_tokens: number(5)?,
                output_tokens: number(6)?,
            },
            concurrency: number(7)?,
            ttft_seconds: number(8)? / 1e3,
            itl_seconds: number(9)? / 1e3,
            group: cell(10).to_owned(),
        });
    }
    Ok(points)
}

impl Point {
    /// TensorRT-LLM keeps keys and values of quantised models in FP8, the others at 16 bits.
    fn served(&self) -> Served<'static> {
        let small = self.quantisation.is_quantised() && self.engine == Engine::TensorRtLlm;
        Served {
            model: self.model,
            quantisation: self.quantisation,
            kv_value_bytes: if small { 1.0 } else { 2.0 },
            max_model_len: 1,
            max_num_seqs: MAX_SEQUENCES,
            engine: self.engine,
        }
    }

    /// The estimator for the point, with given scalars or with those of its class.
    pub fn estimator(&self, scalars: Option<Scalars>) -> Result<Estimator, NoEstimate> {
        let device = Device::whole(self.product);
        match scalars {
            Some(scalars) => Estimator::with_scalars(&self.served(), &device, self.gpus, scalars),
            None => Estimator::new(&self.served(), &device, self.gpus),
        }
    }

    /// Predicted over measured time between tokens.
    pub fn itl_ratio(&self, scalars: Option<Scalars>) -> Result<f64, NoEstimate> {
        let estimator = self.estimator(scalars)?;
        Ok(estimator.itl_seconds(self.concurrency, &self.shape) / self.itl_seconds)
    }

    /// Predicted mean over measured mean time to the first token: the wait for other prefills of
    /// the same batch, without the factor that makes a 95th percentile of it.
    pub fn ttft_ratio(&self) -> Result<f64, NoEstimate> {
        let estimator = self.estimator(None)?;
        Ok(estimator
            .at_batch(self.concurrency, &self.shape)
            .ttft_seconds
            / self.ttft_seconds)
    }
}

/// How far a fitted value may stray from its start, as a standard deviation: a set of points that
/// has one engine or one model says nothing about the others' scalars.
const PRIOR: [(f64, f64); 6] = [
    (15e-6, 5e-6),
    (1.2e-3, 0.5e-3),
    (2.0e-3, 0.5e-3),
    (2.0e-3, 1.5e-3),
    (20e-6, 10e-6),
    (1.0, 0.15),
];
/// The prior for mixtures of experts: more a layer, and a less certain prefill.
const EXPERT_PRIOR: [(f64, f64); 6] = [
    (40e-6, 10e-6),
    (0.5e-3, 0.5e-3),
    (0.5e-3, 0.5e-3),
    (2.0e-3, 1.5e-3),
    (5e-6, 5e-6),
    (1.3, 0.4),
];
/// Residuals beyond this share of the measured time count linearly, not squared.
const ROBUST: f64 = 0.15;
const PRIOR_WEIGHT: f64 = 0.09;

fn unpack(values: &[f64; 6]) -> Scalars {
    Scalars {
        layer_seconds: values[0],
        tensorrt_step_seconds: values[1],
        vllm_step_seconds: values[2],
        sglang_step_seconds: values[3],
        request_seconds: values[4],
        prefill_stall: values[5],
    }
}

/// Fits the scalars of one class of models. Every group of repeats counts once.
pub fn fit_scalars(points: &[&Point]) -> Result<Scalars, NoEstimate> {
    let experts = points
        .iter()
        .any(|point| point.model.is_mixture_of_experts());
    let prior = if experts { EXPERT_PRIOR } else { PRIOR };
    let mut repeats: std::collections::BTreeMap<&str, f64> = std::collections::BTreeMap::new();
    for point in points {
        *repeats.entry(point.group.as_str()).or_default() += 1.0;
    }
    let loss = |values: &[f64; 6]| -> Result<f64, NoEstimate> {
        let scalars = unpack(values);
        let mut sum = 0.0;
        for point in points {
            let z = point.itl_ratio(Some(scalars))?.ln() / ROBUST;
            sum += 2.0 * ((1.0 + z * z).sqrt() - 1.0) / repeats[point.group.as_str()];
        }
        for (value, (mean, deviation)) in values.iter().zip(prior) {
            let z = (value - mean) / deviation;
            sum += PRIOR_WEIGHT * z * z;
        }
        Ok(sum)
    };
    // A pattern search: six values, a smooth loss, and no need for derivatives.
    let mut best = prior.map(|(mean, _)| mean);
    let mut steps = prior.map(|(_, deviation)| deviation);
    let mut lowest = loss(&best)?;
    while steps
        .iter()
        .zip(prior)
        .any(|(step, (_, deviation))| *step > deviation / 500.0)
    {
        let mut moved = false;
        for at in 0..best.len() {
            for direction in [1.0, -1.0] {
                let mut tried = best;
                tried[at] = (tried[at] + direction * steps[at]).max(0.0);
                let found = loss(&tried)?;
                if found < lowest {
                    (best, lowest, moved) = (tried, found, true);
                    steps[at] *= 1.3;
                    break;
                }
            }
        }
        if !moved {
            steps = steps.map(|step| step / 2.0);
        }
    }
    Ok(unpack(&best))
}
