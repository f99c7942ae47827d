//! **Everything that lets somebody in is replaced, under load**: the files of HTTPS, the phones' tokens, the agent's
//! certificate, the relay's authority. What phones were answered 200 for is in the warehouse once.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::Signal;

use harness::await_that;
use harness::phone::Phone;
use harness::process::Process;
use harness::pushes::{Https, Kept};
use harness::warehouse::{assert_no_duplicates, count, message_ids};

/// Phones push so often.
const PACE: Duration = Duration::from_millis(10);

/// Pushes of a phone before it makes a new connection.
const PUSHES_EACH: u64 = 20;

fn gaitway(args: &[&str]) -> String {
    let ran = Command::new(env!("CARGO_BIN_EXE_gaitway")).args(args).output().unwrap();
    assert!(ran.status.success(), "{args:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

/// A phone, its token, and a thread that pushes all the time.
struct Pusher {
    phone: Phone,
    token: Arc<Mutex<String>>,
    counts: Arc<Counts>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Counts {
    stop: AtomicBool,
    /// Pushes that were answered 200: as many messages, from the first on.
    taken: AtomicU64,
    /// Pushes that were answered 499.
    refused: AtomicU64,
}

impl Pusher {
    fn begin(number: u64, token: String, to: SocketAddr, https: &Https) -> Self {
        let (phone, token, counts) = (Phone::new(number, 67), Arc::new(Mutex::new(token)), Arc::<Counts>::default());
        let (of_thread, its_token, noted, https) = (phone.clone(), token.clone(), counts.clone(), https.clone());
        let run = move || noted.push(&of_thread, &its_token, to, &https);
        let thread = std::thread::Builder::new().name(format!("phone-{number}")).spawn(run).unwrap();
        Self { phone, token, counts, thread }
    }

    fn taken(&self) -> u64 {
        self.counts.taken.load(Ordering::Relaxed)
    }

    /// It goes on pushing.
    fn pushes_on(&self) {
        let before = self.taken();
        await_that("more is pushed", || self.taken() > before + 10);
    }
}

impl Counts {
    fn push(&self, phone: &Phone, token: &Mutex<String>, to: SocketAddr, https: &Https) {
        let mut kept = None;
        for id in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            if id % PUSHES_EACH == 0 {
                kept = None;
            }
            let body = phone.body(id, &phone.message(id));
            loop {
                if kept.is_none() {
                    kept = Kept::open(to, Some(https.client())).ok();
                }
                let path = format!("/data/{}", token.lock().unwrap());
                match kept.as_mut().map(|kept| kept.post(&path, &body)) {
                    Some(Ok((200, _))) => break,
                    Some(Ok((499, said))) => {
                        assert!(said.contains("not in force"), "{said}");
                        self.refused.fetch_add(1, Ordering::Relaxed);
                        std::thread::sleep(PACE);
                    }
                    Some(Ok((status, said))) => panic!("{status} {said}"),
                    // The push met a certificate that is just being put in place, or a connection that was closed.
                    Some(Err(_)) | None => kept = None,
                }
            }
            self.taken.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(PACE);
        }
    }
}

/// `up` with TLS, and an agent that enrolled there.
struct House {
    dir: tempfile::TempDir,
    up: Process,
    /// HOST:PORT.
    relay: String,
    attic: Process,
    https: Https,
    pushers: Vec<Pusher>,
}

impl House {
    fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("up.toml"), "[relay]\ntls = true\n").unwrap();
        let mut up = start_up(dir.path(), "127.0.0.1:0");
        let relay = up.mqtt_address();
        enrol(dir.path(), &relay);
        let https = Https::new(dir.path());
        std::fs::write(path("attic.toml"), format!("[https]\n{}", https.lines())).unwrap();
        let (config, data) = (path("attic.toml"), path("attic"));
        let args = ["--config", config.to_str().unwrap(), "--data-dir", data.to_str().unwrap()];
        let mut attic = Process::start(&[&["agent", "--http", "127.0.0.1:0"], &args[..]].concat());
        let url = attic.agent_push_url();
        let to = url.strip_prefix("http://").and_then(|url| url.strip_suffix("/data")).unwrap().parse().unwrap();
        let pushers = (0..2).map(|number| Pusher::begin(number, add(&data, number, 0), to, &https)).collect();
        Self { dir, up, relay, attic, https, pushers }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn warehouse(&self) -> PathBuf {
        self.path("up/warehouse.db")
    }

    fn rows(&self) -> i64 {
        count(&self.warehouse(), "SELECT count(*) FROM ACTIVITY_RECORDS")
    }

    /// Both phones push on, and something of it is committed.
    fn flows(&self) {
        let before = self.rows();
        self.pushers.iter().for_each(Pusher::pushes_on);
        await_that("more is committed", || self.rows() > before);
    }

    /// The certificate and key of HTTPS.
    fn replace_https(&mut self) {
        let before = self.https.newest();
        self.https.renew();
        assert_ne!(self.https.newest(), before);
        let url = self.attic.agent_push_url();
        let to = url.strip_prefix("http://").and_then(|url| url.strip_suffix("/data")).unwrap().parse().unwrap();
        await_that("the new certificate is shown", || self.https.shown(to) == self.https.newest());
    }

    /// Every phone's token; in odd rounds the old one ends first, and its phone is refused until it has the new one.
    fn replace_tokens(&self, round: u64) {
        let agent = self.path("attic");
        for (number, pusher) in (0..).zip(&self.pushers) {
            let revoke = || {
                let name = format!("phone-{number}-{}", round - 1);
                gaitway(&["agent", "phone", "revoke", &name, "--data-dir", agent.to_str().unwrap()]);
            };
            let first_ends_the_old = !round.is_multiple_of(2);
            if first_ends_the_old {
                let refused = pusher.counts.refused.load(Ordering::Relaxed);
                revoke();
                await_that("it is refused", || pusher.counts.refused.load(Ordering::Relaxed) > refused);
            }
            *pusher.token.lock().unwrap() = add(&agent, number, round);
            if !first_ends_the_old {
                pusher.pushes_on();
                revoke();
            }
        }
    }

    /// The agent's certificate.
    fn rotate(&self) {
        let identity = self.path("attic/identity.json");
        let (before, relay) = (std::fs::read(&identity).unwrap(), self.path("up/relay"));
        let agents =
            |args: &[&str]| gaitway(&[&["relay", "agent"], args, &["--data-dir", relay.to_str().unwrap()]].concat());
        agents(&["rotate", "attic"]);
        await_that("the certificate is another", || std::fs::read(&identity).unwrap() != before);
        await_that("the old one is revoked", || !agents(&["list"]).contains("to be replaced"));
    }

    /// The relay's authority, as SECURITY.md says: stop, move the files away, start, add and enrol.
    fn replace_authority(mut self) -> Self {
        assert!(self.up.terminate(Signal::SIGTERM).success());
        for file in ["ca.key", "ca.pem", "identities.db"] {
            std::fs::rename(self.dir.path().join("up/relay").join(file), self.dir.path().join(file)).unwrap();
        }
        self.up = start_up(self.dir.path(), &self.relay);
        self.up.mqtt_address();
        // Nothing comes through, and the phones do not notice.
        let before = self.rows();
        self.pushers.iter().for_each(Pusher::pushes_on);
        assert_eq!(self.rows(), before);
        enrol(self.dir.path(), &self.relay);
        self
    }

    fn close(self) {
        let warehouse = self.warehouse();
        let Self { dir: _dir, up, attic, pushers, .. } = self;
        for pusher in &pushers {
            pusher.counts.stop.store(true, Ordering::Relaxed);
        }
        let mut readings = 0;
        for Pusher { phone, counts, thread, .. } in pushers {
            thread.join().unwrap();
            let taken = counts.taken.load(Ordering::Relaxed);
            await_that("all is committed", || message_ids(&warehouse, &phone) == (0..taken).collect());
            readings += (0..taken).map(|id| phone.message(id).len()).sum::<usize>();
        }
        await_that("every reading is there", || {
            count(&warehouse, "SELECT count(*) FROM ACTIVITY_RECORDS") == readings as i64
        });
        assert!(attic.terminate(Signal::SIGTERM).success());
        assert!(up.terminate(Signal::SIGTERM).success());
        assert_eq!(count(&warehouse, "SELECT count(*) FROM ACTIVITY_RECORDS"), readings as i64);
        assert_eq!(count(&warehouse, "SELECT count(*) FROM GAPS"), 0);
        assert_no_duplicates(&warehouse);
    }
}

/// `up` whose relay listens at `mqtt`.
fn start_up(dir: &Path, mqtt: &str) -> Process {
    let (config, data) = (dir.join("up.toml"), dir.join("up"));
    let args = ["--config", config.to_str().unwrap(), "--data-dir", data.to_str().unwrap(), "--mqtt", mqtt];
    Process::start(&[&["up", "--http", "127.0.0.1:0"], &args[..]].concat())
}

/// Lets the agent in `dir` in.
fn enrol(dir: &Path, relay: &str) {
    let (folder, attic) = (dir.join("up/relay"), dir.join("attic"));
    let line = gaitway(&["relay", "agent", "add", "attic", "--data-dir", folder.to_str().unwrap()]);
    let code = line.trim().rsplit_once(' ').unwrap().1;
    gaitway(&["agent", "enroll", relay, code, "--data-dir", attic.to_str().unwrap()]);
}

/// The token of phone `number` for this round.
fn add(agent: &Path, number: u64, round: u64) -> String {
    let name = format!("phone-{number}-{round}");
    let said = gaitway(&["agent", "phone", "add", &name, "--data-dir", agent.to_str().unwrap()]);
    let url = said.lines().map(str::trim).find(|line| line.starts_with("http")).unwrap();
    url.rsplit_once('/').unwrap().1.to_owned()
}

#[test]
fn certificates_tokens_https_files_and_the_authority_are_replaced_under_load_and_no_reading_is_lost_or_doubled() {
    let mut house = House::open();
    house.flows();
    for round in 1..=4 {
        house.replace_https();
        house.replace_tokens(round);
        house.rotate();
        house.flows();
        if round == 2 {
            house = house.replace_authority();
            house.flows();
        }
    }
    house.close();
}
