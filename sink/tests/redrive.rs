//! `gaitway-sink redrive` over a real broker and an emulated Snowflake: what was passed over is stored once, whenever the
//! command ends, and the sink goes on without a restart.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[allow(dead_code, reason = "others open channels by hand")]
#[path = "snowflake/support.rs"]
mod account;
#[allow(dead_code, reason = "others kill brokers")]
#[path = "../../tests/harness/kafka.rs"]
mod broker;
#[path = "redrive/command.rs"]
mod command;
#[allow(dead_code, reason = "others write what cannot be read")]
#[path = "kafka/home.rs"]
mod home;
#[allow(dead_code, reason = "others look at metrics")]
#[path = "kafka/sink.rs"]
mod sink;
#[allow(dead_code, reason = "others look at aborted records")]
#[path = "../../tests/harness/topic.rs"]
mod topic;

use std::time::Duration;

use account::Account;
use command::{Done, Scene};
use gaitway_emulator::Fault;
use gaitway_proto::ledger::{Ledger as _, LedgerError};
use gaitway_proto::schema::RAW;
use rdkafka::Offset;
use rdkafka::message::Message as _;

fn numbers(range: std::ops::Range<u64>) -> Vec<u64> {
    range.collect()
}

#[test]
#[ignore = "needs kafka"]
fn what_was_passed_over_is_stored_once_and_the_running_sink_goes_on() {
    let scene = Scene::new("redriven");
    let sink = scene.sink();
    let command = scene.stop(&sink, 20, 3);
    assert_eq!(scene.numbers().len(), 17);

    let dry = scene.run(&[&command[..], &["--dry-run".to_owned()]].concat());
    assert!(dry.success, "{}", dry.text);
    assert_eq!((dry.count("asked"), dry.count("stored"), dry.count("missing"), dry.count("empty")), (11, 7, 3, 1));
    assert_eq!(scene.numbers().len(), 17, "nothing was appended");
    assert!(scene.account.emulator.channel(&scene.redrive_channel()).is_none(), "no channel was opened");

    let done = scene.run(&command);
    assert!(done.success && done.text.contains("the sink goes on by itself"), "{}", done.text);
    assert_eq!((done.count("stored before"), done.count("appended"), done.count("empty")), (7, 3, 1), "{}", done.text);
    scene.home.write(0, 20..25);
    sink.await_that("later records are stored", || scene.numbers() == numbers(0..25));
    sink.await_that("it is ready", || sink.health.report().ready);

    let again = scene.run(&command);
    assert!(again.success, "{}", again.text);
    assert_eq!((again.count("stored before"), again.count("appended")), (10, 0), "twice is harmless");
    sink.stop();
    let sink = scene.sink();
    scene.home.write(0, 25..30);
    sink.await_that("also after a restart", || scene.numbers() == numbers(0..30));
    sink.stop();
}

#[test]
#[ignore = "needs kafka"]
fn a_redrive_that_is_killed_may_be_run_again() {
    let scene = Scene::new("killed");
    let sink = scene.sink();
    let command = scene.stop(&sink, 20, 8);
    let missing = 20 - scene.numbers().len() as u64;

    scene.account.emulator.freeze_commits(true);
    let mut killed = scene.start(&command);
    sink.await_that("rows are on their way", || scene.account.emulator.uncommitted() == missing);
    killed.kill().unwrap();
    killed.wait().unwrap();
    scene.account.emulator.freeze_commits(false);
    let done = scene.run(&command);
    assert!(done.success, "{}", done.text);
    assert_eq!(done.count("appended"), 0, "the rows of the killed one were found: {}", done.text);
    scene.home.write(0, 20..25);
    sink.await_that("the sink goes on", || scene.numbers() == numbers(0..25));
    sink.stop();
}

#[test]
#[ignore = "needs kafka"]
fn many_offsets_are_gone_through_part_by_part() {
    let mut scene = Scene::new("many");
    scene.max_rows = 1_000;
    let sink = scene.sink();
    let all = 25_000;
    let command = scene.stop(&sink, all, all);
    let missing = all - scene.numbers().len() as u64;
    assert!(missing > 0);
    // What the sink had not appended when it stopped is not named, and stays its own.
    let done = scene.run(&command);
    assert!(done.success, "{}", done.text);
    assert_eq!(done.count("appended") + done.count("stored before") + done.count("empty"), done.count("asked"));
    let whole = ["redrive", "--topic", scene.home.raw(), "--partition", "0", "--offsets"].map(str::to_owned);
    sink.await_that("the sink goes on", || scene.numbers() == numbers(0..all));
    let again = scene.run(&[&whole[..], &[format!("0-{}", all - 1)]].concat());
    assert!(again.success, "{}", again.text);
    assert_eq!(
        ["asked", "stored before", "appended"].map(|what| again.count(what)),
        [all, all - 1, 0],
        "{}",
        again.text
    );
    sink.stop();
}

#[test]
#[ignore = "needs kafka"]
fn wherever_redrives_are_killed_every_row_is_stored_once() {
    let scene = Scene::new("anywhere");
    let sink = scene.sink();
    let command = scene.stop(&sink, 20, 8);
    for round in 0..20 {
        let mut killed = scene.start(&command);
        std::thread::sleep(Duration::from_millis(25 * round));
        killed.kill().unwrap();
        killed.wait().unwrap();
    }
    let done = scene.run(&command);
    assert!(done.success && done.count("asked") == 11, "{}", done.text);
    scene.home.write(0, 20..25);
    sink.await_that("the sink goes on", || scene.numbers() == numbers(0..25));
    sink.stop();
}

#[test]
#[ignore = "needs kafka"]
fn what_is_passed_over_again_becomes_dead_letters_and_the_sink_goes_on() {
    let scene = Scene::new("aside");
    let sink = scene.sink();
    let command = scene.stop(&sink, 20, 5);
    let missing: Vec<u64> = numbers(0..20).into_iter().filter(|number| !scene.numbers().contains(number)).collect();
    scene.account.emulator.inject(Fault::RejectRows { rows: 2 }.channel(&scene.redrive_channel()));
    let done = scene.run(&command);
    assert!(done.success, "{}", done.text);
    assert_eq!((done.count("appended"), done.count("put aside")), (3, 2), "{}", done.text);

    let letters = topic::read(broker::broker(), &scene.home.config.kafka.topics.dead_letter);
    let mut told: Vec<_> = letters.iter().map(|letter| letter.key_view::<str>().unwrap().unwrap().to_owned()).collect();
    told.sort();
    // One mark of a transaction lies before them.
    let mut expected: Vec<_> =
        missing[..2].iter().map(|number| format!("{}/0/{}", scene.home.raw(), number + 1)).collect();
    expected.sort();
    assert_eq!(told, expected);
    for letter in &letters {
        let headers = topic::headers(letter);
        let of = |key: &str| headers.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        assert_eq!((of("reason"), of("detail")), (Some("passed_over"), Some("row refused")));
        assert!(of("original-header-agent").is_some(), "{headers:?}");
    }
    scene.home.write(0, 20..25);
    sink.await_that("the sink goes on", || scene.numbers().len() == 23);

    // The table was mended after all.
    let again = scene.run(&command);
    assert!(again.success, "{}", again.text);
    assert_eq!((again.count("appended"), again.count("put aside")), (2, 0), "{}", again.text);
    assert_eq!(scene.numbers(), numbers(0..25));
    sink.stop();
}

#[test]
#[ignore = "needs kafka"]
fn until_its_dead_letters_are_written_the_partition_stays_stopped() {
    let scene = Scene::new("unwritten");
    let sink = scene.sink();
    let command = scene.stop(&sink, 20, 5);
    sink.stop();
    scene.account.emulator.inject(Fault::RejectRows { rows: 2 }.channel(&scene.redrive_channel()));
    let config = scene.configuration(|kafka| {
        kafka.create.enabled = false;
        kafka.topics.dead_letter = broker::unique("nowhere");
    });
    let failed = command::run(&config, &command);
    assert!(!failed.success && failed.text.contains("may be run again"), "{}", failed.text);
    let recovered = scene.account.client().channel(&RAW, scene.home.raw(), 0).recover();
    assert!(matches!(recovered, Err(LedgerError::Skipped { .. })), "{recovered:?}");
    let done = scene.run(&command);
    assert!(done.success, "{}", done.text);
    scene.account.client().channel(&RAW, scene.home.raw(), 0).recover().unwrap();
    assert_eq!(scene.numbers(), numbers(0..20));
}

#[test]
#[ignore = "needs kafka"]
fn what_is_gone_from_kafka_is_said_and_the_rest_is_stored() {
    let scene = Scene::new("gone");
    let sink = scene.sink();
    let command = scene.stop(&sink, 20, 6);
    // Offset 10 is a transaction's mark; the six behind it were passed over.
    scene.home.delete_before(Offset::Offset(14));
    let done = scene.run(&command);
    assert!(done.success && done.text.contains("first record that Kafka still has"), "{}", done.text);
    let counts = ["asked", "stored before", "appended", "gone from Kafka", "empty"].map(|what| done.count(what));
    assert_eq!(counts, [11, 4, 3, 4, 0], "{}", done.text);
    scene.home.write(0, 20..25);
    let kept: Vec<u64> = (0..10).chain(13..25).collect();
    sink.await_that("the sink goes on", || scene.numbers() == kept);
    sink.stop();
}

#[test]
#[ignore = "needs kafka"]
fn what_the_sink_may_still_store_and_other_topics_are_refused_with_a_sentence() {
    let scene = Scene::new("refused");
    let sink = scene.sink();
    let command = scene.stop(&sink, 20, 1);
    let refused = |args: &[&str]| -> Done {
        let done = scene.run(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>());
        assert!(!done.success, "{}", done.text);
        done
    };
    let raw = scene.home.raw();
    let beyond = refused(&["redrive", "--topic", raw, "--partition", "0", "--offsets", "10-5000"]);
    assert!(beyond.text.contains("the sink may still store"), "{}", beyond.text);
    let partition = refused(&["redrive", "--topic", raw, "--partition", "7", "--offsets", "1"]);
    assert!(partition.text.contains("snowflake.deployment"), "{}", partition.text);
    let topic = refused(&["redrive", "--topic", "other", "--partition", "0", "--offsets", "1"]);
    assert!(topic.text.contains("feeds no table") && topic.text.contains(raw), "{}", topic.text);
    sink.stop();

    scene.home.delete(raw);
    std::thread::sleep(Duration::from_secs(1));
    scene.home.create(raw, 1, &[]);
    let recreated = scene.run(&command);
    assert!(!recreated.success && recreated.text.contains("recreated"), "{}", recreated.text);
    assert_eq!(scene.numbers().len(), 19);
}

#[test]
fn another_warehouse_and_wrong_flags_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sink.toml");
    std::fs::write(&file, "warehouse = 'sqlite'\n").unwrap();
    let run = |partition: &str, offsets: &str| {
        let args = ["redrive", "--topic", "raw_sensor_data", "--partition", partition, "--offsets", offsets];
        command::run(&file, &args.map(str::to_owned))
    };
    let other = run("3", "1200-1450");
    assert!(!other.success && other.text.contains("warehouse is not Snowflake"), "{}", other.text);
    for (partition, offsets, says) in
        [("3", "9-5", "must not end before they begin"), ("3", "all", "such as 1200-1450"), ("-1", "1", "--partition")]
    {
        let wrong = run(partition, offsets);
        assert!(!wrong.success && wrong.text.contains(says), "{}", wrong.text);
    }
    let account = Account::new();
    assert!(account.client().standing(&RAW, account::TOPIC, account::PARTITION).unwrap().is_none());
}
