//! Damaged files: set aside, never overwritten, and a new warehouse goes on with the marks whose rows they hold.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use gaitway_proto::ledger::{Ledger as _, LedgerError, Mark, Stream};
use gaitway_proto::record::{Body, GapNotice, Origin, Record};
use gaitway_sink::sqlite::{OpenError, Options, WallClock, Warehouse};
use proptest::prelude::*;
use rusqlite::Connection;
use support::{Home, Walk, stored};
use tempfile::TempDir;

const PAGE: u64 = 4096;

fn options() -> Options {
    Options { min_free_percent: 0, ..Options::default() }
}

fn open(path: &Path) -> Warehouse {
    Warehouse::open(path, &options()).unwrap()
}

/// A warehouse that was closed, with this many frames of this many readings.
fn closed(frames: u32, readings: u32) -> (TempDir, PathBuf, Walk) {
    let Home { mut warehouse, dir } = Home::with(&options());
    let mut walk = Walk::new();
    for _ in 0..frames {
        walk.step(&mut warehouse, readings);
    }
    drop(warehouse);
    let path = dir.path().join("warehouse.db");
    (dir, path, walk)
}

fn write(path: &Path, at: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, at).unwrap();
}

fn cut(path: &Path, length: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
}

fn root_of(path: &Path, name: &str) -> u64 {
    let sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
    Connection::open(path).unwrap().query_row(sql, [name], |row| row.get::<_, i64>(0)).unwrap() as u64
}

fn zero_page(path: &Path, page: u64) {
    write(path, (page - 1) * PAGE, &[0; PAGE as usize]);
}

/// The files that were set aside, logs left out.
fn aside(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("warehouse.db.damaged-") && !name.ends_with("-wal")
    });
    found.sort();
    found
}

fn position(warehouse: &mut Warehouse, walk: &Walk) -> Option<u64> {
    warehouse.committed(&[walk.source()]).unwrap().get(&walk.source()).copied()
}

#[test]
fn a_damaged_file_is_set_aside_as_it_is_and_a_new_one_goes_on() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 9] = [
        ("header of noise", |path| write(path, 0, &[0xA5; 100])),
        ("first page of zeros", |path| zero_page(path, 1)),
        ("nothing but zeros", |path| {
            let length = fs::metadata(path).unwrap().len();
            write(path, 0, &vec![0; length as usize]);
        }),
        ("cut to half", |path| cut(path, fs::metadata(path).unwrap().len() / 2)),
        ("cut inside the first page", |path| cut(path, 100)),
        ("cut by a page", |path| cut(path, fs::metadata(path).unwrap().len() - PAGE)),
        ("table without root", |path| zero_page(path, root_of(path, "ACTIVITY_RECORDS"))),
        ("index without root", |path| zero_page(path, root_of(path, "activity_by_window"))),
        ("marks without root", |path| zero_page(path, root_of(path, "gaitway_progress"))),
    ];
    for (name, damage) in damages {
        let (dir, path, _) = closed(20, 30);
        damage(&path);
        let before = fs::read(&path).unwrap();
        let mut warehouse = open(&path);
        let [kept] = &aside(dir.path())[..] else { panic!("{name}: {:?}", aside(dir.path())) };
        assert_eq!(fs::read(kept).unwrap(), before, "{name}");
        assert_eq!(warehouse.counters().set_aside(), 1, "{name}");
        let mut other = Walk::other();
        other.step(&mut warehouse, 7);
        assert_eq!(stored(&path).len(), 7, "{name}");
        drop(warehouse);
        assert_eq!(position(&mut open(&path), &other), Some(1), "{name}");
        assert_eq!(aside(dir.path()).len(), 1, "{name}: once");
    }
}

#[test]
fn a_file_cut_to_nothing_keeps_its_log() {
    let mut home = Home::with(&options());
    Walk::new().step(&mut home.warehouse, 30);
    let dir = home.copy();
    let path = dir.path().join("warehouse.db");
    let log = fs::read(dir.path().join("warehouse.db-wal")).unwrap();
    assert!(!log.is_empty());
    cut(&path, 0);
    drop(open(&path));
    let [kept] = &aside(dir.path())[..] else { panic!() };
    assert_eq!(fs::read(format!("{}-wal", kept.display())).unwrap(), log);
}

#[test]
fn marks_whose_rows_the_damaged_file_holds_go_on() {
    let (dir, path, mut walk) = closed(20, 30);
    let mut warehouse = open(&path);
    let heir = gaitway_proto::ledger::Source::heir(&"pi".parse().unwrap(), walk.epoch());
    warehouse.submit(&[], &[Mark { source: heir.clone(), from: None, to: 99 }]).unwrap();
    drop(warehouse);
    zero_page(&path, root_of(&path, "activity_by_time"));
    let mut warehouse = open(&path);
    assert_eq!(aside(dir.path()).len(), 1);
    assert_eq!(position(&mut warehouse, &walk), Some(20));
    assert_eq!(warehouse.committed(std::slice::from_ref(&heir)).unwrap()[&heir], 99);
    walk.step(&mut warehouse, 30);
    assert_eq!(stored(&path).len(), 30, "nothing twice");
    drop(warehouse);
    // The second file is damaged too: marks without rows of their own, and those with some, go on again.
    zero_page(&path, root_of(&path, "activity_by_time"));
    let mut warehouse = open(&path);
    assert_eq!(aside(dir.path()).len(), 2);
    assert_eq!(position(&mut warehouse, &walk), Some(21));
    assert_eq!(warehouse.committed(std::slice::from_ref(&heir)).unwrap()[&heir], 99);
}

#[test]
fn a_log_goes_aside_with_its_file_and_its_marks_count() {
    let mut home = Home::with(&options());
    let mut walk = Walk::new();
    walk.step(&mut home.warehouse, 30);
    home.reader().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    for _ in 0..20 {
        walk.step(&mut home.warehouse, 30);
    }
    let dir = home.copy();
    let path = dir.path().join("warehouse.db");
    zero_page(&path, root_of(&home.path(), "USER_ACTIVITY_PROCESSED"));
    let before = ["", "-wal"].map(|end| fs::read(format!("{}{end}", path.display())).unwrap());
    let mut warehouse = open(&path);
    let [kept] = &aside(dir.path())[..] else { panic!() };
    assert_eq!(["", "-wal"].map(|end| fs::read(format!("{}{end}", kept.display())).unwrap()), before);
    assert_eq!(position(&mut warehouse, &walk), Some(21));
}

#[test]
fn a_mark_ahead_of_its_rows_is_not_carried_over() {
    let mut home = Home::with(&options());
    let (mut walk, mut other) = (Walk::new(), Walk::other());
    other.step(&mut home.warehouse, 5);
    for _ in 0..5 {
        walk.step(&mut home.warehouse, 30);
    }
    home.reader().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let dir = home.copy();
    let path = dir.path().join("warehouse.db");
    for _ in 0..5 {
        walk.step(&mut home.warehouse, 30);
    }
    home.reader().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    // The disk kept the later marks and lost the rows that came with them.
    let (marks, mut page) = (root_of(&path, "gaitway_progress"), [0; PAGE as usize]);
    fs::File::open(home.path()).unwrap().read_exact_at(&mut page, (marks - 1) * PAGE).unwrap();
    write(&path, (marks - 1) * PAGE, &page);
    zero_page(&path, root_of(&path, "activity_by_time"));

    let mut warehouse = open(&path);
    assert_eq!(aside(dir.path()).len(), 1);
    assert_eq!(position(&mut warehouse, &walk), None, "its rows are not in the file");
    assert_eq!(position(&mut warehouse, &other), Some(1));
}

/// Adds a record for the gap of one frame behind those of `walk`'s next frame.
fn submit_with_gap(warehouse: &mut Warehouse, walk: &mut Walk, readings: u32) {
    let from = position_of(walk);
    walk.advance();
    let mut records = walk.records(readings);
    let notice = GapNotice {
        to_seq: walk.position() + 1,
        messages: None,
        readings: None,
        reason: "lost".to_owned(),
        noticed_at: 0,
    };
    let origin = Origin { seq: walk.position() + 1, ..walk.origin(Stream::Raw) };
    records.push(Record { metadata: origin.metadata(0, None), body: Body::Gap(notice) });
    let mark = Mark { source: walk.source(), from, to: walk.position() + 1 };
    warehouse.submit(&records, &[mark]).unwrap();
    walk.advance();
}

/// The disk kept the mark's page and that of the last row, and lost one between: what the agent still has must be taken
/// again.
#[test]
fn a_mark_is_not_carried_over_when_any_row_of_its_last_commit_is_lost() {
    type Commit = fn(&mut Warehouse, &mut Walk);
    let commits: [(&str, Commit); 2] = [
        ("readings", |warehouse, walk| walk.step(warehouse, 40)),
        ("readings that end in a gap", |warehouse, walk| submit_with_gap(warehouse, walk, 40)),
    ];
    for (name, commit) in commits {
        for loss in [None, Some("all of a page"), Some("a row of a page")] {
            let mut home = Home::with(&options());
            let (mut walk, mut other) = (Walk::padded(1000), Walk::other());
            walk.step(&mut home.warehouse, 40);
            let before = leaves(&home);
            commit(&mut home.warehouse, &mut walk);
            let of_commit: Vec<_> = leaves(&home).into_iter().filter(|page| !before.contains(page)).collect();
            other.step(&mut home.warehouse, 5);
            zero_page_after_checkpoint(&home, "activity_by_time");
            let path = home.path();
            drop(home.warehouse);
            let page = of_commit[of_commit.len() / 2];
            match loss {
                None => {}
                Some("all of a page") => zero_page(&path, page),
                // As it was before its last row came: its number of cells is one less.
                Some(_) => {
                    let (at, mut cells) = ((page - 1) * PAGE + 3, [0; 2]);
                    fs::File::open(&path).unwrap().read_exact_at(&mut cells, at).unwrap();
                    write(&path, at, &(u16::from_be_bytes(cells) - 1).to_be_bytes());
                }
            }
            let mut warehouse = open(&path);
            assert_eq!(aside(home.dir.path()).len(), 1, "{name}");
            let expected = loss.is_none().then(|| walk.position());
            assert_eq!(position(&mut warehouse, &walk), expected, "{name}, {loss:?}");
            assert_eq!(position(&mut warehouse, &other), Some(1), "{name}");
        }
    }
}

/// The leaves of the raw readings' table.
fn leaves(home: &Home) -> Vec<u64> {
    home.reader().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let file = fs::read(home.path()).unwrap();
    let pages = file.chunks(PAGE as usize).enumerate();
    pages.filter(|(_, page)| page[0] == 0x0D).map(|(place, _)| place as u64 + 1).collect()
}

#[test]
fn a_mark_whose_rows_retention_deleted_in_part_goes_on() {
    let mut home = Home::with(&options());
    let mut walk = Walk::new();
    walk.step(&mut home.warehouse, 30);
    home.reader().execute("DELETE FROM ACTIVITY_RECORDS WHERE rowid <= 10", []).unwrap();
    zero_page_after_checkpoint(&home, "activity_by_time");
    let path = home.path();
    drop(home.warehouse);
    assert_eq!(position(&mut open(&path), &walk), Some(1));
    assert_eq!(aside(home.dir.path()).len(), 1);
}

#[test]
fn a_mark_whose_rows_retention_deleted_goes_on() {
    let mut home = Home::with(&options());
    let (mut walk, mut other) = (Walk::new(), Walk::other());
    other.step(&mut home.warehouse, 5);
    for _ in 0..5 {
        walk.step(&mut home.warehouse, 30);
    }
    home.reader().execute("DELETE FROM ACTIVITY_RECORDS WHERE rowid <= 100", []).unwrap();
    let path = home.path();
    zero_page_after_checkpoint(&home, "activity_by_time");
    let Home { warehouse, dir } = home;
    drop(warehouse);
    let mut warehouse = open(&path);
    assert_eq!(aside(dir.path()).len(), 1);
    assert_eq!((position(&mut warehouse, &other), position(&mut warehouse, &walk)), (Some(1), Some(5)));
}

fn zero_page_after_checkpoint(home: &Home, name: &str) {
    home.reader().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    zero_page(&home.path(), root_of(&home.path(), name));
}

/// Another program's write makes a warehouse read its pages again.
fn forget_what_was_read(home: &Home) {
    home.reader().execute("UPDATE gaitway_ages SET at = at", []).unwrap();
}

fn submit_next(warehouse: &mut Warehouse, walk: &Walk) -> Result<(), LedgerError> {
    let from = position_of(walk);
    let mark = Mark { source: walk.source(), from, to: walk.position() + 1 };
    warehouse.submit(&walk.records(3), &[mark])
}

fn position_of(walk: &Walk) -> Option<u64> {
    (walk.position() > 0).then_some(walk.position())
}

fn at_minute(minute: i64) -> WallClock {
    WallClock { at: 1_700_000_000 + 60 * minute, synchronised: true }
}

/// Nobody else writes, so that the process remembers all that it read.
#[test]
fn a_file_destroyed_under_a_running_warehouse_is_noticed_within_a_minute() {
    type Destruction = fn(&Path, usize);
    let destructions: [(&str, Destruction); 5] = [
        ("noise", |path, length| write(path, 0, &vec![0xA5; length])),
        ("zeros", |path, length| write(path, 0, &vec![0; length])),
        ("cut to nothing", |path, _| cut(path, 0)),
        ("cut to half", |path, length| cut(path, length as u64 / 2)),
        ("cut by a page", |path, length| cut(path, length as u64 - PAGE)),
    ];
    for ((name, destroy), has_log) in destructions.into_iter().flat_map(|case| [(case, false), (case, true)]) {
        let mut home = Home::with(&options());
        let (mut walk, mut other) = (Walk::padded(9000), Walk::other());
        for _ in 0..20 {
            walk.step(&mut home.warehouse, 5);
        }
        home.reader().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        if has_log {
            // What lies in the log is read from there.
            walk.step(&mut home.warehouse, 5);
        }
        home.warehouse.tend_at(at_minute(0)).unwrap();
        let path = home.path();
        destroy(&path, fs::metadata(&path).unwrap().len() as usize);
        home.warehouse.tend_at(WallClock { at: at_minute(1).at - 1, synchronised: true }).unwrap();
        let Err(said) = home.warehouse.tend_at(at_minute(1)).map_err(|error| error.to_string()) else {
            panic!("{name}, log {has_log}: not noticed")
        };
        assert!(said.contains("warehouse.db seems to be damaged"), "{name}: {said}");
        home.warehouse.recover().unwrap();
        assert_eq!(aside(home.dir.path()).len(), 1, "{name}");
        other.step(&mut home.warehouse, 7);
        assert_eq!(stored(&path).len(), 7, "{name}");
        home.warehouse.tend_at(at_minute(2)).unwrap();
        home.warehouse.tend_at(at_minute(3)).unwrap();
    }
}

#[test]
fn a_file_that_another_program_made_shorter_is_not_taken_for_one_that_was_cut() {
    let mut home = Home::with(&options());
    let mut walk = Walk::padded(2000);
    for _ in 0..20 {
        walk.step(&mut home.warehouse, 30);
    }
    home.reader().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    home.warehouse.tend_at(at_minute(0)).unwrap();
    let before = fs::metadata(home.path()).unwrap().len();
    home.reader().execute_batch("DELETE FROM ACTIVITY_RECORDS WHERE rowid < 500; VACUUM").unwrap();
    home.reader().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    assert!(fs::metadata(home.path()).unwrap().len() < before / 2);
    for minute in 1..4 {
        walk.step(&mut home.warehouse, 30);
        home.warehouse.tend_at(at_minute(minute)).unwrap();
    }
}

#[test]
fn damage_met_while_running_is_recovered_from_without_a_restart() {
    let mut home = Home::with(&options());
    let mut walk = Walk::new();
    for _ in 0..50 {
        walk.step(&mut home.warehouse, 30);
    }
    home.warehouse.tend().unwrap();
    zero_page_after_checkpoint(&home, "raw_by_time");
    forget_what_was_read(&home);
    let said = submit_next(&mut home.warehouse, &walk).unwrap_err().to_string();
    assert!(said.contains("warehouse.db seems to be damaged"), "{said}");
    home.warehouse.recover().unwrap();
    assert_eq!(aside(home.dir.path()).len(), 1);
    assert_eq!(position(&mut home.warehouse, &walk), Some(50));
    submit_next(&mut home.warehouse, &walk).unwrap();
    assert_eq!(stored(&home.path()).len(), 3);
}

/// The middle of a large table is met by whoever comes there, and not when the file is opened.
#[test]
fn damage_that_no_opening_sees_is_set_aside_when_it_is_met_again() {
    let mut home = Home::with(&options());
    let mut walk = Walk::padded(2000);
    for _ in 0..40 {
        walk.step(&mut home.warehouse, 30);
    }
    home.reader().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let path = home.path();
    // Leaves of the table that neither end of it needs.
    let file = fs::read(&path).unwrap();
    let leaves = file.chunks(PAGE as usize).enumerate().filter(|(_, page)| page[0] == 0x0D);
    let pages: Vec<_> = leaves.map(|(place, _)| place as u64 + 1).collect();
    for page in &pages[pages.len() / 4..pages.len() / 2] {
        zero_page(&path, *page);
    }
    let limited = Options { max_bytes: 1 << 20, ..options() };
    home.warehouse = Warehouse::open(&path, &limited).unwrap();
    assert!(aside(home.dir.path()).is_empty(), "not seen when it was opened");
    let now = WallClock { at: 1_700_000_000, synchronised: true };
    let mut failures = 0;
    for _ in 0..200 {
        if home.warehouse.tend_at(now).is_err() {
            failures += 1;
            home.warehouse.recover().unwrap();
        }
        if !aside(home.dir.path()).is_empty() {
            break;
        }
    }
    assert_eq!((failures, aside(home.dir.path()).len()), (2, 1), "a second look, and then aside");
    assert_eq!(position(&mut home.warehouse, &walk), Some(40));
}

#[test]
fn a_log_that_is_removed_while_in_use_loses_nothing() {
    let mut home = Home::with(&options());
    let mut walk = Walk::new();
    for _ in 0..3 {
        walk.step(&mut home.warehouse, 30);
    }
    let (path, log) = (home.path(), home.dir.path().join("warehouse.db-wal"));
    fs::remove_file(&log).unwrap();
    let said = submit_next(&mut home.warehouse, &walk).unwrap_err().to_string();
    assert!(said.contains("-wal was removed while in use"), "{said}");
    home.warehouse.recover().unwrap();
    assert_eq!(position(&mut home.warehouse, &walk), Some(4), "it was committed after all");
    assert_eq!(stored(&path).len(), 93);

    fs::remove_file(&log).unwrap();
    fs::write(&log, "somebody's").unwrap();
    assert!(home.warehouse.recover().unwrap_err().to_string().contains("remove that file"));
    fs::remove_file(&log).unwrap();
    home.warehouse.recover().unwrap();
    assert_eq!((position(&mut home.warehouse, &walk), stored(&path).len()), (Some(4), 93));
}

#[test]
fn a_replacement_that_was_interrupted_is_finished_or_undone() {
    // Killed before the damaged file was moved: it is met again.
    let (dir, path, walk) = closed(5, 10);
    fs::write(dir.path().join("warehouse.db.replacement-20260101T000000Z"), b"half a file").unwrap();
    let mut warehouse = open(&path);
    assert_eq!(position(&mut warehouse, &walk), Some(5));
    assert!(aside(dir.path()).is_empty());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "file, log and shared memory");
    drop(warehouse);

    // Killed after the damaged file was moved and before its log was.
    let mut home = Home::with(&options());
    Walk::other().step(&mut home.warehouse, 3);
    let torn = home.copy();
    let at = |name: &str| torn.path().join(name);
    fs::rename(at("warehouse.db"), at("warehouse.db.damaged-20260101T000000Z")).unwrap();
    let log = fs::read(at("warehouse.db-wal")).unwrap();
    fs::copy(&path, at("warehouse.db.replacement-20260101T000000Z")).unwrap();
    let mut warehouse = open(&at("warehouse.db"));
    assert_eq!(position(&mut warehouse, &walk), Some(5));
    assert_eq!(fs::read(at("warehouse.db.damaged-20260101T000000Z-wal")).unwrap(), log);
}

#[test]
fn a_disk_that_damages_file_after_file_is_not_filled_with_them() {
    let mut home = Home::with(&options());
    let path = home.path();
    for _ in 0..5 {
        zero_page_after_checkpoint(&home, "raw_by_time");
        home.warehouse.recover().unwrap();
    }
    assert_eq!(aside(home.dir.path()).len(), 5);
    zero_page_after_checkpoint(&home, "raw_by_time");
    let said = home.warehouse.recover().unwrap_err().to_string();
    assert!(said.contains("its disk is failing"), "{said}");
    assert!(path.exists());
    assert_eq!(aside(home.dir.path()).len(), 5);
}

#[test]
fn a_restart_does_not_begin_to_count_anew() {
    let (dir, path, _) = closed(20, 30);
    let now = gaitway_service::clock::now_micros() / 1_000_000;
    let stamp = |at: i64| gaitway_proto::schema::rfc3339(at * 1_000_000_000).replace(['-', ':'], "");
    let aside_at = |at| fs::write(dir.path().join(format!("warehouse.db.damaged-{}", stamp(at))), "").unwrap();
    for n in 0..5 {
        aside_at(now - 4000 - n);
    }
    for n in 0..4 {
        aside_at(now - 3000 - n);
    }
    zero_page(&path, root_of(&path, "raw_by_time"));
    drop(open(&path));
    assert_eq!(aside(dir.path()).len(), 10);
    zero_page(&path, root_of(&path, "raw_by_time"));
    assert!(matches!(Warehouse::open(&path, &options()), Err(OpenError::Failing { .. })));
    assert_eq!(aside(dir.path()).len(), 10);
}

#[test]
fn what_never_was_a_warehouse_is_refused_and_left_alone() {
    let (_dir, path, _) = closed(1, 1);
    fs::write(&path, "a text that somebody put here ".repeat(500)).unwrap();
    let before = fs::read(&path).unwrap();
    assert!(matches!(Warehouse::open(&path, &options()), Err(OpenError::NotAWarehouse { .. })));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[derive(Debug, Clone)]
enum Harm {
    Flip { at: f64, bit: u8 },
    Zero { at: f64, bytes: usize },
    Noise { at: f64, bytes: usize, seed: u8 },
    Cut { at: f64 },
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        4 => (0.0..1.0, 0..8_u8).prop_map(|(at, bit)| Harm::Flip { at, bit }),
        2 => (0.0..1.0, 1..20_000_usize).prop_map(|(at, bytes)| Harm::Zero { at, bytes }),
        2 => (0.0..1.0, 1..20_000_usize, 1..255_u8).prop_map(|(at, bytes, seed)| Harm::Noise { at, bytes, seed }),
        1 => (0.0..1.0).prop_map(|at| Harm::Cut { at }),
    ]
}

fn inflict(harm: &Harm, bytes: &mut Vec<u8>) {
    let place = |at: f64| ((bytes.len() as f64 * at) as usize).min(bytes.len() - 1);
    match *harm {
        Harm::Flip { at, bit } => {
            let place = place(at);
            bytes[place] ^= 1 << bit;
        }
        Harm::Zero { at, bytes: length } => {
            let (place, end) = (place(at), bytes.len());
            bytes[place..(place + length).min(end)].fill(0);
        }
        Harm::Noise { at, bytes: length, seed } => {
            let (place, end) = (place(at), bytes.len());
            for (n, byte) in bytes[place..(place + length).min(end)].iter_mut().enumerate() {
                *byte = seed.wrapping_mul(31).wrapping_add((n * 7) as u8);
            }
        }
        Harm::Cut { at } => {
            let place = place(at);
            bytes.truncate(place.max(1));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever is done to file and log: nothing panics, the warehouse goes on sooner or later, no mark is one that was
    /// never committed, and what was set aside is there.
    #[test]
    fn random_damage_is_survived(
        of_file in prop::collection::vec(harm(), 0..4), of_log in prop::collection::vec(harm(), 0..2), frames in 1_u32..12,
    ) {
        let mut home = Home::with(&options());
        let (mut walk, mut other) = (Walk::new(), Walk::other());
        walk.step(&mut home.warehouse, 20);
        other.step(&mut home.warehouse, 20);
        home.reader().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        for _ in 0..frames {
            walk.step(&mut home.warehouse, 20);
        }
        let dir = home.copy();
        let path = dir.path().join("warehouse.db");
        for (name, harms) in [("warehouse.db", of_file), ("warehouse.db-wal", of_log)] {
            let mut bytes = fs::read(dir.path().join(name)).unwrap();
            for harm in &harms {
                inflict(harm, &mut bytes);
            }
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        // Noise over all that tells a warehouse, or a version of the future: then it is left alone.
        let mut warehouse = match Warehouse::open(&path, &options()) {
            Ok(warehouse) => warehouse,
            Err(OpenError::NotAWarehouse { .. } | OpenError::Newer { .. }) => return Ok(()),
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        };
        let mut third = Walk::third();
        for _ in 0..12 {
            let went = warehouse.committed(&[walk.source(), other.source()]).and_then(|found| {
                let [first, second] = [&walk, &other].map(|walk| found.get(&walk.source()).copied());
                assert!(first.is_none_or(|position| (1..=u64::from(frames) + 1).contains(&position)), "{first:?}");
                assert!(second.is_none_or(|position| position == 1), "{second:?}");
                submit_next(&mut warehouse, &third)
            });
            match went {
                Ok(()) => {
                    third.advance();
                    if third.position() == 3 {
                        break;
                    }
                }
                Err(_) => prop_assert!(warehouse.recover().is_ok()),
            }
        }
        prop_assert_eq!(third.position(), 3, "does not go on");
        prop_assert_eq!(warehouse.counters().set_aside(), aside(dir.path()).len() as u64);
    }
}
