//! The uplink's conversation with the relay: pure, time is an argument.
//!
//! - Nothing is sent before the welcome, nor before the writer has let go of what a copied data directory inherited.
//! - Frames go oldest start first, and of one start `activity` before `raw`, each stream in order of seq.
//! - The spool is told that frames are acknowledged only on the relay's word for a name that it was offered.
//! - Whatever the relay says or leaves unsaid, the session goes on or ends with a reason; it never hangs.
//! - A backlog drains without new pushes.

mod effect;
mod flow;
mod greeting;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use gaitway_proto::envelope::{Batch, Down, Item, Session};
use gaitway_proto::ledger::{Epoch, Stream};
use gaitway_proto::limits::MAX_BATCH_ITEMS;

use super::SpoolState;
use super::pace::Numbers;
pub(super) use effect::{BatchId, Effect, Read, Tally};
use flow::{Flow, Loaded, PATIENCE, Standing};

/// A hello is answered within this time, or the connection is given up.
const WELCOME_WITHIN: Duration = Duration::from_secs(5);

/// How long a refused agent keeps quiet.
const REFUSED_PAUSE: Duration = Duration::from_secs(10);

/// How long reading pauses after the spool failed or had nothing.
const READ_PAUSE: Duration = Duration::from_secs(1);

/// Batches that may wait for the socket; more would only take the turn from younger activity.
const MAX_UNWRITTEN: usize = 2;

/// A link that moves fewer bytes a second than this counts as broken.
const SLOWEST: usize = 16 * 1024;

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    Down,
    /// A hello is due.
    Greeting {
        at: Instant,
    },
    Greeted {
        at: Instant,
    },
    Welcomed,
    Refused {
        until: Instant,
        reason: String,
    },
    /// The shell was asked for a new connection.
    Leaving,
}

#[derive(Debug, PartialEq, Eq)]
enum Copied {
    Unseen,
    LettingGo,
    Done,
}

#[derive(Debug)]
struct Reading {
    session: Session,
    epoch: Epoch,
    stream: Stream,
    from: u64,
}

#[derive(Debug)]
struct Unwritten {
    id: BatchId,
    epoch: Epoch,
    stream: Stream,
    bytes: usize,
    since: Instant,
}

/// The machine.
#[derive(Debug)]
pub(super) struct Uplink {
    software: String,
    numbers: Numbers,
    epoch: Epoch,
    ancestors: Vec<Epoch>,
    /// In order of their turn.
    flows: Vec<Flow>,
    phase: Phase,
    session: Session,
    last_hello: Option<Instant>,
    copied: Copied,
    /// The agent knows that this start was welcomed.
    told_welcomed: bool,
    reading: Option<Reading>,
    reads_pause: Option<Instant>,
    trouble: Option<String>,
    unwritten: VecDeque<Unwritten>,
    last_batch: BatchId,
    closing: bool,
    effects: VecDeque<Effect>,
    tally: Tally,
}

impl Uplink {
    /// `seed` is random; session numbers are drawn from it.
    pub(super) fn new(software: &str, seed: u64, spool: &SpoolState) -> Self {
        let mut uplink = Self {
            software: software.to_owned(),
            numbers: Numbers::new(seed),
            epoch: spool.epoch,
            ancestors: Vec::new(),
            flows: Vec::new(),
            phase: Phase::Down,
            session: 0,
            last_hello: None,
            copied: Copied::Unseen,
            told_welcomed: false,
            reading: None,
            reads_pause: None,
            trouble: None,
            unwritten: VecDeque::new(),
            last_batch: 0,
            closing: false,
            effects: VecDeque::new(),
            tally: Tally::default(),
        };
        uplink.follow(spool);
        uplink
    }

    /// Whether the relay has welcomed the present session.
    pub(super) fn is_welcomed(&self) -> bool {
        self.phase == Phase::Welcomed
    }

    /// What keeps frames from moving although the link is up.
    pub(super) fn trouble(&self) -> Option<&str> {
        match &self.phase {
            Phase::Refused { reason, .. } => Some(reason),
            _ => self.trouble.as_deref(),
        }
    }

    /// Bytes sent and not acknowledged.
    pub(super) fn in_flight(&self) -> usize {
        self.flows.iter().map(Flow::in_flight).sum()
    }

    pub(super) fn tally(&self) -> Tally {
        self.tally
    }

    /// The connection is up and subscribed.
    pub(super) fn handle_connected(&mut self, now: Instant) {
        self.handle_disconnected();
        self.last_hello = None;
        self.phase = Phase::Greeting { at: now };
        self.handle_timeout(now);
    }

    /// The connection is gone, for whatever reason.
    pub(super) fn handle_disconnected(&mut self) {
        self.end_session();
        self.unwritten.clear();
        self.phase = Phase::Down;
        // What was meant for this connection must not be the first word on the next one.
        self.effects
            .retain(|effect| !matches!(effect, Effect::Hello(_) | Effect::Batch(..) | Effect::Reconnect { .. }));
    }

    /// The spool's streams as they are now.
    pub(super) fn handle_spool(&mut self, now: Instant, spool: &SpoolState) {
        self.follow(spool);
        self.read_next(now);
    }

    /// The relay said something.
    pub(super) fn handle_down(&mut self, now: Instant, down: Down) {
        let unreadable = matches!(&down, Down::Refused { session: 0, .. });
        let in_session = matches!(self.phase, Phase::Greeted { .. } | Phase::Welcomed);
        if !in_session || (down.session() != self.session && !unreadable) {
            self.tally.ignored += 1;
            return;
        }
        match down {
            Down::Welcome(welcome) => self.handle_welcome(now, &welcome),
            Down::Ack(ack) => {
                let flow = self.flows.iter_mut().find(|f| f.is(ack.epoch, ack.stream));
                let Some((before, news, acked)) = flow.and_then(|f| {
                    let before = f.acked();
                    f.ack(now, &ack).map(|news| (before, news, f.acked()))
                }) else {
                    self.tally.ignored += 1;
                    return;
                };
                if news {
                    self.tell_spool(ack.epoch, ack.stream, before, acked);
                }
            }
            Down::Rewind { epoch, stream, next, .. } => {
                let flow = self.flows.iter_mut().find(|f| f.is(epoch, stream));
                if flow.is_some_and(|f| f.rewind(next)) {
                    self.tally.rewinds += 1;
                } else {
                    self.tally.ignored += 1;
                }
            }
            Down::HelloAgain { .. } => self.greet_again(now),
            Down::Refused { reason, .. } => {
                self.end_session();
                self.phase = Phase::Refused { until: now + REFUSED_PAUSE, reason };
            }
            // It is for the agent, not for a session.
            Down::Renew => self.tally.ignored += 1,
        }
        self.read_next(now);
    }

    /// The answer to [`Effect::Read`].
    pub(super) fn handle_frames(&mut self, now: Instant, frames: Result<Vec<Item>, String>) {
        let Some(reading) = self.reading.take() else { return };
        let wanted = self.may_send() && reading.session == self.session;
        let id = self.last_batch + 1;
        let flow = self.flows.iter_mut().find(|f| f.is(reading.epoch, reading.stream));
        match flow.filter(|f| wanted && f.cursor() == reading.from) {
            None => self.tally.stale_reads += 1,
            Some(flow) => {
                let loaded = frames.map(|items| flow.load(now, reading.session, id, items));
                match loaded {
                    Ok(Loaded::Sent(batch)) => self.send(now, id, batch),
                    Ok(Loaded::NoRoom) => self.trouble = None,
                    Ok(Loaded::Nothing) => self.pause_reads(now, None),
                    Ok(Loaded::TooLarge(bytes)) => {
                        let Reading { epoch, stream, from, .. } = reading;
                        let why =
                            format!("frame {from} of {stream} of start {epoch} is too large to send: {bytes} bytes");
                        self.pause_reads(now, Some(why));
                    }
                    Err(error) => self.pause_reads(now, Some(format!("the spool cannot be read: {error}"))),
                }
            }
        }
        self.read_next(now);
    }

    /// The socket has taken a batch.
    pub(super) fn handle_written(&mut self, now: Instant, id: BatchId) {
        let Some(at) = self.unwritten.iter().position(|u| u.id == id) else { return };
        if let Some(written) = self.unwritten.remove(at)
            && let Some(flow) = self.flows.iter_mut().find(|f| f.is(written.epoch, written.stream))
        {
            flow.written(now, id);
        }
        if let Some(front) = self.unwritten.front_mut() {
            front.since = now;
        }
        self.read_next(now);
    }

    /// The writer has let go of inherited windows.
    pub(super) fn handle_copied_done(&mut self, now: Instant) {
        self.copied = Copied::Done;
        self.read_next(now);
    }

    /// The agent is about to stop: what is in flight may still be acknowledged, nothing more is sent.
    pub(super) fn handle_closing(&mut self) {
        self.closing = true;
    }

    /// A deadline may have passed.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.reads_pause.is_some_and(|until| until <= now) {
            self.reads_pause = None;
        }
        match &self.phase {
            Phase::Greeting { at } if *at <= now => self.say_hello(now),
            Phase::Greeted { at } if *at + WELCOME_WITHIN <= now => {
                self.leave(format!("no welcome within {} s", WELCOME_WITHIN.as_secs()));
            }
            Phase::Refused { until, reason } if *until <= now => {
                let reason = format!("refused: {reason}");
                self.leave(reason);
            }
            Phase::Welcomed if self.write_ends().is_some_and(|end| end <= now) => {
                self.leave("the connection takes no more bytes".to_owned());
            }
            Phase::Welcomed if self.flows.iter().filter_map(Flow::patience_ends).any(|end| end <= now) => {
                self.leave(format!("nothing acknowledged for {} s", PATIENCE.as_secs()));
            }
            _ => {}
        }
        self.read_next(now);
    }

    /// What to do next.
    pub(super) fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Down | Phase::Leaving => None,
            Phase::Greeting { at } => Some(*at),
            Phase::Greeted { at } => Some(*at + WELCOME_WITHIN),
            Phase::Refused { until, .. } => Some(*until),
            Phase::Welcomed => {
                let patience = self.flows.iter().filter_map(Flow::patience_ends);
                patience.chain(self.write_ends()).chain(self.reads_pause).min()
            }
        }
    }

    fn follow(&mut self, spool: &SpoolState) {
        self.epoch = spool.epoch;
        self.ancestors.clone_from(&spool.ancestors);
        self.flows.retain(|f| spool.streams.iter().any(|offer| f.is(offer.epoch, offer.stream)));
        for offer in &spool.streams {
            match self.flows.iter_mut().find(|f| f.is(offer.epoch, offer.stream)) {
                Some(flow) => flow.follow(offer),
                None => self.flows.push(Flow::new(offer)),
            }
        }
        self.flows.sort_unstable_by_key(Flow::turn);
    }

    fn end_session(&mut self) {
        self.flows.iter_mut().for_each(Flow::reset);
        self.reads_pause = None;
        self.trouble = None;
    }

    fn leave(&mut self, reason: String) {
        self.end_session();
        self.phase = Phase::Leaving;
        self.effects.push_back(Effect::Reconnect { reason });
    }

    fn tell_spool(&mut self, epoch: Epoch, stream: Stream, before: u64, up_to: u64) {
        self.tally.acknowledged += up_to - before;
        self.effects.push_back(Effect::Acknowledged { epoch, stream, up_to });
    }

    fn send(&mut self, now: Instant, id: BatchId, batch: Batch) {
        let bytes = batch.items.iter().map(Item::size).sum();
        self.trouble = None;
        self.last_batch = id;
        self.tally.batches += 1;
        self.tally.frames += batch.items.iter().map(Item::span).sum::<u64>();
        self.tally.bytes += bytes as u64;
        let (epoch, stream) = (batch.epoch, batch.stream);
        self.unwritten.push_back(Unwritten { id, epoch, stream, bytes, since: now });
        self.effects.push_back(Effect::Batch(id, batch));
    }

    fn pause_reads(&mut self, now: Instant, trouble: Option<String>) {
        self.trouble = trouble;
        self.reads_pause = Some(now + READ_PAUSE);
    }

    /// When the oldest batch must have reached the socket.
    fn write_ends(&self) -> Option<Instant> {
        let front = self.unwritten.front()?;
        Some(front.since + PATIENCE + Duration::from_secs((front.bytes / SLOWEST) as u64))
    }

    fn may_send(&self) -> bool {
        self.phase == Phase::Welcomed && self.copied != Copied::LettingGo && !self.closing
    }

    /// Starts the next read, if it is any stream's turn.
    fn read_next(&mut self, now: Instant) {
        let busy = self.reading.is_some() || self.reads_pause.is_some() || self.unwritten.len() >= MAX_UNWRITTEN;
        if busy || !self.may_send() {
            return;
        }
        let Some(oldest) = self.flows.iter().find(|f| f.waiting()) else { return };
        if oldest.standing == Standing::Unknown {
            // It did not fit into the hello, or is younger than it.
            if self.in_flight() == 0 {
                self.greet_again(now);
            }
            return;
        }
        let mut of_its_start = self.flows.iter().filter(|f| f.epoch == oldest.epoch && f.waiting());
        let Some((flow, max_bytes)) = of_its_start.find_map(|f| f.room().map(|room| (f, room))) else { return };
        let (epoch, stream, from) = (flow.epoch, flow.stream, flow.cursor());
        self.reading = Some(Reading { session: self.session, epoch, stream, from });
        self.effects.push_back(Effect::Read(Read { epoch, stream, from, max_bytes, max_items: MAX_BATCH_ITEMS }));
    }
}
