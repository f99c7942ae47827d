//! What is kept of a phone, from the command of whoever runs the agent to the rows in the warehouse: of one whose owner
//! wants activity alone no reading is anywhere, of one whose places are rounded no exact place.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gaitway_proto::frame::Frame;
use harness::phone::{Phone, Pushed, Url, push};
use harness::process::Process;
use harness::proxy::Proxy;
use harness::warehouse::{assert_exact, assert_windows, await_drained, count, message_ids, open};
use harness::{Random, await_that, http};
use nix::sys::signal::Signal;

/// Silence closes nothing while phones push, and everything at the end.
const TALKING: &str = "silence = \"1h\"\n";
const SILENT: &str = "silence = \"300ms\"\n";

fn config(dir: &Path, name: &str, table: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, format!("[{table}]\n{text}")).unwrap();
    path.to_str().unwrap().to_owned()
}

fn gaitway(args: &[&str]) -> (bool, String) {
    let ran = Command::new(env!("CARGO_BIN_EXE_gaitway")).args(args).output().unwrap();
    (ran.status.success(), String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap())
}

/// `phone` with these arguments; gives what it says.
fn phone(agent_dir: &Path, args: &[&str]) -> String {
    let (ok, said) = gaitway(&[&["agent", "phone"], args, &["--data-dir", agent_dir.to_str().unwrap()]].concat());
    assert!(ok, "{args:?}: {said}");
    said
}

/// `phone add` with more arguments; gives the token.
fn add(agent_dir: &Path, name: &str, more: &[&str]) -> String {
    let said = phone(agent_dir, &[&["add", name], more].concat());
    let url = said.lines().map(str::trim).find(|line| line.starts_with("http://")).unwrap();
    url.rsplit_once('/').unwrap().1.to_owned()
}

/// `gaitway audit` of an agent's folder and a warehouse: whether it adds up, and what it says.
fn audit(agent_dir: &Path, warehouse: &Path) -> (bool, String) {
    let [agent_dir, warehouse] = [agent_dir, warehouse].map(|path| path.to_str().unwrap());
    gaitway(&["audit", "--data-dir", agent_dir, "--warehouse", warehouse])
}

/// All regular files below `dir`, with what they hold.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() {
            found.push((path.clone(), std::fs::read(&path).unwrap()));
        }
    }
    found
}

/// What readings look like wherever they may be kept: as 64-bit floats of either byte order, and as text.
#[derive(Default)]
struct Looks {
    floats: HashSet<[u8; 8]>,
    texts: HashSet<[u8; 14]>,
}

impl Looks {
    fn of(pushed: &Pushed) -> Self {
        let mut looks = Self::default();
        for value in pushed.values().flatten().flat_map(|reading| reading.xyz) {
            looks.floats.extend([value.to_be_bytes(), value.to_le_bytes()]);
            looks.texts.extend(value.to_string().as_bytes().first_chunk().copied());
        }
        assert!(looks.floats.len() > 100 && looks.texts.len() > 100);
        looks
    }

    /// Of these those that are not another's too, by chance.
    fn but_for(mut self, other: &Self) -> Self {
        self.floats.retain(|float| !other.floats.contains(float));
        self.texts.retain(|text| !other.texts.contains(text));
        self
    }

    /// How many of them are in `bytes`.
    fn found(&self, bytes: &[u8]) -> usize {
        let floats = bytes.windows(8).filter(|window| self.floats.contains(*window)).count();
        floats + bytes.windows(14).filter(|window| self.texts.contains(*window)).count()
    }
}

/// An agent that logs all it can into `log`.
fn talkative(agent_dir: &Path, relay: &str, config: &str, log: &Path) -> (Child, String) {
    let note = agent_dir.join("listens");
    let _ = std::fs::remove_file(&note);
    let log = || std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    let agent = Command::new(env!("CARGO_BIN_EXE_gaitway"))
        .args(["agent", "--http", "127.0.0.1:0", "--relay", relay, "--config", config, "--data-dir"])
        .arg(agent_dir)
        .env("GAITWAY_LOG", "trace")
        .stdin(Stdio::null())
        .stdout(log())
        .stderr(log())
        .spawn()
        .unwrap();
    await_that("the agent listens", || {
        std::fs::read_to_string(&note).is_ok_and(|url| http::get(&format!("{}/healthz", url.trim())).is_ok())
    });
    (agent, format!("{}/data", std::fs::read_to_string(&note).unwrap().trim()))
}

/// Devices of the frames that wait in a spool's `raw` stream.
fn spooled_devices(spool: &Path) -> BTreeSet<String> {
    let connection = open(spool);
    let mut statement = connection.prepare("SELECT frame FROM raw WHERE frame IS NOT NULL").unwrap();
    let frames = statement.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    frames.map(|frame| Frame::decode(&frame.unwrap()).unwrap().header.device).collect()
}

#[test]
fn a_phone_that_keeps_activity_alone_has_the_windows_of_one_that_keeps_all_and_no_row() {
    let dir = tempfile::tempdir().unwrap();
    let (data, warehouse) = (dir.path().join("data"), dir.path().join("data/warehouse.db"));
    let agent_dir = data.join("agent");
    let silent = config(dir.path(), "silent.toml", "agent.windows", SILENT);
    let talking = config(dir.path(), "talking.toml", "agent.windows", TALKING);
    let said = phone(&agent_dir, &["add", "quiet", "--keep", "activity"]);
    assert!(said.contains("\nOf this phone is kept: activity.\n"), "{said}");
    let quiet_token = said.lines().map(str::trim).find_map(|line| line.strip_prefix("http://")?.rsplit_once('/'));
    let (quiet_token, token) = (quiet_token.unwrap().1, add(&agent_dir, "ordinary", &[]));

    let ordinary = Phone::new(1, 71);
    let mut quiet = ordinary.clone();
    quiet.device = "phone-quiet".to_owned();
    let (mut pushed, mut pushed_quietly) = (Pushed::new(), Pushed::new());
    let mut up = Process::up(&data, &["--config", &talking]);
    let url = up.push_url();
    for id in 0..120 {
        push(&format!("{url}/{token}"), &ordinary, [id], &mut pushed);
        push(&format!("{url}/{quiet_token}"), &quiet, [id], &mut pushed_quietly);
    }
    // Pushed again it is answered as before.
    let (status, answer) = http::post(&format!("{url}/{quiet_token}"), &quiet.body(60, &quiet.message(60))).unwrap();
    let readings = quiet.message(60).len();
    assert_eq!((status, answer), (200, format!(r#"{{"status":"success","processed_readings":{readings}}}"#)));
    let withheld = pushed.values().map(Vec::len).sum::<usize>();
    let (_, metrics) = http::get(&url.replace("/data", "/metrics")).unwrap();
    assert!(metrics.contains(&format!("gaitway_agent_withheld_readings_total {withheld}\n")), "{metrics}");
    assert!(metrics.contains(&format!("gaitway_agent_readings_total {}\n", 2 * withheld)), "{metrics}");
    assert!(up.terminate(Signal::SIGTERM).success());
    let mut up = Process::up(&data, &["--config", &silent]);
    up.push_url();
    await_drained(&agent_dir.join("spool.db"));
    assert!(up.terminate(Signal::SIGTERM).success());

    assert_exact(&warehouse, &ordinary, &pushed);
    assert_windows(&warehouse, &quiet, pushed_quietly.values().map(Vec::as_slice));
    assert_eq!(count(&warehouse, "SELECT count(*) FROM ACTIVITY_RECORDS"), withheld as i64, "of the ordinary one");
    assert_eq!(message_ids(&warehouse, &quiet), BTreeSet::new());
    assert_eq!(count(&warehouse, "SELECT count(*) FROM GAPS"), 0);
    let of = |device: &str| {
        let told = format!("SELECT count(*) FROM USER_ACTIVITY_PROCESSED WHERE deviceId = '{device}'");
        count(&warehouse, &told)
    };
    assert!(of(&quiet.device) > 50 && of(&quiet.device) == of(&ordinary.device));
    let (adds_up, said) = audit(&agent_dir, &warehouse);
    assert!(adds_up && said.contains(&format!("{withheld} withheld as set for their phone")), "{said}");
    let listed = phone(&agent_dir, &["list"]);
    assert!(listed.lines().any(|line| line.starts_with("quiet") && line.contains("activity")), "{listed}");
}

#[test]
fn no_reading_of_a_phone_that_keeps_activity_alone_is_in_spool_warehouse_or_logs() {
    let dir = tempfile::tempdir().unwrap();
    let (agent_dir, relay_dir) = (dir.path().join("agent"), dir.path().join("relay"));
    let (spool, warehouse) = (agent_dir.join("spool.db"), relay_dir.join("warehouse.db"));
    let config = config(dir.path(), "agent.toml", "windows", SILENT);
    let (log, proxy) = (dir.path().join("log"), Proxy::new());
    let token = add(&agent_dir, "ordinary", &[]);
    let quiet_token = add(&agent_dir, "quiet", &["--keep", "activity"]);
    let (ordinary, quiet) = (Phone::new(1, 72), Phone::new(2, 73));
    let (mut pushed, mut pushed_quietly) = (Pushed::new(), Pushed::new());

    let (mut agent, url) = talkative(&agent_dir, &proxy.url(), &config, &log);
    push(&format!("{url}/{token}"), &ordinary, 0..30, &mut pushed);
    push(&format!("{url}/{quiet_token}"), &quiet, 0..30, &mut pushed_quietly);
    // Not JSON behind a reading, and another body under an id that is known.
    let body = quiet.body(31, &quiet.message(31));
    assert_eq!(http::post(&format!("{url}/{quiet_token}"), &body[..body.len() - 2]).unwrap().0, 400);
    assert_eq!(http::post(&format!("{url}/{quiet_token}"), &quiet.body(7, &quiet.message(32))).unwrap().0, 200);
    pushed_quietly.extend([31, 32].map(|id| (id, quiet.message(id))));
    assert_eq!(spooled_devices(&spool), [ordinary.device.clone()].into());
    agent.kill().unwrap();
    agent.wait().unwrap();
    let others = Looks::of(&pushed);
    let looks = Looks::of(&pushed_quietly).but_for(&others);
    let assert_nowhere = || {
        for (path, bytes) in files(dir.path()) {
            assert_eq!(looks.found(&bytes), 0, "{}", path.display());
        }
    };
    assert_nowhere();

    let (mut agent, _) = talkative(&agent_dir, &proxy.url(), &config, &log);
    let mut relay = Process::up(&relay_dir, &[]);
    proxy.point(Some(&relay.mqtt_address()));
    await_drained(&spool);
    let pid = nix::unistd::Pid::from_raw(agent.id().try_into().unwrap());
    nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
    assert!(agent.wait().unwrap().success());
    let relay_log = format!("{:?}", relay.log());
    assert!(relay.terminate(Signal::SIGTERM).success());
    assert_nowhere();
    assert_eq!(looks.found(relay_log.as_bytes()), 0);
    let stored = others.found(&std::fs::read(&warehouse).unwrap());
    assert!(stored >= 3 * 50 * 30, "those of the other phone are found: {stored}");
    assert!(std::fs::metadata(&log).unwrap().len() > 1_000, "it logs at level trace");
    assert!(message_ids(&warehouse, &quiet).is_empty() && message_ids(&warehouse, &ordinary).len() == 30);
    let windows = format!("SELECT count(*) FROM USER_ACTIVITY_PROCESSED WHERE deviceId = '{}'", quiet.device);
    assert!(count(&warehouse, &windows) > 10);
}

#[test]
fn killed_in_the_middle_a_phone_that_keeps_activity_alone_has_exactly_its_windows() {
    let dir = tempfile::tempdir().unwrap();
    let (data, warehouse) = (dir.path().join("data"), dir.path().join("data/warehouse.db"));
    let agent_dir = data.join("agent");
    let silent = config(dir.path(), "silent.toml", "agent.windows", SILENT);
    let talking = config(dir.path(), "talking.toml", "agent.windows", TALKING);
    let token = add(&agent_dir, "quiet", &["--keep", "activity"]);
    let (quiet, mut random) = (Phone::new(1, 74), Random::new(5));
    let (url, stop): (Url, _) = (Url::default(), Arc::new(AtomicBool::new(false)));
    let answered = Arc::new(AtomicU64::new(0));
    let pusher = {
        let (quiet, url, stop) = (quiet.clone(), Arc::clone(&url), Arc::clone(&stop));
        let answered = Arc::clone(&answered);
        let push = move || {
            let mut pushed = Pushed::new();
            for id in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                // Now and then once more, when it may be stored already.
                for _ in 0..=u8::from(id % 7 == 0) {
                    assert!(quiet.push(&url, id, &AtomicBool::new(false)));
                }
                pushed.insert(id, quiet.message(id));
                answered.fetch_add(1, Ordering::Relaxed);
            }
            pushed
        };
        std::thread::Builder::new().name("phone".to_owned()).spawn(push).unwrap()
    };
    let point = |to: Option<String>| *url.lock().unwrap() = to.map(|url| format!("{url}/{token}"));
    let (mut kills, mut inside) = (0, 0);
    while kills < 25 {
        let mut up = Process::up(&data, &["--config", &talking]);
        point(Some(up.push_url()));
        std::thread::sleep(Duration::from_micros(random.below(150_000)));
        let dbs = [agent_dir.join("spool.db")];
        let open = if random.below(3) > 0 { up.kill(&dbs) } else { up.kill_inside(&dbs) };
        inside += u64::from(open[0]);
        point(None);
        kills += 1;
    }
    let mut up = Process::up(&data, &["--config", &talking]);
    point(Some(up.push_url()));
    await_that("a minute's worth is pushed", || answered.load(Ordering::Relaxed) >= 60);
    stop.store(true, Ordering::Relaxed);
    let pushed = pusher.join().unwrap();
    assert!(up.terminate(Signal::SIGTERM).success());
    let mut up = Process::up(&data, &["--config", &silent]);
    up.push_url();
    await_drained(&agent_dir.join("spool.db"));
    assert!(up.terminate(Signal::SIGTERM).success());
    println!("{kills} kills, {inside} inside a transaction, {} pushes", pushed.len());
    assert!(inside > 0, "no kill landed inside an open transaction");
    assert_windows(&warehouse, &quiet, pushed.values().map(Vec::as_slice));
    assert_eq!(count(&warehouse, "SELECT count(*) FROM ACTIVITY_RECORDS"), 0);
    let looks = Looks::of(&pushed);
    for (path, bytes) in files(dir.path()) {
        assert_eq!(looks.found(&bytes), 0, "{}", path.display());
    }
    let (adds_up, said) = audit(&agent_dir, &warehouse);
    assert!(adds_up && said.contains("withheld as set"), "{said}");
}

#[test]
fn what_is_set_while_a_phone_pushes_holds_from_its_next_push_on() {
    let dir = tempfile::tempdir().unwrap();
    let (agent_dir, warehouse) = (dir.path().join("agent"), dir.path().join("warehouse.db"));
    let silent = config(dir.path(), "silent.toml", "agent.windows", SILENT);
    let token = add(&agent_dir, "anna", &[]);
    let mut up = Process::up(dir.path(), &["--config", &silent]);
    let anna = Phone::new(1, 75);
    let url: Url = Arc::new(Mutex::new(Some(format!("{}/{token}", up.push_url()))));
    let stop = Arc::new(AtomicBool::new(false));
    // One more than the last id that was begun, and that was answered.
    let marks = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let pusher = {
        let (anna, url, stop, marks) = (anna.clone(), Arc::clone(&url), Arc::clone(&stop), Arc::clone(&marks));
        let push = move || {
            for id in 0.. {
                if stop.load(Ordering::SeqCst) {
                    return id;
                }
                marks[0].store(id + 1, Ordering::SeqCst);
                assert!(anna.push(&url, id, &AtomicBool::new(false)));
                marks[1].store(id + 1, Ordering::SeqCst);
            }
            unreachable!("it is stopped")
        };
        std::thread::Builder::new().name("phone".to_owned()).spawn(push).unwrap()
    };
    let mark = |which: usize| marks[which].load(Ordering::SeqCst);
    let more = |than: u64| await_that("more is pushed", || mark(1) >= than + 5);
    // From which id on, and up to which, readings certainly are kept or not.
    let (mut spans, mut from) = (Vec::new(), 0);
    for turn in 0..12_u64 {
        more(from);
        let until = mark(1);
        spans.push((turn % 2 == 0, from..until));
        let keep = ["activity", "all"][turn as usize % 2];
        let said = phone(&agent_dir, &["set", "anna", "--keep", keep]);
        assert_eq!(said, format!("of phone \"anna\" is kept from its next push on: {keep}\n"));
        from = mark(0);
    }
    more(from);
    stop.store(true, Ordering::SeqCst);
    let last = pusher.join().unwrap();
    spans.push((true, from..last));
    await_drained(&agent_dir.join("spool.db"));
    assert!(up.terminate(Signal::SIGTERM).success());
    let stored = message_ids(&warehouse, &anna);
    for (is_kept, ids) in spans {
        assert!(ids.clone().count() >= 5);
        for id in ids {
            assert_eq!(stored.contains(&id), is_kept, "message {id}");
        }
    }
    let (adds_up, said) = audit(&agent_dir, &warehouse);
    assert!(adds_up && said.contains(" withheld"), "{said}");
    let (ok, said) =
        gaitway(&["agent", "phone", "set", "ben", "--keep", "all", "--data-dir", agent_dir.to_str().unwrap()]);
    assert!(!ok && said.contains("there is no phone \"ben\""), "{said}");
}

#[test]
fn of_a_phone_whose_places_are_rounded_no_exact_one_is_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    let (agent_dir, relay_dir) = (dir.path().join("agent"), dir.path().join("relay"));
    let warehouse = relay_dir.join("warehouse.db");
    let config = config(dir.path(), "agent.toml", "windows", SILENT);
    let (log, proxy) = (dir.path().join("log"), Proxy::new());
    let token = add(&agent_dir, "anna", &["--location-decimals", "2"]);
    let exact_token = add(&agent_dir, "exact", &[]);
    let push = |url: &str, device: &str, at: &str| {
        let readings = [
            r#"{"name":"accelerometer","time":1760000000000000001,"values":{"x":0.5,"y":0.25,"z":0.125}}"#.to_owned(),
            format!(
                r#"{{"name":"location","time":1760000000000000002,"values":{{"latitude":{at},"longitude":-{at},"altitude":{at},
                "speed":1.5,"bearing":{at},"horizontalAccuracy":4}}}}"#
            ),
            format!(
                r#"{{"name":"location","time":1760000000000000003,"values":{{"latitude":"{at}","longitude":"-{at}"}},"new":{{"latitude":{at}}}}}"#
            ),
            format!(
                r#"{{"name":"location","time":1760000000000000004,"values":{{"latitude":[{at}],"longitude":-{at}}}}}"#
            ),
            format!(r#"{{"name":"compass","time":1760000000000000005,"values":{{"x":1,"coords":[{at},{at}]}}}}"#),
            r#"{"name":"wifi","time":1760000000000000006,"values":{"bssid":"00:11:22:33:44:55"}}"#.to_owned(),
            // Of sensors that nobody knows, in columns and as text.
            format!(r#"{{"name":"coordinates","time":1760000000000000007,"values":{{"x":{at},"y":-{at}}}}}"#),
            format!(r#"{{"name":"geojson","time":1760000000000000008,"values":{{"geometry":"POINT({at} {at})"}}}}"#),
        ];
        let payload = readings.join(",");
        let body = format!(
            r#"{{"messageId":0,"deviceId":"{device}","sessionId":"s","home":{{"latitude":{at}}},"payload":[{payload}]}}"#
        );
        let answer = http::post(url, &body).unwrap();
        assert_eq!(answer, (200, r#"{"status":"success","processed_readings":8}"#.to_owned()));
    };
    let (mut agent, url) = talkative(&agent_dir, &proxy.url(), &config, &log);
    push(&format!("{url}/{token}"), "phone-a", "52.52000816");
    push(&format!("{url}/{exact_token}"), "phone-b", "48.13743217");
    let (_, metrics) = http::get(&url.replace("/data", "/metrics")).unwrap();
    for counted in ["readings_total 16", "withheld_readings_total 5", "rounded_readings_total 2"] {
        assert!(metrics.contains(&format!("gaitway_agent_{counted}\n")), "{metrics}");
    }
    let mut relay = Process::up(&relay_dir, &[]);
    proxy.point(Some(&relay.mqtt_address()));
    await_drained(&agent_dir.join("spool.db"));
    let pid = nix::unistd::Pid::from_raw(agent.id().try_into().unwrap());
    nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
    assert!(agent.wait().unwrap().success());
    assert!(relay.terminate(Signal::SIGTERM).success());

    let rows = |device: &str| {
        let connection = open(&warehouse);
        let sql = "SELECT sensorType, reading FROM ACTIVITY_RECORDS WHERE deviceId = ?1 ORDER BY readingIndex";
        let mut statement = connection.prepare(sql).unwrap();
        let rows = statement.query_map([device], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.collect::<Result<Vec<(String, Option<String>)>, _>>().unwrap()
    };
    let json = |text: &Option<String>| serde_json::from_str::<serde_json::Value>(text.as_ref().unwrap()).unwrap();
    let kept = rows("phone-a");
    assert_eq!(
        kept.iter().map(|(sensor, _)| sensor.as_str()).collect::<Vec<_>>(),
        ["accelerometer", "location", "location"]
    );
    assert_eq!(kept[0].1, None);
    let rounded = serde_json::json!({"values": {"latitude": 52.52, "longitude": -52.52, "speed": 1.5}});
    assert_eq!(json(&kept[1].1), rounded);
    assert_eq!(json(&kept[2].1), serde_json::json!({"values": {"latitude": 52.52, "longitude": -52.52}}));
    let exact = rows("phone-b");
    assert_eq!(exact.len(), 8);
    assert_eq!(json(&exact[1].1)["values"]["latitude"], 48.137_432_17);
    let at = 52.520_008_16_f64;
    for (path, bytes) in files(dir.path()) {
        for look in [&b"52.5200"[..], &at.to_be_bytes(), &at.to_le_bytes(), &(-at).to_be_bytes(), &(-at).to_le_bytes()]
        {
            assert!(!bytes.windows(look.len()).any(|window| window == look), "{}", path.display());
        }
    }
    let there = std::fs::read(&warehouse).unwrap();
    assert!(there.windows(11).any(|window| window == b"48.13743217"), "the other phone's is found");
    let (adds_up, said) = audit(&agent_dir, &warehouse);
    assert!(adds_up && said.contains("5 withheld"), "{said}");
}
