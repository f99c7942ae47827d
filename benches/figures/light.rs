//! How long a lone push takes to become a row, beside one fsync.

use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::Bench;
use super::body::{Phone, Platform};
use super::harness::process::Process;
use super::harness::warehouse;
use super::serve::Connection;
use super::table::{Aim, Figure, median, number, quantile};
use super::{machine, recordings};

/// From one push to the next.
const PACE: Duration = Duration::from_millis(200);

/// Pushes before counting begins.
const BEFORE: usize = 10;

/// How long the reader rests between two looks.
const LOOK: Duration = Duration::from_micros(20);

pub(crate) fn figures(bench: &Bench) -> Vec<Figure> {
    let traces = recordings::traces();
    // In turns: four sensors of one phone, one of another.
    let phones = [4, 1].map(|sensors| Phone::new(sensors, Platform::Android, sensors, &traces));
    let mut bodies = phones.each_ref().map(|phone| phone.push(0));
    let folder = machine::folder();
    let mut up = Process::up(&folder.path().join("data"), &[]);
    let url = up.push_url();
    let address = url.strip_prefix("http://").and_then(|url| url.strip_suffix("/data")).unwrap();
    let mut connection = Connection::open(address.parse().unwrap()).unwrap();
    let reader = warehouse::open(&folder.path().join("data/warehouse.db"));
    let mut version = reader.prepare("PRAGMA data_version").unwrap();
    let mut newest = reader.prepare("SELECT max(rowid) FROM ACTIVITY_RECORDS").unwrap();
    let mut file = File::create(folder.path().join("appended")).unwrap();

    let pushes: usize = bench.size(300, 100);
    let (mut answered, mut visible, mut syncs) = (Vec::new(), [const { Vec::new() }; 2], Vec::new());
    let (begun, mut rows) = (Instant::now(), 0);
    for number in 0..BEFORE + 2 * pushes {
        let due = begun + PACE * number as u32;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let push = &mut bodies[number % 2];
        push.renumber(&phones[number % 2], number as u64 / 2);
        rows += i64::from(push.readings);
        let sent = Instant::now();
        connection.push(push.request(), push.readings).unwrap();
        let heard = sent.elapsed();
        let mut seen = None;
        loop {
            let now: i64 = version.query_row([], |row| row.get(0)).unwrap();
            if seen.replace(now) != Some(now)
                && newest.query_row([], |row| row.get::<_, Option<i64>>(0)).unwrap() == Some(rows)
            {
                break;
            }
            assert!(sent.elapsed() < Duration::from_secs(30), "no row for push {number}");
            std::thread::sleep(LOOK);
        }
        let there = sent.elapsed();
        // Halfway to the next push, when nothing else is written.
        std::thread::sleep((due + PACE / 2).saturating_duration_since(Instant::now()));
        let sync = fsync(&mut file);
        if number >= BEFORE {
            if number % 2 == 0 {
                answered.push(heard.as_secs_f64() * 1e3);
            }
            visible[number % 2].push(there.as_secs_f64() * 1e3);
            syncs.push(sync.as_secs_f64() * 1e3);
        }
    }
    assert!(up.terminate(Signal::SIGTERM).success());

    let [mut four, mut one] = visible;
    let (half, most) = (median(&mut four), quantile(&mut four, 0.99));
    let sync = median(&mut syncs);
    let figure = Figure::new(
        "push → row visible, one phone alone",
        format!("p50 {} ms, p99 {} ms", number(half), number(most)),
    )
    .beside(format!("one fsync p50 {} ms, p99 {} ms", number(sync), number(quantile(&mut syncs, 0.99))))
    .aim(half / sync, &Aim::AtMost(5.0), " fsyncs")
    .note(format!(
        "gaitway up, {pushes} pushes of 400 readings, of this until 200: p50 {} ms; in turns with pushes of 100 readings: p50 {} ms, p99 {} ms, {} fsyncs",
        number(median(&mut answered)),
        number(median(&mut one)),
        number(quantile(&mut one, 0.99)),
        number(median(&mut one) / sync),
    ))
    .note("five pushes a second; an fsync is 4 KiB appended and fdatasync, a tenth of a second after each push");
    vec![figure]
}

/// What it takes to append 4 KiB durably.
fn fsync(file: &mut File) -> Duration {
    let begun = Instant::now();
    file.write_all(&[7; 4096]).unwrap();
    file.sync_data().unwrap();
    begun.elapsed()
}
