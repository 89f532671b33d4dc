//! Owns what the lint may know of each scaler's target, gathered once from the fold: names, pods,
//! names of the model that the engine itself uses, and KEDA's count of empty answers.

use std::collections::{BTreeMap, BTreeSet};

use super::super::families::Family;
use super::super::input::Inputs;
use super::super::json;
use super::super::objects::Key;
use super::super::pods::PodLife;
use super::super::rows::WorkloadRow;
use super::super::scalers::{SCALED_OBJECT, Scaler};
use super::Subject;

/// KEDA's count of queries that came back without any series.
const EMPTY_ANSWERS: &str = "keda_scaler_empty_upstream_responses_total";

/// Everything that subjects are made of, by what it is looked up by.
pub(in crate::inventory) struct Subjects<'a> {
    families: &'a BTreeMap<Key, Family>,
    pods: &'a [PodLife<'a>],
    models: BTreeMap<Key, BTreeSet<String>>,
    empty_answers: BTreeMap<(&'a str, &'a str), f64>,
}

impl<'a> Subjects<'a> {
    pub(in crate::inventory) fn new(
        inputs: &'a Inputs,
        families: &'a BTreeMap<Key, Family>,
        pods: &'a [PodLife<'a>],
        workloads: &[WorkloadRow],
    ) -> Self {
        let mut models: BTreeMap<Key, BTreeSet<String>> = BTreeMap::new();
        for row in workloads {
            let key = Key::new(&row.workload_kind, &row.namespace, &row.workload_name);
            models
                .entry(key)
                .or_default()
                .extend(served_names(&row.model_candidates_json));
        }
        let mut empty_answers: BTreeMap<(&str, &str), f64> = BTreeMap::new();
        for series in inputs
            .series
            .iter()
            .filter(|series| series.metric == EMPTY_ANSWERS)
        {
            let name = series
                .label("scaledResource")
                .or_else(|| series.label("scaledObject"));
            let (Some(namespace), Some(name)) = (series.label("namespace"), name) else {
                continue;
            };
            // A counter that falls was born again.
            let grown: f64 = series
                .runs
                .windows(2)
                .map(|pair| {
                    let more = pair[1].value - pair[0].value;
                    if more < 0.0 { pair[1].value } else { more }
                })
                .sum();
            *empty_answers.entry((namespace, name)).or_default() += grown;
        }
        Self {
            families,
            pods,
            models,
            empty_answers,
        }
    }

    /// What is known of one scaler's target; `top` is the workload that it belongs to.
    pub(in crate::inventory) fn of(
        &self,
        scaler: &Scaler,
        rivals: &[String],
        top: Option<&Key>,
    ) -> Subject {
        let mut subject = Subject {
            object: scaler.key.path(),
            namespace: scaler.target.namespace.clone(),
            names: scaler.reaches.iter().map(|key| key.name.clone()).collect(),
            rivals: rivals.to_vec(),
            ..Subject::default()
        };
        if let Some(top) = top
            && let Some(family) = self.families.get(top)
        {
            let members = family.members.iter().map(|key| key.name.clone());
            subject.names.extend(members);
            let pods = family
                .pods
                .iter()
                .map(|index| self.pods[*index].name.clone());
            subject.pods.extend(pods);
            subject.models = self.models.get(top).cloned().unwrap_or_default();
        }
        if scaler.key.kind == SCALED_OBJECT {
            let key = (scaler.key.namespace.as_str(), scaler.key.name.as_str());
            subject.empty_answers = self.empty_answers.get(&key).copied();
        }
        subject
    }
}

/// The names that an engine is told, or says itself: only these are labels of its series, and a
/// resource's name for a model is often another.
fn served_names(candidates_json: &str) -> Vec<String> {
    let told = serde_json::from_str(candidates_json).unwrap_or_default();
    json::items(&told, &[])
        .iter()
        .filter(|candidate| {
            let source = json::text(candidate, &["source"]).unwrap_or("");
            ["flag ", "positional ", "telemetry "]
                .iter()
                .any(|start| source.starts_with(start))
        })
        .filter_map(|candidate| json::text(candidate, &["raw"]).map(str::to_owned))
        .collect()
}
