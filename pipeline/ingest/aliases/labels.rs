//! Owns the names of labels by table, as the alias file lists them, best first.

use serde::Deserialize;

/// Labels of GPU exporters, best first.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuLabels {
    pub gpu: Vec<String>,
    pub uuid: Vec<String>,
    pub mig_instance: Vec<String>,
    pub mig_profile: Vec<String>,
    pub model_name: Vec<String>,
    pub node: Vec<String>,
    pub node_fallback: Vec<String>,
    pub exporter_pods: Vec<String>,
    pub holders: Vec<HolderLabels>,
}

/// Labels that together name the container which holds a GPU.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HolderLabels {
    pub pod: String,
    pub namespace: String,
    pub container: String,
}

/// Labels of inference engines, best first.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServingLabels {
    pub namespace: Vec<String>,
    pub pod: Vec<String>,
    pub container: Vec<String>,
    pub engine_index: Vec<String>,
    pub model_name: Vec<String>,
}

/// Labels of cAdvisor, best first.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerLabels {
    pub namespace: Vec<String>,
    pub pod: Vec<String>,
    pub container: Vec<String>,
    pub node: Vec<String>,
}

/// Labels of autoscalers, best first; the name's label is the exporter's.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScalerLabels {
    pub namespace: Vec<String>,
}
