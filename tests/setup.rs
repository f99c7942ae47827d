//! Setting a phone up, over real processes: from the code on a terminal or the link of `phone add` to the first push.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "setup/browser.rs"]
mod browser;
#[path = "setup/codes.rs"]
mod codes;
mod harness;
#[path = "setup/screen.rs"]
mod screen;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use browser::Browser;
use codes::{config, links};
use harness::await_that;
use harness::http;
use harness::phone::Phone;
use harness::process::Process;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use screen::Screen;
use serde_json::{Value, json};

const TEST_PUSH: &str =
    r#"{"messageId":0,"sessionId":"s","deviceId":"d","payload":[{"name":"test","time":1,"values":{}}]}"#;

/// Pushes message `id` of `phone` as the app does that was set up with `config`.
fn push(config: &Value, phone: &Phone, id: u64) -> u16 {
    let (url, token) = (config["http"]["url"].as_str().unwrap(), config["http"]["authToken"].as_str());
    let url = token.map_or_else(|| url.to_owned(), |token| format!("{url}/{token}"));
    http::post(&url, &phone.body(id, &phone.message(id))).unwrap().0
}

/// This thread, and what it starts, in a network of its own that has `address` and reaches nobody else.
fn in_a_network_with(address: &str) {
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace can be made by root");
    for args in [&["link", "set", "lo", "up"][..], &["address", "add", &format!("{address}/24"), "dev", "lo"]] {
        assert!(Command::new("ip").args(args).status().expect("iproute2 is here").success());
    }
}

fn gaitway(args: &[&str]) -> String {
    let ran = Command::new(env!("CARGO_BIN_EXE_gaitway")).args(args).output().unwrap();
    assert!(ran.status.success(), "{args:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

/// All regular files below `dir` in which `text` stands.
fn files_with(dir: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if fs::read(&path).is_ok_and(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes())) {
            found.push(path);
        }
    }
    found
}

#[test]
fn the_code_on_a_terminal_of_80_by_24_leads_a_phone_to_its_token_and_its_first_push() {
    in_a_network_with("192.168.178.100");
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("gaitway-data");
    let args = ["up", "--data-dir", data.to_str().unwrap(), "--http", "192.168.178.100:0", "--mqtt", "127.0.0.1:0"];
    let mut screen = Screen::start(24, 80, &args);
    screen.await_that("the live line is below the code", |text| text.contains("no phone yet"));
    let (link, text) = (screen.code(), screen.text());
    assert!(text.contains("Scan this") && text.contains("Ctrl-C ends it"), "{text}");
    assert!(text.contains("Anybody in this network may push!"), "{text}");

    let mut browser = Browser::default();
    assert!(link.starts_with("HTTP://192.168.178.100:") && link.len() < 60, "{link}");
    let offered = browser.get(&link.replace("HTTP://", "http://"));
    assert!(offered.status == 200 && offered.body.contains("<form method=\"post\""), "{}", offered.body);
    let entered = browser.post(&browser.here(), "");
    assert!(entered.status == 200 && browser.here().ends_with("/setup"), "{}", browser.here());
    // Nobody has a token: the page sets any phone up.
    let open = config(&links(&entered.body)[0]);
    assert_eq!(open["http"].get("authToken"), None);
    assert_eq!(push(&open, &Phone::new(1, 71), 0), 200);

    let made = browser.post(&browser.here(), "name=Anna&sensors=usual");
    assert_eq!(made.status, 200, "{}", made.body);
    let [tapped, ios, android] = links(&made.body);
    assert!(tapped == android && ios == android, "no name is in force, so all push to the address");
    let set = config(&tapped);
    let port = link.rsplit_once("/E/").unwrap().0.rsplit_once(':').unwrap().1;
    let token = set["http"]["authToken"].as_str().unwrap();
    let expected = json!({
        "enabled": true,
        "url": format!("http://192.168.178.100:{port}/data"),
        "batchPeriod": 1000,
        "authToken": token,
        "skip": false,
    });
    assert_eq!(set["http"], expected);
    assert_eq!(push(&open, &Phone::new(1, 71), 1), 499, "from now on only with a token");
    assert_eq!(made.light(), "waiting");
    assert_eq!(push(&set, &Phone::new(2, 72), 0), 200);
    screen.await_that("a phone is on the line", |text| text.contains("2 phones"));
    assert_eq!(files_with(dir.path(), token), Vec::<PathBuf>::new(), "its hash alone is kept");
    assert!(screen.end().success());
}

#[test]
fn a_terminal_without_room_and_a_listener_that_no_phone_reaches_show_no_code() {
    in_a_network_with("192.168.1.20");
    for (rows, columns, http) in [(24, 70, "192.168.1.20:0"), (16, 80, "192.168.1.20:0"), (24, 80, "127.0.0.1:0")] {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().to_str().unwrap();
        let mut screen =
            Screen::start(rows, columns, &["up", "--data-dir", data, "--http", http, "--mqtt", "127.0.0.1:0"]);
        screen.await_that("the live line", |text| text.contains("no phone yet"));
        let text = screen.text();
        assert!(text.contains("Ctrl-C ends it") && !text.contains('█'), "{text}");
        assert!(screen.end().success());
    }
}

#[test]
fn the_link_of_a_new_phone_sets_it_up_once_and_its_token_is_readable_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let agent_dir = dir.path().join("agent");
    let agent_dir = agent_dir.to_str().unwrap();
    let said = gaitway(&["agent", "phone", "add", "Anna", "--data-dir", agent_dir]);
    let after = |part: &str| said.lines().find_map(|line| line.trim().split_once(part)).unwrap().1.to_owned();
    let (token, code) = (after("/data/"), after("/enter/"));
    for secret in [&token, &code] {
        assert_eq!(files_with(dir.path(), secret), Vec::<PathBuf>::new());
    }
    let readers = fs::read_to_string(Path::new(agent_dir).join("readers.json")).unwrap();
    assert!(readers.contains("sealed_token"), "{readers}");

    let log = dir.path().join("log");
    let mut agent = Command::new(env!("CARGO_BIN_EXE_gaitway"))
        .args(["agent", "--http", "127.0.0.1:0", "--relay", "mqtt://127.0.0.1:1", "--data-dir", agent_dir])
        .env("GAITWAY_LOG", "trace")
        .env("GAITWAY_AGENT__PUSH_HOST", "127.0.0.1")
        .stdin(Stdio::null())
        .stdout(File::create(&log).unwrap())
        .stderr(File::create(dir.path().join("errors")).unwrap())
        .spawn()
        .unwrap();
    let listens = || fs::read_to_string(Path::new(agent_dir).join("listens")).ok()?.lines().next().map(str::to_owned);
    await_that("the agent listens", || listens().is_some_and(|url| http::get(&format!("{url}/healthz")).is_ok()));
    let site = listens().unwrap();

    // A proxy says so, so that its browsers are no programs of this machine.
    let (mut anna, mut eve) = (Browser::elsewhere(), Browser::elsewhere());
    assert_eq!(eve.get(&format!("{site}/setup")).status, 403);
    assert_eq!(anna.get(&format!("{site}/E/{}", code.to_ascii_uppercase())).status, 200);
    let page = anna.post(&anna.here(), "");
    assert!(anna.here().ends_with("/setup") && page.light() == "waiting", "{}", page.body);
    let [tapped, ios, android] = links(&page.body);
    assert!(tapped == ios && ios == android);
    let set = config(&tapped);
    assert_eq!(set["http"]["authToken"], token.as_str());
    assert!(!fs::read_to_string(Path::new(agent_dir).join("readers.json")).unwrap().contains("sealed_token"));
    assert_eq!(eve.get(&format!("{site}/enter/{code}")).status, 403, "it is used up");
    assert_eq!(eve.post(&format!("{site}/enter/{code}"), "").status, 403);
    assert_eq!(anna.post(&format!("{site}/setup"), "name=Eve").status, 403, "a phone's browser adds no phones");

    let test = http::post(&format!("{site}/data/{token}"), TEST_PUSH).unwrap();
    assert_eq!(test.0, 200, "{}", test.1);
    let page = anna.get(&format!("{site}/setup"));
    assert!(page.light() == "tested" && page.body.contains("The test push arrived."), "{}", page.body);
    let phone = Phone::new(1, 73);
    // A test is older than a push only when a second lies between them.
    await_that("the light says that the phone is seen", || {
        std::thread::sleep(Duration::from_millis(400));
        for id in 0..3 {
            assert_eq!(push(&set, &phone, id), 200);
        }
        anna.get(&format!("{site}/setup")).light() == "seen"
    });
    let again = anna.get(&format!("{site}/setup"));
    assert_eq!(config(&links(&again.body)[0]), set, "a reload shows it again");

    // On this machine whoever has an account may add phones, but no page of another site.
    let mut here = Browser::default();
    assert!(here.get(&format!("{site}/setup")).body.contains("<form"));
    here.origin = Some("http://evil.example".to_owned());
    assert_eq!(here.post(&format!("{site}/setup"), "name=Eve").status, 403);
    here.origin = None;
    let made = here.post(&format!("{site}/setup"), "name=Ben&sensors=activity");
    let of_ben = config(&links(&made.body)[0]);
    assert_eq!(of_ben["sensorState"], json!({"Accelerometer": {"enabled": true, "speed": 10}}));
    assert_eq!(push(&of_ben, &Phone::new(2, 74), 0), 200);

    kill(Pid::from_raw(agent.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert!(agent.wait().unwrap().success());
    assert!(fs::metadata(&log).unwrap().len() > 1_000, "it logs at level trace");
    let ben = of_ben["http"]["authToken"].as_str().unwrap();
    for secret in [&token, &code, ben, anna.cookie().split_once('=').unwrap().1] {
        assert_eq!(files_with(dir.path(), secret), Vec::<PathBuf>::new());
    }

    // What was held in memory is gone with the agent.
    let mut agent = Process::agent(Path::new(agent_dir), "mqtt://127.0.0.1:1", &[]);
    let site = agent.agent_push_url().replace("/data", "");
    let named = anna.cookie().replace(&anna.cookie()[..anna.cookie().find('=').unwrap()], &cookie_name(&site));
    let mut anna = Browser::elsewhere().with_cookie(&named);
    let page = anna.get(&format!("{site}/setup"));
    assert!(
        page.status == 200 && page.body.contains("phone revoke Anna") && !page.body.contains(&token),
        "{}",
        page.body
    );
    assert!(agent.terminate(Signal::SIGTERM).success());
}

fn cookie_name(site: &str) -> String {
    format!("gaitway_{}", site.rsplit_once(':').unwrap().1)
}

#[test]
fn the_code_of_a_new_phone_is_whole_on_a_terminal_of_80_by_24() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let args = ["agent", "phone", "add", "Anna", "--http", "192.168.178.100:8000", "--data-dir", data];
    let mut screen = Screen::start(24, 80, &args);
    assert!(screen.ended().success());
    let (link, text) = (screen.code(), screen.text());
    assert!(link.starts_with("HTTP://192.168.178.100:8000/E/"), "{link}");
    assert!(text.contains("Scan this with the camera of Anna."), "{text}");
}
