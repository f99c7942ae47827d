//! Machines with a network, a host name and a `/run` of their own, joined by a switch. They end with their test.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long anything may take that must happen, on a machine that has much else to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// Waits until `found` gives something; `what` names it.
pub(crate) fn await_some<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < end, "waited {PATIENCE:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn must(command: &mut Command) {
    let done = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// One machine: namespaces that live as long as a process in them, which ends when its input does.
pub(crate) struct Machine {
    holder: Child,
}

impl Machine {
    /// Called `host`, without a network.
    pub(crate) fn new(host: &str) -> Self {
        let script =
            format!("mount -t tmpfs tmpfs /run && hostname {host} && ip link set lo up && echo ready && exec cat");
        let mut holder = Command::new("unshare")
            .args(["--net", "--mount", "--uts", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare starts: the test runs as root");
        let mut line = String::new();
        let said = holder.stdout.take().expect("stdout is piped");
        BufReader::new(said).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "namespaces can be made: the test runs as root");
        Self { holder }
    }

    fn pid(&self) -> String {
        self.holder.id().to_string()
    }

    /// `program` on this machine.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.pid(), "--net", "--mount", "--uts", "--"]).arg(program);
        command
    }

    pub(crate) fn ip(&self, args: &str) {
        must(self.command("ip").args(args.split(' ')));
    }

    /// A socket that nobody shares on this machine's port 5353.
    pub(crate) fn take_port(&self) -> UdpSocket {
        let network = File::open(format!("/proc/{}/ns/net", self.pid())).unwrap();
        let bind = move || {
            setns(network, CloneFlags::CLONE_NEWNET).unwrap();
            UdpSocket::bind("0.0.0.0:5353").unwrap()
        };
        // A thread of its own: it stays on that machine.
        std::thread::Builder::new().name("elsewhere".to_owned()).spawn(bind).unwrap().join().unwrap()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Without its input it ends.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

/// A switch.
pub(crate) struct Network(Machine);

impl Network {
    pub(crate) fn new() -> Self {
        let switch = Machine::new("switch");
        switch.ip("link add switch type bridge");
        switch.ip("link set switch up");
        Self(switch)
    }

    /// Plugs `machine` in at its interface `eth0`, with the address `ip` of a network of 256.
    pub(crate) fn plug(&self, machine: &Machine, ip: &str) {
        static PORTS: AtomicU32 = AtomicU32::new(0);
        let port = format!("port{}", PORTS.fetch_add(1, Ordering::Relaxed));
        self.0.ip(&format!("link add {port} type veth peer name eth0 netns {}", machine.pid()));
        self.0.ip(&format!("link set {port} master switch up"));
        machine.ip(&format!("addr add {ip}/24 dev eth0"));
        machine.ip("link set eth0 up");
    }
}

/// A process on a machine, and the file of what it says.
pub(crate) struct Process {
    child: Child,
    said: PathBuf,
}

impl Process {
    pub(crate) fn start(mut command: Command, said: PathBuf) -> Self {
        let out = File::create(&said).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, said }
    }

    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.said).unwrap()
    }

    /// Waits until it has said `text`.
    pub(crate) fn await_saying(&mut self, text: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.said().contains(text) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < end, "{text:?} is not said ({ended:?}): {}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks it to end, and waits.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).unwrap();
        await_some("the process ends", || self.child.try_wait().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}: {}", self.said.display(), self.said());
        }
    }
}

/// An agent on `machine`, told `configuration`.
pub(crate) fn agent(machine: &Machine, dir: &Path, configuration: &str) -> Process {
    std::fs::create_dir_all(dir).unwrap();
    let file = dir.join("agent.toml");
    std::fs::write(&file, configuration).unwrap();
    let mut command = machine.command(env!("CARGO_BIN_EXE_gaitway-agent"));
    command.arg("--config").arg(file).arg("--data-dir").arg(dir.join("data"));
    Process::start(command, dir.join("agent.log"))
}
