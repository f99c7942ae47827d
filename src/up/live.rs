//! The one line that lives on a terminal.

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gaitway_agent::status::{AgentSnapshot, AgentStatus};
use gaitway_relay::RelayStatus;
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_millis(500);

/// Readings a second are a mean over this many lines.
const SPAN: usize = 10;

/// A phone unheard for so long is not counted.
const PRESENT: Duration = Duration::from_secs(60);

/// Phones whose activity fits on a line.
const SHOWN: usize = 3;

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

    pub(super) async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
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
            draw(&line(&snapshot, rate, self.relay.committed_readings(), trouble.as_deref(), now))?;
        }
        let mut out = std::io::stdout().lock();
        writeln!(out)?;
        Ok(())
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

fn draw(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    write!(out, "\r\x1b[2K{line}")?;
    out.flush()
}

fn line(agent: &AgentSnapshot, rate: f64, committed: u64, trouble: Option<&str>, now: Instant) -> String {
    let present = |heard: Instant| now.saturating_duration_since(heard) < PRESENT;
    let mut phones: Vec<_> = agent.phones.values().filter(|phone| present(phone.heard)).collect();
    phones.sort_by_key(|phone| std::cmp::Reverse(phone.heard));
    let mut parts = vec![match phones.len() {
        0 => "no phone yet".to_owned(),
        1 => "1 phone".to_owned(),
        more => format!("{more} phones"),
    }];
    parts.push(format!("{rate:.0} readings/s"));
    let running = phones.iter().filter_map(|phone| phone.running.as_ref()).take(SHOWN);
    parts.extend(running.map(|window| format!("{}, {:.0} %", window.activity.as_str(), window.confidence * 100.0)));
    parts.push(format!("{} spooled", agent.waiting.0 + agent.waiting.1));
    parts.push(format!("{committed} readings committed"));
    parts.extend(trouble.map(|trouble| trouble.chars().take(80).collect()));
    parts.join(" · ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

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
        let phone = Phone { heard: now, readings: 5, running: Some(running) };
        let phones = BTreeMap::from([("a".to_owned(), phone)]);
        let agent = AgentSnapshot { phones, readings: 5, waiting: (2, 1), spool_bytes: 0 };
        assert_eq!(
            line(&agent, 99.6, 7, Some("waiting for relay"), now),
            "1 phone · 100 readings/s · walking, 87 % · 3 spooled · 7 readings committed · waiting for relay"
        );
    }
}
