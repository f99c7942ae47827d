//! **Power cut: every answered message is there, none doubled.** SIGKILL leaves the page cache; a power cut does not.
//! A recorder writes down all that a real process writes and syncs, in order; from the record a model of a disk tells
//! what it may hold after a cut at any moment: what was not synced forgotten, torn and reordered. Each such image is
//! opened by the code of the service and held against what phones had been answered by then.
//!
//! `GAITWAY_CUTS=100000` cuts more often, `GAITWAY_STARTS=100` starts more processes on what is left, `GAITWAY_SEED=n`
//! draws other kills, moments and weathers. Of a cut that fails the files are kept where the message says.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;
mod power_cut {
    pub(crate) mod audit;
    pub(crate) mod cuts;
    pub(crate) mod disk;
    pub(crate) mod file;
    pub(crate) mod lives;
    pub(crate) mod phones;
    pub(crate) mod recorder;
    pub(crate) mod recording;
    pub(crate) mod trace;
    pub(crate) mod weather;

    /// A number from the environment.
    pub(crate) fn setting(name: &str, otherwise: u64) -> u64 {
        let number = |text: String| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}"));
        std::env::var(name).map_or(otherwise, number)
    }

    pub(crate) fn seed() -> u64 {
        setting("GAITWAY_SEED", 1)
    }
}

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Instant;

use harness::process::Process;
use harness::warehouse::{assert_exact, assert_no_duplicates, await_drained};
use nix::sys::signal::Signal;
use power_cut::audit::{Decoded, Fault, audit};
use power_cut::cuts::{Cut, Failure, Make, Player, Struck, audit_all, draw, scratch};
use power_cut::lives::{BACKLOG, BEGINNINGS, DAYS, REMNANTS};
use power_cut::phones::Name;
use power_cut::recording::Recording;
use power_cut::trace::Event;
use power_cut::{seed, setting};

/// Cuts in the suite's run.
const CUTS: u64 = 2_000;

/// Images that a process is really started on.
const STARTS: u64 = 10;

fn cuts() -> u64 {
    setting("GAITWAY_CUTS", CUTS)
}

fn assert_none_fails(recording: &Recording, numbers: Range<u64>) {
    let cuts = draw(recording, seed(), numbers);
    let count = cuts.len();
    let began = Instant::now();
    let failures = audit_all(recording, Make::Good, cuts);
    let events = recording.events.len();
    eprintln!("{count} cuts among {events} events, seed {}, in {:?}", seed(), began.elapsed());
    let Some(first) = failures.first() else { return };
    let failing = failures.len();
    let kept = first.keep(recording, Make::Good);
    let before = &recording.events[first.cut.moment.saturating_sub(12)..first.cut.moment];
    panic!(
        "{failing} of {count} cuts fail, seed {}; the first: {first}\nits files are in {}; before it: {before:#?}",
        seed(),
        kept.display()
    );
}

#[test]
fn every_answered_message_is_there_and_none_doubled_after_a_power_cut_at_any_moment() {
    assert!(DAYS.answered.len() > 100, "{} answers", DAYS.answered.len());
    assert_none_fails(&DAYS, 0..cuts() * 7 / 10);
}

#[test]
fn a_power_cut_while_the_files_are_made_loses_nothing() {
    assert_none_fails(&BEGINNINGS, 0..cuts() / 5);
}

#[test]
fn a_power_cut_brings_back_nothing_of_a_start_that_was_undone() {
    assert_none_fails(&REMNANTS, 0..cuts() / 5);
}

#[test]
fn a_power_cut_while_a_backlog_drains_and_space_is_given_back_loses_nothing() {
    let logged = ["spool.db", "warehouse.db"].map(|file| BACKLOG.reach(file));
    assert!(logged.iter().all(|bytes| *bytes > 3 << 20), "the logs were not copied into their files: {logged:?}");
    let shrinks = |event: &Event| matches!(event, Event::Truncate { length, .. } if *length > 1 << 20);
    assert!(BACKLOG.events.iter().any(shrinks), "no space was given back");
    assert_none_fails(&BACKLOG, 0..cuts() / 10);
}

/// Starts a process on what the cut leaves, lets the phones push again what they had no answer for, and waits until all
/// of it is in the warehouse.
fn assert_goes_on(recording: &Recording, cut: &Cut) {
    eprintln!("going on after {cut:?}");
    let dir = tempfile::tempdir().unwrap();
    Player::new(recording, Make::Good).leave(cut, dir.path());
    let data = dir.path().join("data");
    let config = |name: &str, silence: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, format!("[agent.windows]\nsilence = \"{silence}\"\n")).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let answered: BTreeSet<&Name> = recording.answered_by(cut.moment).collect();

    let mut up = Process::up(&data, &["--config", &config("talking.toml", "1h")]);
    let url = up.push_url();
    let address = url.strip_prefix("http://").and_then(|url| url.strip_suffix("/data")).unwrap();
    for pusher in &recording.pushers {
        let mut pusher = pusher.after(&answered);
        pusher.push(address, 0);
        assert!(pusher.has_all_answers());
    }
    assert!(up.terminate(Signal::SIGTERM).success());
    let mut up = Process::up(&data, &["--config", &config("silent.toml", "300ms")]);
    up.push_url();
    await_drained(&data.join("agent/spool.db"));
    let warehouse = data.join("warehouse.db");
    assert_no_duplicates(&warehouse);
    for pusher in &recording.pushers {
        if let Some(pushed) = pusher.pushed() {
            assert_exact(&warehouse, &pusher.phone, &pushed);
        }
    }
    assert!(up.terminate(Signal::SIGTERM).success());
    assert_eq!(audit(&data, &recording.messages, recording.messages.keys(), &mut Decoded::default()), []);
}

#[test]
fn after_a_power_cut_phones_push_on_and_the_warehouse_is_exact() {
    let starts = setting("GAITWAY_STARTS", STARTS);
    let cuts: Vec<_> =
        draw(&DAYS, !seed(), 0..starts).into_iter().chain(draw(&BEGINNINGS, !seed(), 0..starts / 4)).collect();
    std::thread::scope(|scope| {
        for (recording, cuts) in [(&*DAYS, &cuts[..starts as usize]), (&*BEGINNINGS, &cuts[starts as usize..])] {
            scope.spawn(move || cuts.iter().for_each(|cut| assert_goes_on(recording, cut)));
        }
    });
}

#[test]
fn a_disk_that_lies_about_its_syncs_loses_answered_messages() {
    let cuts = draw(&DAYS, seed(), 0..60);
    let count = cuts.len();
    let failures = audit_all(&DAYS, Make::Lying, cuts);
    let lost = failures.iter().filter(|failure| failure.faults.iter().any(|fault| !matches!(fault, Fault::Strange(_))));
    let lost = lost.count();
    println!("{lost} of {count} cuts lose something on a disk that lies");
    assert!(lost * 2 > count, "only {lost} of {count} cuts lose something");
}

/// `SQLite` counts on disks that leave the bytes around a write alone (`SQLITE_POWERSAFE_OVERWRITE`). One that may lose
/// the 4 KiB block it is writing to takes along what was committed just before, now and then; of a file whose pages are
/// smaller it takes along more.
#[test]
fn a_disk_that_destroys_the_block_it_writes_to_leaves_a_warehouse_that_can_be_read() {
    let cuts = draw(&DAYS, seed(), 0..cuts() / 4);
    let count = cuts.len();
    let failures = audit_all(&DAYS, Make::Destroying, cuts);
    let is_damaged =
        |failure: &&Failure| failure.faults.iter().any(|f| matches!(f, Fault::Damaged(_) | Fault::Strange(_)));
    let damaged = failures.iter().filter(is_damaged).count();
    println!(
        "on a disk that destroys blocks {} of {count} cuts take along something answered, {damaged} of them by damage",
        failures.len()
    );
    let warehouse = failures.iter().filter(is_damaged).find(|failure| failure.cut.struck == Struck::Relay);
    assert!(warehouse.is_none(), "{}", warehouse.map_or_else(String::new, Failure::to_string));
}

/// The faults that the audit finds after `sql` was done to a file that had none.
fn faults_after(file: &str, sql: &str) -> Vec<Fault> {
    let dir = scratch();
    let cut = Cut::none(&DAYS);
    Player::new(&DAYS, Make::Good).leave(&cut, dir.path());
    let data = dir.path().join("data");
    let faults = || audit(&data, &DAYS.messages, DAYS.answered_by(DAYS.events.len()), &mut Decoded::default());
    assert_eq!(faults(), []);
    let connection = rusqlite::Connection::open(data.join(file)).unwrap();
    assert!(connection.execute(sql, []).unwrap() > 0);
    drop(connection);
    faults()
}

#[test]
fn the_audit_sees_what_is_lost_doubled_or_altered() {
    let table = "ACTIVITY_RECORDS";
    let row = format!("rowid = (SELECT max(rowid) FROM {table})");
    let doubled = faults_after("warehouse.db", &format!("INSERT INTO {table} SELECT * FROM {table} WHERE {row}"));
    assert!(doubled.iter().any(|fault| matches!(fault, Fault::Doubled(_))), "{doubled:?}");
    let lost = faults_after("warehouse.db", &format!("DELETE FROM {table} WHERE {row}"));
    assert!(lost.iter().any(|fault| matches!(fault, Fault::Lost(_))), "{lost:?}");
    let altered = faults_after("warehouse.db", &format!("UPDATE {table} SET x = x + 1 WHERE {row}"));
    assert!(altered.iter().any(|fault| matches!(fault, Fault::Strange(_))), "{altered:?}");
    let window = "INSERT INTO USER_ACTIVITY_PROCESSED SELECT * FROM USER_ACTIVITY_PROCESSED LIMIT 1";
    let doubled = faults_after("warehouse.db", window);
    assert!(doubled.iter().any(|fault| matches!(fault, Fault::Doubled(_))), "{doubled:?}");
    let forgotten = faults_after("agent/spool.db", "DELETE FROM seen_range");
    assert!(forgotten.iter().any(|fault| matches!(fault, Fault::Doubled(_))), "{forgotten:?}");
    let released = faults_after("agent/spool.db", "UPDATE stream SET acked = acked + 1");
    assert!(released.iter().any(|fault| matches!(fault, Fault::Released(_))), "{released:?}");
}
