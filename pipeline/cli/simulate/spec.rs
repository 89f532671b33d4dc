//! Owns where a spec comes from: a manifest file, flags, or what scales the workload today.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize as _;
use serde_json::Value;

use super::read::Subject;
use crate::cli::error::CliError;
use crate::simulate::hpa::{HpaSpec, Metric, Rules, Target};
use crate::simulate::manifest::{self, Known};
use crate::simulate::signal::{Reading, Signal, of_name};
use crate::simulate::{Spec, SpecError};

/// A manifest that is longer is none.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Kinds of scalers that a replay knows, as the inventory names them.
const SCALERS: &[&str] = &[
    "horizontalpodautoscaler",
    "scaledobject",
    "podautoscaler",
    "service",
    "configuration",
];
/// Documents of one file.
const DOCUMENTS_MAX: usize = 256;

/// What is proposed; nothing is the present spec.
#[derive(Debug, Args)]
pub(crate) struct Asked {
    /// A manifest: HorizontalPodAutoscaler, ScaledObject, Deployment, Knative Service; YAML or JSON
    #[arg(long, value_name = "FILE", conflicts_with_all = ["replicas", "target", "all"])]
    pub spec: Option<PathBuf>,
    /// A fixed count
    #[arg(long, value_name = "N", conflicts_with_all = ["min", "max", "target"])]
    pub replicas: Option<u32>,
    /// Least replicas, of the present spec unless --spec or --target gives another
    #[arg(long, value_name = "N")]
    pub min: Option<u32>,
    /// Most replicas, likewise
    #[arg(long, value_name = "N")]
    pub max: Option<u32>,
    /// An HPA on the mean over pods: `running`, `waiting`, `concurrency`, `rps`, a series' name, or `cpu` in percent
    #[arg(long, value_name = "METRIC=VALUE", value_parser = target)]
    pub target: Vec<(String, f64)>,
}

fn target(text: &str) -> Result<(String, f64), String> {
    let wrong = || "give a metric and its value, as in `running=8`".to_owned();
    let (name, value) = text.split_once('=').ok_or_else(wrong)?;
    let value: f64 = value.parse().map_err(|_| wrong())?;
    if name.is_empty() || !(value > 0.0 && value.is_finite()) {
        return Err("the value of a metric is above zero, as in `running=8`".to_owned());
    }
    Ok((name.to_owned(), value))
}

/// What was asked for, files read.
#[derive(Debug)]
pub(in crate::cli) enum Wanted {
    Present,
    Fixed(u32),
    Document {
        body: Value,
        min: Option<u32>,
        max: Option<u32>,
    },
    Targets {
        targets: Vec<(String, f64)>,
        min: Option<u32>,
        max: Option<u32>,
    },
    Bounds {
        min: Option<u32>,
        max: Option<u32>,
    },
}

impl Asked {
    pub(in crate::cli) fn wanted(&self) -> Result<Wanted, CliError> {
        let (min, max) = (self.min, self.max);
        if let Some(replicas) = self.replicas {
            return Ok(Wanted::Fixed(replicas));
        }
        if let Some(path) = &self.spec {
            let body = read(path)?;
            return Ok(Wanted::Document { body, min, max });
        }
        if !self.target.is_empty() {
            let targets = self.target.clone();
            return Ok(Wanted::Targets { targets, min, max });
        }
        Ok(if min.is_some() || max.is_some() {
            Wanted::Bounds { min, max }
        } else {
            Wanted::Present
        })
    }
}

/// The one document of a file that says how something scales.
fn read(path: &Path) -> Result<Value, CliError> {
    use std::io::Read as _;
    let failed = |error| CliError::file("read the spec", path, error);
    let mut text = String::new();
    std::fs::File::open(path)
        .map_err(failed)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    let usage = |why: String| CliError::Usage(format!("the spec `{}` {why}", path.display()));
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(usage(format!("is longer than {FILE_BYTES_MAX} bytes")));
    }
    let mut found = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(&text).take(DOCUMENTS_MAX) {
        let value = Value::deserialize(document)
            .map_err(|error| usage(format!("is neither YAML nor JSON: {error}")))?;
        match value.get("items") {
            Some(Value::Array(items)) => found.extend(items.iter().cloned()),
            _ if value.is_null() => {}
            _ => found.push(value),
        }
    }
    let kind = |value: &Value| value["kind"].as_str().unwrap_or_default().to_owned();
    let is_core = |value: &Value| value["kind"] == "Service" && value["apiVersion"] == "v1";
    let mut scalers: Vec<&Value> = found
        .iter()
        .filter(|value| manifest::is_scaler(&kind(value)) && !is_core(value))
        .collect();
    if scalers.is_empty() {
        // Without a scaler beside it, a size stands as it is written.
        scalers = found
            .iter()
            .filter(|v| manifest::is_fixed(&kind(v)))
            .collect();
    }
    match (scalers.as_slice(), found.as_slice()) {
        ([one], _) => Ok((*one).clone()),
        // One document of an unknown kind is refused by its name.
        ([], [one]) => Ok(one.clone()),
        ([], _) => Err(usage(
            "holds nothing that says how something scales".to_owned(),
        )),
        (several, _) => Err(usage(format!(
            "holds {} documents that scale something ({}): give one",
            several.len(),
            several
                .iter()
                .map(|v| kind(v))
                .collect::<Vec<_>>()
                .join(", ")
        ))),
    }
}

fn known(subject: &Subject, has_recorded: bool) -> Known {
    Known {
        cpu_request_milli: subject.cpu_request_milli.map(|milli| milli as f64),
        has_recorded,
    }
}

/// What scales a workload today.
pub(in crate::cli) fn present(subject: &Subject, body: Option<&str>) -> Result<Spec, SpecError> {
    present_with(subject, body, true)
}

/// The same; `has_recorded` says that what the present scaler recorded answers the triggers of this body too.
pub(in crate::cli) fn present_with(
    subject: &Subject,
    body: Option<&str>,
    has_recorded: bool,
) -> Result<Spec, SpecError> {
    let fixed = || {
        let replicas = subject.replicas.and_then(|count| u32::try_from(count).ok());
        let missing = || SpecError::Missing {
            field: "the count of its replicas".to_owned(),
            why: "no object and no series of kube-state-metrics tells it".to_owned(),
        };
        Ok(Spec::Fixed {
            replicas: replicas.ok_or_else(missing)?,
        })
    };
    let Some((kind, name)) = &subject.scaler else {
        return fixed();
    };
    if subject.policy["mode"] == "none" {
        return fixed();
    }
    let short = kind.split('.').next().unwrap_or(kind);
    if !SCALERS.contains(&short) {
        return Err(SpecError::UnknownKind { kind: kind.clone() });
    }
    let Some(body) = body else {
        return Err(SpecError::Missing {
            field: format!("the manifest of {kind}/{name}"),
            why: "no snapshot holds it: `idleproof snapshot` or a kubernetes source brings it, or give --spec".to_owned(),
        });
    };
    let body: Value = serde_json::from_str(body).map_err(|error| SpecError::Bad {
        field: format!("the manifest of {kind}/{name}"),
        value: String::new(),
        why: error.to_string(),
    })?;
    manifest::parse(&body, known(subject, has_recorded))
}

impl Wanted {
    /// The spec that was asked for, for one workload.
    pub(in crate::cli) fn spec(
        &self,
        subject: &Subject,
        present: Option<&Spec>,
    ) -> Result<Spec, SpecError> {
        match self {
            Self::Fixed(replicas) => Ok(Spec::Fixed {
                replicas: *replicas,
            }),
            Self::Document { body, min, max } => {
                // What the present scaler recorded answers its own triggers only.
                let same = is_present(body, subject);
                let spec = manifest::parse(body, known(subject, same))?;
                bounded(spec, *min, *max)
            }
            Self::Targets { targets, min, max } => {
                let metrics: Result<Vec<Metric>, SpecError> = targets
                    .iter()
                    .map(|(name, value)| metric(name, *value, subject))
                    .collect();
                let bounds = present.map(Spec::bounds);
                let spec = Spec::Hpa(HpaSpec {
                    min: min.or(bounds.map(|(min, _)| min.max(1))).unwrap_or(1),
                    max: max
                        .or(bounds.map(|(_, max)| max))
                        .ok_or_else(|| SpecError::Missing {
                            field: "--max".to_owned(),
                            why: "no present spec says how many replicas there may be".to_owned(),
                        })?,
                    metrics: metrics?,
                    up: Rules::up(),
                    down: Rules::down(),
                });
                Ok(spec)
            }
            Self::Bounds { min, max } => {
                let present = present.ok_or_else(|| SpecError::Missing {
                    field: "a spec".to_owned(),
                    why: "the present one cannot be replayed, so its bounds cannot be moved: give --spec, --target or --replicas".to_owned(),
                })?;
                bounded(present.clone(), *min, *max)
            }
            Self::Present => present.cloned().ok_or_else(|| SpecError::Missing {
                field: "a spec".to_owned(),
                why: "give --spec, --target or --replicas".to_owned(),
            }),
        }
    }
}

/// Whether a document is another edition of the workload's own scaler, with the triggers that it has.
fn is_present(body: &Value, subject: &Subject) -> bool {
    let Some((kind, name)) = &subject.scaler else {
        return false;
    };
    let told = body["kind"].as_str().unwrap_or_default();
    kind.split('.').next() == Some(&*told.to_ascii_lowercase())
        && body["metadata"]["name"].as_str() == Some(name)
}

fn bounded(mut spec: Spec, min: Option<u32>, max: Option<u32>) -> Result<Spec, SpecError> {
    let (least, most) = match &mut spec {
        Spec::Fixed { .. } if min.is_none() && max.is_none() => return Ok(spec),
        Spec::Fixed { .. } => {
            return Err(SpecError::Unsupported {
                what: "--min or --max of a fixed count".to_owned(),
                why: "nothing moves it between bounds: give --replicas, or --target as well"
                    .to_owned(),
            });
        }
        Spec::Hpa(spec) => (&mut spec.min, &mut spec.max),
        Spec::Keda(spec) => (&mut spec.min, &mut spec.max),
        Spec::Knative(spec) => (&mut spec.min, &mut spec.max),
    };
    *least = min.unwrap_or(*least);
    *most = max.unwrap_or(*most);
    Ok(spec)
}

fn metric(name: &str, value: f64, subject: &Subject) -> Result<Metric, SpecError> {
    let reading = of_name(name).ok_or_else(|| SpecError::NeverRecorded {
        metric: name.to_owned(),
    })?;
    if reading != Reading::sum(Signal::CpuMilli) {
        return Ok(Metric {
            reading,
            target: Target::PodsAverage(value),
        });
    }
    let request = subject.cpu_request_milli.filter(|milli| *milli > 0);
    Ok(Metric {
        reading,
        target: Target::Utilisation {
            percent: value,
            request: request
                .map(|milli| milli as f64)
                .ok_or_else(|| SpecError::Missing {
                    field: "the CPU request of the workload's pods".to_owned(),
                    why: "a utilisation is a share of it".to_owned(),
                })?,
        },
    })
}
