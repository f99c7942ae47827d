//! Which of many like events are told to the log. Pure: time is an argument.
//!
//! - Of one kind and agent one event a minute is told, with how many were not told before it.
//! - Of one kind no more than [`AGENTS`] agents are told apart in a minute, whoever has the passwords of thousands.
//! - Of a trouble that goes on, each new sentence is told, and the same one once a minute.

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

impl Told {
    fn now(now: Instant) -> Self {
        Self { at: now, untold: 0 }
    }

    /// One more. Some: it is to be told.
    fn again(&mut self, now: Instant) -> Option<Before> {
        if now.saturating_duration_since(self.at) < EVERY {
            self.untold += 1;
            return None;
        }
        self.at = now;
        Some(Before(std::mem::take(&mut self.untold)))
    }
}

/// How many like it were not told before an event that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Before(u64);

impl Before {
    /// As a field of the log, `like_it_before`: left out where there was none.
    pub(crate) fn count(self) -> Option<u64> {
        (self.0 > 0).then_some(self.0)
    }
}

impl Throttle {
    /// An event of `kind` happened, to do with `agent`: proven to be it, or for kinds of those who are not, claiming to
    /// be. Some: it is to be told.
    pub(crate) fn tell(&mut self, now: Instant, agent: Option<&AgentId>, kind: &'static str) -> Option<Before> {
        let told = self.0.entry(kind).or_default();
        let mut key = agent.cloned();
        if told.len() >= AGENTS && !told.contains_key(&key) {
            told.retain(|_, told| now.saturating_duration_since(told.at) < EVERY);
            if told.len() >= AGENTS {
                key = None;
            }
        }
        if let Some(told) = told.get_mut(&key) {
            return told.again(now);
        }
        told.insert(key, Told::now(now));
        Some(Before(0))
    }
}

/// Of something that fails and recovers, what the log was told last. See the module.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    last: Option<(String, Told)>,
    is_over: bool,
}

impl Trouble {
    /// It failed, as `sentence` says. Some: it is to be told.
    pub(crate) fn tell(&mut self, now: Instant, sentence: &str) -> Option<Before> {
        let before = match &mut self.last {
            Some((last, told)) if last == sentence => told.again(now)?,
            last => {
                let untold = last.take().map_or(0, |(_, told)| told.untold);
                *last = Some((sentence.to_owned(), Told::now(now)));
                Before(untold)
            }
        };
        self.is_over = false;
        Some(before)
    }

    /// It is well (again). Whether that is to be told: the log was told otherwise last, or nothing yet.
    pub(crate) fn ends(&mut self) -> bool {
        !std::mem::replace(&mut self.is_over, true)
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
        assert_eq!(tell(0, None, "identity"), Some(Before(0)));
        for second in 1..60 {
            assert_eq!(tell(second, None, "identity"), None);
        }
        assert_eq!(tell(30, None, "malformed"), Some(Before(0)), "another kind");
        assert_eq!(tell(30, Some(&pi), "identity"), Some(Before(0)), "an agent's own");
        assert_eq!(tell(31, Some(&other), "identity"), Some(Before(0)));
        assert_eq!(tell(60, None, "identity"), Some(Before(59)));
        assert_eq!(tell(120, None, "identity"), Some(Before(0)));
    }

    #[test]
    fn how_many_came_before_is_left_out_where_none_did() {
        assert_eq!((Before(0).count(), Before(7).count()), (None, Some(7)));
    }

    #[test]
    fn of_a_trouble_each_new_sentence_is_told_and_the_same_one_once_a_minute() {
        let (mut trouble, start) = (Trouble::default(), Instant::now());
        let at = |second| start + Duration::from_secs(second);
        assert!(trouble.ends(), "well from the beginning");
        assert!(!trouble.ends());
        assert_eq!(trouble.tell(at(0), "the disk is full"), Some(Before(0)));
        assert!(trouble.ends());
        for second in 1..60 {
            assert_eq!(trouble.tell(at(second), "the disk is full"), None);
            assert!(!trouble.ends(), "the log says that it is well");
        }
        assert_eq!(trouble.tell(at(60), "the disk is full"), Some(Before(59)));
        assert_eq!(trouble.tell(at(61), "the disk is full"), None);
        assert_eq!(trouble.tell(at(62), "the disk is gone"), Some(Before(1)));
        assert_eq!(trouble.tell(at(63), "the disk is full"), Some(Before(0)));
        assert!(trouble.ends());
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
        assert_eq!(throttle.tell(start, Some(&agent(0)), "io"), Some(Before(0)), "another kind");
        assert_eq!(told(&mut throttle, start + EVERY), AGENTS + 1);
        assert_eq!(throttle.0["peer"].len(), AGENTS + 1);
    }
}
