//! What surrounds the machine, as a model: a spool, a network that loses, repeats and reorders between topics, and a
//! relay that takes, commits, fails and forgets. Time is the model's.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gaitway_proto::envelope::{Ack, Batch, Down, Gap, Granted, Hello, Item, Offer, Session, Welcome};
use gaitway_proto::ledger::{Epoch, Stream};

use super::{Effect, Read, Uplink};
use crate::uplink::SpoolState;

type Name = (Epoch, Stream);

/// What the agent's writer keeps.
#[derive(Debug)]
pub(super) struct Spool {
    pub(super) epoch: Epoch,
    pub(super) ancestors: Vec<Epoch>,
    /// The writer was told that the present start was welcomed.
    welcomed: bool,
    logs: BTreeMap<Name, Log>,
}

#[derive(Debug, Default)]
struct Log {
    ordinal: u64,
    first: u64,
    next: u64,
    items: BTreeMap<u64, Item>,
    /// Frames below were handed out and may be under way.
    handed_out: u64,
}

impl Spool {
    fn start(&mut self, ordinal: u64) {
        if std::mem::take(&mut self.welcomed) {
            self.ancestors.clear();
        }
        if ordinal > 1 {
            self.ancestors.insert(0, self.epoch);
        }
        self.epoch = Epoch::from_random(1000 + ordinal);
        for stream in Stream::ALL {
            let log = Log { ordinal, first: 1, next: 1, handed_out: 1, ..Log::default() };
            self.logs.insert((self.epoch, stream), log);
        }
    }

    pub(super) fn state(&self) -> SpoolState {
        let (epoch, ancestors) = (self.epoch, self.ancestors.clone());
        let listed = |name: &Name, log: &Log| name.0 == epoch || ancestors.contains(&name.0) || log.first < log.next;
        let streams = self.logs.iter().filter(|(name, log)| listed(name, log)).map(|((epoch, stream), log)| Offer {
            epoch: *epoch,
            ordinal: log.ordinal,
            stream: *stream,
            first: log.first,
            next: log.next,
        });
        let streams = streams.collect();
        SpoolState { epoch, ancestors, streams }
    }

    pub(super) fn push(&mut self, stream: Stream, bytes: usize) {
        let log = self.logs.get_mut(&(self.epoch, stream)).unwrap();
        log.items.insert(log.next, Item::Frame(content((self.epoch, stream), log.next, bytes)));
        log.next += 1;
    }

    /// The cap: up to three of the oldest raw frames never handed out become a gap.
    fn drop_oldest_raw(&mut self) {
        let log = self.logs.get_mut(&(self.epoch, Stream::Raw)).unwrap();
        let from = log.handed_out;
        let dropped: Vec<u64> = log.items.range(from..).map(|(seq, _)| *seq).take(3).collect();
        let span = dropped.iter().map(|seq| log.items.remove(seq).unwrap().span()).sum();
        if span > 0 {
            let reason = "cap".to_owned();
            log.items.insert(from, Item::Gap(Gap { span, messages: span, readings: 0, reason, noticed_at: 0 }));
        }
    }

    fn read(&mut self, read: Read) -> Vec<Item> {
        let Some(log) = self.logs.get_mut(&(read.epoch, read.stream)) else { return Vec::new() };
        let mut bytes = 0;
        let mut items = Vec::new();
        let mut at = read.from;
        while let Some(item) = log.items.get(&at) {
            bytes += item.size();
            if !items.is_empty() && (bytes > read.max_bytes || items.len() >= read.max_items) {
                break;
            }
            at += item.span();
            items.push(item.clone());
        }
        log.handed_out = log.handed_out.max(at);
        items
    }

    fn acknowledge(&mut self, name: Name, up_to: u64) {
        let log = self.logs.get_mut(&name).unwrap();
        assert!(up_to < log.next, "acknowledged beyond the spool");
        log.first = log.first.max(up_to + 1);
        log.items = log.items.split_off(&log.first);
    }

    pub(super) fn is_drained(&self) -> bool {
        self.logs.values().all(|log| log.first == log.next)
    }
}

fn content((epoch, stream): Name, seq: u64, bytes: usize) -> Bytes {
    let mut text = format!("{epoch}/{stream}/{seq}/").into_bytes();
    text.resize(text.len().max(bytes), b'.');
    text.into()
}

/// What the relay has in memory, and what its ledger has for good.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) grant: u32,
    committed: BTreeMap<Name, u64>,
    session: Option<Session>,
    taken: BTreeMap<Name, u64>,
    rewound: BTreeMap<Name, u64>,
    uncommitted: Vec<(Name, u64)>,
    hello: Option<Hello>,
}

impl Relay {
    fn forget(&mut self) {
        self.session = None;
        self.taken.clear();
        self.rewound.clear();
        self.uncommitted.clear();
        self.hello = None;
    }

    fn answer(&mut self) -> Option<Down> {
        let hello = self.hello.take()?;
        self.session = Some(hello.session);
        self.rewound.clear();
        let streams = hello.streams.iter().map(|offer| {
            let name = (offer.epoch, offer.stream);
            let committed = self.committed.get(&name).copied().unwrap_or(0);
            assert!(offer.first <= committed + 1, "the spool let go of what was never committed");
            self.taken.entry(name).or_insert(committed);
            Granted { epoch: offer.epoch, stream: offer.stream, committed, grant: self.grant }
        });
        Some(Down::Welcome(Welcome { session: hello.session, forked: None, streams: streams.collect() }))
    }

    fn take(&mut self, batch: &Batch) -> Option<Down> {
        let Batch { session, epoch, stream, .. } = *batch;
        let name = (epoch, stream);
        if self.session != Some(session) {
            return Some(Down::HelloAgain { session });
        }
        let taken = self.taken.get_mut(&name).expect("a batch of a stream that was never offered");
        let mut at = batch.first;
        for item in &batch.items {
            let last = at + item.span() - 1;
            if at > *taken + 1 {
                let next = *taken + 1;
                let news = self.rewound.insert(name, next) != Some(next);
                return news.then_some(Down::Rewind { session, epoch, stream, next });
            }
            if last > *taken {
                assert_eq!(at, *taken + 1, "an item half taken");
                if let Item::Frame(bytes) = item {
                    assert_eq!(bytes, &content(name, at, bytes.len()), "another frame's name");
                }
                *taken = last;
                self.uncommitted.push((name, last));
            }
            at = last + 1;
        }
        None
    }

    fn commit(&mut self) -> Vec<Down> {
        let mut acks = BTreeMap::new();
        for (name, last) in self.uncommitted.drain(..) {
            let before = self.committed.insert(name, last).unwrap_or(0);
            assert!(before < last, "committed twice");
            acks.insert(name, last);
        }
        let Some(session) = self.session else { return Vec::new() };
        let ack = |((epoch, stream), up_to)| Down::Ack(Ack { session, epoch, stream, up_to, grant: self.grant });
        acks.into_iter().map(ack).collect()
    }
}

/// One thing that happens.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Push(Stream, usize),
    DropOldestRaw,
    Connect,
    Disconnect { late: bool },
    RestartAgent,
    Read,
    FailRead,
    Write,
    DeliverUp(usize),
    LoseUp(usize),
    RepeatUp(usize),
    DeliverDown,
    LoseDown,
    RepeatDown,
    Answer,
    Commit,
    FailLedger,
    RestartRelay,
    Grant(u32),
    Advance(u64),
}

#[derive(Debug, Clone)]
enum UpWord {
    Hello(Hello),
    Batch(Batch),
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) now: Instant,
    pub(super) uplink: Uplink,
    pub(super) spool: Spool,
    pub(super) relay: Relay,
    pub(super) connected: bool,
    pub(super) reconnects: Vec<String>,
    ordinal: u64,
    welcomed: Option<Session>,
    reading: Option<Read>,
    unwritten: VecDeque<(u64, Batch)>,
    /// hello, raw, activity: order holds within each.
    up: [VecDeque<UpWord>; 3],
    down: VecDeque<Down>,
}

impl World {
    pub(super) fn new() -> Self {
        let epoch = Epoch::from_random(0);
        let mut spool = Spool { epoch, ancestors: Vec::new(), welcomed: false, logs: BTreeMap::new() };
        spool.start(1);
        let relay = Relay {
            grant: 64 * 1024,
            committed: BTreeMap::new(),
            session: None,
            taken: BTreeMap::new(),
            rewound: BTreeMap::new(),
            uncommitted: Vec::new(),
            hello: None,
        };
        Self {
            now: Instant::now(),
            uplink: Uplink::new("test", 1, &spool.state()),
            spool,
            relay,
            connected: false,
            reconnects: Vec::new(),
            ordinal: 1,
            welcomed: None,
            reading: None,
            unwritten: VecDeque::new(),
            up: Default::default(),
            down: VecDeque::new(),
        }
    }

    /// Whether the step changed anything.
    #[expect(clippy::too_many_lines, reason = "one arm for each step")]
    pub(super) fn step(&mut self, step: Step) -> bool {
        let now = self.now;
        let happened = match step {
            Step::Push(stream, bytes) => {
                self.spool.push(stream, bytes);
                self.uplink.handle_spool(now, &self.spool.state());
                true
            }
            Step::DropOldestRaw => {
                self.spool.drop_oldest_raw();
                true
            }
            Step::Connect if !self.connected => {
                self.connected = true;
                self.uplink.handle_connected(now);
                true
            }
            Step::Disconnect { late } if self.connected => {
                self.disconnect(late);
                true
            }
            Step::RestartAgent => {
                self.disconnect(true);
                self.ordinal += 1;
                self.reading = None;
                self.spool.start(self.ordinal);
                self.uplink = Uplink::new("test", self.ordinal, &self.spool.state());
                true
            }
            Step::Read => self.reading.take().is_some_and(|read| {
                let items = self.spool.read(read);
                self.uplink.handle_frames(now, Ok(items));
                true
            }),
            Step::FailRead => self.reading.take().is_some_and(|_| {
                self.uplink.handle_frames(now, Err("disk".to_owned()));
                true
            }),
            Step::Write => self.unwritten.pop_front().is_some_and(|(id, batch)| {
                let topic = if batch.stream == Stream::Raw { 1 } else { 2 };
                self.up[topic].push_back(UpWord::Batch(batch));
                self.uplink.handle_written(now, id);
                true
            }),
            Step::DeliverUp(topic) => self.up[topic % 3].pop_front().is_some_and(|word| {
                match word {
                    UpWord::Hello(hello) => {
                        self.relay.session = None;
                        self.relay.hello = Some(hello);
                    }
                    UpWord::Batch(batch) => self.down.extend(self.relay.take(&batch)),
                }
                true
            }),
            Step::LoseUp(topic) => self.up[topic % 3].pop_front().is_some(),
            Step::RepeatUp(topic) => {
                let again = self.up[topic % 3].front().cloned();
                again.is_some_and(|word| {
                    self.up[topic % 3].push_front(word);
                    true
                })
            }
            Step::DeliverDown if self.connected => self.down.pop_front().is_some_and(|down| {
                if let Down::Welcome(welcome) = &down {
                    self.welcomed = Some(welcome.session);
                }
                self.uplink.handle_down(now, down);
                true
            }),
            Step::LoseDown => self.down.pop_front().is_some(),
            Step::RepeatDown => self.down.front().cloned().is_some_and(|down| {
                self.down.push_front(down);
                true
            }),
            Step::Answer => self.relay.answer().is_some_and(|down| {
                self.down.push_back(down);
                true
            }),
            Step::Commit => {
                let acks = self.relay.commit();
                let some = !acks.is_empty();
                self.down.extend(acks);
                some
            }
            Step::FailLedger => {
                let session = self.relay.session;
                self.relay.forget();
                self.down.extend(session.map(|session| Down::HelloAgain { session }));
                true
            }
            Step::RestartRelay => {
                self.relay.forget();
                self.disconnect(false);
                true
            }
            Step::Grant(grant) => {
                self.relay.grant = grant;
                true
            }
            Step::Advance(milliseconds) => {
                self.now += Duration::from_millis(milliseconds);
                self.uplink.handle_timeout(self.now);
                true
            }
            Step::Connect | Step::Disconnect { .. } | Step::DeliverDown => false,
        };
        self.settle();
        happened
    }

    fn disconnect(&mut self, late: bool) {
        self.connected = false;
        self.unwritten.clear();
        if !late {
            self.up.iter_mut().for_each(VecDeque::clear);
            self.down.clear();
        }
        self.uplink.handle_disconnected();
    }

    /// Takes every effect, checking the machine's promises.
    fn settle(&mut self) {
        while let Some(effect) = self.uplink.poll_effect() {
            match effect {
                Effect::Hello(hello) => {
                    assert!(self.connected, "a hello without a connection");
                    assert!(Hello::decode(&hello.encode()).is_ok(), "{hello:?}");
                    self.up[0].push_back(UpWord::Hello(hello));
                }
                Effect::Read(read) => {
                    assert!(self.reading.is_none(), "two reads at a time");
                    self.check_turn(read);
                    self.reading = Some(read);
                }
                Effect::Batch(id, batch) => {
                    assert!(self.connected, "a batch without a connection");
                    assert_eq!(self.welcomed, Some(batch.session), "sent before the welcome");
                    assert!(Batch::decode(&batch.encode()).is_ok(), "{batch:?}");
                    self.unwritten.push_back((id, batch));
                }
                Effect::Acknowledged { epoch, stream, up_to } => {
                    let committed = self.relay.committed.get(&(epoch, stream)).copied().unwrap_or(0);
                    assert!(up_to <= committed, "acknowledged {up_to}, committed {committed}");
                    self.spool.acknowledge((epoch, stream), up_to);
                    self.uplink.handle_spool(self.now, &self.spool.state());
                }
                Effect::Welcomed => {
                    assert!(self.welcomed.is_some(), "nobody welcomed it");
                    assert!(!std::mem::replace(&mut self.spool.welcomed, true), "told twice");
                }
                Effect::Copied { why, .. } => panic!("nothing was copied: {why}"),
                Effect::Reconnect { reason } => {
                    self.reconnects.push(reason);
                    self.disconnect(false);
                }
            }
        }
    }

    fn check_turn(&self, read: Read) {
        let flows = &self.uplink.flows;
        let flow = flows.iter().find(|f| f.is(read.epoch, read.stream)).unwrap();
        assert_eq!(read.from, flow.cursor());
        for other in flows.iter().filter(|other| other.turn() < flow.turn() && other.waiting()) {
            assert_eq!(other.epoch, flow.epoch, "an older start waits");
            assert!(other.room().is_none(), "activity could go");
        }
    }

    /// With everything well again, goes on until nothing waits anywhere; panics if it takes too long.
    pub(super) fn drain(&mut self) {
        for _ in 0..20_000 {
            let mut happened = self.step(Step::Connect);
            for topic in 0..3 {
                happened |= self.step(Step::DeliverUp(topic));
            }
            for step in [Step::Answer, Step::DeliverDown, Step::Read, Step::Write, Step::Commit] {
                happened |= self.step(step);
            }
            if happened {
                continue;
            }
            if self.spool.is_drained() && self.uplink.is_welcomed() {
                return;
            }
            let wake = self.uplink.poll_timeout().expect("nothing to do, nothing to wait for, and frames wait");
            self.now = self.now.max(wake);
            self.uplink.handle_timeout(self.now);
            self.settle();
        }
        panic!("does not drain: {self:?}");
    }

    /// Asserts that the relay has every frame that was ever named, once and in order.
    pub(super) fn check_complete(&self) {
        for (name, log) in &self.spool.logs {
            assert_eq!(self.relay.committed.get(name).copied().unwrap_or(0), log.next - 1, "{name:?}");
        }
        assert_eq!(self.uplink.in_flight(), 0);
    }
}
