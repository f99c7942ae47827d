//! A spool that runs empty into the warehouse, beside a bare insert loop of the same rows.

use std::path::Path;
use std::time::{Duration, Instant};

use gaitway_proto::schema;
use gaitway_sink::sqlite::{Options, Warehouse};
use nix::sys::signal::Signal;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::Bench;
use super::body::{Phone, Platform};
use super::harness::process::Process;
use super::harness::{self, warehouse};
use super::serve::Agent;
use super::table::{Aim, Figure, median, number};
use super::{machine, recordings, serve, spool};

const PHONES: usize = 10;

const READINGS_A_PUSH: u64 = 400;

/// How the local warehouse opens its file; `wal_autocheckpoint` in pages.
const SETTINGS: &str = "PRAGMA journal_mode = wal; PRAGMA synchronous = full; PRAGMA mmap_size = 0;
    PRAGMA wal_autocheckpoint = 4096; PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -16384;";

/// What one drain took.
struct Drained {
    seconds: f64,
    commits: f64,
}

pub(crate) fn figures(bench: &Bench) -> Vec<Figure> {
    let traces = recordings::traces();
    let phones: Vec<Phone<'_>> = (0..PHONES).map(|number| Phone::new(number, Platform::Android, 4, &traces)).collect();
    let (readings, rounds) = bench.size((1_000_000_u64, 3), (200_000, 1));
    let folder = machine::folder();
    let full = folder.path().join("full");
    spool::fill(&full, &phones, readings / READINGS_A_PUSH / PHONES as u64);

    let (mut ours, mut bare, mut commits, mut rows) = (Vec::new(), Vec::new(), 1.0, Vec::new());
    for round in 0..rounds {
        let place = folder.path().join(format!("round-{round}"));
        std::fs::create_dir(&place).unwrap();
        let drained = drain(&full, &place, readings);
        commits = drained.commits;
        ours.push(drained.seconds);
        if rows.is_empty() {
            rows = read(&place.join("relay/warehouse.db"));
            assert_eq!(rows.len() as u64, readings);
        }
        bare.push(insert(&place.join("bare.db"), &rows, (readings as f64 / commits).ceil() as usize));
        std::fs::remove_dir_all(&place).unwrap();
    }
    let mut ratios: Vec<f64> = ours.iter().zip(&bare).map(|(ours, bare)| bare / ours).collect();
    let rate = |seconds: &mut [f64]| number(readings as f64 / median(seconds));
    let figure = Figure::new(
        format!("drain of {} readings from spool to warehouse", number(readings as f64)),
        format!("{} rows/s", rate(&mut ours)),
    )
    .beside(format!("bare inserts {} rows/s", rate(&mut bare)))
    .aim(median(&mut ratios), &Aim::AtLeast(0.5), " ×")
    .note(format!(
        "from the agent's start to the last row visible, {} in {} commits; the bare loop commits as many rows at a time, same tables, indexes and settings",
        if rounds == 1 { "one round".to_owned() } else { format!("median of {rounds} rounds") },
        number(commits),
    ));
    vec![figure]
}

/// Drains a copy of the data directory `full` into a fresh warehouse below `place`.
fn drain(full: &Path, place: &Path, readings: u64) -> Drained {
    let (data_dir, relay_dir) = (place.join("agent"), place.join("relay"));
    spool::copy(full, &data_dir);
    let mut relay = Process::up(&relay_dir, &[]);
    let address = format!("mqtt://{}", relay.mqtt_address());
    let metrics = relay.push_url().replace("/data", "/metrics");
    let reader = warehouse::open(&relay_dir.join("warehouse.db"));
    let mut newest = reader.prepare("SELECT max(rowid) FROM ACTIVITY_RECORDS").unwrap();

    // Not built while the clock runs.
    serve::agent_program();
    let begun = Instant::now();
    let agent = Agent::start(&data_dir, &address);
    harness::await_that("the spool is drained", || {
        newest.query_row([], |row| row.get::<_, Option<i64>>(0)).unwrap() == Some(readings as i64)
    });
    let seconds = begun.elapsed().as_secs_f64();

    let (status, text) = harness::http::get(&metrics).unwrap();
    assert_eq!(status, 200);
    let commits = serve::metric(&text, "gaitway_relay_commits_total");
    assert!(agent.process.terminate(Signal::SIGTERM).success());
    assert!(relay.terminate(Signal::SIGTERM).success());
    Drained { seconds, commits }
}

/// The raw rows of a warehouse, in the order in which they were stored.
fn read(path: &Path) -> Vec<Vec<Value>> {
    let connection = warehouse::open(path);
    let columns = schema::RAW.columns().count();
    let mut statement = connection.prepare(&format!("SELECT * FROM {} ORDER BY rowid", schema::RAW.name)).unwrap();
    let rows = statement.query_map([], |row| (0..columns).map(|column| row.get(column)).collect()).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

/// Seconds that it takes to store `rows` in a fresh warehouse, `at_once` a transaction.
fn insert(path: &Path, rows: &[Vec<Value>], at_once: usize) -> f64 {
    drop(Warehouse::open(path, &Options::default()).unwrap());
    let mut connection = Connection::open(path).unwrap();
    connection.execute_batch(SETTINGS).unwrap();
    let parameters = vec!["?"; schema::RAW.columns().count()].join(", ");
    let sql = format!("INSERT INTO {} VALUES ({parameters})", schema::RAW.name);
    // The disk has time to finish what the drain before left to it.
    std::thread::sleep(Duration::from_secs(1));
    let begun = Instant::now();
    for together in rows.chunks(at_once) {
        let transaction = connection.transaction().unwrap();
        let mut insert = transaction.prepare_cached(&sql).unwrap();
        for row in together {
            insert.execute(params_from_iter(row)).unwrap();
        }
        drop(insert);
        transaction.commit().unwrap();
    }
    begun.elapsed().as_secs_f64()
}
