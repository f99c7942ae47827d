//! The responder's machine: probing, announcing, answering, giving way. Pure: time is an argument, packets are effects.
//!
//! - Nothing is answered before the name was asked for three times and nobody else had it, RFC 6762, section 8.
//! - A name that is another's is given up for the next candidate, once it was asked for; goodbyes name nothing but what
//!   is in force.
//! - Nothing is sent to all of a link twice within a second, but in defence of the name.
//! - Of what others say nothing is kept; what no honest neighbour sends, in size or in number, is not read.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use gaitway_service::rate::{Bucket, Rate};
use simple_dns::header_buffer;
use simple_dns::rdata::RData;
use simple_dns::{CLASS, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, ResourceRecord};

use super::name::Candidates;
use super::records::{Kinds, Records, Service, ip_of};

/// The port of mDNS.
pub(super) const PORT: u16 = 5353;

/// RFC 6762: 8.1, 8.2, 8.3, 6, 6.7.
const PROBES: u8 = 3;
const PROBE_EVERY: Duration = Duration::from_millis(250);
const AFTER_A_TIE: Duration = Duration::from_secs(1);
const ANNOUNCEMENTS: u8 = 2;
const ANNOUNCE_EVERY: Duration = Duration::from_secs(1);
const SAY_AGAIN: Duration = Duration::from_secs(1);
const DEFEND_AGAIN: Duration = Duration::from_millis(250);
const LEGACY_TTL: u32 = 10;

/// So many conflicts, none of them long after the one before, and each name is waited for: RFC 6762, section 8.1.
const MANY_CONFLICTS: u32 = 15;
const AFTER_MANY: Duration = Duration::from_secs(5);
const LONG_AFTER: Duration = Duration::from_secs(60);

/// A packet with more of either is not read: honest neighbours send none.
const MOST_QUESTIONS: u16 = 64;
const MOST_RECORDS: u16 = 256;

/// Packets of one link that are read, 200 a second. More are lost: mDNS repeats.
const READ: Rate = Rate::new(Duration::from_millis(5), Duration::from_secs(1));

/// Answers on one link to who asks from elsewhere than mDNS's port, 20 a second: they are greater than the question,
/// and who is said to have asked need not have.
const ANSWERS_TO_ONE: Rate = Rate::new(Duration::from_millis(50), Duration::from_secs(1));

/// One interface, by IPv4 or by IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LinkId {
    /// The interface's index.
    pub(super) index: u32,
    /// By IPv6.
    pub(super) is_v6: bool,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// Send `packet` on `link`, to the group or to one who asked from elsewhere than mDNS's port.
    Send {
        /// Where.
        link: LinkId,
        /// To whom; everybody if it is nobody.
        to: Option<SocketAddr>,
        /// What.
        packet: Vec<u8>,
    },
    /// This name is in force now, or none.
    InForce(Option<String>),
    /// `from` is another's: `to` is tried.
    Renamed {
        /// The name that was tried or in force.
        from: String,
        /// The next.
        to: String,
        /// Nothing was given up since a name was in force.
        is_first: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Without links, or said goodbye.
    Idle,
    Probing {
        sent: u8,
        next: Instant,
    },
    Announcing {
        left: u8,
        next: Instant,
    },
    Settled,
}

/// What is known of one link.
#[derive(Debug, Clone)]
struct Link {
    told: Vec<IpAddr>,
    /// When each kind was last sent to all.
    said: [Option<Instant>; Kinds::COUNT],
    /// What will be answered, and when.
    waiting: Option<(Instant, Kinds)>,
    /// What may be read, and answered to one.
    read: Bucket,
    answers_to_one: Bucket,
}

impl Link {
    fn new(now: Instant) -> Self {
        let full = Bucket::full(now);
        Self { told: Vec::new(), said: Default::default(), waiting: None, read: full, answers_to_one: full }
    }
}

/// The machine.
#[derive(Debug)]
pub(super) struct Responder {
    candidates: Candidates,
    service: Service,
    taken: u32,
    conflicts: u32,
    last_conflict: Option<Instant>,
    /// A name was given up since one was in force.
    has_given_way: bool,
    records: Records,
    phase: Phase,
    is_in_force: bool,
    links: BTreeMap<LinkId, Link>,
    own: Vec<IpAddr>,
    effects: VecDeque<Effect>,
    random: u64,
}

impl Responder {
    /// Tells of `service`; the first `taken` candidates are another's. `random` is a seed.
    pub(super) fn new(candidates: Candidates, taken: u32, service: Service, random: u64) -> Self {
        let records = Records::new(&candidates.nth(taken), service);
        Self {
            candidates,
            service,
            taken,
            conflicts: 0,
            last_conflict: None,
            has_given_way: false,
            records,
            phase: Phase::Idle,
            is_in_force: false,
            links: BTreeMap::new(),
            own: Vec::new(),
            effects: VecDeque::new(),
            random,
        }
    }

    fn name(&self) -> String {
        self.candidates.nth(self.taken)
    }

    /// What is to be done next.
    pub(super) fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Probing { next, .. } | Phase::Announcing { next, .. } => Some(next),
            Phase::Idle | Phase::Settled => None,
        };
        self.links.values().filter_map(|link| Some(link.waiting?.0)).chain(phase).min()
    }

    /// The links there are, with the addresses told on each; `own` are all addresses of this machine.
    pub(super) fn handle_links(&mut self, now: Instant, links: &BTreeMap<LinkId, Vec<IpAddr>>, own: Vec<IpAddr>) {
        self.own = own;
        let is_known = |id: &LinkId, ip: &IpAddr| self.links.get(id).is_some_and(|link| link.told.contains(ip));
        let has_more = links.iter().any(|(id, told)| told.iter().any(|ip| !is_known(id, ip)));
        let has_less = self
            .links
            .iter()
            .any(|(id, link)| links.get(id).is_none_or(|told| link.told.iter().any(|ip| !told.contains(ip))));
        if !has_more && !has_less {
            return;
        }
        self.links.retain(|id, _| links.contains_key(id));
        for (id, told) in links {
            self.links.entry(*id).or_insert_with(|| Link::new(now)).told.clone_from(told);
        }
        if self.links.is_empty() {
            self.phase = Phase::Idle;
            self.lose_force();
        } else if has_more {
            self.probe(now);
        } else if self.phase == Phase::Settled {
            self.phase = Phase::Announcing { left: ANNOUNCEMENTS, next: now };
        }
    }

    /// A packet that came from a neighbour on `link`.
    pub(super) fn handle_packet(&mut self, now: Instant, link: LinkId, from: SocketAddr, bytes: &[u8]) {
        let Some(read) = self.links.get_mut(&link).map(|link| &mut link.read) else { return };
        if !is_honest_in_size(bytes) || read.take(READ, now).is_err() {
            return;
        }
        let Ok(packet) = Packet::parse(bytes) else { return };
        if packet.opcode() != OPCODE::StandardQuery || packet.rcode() != RCODE::NoError {
            return;
        }
        if packet.has_flags(PacketFlag::RESPONSE) {
            if from.port() == PORT {
                self.heed(now, &packet);
            }
        } else if from.port() == PORT {
            self.tie(now, link, &packet);
            self.answer(now, link, &packet);
        } else {
            self.answer_one(now, link, from, &packet);
        }
        self.say_what_is_due(now);
    }

    /// The time that [`poll_timeout`](Self::poll_timeout) named has come.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        match self.phase {
            Phase::Probing { sent, next } if next <= now && sent < PROBES => {
                let probes: Vec<_> = self.links.iter().map(|(id, link)| (*id, self.probe_packet(&link.told))).collect();
                for (id, packet) in probes {
                    self.send(id, None, &packet);
                }
                self.phase = Phase::Probing { sent: sent + 1, next: now + PROBE_EVERY };
            }
            Phase::Probing { next, .. } if next <= now => {
                self.has_given_way = false;
                if !self.is_in_force {
                    self.is_in_force = true;
                    self.effects.push_back(Effect::InForce(Some(self.name())));
                }
                self.phase = Phase::Announcing { left: ANNOUNCEMENTS, next: now };
                self.announce(now);
            }
            Phase::Announcing { next, .. } if next <= now => self.announce(now),
            _ => {}
        }
        self.say_what_is_due(now);
    }

    /// Takes back what was told.
    pub(super) fn say_goodbye(&mut self) {
        if self.is_in_force {
            let ids: Vec<_> = self.links.keys().copied().collect();
            for id in ids {
                let kinds = Kinds::UNIQUE.and(Kinds::INSTANCE);
                let mut packet = self.response(id, kinds, Kinds::NONE);
                for record in &mut packet.answers {
                    record.ttl = 0;
                    record.cache_flush = false;
                }
                self.send(id, None, &packet);
            }
        }
        self.phase = Phase::Idle;
        self.lose_force();
        for link in self.links.values_mut() {
            link.waiting = None;
        }
    }

    fn lose_force(&mut self) {
        if std::mem::take(&mut self.is_in_force) {
            self.effects.push_back(Effect::InForce(None));
        }
    }

    fn probe(&mut self, now: Instant) {
        let wait = if self.conflicts > MANY_CONFLICTS { AFTER_MANY } else { self.random_of(0..250) };
        self.phase = Phase::Probing { sent: 0, next: now + wait };
    }

    /// Announces once, on all links.
    fn announce(&mut self, now: Instant) {
        let Phase::Announcing { left, .. } = self.phase else { return };
        let ids: Vec<_> = self.links.keys().copied().collect();
        for id in ids {
            let packet = self.response(id, Kinds::ALL, Kinds::NONE);
            self.send(id, None, &packet);
            if let Some(link) = self.links.get_mut(&id) {
                link.said = [Some(now); Kinds::COUNT];
            }
        }
        self.phase = match left {
            0 | 1 => Phase::Settled,
            more => Phase::Announcing { left: more - 1, next: now + ANNOUNCE_EVERY },
        };
    }

    /// Sees whether somebody else has the name.
    fn heed(&mut self, now: Instant, packet: &Packet<'_>) {
        let mut said = packet.answers.iter().chain(&packet.additional_records);
        // A name that was not asked for yet is nobody's to give up: who has it says so when it is.
        let is_open = !matches!(self.phase, Phase::Idle | Phase::Probing { sent: 0, .. });
        if !is_open || !said.any(|record| self.records.are_contradicted_by(record, &self.own)) {
            return;
        }
        let before = self.last_conflict.replace(now);
        let is_new = before.is_none_or(|before| now.saturating_duration_since(before) > LONG_AFTER);
        self.conflicts = if is_new { 1 } else { self.conflicts.saturating_add(1) };
        self.lose_force();
        if matches!(self.phase, Phase::Probing { .. }) {
            let from = self.name();
            self.taken = self.taken.wrapping_add(1);
            self.records = Records::new(&self.name(), self.service);
            let is_first = !std::mem::replace(&mut self.has_given_way, true);
            self.effects.push_back(Effect::Renamed { from, to: self.name(), is_first });
        }
        for link in self.links.values_mut() {
            link.waiting = None;
        }
        self.probe(now);
    }

    /// Sees whether somebody else asks for the same name at the same time, and has the better right.
    fn tie(&mut self, now: Instant, id: LinkId, packet: &Packet<'_>) {
        let is_asking = matches!(self.phase, Phase::Probing { sent: 1.., .. }) && !self.is_in_force;
        let Some(link) = self.links.get(&id).filter(|_| is_asking && !packet.name_servers.is_empty()) else { return };
        let ours = self.records.of(Kinds::UNIQUE, &link.told);
        let is_lost = [&self.records.host, &self.records.instance].into_iter().any(|name| {
            let of = |records: &[ResourceRecord<'_>]| {
                let mut claims: Vec<_> = records.iter().filter(|r| r.name == *name).filter_map(claim).collect();
                claims.sort_unstable();
                claims.dedup();
                claims
            };
            let is_own = |record: &ResourceRecord<'_>| ip_of(&record.rdata).is_some_and(|ip| self.own.contains(&ip));
            let mut claimed = packet.name_servers.iter().filter(|record| record.name == *name);
            !claimed.all(is_own) && of(&ours) < of(&packet.name_servers)
        });
        if is_lost {
            self.phase = Phase::Probing { sent: 0, next: now + AFTER_A_TIE };
        }
    }

    /// Answers who speaks mDNS, to all, so that others of the link hear it too.
    fn answer(&mut self, now: Instant, id: LinkId, packet: &Packet<'_>) {
        let kinds = self.asked(id, packet);
        if kinds.is_empty() {
            return;
        }
        let is_probe = !packet.name_servers.is_empty();
        let is_shared = kinds.has(Kinds::INSTANCE.and(Kinds::TYPE));
        let wait = if is_shared && !is_probe { self.random_of(20..120) } else { Duration::ZERO };
        let Some(link) = self.links.get_mut(&id) else { return };
        let again = if is_probe { DEFEND_AGAIN } else { SAY_AGAIN };
        let kinds = not_just_said(kinds, &link.said, now, again);
        if !kinds.is_empty() {
            let (due, before) = link.waiting.unwrap_or((now + wait, Kinds::NONE));
            link.waiting = Some((due.min(now + wait), before.and(kinds)));
        }
    }

    /// Answers who asks from elsewhere, and hears nothing else: RFC 6762, section 6.7.
    fn answer_one(&mut self, now: Instant, id: LinkId, from: SocketAddr, packet: &Packet<'_>) {
        let kinds = self.asked(id, packet).without(Kinds::NOTHING_ELSE);
        let Some(link) = self.links.get_mut(&id).filter(|_| !kinds.is_empty()) else { return };
        if link.answers_to_one.take(ANSWERS_TO_ONE, now).is_err() {
            return;
        }
        let mut reply = self.response(id, kinds, Records::beside(kinds).without(Kinds::NOTHING_ELSE));
        reply.set_id(packet.id());
        reply.questions = packet.questions.iter().map(|question| question.clone().into_owned()).collect();
        for record in reply.answers.iter_mut().chain(&mut reply.additional_records) {
            record.ttl = record.ttl.min(LEGACY_TTL);
            record.cache_flush = false;
        }
        self.send(id, Some(from), &reply);
    }

    /// What `packet` asks for and does not know.
    fn asked(&self, id: LinkId, packet: &Packet<'_>) -> Kinds {
        let Some(link) = self.links.get(&id).filter(|_| self.is_in_force) else { return Kinds::NONE };
        let asked = packet
            .questions
            .iter()
            .fold(Kinds::NONE, |asked, question| asked.and(self.records.asked(question, &link.told)));
        let is_known = |record: &ResourceRecord<'_>| {
            packet.answers.iter().any(|known| known == record && known.ttl >= record.ttl / 2)
        };
        asked.each().fold(asked, |asked, (_, kind)| {
            let is_known = !packet.answers.is_empty() && self.records.of(kind, &link.told).iter().all(is_known);
            if is_known { asked.without(kind) } else { asked }
        })
    }

    fn say_what_is_due(&mut self, now: Instant) {
        let mut due = Vec::new();
        for (id, link) in &mut self.links {
            if let Some((_, kinds)) = link.waiting.take_if(|(at, _)| *at <= now) {
                let beside = not_just_said(Records::beside(kinds), &link.said, now, SAY_AGAIN);
                due.push((*id, kinds, beside));
                for (place, _) in kinds.and(beside).each() {
                    link.said[place] = Some(now);
                }
            }
        }
        for (id, kinds, beside) in due {
            let packet = self.response(id, kinds, beside);
            self.send(id, None, &packet);
        }
    }

    fn response(&self, id: LinkId, kinds: Kinds, beside: Kinds) -> Packet<'static> {
        let told = self.links.get(&id).map(|link| link.told.as_slice()).unwrap_or_default();
        let mut packet = Packet::new_reply(0);
        packet.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
        packet.answers = self.records.of(kinds, told);
        packet.additional_records = self.records.of(beside, told);
        packet
    }

    fn probe_packet(&self, told: &[IpAddr]) -> Packet<'static> {
        let mut packet = Packet::new_query(0);
        packet.questions = [&self.records.host, &self.records.instance]
            .map(|name| Question::new(name.clone(), QTYPE::ANY, QCLASS::CLASS(CLASS::IN), false))
            .to_vec();
        packet.name_servers = self.records.of(Kinds::UNIQUE, told);
        for record in &mut packet.name_servers {
            record.cache_flush = false;
        }
        packet
    }

    fn send(&mut self, link: LinkId, to: Option<SocketAddr>, packet: &Packet<'_>) {
        if let Ok(packet) = packet.build_bytes_vec_compressed() {
            self.effects.push_back(Effect::Send { link, to, packet });
        }
    }

    /// A time in milliseconds, by `SplitMix64`.
    fn random_of(&mut self, milliseconds: std::ops::Range<u64>) -> Duration {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.random ^ (self.random >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let span = milliseconds.end - milliseconds.start;
        Duration::from_millis(milliseconds.start + (z ^ (z >> 31)) % span)
    }
}

/// Whether its header counts no more than an honest packet has: what is counted is read whole, names and all.
fn is_honest_in_size(bytes: &[u8]) -> bool {
    use header_buffer::{additional_records, answers, name_servers, questions};
    let records = [answers(bytes), name_servers(bytes), additional_records(bytes)]
        .into_iter()
        .try_fold(0_u16, |sum, count| Some(sum.saturating_add(count.ok()?)));
    questions(bytes).is_ok_and(|count| count <= MOST_QUESTIONS) && records.is_some_and(|count| count <= MOST_RECORDS)
}

/// Those of `kinds` that were not sent to all within `again`.
fn not_just_said(kinds: Kinds, said: &[Option<Instant>; Kinds::COUNT], now: Instant, again: Duration) -> Kinds {
    kinds.each().fold(kinds, |kinds, (place, kind)| {
        let is_recent = said[place].is_some_and(|at| now.saturating_duration_since(at) < again);
        if is_recent { kinds.without(kind) } else { kinds }
    })
}

/// A record as it is compared where two ask for one name: its type and its bytes, RFC 6762, section 8.2.
fn claim(record: &ResourceRecord<'_>) -> Option<(u16, Vec<u8>)> {
    let bytes = match &record.rdata {
        RData::A(a) => a.address.to_be_bytes().to_vec(),
        RData::AAAA(aaaa) => aaaa.address.to_be_bytes().to_vec(),
        RData::SRV(place) => {
            let mut bytes = [place.priority, place.weight, place.port].map(u16::to_be_bytes).concat();
            for label in place.target.as_bytes() {
                bytes.push(label.len() as u8);
                bytes.extend_from_slice(label);
            }
            bytes.push(0);
            bytes
        }
        _ => return None,
    };
    Some((record.rdata.type_code().into(), bytes))
}

#[cfg(test)]
mod tests;
