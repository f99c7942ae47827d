//! How far a replay is: a bar on a terminal, a line now and then elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::report::Report;

/// How often a plain line is written.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// How many messages a recording will give, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Estimate(AtomicU64);

impl Estimate {
    /// `messages` were read so far, which were `done` of a recording's `size`.
    pub(super) fn update(&self, messages: u64, done: u64, size: u64) {
        let whole = u128::from(messages) * u128::from(size.max(done)) / u128::from(done.max(1));
        self.0.store(u64::try_from(whole).unwrap_or(u64::MAX).max(messages), Ordering::Relaxed);
    }

    /// The recording has been read to its end.
    pub(super) fn settle(&self, messages: u64) {
        self.0.store(messages, Ordering::Relaxed);
    }

    /// The messages that are expected.
    pub(super) fn messages(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Where progress is shown.
pub(super) enum Progress {
    /// On a terminal.
    Bar(ProgressBar),
    /// In lines on stderr.
    Plain {
        /// When the next is due, since the start.
        next: Duration,
    },
}

impl Progress {
    /// As stderr allows.
    pub(super) fn on_stderr() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::Plain { next: PLAIN_EVERY };
        }
        let style = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} messages, {msg}, {eta} left");
        let bar = ProgressBar::new(0);
        Self::Bar(match style {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        })
    }

    /// Shows `report` after `elapsed`, of `expected` messages in all.
    pub(super) fn show(&mut self, report: &Report, elapsed: Duration, expected: u64) {
        match self {
            Self::Bar(bar) => {
                bar.set_length(expected.max(report.answered()));
                bar.set_position(report.answered());
                bar.set_message(format!("{} readings", report.readings));
            }
            Self::Plain { next } if elapsed >= *next => {
                *next = elapsed + PLAIN_EVERY;
                let line = format!(
                    "{} of about {expected} messages, {} readings, {} s",
                    report.answered(),
                    report.readings,
                    elapsed.as_secs()
                );
                // A closed stderr must not end the replay.
                let _ = writeln!(std::io::stderr(), "{line}");
            }
            Self::Plain { .. } => {}
        }
    }

    /// Leaves the place to the report.
    pub(super) fn clear(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_grows_with_what_was_read() {
        let estimate = Estimate::default();
        estimate.update(1, 10, 1_000);
        assert_eq!(estimate.messages(), 100);
        estimate.update(30, 2_000, 1_000);
        assert_eq!(estimate.messages(), 30);
        estimate.update(u64::MAX, 1, u64::MAX);
        assert_eq!(estimate.messages(), u64::MAX);
        estimate.settle(31);
        assert_eq!(estimate.messages(), 31);
    }
}
