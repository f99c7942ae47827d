//! A relay with TLS and two agents that enrolled there, whose phones push all the time; somebody watches how soon what
//! they push is committed, and what the processes hold.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::harness::await_that;
use crate::harness::certificate::{self, Certified};
use crate::harness::phone::Phone;
use crate::harness::process::Process;
use crate::harness::proxy::Proxy;
use crate::harness::pushes::{Https, Kept};
use crate::harness::warehouse::{assert_no_duplicates, count, message_ids};
use crate::watch::{Subject, Watch};

const MIB: u64 = 1 << 20;

/// Phones push a second's readings about so often.
const PACE: Duration = Duration::from_millis(25);

/// Pushes of a phone before it makes a new connection.
const PUSHES_EACH: u64 = 40;

/// Pushes that must be committed before an attack, to be held beside those during it.
const QUIET: usize = 60;

/// What the relay may take. Strangers have 256 places, and 128 of those who lost theirs may not have gone yet; in each a
/// handshake may hold 64 KiB of messages that are not whole (rustls takes no longer one), two records of 16 KiB, and
/// state: 128 KiB at most, 48 MiB in all. Beside them: agents with commits under way (twice the budget of 16 MiB), and the
/// process with its own agent and warehouse.
const RELAY_MEMORY: u64 = (48 + 2 * 16 + 64) * MIB;

/// What an agent may take: 512 places with 64 KiB to read, 64 KiB to write and 64 KiB of TLS each, 32 MiB of bodies, and
/// the process.
const AGENT_MEMORY: u64 = (96 + 32 + 64) * MIB;

/// Descriptors of the relay: those places, those who are about to go, agents, files.
const RELAY_DESCRIPTORS: usize = 256 + 128 + 64;

/// Descriptors of an agent: 512 places, 384 who read why they must go, files. A process usually has 1,024.
const AGENT_DESCRIPTORS: usize = 512 + 384 + 64;

pub(crate) struct House {
    dir: TempDir,
    pub(crate) up: Process,
    pub(crate) relay: SocketAddr,
    pub(crate) homes: [Home; 2],
    /// The certificate of `attic` for its phones.
    pub(crate) https: Https,
    watch: Watch,
    /// Until then nobody has attacked.
    quiet_until: Option<Instant>,
}

/// An agent with a phone.
pub(crate) struct Home {
    pub(crate) name: &'static str,
    pub(crate) agent: Process,
    /// Where phones push to.
    pub(crate) address: SocketAddr,
    /// Its way to the relay.
    pub(crate) way: Proxy,
    phone: Phone,
    pub(crate) pushing: Arc<Pushing>,
    thread: JoinHandle<()>,
}

/// What a phone has done so far.
#[derive(Default)]
pub(crate) struct Pushing {
    stop: AtomicBool,
    /// When each push began that was answered 200, in their order.
    pub(crate) begun: Mutex<Vec<Instant>>,
    /// Connections that broke, or pushes that were answered with something else than 200.
    pub(crate) broken: AtomicU64,
}

pub(crate) fn gaitway(args: &[&str]) -> String {
    let ran = Command::new(env!("CARGO_BIN_EXE_gaitway")).args(args).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

impl House {
    /// Whose phones have pushed quietly for a while: to `attic` over HTTPS with a token, to `cellar` as anybody may.
    pub(crate) fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (config, data) = (dir.path().join("up.toml"), dir.path().join("up"));
        std::fs::write(&config, "[relay]\ntls = true\nmqtt = \"127.0.0.1:0\"\n").unwrap();
        let (config, data) = (config.to_str().unwrap(), data.to_str().unwrap());
        let mut up = Process::start(&["up", "--config", config, "--data-dir", data, "--http", "127.0.0.1:0"]);
        let relay = up.mqtt_address();
        let home = |name: &'static str, number: u64, https: Option<Https>| {
            let way = Proxy::new();
            way.point(Some(&relay));
            let folder = dir.path().join(name);
            let code = code(dir.path(), name);
            let place = ["--data-dir", folder.to_str().unwrap()];
            gaitway(&[&["agent", "enroll", &way.url().replace("mqtt://", ""), &code], &place[..]].concat());
            let config = dir.path().join(format!("{name}.toml"));
            let https_lines = https.as_ref().map(|https| format!("[https]\n{}", https.lines())).unwrap_or_default();
            std::fs::write(&config, format!("{https_lines}[windows]\nsilence = \"1h\"\n")).unwrap();
            let config = ["--config", config.to_str().unwrap(), "--http", "127.0.0.1:0"];
            let mut agent = Process::start(&[&["agent"], &place[..], &config].concat());
            let url = agent.agent_push_url();
            let address = url.strip_prefix("http://").and_then(|url| url.strip_suffix("/data")).unwrap();
            let address = address.parse().unwrap();
            let path = if https.is_some() { format!("/data/{}", token(&folder)) } else { "/data".to_owned() };
            let (phone, pushing) = (Phone::new(number, 53), Arc::new(Pushing::default()));
            let (of_thread, noted) = (phone.clone(), Arc::clone(&pushing));
            let push = move || noted.run(&of_thread, address, &path, https.as_ref());
            let thread = std::thread::Builder::new().name(format!("phone of {name}")).spawn(push).unwrap();
            Home { name, agent, address, way, phone, pushing, thread }
        };
        let https = Https::new(dir.path());
        let homes = [home("attic", 0, Some(https.clone())), home("cellar", 1, None)];
        let pids = [up.pid(), homes[0].agent.pid(), homes[1].agent.pid()];
        let subjects = homes.each_ref().map(|home| Subject { agent: home.name, pushing: Arc::clone(&home.pushing) });
        let watch = Watch::begin(dir.path().join("up/warehouse.db"), subjects.into(), pids.into());
        await_that("what is pushed is committed", || watch.fewest_committed() >= QUIET);
        Self { dir, up, relay: relay.parse().unwrap(), homes, https, watch, quiet_until: None }
    }

    fn warehouse(&self) -> PathBuf {
        self.dir.path().join("up/warehouse.db")
    }

    /// A code for one more agent.
    pub(crate) fn code(&self, agent: &str) -> String {
        code(self.dir.path(), agent)
    }

    /// The folder of the relay's authority.
    pub(crate) fn relay_dir(&self) -> PathBuf {
        self.dir.path().join("up/relay")
    }

    /// One more agent's certificate.
    pub(crate) fn certified(&self, agent: &str) -> Certified {
        certificate::enrol(self.relay, &certificate::authority(&self.relay_dir()), &self.code(agent))
    }

    /// Runs `attack`. What both phones push must be committed meanwhile, and no process may hold more than it is allowed;
    /// the log shows how long commits took, beside before. Gives what the attack gave.
    pub(crate) fn under<T>(&mut self, what: &str, attack: impl FnOnce(&Self) -> T) -> T {
        let begun = Instant::now();
        let gave = attack(self);
        let over = Instant::now();
        let quiet_until = *self.quiet_until.get_or_insert(begun);
        for (home, [quiet, attacked]) in self.homes.iter().zip(self.watch.beside(quiet_until, begun, over)) {
            let broken = home.pushing.broken.load(Ordering::Relaxed);
            println!(
                "{what}, {:.1?}: {} quietly {quiet}, under attack {attacked}; {broken} pushes had to be repeated",
                over - begun,
                home.name
            );
            assert!(attacked.count() > 0, "{what}: nothing of {} was committed", home.name);
        }
        assert!(self.up.ended().is_none(), "{what}: the relay ended: {:#?}", self.up.log());
        for home in &mut self.homes {
            assert!(home.agent.ended().is_none(), "{what}: {} ended", home.name);
        }
        gave
    }

    /// The phones stop. What they were answered for must be in the warehouse once, and all stayed within their bounds.
    pub(crate) fn close(self) {
        let warehouse = self.warehouse();
        let Self { dir: _dir, up, homes, watch, .. } = self;
        for home in &homes {
            home.pushing.stop.store(true, Ordering::Relaxed);
        }
        let mut readings = 0;
        let mut agents = Vec::new();
        for Home { name, agent, way, phone, pushing, thread, .. } in homes {
            thread.join().unwrap();
            let pushes = pushing.begun.lock().unwrap().len() as u64;
            await_that("all is committed", || message_ids(&warehouse, &phone) == (0..pushes).collect());
            readings += (0..pushes).map(|id| phone.message(id).len()).sum::<usize>();
            agents.push((name, agent, way));
        }
        assert_eq!(count(&warehouse, "SELECT count(*) FROM ACTIVITY_RECORDS"), readings as i64);
        assert_no_duplicates(&warehouse);
        let descriptors = watch.end();
        let memory = up.memory("VmHWM");
        println!("at most: relay {} MiB and {} descriptors", memory / MIB, descriptors[0]);
        assert!(memory <= RELAY_MEMORY, "relay: {} MiB, allowed {}", memory / MIB, RELAY_MEMORY / MIB);
        assert!(descriptors[0] <= RELAY_DESCRIPTORS, "relay: {} descriptors", descriptors[0]);
        for ((name, agent, _way), descriptors) in agents.into_iter().zip(&descriptors[1..]) {
            let memory = agent.memory("VmHWM");
            println!("at most: agent {name} {} MiB and {descriptors} descriptors", memory / MIB);
            assert!(memory <= AGENT_MEMORY, "{name}: {} MiB, allowed {}", memory / MIB, AGENT_MEMORY / MIB);
            assert!(*descriptors <= AGENT_DESCRIPTORS, "{name}: {descriptors} descriptors");
            assert!(agent.terminate(Signal::SIGTERM).success());
        }
        assert!(up.terminate(Signal::SIGTERM).success());
    }
}

/// A code for `agent`, of the relay that keeps its folder in `dir`.
fn code(dir: &Path, agent: &str) -> String {
    let relay = dir.join("up/relay");
    let line = gaitway(&["relay", "agent", "add", agent, "--data-dir", relay.to_str().unwrap()]);
    line.trim().rsplit_once(' ').unwrap().1.to_owned()
}

/// A token for the phone of the agent in `dir`.
fn token(dir: &Path) -> String {
    let said = gaitway(&["agent", "phone", "add", "phone", "--data-dir", dir.to_str().unwrap()]);
    let url = said.lines().map(str::trim).find(|line| line.starts_with("http")).unwrap();
    url.rsplit_once('/').unwrap().1.to_owned()
}

impl Pushing {
    /// Pushes message after message until told to stop, each until it is answered 200.
    fn run(&self, phone: &Phone, to: SocketAddr, path: &str, https: Option<&Https>) {
        let mut kept = None;
        for id in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            if id % PUSHES_EACH == 0 {
                kept = None;
            }
            let body = phone.body(id, &phone.message(id));
            let begun = Instant::now();
            loop {
                if kept.is_none() {
                    kept = Kept::open(to, https.map(Https::client)).ok();
                }
                match kept.as_mut().map(|kept| kept.post(path, &body)) {
                    Some(Ok((200, _))) => break,
                    Some(Ok((503, _)) | Err(_)) | None => {
                        kept = None;
                        self.broken.fetch_add(1, Ordering::Relaxed);
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    Some(Ok((status, answer))) => panic!("a good push was answered {status}: {answer}"),
                }
            }
            self.begun.lock().unwrap().push(begun);
            std::thread::sleep(PACE);
        }
    }
}
