//! `gaitway doctor`, over real processes: each fault that it knows is made, found, and told with what to do.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod doctor {
    pub(crate) mod house;
    pub(crate) mod liar;
}
mod harness;
#[path = "../sink/tests/postgres_server/mod.rs"]
mod postgres_server;

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use doctor::house::{House, agent_at, assert_told, doctor, grades, report, said_of, write};
use doctor::liar::Liar;
use harness::phone::{Phone, Pushed, push};
use harness::process::Process;
use harness::small_disk::on_small_disk;
use harness::warehouse::{await_drained, message_ids};
use harness::{await_that, kafka};
use nix::sys::signal::Signal;
use serde_json::Value;

#[test]
fn before_anything_ran_nothing_fails_and_nothing_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let config = write(dir.path(), "up.toml", "[agent]\nhttp = \"127.0.0.1:0\"\n[relay]\nmqtt = \"127.0.0.1:0\"\n");
    let report = report(&["--config", &config, "--data-dir", data.to_str().unwrap()]);
    assert_eq!(report["worst"], "warn", "{report}");
    assert_told(&report, ("agent", "data folder"), "warn", &["is made at the first start"]);
    assert_told(&report, ("warehouse", "warehouse"), "warn", &["gaitway up"]);
    assert!(!data.exists());
}

#[test]
fn a_healthy_up_that_runs_gives_no_fail_and_goes_on() {
    let clock = Liar::off_by(0);
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut up = Process::up(&data, &[]);
    push(&up.push_url(), &Phone::new(1, 3), 0..10, &mut Pushed::new());
    let args = ["--data-dir", data.to_str().unwrap(), "--ntp", &clock.address];
    let mut report = report(&args);
    await_that("the agent says that it is ready", || {
        report = doctor::house::report(&args);
        grades(&report, ("agent", "data moves")) == ["ok"]
    });
    assert!(!report["checks"].as_array().unwrap().iter().any(|line| line["grade"] == "fail"), "{report:#}");
    assert_told(&report, ("agent", "port for phones"), "ok", &["this service listens", &up.pid().to_string()]);
    assert_told(&report, ("agent", "fsync"), "ok", &["median", "99th percentile", "a push is answered after one"]);
    assert_told(&report, ("agent", "spool"), "ok", &["its pages are whole"]);
    assert_told(&report, ("warehouse", "warehouse"), "ok", &["its pages are whole"]);
    let left: Vec<_> = std::fs::read_dir(data.join("agent")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("doctor")), "{left:?}");
    assert!(!up.log().iter().any(|event| event["level"] == "ERROR"), "{:#?}", up.log());
    assert!(up.terminate(Signal::SIGTERM).success());
}

#[test]
fn configuration_alone_is_checked_before_a_start_and_nothing_else_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    // What only a look at more than the configuration would miss, or meet.
    let text = format!(
        "data_dir = {data:?}\n[relay]\naddress = \"mqtts://relay.invalid\"\n[https]\ncertificate_file = \"/none\"\nkey_file = \"/none\"\n"
    );
    let good = write(dir.path(), "agent.toml", &text);
    let (code, shown) = doctor(&["--config-only", "--config", &good]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.starts_with("ok  configuration  ") && shown.lines().count() == 3, "{shown}");
    assert!(shown.contains("agent.toml") && shown.contains("agent's, every key makes sense"), "{shown}");
    assert!(!data.exists());

    for (name, text, says) in [
        ("agent.toml", "htpp = \"127.0.0.1:1\"\n", "agent.toml:1: unknown key `htpp`, perhaps `http`"),
        ("relay.toml", "\ntls = 3\n", "relay.toml:2: `tls` is 3, must be"),
        ("up.toml", "[relay]\ndata_dir = \"x\"\n", "up.toml:2: `relay.data_dir` is \"x\""),
        ("other.toml", "colour = 1\n", "neither an agent's, a relay's nor a sink's"),
    ] {
        let bad = write(dir.path(), name, text);
        let (code, shown) = doctor(&["--config-only", "--config", &bad]);
        assert!(code == Some(2) && shown.starts_with("fail  configuration") && shown.contains(says), "{shown}");
        let (code, shown) = doctor(&["--config-only", "--config", &bad, "--json"]);
        let report: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!((code, &report["worst"]), (Some(2), &"fail".into()));
        let (code, shown) = doctor(&["--config", &bad]);
        assert!(code == Some(2) && shown.contains(says), "{shown}");
        let (code, shown) = doctor(&["--config", &bad, "--json"]);
        let report: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!((code, &report["worst"]), (Some(2), &"fail".into()));
        assert_eq!(report["checks"].as_array().unwrap().len(), 1, "nothing else is looked at: {report}");
    }
}

#[test]
fn a_clock_that_is_off_is_found_and_one_that_nobody_can_tell_is_no_fault() {
    let dir = tempfile::tempdir().unwrap();
    let config = write(dir.path(), "agent.toml", &format!("data_dir = {:?}\nhttp = \"127.0.0.1:0\"\n", dir.path()));
    let at = |ntp: &str| report(&["--config", &config, "--ntp", ntp]);
    let clock = ("machine", "clock");
    assert_told(&at(&Liar::off_by(3_600).address), clock, "fail", &["60 min slow", "certificates", "set the clock"]);
    assert_told(&at(&Liar::off_by(-200_000).address), clock, "fail", &["2 days fast", "timedatectl set-ntp true"]);
    assert_told(&at(&Liar::off_by(-5).address), clock, "warn", &["s fast", "timedatectl set-ntp true"]);
    // Nobody listens there.
    assert_told(&at("127.0.0.1:1"), clock, "warn", &["127.0.0.1:1 could not be asked", "--ntp"]);
}

#[test]
fn damaged_files_are_found_and_left_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut up = Process::up(&data, &[]);
    push(&up.push_url(), &Phone::new(2, 5), 0..200, &mut Pushed::new());
    await_drained(&data.join("agent/spool.db"));
    assert!(up.terminate(Signal::SIGTERM).success());
    let damage = |path: &Path| {
        let mut bytes = std::fs::read(path).unwrap();
        let from = bytes.len() / 4 / 4096 * 4096;
        bytes[from..from + 8_192].fill(0x5a);
        std::fs::write(path, &bytes).unwrap();
        bytes
    };
    let (spool, warehouse) = (data.join("agent/spool.db"), data.join("warehouse.db"));
    let before = [damage(&spool), damage(&warehouse)];
    let report = report(&["--data-dir", data.to_str().unwrap()]);
    assert_told(
        &report,
        ("agent", "spool"),
        "fail",
        &["is damaged", "gaitway agent spool salvage", "replace the card"],
    );
    assert_told(&report, ("warehouse", "warehouse"), "fail", &["is damaged", "set aside"]);
    assert!([spool, warehouse].map(|path| std::fs::read(path).unwrap()) == before);
}

#[test]
fn frames_that_wait_are_counted_and_damaged_ones_among_them_found() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("agent");
    let agent = agent_at(dir.path(), "mqtt://127.0.0.1:1");
    let mut running = Process::start(&["agent", "--config", &agent]);
    push(&running.agent_push_url(), &Phone::new(3, 7), 0..12, &mut Pushed::new());
    let seen = report(&["--config", &agent]);
    assert_told(&seen, ("agent", "waiting"), "ok", &["frames (600 readings) wait for the relay, the oldest for"]);
    assert_told(&seen, ("agent", "data moves"), "warn", &["relay link"]);
    assert_told(&seen, ("agent", "relay 127.0.0.1:1"), "fail", &["port closed", "is it running, is the port right?"]);
    assert!(running.terminate(Signal::SIGTERM).success());
    let spool = rusqlite::Connection::open(data.join("spool.db")).unwrap();
    spool.execute("UPDATE raw SET frame = zeroblob(length(frame)) WHERE id = (SELECT min(id) FROM raw)", []).unwrap();
    drop(spool);
    let report = report(&["--config", &agent]);
    let lines = said_of(&report, ("agent", "spool"));
    assert!(lines.iter().any(|said| said.contains("1 frame that waits for the relay is damaged")), "{lines:?}");
    assert_eq!(grades(&report, ("agent", "spool")), ["ok", "fail"], "{report:#}");
}

#[test]
fn a_port_that_another_program_has_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let [http, admin, mqtt] = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [http, admin, mqtt] = [&http, &admin, &mqtt].map(|listener| listener.local_addr().unwrap());
    let text = format!("[agent]\nhttp = \"{http}\"\n[relay]\nmqtt = \"{mqtt}\"\nadmin = \"{admin}\"\n");
    let config = write(dir.path(), "up.toml", &text);
    let report = report(&["--config", &config, "--data-dir", dir.path().join("data").to_str().unwrap()]);
    let me = format!("(process {})", std::process::id());
    for (thing, key) in [
        (("agent", "port for phones"), "--http"),
        (("relay", "port for agents"), "--mqtt"),
        (("relay", "port for health"), "admin"),
    ] {
        assert_told(&report, thing, "fail", &["is taken by", &me, "choose another address with", key]);
    }
    // TEST-NET-1 (RFC 5737).
    let config = write(dir.path(), "agent.toml", "http = \"192.0.2.1:8000\"\n");
    let elsewhere = doctor::house::report(&["--config", &config, "--data-dir", dir.path().to_str().unwrap()]);
    assert_told(&elsewhere, ("agent", "port for phones"), "fail", &["no address of this machine"]);
}

#[test]
fn where_the_way_to_the_relay_ends_is_told_and_a_running_agent_keeps_its_link() {
    let (house, other) = (House::open(), House::open());
    let dir = house.enrolled("attic");
    let own = write(house.dir.path(), "agent.toml", &format!("data_dir = {dir:?}\nhttp = \"127.0.0.1:0\"\n"));
    let mut attic = Process::start(&["agent", "--config", &own]);
    let (phone, mut pushed) = (Phone::new(4, 19), Pushed::new());
    push(&attic.agent_push_url(), &phone, 0..3, &mut pushed);
    await_that("all is committed", || message_ids(&house.warehouse(), &phone).len() == 3);

    let healthy = report(&["--config", &own]);
    let relay = ("agent", "relay ");
    assert_eq!(grades(&healthy, relay), ["ok", "ok"], "{healthy:#}");
    assert_told(&healthy, ("agent", "identity"), "ok", &["attic to its relay", "good for"]);
    assert_told(&healthy, ("agent", "relay's certificate"), "ok", &["good for"]);
    let links = |attic: &Process| attic.log().iter().filter(|event| event["message"] == "relay link is up").count();
    assert_eq!(links(&attic), 1, "its connection was not taken over");
    push(&attic.agent_push_url(), &phone, 3..6, &mut pushed);
    await_that("more is committed", || message_ids(&house.warehouse(), &phone).len() == 6);
    assert_eq!(links(&attic), 1);
    assert!(attic.terminate(Signal::SIGTERM).success());

    let towards = |address: &str| {
        let text = format!("data_dir = {dir:?}\nhttp = \"127.0.0.1:0\"\n[relay]\naddress = \"mqtts://{address}\"\n");
        let config = write(house.dir.path(), "agent.toml", &text);
        report(&["--config", &config])
    };
    // Another authority, and one that knows nothing of this agent.
    assert_told(&towards(&other.relay), relay, "fail", &["another relay than the one that this agent knows"]);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_told(&towards(&closed.to_string()), relay, "fail", &["port closed", "nothing listens at this port"]);
    assert_told(&towards("relay.invalid:8883"), relay, "fail", &["name not found: relay.invalid", "DNS"]);
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = plain.local_addr().unwrap().to_string();
    std::thread::scope(|scope| {
        let web = || {
            let (mut stream, _) = plain.accept().unwrap();
            std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
            std::io::Read::read_to_end(&mut stream, &mut Vec::new()).unwrap_or_default();
        };
        std::thread::Builder::new().name("web".to_owned()).spawn_scoped(scope, web).unwrap();
        assert_told(&towards(&address), relay, "fail", &["speaks no TLS"]);
    });

    house.revoke("attic");
    await_that("the relay has heard of it", || {
        said_of(&towards(&house.relay), relay).concat().contains("revoked this agent's certificate")
    });
}

#[test]
fn an_agent_that_has_not_enrolled_or_whose_certificate_has_ended_is_told_how_to() {
    let house = House::open();
    let config = agent_at(house.dir.path(), &format!("mqtts://{}", house.relay));
    let report_of = || report(&["--config", &config]);
    assert_told(
        &report_of(),
        ("agent", "identity"),
        "fail",
        &["has not enrolled", "gaitway relay agent add", "gaitway agent enroll"],
    );

    let dir = house.enrolled("agent");
    let path = dir.join("identity.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let set = |from: i64, until: i64| {
        let mut kept: Value = serde_json::from_str(&text).unwrap();
        let now = kept["not_before"].as_i64().unwrap() + 24 * 3_600;
        (kept["not_before"], kept["not_after"]) = ((now + from * 86_400).into(), (now + until * 86_400).into());
        std::fs::write(&path, kept.to_string()).unwrap();
    };
    set(-91, -3);
    assert_told(&report_of(), ("agent", "identity"), "fail", &["ended 3 days ago", "gaitway agent enroll"]);
    set(-85, 5);
    assert_told(&report_of(), ("agent", "identity"), "warn", &["should have been renewed by now"]);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_told(&report_of(), ("agent", "identity"), "fail", &["others may read", "chmod 600"]);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&path, "{").unwrap();
    assert_told(&report_of(), ("agent", "identity"), "fail", &["damaged", "gaitway agent enroll"]);
}

#[test]
fn certificates_for_phones_that_have_ended_or_others_may_use_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let of = |until: i32, mode: u32| {
        let mut params = rcgen::CertificateParams::new(["pi.example".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(until, 1, 1));
        let key = rcgen::KeyPair::generate().unwrap();
        write(dir.path(), "cert.pem", &params.self_signed(&key).unwrap().pem());
        let key = write(dir.path(), "key.pem", &key.serialize_pem());
        std::fs::set_permissions(key, std::fs::Permissions::from_mode(mode)).unwrap();
        let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        let text = format!("http = \"127.0.0.1:0\"\n[https]\ncertificate_file = {cert:?}\nkey_file = {key:?}\n");
        let config = write(dir.path(), "agent.toml", &text);
        report(&["--config", &config, "--data-dir", dir.path().join("data").to_str().unwrap()])
    };
    assert_told(&of(2021, 0o600), ("agent", "HTTPS"), "fail", &["ended", "renew", "cert.pem"]);
    assert_told(&of(2200, 0o600), ("agent", "HTTPS"), "ok", &["good for"]);
    assert_told(&of(2200, 0o644), ("agent", "HTTPS"), "fail", &["chmod 600"]);
}

#[test]
fn lists_of_phones_and_readers_that_cannot_be_used_fail_and_an_open_door_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("agent");
    std::fs::create_dir(&data).unwrap();
    let config = agent_at(dir.path(), "mqtt://127.0.0.1:1");
    let open = config.replace("agent.toml", "open.toml");
    std::fs::write(&open, format!("data_dir = {data:?}\nhttp = \"0.0.0.0:0\"\n")).unwrap();
    assert_told(
        &report(&["--config", &open]),
        ("agent", "phones"),
        "warn",
        &["anybody in this network may push", "phone add NAME"],
    );
    assert_told(&report(&["--config", &config]), ("agent", "phones"), "ok", &["on this machine"]);
    for (file, thing) in [("phones.json", "phones"), ("readers.json", "readers")] {
        std::fs::write(data.join(file), "{\"version\":1").unwrap();
        assert_told(&report(&["--config", &config]), ("agent", thing), "fail", &[file, "cannot be read", "Nobody may"]);
    }
}

#[test]
#[ignore = "needs a mount namespace"]
fn a_full_disk_a_read_only_one_and_files_of_another_user_are_found() {
    on_small_disk("size=40m", |disk| {
        let dir = disk.path().join("agent");
        std::fs::create_dir(&dir).unwrap();
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700)).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let config = write(elsewhere.path(), "agent.toml", &format!("data_dir = {dir:?}\nhttp = \"127.0.0.1:0\"\n"));
        let report = || report(&["--config", &config, "--ntp", "127.0.0.1:1"]);
        let healthy = report();
        assert_told(&healthy, ("agent", "disk"), "ok", &["are free", "spool.min_free_percent"]);
        assert_told(&healthy, ("agent", "data folder"), "ok", &["alone (mode 700)"]);
        assert_told(&healthy, ("agent", "file system"), "warn", &["tmpfs", "it is memory"]);
        disk.fill(1_000_000);
        assert_told(
            &report(),
            ("agent", "disk"),
            "fail",
            &["less than spool.min_free_percent, 5 %", "pushes are refused", "free some space"],
        );
        let ballast = disk.fill(0);
        let full = report();
        assert_told(&full, ("agent", "disk"), "fail", &["is full: free some space"]);
        assert_told(&full, ("agent", "fsync"), "fail", &["the disk is full"]);
        std::fs::remove_file(ballast).unwrap();

        std::fs::write(dir.join(".lock"), "").unwrap();
        std::fs::write(dir.join("agent-id"), "attic\n").unwrap();
        std::os::unix::fs::chown(dir.join("agent-id"), Some(65_534), None).unwrap();
        assert_told(&report(), ("agent", "data folder"), "fail", &["agent-id is", "chown -R root"]);
        std::fs::remove_file(dir.join("agent-id")).unwrap();
        disk.make_read_only();
        assert_told(&report(), ("agent", "disk"), "fail", &["mounted read-only", "dmesg"]);
    });
}

#[test]
fn kafka_and_databases_that_cannot_be_reached_fail_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let sink = "warehouse = \"postgres\"\n[kafka]\nbrokers = \"127.0.0.1:1\"\n[kafka.properties]\n\
                \"socket.connection.setup.timeout.ms\" = \"1000\"\n[postgres]\nurl = \"postgres://u:hush@127.0.0.1:1/x\"\n";
    let (code, shown) = doctor(&["--config", &write(dir.path(), "some.toml", sink)]);
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("Kafka 127.0.0.1:1 ") && shown.contains("kafka.brokers"), "{shown}");
    assert!(shown.contains("PostgreSQL database x at 127.0.0.1:1 ") && !shown.contains("hush"), "{shown}");
    assert!(shown.contains("\n2 to mend, "), "{shown}");
}

#[test]
#[ignore = "needs postgres"]
fn a_missing_table_and_a_right_that_lacks_are_told_with_what_to_run() {
    let database = postgres_server::Server::start(&[]);
    let database = database.database();
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "warehouse = \"postgres\"\n[kafka]\nbrokers = \"127.0.0.1:1\"\n[kafka.properties]\n\
         \"socket.connection.setup.timeout.ms\" = \"1000\"\n[postgres]\nurl = \"{}\"\n",
        database.url
    );
    let config = write(dir.path(), "sink.toml", &text);
    let table = ("warehouse", "table raw_data.gaps");
    assert_told(&report(&["--config", &config]), table, "warn", &["is not there yet", "gaitway sink creates it"]);
    let ddl =
        Command::new(env!("CARGO_BIN_EXE_gaitway")).args(["sink", "ddl", "--dialect", "postgres"]).output().unwrap();
    let admin = database.reader();
    admin.run(&String::from_utf8(ddl.stdout).unwrap());
    assert_told(&report(&["--config", &config]), table, "ok", &["as it should be"]);
    let user = format!("{}_sink", database.name);
    admin.run(&format!("CREATE ROLE {user} LOGIN PASSWORD 'secret'"));
    let as_sink = text.replace("postgres:secret@", &format!("{user}:secret@"));
    let config = write(dir.path(), "sink.toml", &as_sink);
    assert_told(&report(&["--config", &config]), table, "fail", &["may not INSERT raw_data.gaps: GRANT it"]);
    admin.run("DROP TABLE raw_data.gaps CASCADE");
    assert_told(
        &report(&["--config", &config]),
        table,
        "fail",
        &["is not there", "may not create it", "gaitway sink ddl"],
    );
    admin.run(&format!("DROP ROLE {user}"));
}

#[test]
#[ignore = "needs kafka"]
fn a_whole_path_is_in_order_from_before_it_starts_until_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, data) = (kafka::broker(), dir.path().join("data"));
    let data_dir = data.to_str().unwrap();
    let names = ["raw", "activity", "gaps", "progress", "dead_letter"].map(|name| (name, kafka::unique(name)));
    let topics = names.each_ref().map(|(name, topic)| format!("{name} = \"{topic}\"\n")).concat();
    let group = kafka::unique("group");
    let kafka = |table: &str| format!("[{table}]\nbrokers = \"{broker}\"\n[{table}.topics]\n{topics}");
    let config = format!("{}[sink]\ngroup = \"{group}\"\n{}", kafka("relay.kafka"), kafka("sink.kafka"));
    let config = format!("[agent]\nhttp = \"127.0.0.1:0\"\n[relay]\nmqtt = \"127.0.0.1:0\"\n{config}");
    // Less than any disk of a machine that runs this has.
    let config = format!("{config}[sink.sqlite]\nmax_bytes = \"100MiB\"\nmin_free_percent = 0\n");
    let config = write(dir.path(), "some.toml", &config);
    let args = ["--config", &config, "--data-dir", data_dir];
    let of = |report: &Value, what: &str| grades(report, ("kafka", what));

    let before = report(&args);
    assert_eq!(before["worst"], "warn", "{before}");
    for (_, topic) in &names {
        assert_eq!(of(&before, &format!("topic {topic}")), ["warn"], "{before}");
    }

    let mut up = Process::up(&data, &["--config", &config]);
    push(&up.push_url(), &Phone::new(1, 3), 0..25, &mut Pushed::new());
    await_drained(&data.join("agent/spool.db"));
    await_that("the sink has joined", || of(&report(&args), &format!("sinks of group {group}")) == ["ok"]);
    let running = report(&args);
    assert_eq!(of(&running, &format!("relay of {}", names[3].1)), ["ok"], "{running}");
    assert_eq!(of(&running, &format!("Kafka {broker}")), ["ok"], "{running}");
    assert!(grades(&running, ("warehouse", "warehouse")).iter().all(|grade| grade == "ok"), "{running}");
    let fails = |report: &Value| report["checks"].as_array().unwrap().iter().any(|line| line["grade"] == "fail");
    assert!(!fails(&running), "{running}");
    // One broker: an acknowledged record may be lost with its disk.
    assert_eq!(of(&running, &format!("topic {}", names[0].1)), ["warn"], "{running}");
    assert!(up.terminate(Signal::SIGTERM).success());
    let stopped = report(&args);
    assert_eq!(of(&stopped, &format!("sinks of group {group}")), ["warn"], "{stopped}");
    assert!(!fails(&stopped), "{stopped}");

    // A warehouse of another, in the same group.
    let other = dir.path().join("other");
    let up = Process::up(&other, &["--config", &config]);
    let args = ["--config", &config, "--data-dir", other.to_str().unwrap()];
    await_that("the partitions are told that a sink stops", || {
        grades(&report(&args), ("warehouse", &format!("partition {}", names[0].1))) == ["fail"]
    });
    let (code, shown) = doctor(&args);
    assert!(code == Some(1) && shown.contains("another warehouse needs a `group` of its own"), "{shown}");
    assert!(up.terminate(Signal::SIGTERM).success());
}
