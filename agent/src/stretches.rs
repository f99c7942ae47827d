//! From windows to stretches of one activity: what a phone's day, and the beginning of what it does now, are told from.
//!
//! - A window stands for the last slide of its span: one after the other, a recording's windows cover it without overlap.
//! - Neighbours of the same activity are one stretch; where no window stands there is a gap.
//! - Stretches are in order and never overlap: of what two windows stand for, the one that came first has it.
//! - Where readings go through to the end, and without overlaps, all stretches together are as long as the slides of all
//!   windows. What is told of a day ends with the readings: a window that trails the last one stands for nothing there.
//!
//! Pure. Times in nanoseconds since the Unix epoch, phone's clock.

use gaitway_proto::activity::{Activity, Window};

/// What a window stands for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slice {
    /// The window's label.
    pub activity: Activity,
    /// Inclusive.
    pub start: i64,
    /// Exclusive.
    pub end: i64,
    /// Probability that the label is right.
    pub confidence: f64,
}

/// One activity without a gap. It begins with the slide of its first window. Of a day it ends where readings of its last slide
/// do; of what goes on it ends with its last window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stretch {
    /// What the phone did.
    pub activity: Activity,
    /// Inclusive.
    pub start: i64,
    /// Exclusive.
    pub end: i64,
    /// Mean of its windows' confidences.
    pub confidence: f64,
}

/// Puts slices together, those that end earlier first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stretches {
    now: Option<Stretch>,
}

impl Slice {
    /// Of a window whose neighbour ends `slide` ns before it.
    pub fn of(window: &Window, slide: i64) -> Self {
        let Window { start, end, activity, confidence, .. } = *window;
        Self { activity, start: end.saturating_sub(slide).max(start), end, confidence }
    }
}

impl Stretches {
    /// Takes the next slice; gives the stretch that it ends.
    pub fn push(&mut self, slice: Slice) -> Option<Stretch> {
        let Some(now) = &mut self.now else {
            self.now = Some(Stretch::of(slice)).filter(|_| slice.start < slice.end);
            return None;
        };
        let slice = Slice { start: slice.start.max(now.end), ..slice };
        if slice.start >= slice.end {
            return None;
        }
        if slice.activity == now.activity && slice.start == now.end {
            now.extend(slice);
            return None;
        }
        self.now.replace(Stretch::of(slice))
    }

    /// [`push`](Self::push), where up to `gap` ns of the same activity may be missing.
    pub fn push_across(&mut self, slice: Slice, gap: i64) -> Option<Stretch> {
        if let Some(now) = &mut self.now
            && slice.activity == now.activity
            && slice.start > now.end
            && slice.start - now.end <= gap
        {
            now.end = slice.start;
        }
        self.push(slice)
    }

    /// The last stretch, which may go on.
    pub fn now(&self) -> Option<&Stretch> {
        self.now.as_ref()
    }

    /// Ends the last stretch.
    pub fn finish(self) -> Option<Stretch> {
        self.now
    }
}

impl From<Stretch> for Stretches {
    /// Goes on from a stretch.
    fn from(now: Stretch) -> Self {
        Self { now: Some(now) }
    }
}

impl Stretch {
    fn of(Slice { activity, start, end, confidence }: Slice) -> Self {
        Self { activity, start, end, confidence }
    }

    fn extend(&mut self, slice: Slice) {
        let [before, more] = [self.end - self.start, slice.end - slice.start].map(|length| length as f64);
        self.confidence = (self.confidence * before + slice.confidence * more) / (before + more);
        self.end = slice.end;
    }
}

/// The stretches of `slices`, those that end earlier first.
pub fn stretches(slices: impl IntoIterator<Item = Slice>) -> Vec<Stretch> {
    let (mut run, mut told) = (Stretches::default(), Vec::new());
    for slice in slices {
        told.extend(run.push(slice));
    }
    told.extend(run.finish());
    told
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SLIDE: i64 = 2_000_000_000;
    const ALL: [Activity; 4] = [Activity::Stationary, Activity::Walking, Activity::Running, Activity::Sprinting];

    fn window(end: i64, activity: Activity, confidence: f64) -> Window {
        Window { start: end - 5 * SLIDE, end, count: 1000, mean: 1.0, activity, confidence, revision: 0 }
    }

    #[test]
    fn neighbours_of_one_activity_are_one_stretch_and_gaps_are_gaps() {
        let of = |n: i64, activity| Slice::of(&window(n * SLIDE, activity, 0.5), SLIDE);
        let slices = [
            of(10, Activity::Walking),
            of(11, Activity::Walking),
            of(12, Activity::Running),
            of(20, Activity::Running),
            of(20, Activity::Walking),
            of(21, Activity::Running),
        ];
        let told = stretches(slices);
        let shape: Vec<_> = told.iter().map(|s| (s.activity, s.start / SLIDE, s.end / SLIDE)).collect();
        let (walking, running) = (Activity::Walking, Activity::Running);
        assert_eq!(shape, [(walking, 9, 11), (running, 11, 12), (running, 19, 21)]);
    }

    #[test]
    fn a_gap_is_bridged_only_where_it_is_asked_for_and_within_one_activity() {
        let of = |n: i64, activity| Slice::of(&window(n * SLIDE, activity, 0.5), SLIDE);
        let run = |next: Slice, gap| {
            let mut run = Stretches::default();
            run.push(of(10, Activity::Walking));
            run.push_across(next, gap);
            run.now().unwrap().start / SLIDE
        };
        assert_eq!(run(of(13, Activity::Walking), 2 * SLIDE), 9);
        assert_eq!(run(of(14, Activity::Walking), 2 * SLIDE), 13);
        assert_eq!(run(of(13, Activity::Running), 2 * SLIDE), 12);
    }

    proptest! {
        #[test]
        fn all_stretches_together_are_as_long_as_the_slides_of_all_windows(
            steps in prop::collection::vec((1_i64..4, 0_usize..4, 0.0_f64..1.0), 0..200),
        ) {
            let mut end = 100 * SLIDE;
            let mut slices = Vec::new();
            for (step, activity, confidence) in &steps {
                end += step * SLIDE;
                slices.push(Slice::of(&window(end, ALL[*activity], *confidence), SLIDE));
            }
            let told = stretches(slices.iter().copied());
            for activity in ALL {
                let long: i64 = told.iter().filter(|s| s.activity == activity).map(|s| s.end - s.start).sum();
                let windows = slices.iter().filter(|slice| slice.activity == activity).count() as i64;
                prop_assert_eq!(long, windows * SLIDE);
            }
            for pair in told.windows(2) {
                prop_assert!(pair[0].end <= pair[1].start);
                prop_assert!(pair[0].end < pair[1].start || pair[0].activity != pair[1].activity, "neighbours are one");
            }
            prop_assert!(told.iter().all(|s| (0.0..=1.0).contains(&s.confidence)));
        }

        #[test]
        fn whatever_overlaps_stretches_are_in_order_and_cover_each_moment_once(
            pieces in prop::collection::vec((0_i64..500, 1_i64..40, 0_usize..4), 0..100),
        ) {
            let mut slices: Vec<Slice> = pieces
                .iter()
                .map(|(start, long, activity)| {
                    Slice { activity: ALL[*activity], start: *start, end: start + long, confidence: 0.5 }
                })
                .collect();
            slices.sort_by_key(|slice| slice.end);
            let told = stretches(slices.iter().copied());
            let mut moments = std::collections::BTreeSet::new();
            for slice in &slices {
                // What lies before the end of an earlier slice is told, or a gap, already.
                let told_to = slices.iter().filter(|s| s.end < slice.end).map(|s| s.end).max().unwrap_or(i64::MIN);
                moments.extend(slice.start.max(told_to)..slice.end);
            }
            let of_told: Vec<i64> = told.iter().flat_map(|s| s.start..s.end).collect();
            prop_assert!(of_told.is_sorted());
            prop_assert!(of_told.windows(2).all(|pair| pair[0] < pair[1]));
            // Of slices with one end the first may be the shorter one.
            prop_assert!(of_told.iter().all(|moment| moments.contains(moment)));
        }
    }
}
