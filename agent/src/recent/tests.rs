//! The store alone: what it keeps, what goes, what it survives.

use std::path::Path;
use std::time::{Duration, Instant};

use gaitway_proto::activity::{Activity, Window};
use prometheus_client::metrics::counter::Counter;

use super::store::{MAX_PHONES, MAX_SESSIONS, Store, Told};
use super::{FILE, KEPT, Recent, forget, schema};
use crate::stretches::{Slice, stretches};
use crate::writer::news::Closing;

const SECOND: i64 = 1_000_000_000;
const SLIDE: i64 = 2 * SECOND;
const NOON: i64 = 1_760_000_000 * SECOND;
const MOST: u64 = 20_000;

fn window(number: i64, activity: Activity) -> Window {
    let end = NOON + number * SLIDE;
    Window { start: end - 5 * SLIDE, end, count: 500, mean: 1.25, activity, confidence: 0.875, revision: 0 }
}

fn told(device: &str, session: &str, windows: impl IntoIterator<Item = Window>) -> Told {
    let closed = windows.into_iter().map(|window| Closing { window, slide: SLIDE, covered: SLIDE }).collect();
    Told { device: device.to_owned(), session: session.to_owned(), closed }
}

/// Windows of walking with these numbers.
fn walk(device: &str, session: &str, numbers: std::ops::Range<i64>) -> Told {
    told(device, session, numbers.map(|number| window(number, Activity::Walking)))
}

fn store(dir: &Path) -> (Store, Recent) {
    let connection = schema::open(&dir.join(FILE)).unwrap().unwrap();
    (Store::new(connection, MOST), Recent::of(dir))
}

fn count(recent: &Recent, device: &str) -> usize {
    recent.windows(device, i64::MIN, i64::MAX, usize::MAX).unwrap().len()
}

#[test]
fn windows_come_back_as_they_were_told_page_by_page() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, recent) = store(dir.path());
    let kept: Vec<Window> = (0..30).map(|n| window(n, Activity::Running)).collect();
    store
        .keep(&[told("a", "one", kept.clone()), walk("a", "two", 10..12), walk("b", "one", 0..5)], Instant::now())
        .unwrap();

    let mut from = i64::MIN;
    let mut found = Vec::new();
    loop {
        let page = recent.windows("a", from, i64::MAX, 11).unwrap();
        let Some((_, last)) = page.last() else { break };
        // Two recordings at the border of the first page: neither is lost, neither comes twice.
        assert!(page.len() <= 12);
        from = last.end + 1;
        found.extend(page);
    }
    assert_eq!(found.len(), 32);
    assert!(found.is_sorted_by_key(|(_, window)| window.end));
    let of_one: Vec<Window> = found.into_iter().filter(|(session, _)| session == "one").map(|(_, w)| w).collect();
    assert_eq!(of_one, kept);
    let (from, to) = (kept[3].end, kept[7].end);
    assert_eq!(recent.windows("a", from, to, 100).unwrap().len(), 5, "both ends count");
    assert_eq!(recent.newest("a").unwrap(), Some(kept[29].end));
    assert_eq!((recent.newest("c").unwrap(), count(&recent, "c")), (None, 0));
}

#[test]
fn the_day_is_told_in_stretches_as_long_as_the_slides_of_its_windows() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, recent) = store(dir.path());
    let label = |n: i64| if n % 100 < 70 { Activity::Walking } else { Activity::Running };
    let windows: Vec<Window> = (0..1000).filter(|n| n % 250 < 200).map(|n| window(n, label(n))).collect();
    for part in windows.chunks(7) {
        store.keep(&[told("a", "one", part.to_vec())], Instant::now()).unwrap();
    }
    let day = recent.activities("a", i64::MIN, i64::MAX).unwrap();
    assert_eq!(day.iter().map(|s| s.end - s.start).sum::<i64>(), windows.len() as i64 * SLIDE);
    assert_eq!(day, stretches(windows.iter().map(|window| Slice::of(window, SLIDE))));
    // A part of it is cut at its ends.
    let (from, to) = (windows[10].end - SECOND, windows[20].end + SECOND);
    let part = recent.activities("a", from, to).unwrap();
    assert_eq!((part[0].start, part[part.len() - 1].end), (from, to));
    assert_eq!(recent.activities("b", i64::MIN, i64::MAX).unwrap(), []);
    let doings = recent.doings().unwrap();
    assert_eq!((doings.len(), doings[0].1.session.as_str()), (1, "one"));
    let (last, doing) = (day[day.len() - 1], doings[0].1.stretch);
    assert_eq!((doing.activity, doing.start, doing.end), (last.activity, last.start, last.end));
}

#[test]
fn a_window_told_again_takes_the_place_of_the_former_unless_it_is_of_a_lower_revision() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, recent) = store(dir.path());
    let tell = |store: &mut Store, activity, revision| {
        store.keep(&[told("a", "one", [Window { revision, ..window(1, activity) }])], Instant::now()).unwrap();
        let found = recent.windows("a", i64::MIN, i64::MAX, 10).unwrap();
        assert_eq!(found.len(), 1);
        found[0].1.activity
    };
    assert_eq!(tell(&mut store, Activity::Walking, 0), Activity::Walking);
    assert_eq!(tell(&mut store, Activity::Running, 2), Activity::Running);
    assert_eq!(tell(&mut store, Activity::Stationary, 1), Activity::Running);
}

#[test]
fn two_days_are_kept_by_each_phones_own_time_and_a_clock_that_was_wrong_does_not_end_them() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, recent) = store(dir.path());
    let mut now = Instant::now();
    let mut keep = |told: Told| {
        now += Duration::from_secs(700);
        store.keep(&[told], now).unwrap();
    };
    let two_days = KEPT.as_secs() as i64 / 2;
    keep(walk("a", "one", 0..10));
    keep(walk("b", "one", 0..10));
    keep(walk("a", "two", two_days + 5..two_days + 6));
    assert_eq!((count(&recent, "a"), count(&recent, "b")), (6, 10), "b's time went no further");
    // A year ahead, and back.
    keep(walk("a", "three", 15_000_000..15_000_010));
    assert_eq!(count(&recent, "a"), 10);
    keep(walk("a", "four", two_days + 6..two_days + 9));
    assert_eq!(count(&recent, "a"), 3);
    let sessions: i64 = store_of(dir.path(), "SELECT count(*) FROM session");
    assert_eq!(sessions, 2, "recordings without windows are gone");
}

fn store_of(dir: &Path, sql: &str) -> i64 {
    schema::open_to_read(&dir.join(FILE)).unwrap().unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn a_flood_of_devices_and_recordings_is_bounded_and_leaves_who_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, recent) = store(dir.path());
    let now = Instant::now();
    store.keep(&[walk("mine", "today", 0..1800)], now).unwrap();
    for round in 0..20 {
        let batch: Vec<Told> =
            (0..100).map(|n| walk(&format!("{round}-{n}-{}", "x".repeat(200)), &"y".repeat(256), 0..3)).collect();
        store.keep(&batch, now).unwrap();
    }
    assert_eq!(store_of(dir.path(), "SELECT count(*) FROM phone"), MAX_PHONES as i64);
    assert_eq!(count(&recent, "mine"), 1800);
    for round in 0..10 {
        let batch: Vec<Told> = (0..100).map(|n| walk("hers", &format!("{round}-{n}"), n..n + 2)).collect();
        store.keep(&batch, now).unwrap();
    }
    assert_eq!(count(&recent, "hers"), 2 * MAX_SESSIONS);
    // Many windows: who has most gives.
    for round in 0..30 {
        store.keep(&[walk("theirs", "flood", round * 1000..(round + 1) * 1000)], now).unwrap();
    }
    let all = store_of(dir.path(), "SELECT count(*) FROM closed");
    assert!(all as u64 <= MOST && all as u64 > MOST * 3 / 4, "{all}");
    assert_eq!((count(&recent, "mine"), count(&recent, "hers")), (1800, 2 * MAX_SESSIONS));
    assert_eq!(recent.newest("theirs").unwrap(), Some(NOON + 29_999 * SLIDE), "the oldest of it went");
    assert_eq!(store_of(dir.path(), "SELECT sum(windows) FROM phone"), all, "counts are what is there");
}

#[test]
fn the_most_that_is_kept_is_smaller_than_the_file_may_become() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = store(dir.path());
    // In turns, so that pages are as full as they are when phones push: a part that stands for all.
    for round in 0..100 {
        let batch: Vec<Told> =
            (0..20).map(|n| walk(&format!("phone {n}"), "day", round * 10..(round + 1) * 10)).collect();
        store.keep(&batch, Instant::now()).unwrap();
    }
    let pages = store_of(dir.path(), "PRAGMA page_count") as u64;
    let windows = pages * 1024 / MOST * super::MAX_WINDOWS;
    // An id twice: in its table and in its index.
    let names = (MAX_PHONES * (MAX_SESSIONS + 1)) as u64 * 2 * (256 + 32);
    assert!(windows + names < schema::MAX_BYTES, "{windows} and {names}");
}

#[test]
fn a_damaged_file_and_one_of_another_version_are_begun_anew() {
    let damage: [fn(&Path); 4] = [
        |path| std::fs::write(path, "no database, but long enough to be taken for one".repeat(100)).unwrap(),
        |path| {
            let mut bytes = std::fs::read(path).unwrap();
            let length = bytes.len();
            bytes[1024..length].fill(0xa5);
            std::fs::write(path, bytes).unwrap();
        },
        |path| schema::open(path).unwrap().unwrap().pragma_update(None, "user_version", 99).unwrap(),
        |path| std::fs::remove_file(path).unwrap(),
    ];
    for (case, damage) in damage.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let run = |numbers| {
            let recent = Recent::of(dir.path());
            let lost = Counter::default();
            let (feed, keeper) = recent.filled(0.0, lost.clone());
            feed.tell(walk("a", "one", numbers));
            drop(feed);
            keeper.run().unwrap();
            (count(&recent, "a"), lost.get())
        };
        assert_eq!(run(0..1000), (1000, 0));
        damage(&path);
        let reader = Recent::of(dir.path());
        assert_eq!(count(&reader, "a"), 0, "case {case}: who looks sees nothing, and no error");
        assert_eq!(run(1000..1010), (10, 0), "case {case}");
    }
}

#[test]
fn what_is_not_taken_is_dropped_and_counted_and_nobody_waits() {
    let dir = tempfile::tempdir().unwrap();
    let (recent, lost) = (Recent::of(dir.path()), Counter::default());
    let (feed, keeper) = recent.filled(0.0, lost.clone());
    for round in 0..40 {
        feed.tell(walk("a", "one", round * 1000..(round + 1) * 1000));
    }
    assert_eq!(lost.get(), 24_000);
    drop(feed);
    keeper.run().unwrap();
    assert_eq!((count(&recent, "a"), lost.get()), (16_000, 24_000));
}

#[test]
fn nothing_is_written_where_the_spool_needs_the_room_or_nothing_can_be_and_that_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (recent, lost) = (Recent::of(dir.path()), Counter::default());
    // No disk has so much free.
    let (feed, keeper) = recent.filled(100.0, lost.clone());
    feed.tell(walk("a", "one", 0..5));
    drop(feed);
    keeper.run().unwrap();
    assert_eq!((lost.get(), dir.path().join(FILE).exists()), (5, false));

    std::fs::create_dir(dir.path().join(FILE)).unwrap();
    let (feed, keeper) = recent.filled(0.0, lost.clone());
    feed.tell(walk("a", "one", 0..5));
    drop(feed);
    keeper.run().unwrap();
    assert_eq!(lost.get(), 10);
}

#[test]
fn a_forgotten_device_is_gone_from_every_byte_and_the_others_stay() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    let (mut store, recent) = store(dir.path());
    let mut now = Instant::now();
    for round in 0..20 {
        // Some of it goes by itself, and leaves its bytes behind.
        now += Duration::from_secs(700);
        let numbers = round * 10_000..round * 10_000 + 50;
        store
            .keep(&[walk("gone-0001", "walk-of-gone", numbers.clone()), walk("kept-0002", "walk", numbers)], now)
            .unwrap();
    }
    drop(store);
    let kept = count(&recent, "kept-0002");
    let held = forget::look(&path, "gone-0001").unwrap();
    assert_eq!((held.windows as usize, held.is_nothing()), (count(&recent, "gone-0001"), false));
    assert_eq!(forget::forget(&path, "gone-0001").unwrap(), held);
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for id in [b"gone-0001".as_slice(), b"walk-of-gone"] {
            assert!(memchr::memmem::find(&bytes, id).is_none());
        }
    }
    assert_eq!((count(&recent, "kept-0002"), count(&recent, "gone-0001")), (kept, 0));
    assert!(forget::look(&path, "gone-0001").unwrap().is_nothing());

    // A file that nobody can read goes whole.
    std::fs::write(&path, format!("gone-0001{}", "\u{1}".repeat(5000))).unwrap();
    assert!(forget::look(&path, "gone-0001").unwrap().is_unreadable);
    assert!(forget::forget(&path, "gone-0001").unwrap().is_unreadable);
    assert!(!path.exists());
    assert!(forget::look(&path, "gone-0001").unwrap().is_nothing());
}

#[test]
fn a_late_push_of_a_former_recording_changes_nothing_of_what_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, recent) = store(dir.path());
    let now = Instant::now();
    for number in 100..130 {
        store.keep(&[walk("a", "new", number..number + 1)], now).unwrap();
        if number % 7 == 0 {
            store.keep(&[walk("a", "old", number - 90..number - 89)], now).unwrap();
        }
        let doings = recent.doings().unwrap();
        assert_eq!((doings.len(), doings[0].1.session.as_str()), (1, "new"), "{number}");
        assert_eq!(doings[0].1.stretch.start, NOON + 99 * SLIDE, "{number}");
    }
}

#[test]
fn a_day_ends_with_its_readings() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, recent) = store(dir.path());
    let mut short = walk("a", "one", 1..7);
    // Three seconds of readings: what trails the last one has none in its last slide.
    for (closing, covered) in short.closed.iter_mut().zip([SLIDE, SECOND, 0, 0, 0, 0]) {
        closing.covered = covered;
    }
    store.keep(&[short], Instant::now()).unwrap();
    let day = recent.activities("a", i64::MIN, i64::MAX).unwrap();
    assert_eq!(day.iter().map(|s| (s.start - NOON, s.end - NOON)).collect::<Vec<_>>(), [(0, 3 * SECOND)]);
    assert_eq!(recent.activities("a", NOON + 3 * SECOND, i64::MAX).unwrap(), []);
    assert_eq!(count(&recent, "a"), 6, "every window is kept");
}
