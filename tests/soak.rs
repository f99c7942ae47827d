//! **A soak on demand.** Twenty phones push at a steady pace while agent and relay are restarted and the link between
//! them is cut; afterwards memory, files, descriptors and threads are where they were after the first minutes, and
//! everything that was answered is in the warehouse exactly once.
//!
//! `GAITWAY_SOAK=1h cargo test --release --test soak` soaks for an hour; without the variable it is a short run that
//! shows that the soak works and is too short to show a slow leak. `GAITWAY_SEED=n` repeats a run's moments.
//!
//! In the first third both processes are restarted, in the second the agent only, in the last the relay only: whoever
//! lives through a third is held against itself at its beginning. The link is cut all the time.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "what was measured is told, whether it passes or not")]

#[path = "soak/crowd.rs"]
mod crowd;
mod harness;
#[path = "soak/vitals.rs"]
mod vitals;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crowd::Crowd;
use gaitway_service::config::duration;
use harness::Random;
use harness::process::Process;
use harness::proxy::Proxy;
use harness::warehouse::{assert_exact, assert_no_duplicates, await_drained, count};
use nix::sys::signal::Signal;
use vitals::{FIRST_THIRD, Margins, SECOND_THIRD, Vitals, assert_steady};

const PHONES: u64 = 20;

/// Without `GAITWAY_SOAK`.
const SHORT: Duration = Duration::from_secs(15);

/// Silence closes nothing while phones push, and everything at the end.
const TALKING: &str = "[windows]\nsilence = \"1d\"\n";
const SILENT: &str = "[windows]\nsilence = \"300ms\"\n";

/// Agent and relay as processes of their own, with a link between them that can be cut.
struct House {
    dir: tempfile::TempDir,
    proxy: Proxy,
    agent: Option<Process>,
    relay: Option<Process>,
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("talking.toml"), TALKING).unwrap();
        std::fs::write(dir.path().join("silent.toml"), SILENT).unwrap();
        let mut house = Self { dir, proxy: Proxy::new(), agent: None, relay: None };
        house.start_relay();
        house
    }

    fn spool(&self) -> PathBuf {
        self.dir.path().join("agent/spool.db")
    }

    fn warehouse(&self) -> PathBuf {
        self.dir.path().join("relay/warehouse.db")
    }

    /// Starts the agent; gives where phones push to.
    fn start_agent(&mut self, config: &str) -> String {
        let config = self.dir.path().join(config);
        let more = ["--config", config.to_str().unwrap()];
        let agent = Process::agent(&self.dir.path().join("agent"), &self.proxy.url(), &more);
        self.agent.insert(agent).agent_push_url()
    }

    fn start_relay(&mut self) {
        let relay = self.relay.insert(Process::up(&self.dir.path().join("relay"), &[]));
        self.proxy.point(Some(&relay.mqtt_address()));
    }

    fn vitals(&self) -> Vitals {
        let pid = |process: &Option<Process>| process.as_ref().map(Process::pid).unwrap();
        Vitals::of([pid(&self.agent), pid(&self.relay)], [&self.spool(), &self.warehouse()])
    }
}

/// Ends a process with a word, or without one.
fn end(process: Option<Process>, gently: bool, file: &Path) {
    let process = process.unwrap();
    if gently {
        assert!(process.terminate(Signal::SIGTERM).success());
    } else {
        process.kill(&[file.to_owned()]);
    }
}

/// Something that befalls the house when `share` of the soak is over.
fn disturb(house: &mut House, crowd: &Crowd, random: &mut Random, share: f64) {
    let gently = random.below(2) == 0;
    let agent = match share {
        ..FIRST_THIRD => random.below(2) == 0,
        ..SECOND_THIRD => true,
        _ => false,
    };
    if random.below(2) == 0 {
        house.proxy.delay(Duration::from_millis(random.below(3) * 5));
        house.proxy.cut();
    } else if agent {
        crowd.point(None);
        end(house.agent.take(), gently, &house.spool());
        crowd.point(Some(house.start_agent("talking.toml")));
    } else {
        house.proxy.point(None);
        end(house.relay.take(), gently, &house.warehouse());
        house.start_relay();
    }
}

#[test]
fn after_restarts_and_cuts_everything_ends_where_it_was_after_the_first_minutes() {
    let asked = std::env::var("GAITWAY_SOAK").ok();
    let length = asked
        .as_deref()
        .map_or(SHORT, |text| duration::parse(text).unwrap_or_else(|why| panic!("GAITWAY_SOAK: {why}")));
    let seed = std::env::var("GAITWAY_SEED").map_or(1, |text| text.parse().expect("GAITWAY_SEED is a number"));
    let long = length >= Duration::from_secs(600);
    println!("soak of {length:?}, seed {seed}{}", if long { "" } else { ": too short to show a slow leak" });
    // A short run has fewer seconds, so its phones and its mishaps hurry.
    let (pace, calm) = if long {
        (Duration::from_secs(1), Duration::from_secs(20))
    } else {
        (Duration::from_millis(200), Duration::from_millis(700))
    };

    let mut random = Random::new(seed);
    let mut house = House::new();
    let crowd = Crowd::push(PHONES, seed, pace);
    crowd.point(Some(house.start_agent("talking.toml")));
    let (begun, mut samples, mut disturbances) = (Instant::now(), Vec::new(), 0);
    let mut disturb_at = begun + calm;
    while begun.elapsed() < length {
        std::thread::sleep(length / 600);
        let share = begun.elapsed().as_secs_f64() / length.as_secs_f64();
        samples.push((share, house.vitals()));
        if Instant::now() >= disturb_at {
            disturb(&mut house, &crowd, &mut random, share);
            disturbances += 1;
            disturb_at = Instant::now() + calm.mul_f64(0.5 + random.share());
        }
    }
    assert!(disturbances >= 6, "only {disturbances} disturbances in {length:?}");
    house.proxy.delay(Duration::ZERO);
    let pushed = crowd.finish();
    end(house.agent.take(), true, &house.spool());
    house.start_agent("silent.toml");
    await_drained(&house.spool());

    let mut expected = 0;
    for (phone, ids) in &pushed {
        let pushed = ids.iter().map(|id| (*id, phone.message(*id))).collect();
        assert_exact(&house.warehouse(), phone, &pushed);
        expected += pushed.values().map(Vec::len).sum::<usize>();
    }
    assert_eq!(count(&house.warehouse(), "SELECT count(*) FROM ACTIVITY_RECORDS"), expected as i64, "and nothing else");
    assert_eq!(count(&house.warehouse(), "SELECT count(*) FROM GAPS"), 0);
    assert_no_duplicates(&house.warehouse());
    assert_steady(&samples, if long { Margins::LONG } else { Margins::SHORT });
    println!("{expected} readings of {PHONES} phones, {disturbances} disturbances, {} samples", samples.len());
    end(house.agent.take(), true, &house.spool());
    end(house.relay.take(), true, &house.warehouse());
}
