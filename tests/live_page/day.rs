//! A whole day on the page.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gaitway_proto::schema::rfc3339;
use serde_json::Value;

use crate::harness::browser::{DESKTOP, PHONE};
use crate::harness::pushes::Kept;
use crate::harness::{Random, await_that, http};
use crate::house::House;
use crate::walker::{RUNNING, STANDING, WALKING, Walker};

/// Seconds of a push of the day, one reading each: less than what is wild within a message.
const PIECE: i64 = 100;

const DAY: i64 = 86_400;

/// Seconds whose windows the agent's store takes at once, however slow its thread is: a third of the day.
const PART: i64 = DAY / 3;

/// How long frames are watched, ms.
const WATCHED: u32 = 4_000;

/// Far beyond what a person would bear, for machines that do much else, ms: what is measured is printed.
const MEDIAN_WITHIN: f64 = 100.0;
const P99_WITHIN: f64 = 1_000.0;

/// Bytes that the page's scripts may hold.
const HEAP_WITHIN: u64 = 64 << 20;

/// Pushes the day that ends now, each activity for some minutes; gives the number of changes once all can be asked for.
fn push_a_day(phone: &mut Walker, origin: &str) -> u32 {
    phone.set_clock(DAY);
    let begin = rfc3339(phone.clock());
    let address = origin.strip_prefix("http://").unwrap();
    let mut connection = Kept::open(address.parse().unwrap(), None).unwrap();
    let (mut random, mut left, mut magnitude, mut changes) = (Random::new(7), 0, STANDING, 0);
    let url = format!("{origin}/api/v1/phones/{}/activities?from={begin}", phone.device);
    let can_ask_for = |seconds: i64| {
        await_that("the day so far can be asked for", || {
            let (status, told) = http::get(&url).unwrap();
            let told: Value = serde_json::from_str(&told).unwrap();
            let known = || told["seconds"].as_object().unwrap().values().filter_map(Value::as_f64).sum::<f64>();
            status == 200 && known() > (seconds - 60) as f64
        });
    };
    for piece in 1..=DAY / PIECE {
        if left == 0 {
            left = 1 + random.below(9);
            magnitude = [STANDING, WALKING, RUNNING][random.below(3) as usize];
            changes += 1;
        }
        left -= 1;
        let body = phone.body(&["accelerometer"], PIECE, 1, magnitude);
        let (status, said) = connection.post("/data", &body).unwrap();
        assert_eq!(status, 200, "{said}");
        if piece * PIECE % PART == 0 {
            can_ask_for(piece * PIECE);
        }
    }
    changes
}

/// Sets it when it goes, also by a panic: the phone would push for ever.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
#[ignore = "needs chromium"]
fn a_day_long_session_stays_smooth() {
    let house = House::new();
    let mut phone = house.walker("phone-anna");
    // One lives through the day, the other comes at its end.
    let old = house.browser.page(PHONE);
    old.open(&house.at("/"));
    old.await_element("#connection[data-state=live]");
    let empty = old.heap();
    let changes = push_a_day(&mut phone, house.origin());
    let new = house.browser.page(DESKTOP);
    new.open(&house.at("/"));
    let pages = [("phone", old), ("desktop", new)];
    for (_, page) in &pages {
        page.await_element(&format!("{} .ribbon", phone.article()));
        page.await_element("#connection[data-state=live]");
        page.let_move();
    }
    println!(
        "a day of {} windows, {changes} changes of activity; without it scripts hold {} kB",
        DAY / 2,
        empty / 1000
    );
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ends = Ends(&stop);
        let push = || {
            while !stop.load(Ordering::Relaxed) {
                phone.push(WALKING);
                std::thread::sleep(Duration::from_millis(200));
            }
        };
        std::thread::Builder::new().name("phone".to_owned()).spawn_scoped(scope, push).unwrap();
        let seen = pages.each_ref().map(|(size, page)| {
            let before = page.heap();
            let frames = page.frames(WATCHED);
            let after = page.heap();
            println!(
                "{size}: {} frames, median {:.1} ms, p99 {:.1} ms, longest {:.1} ms; scripts hold {} kB, before {} kB; \
                 {} elements",
                frames.count,
                frames.median,
                frames.p99,
                frames.longest,
                after / 1000,
                before / 1000,
                page.run("document.querySelectorAll('*').length")
            );
            page.screenshot(&format!("live-day-{size}"));
            (frames, after)
        });
        for (frames, heap) in seen {
            assert!(frames.median < MEDIAN_WITHIN && frames.p99 < P99_WITHIN, "{frames:?}");
            assert!(heap < HEAP_WITHIN, "{heap} bytes");
        }
    });
    for (_, page) in &pages {
        page.assert_quiet();
    }
}
