//! The whole path over real processes: what phones push is in the warehouse, with the windows that Spark would give.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use harness::phone::{Phone, Pushed, Url, push};
use harness::process::Process;
use harness::proxy::Proxy;
use harness::warehouse::{assert_exact, assert_no_duplicates, await_drained, count, message_ids, open};
use harness::{await_that, data, http};
use nix::sys::signal::Signal;

/// However slow the machine, no pause between two pushes is a silence.
const TALKING: &str = "[agent.windows]\nsilence = \"1h\"\n";
/// The windows of silent sessions close soon.
const SILENT: &str = "[agent.windows]\nsilence = \"300ms\"\n";
const SILENT_AGENT: &str = "[windows]\nsilence = \"300ms\"\n";

fn config(dir: &Path, text: &str) -> String {
    let path = dir.join(format!("config-{}.toml", text.len()));
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn replay(to: &str, speed: &str, files: &[PathBuf]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_gaitway"))
        .args(["replay", "--to", to, "--speed", speed])
        .args(files)
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

type GoldenWindow = (String, String, String, String, f64, i64);

fn golden(file: &str) -> Vec<GoldenWindow> {
    let text = std::fs::read_to_string(data(file)).unwrap();
    let mut windows: Vec<GoldenWindow> = text
        .lines()
        .skip(1)
        .map(|line| {
            let [time, session, device, activity, mean, samples] =
                line.split(',').collect::<Vec<_>>().try_into().expect("six columns");
            let (mean, samples) = (mean.parse().unwrap(), samples.parse().unwrap());
            (device.to_owned(), session.to_owned(), time.to_owned(), activity.to_owned(), mean, samples)
        })
        .collect();
    windows.sort_by(|a, b| (&a.0, &a.2).cmp(&(&b.0, &b.2)));
    windows
}

fn assert_golden(warehouse: &Path, expected: &[GoldenWindow]) {
    let sql = "SELECT deviceId, sessionId, timestamp, activity, avg_magnitude, sampleCount FROM USER_ACTIVITY_PROCESSED
               ORDER BY deviceId, timestamp";
    let connection = open(warehouse);
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?)));
    let stored: Vec<GoldenWindow> = rows.unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(stored.len(), expected.len());
    for (stored, expected) in stored.iter().zip(expected) {
        let names = |w: &GoldenWindow| (w.0.clone(), w.1.clone(), w.2.clone(), w.3.clone(), w.5);
        assert_eq!(names(stored), names(expected));
        assert!((stored.4 - expected.4).abs() <= 1e-9 * expected.4, "{stored:?} is not {expected:?}");
    }
}

#[test]
fn windows_are_sparks_through_the_whole_path() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let mut up = Process::up(&data_dir, &["--config", &config(dir.path(), TALKING)]);
    let (accepted, report) = replay(&up.push_url(), "max", &[data("har/motionsense")]);
    assert!(accepted, "{report}");
    assert!(up.terminate(Signal::SIGTERM).success());
    let mut up = Process::up(&data_dir, &["--config", &config(dir.path(), SILENT)]);
    up.push_url();
    await_drained(&data_dir.join("agent/spool.db"));
    assert_golden(&data_dir.join("warehouse.db"), &golden("golden/motionsense/windows.csv"));
}

#[test]
fn late_pushes_give_sparks_windows_through_the_whole_path() {
    let dir = tempfile::tempdir().unwrap();
    let mut up = Process::up(dir.path(), &[]);
    let (accepted, report) = replay(&up.push_url(), "max", &[data("golden/late/pushes.ndjson.gz")]);
    assert!(accepted, "{report}");
    let warehouse = dir.path().join("warehouse.db");
    let expected = golden("golden/late/windows.csv");
    await_that("the windows are there", || {
        count(&warehouse, "SELECT count(*) FROM USER_ACTIVITY_PROCESSED") >= expected.len() as i64
    });
    assert_golden(&warehouse, &expected);
}

#[test]
fn every_shape_comes_out_with_the_same_values() {
    let dir = tempfile::tempdir().unwrap();
    let mut up = Process::up(dir.path(), &[]);
    let url = up.push_url();
    let shapes = std::fs::read_to_string(data("samples/push-shapes.ndjson")).unwrap();
    let mut readings = Vec::new();
    for body in shapes.lines() {
        let (status, answer) = http::post(&url, body).unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        let payload = body["payload"].as_array().unwrap();
        let test = payload.first().is_some_and(|reading| reading["name"] == "test");
        let processed = if test { 0 } else { payload.len() };
        assert_eq!((status, answer), (200, format!(r#"{{"status":"success","processed_readings":{processed}}}"#)));
        if !test {
            let id = body["messageId"].as_i64().unwrap();
            readings.extend(payload.iter().enumerate().map(|(index, reading)| {
                (id, index as i64, body["userId"].as_str().map(str::to_owned), reading.clone())
            }));
        }
    }
    readings.sort_by_key(|(id, index, ..)| (*id, *index));
    let warehouse = dir.path().join("warehouse.db");
    await_that("every reading is there", || {
        count(&warehouse, "SELECT count(*) FROM ACTIVITY_RECORDS") == readings.len() as i64
    });

    let connection = open(&warehouse);
    let mut statement = connection
        .prepare(
            "SELECT messageId, readingIndex, userId, sensorType, timestamp, accuracy, x, y, z, reading
             FROM ACTIVITY_RECORDS ORDER BY messageId, readingIndex",
        )
        .unwrap();
    let mut rows = statement.query([]).unwrap();
    for (id, index, user, sent) in readings {
        let row = rows.next().unwrap().unwrap();
        assert_eq!((row.get(0).unwrap(), row.get(1).unwrap(), row.get(2).unwrap()), (Some(id), index, user));
        assert_eq!(row.get::<_, Option<String>>(3).unwrap().as_deref(), sent["name"].as_str());
        let time = sent["time"].as_i64().or_else(|| sent["time"].as_f64().map(|t| t as i64));
        let time = time.or_else(|| sent["time"].as_str().map(|t| t.parse().unwrap()));
        assert_eq!(row.get::<_, Option<i64>>(4).unwrap(), time, "{sent}");
        assert_eq!(row.get::<_, Option<i64>>(5).unwrap(), sent["accuracy"].as_i64());
        let number = |value: &serde_json::Value| value.as_f64().or_else(|| value.as_str()?.parse().ok());
        for (column, axis) in [(6, "x"), (7, "y"), (8, "z")] {
            assert_eq!(row.get::<_, Option<f64>>(column).unwrap(), number(&sent["values"][axis]), "{axis} of {sent}");
        }
        let kept: Option<String> = row.get(9).unwrap();
        match kept.map(|kept| serde_json::from_str::<serde_json::Value>(&kept).unwrap()) {
            None => assert!(["x", "y", "z"].iter().all(|axis| sent["values"][axis].is_number())),
            // All of an odd reading, or the values of a plain one.
            Some(kept) => assert!(kept == sent || kept["values"] == sent["values"], "{kept} is not {sent}"),
        }
    }
}

#[test]
fn a_backlog_drains_at_once_without_new_pushes_activity_first() {
    let dir = tempfile::tempdir().unwrap();
    let (agent_dir, relay_dir) = (dir.path().join("agent"), dir.path().join("relay"));
    let proxy = Proxy::new();
    let quick = config(dir.path(), SILENT_AGENT);
    let mut agent = Process::agent(&agent_dir, &proxy.url(), &["--config", &quick]);
    let url = agent.agent_push_url();
    // Hours of phone time: each phone's clock is an hour after the other's.
    let phones: Vec<Phone> = (0..4).map(|number| Phone::new(number, 7)).collect();
    let mut pushed = vec![Pushed::new(); phones.len()];
    for (phone, pushed) in phones.iter().zip(&mut pushed) {
        push(&url, phone, 0..120, pushed);
    }
    let spool = agent_dir.join("spool.db");
    await_that("all windows are closed", || count(&spool, "SELECT count(*) FROM session WHERE open") == 0);
    assert_eq!(count(&spool, "SELECT count(*) FROM raw"), 4 * 120);
    let windows = count(&spool, "SELECT count(*) FROM activity");
    assert!(windows > 0);

    let mut relay = Process::up(&relay_dir, &[]);
    proxy.point(Some(&relay.mqtt_address()));
    await_drained(&spool);
    let warehouse = relay_dir.join("warehouse.db");
    for (phone, pushed) in phones.iter().zip(&pushed) {
        assert_exact(&warehouse, phone, pushed);
    }
    let first = |table: &str| count(&warehouse, &format!("SELECT updatedAt LIKE '20%' FROM {table} LIMIT 1"));
    assert_eq!(first("gaitway_progress"), 1);
    let order = "SELECT (SELECT updatedAt FROM gaitway_progress WHERE source LIKE '%/activity')
                     <= (SELECT updatedAt FROM gaitway_progress WHERE source LIKE '%/raw')";
    assert_eq!(count(&warehouse, order), 1, "activity went first");
    assert!(agent.terminate(Signal::SIGTERM).success());
}

#[test]
fn a_signal_ends_it_cleanly_while_phones_push() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let dir = tempfile::tempdir().unwrap();
        let mut up = Process::up(dir.path(), &[]);
        let url: Url = Arc::new(Mutex::new(Some(up.push_url())));
        let stop = Arc::new(AtomicBool::new(false));
        let (of_phone, stopped) = (url.clone(), stop.clone());
        let run = move || Phone::new(5, 23).run(Duration::ZERO, &of_phone, &stopped);
        let phone = std::thread::Builder::new().name("phone".to_owned()).spawn(run).unwrap();
        let warehouse = dir.path().join("warehouse.db");
        await_that("readings arrive", || count(&warehouse, "SELECT count(*) FROM ACTIVITY_RECORDS") > 200);
        assert!(up.terminate(signal).success(), "{signal}");

        let mut up = Process::up(dir.path(), &[]);
        *url.lock().unwrap() = Some(up.push_url());
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let (phone, pushed) = phone.join().unwrap();
        await_that("everything is there", || message_ids(&warehouse, &phone).len() == pushed.len());
        assert_no_duplicates(&warehouse);
    }
}

#[test]
fn a_second_process_on_the_same_data_is_told_who_holds_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut up = Process::up(dir.path(), &[]);
    up.push_url();
    let data_dir = dir.path().to_str().unwrap();
    let second = Command::new(env!("CARGO_BIN_EXE_gaitway"))
        .args(["up", "--data-dir", data_dir, "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0"])
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains("is in use by gaitway (process "), "{said}");
}

#[test]
fn replay_says_what_was_refused_and_fails() {
    let dir = tempfile::tempdir().unwrap();
    let mut up = Process::up(dir.path(), &[]);
    let bodies = dir.path().join("bodies.ndjson");
    std::fs::write(&bodies, "{\"deviceId\":\"d\",\"sessionId\":\"s\",\"payload\":[1]}\nnot json\n").unwrap();
    let (accepted, report) = replay(&up.push_url(), "max", &[bodies]);
    assert!(!accepted);
    assert!(report.contains("400") && report.contains("not JSON"), "{report}");
}

#[test]
fn health_and_metrics_tell_that_data_moves() {
    let dir = tempfile::tempdir().unwrap();
    let mut up = Process::up(dir.path(), &[]);
    let url = up.push_url();
    let (phone, mut pushed) = (Phone::new(6, 29), Pushed::new());
    push(&url, &phone, 0..3, &mut pushed);
    let get = |path: &str| http::get(&url.replace("/data", path)).unwrap();
    assert_eq!(get("/healthz").0, 200);
    await_that("every part is ready", || get("/readyz").0 == 200);
    let expected: usize = pushed.values().map(Vec::len).sum();
    let warehouse = dir.path().join("warehouse.db");
    await_that("all is committed", || count(&warehouse, "SELECT count(*) FROM ACTIVITY_RECORDS") == expected as i64);
    await_that("metrics tell it", || {
        let text = get("/metrics").1;
        text.contains("gaitway_agent_messages_total 3\n")
            && text.contains(&format!("gaitway_agent_readings_total {expected}\n"))
            && text.contains("gaitway_warehouse_used_bytes ")
    });
}
