//! Owns workloads: the family of objects and pods under one topmost controller, and the facts
//! about it while they stay the same. What each system means by its fields is `systems`' business.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::model::TimeWindow;

use super::classes;
use super::command::CommandLine;
use super::detail_rows::{DataQualityRow, ScalingEventRow, WorkloadDetailRow};
use super::details::{self, Found};
use super::families::{Family, ROOTS};
use super::family_gpus;
use super::history::Told;
use super::identity::{self, Identity, MODEL_LABELS};
use super::input::{Catalogue, Inputs, ValueRun};
use super::json;
use super::marks::Marks;
use super::metrics::{self, Metrics};
use super::network::Network;
use super::objects::{Key, ObjectStore};
use super::owners;
use super::parallel;
use super::pods::PodLife;
use super::policy;
use super::quality;
use super::rows::{Row, WorkloadRow};
use super::scalers::{HPA, Scaler};
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
    /// The products of each pod's node, and its price keys.
    pub products: &'s [Option<String>],
    pub price_keys: &'s [Option<String>],
    pub network: &'s Network,
}

/// What of a family is the same at all times.
struct Known<'k, 'a> {
    top: &'k Key,
    family: &'k Family,
    scalers: Vec<&'k Scaler>,
    telemetry: Vec<&'a str>,
    sizes: Vec<ValueRun>,
    seen_gpu_milli: i64,
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
#[derive(Debug, Default)]
pub(super) struct Described {
    pub rows: Vec<WorkloadRow>,
    pub details: Vec<WorkloadDetailRow>,
    pub quality: Vec<DataQualityRow>,
    pub events: Vec<ScalingEventRow>,
    pub portrait: Portrait,
}

impl<'a> Context<'_, 'a> {
    /// The rows of one family; none for what neither holds a GPU nor serves.
    pub(super) fn describe(&self, top: &Key, family: &Family) -> Option<Described> {
        let sizes = self.spec_replicas(family);
        let life = self.life(top, family, &sizes)?;
        let known = Known {
            top,
            family,
            scalers: self.scalers_of(family, top),
            telemetry: self.telemetry(family),
            sizes,
            seen_gpu_milli: self.seen_gpu_milli(family),
        };
        // Its objects are parsed for it alone: their history is the largest part of a fleet's.
        let generated: Vec<Key> = known
            .scalers
            .iter()
            .map(|scaler| {
                Key::new(
                    HPA,
                    &scaler.key.namespace,
                    &format!("keda-hpa-{}", scaler.key.name),
                )
            })
            .collect();
        let scalers = known.scalers.iter().map(|scaler| &scaler.key);
        let pods: Vec<Key> = family
            .pods
            .iter()
            .map(|index| self.pods[*index].key())
            .collect();
        let own = self.store.part(
            family
                .members
                .iter()
                .chain([top])
                .chain(scalers)
                .chain(&generated)
                .chain(&pods),
        );
        let mut cuts = self.cuts(&known);
        let face = self
            .face(family, life.end_ms)
            .map(|index| &self.pods[index]);
        let labels = |name: &str| last_label(&own, &known, face, name);
        self.network
            .cuts(self.store, &top.namespace, &labels, &mut cuts);
        let both = timeline::constant(life, &cuts, |ms| self.facts(&known, &own, ms));
        let (parts, details): (Vec<_>, Vec<_>) = both
            .into_iter()
            .map(|(window, (row, detail))| ((window, row), (window, detail)))
            .unzip();
        let (parts, details) = (timeline::joined(parts), timeline::joined(details));
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
        if !relevant {
            return Some(Described {
                portrait,
                ..Described::default()
            });
        }
        let events = Told {
            context: self,
            own: &own,
            top,
            family,
            scalers: &known.scalers,
            parts: &parts,
        }
        .events();
        let mut quality = quality::of_workload(&parts, &details);
        quality.extend(quality::of_revisions(
            self.store,
            self.pods,
            self.gpu_milli,
            (top, family),
        ));
        let window = self.inputs.window;
        Some(Described {
            rows: during(parts, window),
            details: during(details, window),
            quality,
            events,
            portrait,
        })
    }

    fn life(&self, top: &Key, family: &Family, sizes: &[ValueRun]) -> Option<TimeWindow> {
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
        for run in sizes {
            let end = run.last_ms.saturating_add(self.metrics.interval_ms);
            parts.push(TimeWindow::new(run.first_ms, end));
        }
        let life = TimeWindow::new(
            parts.iter().map(|part| part.start_ms).min()?,
            parts.iter().map(|part| part.end_ms).max()?,
        );
        life.intersect(&self.inputs.window)
    }

    fn spec_replicas(&self, family: &Family) -> Vec<ValueRun> {
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

    fn cuts(&self, known: &Known<'_, 'a>) -> BTreeSet<i64> {
        let (family, top) = (known.family, known.top);
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
        for scaler in &known.scalers {
            cuts.extend(
                scaler
                    .bounds
                    .iter()
                    .flat_map(|(window, _)| [window.start_ms, window.end_ms]),
            );
        }
        cuts.extend(known.sizes.iter().map(|run| run.first_ms));
        for index in &family.pods {
            let pod = &self.pods[*index];
            if pod.version.is_some() || self.products[*index].is_some() {
                cuts.insert(pod.created_ms);
            }
        }
        cuts
    }

    /// The pod that stands for the family at an instant: the newest one with content and GPUs.
    fn face(&self, family: &Family, ms: i64) -> Option<usize> {
        family.pods.iter().copied().max_by_key(|index| {
            let pod = &self.pods[*index];
            let born = pod.created_ms <= ms;
            (
                pod.version.is_some(),
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
        known: &Known<'_, 'a>,
        own: &ObjectStore,
        ms: i64,
    ) -> (WorkloadRow, WorkloadDetailRow) {
        let (top, family, telemetry) = (known.top, known.family, &known.telemetry);
        let scaler = known.scalers.first().copied();
        let face = self.face(family, ms).map(|index| &self.pods[index]);
        let pod = face.and_then(|pod| pod.body_in(own));
        let view = views::view(self.store, own, top, family, self.scalers, pod, ms);
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
        let replicas = known
            .sizes
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
        let slos = policy::slos(
            self.store,
            &marks,
            &view,
            &details::all_lines(view.top_body),
            ms,
        );
        let gpu_milli = match known.seen_gpu_milli {
            0 => family_gpus::declared_gpu_milli(&facts),
            seen => seen,
        };
        let parallel = parallel::read(&view, &facts, &lines, gpu_milli);
        let (team, team_source) = policy::team(
            &self.inputs.team_order,
            self.store,
            self.metrics,
            &marks,
            &top.namespace,
            ms,
        );
        let floor = policy::floor(self.inputs, self.store, &view, &facts, top, ms);
        let count = |names: &[&str]| lines.iter().find_map(|line| line.count(names));
        let roles: BTreeSet<String> = facts
            .templates
            .iter()
            .filter_map(|template| template.role.clone())
            .chain(view.label("llm-d.ai/role").map(str::to_owned))
            .collect();
        let face_labels = face.map(|pod| &pod.labels);
        let row = WorkloadRow {
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
            model_raw: identity.raw.clone(),
            model_source: identity.source.map(str::to_owned),
            model_candidates_json: identity.candidates_json.clone(),
            quantisation: identity.quantisation.clone(),
            max_model_len: count(&["--max-model-len", "--context-length", "--max-seq-len"]),
            max_num_seqs: count(&[
                "--max-num-seqs",
                "--max-running-requests",
                "--max-batch-size",
            ]),
            engine: lines
                .iter()
                .find_map(CommandLine::engine)
                .map(str::to_owned),
            tensor_parallel: parallel.tensor,
            pipeline_parallel: parallel.pipeline,
            role: (!roles.is_empty()).then(|| roles.into_iter().collect::<Vec<_>>().join("+")),
            gpu_product: self.product(family, &view, &facts, ms),
            gpu_milli_per_replica: gpu_milli,
            replicas,
            min_replicas: bounds.map_or(facts.min_replicas, |bounds| bounds.min),
            max_replicas: bounds.map_or(facts.max_replicas, |bounds| bounds.max),
            floor_replicas: floor.0,
            floor_why: floor.1,
            autoscaler: bounds.and(scaler).map(Scaler::title),
            team,
            standby_declared: marks.standby(),
            slo_ttft_p95_ms: slos.first().and_then(|slo| slo.ttft_ms),
            slo_itl_p95_ms: slos.first().and_then(|slo| slo.itl_ms),
            slo_source: slos.first().map(|slo| slo.source.clone()),
            remedy_object: remedy.0.path(),
            remedy_replicas_field: remedy.1,
            remedy_tier_field: facts.tier_field,
            owner_chain_json: owners::chain_json(&family.chain),
        };
        let details = self.details(
            Found {
                family,
                view: &view,
                lines: &lines,
                identity: &identity,
                parallel: &parallel,
                marks: &marks,
                face_labels,
                telemetry,
                scalers: &known.scalers,
                slos: &slos,
                team_source,
            },
            ms,
        );
        (row, details)
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
}

/// A label of the newest pod, else of the last template that the family's objects have.
fn last_label(
    own: &ObjectStore,
    known: &Known<'_, '_>,
    face: Option<&PodLife<'_>>,
    name: &str,
) -> Option<String> {
    let of_pod = face.and_then(|pod| pod.labels.get(name));
    let of_template = || {
        let mut objects = known.family.members.iter().chain([known.top]);
        objects.find_map(|key| {
            let body = own.versions(key).last()?.body();
            json::text(body, &["spec", "template", "metadata", "labels", name])
                .or_else(|| json::text(body, &["metadata", "labels", name]))
        })
    };
    of_pod.or_else(of_template).map(str::to_owned)
}

/// The rows of stretches that touch the window, cut to it.
fn during<R: Row>(parts: Vec<(TimeWindow, R)>, window: TimeWindow) -> Vec<R> {
    parts
        .into_iter()
        .filter_map(|(part, row)| Some(row.during(part.intersect(&window)?)))
        .collect()
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
