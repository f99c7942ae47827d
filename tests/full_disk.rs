//! **Full disks and caps.** Every push that was answered 200 is in the warehouse exactly once, every refused one says
//! why, and everything recovers by itself once there is room. Disks are small ones of the test's own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;
mod full_disk {
    pub(crate) mod heavy;
    pub(crate) mod route;
}

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use full_disk::heavy::{assert_stored, assert_their_windows, heavy};
use full_disk::route::{FullRelay, Route, agent_config};
use harness::phone::{Phone, Pushed};
use harness::process::Process;
use harness::small_disk::on_small_disk;
use harness::warehouse::{assert_exact, await_drained, count};
use harness::{await_that, http};
use nix::sys::signal::Signal;

/// Events of level warn or error that one kind of trouble may log, however many pushes it refuses.
const FEW: usize = 12;

#[test]
#[ignore = "needs a mount namespace"]
fn a_spool_at_its_cap_refuses_with_a_sentence_and_goes_on_when_the_relay_is_back() {
    on_small_disk("size=64m", |disk| {
        let mut path = Route::new(disk, "max_bytes = \"9MiB\"\nmin_free_percent = 0");
        let mut pushed = BTreeSet::new();
        let said = path.push_until_refused(&mut pushed, 200);
        assert!(!pushed.is_empty());
        for part in ["The agent's spool is full", "was not stored", "Connect the agent to its relay"] {
            assert!(said.contains(part), "{said}");
        }
        let (status, why) = path.ready();
        assert_eq!(status, 503);
        assert!(why.contains("spool is full"), "{why}");
        assert!(path.complaints().len() <= FEW, "{:#?}", path.complaints());

        path.start_relay();
        path.push_on(&mut pushed, 40);
        await_that("the agent is ready again", || path.ready().0 == 200);
        let (warehouse, _kept) = path.drain();
        assert_stored(&warehouse, &pushed);
        assert_their_windows(&warehouse, &pushed);
        assert_eq!(count(&warehouse, "SELECT count(*) FROM GAPS"), 0);
    });
}

#[test]
#[ignore = "needs a mount namespace"]
fn a_disk_that_is_really_full_loses_nothing_accepted_and_drains_without_more_room() {
    on_small_disk("size=12m", |disk| {
        let mut path = Route::new(disk, "max_bytes = \"1GiB\"\nmin_free_percent = 0");
        let mut pushed = BTreeSet::new();
        path.push_on(&mut pushed, 20);
        let ballast = disk.fill(2_000_000);
        let said = path.push_until_refused(&mut pushed, 100);
        // What remains is too little for a push, or for what SQLite needs besides.
        assert!(
            said.contains("The agent's disk is ") && said.contains("full") && said.contains("Free some space"),
            "{said}"
        );
        let (status, why) = path.ready();
        assert_eq!(status, 503);
        assert!(why.contains("full"), "{why}");
        assert!(path.complaints().len() <= FEW, "{:#?}", path.complaints());

        // A file less, and it goes on; then full again, to its last byte, and the relay is what makes room.
        std::fs::remove_file(ballast).unwrap();
        path.push_on(&mut pushed, 60);
        await_that("the spool is ready again", || !path.ready().1.contains("full"));
        disk.fill(4_000_000);
        path.push_until_refused(&mut pushed, 20);
        disk.fill(0);
        path.push_until_refused(&mut pushed, 20);
        path.start_relay();
        path.push_on(&mut pushed, 40);
        let (warehouse, _kept) = path.drain();
        assert_stored(&warehouse, &pushed);
        assert_their_windows(&warehouse, &pushed);
        assert_eq!(count(&warehouse, "SELECT count(*) FROM GAPS"), 0);
    });
}

#[test]
#[ignore = "needs a mount namespace"]
fn heavy_pushes_leave_room_to_delete_them_and_the_relay_alone_makes_room() {
    on_small_disk("size=12m", |disk| {
        let mut path = Route::new(disk, "");
        path.letters = 1_000_000;
        let mut pushed = BTreeSet::new();
        let said = path.push_until_refused(&mut pushed, 5);
        assert!(said.contains("The agent's disk is nearly full") && said.contains("Free some space"), "{said}");
        assert!(pushed.len() >= 5, "{pushed:?}");
        assert!(disk.free() > 512 << 10, "{} bytes are free", disk.free());
        assert!(path.complaints().len() <= FEW, "{:#?}", path.complaints());

        let mut path = path.restart();
        path.push_until_refused(&mut pushed, 5);
        path.start_relay();
        path.push_on(&mut pushed, 30);
        await_that("the agent is ready again", || path.ready().0 == 200);
        assert!(path.complaints().len() <= FEW, "{:#?}", path.complaints());
        let (warehouse, _kept) = path.drain();
        let stored = "SELECT count(*) FROM ACTIVITY_RECORDS WHERE length(json_extract(reading, '$.note')) = 1000000";
        assert_eq!(count(&warehouse, stored), pushed.len() as i64);
        assert_eq!(count(&warehouse, "SELECT count(DISTINCT messageId) FROM ACTIVITY_RECORDS"), pushed.len() as i64);
        assert_their_windows(&warehouse, &pushed);
        assert_eq!(count(&warehouse, "SELECT count(*) FROM GAPS"), 0);
    });
}

#[test]
#[ignore = "needs a mount namespace"]
fn the_disks_floor_refuses_pushes_until_there_is_room() {
    on_small_disk("size=32m", |disk| {
        let mut path = Route::new(disk, "max_bytes = \"1GiB\"\nmin_free_percent = 25");
        let mut pushed = BTreeSet::new();
        path.push_on(&mut pushed, 5);
        let ballast = disk.fill(7 << 20);
        let said = path.push_until_refused(&mut pushed, 50);
        assert!(said.contains("The agent's disk is nearly full") && said.contains("Free some space"), "{said}");
        assert!(path.ready().1.contains("disk is nearly full"), "{}", path.ready().1);
        assert!(disk.free() > 6 << 20, "nothing was taken below the floor");
        std::fs::remove_file(ballast).unwrap();
        // Whoever waits for it need not push first.
        await_that("the spool is ready again", || path.ready().1.contains("spool: ready"));
        path.push_on(&mut pushed, 5);
        path.start_relay();
        await_that("the agent is ready again", || path.ready().0 == 200);
        let (warehouse, _kept) = path.drain();
        assert_stored(&warehouse, &pushed);
        assert_their_windows(&warehouse, &pushed);
    });
}

#[test]
#[ignore = "needs a mount namespace"]
fn a_log_that_a_foreign_reader_keeps_growing_counts_towards_the_cap_and_is_said_once() {
    on_small_disk("size=128m", |disk| {
        let mut path = Route::new(disk, "max_bytes = \"9MiB\"\nmin_free_percent = 0");
        path.start_relay();
        let mut pushed = BTreeSet::new();
        path.push_on(&mut pushed, 5);
        let reader = harness::warehouse::open(&path.spool());
        reader.execute_batch("BEGIN; SELECT count(*) FROM session").unwrap();
        let said = path.push_until_refused(&mut pushed, 20);
        assert!(said.contains("The agent's spool is full"), "{said}");
        let log = disk.path().join("agent/spool.db-wal");
        let log_bytes = || log.metadata().unwrap().len();
        assert!((9 << 20..28 << 20).contains(&log_bytes()), "{}", log_bytes());
        let about = |event: &&serde_json::Value| {
            event["message"].as_str().is_some_and(|said| said.contains("close what has spool.db open"))
        };
        assert_eq!(path.complaints().iter().filter(about).count(), 1);
        assert!(path.complaints().len() <= FEW, "{:#?}", path.complaints());

        reader.execute_batch("COMMIT").unwrap();
        path.push_on(&mut pushed, 40);
        assert!(log_bytes() < 16 << 20, "{}", log_bytes());
        await_that("the agent is ready again", || path.ready().0 == 200);
        drop(reader);
        let (warehouse, _kept) = path.drain();
        assert_stored(&warehouse, &pushed);
    });
}

#[test]
#[ignore = "needs a mount namespace"]
fn what_is_shown_of_today_takes_no_room_that_pushes_need() {
    on_small_disk("size=96m", |disk| {
        let mut path = Route::new(disk, "max_bytes = \"1GiB\"\nmin_free_percent = 0");
        path.letters = 100;
        let mut pushed = BTreeSet::new();
        path.push_on(&mut pushed, 40);
        let files = ["agent/recent.db", "agent/recent.db-wal"].map(|name| disk.path().join(name));
        await_that("today is kept", || files[0].exists());
        disk.fill(20 << 20);
        path.push_on(&mut pushed, 40);
        let is_said = |event: &serde_json::Value| {
            event["message"]
                .as_str()
                .is_some_and(|said| said.starts_with("windows are not kept for what the agent shows"))
        };
        await_that("it is said that today is not kept", || path.complaints().iter().any(is_said));
        let size = || files.iter().map(|file| file.metadata().unwrap().len()).sum::<u64>();
        let before = size();
        path.push_on(&mut pushed, 200);
        assert_eq!((path.ready().0, size()), (503, before), "only the relay is missing");
        assert_eq!(path.complaints().iter().filter(|event| is_said(event)).count(), 1);
        path.start_relay();
        await_that("the agent is ready", || path.ready().0 == 200);
    });
}

#[test]
#[ignore = "needs a mount namespace"]
fn what_the_cap_drops_is_told_by_gaps_with_the_right_counts() {
    on_small_disk("size=64m", |disk| {
        let spool = "max_bytes = \"9MiB\"\nmin_free_percent = 0\nwhen_full = \"drop_oldest_raw\"";
        let mut path = Route::new(disk, spool);
        let mut pushed = BTreeSet::new();
        let push = |path: &Route<'_>, pushed: &mut BTreeSet<u64>, more: u64| {
            for _ in 0..more {
                let id = pushed.len() as u64;
                assert_eq!(path.push(id).0, 200, "room is made");
                pushed.insert(id);
            }
        };
        push(&path, &mut pushed, 600);
        path.start_relay();
        let all_there = |path: &Route<'_>| {
            await_that("the relay has everything", || count(&path.spool(), "SELECT count(*) FROM raw") == 0);
        };
        all_there(&path);
        // The link is up: what is sent is not dropped, whatever the cap says.
        push(&path, &mut pushed, 100);
        all_there(&path);
        path.proxy.point(None);
        path.proxy.cut();
        push(&path, &mut pushed, 600);
        path.start_relay_again();
        let (warehouse, _kept) = path.drain();

        let stored = |sql: &str| count(&warehouse, sql) as u64;
        let messages = stored("SELECT count(DISTINCT messageId) FROM ACTIVITY_RECORDS");
        let readings = stored("SELECT count(*) FROM ACTIVITY_RECORDS");
        let dropped = stored("SELECT sum(messages) FROM GAPS");
        assert!(dropped > 200, "{dropped}");
        assert_eq!(messages + dropped, pushed.len() as u64);
        assert_eq!(readings + stored("SELECT sum(readings) FROM GAPS"), pushed.len() as u64, "a reading each");
        assert_eq!(stored("SELECT sum(toSeq - fromSeq + 1) FROM GAPS"), dropped, "a message a seq");
        assert_eq!(stored("SELECT count(*) FROM GAPS WHERE reason <> 'spool full'"), 0);
        let kept = "SELECT count(DISTINCT messageId) FROM ACTIVITY_RECORDS WHERE messageId BETWEEN 600 AND 699";
        assert_eq!(stored(kept), 100, "nothing sent is dropped");
        assert_their_windows(&warehouse, &pushed);
    });
}

#[test]
#[ignore = "needs a mount namespace"]
fn a_warehouse_on_a_full_disk_acknowledges_nothing_and_goes_on_when_there_is_room() {
    on_small_disk("size=24m", |disk| {
        let path = FullRelay::new(disk, "min_free_percent = 0");
        let ballast = disk.fill(3_000_000);
        let (phone, mut pushed) = (Phone::new(5, 11), Pushed::new());
        let push = |ids: std::ops::Range<u64>, pushed: &mut Pushed| {
            harness::phone::push(&path.agent_url, &phone, ids, pushed);
        };
        let ready = || http::get(&path.relay_url.replace("/data", "/readyz")).unwrap();
        let mut next = 0;
        await_that("the warehouse's disk is full", || {
            push(next..next + 20, &mut pushed);
            next += 20;
            ready().1.contains("warehouse.db is full: free space on it")
        });
        assert_eq!(ready().0, 503);
        push(next..next + 50, &mut pushed);
        let warehouse = disk.path().join("relay/warehouse.db");
        std::fs::remove_file(ballast).unwrap();
        await_that("all messages are there", || {
            count(&warehouse, "SELECT count(DISTINCT messageId) FROM ACTIVITY_RECORDS") == pushed.len() as i64
        });
        await_that("the relay is ready again", || ready().0 == 200);
        let log = path.relay.log();
        let complaints = log.iter().filter(|event| event["level"] == "WARN" || event["level"] == "ERROR").count();
        assert!(complaints <= 40, "{complaints} complaints");

        let FullRelay { relay, agent, elsewhere, .. } = path;
        assert!(agent.terminate(Signal::SIGTERM).success());
        let relay_address = relay.log().iter().find_map(|event| {
            let listens = event["message"].as_str()?.starts_with("relay listening");
            listens.then(|| format!("mqtt://{}", event["address"].as_str().unwrap_or_default()))
        });
        let config = agent_config(elsewhere.path(), "", "300ms");
        let agent_dir = elsewhere.path().join("agent");
        let mut agent = Process::agent(&agent_dir, &relay_address.unwrap(), &["--config", &config]);
        agent.agent_push_url();
        await_drained(&agent_dir.join("spool.db"));
        assert_exact(&warehouse, &phone, &pushed);
        assert_eq!(count(&warehouse, "SELECT count(*) FROM GAPS"), 0);
        assert!(agent.terminate(Signal::SIGTERM).success());
        assert!(relay.terminate(Signal::SIGTERM).success());
    });
}

/// Pushes heavy messages until the counter of deleted rows moves, and asserts that only the oldest raw rows went.
fn push_until_deleted(path: &FullRelay, warehouse: &Path, reason: &str, letters: usize) {
    let deleted = || path.metric(&format!("gaitway_warehouse_deleted_rows_total{{reason=\"{reason}\"}}"));
    let mut next = 0;
    await_that("the oldest rows go", || {
        for _ in 0..20 {
            assert_eq!(http::post(&path.agent_url, &heavy(next, &"n".repeat(letters))).unwrap().0, 200);
            next += 1;
        }
        deleted() > 0
    });
    let progress = "SELECT position FROM gaitway_progress WHERE source LIKE '%/raw'";
    await_that("everything came", || count(warehouse, progress) == next as i64);
    await_that("rows and the counter agree", || {
        let (before, rows, after) = (deleted(), count(warehouse, "SELECT count(*) FROM ACTIVITY_RECORDS"), deleted());
        before == after && rows as u64 + before == next
    });
    let oldest =
        "SELECT min(messageId) - (SELECT max(messageId) + 1 - count(*) FROM ACTIVITY_RECORDS) FROM ACTIVITY_RECORDS";
    assert_eq!(count(warehouse, oldest), 0, "the oldest went, and nothing between");
    // A window every two seconds from ten seconds before; the last ones wait for silence.
    let first = "SELECT windowStart FROM USER_ACTIVITY_PROCESSED ORDER BY windowStart LIMIT 1";
    let first: String = harness::warehouse::open(warehouse).query_row(first, [], |row| row.get(0)).unwrap();
    assert_eq!(first, "2025-10-09T08:53:12Z", "activity stays");
    let windows = count(warehouse, "SELECT count(*) FROM USER_ACTIVITY_PROCESSED");
    assert!(windows as u64 > next, "{windows} windows of {next} messages");
    assert_eq!(count(warehouse, "SELECT count(*) FROM GAPS"), 0);
}

#[test]
#[ignore = "needs a mount namespace"]
fn above_its_size_the_warehouse_deletes_the_oldest_raw_rows_and_nothing_else() {
    on_small_disk("size=128m", |disk| {
        let path = FullRelay::new(disk, "max_bytes = \"2MiB\"\nmin_free_percent = 0");
        let warehouse = disk.path().join("relay/warehouse.db");
        push_until_deleted(&path, &warehouse, "size", 20_000);
        await_that("it is within its size", || path.metric("gaitway_warehouse_used_bytes") <= 2 << 20);
    });
}

#[test]
#[ignore = "needs a mount namespace"]
fn below_the_disks_floor_the_warehouse_deletes_the_oldest_raw_rows_and_nothing_else() {
    // The floor spares the last 256 MiB of a warehouse.
    on_small_disk("size=400m", |disk| {
        let path = FullRelay::new(disk, "min_free_percent = 15");
        let warehouse = disk.path().join("relay/warehouse.db");
        push_until_deleted(&path, &warehouse, "disk", 1_000_000);
        assert!(path.metric("gaitway_warehouse_used_bytes") > 200 << 20, "no more than needed");
        await_that("the floor holds", || disk.free() >= (400 << 20) * 15 / 100);
    });
}

/// Starts it and waits for its end; what it said.
fn refused(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_gaitway")).args(args).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(!said.contains("panicked") && said.lines().count() < 8, "{said}");
    said
}

#[test]
#[ignore = "needs a mount namespace"]
fn a_start_on_a_disk_without_room_says_so() {
    for (options, fill) in [("size=4m", true), ("size=4m,nr_inodes=12", false)] {
        on_small_disk(options, |disk| {
            let data = disk.path().join("data");
            let mut up = Process::up(&data, &[]);
            let url = up.push_url();
            let (phone, mut pushed) = (Phone::new(6, 13), Pushed::new());
            harness::phone::push(&url, &phone, 0..3, &mut pushed);
            assert!(up.terminate(Signal::SIGTERM).success());
            if fill {
                disk.fill(0);
            } else {
                let mut more = 0;
                while std::fs::File::create(disk.path().join(format!("file-{more}"))).is_ok() {
                    more += 1;
                }
            }
            let data_dir = data.to_str().unwrap();
            for args in [
                &["up", "--data-dir", data_dir, "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0"][..],
                &[
                    "agent",
                    "--data-dir",
                    &format!("{data_dir}/agent"),
                    "--http",
                    "127.0.0.1:0",
                    "--relay",
                    "mqtt://127.0.0.1:1",
                ],
            ] {
                let said = refused(args);
                println!("{options}: {said}");
                assert!(said.contains(data_dir) && (said.contains("full") || said.contains("space")), "{said}");
            }
        });
    }
}
