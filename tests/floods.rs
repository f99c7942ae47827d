//! **Floods.** However many come that mean no good, from however many addresses, and however slow they are: what enrolled
//! agents push is committed meanwhile, all of it is in the warehouse once afterwards, and no process takes more memory or
//! descriptors than its places need.
//!
//! How long commits take under attack is printed beside how long they take before it; nothing is asserted of speed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "what was measured is the output")]

#[path = "floods/attacks.rs"]
mod attacks;
#[path = "floods/guesses.rs"]
mod guesses;
mod harness;
#[path = "floods/house.rs"]
mod house;
#[path = "floods/watch.rs"]
mod watch;

use std::sync::atomic::Ordering;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use attacks::strangers;
use gaitway_proto::enrolment::{ALPN_ENROL, Answer, Ask, Code, Refusal};
use harness::{await_that, certificate, setting};
use house::House;
use rcgen::KeyPair;

/// Whoever floods has the machine for itself, so that others measure nothing of it. Who only waits may do so beside others.
static MACHINE: RwLock<()> = RwLock::new(());

fn beside_others() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}

fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_thousand_half_open_handshakes_hold_up_no_agent() {
    let _machine = beside_others();
    let mut house = House::open();
    house.under("1,000 half-open handshakes", |house| {
        let authority = certificate::authority(&house.relay_dir());
        let strangers = strangers();
        let attack = strangers.spawn({
            let relay = house.relay;
            async move { attacks::half_open(relay, &authority, 1_000).await }
        });
        std::thread::sleep(Duration::from_secs(2));
        // One has to come in anew while they are all there.
        comes_again(house, 1);
        strangers.block_on(attack).unwrap();
    });
    house.close();
}

/// Cuts an agent's connection to the relay and waits until it is there again.
fn comes_again(house: &House, home: usize) {
    let home = &house.homes[home];
    let begun = Instant::now();
    home.way.cut();
    let before = home.way.carried();
    // More than handshakes take.
    await_that("the agent is connected again", || home.way.carried() > before + 30_000);
    println!("{} was cut off and sent again after {:.1?}", home.name, begun.elapsed());
}

#[test]
fn slow_handshakes_questions_and_connects_hold_up_no_agent_and_are_closed() {
    let _machine = beside_others();
    let mut house = House::open();
    let slow: Vec<_> = (0..8).map(|n| house.certified(&format!("slow-{n}"))).collect();
    house.under("slow MQTT over TLS", |house| {
        let authority = certificate::authority(&house.relay_dir());
        strangers().block_on(attacks::slow_mqtt(house.relay, &authority, &slow));
    });
    house.close();
}

#[test]
fn slow_pushes_over_http_and_https_hold_up_no_phone_and_are_closed() {
    let _machine = beside_others();
    let mut house = House::open();
    house.under("slow HTTP and HTTPS", |house| {
        let https = house.https.client();
        strangers().block_on(async {
            let [attic, cellar] = [0, 1].map(|home: usize| house.homes[home].address);
            tokio::join!(attacks::slow_pushes(attic, Some(https)), attacks::slow_pushes(cellar, None));
        });
    });
    house.close();
}

#[test]
fn as_many_connects_as_two_cores_can_make_hold_up_no_agent() {
    let _machine = alone();
    let how_long = Duration::from_secs(5);
    let mut house = House::open();
    let hello = {
        let authority = certificate::authority(&house.relay_dir());
        attacks::client_hello(&certificate::client([&authority], None, b"mqtt"), certificate::name())
    };
    for (what, says, door) in [
        ("connects to the relay", vec![], 0),
        ("ClientHellos to the relay", hello, 0),
        ("connects to an agent's HTTPS", vec![], 1),
    ] {
        let made = house.under(what, |house| {
            let to = if door == 0 { house.relay } else { house.homes[0].address };
            let strangers = strangers();
            let flood = strangers.spawn(async move { attacks::connects(to, how_long, &says).await });
            if door == 0 {
                std::thread::sleep(Duration::from_secs(1));
                comes_again(house, 1);
            }
            strangers.block_on(flood).unwrap()
        });
        println!("{what}: {} a second", made / how_long.as_secs());
        assert!(made > 0);
    }
    // Its address is known by its token: strangers take no place from it, and it finds one when it comes again.
    assert_eq!(house.homes[0].pushing.broken.load(Ordering::Relaxed), 0, "pushes of the phone with a token");
    house.close();
}

/// Guesses, and how many seconds they may take unless `GAITWAY_GUESSING` says otherwise: two cores make two thousand
/// handshakes a second of both sides, or fewer.
const GUESSES: u64 = 100_000;
const GUESSING: u64 = 30;

/// By `identity::attempts`: tries of all addresses together at once, and one more each second.
const TRIES_AT_ONCE: u64 = 60;

#[test]
fn a_code_that_is_guessed_at_a_hundred_thousand_times_is_not_found_and_agents_keep_their_acks() {
    let _machine = alone();
    let mut house = House::open();
    // One that is guessed at blindly, and one of which somebody knows how it begins.
    let codes = ["porch", "shed"].map(|agent| house.code(agent));
    let secrets = codes.each_ref().map(|code| code.parse::<Code>().unwrap().secret);
    let authority = certificate::authority(&house.relay_dir());
    let begun = Instant::now();
    let guessed = house.under("guesses", |house| {
        let within = Duration::from_secs(setting("GAITWAY_GUESSING", GUESSING));
        let guesses = guesses::guess(house.relay, secrets.each_ref(), GUESSES, within);
        strangers().block_on(guesses)
    });
    let took = begun.elapsed();
    println!("{} guesses in {took:.1?}: {guessed:?}", guessed.all());
    assert!(guessed.all() > TRIES_AT_ONCE * 10);
    // Each has its handshake, and then most are refused before the codes are looked at.
    assert!(guessed.heard() <= TRIES_AT_ONCE + took.as_secs() + 1, "{guessed:?}");
    assert_eq!(guessed.wrong.load(Ordering::Relaxed), 5, "{guessed:?}");

    let client = certificate::client([&authority], None, ALPN_ENROL);
    let tried = secrets.map(|secret| {
        let request = certificate::request(&KeyPair::generate().unwrap());
        let ask = Ask::Enrol { secret, request };
        let mut answer = certificate::ask(house.relay, &client, &ask);
        // All tries of this minute were taken: there is another each second.
        while let Answer::Refused(Refusal::TooMany { .. }) = answer {
            std::thread::sleep(Duration::from_millis(200));
            answer = certificate::ask(house.relay, &client, &ask);
        }
        answer
    });
    assert!(matches!(&tried[0], Answer::Issued(issued) if issued.agent.as_str() == "porch"), "{tried:?}");
    assert_eq!(tried[1], Answer::Refused(Refusal::Exhausted), "five wrong tries end a code");
    house.close();
}
