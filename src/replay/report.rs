//! What came of a replay.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Most different refusals that are told apart.
const MOST_REASONS: usize = 50;

/// Counts what was answered.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Report {
    /// Messages accepted.
    pub(super) messages: u64,
    /// Readings in them.
    pub(super) readings: u64,
    /// How long it took.
    pub(super) elapsed: Duration,
    /// Messages sent again because the network or the service failed.
    pub(super) retries: u64,
    /// Stopped from outside.
    pub(super) interrupted: bool,
    refusals: BTreeMap<(u16, String), u64>,
    gave_up: BTreeMap<String, Vec<String>>,
    unread: Vec<String>,
}

impl Report {
    /// A message was accepted.
    pub(super) fn accepted(&mut self, readings: u64) {
        self.messages += 1;
        self.readings += readings;
    }

    /// A message was refused with an HTTP status and a sentence.
    pub(super) fn refused(&mut self, status: u16, reason: String) {
        let full = self.refusals.len() >= MOST_REASONS && !self.refusals.contains_key(&(status, reason.clone()));
        let reason = if full { "other reasons".to_owned() } else { reason };
        *self.refusals.entry((status, reason)).or_default() += 1;
    }

    /// A phone stopped sending because of `reason`.
    pub(super) fn gave_up(&mut self, phone: String, reason: String) {
        self.gave_up.entry(reason).or_default().push(phone);
    }

    /// A recording could not be read to its end.
    pub(super) fn unread(&mut self, reason: String) {
        self.unread.push(reason);
    }

    /// Messages answered.
    pub(super) fn answered(&self) -> u64 {
        self.messages + self.refused_messages()
    }

    /// Whether everything in the files was accepted.
    pub(super) fn complete(&self) -> bool {
        !self.interrupted && self.refusals.is_empty() && self.gave_up.is_empty() && self.unread.is_empty()
    }

    fn refused_messages(&self) -> u64 {
        self.refusals.values().sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        let rate = if seconds > 0.0 { self.readings as f64 / seconds } else { 0.0 };
        writeln!(f, "messages    {:>12}", self.messages)?;
        writeln!(f, "readings    {:>12}", self.readings)?;
        writeln!(f, "seconds     {seconds:>12.3}")?;
        writeln!(f, "readings/s  {rate:>12.0}")?;
        writeln!(f, "refusals    {:>12}", self.refused_messages())?;
        for ((status, reason), count) in &self.refusals {
            writeln!(f, "  {count} × {status} {reason}")?;
        }
        if self.retries > 0 {
            writeln!(f, "retries     {:>12}", self.retries)?;
        }
        for (reason, phones) in &self.gave_up {
            let first = phones.first().map_or("", String::as_str);
            let others = if phones.len() > 1 { format!(" and {} more", phones.len() - 1) } else { String::new() };
            writeln!(f, "gave up: {first}{others}: {reason}")?;
        }
        if self.messages == 0 && !self.gave_up.is_empty() {
            writeln!(f, "nobody took a message: is the agent running? `gaitway up` starts one")?;
        }
        for reason in &self.unread {
            writeln!(f, "not read to its end: {reason}")?;
        }
        if self.interrupted {
            writeln!(f, "interrupted")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_what_was_not_accepted() {
        let mut report = Report { elapsed: Duration::from_millis(2_500), retries: 4, ..Report::default() };
        report.accepted(50);
        report.accepted(25);
        assert!(report.complete());
        report.refused(499, "wrong token".into());
        report.refused(499, "wrong token".into());
        report.refused(400, "not JSON".into());
        report.gave_up("phone-a".into(), "connection refused".into());
        report.gave_up("phone-b".into(), "connection refused".into());
        report.unread("a.ndjson: line 7: corrupt deflate stream".into());
        assert!(!report.complete());
        assert_eq!(report.answered(), 5);
        assert_eq!(
            report.to_string(),
            "messages               2\n\
             readings              75\n\
             seconds            2.500\n\
             readings/s            30\n\
             refusals               3\n  \
               1 × 400 not JSON\n  \
               2 × 499 wrong token\n\
             retries                4\n\
             gave up: phone-a and 1 more: connection refused\n\
             not read to its end: a.ndjson: line 7: corrupt deflate stream\n"
        );
    }

    #[test]
    fn reasons_without_number_are_not_kept_apart() {
        let mut report = Report::default();
        for n in 0..1_000 {
            report.refused(400, format!("reason {n}"));
        }
        assert_eq!(report.answered(), 1_000);
        assert!(report.refusals.len() <= MOST_REASONS + 1);
    }
}
