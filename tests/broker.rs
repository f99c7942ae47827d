//! A broker that is not ours between agents and relay: a real Mosquitto with the files of `deploy/brokers/mosquitto`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;

#[path = "broker/client.rs"]
mod client;
#[path = "broker/mosquitto.rs"]
mod mosquitto;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use client::{Client, Shown};
use harness::crowd::Crowd;
use harness::process::Process;
use harness::warehouse::{assert_exact, await_drained, count, readings};
use harness::{PATIENCE, await_that, http};
use mosquitto::{Mosquitto, PASSWORD, RELAY};
use nix::sys::signal::Signal;

const AGENT: &str = "attic";

/// A broker, and room for a relay and an agent beside it.
struct House {
    dir: tempfile::TempDir,
    broker: Mosquitto,
}

impl House {
    fn new(named: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut broker = Mosquitto::new(dir.path(), &[AGENT, "cellar"], named);
        broker.start();
        Self { dir, broker }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn warehouse(&self) -> PathBuf {
        self.path("relay/warehouse.db")
    }

    fn spool(&self) -> PathBuf {
        self.path("agent/spool.db")
    }

    /// The relay of an `up`, whose warehouse is a file: it comes with its certificate.
    fn relay(&self) -> Process {
        let text = format!("[relay.broker]\n{}", self.certified(RELAY, "url"));
        let (config, dir) = (self.write("up.toml", &text), self.path("relay"));
        Process::start(&["up", "--config", &config, "--data-dir", dir.to_str().unwrap(), "--http", "127.0.0.1:0"])
    }

    /// An agent whose windows are closed after such a silence.
    fn agent(&self, shown: Shown<'_>, silence: &str) -> Process {
        let (address, access) = match shown {
            Shown::Certificate(name) => (self.broker.certified, self.certified(name, "")),
            Shown::Password(..) | Shown::Nothing => {
                let (ca, password) = (self.broker.path("ca.pem"), self.broker.path("password"));
                (self.broker.named, format!("ca_file = {ca:?}\npassword_file = {password:?}\n"))
            }
        };
        let text = format!(
            "agent_id = {AGENT:?}\n[windows]\nsilence = {silence:?}\n[relay]\naddress = \"mqtts://localhost:{address}\"\n\
             [relay.broker]\n{access}"
        );
        let (config, dir) = (self.write("agent.toml", &text), self.path("agent"));
        Process::start(&["agent", "--config", &config, "--data-dir", dir.to_str().unwrap(), "--http", "127.0.0.1:0"])
    }

    /// Keys for whoever has a certificate; `url` names the broker's.
    fn certified(&self, name: &str, url: &str) -> String {
        let [ca, certificate, key] =
            ["ca.pem", &format!("{name}.pem"), &format!("{name}.key")].map(|file| self.broker.path(file));
        let address = format!("{url} = \"mqtts://localhost:{}\"\n", self.broker.certified);
        let address = if url.is_empty() { "" } else { &address };
        format!("{address}ca_file = {ca:?}\ncertificate_file = {certificate:?}\nkey_file = {key:?}\n")
    }
}

/// Waits until the warehouse has more than it has now.
fn await_more(warehouse: &Path) {
    let before = readings(warehouse);
    await_that("more is stored", || readings(warehouse) > before);
}

/// Phones push while broker, relay and agent are killed, each in turn, and everything is stored once.
fn killed_in_turn(house: &mut House, shown: Shown<'_>) {
    let (warehouse, spool) = (house.warehouse(), house.spool());
    let mut relay = house.relay();
    let mut agent = house.agent(shown, "1h");
    let crowd = Crowd::push(3, 7, Duration::from_millis(5));
    crowd.point(Some(agent.agent_push_url()));
    for _ in 0..3 {
        await_more(&warehouse);
        house.broker.kill();
        std::thread::sleep(Duration::from_millis(300));
        house.broker.start();
        await_more(&warehouse);
        relay.kill(&[]);
        relay = house.relay();
        await_more(&warehouse);
        crowd.point(None);
        agent.kill(&[]);
        agent = house.agent(shown, "1h");
        crowd.point(Some(agent.agent_push_url()));
    }
    let pushed = crowd.finish();
    assert!(agent.terminate(Signal::SIGTERM).success());
    let mut agent = house.agent(shown, "300ms");
    agent.agent_push_url();
    await_drained(&spool);
    let expected: usize = pushed.iter().flat_map(|(_, pushed)| pushed.values()).map(Vec::len).sum();
    assert!(expected > 0);
    for (phone, pushed) in &pushed {
        assert_exact(&warehouse, phone, pushed);
    }
    assert_eq!(readings(&warehouse), expected as i64, "and nothing else");
    assert_eq!(count(&warehouse, "SELECT count(*) FROM GAPS"), 0);
    assert!(agent.terminate(Signal::SIGTERM).success());
    assert!(relay.terminate(Signal::SIGTERM).success());
}

#[test]
#[ignore = "needs mosquitto"]
fn broker_relay_and_agent_with_certificates_killed_in_turn_are_exact() {
    killed_in_turn(&mut House::new(&[]), Shown::Certificate(AGENT));
}

#[test]
#[ignore = "needs mosquitto"]
fn broker_relay_and_agent_with_a_password_killed_in_turn_are_exact() {
    killed_in_turn(&mut House::new(&[AGENT]), Shown::Password(AGENT, PASSWORD));
}

/// Every topic that somebody might want.
fn topics() -> Vec<String> {
    let mut topics = Vec::new();
    for name in [AGENT, "cellar", RELAY] {
        for leaf in ["up/hello", "up/raw", "up/activity", "up/other", "up/raw/deeper", "down/ack", "down/other"] {
            topics.push(format!("gaitway/v1/{name}/{leaf}"));
        }
    }
    for other in ["gaitway/v1/up/raw", "gaitway/v2/attic/up/raw", "gaitway", "elsewhere", "$SYS/broker/x"] {
        topics.push(other.to_owned());
    }
    topics
}

/// What `name` may publish.
fn may_publish(name: &str, topic: &str) -> bool {
    if name == RELAY {
        return [AGENT, "cellar"].iter().any(|agent| topic == format!("gaitway/v1/{agent}/down/ack"));
    }
    ["hello", "raw", "activity"].iter().any(|leaf| topic == format!("gaitway/v1/{name}/up/{leaf}"))
}

/// What `name` may hear.
fn may_hear(name: &str, topic: &str) -> bool {
    if name == RELAY {
        return topic.starts_with("gaitway/v1/")
            && topic.split('/').nth(3) == Some("up")
            && topic.split('/').count() == 5;
    }
    topic == format!("gaitway/v1/{name}/down/ack")
}

/// Whether MQTT matches `topic` to `filter`.
fn matches(filter: &str, topic: &str) -> bool {
    let filter = filter.strip_prefix("$share/group/").unwrap_or(filter);
    if topic.starts_with('$') != filter.starts_with('$') {
        return false;
    }
    let (filter, topic): (Vec<_>, Vec<_>) = (filter.split('/').collect(), topic.split('/').collect());
    let many = filter.last() == Some(&"#");
    let fixed = if many { &filter[..filter.len() - 1] } else { &filter[..] };
    (if many { topic.len() >= fixed.len() } else { topic.len() == fixed.len() })
        && fixed.iter().zip(&topic).all(|(one, other)| *one == "+" || one == other)
}

#[test]
fn the_brokers_take_an_agents_greatest_packet_and_none_above() {
    let most = gaitway_proto::limits::MAX_PACKET;
    for (file, line) in [
        ("mosquitto/mosquitto.conf", format!("\nmax_packet_size {most}\n")),
        ("emqx/base.hocon", format!("\n  max_packet_size = {most}\n")),
        ("hivemq/config.xml", format!("<max-packet-size>{most}</max-packet-size>")),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/brokers").join(file);
        assert!(std::fs::read_to_string(&path).unwrap().contains(&line), "{file} lacks {line}");
    }
}

#[test]
#[ignore = "needs mosquitto"]
fn each_may_do_at_the_broker_what_is_its_own_and_nothing_else() {
    let house = House::new(&["cellar"]);
    let broker = &house.broker;
    strangers_are_not_let_in(broker);
    let shown = [Shown::Certificate(AGENT), Shown::Password("cellar", PASSWORD), Shown::Certificate(RELAY)];
    let mut clients: Vec<_> = [AGENT, "cellar", RELAY]
        .into_iter()
        .zip(shown)
        .map(|(name, shown)| Client::connect(broker, name, shown, true).unwrap())
        .collect();

    // Each publishes to each topic while everybody hears all that they may.
    for client in &mut clients {
        client.subscribe("#").unwrap();
    }
    for who in 0..clients.len() {
        for topic in topics() {
            let name = clients[who].name.clone();
            let denied = ["Denied PUBLISH", &name, &format!("'{topic}'")];
            let before = broker.logged(&denied);
            clients[who].publish(&topic, name.as_bytes()).unwrap();
            let allowed = may_publish(&name, &topic);
            if !allowed && !topic.starts_with('$') {
                await_that("the broker says that it was denied", || broker.logged(&denied) == before + 1);
            }
            for client in &mut clients {
                client.settle().unwrap();
                let heard: Vec<_> = client.heard().into_iter().map(|(topic, _)| topic).collect();
                let expected = if allowed && may_hear(&client.name, &topic) { vec![topic.clone()] } else { vec![] };
                assert_eq!(heard, expected, "{} of what {name} published to {topic}", client.name);
            }
        }
    }
    for client in &mut clients {
        client.unsubscribe("#").unwrap();
    }

    // Each subscribes to each filter while all that may be published is.
    let wild = ["#", "+/#", "gaitway/v1/+/up/+", "gaitway/v1/+/down/+", "gaitway/+/attic/#", "+/+/+/+/+", "$SYS/#"];
    let filters =
        topics().into_iter().chain(wild.map(str::to_owned)).chain(["$share/group/gaitway/v1/+/up/+".to_owned()]);
    for filter in filters {
        for who in 0..clients.len() {
            clients[who].subscribe(&filter).unwrap();
            let mut published = Vec::new();
            for client in &mut clients {
                let name = client.name.clone();
                for topic in topics().into_iter().filter(|topic| may_publish(&name, topic)) {
                    client.publish(&topic, b"x").unwrap();
                    published.push(topic);
                }
            }
            let name = clients[who].name.clone();
            clients[who].settle().unwrap();
            let mut heard: Vec<_> = clients[who].heard().into_iter().map(|(topic, _)| topic).collect();
            published.retain(|topic| may_hear(&name, topic) && matches(&filter, topic));
            heard.sort();
            published.sort();
            assert_eq!(heard, published, "{name} with {filter}");
            clients[who].unsubscribe(&filter).unwrap();
        }
    }

    // What MQTT knows and nobody here needs ends the connection.
    for (what, first, bytes) in [("retained", 0x33, 1), ("QoS 2", 0x34, 1), ("too large", 0x32, 8_655_872)] {
        let mut client = Client::connect(broker, AGENT, Shown::Certificate(AGENT), true).unwrap();
        // It may be gone before all of it is written.
        let _ = client.publish_flagged(first, "gaitway/v1/attic/up/raw", &vec![0; bytes]);
        assert!(client.ends(), "{what}");
    }
}

fn strangers_are_not_let_in(broker: &Mosquitto) {
    let attempts = [
        ("without a name", broker.named, Shown::Nothing),
        ("with a wrong password", broker.named, Shown::Password("cellar", "wrong")),
        ("with an unknown name", broker.named, Shown::Password("nobody", PASSWORD)),
        ("with the relay's name", broker.named, Shown::Password(RELAY, PASSWORD)),
        ("with a password where a certificate is asked for", broker.certified, Shown::Password("cellar", PASSWORD)),
        ("with an authority's own certificate of no client", broker.certified, Shown::Certificate("broker")),
        ("with a certificate instead of a password", broker.named, Shown::Certificate(AGENT)),
    ];
    for (how, port, shown) in attempts {
        assert!(Client::connect_to(broker, port, AGENT, shown, true).is_err(), "{how}");
    }
    let other = tempfile::tempdir().unwrap();
    let foreign = Mosquitto::new(other.path(), &[AGENT], &[]);
    let shown = Shown::Certificate(AGENT);
    assert!(Client::connect_to(&foreign, broker.certified, AGENT, shown, true).is_err(), "who trusts another broker");
    std::fs::copy(broker.path("ca.pem"), foreign.path("ca.pem")).unwrap();
    assert!(Client::connect_to(&foreign, broker.certified, AGENT, shown, true).is_err(), "another authority's agent");
}

#[test]
#[ignore = "needs mosquitto"]
fn a_broker_that_is_away_is_said_where_people_look_and_found_again() {
    let mut house = House::new(&[AGENT]);
    let mut relay = house.relay();
    let base = relay.push_url().replace("/data", "");
    let ready = || http::get(&format!("{base}/readyz")).unwrap();
    await_that("all is ready", || ready().0 == 200);
    let metric = |line: &str| http::get(&format!("{base}/metrics")).unwrap().1.lines().any(|found| found == line);
    assert!(metric("gaitway_relay_broker_up 1") && metric("gaitway_relay_broker_connections_total 1"));

    house.broker.kill();
    let away = format!("the broker localhost:{} is away: ", house.broker.certified);
    await_that("the broker is said to be away", || {
        let (status, said) = ready();
        status == 503 && said.contains(&away)
    });
    assert!(metric("gaitway_relay_broker_up 0"));
    house.broker.start();
    await_that("all is ready again", || ready().0 == 200);
    assert!(metric("gaitway_relay_broker_up 1"));

    // Where it does not let the agent in, the agent says what to look at.
    house.write("mosquitto/password", "wrong");
    let mut agent = house.agent(Shown::Password(AGENT, "wrong"), "1h");
    let said = agent.logged("why it waits", |event| {
        let reason = event["reason"].as_str()?;
        reason.contains("refuses").then(|| reason.to_owned())
    });
    assert!(said.contains("the broker refuses agent attic: look at its user name, password"), "{said}");
    let log = format!("{:?}{:?}", agent.log(), relay.log());
    assert!(!log.contains(PASSWORD), "no password is logged");
}

#[test]
#[ignore = "needs mosquitto"]
fn an_agent_that_floods_does_not_stop_the_others_and_takes_no_memory() {
    let house = House::new(&["cellar"]);
    let relay = house.relay();
    let mut agent = house.agent(Shown::Certificate(AGENT), "300ms");
    let crowd = Crowd::push(2, 9, Duration::from_millis(20));
    crowd.point(Some(agent.agent_push_url()));
    let warehouse = house.warehouse();
    await_more(&warehouse);
    let before = relay.memory("VmRSS");

    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let flood = std::thread::Builder::new().name("flood".to_owned());
        let flood = flood.spawn_scoped(scope, || {
            let shown = Shown::Password("cellar", PASSWORD);
            let mut client = Client::connect(&house.broker, "cellar", shown, true).unwrap();
            let (small, great) = (vec![7; 200], vec![7; 8 << 20]);
            // Whatever fails beside it, it ends.
            let end = Instant::now() + 4 * PATIENCE;
            while !stop.load(Ordering::Relaxed) && Instant::now() < end {
                for leaf in ["hello", "raw", "activity"] {
                    let payload = if sent.load(Ordering::Relaxed) % 500 == 499 { &great } else { &small };
                    client.publish(&format!("gaitway/v1/cellar/up/{leaf}"), payload).unwrap();
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let flood = flood.unwrap();
        for _ in 0..20 {
            await_more(&warehouse);
        }
        await_that("it is a flood", || sent.load(Ordering::Relaxed) > 1_000);
        await_more(&warehouse);
        stop.store(true, Ordering::Relaxed);
        flood.join().unwrap();
    });
    let sent = sent.load(Ordering::Relaxed);
    let most = relay.memory("VmHWM");
    println!("{sent} publishes of nonsense; memory {} MiB before, {} at most", before >> 20, most >> 20);
    assert!(most < before + (160 << 20), "{before} {most}");

    let pushed = crowd.finish();
    await_drained(&house.spool());
    for (phone, pushed) in &pushed {
        assert_eq!(harness::warehouse::message_ids(&warehouse, phone), pushed.keys().copied().collect());
    }
    assert!(agent.terminate(Signal::SIGTERM).success());
    assert!(relay.terminate(Signal::SIGTERM).success());
}
