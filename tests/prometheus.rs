//! Prometheus's configuration, rules and the dashboard Fleet, held against Debian's promtool, against what services of a whole path
//! really expose, and against a real Prometheus that scrapes them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use harness::house::{House, admin};
use harness::phone::Phone;
use harness::{await_that, http, kafka, warehouse};

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn promtool(args: &[&str]) {
    let done = Command::new("promtool").args(args).current_dir(root("deploy/prometheus")).output();
    let done = done.expect("promtool of Debian's package prometheus");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(done.status.success(), "promtool {args:?}\n{}{}", said(&done.stdout), said(&done.stderr));
}

/// What follows `key` on the lines that begin with it.
fn values<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| line.trim_start().strip_prefix(key)).map(str::trim)
}

/// Every query of Fleet, with what Grafana puts in place of variables.
fn fleet() -> Vec<String> {
    let fleet: serde_json::Value =
        serde_json::from_str(&text("deploy/grafana/dashboards/prometheus/fleet.json")).unwrap();
    let panels = fleet["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let found: Vec<_> = targets
        .map(|target| target["expr"].as_str().unwrap())
        .map(|expr| expr.replace("$__rate_interval", "1m").replace("$agent", ".*").replace("$instance", ".*"))
        .collect();
    assert!(found.len() > 20, "{found:?}");
    found
}

/// Names of metrics of ours within `text`; those that a rule records are not among them.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    words.filter(|word| word.starts_with("gaitway_") || word.starts_with("process_")).collect()
}

/// The expressions of the rules, on lines of their own.
fn expressions(rules: &str) -> String {
    let mut within = false;
    let lines = rules.lines().filter(|line| {
        let line = line.trim_start();
        let is_key = ["- ", "for:", "labels:", "annotations:", "summary:", "#"].iter().any(|key| line.starts_with(key));
        within = line.starts_with("expr:") || (within && !is_key);
        within
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
#[ignore = "needs prometheus"]
fn promtool_takes_configurations_and_rules_and_every_alert_fires_when_it_must() {
    promtool(&["check", "config", "prometheus.yml"]);
    promtool(&["check", "config", "--agent", "behind-nat.yml"]);
    promtool(&["test", "rules", "tests/alerts.yml"]);
    let tests = text("deploy/prometheus/tests/alerts.yml");
    for alert in values(&text("deploy/prometheus/rules/alerts.yml"), "- alert:") {
        assert!(tests.contains(&format!("alertname=\"{alert}\"")), "{alert} has no test");
    }
}

#[test]
fn every_alert_has_its_entry_in_the_runbook_and_says_where() {
    let (rules, runbook) = (text("deploy/prometheus/rules/alerts.yml"), text("docs/runbook.md"));
    let alerts: BTreeSet<_> = values(&rules, "- alert:").collect();
    let entries: BTreeSet<_> = values(&runbook, "### ").filter(|name| name.starts_with("Gaitway")).collect();
    assert_eq!(alerts, entries);
    let links: Vec<_> = values(&rules, "runbook_url:").map(str::to_owned).collect();
    let wanted: Vec<_> =
        values(&rules, "- alert:").map(|name| format!("docs/runbook.md#{}", name.to_lowercase())).collect();
    assert_eq!(links, wanted);
}

/// Types by the name of a sample.
fn exposed(text: &str) -> BTreeMap<String, String> {
    let kinds: BTreeMap<_, _> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(['{', ' ']).next());
    let kind = |name: &str| {
        let ends = ["", "_total", "_bucket", "_info"];
        ends.iter().find_map(|end| kinds.get(name.strip_suffix(end)?)).map(|kind| (*kind).to_owned())
    };
    samples.filter_map(|name| Some((name.to_owned(), kind(name)?))).collect()
}

/// A Prometheus that ends with the test.
struct Prometheus {
    child: Child,
    url: String,
}

impl Prometheus {
    fn start(dir: &Path, targets: &[(&str, &str)]) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let scrapes = targets.iter().map(|(service, target)| {
            let target = target.trim_start_matches("http://");
            let scraped = format!("{{ targets: ['{target}'], labels: {{ service: {service} }} }}");
            format!("  - {{ job_name: {service}, static_configs: [{scraped}] }}")
        });
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: ['{}/*.yml']\nscrape_configs:\n{}\n",
            root("deploy/prometheus/rules").display(),
            scrapes.collect::<Vec<_>>().join("\n"),
        );
        std::fs::write(dir.join("prometheus.yml"), config).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("tsdb").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus of Debian's package");
        Self { child, url: format!("http://{address}") }
    }

    /// How many series `expr` gives now; none while Prometheus does not answer yet.
    fn series(&self, expr: &str) -> Option<usize> {
        let query = expr.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
        let (status, body) = http::get(&format!("{}/api/v1/query?query={query}", self.url)).ok()?;
        if status == 503 {
            return None;
        }
        assert_eq!(status, 200, "{expr}: {body}");
        let begin = body.find('{')?;
        let end = body.rfind('}')?;
        let answer: serde_json::Value = serde_json::from_str(&body[begin..=end]).ok()?;
        Some(answer["data"]["result"].as_array()?.len())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A record that no sink can store.
fn produce_rubbish(house: &House) {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", &house.broker).create().unwrap();
    let topic = house.topic("raw");
    producer.send(BaseRecord::to(&topic).key("phone").payload("no JSON")).map_err(|(error, _)| error).unwrap();
    producer.flush(harness::PATIENCE).unwrap();
}

#[test]
#[ignore = "needs prometheus and kafka"]
fn what_rules_and_fleet_ask_for_is_exposed_by_a_whole_path_and_has_an_answer() {
    let house = House::new(kafka::broker(), "");
    let warehouse = house.path("warehouse.db");
    let mut relay = house.relay();
    let relay_admin = admin(&mut relay);
    let mut agent = house.agent(&relay.mqtt_address());
    let push = agent.agent_push_url();
    let agent_url = push.trim_end_matches("/data").to_owned();
    let mut sink = house.sqlite_sink(&warehouse);
    let sink_admin = admin(&mut sink);
    let prometheus =
        Prometheus::start(house.dir.path(), &[("agent", &agent_url), ("relay", &relay_admin), ("sink", &sink_admin)]);

    let phone = Phone::new(1, 17);
    let mut id = 0;
    let mut push_one = || {
        assert_eq!(http::post(&push, &phone.body(id, &phone.message(id))).unwrap().0, 200);
        id += 1;
    };
    push_one();
    assert_eq!(http::post(&push, "no JSON").unwrap().0, 400);
    await_that("a reading is stored", || warehouse::readings(&warehouse) > 0);
    produce_rubbish(&house);
    let scrape = |url: &str| http::get(&format!("{url}/metrics")).unwrap().1;
    await_that("the rubbish is set aside", || {
        let text = scrape(&sink_admin);
        text.lines().any(|line| line.starts_with("gaitway_sink_dead_letters_total{") && !line.ends_with(" 0"))
    });

    let mut found = BTreeMap::new();
    for url in [&agent_url, &relay_admin, &sink_admin] {
        found.append(&mut exposed(&scrape(url)));
    }
    let fleet = fleet();
    let rules = ["recording", "alerts"].map(|name| expressions(&text(&format!("deploy/prometheus/rules/{name}.yml"))));
    let asked = [rules.concat(), fleet.join("\n")].join("\n");
    // Of agents that have enrolled or have HTTPS alone.
    let certificate = "gaitway_agent_certificate_expiry_timestamp_seconds";
    for name in names(&asked) {
        if name == certificate {
            continue;
        }
        let kind = found.get(name).unwrap_or_else(|| panic!("nothing exposes {name}: {:?}", found.keys()));
        let wanted = match name {
            _ if name.ends_with("_total") => "counter",
            _ if name.ends_with("_bucket") => "histogram",
            _ if name.ends_with("_info") => "info",
            _ => "gauge",
        };
        assert_eq!(kind, wanted, "{name}");
    }

    let recorded = text("deploy/prometheus/rules/recording.yml");
    for expr in values(&recorded, "- record:").chain(fleet.iter().map(String::as_str)) {
        if expr.contains(certificate) {
            continue;
        }
        await_that(&format!("{expr} has an answer"), || {
            push_one();
            prometheus.series(expr).is_some_and(|series| series > 0)
        });
    }
}
