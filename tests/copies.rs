//! Data directories that are restored, cloned or copied while they are in use, and relays that know nothing of them:
//! nothing lost, nothing doubled.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;

use std::path::Path;

use harness::await_that;
use harness::phone::{Phone, Pushed, push};
use harness::process::Process;
use harness::proxy::Proxy;
use harness::warehouse::{assert_exact, assert_no_duplicates, await_drained, count, message_ids, open};
use nix::sys::signal::Signal;

const SILENT_AGENT: &str = "[windows]\nsilence = \"300ms\"\n";

fn config(dir: &Path, text: &str) -> String {
    let path = dir.join(format!("config-{}.toml", text.len()));
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Copies a data directory of a stopped agent.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn a_restored_older_copy_loses_nothing_and_doubles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let [agent_dir, backup, relay_dir] = ["agent", "backup", "relay"].map(|name| dir.path().join(name));
    let mut relay = Process::up(&relay_dir, &[]);
    let relay_url = format!("mqtt://{}", relay.mqtt_address());
    let quick = config(dir.path(), SILENT_AGENT);
    let (phone, mut pushed) = (Phone::new(1, 11), Pushed::new());

    let mut agent = Process::agent(&agent_dir, &relay_url, &[]);
    push(&agent.agent_push_url(), &phone, 0..30, &mut pushed);
    assert!(agent.terminate(Signal::SIGTERM).success());
    copy(&agent_dir, &backup);

    // The original goes on and tells the windows that the backup still holds open.
    let mut agent = Process::agent(&agent_dir, &relay_url, &["--config", &quick]);
    push(&agent.agent_push_url(), &phone, 30..60, &mut pushed);
    await_drained(&agent_dir.join("spool.db"));
    assert!(agent.terminate(Signal::SIGTERM).success());
    let warehouse = relay_dir.join("warehouse.db");
    let windows = count(&warehouse, "SELECT count(*) FROM USER_ACTIVITY_PROCESSED");

    // The card dies, the backup is put in its place: it has forgotten messages 30 to 59.
    std::fs::remove_dir_all(&agent_dir).unwrap();
    copy(&backup, &agent_dir);
    let mut agent = Process::agent(&agent_dir, &relay_url, &["--config", &quick]);
    let url = agent.agent_push_url();
    agent.logged("the copy", |event| event["message"].as_str()?.contains("is a copy").then_some(()));
    push(&url, &phone, 60..90, &mut pushed);
    await_drained(&agent_dir.join("spool.db"));
    assert_eq!(message_ids(&warehouse, &phone), pushed.keys().copied().collect());
    assert_no_duplicates(&warehouse);
    assert!(count(&warehouse, "SELECT count(*) FROM USER_ACTIVITY_PROCESSED") > windows, "new windows are told");
    assert!(relay.terminate(Signal::SIGTERM).success());
}

#[test]
fn starts_that_never_reached_a_relay_do_not_hide_that_a_backup_is_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    let [agent_dir, backup, relay_dir] = ["agent", "backup", "relay"].map(|name| dir.path().join(name));
    let mut relay = Process::up(&relay_dir, &[]);
    let relay_url = format!("mqtt://{}", relay.mqtt_address());
    let proxy = Proxy::new();
    let quick = config(dir.path(), SILENT_AGENT);
    let (phone, mut pushed) = (Phone::new(7, 31), Pushed::new());
    let spool = agent_dir.join("spool.db");
    let all_closed = || await_that("windows close", || count(&spool, "SELECT count(*) FROM session WHERE open") == 0);

    // The relay hears of start 1, which leaves windows open.
    let mut agent = Process::agent(&agent_dir, &relay_url, &[]);
    push(&agent.agent_push_url(), &phone, 0..30, &mut pushed);
    await_that("start 1 is drained", || count(&spool, "SELECT count(*) FROM raw") == 0);
    assert!(agent.terminate(Signal::SIGTERM).success());
    copy(&agent_dir, &backup);

    // It does not hear of start 2, which closes them, and start 3 sends what start 2 left.
    let mut agent = Process::agent(&agent_dir, &proxy.url(), &["--config", &quick]);
    push(&agent.agent_push_url(), &phone, 30..45, &mut pushed);
    all_closed();
    assert!(agent.terminate(Signal::SIGTERM).success());
    let mut agent = Process::agent(&agent_dir, &relay_url, &["--config", &quick]);
    push(&agent.agent_push_url(), &phone, 45..60, &mut pushed);
    await_drained(&spool);
    assert!(agent.terminate(Signal::SIGTERM).success());
    let warehouse = relay_dir.join("warehouse.db");
    let windows = || count(&warehouse, "SELECT count(*) FROM USER_ACTIVITY_PROCESSED");
    let told = windows();
    assert_no_duplicates(&warehouse);

    // The backup comes back twice: at once towards the relay, and after a start that closes windows without it.
    for (offline, ids) in [(None, 60..90), (Some(90..105), 105..120)] {
        std::fs::remove_dir_all(&agent_dir).unwrap();
        copy(&backup, &agent_dir);
        if let Some(ids) = offline {
            let mut agent = Process::agent(&agent_dir, &proxy.url(), &["--config", &quick]);
            push(&agent.agent_push_url(), &phone, ids, &mut pushed);
            all_closed();
            assert!(count(&spool, "SELECT count(*) FROM activity WHERE inherited") > 0);
            assert!(agent.terminate(Signal::SIGTERM).success());
        }
        let mut agent = Process::agent(&agent_dir, &relay_url, &["--config", &quick]);
        let url = agent.agent_push_url();
        agent.logged("the copy", |event| event["message"].as_str()?.contains("is a copy").then_some(()));
        push(&url, &phone, ids, &mut pushed);
        await_drained(&spool);
        assert_eq!(message_ids(&warehouse, &phone), pushed.keys().copied().collect());
        assert_no_duplicates(&warehouse);
        assert!(windows() > told, "new windows are told");
        assert!(agent.terminate(Signal::SIGTERM).success());
    }
    assert!(relay.terminate(Signal::SIGTERM).success());
}

#[test]
fn a_clone_running_beside_the_first_loses_nothing_and_doubles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let [first_dir, clone_dir, relay_dir] = ["first", "clone", "relay"].map(|name| dir.path().join(name));
    let mut relay = Process::up(&relay_dir, &[]);
    let relay_url = format!("mqtt://{}", relay.mqtt_address());
    let quick = config(dir.path(), SILENT_AGENT);
    let phones = [Phone::new(1, 13), Phone::new(2, 13)];
    let mut pushed = [Pushed::new(), Pushed::new()];

    let mut agent = Process::agent(&first_dir, &relay_url, &[]);
    let url = agent.agent_push_url();
    for (phone, pushed) in phones.iter().zip(&mut pushed) {
        push(&url, phone, 0..30, pushed);
    }
    assert!(agent.terminate(Signal::SIGTERM).success());
    copy(&first_dir, &clone_dir);

    // Both hold the same frames and the same open windows, and each hears one phone from now on.
    let mut first = Process::agent(&first_dir, &relay_url, &["--config", &quick]);
    let mut clone = Process::agent(&clone_dir, &relay_url, &["--config", &quick]);
    push(&first.agent_push_url(), &phones[0], 30..60, &mut pushed[0]);
    push(&clone.agent_push_url(), &phones[1], 30..60, &mut pushed[1]);
    await_drained(&first_dir.join("spool.db"));
    await_drained(&clone_dir.join("spool.db"));
    let warehouse = relay_dir.join("warehouse.db");
    for (phone, pushed) in phones.iter().zip(&pushed) {
        assert_eq!(message_ids(&warehouse, phone), pushed.keys().copied().collect());
    }
    assert_no_duplicates(&warehouse);
}

#[test]
fn a_copy_of_a_running_agent_loses_nothing_and_doubles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let [agent_dir, copy_dir, relay_dir] = ["agent", "copy", "relay"].map(|name| dir.path().join(name));
    let mut relay = Process::up(&relay_dir, &[]);
    let relay_url = format!("mqtt://{}", relay.mqtt_address());
    let patient = config(dir.path(), "[windows]\nsilence = \"10s\"\n");
    let quick = config(dir.path(), SILENT_AGENT);
    // One goes on at the original, one at the copy, one is silent from now on.
    let phones = [Phone::new(8, 37), Phone::new(9, 37), Phone::new(10, 37)];
    let mut pushed = [Pushed::new(), Pushed::new(), Pushed::new()];

    let mut original = Process::agent(&agent_dir, &relay_url, &["--config", &patient]);
    let url = original.agent_push_url();
    for id in 0..30 {
        for (phone, pushed) in phones.iter().zip(&mut pushed) {
            push(&url, phone, [id], pushed);
        }
    }
    let (spool, spool_of_copy) = (agent_dir.join("spool.db"), copy_dir.join("spool.db"));
    await_that("the original is idle", || {
        count(&spool, "SELECT (SELECT count(*) FROM raw) + (SELECT count(*) FROM activity)") == 0
    });
    std::fs::create_dir(&copy_dir).unwrap();
    open(&spool).execute("VACUUM INTO ?1", [spool_of_copy.to_str()]).unwrap();
    assert_eq!(count(&spool_of_copy, "SELECT count(*) FROM session WHERE open"), 3);

    let mut copy = Process::agent(&copy_dir, &relay_url, &["--config", &quick]);
    // The ledger is not ahead of what the copy knows: only that the original lives tells.
    copy.logged("the copy", |event| event["message"].as_str()?.contains("is a copy").then_some(()));
    push(&url, &phones[0], 30..60, &mut pushed[0]);
    push(&copy.agent_push_url(), &phones[1], 30..60, &mut pushed[1]);
    await_drained(&spool_of_copy);
    // The two take turns on the one id; without the copy the original's turn comes sooner.
    assert!(copy.terminate(Signal::SIGTERM).success());
    await_drained(&spool);

    let warehouse = relay_dir.join("warehouse.db");
    assert_exact(&warehouse, &phones[0], &pushed[0]);
    assert_eq!(message_ids(&warehouse, &phones[1]), pushed[1].keys().copied().collect());
    assert_exact(&warehouse, &phones[2], &pushed[2]);
    assert_no_duplicates(&warehouse);
    assert!(original.log().iter().all(|event| !event["message"].as_str().unwrap_or_default().contains("is a copy")));
}

#[test]
fn a_relay_that_knows_nothing_notes_a_gap_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let [agent_dir, old_dir, new_dir] = ["agent", "old", "new"].map(|name| dir.path().join(name));
    let proxy = Proxy::new();
    let mut agent = Process::agent(&agent_dir, &proxy.url(), &[]);
    let url = agent.agent_push_url();
    let (phone, mut pushed) = (Phone::new(3, 17), Pushed::new());

    let mut old = Process::up(&old_dir, &[]);
    proxy.point(Some(&old.mqtt_address()));
    push(&url, &phone, 0..5, &mut pushed);
    let spool = agent_dir.join("spool.db");
    await_that("the old relay has everything", || count(&spool, "SELECT count(*) FROM raw") == 0);
    drop(old);
    push(&url, &phone, 5..8, &mut pushed);

    let mut new = Process::up(&new_dir, &[]);
    proxy.point(Some(&new.mqtt_address()));
    await_that("the new relay has the rest", || count(&spool, "SELECT count(*) FROM raw") == 0);
    let warehouse = new_dir.join("warehouse.db");
    assert_eq!(message_ids(&warehouse, &phone), (5..8).collect());
    let gaps = "SELECT count(*) FROM GAPS WHERE stream = 'raw' AND fromSeq = 1 AND toSeq = 5 AND messages IS NULL";
    assert_eq!(count(&warehouse, gaps), 1);
    assert_eq!(message_ids(&old_dir.join("warehouse.db"), &phone), (0..5).collect());
}
