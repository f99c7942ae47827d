//! What phones do, as soon as they push it.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gaitway_service::clock;

use crate::harness::PATIENCE;
use crate::harness::browser::Page;
use crate::house::House;
use crate::walker::{RUNNING, WALKING};

/// Of a real phone: 60 s standing, 75 s walking, 60 s jogging, 45 s walking.
const RECORDING: &str = "examples/a-short-run.csv.gz";

/// The phone that it is played as.
const DEVICE: &str = "phone-a-short-run";

/// Pushes whose way to the page is timed, for each size.
const TIMED: usize = 10;

/// A running `gaitway replay`.
struct Replay(Child);

impl Replay {
    fn start(push_url: &str, speed: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gaitway"));
        command.args(["replay", "--to", push_url, "--speed", speed]);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(RECORDING));
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn finish(mut self) {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.0.try_wait().unwrap() {
                Some(status) => return assert!(status.success(), "{status}"),
                None => assert!(Instant::now() < end, "replay does not end"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Notes the large word of a phone in each frame from now on where it is another than before, and when, ms.
fn note_words(page: &Page, device: &str) {
    page.run(&format!(
        "{{ window.words = [];
         const note = words => {{
             if (words !== window.words) return;
             const word = document.querySelector('article.phone[data-device=\"{device}\"] .activity')?.dataset.activity;
             if (word && words.at(-1)?.[0] !== word) words.push([word, Date.now()]);
             requestAnimationFrame(() => note(words));
         }};
         note(window.words); }} 0"
    ));
}

/// Noted words, and when they were shown, ms.
fn words(page: &Page) -> Vec<(String, i64)> {
    serde_json::from_value(page.run("words")).unwrap()
}

fn follows(words: &[(String, i64)], order: &[&str]) -> bool {
    let mut words = words.iter();
    order.iter().all(|expected| words.any(|(word, _)| word == expected))
}

#[test]
#[ignore = "needs chromium"]
fn walking_then_running_changes_the_large_word_in_order_with_the_running_window() {
    let house = House::new();
    let pages = house.both("/");
    for (size, page) in &pages {
        page.await_element("#empty a[href=\"/setup\"]");
        page.await_element("#connection[data-state=live]");
        page.screenshot(&format!("live-empty-{size}"));
        note_words(page, DEVICE);
    }

    let replay = Replay::start(&house.push_url, "16");
    for activity in ["stationary", "walking", "running"] {
        for (size, page) in &pages {
            page.wait(&format!("it is {activity}"), &format!("words.some(([word]) => word === '{activity}')"));
            page.screenshot(&format!("live-{activity}-{size}"));
        }
    }
    replay.finish();
    for (size, page) in &pages {
        let words = words(page);
        let order: Vec<&str> = words.iter().map(|(word, _)| word.as_str()).collect();
        println!("{size}: {}", order.join(" → "));
        assert!(follows(&words, &["stationary", "walking", "running", "walking"]), "{order:?}");
        for part in [".confidence", ".since", ".heard", ".rate", ".holes", ".late"] {
            assert!(!page.text(&format!("article.phone {part}")).is_empty(), "{part}");
        }
        assert!(page.has("article.phone canvas.chart") && page.has("article.phone .ribbon"));
        assert!(!page.has("#empty"), "a phone was heard");
    }
    pages[0].1.wear("dark");
    pages[0].1.screenshot("live-run-phone-dark");
    pages[1].1.wear("dark");
    pages[1].1.screenshot("live-run-desktop-dark");

    // Each push is far from the former: its window has nothing else in it, and the word changes with each.
    let mut phone = house.walker("phone-anna");
    for (_, page) in &pages {
        note_words(page, &phone.device);
    }
    let mut delays = Vec::new();
    for turn in 0..TIMED {
        let (magnitude, word) = if turn % 2 == 0 { (WALKING, "walking") } else { (RUNNING, "running") };
        phone.rest(40);
        let pushed = clock::now_micros();
        phone.push(magnitude);
        for (_, page) in &pages {
            page.wait(&format!("push {turn} is shown as {word}"), &format!("words.length > {turn}"));
            let shown = &words(page)[turn];
            assert_eq!(shown.0, word);
            delays.push(shown.1 - pushed / 1_000);
        }
    }
    let (first, later) = delays.split_at_mut(pages.len());
    later.sort_unstable();
    println!(
        "from push to word, {} times: median {} ms, at most {} ms; of a phone's first push {} and {} ms",
        later.len(),
        later[later.len() / 2],
        later[later.len() - 1],
        first[0],
        first[1]
    );
    for (size, page) in &pages {
        assert_eq!(words(page).len(), TIMED, "no word but those that were pushed: {:?}", words(page));
        page.screenshot(&format!("live-two-phones-{size}"));
        page.assert_quiet();
    }
}
