//! From entries that wait to a commit, and from its result to acknowledgements or to a new beginning.

use std::collections::BTreeMap;
use std::time::Instant;

use gaitway_proto::envelope::{Ack, Down};
use gaitway_proto::ledger::{Epoch, LedgerError, Mark, Stream};
use gaitway_proto::topic::AgentId;

use super::progress::Room;
use super::{Backoff, Commit, Effect, Entry, Failure, Flight, Machine, Name, Notice, Part, Phase, Position, Stage};

/// What one stream puts into a commit before the next agent's turn, if its first entry is not larger.
const TURN: Room = Room { bytes: 32 * 1024, weight: MAX_WEIGHT / 16 };

/// Greatest commit by weight, bytes; a heavier frame goes alone. Dense frames of 512 KiB weigh half of it.
const MAX_WEIGHT: usize = 32 * 1024 * 1024;

impl Machine {
    /// Puts together what goes into the ledger next, the agents in turn.
    pub(super) fn commit(&mut self, now: Instant) {
        let mut loads: BTreeMap<Name, Vec<Entry>> = BTreeMap::new();
        let mut room = Room { bytes: self.limits.max_bytes, weight: MAX_WEIGHT };
        'full: for stream in self.turns.order() {
            while let Some(name) = self.turns.pop(stream) {
                let Some(progress) = self.agents.get_mut(&name.agent).and_then(|a| a.stream_mut(&name)) else {
                    continue;
                };
                let (entries, size) = progress.load(TURN, room, loads.is_empty());
                let waits = progress.waits();
                if entries.is_empty() {
                    self.turns.push_front(name);
                    break 'full;
                }
                room = room.less(size);
                self.turns.taken(size.wire);
                loads.entry(name.clone()).or_default().extend(entries);
                if waits {
                    self.turns.push_back(name);
                }
            }
        }
        self.turns.restart(now, loads.keys().any(|name| name.stream == Stream::Raw));

        let mut parts = Vec::with_capacity(loads.len());
        for (name, entries) in loads {
            let Some(progress) = self.agents.get(&name.agent).and_then(|a| a.stream(&name)) else { continue };
            let Some(to) = entries.last().map(Entry::last_seq) else { continue };
            let mark = Mark { source: name.source(), from: progress.committed().map(Position::get), to };
            parts.push(Part { name, ordinal: progress.ordinal(), mark, entries });
        }
        let mut new = BTreeMap::new();
        let of_parts = parts.iter().map(|part| (&part.name.agent, &part.mark));
        let of_heirs = self.heirs.iter().flat_map(|(agent, marks)| marks.iter().map(move |mark| (agent, mark)));
        for (agent, mark) in of_parts.chain(of_heirs) {
            if mark.from.is_none() {
                *new.entry(agent.clone()).or_default() += 1;
            }
        }
        let id = self.next_id();
        let heirs = std::mem::take(&mut self.heirs);
        self.flight = Some(Flight {
            id,
            parts: parts.iter().map(|part| (part.name.clone(), part.mark.to)).collect(),
            heirs: heirs.keys().cloned().collect(),
            new,
        });
        self.effects.push_back(Effect::Commit(Commit { id, parts, heirs: heirs.into_values().flatten().collect() }));
    }

    /// Notes that `name` is durable up to `up_to`, and tells the agent if it is there.
    pub(super) fn acknowledge(&mut self, name: &Name, up_to: Position) {
        let Some(known) = self.agents.get_mut(&name.agent) else { return };
        let Some(progress) = known.stream_mut(name) else { return };
        self.held -= progress.land(up_to);
        let offered = progress.is_offered();
        if offered
            && let Some(seat) = &known.seat
            && let Stage::Active { streams } = seat.stage
        {
            let grant = self.shares.of_stream(streams);
            let (link, session) = (seat.link, seat.session);
            if let Some(progress) = known.stream_mut(name) {
                progress.grant(grant);
            }
            let ack = Ack { session, epoch: name.epoch, stream: name.stream, up_to: up_to.get(), grant };
            self.send(link, Down::Ack(ack));
        } else {
            known.tidy();
            if known.is_empty() {
                self.agents.remove(&name.agent);
            }
        }
    }

    /// Tells the agent again what is durable: it sent only what was taken before, and may have ignored the
    /// acknowledgement because it came before this session had sent anything.
    pub(super) fn repeat_ack(&mut self, agent: &AgentId, epoch: Epoch, stream: Stream) {
        let Some(known) = self.agents.get(agent) else { return };
        let Some(seat) = &known.seat else { return };
        let Some(progress) = known.streams.get(&(epoch, stream)) else { return };
        let Some(up_to) = progress.committed() else { return };
        let ack = Ack { session: seat.session, epoch, stream, up_to: up_to.get(), grant: progress.granted() };
        let link = seat.link;
        self.send(link, Down::Ack(ack));
    }

    /// Forgets everything that is not committed, ends the sessions, and has the ledger recover after a while.
    pub(super) fn fail(&mut self, now: Instant, error: &LedgerError) {
        self.flight = None;
        self.lookup = None;
        self.heirs.clear();
        self.turns.clear();
        self.hellos.clear();
        self.held = 0;
        for (agent, known) in &mut self.agents {
            known.streams.clear();
            let Some(mut seat) = known.seat.take() else { continue };
            match seat.stage {
                Stage::Active { .. } => {
                    self.shares.leave();
                    let down = Down::HelloAgain { session: seat.session };
                    self.effects.push_back(Effect::Send { link: seat.link, down });
                }
                Stage::Waiting(hello) | Stage::Asked { hello, .. } | Stage::Registering(hello) => {
                    self.hellos.insert(seat.link, agent.clone());
                    seat.stage = Stage::Waiting(hello);
                    known.seat = Some(seat);
                }
            }
        }
        self.agents.retain(|_, known| !known.is_empty());

        if let LedgerError::Fenced(reason) = error {
            self.phase = Phase::Fenced;
            self.effects.push_back(Effect::Fenced(reason.clone()));
            return;
        }
        let failure = Failure::from(error);
        let pause = match failure {
            // The agents will send the same again.
            Failure::Rejected => Backoff::LONGEST,
            Failure::Unavailable | Failure::Conflict => self.backoff.next_pause(),
        };
        self.phase = Phase::Broken { retry_at: now + pause };
        self.rejected |= failure == Failure::Rejected;
        self.notice(Notice::LedgerFailed { error: error.to_string(), failure, pause });
    }
}
