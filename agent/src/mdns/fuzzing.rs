//! A conversation between the responder and a link on which anybody says anything.
//!
//! - However the link speaks, a step has few effects and the machine settles.
//! - What is sent can be read.
//! - Nothing is answered while no name is in force.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use simple_dns::{Packet, PacketFlag};

use super::name::Candidates;
use super::records::Service;
use super::responder::{Effect, LinkId, PORT, Responder};

/// Most effects of one step: two links, what waits on each, an answer and a change of names.
const MOST_EFFECTS: usize = 8;

/// Timers that may be due without time going on.
const MOST_TIMERS: usize = 16;

const LINKS: [LinkId; 2] = [LinkId { index: 2, is_v6: false }, LinkId { index: 2, is_v6: true }];

struct House {
    responder: Responder,
    now: Instant,
    is_in_force: bool,
}

/// Plays `bytes` as steps: packets, links that come and go, and time.
pub fn talk(mut bytes: &[u8]) {
    let candidates = Candidates::new("attic", "pi");
    let responder = Responder::new(candidates, 0, Service { port: 8000, is_https: false }, 1);
    let mut house = House { responder, now: Instant::now(), is_in_force: false };
    house.link(&["192.168.1.9"]);
    house.wait(Duration::from_secs(3));
    while let Some((step, rest)) = bytes.split_first() {
        bytes = rest;
        match step % 8 {
            0 => house.wait(Duration::from_secs(3)),
            1 => house.wait(Duration::from_millis(u64::from(*step) * 4)),
            2 => house.link(if step & 8 == 0 { &[] } else { &["192.168.1.9", "fd00::9"] }),
            _ => {
                let Some((length, rest)) = bytes.split_first_chunk::<2>() else { return };
                let (packet, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()));
                bytes = rest;
                let port = if step & 8 == 0 { PORT } else { 40_000 };
                house.hear(LINKS[usize::from(step >> 4 & 1)], port, packet);
            }
        }
    }
    house.responder.say_goodbye();
    house.settle();
    assert_eq!(house.responder.poll_timeout(), None, "nothing is to be done after a goodbye");
}

impl House {
    fn link(&mut self, ips: &[&str]) {
        let ips: Vec<IpAddr> = ips.iter().filter_map(|ip| ip.parse().ok()).collect();
        let links: BTreeMap<_, _> =
            LINKS.into_iter().filter(|_| !ips.is_empty()).map(|link| (link, ips.clone())).collect();
        self.responder.handle_links(self.now, &links, ips);
        self.settle();
    }

    fn hear(&mut self, link: LinkId, port: u16, packet: &[u8]) {
        let from: SocketAddr = if link.is_v6 {
            (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 7), port).into()
        } else {
            (Ipv4Addr::new(192, 168, 1, 7), port).into()
        };
        let was_in_force = self.is_in_force;
        self.responder.handle_packet(self.now, link, from, packet);
        let answers = self.settle();
        assert!(answers == 0 || was_in_force, "answered without a name");
    }

    /// Lets time go on, with every timer that becomes due.
    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        let mut at_once = 0;
        while let Some(next) = self.responder.poll_timeout().filter(|next| *next <= end) {
            at_once = if next <= self.now { at_once + 1 } else { 0 };
            assert!(at_once < MOST_TIMERS, "the machine turns in circles");
            self.now = self.now.max(next);
            self.responder.handle_timeout(self.now);
            self.settle();
        }
        self.now = end;
    }

    /// Takes all effects; gives how many answers there were.
    fn settle(&mut self) -> usize {
        let (mut effects, mut answers) = (0, 0);
        while let Some(effect) = self.responder.poll_effect() {
            effects += 1;
            assert!(effects <= MOST_EFFECTS, "one step has {effects} effects");
            match effect {
                Effect::Send { packet, .. } => {
                    let packet = Packet::parse(&packet).expect("what is sent can be read");
                    answers += usize::from(packet.has_flags(PacketFlag::RESPONSE));
                }
                Effect::InForce(name) => self.is_in_force = name.is_some(),
                Effect::Renamed { from, to, .. } => assert_ne!(from, to),
            }
        }
        answers
    }
}
