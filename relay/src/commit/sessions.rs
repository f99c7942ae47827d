//! From a hello to a session, and its end.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use gaitway_proto::envelope::{Ack, Down, Granted, Hello, Offer, Session, Welcome};
use gaitway_proto::ledger::{Epoch, Mark, Source};
use gaitway_proto::topic::AgentId;

use super::lineage::{Lineage, line};
use super::{
    Durable, ELSEWHERE, Effect, Hole, LOOK_UP_SOURCES, LookUp, Machine, Missing, Name, Notice, Position, Progress,
    REMIND_EVERY, Stage,
};
use crate::link::LinkId;

impl Machine {
    /// Asks the ledger for the positions that waiting hellos need.
    pub(super) fn look_up(&mut self) {
        let id = self.next_id();
        let mut sources = BTreeSet::new();
        let mut asked = Vec::new();
        while sources.len() < LOOK_UP_SOURCES
            && let Some((_, agent)) = self.hellos.pop_first()
        {
            let Some(seat) = self.agents.get_mut(&agent).and_then(|a| a.seat.as_mut()) else { continue };
            let Stage::Waiting(hello) = &seat.stage else { continue };
            let hello = hello.clone();
            sources.extend(hello.streams.iter().map(|o| Source::stream(&agent, o.epoch, o.stream)));
            sources.extend(line(&hello).map(|start| Source::heir(&agent, start)));
            seat.stage = Stage::Asked { hello, lookup: id };
            asked.push(agent);
        }
        self.lookup = Some((id, asked));
        self.effects.push_back(Effect::LookUp(LookUp { id, sources: sources.into_iter().collect() }));
    }

    /// Takes what a look-up found into the agent's streams, then registers or welcomes it. `Err`: the source that
    /// somebody else moved.
    pub(super) fn learn(&mut self, now: Instant, agent: &AgentId, lookup: u64, found: &Durable) -> Result<(), Source> {
        let Some(known) = self.agents.get_mut(agent) else { return Ok(()) };
        let Some(seat) = known.seat.as_mut() else { return Ok(()) };
        let hello = match &seat.stage {
            Stage::Asked { hello, lookup: asked } if *asked == lookup => hello.clone(),
            _ => return Ok(()),
        };
        for offer in &hello.streams {
            let source = Source::stream(agent, offer.epoch, offer.stream);
            let position = found.position(&source);
            let key = (offer.epoch, offer.stream);
            let progress =
                known.streams.entry(key).or_insert_with(|| Progress::new(offer.stream, offer.ordinal, position));
            if progress.committed() != position {
                return Err(source);
            }
        }

        let is_unknown = |offer: &Offer| known.streams.get(&(offer.epoch, offer.stream)).is_some_and(Progress::is_new);
        // The welcome would note what is missing of it.
        let begins_with_a_gap = hello.streams.iter().any(|offer| offer.first > 1 && is_unknown(offer));
        let heir_of = |start| found.position(&Source::heir(agent, start)).map(|heir| Epoch::from_random(heir.get()));
        let lineage = Lineage::of(&hello, self.presence.displaced_by(seat.link), heir_of);
        let claims = matches!(&lineage, Lineage::Continues { unclaimed } if !unclaimed.is_empty());
        if (claims || begins_with_a_gap)
            && let Err(pause) = self.credit.ask(now, agent)
        {
            let (link, session) = (seat.link, seat.session);
            self.put_off(link, agent, session, pause);
            return Ok(());
        }
        match lineage {
            Lineage::Continues { unclaimed } if !unclaimed.is_empty() => {
                let claim = |start| Mark { source: Source::heir(agent, start), from: None, to: hello.epoch.get() };
                self.heirs.insert(agent.clone(), unclaimed.into_iter().map(claim).collect());
                seat.stage = Stage::Registering(hello);
            }
            Lineage::Continues { .. } => self.welcome(now, agent, &hello, None),
            Lineage::Forked { common } => self.welcome(now, agent, &hello, Some(common)),
        }
        Ok(())
    }

    /// Begins the agent's session.
    pub(super) fn welcome(&mut self, now: Instant, agent: &AgentId, hello: &Hello, forked: Option<Epoch>) {
        let Some(known) = self.agents.get_mut(agent) else { return };
        let Some(seat) = known.seat.as_mut() else { return };
        let (link, streams) = (seat.link, hello.streams.len());
        seat.stage = Stage::Active { streams };
        self.shares.join();
        let grant = self.shares.of_stream(streams);

        let mut granted = Vec::with_capacity(streams);
        let mut gaps = Vec::new();
        for offer in &hello.streams {
            let Some(progress) = known.streams.get_mut(&(offer.epoch, offer.stream)) else { continue };
            progress.offer(grant);
            granted.push(Granted {
                epoch: offer.epoch,
                stream: offer.stream,
                committed: progress.committed().map_or(0, Position::get),
                grant,
            });
            let from = progress.taken() + 1;
            if offer.first > from {
                let stands = progress.waits();
                let size = progress.take_missing(Missing {
                    span: offer.first - from,
                    messages: None,
                    readings: None,
                    reason: ELSEWHERE.into(),
                    noticed_at: None,
                });
                let (epoch, stream) = (offer.epoch, offer.stream);
                self.held += size.held;
                self.turns.add(now, Name { agent: agent.clone(), epoch, stream }, stands, size.wire);
                gaps.push(Hole { epoch, stream, from, to: offer.first - 1 });
            }
        }
        if !gaps.is_empty() {
            self.notice(Notice::Elsewhere { agent: agent.clone(), gaps });
        }
        let welcome = Welcome { session: hello.session, forked, streams: granted };
        self.narrow();
        self.send(link, Down::Welcome(welcome));
        self.notice(Notice::Welcomed { agent: agent.clone(), software: hello.software.clone(), streams, forked });
    }

    /// Tells sessions whose grants are above their present share.
    fn narrow(&mut self) {
        if !self.shares.take_narrowed() {
            return;
        }
        for known in self.agents.values_mut() {
            let Some(seat) = &known.seat else { continue };
            let Stage::Active { streams } = seat.stage else { continue };
            let grant = self.shares.of_stream(streams);
            for (&(epoch, stream), progress) in &mut known.streams {
                if progress.narrow(grant) {
                    let up_to = progress.committed().map_or(0, Position::get);
                    let ack = Ack { session: seat.session, epoch, stream, up_to, grant };
                    self.effects.push_back(Effect::Send { link: seat.link, down: Down::Ack(ack) });
                }
            }
        }
    }

    /// Ends whatever session or hello `agent` has. Entries taken stay on their way into the ledger.
    pub(super) fn unseat(&mut self, agent: &AgentId) {
        let Some(known) = self.agents.get_mut(agent) else { return };
        if let Some(seat) = known.seat.take() {
            self.hellos.remove(&seat.link);
            self.heirs.remove(agent);
            if let Stage::Active { .. } = seat.stage {
                self.shares.leave();
            }
        }
        known.streams.values_mut().for_each(Progress::withdraw);
        known.tidy();
        if known.is_empty() {
            self.agents.remove(agent);
        }
    }

    /// Has the agent come again later: it has brought too much that is new.
    pub(super) fn put_off(&mut self, link: LinkId, agent: &AgentId, session: Session, pause: Duration) {
        self.unseat(agent);
        let minutes = pause.as_secs().div_ceil(60);
        self.refuse(link, agent, session, format!("too many new starts and streams of this agent: wait {minutes} min"));
    }

    /// Ends the session on the agent's side too.
    pub(super) fn refuse(&mut self, link: LinkId, agent: &AgentId, session: Session, reason: String) {
        self.notice(Notice::Refused { agent: agent.clone(), reason: reason.clone() });
        self.send(link, Down::Refused { session, reason });
    }

    /// Says that `session` is unknown here.
    pub(super) fn remind(&mut self, now: Instant, link: LinkId, session: Session) {
        let told = self.reminded.get(&link);
        if told.is_some_and(|at| now.saturating_duration_since(*at) < REMIND_EVERY) {
            return;
        }
        self.reminded.insert(link, now);
        self.send(link, Down::HelloAgain { session });
    }
}
