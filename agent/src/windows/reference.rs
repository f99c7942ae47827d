//! The windows of one session straight from their definition: every window keeps its readings until it is told.
//!
//! For tests only: it has no panes, forgets no parameters and is durable nowhere. Messages go in as they were
//! committed, silence where it fell; [`Reference::told`] has every window told so far.

use std::collections::BTreeMap;

use gaitway_proto::activity::Window;

use super::{Batch, Closed, LetGo, Observed, Params, Sample, event_time, is_usable_time};

const MINUTE: i64 = 60_000_000_000;
const HOUR: i64 = 60 * MINUTE;

/// The definition, played through.
#[derive(Debug, Default)]
pub struct Reference {
    greatest: Option<i64>,
    floor: Option<i64>,
    rules: Vec<Rule>,
    /// Readings' magnitudes by the start of their window.
    open: BTreeMap<i64, Vec<f64>>,
    held: Option<Held>,
    epoch: Option<u64>,
    joined: Option<u64>,
    inherited_until: Option<i64>,
    let_go_until: Option<i64>,
    told: Vec<Closed>,
}

/// Parameters of the windows that start after a time, until the next rule's.
#[derive(Debug)]
struct Rule {
    params: Params,
    after: Option<i64>,
    /// Readings per pane that some window took.
    counts: BTreeMap<i64, u64>,
}

#[derive(Debug)]
struct Held {
    params: Params,
    median: i64,
    samples: Vec<Sample>,
    inherited: bool,
}

impl Reference {
    /// A session without a message.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every window told so far, in the order of telling.
    pub fn told(&self) -> &[Closed] {
        &self.told
    }

    /// Whether silence would tell a window.
    pub fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// See [`SessionWindows::begin_epoch`](super::SessionWindows::begin_epoch).
    pub fn begin_epoch(&mut self, ordinal: u64) {
        if self.epoch != Some(ordinal) {
            self.epoch = Some(ordinal);
            self.inherited_until = self.greatest;
            if let Some(held) = &mut self.held {
                held.inherited = true;
            }
        }
    }

    /// See [`SessionWindows::observe`](super::SessionWindows::observe).
    pub fn observe(&mut self, params: &Params, batch: &Batch<'_>) -> Observed {
        let mut observed = Observed::default();
        let (mut samples, unusable): (Vec<Sample>, Vec<Sample>) =
            batch.samples.iter().copied().partition(Sample::is_usable);
        for sample in &mut samples {
            sample.time = event_time(sample.time);
        }
        observed.unusable = unusable.len() as u64;
        let stated = batch.median_time.filter(|time| is_usable_time(*time)).map(event_time);
        let Some(median) = stated.or_else(|| median(&samples)) else { return observed };
        observed.wild += keep(&mut samples, |time| time <= median + MINUTE);
        let Some(middle) = self::median(&samples) else { return observed };

        let jumps = self.greatest.is_some_and(|greatest| median > greatest + HOUR);
        if jumps || self.greatest.is_none() {
            observed.wild += keep(&mut samples, |time| (time - middle).abs() <= HOUR);
        }
        match self.held.take() {
            Some(held) if jumps && (held.median - median).abs() <= HOUR => {
                if held.inherited {
                    let greatest = held.samples.iter().map(|sample| sample.time).max();
                    self.inherited_until = self.inherited_until.max(greatest);
                }
                self.take_in(&held.params, &held.samples, &mut observed);
            }
            unconfirmed => {
                observed.wild += unconfirmed.map_or(0, |held| held.samples.len() as u64);
                if jumps {
                    observed.held = true;
                    self.held = Some(Held { params: params.clone(), median, samples, inherited: false });
                    return observed;
                }
            }
        }
        if self.joined != self.epoch {
            self.joined = self.epoch;
            let first = samples.iter().map(|sample| sample.time).max();
            self.inherited_until = self.inherited_until.max(self.greatest).max(first);
        }
        self.take_in(params, &samples, &mut observed);
        observed.closed.sort_by_key(|closed| closed.window.start);
        self.told.extend(observed.closed.iter().cloned());
        observed
    }

    /// See [`SessionWindows::flush`](super::SessionWindows::flush).
    pub fn flush(&mut self) -> Vec<Closed> {
        let open = std::mem::take(&mut self.open);
        let closed: Vec<Closed> = open.into_iter().map(|(start, magnitudes)| self.tell(start, &magnitudes)).collect();
        self.floor = self.floor.max(closed.iter().map(|closed| closed.window.end).max());
        self.told.extend(closed.iter().cloned());
        closed
    }

    /// See [`SessionWindows::let_go`](super::SessionWindows::let_go).
    pub fn let_go(&mut self) -> LetGo {
        let Some(until) = self.inherited_until.take() else { return LetGo::default() };
        let before = self.open.len();
        self.open.retain(|start, _| *start > until);
        self.let_go_until = Some(until);
        let held = self.held.take_if(|held| held.inherited).map_or(0, |held| held.samples.len() as u64);
        LetGo { windows: (before - self.open.len()) as u64, held }
    }

    fn take_in(&mut self, params: &Params, samples: &[Sample], observed: &mut Observed) {
        if self.rules.last().is_none_or(|rule| rule.params != *params) {
            self.rules.push(Rule { params: params.clone(), after: self.greatest, counts: BTreeMap::new() });
        }
        let before: Vec<Option<i64>> = (0..self.rules.len()).map(|rule| self.watermark(rule)).collect();
        for sample in samples {
            let mut late = false;
            for (rule, watermark) in before.iter().enumerate() {
                late |= self.place(rule, *watermark, sample);
            }
            observed.late += u64::from(late);
        }
        self.greatest = self.greatest.max(samples.iter().map(|sample| sample.time).max());

        let open = std::mem::take(&mut self.open);
        for (start, magnitudes) in open {
            let rule = self.rule_of(start);
            if Some(start + self.rules[rule].params.window()) <= self.watermark(rule) {
                observed.closed.push(self.tell(start, &magnitudes));
            } else {
                self.open.insert(start, magnitudes);
            }
        }
    }

    /// Puts a reading into every open window of a rule that holds its time; whether it was late for one.
    fn place(&mut self, rule: usize, watermark: Option<i64>, sample: &Sample) -> bool {
        let (window, slide) = (self.rules[rule].params.window(), self.rules[rule].params.slide());
        let pane = sample.time.div_euclid(slide) * slide;
        let (mut late, mut taken) = (false, false);
        for start in (0..window / slide).map(|slides| pane - slides * slide) {
            if self.rule_of(start) != rule || Some(start) <= self.let_go_until {
                continue;
            }
            if Some(start + window) <= watermark {
                late = true;
            } else {
                taken = true;
                self.open.entry(start).or_default().push(sample.magnitude);
            }
        }
        if taken {
            *self.rules[rule].counts.entry(pane).or_default() += 1;
        }
        late
    }

    fn rule_of(&self, start: i64) -> usize {
        self.rules.iter().rposition(|rule| rule.after < Some(start)).unwrap_or_default()
    }

    fn watermark(&self, rule: usize) -> Option<i64> {
        let lateness = self.rules[rule].params.lateness();
        self.floor.max(self.greatest.map(|greatest| greatest - lateness))
    }

    fn tell(&self, start: i64, magnitudes: &[f64]) -> Closed {
        let Rule { params, counts, .. } = &self.rules[self.rule_of(start)];
        let mut last: Vec<u64> = counts.values().rev().take(16).copied().collect();
        last.sort_unstable();
        let per_pane = last[(last.len() * 3).div_ceil(4) - 1];
        // At least ten readings a second.
        let per_pane = per_pane.max((10 * params.slide() / 1_000_000_000) as u64).max(1);
        let expected = per_pane as f64 * (params.window() / params.slide()) as f64;
        let mean = magnitudes.iter().sum::<f64>() / magnitudes.len() as f64;
        let window = Window {
            start,
            end: start + params.window(),
            count: magnitudes.len() as u64,
            mean,
            activity: params.classifier().label(mean),
            confidence: params.classifier().confidence(mean, magnitudes.len() as f64 / expected),
            revision: 0,
        };
        let inherited = Some(start) <= self.inherited_until;
        let slide = params.slide();
        let read = self.greatest.filter(|_| counts.contains_key(&(window.end - slide)));
        let covered = read.map_or(0, |greatest| (greatest - (window.end - slide)).clamp(0, slide));
        Closed { window, classifier: params.classifier(), slide, covered, inherited }
    }
}

fn median(samples: &[Sample]) -> Option<i64> {
    let mut times: Vec<i64> = samples.iter().map(|sample| sample.time).collect();
    times.sort_unstable();
    times.get(times.len().saturating_sub(1) / 2).copied()
}

fn keep(samples: &mut Vec<Sample>, believed: impl Fn(i64) -> bool) -> u64 {
    let before = samples.len();
    samples.retain(|sample| believed(sample.time));
    (before - samples.len()) as u64
}
