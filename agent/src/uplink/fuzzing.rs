//! A conversation between the session machine and a relay that says anything, in any order.
//!
//! - The spool is told only of frames that it has, and by an acknowledgement only of those sent in its session.
//! - What is sent was offered; however a step goes, the machine settles.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gaitway_proto::envelope::{Down, Item, Offer, VERSION};
use gaitway_proto::ledger::{Epoch, Stream};

use super::SpoolState;
use super::session::{Effect, Read, Uplink};

/// Most effects of one step: beyond it the machine turns in circles.
const SETTLED: usize = 10_000;

/// Plays `bytes` as steps: what comes from the relay, from the spool, and from the clock.
pub fn converse(mut bytes: &[u8]) {
    let mut house = House::new();
    house.settle();
    while let Some((step, rest)) = bytes.split_first() {
        bytes = rest;
        house.acknowledging = false;
        match step % 8 {
            0 => house.later(),
            1 => house.grow(),
            2 => {
                house.uplink.handle_disconnected();
                house.uplink.handle_connected(house.now);
            }
            3 => house.uplink.handle_closing(),
            _ => {
                let length = bytes.first().map_or(0, |length| usize::from(*length)).min(bytes.len());
                let (said, rest) = bytes.split_at(length);
                bytes = rest;
                house.hear(said.get(1..).unwrap_or_default());
            }
        }
        house.settle();
    }
}

struct House {
    uplink: Uplink,
    spool: SpoolState,
    now: Instant,
    session: u64,
    /// The greatest seq of each stream that was sent in this session.
    sent: HashMap<(Epoch, Stream), u64>,
    /// The relay's last word was an acknowledgement.
    acknowledging: bool,
}

impl House {
    fn new() -> Self {
        let [present, before] = [2, 1].map(Epoch::from_random);
        let streams =
            [(before, 1, Stream::Raw, 3, 9), (present, 2, Stream::Activity, 1, 1), (present, 2, Stream::Raw, 1, 5)];
        let streams =
            streams.map(|(epoch, ordinal, stream, first, next)| Offer { epoch, ordinal, stream, first, next });
        let spool = SpoolState { epoch: present, ancestors: vec![before], streams: streams.to_vec() };
        let now = Instant::now();
        let mut uplink = Uplink::new("fuzz", 1, &spool);
        uplink.handle_connected(now);
        Self { uplink, spool, now, session: 0, sent: HashMap::new(), acknowledging: false }
    }

    /// Time passes, to the next deadline or by a little.
    fn later(&mut self) {
        self.now = self.uplink.poll_timeout().unwrap_or(self.now).max(self.now) + Duration::from_millis(1);
        self.uplink.handle_timeout(self.now);
    }

    /// A frame more in each stream of the present start.
    fn grow(&mut self) {
        let present = self.spool.epoch;
        for offer in self.spool.streams.iter_mut().filter(|offer| offer.epoch == present) {
            offer.next += 1;
        }
        self.uplink.handle_spool(self.now, &self.spool);
    }

    /// The relay says `said`, a payload without its version and checksum; session 0 stands for the present one.
    fn hear(&mut self, said: &[u8]) {
        let mut payload = [&[VERSION], said].concat();
        payload.extend_from_slice(&crc32c::crc32c(&payload).to_le_bytes());
        let Ok(mut down) = Down::decode(&payload) else { return };
        match &mut down {
            Down::Welcome(welcome) => present(&mut welcome.session, self.session),
            Down::Ack(ack) => present(&mut ack.session, self.session),
            Down::Rewind { session, .. } | Down::HelloAgain { session } => present(session, self.session),
            Down::Refused { .. } | Down::Renew => {}
        }
        self.acknowledging = matches!(down, Down::Ack(_));
        self.uplink.handle_down(self.now, down);
    }

    fn settle(&mut self) {
        for _ in 0..SETTLED {
            let Some(effect) = self.uplink.poll_effect() else { return };
            match effect {
                Effect::Hello(hello) => {
                    self.session = hello.session;
                    self.sent.clear();
                }
                Effect::Read(read) => {
                    let items = self.read(read);
                    self.uplink.handle_frames(self.now, Ok(items));
                }
                Effect::Batch(id, batch) => {
                    assert_eq!(batch.session, self.session);
                    let end = batch.items.iter().map(Item::span).sum::<u64>() + batch.first;
                    let offer = self.offer(batch.epoch, batch.stream);
                    assert!(end <= offer.next, "sent and never offered: {batch:?}");
                    let sent = self.sent.entry((batch.epoch, batch.stream)).or_default();
                    *sent = end.saturating_sub(1).max(*sent);
                    self.uplink.handle_written(self.now, id);
                }
                Effect::Acknowledged { epoch, stream, up_to } => {
                    let offer = self.offer(epoch, stream);
                    assert!(up_to < offer.next, "acknowledged beyond the spool: {up_to} of {offer:?}");
                    offer.first = offer.first.max(up_to + 1);
                    let sent = self.sent.get(&(epoch, stream));
                    assert!(
                        !self.acknowledging || sent >= Some(&up_to),
                        "acknowledged and never sent: {up_to} of {sent:?}"
                    );
                }
                Effect::Copied { .. } => self.uplink.handle_copied_done(self.now),
                Effect::Welcomed => {}
                Effect::Reconnect { reason } => {
                    assert!(reason.len() < 2000, "{reason}");
                    self.uplink.handle_disconnected();
                    self.uplink.handle_connected(self.now);
                }
            }
        }
        panic!("more than {SETTLED} effects of one step");
    }

    fn read(&mut self, read: Read) -> Vec<Item> {
        let next = self.offer(read.epoch, read.stream).next;
        assert!(read.from >= 1 && read.from <= next, "read from where nothing is: {read:?}");
        let frames = (read.from..next).take(read.max_items.max(1));
        frames.map(|_| Item::Frame(Bytes::from_static(b"frame"))).collect()
    }

    fn offer(&mut self, epoch: Epoch, stream: Stream) -> &mut Offer {
        let offer = self.spool.streams.iter_mut().find(|offer| (offer.epoch, offer.stream) == (epoch, stream));
        offer.expect("the uplink knows no stream that the spool has not")
    }
}

fn present(session: &mut u64, now: u64) {
    if *session == 0 {
        *session = now;
    }
}
