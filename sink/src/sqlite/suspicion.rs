//! When a warehouse that was taken for damaged is set aside. Pure: time is an argument.
//!
//! - Damage that a call meets gets a second look: the file is opened again, and set aside if damage is met once more
//!   within the hour. A card that read a page wrong once costs no warehouse.
//! - A file that cannot be opened for damage is set aside at once.
//! - At most [`MOST`] files are set aside within an hour, by this process and those before it: beyond it the disk itself
//!   is failing.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

const HOUR: Duration = Duration::from_secs(3600);

/// Files set aside within an hour.
const MOST: usize = 5;

/// What was met, and what was done about it.
#[derive(Debug, Default)]
pub(super) struct Suspicion {
    met: Option<Instant>,
    reopened: bool,
    certain: Option<String>,
    replaced: VecDeque<Instant>,
}

impl Suspicion {
    /// A call met damage; `what` says which.
    pub(super) fn handle_met(&mut self, now: Instant, what: String) {
        let before = self.met.replace(now);
        let again = before.is_some_and(|before| now.saturating_duration_since(before) < HOUR);
        if std::mem::take(&mut self.reopened) && again {
            self.certain = Some(what);
        }
    }

    /// The file was opened again, and nothing was wrong with it.
    pub(super) fn handle_reopened(&mut self) {
        self.reopened = true;
    }

    /// The file cannot be opened for damage.
    pub(super) fn handle_unreadable(&mut self, what: String) {
        self.certain = Some(what);
    }

    /// The damage for which the file is to be set aside.
    pub(super) fn certain(&self) -> Option<&str> {
        self.certain.as_deref()
    }

    /// Whether one more may be set aside; `found` are there already from within the hour, by their names.
    pub(super) fn may_replace(&mut self, now: Instant, found: usize) -> bool {
        self.replaced.retain(|at| now.saturating_duration_since(*at) < HOUR);
        self.replaced.len().max(found) < MOST
    }

    /// The file was set aside.
    pub(super) fn handle_replaced(&mut self, now: Instant) {
        (self.met, self.certain) = (None, None);
        self.replaced.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_that_a_call_meets_gets_a_second_look_and_one_only() {
        let (start, mut suspicion) = (Instant::now(), Suspicion::default());
        suspicion.handle_met(start, "a page".to_owned());
        suspicion.handle_met(start, "a page".to_owned());
        assert_eq!(suspicion.certain(), None, "not opened again since");
        suspicion.handle_reopened();
        suspicion.handle_met(start + HOUR, "a page".to_owned());
        assert_eq!(suspicion.certain(), None, "so long ago");
        suspicion.handle_reopened();
        suspicion.handle_met(start + HOUR + HOUR / 2, "another page".to_owned());
        assert_eq!(suspicion.certain(), Some("another page"));
        suspicion.handle_replaced(start + 2 * HOUR);
        assert_eq!(suspicion.certain(), None);
        suspicion.handle_met(start + 2 * HOUR, "a page of the next file".to_owned());
        assert_eq!(suspicion.certain(), None);
    }

    #[test]
    fn a_file_that_cannot_be_opened_for_damage_is_set_aside_at_once() {
        let mut suspicion = Suspicion::default();
        suspicion.handle_unreadable("no header".to_owned());
        assert_eq!(suspicion.certain(), Some("no header"));
    }

    #[test]
    fn a_disk_that_damages_file_after_file_is_not_filled_with_them() {
        let (start, mut suspicion) = (Instant::now(), Suspicion::default());
        for _ in 0..MOST {
            assert!(suspicion.may_replace(start, 0));
            suspicion.handle_replaced(start);
        }
        assert!(!suspicion.may_replace(start + HOUR / 2, 0));
        assert!(suspicion.may_replace(start + HOUR, MOST - 1));
        assert!(!suspicion.may_replace(start + HOUR, MOST), "a process before this one did");
    }
}
