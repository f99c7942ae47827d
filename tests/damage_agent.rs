//! Spools that are hurt under a real agent: it goes on, and everything that was not destroyed arrives exactly once.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use harness::await_that;
use harness::http;
use harness::phone::{Phone, Pushed, push};
use harness::process::Process;
use harness::warehouse::{assert_no_duplicates, await_drained, count, message_ids};
use nix::sys::signal::Signal;

const NOWHERE: &str = "mqtt://127.0.0.1:1";

fn gaitway(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gaitway")).args(args).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Overwrites the first page of a table.
fn wreck(spool: &Path, table: &str) {
    let root = count(spool, &format!("SELECT rootpage FROM sqlite_schema WHERE name = '{table}'")) as u64;
    let size = count(spool, "PRAGMA page_size") as u64;
    let file = OpenOptions::new().write(true).open(spool).unwrap();
    file.write_all_at(&vec![0xa5; size as usize], (root - 1) * size).unwrap();
}

/// The spools set aside in `dir`.
fn aside(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().contains(".damaged-"))
        .filter(|path| !path.to_str().unwrap().ends_with("-wal"))
        .collect();
    found.sort();
    found
}

fn salvage(file: &Path, dir: &Path) -> String {
    let output = gaitway(&["agent", "spool", "salvage", file.to_str().unwrap(), "--data-dir", dir.to_str().unwrap()]);
    assert!(output.status.success(), "{}", said(&output));
    said(&output)
}

fn ids(pushed: &Pushed) -> std::collections::BTreeSet<u64> {
    pushed.keys().copied().collect()
}

#[test]
fn a_spool_damaged_while_stopped_is_set_aside_and_what_is_left_of_it_is_salvaged() {
    let dir = tempfile::tempdir().unwrap();
    let [agent_dir, relay_dir] = ["agent", "relay"].map(|name| dir.path().join(name));
    let (phone, mut pushed) = (Phone::new(1, 91), Pushed::new());
    let spool = agent_dir.join("spool.db");

    let mut agent = Process::agent(&agent_dir, NOWHERE, &["--agent-id", "attic"]);
    push(&agent.agent_push_url(), &phone, 0..40, &mut pushed);
    assert!(agent.terminate(Signal::SIGTERM).success());
    let whole = gaitway(&["agent", "spool", "check", "--data-dir", agent_dir.to_str().unwrap()]);
    assert!(whole.status.success() && said(&whole).contains("whole"), "{}", said(&whole));

    // The header is gone, and a stretch in the middle.
    let file = OpenOptions::new().write(true).open(&spool).unwrap();
    let length = file.metadata().unwrap().len();
    file.write_all_at(b"not a database at all", 0).unwrap();
    file.write_all_at(&[0; 9000], length / 2).unwrap();
    drop(file);
    let check = gaitway(&["agent", "spool", "check", spool.to_str().unwrap(), "--json"]);
    assert_eq!(check.status.code(), Some(1), "{}", said(&check));
    let report: serde_json::Value = serde_json::from_slice(&check.stdout).unwrap();
    assert!(!report["problems"].as_array().unwrap().is_empty(), "{report}");

    let mut relay = Process::up(&relay_dir, &[]);
    let relay_url = format!("mqtt://{}", relay.mqtt_address());
    let mut agent = Process::agent(&agent_dir, &relay_url, &[]);
    let url = agent.agent_push_url();
    let sentence = agent.logged("the damage", |event| {
        let message = event["message"].as_str()?;
        (event["level"] == "ERROR" && message.contains("is damaged")).then(|| message.to_owned())
    });
    let [set_aside] = &aside(&agent_dir)[..] else { panic!("{:?}", aside(&agent_dir)) };
    let set_aside = set_aside.clone();
    assert!(sentence.contains(set_aside.to_str().unwrap()) && sentence.contains("spool salvage"), "{sentence}");
    let ready = http::get(&url.replace("/data", "/readyz")).unwrap().1;
    assert!(ready.contains("set aside") || ready.contains("lies in"), "{ready}");
    agent.logged("the id", |event| (event["agent"] == "attic").then_some(()));
    push(&url, &phone, 40..50, &mut pushed);
    assert!(agent.terminate(Signal::SIGTERM).success());

    let before = std::fs::read(&set_aside).unwrap();
    salvage(&set_aside, &agent_dir);
    let again = salvage(&set_aside, &agent_dir);
    assert!(again.contains("brought: 0 pushes"), "{again}");
    assert_eq!(std::fs::read(&set_aside).unwrap(), before, "only read");

    let mut agent = Process::agent(&agent_dir, &relay_url, &[]);
    agent.agent_push_url();
    await_that("the spool is drained", || count(&spool, "SELECT count(*) FROM raw") == 0);
    let warehouse = relay_dir.join("warehouse.db");
    let stored = message_ids(&warehouse, &phone);
    let lost = count(&warehouse, "SELECT ifnull(sum(messages), 0) FROM GAPS WHERE stream = 'raw'");
    assert!(lost > 0 && stored.len() > 25, "{lost} lost, {stored:?} stored");
    assert!(stored.is_subset(&ids(&pushed)));
    // What stood behind the last frame that is left cannot be known to have been there.
    assert!(stored.len() as i64 + lost <= 50);
    assert!((40..50).all(|id| stored.contains(&id)));
    assert_no_duplicates(&warehouse);
}

#[test]
fn a_spool_damaged_while_in_use_is_replaced_without_a_restart_and_everything_arrives_once() {
    let dir = tempfile::tempdir().unwrap();
    let [agent_dir, relay_dir] = ["agent", "relay"].map(|name| dir.path().join(name));
    let phones = [Phone::new(1, 92), Phone::new(2, 92), Phone::new(3, 92)];
    let mut pushed = [Pushed::new(), Pushed::new(), Pushed::new()];
    let spool = agent_dir.join("spool.db");
    let quick = dir.path().join("quick.toml");
    std::fs::write(&quick, "[windows]\nsilence = \"300ms\"\n").unwrap();
    let quick = ["--config", quick.to_str().unwrap()];

    let mut agent = Process::agent(&agent_dir, NOWHERE, &[]);
    let url = agent.agent_push_url();
    for (phone, pushed) in phones.iter().zip(&mut pushed) {
        push(&url, phone, 0..30, pushed);
    }
    assert!(agent.terminate(Signal::SIGTERM).success());

    // What is not in memory yet is damaged under the agent's feet.
    let mut agent = Process::agent(&agent_dir, NOWHERE, &[]);
    let url = agent.agent_push_url();
    wreck(&spool, "session");
    let begun = [30, 31, 32].map(|id| {
        let (url, body) = (url.clone(), phones[0].body(id, &phones[0].message(id)));
        let push = move || http::post(&url, &body).unwrap();
        std::thread::Builder::new().name(format!("phone {id}")).spawn(push).unwrap()
    });
    for (id, answer) in (30..).zip(begun) {
        assert_eq!(answer.join().unwrap().0, 200, "under way when the damage was met");
        pushed[0].insert(id, phones[0].message(id));
    }
    let [set_aside] = &aside(&agent_dir)[..] else { panic!("{:?}", aside(&agent_dir)) };
    for (phone, pushed) in phones.iter().zip(&mut pushed) {
        push(&url, phone, 33..60, pushed);
    }
    let metrics = http::get(&url.replace("/data", "/metrics")).unwrap().1;
    assert!(metrics.contains("gaitway_agent_lost_spools_total 1\n"), "{metrics}");
    assert_eq!(metrics.matches("# TYPE gaitway_agent_uplink_hellos ").count(), 1, "registered once");
    assert!(agent.terminate(Signal::SIGTERM).success());

    let brought = salvage(set_aside, &agent_dir);
    let mut relay = Process::up(&relay_dir, &[]);
    let mut agent = Process::agent(&agent_dir, &format!("mqtt://{}", relay.mqtt_address()), &quick);
    agent.agent_push_url();
    await_drained(&spool);
    let warehouse = relay_dir.join("warehouse.db");
    for (phone, pushed) in phones.iter().zip(&pushed) {
        assert_eq!(message_ids(&warehouse, phone), ids(pushed), "{brought}");
    }
    assert_no_duplicates(&warehouse);
    assert_eq!(count(&warehouse, "SELECT count(*) FROM GAPS"), 0);
    assert!(agent.log().iter().all(|event| !event["message"].as_str().unwrap_or_default().contains("is a copy")));
}

#[test]
fn a_spool_that_vanishes_or_is_replaced_while_in_use_is_noticed_before_anybody_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let [agent_dir, relay_dir, moved] = ["agent", "relay", "moved"].map(|name| dir.path().join(name));
    let (phone, mut pushed) = (Phone::new(1, 93), Pushed::new());
    let spool = agent_dir.join("spool.db");
    let mut agent = Process::agent(&agent_dir, NOWHERE, &[]);
    let url = agent.agent_push_url();
    push(&url, &phone, 0..10, &mut pushed);

    // The whole directory goes away.
    std::fs::rename(&agent_dir, &moved).unwrap();
    push(&url, &phone, 10..20, &mut pushed);
    assert_eq!(count(&spool, "SELECT count(*) FROM raw"), 10, "in a new file at the path");
    let ids_kept = [&agent_dir, &moved].map(|dir| std::fs::read_to_string(dir.join("agent-id")).unwrap());
    assert_eq!(ids_kept[0], ids_kept[1]);

    // The new file is replaced by an empty spool.
    let other = dir.path().join("other");
    let mut agent_of_other = Process::agent(&other, NOWHERE, &["--agent-id", ids_kept[0].trim()]);
    agent_of_other.agent_push_url();
    assert!(agent_of_other.terminate(Signal::SIGTERM).success());
    let former = dir.path().join("former.db");
    std::fs::rename(&spool, &former).unwrap();
    std::fs::rename(other.join("spool.db"), &spool).unwrap();
    push(&url, &phone, 20..30, &mut pushed);
    assert_eq!(count(&spool, "SELECT count(*) FROM raw"), 10);
    assert!(count(&spool, "SELECT max(ordinal) FROM start") > 1, "opened as what it is");
    assert!(agent.terminate(Signal::SIGTERM).success());

    // The log of the file that was replaced was set aside; it belongs to what was moved away by hand.
    let logs: Vec<PathBuf> = std::fs::read_dir(&agent_dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().contains(".damaged-"))
        .collect();
    let [log] = &logs[..] else { panic!("{logs:?}") };
    std::fs::rename(log, dir.path().join("former.db-wal")).unwrap();
    let brought = [salvage(&former, &agent_dir), salvage(&moved.join("spool.db"), &agent_dir)];
    let mut relay = Process::up(&relay_dir, &[]);
    let mut agent = Process::agent(&agent_dir, &format!("mqtt://{}", relay.mqtt_address()), &[]);
    agent.agent_push_url();
    await_that("the spool is drained", || count(&spool, "SELECT count(*) FROM raw") == 0);
    let warehouse = relay_dir.join("warehouse.db");
    assert_eq!(message_ids(&warehouse, &phone), ids(&pushed), "{brought:?}");
    assert_no_duplicates(&warehouse);
    assert_eq!(count(&warehouse, "SELECT ifnull(sum(messages), 0) FROM GAPS"), 0);
}

/// A push of `seconds` of readings, with a `messageId` or without.
fn walk(session: &str, id: Option<u64>, seconds: i64) -> String {
    let reading = |tick: i64| {
        let time = 1_760_000_000_000_000_000 + tick * 20_000_000;
        serde_json::json!({"name": "accelerometer", "time": time, "values": {"x": tick % 7, "y": 4, "z": 0}})
    };
    let readings: Vec<_> = (0..50 * seconds).map(reading).collect();
    let mut push = serde_json::json!({"deviceId": "phone", "sessionId": session, "payload": readings});
    if let Some(id) = id {
        push["messageId"] = id.into();
    }
    push.to_string()
}

#[test]
fn what_a_lost_spool_held_of_an_unanswered_push_is_not_told_twice_after_its_salvage() {
    let dir = tempfile::tempdir().unwrap();
    let [agent_dir, relay_dir] = ["agent", "relay"].map(|name| dir.path().join(name));
    let (spool, elsewhere) = (agent_dir.join("spool.db"), dir.path().join("elsewhere.db"));
    let (with_log, moved_log) = (agent_dir.join("spool.db-wal"), dir.path().join("elsewhere.db-wal"));
    let quick = dir.path().join("quick.toml");
    std::fs::write(&quick, "[windows]\nsilence = \"300ms\"\n").unwrap();

    let mut agent = Process::agent(&agent_dir, NOWHERE, &[]);
    let url = agent.agent_push_url();
    assert_eq!(http::post(&url, &walk("before", Some(0), 60)).unwrap().0, 200);
    for (round, push) in [walk("new", Some(0), 60), walk("nameless", None, 30)].into_iter().enumerate() {
        let to = [&elsewhere, &dir.path().join("again.db")][round].clone();
        std::fs::rename(&spool, &to).unwrap();
        assert_eq!(http::post(&url, &push).unwrap().0, 200);
    }
    assert!(agent.terminate(Signal::SIGTERM).success());
    // Their logs were set aside; each belongs to the file that was moved by hand.
    let mut logs: Vec<PathBuf> = std::fs::read_dir(&agent_dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().contains(".damaged-"))
        .collect();
    // Of two in one second the later has a longer name.
    logs.sort_by_key(|log| (log.as_os_str().len(), log.clone()));
    assert_eq!(logs.len(), 2, "{logs:?}");
    assert!(!with_log.exists());
    std::fs::rename(&logs[0], &moved_log).unwrap();
    std::fs::rename(&logs[1], dir.path().join("again.db-wal")).unwrap();
    let brought = [salvage(&elsewhere, &agent_dir), salvage(&dir.path().join("again.db"), &agent_dir)];

    let mut relay = Process::up(&relay_dir, &[]);
    let quick = ["--config", quick.to_str().unwrap()];
    let mut agent = Process::agent(&agent_dir, &format!("mqtt://{}", relay.mqtt_address()), &quick);
    agent.agent_push_url();
    await_drained(&spool);
    let warehouse = relay_dir.join("warehouse.db");
    assert_eq!(count(&warehouse, "SELECT count(*) FROM ACTIVITY_RECORDS"), 50 * (60 + 60 + 30), "{brought:?}");
    let windows = |session: &str| {
        count(&warehouse, &format!("SELECT count(*) FROM USER_ACTIVITY_PROCESSED WHERE sessionId = '{session}'"))
    };
    assert!(windows("before") > 0 && windows("new") > 0, "{brought:?}");
    assert_no_duplicates(&warehouse);
}

#[test]
fn what_people_do_with_a_damaged_spool_by_mistake_is_met_with_advice() {
    let dir = tempfile::tempdir().unwrap();
    let agent_dir = dir.path().join("agent");
    let (phone, mut pushed) = (Phone::new(1, 97), Pushed::new());
    let mut agent = Process::agent(&agent_dir, NOWHERE, &[]);
    push(&agent.agent_push_url(), &phone, 0..30, &mut pushed);
    let spool = agent_dir.join("spool.db");
    let of_log = gaitway(&["agent", "spool", "check", agent_dir.join("spool.db-wal").to_str().unwrap()]);
    assert!(of_log.status.success(), "a log stands for its spool: {}", said(&of_log));
    assert!(agent.terminate(Signal::SIGTERM).success());

    // A reader that has enough.
    let export = ["agent", "spool", "export", spool.to_str().unwrap()];
    let mut export =
        Command::new(env!("CARGO_BIN_EXE_gaitway")).args(export).stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(export.stdout.take());
    assert!(export.wait().unwrap().success());

    // A mistyped directory.
    let copy = dir.path().join("copy.db");
    std::fs::copy(&spool, &copy).unwrap();
    let nowhere = dir.path().join("agnet");
    let args = ["agent", "spool", "salvage", copy.to_str().unwrap(), "--data-dir", nowhere.to_str().unwrap()];
    let refused = gaitway(&args);
    assert!(!refused.status.success() && said(&refused).contains("no agent's data directory"), "{}", said(&refused));
    assert!(!nowhere.exists());

    // Nothing but the log is left: exporting leaves it.
    let (empty, log) = (dir.path().join("empty.db"), dir.path().join("empty.db-wal"));
    std::fs::write(&empty, "").unwrap();
    std::fs::write(&log, [7; 5000]).unwrap();
    gaitway(&["agent", "spool", "export", empty.to_str().unwrap()]);
    assert_eq!(std::fs::read(&log).unwrap(), [7; 5000]);

    // The agent's own spool.
    std::fs::write(&spool, "").unwrap();
    let own = gaitway(&["agent", "spool", "check", "--data-dir", agent_dir.to_str().unwrap()]);
    assert_eq!(own.status.code(), Some(1));
    assert!(said(&own).contains("start the agent") && !said(&own).contains("salvage"), "{}", said(&own));
}

#[test]
fn a_newer_a_foreign_and_a_read_only_spool_are_refused_in_one_sentence_and_left_untouched() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let refused = |dir: &Path, as_nobody: bool| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gaitway"));
        command.args(["agent", "--http", "127.0.0.1:0", "--relay", NOWHERE, "--data-dir"]).arg(dir);
        if as_nobody {
            command.uid(65534).gid(65534);
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.lines().count() == 1 && said.contains(dir.to_str().unwrap()), "{said}");
        said
    };
    let make = |name: &str, sql: &str| {
        let dir = dir.path().join(name);
        std::fs::create_dir(&dir).unwrap();
        let connection = rusqlite::Connection::open(dir.join("spool.db")).unwrap();
        connection.execute_batch(sql).unwrap();
        connection.close().unwrap();
        let before = std::fs::read(dir.join("spool.db")).unwrap();
        (dir, before)
    };
    let (newer, before) =
        make("newer", "PRAGMA application_id = 0x67777370; PRAGMA user_version = 99; CREATE TABLE raw(a)");
    assert!(refused(&newer, false).contains("install the newer gaitway"));
    assert_eq!(std::fs::read(newer.join("spool.db")).unwrap(), before);
    let (foreign, before) = make("foreign", "CREATE TABLE t(a); INSERT INTO t VALUES(1)");
    assert!(refused(&foreign, false).contains("no spool of gaitway"));
    assert_eq!(std::fs::read(foreign.join("spool.db")).unwrap(), before);

    // Whoever may only read.
    let only_read = dir.path().join("read-only");
    let mut agent = Process::agent(&only_read, NOWHERE, &[]);
    agent.agent_push_url();
    assert!(agent.terminate(Signal::SIGTERM).success());
    let before = std::fs::read(only_read.join("spool.db")).unwrap();
    let mode = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    mode(&only_read, 0o755);
    mode(&only_read.join("spool.db"), 0o444);
    mode(&only_read.join(".lock"), 0o666);
    assert!(refused(&only_read, true).contains("right to write"));
    mode(&only_read.join(".lock"), 0o444);
    assert!(refused(&only_read, true).contains("writable"));
    assert_eq!(std::fs::read(only_read.join("spool.db")).unwrap(), before);
}

#[test]
fn an_export_writes_every_reading_of_a_spool_that_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let (phone, mut pushed) = (Phone::new(1, 94), Pushed::new());
    let mut agent = Process::agent(dir.path(), NOWHERE, &[]);
    push(&agent.agent_push_url(), &phone, 0..20, &mut pushed);
    let (spool, to) = (dir.path().join("spool.db"), dir.path().join("raw.ndjson"));
    let (spool, to) = (spool.to_str().unwrap(), to.to_str().unwrap());
    let check = gaitway(&["agent", "spool", "check", spool]);
    assert!(check.status.success(), "{}", said(&check));
    let export = gaitway(&["agent", "spool", "export", spool, "--stream", "raw", "--output", to]);
    assert!(export.status.success(), "{}", said(&export));
    let readings: usize = pushed.values().map(Vec::len).sum();
    let text = std::fs::read_to_string(to).unwrap();
    assert_eq!(text.lines().count(), readings);
    let again = gaitway(&["agent", "spool", "export", spool, "--stream", "raw"]);
    assert_eq!(String::from_utf8(again.stdout).unwrap(), text, "the same on standard output");
    assert!(agent.terminate(Signal::SIGTERM).success());
}

#[test]
fn spools_that_are_lost_again_and_again_end_the_process_with_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let agent_dir = dir.path().join("agent");
    let phone = Phone::new(1, 95);
    let mut agent = Process::agent(&agent_dir, NOWHERE, &[]);
    let url = agent.agent_push_url();
    let spool = agent_dir.join("spool.db");
    push(&url, &phone, 0..3, &mut Pushed::new());
    for lost in 1..=2 {
        std::fs::remove_file(&spool).unwrap();
        push(&url, &phone, 3 * lost..3 * lost + 3, &mut Pushed::new());
        assert!(spool.exists());
    }
    std::fs::remove_file(&spool).unwrap();
    // Nobody is told that it was kept.
    let answer = http::post(&url, &phone.body(9, &phone.message(9)));
    assert!(answer.is_err() || answer.is_ok_and(|(status, _)| status != 200));
    assert_eq!(agent.wait().code(), Some(1));
}

#[test]
fn a_spool_that_is_gone_at_the_start_is_begun_anew_under_the_same_name() {
    let dir = tempfile::tempdir().unwrap();
    let (phone, mut pushed) = (Phone::new(1, 96), Pushed::new());
    let mut agent = Process::agent(dir.path(), NOWHERE, &["--agent-id", "attic"]);
    push(&agent.agent_push_url(), &phone, 0..3, &mut pushed);
    assert!(agent.terminate(Signal::SIGTERM).success());
    std::fs::remove_file(dir.path().join("spool.db")).unwrap();
    let mut agent = Process::agent(dir.path(), NOWHERE, &[]);
    agent.agent_push_url();
    agent.logged("the id", |event| (event["agent"] == "attic").then_some(()));
    let takes_its_place =
        |event: &serde_json::Value| event["message"].as_str()?.contains("takes the place").then_some(());
    agent.logged("what that means for windows", takes_its_place);
    assert!(agent.terminate(Signal::SIGTERM).success());
}
