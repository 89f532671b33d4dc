//! Owns what a workload is for: serving, batch, training, a notebook or the platform's own.

use super::command::CommandLine;
use super::objects::Key;
use super::systems::System;

/// Namespaces that belong to the platform.
const SYSTEM_NAMESPACES: &[&str] = &[
    "kube-system",
    "gpu-operator",
    "nvidia-gpu-operator",
    "nvidia-device-plugin",
    "dcgm-exporter",
    "kai-resource-reservation",
    "runai-reservation",
    "kai-scale-adjust",
];

/// Pods of GPU infrastructure, wherever they run.
const SYSTEM_NAMES: &[&str] = &[
    "dcgm-exporter",
    "nvidia-device-plugin",
    "gpu-feature-discovery",
    "nvidia-driver",
    "nvidia-mig-manager",
    "gpu-reservation",
];

/// The class of a workload.
pub(super) fn class(
    top: &Key,
    system: &System,
    notebook: bool,
    lines: &[CommandLine],
    images: &[&str],
    has_telemetry: bool,
) -> &'static str {
    if SYSTEM_NAMESPACES.contains(&top.namespace.as_str())
        || SYSTEM_NAMES.iter().any(|name| top.name.contains(name))
    {
        return "system";
    }
    if top.kind.starts_with("notebook.") || notebook {
        return "notebook";
    }
    if system.name == "job" {
        let trains = !matches!(top.kind.as_str(), "job.batch" | "cronjob.batch")
            || mentions_training(&top.name)
            || lines
                .iter()
                .any(|line| line.words.iter().any(|word| mentions_training(word)));
        return if trains { "training" } else { "batch" };
    }
    let engine = lines.iter().any(CommandLine::is_engine)
        || images.iter().any(|image| {
            CommandLine {
                image: (*image).to_owned(),
                ..CommandLine::default()
            }
            .is_engine()
        });
    if system.serves || engine || has_telemetry {
        return "serving";
    }
    "unknown"
}

fn mentions_training(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    [
        "train",
        "finetune",
        "fine-tune",
        "torchrun",
        "deepspeed",
        "sft",
        "lora-",
    ]
    .iter()
    .any(|part| word.contains(part))
}
