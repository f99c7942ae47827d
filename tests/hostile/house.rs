//! `gaitway up`, well-behaved agents with phones that push all the time, and somebody who watches how
//! steadily what they push is committed.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::harness::await_that;
use crate::harness::phone::{Phone, Pushed, Url};
use crate::harness::process::Process;
use crate::harness::warehouse::{assert_exact, await_drained, open};

/// The longest time between two commits of a well-behaved agent's: as long as an agent waits before it gives up a
/// session. The heaviest commit takes two seconds of a machine that has nothing else to do.
const FLOWS_WITHIN: Duration = Duration::from_secs(10);

/// Agents that the relay takes: fewer than there are idle connections in an attack.
const MOST_AGENTS: usize = 300;

/// File descriptors that the relay has to begin with: too few for an attack.
const DESCRIPTORS: u64 = 128;

/// Phones push a second's readings about so often.
const PACE: Duration = Duration::from_millis(20);

/// Lines that the relay may write about any attack, of thousands of connections: of each kind 33 a minute at most.
const MOST_LINES: usize = 600;

pub(crate) struct House {
    dir: TempDir,
    pub(crate) up: Process,
    pub(crate) relay: SocketAddr,
    homes: Vec<Home>,
}

/// An agent with a phone.
struct Home {
    id: &'static str,
    dir: PathBuf,
    address: String,
    agent: Process,
    stop: Arc<AtomicBool>,
    phone: JoinHandle<(Phone, Pushed)>,
}

impl House {
    /// With a well-behaved agent for each of `ids`, all of which flow.
    pub(crate) fn open(ids: &[&'static str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("up.toml");
        std::fs::write(&config, format!("[relay]\nmax_connections = {MOST_AGENTS}\n")).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -Sn {DESCRIPTORS} && exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_gaitway")]);
        command.args(["up", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--data-dir"]);
        command.arg(dir.path().join("up")).arg("--config").arg(&config);
        let mut up = Process::of(command);
        let address = up.mqtt_address();
        let relay = address.parse().unwrap();
        let mut house = Self { dir, up, relay, homes: Vec::new() };
        for id in ids {
            house.settle(id, &format!("mqtt://{address}"));
        }
        house
    }

    /// One more agent, which reaches the relay at `address`.
    pub(crate) fn settle(&mut self, id: &'static str, address: &str) {
        let dir = self.dir.path().join(id);
        std::fs::create_dir(&dir).unwrap();
        let mut agent = start_agent(id, &dir, address, "1h");
        let url: Url = Arc::new(Mutex::new(Some(agent.agent_push_url())));
        let stop = Arc::new(AtomicBool::new(false));
        let phone = Phone::new(self.homes.len() as u64, 41);
        let pushing = {
            let stop = Arc::clone(&stop);
            move || {
                let mut pushed = Pushed::new();
                for message in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    assert!(phone.push(&url, message, &AtomicBool::new(false)), "never stops");
                    pushed.insert(message, phone.message(message));
                    std::thread::sleep(PACE);
                }
                (phone, pushed)
            }
        };
        let phone = std::thread::Builder::new().name(format!("phone of {id}")).spawn(pushing).unwrap();
        self.homes.push(Home { id, dir, address: address.to_owned(), agent, stop, phone });
        let warehouse = self.warehouse();
        await_that("what is pushed is committed", || committed(&warehouse, id) > 3);
    }

    pub(crate) fn warehouse(&self) -> PathBuf {
        self.dir.path().join("up/warehouse.db")
    }

    /// Runs `attack`; what the agents `watched` push must be committed steadily meanwhile. Gives what it gave.
    pub(crate) fn under<T>(&mut self, name: &str, watched: &[&'static str], attack: impl FnOnce(SocketAddr) -> T) -> T {
        let over = Arc::new(AtomicBool::new(false));
        let watches: Vec<_> = watched
            .iter()
            .map(|id| {
                let (over, warehouse, id) = (Arc::clone(&over), self.warehouse(), *id);
                let watch = move || (id, longest_pause(&warehouse, id, &over));
                std::thread::Builder::new().name(format!("watch of {id}")).spawn(watch).unwrap()
            })
            .collect();
        let begun = Instant::now();
        let gave = attack(self.relay);
        let took = begun.elapsed();
        over.store(true, Ordering::Relaxed);
        let memory = (self.up.memory("VmHWM") >> 20, self.up.memory("VmRSS") >> 20);
        for watch in watches {
            let (id, (pause, moves)) = watch.join().unwrap();
            eprintln!(
                "{name}: {took:.1?}, {id} committed {moves} times, longest pause {pause:.2?}; relay's memory at most \
                 {} MiB, now {} MiB",
                memory.0, memory.1
            );
            assert!(moves > 0 && pause < FLOWS_WITHIN, "{name}: {id} waited {pause:?} for a commit");
        }
        assert!(self.up.ended().is_none(), "{name}: the relay ended: {:#?}", self.up.log());
        gave
    }

    /// The phones stop; everything that they were answered for must be in the warehouse once, with windows to match,
    /// and the relay's memory never above `most_memory` bytes, nor its log a flood.
    pub(crate) fn close(self, most_memory: u64) {
        let warehouse = self.warehouse();
        let Self { dir: _dir, up, homes, .. } = self;
        for home in &homes {
            home.stop.store(true, Ordering::Relaxed);
        }
        // All at once: each has to wait for its windows to close.
        let closing: Vec<_> = homes
            .into_iter()
            .map(|Home { id, dir, address, agent, phone, .. }| {
                let (phone, pushed) = phone.join().unwrap();
                assert!(agent.terminate(Signal::SIGTERM).success());
                (phone, pushed, start_agent(id, &dir, &address, "300ms"), dir.join("spool.db"))
            })
            .collect();
        for (phone, pushed, mut agent, spool) in closing {
            agent.agent_push_url();
            await_drained(&spool);
            assert_exact(&warehouse, &phone, &pushed);
            assert!(agent.terminate(Signal::SIGTERM).success());
        }
        let memory = up.memory("VmHWM");
        assert!(memory <= most_memory, "{} MiB, allowed {} MiB", memory >> 20, most_memory >> 20);
        let log = up.log();
        assert!(log.len() <= MOST_LINES, "{} lines: {log:#?}", log.len());
        assert!(up.terminate(Signal::SIGTERM).success());
    }
}

fn start_agent(id: &str, dir: &Path, address: &str, silence: &str) -> Process {
    let config = dir.join("agent.toml");
    let text = format!("agent_id = \"{id}\"\n[windows]\nsilence = \"{silence}\"\n");
    std::fs::write(&config, text).unwrap();
    Process::agent(dir, address, &["--config", config.to_str().unwrap()])
}

/// Frames of `agent` that the warehouse has.
fn committed(warehouse: &Path, agent: &str) -> i64 {
    let sql = "SELECT coalesce(sum(position), 0) FROM gaitway_progress WHERE source GLOB ?1";
    open(warehouse).query_row(sql, [format!("{agent}/*/raw")], |row| row.get(0)).unwrap()
}

/// The longest time between two commits of `agent`'s until it is `over`, and how many there were.
fn longest_pause(warehouse: &Path, agent: &str, over: &AtomicBool) -> (Duration, u64) {
    let (mut last, mut moved) = (committed(warehouse, agent), Instant::now());
    let (mut longest, mut moves) = (Duration::ZERO, 0);
    // An attack may be over before anything was committed at all.
    while !over.load(Ordering::Relaxed) || (moves == 0 && moved.elapsed() < FLOWS_WITHIN) {
        let now = committed(warehouse, agent);
        longest = longest.max(moved.elapsed());
        if now > last {
            (last, moved) = (now, Instant::now());
            moves += 1;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    (longest.max(moved.elapsed()), moves)
}
