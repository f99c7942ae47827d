//! **Killed anywhere, exact.** SIGKILL at seeded random moments while phones push; afterwards the warehouse holds every
//! accepted reading exactly once with its exact values, windows equal the plain reference over the messages in commit
//! order, and nothing else.
//!
//! `GAITWAY_KILLS=5000` kills more often, `GAITWAY_SEED=n` repeats a run's moments.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;

use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::crowd::Crowd;
use harness::phone::{Phone, Pushed};
use harness::process::Process;
use harness::proxy::Proxy;
use harness::warehouse::{assert_exact, await_drained, count};
use harness::{Random, setting};
use nix::sys::signal::Signal;

const PHONES: u64 = 4;

/// Kills in the suite's run.
const KILLS: u64 = 100;

/// Silence closes nothing while phones push, and everything at the end.
const TALKING: &str = "[agent.windows]\nsilence = \"1h\"\n";
const SILENT: &str = "[agent.windows]\nsilence = \"300ms\"\n";

fn config(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn assert_all_exact(warehouse: &Path, pushed: &[(Phone, Pushed)]) {
    let expected: usize = pushed.iter().flat_map(|(_, pushed)| pushed.values()).map(Vec::len).sum();
    assert!(expected > 0);
    for (phone, pushed) in pushed {
        assert_exact(warehouse, phone, pushed);
    }
    assert_eq!(count(warehouse, "SELECT count(*) FROM ACTIVITY_RECORDS"), expected as i64, "and nothing else");
    assert_eq!(count(warehouse, "SELECT count(*) FROM GAPS"), 0);
}

#[test]
fn up_killed_anywhere_is_exact() {
    let seed = setting("GAITWAY_SEED", 1);
    let kills = setting("GAITWAY_KILLS", KILLS);
    let mut random = Random::new(seed);
    let dir = tempfile::tempdir().unwrap();
    let talking = config(dir.path(), "talking.toml", TALKING);
    let silent = config(dir.path(), "silent.toml", SILENT);
    let data = dir.path().join("data");
    let dbs: Vec<PathBuf> = vec![data.join("agent/spool.db"), data.join("warehouse.db")];

    let crowd = Crowd::push(PHONES, seed, Duration::ZERO);
    let (mut in_spool, mut in_warehouse) = (0, 0);
    for kill in 0..kills {
        let mut up = Process::up(&data, &["--config", &talking]);
        // Now and then it dies while it starts.
        if random.below(10) > 0 {
            crowd.point(Some(up.push_url()));
        }
        std::thread::sleep(Duration::from_micros(random.below(250_000)));
        let open = if random.below(4) > 0 { up.kill(&dbs) } else { up.kill_inside(&dbs) };
        in_spool += u64::from(open[0]);
        in_warehouse += u64::from(open[1]);
        crowd.point(None);
        assert!(kill < 50 || in_spool + in_warehouse > 0, "no kill met a transaction");
    }
    println!(
        "{kills} kills, seed {seed}: {in_spool} inside a spool transaction, {in_warehouse} inside a warehouse one"
    );
    assert!(in_spool + in_warehouse >= kills / 20, "too few kills landed inside an open transaction");

    let mut up = Process::up(&data, &["--config", &talking]);
    crowd.point(Some(up.push_url()));
    let pushed = crowd.finish();
    assert!(up.terminate(Signal::SIGTERM).success());
    let mut up = Process::up(&data, &["--config", &silent]);
    up.push_url();
    await_drained(&dbs[0]);
    assert_all_exact(&dbs[1], &pushed);
    assert!(up.terminate(Signal::SIGTERM).success());
}

#[test]
fn agent_and_relay_killed_independently_over_a_bad_link_are_exact() {
    let seed = setting("GAITWAY_SEED", 2);
    let kills = setting("GAITWAY_KILLS", KILLS);
    let mut random = Random::new(seed);
    let dir = tempfile::tempdir().unwrap();
    let talking = config(dir.path(), "talking.toml", "[windows]\nsilence = \"1h\"\n");
    let silent = config(dir.path(), "silent.toml", "[windows]\nsilence = \"300ms\"\n");
    let (agent_dir, relay_dir) = (dir.path().join("agent"), dir.path().join("relay"));
    let (spool, warehouse) = (agent_dir.join("spool.db"), relay_dir.join("warehouse.db"));
    let proxy = Proxy::new();
    let crowd = Crowd::push(PHONES, seed, Duration::ZERO);

    let start_agent = |config: &str| Process::agent(&agent_dir, &proxy.url(), &["--config", config]);
    let mut agent = start_agent(&talking);
    let mut relay = Process::up(&relay_dir, &[]);
    proxy.point(Some(&relay.mqtt_address()));
    crowd.point(Some(agent.agent_push_url()));
    let mut inside = 0;
    for _ in 0..kills {
        std::thread::sleep(Duration::from_micros(random.below(200_000)));
        match random.below(5) {
            0 | 1 => {
                let dbs = std::slice::from_ref(&spool);
                let open = if random.below(2) > 0 { agent.kill(dbs) } else { agent.kill_inside(dbs) };
                crowd.point(None);
                inside += u64::from(open[0]);
                agent = start_agent(&talking);
                crowd.point(Some(agent.agent_push_url()));
            }
            2 | 3 => {
                inside += u64::from(relay.kill(std::slice::from_ref(&warehouse))[0]);
                relay = Process::up(&relay_dir, &[]);
                proxy.point(Some(&relay.mqtt_address()));
            }
            _ => {
                proxy.delay(Duration::from_millis(random.below(3) * 5));
                proxy.cut();
            }
        }
    }
    println!("{kills} kills and cuts, seed {seed}: {inside} inside a transaction");
    assert!(inside > 0, "no kill landed inside an open transaction");

    proxy.delay(Duration::ZERO);
    let pushed = crowd.finish();
    assert!(agent.terminate(Signal::SIGTERM).success());
    let mut agent = start_agent(&silent);
    agent.agent_push_url();
    await_drained(&spool);
    assert_all_exact(&warehouse, &pushed);
    assert!(agent.terminate(Signal::SIGTERM).success());
    assert!(relay.terminate(Signal::SIGTERM).success());
}
