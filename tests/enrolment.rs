//! Agents elsewhere: let in with a code, thrown out, their certificates replaced, over real processes and TLS.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::Signal;

mod harness;

use harness::phone::{Phone, Pushed, Url, push};
use harness::process::Process;
use harness::proxy::Proxy;
use harness::warehouse::{assert_no_duplicates, count, message_ids};
use harness::{await_that, http};

/// `up` behind TLS, and room for agents.
struct House {
    dir: tempfile::TempDir,
    up: Process,
    relay: String,
}

fn gaitway(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gaitway")).args(args).output().unwrap()
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn refused(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8(output.stderr.clone()).unwrap()
}

impl House {
    fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("up.toml");
        std::fs::write(&config, "[relay]\ntls = true\n").unwrap();
        let mut up = Process::up(&dir.path().join("up"), &["--config", config.to_str().unwrap()]);
        let relay = up.mqtt_address();
        Self { dir, up, relay }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn warehouse(&self) -> PathBuf {
        self.path("up/warehouse.db")
    }

    /// `gaitway relay agent …` on the relay's folder.
    fn agents(&self, args: &[&str]) -> Output {
        let relay = self.path("up/relay");
        let place = ["--data-dir", relay.to_str().unwrap()];
        gaitway(&[&["relay", "agent"], args, &place].concat())
    }

    /// A code for `name`, and where it is to be brought.
    fn add(&self, name: &str) -> (String, String) {
        let line = said(&self.agents(&["add", name]));
        let (address, code) = line.trim().split_once(' ').unwrap();
        (address.to_owned(), code.to_owned())
    }

    fn enroll(&self, address: &str, code: &str, name: &str) -> Output {
        gaitway(&["agent", "enroll", address, code, "--data-dir", self.path(name).to_str().unwrap()])
    }

    fn enrolled(&self, name: &str) -> PathBuf {
        let (address, code) = self.add(name);
        assert_eq!(address, self.relay);
        let told = said(&self.enroll(&address, &code, name));
        assert!(told.contains(&format!("This agent is {name} to the relay at {address}")), "{told}");
        self.path(name)
    }
}

/// An agent that knows its relay only from having enrolled.
fn agent(dir: &Path) -> Process {
    Process::start(&["agent", "--data-dir", dir.to_str().unwrap(), "--http", "127.0.0.1:0"])
}

fn why_not_ready(agent: &mut Process) -> Option<String> {
    let ready = agent.agent_push_url().replace("/data", "/readyz");
    http::get(&ready).ok().filter(|(status, _)| *status == 503).map(|(_, why)| why)
}

#[test]
fn an_agent_enrols_pushes_and_its_readings_are_committed() {
    let mut house = House::open();
    let dir = house.enrolled("attic");
    let mut attic = agent(&dir);
    let (phone, mut pushed) = (Phone::new(4, 19), Pushed::new());
    push(&attic.agent_push_url(), &phone, 0..5, &mut pushed);
    await_that("all is committed", || message_ids(&house.warehouse(), &phone) == (0..5).collect());

    // The agent of `up` itself comes in by a door of its own.
    let (other, mut others) = (Phone::new(5, 23), Pushed::new());
    push(&house.up.push_url(), &other, 0..5, &mut others);
    await_that("all is committed", || message_ids(&house.warehouse(), &other) == (0..5).collect());
    let list = said(&house.agents(&["list"]));
    assert!(list.contains("attic") && list.contains("good") && list.lines().count() == 2, "{list}");
    assert!(attic.terminate(Signal::SIGTERM).success());
    assert!(house.up.terminate(Signal::SIGTERM).success());
}

#[test]
fn whoever_has_not_enrolled_is_told_what_to_do() {
    let house = House::open();
    let relay = format!("mqtts://{}", house.relay);
    let mut stranger = Process::agent(&house.path("stranger"), &relay, &[]);
    await_that("it says so", || why_not_ready(&mut stranger).is_some_and(|why| why.contains("gaitway agent enroll")));
    let plain = format!("mqtt://{}", house.relay);
    let mut plain = Process::agent(&house.path("plain"), &plain, &[]);
    await_that("it is closed", || why_not_ready(&mut plain).is_some_and(|why| why.contains("waiting for relay")));
    assert_eq!(count(&house.warehouse(), "SELECT count(*) FROM ACTIVITY_RECORDS"), 0);
}

#[test]
fn a_wrong_code_a_used_one_and_a_relay_in_between_are_said_and_leave_nothing() {
    let house = House::open();
    let (address, code) = house.add("attic");
    let (first, last) = code.split_at(code.len() - 1);
    let other = if last == "0" { "1" } else { "0" };
    let mistyped = refused(&house.enroll(&address, &format!("{first}{other}"), "attic"));
    assert!(mistyped.contains("knows no such code, 4 more tries"), "{mistyped}");
    let short = refused(&house.enroll(&address, first, "attic"));
    assert!(short.contains("this one has 25"), "{short}");

    let impostor = House::open();
    let between = refused(&house.enroll(&impostor.relay, &code, "attic"));
    assert!(
        between.contains("is not the relay that made this code") && between.contains("nothing was sent"),
        "{between}"
    );
    let nobody = refused(&house.enroll("127.0.0.1:1", &code, "attic"));
    assert!(nobody.contains("no relay answers at 127.0.0.1:1"), "{nobody}");
    assert!(!house.path("attic/identity.json").exists());

    said(&house.enroll(&address, &code.to_lowercase().replace('-', " "), "attic"));
    let used = refused(&house.enroll(&address, &code, "other"));
    assert!(used.contains("used already"), "{used}");
    assert!(!house.path("other/identity.json").exists());
}

#[test]
fn an_agent_that_is_revoked_is_cut_off_and_says_so_until_it_enrols_again() {
    let house = House::open();
    let dir = house.enrolled("attic");
    let mut attic = agent(&dir);
    let url = attic.agent_push_url();
    let (phone, mut pushed) = (Phone::new(4, 19), Pushed::new());
    push(&url, &phone, 0..3, &mut pushed);
    await_that("all is committed", || message_ids(&house.warehouse(), &phone) == (0..3).collect());

    let told = said(&house.agents(&["revoke", "attic"]));
    assert_eq!(told, "agent attic: 1 certificates revoked, 0 codes dropped\n");
    await_that("it says so", || why_not_ready(&mut attic).is_some_and(|why| why.contains("revoked this agent's")));
    push(&url, &phone, 3..6, &mut pushed);
    let again = refused(&house.agents(&["revoke", "attic"]));
    assert!(again.contains("has neither a good certificate nor a code"), "{again}");
    assert_eq!(message_ids(&house.warehouse(), &phone), (0..3).collect());

    // While it runs.
    house.enrolled("attic");
    await_that("all is committed", || message_ids(&house.warehouse(), &phone) == (0..6).collect());
    assert_no_duplicates(&house.warehouse());
}

#[test]
fn certificates_are_replaced_under_load_without_a_lost_or_doubled_reading() {
    let house = House::open();
    // A balancer before the relay, which knows nothing of TLS.
    let proxy = Proxy::new();
    proxy.point(Some(&house.relay));
    let balancer = proxy.url().replace("mqtt://", "");
    let (_, code) = house.add("attic");
    said(&house.enroll(&balancer, &code, "attic"));
    let identity = house.path("attic/identity.json");
    let mut attic = agent(&house.path("attic"));
    let url: Url = Arc::new(Mutex::new(Some(attic.agent_push_url())));
    let stop = Arc::new(AtomicBool::new(false));
    let (of_phone, stopped) = (url.clone(), stop.clone());
    let run = move || Phone::new(5, 23).run(Duration::ZERO, &of_phone, &stopped);
    let phone = std::thread::Builder::new().name("phone".to_owned()).spawn(run).unwrap();
    await_that("readings arrive", || count(&house.warehouse(), "SELECT count(*) FROM ACTIVITY_RECORDS") > 200);
    for _ in 0..3 {
        let before = std::fs::read(&identity).unwrap();
        said(&house.agents(&["rotate", "attic"]));
        await_that("the certificate is another", || std::fs::read(&identity).unwrap() != before);
        await_that("the old one is revoked", || !said(&house.agents(&["list"])).contains("to be replaced"));
    }
    stop.store(true, Ordering::Relaxed);
    let (phone, pushed) = phone.join().unwrap();
    await_that("everything is there", || message_ids(&house.warehouse(), &phone).len() == pushed.len());
    assert_no_duplicates(&house.warehouse());
    assert!(attic.terminate(Signal::SIGTERM).success());
    let readings: usize = pushed.values().map(Vec::len).sum();
    assert_eq!(count(&house.warehouse(), "SELECT count(*) FROM ACTIVITY_RECORDS"), readings as i64);
    let list = said(&house.agents(&["list"]));
    assert_eq!((list.matches("revoked").count(), list.matches("good").count()), (3, 1), "{list}");
}

#[test]
fn a_certificate_near_its_end_is_replaced_and_a_kill_meanwhile_leaves_a_whole_identity() {
    let house = House::open();
    let dir = house.enrolled("attic");
    let identity = dir.join("identity.json");
    let kept = || serde_json::from_slice::<serde_json::Value>(&std::fs::read(&identity).unwrap()).unwrap();
    // What the agent goes by; the certificate itself is good for longer.
    let age = || {
        let mut aged = kept();
        aged["not_after"] = (aged["not_before"].as_i64().unwrap() + 1).into();
        std::fs::write(&identity, aged.to_string()).unwrap();
        aged["key"].clone()
    };
    let (phone, mut pushed) = (Phone::new(4, 19), Pushed::new());
    for round in 0..6 {
        let old = age();
        let mut attic = agent(&dir);
        push(&attic.agent_push_url(), &phone, [round], &mut pushed);
        if round % 2 == 0 {
            // About when the keeper looks first, two seconds after the start.
            std::thread::sleep(Duration::from_millis(1_960 + 10 * round));
            attic.kill(&[]);
            kept();
        } else {
            await_that("the key is another", || kept()["key"] != old);
            assert!(attic.terminate(Signal::SIGTERM).success());
        }
    }
    let _last = agent(&dir);
    await_that("all is committed", || message_ids(&house.warehouse(), &phone) == (0..6).collect());
    assert_no_duplicates(&house.warehouse());
}
