use std::time::{Duration, Instant};

use bytes::Bytes;
use gaitway_proto::envelope::{Ack, Granted, Hello, Offer, Welcome};
use gaitway_proto::limits::{BATCH_TARGET, MAX_HELLO_STREAMS};
use proptest::prelude::*;

use super::model::{Step, World};
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn start(ordinal: u64) -> Epoch {
    Epoch::from_random(1000 + ordinal)
}

fn offer(ordinal: u64, stream: Stream, first: u64, next: u64) -> Offer {
    Offer { epoch: start(ordinal), ordinal, stream, first, next }
}

/// The spool of start 2: what `streams` has, and otherwise nothing.
fn spool(streams: &[Offer]) -> SpoolState {
    let mut streams = streams.to_vec();
    for stream in Stream::ALL {
        if !streams.iter().any(|o| o.ordinal == 2 && o.stream == stream) {
            streams.push(offer(2, stream, 1, 1));
        }
    }
    SpoolState { epoch: start(2), ancestors: vec![start(1)], streams }
}

fn frames(count: usize) -> Vec<Item> {
    vec![Item::Frame(Bytes::from_static(b"frame")); count]
}

fn effects(uplink: &mut Uplink) -> Vec<Effect> {
    std::iter::from_fn(|| uplink.poll_effect()).collect()
}

fn only_hello(uplink: &mut Uplink) -> Hello {
    match <[Effect; 1]>::try_from(effects(uplink)) {
        Ok([Effect::Hello(hello)]) => hello,
        other => panic!("not one hello: {other:?}"),
    }
}

fn only_read(uplink: &mut Uplink) -> Read {
    match <[Effect; 1]>::try_from(effects(uplink)) {
        Ok([Effect::Read(read)]) => read,
        other => panic!("not one read: {other:?}"),
    }
}

fn only_batch(effects: &[Effect]) -> (BatchId, &Batch) {
    let mut batches =
        effects.iter().filter_map(|e| if let Effect::Batch(id, batch) = e { Some((*id, batch)) } else { None });
    let batch = batches.next().expect("no batch");
    assert!(batches.next().is_none(), "two batches");
    batch
}

/// A welcome that knows nothing and grants 1 MiB; `committed` overrules.
fn welcome(hello: &Hello, committed: &[(u64, Stream, u64)]) -> Down {
    let of = |o: &Offer| committed.iter().find(|c| (c.0, c.1) == (o.ordinal, o.stream)).map_or(o.first - 1, |c| c.2);
    let granted = |o: &Offer| Granted { epoch: o.epoch, stream: o.stream, committed: of(o), grant: 1 << 20 };
    let streams = hello.streams.iter().map(granted).collect();
    Down::Welcome(Welcome { session: hello.session, forked: None, streams })
}

fn ack(session: Session, ordinal: u64, stream: Stream, up_to: u64) -> Down {
    Down::Ack(Ack { session, epoch: start(ordinal), stream, up_to, grant: 1 << 20 })
}

/// A connected and welcomed uplink, its session and the time.
fn welcomed(streams: &[Offer]) -> (Uplink, Session, Instant) {
    let now = Instant::now();
    let mut uplink = Uplink::new("test", 1, &spool(streams));
    uplink.handle_connected(now);
    let hello = only_hello(&mut uplink);
    uplink.handle_down(now, welcome(&hello, &[]));
    assert!(uplink.is_welcomed());
    assert_eq!(uplink.poll_effect(), Some(Effect::Welcomed));
    (uplink, hello.session, now)
}

#[test]
fn nothing_is_sent_before_the_welcome() {
    let now = Instant::now();
    let mut uplink = Uplink::new("test", 1, &spool(&[offer(2, Stream::Raw, 1, 9)]));
    uplink.handle_connected(now);
    let hello = only_hello(&mut uplink);
    uplink.handle_spool(now, &spool(&[offer(2, Stream::Raw, 1, 12)]));
    uplink.handle_down(now, ack(hello.session, 2, Stream::Raw, 0));
    assert_eq!(effects(&mut uplink), []);
    uplink.handle_down(now, welcome(&hello, &[]));
    assert_eq!(uplink.poll_effect(), Some(Effect::Welcomed));
    assert_eq!(only_read(&mut uplink).from, 1);
}

#[test]
fn frames_go_oldest_start_first_and_of_one_start_activity_before_raw() {
    let (mut uplink, _, now) = welcomed(&[
        offer(2, Stream::Raw, 1, 3),
        offer(2, Stream::Activity, 1, 3),
        offer(1, Stream::Raw, 5, 7),
        offer(1, Stream::Activity, 2, 4),
    ]);
    let mut turns = Vec::new();
    while let Some(read) =
        effects(&mut uplink).into_iter().find_map(|e| if let Effect::Read(r) = e { Some(r) } else { None })
    {
        turns.push((read.epoch, read.stream, read.from));
        uplink.handle_frames(now, Ok(frames(2)));
        let sent = effects(&mut uplink);
        let (id, batch) = only_batch(&sent);
        assert_eq!((batch.first, batch.items.len()), (read.from, 2));
        if let Some(Effect::Read(read)) = sent.last() {
            turns.push((read.epoch, read.stream, read.from));
            uplink.handle_frames(now, Ok(frames(2)));
            let sent = effects(&mut uplink);
            uplink.handle_written(now, only_batch(&sent).0);
        }
        uplink.handle_written(now, id);
    }
    let (old, new) = (start(1), start(2));
    let expected =
        [(old, Stream::Activity, 2), (old, Stream::Raw, 5), (new, Stream::Activity, 1), (new, Stream::Raw, 1)];
    assert_eq!(turns, expected);
}

#[test]
fn a_silent_relay_leads_to_new_sessions() {
    let now = Instant::now();
    let mut uplink = Uplink::new("test", 1, &spool(&[offer(2, Stream::Raw, 1, 2)]));
    uplink.handle_connected(now);
    let first = only_hello(&mut uplink);
    assert_eq!(uplink.poll_timeout(), Some(now + 5 * SECOND));
    uplink.handle_timeout(now + 5 * SECOND);
    assert_eq!(effects(&mut uplink), [Effect::Reconnect { reason: "no welcome within 5 s".into() }]);
    uplink.handle_disconnected();

    uplink.handle_connected(now);
    let second = only_hello(&mut uplink);
    assert_ne!(first.session, second.session);
    uplink.handle_down(now, welcome(&second, &[]));
    assert_eq!(uplink.poll_effect(), Some(Effect::Welcomed));
    only_read(&mut uplink);
    uplink.handle_frames(now, Ok(frames(1)));
    let sent = effects(&mut uplink);
    uplink.handle_written(now + 2 * SECOND, only_batch(&sent).0);
    assert_eq!(uplink.poll_timeout(), Some(now + 12 * SECOND));
    uplink.handle_timeout(now + 11 * SECOND);
    assert_eq!(effects(&mut uplink), []);
    uplink.handle_timeout(now + 12 * SECOND);
    assert_eq!(effects(&mut uplink), [Effect::Reconnect { reason: "nothing acknowledged for 10 s".into() }]);
}

#[test]
fn a_slow_link_gets_the_time_a_large_frame_needs() {
    let (mut uplink, _, now) = welcomed(&[offer(2, Stream::Raw, 1, 2)]);
    only_read(&mut uplink);
    uplink.handle_frames(now, Ok(vec![Item::Frame(Bytes::from(vec![0; 4 << 20]))]));
    let sent = effects(&mut uplink);
    assert_eq!(only_batch(&sent).1.items.len(), 1);
    uplink.handle_timeout(now + 200 * SECOND);
    assert_eq!(effects(&mut uplink), []);
    uplink.handle_timeout(now + 267 * SECOND);
    assert_eq!(effects(&mut uplink), [Effect::Reconnect { reason: "the connection takes no more bytes".into() }]);
}

#[test]
fn a_backlog_drains_without_new_pushes() {
    let mut world = World::new();
    for n in 0..300 {
        world.step(Step::Push(if n % 3 == 0 { Stream::Activity } else { Stream::Raw }, 5_000));
    }
    let before = world.now;
    world.drain();
    world.check_complete();
    assert_eq!(world.now, before, "waited for a timer");
    assert_eq!(world.reconnects, Vec::<String>::new());
}

#[test]
fn the_spool_is_told_only_on_the_relays_word_for_a_name_it_was_offered() {
    let (mut uplink, session, now) = welcomed(&[offer(2, Stream::Raw, 1, 9)]);
    only_read(&mut uplink);
    uplink.handle_frames(now, Ok(frames(3)));
    effects(&mut uplink);
    for stranger in [
        ack(session + 1, 2, Stream::Raw, 2),
        ack(session, 2, Stream::Raw, 4),
        ack(session, 7, Stream::Raw, 1),
        ack(session, 2, Stream::Activity, 1),
    ] {
        let before = uplink.tally().ignored;
        uplink.handle_down(now, stranger.clone());
        assert_eq!(uplink.tally().ignored, before + 1, "{stranger:?}");
        assert_eq!(effects(&mut uplink), [], "{stranger:?}");
    }
    uplink.handle_down(now, ack(session, 2, Stream::Raw, 2));
    uplink.handle_down(now, ack(session, 2, Stream::Raw, 1));
    let told = Effect::Acknowledged { epoch: start(2), stream: Stream::Raw, up_to: 2 };
    assert_eq!(effects(&mut uplink), [told]);
    assert_eq!(uplink.tally().acknowledged, 2);
}

#[test]
fn hello_again_begins_a_new_session_on_the_same_connection() {
    let (mut uplink, session, now) = welcomed(&[offer(2, Stream::Raw, 1, 9)]);
    only_read(&mut uplink);
    uplink.handle_down(now, Down::HelloAgain { session: session + 1 });
    assert_eq!(effects(&mut uplink), []);
    uplink.handle_down(now, Down::HelloAgain { session });
    assert_eq!(effects(&mut uplink), [], "hellos keep their distance");
    uplink.handle_timeout(now + SECOND);
    let hello = only_hello(&mut uplink);
    assert_ne!(hello.session, session);
    uplink.handle_down(now + SECOND, welcome(&hello, &[(2, Stream::Raw, 4)]));
    let told = Effect::Acknowledged { epoch: start(2), stream: Stream::Raw, up_to: 4 };
    assert_eq!(effects(&mut uplink), [told], "the read of the old session is still out");
    uplink.handle_frames(now + SECOND, Ok(frames(8)));
    assert_eq!(uplink.tally().stale_reads, 1);
    assert_eq!(only_read(&mut uplink).from, 5);
}

#[test]
fn a_read_that_a_rewind_overtook_is_dropped() {
    let (mut uplink, session, now) = welcomed(&[offer(2, Stream::Raw, 1, 9)]);
    only_read(&mut uplink);
    uplink.handle_frames(now, Ok(frames(4)));
    effects(&mut uplink);
    uplink.handle_down(now, Down::Rewind { session, epoch: start(2), stream: Stream::Raw, next: 2 });
    assert_eq!(effects(&mut uplink), [], "the read from 5 on is still out");
    uplink.handle_frames(now, Ok(frames(4)));
    assert_eq!(only_read(&mut uplink).from, 2);
    assert_eq!((uplink.tally().stale_reads, uplink.tally().rewinds), (1, 1));
}

#[test]
fn a_refused_agent_keeps_quiet_for_ten_seconds_and_says_why() {
    let (mut uplink, session, now) = welcomed(&[offer(2, Stream::Raw, 1, 9)]);
    only_read(&mut uplink);
    uplink.handle_down(now, Down::Refused { session, reason: "over the grant".into() });
    uplink.handle_frames(now, Ok(frames(1)));
    assert_eq!(uplink.trouble(), Some("over the grant"));
    uplink.handle_timeout(now + 9 * SECOND);
    assert_eq!(effects(&mut uplink), []);
    assert_eq!(uplink.poll_timeout(), Some(now + 10 * SECOND));
    uplink.handle_timeout(now + 10 * SECOND);
    assert_eq!(effects(&mut uplink), [Effect::Reconnect { reason: "refused: over the grant".into() }]);
}

#[test]
fn a_copy_sends_nothing_until_inherited_windows_are_let_go() {
    for forked in [None, Some(start(1))] {
        let now = Instant::now();
        let mut uplink =
            Uplink::new("test", 1, &spool(&[offer(1, Stream::Activity, 3, 5), offer(2, Stream::Activity, 1, 2)]));
        uplink.handle_connected(now);
        let hello = only_hello(&mut uplink);
        let known = if forked.is_some() { vec![] } else { vec![(1, Stream::Activity, 8)] };
        let Down::Welcome(answer) = welcome(&hello, &known) else { unreachable!() };
        uplink.handle_down(now, Down::Welcome(Welcome { forked, ..answer.clone() }));
        let seen = effects(&mut uplink);
        assert!(
            matches!(&seen[0], Effect::Copied { common: 1, why } if why.starts_with("this data directory is a copy"))
        );
        if forked.is_some() {
            assert_eq!(seen.len(), 1);
        } else {
            let told = Effect::Acknowledged { epoch: start(1), stream: Stream::Activity, up_to: 4 };
            assert_eq!(seen[1..], [told]);
        }

        // Not even by way of a new session.
        uplink.handle_disconnected();
        uplink.handle_connected(now);
        let hello = only_hello(&mut uplink);
        let Down::Welcome(answer) = welcome(&hello, &[]) else { unreachable!() };
        uplink.handle_down(now, Down::Welcome(Welcome { forked, ..answer }));
        assert_eq!(effects(&mut uplink), [], "told once");
        uplink.handle_copied_done(now);
        assert_eq!(only_read(&mut uplink).epoch, if forked.is_some() { start(1) } else { start(2) });
    }
}

#[test]
fn of_several_signs_of_a_copy_the_oldest_start_in_common_counts() {
    let now = Instant::now();
    for (forked, ahead, common) in [(4, 2, 2), (2, 4, 2), (9, 2, 0)] {
        let streams = (1..=6).map(|ordinal| offer(ordinal, Stream::Activity, 1, 1)).collect();
        let ancestors = (1..6).rev().map(start).collect();
        let mut uplink = Uplink::new("test", 1, &SpoolState { epoch: start(6), ancestors, streams });
        uplink.handle_connected(now);
        let hello = only_hello(&mut uplink);
        assert_eq!(hello.ancestors, [5, 4, 3, 2, 1].map(start));
        let Down::Welcome(answer) = welcome(&hello, &[(ahead, Stream::Activity, 7)]) else { unreachable!() };
        uplink.handle_down(now, Down::Welcome(Welcome { forked: Some(start(forked)), ..answer }));
        let [Effect::Copied { common: found, .. }] = effects(&mut uplink)[..] else { panic!("not told of the copy") };
        assert_eq!(found, common, "forked at {forked}, ahead at {ahead}");
    }
}

#[test]
fn a_relay_ahead_of_a_salvaged_start_is_no_sign_of_a_copy() {
    let now = Instant::now();
    // Start 3 is none of this line: its last frames were destroyed, after the relay had them.
    let mut uplink = Uplink::new("test", 1, &spool(&[offer(3, Stream::Raw, 1, 4)]));
    uplink.handle_connected(now);
    let hello = only_hello(&mut uplink);
    uplink.handle_down(now, welcome(&hello, &[(3, Stream::Raw, 9)]));
    let told = Effect::Acknowledged { epoch: start(3), stream: Stream::Raw, up_to: 3 };
    assert_eq!(effects(&mut uplink), [told, Effect::Welcomed]);
}

#[test]
fn the_writer_is_told_of_the_first_welcome_of_a_start_only() {
    let (mut uplink, session, now) = welcomed(&[]);
    uplink.handle_timeout(now + SECOND);
    uplink.handle_down(now + SECOND, Down::HelloAgain { session });
    let hello = only_hello(&mut uplink);
    uplink.handle_down(now + SECOND, welcome(&hello, &[]));
    assert!(uplink.is_welcomed());
    assert_eq!(effects(&mut uplink), []);
}

#[test]
fn a_relay_that_knows_more_of_the_present_start_is_an_alarm_not_an_acknowledgement() {
    let now = Instant::now();
    let mut uplink = Uplink::new("test", 1, &spool(&[offer(2, Stream::Raw, 1, 4)]));
    uplink.handle_connected(now);
    let hello = only_hello(&mut uplink);
    uplink.handle_down(now, welcome(&hello, &[(2, Stream::Raw, 4)]));
    assert_eq!(effects(&mut uplink), []);
    assert!(uplink.trouble().unwrap().contains("restart the agent"));
    uplink.handle_timeout(now + 10 * SECOND);
    assert!(matches!(effects(&mut uplink)[..], [Effect::Reconnect { .. }]));
}

#[test]
fn a_relay_that_knows_less_than_was_acknowledged_is_served_from_the_first() {
    let now = Instant::now();
    let mut uplink = Uplink::new("test", 1, &spool(&[offer(2, Stream::Raw, 8, 12)]));
    uplink.handle_connected(now);
    let hello = only_hello(&mut uplink);
    uplink.handle_down(now, welcome(&hello, &[(2, Stream::Raw, 0)]));
    assert_eq!(uplink.poll_effect(), Some(Effect::Welcomed));
    assert_eq!(only_read(&mut uplink).from, 8);
}

#[test]
fn a_welcome_that_leaves_out_a_stream_ends_the_session() {
    let now = Instant::now();
    let mut uplink = Uplink::new("test", 1, &spool(&[]));
    uplink.handle_connected(now);
    let session = only_hello(&mut uplink).session;
    uplink.handle_down(now, Down::Welcome(Welcome { session, forked: None, streams: vec![] }));
    assert!(matches!(effects(&mut uplink)[..], [Effect::Reconnect { .. }]));
}

#[test]
fn more_streams_than_a_hello_holds_are_offered_oldest_first_and_the_rest_later() {
    let now = Instant::now();
    let many = |done: u64| {
        let streams = (1001 + done..=1600).map(|ordinal| offer(ordinal, Stream::Raw, 1, 2));
        let present = Stream::ALL.map(|stream| offer(9999, stream, 1, 1));
        SpoolState { epoch: start(9999), ancestors: vec![], streams: streams.chain(present).collect() }
    };
    let mut uplink = Uplink::new("test", 1, &many(0));
    uplink.handle_connected(now);
    let hello = only_hello(&mut uplink);
    assert_eq!(hello.streams.len(), MAX_HELLO_STREAMS);
    assert!(Hello::decode(&hello.encode()).is_ok());
    let known: Vec<_> = hello.streams.iter().filter(|o| o.ordinal != 9999).map(|o| (o.ordinal, o.stream, 1)).collect();
    assert_eq!(known.last().map(|known| known.0), Some(1510));
    let Down::Welcome(answer) = welcome(&hello, &[]) else { unreachable!() };
    uplink.handle_down(now, Down::Welcome(answer));
    assert_eq!(uplink.poll_effect(), Some(Effect::Welcomed));
    only_read(&mut uplink);
    for done in 1..=510 {
        uplink.handle_frames(now, Ok(frames(1)));
        let sent = effects(&mut uplink);
        uplink.handle_written(now, only_batch(&sent).0);
        uplink.handle_down(now, ack(hello.session, 1000 + done, Stream::Raw, 1));
        uplink.handle_spool(now, &many(done));
        assert_eq!(effects(&mut uplink).len() + sent.len(), 3, "batch, read, acknowledged: {done}");
        if done == 509 {
            break;
        }
    }
    uplink.handle_frames(now, Ok(frames(1)));
    effects(&mut uplink);
    uplink.handle_down(now, ack(hello.session, 1510, Stream::Raw, 1));
    uplink.handle_timeout(now + SECOND);
    let again = effects(&mut uplink);
    let Some(Effect::Hello(second)) = again.last() else { panic!("{again:?}") };
    assert_eq!(second.streams[0].ordinal, 1511);
}

#[test]
fn a_spool_that_cannot_be_read_is_tried_again_after_a_second() {
    let (mut uplink, _, now) = welcomed(&[offer(2, Stream::Raw, 1, 9)]);
    only_read(&mut uplink);
    uplink.handle_frames(now, Err("disk I/O error".into()));
    assert_eq!(uplink.trouble(), Some("the spool cannot be read: disk I/O error"));
    assert_eq!(effects(&mut uplink), []);
    assert_eq!(uplink.poll_timeout(), Some(now + SECOND));
    uplink.handle_timeout(now + SECOND);
    assert_eq!(only_read(&mut uplink).from, 1);
    uplink.handle_frames(now + SECOND, Ok(frames(1)));
    assert_eq!(uplink.trouble(), None);
}

#[test]
fn what_was_meant_for_a_lost_connection_is_not_said_on_the_next() {
    let now = Instant::now();
    let mut uplink = Uplink::new("test", 1, &spool(&[]));
    uplink.handle_connected(now);
    uplink.handle_disconnected();
    assert_eq!(effects(&mut uplink), []);
    assert_eq!(uplink.poll_timeout(), None);
}

#[test]
fn a_closing_agent_sends_nothing_more() {
    let (mut uplink, session, now) = welcomed(&[offer(2, Stream::Raw, 1, 9)]);
    only_read(&mut uplink);
    uplink.handle_frames(now, Ok(frames(2)));
    effects(&mut uplink);
    uplink.handle_closing();
    uplink.handle_frames(now, Ok(frames(2)));
    uplink.handle_down(now, ack(session, 2, Stream::Raw, 2));
    let told = Effect::Acknowledged { epoch: start(2), stream: Stream::Raw, up_to: 2 };
    assert_eq!(effects(&mut uplink), [told]);
    assert_eq!(uplink.in_flight(), 0);
}

fn step() -> impl Strategy<Value = Step> {
    let topic = 0..3usize;
    let stream = prop_oneof![Just(Stream::Raw), Just(Stream::Activity)];
    let bytes = prop_oneof![30 => 20..200usize, 5 => 1_000..50_000usize, 1 => Just(2 * BATCH_TARGET)];
    prop_oneof![
        8 => (stream, bytes).prop_map(|(stream, bytes)| Step::Push(stream, bytes)),
        1 => Just(Step::DropOldestRaw),
        4 => Just(Step::Connect),
        1 => any::<bool>().prop_map(|late| Step::Disconnect { late }),
        1 => Just(Step::RestartAgent),
        8 => Just(Step::Read),
        1 => Just(Step::FailRead),
        8 => Just(Step::Write),
        10 => topic.clone().prop_map(Step::DeliverUp),
        1 => topic.clone().prop_map(Step::LoseUp),
        1 => topic.prop_map(Step::RepeatUp),
        8 => Just(Step::DeliverDown),
        1 => Just(Step::LoseDown),
        1 => Just(Step::RepeatDown),
        6 => Just(Step::Answer),
        6 => Just(Step::Commit),
        1 => Just(Step::FailLedger),
        1 => Just(Step::RestartRelay),
        2 => prop_oneof![Just(0u32), 0..100_000u32, Just(1 << 20)].prop_map(Step::Grant),
        3 => (0..6_000u64).prop_map(Step::Advance),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    /// Contiguity, names and "never ahead of the relay's commits" are asserted inside the model at every step.
    #[test]
    fn whatever_happens_everything_drains_once_the_world_is_well(steps in prop::collection::vec(step(), 0..300)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.drain();
        world.check_complete();
    }
}
