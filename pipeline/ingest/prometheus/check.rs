//! Owns the check of what remote read brought against the server's own count: which names are
//! asked for in the time that a check may take, and what the answers mean. Called by the driver
//! through `SampleSource`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::client::RemoteSource;
use super::{Matcher, SeriesSamples};
use crate::model::TimeWindow;

/// One name's series and samples, stale markers left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NameCount {
    pub series: u64,
    pub samples: u64,
}

/// What one read brought, by metric name, up to `end_ms`: later samples may still be on their way.
#[derive(Debug, Clone, Default)]
pub struct ReadCounts {
    pub end_ms: i64,
    pub names: BTreeMap<String, NameCount>,
}

impl ReadCounts {
    #[must_use]
    pub fn until(end_ms: i64) -> Self {
        Self {
            end_ms,
            names: BTreeMap::new(),
        }
    }

    pub fn add(&mut self, series: &SeriesSamples) {
        let floats = series.samples.iter();
        let floats = floats.take_while(|s| s.ts_ms < self.end_ms);
        let floats = floats.filter(|s| !s.is_stale()).count();
        let histograms = series.histograms.iter();
        let histograms = histograms.take_while(|h| h.ts_ms < self.end_ms);
        let histograms = histograms.filter(|h| !h.is_stale()).count();
        let name = series.labels.name();
        if !self.names.contains_key(name) {
            self.names.insert(name.to_owned(), NameCount::default());
        }
        if let Some(count) = self.names.get_mut(name) {
            count.series += 1;
            count.samples += (floats + histograms) as u64;
        }
    }
}

/// What the comparison showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CountCheck {
    /// `checked` of `names` were compared, and all were equal.
    Equal { checked: usize, names: usize },
    /// They differ in a way that loses nothing: the source has less than was read, or a server
    /// with closed ranges has one more a series.
    Differs { server: u64, read: u64 },
    /// The server has samples that were not read.
    Short {
        name: String,
        server: u64,
        read: u64,
    },
    /// Nothing could be compared.
    NotChecked(String),
}

impl CountCheck {
    /// The two of a window's reads as one: the worse holds, and names add up.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (
                Self::Equal { checked, names },
                Self::Equal {
                    checked: more,
                    names: of,
                },
            ) => Self::Equal {
                checked: checked + more,
                names: names + of,
            },
            (one @ Self::Short { .. }, _) | (_, one @ Self::Short { .. }) => one,
            (
                Self::Differs { server, read },
                Self::Differs {
                    server: more,
                    read: of,
                },
            ) => Self::Differs {
                server: server + more,
                read: read + of,
            },
            (one @ Self::Differs { .. }, _) | (_, one @ Self::Differs { .. }) => one,
            (Self::NotChecked(_), one) => one,
            (one, Self::NotChecked(_)) => one,
        }
    }
}

impl std::fmt::Display for CountCheck {
    /// As `ingest_windows.count_check` has it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Equal { checked, names } if checked == names => f.write_str("equal"),
            Self::Equal { checked, names } => write!(f, "equal ({checked} of {names} metrics)"),
            Self::Differs { server, read } | Self::Short { server, read, .. } => {
                write!(f, "server {server}, read {read}")
            }
            Self::NotChecked(why) => write!(f, "not-checked: {why}"),
        }
    }
}

impl RemoteSource {
    /// Asks for as many names as the budget allows, those first of which nothing was read. Which of
    /// the others are asked for depends on the window, so that over the days each has its turn.
    pub(super) async fn check_counts(
        &self,
        matchers: &[Matcher],
        window: TimeWindow,
        read: &ReadCounts,
        budget: Duration,
    ) -> CountCheck {
        let window = TimeWindow::new(window.start_ms, window.end_ms.min(read.end_ms));
        if window.start_ms >= window.end_ms {
            return CountCheck::NotChecked("the window's samples are still arriving".to_owned());
        }
        let began = Instant::now();
        let mut found = CountCheck::Equal {
            checked: 0,
            names: read.names.len(),
        };
        let Ok(asked) = tokio::time::timeout(budget, self.turn(matchers, window, read)).await
        else {
            return CountCheck::NotChecked("the server is slow to list its names".to_owned());
        };
        for name in asked {
            let left = budget.saturating_sub(began.elapsed());
            let counted = tokio::time::timeout(left, self.count(&name, matchers, window)).await;
            let server = match counted {
                Ok(Ok(server)) => server,
                // Out of time, or a server that cannot answer: what was compared stands.
                Err(_) => break,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "the count check ends early");
                    return match found {
                        CountCheck::Equal { checked: 0, .. } => {
                            CountCheck::NotChecked("the server does not count".to_owned())
                        }
                        other => other,
                    };
                }
            };
            let ours = read.names.get(&name).copied().unwrap_or_default();
            let closed = self.closed_ranges.get().copied().unwrap_or(false);
            let one = compare(&name, server, ours, closed);
            if matches!(one, CountCheck::Short { .. }) {
                return one;
            }
            found = found.and(one);
        }
        match found {
            CountCheck::Equal { checked: 0, names } if names > 0 => {
                CountCheck::NotChecked("the server is slow to count".to_owned())
            }
            other => other,
        }
    }

    async fn turn(
        &self,
        matchers: &[Matcher],
        window: TimeWindow,
        read: &ReadCounts,
    ) -> Vec<String> {
        // A list that the server does not give only means that its other names are not asked for.
        let listed = self.names(matchers, window).await.unwrap_or_default();
        let mut asked: Vec<String> = listed
            .into_iter()
            .filter(|name| !read.names.contains_key(name))
            .collect();
        let mut names: Vec<&String> = read.names.keys().collect();
        if !names.is_empty() {
            let width = (window.end_ms - window.start_ms).max(1);
            let turn = window.start_ms.div_euclid(width).unsigned_abs() as usize;
            let by = turn.wrapping_mul(7) % names.len();
            names.rotate_left(by);
        }
        asked.extend(names.into_iter().cloned());
        asked
    }
}

fn compare(name: &str, server: u64, ours: NameCount, closed_ranges: bool) -> CountCheck {
    let read = ours.samples;
    let artefact = if closed_ranges { ours.series } else { 0 };
    if server == read {
        // A name of which there is nothing on either side is not among those that were read.
        let checked = usize::from(ours != NameCount::default());
        CountCheck::Equal { checked, names: 0 }
    } else if server > read + artefact {
        CountCheck::Short {
            name: name.to_owned(),
            server,
            read,
        }
    } else {
        CountCheck::Differs { server, read }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_mean() {
        let ours = NameCount {
            series: 2,
            samples: 10,
        };
        let text = |server, closed| compare("a", server, ours, closed).to_string();
        assert_eq!(
            compare("a", 10, ours, false),
            CountCheck::Equal {
                checked: 1,
                names: 0
            }
        );
        assert_eq!(text(9, false), "server 9, read 10");
        assert!(matches!(
            compare("a", 11, ours, false),
            CountCheck::Short { .. }
        ));
        assert!(matches!(
            compare("a", 12, ours, true),
            CountCheck::Differs { .. }
        ));
        assert!(matches!(
            compare("a", 13, ours, true),
            CountCheck::Short { .. }
        ));
    }

    #[test]
    fn reads_add_up_and_the_worse_holds() {
        let equal = |checked, names| CountCheck::Equal { checked, names };
        let differs = CountCheck::Differs { server: 3, read: 4 };
        let short = CountCheck::Short {
            name: "a".to_owned(),
            server: 9,
            read: 1,
        };
        let none = CountCheck::NotChecked("why".to_owned());
        assert_eq!(equal(2, 2).and(equal(1, 1)).to_string(), "equal");
        assert_eq!(
            equal(2, 2).and(equal(1, 4)).to_string(),
            "equal (3 of 6 metrics)"
        );
        assert_eq!(equal(2, 2).and(differs.clone()), differs);
        assert_eq!(short.clone().and(differs), short);
        assert_eq!(none.clone().and(equal(1, 1)), equal(1, 1));
        assert_eq!(none.clone().and(none).to_string(), "not-checked: why");
    }
}
