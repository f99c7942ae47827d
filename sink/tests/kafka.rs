//! The sink over a real broker: whatever the log, the group and the warehouse do, every record is stored once and in order,
//! or the partition stops with a sentence.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[allow(dead_code, reason = "others kill brokers")]
#[path = "../../tests/harness/kafka.rs"]
mod broker;
#[path = "kafka/home.rs"]
mod home;
#[path = "kafka/sink.rs"]
mod sink;
#[path = "kafka/store.rs"]
mod store;
#[path = "kafka/strange.rs"]
mod strange;
#[allow(dead_code, reason = "others look at aborted records")]
#[path = "../../tests/harness/topic.rs"]
mod topic;
#[path = "kafka/wire.rs"]
mod wire;

use std::time::Duration;

use home::Home;
use rdkafka::Offset;
use rdkafka::message::Message as _;
use sink::Sink;
use store::Store;

fn numbers(range: std::ops::Range<u64>) -> Vec<u64> {
    range.collect()
}

#[test]
#[ignore = "needs kafka"]
fn transaction_markers_and_aborted_records_do_not_stall_it_even_when_retention_takes_them() {
    let (home, store) = (Home::new("markers", 1, &[]), Store::default());
    home.write_together(0, 0..10, true);
    home.write_together(0, 100..110, false);
    let sink = Sink::start(&home.config, store.clone());
    home.write_together(0, 10..20, true);
    home.write_together(0, 110..115, false);
    sink.await_that("all committed records are stored", || store.numbers(home.raw(), 0) == numbers(0..20));
    let lag = format!("gaitway_sink_lag{{topic=\"{}\",partition=\"0\"}}", home.raw());
    sink.await_that("nothing is left", || sink.metric(&lag) == Some(0));
    assert!(sink.health.report().ready, "{}", sink.said());
    assert_eq!(sink.metric("gaitway_sink_rows_total"), Some(20));
    sink.stop();

    home.delete_before(Offset::End);
    let sink = Sink::start(&home.config, store.clone());
    home.write_together(0, 20..25, true);
    sink.await_that("what came later is stored", || store.numbers(home.raw(), 0) == numbers(0..25));
    sink.stop();
}

#[test]
#[ignore = "needs kafka"]
fn gaps_that_compaction_left_do_not_stall_it() {
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("max.compaction.lag.ms", "100"),
        ("delete.retention.ms", "0"),
    ];
    let (home, store) = (Home::new("compacted", 1, &settings), Store::default());
    for round in 0..3 {
        home.write(0, 0..20);
        std::thread::sleep(Duration::from_millis(200));
        home.write(0, 20 + round..21 + round);
    }
    let end = std::time::Instant::now() + sink::PATIENCE;
    while {
        let left = topic::read(broker::broker(), home.raw());
        left.windows(2).all(|pair| pair[1].offset() == pair[0].offset() + 1)
    } {
        assert!(std::time::Instant::now() < end, "the broker leaves no gap");
        std::thread::sleep(Duration::from_millis(500));
    }
    let sink = Sink::start(&home.config, store.clone());
    home.write(0, 50..55);
    sink.await_that("the last record is stored", || store.numbers(home.raw(), 0).last() == Some(&54));
    let offsets: Vec<i64> = store.rows(home.raw(), 0).iter().map(|row| row.offset).collect();
    assert!(offsets.windows(2).all(|pair| pair[0] < pair[1]), "{offsets:?}");
    sink.stop();
}

#[test]
#[ignore = "needs kafka"]
fn a_recreated_topic_stops_with_a_sentence() {
    let (home, store) = (Home::new("recreated", 1, &[]), Store::default());
    home.write(0, 0..20);
    let sink = Sink::start(&home.config, store.clone());
    sink.await_that("all is stored", || store.count(home.raw()) == 20);
    sink.stop();
    home.delete(home.raw());
    std::thread::sleep(Duration::from_secs(1));
    home.create(home.raw(), 1, &[]);
    home.write(0, 0..5);
    let sink = Sink::start(&home.config, store.clone());
    let said = sink.await_stopped();
    assert!(said.contains("up to offset 19") && said.contains("recreated"), "{said}");
    assert_eq!(store.count(home.raw()), 20);
    sink.stop();
}

#[test]
#[ignore = "needs kafka"]
fn a_recreated_topic_that_has_outgrown_the_mark_stops_with_a_sentence() {
    let (home, store) = (Home::new("outgrown", 1, &[]), Store::default());
    home.write(0, 0..20);
    let sink = Sink::start(&home.config, store.clone());
    sink.await_that("all is stored", || store.count(home.raw()) == 20);
    home.delete(home.raw());
    std::thread::sleep(Duration::from_secs(1));
    home.create(home.raw(), 1, &[]);
    home.write(0, 100..150);
    let said = sink.await_stopped();
    assert!(said.contains("offset 19") && said.contains("recreated"), "{said}");
    sink.stop();

    // What the mark's time alone can tell.
    store.date_marks(gaitway_service::clock::now_micros() - 2 * 3_600_000_000);
    let mut config = home.config.clone();
    config.group.push_str("-new");
    let sink = Sink::start(&config, store.clone());
    let said = sink.await_stopped();
    assert!(said.contains("offset 19") && said.contains("younger than the warehouse's mark"), "{said}");
    assert_eq!(store.count(home.raw()), 20);
    sink.stop();
}

#[test]
#[ignore = "needs kafka"]
fn a_recreated_topic_is_known_after_a_restart_by_what_the_group_was_told() {
    let (home, store) = (Home::new("told", 1, &[]), Store::default());
    home.write(0, 0..20);
    let sink = Sink::start(&home.config, store.clone());
    sink.await_that("all is stored", || store.count(home.raw()) == 20);
    sink.stop();
    let hint = home.group_offset();
    assert!(hint.starts_with("20 token=19 print=17"), "{hint}");
    home.set_group_offset(20, "token=19 print=1700000000000/00000001");
    let sink = Sink::start(&home.config, store.clone());
    let said = sink.await_stopped();
    assert!(said.contains("offset 19") && said.contains("another than the one that was stored"), "{said}");
    sink.stop();
}

#[test]
#[ignore = "needs kafka"]
fn records_that_retention_took_before_they_were_stored_stop_the_partition_and_no_other() {
    let (home, store) = (Home::new("retention", 2, &[]), Store::default());
    home.write(0, 0..10);
    let sink = Sink::start(&home.config, store.clone());
    sink.await_that("all is stored", || store.count(home.raw()) == 10);
    sink.stop();
    home.write(0, 10..20);
    home.delete_before(Offset::Offset(15));
    let sink = Sink::start(&home.config, store.clone());
    let said = sink.await_stopped();
    assert!(said.contains("up to offset 9") && said.contains("begins at 15"), "{said}");
    home.write(1, 0..5);
    sink.await_that("the other partition goes on", || store.numbers(home.raw(), 1) == numbers(0..5));
    assert_eq!(store.numbers(home.raw(), 0), numbers(0..10));
    assert_eq!(sink.metric("gaitway_sink_partitions_stopped"), Some(1));
    sink.stop();
}

#[test]
#[ignore = "needs kafka"]
fn a_lost_token_stops_where_the_group_has_an_offset_and_adopting_it_begins_there() {
    let (home, store) = (Home::new("lost", 1, &[]), Store::default());
    home.write(0, 0..10);
    let sink = Sink::start(&home.config, store.clone());
    sink.await_that("all is stored", || store.count(home.raw()) == 10);
    sink.stop();
    store.lose_marks();
    let sink = Sink::start(&home.config, store.clone());
    let said = sink.await_stopped();
    assert!(said.contains("has no mark") && said.contains("--adopt-from-group"), "{said}");
    let lag = format!("gaitway_sink_lag{{topic=\"{}\",partition=\"0\"}}", home.raw());
    assert_eq!(sink.metric(&lag), Some(10));
    home.write(0, 10..12);
    sink.await_that("the lag of what is stopped grows", || sink.metric(&lag) == Some(12));
    sink.stop();
    home.write(0, 12..13);
    let mut config = home.config.clone();
    config.adopt_from_group = true;
    let sink = Sink::start(&config, store.clone());
    sink.await_that("what came later is stored", || store.count(home.raw()) == 13);
    assert_eq!(store.numbers(home.raw(), 0), numbers(0..13));
    sink.stop();
}

#[test]
#[ignore = "needs kafka"]
fn adopting_is_for_once_also_where_nothing_comes() {
    let (home, store) = (Home::new("adopted", 1, &[]), Store::default());
    home.write(0, 0..10);
    home.set_group_offset(10, "");
    let mut config = home.config.clone();
    config.adopt_from_group = true;
    let sink = Sink::start(&config, store.clone());
    sink.await_that("it is ready", || sink.health.report().ready);
    sink.stop();
    let sink = Sink::start(&home.config, store.clone());
    home.write(0, 10..13);
    sink.await_that("what came later is stored", || store.count(home.raw()) == 3);
    assert_eq!(store.numbers(home.raw(), 0), numbers(10..13));
    sink.stop();
}

#[test]
#[ignore = "needs kafka"]
fn topics_that_are_not_there_are_waited_for_and_new_partitions_are_read_from_their_beginning() {
    let (home, store) = (Home::without_topics("growth"), Store::default());
    let sink = Sink::start(&home.config, store.clone());
    let missing = format!("topic {} is not there yet", home.raw());
    sink.await_that("it says what it waits for", || sink.said().contains(&missing));
    for topic in [home.raw(), &home.config.kafka.topics.activity, &home.config.kafka.topics.gaps] {
        home.create(topic, 1, &[]);
    }
    home.write(0, 0..5);
    sink.await_that("the new topic is read", || store.numbers(home.raw(), 0) == numbers(0..5));
    home.grow(3);
    home.write(2, 0..7);
    home.write(0, 5..8);
    sink.await_that("the new partition is read", || store.numbers(home.raw(), 2) == numbers(0..7));
    sink.await_that("the old one goes on", || store.numbers(home.raw(), 0) == numbers(0..8));
    sink.await_that("it is ready", || sink.health.report().ready);
    sink.stop();
}

#[test]
#[ignore = "needs kafka"]
fn two_sinks_share_the_partitions_and_what_one_leaves_the_other_goes_on_with() {
    let (home, store) = (Home::new("shared", 6, &[]), Store::default());
    let owned = |sink: &Sink| sink.metric("gaitway_sink_partitions_owned").unwrap_or_default();
    let (ones, _) = store.beside();
    let one = Sink::start(&home.config, ones.clone());
    one.await_that("it owns all", || owned(&one) == 8 && ones.held() == 8);
    let other = Sink::start(&home.config, store.clone());
    let mut written = 0;
    let mut write = || {
        for partition in 0..6 {
            home.write(partition, written..written + 50);
        }
        written += 50;
        written
    };
    one.await_that("they share", || {
        write();
        owned(&one) == 4 && owned(&other) == 4
    });
    one.await_that("its ledgers let go of the others", || ones.held() == 4);
    write();
    one.stop();
    assert_eq!(ones.held(), 0);
    let all = write();
    other.await_that("it owns all", || owned(&other) == 8);
    other.await_that("all is stored", || store.count(home.raw()) as u64 >= 6 * all);
    for partition in 0..6 {
        assert_eq!(store.numbers(home.raw(), partition), numbers(0..all), "partition {partition}");
    }
    other.stop();
}

#[test]
#[ignore = "needs kafka"]
fn a_zombie_beside_the_new_owner_stores_nothing_twice() {
    let (home, store) = (Home::new("zombie", 1, &[]), Store::default());
    let (held, gate) = store.beside();
    gate.shut(true);
    home.write(0, 0..10);
    let zombie = Sink::start(&home.config, held);
    zombie.await_that("its submit is under way", || gate.waiting() == 1);
    // In another group it takes no notice of the first, and is the new owner as far as the warehouse can tell.
    let mut config = home.config.clone();
    config.group.push_str("-other");
    let owner = Sink::start(&config, store.clone());
    owner.await_that("the new owner stores all", || store.numbers(home.raw(), 0) == numbers(0..10));
    gate.shut(false);
    home.write(0, 10..40);
    owner.await_that("the rest is stored", || store.count(home.raw()) >= 40);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(store.numbers(home.raw(), 0), numbers(0..40));
    owner.stop();
    zombie.stop();
}

#[test]
#[ignore = "needs kafka"]
fn a_worker_that_does_not_end_in_time_is_left_to_the_compare_and_set() {
    let (home, store) = (Home::new("stuck", 1, &[]), Store::default());
    let (held, gate) = store.beside();
    gate.shut(true);
    home.write(0, 0..10);
    let stuck = Sink::start(&home.config, held);
    stuck.await_that("its submit is under way", || gate.waiting() == 1);
    stuck.stop();
    let next = Sink::start(&home.config, store.clone());
    next.await_that("the next stores all", || store.numbers(home.raw(), 0) == numbers(0..10));
    gate.shut(false);
    home.write(0, 10..20);
    next.await_that("and goes on", || store.count(home.raw()) >= 20);
    assert_eq!(store.numbers(home.raw(), 0), numbers(0..20));
    next.stop();
}

/// What the sink says that it holds, bytes.
fn held(sink: &Sink) -> i64 {
    let of = |what: &str| sink.metric(&format!("gaitway_sink_{what}_bytes")).unwrap_or_default();
    of("held") + of("prefetched")
}

/// What this process holds, bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
#[ignore = "needs kafka"]
fn while_the_warehouse_is_away_it_waits_and_afterwards_it_goes_on_by_itself() {
    let (mut home, store) = (Home::new("away", 4, &[]), Store::default());
    home.config.batch.memory = 8 << 20;
    let sink = Sink::start(&home.config, store.clone());
    home.write(0, 0..1);
    sink.await_that("it reads", || store.count(home.raw()) == 1);
    let all = 40_000;
    store.down(true);
    for partition in 0..4 {
        home.write(partition, 1..all + 1);
    }
    sink.await_that("it says what it waits for", || sink.said().contains("the warehouse is away"));
    store.down(false);
    sink.await_that("all is stored", || {
        assert!(held(&sink) <= 8 << 20, "{} bytes are held", held(&sink));
        store.count(home.raw()) as u64 == 4 * all + 1
    });
    for partition in 1..4 {
        assert_eq!(store.numbers(home.raw(), partition), numbers(1..all + 1), "partition {partition}");
    }
    sink.await_that("it is ready", || sink.health.report().ready);
    sink.stop();
}

#[test]
#[ignore = "needs kafka"]
fn a_warehouse_that_hangs_does_not_make_memory_grow_however_much_is_in_kafka() {
    const DATA: u64 = 384 << 20;
    let (mut home, store) = (Home::new("hangs", 4, &[]), Store::default());
    home.config.batch.memory = 8 << 20;
    let (hanging, gate) = store.beside();
    gate.shut(true);
    let sink = Sink::start(&home.config, hanging);
    for partition in 0..4 {
        home.write_great(partition, 10, 64 << 10);
    }
    sink.await_that("all submits hang", || gate.waiting() == 4);
    let before = resident();
    for partition in 0..4 {
        home.write_great(partition, DATA / 4 / (64 << 10), 64 << 10);
    }
    let mut most = 0;
    for _ in 0..50 {
        assert!(held(&sink) <= 8 << 20, "{} bytes are held", held(&sink));
        most = most.max(held(&sink));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(most > 1 << 20, "it reads ahead: {most}");
    // A third of what there is: other tests run in this process too.
    let grown = resident().saturating_sub(before);
    assert!(grown < DATA / 3, "{grown} bytes more than before {DATA} came");
    gate.shut(false);
    sink.await_that("it goes on", || store.count(home.raw()) > 1_000);
    sink.stop();
}

#[test]
#[ignore = "needs kafka"]
fn what_cannot_be_read_or_stored_goes_to_the_dead_letters_and_the_partition_goes_on() {
    let (home, store) = (Home::new("letters", 1, &[]), Store::default());
    home.write(0, 0..2);
    home.write_value(0, Some("k"), b"not JSON");
    home.write_value(0, None, br#"{"sensorType":"too-heavy"}"#);
    home.write_value(0, None, br#"{"x":"text"}"#);
    home.write(0, 2..4);
    let sink = Sink::start(&home.config, store.clone());
    sink.await_that("the partition goes on", || store.numbers(home.raw(), 0) == numbers(0..4));
    let mut letters = topic::read(broker::broker(), &home.config.kafka.topics.dead_letter);
    letters.sort_by_key(|letter| letter.key().map(<[u8]>::to_vec));
    let of = |letter: &rdkafka::message::OwnedMessage, key: &str| {
        topic::headers(letter).into_iter().find(|(name, _)| name == key).map(|(_, value)| value)
    };
    let told: Vec<_> = letters
        .iter()
        .map(|letter| {
            (letter.key().unwrap().to_vec(), letter.payload().unwrap().to_vec(), of(letter, "reason").unwrap())
        })
        .collect();
    let expected = [
        (2, "not JSON", "unreadable"),
        (3, r#"{"sensorType":"too-heavy"}"#, "refused"),
        (4, r#"{"x":"text"}"#, "unreadable"),
    ]
    .map(|(offset, value, reason)| {
        (format!("{}/0/{offset}", home.raw()).into_bytes(), value.as_bytes().to_vec(), reason.to_owned())
    });
    assert_eq!(told, expected);
    assert_eq!(of(&letters[0], "original-key").as_deref(), Some("k"));
    assert_eq!(of(&letters[1], "detail").as_deref(), Some("it is too heavy"));
    assert!(of(&letters[2], "original-timestamp").is_some());
    sink.await_that("each is counted", || {
        sink.metric("gaitway_sink_dead_letters_total{reason=\"unreadable\"}") == Some(2)
            && sink.metric("gaitway_sink_dead_letters_total{reason=\"refused\"}") == Some(1)
    });
    sink.stop();
}

#[test]
#[ignore = "needs kafka"]
fn a_record_of_the_tutorials_producer_is_stored_with_its_place_alone_and_one_of_gaitway_with_its_name() {
    let (home, store) = (Home::new("tutorial", 1, &[]), Store::default());
    let begun = gaitway_service::clock::now_micros() / 1000;
    let json = r#"{"messageId": 3, "sessionId": "s", "deviceId": "d", "sensorType": "accelerometer", "x": 0.1, "y": 0.2, "z": 9.8, "accuracy": 3, "timestamp": 1700000000000000000}"#;
    home.write_value(0, Some("d"), json.as_bytes());
    home.write(0, 4..5);
    let sink = Sink::start(&home.config, store.clone());
    sink.await_that("both are stored", || store.numbers(home.raw(), 0) == numbers(3..5));
    let rows = store.rows(home.raw(), 0);
    let place = |offset: i64, key: &str| {
        let metadata: serde_json::Value = serde_json::from_str(&rows[offset as usize].metadata).unwrap();
        let created = metadata["CreateTime"].as_i64().unwrap();
        assert!((begun..=gaitway_service::clock::now_micros() / 1000).contains(&created), "{created}");
        format!(r#""topic":"{}","partition":0,"offset":{offset},"key":"{key}","CreateTime":{created}}}"#, home.raw())
    };
    assert_eq!(rows[0].metadata, format!("{{{}", place(0, "d")));
    let name =
        r#"{"agent":"pi","epoch":"0000000000000007","ordinal":1,"stream":"raw","seq":5,"index":0,"clockSynced":true,"#;
    assert_eq!(rows[1].metadata, format!("{name}{}", place(1, "4")));
    sink.stop();
}
