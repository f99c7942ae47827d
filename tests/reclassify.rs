//! **Classified anew.** Recordings go through `gaitway up` into a warehouse, and their windows are computed anew from it: at the
//! same thresholds nothing differs, at others exactly what plain arithmetic over Spark's windows says. What is written the
//! views show, the audit leaves out, and a second run has nothing to do; a run that is killed wrote nothing or everything.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;
#[path = "reclassify/in_postgres.rs"]
mod in_postgres;
#[path = "../sink/tests/postgres_server/mod.rs"]
mod postgres_server;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use harness::process::Process;
use harness::warehouse::{await_drained, count, open};
use harness::{Random, data, setting};
use nix::sys::signal::Signal;
use rusqlite::Connection;
use serde_json::Value;

/// Windows of silent sessions close soon; no pause of a replay is that long.
const SILENCE: &str = "silence = \"2s\"\n";

/// Other thresholds than the default.
const OTHER: &str = "1/9.5/20";

/// Kills in the suite's run.
const KILLS: u64 = 10;

fn gaitway(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_gaitway")).args(args).stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// By device and end of the window: label, mean, readings.
type Golden = BTreeMap<(String, String), (String, f64, u64)>;

/// Spark's windows, of these devices.
fn golden(file: &str, devices: &[&str]) -> Golden {
    let text = std::fs::read_to_string(data(file)).unwrap();
    let rows = text.lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>());
    rows.filter(|row| devices.is_empty() || devices.contains(&row[2]))
        .map(|row| {
            let key = (row[2].to_owned(), row[0].to_owned());
            (key, (row[3].to_owned(), row[4].parse().unwrap(), row[5].parse().unwrap()))
        })
        .collect()
}

fn label(mean: f64, [stationary, walking, running]: [f64; 3]) -> &'static str {
    match mean {
        _ if mean < stationary => "stationary",
        _ if mean < walking => "walking",
        _ if mean < running => "running",
        _ => "sprinting",
    }
}

/// What a run must tell of windows that go from label to label.
fn transitions(golden: &Golden, bounds: [f64; 3]) -> BTreeMap<(String, String, String), u64> {
    let mut all = BTreeMap::new();
    for ((device, _), (was, mean, _)) in golden {
        *all.entry((device.clone(), was.clone(), label(*mean, bounds).to_owned())).or_default() += 1;
    }
    all
}

fn told_transitions(report: &Value) -> BTreeMap<(String, String, String), u64> {
    let text = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
    let lines = report["lines"].as_array().unwrap().iter();
    lines
        .map(|line| ((text(line, "device"), text(line, "was"), text(line, "is")), line["windows"].as_u64().unwrap()))
        .collect()
}

/// A machine whose warehouse has what two people's phones pushed.
struct Machine {
    dir: tempfile::TempDir,
    golden: Golden,
}

const DEVICES: [&str; 2] = ["phone-ms02", "phone-ms05"];

impl Machine {
    /// `up` is running still.
    fn start() -> (Self, Process) {
        let machine =
            Self { dir: tempfile::tempdir().unwrap(), golden: golden("golden/motionsense/windows.csv", &DEVICES) };
        std::fs::write(machine.config(), format!("[agent.windows]\n{SILENCE}")).unwrap();
        let mut up = Process::up(&machine.data(), &["--config", machine.config().to_str().unwrap()]);
        let url = up.push_url();
        let people = ["ms02", "ms05"].map(|person| data(&format!("har/motionsense/{person}")));
        let mut args = vec!["replay", "--to", &url, "--speed", "max"];
        args.extend(people.iter().map(|path| path.to_str().unwrap()));
        let (code, shown, said) = gaitway(&args);
        assert_eq!(code, Some(0), "{shown}{said}");
        await_drained(&machine.data().join("agent/spool.db"));
        (machine, up)
    }

    /// `up` has ended.
    fn filled() -> Self {
        let (machine, up) = Self::start();
        assert!(up.terminate(Signal::SIGTERM).success());
        machine
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("up.toml")
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn warehouse(&self) -> PathBuf {
        self.data().join("warehouse.db")
    }

    fn run(&self, command: &str, more: &[&str]) -> (Option<i32>, String, String) {
        let (config, data) = (self.config(), self.data());
        let places = ["--config", config.to_str().unwrap(), "--data-dir", data.to_str().unwrap()];
        gaitway(&[&[command], &places[..], more].concat())
    }

    /// A run that ends with `code`, as JSON.
    fn report(&self, code: i32, more: &[&str]) -> Value {
        let (found, shown, said) = self.run("reclassify", &[more, &["--json"]].concat());
        assert_eq!(found, Some(code), "{shown}{said}");
        serde_json::from_str(&shown).unwrap()
    }

    fn rows(&self) -> i64 {
        count(&self.warehouse(), "SELECT count(*) FROM USER_ACTIVITY_PROCESSED")
    }

    /// What people read of each window, by device and end.
    fn shown(&self) -> BTreeMap<(String, String), (String, f64, i64)> {
        let connection = open(&self.warehouse());
        let sql = "SELECT v.device_id, r.timestamp, v.activity, v.avg_magnitude, v.revision
                     FROM activity_windows AS v JOIN USER_ACTIVITY_PROCESSED AS r
                       ON r.deviceId = v.device_id AND r.sessionId = v.session_id AND r.revision = v.revision
                      AND r.avg_magnitude = v.avg_magnitude AND r.activity = v.activity
                      AND substr(r.windowStart, 1, 19) = replace(substr(v.window_start, 1, 19), ' ', 'T')";
        let mut statement = connection.prepare(sql).unwrap();
        let rows =
            statement.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), (row.get(2)?, row.get(3)?, row.get(4)?))));
        let rows: Vec<_> = rows.unwrap().collect::<Result<_, _>>().unwrap();
        let all: BTreeMap<_, _> = rows.iter().cloned().collect();
        assert_eq!(all.len(), rows.len(), "a window is shown once");
        all
    }

    fn assert_adds_up(&self, windows: usize) {
        let (code, shown, said) = self.run("audit", &["--json"]);
        assert_eq!(code, Some(0), "{shown}{said}");
        let report: Value = serde_json::from_str(&shown).unwrap();
        let counted: u64 = report["sessions"].as_array().unwrap().iter().map(|s| s["windows"].as_u64().unwrap()).sum();
        assert_eq!(counted, windows as u64, "only what agents told");
    }
}

#[test]
fn what_is_written_is_what_differs_and_the_views_show_it() {
    let (machine, up) = Machine::start();
    let windows = machine.golden.len();
    assert!(windows > 500);
    // Looking changes nothing, beside a running gaitway.
    let same = machine.report(0, &[]);
    assert_eq!((same["windows"].as_u64(), same["changes"].as_u64()), (Some(windows as u64), Some(0)), "{same}");
    for none in ["byMean", "onlyHere", "onlyThere", "measuredAnew", "open", "other"] {
        assert_eq!(same[none], 0, "{none}: {same}");
    }
    let bounds = [1.0, 9.5, 20.0];
    let expected = transitions(&machine.golden, bounds);
    let relabelled: u64 = expected.iter().filter(|((_, was, is), _)| was != is).map(|(_, count)| count).sum();
    assert!(relabelled > 50);
    let other = machine.report(1, &["--thresholds", OTHER]);
    assert_eq!(told_transitions(&other), expected);
    assert_eq!(other["relabelled"], relabelled);
    assert_eq!(other["measuredAnew"], 0);
    assert_eq!(other["written"], Value::Null);
    // The agent's configuration is the default.
    let config = std::fs::read_to_string(machine.config()).unwrap();
    std::fs::write(machine.config(), format!("{config}thresholds = [1.0, 9.5, 20.0]\n")).unwrap();
    assert_eq!(told_transitions(&machine.report(1, &[])), expected);
    std::fs::write(machine.config(), config).unwrap();
    let one = machine.report(1, &["--thresholds", OTHER, "--device", "phone-ms05"]);
    assert_eq!(
        one["windows"].as_u64().unwrap() as usize,
        golden("golden/motionsense/windows.csv", &["phone-ms05"]).len()
    );

    let (code, _, said) = machine.run("reclassify", &["--thresholds", OTHER, "--write"]);
    assert!(code == Some(2) && said.contains("nothing was written: stop gaitway first"), "{said}");
    assert_eq!(machine.rows() as usize, windows);
    assert!(up.terminate(Signal::SIGTERM).success());

    let written = machine.report(0, &["--thresholds", OTHER, "--write"]);
    assert_eq!(written["written"].as_u64(), Some(windows as u64));
    assert_eq!(machine.rows() as usize, 2 * windows);
    let shown = machine.shown();
    assert_eq!(shown.keys().collect::<Vec<_>>(), machine.golden.keys().collect::<Vec<_>>());
    for (key, (_, mean, _)) in &machine.golden {
        let (activity, shown, revision) = &shown[key];
        assert_eq!((activity.as_str(), *revision), (label(*mean, bounds), 1), "{key:?}");
        assert!((shown - mean).abs() <= 1e-9 * mean);
    }
    let connection = open(&machine.warehouse());
    let names: (i64, i64, i64, i64) = connection
        .query_row(
            "SELECT count(DISTINCT RECORD_METADATA ->> 'epoch'), min(RECORD_METADATA ->> 'seq'),
                    max(RECORD_METADATA ->> 'seq'), count(DISTINCT agentId)
               FROM USER_ACTIVITY_PROCESSED
              WHERE RECORD_METADATA ->> 'agent' = 'reclassify' AND classifier = 'threshold(1/9.5/20)' AND revision = 1",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        )
        .unwrap();
    assert_eq!(names, (1, 1, windows as i64, 1), "one run, named without a hole, of one agent's windows");
    machine.assert_adds_up(windows);

    let again = machine.report(0, &["--thresholds", OTHER, "--write"]);
    assert_eq!((again["changes"].as_u64(), again["written"].as_u64()), (Some(0), Some(0)));
    assert_eq!(machine.rows() as usize, 2 * windows);
    // And back: a revision above the last one.
    let back = machine.report(0, &["--write"]);
    assert_eq!(back["written"].as_u64(), Some(windows as u64));
    let shown = machine.shown();
    assert!(machine.golden.iter().all(|(key, (was, ..))| shown[key].0 == *was && shown[key].2 == 2));

    // What lives goes on beside the revisions, from revision 0.
    let mut up = Process::up(&machine.data(), &["--config", machine.config().to_str().unwrap()]);
    let person = data("har/motionsense/ms08");
    let (code, shown, said) = gaitway(&["replay", "--to", &up.push_url(), "--speed", "max", person.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{shown}{said}");
    await_drained(&machine.data().join("agent/spool.db"));
    let (code, doctor, said) = machine.run("doctor", &[]);
    assert!(!doctor.contains("reclassify") && code.is_some(), "{doctor}{said}");
    assert!(up.terminate(Signal::SIGTERM).success());
    let of_three = golden("golden/motionsense/windows.csv", &["phone-ms02", "phone-ms05", "phone-ms08"]).len();
    machine.assert_adds_up(of_three);
    assert_eq!(machine.report(0, &[])["windows"].as_u64(), Some(of_three as u64));
    let (code, shown, said) =
        machine.run("tail", &["activity", "--at", "warehouse", "--from-start", "--no-follow", "--json"]);
    assert_eq!(code, Some(0), "{said}");
    let revised = shown.lines().filter(|line| line.contains(r#""agent":"reclassify""#));
    assert_eq!(revised.count(), 2 * windows, "both runs are shown");
}

#[test]
fn late_messages_are_late_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut up = Process::up(dir.path(), &[]);
    let pushes = data("golden/late/pushes.ndjson.gz");
    let (code, ..) = gaitway(&["replay", "--to", &up.push_url(), "--speed", "max", pushes.to_str().unwrap()]);
    assert_eq!(code, Some(0));
    let expected = golden("golden/late/windows.csv", &[]);
    let spool = dir.path().join("agent/spool.db");
    await_drained(&spool);
    let args = ["reclassify", "--data-dir", dir.path().to_str().unwrap(), "--json"];
    let (code, shown, said) = gaitway(&args);
    assert_eq!(code, Some(0), "{shown}{said}");
    let report: Value = serde_json::from_str(&shown).unwrap();
    // Silence closed the last ones, which Spark leaves open.
    let told = count(&dir.path().join("warehouse.db"), "SELECT count(*) FROM USER_ACTIVITY_PROCESSED");
    assert!(told as usize > expected.len());
    assert_eq!(report["windows"].as_i64(), Some(told), "{report}");
    assert_eq!((&report["changes"], &report["measuredAnew"], &report["onlyThere"]), (&0.into(), &0.into(), &0.into()));
    // Were what is late not known, counts would differ.
    let late =
        "SELECT sum(late) FROM (SELECT 5 * count(*) - (SELECT sum(sampleCount) FROM USER_ACTIVITY_PROCESSED) AS late
                  FROM ACTIVITY_RECORDS WHERE sensorType = 'accelerometer')";
    assert!(count(&dir.path().join("warehouse.db"), late) > 0);
    assert!(up.terminate(Signal::SIGTERM).success());
    let (code, shown, _) = gaitway(&["reclassify", "--data-dir", dir.path().to_str().unwrap(), "--thresholds", OTHER]);
    assert_eq!(code, Some(1));
    assert!(shown.contains("nothing was written: --write stores them as next revisions"), "{shown}");
}

#[test]
fn windows_whose_readings_are_gone_are_labelled_by_their_stored_mean() {
    let machine = Machine::filled();
    let warehouse = Connection::open(machine.warehouse()).unwrap();
    // The first half of one session as retention deletes it, in the middle of a push; all of the other as if withheld.
    warehouse
        .execute_batch(
            "DELETE FROM ACTIVITY_RECORDS WHERE deviceId = 'phone-ms05';
             DELETE FROM ACTIVITY_RECORDS WHERE deviceId = 'phone-ms02' AND rowid <=
               (SELECT (min(rowid) + max(rowid)) / 2 + 7 FROM ACTIVITY_RECORDS WHERE deviceId = 'phone-ms02');",
        )
        .unwrap();
    let left: i64 = warehouse.query_row("SELECT min(timestamp) FROM ACTIVITY_RECORDS", [], |row| row.get(0)).unwrap();
    drop(warehouse);
    assert_eq!(machine.report(0, &[])["changes"], 0, "nothing is known better");
    let report = machine.report(0, &["--thresholds", OTHER, "--write"]);
    assert_eq!(told_transitions(&report), transitions(&machine.golden, [1.0, 9.5, 20.0]));
    assert_eq!(report["measuredAnew"], 0);
    let gone = |(device, end): &(String, String)| {
        let end: jiff::Timestamp = format!("{}Z", end.replace(' ', "T")).parse().unwrap();
        device == "phone-ms05" || end.as_nanosecond() - 10_000_000_000 < i128::from(left)
    };
    let expected = machine.golden.keys().filter(|key| gone(key)).count() as u64;
    assert_eq!(report["byMean"].as_u64(), Some(expected));
    let shown = machine.shown();
    for (key, (_, mean, _)) in &machine.golden {
        assert_eq!(shown[key].0, label(*mean, [1.0, 9.5, 20.0]), "{key:?}");
    }
    assert_eq!(machine.report(0, &["--thresholds", OTHER])["changes"], 0);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in ["warehouse.db", "warehouse.db-wal"] {
        let _ = std::fs::remove_file(to.join(name));
        if from.join(name).exists() {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
    let _ = std::fs::remove_file(to.join("warehouse.db-shm"));
}

#[test]
fn a_run_that_is_killed_wrote_nothing_or_everything() {
    let machine = Machine::filled();
    let windows = machine.golden.len() as i64;
    let seed = setting("GAITWAY_SEED", 7);
    let mut random = Random::new(seed);
    let dir = machine.dir.path().join("killed");
    let warehouse = dir.join("warehouse.db");
    let args = ["reclassify", "--data-dir", dir.to_str().unwrap(), "--thresholds", OTHER, "--write"];
    copy(&machine.data(), &dir);
    let began = Instant::now();
    assert_eq!(gaitway(&args).0, Some(0));
    let whole = began.elapsed();
    let mut before = 0;
    for kill in 0..setting("GAITWAY_KILLS", KILLS) {
        copy(&machine.data(), &dir);
        let mut run = Command::new(env!("CARGO_BIN_EXE_gaitway")).args(args).stdout(Stdio::null()).spawn().unwrap();
        // Half of them near the end, where the commit is.
        let share = if kill % 2 == 0 { 0.85 + random.share() * 0.25 } else { random.share() };
        std::thread::sleep(whole.mul_f64(share));
        run.kill().unwrap();
        run.wait().unwrap();
        let rows = count(&warehouse, "SELECT count(*) FROM USER_ACTIVITY_PROCESSED WHERE revision > 0");
        assert!(rows == 0 || rows == windows, "{rows} of {windows} revisions, seed {seed}");
        before += u32::from(rows == 0);
        let (code, shown, said) = gaitway(&args);
        assert_eq!(code, Some(0), "{shown}{said}");
        let rows = count(&warehouse, "SELECT count(*) FROM USER_ACTIVITY_PROCESSED WHERE revision = 1");
        let all = count(&warehouse, "SELECT count(*) FROM USER_ACTIVITY_PROCESSED");
        assert_eq!((rows, all), (windows, 2 * windows), "seed {seed}");
    }
    assert!(before > 0, "no kill met a run at work, seed {seed}");
}

#[test]
fn what_cannot_be_asked_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = dir.path().join("nowhere");
    let (code, _, said) = gaitway(&["reclassify", "--data-dir", nowhere.to_str().unwrap()]);
    assert!(code == Some(2) && said.contains("there is no warehouse"), "{said}");
    let (code, _, said) = gaitway(&["reclassify", "--thresholds", "9/2/1"]);
    assert!(code == Some(2) && said.contains("each greater than the one before"), "{said}");
    let snowflake = dir.path().join("sink.toml");
    let key = "account = \"A-B\"\nuser = \"U\"\nprivate_key_file = \"/k\"\n";
    std::fs::write(&snowflake, format!("warehouse = \"snowflake\"\n[kafka]\nbrokers = \"k:9092\"\n[snowflake]\n{key}"))
        .unwrap();
    for more in [&[][..], &["--write"]] {
        let (code, _, said) = gaitway(&[&["reclassify", "--config", snowflake.to_str().unwrap()], more].concat());
        assert!(code == Some(2) && said.contains("readings in Snowflake are not read"), "{said}");
        assert!(said.contains("deploy/spark/reclassify.py"), "{said}");
    }
}
