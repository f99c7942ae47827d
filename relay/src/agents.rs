//! What people ask of each agent: when it was last heard, whether it is here, what it has that is not committed yet.
//!
//! - One small entry an agent, [`MOST`] of them: the one that has been away for longest goes first.
//! - Of streams only those with a backlog are kept.
//! - A backlog is what the agent announced or sent and the ledger has not committed. An agent that is away may have
//!   more by now: nobody here can know.
//! - It is told from the agent's own words and never decides anything.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::http::header;
use axum::routing::get;
use gaitway_proto::envelope::{Batch, Hello, Welcome};
use gaitway_proto::ledger::{Epoch, Stream};
use gaitway_proto::limits::MAX_HELLO_STREAMS;
use gaitway_proto::schema::rfc3339;
use gaitway_proto::topic::AgentId;
use serde::{Deserialize, Serialize};

use crate::ledger::Landed;
use crate::link::LinkId;

mod measured;

use measured::Measured;
pub(crate) use measured::Measures;

/// Agents that are remembered.
const MOST: usize = 10_000;

/// Characters of an agent's software name that are remembered.
const SOFTWARE: usize = 64;

/// Agents that have metrics of their own.
const MOST_MEASURED: usize = 1_000;

/// All agents since the relay's start. Times are microseconds since the Unix epoch.
#[derive(Debug, Default)]
pub(crate) struct Agents(Mutex<BTreeMap<AgentId, Entry>>);

#[derive(Debug, Default)]
struct Entry {
    heard_at: i64,
    link: Option<LinkId>,
    welcomed: bool,
    software: String,
    behind: BTreeMap<(Epoch, Stream), Behind>,
    /// Of the newest push committed.
    received_at: Option<i64>,
    /// Committed while it was remembered.
    frames: u64,
}

/// A stream with a backlog: `committed < known`.
#[derive(Debug, Clone, Copy)]
struct Behind {
    committed: u64,
    /// Greatest seq that the agent is known to have.
    known: u64,
}

/// How an agent is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// It has a session.
    Here,
    /// It is connected and has no session (yet).
    Connected,
    /// It is not connected.
    Away,
    /// It was not heard of since the relay's start.
    Unheard,
}

#[cfg(feature = "kafka")]
impl State {
    /// As people read it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::Connected => "connected",
            Self::Away => "away",
            Self::Unheard => "unheard",
        }
    }
}

/// One agent as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Shown {
    /// Its id.
    pub agent: String,
    /// How it is connected.
    pub state: State,
    /// When it was last heard; of one unheard, when something of it was last committed. RFC 3339.
    pub last_contact: String,
    /// Seconds since then.
    pub silent_seconds: u64,
    /// Frames it is known to have that are not committed; null where nobody knows.
    pub backlog_frames: Option<u64>,
    /// Seconds since the newest push that is committed was received, by the agent's clock; null without a backlog, or
    /// if none was committed since the relay's start.
    pub backlog_seconds: Option<u64>,
    /// What it says that it is.
    pub software: Option<String>,
}

/// The answer of `/agents`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// The Kafka that this relay commits to.
    pub kafka: Option<String>,
    /// Agents heard of since the relay's start, by id.
    pub agents: Vec<Shown>,
}

impl Agents {
    /// An agent connected.
    pub(crate) fn linked(&self, now: i64, agent: &AgentId, link: LinkId) {
        self.with(now, agent, |entry| (entry.link, entry.welcomed) = (Some(link), false));
    }

    /// It said what it has.
    pub(crate) fn hello(&self, now: i64, agent: &AgentId, link: LinkId, hello: &Hello) {
        self.with(now, agent, |entry| {
            if entry.link != Some(link) {
                return;
            }
            entry.software = hello.software.chars().take(SOFTWARE).collect();
            entry.behind.clear();
            for offer in hello.streams.iter().filter(|offer| offer.next > offer.first) {
                let behind = Behind { committed: offer.first.saturating_sub(1), known: offer.next - 1 };
                entry.behind.insert((offer.epoch, offer.stream), behind);
            }
        });
    }

    /// It was told how far the ledger is.
    pub(crate) fn welcomed(&self, agent: &AgentId, welcome: &Welcome) {
        self.each(agent, |entry| {
            entry.welcomed = true;
            for granted in &welcome.streams {
                entry.commit(granted.epoch, granted.stream, granted.committed);
            }
        });
    }

    /// It sent items.
    pub(crate) fn batch(&self, now: i64, agent: &AgentId, batch: &Batch) {
        let end = batch.items.iter().fold(batch.first, |seq, item| seq.saturating_add(item.span()));
        let known = end.saturating_sub(1);
        self.with(now, agent, |entry| {
            let key = (batch.epoch, batch.stream);
            if let Some(behind) = entry.behind.get_mut(&key) {
                behind.known = behind.known.max(known);
            } else if known >= batch.first && entry.behind.len() < MAX_HELLO_STREAMS {
                entry.behind.insert(key, Behind { committed: batch.first.saturating_sub(1), known });
            }
        });
    }

    /// The ledger has more.
    pub(crate) fn landed(&self, landed: &[Landed]) {
        for Landed { name, to, received_at, frames } in landed {
            self.each(&name.agent, |entry| {
                entry.commit(name.epoch, name.stream, *to);
                entry.received_at = entry.received_at.max(*received_at);
                entry.frames += frames;
            });
        }
    }

    /// A connection ended.
    pub(crate) fn gone(&self, now: i64, agent: &AgentId, link: LinkId) {
        self.with(now, agent, |entry| {
            if entry.link == Some(link) {
                (entry.link, entry.welcomed) = (None, false);
            }
        });
    }

    /// How each is at `now`.
    pub(crate) fn shown(&self, now: i64) -> Vec<Shown> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().map(|(agent, entry)| entry.shown(now, agent)).collect()
    }

    /// The first by id, [`MOST_MEASURED`] at most, so that one that is away keeps its series; and how many more there are.
    fn measured(&self) -> (Vec<Measured>, usize) {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = entries.iter().take(MOST_MEASURED);
        let agents = first.map(|(agent, entry)| Measured::of(agent, entry)).collect();
        (agents, entries.len().saturating_sub(MOST_MEASURED))
    }

    fn with(&self, now: i64, agent: &AgentId, change: impl FnOnce(&mut Entry)) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MOST && !entries.contains_key(agent) {
            let away = entries.iter().filter(|(_, entry)| entry.link.is_none());
            match away.min_by_key(|(_, entry)| entry.heard_at).map(|(agent, _)| agent.clone()) {
                Some(longest) => drop(entries.remove(&longest)),
                None => return,
            }
        }
        let entry = entries.entry(agent.clone()).or_default();
        entry.heard_at = now;
        change(entry);
    }

    /// Changes what is known of an agent that was heard of.
    fn each(&self, agent: &AgentId, change: impl FnOnce(&mut Entry)) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get_mut(agent) {
            change(entry);
        }
    }
}

impl Entry {
    /// Frames that it is known to have and that are not committed.
    fn backlog(&self) -> u64 {
        let behind = self.behind.values().map(|behind| behind.known.saturating_sub(behind.committed));
        behind.fold(0, u64::saturating_add)
    }

    fn commit(&mut self, epoch: Epoch, stream: Stream, to: u64) {
        if let Some(behind) = self.behind.get_mut(&(epoch, stream)) {
            behind.committed = behind.committed.max(to);
            if behind.committed >= behind.known {
                self.behind.remove(&(epoch, stream));
            }
        }
    }

    fn shown(&self, now: i64, agent: &AgentId) -> Shown {
        let backlog = self.backlog();
        Shown {
            agent: agent.to_string(),
            state: match (self.link, self.welcomed) {
                (Some(_), true) => State::Here,
                (Some(_), false) => State::Connected,
                (None, _) => State::Away,
            },
            last_contact: rfc3339(self.heard_at.saturating_mul(1000)),
            silent_seconds: seconds(now, self.heard_at),
            backlog_frames: Some(backlog),
            backlog_seconds: self.received_at.filter(|_| backlog > 0).map(|at| seconds(now, at)),
            software: Some(self.software.clone()).filter(|software| !software.is_empty()),
        }
    }
}

/// Whole seconds from `then` to `now`, both in microseconds; 0 if a clock went back.
pub(crate) fn seconds(now: i64, then: i64) -> u64 {
    u64::try_from(now.saturating_sub(then) / 1_000_000).unwrap_or(0)
}

/// `GET /agents`. `kafka`: the brokers that the relay commits to.
pub(crate) fn route(
    agents: Arc<Agents>,
    now: impl Fn() -> i64 + Clone + Send + Sync + 'static,
    kafka: Option<String>,
) -> Router {
    let answer = move || {
        let answer = Answer { kafka: kafka.clone(), agents: agents.shown(now()) };
        let body = serde_json::to_string(&answer).expect("text and numbers are JSON");
        ([(header::CONTENT_TYPE, "application/json")], body)
    };
    Router::new().route("/agents", get(async move || answer()))
}

#[cfg(test)]
mod tests {
    use gaitway_proto::envelope::{Granted, Item, Offer};

    use super::*;
    use crate::commit::Name;
    use crate::link::LinkIds;

    const SECOND: i64 = 1_000_000;

    fn id(name: &str) -> AgentId {
        name.parse().unwrap()
    }

    fn hello(streams: Vec<Offer>) -> Hello {
        let software = "gaitway 1".to_owned();
        Hello { session: 1, software, epoch: Epoch::from_random(2), ancestors: vec![], streams }
    }

    fn raw(epoch: u64, first: u64, next: u64) -> Offer {
        Offer { epoch: Epoch::from_random(epoch), ordinal: epoch, stream: Stream::Raw, first, next }
    }

    fn landed(epoch: u64, to: u64, received_at: i64) -> Landed {
        let name = Name { agent: id("pi"), epoch: Epoch::from_random(epoch), stream: Stream::Raw };
        Landed { name, to, received_at: Some(received_at), frames: 1 }
    }

    #[test]
    fn a_backlog_is_what_an_agent_is_known_to_have_and_the_ledger_has_not() {
        let (agents, link, pi) = (Agents::default(), LinkIds::default().next(), id("pi"));
        let backlog = |now| {
            let shown = agents.shown(now);
            (shown[0].state, shown[0].backlog_frames, shown[0].backlog_seconds)
        };
        agents.linked(SECOND, &pi, link);
        assert_eq!(backlog(SECOND), (State::Connected, Some(0), None));
        agents.hello(SECOND, &pi, link, &hello(vec![raw(1, 5, 9), raw(2, 1, 1)]));
        assert_eq!(backlog(SECOND), (State::Connected, Some(4), None));
        let granted = Granted { epoch: Epoch::from_random(1), stream: Stream::Raw, committed: 6, grant: 1 };
        agents.welcomed(&pi, &Welcome { session: 1, forked: None, streams: vec![granted] });
        assert_eq!(backlog(SECOND), (State::Here, Some(2), None));
        agents.landed(&[landed(1, 7, 4 * SECOND)]);
        assert_eq!(backlog(64 * SECOND), (State::Here, Some(1), Some(60)));
        let items = vec![Item::Frame(bytes::Bytes::new()); 3];
        let batch = Batch { session: 1, epoch: Epoch::from_random(2), stream: Stream::Raw, first: 1, items };
        agents.batch(9 * SECOND, &pi, &batch);
        assert_eq!(backlog(9 * SECOND), (State::Here, Some(4), Some(5)));
        agents.landed(&[landed(1, 8, 5 * SECOND), landed(2, 3, 6 * SECOND)]);
        assert_eq!(backlog(9 * SECOND), (State::Here, Some(0), None));
    }

    #[test]
    fn what_agents_claim_to_have_never_overflows() {
        let (agents, link, pi) = (Agents::default(), LinkIds::default().next(), id("pi"));
        agents.linked(0, &pi, link);
        agents.hello(0, &pi, link, &hello((1..=3).map(|epoch| raw(epoch, 1, i64::MAX as u64)).collect()));
        assert_eq!(agents.shown(0)[0].backlog_frames, Some(u64::MAX));
    }

    #[test]
    fn an_agent_that_is_away_keeps_its_backlog_and_its_last_contact() {
        let (agents, links, pi) = (Agents::default(), LinkIds::default(), id("pi"));
        let [old, new] = [links.next(), links.next()];
        agents.linked(0, &pi, old);
        agents.linked(SECOND, &pi, new);
        agents.hello(2 * SECOND, &pi, new, &hello(vec![raw(1, 1, 3)]));
        agents.gone(3 * SECOND, &pi, old);
        assert_eq!(agents.shown(3 * SECOND)[0].state, State::Connected);
        agents.gone(4 * SECOND, &pi, new);
        let shown = agents.shown(10 * SECOND).remove(0);
        assert_eq!((shown.state, shown.backlog_frames, shown.silent_seconds), (State::Away, Some(2), 6));
        assert_eq!(
            (shown.last_contact.as_str(), shown.software.as_deref()),
            ("1970-01-01T00:00:04Z", Some("gaitway 1"))
        );
    }

    #[test]
    fn there_are_never_more_entries_than_allowed_and_who_is_here_stays() {
        let (agents, links) = (Agents::default(), LinkIds::default());
        for number in 0..MOST + 5 {
            let (agent, link) = (id(&format!("a-{number}")), links.next());
            agents.linked(number as i64, &agent, link);
            if number > 0 {
                agents.gone(number as i64, &agent, link);
            }
        }
        let shown = agents.shown(0);
        assert_eq!(shown.len(), MOST);
        let names: Vec<_> = shown.iter().map(|shown| shown.agent.as_str()).collect();
        assert!(names.contains(&"a-0") && !names.contains(&"a-1"));
    }

    #[tokio::test]
    async fn agents_are_told_as_json() {
        use tower::ServiceExt as _;
        let agents = Arc::new(Agents::default());
        agents.linked(SECOND, &id("pi"), LinkIds::default().next());
        let asked = axum::http::Request::get("/agents").body(axum::body::Body::empty()).unwrap();
        let answer = route(agents, || 3 * SECOND, Some("k:1".to_owned())).oneshot(asked).await.unwrap();
        let body = axum::body::to_bytes(answer.into_body(), 10_000).await.unwrap();
        let told: Answer = serde_json::from_slice(&body).unwrap();
        assert_eq!((told.kafka.as_deref(), told.agents.len()), (Some("k:1"), 1));
        assert!(
            std::str::from_utf8(&body)
                .unwrap()
                .contains(r#""state":"connected","lastContact":"1970-01-01T00:00:01Z","silentSeconds":2"#)
        );
    }
}
