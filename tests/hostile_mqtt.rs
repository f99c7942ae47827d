//! **Hostile MQTT.** Whatever clients do, with a password or without: what well-behaved agents push is committed
//! steadily meanwhile, all of it is in the warehouse once afterwards, and the relay's memory and log stay bounded.
//!
//! `GAITWAY_SEED=n` repeats a run's random bytes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;
mod hostile;

use std::time::Duration;

use harness::Random;
use harness::proxy::Proxy;
use hostile::house::House;
use hostile::{attacks, frames};

const MIB: u64 = 1 << 20;

/// The heaviest frame once it is unpacked and made into rows takes about 160 MiB. Beside it: what is held of agents
/// (twice the budget of 16 MiB), two payloads on their way in, and the process with its own agent and warehouse.
const MOST_MEMORY: u64 = 256 * MIB;

/// A payload of 8.3 MiB each in the buffers of a dozen connections, and what the allocator keeps of it.
const BUFFERS: u64 = 128 * MIB;

fn random(salt: u64) -> Random {
    let seed = std::env::var("GAITWAY_SEED").map_or(3, |text| text.parse().expect("GAITWAY_SEED is a number"));
    eprintln!("GAITWAY_SEED={seed}");
    Random::new(seed ^ (salt << 32))
}

#[test]
fn ids_and_topics_that_are_not_an_agents_own_are_refused() {
    let mut house = House::open(&["good"]);
    house.under("strange names", &["good"], |relay| {
        attacks::strange_ids(relay);
        attacks::strange_topics(relay, "good");
    });
    house.close(MOST_MEMORY);
}

#[test]
fn whoever_calls_itself_two_names_gets_one_answer_and_one_line_a_minute_for_each_id_claimed() {
    let mut house = House::open(&["good"]);
    house.under("two names", &["good"], |relay| attacks::two_names(relay, "good", 600, &mut random(1)));
    let lines = house.up.log();
    let mut claimed: Vec<_> = lines
        .iter()
        .filter(|line| line["message"] == "connection closed")
        .map(|line| (line["claimed"].as_str(), line["like_it_before"].is_null()))
        .collect();
    claimed.sort_unstable();
    assert_eq!(claimed, ["good", "nobody"].map(|id| (Some(id), true)), "{lines:#?}");
    house.close(MOST_MEMORY);
}

#[test]
fn oversized_packets_end_their_own_connection_only() {
    let mut house = House::open(&["good"]);
    house.under("oversized packets", &["good"], |relay| attacks::oversized_packets(relay, &mut random(8)));
    house.close(MOST_MEMORY);
}

#[test]
fn slow_readers_and_slow_writers_hold_up_nobody_else() {
    let mut house = House::open(&["good"]);
    house.under("slow ones", &["good"], |relay| attacks::slow_ones(relay, Duration::from_secs(4), &mut random(2)));
    let (_, counters) = harness::http::get(&house.up.push_url().replace("/data", "/metrics")).unwrap();
    let closed = format!("gaitway_relay_closed_connections_total{{reason=\"write_timeout\"}} {}", attacks::DEAF);
    assert!(counters.lines().any(|line| line == closed), "{counters}");
    house.close(MOST_MEMORY);
}

#[test]
fn hundreds_of_idle_and_vanished_clients_keep_no_agent_out_and_are_closed() {
    let mut house = House::open(&["good"]);
    house.under("idle ones", &["good"], |relay| attacks::idle_ones(relay, 600, 200));
    house.close(MOST_MEMORY);
}

#[test]
fn takeovers_in_a_loop_by_a_cloned_id_hold_up_nobody_else_and_lose_nothing_of_its_own() {
    let mut house = House::open(&["good", "cloned"]);
    house.under("takeovers", &["good"], |relay| {
        attacks::takeovers(relay, "cloned", Duration::from_secs(3), &mut random(3));
    });
    house.close(MOST_MEMORY);
}

#[test]
fn random_bytes_on_thousands_of_connections_do_no_harm() {
    let mut house = House::open(&["good"]);
    house.under("random bytes", &["good"], |relay| attacks::random_bytes(relay, 4_000, &mut random(4)));
    house.close(MOST_MEMORY);
}

#[test]
fn damaged_words_and_giant_counts_do_no_harm() {
    let mut house = House::open(&["good"]);
    house.under("damaged words", &["good"], |relay| attacks::damaged_words(relay, 600, &mut random(5)));
    house.close(MOST_MEMORY);
}

#[test]
fn frames_that_unpack_to_many_times_their_size_take_bounded_memory() {
    let mut house = House::open(&["good"]);
    let bombs = frames::bombs();
    house.under("bombs", &["good"], |relay| attacks::bombs(relay, &bombs, 2, &mut random(6)));
    house.close(MOST_MEMORY);
}

#[test]
fn batches_torn_in_the_middle_are_sent_again_and_stored_once() {
    let mut house = House::open(&["good"]);
    let proxy = Proxy::new();
    proxy.point(Some(&house.relay.to_string()));
    house.settle("torn", &proxy.url());
    let mut random = random(7);
    house.under("torn batches", &["good"], |relay| {
        for _ in 0..30 {
            attacks::torn_batches(relay, 2, &mut random);
            proxy.cut();
            std::thread::sleep(Duration::from_millis(random.below(100)));
        }
    });
    house.close(MOST_MEMORY);
}

#[test]
fn all_at_once() {
    let how_long = Duration::from_secs(6);
    let mut house = House::open(&["good", "other", "cloned"]);
    let bombs = frames::bombs();
    house.under("all at once", &["good", "other"], |relay| {
        std::thread::scope(|scope| {
            let attack = |salt: u64, attack: &(dyn Fn(&mut Random) + Sync)| {
                let end = std::time::Instant::now() + how_long;
                let mut random = random(salt);
                while std::time::Instant::now() < end {
                    attack(&mut random);
                }
            };
            scope.spawn(move || attack(11, &|_| attacks::strange_ids(relay)));
            scope.spawn(move || attack(12, &|random| attacks::two_names(relay, "good", 20, random)));
            scope.spawn(move || attack(13, &|random| attacks::oversized_packets(relay, random)));
            scope.spawn(move || attacks::slow_ones(relay, how_long, &mut random(14)));
            scope.spawn(move || attacks::idle_ones(relay, 400, 100));
            scope.spawn(move || attacks::takeovers(relay, "cloned", how_long, &mut random(15)));
            scope.spawn(move || attack(16, &|random| attacks::random_bytes(relay, 50, random)));
            scope.spawn(move || attack(17, &|random| attacks::damaged_words(relay, 20, random)));
            scope.spawn(move || attack(18, &|random| attacks::torn_batches(relay, 3, random)));
            scope.spawn(move || attacks::greed(relay, how_long, &mut random(19)));
            let bombs = &bombs;
            scope.spawn(move || attacks::bombs(relay, bombs, 1, &mut random(20)));
        });
    });
    house.close(MOST_MEMORY + BUFFERS);
}
