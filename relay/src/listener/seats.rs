//! Which connection each agent id has.
//!
//! - No more agents than the cap have a seat; a newer connection of an agent that has one needs none.
//! - A newer connection takes the seat of an older one.
//! - A seat taken over three times within a minute is refused to others until the oldest takeover is a minute old.
//! - A seat is forgotten when it is free and was not taken over lately.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gaitway_proto::topic::AgentId;
use tokio::sync::SetOnce;
use tokio_util::sync::CancellationToken;

use crate::link::LinkId;

const TAKEOVERS: usize = 3;
const WITHIN: Duration = Duration::from_secs(60);

/// Free seats with a history are looked through once this many are known.
const SWEEP_ABOVE: usize = 4096;

/// See the module.
#[derive(Debug)]
pub(crate) struct Seats {
    chairs: HashMap<AgentId, Chair>,
    /// How many chairs may have a holder, and how many do.
    most: usize,
    held: usize,
}

#[derive(Debug, Default)]
struct Chair {
    holder: Option<Holder>,
    takeovers: VecDeque<Instant>,
}

/// A connection on its seat.
#[derive(Debug, Clone)]
pub(super) struct Holder {
    pub link: LinkId,
    /// The newer connection that wants the seat, which asks this one to end.
    pub newer: Arc<SetOnce<LinkId>>,
    /// It has ended, and so have those before it.
    pub gone: CancellationToken,
}

/// What came of asking for a seat.
#[derive(Debug)]
pub(super) enum Claim {
    /// It is the asker's, once the holder `before` has gone.
    Granted { before: Option<Holder> },
    /// It changes hands too often.
    Refused,
    /// As many agents as may be have one.
    Full,
}

/// Why there is no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoSeat {
    /// It changes hands too often.
    Contested,
    /// As many agents as may be have one.
    Full,
}

impl Holder {
    pub(super) fn new(link: LinkId) -> Self {
        Self { link, newer: Arc::default(), gone: CancellationToken::new() }
    }
}

impl Chair {
    fn age(&mut self, now: Instant) {
        self.takeovers.retain(|at| now.saturating_duration_since(*at) < WITHIN);
    }

    fn is_forgettable(&self) -> bool {
        self.holder.is_none() && self.takeovers.is_empty()
    }
}

impl Seats {
    /// Seats for at most `most` agents.
    pub(super) fn new(most: usize) -> Self {
        Self { chairs: HashMap::new(), most, held: 0 }
    }

    /// Gives `agent`'s seat to `holder`.
    pub(super) fn claim(&mut self, now: Instant, agent: &AgentId, holder: Holder) -> Claim {
        if self.chairs.len() > SWEEP_ABOVE {
            self.chairs.values_mut().for_each(|chair| chair.age(now));
            self.chairs.retain(|_, chair| !chair.is_forgettable());
        }
        if self.held >= self.most && self.chairs.get(agent).is_none_or(|chair| chair.holder.is_none()) {
            return Claim::Full;
        }
        let chair = self.chairs.entry(agent.clone()).or_default();
        chair.age(now);
        if chair.holder.is_some() {
            if chair.takeovers.len() >= TAKEOVERS {
                return Claim::Refused;
            }
            chair.takeovers.push_back(now);
        } else {
            self.held += 1;
        }
        Claim::Granted { before: chair.holder.replace(holder) }
    }

    /// `link` does not need its seat any more.
    fn release(&mut self, now: Instant, agent: &AgentId, link: LinkId) {
        let Some(chair) = self.chairs.get_mut(agent) else { return };
        if chair.holder.as_ref().is_some_and(|holder| holder.link == link) {
            chair.holder = None;
            self.held -= 1;
        }
        chair.age(now);
        if chair.is_forgettable() {
            self.chairs.remove(agent);
        }
    }
}

/// A seat held; leaves it when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Mutex<Seats>>,
    agent: AgentId,
    holder: Holder,
}

impl Seat {
    /// Takes `agent`'s seat, and waits until whoever held it has gone.
    pub(super) async fn take(seats: &Arc<Mutex<Seats>>, agent: &AgentId, link: LinkId) -> Result<Self, NoSeat> {
        let holder = Holder::new(link);
        let claim = seats.lock().unwrap_or_else(PoisonError::into_inner).claim(now(), agent, holder.clone());
        let before = match claim {
            Claim::Granted { before } => before,
            Claim::Refused => return Err(NoSeat::Contested),
            Claim::Full => return Err(NoSeat::Full),
        };
        let seat = Self { seats: Arc::clone(seats), agent: agent.clone(), holder };
        if let Some(before) = before {
            // It has not been set before: a seat is taken from its holder once.
            let _ = before.newer.set(link);
            // Even if a third takes over meanwhile: it waits for this one, and thereby for the first.
            before.gone.cancelled().await;
        }
        Ok(seat)
    }

    /// Resolves when a newer connection takes over: to that one.
    pub(super) async fn taken_over(&self) -> LinkId {
        *self.holder.newer.wait().await
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner).release(now(), &self.agent, self.holder.link);
        self.holder.gone.cancel();
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::LinkIds;

    #[test]
    fn a_seat_taken_over_three_times_within_a_minute_is_refused() {
        let (mut seats, links, start) = (Seats::new(1_000_000), LinkIds::default(), Instant::now());
        let pi: AgentId = "pi".parse().unwrap();
        let mut claim = |seconds, agent: &AgentId| {
            let holder = Holder::new(links.next());
            let claim = seats.claim(start + Duration::from_secs(seconds), agent, holder.clone());
            (matches!(claim, Claim::Granted { .. }), holder)
        };
        for second in 0..4 {
            assert!(claim(second, &pi).0, "{second}");
        }
        assert!(!claim(4, &pi).0);
        assert!(claim(4, &"other".parse().unwrap()).0);
        assert!(!claim(60, &pi).0, "the first takeover was at 1 s");
        assert!(claim(61, &pi).0);
        assert!(!claim(61, &pi).0);
    }

    #[test]
    fn no_more_agents_than_the_cap_have_a_seat_and_a_takeover_needs_none() {
        let (mut seats, links, now) = (Seats::new(1), LinkIds::default(), Instant::now());
        let [pi, other]: [AgentId; 2] = ["pi", "other"].map(|id| id.parse().unwrap());
        let [first, second, third] = [(); 3].map(|()| Holder::new(links.next()));
        assert!(matches!(seats.claim(now, &pi, first.clone()), Claim::Granted { before: None }));
        assert!(matches!(seats.claim(now, &other, third.clone()), Claim::Full));
        assert!(matches!(seats.claim(now, &pi, second.clone()), Claim::Granted { before: Some(_) }));
        seats.release(now, &pi, first.link);
        assert!(matches!(seats.claim(now, &other, third.clone()), Claim::Full));
        seats.release(now, &pi, second.link);
        assert!(matches!(seats.claim(now, &other, third), Claim::Granted { .. }));
    }

    #[test]
    fn a_seat_is_forgotten_when_free_and_not_taken_over_lately() {
        let (mut seats, links, start) = (Seats::new(1_000_000), LinkIds::default(), Instant::now());
        let pi: AgentId = "pi".parse().unwrap();
        let [first, second] = [(); 2].map(|()| Holder::new(links.next()));
        seats.claim(start, &pi, first.clone());
        let Claim::Granted { before: Some(before) } = seats.claim(start, &pi, second.clone()) else { panic!() };
        assert_eq!(before.link, first.link);
        seats.release(start, &pi, first.link);
        assert!(seats.chairs[&pi].holder.is_some(), "the seat is the second's");
        seats.release(start, &pi, second.link);
        assert_eq!(seats.chairs.len(), 1, "its takeovers still count");
        for n in 0..=SWEEP_ABOVE {
            let agent: AgentId = format!("a{n}").parse().unwrap();
            seats.claim(start, &agent, Holder::new(links.next()));
        }
        let held = Holder::new(links.next());
        seats.claim(start + WITHIN, &"last".parse().unwrap(), held);
        assert!(!seats.chairs.contains_key(&pi));
        assert_eq!(seats.chairs.len(), SWEEP_ABOVE + 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_before_has_gone_when_the_next_is_seated() {
        let (seats, links) = (Arc::new(Mutex::new(Seats::new(1_000_000))), LinkIds::default());
        let pi: AgentId = "pi".parse().unwrap();
        let first = Seat::take(&seats, &pi, links.next()).await.unwrap();
        let [newer, newest] = [(); 2].map(|()| links.next());
        let mut second = Box::pin(Seat::take(&seats, &pi, newer));
        assert!(tokio::time::timeout(Duration::from_secs(1), &mut second).await.is_err());
        assert_eq!(first.taken_over().await, newer);
        let mut third = Box::pin(Seat::take(&seats, &pi, newest));
        assert!(tokio::time::timeout(Duration::from_secs(1), &mut third).await.is_err());
        drop(first);
        let second = second.await.unwrap();
        assert_eq!(second.taken_over().await, newest);
        drop(second);
        drop(third.await.unwrap());
        assert!(seats.lock().unwrap().chairs[&pi].holder.is_none());
    }
}
