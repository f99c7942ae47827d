//! What somebody said that a phone did, and which windows that is true of.
//!
//! - An annotation holds from its moment to the next one, whatever that says; the last one to the end of its session.
//! - A window has a label if all of it lies in one stretch of one activity; one that reaches beyond is mixed.
//! - A word that is not known is no label: it is listed, not guessed.

use gaitway_proto::activity::Activity;

/// Words and what they mean; as written on the phone, whatever their case.
const WORDS: [(Activity, &[&str]); 4] = [
    (
        Activity::Stationary,
        &[
            "stationary",
            "still",
            "stand",
            "standing",
            "sit",
            "sitting",
            "lie",
            "lying",
            "rest",
            "resting",
            "typing",
            "writing",
        ],
    ),
    (Activity::Walking, &["walk", "walking", "stroll", "stairs", "upstairs", "downstairs", "hike", "hiking"]),
    (Activity::Running, &["run", "running", "jog", "jogging"]),
    (Activity::Sprinting, &["sprint", "sprinting"]),
];

/// Words that end what was before and begin nothing.
const ENDS: [&str; 5] = ["stop", "end", "pause", "none", "other"];

/// What a word means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Is(Activity),
    Ends,
    Unknown,
}

impl Word {
    pub(super) fn of(text: &str) -> Self {
        let text = text.trim().to_lowercase();
        match WORDS.iter().find(|(_, words)| words.contains(&text.as_str())) {
            Some((activity, _)) => Self::Is(*activity),
            None if ENDS.contains(&text.as_str()) => Self::Ends,
            None => Self::Unknown,
        }
    }
}

/// Time of one activity, ns: start inclusive, end exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stretch {
    start: i64,
    end: i64,
    activity: Activity,
}

/// The labels of one session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Timeline(Vec<Stretch>);

/// What a timeline says of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    Is(Activity),
    Mixed,
    None,
}

impl Timeline {
    /// Of annotations and their times in any order, in a session whose last reading is at `end`.
    pub(super) fn of_marks(mut marks: Vec<(i64, Word)>, end: i64) -> Self {
        marks.sort_by_key(|(time, _)| *time);
        let ends: Vec<i64> = marks.iter().skip(1).map(|(time, _)| *time).chain([end]).collect();
        let stretches = marks.into_iter().zip(ends).filter_map(|((start, word), end)| match word {
            Word::Is(activity) => Some((start, end, activity)),
            Word::Ends | Word::Unknown => None,
        });
        Self::of_stretches(stretches.collect())
    }

    /// Of stretches with a start and an end.
    pub(super) fn of_stretches(mut stretches: Vec<(i64, i64, Activity)>) -> Self {
        stretches.sort_by_key(|(start, end, _)| (*start, *end));
        let mut timeline: Vec<Stretch> = Vec::new();
        for (start, end, activity) in stretches.into_iter().filter(|(start, end, _)| start < end) {
            match timeline.last_mut() {
                Some(last) if last.activity == activity && last.end >= start => last.end = last.end.max(end),
                _ => timeline.push(Stretch { start, end, activity }),
            }
        }
        Self(timeline)
    }

    /// What it says of a window from `start` to `end`.
    pub(super) fn label(&self, start: i64, end: i64) -> Label {
        let mut touched = self.0.iter().filter(|stretch| stretch.start < end && start < stretch.end);
        match (touched.next(), touched.next()) {
            (None, _) => Label::None,
            (Some(one), None) if one.start <= start && end <= one.end => Label::Is(one.activity),
            _ => Label::Mixed,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_are_known_or_listed_never_guessed() {
        assert_eq!(Word::of(" Walk "), Word::Is(Activity::Walking));
        assert_eq!(Word::of("JOG"), Word::Is(Activity::Running));
        assert_eq!(Word::of("stop"), Word::Ends);
        assert_eq!(Word::of("walked the dog"), Word::Unknown);
        assert_eq!(Word::of(""), Word::Unknown);
        let words: Vec<&str> = WORDS.iter().flat_map(|(_, words)| words.iter().copied()).chain(ENDS).collect();
        let once: std::collections::BTreeSet<_> = words.iter().collect();
        assert_eq!(once.len(), words.len(), "each means one thing");
    }

    #[test]
    fn an_annotation_holds_until_the_next_one_whatever_it_says() {
        let walk = (10, Word::of("walk"));
        let timeline =
            Timeline::of_marks(vec![(50, Word::of("bus")), walk, (30, Word::of("stairs")), (70, Word::of("run"))], 100);
        let walking = Label::Is(Activity::Walking);
        assert_eq!(timeline.label(0, 10), Label::None);
        assert_eq!(timeline.label(5, 15), Label::Mixed);
        assert_eq!(timeline.label(10, 50), walking, "one stretch of walking, on the level and on stairs");
        assert_eq!(timeline.label(45, 55), Label::Mixed);
        assert_eq!(timeline.label(52, 70), Label::None);
        assert_eq!(timeline.label(90, 100), Label::Is(Activity::Running));
        assert_eq!(timeline.label(90, 101), Label::Mixed, "beyond the last reading");
    }

    proptest! {
        #[test]
        fn a_window_has_a_label_only_if_every_moment_of_it_has(
            marks in prop::collection::vec((0_i64..60, 0_usize..4), 0..12), start in 0_i64..70, length in 1_i64..12,
        ) {
            let words = ["walk", "run", "stop", "tram"].map(Word::of);
            // Of two marks of one moment the later one in the list holds.
            let mut at = std::collections::BTreeMap::new();
            for (time, word) in &marks {
                at.insert(*time, words[*word]);
            }
            let timeline = Timeline::of_marks(at.iter().map(|(time, word)| (*time, *word)).collect(), 60);
            let moment = |time: i64| match at.range(..=time).next_back() {
                Some((_, Word::Is(activity))) if time < 60 => Some(*activity),
                _ => None,
            };
            let moments: Vec<_> = (start..start + length).map(moment).collect();
            let expected = match moments[0] {
                Some(activity) if moments.iter().all(|moment| *moment == Some(activity)) => Label::Is(activity),
                _ if moments.iter().any(Option::is_some) => Label::Mixed,
                _ => Label::None,
            };
            prop_assert_eq!(timeline.label(start, start + length), expected);
        }
    }
}
