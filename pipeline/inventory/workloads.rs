//! Owns workloads: the family of objects and pods under one topmost controller, and the facts
//! about it while they stay the same. What each system means by its fields is `systems`' business.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::model::TimeWindow;

use super::classes;
use super::command::CommandLine;
use super::families::{Family, ROOTS};
use super::identity::{self, Identity, MODEL_LABELS};
use super::input::{Catalogue, Inputs};
use super::json;
use super::marks::Marks;
use super::metrics::{self, Metrics};
use super::objects::{Key, ObjectStore};
use super::owners;
use super::pods::PodLife;
use super::policy;
use super::resources;
use super::rows::WorkloadRow;
use super::scalers::Scaler;
use super::systems::{self, Candidate, Facts, View};
use super::timeline;
use super::views;

/// What the fold needs to describe families.
pub(super) struct Context<'s, 'a> {
    pub inputs: &'a Inputs,
    pub store: &'a ObjectStore,
    pub metrics: &'s Metrics<'a>,
    pub catalogue: &'s dyn Catalogue,
    pub pods: &'s [PodLife<'a>],
    pub scalers: &'s [Scaler],
    /// Physical GPU, in thousandths, that each pod asks for.
    pub gpu_milli: &'s [i64],
    pub replicas: &'s [String],
    /// The products of each pod's node.
    pub products: &'s [Option<String>],
}

/// What holds for a family as a whole, over all its time.
#[derive(Debug, Clone, Default)]
pub(super) struct Portrait {
    pub class: &'static str,
    pub team: Option<String>,
    pub standby: bool,
    pub model: Option<String>,
}

/// A stretch of a family's life, as the table has it.
#[derive(Debug)]
pub(super) struct Described {
    pub rows: Vec<WorkloadRow>,
    pub portrait: Portrait,
}

impl<'a> Context<'_, 'a> {
    /// The rows of one family; none for what neither holds a GPU nor serves.
    pub(super) fn describe(&self, top: &Key, family: &Family) -> Option<Described> {
        let life = self.life(top, family)?;
        let scaler = self.scaler(family, top);
        let cuts = self.cuts(family, top, scaler);
        let telemetry = self.telemetry(family);
        let parts = timeline::constant(life, &cuts, |ms| {
            self.facts(top, family, scaler, &telemetry, ms)
        });
        let (_, last) = parts.last()?;
        let portrait = Portrait {
            class: class_word(&last.workload_class),
            team: last.team.clone(),
            standby: last.standby_declared,
            model: last.model.clone(),
        };
        let relevant = parts
            .iter()
            .any(|(_, row)| row.gpu_milli_per_replica > 0 || row.workload_class == "serving")
            || family
                .pods
                .iter()
                .any(|index| self.pods[*index].known_from == "dcgm");
        let rows = if relevant {
            parts
                .into_iter()
                .filter_map(|(window, row)| {
                    let inside = window.intersect(&self.inputs.window)?;
                    Some(WorkloadRow {
                        valid_from_ms: inside.start_ms,
                        valid_to_ms: inside.end_ms,
                        ..row
                    })
                })
                .collect()
        } else {
            Vec::new()
        };
        Some(Described { rows, portrait })
    }

    fn life(&self, top: &Key, family: &Family) -> Option<TimeWindow> {
        let pods = family.pods.iter().map(|index| &self.pods[*index]);
        let mut parts: Vec<TimeWindow> = pods
            .map(|pod| TimeWindow::new(pod.created_ms, pod.end_ms))
            .collect();
        for key in family
            .members
            .iter()
            .filter(|key| *key == top || ROOTS.contains(&key.kind.as_str()))
        {
            let versions = self.store.versions(key).iter();
            parts.extend(versions.map(|version| TimeWindow::new(version.from_ms, version.to_ms)));
        }
        for run in self.spec_replicas(family) {
            let end = run.last_ms.saturating_add(self.metrics.interval_ms);
            parts.push(TimeWindow::new(run.first_ms, end));
        }
        let life = TimeWindow::new(
            parts.iter().map(|part| part.start_ms).min()?,
            parts.iter().map(|part| part.end_ms).max()?,
        );
        life.intersect(&self.inputs.window)
    }

    fn spec_replicas(&self, family: &Family) -> Vec<super::input::ValueRun> {
        let series: Vec<_> = family
            .members
            .iter()
            .flat_map(|key| match key.kind.as_str() {
                "deployment.apps" => {
                    self.metrics
                        .of("kube_deployment_spec_replicas", &key.namespace, &key.name)
                }
                "statefulset.apps" => {
                    self.metrics
                        .of("kube_statefulset_replicas", &key.namespace, &key.name)
                }
                _ => &[],
            })
            .copied()
            .collect();
        // Of several Deployments under one resource, which is its size is not said here.
        if series.len() == 1 {
            metrics::joined(&series)
        } else {
            Vec::new()
        }
    }

    fn scaler(&self, family: &Family, top: &Key) -> Option<&Scaler> {
        self.scalers
            .iter()
            .filter(|scaler| scaler.moves() && scaler.reaches(top, &family.members))
            .min_by_key(|scaler| (scaler.rank(), &scaler.key))
    }

    fn cuts(&self, family: &Family, top: &Key, scaler: Option<&Scaler>) -> BTreeSet<i64> {
        let mut cuts = BTreeSet::new();
        for key in family.members.iter().chain([top]) {
            if key.kind != "replicaset.apps" {
                cuts.extend(
                    self.store
                        .versions(key)
                        .iter()
                        .map(|version| version.from_ms),
                );
            }
        }
        if let Some(scaler) = scaler {
            cuts.extend(
                scaler
                    .bounds
                    .iter()
                    .flat_map(|(window, _)| [window.start_ms, window.end_ms]),
            );
        }
        cuts.extend(self.spec_replicas(family).iter().map(|run| run.first_ms));
        for index in &family.pods {
            let pod = &self.pods[*index];
            if pod.body.is_some() || self.products[*index].is_some() {
                cuts.insert(pod.created_ms);
            }
        }
        cuts
    }

    fn telemetry(&self, family: &Family) -> Vec<&'a str> {
        let names: BTreeSet<&str> = family
            .pods
            .iter()
            .filter_map(|index| {
                let pod = &self.pods[*index];
                let key = (pod.namespace.clone(), pod.name.clone());
                self.inputs.pod_models.get(&key).map(String::as_str)
            })
            .collect();
        names.into_iter().collect()
    }

    /// The pod that stands for the family at an instant: the newest one with content and GPUs.
    fn face(&self, family: &Family, ms: i64) -> Option<usize> {
        family.pods.iter().copied().max_by_key(|index| {
            let pod = &self.pods[*index];
            let born = pod.created_ms <= ms;
            (
                pod.body.is_some(),
                self.gpu_milli[*index] > 0,
                born,
                if born {
                    pod.created_ms
                } else {
                    -pod.created_ms
                },
                std::cmp::Reverse(*index),
            )
        })
    }

    fn facts(
        &self,
        top: &Key,
        family: &Family,
        scaler: Option<&Scaler>,
        telemetry: &[&str],
        ms: i64,
    ) -> WorkloadRow {
        let face = self.face(family, ms).map(|index| &self.pods[index]);
        let pod = face.and_then(|pod| pod.body);
        let view = views::view(self.store, top, family, self.scalers, pod, ms);
        let system = systems::of(&view);
        let facts = (system.facts)(&view);
        let lines = command_lines(&view, &facts);
        let identity = self.identity(&view, &facts, &lines, telemetry);
        let images: Vec<&str> = face.map_or_else(Vec::new, |pod| pod.images.clone());
        let notebook = ["singleuser-server", "notebook"]
            .iter()
            .any(|name| view.label("component") == Some(name) || view.label("app") == Some(name));
        let class = classes::class(
            top,
            system,
            notebook,
            &lines,
            &images,
            !telemetry.is_empty(),
        );
        let bounds = scaler.and_then(|scaler| scaler.at(ms));
        let replicas = self
            .spec_replicas(family)
            .iter()
            .take_while(|run| run.first_ms <= ms)
            .last()
            .map(|run| run.value as i64)
            .or(facts.replicas)
            .or_else(|| {
                view.members
                    .iter()
                    .find(|(key, _)| key.kind == "deployment.apps")
                    .and_then(|(_, body)| json::int(body, &["spec", "replicas"]))
            });
        let remedy = remedy(top, family, scaler, &facts);
        let marks = Marks::new(&view, face.map(|pod| pod.labels.clone()));
        let slo = policy::slo(self.store, &marks, top, ms);
        let floor = policy::floor(self.inputs, self.store, &view, &facts, top, ms);
        let count = |names: &[&str]| lines.iter().find_map(|line| line.count(names));
        let roles: BTreeSet<String> = facts
            .templates
            .iter()
            .filter_map(|template| template.role.clone())
            .chain(view.label("llm-d.ai/role").map(str::to_owned))
            .collect();
        WorkloadRow {
            namespace: top.namespace.clone(),
            workload_kind: top.kind.clone(),
            workload_name: top.name.clone(),
            valid_from_ms: 0,
            valid_to_ms: 0,
            uid: json::text(view.top_body, &["metadata", "uid"]).map(str::to_owned),
            workload_class: class.to_owned(),
            serving_system: (class == "serving").then(|| system.name.to_owned()),
            model: identity.model.as_ref().map(|model| model.id.clone()),
            model_params_b: identity.model.as_ref().map(|model| model.params_b),
            model_raw: identity.raw,
            model_source: identity.source.map(str::to_owned),
            model_candidates_json: identity.candidates_json,
            quantisation: identity.quantisation,
            max_model_len: count(&["--max-model-len", "--context-length", "--max-seq-len"]),
            tensor_parallel: facts
                .tensor_parallel
                .or_else(|| count(&["--tensor-parallel-size", "-tp", "--tp", "--tp-size"])),
            pipeline_parallel: facts
                .pipeline_parallel
                .or_else(|| count(&["--pipeline-parallel-size", "-pp", "--pp", "--pp-size"])),
            role: (!roles.is_empty()).then(|| roles.into_iter().collect::<Vec<_>>().join("+")),
            gpu_product: self.product(family, &view, &facts, ms),
            gpu_milli_per_replica: self.gpu_milli_per_replica(family, &facts),
            replicas,
            min_replicas: bounds.map_or(facts.min_replicas, |bounds| bounds.min),
            max_replicas: bounds.map_or(facts.max_replicas, |bounds| bounds.max),
            floor_replicas: floor.0,
            floor_why: floor.1,
            autoscaler: bounds.and(scaler).map(Scaler::title),
            team: Some(policy::team(
                self.store,
                self.metrics,
                &marks,
                &top.namespace,
                ms,
            )),
            standby_declared: marks.standby(),
            slo_ttft_p95_ms: slo.0,
            slo_itl_p95_ms: slo.1,
            slo_source: slo.2,
            remedy_object: remedy.0.path(),
            remedy_replicas_field: remedy.1,
            remedy_tier_field: facts.tier_field,
            owner_chain_json: owners::chain_json(&family.chain),
        }
    }

    fn identity(
        &self,
        view: &View<'_>,
        facts: &Facts<'_>,
        lines: &[CommandLine],
        telemetry: &[&str],
    ) -> Identity {
        let mut candidates: Vec<Candidate> = facts.models.clone();
        candidates.extend(identity::from_commands(lines));
        for (source, label) in MODEL_LABELS {
            candidates.extend(view.label(label).map(|raw| Candidate {
                source,
                raw: raw.to_owned(),
            }));
        }
        identity::decide(self.catalogue, candidates, telemetry, lines)
    }

    /// The product under most of the family's pods at an instant, else under its latest one.
    fn product(
        &self,
        family: &Family,
        view: &View<'_>,
        facts: &Facts<'_>,
        ms: i64,
    ) -> Option<String> {
        let mut votes: BTreeMap<&String, i64> = BTreeMap::new();
        let mut latest: Option<(bool, i64, &String)> = None;
        for index in &family.pods {
            let pod = &self.pods[*index];
            let Some(product) = &self.products[*index] else {
                continue;
            };
            if self.gpu_milli[*index] == 0 && pod.known_from != "dcgm" {
                continue;
            }
            if pod.created_ms <= ms && ms < pod.end_ms {
                *votes.entry(product).or_default() += 1;
            }
            // Before any pod, the first one to come tells more than nothing.
            let past = pod.created_ms <= ms;
            let rank = (
                past,
                if past { pod.end_ms } else { -pod.created_ms },
                product,
            );
            latest = Some(latest.map_or(rank, |best| best.max(rank)));
        }
        if let Some((product, _)) = votes
            .iter()
            .max_by_key(|(product, votes)| (**votes, std::cmp::Reverse(**product)))
        {
            return Some((*product).clone());
        }
        if let Some((_, _, product)) = latest {
            return Some(product.clone());
        }
        let specs = facts.templates.iter().map(|template| template.pod_spec);
        specs
            .chain([json::get(view.pod, &["spec"])])
            .find_map(|spec| {
                let label = json::text(spec, &["nodeSelector", "nvidia.com/gpu.product"])?;
                self.catalogue.product(label)
            })
    }

    fn gpu_milli_per_replica(&self, family: &Family, facts: &Facts<'_>) -> i64 {
        let mut by_replica: BTreeMap<&str, i64> = BTreeMap::new();
        for index in &family.pods {
            // A name that is used again is another pod, not a bigger replica.
            let pod = &self.pods[*index];
            let again = family
                .pods
                .iter()
                .take_while(|other| *other != index)
                .any(|other| {
                    *other + 1 == *index
                        && self.pods[*other].name == pod.name
                        && self.pods[*other].namespace == pod.namespace
                });
            if !again {
                let sum = by_replica
                    .entry(self.replicas[*index].as_str())
                    .or_default();
                *sum = sum.saturating_add(self.gpu_milli[*index]);
            }
        }
        let seen = by_replica.values().copied().max().unwrap_or(0);
        if seen > 0 {
            return seen;
        }
        if let Some(milli) = facts.gpu_milli {
            return milli;
        }
        let declared = facts.templates.iter().map(|template| {
            template
                .gpus
                .unwrap_or_else(|| resources::requests(template.pod_spec).gpus())
                .saturating_mul(1000)
                .saturating_mul(template.pods_per_replica)
        });
        if facts.joint {
            declared.fold(0, i64::saturating_add)
        } else {
            declared.max().unwrap_or(0)
        }
    }
}

fn class_word(class: &str) -> &'static str {
    ["serving", "batch", "training", "notebook", "system"]
        .into_iter()
        .find(|word| *word == class)
        .unwrap_or("unknown")
}

/// The object and field to which a change of replicas must go.
fn remedy(top: &Key, family: &Family, scaler: Option<&Scaler>, facts: &Facts<'_>) -> (Key, String) {
    match scaler {
        // A scaler that the resource itself made would be reverted: the resource is changed.
        Some(scaler)
            if !scaler
                .owner
                .as_ref()
                .is_some_and(|owner| owner == top || family.members.contains(owner)) =>
        {
            (scaler.key.clone(), scaler.minimum_field().to_owned())
        }
        _ => (top.clone(), facts.replicas_field.clone()),
    }
}

fn command_lines(view: &View<'_>, facts: &Facts<'_>) -> Vec<CommandLine> {
    let specs: Vec<&Value> = facts
        .templates
        .iter()
        .map(|template| template.pod_spec)
        .chain([json::get(view.pod, &["spec"])])
        .collect();
    let mut out = Vec::new();
    for spec in specs {
        let single = [
            json::get(spec, &["mainContainer"]),
            json::get(spec, &["model"]),
        ];
        let containers = json::items(spec, &["containers"]).iter();
        for container in containers
            .chain(single)
            .filter(|one| one.is_object())
            .take(32)
        {
            out.push(CommandLine::of(container));
        }
    }
    out
}
