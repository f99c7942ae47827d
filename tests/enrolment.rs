//! Agents elsewhere: let in with a code, thrown out, their certificates replaced, over real processes and TLS.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gaitway_proto::enrolment::{ALPN_ENROL, RELAY_NAME};
use nix::sys::signal::Signal;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

mod harness;

use harness::authority::Authority;
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
        Self::open_at("127.0.0.1:0", "")
    }

    /// With more about its relay.
    fn open_at(mqtt: &str, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (config, data) = (dir.path().join("up.toml"), dir.path().join("up"));
        std::fs::write(&config, format!("[relay]\ntls = true\nmqtt = {mqtt:?}\n{more}")).unwrap();
        let (config, data) = (config.to_str().unwrap(), data.to_str().unwrap());
        let mut up = Process::start(&["up", "--config", config, "--data-dir", data, "--http", "127.0.0.1:0"]);
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
fn an_agent_is_let_in_by_a_file_once_however_often_that_is_begun() {
    let house = House::open();
    let (file, dir) = (house.path("invitation"), house.path("attic"));
    let shown = [file.to_str().unwrap(), dir.to_str().unwrap()];
    let enroll =
        || gaitway(&["agent", "enroll", "--invitation", shown[0], "--unless-enrolled", "--data-dir", shown[1]]);
    assert!(refused(&enroll()).contains(&format!("there is no file {}", shown[0])));
    std::fs::write(&file, "nonsense\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(refused(&enroll()).contains("is no invitation"));

    let invite = || house.agents(&["add", "attic", "--address", &house.relay, "--invitation", shown[0]]);
    let added = invite();
    assert_eq!(said(&added), "", "the code is in the file alone");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(said(&enroll()).contains("This agent is attic to the relay"));
    // A second start of everything: another code, which the agent does not need.
    said(&invite());
    assert_eq!(said(&enroll()), "");
    let mut attic = agent(&dir);
    let (phone, mut pushed) = (Phone::new(6, 19), Pushed::new());
    push(&attic.agent_push_url(), &phone, 0..3, &mut pushed);
    await_that("all is committed", || message_ids(&house.warehouse(), &phone) == (0..3).collect());

    // Another relay's invitation is taken: the certificate of the one before is good for nothing there.
    let other = House::open();
    let invited = other.agents(&["add", "attic", "--address", &other.relay, "--invitation", shown[0]]);
    said(&invited);
    assert!(said(&enroll()).contains(&format!("to the relay at {}", other.relay)));
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
    assert_eq!(nobody.matches("Connection refused").count(), 1, "{nobody}");
    assert!(!house.path("attic/identity.json").exists());

    said(&house.enroll(&address, &code.to_lowercase().replace('-', " "), "attic"));
    let used = refused(&house.enroll(&address, &code, "other"));
    assert!(used.contains("used already"), "{used}");
    assert!(!house.path("other/identity.json").exists());
}

#[test]
fn a_man_in_the_middle_with_another_certificate_is_told_nothing() {
    let house = House::open();
    let (_, code) = house.add("attic");
    // As like the relay as somebody can make it who has not its key.
    let (chain, key) = Authority::new("gaitway relay authority").issue(&[RELAY_NAME]);
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
        .unwrap();
    config.alpn_protocols = vec![ALPN_ENROL.to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let between = move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let connection = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        let mut heard = Vec::new();
        // It ends with the agent's alert.
        let _ = rustls::StreamOwned::new(connection, stream).read_to_end(&mut heard);
        heard
    };
    let between = std::thread::Builder::new().name("between".to_owned()).spawn(between).unwrap();
    let told = refused(&house.enroll(&address, &code, "attic"));
    assert!(told.contains("is not the relay that made this code") && told.contains("nothing was sent"), "{told}");
    assert_eq!(between.join().unwrap(), b"", "not a byte of the code or of a request");
    assert!(!house.path("attic/identity.json").exists());
    said(&house.enroll(&house.relay, &code, "attic"));
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
    assert_eq!(told, "agent attic: 1 certificate revoked, 0 codes dropped\n");
    await_that("it says so", || why_not_ready(&mut attic).is_some_and(|why| why.contains("revoked this agent's")));
    // Not a minute later, when it had logged another reason before.
    let reason = |event: &serde_json::Value| event["reason"].as_str().unwrap_or_default().to_owned();
    let reasons = || attic.log().iter().map(reason).filter(|reason| !reason.is_empty()).collect::<Vec<_>>();
    let end = Instant::now() + Duration::from_secs(20);
    while !reasons().iter().any(|reason| reason.contains("has revoked this agent's certificate")) {
        assert!(Instant::now() < end, "{:?}", reasons());
        std::thread::sleep(Duration::from_millis(20));
    }
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
    let left = dir.join("identity.json.new");
    // So few that the relay, which renews six times a minute, refuses none.
    for round in 0..4 {
        let old = age();
        if round == 0 {
            // As one leaves it who is killed while writing.
            std::fs::write(&left, "{\"key\": \"-----BEGIN").unwrap();
        }
        let mut attic = agent(&dir);
        push(&attic.agent_push_url(), &phone, [round], &mut pushed);
        assert!(round > 0 || !left.exists(), "what a kill left behind is gone");
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
    await_that("all is committed", || message_ids(&house.warehouse(), &phone) == (0..4).collect());
    assert_no_duplicates(&house.warehouse());
}

#[test]
fn a_relay_at_an_ipv6_address_is_enrolled_at_and_reached_as_it_is_written() {
    let house = House::open_at("[::1]:0", "");
    assert!(house.relay.starts_with("[::1]:"), "{}", house.relay);
    let dir = house.enrolled("attic");
    let (phone, mut pushed) = (Phone::new(4, 19), Pushed::new());
    let mut attic = agent(&dir);
    push(&attic.agent_push_url(), &phone, 0..3, &mut pushed);
    await_that("all is committed", || message_ids(&house.warehouse(), &phone) == (0..3).collect());
    assert!(attic.terminate(Signal::SIGTERM).success());
    let mut attic = Process::agent(&dir, &format!("mqtts://{}", house.relay), &[]);
    push(&attic.agent_push_url(), &phone, 3..6, &mut pushed);
    await_that("all is committed", || message_ids(&house.warehouse(), &phone) == (0..6).collect());

    let public = House::open_at("[::1]:0", "public_address = \"[fd00::7]:8883\"\n");
    let (address, code) = public.add("attic");
    assert_eq!(address, "[fd00::7]:8883");
    said(&public.enroll(&public.relay, &code, "attic"));
}

#[test]
fn after_a_new_authority_every_agent_enrols_again_and_nothing_is_lost_or_doubled() {
    let house = House::open();
    let dir = house.enrolled("attic");
    let mut attic = agent(&dir);
    let url = attic.agent_push_url();
    let (phone, mut pushed) = (Phone::new(4, 19), Pushed::new());
    push(&url, &phone, 0..3, &mut pushed);
    await_that("all is committed", || message_ids(&house.warehouse(), &phone) == (0..3).collect());

    let House { dir: place, up, relay } = house;
    let path = |name: &str| place.path().join(name);
    assert!(up.terminate(Signal::SIGTERM).success());
    for file in ["ca.key", "ca.pem", "identities.db"] {
        std::fs::rename(path("up/relay").join(file), path(file)).unwrap();
    }
    let (config, data) = (path("up.toml"), path("up"));
    let (config, data) = (config.to_str().unwrap(), data.to_str().unwrap());
    let args = ["up", "--config", config, "--data-dir", data, "--http", "127.0.0.1:0", "--mqtt", &relay];
    let mut up = Process::start(&args);
    up.mqtt_address();
    let house = House { up, dir: place, relay };
    await_that("it says so", || why_not_ready(&mut attic).is_some_and(|why| why.contains("is another relay than")));
    push(&url, &phone, 3..6, &mut pushed);
    house.enrolled("attic");
    await_that("all is committed", || message_ids(&house.warehouse(), &phone) == (0..6).collect());
    assert_no_duplicates(&house.warehouse());
    assert!(attic.terminate(Signal::SIGTERM).success());
}

/// A service that prints all that it can say into files.
struct Talkative {
    child: std::process::Child,
    log: PathBuf,
}

impl Talkative {
    fn start(dir: &Path, name: &str, args: &[&str]) -> Self {
        let (log, errors) = (dir.join(format!("{name}.log")), dir.join(format!("{name}.errors")));
        let child = Command::new(env!("CARGO_BIN_EXE_gaitway"))
            .args(args)
            .env("GAITWAY_LOG", "trace")
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&log).unwrap())
            .stderr(std::fs::File::create(errors).unwrap())
            .spawn()
            .unwrap();
        Self { child, log }
    }

    /// The address in the first line whose message begins so.
    fn address(&self, message: &str) -> String {
        let mut found = None;
        await_that("it logs its address", || {
            let log = std::fs::read_to_string(&self.log).unwrap();
            let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            let mut said = lines.filter(|line| line["message"].as_str().is_some_and(|said| said.starts_with(message)));
            found = said.find_map(|line| line["address"].as_str().map(str::to_owned));
            found.is_some()
        });
        found.unwrap()
    }

    fn end(mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

/// What a PEM file with a key must not be found by elsewhere.
fn lines_of_keys(pem: &str) -> Vec<String> {
    let secret = pem.split("PRIVATE KEY-----").nth(1).unwrap().trim_end_matches("-----END ");
    let lines: Vec<_> = secret.lines().filter(|line| line.len() > 16).map(str::to_owned).collect();
    assert!(!lines.is_empty());
    lines
}

#[test]
fn no_key_and_no_code_is_in_what_a_service_prints_or_keeps_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("up.toml"), "[relay]\ntls = true\nmqtt = \"127.0.0.1:0\"\n").unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (data, attic_dir) = (path("up"), path("attic"));
    let args = ["up", "--http", "127.0.0.1:0", "--config", &text(&path("up.toml")), "--data-dir", &text(&data)];
    let up = Talkative::start(dir.path(), "up", &args);
    up.address("relay listening");
    let relay = |args: &[&str]| {
        said(&gaitway(&[&["relay", "agent"], args, &["--data-dir", &text(&data.join("relay"))]].concat()))
    };
    let line = relay(&["add", "attic"]);
    let (address, code) = line.trim().split_once(' ').unwrap();
    said(&gaitway(&["agent", "enroll", address, code, "--data-dir", &text(&attic_dir)]));
    let identity = || std::fs::read_to_string(attic_dir.join("identity.json")).unwrap();
    let key = || serde_json::from_str::<serde_json::Value>(&identity()).unwrap()["key"].as_str().unwrap().to_owned();
    let mut secrets = lines_of_keys(&std::fs::read_to_string(data.join("relay/ca.key")).unwrap());
    let first = key();
    secrets.extend(lines_of_keys(&first));
    let plain = code.replace('-', "");
    secrets.extend([code.to_owned(), plain.to_lowercase(), plain[16..].to_owned(), code[20..].to_owned(), plain]);

    let attic =
        Talkative::start(dir.path(), "attic", &["agent", "--http", "127.0.0.1:0", "--data-dir", &text(&attic_dir)]);
    let open = format!("http://{}", attic.address("taking pushes"));
    let (phone, mut pushed) = (Phone::new(4, 19), Pushed::new());
    push(&format!("{open}/data"), &phone, 0..3, &mut pushed);
    relay(&["rotate", "attic"]);
    await_that("the key is another", || key() != first);
    secrets.extend(lines_of_keys(&key()));
    await_that("all is committed", || message_ids(&data.join("warehouse.db"), &phone) == (0..3).collect());
    await_that("the old one is revoked", || relay(&["list"]).contains("revoked"));
    let shown = ["metrics", "readyz"]
        .map(|what| (what.to_owned(), http::get(&format!("{open}/{what}")).unwrap().1.into_bytes()));
    attic.end();
    up.end();

    let mut texts = Vec::from(shown);
    for folder in [dir.path(), &attic_dir, &data, &data.join("agent"), &data.join("relay")] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() && !path.ends_with("identity.json") && !path.ends_with("ca.key") {
                texts.push((text(&path), std::fs::read(&path).unwrap()));
            }
        }
    }
    for log in ["up.log", "attic.log"] {
        assert!(texts.iter().any(|(name, text)| name.ends_with(log) && text.len() > 1_000), "{log} is at level trace");
    }
    for (name, text) in texts {
        for secret in &secrets {
            assert!(!text.windows(secret.len()).any(|window| window == secret.as_bytes()), "{name} holds {secret}");
        }
    }
}
