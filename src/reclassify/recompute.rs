//! The windows of one session, computed anew from its readings as a warehouse has them.
//!
//! - Readings come in the order in which the agent took them, message by message; the windows are the agent's own code.
//! - The watermark, and so what was late, is the agent's: it hangs on messages and their order alone.
//! - Silence the warehouse does not tell. Where the agent had two messages of the session further apart than its silence, by
//!   its own clock, it is taken to have closed the windows between them. That may be wrong where the agent was off
//!   meanwhile, or its clock was set; it decides about late readings alone.
//! - Memory is that of one message and of the session's windows.

use std::time::Duration;

use gaitway_agent::windows::{Batch, Params, Sample, SessionWindows, event_time, is_usable_time, lower_median};
use gaitway_proto::activity::Window;

/// Which message a reading is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The agent's start; none where the row does not say.
    pub(crate) epoch: Option<u64>,
    /// Its frame there; none where the row does not say.
    pub(crate) seq: Option<u64>,
    /// `messageId`
    pub(crate) message: Option<i64>,
    /// When the agent had it, microseconds since the Unix epoch.
    pub(crate) received: Option<i64>,
}

/// A row of raw readings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading<'a> {
    /// Its message.
    pub(crate) frame: Frame,
    /// Nanoseconds since the Unix epoch, phone's clock.
    pub(crate) time: Option<i64>,
    /// Of the sensor whose readings are classified.
    pub(crate) axes: Option<[f64; 3]>,
    /// Of an annotation: what the columns do not hold, as JSON.
    pub(crate) annotation: Option<&'a str>,
}

/// Takes a session's readings.
#[derive(Debug)]
pub(crate) struct Recompute {
    params: Params,
    /// Microseconds.
    silence: i64,
    windows: SessionWindows,
    frame: Option<Frame>,
    times: Vec<i64>,
    samples: Vec<Sample>,
    out: Recomputed,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Recomputed {
    /// Windows that the session's watermark, or silence, has closed; in order of their start.
    pub(crate) closed: Vec<Window>,
    /// Those after them, which silence would close.
    pub(crate) open: Vec<Window>,
    /// Starts of the slides in which readings lie that a window can use, ascending.
    pub(crate) slides: Vec<i64>,
    /// How often silence is taken to have closed windows.
    pub(crate) silences: u64,
    /// The greatest time of a reading that a window can use, ns.
    pub(crate) last: Option<i64>,
}

impl Recompute {
    /// A session without a reading, at an agent that closes windows after `silence`.
    pub(crate) fn new(params: &Params, silence: Duration) -> Self {
        Self {
            params: params.clone(),
            silence: i64::try_from(silence.as_micros()).unwrap_or(i64::MAX),
            windows: SessionWindows::new(),
            frame: None,
            times: Vec::new(),
            samples: Vec::new(),
            out: Recomputed::default(),
        }
    }

    /// Takes the next reading.
    pub(crate) fn take(&mut self, reading: &Reading<'_>) {
        if self.frame != Some(reading.frame) {
            let before = self.frame.replace(reading.frame);
            self.observe();
            let pause = before.and_then(|before| Some(reading.frame.received?.saturating_sub(before.received?)));
            if pause.is_some_and(|pause| pause >= self.silence) && self.windows.has_open() {
                self.out.silences += 1;
                self.out.closed.extend(self.windows.flush().into_iter().map(|closed| closed.window));
            }
        }
        let Some(time) = reading.time.filter(|time| is_usable_time(*time)) else { return };
        self.times.push(time);
        if let Some(sample) = reading.axes.and_then(|axes| Sample::from_axes(time, axes)) {
            let (at, slide) = (event_time(time), self.params.slide());
            let start = at.div_euclid(slide) * slide;
            if self.out.slides.last() != Some(&start) {
                self.out.slides.push(start);
            }
            self.out.last = self.out.last.max(Some(at));
            self.samples.push(sample);
        }
    }

    /// The end of the session, as far as the warehouse has it.
    pub(crate) fn finish(mut self) -> Recomputed {
        self.observe();
        self.out.open = self.windows.flush().into_iter().map(|closed| closed.window).collect();
        self.out.slides.sort_unstable();
        self.out.slides.dedup();
        self.out
    }

    fn observe(&mut self) {
        let batch = Batch { median_time: lower_median(&mut self.times), samples: &self.samples };
        let observed = self.windows.observe(&self.params, &batch);
        self.out.closed.extend(observed.closed.into_iter().map(|closed| closed.window));
        self.times.clear();
        self.samples.clear();
    }
}

#[cfg(test)]
mod tests {
    use gaitway_agent::windows::reference::Reference;
    use proptest::prelude::*;

    use super::*;

    const SECOND: i64 = 1_000_000_000;
    const DAY: i64 = 19_723 * 86_400 * SECOND;
    const SILENCE: Duration = Duration::from_secs(30);

    fn frame(seq: u64, received: i64) -> Frame {
        Frame { epoch: Some(1), seq: Some(seq), message: Some(seq as i64), received: Some(received) }
    }

    fn reading(frame: Frame, time: i64, axes: Option<[f64; 3]>) -> Reading<'static> {
        Reading { frame, time: Some(time), axes, annotation: None }
    }

    proptest! {
        /// Messages in any order, with readings of other sensors, pauses and all: the windows are those of the definition.
        #[test]
        fn windows_are_the_agents_own(
            messages in prop::collection::vec(
                (prop::collection::vec((0_i64..120, 0.0..30.0_f64, any::<bool>()), 1..20), 0_i64..40), 1..30),
        ) {
            let params = Params::default();
            let (mut recompute, mut reference) = (Recompute::new(&params, SILENCE), Reference::new());
            let mut received = 0;
            for (seq, (readings, pause)) in (1..).zip(&messages) {
                received += pause * 1_000_000;
                if seq > 1 && *pause >= 30 {
                    reference.flush();
                }
                let frame = frame(seq, received);
                let (mut times, mut samples) = (Vec::new(), Vec::new());
                for (at, value, is_classified) in readings {
                    let time = DAY + at * SECOND;
                    times.push(time);
                    let axes = is_classified.then_some([*value, 0.0, 0.0]);
                    samples.extend(axes.and_then(|axes| Sample::from_axes(time, axes)));
                    recompute.take(&reading(frame, time, axes));
                }
                reference.observe(&params, &Batch { median_time: lower_median(&mut times), samples: &samples });
            }
            let told = reference.told().len();
            reference.flush();
            let recomputed = recompute.finish();
            let expected: Vec<Window> = reference.told().iter().map(|closed| closed.window.clone()).collect();
            let all: Vec<Window> = recomputed.closed.iter().chain(&recomputed.open).cloned().collect();
            prop_assert_eq!(recomputed.closed.len(), told);
            prop_assert_eq!(all.len(), expected.len());
            for (window, expected) in all.iter().zip(&expected) {
                prop_assert_eq!((window.start, window.count, window.activity), (expected.start, expected.count, expected.activity));
                prop_assert!((window.mean - expected.mean).abs() <= 1e-9 * expected.mean.max(1.0));
                prop_assert!((window.confidence - expected.confidence).abs() <= 1e-9);
            }
            prop_assert!(all.windows(2).all(|pair| pair[0].start < pair[1].start), "each once, in order");
            prop_assert!(recomputed.slides.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }

    #[test]
    fn what_no_window_can_use_is_passed_over() {
        let mut recompute = Recompute::new(&Params::default(), SILENCE);
        let at = frame(1, 0);
        for (time, axes) in [(None, Some([1.0; 3])), (Some(-5), Some([1.0; 3])), (Some(DAY), None)] {
            recompute.take(&Reading { frame: at, time, axes, annotation: None });
        }
        recompute.take(&reading(at, DAY, Some([1e200, 0.0, 0.0])));
        assert_eq!(recompute.finish(), Recomputed::default());
    }
}
