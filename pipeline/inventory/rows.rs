//! Owns the rows that the fold makes: one struct a derived table, one field a column, in the
//! columns' order, and their clipping to UTC days. `batches` turns them into Arrow.

use std::collections::BTreeMap;

use crate::model::TimeWindow;

use super::detail_rows::{
    DataQualityRow, NodeDetailRow, ScalingEventRow, ScalingLintRow, WorkloadDetailRow,
};

/// A cell of a row, for the generic conversion to Arrow.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    Text(Option<String>),
    Int(Option<i64>),
    Float(Option<f64>),
    Bool(Option<bool>),
}

/// A row that is valid in `[valid_from_ms, valid_to_ms)`.
pub trait Row: Clone + PartialEq {
    /// The derived table that the row belongs to.
    const TABLE: &'static str;
    fn valid(&self) -> TimeWindow;
    /// The same facts, valid in another window.
    fn during(&self, window: TimeWindow) -> Self;
    /// The key by which the table is sorted; rows that are equal in it are told apart by all they hold.
    fn sort_key(&self) -> (Vec<String>, i64);
    fn whole(&self) -> String;
    /// The value of every column, by name.
    fn cells(&self) -> Vec<(&'static str, Cell)>;
}

impl From<&String> for Cell {
    fn from(value: &String) -> Self {
        Self::Text(Some(value.clone()))
    }
}
impl From<&Option<String>> for Cell {
    fn from(value: &Option<String>) -> Self {
        Self::Text(value.clone())
    }
}
impl From<&i64> for Cell {
    fn from(value: &i64) -> Self {
        Self::Int(Some(*value))
    }
}
impl From<&Option<i64>> for Cell {
    fn from(value: &Option<i64>) -> Self {
        Self::Int(*value)
    }
}
impl From<&Option<f64>> for Cell {
    fn from(value: &Option<f64>) -> Self {
        Self::Float(*value)
    }
}
impl From<&bool> for Cell {
    fn from(value: &bool) -> Self {
        Self::Bool(Some(*value))
    }
}

/// Integers of a key are slots: padded, the order of the text is their order.
pub(super) fn key_text(cell: Cell) -> String {
    match cell {
        Cell::Text(text) => text.unwrap_or_default(),
        Cell::Int(number) => format!("{:020}", number.unwrap_or_default()),
        Cell::Float(_) | Cell::Bool(_) => String::new(),
    }
}

/// Declares the rows of one table. What has an instant and no duration gives `at`, the column that
/// says when.
macro_rules! row {
    (at $at:ident, $(#[$doc:meta])* $name:ident, $table:literal, [$($key:ident),*], {$($field:ident: $type:ty,)*}) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct $name {
            $(pub $field: $type,)*
        }

        impl Row for $name {
            const TABLE: &'static str = $table;

            fn valid(&self) -> TimeWindow {
                TimeWindow::new(self.$at, self.$at.saturating_add(1))
            }

            fn during(&self, _: TimeWindow) -> Self {
                self.clone()
            }

            fn sort_key(&self) -> (Vec<String>, i64) {
                (vec![$(key_text(Cell::from(&self.$key))),*], self.$at)
            }

            fn whole(&self) -> String {
                format!("{self:?}")
            }

            fn cells(&self) -> Vec<(&'static str, Cell)> {
                vec![$((stringify!($field), Cell::from(&self.$field))),*]
            }
        }
    };
    ($(#[$doc:meta])* $name:ident, $table:literal, [$($key:ident),*], {$($field:ident: $type:ty,)*}) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct $name {
            $(pub $field: $type,)*
        }

        impl Row for $name {
            const TABLE: &'static str = $table;

            fn valid(&self) -> TimeWindow {
                TimeWindow::new(self.valid_from_ms, self.valid_to_ms)
            }

            fn during(&self, window: TimeWindow) -> Self {
                Self {
                    valid_from_ms: window.start_ms,
                    valid_to_ms: window.end_ms,
                    ..self.clone()
                }
            }

            fn sort_key(&self) -> (Vec<String>, i64) {
                (vec![$(key_text(Cell::from(&self.$key))),*], self.valid_from_ms)
            }

            fn whole(&self) -> String {
                format!("{self:?}")
            }

            fn cells(&self) -> Vec<(&'static str, Cell)> {
                vec![$((stringify!($field), Cell::from(&self.$field))),*]
            }
        }
    };
}

pub(super) use row;

row!(
    /// A GPU node while its facts stay the same.
    NodeRow, "nodes", [node], {
        node: String,
        valid_from_ms: i64,
        valid_to_ms: i64,
        uid: Option<String>,
        provider: Option<String>,
        region: Option<String>,
        zone: Option<String>,
        instance_type: Option<String>,
        capacity_type: Option<String>,
        provider_id: Option<String>,
        gpu_product: Option<String>,
        gpu_product_label: Option<String>,
        gpu_count: i64,
        gpu_count_basis: String,
        sharing: String,
        ready: bool,
        repair: bool,
        cordoned: bool,
        gpus_lost: i64,
        vcpus: Option<f64>,
        known_from: String,
    }
);

row!(
    /// A slice of a physical GPU while it exists.
    SliceRow, "slices", [node, slot, slice], {
        node: String,
        slot: i64,
        slice: String,
        valid_from_ms: i64,
        valid_to_ms: i64,
        gpu_uuid: Option<String>,
        gpu: Option<String>,
        mig_instance: Option<String>,
        slice_kind: String,
        share_num: i64,
        share_den: i64,
        gpu_product: Option<String>,
        instance_type: Option<String>,
        price_key: String,
        unavailable: bool,
        unavailable_why: Option<String>,
    }
);

row!(
    /// A pod that holds a slice.
    HolderRow, "gpu_holders", [node, slot, slice], {
        node: String,
        slot: i64,
        slice: String,
        valid_from_ms: i64,
        valid_to_ms: i64,
        namespace: String,
        pod: String,
        workload_kind: String,
        workload_name: String,
        replica: String,
        how: String,
    }
);

row!(
    /// A pod in one state.
    PodRow, "pods", [namespace, pod], {
        namespace: String,
        pod: String,
        valid_from_ms: i64,
        valid_to_ms: i64,
        uid: Option<String>,
        node: Option<String>,
        state: String,
        workload_kind: String,
        workload_name: String,
        replica: String,
        workload_class: String,
        standby_declared: bool,
        gpu_milli: i64,
        gpu_resource: Option<String>,
        cpu_request_milli: Option<i64>,
        cpu_limit_milli: Option<i64>,
        memory_request_mib: Option<i64>,
        model: Option<String>,
        team: Option<String>,
        owner_chain_json: String,
        known_from: String,
    }
);

row!(
    /// A workload while its facts stay the same.
    WorkloadRow, "workloads", [namespace, workload_kind, workload_name], {
        namespace: String,
        workload_kind: String,
        workload_name: String,
        valid_from_ms: i64,
        valid_to_ms: i64,
        uid: Option<String>,
        workload_class: String,
        serving_system: Option<String>,
        model: Option<String>,
        model_raw: Option<String>,
        model_source: Option<String>,
        model_candidates_json: String,
        model_params_b: Option<f64>,
        quantisation: Option<String>,
        max_model_len: Option<i64>,
        max_num_seqs: Option<i64>,
        engine: Option<String>,
        tensor_parallel: Option<i64>,
        pipeline_parallel: Option<i64>,
        role: Option<String>,
        gpu_product: Option<String>,
        gpu_milli_per_replica: i64,
        replicas: Option<i64>,
        min_replicas: Option<i64>,
        max_replicas: Option<i64>,
        floor_replicas: i64,
        floor_why: String,
        autoscaler: Option<String>,
        team: Option<String>,
        standby_declared: bool,
        slo_ttft_p95_ms: Option<i64>,
        slo_itl_p95_ms: Option<i64>,
        slo_source: Option<String>,
        remedy_object: String,
        remedy_replicas_field: String,
        remedy_tier_field: String,
        owner_chain_json: String,
    }
);

row!(
    /// An autoscaler while its bounds stay the same.
    AutoscalerRow, "autoscalers", [namespace, scaler_kind, scaler_name], {
        namespace: String,
        scaler_kind: String,
        scaler_name: String,
        valid_from_ms: i64,
        valid_to_ms: i64,
        target_kind: String,
        target_name: String,
        workload_kind: Option<String>,
        workload_name: Option<String>,
        min_replicas: Option<i64>,
        max_replicas: Option<i64>,
        idle_replicas: Option<i64>,
        triggers_json: String,
        policy_json: String,
        findings_json: String,
    }
);

/// Calls a macro with the names of all tables of an inventory.
macro_rules! each_table {
    ($call:ident) => {
        $call!(
            nodes,
            slices,
            gpu_holders,
            pods,
            workloads,
            autoscalers,
            workload_details,
            node_details,
            data_quality,
            scaling_events,
            scaling_lint
        )
    };
}

/// All derived inventory tables of one cluster.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inventory {
    pub nodes: Vec<NodeRow>,
    pub slices: Vec<SliceRow>,
    pub gpu_holders: Vec<HolderRow>,
    pub pods: Vec<PodRow>,
    pub workloads: Vec<WorkloadRow>,
    pub autoscalers: Vec<AutoscalerRow>,
    pub workload_details: Vec<WorkloadDetailRow>,
    pub node_details: Vec<NodeDetailRow>,
    pub data_quality: Vec<DataQualityRow>,
    pub scaling_events: Vec<ScalingEventRow>,
    pub scaling_lint: Vec<ScalingLintRow>,
}

impl Inventory {
    /// The rows by UTC day of the window, every day present, also those without any row.
    #[must_use]
    pub fn clip_to_days(&self, window: TimeWindow) -> BTreeMap<i64, Self> {
        let mut days: BTreeMap<i64, Self> = window
            .days()
            .filter(|day| !window.is_empty() && !day.is_empty())
            .map(|day| (day.start_ms, Self::default()))
            .collect();
        macro_rules! spread_all {
            ($($table:ident),*) => {
                $(spread(&self.$table, window, |day, row| {
                    entry(&mut days, day).$table.push(row);
                });)*
            };
        }
        each_table!(spread_all);
        days
    }

    /// Sorts every table by its full key.
    pub(super) fn sort(&mut self) {
        macro_rules! sort_all {
            ($($table:ident),*) => { $(sort(&mut self.$table);)* };
        }
        each_table!(sort_all);
    }

    /// Cuts every table to a window.
    pub(super) fn clip(&mut self, window: TimeWindow) {
        macro_rules! clip_all {
            ($($table:ident),*) => { $(clip(&mut self.$table, window);)* };
        }
        each_table!(clip_all);
    }
}

fn clip<R: Row>(rows: &mut Vec<R>, window: TimeWindow) {
    rows.retain_mut(|row| {
        let valid = row.valid();
        let Some(part) = valid.intersect(&window) else {
            return false;
        };
        if part != valid {
            *row = row.during(part);
        }
        true
    });
}

fn sort<R: Row>(rows: &mut [R]) {
    rows.sort_by_cached_key(Row::sort_key);
    for same in rows.chunk_by_mut(|a, b| a.sort_key() == b.sort_key()) {
        if same.len() > 1 {
            same.sort_by_cached_key(Row::whole);
        }
    }
}

fn entry(days: &mut BTreeMap<i64, Inventory>, day_ms: i64) -> &mut Inventory {
    days.entry(day_ms).or_default()
}

/// Splits rows at the ends of UTC days, dropping what lies outside of the window.
pub fn clip_to_days<R: Row>(rows: &[R], window: TimeWindow) -> BTreeMap<i64, Vec<R>> {
    let mut days: BTreeMap<i64, Vec<R>> = BTreeMap::new();
    spread(rows, window, |day, row| {
        days.entry(day).or_default().push(row);
    });
    days
}

fn spread<R: Row>(rows: &[R], window: TimeWindow, mut put: impl FnMut(i64, R)) {
    for row in rows {
        let Some(inside) = row.valid().intersect(&window) else {
            continue;
        };
        for day in inside.days() {
            if let Some(part) = inside.intersect(&day) {
                put(day.start_ms, row.during(part));
            }
        }
    }
}
