//! Owns the report: a view model in which every number is final text, and its rendering to HTML and
//! Markdown from the templates in `reports/`, which a user may override.
//!
//! It takes plain data, never a SQL context, and computes nothing that is not formatting, ranking or
//! adding up what it was given. Called by `cli`.

mod chart;
mod compare;
mod data;
mod format;
mod funnel;
mod governance;
mod limits;
mod openmetrics;
mod render;
mod returns;
mod sections;
mod view;

pub use compare::Comparison;
pub use data::{
    BlindCost, BlindSpot, ChangeData, ClassTotal, DayClasses, FindingData, PriceRow,
    RecommendationData, ReportData, WorkloadRow,
};
pub use format::{gpu_hours, percent, usd};
pub use funnel::{DecidedData, Stage};
pub use governance::{GovernanceView, OutcomeView, ScoreView};
pub use openmetrics::{Gauge, GaugeSample, openmetrics};
pub use render::Renderer;
pub use returns::PoolData;
pub use sections::{
    BillData, Contradiction, EventData, MemoryData, MoverData, Sections, SectionsData, SliceData,
    TierFitData, UnitCostData, UseData, WeekData,
};
pub use view::ReportView;

use std::path::PathBuf;

/// A report that could not be rendered.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("cannot read the template `{}`: {source}; [report] templates names its folder", path.display())]
    Template {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "cannot render `{name}`: {detail}; correct the template, or leave [report] templates out for the built-in one"
    )]
    Render { name: String, detail: String },
}
