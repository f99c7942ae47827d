//! How long windows are, how often one starts, and how long they wait for late readings.

use serde::{Deserialize, Serialize};

use crate::classify::Threshold;

/// Nanoseconds of a second.
pub(super) const SECOND: i64 = 1_000_000_000;

/// `slide` is a whole number of these, so that panes of different parameters share no smaller measure.
const GRAIN: i64 = SECOND / 10;

/// Greatest window and greatest lateness.
pub(crate) const LONGEST: i64 = 3600 * SECOND;

/// Most panes that the windows of one session may keep open.
pub(super) const MAX_PANES: i64 = 1000;

/// Parameters that cannot be used. Times in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParamsError {
    /// `slide`
    #[error("a slide of {} s must be a multiple of 0.1 s above 0", seconds(*.0))]
    Slide(i64),
    /// `window`
    #[error("a window of {} s must be a multiple of the slide, from the slide up to one hour", seconds(*.0))]
    Window(i64),
    /// `lateness`
    #[error("a lateness of {} s must be from 0 up to one hour", seconds(*.0))]
    Lateness(i64),
    /// `window` and `lateness` against `slide`
    #[error("window and lateness together are {0} slides long; {MAX_PANES} are possible")]
    Panes(i64),
}

fn seconds(nanoseconds: i64) -> f64 {
    nanoseconds as f64 / SECOND as f64
}

/// The parameters of windows, checked. Times in nanoseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Params {
    window: i64,
    slide: i64,
    lateness: i64,
    classifier: Threshold,
}

#[derive(Deserialize)]
struct Unchecked {
    window: i64,
    slide: i64,
    lateness: i64,
    classifier: Threshold,
}

impl TryFrom<Unchecked> for Params {
    type Error = ParamsError;

    fn try_from(raw: Unchecked) -> Result<Self, ParamsError> {
        Self::new(raw.window, raw.slide, raw.lateness, raw.classifier)
    }
}

/// Windows of 10 s every 2 s, 10 s of lateness, default thresholds.
impl Default for Params {
    fn default() -> Self {
        Self { window: 10 * SECOND, slide: 2 * SECOND, lateness: 10 * SECOND, classifier: Threshold::default() }
    }
}

impl Params {
    /// Windows of `window` ns that start every `slide` ns and wait `lateness` ns for late readings.
    pub fn new(window: i64, slide: i64, lateness: i64, classifier: Threshold) -> Result<Self, ParamsError> {
        if slide <= 0 || slide % GRAIN != 0 {
            return Err(ParamsError::Slide(slide));
        }
        if window < slide || window > LONGEST || window % slide != 0 {
            return Err(ParamsError::Window(window));
        }
        if !(0..=LONGEST).contains(&lateness) {
            return Err(ParamsError::Lateness(lateness));
        }
        let panes = (window + lateness) / slide;
        if panes > MAX_PANES {
            return Err(ParamsError::Panes(panes));
        }
        Ok(Self { window, slide, lateness, classifier })
    }

    /// Length of a window, ns.
    pub fn window(&self) -> i64 {
        self.window
    }

    /// From one window's start to the next, ns. Also the length of a pane: windows are whole slides long.
    pub fn slide(&self) -> i64 {
        self.slide
    }

    /// How long a window waits for late readings, in ns of the phone's time.
    pub fn lateness(&self) -> i64 {
        self.lateness
    }

    /// The rule that labels.
    pub fn classifier(&self) -> Threshold {
        self.classifier
    }

    /// The pane that holds `time`: its start.
    pub(super) fn align(&self, time: i64) -> i64 {
        time.div_euclid(self.slide) * self.slide
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_checked_however_they_come() {
        let rule = Threshold::default;
        assert_eq!(Params::new(10 * SECOND, 2 * SECOND, 10 * SECOND, rule()), Ok(Params::default()));
        assert_eq!(Params::new(10 * SECOND, 0, 0, rule()), Err(ParamsError::Slide(0)));
        assert_eq!(Params::new(10 * SECOND, 1, 0, rule()), Err(ParamsError::Slide(1)));
        assert_eq!(Params::new(5 * SECOND, 2 * SECOND, 0, rule()), Err(ParamsError::Window(5 * SECOND)));
        assert_eq!(Params::new(0, 2 * SECOND, 0, rule()), Err(ParamsError::Window(0)));
        assert_eq!(Params::new(i64::MAX, 2 * SECOND, 0, rule()), Err(ParamsError::Window(i64::MAX)));
        assert_eq!(Params::new(2 * SECOND, 2 * SECOND, -1, rule()), Err(ParamsError::Lateness(-1)));
        assert_eq!(Params::new(2 * SECOND, GRAIN, LONGEST, rule()), Err(ParamsError::Panes(36_020)));
        let written = postcard::to_stdvec(&(0_i64, 0_i64, 0_i64, 2.0, 8.0, 20.0)).unwrap();
        assert!(postcard::from_bytes::<Params>(&written).is_err());
        let written = postcard::to_stdvec(&Params::default()).unwrap();
        assert_eq!(postcard::from_bytes::<Params>(&written), Ok(Params::default()));
    }
}
