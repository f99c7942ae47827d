//! The one line that lives on a terminal, and what a log has in its place.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gaitway_agent::status::{AgentSnapshot, AgentStatus};
use gaitway_relay::RelayStatus;
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_millis(500);

/// How often the log tells what moved, where there is no terminal.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Readings a second are a mean over this many lines.
const SPAN: usize = 10;

/// A phone unheard for so long is not counted.
const PRESENT: Duration = Duration::from_secs(60);

/// Draws the line.
#[derive(Debug)]
pub(super) struct Live {
    agent: Arc<AgentStatus>,
    relay: Arc<RelayStatus>,
    history: VecDeque<(Instant, u64)>,
}

impl Live {
    pub(super) fn new(agent: Arc<AgentStatus>, relay: Arc<RelayStatus>) -> Self {
        Self { agent, relay, history: VecDeque::new() }
    }

    /// Draws until `shutdown`.
    pub(super) async fn draw(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut ticks = tokio::time::interval(EVERY);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = shutdown.cancelled() => break,
            }
            let now = Instant::now();
            let snapshot = self.agent.snapshot();
            let rate = self.rate(now, snapshot.readings);
            let trouble = self.relay.error().or_else(|| self.agent.uplink.snapshot().waiting);
            let line = line(&snapshot, rate, self.relay.committed_readings(), trouble.as_deref(), now);
            // A line that wraps cannot be drawn over.
            let width = usize::from(console::Term::stdout().size().1).saturating_sub(1);
            show(&line.chars().take(width).collect::<String>())?;
        }
        let mut out = std::io::stdout().lock();
        writeln!(out)?;
        Ok(())
    }

    /// Logs what moved once a minute, and nothing while nothing moves.
    pub(super) async fn log(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut ticks = tokio::time::interval(LOG_EVERY);
        let mut before = (0, 0, 0);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = shutdown.cancelled() => return Ok(()),
            }
            let agent = self.agent.snapshot();
            let (readings, committed) = (agent.readings, self.relay.committed_readings());
            if (readings, committed, agent.duplicates) == before {
                continue;
            }
            before = (readings, committed, agent.duplicates);
            let now = Instant::now();
            let phones = agent.phones.values().filter(|phone| is_present(phone.heard, now)).count();
            let (spooled, duplicates) = (agent.waiting.0 + agent.waiting.1, agent.duplicates);
            tracing::info!(phones, readings, spooled, committed, duplicates, "readings since the start");
        }
    }

    fn rate(&mut self, now: Instant, readings: u64) -> f64 {
        self.history.push_back((now, readings));
        if self.history.len() > SPAN {
            self.history.pop_front();
        }
        let (since, before) = self.history.front().copied().unwrap_or((now, readings));
        let seconds = now.saturating_duration_since(since).as_secs_f64();
        if seconds > 0.0 { (readings - before) as f64 / seconds } else { 0.0 }
    }
}

fn show(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    write!(out, "\r\x1b[2K{line}")?;
    out.flush()
}

fn is_present(heard: Instant, now: Instant) -> bool {
    now.saturating_duration_since(heard) < PRESENT
}

fn line(agent: &AgentSnapshot, rate: f64, committed: u64, trouble: Option<&str>, now: Instant) -> String {
    let phones: Vec<_> = agent.phones.values().filter(|phone| is_present(phone.heard, now)).collect();
    let mut parts = vec![match phones.len() {
        0 => "no phone yet".to_owned(),
        1 => "1 phone".to_owned(),
        more => format!("{more} phones"),
    }];
    parts.push(format!("{rate:.0} readings/s"));
    match phones.as_slice() {
        [phone] => parts.extend(phone.running.as_ref().map(|window| {
            let percent = window.confidence * 100.0;
            format!("{}, {percent:.0} %", window.activity.as_str())
        })),
        several => {
            let mut doing = BTreeMap::new();
            for window in several.iter().filter_map(|phone| phone.running.as_ref()) {
                *doing.entry(window.activity.as_str()).or_insert(0) += 1;
            }
            parts.extend(doing.into_iter().map(|(activity, phones)| format!("{phones} {activity}")));
        }
    }
    parts.push(format!("{} spooled", agent.waiting.0 + agent.waiting.1));
    parts.push(format!("{committed} readings committed"));
    if agent.duplicates > 0 {
        parts.push(format!("{} pushes known already", agent.duplicates));
    }
    parts.extend(trouble.map(str::to_owned));
    parts.join(" · ")
}

#[cfg(test)]
mod tests {
    use gaitway_agent::status::Phone;
    use gaitway_proto::activity::{Activity, Window};

    use super::*;

    #[test]
    fn the_line_says_what_phones_do_and_what_waits() {
        let now = Instant::now();
        let empty = AgentSnapshot::default();
        assert_eq!(line(&empty, 0.0, 0, None, now), "no phone yet · 0 readings/s · 0 spooled · 0 readings committed");

        let running = Window {
            start: 0,
            end: 1,
            count: 1,
            mean: 5.0,
            activity: Activity::Walking,
            confidence: 0.874,
            revision: 0,
        };
        let phone = Phone { readings: 5, running: Some(running), ..Phone::new(now) };
        let phones = BTreeMap::from([("a".to_owned(), std::sync::Arc::new(phone))]);
        let mut agent = AgentSnapshot { phones, readings: 5, waiting: (2, 1), ..AgentSnapshot::default() };
        assert_eq!(
            line(&agent, 99.6, 7, Some("waiting for relay"), now),
            "1 phone · 100 readings/s · walking, 87 % · 3 spooled · 7 readings committed · waiting for relay"
        );
        for name in ["b", "c"] {
            agent.phones.insert(name.to_owned(), agent.phones["a"].clone());
        }
        agent.duplicates = 9;
        assert_eq!(
            line(&agent, 0.0, 7, None, now),
            "3 phones · 0 readings/s · 3 walking · 3 spooled · 7 readings committed · 9 pushes known already"
        );
    }
}
