//! Secrets in what a full run prints at trace level, shows of itself and leaves behind when it crashes: there are none.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use gaitway_emulator::{Emulator, Options};
use harness::house::snowflake_table;
use harness::kafka;
use harness::phone::Phone;
use harness::{await_that, http};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A process whose every word goes into files.
struct Told {
    child: Child,
    log: PathBuf,
}

/// A folder, what was printed there, and what must not be.
struct Run {
    dir: tempfile::TempDir,
    texts: Vec<(String, Vec<u8>)>,
    secrets: Vec<(&'static str, String)>,
}

impl Run {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file of this content that nobody else may read.
    fn file(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn start(&self, name: &str, args: &[&str]) -> Told {
        let log = self.path(&format!("{name}.log"));
        let child = Command::new(env!("CARGO_BIN_EXE_gaitway"))
            .args(args)
            .env("GAITWAY_LOG", "trace")
            .stdin(Stdio::null())
            .stdout(File::create(&log).unwrap())
            .stderr(File::create(self.path(&format!("{name}.errors"))).unwrap())
            .spawn()
            .unwrap();
        Told { child, log }
    }

    /// Runs a command to its end. What it says is for who runs it, and is looked at if it `may_tell` nothing.
    fn command(&mut self, args: &[&str], may_tell: bool) -> String {
        let ran = Command::new(env!("CARGO_BIN_EXE_gaitway")).args(args).env("GAITWAY_LOG", "trace").output().unwrap();
        let said = [ran.stdout, ran.stderr].concat();
        if !may_tell {
            self.texts.push((args.join(" "), said.clone()));
        }
        String::from_utf8(said).unwrap()
    }

    fn secret(&mut self, what: &'static str, text: &str) -> String {
        assert!(text.len() >= 8, "{what}");
        self.secrets.push((what, text.to_owned()));
        text.to_owned()
    }

    /// Every line of a PEM text that holds a part of the key.
    fn key(&mut self, what: &'static str, pem: &str) {
        let begin = pem.find("PRIVATE KEY-----").expect("a private key");
        for line in pem[begin..].lines().skip(1).take_while(|line| !line.starts_with("-----")) {
            // The beginning of a key says only of which kind it is.
            self.secrets.extend((line.len() >= 20).then(|| (what, line[line.len() - 20..].to_owned())));
        }
    }

    /// What anybody on this machine may see of a process.
    fn look(&mut self, told: &Told) {
        let line = fs::read(format!("/proc/{}/cmdline", told.child.id())).unwrap();
        self.texts.push((format!("ps of {}", told.log.display()), line));
    }

    fn holds_no_secret(mut self) {
        let mut names: Vec<PathBuf> =
            fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.retain(|path| path.extension().is_some_and(|kind| kind == "log" || kind == "errors"));
        assert_eq!(names.len(), 6, "{names:?}");
        for path in names {
            self.texts.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
        let all: usize = self.texts.iter().map(|(_, text)| text.len()).sum();
        eprintln!("{} secrets are in none of {} texts of {all} bytes", self.secrets.len(), self.texts.len());
        for (place, text) in &self.texts {
            let text = String::from_utf8_lossy(text).to_ascii_lowercase();
            for (what, secret) in &self.secrets {
                if let Some(at) = text.find(&secret.to_ascii_lowercase()) {
                    let around: String =
                        text[..at].chars().rev().take(200).collect::<Vec<_>>().into_iter().rev().collect();
                    panic!("{what} stands in {place} after {around}");
                }
            }
        }
    }
}

impl Told {
    /// Waits for an event whose message begins so; what it calls `field`.
    fn says(&self, message: &str, field: &str) -> String {
        let find = || {
            let text = fs::read_to_string(&self.log).unwrap();
            let events = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            let mut told =
                events.filter(|event| event["message"].as_str().is_some_and(|said| said.starts_with(message)));
            told.find_map(|event| event[field].as_str().map(str::to_owned))
        };
        await_that(message, || find().is_some());
        find().unwrap()
    }

    fn end(mut self) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        let ended = self.child.wait().unwrap();
        assert!(ended.success(), "{ended} {}", self.log.display());
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A schema registry that takes down what it is told and knows nothing.
fn registry() -> (String, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let heard = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&heard);
    let serve = move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut head = [0; 4096];
            let read = stream.read(&mut head).unwrap_or(0);
            kept.lock().unwrap().push_str(&String::from_utf8_lossy(&head[..read]));
            // Who asks hears of it by the closed connection as well.
            let _ = stream.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    };
    std::thread::Builder::new().name("registry".to_owned()).spawn(serve).unwrap();
    (url, heard)
}

/// One request with more headers; the whole answer.
fn ask(url: &str, method: &str, headers: &str) -> String {
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let request =
        format!("{method} /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Phones push with a token and otherwise; a browser comes by a link.
fn push_and_look(run: &mut Run, site: &str, agent_dir: &str) {
    let said = run.command(&["agent", "phone", "add", "anna", "--data-dir", agent_dir], true);
    let token = said.lines().find_map(|line| line.trim().split_once("/data/")).unwrap().1.to_owned();
    run.secret("a phone's token", &token);
    let link = said.lines().find_map(|line| line.trim().split_once("/enter/")).unwrap().1.to_owned();
    run.secret("a link's code", &link);
    let (phone, other) = (Phone::new(1, 71), Phone::new(2, 72));
    for id in 0..20 {
        let (status, said) = http::post(&format!("{site}/data/{token}"), &phone.body(id, &phone.message(id))).unwrap();
        assert_eq!(status, 200, "{said}");
    }
    for (body, path) in [("not JSON", ""), ("{}", "/more"), (other.body(0, &other.message(0)).as_str(), "")] {
        let (_, said) = http::post(&format!("{site}/data/{token}{path}"), body).unwrap();
        run.texts.push(("a refusal".to_owned(), said.into_bytes()));
    }
    for method in ["GET", "POST", "POST"] {
        let answer = ask(&format!("{site}/enter/{link}"), method, "");
        if let Some((_, cookie)) = answer.split_once("set-cookie: ") {
            let cookie = cookie.split(';').next().unwrap().to_owned();
            run.secret("a cookie", cookie.split_once('=').unwrap().1);
            let page = ask(&format!("{site}/"), "GET", &format!("X-Forwarded-For: 192.0.2.1\r\nCookie: {cookie}\r\n"));
            assert!(page.starts_with("HTTP/1.1 200"), "{page}");
            run.texts.push(("the page".to_owned(), page.into_bytes()));
        }
    }
}

#[test]
#[ignore = "needs kafka"]
fn no_secret_is_in_what_a_full_run_prints_at_trace_level_or_shows_of_itself() {
    let mut run = Run { dir: tempfile::tempdir().unwrap(), texts: Vec::new(), secrets: Vec::new() };
    let emulator = Emulator::start(Options::default()).unwrap();
    let (url, heard) = registry();
    let own = kafka::unique("secrets");
    let topics =
        ["raw", "activity", "gaps", "progress", "dead_letter"].map(|topic| format!("{topic} = \"{own}-{topic}\"\n"));
    let hush = run.secret("Kafka's password", "hush-of-kafka");
    let password_file = run.file("kafka.password", &hush);
    let kafka = format!(
        "[kafka]\nbrokers = \"{}\"\n[kafka.property_files]\n\"sasl.password\" = \"{password_file}\"\n[kafka.topics]\n{}",
        kafka::broker(),
        topics.concat()
    );
    let hush = run.secret("the registry's password", "hush-of-registry");
    let password_file = run.file("registry.password", &hush);
    let relay_dir = run.path("relay");
    let relay_toml = format!(
        "mqtt = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\ntls = true\ndata_dir = {relay_dir:?}\n[schema_registry]\nurl = \"{url}\"\n\
         user = \"gaitway\"\npassword_file = \"{password_file}\"\n{kafka}"
    );
    let relay_toml = run.file("relay.toml", &relay_toml);
    let sink_toml = format!(
        "admin = \"127.0.0.1:0\"\ngroup = \"{own}\"\nwarehouse = \"snowflake\"\n{kafka}{}[batch]\nlinger = \"50ms\"\n",
        snowflake_table(run.dir.path(), &emulator)
    );
    let sink_toml = run.file("sink.toml", &sink_toml);
    run.key("Snowflake's key", emulator.private_key_pem());

    let relay = run.start("relay", &["relay", "--config", &relay_toml]);
    let sink = run.start("sink", &["sink", "--config", &sink_toml]);
    let address = relay.says("relay listening", "address");

    // An agent comes in, and others do not.
    let (agent_dir, relay_dir) = (run.path("agent"), relay_dir.to_str().unwrap().to_owned());
    let agent_dir = agent_dir.to_str().unwrap();
    let line = run.command(&["relay", "agent", "add", "attic", "--data-dir", &relay_dir], true);
    let code = line.lines().find_map(|line| line.strip_prefix(&format!("{address} "))).unwrap().to_owned();
    run.secret("a code", &code[1..]);
    let (first, last) = code.split_at(code.len() - 1);
    let wrong = format!("{first}{}", if last == "0" { "1" } else { "0" });
    let enrolled = [wrong.as_str(), &code[1..], &code, &code]
        .map(|code| run.command(&["agent", "enroll", &address, code, "--data-dir", agent_dir], false));
    assert!(enrolled[2].contains("This agent is attic"), "{enrolled:?}");
    let identity = fs::read_to_string(Path::new(agent_dir).join("identity.json")).unwrap();
    run.key("the agent's first key", &identity.replace("\\n", "\n"));
    let authority = fs::read_to_string(Path::new(&relay_dir).join("ca.key")).unwrap();
    run.key("the authority's key", &authority);

    let agent = run.start("agent", &["agent", "--data-dir", agent_dir, "--http", "127.0.0.1:0"]);
    let http_address = agent.says("taking pushes", "address");
    let site = format!("http://{http_address}");
    push_and_look(&mut run, &site, agent_dir);
    let stored = || emulator.rows("RAW_DATA", "ACTIVITY_RECORDS").len() >= 1000;
    await_that("readings are in the warehouse", stored);
    await_that("the registry was asked as who it should be", || {
        heard.lock().unwrap().contains("authorization: Basic ")
    });
    let authorization = heard.lock().unwrap().split_once("authorization: Basic ").unwrap().1.to_owned();
    run.secret("the registry's credentials", authorization.lines().next().unwrap().trim());

    // The certificate is replaced, then taken back.
    run.command(&["relay", "agent", "rotate", "attic", "--data-dir", &relay_dir], false);
    let path = Path::new(agent_dir).join("identity.json");
    await_that("the agent has a new certificate", || fs::read_to_string(&path).unwrap() != identity);
    let renewed = fs::read_to_string(&path).unwrap();
    run.key("the agent's second key", &renewed.replace("\\n", "\n"));
    run.command(&["agent", "phone", "list", "--data-dir", agent_dir], false);
    run.command(&["agent", "reader", "list", "--data-dir", agent_dir], false);
    run.command(&["relay", "agent", "list", "--data-dir", &relay_dir], false);
    run.command(&["relay", "agent", "revoke", "attic", "--data-dir", &relay_dir], false);
    await_that("the agent is thrown out", || http::get(&format!("{site}/readyz")).unwrap().0 == 503);

    let (relay_admin, sink_admin) =
        (relay.says("health and metrics", "address"), sink.says("health and metrics", "address"));
    for place in [http_address, relay_admin, sink_admin] {
        for path in ["healthz", "readyz", "metrics"] {
            let (_, said) = http::get(&format!("http://{place}/{path}")).unwrap();
            run.texts.push((format!("{place}/{path}"), said.into_bytes()));
        }
    }
    for process in [&relay, &sink, &agent] {
        run.look(process);
    }
    agent.end();
    sink.end();
    relay.end();
    run.command(&["doctor", "--ntp", "127.0.0.1:1", "--config", &sink_toml], false);
    run.holds_no_secret();
}

#[test]
fn a_crash_leaves_no_core_dump_unless_it_is_asked_for() {
    let dumped = |wanted: bool| {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        let gaitway = env!("CARGO_BIN_EXE_gaitway");
        let up =
            format!("ulimit -c unlimited; exec {gaitway} up --data-dir data --http 127.0.0.1:0 --mqtt 127.0.0.1:0");
        command.args(["-c", &up]).current_dir(dir.path()).stdout(Stdio::null()).stderr(Stdio::null());
        if wanted {
            command.env("GAITWAY_CORE_DUMPS", "1");
        }
        let mut child = command.spawn().unwrap();
        await_that("it runs", || dir.path().join("data/agent/listens").exists());
        kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGABRT).unwrap();
        let ended = child.wait().unwrap();
        assert_eq!(ended.signal(), Some(Signal::SIGABRT as i32), "{ended}");
        ended.core_dumped()
    };
    assert!(!dumped(false), "a core dump holds keys and readings");
    if !dumped(true) {
        eprintln!("skipped: this system makes no core dumps, asked for or not");
    }
}
