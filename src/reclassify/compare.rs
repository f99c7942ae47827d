//! Windows computed anew against those that a warehouse has: what is to be written, and why.
//!
//! - A window's latest revision counts; a revision is written only where something of it differs.
//! - Where the readings of a window are not in the warehouse, or not all of them, its stored mean decides: the label is
//!   exact, the confidence takes the session's rate from the sample counts of the windows around it.
//! - Behind a place from which readings are missing the rate is not known for sure: a window that differs in its confidence
//!   alone is left as it is there.
//! - A window that silence alone would close is compared where the warehouse has it, and else left to the agent.
//! - Windows of another length are left alone.
//! - What was written is not different the next time.

use std::rc::Rc;

use gaitway_agent::classify::Threshold;
use gaitway_agent::windows::{Params, RATE_PANES, SLOWEST};
use gaitway_proto::activity::Window;

use super::recompute::Recomputed;

/// Numbers that differ by less are the same.
const TOLERANCE: f64 = 1e-9;

const SECOND: i64 = 1_000_000_000;

/// A row of the table of windows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) agent: Option<Rc<str>>,
    /// Nanoseconds since the Unix epoch.
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) count: Option<u64>,
    pub(crate) mean: Option<f64>,
    pub(crate) confidence: Option<f64>,
    pub(crate) activity: Option<Rc<str>>,
    pub(crate) classifier: Option<Rc<str>>,
    pub(crate) revision: u32,
}

/// A window as its agent, or the last reclassification of it, told it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Told {
    row: Row,
    /// The highest revision of any agent.
    highest: u32,
}

impl Told {
    pub(crate) fn activity(&self) -> &str {
        self.row.activity.as_deref().unwrap_or("(none)")
    }
}

/// The latest revisions that `agent` told, of a session's `rows`, which are in order of their start; of equal ones the first.
pub(crate) fn latest(rows: &[Row], agent: Option<&str>) -> Vec<Told> {
    let of_window = rows.chunk_by(|one, next| one.start == next.start);
    let latest = of_window.filter_map(|rows| {
        let highest = rows.iter().map(|row| row.revision).max()?;
        let of_agent = rows.iter().filter(|row| row.agent.as_deref() == agent);
        let row = of_agent.reduce(|best, row| if row.revision > best.revision { row } else { best })?;
        Some(Told { row: row.clone(), highest })
    });
    latest.collect()
}

/// From what a revision was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Basis {
    Readings,
    StoredMean,
}

/// A revision that is to be written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    /// What the warehouse has; none if it has nothing.
    pub(crate) old: Option<Told>,
    /// Its revision is the next one.
    pub(crate) new: Window,
    pub(crate) basis: Basis,
}

impl Change {
    /// Whether mean or count differ: the label's rule is not all that does.
    pub(crate) fn is_measured_anew(&self) -> bool {
        self.old.as_ref().is_some_and(|old| !is_measured_alike(&old.row, &self.new))
    }

    /// Whether people read another label.
    pub(crate) fn is_relabelled(&self) -> bool {
        self.old.as_ref().is_some_and(|old| old.activity() != self.new.activity.as_str())
    }
}

/// How a session's windows compare.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Outcome {
    /// Windows that were compared or are new.
    pub(crate) windows: u64,
    /// In order of their start.
    pub(crate) changes: Vec<Change>,
    /// Windows that could be judged by their stored mean alone.
    pub(crate) by_mean: u64,
    /// Of these, windows in which readings lie of which none should count.
    pub(crate) only_there: u64,
    /// Windows that the agent has yet to close.
    pub(crate) open: u64,
    /// Windows of another length, or without what is needed.
    pub(crate) other: u64,
}

/// What is new in `recomputed` against what was `told`; of windows that end in `span` (start inclusive) alone.
pub(crate) fn compare(recomputed: &Recomputed, told: &[Told], params: &Params, span: &std::ops::Range<i64>) -> Outcome {
    let rule = params.classifier();
    let comparison = Comparison { recomputed, told, params, rule, name: rule.name() };
    let mut outcome = Outcome::default();
    // Up to where readings are known to be missing.
    let mut missing: Option<i64> = None;
    let (mut next_told, mut next_new) = (0, 0);
    let closed = recomputed.closed.len();
    let new_at = |at: usize| recomputed.closed.get(at).or_else(|| recomputed.open.get(at.checked_sub(closed)?));
    loop {
        let (old, new) = (told.get(next_told), new_at(next_new));
        let start = match (old, new) {
            (None, None) => return outcome,
            (Some(old), None) => old.row.start,
            (None, Some(new)) => new.start,
            (Some(old), Some(new)) => old.row.start.min(new.start),
        };
        let (old, new) = (old.filter(|old| old.row.start == start), new.filter(|new| new.start == start));
        let (place, is_open) = (next_told, next_new >= closed);
        next_told += usize::from(old.is_some());
        next_new += usize::from(new.is_some());
        if let Some(old) = old
            && new.is_none_or(|new| Some(new.count) < old.row.count)
        {
            missing = missing.max(Some(old.row.end));
        }
        if !span.contains(&old.map_or(start + params.window(), |old| old.row.end)) {
            continue;
        }
        match (old, new) {
            (None, Some(_)) if is_open => outcome.open += 1,
            (None, Some(new)) => {
                outcome.windows += 1;
                let new = Window { revision: 1, ..new.clone() };
                outcome.changes.push(Change { old: None, new, basis: Basis::Readings });
            }
            (Some(old), _) if !comparison.is_comparable(old) => outcome.other += 1,
            (Some(old), Some(new)) if Some(new.count) >= old.row.count => {
                outcome.windows += 1;
                let new = Window { revision: old.highest.saturating_add(1), ..new.clone() };
                if comparison.differs(old, &new) && !comparison.is_doubtful(old, &new, missing) {
                    outcome.changes.push(Change { old: Some(old.clone()), new, basis: Basis::Readings });
                }
            }
            (Some(old), new) => {
                outcome.windows += 1;
                outcome.by_mean += 1;
                outcome.only_there += u64::from(new.is_none() && comparison.has_readings(start));
                if let Some(new) = comparison.by_mean(place)
                    && comparison.differs(old, &new)
                {
                    outcome.changes.push(Change { old: Some(old.clone()), new, basis: Basis::StoredMean });
                }
            }
            (None, None) => {}
        }
    }
}

struct Comparison<'a> {
    recomputed: &'a Recomputed,
    told: &'a [Told],
    params: &'a Params,
    rule: Threshold,
    name: String,
}

impl Comparison<'_> {
    fn is_comparable(&self, Told { row, .. }: &Told) -> bool {
        let is_whole = row.count.is_some() && row.mean.is_some_and(|mean| mean.is_finite() && mean >= 0.0);
        row.end - row.start == self.params.window() && is_whole
    }

    fn differs(&self, Told { row, .. }: &Told, new: &Window) -> bool {
        !is_measured_alike(row, new)
            || row.activity.as_deref() != Some(new.activity.as_str())
            || row.classifier.as_deref() != Some(&*self.name)
            || row.confidence.is_none_or(|confidence| !is_near(confidence, new.confidence))
    }

    /// Whether all that differs is a confidence whose rate may have been another one.
    fn is_doubtful(&self, Told { row, .. }: &Told, new: &Window, missing: Option<i64>) -> bool {
        let is_labelled_alike = row.activity.as_deref() == Some(new.activity.as_str())
            && row.classifier.as_deref() == Some(&*self.name)
            && row.confidence.is_some();
        let slides = &self.recomputed.slides;
        let seen = |missing: i64| {
            let from = slides.partition_point(|slide| *slide < missing);
            slides.partition_point(|slide| *slide < new.end).saturating_sub(from)
        };
        is_labelled_alike && is_measured_alike(row, new) && missing.is_some_and(|missing| seen(missing) < RATE_PANES)
    }

    fn has_readings(&self, start: i64) -> bool {
        let slides = &self.recomputed.slides;
        let first = slides.partition_point(|slide| *slide < start);
        slides.get(first).is_some_and(|slide| *slide < start + self.params.window())
    }

    /// The stored window at `place` with the label of its mean; none where its rule is the one asked for: then nothing is
    /// known better.
    fn by_mean(&self, place: usize) -> Option<Window> {
        let Told { row, highest } = &self.told[place];
        if row.classifier.as_deref() == Some(&*self.name) {
            return None;
        }
        let (mean, count) = (row.mean?, row.count?);
        let around = place.saturating_sub(RATE_PANES / 2)..(place + RATE_PANES / 2 + 1).min(self.told.len());
        let counts = self.told[around].iter().filter_map(|told| told.row.count);
        Some(Window {
            start: row.start,
            end: row.end,
            count,
            mean,
            activity: self.rule.label(mean),
            confidence: self.rule.confidence(mean, fill(count, counts, self.params.window())),
            revision: highest.saturating_add(1),
        })
    }
}

/// The share of a window's readings that it has, by the counts of the windows around it: third quartile, as the agent takes
/// it from slides, and no fewer than a slow session's. `window` is its length, ns.
pub(crate) fn fill(count: u64, around: impl Iterator<Item = u64>, window: i64) -> f64 {
    let mut counts: Vec<u64> = around.collect();
    counts.sort_unstable();
    let rate = (counts.len() * 3).div_ceil(4).checked_sub(1).map_or(0, |quartile| counts[quartile]);
    let full = rate.max((SLOWEST * window / SECOND).unsigned_abs()).max(1);
    (count as f64 / full as f64).min(1.0)
}

fn is_measured_alike(row: &Row, new: &Window) -> bool {
    row.count == Some(new.count) && row.mean.is_some_and(|mean| is_near(mean, new.mean))
}

/// Whether two numbers are the same, relative to the greater.
fn is_near(a: f64, b: f64) -> bool {
    (a - b).abs() <= TOLERANCE * a.abs().max(b.abs())
}

#[cfg(test)]
mod tests;
