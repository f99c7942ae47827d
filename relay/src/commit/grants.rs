//! How many bytes each session may have under way.
//!
//! - The grants of all sessions together stay within the budget.
//! - Shares change by doubling and halving only, so that a thousand agents coming one by one are told a dozen times,
//!   not a thousand times.

/// The budget and who shares it.
#[derive(Debug)]
pub(super) struct Shares {
    budget: usize,
    sessions: usize,
    /// Into how many shares the budget is cut: a power of two, at least `sessions`.
    cut: usize,
    narrowed: bool,
}

impl Shares {
    pub(super) fn new(budget: usize) -> Self {
        Self { budget, sessions: 0, cut: 1, narrowed: false }
    }

    /// Sessions that share.
    pub(super) fn sessions(&self) -> usize {
        self.sessions
    }

    /// A session begins.
    pub(super) fn join(&mut self) {
        self.sessions += 1;
        if self.sessions > self.cut {
            self.cut *= 2;
            self.narrowed = true;
        }
    }

    /// A session ends.
    pub(super) fn leave(&mut self) {
        self.sessions = self.sessions.saturating_sub(1);
        // A quarter, not a half: sessions that come and go at the edge would have everybody told each time.
        if self.cut > 1 && self.sessions <= self.cut / 4 {
            self.cut /= 2;
        }
    }

    /// Whether shares became smaller since this was last asked.
    pub(super) fn take_narrowed(&mut self) -> bool {
        std::mem::take(&mut self.narrowed)
    }

    /// The grant for each of a session's `streams`, bytes.
    pub(super) fn of_stream(&self, streams: usize) -> u32 {
        u32::try_from(self.budget / self.cut / streams.max(1)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_of_all_sessions_together_stay_within_the_budget() {
        let mut shares = Shares::new(16 << 20);
        let mut told = 0;
        for joined in 1..=1_100 {
            shares.join();
            told += usize::from(shares.take_narrowed());
            assert!(shares.of_stream(3) as usize * 3 * joined <= 16 << 20);
        }
        assert_eq!(told, 11);
        for left in (0..1_100).rev() {
            shares.leave();
            assert!(shares.of_stream(1) as usize * left <= 16 << 20);
        }
        assert_eq!(shares.of_stream(1), 16 << 20);
    }
}
