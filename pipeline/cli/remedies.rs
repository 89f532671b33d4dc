//! Owns the way from what detectors wish for to changes as data: each alarm's action and value
//! becomes a wish, the inventory answers it for the window's end, and the answer goes back as plain data.

use std::collections::BTreeMap;

use datafusion::arrow::array::RecordBatch;
use datafusion::prelude::SessionContext;
use serde_json::Value;

use super::error::CliError;
use super::stages::evidence;
use crate::config::Config;
use crate::detect::{Answer, Finding, Observed, PlannedChange, PlannedTarget, Recommendation};
use crate::inventory::remedy::{self, BoundsWish, CpuWish, FractionWish, Remedy, TierWish, Wish};
use crate::inventory::{Asked, Embedded, asked};
use crate::lake::columns::{int, int_at, text};
use crate::model::TimeWindow;
use crate::model::time::{DAY_MS, format_ms};
use crate::model::workload::WorkloadId;

/// What the window knows of a workload's size.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    replicas: Option<i64>,
    min_replicas: Option<i64>,
    max_replicas: Option<i64>,
    floor_replicas: Option<i64>,
    gpu_milli: Option<i64>,
}

type Sizes = BTreeMap<[String; 4], Size>;

/// The answers to all recommendations of a detection, by finding.
pub(super) async fn answers(
    config: &Config,
    session: &SessionContext,
    window: TimeWindow,
    facts: &[RecordBatch],
    findings: &[Finding],
) -> Result<BTreeMap<String, Answer>, CliError> {
    let sizes = sizes(facts)?;
    let expires_ms = window
        .end_ms
        .saturating_add(i64::from(config.file.recommendations.expires_days).saturating_mul(DAY_MS));
    let day = TimeWindow::new(window.end_ms - DAY_MS, window.end_ms);
    let mut answers = BTreeMap::new();
    for cluster in &config.file.clusters {
        let own: Vec<(&Finding, &Recommendation)> = findings
            .iter()
            .filter(|finding| finding.cluster == cluster.name)
            .filter_map(|finding| Some((finding, finding.recommendation.as_ref()?)))
            .collect();
        if own.is_empty() {
            continue;
        }
        let inputs = evidence(config, cluster, session, day).await?;
        asked(&inputs, |asked| {
            for (finding, recommendation) in own {
                let size = sizes.get(&key(finding)).copied().unwrap_or_default();
                let mut answer = match answer(asked, finding, recommendation, size) {
                    Ok(remedies) => planned(asked, &remedies),
                    Err(because) => Answer::refusal(because),
                };
                answer.limits = limits(&recommendation.action, size);
                answer.expires_ms = Some(expires_ms);
                answers.insert(finding.finding_id.clone(), answer);
            }
        });
    }
    Ok(answers)
}

fn key(finding: &Finding) -> [String; 4] {
    [
        finding.cluster.clone(),
        finding.namespace.clone(),
        finding.workload_kind.clone(),
        finding.workload_name.clone(),
    ]
}

fn sizes(facts: &[RecordBatch]) -> Result<Sizes, CliError> {
    let mut out = Sizes::new();
    for batch in facts {
        let names = [
            text(batch, "cluster")?,
            text(batch, "namespace")?,
            text(batch, "workload_kind")?,
            text(batch, "workload_name")?,
        ];
        let (replicas, floor) = (int(batch, "replicas")?, int(batch, "floor_replicas")?);
        let (min, max) = (int(batch, "min_replicas")?, int(batch, "max_replicas")?);
        let gpus = int(batch, "gpu_milli_per_replica")?;
        for row in 0..batch.num_rows() {
            let size = Size {
                replicas: int_at(&replicas, row),
                min_replicas: int_at(&min, row),
                max_replicas: int_at(&max, row),
                floor_replicas: int_at(&floor, row),
                gpu_milli: int_at(&gpus, row),
            };
            let names = names.clone().map(|column| column.value(row).to_owned());
            out.insert(names, size);
        }
    }
    Ok(out)
}

/// Between which numbers of replicas the workload must be after the change.
fn limits(action: &str, size: Size) -> BTreeMap<String, i64> {
    let least = match action {
        "stop" | "scale-to-zero" => Some(0),
        "return-capacity" => None,
        _ => size.floor_replicas,
    };
    let most = match action {
        "stop" => Some(0),
        "return-capacity" => None,
        _ => size.max_replicas.or(size.replicas),
    };
    [("min_replicas", least), ("max_replicas", most)]
        .into_iter()
        .filter_map(|(name, count)| Some((name.to_owned(), count?)))
        .collect()
}

/// The inventory's remedies for what a detector wishes, else why it cannot be asked.
fn answer(
    asked: &Asked<'_>,
    finding: &Finding,
    recommendation: &Recommendation,
    size: Size,
) -> Result<Vec<Remedy>, String> {
    let wished = recommendation.wished.as_deref();
    let wish = match recommendation.action.as_str() {
        "return-capacity" => {
            let mut grain = finding.handle.split('/').skip(2);
            let instance_type = grain.next().unwrap_or("");
            let product = finding.gpu_product.as_deref().unwrap_or("");
            return Ok(asked.return_machines(&Embedded, instance_type, product));
        }
        "stop" => Wish {
            zero: true,
            ..Wish::default()
        },
        "scale-to-zero" => Wish {
            zero: true,
            elastic: true,
            ..Wish::default()
        },
        "bounds" => Wish {
            bounds: Some(BoundsWish {
                min_replicas: Some(count(wished)?),
                max_replicas: None,
            }),
            ..Wish::default()
        },
        "tier" => Wish {
            tier: Some(tier(asked, recommendation, size)?),
            ..Wish::default()
        },
        "fraction" => Wish {
            fraction: Some(fraction(wished)?),
            ..Wish::default()
        },
        "cpu" => Wish {
            cpu: Some(CpuWish {
                limit: wished.map(str::to_owned),
                unlimited: wished.is_none(),
                ..CpuWish::default()
            }),
            ..Wish::default()
        },
        "scaler-target" => {
            let bounds = match (size.min_replicas, size.max_replicas) {
                (Some(least), Some(most)) => format!(" between {least} and {most}"),
                _ => String::new(),
            };
            return Err(format!(
                "how much load a replica takes is the target of its autoscaler's own metric, and no \
                 telemetry says which value of that metric keeps the objective: raise it step by step \
                 by hand and watch latency; its replicas stay{bounds}"
            ));
        }
        "roll-back" => {
            return Err(
                "which earlier template to return to, or what to mend in the new one, is for its \
                 owner to choose: `kubectl rollout undo`, or its repository"
                    .to_owned(),
            );
        }
        other => {
            return Err(format!(
                "no way is known to write the action `{other}`: people must act by hand"
            ));
        }
    };
    let id = WorkloadId {
        cluster: finding.cluster.clone(),
        namespace: finding.namespace.clone(),
        kind: finding.workload_kind.clone(),
        name: finding.workload_name.clone(),
    };
    Ok(asked.remedies(&id, &wish))
}

fn count(wished: Option<&str>) -> Result<i64, String> {
    wished
        .and_then(|text| text.parse::<i64>().ok())
        .filter(|count| *count >= 0)
        .ok_or_else(|| {
            format!(
                "`{}` is no number of replicas: the detector proposes none",
                wished.unwrap_or("")
            )
        })
}

/// Another product for as many GPUs a replica as today: fewer or more change the model's layout too.
fn tier(
    asked: &Asked<'_>,
    recommendation: &Recommendation,
    size: Size,
) -> Result<TierWish, String> {
    let Some(product) = recommendation.wished.as_deref() else {
        return Err("the detector names no GPU product to move to".to_owned());
    };
    if let (Some(wanted), Some(now)) = (recommendation.wished_gpu_milli, size.gpu_milli)
        && wanted != now
    {
        return Err(format!(
            "a replica needs {} of {product} instead of {} GPUs: its resources and the engine's \
             parallelism change with its nodes, which is a deployment of its own",
            gpus(wanted),
            gpus(now)
        ));
    }
    asked.tier(&Embedded, product)
}

fn gpus(milli: i64) -> String {
    if milli % 1000 == 0 {
        (milli / 1000).to_string()
    } else {
        format!("{milli} thousandths")
    }
}

/// `nvidia.com/mig-1g.10gb`, or thousandths of a GPU for systems that ask by share.
fn fraction(wished: Option<&str>) -> Result<FractionWish, String> {
    let Some(wished) = wished else {
        return Err("the detector names no part of a GPU".to_owned());
    };
    let share = wished.strip_suffix('m').and_then(|text| text.parse().ok());
    Ok(FractionWish {
        resource: share.is_none().then(|| wished.to_owned()),
        units: 1,
        share_milli: share,
        ..FractionWish::default()
    })
}

/// Remedies as a recommendation holds them: all of them, or none and the reasons.
fn planned(asked: &Asked<'_>, remedies: &[Remedy]) -> Answer {
    let mut changes = Vec::new();
    let mut refused: Vec<String> = Vec::new();
    for one in remedies {
        match &one.answer {
            remedy::Answer::Change(change) => match plain(asked, change, &one.warnings) {
                Ok(planned) => changes.push(planned),
                Err(because) => refused.push(because),
            },
            remedy::Answer::NotPossible { because } => {
                refused.push(because.clone());
                refused.extend(one.warnings.iter().cloned());
            }
        }
    }
    refused.dedup();
    if !refused.is_empty() {
        return Answer::refusal(refused.join("; "));
    }
    if changes.is_empty() {
        return Answer::refusal("its controller names no place for this change");
    }
    Answer {
        changes,
        not_possible: None,
        limits: BTreeMap::new(),
        expires_ms: None,
    }
}

fn plain(
    asked: &Asked<'_>,
    change: &remedy::Change,
    warnings: &[String],
) -> Result<PlannedChange, String> {
    let json = |value: &dyn Fn() -> serde_json::Result<Value>| {
        let value = value().map_err(|error| format!("the change is no plain JSON: {error}"))?;
        if has_fraction(&value) {
            return Err(format!(
                "the change of {} {} holds a number with a fraction, whose bytes nobody can sign \
                 exactly: make it by hand",
                change.target.kind, change.target.name
            ));
        }
        Ok(value)
    };
    let patch = json(&|| serde_json::to_value(&change.patch))?;
    let inverse = json(&|| serde_json::to_value(&change.inverse))?;
    let of_object = |path: &str| matches!(path, "/metadata/uid" | "/metadata/resourceVersion");
    let touched: Vec<_> = change
        .preconditions
        .iter()
        .filter(|one| !of_object(&one.path))
        .collect();
    let written = |path: &str| -> String {
        let operations = patch.as_array().map_or(&[][..], Vec::as_slice);
        let last = operations
            .iter()
            .rfind(|one| one["path"] == path && one["op"] != "test");
        match last {
            Some(one) if one["op"] == "remove" => "absent".to_owned(),
            Some(one) => shown(&one["value"]),
            None => "unchanged".to_owned(),
        }
    };
    let join = |texts: Vec<String>| texts.join(", ");
    let resource_version = change
        .preconditions
        .iter()
        .find(|one| one.path == "/metadata/resourceVersion")
        .and_then(|one| one.observed.as_ref()?.as_str().map(str::to_owned));
    Ok(PlannedChange {
        target: PlannedTarget {
            kind: change.target.kind.clone(),
            api_version: change.target.api_version.clone(),
            namespace: change.target.namespace.clone(),
            name: change.target.name.clone(),
        },
        field: join(touched.iter().map(|one| one.path.clone()).collect()),
        current: join(
            touched
                .iter()
                .map(|one| one.observed.as_ref().map_or("absent".to_owned(), shown))
                .collect(),
        ),
        proposed: join(touched.iter().map(|one| written(&one.path)).collect()),
        patch,
        inverse,
        preconditions: change
            .preconditions
            .iter()
            .map(|one| Observed {
                path: one.path.clone(),
                observed: one.observed.clone().unwrap_or(Value::Null),
            })
            .collect(),
        resource_version,
        observed_at: asked.observed_ms(&change.target).map(format_ms),
        warnings: warnings.to_vec(),
        verify: change.verify.clone(),
        managed_by: change.managed_by.clone(),
    })
}

/// A value for people: text as it is, everything else as JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn has_fraction(value: &Value) -> bool {
    match value {
        Value::Number(number) => !(number.is_i64() || number.is_u64()),
        Value::Array(items) => items.iter().any(has_fraction),
        Value::Object(map) => map.values().any(has_fraction),
        _ => false,
    }
}
