//! The Kafka ledger keeps the law, on a real broker.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[allow(dead_code, reason = "each test uses its part")]
#[path = "../../tests/harness/kafka.rs"]
mod kafka;
#[allow(dead_code, reason = "each test uses its part")]
#[path = "../../tests/harness/topic.rs"]
mod topic;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use gaitway_kafka::KafkaConfig;
use gaitway_kafka::config::Topics;
use gaitway_kafka::progress;
use gaitway_proto::ledger::conformance::{self, Fixture, Stored, laws};
use gaitway_proto::ledger::{Epoch, Ledger, LedgerError, Mark, Source, Stream};
use gaitway_proto::limits;
use gaitway_proto::record::{Activity, Body, Metadata, Origin, Raw, Record};
use gaitway_proto::schema::TABLES;
use gaitway_proto::topic::AgentId;
use gaitway_relay::kafka::KafkaLedger;
use rdkafka::Message as _;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use tokio_util::sync::CancellationToken;

/// Topics of one's own.
fn config(partitions: i32) -> KafkaConfig {
    let own = kafka::unique("ledger");
    let mut config = KafkaConfig {
        brokers: kafka::broker().to_owned(),
        topics: Topics {
            raw: format!("{own}-raw"),
            activity: format!("{own}-activity"),
            gaps: format!("{own}-gaps"),
            progress: format!("{own}-progress"),
            dead_letter: format!("{own}-dead"),
        },
        ..KafkaConfig::default()
    };
    config.create.partitions = partitions;
    config
}

fn relay(config: &KafkaConfig, name: &str) -> KafkaLedger {
    KafkaLedger::new(config.clone(), name, CancellationToken::new())
}

/// Begins as a relay on `config` does, and becomes nobody's owner: whoever was there is fenced by the coordinator.
fn usurper(config: &KafkaConfig) -> BaseProducer {
    let usurper: BaseProducer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", &config.brokers)
        .set("transaction.timeout.ms", "600000")
        .set("transactional.id", format!("gaitway-relay-{}", config.topics.progress))
        .create()
        .unwrap();
    usurper.init_transactions(Duration::from_secs(30)).unwrap();
    usurper
}

struct House {
    config: KafkaConfig,
    ledger: KafkaLedger,
    owners: u32,
}

impl House {
    fn new() -> Self {
        let config = config(3);
        Self { ledger: relay(&config, "first"), config, owners: 0 }
    }

    fn another(&mut self) -> KafkaLedger {
        self.owners += 1;
        relay(&self.config, &format!("owner {}", self.owners))
    }
}

impl Fixture for House {
    fn ledger(&mut self) -> &mut dyn Ledger {
        &mut self.ledger
    }

    fn rival(&mut self) -> Box<dyn Ledger> {
        Box::new(self.another())
    }

    fn crash(&mut self) {
        // What a killed process leaves at the brokers: a transaction of records and marks that was never committed.
        let killed = usurper(&self.config);
        killed.begin_transaction().unwrap();
        let agent: AgentId = "pi".parse().unwrap();
        let record = reading(&agent, "phone", 1_000_000, None);
        let mut value = String::new();
        record.write_json(&mut value);
        let mut names = gaitway_kafka::headers::Writer::default();
        let name = names.write(record.metadata.name.as_ref().unwrap());
        let raw = BaseRecord::to(&self.config.topics.raw).key("phone").payload(&value).headers(name);
        killed.send(raw).map_err(|(error, _)| error).unwrap();
        let read = progress::read(&self.config, "test", &CancellationToken::new()).unwrap();
        for (source, kept) in &read.positions {
            let partition = progress::partition(progress::agent_of(source), read.partitions);
            let further = kept.position.saturating_add(1).to_string();
            let mark =
                BaseRecord::to(&self.config.topics.progress).partition(partition).key(&**source).payload(&further);
            killed.send(mark).map_err(|(error, _)| error).unwrap();
        }
        killed.flush(Duration::from_secs(30)).unwrap();
        drop(killed);
        self.ledger = self.another();
    }

    fn stored(&mut self) -> Vec<Stored> {
        let mut stored = Vec::new();
        for table in TABLES {
            for message in topic::read(&self.config.brokers, self.config.topics.of(table)) {
                let name = gaitway_kafka::headers::read(message.headers(), None).expect("every record has its name");
                stored.push(Stored {
                    table: table.name.to_owned(),
                    metadata: Metadata { name: Some(name.as_name()), place: None }.to_json(),
                    value: String::from_utf8(message.payload().unwrap().to_vec()).unwrap(),
                });
            }
        }
        stored
    }
}

macro_rules! laws {
    ($($law:ident),* $(,)?) => {
        $(#[test]
        #[ignore = "needs kafka"]
        fn $law() {
            laws::$law(&mut House::new());
        })*

        #[test]
        fn every_law_has_its_test() {
            assert_eq!([$(stringify!($law)),*].len(), laws::ALL.len());
        }
    };
}

laws! {
    records_and_marks_are_stored_together,
    an_unknown_source_is_left_out,
    marks_go_without_records,
    a_source_registers_once,
    many_sources_move_in_one_step,
    one_stale_mark_refuses_the_whole_submit,
    a_repeated_submit_stores_nothing,
    of_two_owners_one_wins,
    a_mark_never_goes_back,
    a_source_has_one_mark_in_a_submit,
    records_need_a_mark,
    positions_reach_the_end_of_i64,
    a_submit_that_can_never_be_taken_is_rejected,
    a_failure_is_recovered_from,
    a_crash_after_submit_stores_all_or_nothing,
    a_crash_keeps_what_was_committed,
    order_is_kept_per_source,
    values_come_back_exactly,
    committed_never_runs_ahead_of_what_is_stored,
}

/// A test each, so that they walk beside each other.
macro_rules! random_histories {
    ($($name:ident: $seed:literal),*) => {
        $(#[test]
        #[ignore = "needs kafka"]
        fn $name() {
            conformance::walk(&mut House::new(), $seed, 30);
        })*
    };
}

random_histories!(a_random_history: 1, a_second_random_history: 2, a_third_random_history: 3);

/// One reading of `device` in frame `seq`.
fn reading<'a>(agent: &'a AgentId, device: &'a str, seq: u64, reading: Option<Cow<'a, str>>) -> Record<'a> {
    let origin = Origin { agent, epoch: Epoch::from_random(1), ordinal: 1, stream: Stream::Raw, seq };
    let raw = Raw {
        message_id: Some(seq),
        session: "walk",
        device,
        sensor: Some("accelerometer"),
        xyz: [Some(0.5), Some(-1.5), Some(9.8)],
        accuracy: None,
        timestamp: Some(1_700_000_000_000_000_000 + seq as i64),
        reading,
        reading_index: 0,
        user: None,
        received_at: 1_700_000_000_000_000,
    };
    Record { metadata: origin.metadata(0, Some(true)), body: Body::Raw(raw) }
}

fn mark(agent: &AgentId, from: Option<u64>, to: u64) -> Mark {
    Mark { source: Source::stream(agent, Epoch::from_random(1), Stream::Raw), from, to }
}

#[test]
#[ignore = "needs kafka"]
fn a_second_relay_takes_over_and_the_first_is_fenced_for_good() {
    let mut house = House::new();
    let agent: AgentId = "pi".parse().unwrap();
    house.ledger.recover().unwrap();
    house.ledger.submit(&[reading(&agent, "phone", 1, None)], &[mark(&agent, None, 1)]).unwrap();
    let mut second = house.another();
    second.recover().unwrap();
    let late = house.ledger.submit(&[reading(&agent, "phone", 2, None)], &[mark(&agent, Some(1), 2)]);
    assert!(matches!(late, Err(LedgerError::Fenced(ref who)) if who.contains("owner 1")), "{late:?}");
    second.submit(&[reading(&agent, "phone", 2, None)], &[mark(&agent, Some(1), 2)]).unwrap();
    assert_eq!(house.stored().len(), 2);
}

#[test]
#[ignore = "needs kafka"]
fn a_relay_that_was_fenced_by_the_coordinator_alone_goes_on() {
    let config = config(1);
    let agent: AgentId = "pi".parse().unwrap();
    let mut ledger = relay(&config, "slept");
    ledger.recover().unwrap();
    // The same id begins anew, as a coordinator does that gave up on a transaction.
    drop(usurper(&config));
    let records = [reading(&agent, "phone", 1, None)];
    let lost = ledger.submit(&records, &[mark(&agent, None, 1)]);
    assert!(matches!(lost, Err(LedgerError::Unavailable(_))), "{lost:?}");
    ledger.recover().unwrap();
    ledger.submit(&records, &[mark(&agent, None, 1)]).unwrap();
}

#[test]
#[ignore = "needs kafka"]
fn a_relay_that_meets_an_error_does_not_take_the_topic_back_from_who_took_it_over_meanwhile() {
    let config = config(3);
    let agent: AgentId = "pi".parse().unwrap();
    let (mut first, mut second) = (relay(&config, "first"), relay(&config, "second"));
    first.recover().unwrap();
    first.submit(&[reading(&agent, "phone", 1, None)], &[mark(&agent, None, 1)]).unwrap();
    drop(usurper(&config));
    let lost = first.submit(&[reading(&agent, "phone", 2, None)], &[mark(&agent, Some(1), 2)]);
    assert!(matches!(lost, Err(LedgerError::Unavailable(_))), "{lost:?}");

    second.recover().unwrap();
    second.submit(&[reading(&agent, "phone", 2, None)], &[mark(&agent, Some(1), 2)]).unwrap();
    for _ in 0..2 {
        let back = first.recover();
        assert!(matches!(back, Err(LedgerError::Fenced(ref who)) if who.contains("second")), "{back:?}");
    }
    second.submit(&[reading(&agent, "phone", 3, None)], &[mark(&agent, Some(2), 3)]).unwrap();
}

#[test]
#[ignore = "needs kafka"]
fn a_relay_does_not_wait_out_the_transaction_that_it_left_open_itself() {
    let config = config(1);
    let mut ledger = relay(&config, "one");
    ledger.recover().unwrap();
    let left = usurper(&config);
    left.begin_transaction().unwrap();
    let mark = BaseRecord::to(&config.topics.progress).key("pi/0000000000000001/raw").payload("7");
    left.send(mark).map_err(|(error, _)| error).unwrap();
    left.flush(Duration::from_secs(30)).unwrap();
    drop(left);
    // It is open for ten minutes, unless somebody begins anew.
    ledger.recover().unwrap();
    let agent: AgentId = "pi".parse().unwrap();
    ledger.submit(&[reading(&agent, "phone", 1, None)], &[self::mark(&agent, None, 1)]).unwrap();
}

/// A transaction of somebody else's in the progress topic, open for so long.
fn stranger(config: &KafkaConfig, open: Duration) {
    relay(config, "one").recover().unwrap();
    let stranger: BaseProducer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", &config.brokers)
        .set("transactional.id", kafka::unique("stranger"))
        .set("transaction.timeout.ms", open.as_millis().to_string())
        .create()
        .unwrap();
    stranger.init_transactions(Duration::from_secs(30)).unwrap();
    stranger.begin_transaction().unwrap();
    let mark = BaseRecord::to(&config.topics.progress).key("pi/0000000000000001/raw").payload("7");
    stranger.send(mark).map_err(|(error, _)| error).unwrap();
    stranger.flush(Duration::from_secs(30)).unwrap();
}

#[test]
#[ignore = "needs kafka"]
fn what_a_killed_relay_left_open_is_waited_out() {
    let mut config = config(1);
    stranger(&config, Duration::from_secs(4));
    config.properties.0.insert("transaction.timeout.ms".to_owned(), "4000".to_owned());
    let read = progress::read(&config, "test", &CancellationToken::new()).unwrap();
    assert_eq!((read.owner.as_deref(), read.positions.len()), (Some("one"), 0));
}

#[test]
#[ignore = "needs kafka"]
fn a_transaction_that_stays_open_is_named() {
    let mut config = config(1);
    stranger(&config, Duration::from_secs(600));
    config.properties.0.insert("transaction.timeout.ms".to_owned(), "1000".to_owned());
    let said = progress::read(&config, "test", &CancellationToken::new()).unwrap_err();
    assert!(
        said.contains(&format!("a transaction of {}/0", config.topics.progress)) && said.contains("open"),
        "{said}"
    );
}

#[tokio::test]
#[ignore = "needs kafka"]
async fn marks_are_found_after_partitions_were_added_to_the_progress_topic() {
    let config = config(1);
    let agents: Vec<AgentId> = (0..12).map(|number| format!("pi-{number}").parse().unwrap()).collect();
    let sources: Vec<_> = agents.iter().map(|agent| mark(agent, None, 1).source).collect();
    let all = |from, to| agents.iter().map(|agent| mark(agent, from, to)).collect::<Vec<_>>();
    let marked = |ledger: &mut KafkaLedger, to: u64| {
        let found = ledger.committed(&sources).unwrap();
        assert!(found.len() == sources.len() && found.values().all(|at| *at == to), "{to}: {found:?}");
    };
    let mut before = relay(&config, "before");
    before.recover().unwrap();
    before.submit(&[], &all(None, 1)).unwrap();

    let admin: AdminClient<_> =
        rdkafka::ClientConfig::new().set("bootstrap.servers", &config.brokers).create().unwrap();
    let more = NewPartitions::new(&config.topics.progress, 5);
    for added in admin.create_partitions(&[more], &AdminOptions::new()).await.unwrap() {
        added.unwrap();
    }
    // A relay that runs goes on where it is.
    before.submit(&[], &all(Some(1), 2)).unwrap();
    let stop = CancellationToken::new();
    while progress::Reading::open(&config, "test", &stop).unwrap().partitions() < 5 {
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut after = relay(&config, "after");
    after.recover().unwrap();
    marked(&mut after, 2);
    after.submit(&[], &all(Some(2), 3)).unwrap();
    let mut last = relay(&config, "last");
    last.recover().unwrap();
    marked(&mut last, 3);
    let read = progress::read(&config, "test", &stop).unwrap();
    assert!(!read.elsewhere.is_empty() && read.elsewhere.values().all(|places| *places == [0]), "{:?}", read.elsewhere);
}

#[test]
#[ignore = "needs kafka"]
fn a_partition_that_grows_while_all_are_read_does_not_cut_another_off() {
    const MARKS: usize = 20_000;
    let mut config = config(2);
    relay(&config, "one").recover().unwrap();
    let producer: BaseProducer =
        rdkafka::ClientConfig::new().set("bootstrap.servers", &config.brokers).set("linger.ms", "0").create().unwrap();
    let send = |partition, key: &str, value: &str| {
        let mark = BaseRecord::to(&config.topics.progress).partition(partition).key(key).payload(value);
        producer.send(mark).map_err(|(error, _)| error).unwrap();
    };
    let agent = |at| format!("pi-{at}-{}", "x".repeat(200));
    let long = (0..).map(agent).filter(|agent| progress::partition(agent, 2) == 1).take(MARKS);
    for agent in long {
        send(1, &format!("{agent}/raw"), "1");
    }
    producer.flush(Duration::from_secs(30)).unwrap();

    // Many answers make up the one partition; the other has a new end in each.
    config.properties.0.insert("fetch.message.max.bytes".to_owned(), (64 << 10).to_string());
    let stop = CancellationToken::new();
    let read = std::thread::scope(|scope| {
        let reading = std::thread::Builder::new()
            .spawn_scoped(scope, || progress::read(&config, "test", &stop).unwrap())
            .unwrap();
        let mut moved = 0_u64;
        while !reading.is_finished() {
            moved += 1;
            send(0, "moving", &moved.to_string());
            producer.flush(Duration::from_secs(30)).unwrap();
        }
        reading.join().unwrap()
    });
    assert_eq!(read.positions.keys().filter(|source| source.ends_with("/raw")).count(), MARKS);
}

#[test]
#[ignore = "needs kafka"]
fn all_readings_of_a_device_keep_their_order_within_a_partition() {
    let config = config(12);
    let mut ledger = relay(&config, "one");
    ledger.recover().unwrap();
    let agent: AgentId = "pi".parse().unwrap();
    let devices: Vec<String> = (0..40).map(|number| format!("phone-{number}")).collect();
    let (mut seq, mut from) = (0, None);
    for _ in 0..5 {
        let records: Vec<_> = devices
            .iter()
            .map(|device| {
                seq += 1;
                reading(&agent, device, seq, None)
            })
            .collect();
        ledger.submit(&records, &[mark(&agent, from, seq)]).unwrap();
        from = Some(seq);
    }
    let mut of_device: BTreeMap<String, Vec<(i32, u64)>> = BTreeMap::new();
    for message in topic::read(&config.brokers, &config.topics.raw) {
        let device = String::from_utf8(message.key().unwrap().to_vec()).unwrap();
        let name = gaitway_kafka::headers::read(message.headers(), None).unwrap();
        of_device.entry(device).or_default().push((message.partition(), name.seq));
    }
    assert_eq!(of_device.len(), devices.len());
    let mut used = BTreeSet::new();
    for (device, found) in of_device {
        assert_eq!(found.len(), 5, "{device}");
        assert!(found.windows(2).all(|pair| pair[0].0 == pair[1].0 && pair[0].1 < pair[1].1), "{device}: {found:?}");
        used.insert(found[0].0);
    }
    assert!(used.len() > 6, "devices are spread over partitions: {used:?}");
}

/// The tutorial's keys, as its consumers know them.
const SEED: [(&str, char); 9] = [
    ("messageId", 'i'),
    ("sessionId", 't'),
    ("deviceId", 't'),
    ("sensorType", 't'),
    ("x", 'f'),
    ("y", 'f'),
    ("z", 'f'),
    ("accuracy", 'i'),
    ("timestamp", 'i'),
];

#[test]
#[ignore = "needs kafka"]
fn a_consumer_that_knows_only_the_tutorials_keys_reads_every_record() {
    let config = config(3);
    let mut ledger = relay(&config, "one");
    ledger.recover().unwrap();
    let agent: AgentId = "pi".parse().unwrap();
    let mut odd = reading(&agent, "phone", 2, Some(Cow::Borrowed(r#"{"values":{"text":"x"}}"#)));
    if let Body::Raw(raw) = &mut odd.body {
        (raw.message_id, raw.xyz, raw.timestamp, raw.sensor) = (None, [None; 3], None, None);
    }
    let origin = Origin { agent: &agent, epoch: Epoch::from_random(1), ordinal: 1, stream: Stream::Activity, seq: 1 };
    let window = Activity {
        session: "walk",
        device: "phone",
        activity: "walking",
        confidence: 1.0,
        avg_magnitude: 9.0,
        window_start: 1_700_000_000_000_000_000,
        window_end: 1_700_000_010_000_000_000,
        sample_count: 100,
        classifier: "threshold",
        revision: 0,
    };
    let window = Record { metadata: origin.metadata(0, None), body: Body::Activity(window) };
    let before = gaitway_service::clock::now_micros() / 1000;
    let records = [reading(&agent, "phone", 1, None), odd, window];
    ledger.submit(&records, &[mark(&agent, None, 2)]).unwrap();
    let after = gaitway_service::clock::now_micros() / 1000;

    let value = |message: &rdkafka::message::OwnedMessage| -> serde_json::Map<String, serde_json::Value> {
        serde_json::from_slice(message.payload().unwrap()).unwrap()
    };
    let readings = topic::read(&config.brokers, &config.topics.raw);
    assert_eq!(readings.len(), 2);
    for message in &readings {
        let value = value(message);
        for (key, kind) in SEED {
            let found = value.get(key).unwrap_or_else(|| panic!("{key} is absent"));
            let fits = match kind {
                'i' => found.is_i64(),
                'f' => found.is_f64(),
                _ => found.is_string(),
            };
            assert!(fits || found.is_null(), "{key}: {found}");
        }
        let at = message.timestamp().to_millis().unwrap();
        assert!((before..=after).contains(&at), "a record's time is when it was produced: {before} {at} {after}");
        assert_eq!(message.key(), Some(b"phone".as_slice()));
    }
    let windows = topic::read(&config.brokers, &config.topics.activity);
    let value = value(&windows[0]);
    assert_eq!(value["timestamp"], "2023-11-14 22:13:30");
    for key in ["sessionId", "deviceId", "activity"] {
        assert!(value[key].is_string(), "{key}");
    }
    for key in ["confidence", "avg_magnitude"] {
        assert!(value[key].is_f64(), "{key}: {}", value[key]);
    }
}

#[test]
#[ignore = "needs kafka"]
fn the_greatest_record_passes_and_a_greater_one_is_rejected_without_stopping_the_ledger() {
    let config = config(1);
    let mut ledger = relay(&config, "one");
    ledger.recover().unwrap();
    let agent: AgentId = "pi".parse().unwrap();
    let large = |bytes: usize| Some(Cow::Owned(format!(r#"{{"values":{{"image":"{}"}}}}"#, "a".repeat(bytes))));
    let greatest = limits::MAX_RECORD - 4096;
    ledger.submit(&[reading(&agent, "phone", 1, large(900_000))], &[mark(&agent, None, 1)]).unwrap();
    ledger.submit(&[reading(&agent, "phone", 2, large(greatest))], &[mark(&agent, Some(1), 2)]).unwrap();
    let beyond = ledger.submit(&[reading(&agent, "phone", 3, large(5 << 20))], &[mark(&agent, Some(2), 3)]);
    assert!(matches!(beyond, Err(LedgerError::Rejected(ref why)) if why.contains("too large")), "{beyond:?}");
    ledger.recover().unwrap();
    ledger.submit(&[reading(&agent, "phone", 3, None)], &[mark(&agent, Some(2), 3)]).unwrap();
    assert_eq!(topic::read(&config.brokers, &config.topics.raw).len(), 3);
}

#[test]
#[ignore = "needs kafka"]
fn topics_that_would_break_the_law_are_refused_until_they_are_right() {
    let mut config = config(1);
    config.create.settings.0.insert("cleanup.policy".to_owned(), "compact".to_owned());
    let mut ledger = relay(&config, "one");
    let refused = ledger.recover().unwrap_err().to_string();
    assert!(refused.contains("cleanup.policy compact") && refused.contains(&config.topics.raw), "{refused}");
    config.topics.raw.push_str("-right");
    config.topics.activity.push_str("-right");
    config.topics.gaps.push_str("-right");
    config.create.settings.0.clear();
    relay(&config, "one").recover().unwrap();
    config.create.enabled = false;
    config.topics.raw.push_str("-absent");
    let refused = relay(&config, "one").recover().unwrap_err().to_string();
    assert!(refused.contains("lacks the topics") && refused.contains("kafka.create.enabled"), "{refused}");
}

#[test]
fn brokers_that_are_away_are_named_in_the_error() {
    let config = KafkaConfig { brokers: "127.0.0.1:9".to_owned(), ..KafkaConfig::default() };
    let refused = relay(&config, "one").recover().unwrap_err().to_string();
    assert!(refused.contains("127.0.0.1:9") && refused.contains("list topics"), "{refused}");
}

/// librdkafka's flush waits in steps of 100 ms where the caller serves its events; what a ledger drains by itself does not.
#[test]
#[ignore = "needs kafka"]
fn a_commit_does_not_wait_for_librdkafkas_flush() {
    const COMMITS: u64 = 10;
    let config = config(1);
    let mut ledger = relay(&config, "one");
    ledger.recover().unwrap();
    let agent: AgentId = "pi".parse().unwrap();
    let mut from = None;
    let mut ours = Vec::new();
    for seq in 1..=COMMITS {
        let begun = Instant::now();
        ledger.submit(&[reading(&agent, "phone", seq, None)], &[mark(&agent, from, seq)]).unwrap();
        ours.push(begun.elapsed());
        from = Some(seq);
    }

    let plain: rdkafka::producer::BaseProducer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", &config.brokers)
        .set("transactional.id", kafka::unique("plain"))
        .create()
        .unwrap();
    plain.init_transactions(Duration::from_secs(30)).unwrap();
    let mut flushed = Vec::new();
    for _ in 0..COMMITS {
        let begun = Instant::now();
        plain.begin_transaction().unwrap();
        let record = rdkafka::producer::BaseRecord::to(&config.topics.gaps).key("pi").payload("{}");
        plain.send(record).map_err(|(error, _)| error).unwrap();
        plain.commit_transaction(Duration::from_secs(30)).unwrap();
        flushed.push(begun.elapsed());
    }
    // The quickest: a floor is under all of them, and a busy machine delays some.
    let (ours, flushed) = (*ours.iter().min().unwrap(), *flushed.iter().min().unwrap());
    println!("a commit of one record: {ours:?}, with librdkafka's flush: {flushed:?}");
    assert!(ours * 3 / 2 < flushed, "{ours:?} beside {flushed:?}");
}
