//! Logs that hold what they should not: nothing is passed over in silence, and nothing ends the sink.

use std::os::unix::fs::FileExt as _;

use crate::broker::{Broker, broker};
use crate::home::Home;
use crate::numbers;
use crate::sink::Sink;
use crate::store::Store;
use crate::topic;
use crate::wire;

#[test]
#[ignore = "needs kafka"]
fn a_damaged_batch_stops_the_partition_and_is_not_passed_over() {
    let own = Broker::start();
    let (home, store) = (Home::at(&own.address, "damaged", 1, &[]), Store::default());
    home.write(0, 0..5);
    home.write_value(0, Some("k"), br#"{"messageId":5,"deviceId":"d"}"#);
    let end = own.log(home.raw(), 0).metadata().unwrap().len();
    home.write(0, 6..10);
    let file = std::fs::OpenOptions::new().write(true).open(own.log(home.raw(), 0)).unwrap();
    // In its value.
    file.write_all_at(b"\0", end - 8).unwrap();
    let sink = Sink::start(&home.config, store.clone());
    let said = sink.await_stopped();
    assert!(said.contains("cannot be read") && said.contains("offset 5") && said.contains("CRC32C"), "{said}");
    assert!(store.numbers(home.raw(), 0).iter().all(|number| *number < 5), "nothing behind it is stored");
    sink.stop();
}

#[test]
#[ignore = "needs kafka"]
fn a_header_whose_name_is_no_text_makes_a_dead_letter_and_the_partition_goes_on() {
    let (home, store) = (Home::new("headers", 1, &[]), Store::default());
    home.write(0, 0..2);
    let value = br#"{"messageId":7,"deviceId":"d"}"#;
    for _ in 0..3 {
        wire::write(broker(), home.raw(), 0, value, (b"caf\xe9", b"x"));
    }
    home.write(0, 2..4);
    wire::write(broker(), home.raw(), 0, br#"{"messageId":4}"#, ("café".as_bytes(), b"x"));
    let sink = Sink::start(&home.config, store.clone());
    sink.await_that("the partition goes on", || store.numbers(home.raw(), 0) == numbers(0..5));
    let letters = topic::read(broker(), &home.config.kafka.topics.dead_letter);
    assert_eq!(letters.len(), 3);
    let told = topic::headers(&letters[0]);
    let of = |key: &str| told.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
    assert_eq!(of("reason"), Some("unreadable"));
    assert!(of("detail").unwrap().contains("the name of a header is not UTF-8"), "{told:?}");
    assert_eq!(of("left-out"), Some("headers, of which a name is not UTF-8"));
    assert_eq!(rdkafka::Message::payload(&letters[0]), Some(&value[..]));
    sink.stop();
}

#[test]
#[ignore = "needs kafka"]
fn a_record_too_great_for_the_dead_letters_leaves_what_fits() {
    let (mut home, store) = (Home::new("great", 1, &[]), Store::default());
    home.config.kafka.inspect = false;
    home.create(&home.config.kafka.topics.dead_letter, 1, &[("max.message.bytes", "2000")]);
    let random = |length: u32| (0..length).map(|at| b'!' + (at.wrapping_mul(2_654_435_761) >> 25) as u8 % 90).collect();
    let (short, long): (Vec<u8>, Vec<u8>) = (random(10), random(9_000));
    for (value, header) in [(&short, &short), (&long, &short), (&short, &long)] {
        wire::write(broker(), home.raw(), 0, value, (b"h", header));
    }
    home.write(0, 0..2);
    let sink = Sink::start(&home.config, store.clone());
    sink.await_that("the partition goes on", || store.numbers(home.raw(), 0) == numbers(0..2));
    let letters = topic::read(broker(), &home.config.kafka.topics.dead_letter);
    let mut told: Vec<_> = letters
        .iter()
        .map(|letter| {
            let headers = topic::headers(letter);
            let of = |key: &str| headers.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
            assert!(of("detail").is_some());
            let key = String::from_utf8(rdkafka::Message::key(letter).unwrap().to_vec()).unwrap();
            let offset = key.rsplit('/').next().unwrap().to_owned();
            let has_value = rdkafka::Message::payload(letter).is_some_and(|value| !value.is_empty());
            (offset, has_value, of("original-header-h").is_some(), of("left-out").unwrap_or_default())
        })
        .collect();
    told.sort();
    let expected = [
        ("0", true, true, ""),
        ("1", false, true, "value of 9000 bytes, too great for this topic"),
        ("2", false, false, "key, headers and value of 10 bytes, too great for this topic"),
    ]
    .map(|(offset, value, header, left_out)| (offset.to_owned(), value, header, left_out.to_owned()));
    assert_eq!(told, expected);
    sink.stop();
}
