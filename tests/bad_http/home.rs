//! A `gaitway up` with two phones that behave: one with a connection for each push, one that keeps its own.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::phone::{Phone, Pushed};
use crate::harness::process::Process;
use crate::harness::warehouse::{assert_exact, await_drained, count};
use crate::harness::{await_that, http};

pub(crate) const MIB: u64 = 1 << 20;

/// The most memory that the whole process may have, by its limits: 32 MiB of bodies, 512 connections with buffers of
/// 64 KiB to read and to write, one large body decoded beside what came, eight times as much while it is parsed, and
/// what a process of this kind needs in any case.
const MOST_MEMORY: u64 = (32 + 64 + 16 + 64 + 64) * MIB;

/// Descriptors that a process usually has.
const DESCRIPTORS: &str = "1024";

/// Silence closes nothing while phones push, and everything at the end.
const TALKING: &str = "[agent.windows]\nsilence = \"1h\"\n";
const SILENT: &str = "[agent.windows]\nsilence = \"300ms\"\n";

pub(crate) struct Home {
    dir: tempfile::TempDir,
    up: Process,
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    pushes: Arc<AtomicU64>,
    phones: Vec<JoinHandle<(Phone, Pushed, Duration)>>,
}

impl Home {
    pub(crate) fn with_phones() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut up = Self::up(&dir, TALKING);
        let url = up.push_url();
        let address = url.strip_prefix("http://").and_then(|rest| rest.split('/').next()).unwrap().parse().unwrap();
        let (stop, pushes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let phones = (0..2)
            .map(|number| {
                let (url, stop, pushes) = (url.clone(), Arc::clone(&stop), Arc::clone(&pushes));
                let run = move || push(Phone::new(number, 77), &url, number == 1, &stop, &pushes);
                std::thread::Builder::new().name(format!("phone-{number}")).spawn(run).unwrap()
            })
            .collect();
        let home = Self { dir, up, address, stop, pushes, phones };
        await_that("the phones push", || home.pushes() > 10);
        home
    }

    fn up(dir: &tempfile::TempDir, config: &str) -> Process {
        let file = dir.path().join("up.toml");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n \"$0\" && exec \"$@\"", DESCRIPTORS, env!("CARGO_BIN_EXE_gaitway"), "up"]);
        command.args(["--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--config"]);
        command.arg(file).arg("--data-dir").arg(dir.path().join("data"));
        Process::of(command)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Pushes of the phones so far.
    pub(crate) fn pushes(&self) -> u64 {
        self.pushes.load(Ordering::Relaxed)
    }

    /// Lets the phones end, and looks at what is left: every push they were answered for, nothing unusual in the log,
    /// no memory beyond the limits.
    pub(crate) fn leave(self) {
        let Self { dir, mut up, stop, phones, .. } = self;
        stop.store(true, Ordering::Relaxed);
        let phones: Vec<_> = phones.into_iter().map(|phone| phone.join().expect("the phone is answered 200")).collect();
        let longest = phones.iter().map(|(.., longest)| *longest).max().unwrap();
        let pushes: usize = phones.iter().map(|(_, pushed, _)| pushed.len()).sum();
        let most = up.memory("VmHWM");
        eprintln!("{pushes} pushes of phones, the longest answered in {longest:?}; at most {} MiB", most / MIB);
        assert!(most < MOST_MEMORY, "{} MiB of at most {}", most / MIB, MOST_MEMORY / MIB);
        assert!(longest < Duration::from_secs(10), "a phone waited {longest:?}");
        let log = up.log();
        for event in &log {
            let line = event.to_string();
            assert!(line.len() < 1_000 && !line.contains(super::super::MARK), "logged in full: {line}");
            assert_ne!(event["level"], "ERROR", "{line}");
        }
        assert!(log.len() < 60, "{} lines are logged", log.len());
        assert!(up.ended().is_none());
        assert!(up.terminate(Signal::SIGTERM).success());

        let data: PathBuf = dir.path().join("data");
        let mut up = Self::up(&dir, SILENT);
        up.push_url();
        await_drained(&data.join("agent/spool.db"));
        let warehouse = data.join("warehouse.db");
        for (phone, pushed, _) in &phones {
            assert!(!pushed.is_empty());
            assert_exact(&warehouse, phone, pushed);
        }
        assert_eq!(count(&warehouse, "SELECT count(*) FROM GAPS"), 0);
        assert!(up.terminate(Signal::SIGTERM).success());
    }
}

/// Pushes until `stop`; every push must be answered 200. Gives what was pushed, and the longest time to an answer.
fn push(phone: Phone, url: &str, keeps: bool, stop: &AtomicBool, pushes: &AtomicU64) -> (Phone, Pushed, Duration) {
    let (mut pushed, mut longest) = (Pushed::new(), Duration::ZERO);
    let mut kept = keeps.then(|| Kept::new(url));
    for id in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let readings = phone.message(id);
        let body = phone.body(id, &readings);
        let began = Instant::now();
        let (status, answer) = match &mut kept {
            Some(kept) => kept.post(&body),
            None => http::post(url, &body).unwrap(),
        };
        assert_eq!(status, 200, "after {:?}: {answer}", began.elapsed());
        longest = longest.max(began.elapsed());
        pushed.insert(id, readings);
        pushes.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(10));
    }
    (phone, pushed, longest)
}

/// A connection that is kept for the next push.
struct Kept(BufReader<TcpStream>);

impl Kept {
    fn new(url: &str) -> Self {
        let host = url.strip_prefix("http://").and_then(|rest| rest.split('/').next()).unwrap();
        Self(BufReader::new(TcpStream::connect(host).unwrap()))
    }

    fn post(&mut self, body: &str) -> (u16, String) {
        let head = format!("POST /data HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
        self.0.get_mut().write_all(format!("{head}{body}").as_bytes()).unwrap();
        let (mut status, mut length) = (0, 0);
        for line in (&mut self.0).lines().map(Result::unwrap).take_while(|line| !line.is_empty()) {
            let line = line.to_ascii_lowercase();
            if let Some(rest) = line.strip_prefix("http/1.1 ") {
                status = rest[..3].parse().unwrap();
            } else if let Some(rest) = line.strip_prefix("content-length: ") {
                length = rest.parse().unwrap();
            }
        }
        let mut answer = vec![0; length];
        self.0.read_exact(&mut answer).unwrap();
        (status, String::from_utf8(answer).unwrap())
    }
}
