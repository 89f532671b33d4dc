//! Owns `simulate`: which workloads, over which span, under which spec; drives the replays and prints.
//!
//! The present spec is replayed beside whatever was asked for, and its error against the replicas that
//! were observed stands in every row: a replay that cannot tell the past is no word on what might be.

mod print;
pub(super) mod read;
pub(super) mod spec;
pub(super) mod timeline;

use std::collections::BTreeMap;

use clap::Args;
use rust_decimal::Decimal;

use super::args::{ConfigArg, SpanArgs};
use super::error::CliError;
use super::output::OutputFormat;
use super::{data, say};
use crate::config::Config;
use crate::exit::Exit;
use crate::lake::LakeView;
use crate::model::TimeWindow;
use crate::model::time::{DAY_MS, date_of};
use crate::model::zone::Zone;
use crate::simulate::replay::is_recorded;
use crate::simulate::schedule::{Making, weekly};
use crate::simulate::{Outcome, Serving, Spec, SpecError, Timeline, replay, replay_observed};
use read::{Key, Reader, Subject};
use spec::{Asked, Wanted};
use timeline::{CapacityFrom, Made};

/// Where nobody ever saw a pod start.
const STARTUP_ASSUMED_MS: i64 = 180_000;
/// The default profile's time to the first token.
pub(super) const SLO_TTFT_MS: i64 = 2000;
/// Who waits for longer has gone: Knative's own limit of a request.
pub(super) const PATIENCE_SECONDS: u32 = 300;
/// How many workloads are in memory at a time.
const PART: usize = 32;
/// No span is longer: buckets of five minutes of a year and a half.
const SPAN_DAYS_MAX: i64 = 550;
/// Of an estimated capacity a schedule plans with as much as placements do; what was seen is planned with whole.
const ESTIMATE_HEADROOM: f64 = 0.75;
const WEEK_BUCKETS: usize = 7 * 288;

/// What a change of scaling would have cost and served.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("which").required(true).args(["workload", "all"])))]
pub(super) struct SimulateArgs {
    #[command(flatten)]
    pub config: ConfigArg,
    /// One workload: `namespace/name`, `cluster/namespace/kind/name`, or an end of it that only one has
    #[arg(long, value_name = "HANDLE")]
    pub workload: Option<String>,
    /// Every workload with GPUs
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub span: SpanArgs,
    #[command(flatten)]
    pub asked: Asked,
    /// A weekly schedule beside the present spec: found in the first half of the span's weeks, judged over the rest
    #[arg(long, conflicts_with_all = ["spec", "replicas", "target", "min", "max"])]
    pub schedule: bool,
    /// Seconds from the decision to a ready replica; default: the median of the workload's own pods
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(0..=86400))]
    pub startup: Option<u32>,
    /// Seconds after which who waits has gone: Knative's own limit of a request
    #[arg(long, value_name = "SECONDS", default_value_t = PATIENCE_SECONDS, value_parser = clap::value_parser!(u32).range(1..=86400))]
    pub patience: u32,
    /// One row an hour instead of one a replay: replicas over time
    #[arg(long)]
    pub hourly: bool,
    /// How rows are printed
    #[arg(
        short,
        long,
        visible_alias = "format",
        value_enum,
        default_value = "table"
    )]
    pub output: OutputFormat,
    /// The publication to read; default: the newest
    #[arg(long, value_name = "N")]
    pub as_of: Option<u64>,
}

/// One workload's replays.
pub(super) struct Answer {
    subject: Subject,
    price_usd: Option<Decimal>,
    startup_ms: i64,
    startup_from: &'static str,
    capacity_from: CapacityFrom,
    runs: Vec<Run>,
    /// The present spec's replica-hours over those observed, less one.
    error: Option<f64>,
    note: Option<String>,
    /// The schedule that was found, as people read it.
    schedule: Option<String>,
    /// What the rows are about: the whole span, or what a schedule was not found in.
    judged: TimeWindow,
}

/// One replay.
pub(super) struct Run {
    what: &'static str,
    scaler: String,
    outcome: Outcome,
}

pub(super) async fn simulate(args: &SimulateArgs) -> Result<Exit, CliError> {
    let config = Config::load(&args.config.config)?;
    let wanted = args.asked.wanted()?;
    let (lake, publication) = data::published(&config, args.as_of).await?;
    let session = data::session(&lake, &LakeView::published(&publication)).await?;
    let window = span(&args.span, publication.window())?;
    let reader = Reader {
        session: &session,
        window,
    };
    let all = reader.subjects().await?;
    let subjects = match &args.workload {
        Some(handle) => vec![find(&all, handle)?.clone()],
        None => all,
    };
    let known = Fleet {
        manifests: reader.manifests().await?,
        prices: reader.prices().await?,
        // A span of a few days may hold no start: how long one takes is asked of the whole window.
        startups_ms: reader.startups(publication.window()).await?,
        zone: Zone::parse(&config.file.report.timezone).unwrap_or_default(),
    };
    let mut answers = Vec::with_capacity(subjects.len());
    for group in subjects.chunk_by(|one, other| one.id.cluster == other.id.cluster) {
        for chunk in group.chunks(PART) {
            let part = reader.part(chunk).await?;
            let made = chunk.iter().map(|subject| {
                let made = timeline::make(subject, &part, window);
                (subject.clone(), made)
            });
            answers.extend(judge_all(made.collect(), args, &wanted, &known)?);
        }
    }
    print::print(args, window, &answers)?;
    Ok(Exit::Done)
}

/// What is known beside the workloads themselves.
struct Fleet {
    manifests: BTreeMap<(String, String, String, String), String>,
    prices: BTreeMap<(String, Key), Decimal>,
    startups_ms: Vec<i64>,
    zone: Zone,
}

/// Replays on every core: each workload by itself, answers in the order of the workloads.
fn judge_all(
    made: Vec<(Subject, Made)>,
    args: &SimulateArgs,
    wanted: &Wanted,
    known: &Fleet,
) -> Result<Vec<Answer>, CliError> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let share = made.len().div_ceil(cores).max(1);
    let mut shares: Vec<Vec<(Subject, Made)>> = Vec::new();
    let mut made = made.into_iter();
    loop {
        let next: Vec<_> = made.by_ref().take(share).collect();
        if next.is_empty() {
            break;
        }
        shares.push(next);
    }
    let answers: Vec<Result<Vec<Answer>, CliError>> = std::thread::scope(|scope| {
        let workers: Vec<_> = shares
            .into_iter()
            .map(|share| {
                scope.spawn(move || {
                    let judged = share.into_iter();
                    judged
                        .map(|(subject, made)| judge(subject, &made, args, wanted, known))
                        .collect()
                })
            })
            .collect();
        let died = || CliError::Unexpected("a replay stopped in the middle".to_owned());
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|_| Err(died())))
            .collect()
    });
    let mut out = Vec::new();
    for part in answers {
        out.extend(part?);
    }
    Ok(out)
}

fn middle(sorted: &[i64]) -> Option<i64> {
    sorted.get(sorted.len() / 2).copied()
}

/// How long a replica takes to start, and who says so.
pub(super) fn startup(own_ms: &[i64], fleet_ms: &[i64]) -> (i64, &'static str) {
    match (middle(own_ms), middle(fleet_ms)) {
        (Some(own), _) => (own, "its own pods"),
        (None, Some(fleet)) => (fleet, "the fleet's pods"),
        (None, None) => (STARTUP_ASSUMED_MS, "assumed"),
    }
}

fn judge(
    subject: Subject,
    made: &Made,
    args: &SimulateArgs,
    wanted: &Wanted,
    known: &Fleet,
) -> Result<Answer, CliError> {
    let (startup_ms, startup_from) = match args.startup {
        Some(seconds) => (i64::from(seconds) * 1000, "given"),
        None => startup(&made.startups_ms, &known.startups_ms),
    };
    let serving = Serving {
        startup_ms,
        late_after_ms: subject.slo_ttft_ms.unwrap_or(SLO_TTFT_MS),
        patience_ms: i64::from(args.patience) * 1000,
        at_once: subject.at_once.and_then(|limit| u32::try_from(limit).ok()),
    };
    let weeks = made.timeline.buckets.len() / WEEK_BUCKETS;
    let seen = if args.schedule {
        weeks / 2 * WEEK_BUCKETS
    } else {
        0
    };
    let (before, judged) = made.timeline.split(seen);
    let timeline = &judged;
    let path = subject.id.path();
    let mut answer = Answer {
        price_usd: known
            .prices
            .get(&(subject.id.cluster.clone(), subject.key()))
            .copied(),
        startup_ms,
        startup_from,
        capacity_from: made.capacity_from,
        runs: Vec::new(),
        error: None,
        note: None,
        schedule: None,
        judged: TimeWindow::new(timeline.start_ms, timeline.end_ms()),
        subject,
    };
    if args.schedule && weeks < 2 {
        let why = "a schedule is found in one week and judged over another: give a span of two weeks or more";
        return refuse(answer, args, why.to_owned());
    }
    if timeline.known() == 0 {
        let why = format!(
            "the window holds no demand of `{path}`: none of its {} buckets has engine series of its replicas, nor a scaler that says what waits",
            timeline.buckets.len()
        );
        return refuse(answer, args, why);
    }
    let observed = replay_observed(timeline, &serving);
    let hours = observed.ready_ms;
    answer.runs.push(Run {
        what: "observed",
        scaler: String::new(),
        outcome: observed,
    });
    let present = spec::present(&answer.subject, known.manifest_of(&answer.subject));
    let present = present.and_then(|spec| checked(spec, timeline));
    match &present {
        Ok(spec) => {
            let run = replayed("present", spec, timeline, &serving);
            answer.error = (hours > 0.0).then(|| run.outcome.ready_ms / hours - 1.0);
            answer.runs.push(run);
        }
        Err(why) => answer.note = Some(format!("the present spec of `{path}`: {why}")),
    }
    let making = Making {
        headroom: match made.capacity_from {
            CapacityFrom::Estimate => ESTIMATE_HEADROOM,
            _ => 1.0,
        },
        startup_ms,
        zone: known.zone,
    };
    let proposed = match wanted {
        Wanted::Present if args.schedule => {
            let found = weekly(&before, &making);
            answer.schedule = found.as_ref().ok().map(|found| found.text());
            let spec = found.and_then(|found| found.beside(present.as_ref().ok()));
            Some(spec.and_then(|spec| checked(spec, timeline)))
        }
        Wanted::Present => None,
        wanted => Some(
            wanted
                .spec(&answer.subject, present.as_ref().ok())
                .and_then(|spec| checked(spec, timeline)),
        ),
    };
    match proposed {
        Some(Ok(spec)) => answer
            .runs
            .push(replayed("proposed", &spec, timeline, &serving)),
        Some(Err(why)) => return refuse(answer, args, format!("`{path}`: {why}")),
        None => {}
    }
    if let (Wanted::Present, false, Some(why)) = (wanted, args.schedule, answer.note.clone()) {
        return refuse(answer, args, why);
    }
    Ok(answer)
}

/// One workload that cannot be replayed is an error; among all of them it is a note.
fn refuse(mut answer: Answer, args: &SimulateArgs, why: String) -> Result<Answer, CliError> {
    if args.all {
        answer.note = Some(why);
        return Ok(answer);
    }
    Err(CliError::Usage(why))
}

pub(super) fn checked(spec: Spec, timeline: &Timeline) -> Result<Spec, SpecError> {
    spec.check()?;
    spec.needs(|signal| is_recorded(timeline, signal))?;
    Ok(spec)
}

fn replayed(what: &'static str, spec: &Spec, timeline: &Timeline, serving: &Serving) -> Run {
    Run {
        what,
        scaler: spec.title(),
        outcome: replay(timeline, spec, serving),
    }
}

impl Fleet {
    fn manifest_of(&self, subject: &Subject) -> Option<&str> {
        let (kind, name) = subject.scaler.as_ref()?;
        let kind = kind.split('.').next().unwrap_or(kind).to_owned();
        let id = &subject.id;
        let key = (id.cluster.clone(), id.namespace.clone(), kind, name.clone());
        self.manifests.get(&key).map(String::as_str)
    }
}

/// The span of days: the publication's window unless told otherwise.
fn span(args: &SpanArgs, published: TimeWindow) -> Result<TimeWindow, CliError> {
    let end_ms = args.to.unwrap_or(published.end_ms);
    let start_ms = match (args.from, args.last) {
        (Some(from), _) => from,
        (None, Some(days)) => end_ms - i64::from(days) * DAY_MS,
        (None, None) => published.start_ms.min(end_ms - DAY_MS),
    };
    if start_ms >= end_ms {
        return Err(CliError::Usage(format!(
            "the span is empty: from {} to {}",
            date_of(start_ms),
            date_of(end_ms)
        )));
    }
    if end_ms - start_ms > SPAN_DAYS_MAX * DAY_MS {
        return Err(CliError::Usage(format!(
            "the span is longer than {SPAN_DAYS_MAX} days: give a shorter one"
        )));
    }
    if start_ms < published.start_ms || end_ms > published.end_ms {
        say(&format!(
            "warning: the publication is about {} to {}; what the lake lacks beyond is unknown",
            date_of(published.start_ms),
            date_of(published.end_ms)
        ));
    }
    Ok(TimeWindow::new(start_ms, end_ms))
}

/// The one workload that a handle names.
fn find<'s>(subjects: &'s [Subject], handle: &str) -> Result<&'s Subject, CliError> {
    let fits = |subject: &&Subject| {
        let id = &subject.id;
        let whole = id.path();
        let short = format!("{}/{}", id.namespace, id.name);
        whole == handle
            || whole.ends_with(&format!("/{handle}"))
            || short == handle
            || format!("{}/{short}", id.cluster) == handle
    };
    let found: Vec<&Subject> = subjects.iter().filter(fits).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(CliError::Usage(format!(
            "no workload with GPUs of this span is `{handle}`: `idleproof inventory` names them"
        ))),
        several => {
            let paths: Vec<String> = several.iter().map(|one| one.id.path()).collect();
            Err(CliError::Usage(format!(
                "`{handle}` is {} workloads: {}",
                several.len(),
                paths.join(", ")
            )))
        }
    }
}
