//! Owns a weekly schedule that a person can read: how many replicas each hour of the week needed, as cron
//! triggers of KEDA beside whatever scales today.
//!
//! What it finds is to be judged over weeks that it has not seen: `cli/simulate` replays it over those.

use std::collections::BTreeMap;

use super::cron::{Between, Cron};
use super::demand::{BUCKET_MS, Timeline};
use super::hpa::{Rules, Target};
use super::keda::{COOLDOWN_MS, KedaSpec, POLLING_MS, Source, Trigger};
use super::spec::{Spec, SpecError};
use crate::model::zone::Zone;

const WEEK_HOURS: usize = 168;
/// A rhythm that needs more entries is none that a person reviews.
const ENTRIES_MAX: usize = 24;
/// Dips that are shorter are noise, not rhythm: stopping for one hour costs a start.
const DIP_HOURS: usize = 2;

/// One entry: so many replicas between two times of the week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub start: String,
    pub end: String,
    pub replicas: u32,
}

/// A schedule: the least that every hour needs, and more at times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    pub base: u32,
    pub entries: Vec<Entry>,
    pub zone: Zone,
}

/// How a schedule is made.
#[derive(Debug, Clone, Copy)]
pub struct Making {
    /// The share of a replica's capacity that is planned with.
    pub headroom: f64,
    /// Replicas are up before they are needed.
    pub startup_ms: i64,
    pub zone: Zone,
}

/// The most replicas that each hour of the week needed, in the zone's clock; Sunday's midnight is first.
fn needs(timeline: &Timeline, making: &Making) -> Option<[u32; WEEK_HOURS]> {
    let mut most = [None; WEEK_HOURS];
    for (at, bucket) in timeline.buckets.iter().enumerate() {
        let Some(load) = bucket.demand.and_then(|demand| demand.load) else {
            continue;
        };
        let clock = making.zone.clock(timeline.start_ms + at as i64 * BUCKET_MS);
        let slot = clock.weekday as usize * 24 + clock.hour as usize;
        let needed = (load / making.headroom - 1e-9).ceil().clamp(0.0, 1e5) as u32;
        most[slot] = most[slot].max(Some(needed));
    }
    let highest = most.iter().flatten().max().copied()?;
    // An hour that nobody knows may need as much as any.
    Some(most.map(|needed| needed.unwrap_or(highest).max(1)))
}

/// Stretches of the week, which has no end, as `(first hour, hours)`; dips within are filled.
fn stretches(is_in: impl Fn(usize) -> bool) -> Vec<(usize, usize)> {
    let mut marks: Vec<bool> = (0..WEEK_HOURS).map(&is_in).collect();
    let Some(origin) =
        (0..WEEK_HOURS).find(|at| marks[*at] && !marks[(at + WEEK_HOURS - 1) % WEEK_HOURS])
    else {
        return Vec::new();
    };
    let mut gap = 0;
    for step in 1..=WEEK_HOURS {
        let at = (origin + step) % WEEK_HOURS;
        if !marks[at] {
            gap += 1;
            continue;
        }
        if gap > 0 && gap < DIP_HOURS {
            for back in 1..=gap {
                marks[(at + WEEK_HOURS - back) % WEEK_HOURS] = true;
            }
        }
        gap = 0;
    }
    let mut found: Vec<(usize, usize)> = Vec::new();
    for step in 0..WEEK_HOURS {
        let at = (origin + step) % WEEK_HOURS;
        match (marks[at], found.last_mut()) {
            (true, Some((first, hours))) if (*first + *hours) % WEEK_HOURS == at => *hours += 1,
            (true, _) => found.push((at, 1)),
            (false, _) => {}
        }
    }
    found
}

/// Cron's five fields of a minute of the week, on several days.
fn fields(minute_of_day: usize, days: &[usize]) -> String {
    let mut days = days.to_vec();
    days.sort_unstable();
    days.dedup();
    let is_run = days.len() > 2 && days.windows(2).all(|pair| pair[1] == pair[0] + 1);
    let days = match days.as_slice() {
        all if all.len() == 7 => "*".to_owned(),
        [first, .., last] if is_run => format!("{first}-{last}"),
        some => some
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(","),
    };
    format!("{} {} * * {days}", minute_of_day % 60, minute_of_day / 60)
}

/// The weekly rhythm of a timeline's demand.
pub fn weekly(timeline: &Timeline, making: &Making) -> Result<Schedule, SpecError> {
    let needs = needs(timeline, making).ok_or_else(|| SpecError::Missing {
        field: "the capacity of a replica".to_owned(),
        why: "without it nothing says how many an hour needs".to_owned(),
    })?;
    let base = needs.iter().min().copied().unwrap_or(1);
    let most = needs.iter().max().copied().unwrap_or(1);
    // Up before the hour begins, but never before the stretch that ends an hour earlier.
    let lead = (making.startup_ms as usize).div_ceil(60_000).min(59);
    let mut entries = Vec::new();
    for replicas in base + 1..=most {
        // Stretches of one rhythm are one entry on several days.
        let mut alike: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
        for (first, hours) in stretches(|at| needs[at] >= replicas) {
            alike
                .entry((first % 24, hours))
                .or_default()
                .push(first / 24);
        }
        for ((hour, hours), days) in alike {
            let (before, start) = match (hour * 60).checked_sub(lead) {
                Some(start) => (0, start),
                None => (1, hour * 60 + 1440 - lead),
            };
            let end = hour + hours;
            let shifted = |by: usize| days.iter().map(|day| (day + by) % 7).collect::<Vec<_>>();
            entries.push(Entry {
                start: fields(start, &shifted(7 - before)),
                end: fields(end % 24 * 60, &shifted(end / 24)),
                replicas,
            });
            if entries.len() > ENTRIES_MAX {
                return Err(SpecError::Unsupported {
                    what: "a weekly schedule of this demand".to_owned(),
                    why: format!(
                        "it would need more than {ENTRIES_MAX} entries: there is no rhythm in it"
                    ),
                });
            }
        }
    }
    Ok(Schedule {
        base,
        entries,
        zone: making.zone,
    })
}

impl Schedule {
    /// The schedule beside what scales today: the larger of both counts, as KEDA takes it.
    pub fn beside(&self, present: Option<&Spec>) -> Result<Spec, SpecError> {
        let bad = |entry: &Entry| SpecError::Bad {
            field: "a schedule".to_owned(),
            value: format!("{} to {}", entry.start, entry.end),
            why: "cron does not take it".to_owned(),
        };
        let mut triggers = Vec::new();
        for entry in &self.entries {
            let schedule = |text: &str| Cron::parse(text).ok_or_else(|| bad(entry));
            triggers.push(Trigger {
                source: Source::Cron {
                    between: Between {
                        start: schedule(&entry.start)?,
                        end: schedule(&entry.end)?,
                        zone: self.zone,
                    },
                    replicas: entry.replicas,
                },
                target: Target::ExternalAverage(1.0),
                activation: 0.0,
                activates: true,
            });
        }
        let (mut up, mut down) = (Rules::up(), Rules::down());
        match present {
            Some(Spec::Keda(spec)) => {
                triggers.extend(spec.triggers.iter().cloned());
                (up, down) = (spec.up.clone(), spec.down.clone());
            }
            Some(Spec::Hpa(spec)) => {
                triggers.extend(spec.metrics.iter().map(|metric| Trigger {
                    source: Source::Metric {
                        reading: metric.reading,
                        nulls_are_zero: false,
                    },
                    target: match metric.target {
                        // KEDA has no metrics of pods: a sum with a mean target is the same.
                        Target::PodsAverage(value) => Target::ExternalAverage(value),
                        target => target,
                    },
                    activation: 0.0,
                    activates: false,
                }));
                (up, down) = (spec.up.clone(), spec.down.clone());
            }
            Some(Spec::Fixed { .. } | Spec::Knative(_)) | None => {}
        }
        let most = self.entries.iter().map(|entry| entry.replicas).max();
        let bound = present.map_or(0, |spec| match spec {
            Spec::Hpa(_) | Spec::Keda(_) => spec.bounds().1,
            _ => 0,
        });
        Ok(Spec::Keda(KedaSpec {
            min: self.base,
            max: most.unwrap_or(self.base).max(bound).max(self.base),
            idle: None,
            polling_ms: POLLING_MS,
            cooldown_ms: COOLDOWN_MS,
            triggers,
            up,
            down,
        }))
    }

    /// As people read it.
    #[must_use]
    pub fn text(&self) -> String {
        let each = self.entries.iter().map(|entry| {
            format!(
                "{} from `{}` to `{}`",
                entry.replicas, entry.start, entry.end
            )
        });
        let parts: Vec<String> = std::iter::once(format!("{} at any time", self.base))
            .chain(each)
            .collect();
        format!(
            "replicas by the week ({}): {}",
            self.zone.name(),
            parts.join("; ")
        )
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
