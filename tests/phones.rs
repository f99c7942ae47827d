//! Phones with tokens: who may push, from the commands of whoever runs the agent to the rows in the warehouse.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;

use std::path::Path;
use std::process::{Command, Stdio};

use harness::await_that;
use harness::http;
use harness::phone::{Phone, Pushed, push};
use harness::process::Process;
use harness::warehouse::{assert_no_duplicates, count, message_ids};
use nix::sys::signal::Signal;

fn gaitway(args: &[&str]) -> (bool, String) {
    let ran = Command::new(env!("CARGO_BIN_EXE_gaitway")).args(args).output().unwrap();
    let said = [ran.stdout, ran.stderr].concat();
    (ran.status.success(), String::from_utf8(said).unwrap())
}

/// `phone add`; gives the push URL that it prints, which must be the first.
fn add(agent_dir: &Path, name: &str) -> (String, String) {
    let (ok, said) = gaitway(&["agent", "phone", "add", name, "--data-dir", agent_dir.to_str().unwrap()]);
    assert!(ok, "{said}");
    let url = said.lines().map(str::trim).find(|line| line.starts_with("http://")).unwrap().to_owned();
    (url, said)
}

#[test]
fn a_phone_is_let_in_and_thrown_out_while_the_agent_runs() {
    let dir = tempfile::tempdir().unwrap();
    let agent_dir = dir.path().join("agent");
    let mut up = Process::up(dir.path(), &[]);
    let open = up.push_url();
    let (phone, stranger, mut pushed) = (Phone::new(1, 41), Phone::new(2, 42), Pushed::new());
    push(&open, &phone, 0..5, &mut pushed);

    let (url, said) = add(&agent_dir, "anna");
    assert!(url.starts_with(&format!("{open}/")), "{url} is where {open} is");
    assert!(said.contains("refuses pushes without a token"), "{said}");
    push(&url, &phone, 5..10, &mut pushed);
    let refused = |url: &str| {
        let (status, said) = http::post(url, &stranger.body(0, &stranger.message(0))).unwrap();
        assert_eq!(status, 499, "{said}");
        said
    };
    let told = |what: &str| {
        let (_, status) = http::get(&open.replace("/data", "/api/v1/status")).unwrap();
        assert!(status.contains(what), "the page says it too: {status}");
    };
    assert!(refused(&open).contains("gaitway agent phone add"));
    told("Pushes without a token are refused: add that phone");
    assert!(refused(&format!("{open}/0123456789abcdefghjk")).contains("not in force"));
    told("Pushes with a token that is not in force are refused");
    assert!(refused(&url).contains("another phone, \"anna\""));
    told("Pushes of another phone with the token of anna are refused");
    let says = |open: &str, what: &str| http::get(&open.replace("/data", "/readyz")).unwrap().1.contains(what);
    await_that("readiness says who may push", || says(&open, "1 phone may push"));

    up.kill(&[]);
    let mut up = Process::up(dir.path(), &[]);
    let open = up.push_url();
    let url = format!("{open}/{}", url.rsplit_once('/').unwrap().1);
    push(&url, &phone, 10..15, &mut pushed);
    let dir_text = agent_dir.to_str().unwrap();
    let (_, listed) = gaitway(&["agent", "phone", "list", "--data-dir", dir_text]);
    assert!(listed.contains("anna") && listed.contains(&phone.device), "{listed}");
    let (ok, said) = gaitway(&["agent", "phone", "add", "anna", "--data-dir", dir_text]);
    assert!(!ok && said.contains("there is a phone \"anna\""), "{said}");
    // The folder of `up` means its agent's; one where nobody has run is a mistake.
    let (_, of_up) = gaitway(&["agent", "phone", "list", "--data-dir", dir.path().to_str().unwrap()]);
    assert_eq!(of_up, listed);
    let nobody = dir.path().join("nobody");
    for args in
        [&["phone", "list"][..], &["phone", "revoke", "anna"], &["reader", "list"], &["reader", "revoke", "anna"]]
    {
        let (ok, said) = gaitway(&[&["agent"], args, &["--data-dir", nobody.to_str().unwrap()]].concat());
        assert!(!ok && said.contains("no agent has run in"), "{args:?}: {said}");
    }
    assert!(!nobody.exists(), "what is refused leaves nothing");
    let (ok, said) = gaitway(&["agent", "phone", "revoke", "anna", "--data-dir", dir_text]);
    assert!(ok && said.contains("nobody may push"), "{said}");
    let (status, said) = http::post(&url, &phone.body(15, &phone.message(15))).unwrap();
    assert!(status == 499 && said.contains("not in force"), "{status} {said}");
    await_that("readiness says that nobody may", || says(&open, "0 phones may push"));
    let (warehouse, readings) = (dir.path().join("warehouse.db"), pushed.values().map(Vec::len).sum::<usize>());
    await_that("every reading is stored", || {
        count(&warehouse, "SELECT count(*) FROM ACTIVITY_RECORDS") == readings as i64
    });
    assert!(up.terminate(Signal::SIGTERM).success());
    assert_no_duplicates(&warehouse);
    assert_eq!(message_ids(&warehouse, &phone), (0..15).collect());
    assert_eq!(message_ids(&warehouse, &stranger).len(), 0);
}

#[test]
fn no_token_is_in_what_a_service_prints_or_keeps() {
    let dir = tempfile::tempdir().unwrap();
    let agent_dir = dir.path().join("agent");
    let (url, _) = add(&agent_dir, "anna");
    let token = url.rsplit_once('/').unwrap().1.to_owned();
    let log = dir.path().join("log");
    let mut agent = Command::new(env!("CARGO_BIN_EXE_gaitway"))
        .args(["agent", "--http", "127.0.0.1:0", "--relay", "mqtt://127.0.0.1:1", "--data-dir"])
        .arg(&agent_dir)
        .env("GAITWAY_LOG", "trace")
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&log).unwrap())
        .stderr(std::fs::File::create(dir.path().join("errors")).unwrap())
        .spawn()
        .unwrap();
    let note = agent_dir.join("listens");
    await_that("the agent listens", || {
        std::fs::read_to_string(&note).is_ok_and(|url| http::get(&format!("{}/healthz", url.trim())).is_ok())
    });
    let open = format!("{}/data", std::fs::read_to_string(&note).unwrap().trim());
    let (phone, stranger, mut pushed) = (Phone::new(1, 43), Phone::new(2, 44), Pushed::new());
    push(&format!("{open}/{token}"), &phone, 0..5, &mut pushed);
    assert_eq!(http::post(&format!("{open}/{token}"), "not JSON").unwrap().0, 400);
    assert_eq!(http::post(&format!("{open}/{token}/more"), "{}").unwrap().0, 404);
    assert_eq!(http::get(&format!("{open}/{token}")).unwrap().0, 405);
    assert_eq!(http::post(&format!("{open}/{token}"), &stranger.body(0, &stranger.message(0))).unwrap().0, 499);
    let (_, metrics) = http::get(&open.replace("/data", "/metrics")).unwrap();
    let (_, ready) = http::get(&open.replace("/data", "/readyz")).unwrap();
    let pid = nix::unistd::Pid::from_raw(agent.id().try_into().unwrap());
    nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
    assert!(agent.wait().unwrap().success());
    let mut texts = vec![("metrics".to_owned(), metrics.into_bytes()), ("readyz".to_owned(), ready.into_bytes())];
    for folder in [dir.path(), &agent_dir] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                texts.push((path.display().to_string(), std::fs::read(&path).unwrap()));
            }
        }
    }
    assert!(texts.iter().any(|(name, text)| name.ends_with("/log") && text.len() > 1_000), "it logs at level trace");
    for (name, text) in texts {
        assert!(!text.windows(token.len()).any(|window| window == token.as_bytes()), "{name} holds the token");
    }
}

#[test]
fn a_running_agent_is_reached_by_its_socket_without_its_folder() {
    let dir = tempfile::tempdir().unwrap();
    let (config, socket) = (dir.path().join("up.toml"), dir.path().join("agent.sock"));
    let data = dir.path().join("data");
    let (there, folder) = (socket.to_str().unwrap(), data.to_str().unwrap());
    std::fs::write(&config, format!("data_dir = {folder:?}\n[agent]\ncontrol = {there:?}\n")).unwrap();
    let config = config.to_str().unwrap();
    let asked = |args: &[&str]| gaitway(&[&["agent", "--config", config], args].concat());
    let up = || {
        let running = Process::start(&["up", "--config", config, "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0"]);
        await_that("it listens there", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
        running
    };

    let running = up();
    let (ok, said) = asked(&["phone", "add", "anna", "--location-decimals", "2"]);
    assert!(ok && said.contains("location to 2 decimals") && !said.contains("no agent has run"), "{said}");
    let url = said.lines().map(str::trim).find(|line| line.starts_with("http://")).unwrap();
    push(url, &Phone::new(1, 43), 0..5, &mut Pushed::new());
    let (_, listed) = asked(&["phone", "list"]);
    assert!(listed.contains("anna") && !listed.contains("has not pushed yet"), "{listed}");
    let (ok, said) = asked(&["phone", "add", "anna"]);
    assert!(!ok && said.contains("there is a phone \"anna\""), "{said}");
    let (ok, said) = asked(&["reader", "add", "ben"]);
    assert!(ok && said.contains("/enter/"), "{said}");
    running.kill(&[]);

    assert!(socket.exists(), "what was killed leaves it");
    let (ok, said) = asked(&["phone", "list"]);
    assert!(ok && said == listed, "the folder is known all the same: {said}");
    let (ok, said) = gaitway(&["audit", "--config", config]);
    assert!(ok && said.contains("adds up: 1 session, 500 readings"), "{said}");
    let running = up();
    let (ok, said) = asked(&["phone", "revoke", "anna"]);
    assert!(ok && said.contains("may not push any more"), "{said}");
    assert!(running.terminate(Signal::SIGTERM).success());
    assert!(!socket.exists());
}
