//! Since when frames of this start wait. Pure, and in memory: a start before it is asked of its frames.
//!
//! - An age is never less than it is, and more by no more than the grain: at first a second, and at most a five hundredth of
//!   how long the oldest has waited.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use gaitway_proto::ledger::Stream;

/// Moments remembered of a stream; beyond it every other one goes.
const MOST: usize = 1024;

/// How far moments are apart at first.
const GRAIN: Duration = Duration::from_secs(1);

/// When frames were accepted.
#[derive(Debug)]
pub(super) struct Ages(Vec<Moments>);

#[derive(Debug)]
struct Moments {
    stream: Stream,
    /// The seq of the next frame.
    next: u64,
    /// From this seq on frames were accepted at this moment or later.
    since: VecDeque<(u64, Instant)>,
    grain: Duration,
}

impl Default for Ages {
    fn default() -> Self {
        let of = |stream| Moments { stream, next: 1, since: VecDeque::new(), grain: GRAIN };
        Self(Stream::ALL.map(of).into())
    }
}

impl Ages {
    /// At `now` the next frame of `stream` has this seq.
    pub(super) fn note(&mut self, stream: Stream, next: u64, now: Instant) {
        let Some(moments) = self.0.iter_mut().find(|moments| moments.stream == stream) else { return };
        if next <= moments.next {
            return;
        }
        let first = std::mem::replace(&mut moments.next, next);
        let grain = moments.grain;
        if moments.since.back().is_none_or(|(_, at)| now.saturating_duration_since(*at) >= grain) {
            moments.since.push_back((first, now));
        }
        if moments.since.len() > MOST {
            let mut is_kept = false;
            moments.since.retain(|_| {
                is_kept = !is_kept;
                is_kept
            });
            moments.grain *= 2;
        }
    }

    /// When the frame `seq` of `stream` was accepted, which waits, while those before it do not.
    pub(super) fn of(&mut self, stream: Stream, seq: u64) -> Option<Instant> {
        let moments = self.0.iter_mut().find(|moments| moments.stream == stream)?;
        while moments.since.get(1).is_some_and(|(first, _)| *first <= seq) {
            moments.since.pop_front();
        }
        if moments.since.len() < 2 {
            moments.grain = GRAIN;
        }
        moments.since.front().map(|(_, at)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_frame_is_as_old_as_it_is_however_long_it_waits() {
        let began = Instant::now();
        let at = |second: u64| began + Duration::from_secs(second);
        let mut ages = Ages::default();
        assert_eq!(ages.of(Stream::Raw, 1), None);
        // Two frames a second for a day.
        for second in 0..86_400 {
            ages.note(Stream::Raw, 1 + 2 * (second + 1), at(second));
        }
        assert!(ages.0.iter().all(|moments| moments.since.len() <= MOST));
        assert_eq!(ages.of(Stream::Raw, 1), Some(at(0)));
        for seq in [2_000, 50_001, 172_700] {
            let (told, real) = (ages.of(Stream::Raw, seq).unwrap(), at((seq - 1) / 2));
            assert!(told <= real && real - told <= Duration::from_secs(86_400 / 500), "{seq}");
        }
        assert_eq!(ages.of(Stream::Activity, 1), None);
        // What comes once that is gone is told to the second again.
        ages.note(Stream::Raw, 172_803, at(90_000));
        ages.of(Stream::Raw, 172_802);
        ages.note(Stream::Raw, 172_804, at(90_001));
        assert_eq!(ages.of(Stream::Raw, 172_803), Some(at(90_001)));
    }

    #[test]
    fn a_transaction_without_frames_changes_nothing() {
        let began = Instant::now();
        let mut ages = Ages::default();
        ages.note(Stream::Raw, 2, began);
        ages.note(Stream::Raw, 2, began + Duration::from_secs(9));
        ages.note(Stream::Raw, 1, began + Duration::from_secs(10));
        assert_eq!(ages.of(Stream::Raw, 1), Some(began));
    }
}
