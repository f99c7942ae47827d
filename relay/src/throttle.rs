//! Which of many like events are told to the log. Pure: time is an argument.
//!
//! - Of one kind and agent one event a minute is told, with how many were not told before it.
//! - Of one kind no more than [`AGENTS`] agents are told apart in a minute, whoever has the passwords of thousands.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use gaitway_proto::topic::AgentId;

const EVERY: Duration = Duration::from_secs(60);
const AGENTS: usize = 32;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Throttle(BTreeMap<&'static str, BTreeMap<Option<AgentId>, Told>>);

#[derive(Debug)]
struct Told {
    at: Instant,
    untold: u64,
}

impl Throttle {
    /// An event of `kind` happened, to do with `agent` if it is proven who that is. Some: it is to be told, and so many
    /// before it were not.
    pub(crate) fn tell(&mut self, now: Instant, agent: Option<&AgentId>, kind: &'static str) -> Option<u64> {
        let told = self.0.entry(kind).or_default();
        let mut key = agent.cloned();
        if told.len() >= AGENTS && !told.contains_key(&key) {
            told.retain(|_, told| now.saturating_duration_since(told.at) < EVERY);
            if told.len() >= AGENTS {
                key = None;
            }
        }
        let Some(told) = told.get_mut(&key) else {
            told.insert(key, Told { at: now, untold: 0 });
            return Some(0);
        };
        if now.saturating_duration_since(told.at) < EVERY {
            told.untold += 1;
            return None;
        }
        told.at = now;
        Some(std::mem::take(&mut told.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_kind_and_agent_one_event_a_minute_is_told() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        let [pi, other] = ["pi", "other"].map(|id| id.parse::<AgentId>().unwrap());
        let mut tell =
            |second, agent: Option<&AgentId>, kind| throttle.tell(start + Duration::from_secs(second), agent, kind);
        assert_eq!(tell(0, None, "identity"), Some(0));
        for second in 1..60 {
            assert_eq!(tell(second, None, "identity"), None);
        }
        assert_eq!(tell(30, None, "malformed"), Some(0), "another kind");
        assert_eq!(tell(30, Some(&pi), "identity"), Some(0), "an agent's own");
        assert_eq!(tell(31, Some(&other), "identity"), Some(0));
        assert_eq!(tell(60, None, "identity"), Some(59));
        assert_eq!(tell(120, None, "identity"), Some(0));
    }

    #[test]
    fn of_one_kind_only_so_many_agents_are_told_apart_in_a_minute() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        let agent = |n| format!("a{n}").parse::<AgentId>().unwrap();
        let told = |throttle: &mut Throttle, now| {
            (0..1_000).filter(|n| throttle.tell(now, Some(&agent(*n)), "peer").is_some()).count()
        };
        assert_eq!(told(&mut throttle, start), AGENTS + 1);
        assert_eq!(throttle.0["peer"].len(), AGENTS + 1);
        assert_eq!(throttle.tell(start, Some(&agent(0)), "io"), Some(0), "another kind");
        assert_eq!(told(&mut throttle, start + EVERY), AGENTS + 1);
        assert_eq!(throttle.0["peer"].len(), AGENTS + 1);
    }
}
