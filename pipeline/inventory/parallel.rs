//! Owns how a replica's GPUs work together: tensor, pipeline, data and expert parallelism with where
//! each was found, and whether their product is the number of GPUs that a replica has.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::arithmetic;
use super::command::CommandLine;
use super::json;
use super::systems::{Facts, View};

/// Kinds, their flags, the environment that engines' images read, and the field of a resource.
const KINDS: &[(&str, &[&str], &[&str], &str)] = &[
    (
        "tensor",
        &[
            "--tensor-parallel-size",
            "-tp",
            "--tp",
            "--tp-size",
            "--num-shard",
        ],
        &[
            "NIM_TENSOR_PARALLEL_SIZE",
            "TENSOR_PARALLEL_SIZE",
            "NUM_SHARD",
            "OPTION_TENSOR_PARALLEL_DEGREE",
        ],
        "tensor",
    ),
    (
        "pipeline",
        &["--pipeline-parallel-size", "-pp", "--pp", "--pp-size"],
        &["NIM_PIPELINE_PARALLEL_SIZE", "PIPELINE_PARALLEL_SIZE"],
        "pipeline",
    ),
    (
        "data",
        &["--data-parallel-size", "-dp", "--dp", "--dp-size"],
        &["DATA_PARALLEL_SIZE"],
        "data",
    ),
    (
        "data local",
        &["--data-parallel-size-local", "-dpl"],
        &[],
        "dataLocal",
    ),
    (
        "expert",
        &["--expert-parallel-size", "--ep-size", "--ep", "-ep"],
        &[],
        "expert",
    ),
];

/// What is known of a workload's parallelism.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Parallel {
    pub tensor: Option<i64>,
    pub pipeline: Option<i64>,
    pub data: Option<i64>,
    pub expert: Option<i64>,
    pub found: Vec<Value>,
    pub expected_gpus: Option<i64>,
    pub check: &'static str,
}

/// Reads all sources; the resource itself before flags, flags before environment.
pub(super) fn read(
    view: &View<'_>,
    facts: &Facts<'_>,
    lines: &[CommandLine],
    gpu_milli: i64,
) -> Parallel {
    let group = group_size(view);
    let mut sizes: BTreeMap<&str, i64> = BTreeMap::new();
    let mut out = Parallel::default();
    let mut unresolved = false;
    let mut offer = |kind: &'static str, source: String, raw: String, size: Option<i64>| {
        let size = size.filter(|size| (1..=65_536).contains(size));
        unresolved |= size.is_none();
        out.found
            .push(json!({"kind": kind, "source": source, "raw": raw, "size": size}));
        if let Some(size) = size {
            sizes.entry(kind).or_insert(size);
        }
    };
    let adapter = [
        ("tensor", facts.tensor_parallel),
        ("pipeline", facts.pipeline_parallel),
    ];
    for (kind, size) in adapter {
        if let Some(size) = size {
            offer(kind, "resource".to_owned(), size.to_string(), Some(size));
        }
    }
    for (kind, flags, variables, field) in KINDS {
        if let Some(size) = json::int(view.top_body, &["spec", "parallelism", field]) {
            offer(
                kind,
                "spec.parallelism".to_owned(),
                size.to_string(),
                Some(size),
            );
        }
        for line in lines {
            let lookup = |name: &str| {
                line.variable(name)
                    .or_else(|| (name == "LWS_GROUP_SIZE").then(|| group.map(|g| g.to_string()))?)
            };
            if let Some((flag, raw)) = line.raw_flag(flags) {
                offer(
                    kind,
                    format!("flag {flag}"),
                    raw.clone(),
                    arithmetic::evaluate(&raw, &lookup),
                );
            }
        }
        for line in lines {
            for name in *variables {
                if let Some(raw) = line.env.get(*name) {
                    let lookup = |name: &str| line.variable(name);
                    offer(
                        kind,
                        format!("env {name}"),
                        raw.clone(),
                        arithmetic::evaluate(raw, &lookup),
                    );
                }
            }
        }
    }
    let switch = lines
        .iter()
        .any(|line| line.has_switch("--enable-expert-parallel"))
        || json::truth(view.top_body, &["spec", "parallelism", "expert"]);
    // Data-parallel attention runs inside the tensor-parallel group.
    let inside = lines
        .iter()
        .any(|line| line.has_switch("--enable-dp-attention"));
    out.found.truncate(32);
    out.tensor = sizes.get("tensor").copied();
    out.pipeline = sizes.get("pipeline").copied();
    out.data = sizes.get("data").or(sizes.get("data local")).copied();
    out.expert = sizes.get("expert").copied().or_else(|| {
        switch.then(|| {
            let tensor = out.tensor.unwrap_or(1);
            tensor.saturating_mul(out.data.unwrap_or(1))
        })
    });
    let stated = out.tensor.or(out.pipeline).or(out.data).is_some();
    let product = out
        .tensor
        .unwrap_or(1)
        .saturating_mul(out.pipeline.unwrap_or(1));
    let product = if inside {
        product
    } else {
        product.saturating_mul(out.data.unwrap_or(1))
    };
    out.expected_gpus = (stated && !unresolved).then_some(product);
    out.check = match out.expected_gpus {
        _ if unresolved => "unresolved",
        None => "not stated",
        Some(_) if gpu_milli == 0 => "gpus unknown",
        // Roles of one replica have sizes of their own.
        Some(_) if facts.joint && facts.templates.len() > 1 => "not compared",
        Some(expected) if agrees(expected, gpu_milli) => "agrees",
        Some(_) => "disagrees",
    };
    out
}

/// A part of a card still is one device.
fn agrees(expected: i64, gpu_milli: i64) -> bool {
    expected.saturating_mul(1000) == gpu_milli || (expected == 1 && gpu_milli < 1000)
}

fn group_size(view: &View<'_>) -> Option<i64> {
    let bodies = view.members.iter().map(|(_, body)| *body);
    std::iter::once(view.top_body)
        .chain(bodies)
        .find_map(|body| json::int(body, &["spec", "leaderWorkerTemplate", "size"]))
}

#[cfg(test)]
mod tests {
    use super::super::objects::Key;
    use super::*;

    fn read_args(script: &str, env: Value, top: &Value, gpu_milli: i64) -> Parallel {
        let key = Key::new("leaderworkerset.leaderworkerset.x-k8s.io", "a", "b");
        let view = View {
            top: &key,
            top_body: top,
            members: Vec::new(),
            pod: &Value::Null,
            scalers: Vec::new(),
            world: super::super::systems::World::default(),
        };
        let line = CommandLine::of(&json!({"command": ["sh", "-c", script], "env": env}));
        read(&view, &Facts::default(), &[line], gpu_milli)
    }

    #[test]
    fn a_wide_expert_group_is_computed_as_its_shell_would() {
        let top = json!({"spec": {"leaderWorkerTemplate": {"size": 2}}});
        let script = "DP_SIZE_LOCAL=8\nexec vllm serve deepseek-ai/DeepSeek-R1 \
            --data-parallel-size $((LWS_GROUP_SIZE * DP_SIZE_LOCAL)) \
            --data-parallel-size-local $DP_SIZE_LOCAL --enable-expert-parallel -tp $TP_SIZE";
        let env = json!([{"name": "TP_SIZE", "value": "1"}]);
        let found = read_args(script, env, &top, 16_000);
        assert_eq!(
            (found.data, found.tensor, found.expert),
            (Some(16), Some(1), Some(16))
        );
        assert_eq!((found.expected_gpus, found.check), (Some(16), "agrees"));
        let env = json!([{"name": "TP_SIZE", "value": "2"}]);
        assert_eq!(read_args(script, env, &top, 16_000).check, "disagrees");
        let nobody = read_args(script, json!([]), &top, 16_000);
        assert_eq!((nobody.check, nobody.expected_gpus), ("unresolved", None));
        assert_eq!(
            read_args("vllm serve a/b", json!([]), &top, 1_000).check,
            "not stated"
        );
    }
}
