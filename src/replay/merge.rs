//! The readings of one session in order of time, out of runs that are each in order: a trial, a sensor's file.
//!
//! - Every reading of every run appears exactly once, in order of time; ties keep the order of runs, then of readings.
//! - A run is opened when its first reading is due, so that only the runs under way are open.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use anyhow::{Context, bail};

use super::reading::Reading;

/// Readings as they are read from a file; after an error there is nothing to be had.
pub(super) type Readings = Box<dyn Iterator<Item = anyhow::Result<Reading>> + Send>;

/// What reading a run once has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Survey {
    /// How many readings.
    pub(super) readings: u64,
    /// The least time.
    pub(super) first: i64,
    /// Whether times never go back.
    pub(super) in_order: bool,
}

/// Reads a run to its end; none if it is empty.
pub(super) fn survey(readings: impl Iterator<Item = anyhow::Result<Reading>>) -> anyhow::Result<Option<Survey>> {
    let mut survey: Option<Survey> = None;
    let mut before = i64::MIN;
    for reading in readings {
        let time = reading?.time;
        let seen = survey.get_or_insert(Survey { readings: 0, first: time, in_order: true });
        seen.readings += 1;
        seen.first = seen.first.min(time);
        seen.in_order &= time >= before;
        before = time;
    }
    Ok(survey)
}

/// Readings that can be opened.
pub(super) struct Run {
    survey: Survey,
    open: Box<dyn FnOnce() -> anyhow::Result<Readings> + Send>,
}

impl Run {
    /// A run that `open` opens. Unless its survey found it in order it is sorted in memory when it is opened.
    pub(super) fn new(survey: Survey, open: impl FnOnce() -> anyhow::Result<Readings> + Send + 'static) -> Self {
        Self { survey, open: Box::new(open) }
    }

    /// How many readings it holds.
    pub(super) fn readings(&self) -> u64 {
        self.survey.readings
    }

    fn open(self) -> anyhow::Result<Readings> {
        let readings = (self.open)()?;
        if self.survey.in_order {
            return Ok(readings);
        }
        let mut sorted = readings.collect::<anyhow::Result<Vec<_>>>()?;
        sorted.sort_by_key(|reading| reading.time);
        Ok(Box::new(sorted.into_iter().map(Ok)))
    }
}

/// The readings of several runs.
pub(super) struct Merge {
    waiting: BinaryHeap<Reverse<(i64, usize)>>,
    runs: Vec<State>,
}

enum State {
    Closed(Run),
    Open { head: Reading, rest: Readings },
    Ended,
}

impl Merge {
    /// The readings of `runs`.
    pub(super) fn new(runs: Vec<Run>) -> Self {
        let waiting = runs.iter().enumerate().map(|(index, run)| Reverse((run.survey.first, index))).collect();
        Self { waiting, runs: runs.into_iter().map(State::Closed).collect() }
    }

    fn step(&mut self, time: i64, index: usize) -> anyhow::Result<Reading> {
        let (reading, mut rest) = match std::mem::replace(&mut self.runs[index], State::Ended) {
            State::Open { head, rest } => (head, rest),
            State::Closed(run) => {
                let mut rest = run.open()?;
                (rest.next().context("a file is empty that was not before")??, rest)
            }
            State::Ended => bail!("a run was read beyond its end"),
        };
        if reading.time != time {
            bail!("a file has changed since it was looked at");
        }
        if let Some(head) = rest.next().transpose()? {
            if head.time < time {
                bail!("a file has changed since it was looked at");
            }
            self.waiting.push(Reverse((head.time, index)));
            self.runs[index] = State::Open { head, rest };
        }
        Ok(reading)
    }
}

impl Iterator for Merge {
    type Item = anyhow::Result<Reading>;
    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((time, index)) = self.waiting.pop()?;
        Some(self.step(time, index).inspect_err(|_| self.waiting.clear()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(readings: Vec<Reading>) -> Option<Run> {
        let survey = survey(readings.iter().cloned().map(Ok)).unwrap()?;
        Some(Run::new(survey, move || Ok(Box::new(readings.into_iter().map(Ok)))))
    }

    fn named(run: usize, times: &[i64]) -> Vec<Reading> {
        times.iter().enumerate().map(|(n, t)| Reading { time: *t, json: format!("{run}/{n}") }).collect()
    }

    proptest! {
        #[test]
        fn every_reading_appears_exactly_once_in_order_of_time(
            runs in prop::collection::vec((any::<bool>(), prop::collection::vec(-5i64..50, 0..40)), 0..6),
        ) {
            let mut expected = Vec::new();
            let mut opened = Vec::new();
            for (index, (sort, mut times)) in runs.into_iter().enumerate() {
                if sort {
                    times.sort_unstable();
                }
                let readings = named(index, &times);
                expected.extend(readings.iter().cloned());
                opened.extend(run(readings));
            }
            expected.sort_by_key(|reading| reading.time);
            let total: u64 = opened.iter().map(Run::readings).sum();
            prop_assert_eq!(total, expected.len() as u64);
            let merged: Vec<_> = Merge::new(opened).map(Result::unwrap).collect();
            prop_assert_eq!(merged, expected);
        }
    }

    #[test]
    fn only_the_runs_under_way_are_open() {
        let never = Survey { readings: 1, first: 10, in_order: true };
        let late = Run::new(never, || bail!("opened too early"));
        let early = run(named(0, &[1, 2, 3])).unwrap();
        let results: Vec<_> = Merge::new(vec![late, early]).collect();
        assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 3);
        assert_eq!(results[3].as_ref().unwrap_err().to_string(), "opened too early");
    }

    #[test]
    fn nothing_follows_an_error() {
        let survey = Survey { readings: 9, first: 1, in_order: true };
        let broken = Run::new(survey, || {
            let reading = |time| Ok(Reading { time, json: String::new() });
            Ok(Box::new(vec![reading(1), reading(5), reading(4), reading(6)].into_iter()))
        });
        let results: Vec<_> = Merge::new(vec![broken]).collect();
        assert_eq!(results.len(), 2);
        assert!(results[1].is_err());
    }
}
