//! What hostile clients do. Each attack asserts how the relay answers; how others fare is for the house to see.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use gaitway_proto::envelope::{Down, WireError};
use gaitway_proto::ledger::{Epoch, Stream};
use gaitway_proto::limits;
use gaitway_proto::topic::Up;

use super::client::{Client, PINGREQ, WELCOME, batch, connect, hello, publish, subscribe};
use super::frames;
use crate::harness::Random;

/// CONNACKs that turn a client away.
const BAD_ID: &[u8] = &[0x20, 2, 0, 2];
const UNAVAILABLE: &[u8] = &[0x20, 2, 0, 3];
const BAD_LOGIN: &[u8] = &[0x20, 2, 0, 4];

fn epoch(random: &mut Random) -> Epoch {
    Epoch::from_random(random.bits())
}

/// An id that nobody has had.
fn fresh(name: &str, random: &mut Random) -> String {
    format!("{name}-{:x}", random.bits())
}

/// Ids that are no agent's.
pub(crate) fn strange_ids(relay: SocketAddr) {
    for id in
        ["", "a/b", "a+b", "+", "#", "$share", "$SYS", "$share/g/#", "Über", "日本", "a b", "pi\u{7f}", &"a".repeat(64)]
    {
        let mut client = Client::dial(relay);
        client.send(&connect(id.as_bytes(), id.as_bytes(), b"x", 60));
        assert_eq!(client.receive().as_deref(), Some(BAD_ID), "{id:?}");
        assert!(client.is_closed());
    }
    let mut client = Client::dial(relay);
    client.send(&connect(&[0xff, 0xfe], b"x", b"x", 60));
    assert_eq!(client.receive(), None, "not UTF-8");
}

/// Topics and filters that are not the agent's own.
pub(crate) fn strange_topics(relay: SocketAddr, victim: &str) {
    let topics = [
        "",
        "#",
        "+",
        "gaitway/v1/+/up/raw",
        "$SYS/broker",
        "$share/g/gaitway/v1/x/up/raw",
        "über/日本",
        "gaitway/v1/mallory/down/ack",
        "gaitway/v1/mallory/up/raw/more",
        "gaitway/v1/mallory/up/",
    ];
    let foreign = ["up/hello", "up/raw", "up/activity", "down/ack"].map(|leaf| format!("gaitway/v1/{victim}/{leaf}"));
    for (n, topic) in topics.into_iter().map(str::to_owned).chain(foreign.clone()).enumerate() {
        let mut client = Client::enter(relay, &format!("mallory-{n}")).unwrap();
        client.send(&publish(topic.as_bytes(), b"x"));
        assert_eq!(client.receive(), None, "{topic}");
    }
    let mut client = Client::enter(relay, "mallory").unwrap();
    let filters = ["#", "+/#", "$SYS/#", "$share/g/#", "über", "gaitway/v1/+/down/ack", "gaitway/v1/mallory/#"];
    for filter in filters.into_iter().map(str::to_owned).chain(foreign) {
        client.send(&subscribe(filter.as_bytes()));
        assert_eq!(client.receive().as_deref(), Some(&[0x90, 3, 0, 1, 0x80][..]), "{filter}");
    }
    client.send(PINGREQ);
    assert_eq!(client.receive().as_deref(), Some(&[0xd0, 0][..]), "it hears of nobody else's words");
}

/// Whoever calls itself two names is refused, whatever password goes with them.
pub(crate) fn two_names(relay: SocketAddr, victim: &str, times: u64, random: &mut Random) {
    for _ in 0..times {
        let (id, user) = [("nobody", victim), (victim, "mallory"), (victim, "nobody")][random.below(3) as usize];
        let password = ["", "password", victim][random.below(3) as usize];
        let mut client = Client::dial(relay);
        client.send(&connect(id.as_bytes(), user.as_bytes(), password.as_bytes(), 60));
        assert_eq!(client.receive().as_deref(), Some(BAD_LOGIN), "{id} as {user}");
        assert_eq!(client.receive(), None);
    }
}

/// Packets above the limits, announced and really sent, and the greatest within them.
pub(crate) fn oversized_packets(relay: SocketAddr, random: &mut Random) {
    let announced = [0x32, 0xff, 0xff, 0xff, 0x7f];
    let mut client = Client::dial(relay);
    client.send(&connect(&[b'a'; 2_000], b"x", b"x", 60));
    assert_eq!(client.receive(), None, "a great CONNECT");
    for (n, bytes) in [announced.to_vec(), publish(b"t", &vec![0; limits::MAX_PACKET + 1])].into_iter().enumerate() {
        let mut client = Client::enter(relay, &fresh("large", random)).unwrap();
        client.send(&bytes);
        assert_eq!(client.receive(), None, "{n}");
    }
    let mut client = Client::enter(relay, &fresh("large", random)).unwrap();
    for _ in 0..3 {
        client.tell(Up::Raw, &vec![0; limits::MAX_PAYLOAD]);
        let word = client.word();
        assert!(matches!(&word, Some(Down::Refused { session: 0, .. })), "{word:?}");
    }
    assert!(client.is_served());
}

/// Connections that are opened and left alone: `before` CONNECT, and `after` it with a keep-alive of a second.
pub(crate) fn idle_ones(relay: SocketAddr, before: usize, after: usize) {
    let begun = Instant::now();
    let mut silent: Vec<_> = (0..before)
        .map(|n| {
            let mut client = Client::dial(relay);
            // Half of them begin to say who they are.
            if n % 2 == 0 {
                client.send(&[0x10, 0x40, 0, 4, b'M']);
            }
            client
        })
        .collect();
    let mut vanished: Vec<_> =
        (0..after).map(|n| Client::log_in(relay, &format!("gone-{n}"), 1).expect("an agent comes in")).collect();
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    for client in silent.iter_mut().chain(&mut vanished) {
        assert!(client.is_closed());
    }
}

/// Readers that do not read.
pub(crate) const DEAF: usize = 2;

/// Bytes of PINGREQ that a deaf reader sends at most: the answers fill what the system keeps for it.
const UNHEARD: usize = 16 << 20;

/// Readers that do not read, and writers of a byte at a time. The readers must be closed soon after they could be told
/// no more.
pub(crate) fn slow_ones(relay: SocketAddr, how_long: Duration, random: &mut Random) {
    let end = Instant::now() + how_long;
    let mut readers: Vec<_> = (0..DEAF).map(|n| Client::enter(relay, &format!("deaf-{n}")).unwrap()).collect();
    let mut writers: Vec<_> = (0..16).map(|_| Client::dial(relay)).collect();
    writers.extend((0..16).map(|n| Client::enter(relay, &format!("drip-{n}")).unwrap()));
    let (raw, line) = ("gaitway/v1/drip-0/up/raw", connect(b"pi", b"pi", b"x", 60));
    let large = publish(raw.as_bytes(), &vec![0; limits::MAX_PAYLOAD]);
    for reader in &mut readers {
        reader.hello_without_answer(epoch(random));
    }
    let pings = PINGREQ.repeat(64 * 1024);
    let (mut said, mut sent) = ([0; DEAF], 0);
    let closed_by = end + Duration::from_secs(30);
    let mut open = DEAF;
    while Instant::now() < end || open > 0 {
        assert!(Instant::now() < closed_by, "{open} of {DEAF} that do not read are not closed, {said:?} bytes said");
        open = 0;
        for (reader, said) in readers.iter_mut().zip(&mut said) {
            open += loop {
                match reader.push(&pings[*said % 2..]) {
                    Some(0) => break 1,
                    Some(pushed) => *said += pushed,
                    None => break 0,
                }
                assert!(*said < UNHEARD, "the relay keeps all the answers");
            };
        }
        if sent < large.len() {
            for writer in &mut writers[..16] {
                let _ = writer.push(&line[sent % line.len()..][..1]);
            }
            for writer in &mut writers[16..] {
                let _ = writer.push(&large[sent..=sent]);
            }
        }
        sent += 1;
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// Somebody who calls itself `victim` takes its place over and over.
pub(crate) fn takeovers(relay: SocketAddr, victim: &str, how_long: Duration, random: &mut Random) {
    let end = Instant::now() + how_long;
    let (mut refused, mut held) = (0, None);
    while Instant::now() < end {
        let mut client = Client::dial(relay);
        victim.clone_into(&mut client.id);
        client.send(&connect(victim.as_bytes(), victim.as_bytes(), b"", 60));
        match client.receive().as_deref() {
            Some(WELCOME) => {
                client.hello_without_answer(epoch(random));
                held = Some(client);
            }
            Some(answer) => {
                assert_eq!(answer, UNAVAILABLE);
                refused += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            None => {}
        }
    }
    drop(held);
    assert!(refused > 0, "taken over as often as it pleased");
}

/// Random bytes on `times` connections, on every fourth after it was let in.
pub(crate) fn random_bytes(relay: SocketAddr, times: u64, random: &mut Random) {
    for turn in 0..times {
        let mut bytes: Vec<u8> = (0..random.below(120)).map(|_| random.bits() as u8).collect();
        let mut client = if turn % 4 == 0 {
            // Half of them begin as an agent's packets do.
            if let Some(first) = bytes.first_mut().filter(|_| turn % 8 == 0) {
                *first = [0x10, 0x30, 0x32, 0x34, 0x40, 0x82, 0xc0, 0xe0][random.below(8) as usize];
            }
            Client::log_in(relay, &fresh("noise", random), 60).expect("an agent comes in")
        } else {
            if let Some(first) = bytes.first_mut().filter(|_| turn % 4 == 1) {
                *first = 0x10;
            }
            Client::dial(relay)
        };
        client.send(&bytes);
    }
}

/// Good words of an agent with damage at random, `times` times.
pub(crate) fn damaged_words(relay: SocketAddr, times: u64, random: &mut Random) {
    let start = epoch(random);
    let raw = frames::plain(20);
    let good = [
        (Up::Hello, hello(start).encode()),
        (Up::Raw, batch(start, Stream::Raw, 1, vec![raw.clone(), raw.clone()]).encode()),
        (Up::Activity, batch(start, Stream::Activity, 1, vec![frames::activity()]).encode()),
    ];
    let mut client: Option<Client> = None;
    let mut first = 1;
    for _ in 0..times {
        let ended = client.as_mut().is_none_or(|client| !client.is_served());
        if ended {
            client = Client::enter(relay, &fresh("bent", random));
            first = 1;
        }
        let Some(client) = &mut client else { panic!("not let in") };
        let _ = client.hello(start);
        if random.below(3) == 0 {
            // In its envelope all is well; the frame is damaged. It takes its seq, as what cannot be read.
            let damaged = frames::damaged(raw.clone(), random);
            client.tell(Up::Raw, &batch(start, Stream::Raw, first, vec![damaged]).encode());
            first += 1;
        } else {
            let (up, payload) = good[random.below(3) as usize].clone();
            client.tell(up, &frames::damaged(payload, random));
        }
    }
    // What no ledger could keep: a start beyond what a column holds.
    let mut beyond = Client::enter(relay, &fresh("beyond", random)).unwrap();
    let payload = hello(Epoch::from_random(0)).encode();
    // Version, session 1, the software's name, then the start: one byte, made the ten of the greatest number.
    let at = 1 + 1 + 1 + "hostile".len();
    let mut payload = payload;
    payload.splice(at..=at, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
    beyond.tell(Up::Hello, &frames::reseal(payload));
    let unreadable = WireError::Malformed("body does not parse").to_string();
    assert!(matches!(beyond.word(), Some(Down::Refused { reason, .. }) if reason.contains(&unreadable)));
}

/// Frames of a few kilobytes that become as much as can be once unpacked. What they are is committed, as readings or as
/// frames that could not be read.
pub(crate) fn bombs(relay: SocketAddr, bombs: &[(&'static str, Vec<u8>)], copies: usize, random: &mut Random) {
    let start = epoch(random);
    let mut client = Client::enter(relay, &fresh("bomber", random)).unwrap();
    assert!(client.hello(start));
    let mut first = 1;
    for (name, frame) in bombs {
        let frames = vec![frame.clone(); copies];
        client.tell(Up::Raw, &batch(start, Stream::Raw, first, frames).encode());
        let last = first + copies as u64 - 1;
        let acked = |down: &Down| matches!(down, Down::Ack(ack) if ack.up_to == last);
        let begun = Instant::now();
        assert!(std::iter::from_fn(|| client.word()).any(|down| acked(&down)), "{name}: not committed");
        eprintln!("{name}: {} bytes, committed {copies} times in {:.1?}", frame.len(), begun.elapsed());
        first = last + 1;
    }
}

/// An agent with a backlog that vanishes in the middle of a batch, over and over.
pub(crate) fn torn_batches(relay: SocketAddr, times: u64, random: &mut Random) {
    let start = epoch(random);
    let id = fresh("torn", random);
    let payload = batch(start, Stream::Raw, 1, vec![frames::plain(400); 30]).encode();
    let whole = publish(format!("gaitway/v1/{id}/up/raw").as_bytes(), &payload);
    for _ in 0..times {
        // Its older connection may still be there, which makes this a takeover, three of which are allowed.
        let Some(mut client) = Client::enter(relay, &id) else { continue };
        if client.hello(start) {
            client.send(&whole[..random.below(whole.len() as u64) as usize]);
        }
    }
}

/// As much as an agent is allowed, and more, all the time.
pub(crate) fn greed(relay: SocketAddr, how_long: Duration, random: &mut Random) {
    let end = Instant::now() + how_long;
    let frame = frames::plain(2_000);
    let per_batch = limits::MAX_PAYLOAD / (frame.len() + 8) / 2;
    let frames = vec![frame; per_batch];
    while Instant::now() < end {
        let start = epoch(random);
        let Some(mut client) = Client::enter(relay, &fresh("greedy", random)) else { continue };
        if !client.hello(start) {
            continue;
        }
        let mut first = 1;
        while Instant::now() < end && client.tell(Up::Raw, &batch(start, Stream::Raw, first, frames.clone()).encode()) {
            first += per_batch as u64;
        }
    }
}
