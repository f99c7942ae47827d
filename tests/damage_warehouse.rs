//! **A damaged warehouse** is set aside and a new one goes on, without a restart, with every reading in one of the two
//! and none in both. What is no warehouse of this program's is refused and left as it is.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use harness::phone::{Phone, Pushed, Url, push};
use harness::process::Process;
use harness::small_disk::on_small_disk;
use harness::warehouse::{assert_exact, await_drained, count, open};
use harness::{await_that, http};
use nix::sys::signal::Signal;
use rusqlite::Connection;

const PAGE: u64 = 4096;

fn root_of(warehouse: &Path, name: &str) -> u64 {
    count(warehouse, &format!("SELECT rootpage FROM sqlite_schema WHERE name = '{name}'")) as u64
}

fn overwrite(file: &Path, at: u64, bytes: &[u8]) {
    std::fs::OpenOptions::new().write(true).open(file).unwrap().write_all_at(bytes, at).unwrap();
}

fn zero_page(warehouse: &Path, page: u64) {
    overwrite(warehouse, (page - 1) * PAGE, &[0; PAGE as usize]);
}

/// The damaged files beside `warehouse`.
fn aside(warehouse: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(warehouse.parent().unwrap()).unwrap();
    let mut found: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("warehouse.db.damaged-") && !name.ends_with("-wal") && !name.ends_with("-shm")
    });
    found
}

/// Rows by message in one file; of a damaged index nothing is read.
fn rows(warehouse: &Path, phone: &Phone) -> BTreeMap<u64, usize> {
    let connection = open(warehouse);
    let sql = "SELECT messageId, count(*) FROM ACTIVITY_RECORDS NOT INDEXED WHERE deviceId = ?1 GROUP BY messageId";
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([&phone.device], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))).unwrap();
    rows.map(Result::unwrap).map(|(id, rows)| (id as u64, rows as usize)).collect()
}

/// Every reading that `phone` was answered for is in one of the files, and none in two.
fn assert_in_one(files: &[&Path], phone: &Phone, pushed: &Pushed) {
    let mut found = BTreeMap::new();
    for file in files {
        for (id, rows) in rows(file, phone) {
            assert_eq!(found.insert(id, rows), None, "message {id} is in two files");
        }
    }
    let expected: BTreeMap<u64, usize> = pushed.iter().map(|(id, readings)| (*id, readings.len())).collect();
    assert_eq!(found, expected);
}

/// A relay at an address that agents know.
fn relay_at(data_dir: &Path, address: &str) -> Process {
    Process::start(&["up", "--data-dir", data_dir.to_str().unwrap(), "--http", "127.0.0.1:0", "--mqtt", address])
}

fn was_set_aside(event: &serde_json::Value) -> Option<String> {
    let said = event["message"].as_str().filter(|said| said.starts_with("the warehouse was damaged"))?;
    assert_eq!(event["level"], "ERROR");
    let kept = event["kept_as"].as_str().unwrap();
    assert!(
        said.contains(&format!("cp {kept}* saved/")) && said.contains(".recover | sqlite3 saved/saved.db"),
        "{said}"
    );
    assert!(!event["damage"].as_str().unwrap().contains('\n'), "{event}");
    Some(kept.to_owned())
}

#[test]
fn damaged_while_stopped_it_is_set_aside_and_nothing_is_stored_again() {
    let dir = tempfile::tempdir().unwrap();
    let [agent_dir, relay_dir] = ["agent", "relay"].map(|name| dir.path().join(name));
    let warehouse = relay_dir.join("warehouse.db");
    let mut relay = Process::up(&relay_dir, &[]);
    let address = relay.mqtt_address();
    let mut agent = Process::agent(&agent_dir, &format!("mqtt://{address}"), &[]);
    let url = agent.agent_push_url();
    let (phone, mut pushed) = (Phone::new(1, 41), Pushed::new());
    push(&url, &phone, 0..30, &mut pushed);
    await_that("the warehouse has them", || rows(&warehouse, &phone).len() == 30);
    assert!(relay.terminate(Signal::SIGTERM).success());

    zero_page(&warehouse, root_of(&warehouse, "activity_by_time"));
    let damaged = std::fs::read(&warehouse).unwrap();
    let mut relay = relay_at(&relay_dir, &address);
    let kept = relay.logged("the file set aside", was_set_aside);
    assert_eq!(std::fs::read(&kept).unwrap(), damaged, "as it was");
    push(&url, &phone, 30..60, &mut pushed);
    await_that("the new warehouse has the rest", || rows(&warehouse, &phone).len() == 30);
    assert_in_one(&[Path::new(&kept), &warehouse], &phone, &pushed);
    assert_eq!(count(&warehouse, "SELECT count(*) FROM GAPS"), 0);
    assert!(relay.terminate(Signal::SIGTERM).success());

    // Nothing can be read of a file without its header: the gap is told, and it goes on.
    overwrite(&warehouse, 0, &[0x5A; 100]);
    let mut relay = relay_at(&relay_dir, &address);
    relay.logged("the file set aside", was_set_aside);
    push(&url, &phone, 60..70, &mut pushed);
    await_that("the third warehouse has the rest", || rows(&warehouse, &phone).len() == 10);
    let gap = "SELECT count(*) FROM GAPS WHERE stream = 'raw' AND fromSeq = 1 AND toSeq = 60";
    assert_eq!(count(&warehouse, gap), 1);
    assert_eq!(aside(&warehouse).len(), 2);
    assert!(agent.terminate(Signal::SIGTERM).success());
}

#[test]
fn damaged_while_running_it_is_set_aside_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let warehouse = dir.path().join("warehouse.db");
    let mut up = Process::up(dir.path(), &[]);
    let push_url = up.push_url();
    let url: Url = Arc::new(Mutex::new(Some(push_url.clone())));
    let stop = Arc::new(AtomicBool::new(false));
    let (of_phone, stopped) = (url.clone(), stop.clone());
    let run = move || Phone::new(2, 43).run(Duration::ZERO, &of_phone, &stopped);
    let phone = std::thread::Builder::new().name("phone".to_owned()).spawn(run).unwrap();
    let enough = "SELECT count(*) FROM ACTIVITY_RECORDS";
    await_that("the index has branches", || count(&warehouse, enough) > 4000);

    let root = root_of(&warehouse, "raw_by_time");
    let other = Connection::open(&warehouse).unwrap();
    other.busy_timeout(harness::PATIENCE).unwrap();
    await_that("the damage is met", || {
        // What lies in the log is not read from the file, nor what the process remembers of it while nobody else writes.
        let _ = other.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        zero_page(&warehouse, root);
        let _ = other.execute("UPDATE gaitway_ages SET at = at", []);
        std::thread::sleep(std::time::Duration::from_millis(200));
        up.log().iter().any(|event| was_set_aside(event).is_some())
    });
    drop(other);
    let kept = up.logged("the file set aside", was_set_aside);
    await_that("the new warehouse takes readings", || count(&warehouse, enough) > 500);
    await_that("it is ready", || http::get(&push_url.replace("/data", "/readyz")).unwrap().0 == 200);
    let metrics = http::get(&push_url.replace("/data", "/metrics")).unwrap().1;
    assert!(metrics.contains("gaitway_warehouse_set_aside_files_total 1\n"), "{metrics}");
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let (phone, pushed) = phone.join().unwrap();
    await_that("all is committed", || count(&dir.path().join("agent/spool.db"), "SELECT count(*) FROM raw") == 0);
    assert_in_one(&[Path::new(&kept), &warehouse], &phone, &pushed);
    assert_eq!(count(&warehouse, "SELECT count(*) FROM GAPS"), 0, "and no false gaps");
}

#[test]
fn a_warehouse_that_vanished_or_was_replaced_while_running_is_not_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let [agent_dir, relay_dir] = ["agent", "relay"].map(|name| dir.path().join(name));
    let (warehouse, elsewhere) = (relay_dir.join("warehouse.db"), dir.path().join("elsewhere.db"));
    let mut relay = Process::up(&relay_dir, &[]);
    let (relay_url, address) = (relay.push_url(), relay.mqtt_address());
    let config = dir.path().join("agent.toml");
    std::fs::write(&config, "[windows]\nsilence = \"1h\"\n").unwrap();
    let config = config.to_str().unwrap();
    let relay_at = format!("mqtt://{address}");
    let mut agent = Process::agent(&agent_dir, &relay_at, &["--config", config]);
    let url = agent.agent_push_url();
    let (phone, mut pushed) = (Phone::new(3, 47), Pushed::new());
    let says = |what: &str| {
        await_that(what, || {
            http::get(&relay_url.replace("/data", "/readyz"))
                .is_ok_and(|(status, why)| status == 503 && why.contains(what))
        });
    };
    push(&url, &phone, 0..20, &mut pushed);
    await_that("the warehouse has them", || rows(&warehouse, &phone).len() == 20);

    std::fs::rename(&warehouse, &elsewhere).unwrap();
    push(&url, &phone, 20..40, &mut pushed);
    says("was removed or moved while in use");
    assert!(!warehouse.exists(), "an empty one would look like nothing was ever stored");
    std::fs::rename(&elsewhere, &warehouse).unwrap();
    await_that("it goes on", || rows(&warehouse, &phone).len() == 40);

    std::fs::rename(&warehouse, &elsewhere).unwrap();
    std::fs::write(&warehouse, "another file").unwrap();
    push(&url, &phone, 40..60, &mut pushed);
    says("was replaced by another file while in use");
    assert_eq!(std::fs::read(&warehouse).unwrap(), b"another file");
    std::fs::rename(&elsewhere, &warehouse).unwrap();
    await_that("it goes on", || rows(&warehouse, &phone).len() == 60);

    std::fs::remove_file(relay_dir.join("warehouse.db-wal")).unwrap();
    push(&url, &phone, 60..80, &mut pushed);
    // Who reads now, reads of a log that is not there.
    await_that("it goes on", || count(&agent_dir.join("spool.db"), "SELECT count(*) FROM raw") == 0);
    assert_eq!(rows(&warehouse, &phone).len(), 80);
    assert!(
        relay.log().iter().any(|event| event["error"].as_str().is_some_and(|said| said.contains("-wal was removed")))
    );

    assert!(agent.terminate(Signal::SIGTERM).success());
    std::fs::write(config, "[windows]\nsilence = \"300ms\"\n").unwrap();
    let mut agent = Process::agent(&agent_dir, &relay_at, &["--config", config]);
    agent.agent_push_url();
    await_drained(&agent_dir.join("spool.db"));
    assert_exact(&warehouse, &phone, &pushed);
    assert_eq!(count(&warehouse, "SELECT count(*) FROM GAPS"), 0);
    assert!(aside(&warehouse).is_empty());
}

/// Starts it and waits for its end; what it said.
fn refused(data_dir: &Path) -> String {
    let args = ["up", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--data-dir"];
    let output = Command::new(env!("CARGO_BIN_EXE_gaitway")).args(args).arg(data_dir).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(!said.contains("panicked") && said.lines().count() < 6, "{said}");
    said
}

fn make(data_dir: &Path) -> PathBuf {
    let mut up = Process::up(data_dir, &[]);
    up.push_url();
    assert!(up.terminate(Signal::SIGTERM).success());
    data_dir.join("warehouse.db")
}

#[test]
fn an_empty_warehouse_beside_a_used_agent_is_not_begun_in_silence() {
    let dir = tempfile::tempdir().unwrap();
    let told = |log: &[serde_json::Value]| {
        let said =
            |event: &serde_json::Value| event["message"].as_str().is_some_and(|m| m.starts_with("no warehouse at"));
        log.iter().any(|event| said(event) && event["level"] == "WARN")
    };
    let mut expected = false;
    let changes: [fn(&Path); 3] =
        [|_| {}, |path| std::fs::remove_file(path).unwrap(), |path| std::fs::write(path, "").unwrap()];
    for change in changes {
        change(&dir.path().join("warehouse.db"));
        let mut up = Process::up(dir.path(), &[]);
        up.push_url();
        assert_eq!(told(&up.log()), expected);
        assert!(up.terminate(Signal::SIGTERM).success());
        expected = true;
    }
}

#[test]
fn a_newer_warehouse_and_a_foreign_file_are_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let warehouse = make(dir.path());
    Connection::open(&warehouse).unwrap().pragma_update(None, "user_version", 3).unwrap();
    let before = std::fs::read(&warehouse).unwrap();
    let said = refused(dir.path());
    assert!(
        said.contains("warehouse.db was written by a newer gaitway") && said.contains("use that gaitway"),
        "{said}"
    );
    assert_eq!(std::fs::read(&warehouse).unwrap(), before);

    std::fs::remove_file(&warehouse).unwrap();
    Connection::open(&warehouse).unwrap().execute_batch("CREATE TABLE mine(a)").unwrap();
    for text in [None, Some("my notes ".repeat(2000))] {
        if let Some(text) = text {
            std::fs::write(&warehouse, text).unwrap();
        }
        let before = std::fs::read(&warehouse).unwrap();
        let said = refused(dir.path());
        assert!(said.contains("is not a gaitway warehouse") && said.contains("move it away"), "{said}");
        assert_eq!(std::fs::read(&warehouse).unwrap(), before);
    }
    assert!(aside(&warehouse).is_empty());
}

#[test]
#[ignore = "needs a mount namespace"]
fn a_warehouse_that_cannot_be_written_is_refused_and_left_alone() {
    on_small_disk("size=8m", |disk| {
        let home = tempfile::tempdir().unwrap();
        let data_dir = home.path().join("data");
        let warehouse = make(&disk.path().join("made"));
        let before = std::fs::read(&warehouse).unwrap();
        // The folder can be written, the file in it cannot.
        std::fs::create_dir(&data_dir).unwrap();
        std::os::unix::fs::symlink(&warehouse, data_dir.join("warehouse.db")).unwrap();
        disk.make_read_only();
        let said = refused(&data_dir);
        assert!(said.contains("warehouse.db") && said.contains("cannot be"), "{said}");
        assert_eq!(std::fs::read(&warehouse).unwrap(), before);
        let said = refused(&disk.path().join("made"));
        assert!(said.contains("made"), "{said}");
        assert_eq!(std::fs::read(&warehouse).unwrap(), before);
    });
}
