//! A whole day on the page.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gaitway_service::clock;

use crate::harness::Random;
use crate::harness::pushes::Kept;
use crate::house::House;
use crate::walker::{RUNNING, STANDING, WALKING};

/// Seconds of a push of the day, one reading each: less than what is wild within a message.
const PIECE: i64 = 100;

const DAY: i64 = 86_400;

/// How long frames are watched, ms.
const WATCHED: u32 = 6_000;

/// Far beyond what a person would bear, for machines that do much else: what is measured is printed.
const MEDIAN_WITHIN: f64 = 100.0;
const P99_WITHIN: f64 = 1_000.0;
const HEAP_WITHIN: u64 = 64 << 20;

#[test]
#[ignore = "needs chromium"]
fn a_day_long_session_stays_smooth() {
    let house = House::new();
    let mut phone = house.walker("phone-anna");
    phone.set_clock((clock::now_micros() / 1_000_000 - DAY) * 1_000_000_000);
    let address = house.origin().strip_prefix("http://").unwrap().parse().unwrap();
    let mut connection = Kept::open(address, None).unwrap();
    let (mut random, mut left, mut magnitude, mut stretches) = (Random::new(7), 0, STANDING, 0);
    for _ in 0..DAY / PIECE {
        if left == 0 {
            left = 1 + random.below(9);
            magnitude = [STANDING, WALKING, RUNNING][random.below(3) as usize];
            stretches += 1;
        }
        left -= 1;
        let body = phone.body(&["accelerometer"], PIECE, 1, magnitude);
        let (status, said) = connection.post("/data", &body).unwrap();
        assert_eq!(status, 200, "{said}");
    }

    let pages = house.both("/");
    for (_, page) in &pages {
        page.await_element(&format!("{} .ribbon", phone.article()));
        page.await_element("#connection[data-state=live]");
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let push = || {
            while !stop.load(Ordering::Relaxed) {
                phone.push(WALKING);
                std::thread::sleep(Duration::from_millis(200));
            }
        };
        std::thread::Builder::new().name("phone".to_owned()).spawn_scoped(scope, push).unwrap();
        for (size, page) in &pages {
            let before = page.heap();
            let frames = page.frames(WATCHED);
            let after = page.heap();
            println!(
                "{size}: a day of {} windows in {stretches} stretches: {} frames, median {:.1} ms, p99 {:.1} ms, longest {:.1} ms; \
                 scripts hold {} kB, {} kB before; {} elements",
                DAY / 2,
                frames.count,
                frames.median,
                frames.p99,
                frames.longest,
                after / 1000,
                before / 1000,
                page.run("document.querySelectorAll('*').length")
            );
            page.screenshot(&format!("live-day-{size}"));
            assert!(frames.median < MEDIAN_WITHIN && frames.p99 < P99_WITHIN, "{frames:?}");
            assert!(after < HEAP_WITHIN, "{after} bytes");
        }
        stop.store(true, Ordering::Relaxed);
    });
    for (_, page) in &pages {
        page.assert_quiet();
    }
}
