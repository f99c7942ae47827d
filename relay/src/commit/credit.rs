//! How many new sources one agent may bring into the ledger, which remembers each for 400 days. Pure.
//!
//! - An agent may bring [`BURST`] at once, and then one every [`EVERY`]: some 5,000 starts in a row, and a start every three minutes
//!   for ever. So the ledger holds no more than 600,000 sources of an agent, whatever it says.
//! - Who has brought as many is asked to wait. What it brought before is served as ever.
//! - What is committed is owed, not what is asked for: what fails costs nothing.
//! - Only who owes is remembered, [`MOST`] of them; who owes least is forgotten first.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use gaitway_proto::topic::AgentId;

/// Sources at once. A start brings three: it is the heir of the start before, and has two streams.
pub(super) const BURST: u32 = 16_384;

/// How often another may come.
const EVERY: Duration = Duration::from_secs(60);

/// Agents that are remembered.
const MOST: usize = 10_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Credit(BTreeMap<AgentId, Debt>);

#[derive(Debug, Clone, Copy)]
struct Debt {
    owed: u32,
    /// Up to when it was reduced.
    since: Instant,
}

impl Debt {
    fn reduce(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.since).as_secs() / EVERY.as_secs();
        let reduced = u32::try_from(passed).unwrap_or(u32::MAX);
        self.owed = self.owed.saturating_sub(reduced);
        self.since += EVERY * reduced;
    }
}

impl Credit {
    /// Whether `agent` may bring new sources; if not, how long it has to wait.
    pub(super) fn ask(&mut self, now: Instant, agent: &AgentId) -> Result<(), Duration> {
        let Some(debt) = self.0.get_mut(agent) else { return Ok(()) };
        debt.reduce(now);
        match (debt.owed + 1).checked_sub(BURST) {
            None | Some(0) => Ok(()),
            Some(beyond) => Err((EVERY * beyond).saturating_sub(now.saturating_duration_since(debt.since))),
        }
    }

    /// `agent` brought so many.
    pub(super) fn owe(&mut self, now: Instant, agent: &AgentId, sources: u32) {
        if !self.0.contains_key(agent) && self.0.len() >= MOST {
            self.0.retain(|_, debt| {
                debt.reduce(now);
                debt.owed > 0
            });
            if self.0.len() >= MOST
                && let Some(least) = self.0.iter().min_by_key(|(_, debt)| debt.owed).map(|(agent, _)| agent.clone())
            {
                self.0.remove(&least);
            }
        }
        let debt = self.0.entry(agent.clone()).or_insert(Debt { owed: 0, since: now });
        debt.reduce(now);
        debt.owed = debt.owed.saturating_add(sources);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(number: usize) -> AgentId {
        format!("a-{number}").parse().unwrap()
    }

    #[test]
    fn an_agent_brings_so_many_at_once_and_then_one_a_minute() {
        let (mut credit, start, pi) = (Credit::default(), Instant::now(), agent(1));
        credit.owe(start, &pi, BURST - 1);
        assert_eq!(credit.ask(start, &pi), Ok(()));
        credit.owe(start, &pi, 64);
        assert_eq!(credit.ask(start, &pi), Err(EVERY * 64));
        assert_eq!(credit.ask(start + Duration::from_secs(90), &pi), Err(Duration::from_secs(62 * 60 + 30)));
        assert_eq!(credit.ask(start + EVERY * 64, &pi), Ok(()));
        assert_eq!(credit.ask(start, &agent(2)), Ok(()), "another agent's is its own");
        let long = start + EVERY * (2 * BURST);
        credit.owe(long, &pi, BURST);
        assert_eq!(credit.ask(long, &pi), Err(EVERY), "no more is saved up than may come at once");
    }

    #[test]
    fn only_who_owes_is_remembered_and_not_too_many_of_them() {
        let (mut credit, start) = (Credit::default(), Instant::now());
        for number in 0..MOST {
            credit.owe(start, &agent(number), if number == 7 { 1 } else { 2 });
        }
        credit.owe(start, &agent(MOST), 1);
        assert!(credit.0.len() == MOST && !credit.0.contains_key(&agent(7)));
        credit.owe(start + EVERY * 2, &agent(7), 1);
        assert_eq!(credit.0.len(), 1);
    }
}
