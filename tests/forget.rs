//! **Forgotten everywhere.** Two phones push; one of them is forgotten, in the spool, the local warehouse, PostgreSQL and the
//! emulator of Snowflake: nothing of it is left in any file or table, everything of the other is there exactly once, and what
//! flows goes on without loss or repeat. A forgetting that is killed anywhere is finished by the next.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;
#[path = "forget/in_sql.rs"]
mod in_sql;
#[path = "../sink/tests/postgres_server/mod.rs"]
mod postgres_server;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gaitway_proto::forgotten;
use gaitway_service::file_bytes;
use gaitway_service::lock::DataDir;
use harness::phone::{Phone, Pushed, push};
use harness::process::Process;
use harness::warehouse::{assert_exact, assert_no_duplicates, await_drained, count, message_ids};
use harness::{await_that, setting};
use nix::sys::signal::Signal;

/// Silence closes nothing while phones push, and everything at the end.
const TALKING: &str = "silence = \"1h\"\n";
const SILENT: &str = "silence = \"300ms\"\n";

/// Kills in the suite's run.
const KILLS: u64 = 12;

fn gaitway(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_gaitway")).args(args).stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Every file below `dir` in which `text` stands.
fn files_with(dir: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if file_bytes::hold(&path, text.as_bytes(), |_| {}).unwrap() {
            found.push(path);
        }
    }
    found
}

/// A machine on which `up` has stored what two phones pushed, and whose spool has more of both.
struct Machine {
    dir: tempfile::TempDir,
    gone: Phone,
    kept: Phone,
    pushed: Pushed,
    /// Of `anna`, whose phone is `gone`, and of `ben`.
    tokens: [String; 2],
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (gone, kept, pushed) = (Phone::new(1, 7), Phone::new(2, 7), Pushed::new());
        let mut machine = Self { dir, gone, kept, pushed, tokens: Default::default() };
        let mut up = machine.up(TALKING);
        let url = up.push_url();
        machine.tokens = ["anna", "ben"].map(|name| machine.add(name));
        machine.push(&url, 0..25);
        await_that("all that was pushed is stored", || machine.spool_rows() == 0);
        assert!(up.terminate(Signal::SIGTERM).success());
        let mut agent = machine.agent_alone();
        let url = agent.agent_push_url();
        machine.push(&url, 25..45);
        assert!(machine.spool_rows() >= 40);
        assert!(agent.terminate(Signal::SIGTERM).success());
        machine
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn warehouse(&self) -> PathBuf {
        self.data().join("warehouse.db")
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn up(&self, windows: &str) -> Process {
        Process::up(&self.data(), &["--config", &self.file("up.toml", &format!("[agent.windows]\n{windows}"))])
    }

    /// Its agent towards a relay that does not answer: what comes now waits.
    fn agent_alone(&self) -> Process {
        let config = self.file("agent.toml", &format!("[windows]\n{TALKING}"));
        Process::agent(&self.data().join("agent"), "mqtt://127.0.0.1:1", &["--config", &config])
    }

    fn spool_rows(&self) -> i64 {
        count(
            &self.data().join("agent/spool.db"),
            "SELECT (SELECT count(*) FROM raw) + (SELECT count(*) FROM activity)",
        )
    }

    fn add(&self, name: &str) -> String {
        let agent = self.data().join("agent");
        let (code, said, _) = gaitway(&["agent", "phone", "add", name, "--data-dir", agent.to_str().unwrap()]);
        assert_eq!(code, Some(0), "{said}");
        let url = said.lines().find(|line| line.trim().starts_with("http://")).unwrap();
        url.rsplit_once('/').unwrap().1.to_owned()
    }

    /// Both phones push these messages in turns.
    fn push(&mut self, url: &str, ids: std::ops::Range<u64>) {
        let [anna, ben] = self.tokens.each_ref().map(|token| format!("{url}/{token}"));
        let mut of_gone = Pushed::new();
        for id in ids {
            push(&anna, &self.gone, [id], &mut of_gone);
            push(&ben, &self.kept, [id], &mut self.pushed);
        }
    }

    fn forget(&self, more: &[&str]) -> (Option<i32>, String, String) {
        forget_in(&self.data(), &self.gone, more)
    }

    fn assert_nothing_left(&self) {
        assert_nothing_left(&self.data(), &self.gone);
    }
}

fn forget_in(data: &Path, phone: &Phone, more: &[&str]) -> (Option<i32>, String, String) {
    let args = ["forget", "--device", &phone.device, "--data-dir", data.to_str().unwrap()];
    gaitway(&[&args, more].concat())
}

fn assert_nothing_left(data: &Path, phone: &Phone) {
    for id in [&phone.device, &phone.session] {
        assert_eq!(files_with(data, id), Vec::<PathBuf>::new(), "{id} is left");
    }
}

#[test]
fn of_a_forgotten_device_nothing_is_left_in_any_file_and_the_other_is_exact() {
    let mut machine = Machine::new();
    let warehouse = machine.warehouse();
    assert!(files_with(&machine.data(), &machine.gone.device).len() >= 3, "spool, list of phones, warehouse");

    // What runs would bring it back.
    let mut agent = machine.agent_alone();
    agent.agent_push_url();
    let (code, shown, said) = machine.forget(&["--yes"]);
    assert_eq!((code, shown.as_str()), (Some(1), ""), "{said}");
    assert!(said.contains("nothing was deleted: stop gaitway first") && said.contains("is in use by"), "{said}");
    agent.kill(&[]);

    let (code, shown, said) = machine.forget(&[]);
    assert_eq!((code, shown.as_str()), (Some(1), ""), "before anything is looked for");
    assert!(said.contains("no terminal on which to confirm it; give --yes"), "{said}");
    let (code, _, said) = machine.forget(&["--yes", "--warehouse", "none.db"]);
    assert!(code == Some(2) && said.contains("there is no warehouse none.db"), "{said}");
    let (code, shown, said) = machine.forget(&["--dry-run"]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    assert!(shown.contains("waiting pushes ") && shown.contains("it is phone \"anna\""), "{shown}");
    assert!(shown.contains("agent/recent.db: windows "), "{shown}");
    assert!(shown.contains("Nothing was deleted") && shown.contains("What this cannot delete:"), "{shown}");
    let agent = machine.data().join("agent");
    let (code, of_agent, _) = forget_in(&agent, &machine.gone, &["--dry-run"]);
    let of_warehouse =
        |shown: &str| shown.lines().find(|line| line.contains("warehouse.db: readings ")).map(str::to_owned);
    assert_eq!((code, of_warehouse(&of_agent)), (Some(0), of_warehouse(&shown)), "the agent's folder: {of_agent}");
    assert!(of_agent.contains("agent/warehouse.db: not there, nothing looked at"), "{of_agent}");
    assert!(!files_with(&machine.data(), &machine.gone.device).is_empty());

    // A program reads the warehouse: rows go, their bytes cannot yet.
    let reader = rusqlite::Connection::open(&warehouse).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM GAPS").unwrap();
    let (code, shown, _) = machine.forget(&["--yes"]);
    assert!(code == Some(1) && shown.contains("What was done:") && shown.contains("FAILED"), "{shown}");
    let order = format!("gaitway agent phone revoke \"anna\" --data-dir {}", agent.display());
    assert!(shown.find(&order).unwrap() < shown.find("What there is").unwrap(), "{shown}");
    let (code, shown, _) = machine.forget(&["--dry-run"]);
    assert!(code == Some(1) && shown.contains("bytes not yet: run without --dry-run"), "{shown}");
    drop(reader);

    let (code, shown, said) = machine.forget(&["--yes"]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    machine.assert_nothing_left();
    let (code, shown, _) = machine.forget(&["--yes"]);
    let found: Vec<&str> = shown.lines().filter(|line| line.starts_with("  ") && line.ends_with(": nothing")).collect();
    assert!(code == Some(0) && found.len() == 5, "five places: {shown}");
    assert!(shown.contains("There is nothing of device") && !shown.contains("What was done"), "{shown}");

    // What waits of the other is stored, and more comes; the forgotten phone pushes on.
    let mut up = machine.up(TALKING);
    let url = up.push_url();
    machine.push(&url, 45..50);
    assert!(up.terminate(Signal::SIGTERM).success());
    let up = machine.up(SILENT);
    await_drained(&machine.data().join("agent/spool.db"));
    let (code, shown, _) = gaitway(&["audit", "--data-dir", machine.data().to_str().unwrap()]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("were deleted on request"), "{shown}");
    assert!(up.terminate(Signal::SIGTERM).success());
    assert_exact(&warehouse, &machine.kept, &machine.pushed);
    assert_no_duplicates(&warehouse);
    assert_eq!(message_ids(&warehouse, &machine.gone), (45..50).collect());
    let of_gaps = |reason| count(&warehouse, &format!("SELECT count(*) FROM GAPS WHERE reason = '{reason}'"));
    assert!(of_gaps(forgotten::FRAMES) > 0, "what waited is told as gaps");
    assert_eq!(count(&warehouse, "SELECT sum(readings) FROM GAPS WHERE reason = 'forgotten'"), 0);
    assert_eq!(count(&warehouse, "SELECT count(*) FROM GAPS"), of_gaps(forgotten::FRAMES) + of_gaps(forgotten::ROWS));

    // What came since is found by the next run.
    let (code, shown, _) = machine.forget(&["--yes"]);
    assert_eq!(code, Some(0), "{shown}");
    machine.assert_nothing_left();
    assert_exact(&warehouse, &machine.kept, &machine.pushed);

    // What the other loses is not taken for deleted on request.
    let audit = || gaitway(&["audit", "--data-dir", machine.data().to_str().unwrap()]);
    let (code, shown, _) = audit();
    assert_eq!(code, Some(0), "{shown}");
    let lose = "DELETE FROM ACTIVITY_RECORDS WHERE rowid IN
                (SELECT rowid FROM ACTIVITY_RECORDS WHERE deviceId = ?1 ORDER BY rowid DESC LIMIT 14)";
    let lost = rusqlite::Connection::open(&warehouse).unwrap().execute(lose, [&machine.kept.device]).unwrap();
    let (code, shown, _) = audit();
    assert!(lost == 14 && code == Some(1) && shown.contains("14 readings of session"), "{shown}");
    assert!(shown.contains("14 missing"), "{shown}");
}

#[test]
fn files_set_aside_are_searched_also_where_the_file_itself_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (agent, phone) = (dir.path().join("agent"), Phone::new(1, 7));
    std::fs::create_dir(&agent).unwrap();
    let aside =
        [agent.join("spool.db.damaged-20260101T000000Z"), dir.path().join("warehouse.db.damaged-20260101T000000Z")];
    for file in &aside {
        std::fs::write(file, format!("of {} and others", phone.device)).unwrap();
    }
    let is_said = |shown: &str| aside.iter().all(|file| shown.contains(file.to_str().unwrap()));
    let (code, shown, said) = forget_in(dir.path(), &phone, &["--dry-run"]);
    assert!(code == Some(0) && is_said(&shown), "{shown}{said}");
    assert!(shown.contains("agent/spool.db: not there, nothing looked at"), "{shown}");
    let (code, shown, _) = forget_in(dir.path(), &phone, &["--yes"]);
    assert!(code == Some(1) && shown.contains("run this again with --set-aside"), "{shown}");
    let (code, shown, _) = gaitway(&["agent", "phone", "add", "anna", "--data-dir", agent.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{shown}");
    let locked = DataDir::lock(&agent).unwrap();
    let (code, shown, said) = forget_in(dir.path(), &phone, &["--yes", "--set-aside"]);
    assert!(code == Some(1) && said.contains("nothing was deleted: stop gaitway first"), "{shown}{said}");
    drop(locked);
    let (code, shown, said) = forget_in(&agent, &phone, &["--yes", "--set-aside"]);
    assert_eq!(code, Some(0), "{shown}{said}");
    assert!(aside.iter().all(|file| !file.exists()), "{shown}");
    // An id may begin with a hyphen; of one that nobody has it is said.
    let (code, shown, said) =
        gaitway(&["forget", "--device", "-no-phone", "--dry-run", "--data-dir", dir.path().to_str().unwrap()]);
    assert!(code == Some(0) && shown.contains("There is nothing of device \"-no-phone\""), "{shown}{said}");
}

/// Rowids and values of the other phone in the warehouse, and the frames that wait.
fn of_the_other(data: &Path, kept: &Phone) -> (Vec<(i64, String)>, i64) {
    let connection = harness::warehouse::open(&data.join("warehouse.db"));
    let sql = "SELECT rowid, RECORD_METADATA FROM ACTIVITY_RECORDS WHERE deviceId = ?1 UNION ALL
               SELECT -rowid, RECORD_METADATA FROM USER_ACTIVITY_PROCESSED WHERE deviceId = ?1 ORDER BY 1";
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([&kept.device], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let rows = rows.collect::<Result<_, _>>().unwrap();
    let is_its = format!("instr(frame, CAST('{}' AS BLOB))", kept.device);
    let waiting =
        format!("SELECT (SELECT count(*) FROM raw WHERE {is_its}) + (SELECT count(*) FROM activity WHERE {is_its})");
    (rows, count(&data.join("agent/spool.db"), &waiting))
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &target) } else { assert!(std::fs::copy(&path, &target).is_ok()) }
    }
}

#[test]
fn a_forgetting_killed_anywhere_is_finished_by_the_next() {
    let machine = Machine::new();
    let before = of_the_other(&machine.data(), &machine.kept);
    assert!(!before.0.is_empty() && before.1 > 0);
    let kills = setting("GAITWAY_KILLS", KILLS);
    let work = |name: &str| {
        let data = machine.dir.path().join(name);
        copy(&machine.data(), &data);
        data
    };
    let whole = work("whole");
    let began = Instant::now();
    assert_eq!(forget_in(&whole, &machine.gone, &["--yes"]).0, Some(0));
    let (took, mut interrupted) = (began.elapsed(), 0);
    for kill in 0..kills {
        let data = work(&format!("killed-{kill}"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_gaitway"))
            .args(["forget", "--device", &machine.gone.device, "--yes", "--data-dir", data.to_str().unwrap()])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(took.mul_f64((kill as f64 + 0.5) / kills as f64).min(Duration::from_secs(20)));
        // It may have come to its end.
        let _ = child.kill();
        interrupted += u64::from(!child.wait().unwrap().success());
        let (code, shown, said) = forget_in(&data, &machine.gone, &["--yes"]);
        assert_eq!(code, Some(0), "kill {kill}: {shown}{said}");
        assert_nothing_left(&data, &machine.gone);
        assert_eq!(of_the_other(&data, &machine.kept), before, "kill {kill}");
        let spool = data.join("agent/spool.db");
        let (code, shown, _) = gaitway(&["agent", "spool", "check", spool.to_str().unwrap()]);
        assert_eq!(code, Some(0), "kill {kill}: {shown}");
        assert!(!data.join("warehouse.db.forgetting").exists());
    }
    assert!(interrupted >= kills / 4, "only {interrupted} of {kills} kills met a forgetting");

    // One of them goes on as if nothing had been.
    let data = machine.dir.path().join("killed-0");
    let up = Process::up(&data, &["--config", &machine.file("silent.toml", &format!("[agent.windows]\n{SILENT}"))]);
    await_drained(&data.join("agent/spool.db"));
    assert!(up.terminate(Signal::SIGTERM).success());
    assert_exact(&data.join("warehouse.db"), &machine.kept, &machine.pushed);
}
