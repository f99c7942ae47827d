//! The windows of one set of parameters: those that start after one time, up to another.
//!
//! - A pane is kept while a window that holds it is open, and only if it has readings.
//! - A window is told when the watermark reaches its end, and never again: later readings are left out of it.
//! - The session's rate is estimated from its own panes alone, so it survives a restart and a burst.

use std::collections::VecDeque;

use gaitway_proto::activity::Window;
use serde::{Deserialize, Serialize};

use super::message::{Panes, Sum};
use super::params::{Params, SECOND};

/// Panes whose counts tell the session's rate: the last ones with readings. Their third quartile is neither raised by a
/// burst in fewer than a quarter of them nor lowered by gaps in half of them.
pub const RATE_PANES: usize = 16;

/// Readings a second that every session is taken to have at least; the slowest recordings behind the classifier have 20.
pub const SLOWEST: i64 = 10;

/// How far a session has come. What was not seen yet is below everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Greatest eligible time, ns.
    pub(super) greatest: Option<i64>,
    /// What silence raised the watermark to, ns.
    pub(super) floor: Option<i64>,
}

/// Windows with a start in (`after`, `until`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Generation {
    pub(super) params: Params,
    pub(super) after: Option<i64>,
    pub(super) until: Option<i64>,
    pub(super) panes: Panes,
    /// Counts of the last panes that were dropped, oldest first.
    pub(super) former: VecDeque<u64>,
}

impl Generation {
    pub(super) fn new(params: Params, after: Option<i64>) -> Self {
        Self { params, after, until: None, panes: Panes::new(), former: VecDeque::new() }
    }

    /// Windows with an end at or below it are closed.
    pub(super) fn watermark(&self, progress: Progress) -> Option<i64> {
        progress.floor.max(progress.greatest.map(|time| time - self.params.lateness()))
    }

    /// Whether readings of the pane at `time` are late for a window of this generation.
    pub(super) fn leaves_out(&self, time: i64, progress: Progress) -> bool {
        let pane = self.params.align(time);
        let oldest = pane - self.params.window() + self.params.slide();
        let oldest = self.first_start_after(self.after).map_or(oldest, |first| first.max(oldest));
        let exists = oldest <= pane && self.until.is_none_or(|until| oldest <= until);
        exists && Some(oldest + self.params.window()) <= self.watermark(progress)
    }

    /// Adds readings to the panes that an open window still holds.
    pub(super) fn add(&mut self, panes: &Panes, progress: Progress) {
        for (&time, &sum) in panes {
            let pane = self.params.align(time);
            if self.is_needed(pane, progress) {
                let kept = self.panes.entry(pane).or_default();
                *kept = kept.plus(sum);
            }
        }
    }

    /// Windows with readings and an end above `before`'s watermark, up to and with `up_to`.
    pub(super) fn windows(&self, before: Progress, up_to: i64) -> Vec<Window> {
        let (window, slide) = (self.params.window(), self.params.slide());
        let mut found = Vec::new();
        let Some((&first_pane, _)) = self.panes.first_key_value() else { return found };
        let per_pane = self.readings_per_pane();
        let ended = self.watermark(before).map(|time| time - window);
        let mut start = self.first_start_after(self.after.max(ended)).unwrap_or(first_pane - window + slide);
        while let Some((&pane, _)) = self.panes.range(start..).next() {
            start = start.max(pane - window + slide);
            if start + window > up_to || self.until.is_some_and(|until| start > until) {
                break;
            }
            let sum = self.panes.range(start..start + window).fold(Sum::default(), |sum, (_, pane)| sum.plus(*pane));
            found.push(self.classified(start, sum, per_pane));
            start += slide;
        }
        found
    }

    /// How far readings go through the slide that ends at `end`, ns; its pane is still kept.
    pub(super) fn covered(&self, end: i64, progress: Progress) -> i64 {
        let slide = self.params.slide();
        let read = progress.greatest.filter(|_| self.panes.contains_key(&(end - slide)));
        read.map_or(0, |greatest| (greatest - (end - slide)).clamp(0, slide))
    }

    /// Forgets panes that no open window holds.
    pub(super) fn drop_panes(&mut self, progress: Progress) {
        while let Some((&pane, &sum)) = self.panes.first_key_value() {
            if self.is_needed(pane, progress) {
                break;
            }
            self.panes.pop_first();
            if self.former.len() == RATE_PANES {
                self.former.pop_front();
            }
            self.former.push_back(sum.count);
        }
    }

    /// Whether no window of it can be open any more.
    pub(super) fn is_spent(&self, progress: Progress) -> bool {
        self.until.is_some_and(|until| {
            let last = self.params.align(until);
            Some(last) <= self.after || Some(last + self.params.window()) <= self.watermark(progress)
        })
    }

    /// Whether an open window holds the pane: the youngest one that could decides.
    fn is_needed(&self, pane: i64, progress: Progress) -> bool {
        let youngest = self.until.map_or(pane, |until| pane.min(self.params.align(until)));
        youngest + self.params.window() > pane
            && Some(youngest) > self.after
            && Some(youngest + self.params.window()) > self.watermark(progress)
    }

    /// Start of the first window that starts after `time`.
    fn first_start_after(&self, time: Option<i64>) -> Option<i64> {
        time.map(|time| self.params.align(time) + self.params.slide())
    }

    fn classified(&self, start: i64, sum: Sum, per_pane: u64) -> Window {
        let classifier = self.params.classifier();
        let mean = sum.total / sum.count as f64;
        let panes = self.params.window() / self.params.slide();
        let fill = (sum.count as f64 / (per_pane as f64 * panes as f64)).min(1.0);
        Window {
            start,
            end: start + self.params.window(),
            count: sum.count,
            mean,
            activity: classifier.label(mean),
            confidence: classifier.confidence(mean, fill),
            revision: 0,
        }
    }

    /// The session's rate: third quartile of the counts of its last panes with readings, but at least [`SLOWEST`]: a
    /// lonely reading is not the whole of a slow session's window.
    fn readings_per_pane(&self) -> u64 {
        let open = self.panes.values().rev().map(|sum| sum.count);
        let mut counts: Vec<u64> = open.chain(self.former.iter().rev().copied()).take(RATE_PANES).collect();
        counts.sort_unstable();
        let rate = (counts.len() * 3).div_ceil(4).checked_sub(1).map_or(0, |quartile| counts[quartile]);
        rate.max((SLOWEST * self.params.slide() / SECOND).unsigned_abs()).max(1)
    }
}
