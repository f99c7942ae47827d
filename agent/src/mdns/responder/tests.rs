use proptest::prelude::*;
use simple_dns::{Name, TYPE};

use super::*;

const LAN: LinkId = LinkId { index: 2, is_v6: false };
const HTTP: Service = Service { port: 8000, is_https: false };

/// A responder on a clock of its own.
struct Agent {
    machine: Responder,
    address: SocketAddr,
    now: Instant,
    in_force: Option<String>,
    renamed: Vec<String>,
    /// Of these, such as are warned of.
    warned: usize,
}

impl Agent {
    fn new(name: &str, ip: &str, now: Instant) -> Self {
        let mut machine = Responder::new(Candidates::new(name, "pi"), 0, HTTP, u64::from(ip.as_bytes()[ip.len() - 1]));
        let ip: IpAddr = ip.parse().unwrap();
        machine.handle_links(now, &BTreeMap::from([(LAN, vec![ip])]), vec![ip]);
        Self { machine, address: (ip, PORT).into(), now, in_force: None, renamed: Vec::new(), warned: 0 }
    }

    /// What it sends next to all, or to one.
    fn sent(&mut self) -> Vec<(Option<SocketAddr>, Vec<u8>)> {
        let mut sent = Vec::new();
        while let Some(effect) = self.machine.poll_effect() {
            match effect {
                Effect::Send { to, packet, .. } => sent.push((to, packet)),
                Effect::InForce(name) => self.in_force = name,
                Effect::Renamed { to, is_first, .. } => {
                    self.renamed.push(to);
                    self.warned += usize::from(is_first);
                }
            }
        }
        sent
    }

    /// What it sends to all until `end`.
    fn run_until(&mut self, end: Instant) -> Vec<Vec<u8>> {
        let mut sent: Vec<_> = self.sent();
        while let Some(next) = self.machine.poll_timeout().filter(|next| *next <= end) {
            self.now = next;
            self.machine.handle_timeout(next);
            sent.extend(self.sent());
        }
        self.now = end;
        sent.into_iter().map(|(_, packet)| packet).collect()
    }

    fn hear(&mut self, from: SocketAddr, packet: &[u8]) -> Vec<(Option<SocketAddr>, Vec<u8>)> {
        self.machine.handle_packet(self.now, LAN, from, packet);
        self.sent()
    }

    fn is_asking(packet: &[u8]) -> bool {
        !Packet::parse(packet).unwrap().has_flags(PacketFlag::RESPONSE)
    }
}

/// An agent whose name is in force and told.
fn settled(ip: &str) -> Agent {
    let mut agent = Agent::new("attic", ip, Instant::now());
    agent.run_until(agent.now + Duration::from_secs(10));
    assert_eq!(agent.in_force.as_deref(), Some("attic"));
    agent
}

/// Runs agents on one link for so long; everybody hears everybody, itself too.
fn meet(agents: &mut [Agent], time: Duration) {
    let end = agents.iter().map(|agent| agent.now).max().unwrap() + time;
    loop {
        let mut heard = Vec::new();
        for agent in agents.iter_mut() {
            heard.extend(agent.sent().into_iter().map(|(_, packet)| (agent.address, packet)));
        }
        if !heard.is_empty() {
            for (from, packet) in heard {
                for agent in agents.iter_mut() {
                    agent.machine.handle_packet(agent.now, LAN, from, &packet);
                }
            }
            continue;
        }
        let next = agents.iter().filter_map(|agent| agent.machine.poll_timeout()).min();
        let Some(next) = next.filter(|next| *next <= end) else { break };
        for agent in agents.iter_mut() {
            agent.now = next;
            agent.machine.handle_timeout(next);
        }
    }
    for agent in agents {
        agent.now = end;
    }
}

fn query(name: &str, kind: TYPE) -> Packet<'static> {
    let mut packet = Packet::new_query(77);
    let name = Name::new_unchecked(name).into_owned();
    packet.questions.push(Question::new(name, QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false));
    packet
}

fn bytes(packet: &Packet<'_>) -> Vec<u8> {
    packet.build_bytes_vec_compressed().unwrap()
}

fn from(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn a_name_is_in_force_after_three_questions_that_nobody_answered() {
    let mut agent = Agent::new("attic", "10.0.0.1", Instant::now());
    let early = agent.hear(from("10.0.0.9:5353"), &bytes(&query("attic.local", TYPE::A)));
    assert_eq!(early, [], "nothing is answered before");
    let sent = agent.run_until(agent.now + Duration::from_millis(999));
    let asked = sent.iter().filter(|packet| Agent::is_asking(packet)).count();
    assert_eq!((asked, agent.in_force.as_deref()), (3, Some("attic")));
    let more = agent.run_until(agent.now + Duration::from_secs(3600));
    assert_eq!(sent.len() - asked + more.len(), 2, "told twice, then silent");
}

#[test]
fn the_second_agent_of_a_name_gives_way_whoever_comes_first_and_both_at_once() {
    for later in [Duration::ZERO, Duration::from_millis(1), Duration::from_millis(600), Duration::from_secs(20)] {
        for (first, second) in [("10.0.0.1", "10.0.0.2"), ("10.0.0.2", "10.0.0.1")] {
            let start = Instant::now();
            let mut agents = [Agent::new("attic", first, start), Agent::new("attic", second, start + later)];
            meet(&mut agents, later + Duration::from_secs(20));
            let mut names = agents.each_ref().map(|agent| agent.in_force.clone().unwrap());
            names.sort_unstable();
            assert_eq!(names, ["attic", "attic-2"], "{later:?}, {first} first");
            let renamed: usize = agents.iter().map(|agent| agent.renamed.len()).sum();
            assert_eq!(renamed, 1);
        }
    }
}

#[test]
fn networks_that_are_joined_later_have_one_agent_of_each_name_in_the_end() {
    let mut agents = [settled("10.0.0.1"), settled("10.0.0.2"), settled("10.0.0.3")];
    let end = agents.iter().map(|agent| agent.now).max().unwrap();
    for agent in &mut agents {
        agent.now = end;
        let ip = agent.address.ip();
        agent.machine.handle_links(end, &BTreeMap::new(), Vec::new());
        agent.machine.handle_links(end, &BTreeMap::from([(LAN, vec![ip])]), vec![ip]);
    }
    meet(&mut agents, Duration::from_secs(60));
    let mut names = agents.each_ref().map(|agent| agent.in_force.clone().unwrap());
    names.sort_unstable();
    assert_eq!(names, ["attic", "attic-2", "attic-3"]);
}

#[test]
fn a_name_in_force_is_defended_at_once() {
    let mut agent = settled("10.0.0.1");
    let mut other = Agent::new("attic", "10.0.0.2", agent.now);
    let probe = other.run_until(other.now + Duration::from_millis(250)).remove(0);
    let answers = agent.hear(other.address, &probe);
    let [(None, answer)] = &answers[..] else { panic!("{answers:?}") };
    other.hear(agent.address, answer);
    assert_eq!(other.renamed, ["attic-2"]);
    assert_eq!(agent.in_force.as_deref(), Some("attic"));
}

#[test]
fn who_asks_from_elsewhere_hears_it_alone_with_the_question_and_short_times() {
    let mut agent = settled("10.0.0.1");
    let asks = from("10.0.0.9:40000");
    let answers = agent.hear(asks, &bytes(&query("attic.local", TYPE::A)));
    let [(Some(to), answer)] = &answers[..] else { panic!("{answers:?}") };
    let answer = Packet::parse(answer).unwrap();
    assert_eq!((*to, answer.id(), answer.questions.len()), (asks, 77, 1));
    assert!(answer.answers.iter().all(|record| record.ttl <= 10 && !record.cache_flush), "{answer:?}");
    assert_eq!(ip_of(&answer.answers[0].rdata), Some(agent.address.ip()));
}

#[test]
fn nothing_is_told_to_all_twice_within_a_second_and_nothing_to_who_knows_it() {
    let mut agent = settled("10.0.0.1");
    let (asks, question) = (from("10.0.0.9:5353"), bytes(&query("attic.local", TYPE::A)));
    assert_eq!(agent.hear(asks, &question).len(), 1);
    assert_eq!(agent.hear(asks, &question).len(), 0);
    agent.now += Duration::from_secs(1);
    assert_eq!(agent.hear(asks, &question).len(), 1);
    agent.now += Duration::from_secs(1);
    let mut known = query("_http._tcp.local", TYPE::PTR);
    assert_eq!(agent.hear(asks, &bytes(&known)).len(), 0, "what others may tell as well waits a moment");
    let told = agent.run_until(agent.now + Duration::from_millis(120));
    let told = Packet::parse(&told[0]).unwrap();
    assert!(told.answers.len() == 1 && told.additional_records.len() >= 3, "{told:?}");
    agent.now += Duration::from_secs(2);
    known.answers = told.answers.clone();
    agent.hear(asks, &bytes(&known));
    assert_eq!(agent.run_until(agent.now + Duration::from_secs(1)).len(), 0);
}

#[test]
fn a_goodbye_takes_back_what_is_in_force_and_nothing_else() {
    let mut agent = Agent::new("attic", "10.0.0.1", Instant::now());
    agent.machine.say_goodbye();
    assert_eq!(agent.sent(), [], "nothing was told");
    let mut agent = settled("10.0.0.1");
    agent.machine.say_goodbye();
    let sent = agent.sent();
    let goodbye = Packet::parse(&sent[0].1).unwrap();
    assert_eq!((sent.len(), agent.in_force.clone()), (1, None));
    assert!(goodbye.answers.len() == 4 && goodbye.answers.iter().all(|record| record.ttl == 0), "{goodbye:?}");
    assert_eq!(agent.hear(from("10.0.0.9:5353"), &bytes(&query("attic.local", TYPE::A))), []);
}

#[test]
fn an_address_that_comes_or_goes_is_told_and_the_name_stays() {
    let mut agent = settled("10.0.0.1");
    let ips: Vec<IpAddr> = ["10.0.0.1", "10.0.0.7"].map(|ip| ip.parse().unwrap()).to_vec();
    for told in [ips.clone(), ips[1..].to_vec()] {
        agent.machine.handle_links(agent.now, &BTreeMap::from([(LAN, told.clone())]), told.clone());
        let sent = agent.run_until(agent.now + Duration::from_secs(5));
        let last = Packet::parse(sent.last().unwrap()).unwrap();
        let said: Vec<_> = last.answers.iter().filter_map(|record| ip_of(&record.rdata)).collect();
        assert_eq!((said, agent.in_force.as_deref()), (told, Some("attic")));
    }
    agent.machine.handle_links(agent.now, &BTreeMap::new(), Vec::new());
    agent.sent();
    assert_eq!((agent.in_force, agent.machine.poll_timeout()), (None, None));
}

#[test]
fn who_contradicts_every_name_is_not_run_after() {
    let mut agent = Agent::new("attic", "10.0.0.1", Instant::now());
    let (start, mut tries) = (agent.now, 0);
    while agent.now < start + Duration::from_secs(60) {
        let next = agent.machine.poll_timeout().unwrap();
        agent.run_until(next);
        let name = agent.machine.name();
        let liar = Records::new(&name, HTTP);
        let mut packet = Packet::new_reply(0);
        packet.answers = liar.of(Kinds::V4, &["10.0.0.66".parse().unwrap()]);
        agent.hear(from("10.0.0.66:5353"), &bytes(&packet));
        tries += 1;
    }
    assert!(tries < 40 && agent.in_force.is_none(), "{tries} names in a minute");
}

/// Somebody else's word that the name which `agent` has, or asks for, is at another address.
fn lie_about(agent: &Agent) -> Vec<u8> {
    let mut packet = Packet::new_reply(0);
    packet.answers = Records::new(&agent.machine.name(), HTTP).of(Kinds::V4, &["10.0.0.66".parse().unwrap()]);
    bytes(&packet)
}

#[test]
fn a_flood_of_lies_makes_one_step_every_five_seconds_in_the_end_and_one_warning() {
    let liar = from("10.0.0.66:5353");
    let mut agent = settled("10.0.0.1");
    let end = agent.now + Duration::from_secs(120);
    while agent.now < end {
        let lie = lie_about(&agent);
        let mut tie = agent.machine.probe_packet(&[liar.ip()]);
        tie.questions.truncate(1);
        agent.hear(liar, &lie);
        agent.hear(liar, &bytes(&tie));
        agent.run_until(agent.now + Duration::from_millis(20));
    }
    let steps = agent.renamed.len();
    assert!((10..=16 + 120 / 5).contains(&steps) && agent.warned == 1, "{steps} steps, {} warnings", agent.warned);
    agent.run_until(end + Duration::from_secs(10));
    assert_eq!(agent.in_force.as_ref(), agent.renamed.last(), "once it is quiet a name is in force");
}

#[test]
fn lies_that_wait_for_each_name_to_be_in_force_come_no_further() {
    let mut agent = settled("10.0.0.1");
    let (end, mut given_up) = (agent.now + Duration::from_secs(600), 0);
    while agent.now < end {
        if agent.in_force.is_some() || agent.renamed.len() == given_up {
            let lie = lie_about(&agent);
            agent.hear(from("10.0.0.66:5353"), &lie);
        }
        agent.run_until(agent.now + Duration::from_millis(20));
        if agent.in_force.is_some() {
            given_up = agent.renamed.len();
        }
    }
    let steps = agent.renamed.len();
    assert!((10..=16 + 600 / 5).contains(&steps), "{steps} steps");
}

#[test]
fn a_packet_that_counts_more_than_honest_ones_is_not_read() {
    let asks = from("10.0.0.9:40000");
    let question = query("attic.local", TYPE::A);
    for (questions, records, is_read) in [(64, 256, true), (65, 0, false), (1439, 0, false), (1, 257, false)] {
        let mut agent = settled("10.0.0.1");
        let mut packet = question.clone();
        packet.questions = vec![question.questions[0].clone(); questions];
        let other = Records::new("cellar", HTTP).of(Kinds::TEXT, &[]).remove(0);
        packet.additional_records = vec![other; records];
        let answers = agent.hear(asks, &bytes(&packet)).len();
        assert_eq!(answers, usize::from(is_read), "{questions} questions, {records} records");
    }
}

#[test]
fn no_more_packets_of_a_link_are_read_than_200_a_second() {
    let mut agent = settled("10.0.0.1");
    let asks = from("10.0.0.9:5353");
    let (other, ours) = (bytes(&query("cellar.local", TYPE::A)), bytes(&query("attic.local", TYPE::A)));
    for _ in 0..200 {
        agent.hear(asks, &other);
    }
    assert_eq!(agent.hear(asks, &ours).len(), 0);
    agent.now += Duration::from_millis(5);
    assert_eq!(agent.hear(asks, &ours).len(), 1, "it is asked again");
}

#[test]
fn who_asks_from_elsewhere_has_at_most_20_answers_a_second() {
    let mut agent = settled("10.0.0.1");
    let question = bytes(&query("attic.local", TYPE::A));
    let answers = |agent: &mut Agent| {
        (1..=180).map(|last| agent.hear(from(&format!("10.0.0.{last}:40000")), &question).len()).sum::<usize>()
    };
    assert_eq!(answers(&mut agent), 20);
    assert_eq!(agent.hear(from("10.0.0.9:5353"), &question).len(), 1, "mDNS itself goes on");
    agent.now += Duration::from_secs(1);
    assert_eq!(answers(&mut agent), 20);
}

#[test]
fn a_kept_place_is_tried_first() {
    let mut machine = Responder::new(Candidates::new("attic", "pi"), 1, HTTP, 1);
    let ip: IpAddr = "10.0.0.1".parse().unwrap();
    machine.handle_links(Instant::now(), &BTreeMap::from([(LAN, vec![ip])]), vec![ip]);
    assert_eq!(machine.name(), "attic-2");
}

proptest! {
    #[test]
    fn no_packet_panics_and_none_makes_many(
        noise in prop::collection::vec((any::<usize>(), any::<u8>()), 0..8),
        cut in any::<usize>(),
        port in any::<u16>(),
    ) {
        let mut agent = settled("10.0.0.1");
        let mut other = settled("10.0.0.2");
        other.machine.handle_links(other.now, &BTreeMap::new(), Vec::new());
        let ip = other.address.ip();
        other.machine.handle_links(other.now, &BTreeMap::from([(LAN, vec![ip])]), vec![ip]);
        for mut packet in other.run_until(other.now + Duration::from_secs(5)) {
            for (at, byte) in &noise {
                let at = at % packet.len();
                packet[at] = *byte;
            }
            packet.truncate(cut % packet.len() + 1);
            let sent = agent.hear((ip, port).into(), &packet);
            prop_assert!(sent.len() <= 2, "one packet makes {} packets", sent.len());
        }
    }
}
