//! Owns the one shape of remedies: what is wished for, and a change as data. `draft` builds patch and
//! inverse; what a system's fields mean is its adapter's business; nothing here writes to a cluster.
//! Adapters build remedies, the command line shows them.

use std::collections::BTreeMap;

use json_patch::Patch;
use serde::Serialize;
use serde_json::Value;

pub(super) use super::draft::Draft;

/// What kind of change a remedy makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// No replicas, or none when nobody asks.
    Zero,
    /// Another GPU product.
    Tier,
    /// Least and most replicas.
    Bounds,
    /// CPU of a container.
    Cpu,
    /// A MIG instance or another part of a GPU.
    Fraction,
}

/// What a caller wants. Only what is set is answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    pub zero: bool,
    /// It works in between: with `zero` it must come back by itself when it is asked for.
    pub elastic: bool,
    pub tier: Option<TierWish>,
    pub bounds: Option<BoundsWish>,
    pub cpu: Option<CpuWish>,
    pub fraction: Option<FractionWish>,
}

/// Which nodes the replicas should run on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TierWish {
    pub node_selector: BTreeMap<String, String>,
    /// For systems that name an instance type instead of labels.
    pub instance_type: Option<String>,
}

/// New bounds; what is unset stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BoundsWish {
    pub min_replicas: Option<i64>,
    pub max_replicas: Option<i64>,
}

/// A new CPU quantity for one container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpuWish {
    /// Unset: the container that holds the GPU, else the first.
    pub container: Option<String>,
    pub request: Option<String>,
    pub limit: Option<String>,
    /// No limit at all; a limit that is given wins.
    pub unlimited: bool,
}

/// A part of a GPU instead of the whole one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FractionWish {
    /// `nvidia.com/mig-1g.10gb`, for systems that ask by resource name.
    pub resource: Option<String>,
    pub units: i64,
    /// For systems that ask by share.
    pub share_milli: Option<i64>,
    pub memory_mib: Option<i64>,
    /// Labels of the nodes that have such parts.
    pub node_selector: BTreeMap<String, String>,
}

impl Wish {
    /// Asks for every action at once, with values that only show where each change would go.
    #[must_use]
    pub fn survey(product: &str) -> Self {
        let node_selector =
            BTreeMap::from([("nvidia.com/gpu.product".to_owned(), product.to_owned())]);
        Self {
            zero: true,
            elastic: false,
            tier: Some(TierWish {
                node_selector,
                instance_type: Some(product.to_owned()),
            }),
            bounds: Some(BoundsWish {
                min_replicas: Some(1),
                max_replicas: Some(2),
            }),
            cpu: Some(CpuWish {
                container: None,
                request: Some("4".to_owned()),
                ..CpuWish::default()
            }),
            fraction: Some(FractionWish {
                resource: Some("nvidia.com/mig-1g.10gb".to_owned()),
                units: 1,
                share_milli: Some(143),
                memory_mib: Some(10_240),
                node_selector: BTreeMap::new(),
            }),
        }
    }

    /// The actions that are asked for, in order.
    #[must_use]
    pub fn actions(&self) -> Vec<Action> {
        [
            (self.zero, Action::Zero),
            (self.tier.is_some(), Action::Tier),
            (self.bounds.is_some(), Action::Bounds),
            (self.cpu.is_some(), Action::Cpu),
            (self.fraction.is_some(), Action::Fraction),
        ]
        .into_iter()
        .filter_map(|(asked, action)| asked.then_some(action))
        .collect()
    }
}

/// One answer to one action. A change that needs two objects is two remedies, in order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Remedy {
    pub action: Action,
    #[serde(flatten)]
    pub answer: Answer,
    pub warnings: Vec<String>,
    /// Whether what it takes to zero comes back by itself when it is asked for.
    #[serde(skip)]
    pub wakes: bool,
}

/// The change, or why there is none.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Change(Change),
    NotPossible { because: String },
}

/// The object that a change goes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Target {
    /// `kind.group` in lower case.
    pub kind: String,
    pub api_version: String,
    pub namespace: String,
    pub name: String,
}

/// What was observed where the change goes; unset is absent, which no patch can test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Precondition {
    /// A JSON pointer.
    pub path: String,
    pub observed: Option<Value>,
}

/// A change as data.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    pub target: Target,
    /// RFC 6902, with tests of the observed values before each edit.
    pub patch: Patch,
    /// Undoes the patch exactly, with tests of the values that it wrote.
    pub inverse: Patch,
    pub preconditions: Vec<Precondition>,
    /// What must have come true before the change counts as made.
    pub verify: Vec<String>,
    /// Who writes the object from a repository or a chart, where a live patch is temporary.
    pub managed_by: Option<String>,
}

impl Remedy {
    pub(in crate::inventory) fn not_possible(action: Action, because: impl Into<String>) -> Self {
        Self {
            action,
            answer: Answer::NotPossible {
                because: because.into(),
            },
            warnings: Vec::new(),
            wakes: false,
        }
    }

    /// Marks a change to zero from which the system's own demand signal leads back.
    pub(super) fn waking(mut self) -> Self {
        self.wakes = self.change().is_some();
        self
    }

    /// Refuses a change to zero that would keep down what is still asked for.
    pub(in crate::inventory) fn must_wake(self) -> Self {
        let Answer::Change(change) = &self.answer else {
            return self;
        };
        if self.action != Action::Zero || self.wakes {
            return self;
        }
        let target = &change.target;
        let mut refused = Self::not_possible(
            Action::Zero,
            format!(
                "it works between its quiet times, and the change of {} {} that takes it to zero has \
                 no signal that brings it back: give it a scaler that wakes on requests waiting \
                 outside of its pods, or a schedule, first",
                target.kind, target.name
            ),
        );
        refused.warnings = self.warnings;
        refused
    }

    pub(super) fn warned(mut self, warning: impl Into<String>) -> Self {
        self.warnings.push(warning.into());
        self
    }

    /// The change, if there is one.
    #[must_use]
    pub fn change(&self) -> Option<&Change> {
        match &self.answer {
            Answer::Change(change) => Some(change),
            Answer::NotPossible { .. } => None,
        }
    }
}
