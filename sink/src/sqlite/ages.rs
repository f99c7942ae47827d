//! How long ago rows were stored, without trust in any clock.
//!
//! - A row is as old as the time that this warehouse has seen pass since it was stored; what the agents' clocks say
//!   plays no part.
//! - One jump of the wall clock, however far, ages rows by at most a tenth of what is kept.
//! - A wall clock that goes back makes nothing older, and time goes on counting after it.
//! - A row that no mark covers has no age.
//! - Rows that came after somebody emptied the table by hand, and so have low rowids again, are not taken for old ones.
//!
//! `receivedAt` is the wall clock of whatever machine the agent runs on. A board without a clock chip starts in the
//! past, so that its fresh rows would look expired; one from the future would never expire. Rowids are in the order of
//! commits, so it is enough to remember now and then which rowid had been reached at what time: a mark. From mark to
//! mark the wall clock's advance counts, but no single advance counts for more than a tenth of what is kept, for
//! nothing here can tell a month on the shelf from a clock set wrong. A warehouse that rests longer than that keeps its
//! rows longer; its size is bounded by other means.

use std::collections::VecDeque;

/// Every row up to `row` had been stored when the wall clock showed `at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AgeMark {
    /// Greatest rowid, 0 if there was none.
    pub(super) row: i64,
    /// Seconds since the Unix epoch.
    pub(super) at: i64,
}

/// What the wall clock shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WallClock {
    /// Seconds since the Unix epoch.
    pub at: i64,
    /// Whether a time service has set it.
    pub synchronised: bool,
}

/// The marks that still matter, oldest first.
#[derive(Debug, Clone)]
pub(super) struct Ages {
    keep: i64,
    marks: VecDeque<AgeMark>,
}

/// Marks within the time to keep; their distance is how exact an age is.
const MARKS: i64 = 240;

impl Ages {
    /// From what is stored, oldest first. `keep` in seconds.
    pub(super) fn new(keep: i64, marks: impl IntoIterator<Item = AgeMark>) -> Self {
        Self { keep, marks: marks.into_iter().collect() }
    }

    /// Whether a mark should be set now. A clock that went back is believed only if a time service has set it: a
    /// board without a clock chip shows the past after every start, and two wrong steps would count as one long wait.
    pub(super) fn due(&self, now: WallClock) -> bool {
        let Some(last) = self.marks.back() else { return true };
        let advance = now.at.saturating_sub(last.at);
        let interval = (self.keep / MARKS).max(1);
        advance >= interval || (advance <= -interval && now.synchronised)
    }

    /// The greatest row that any mark covers, 0 if none.
    pub(super) fn covered(&self) -> i64 {
        self.marks.iter().map(|mark| mark.row).max().unwrap_or(0)
    }

    /// No row above `last` exists: what the marks say about such rows is void.
    pub(super) fn clamp(&mut self, last: i64) {
        for mark in &mut self.marks {
            mark.row = mark.row.min(last);
        }
    }

    /// Adds a mark.
    pub(super) fn push(&mut self, mark: AgeMark) {
        self.marks.push_back(mark);
    }

    /// The greatest row that is older than what is kept.
    pub(super) fn expired(&self, now: WallClock) -> Option<i64> {
        self.youngest_settled(now).map(|index| self.marks[index].row)
    }

    /// Forgets marks that tell nothing any more; how many of the oldest may be removed from the store too.
    pub(super) fn forget(&mut self, now: WallClock) -> usize {
        let useless = self.youngest_settled(now).unwrap_or(0);
        self.marks.drain(..useless);
        useless
    }

    /// The youngest mark with the full age.
    fn youngest_settled(&self, now: WallClock) -> Option<usize> {
        let (mut age, mut later) = (0_i64, now.at);
        for (index, mark) in self.marks.iter().enumerate().rev() {
            age = age.saturating_add(later.saturating_sub(mark.at).clamp(0, self.longest_step()));
            later = mark.at;
            if age >= self.keep {
                return Some(index);
            }
        }
        None
    }

    /// The most that one advance of the wall clock counts for.
    fn longest_step(&self) -> i64 {
        (self.keep / 10).max(1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 86_400;
    const KEEP: i64 = 30 * DAY;

    fn clock(at: i64) -> WallClock {
        WallClock { at, synchronised: true }
    }

    /// Runs a warehouse that stores a row an hour; the wall clock shows what `wall` makes of the true time.
    fn run(hours: std::ops::Range<i64>, ages: &mut Ages, wall: impl Fn(i64) -> WallClock) {
        for hour in hours {
            let now = wall(hour * 3600);
            if ages.due(now) {
                ages.push(AgeMark { row: hour, at: now.at });
            }
            ages.forget(now);
        }
    }

    #[test]
    fn rows_expire_when_their_time_has_passed() {
        let mut ages = Ages::new(KEEP, []);
        run(0..24 * 60, &mut ages, clock);
        let now = 24 * 60;
        let expired = ages.expired(clock(now * 3600)).unwrap();
        assert!((now - 30 * 24 - 4..=now - 30 * 24).contains(&expired), "{expired}");
        assert!(ages.marks.len() <= MARKS as usize + 2);
    }

    #[test]
    fn one_jump_of_the_clock_ages_rows_by_at_most_a_tenth() {
        let mut ages = Ages::new(KEEP, []);
        run(0..24 * 30, &mut ages, clock);
        let jumped = clock(24 * 30 * 3600 + 9 * 365 * DAY);
        let expired = ages.expired(jumped).unwrap_or(0);
        assert!(expired <= 3 * 24, "{expired}");
    }

    #[test]
    fn a_clock_that_goes_back_makes_nothing_older_and_counting_goes_on() {
        let mut ages = Ages::new(KEEP, []);
        run(0..24 * 10, &mut ages, |at| clock(at + 9 * 365 * DAY));
        assert_eq!(ages.expired(clock(0)), None);
        run(24 * 10..24 * 50, &mut ages, clock);
        let expired = ages.expired(clock(24 * 50 * 3600)).unwrap();
        assert!((24 * 20 - 4..=24 * 20).contains(&expired), "{expired}");
    }

    #[test]
    fn a_board_that_starts_in_the_past_ages_nothing_by_it() {
        let mut ages = Ages::new(KEEP, []);
        run(0..24, &mut ages, clock);
        for _ in 0..100 {
            run(24..25, &mut ages, |_| WallClock { at: -50 * 365 * DAY, synchronised: false });
            run(25..26, &mut ages, clock);
        }
        assert_eq!(ages.expired(clock(26 * 3600)), None);
    }

    proptest! {
        /// However the clock jumps between them, ages are bounded by steps and never shrink as time advances.
        #[test]
        fn an_age_is_never_more_than_the_steps_seen(
            walls in prop::collection::vec((any::<i64>(), any::<bool>()), 1..40),
            keep in 3600_i64..10_000_000,
        ) {
            let mut ages = Ages::new(keep, []);
            for (row, (at, synchronised)) in walls.iter().enumerate() {
                let now = WallClock { at: *at, synchronised: *synchronised };
                if ages.due(now) {
                    ages.push(AgeMark { row: row as i64, at: *at });
                }
                if let Some(expired) = ages.expired(now) {
                    // A tenth of the time per step: a row needs ten steps to expire.
                    prop_assert!(row as i64 - expired >= 9, "row {expired} expired at step {row}");
                }
                let before = ages.expired(now);
                ages.forget(now);
                prop_assert_eq!(ages.expired(now), before);
            }
        }
    }
}
