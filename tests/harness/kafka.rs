//! A real broker: the one of `GAITWAY_TEST_KAFKA`, or one of this process, which ends with it whatever happens.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// `HOST:PORT` of a broker that all tests of this process share.
pub(crate) fn broker() -> &'static str {
    static SHARED: OnceLock<(String, Option<Broker>)> = OnceLock::new();
    let (address, _) = SHARED.get_or_init(|| {
        if let Ok(address) = std::env::var("GAITWAY_TEST_KAFKA") {
            return (address, None);
        }
        let broker = Broker::start();
        (broker.address.clone(), Some(broker))
    });
    address
}

/// A name that no other test has, in this process or another.
pub(crate) fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let time = std::fs::metadata("/proc/self").and_then(|process| process.modified());
    let began = time.ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok()).unwrap_or_default().as_millis();
    format!("{name}-{began}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A broker of one's own, for those who kill it. It ends, and its data goes, when this is dropped or the process dies.
pub(crate) struct Broker {
    /// `127.0.0.1:PORT`, the same after a restart.
    pub(crate) address: String,
    data: PathBuf,
    /// Options of its first start and each further one.
    options: Vec<OsString>,
    /// Waits for the end of its input, which is the end of this process at the latest.
    guard: Child,
}

pub(crate) fn script() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = here.ancestors().map(|folder| folder.join("deploy/dev/kafka.sh")).find(|script| script.exists());
    found.expect("deploy/dev/kafka.sh is in the tree")
}

impl Broker {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| Vec::new())
    }

    /// With more of `kafka.sh`'s options, made for its folder, in which they may put files.
    pub(crate) fn start_with(options: impl FnOnce(&Path) -> Vec<OsString>) -> Self {
        let data = tempfile::tempdir().expect("a temporary folder").keep();
        let stop = "read -r _; \"$1\" stop --data \"$2\" 2>/dev/null; rm -rf \"$2\"";
        let guard = Command::new("setsid")
            .args(["bash", "-c", stop, "guard"])
            .args([script(), data.clone()])
            .stdin(Stdio::piped())
            .spawn()
            .expect("a shell to guard the broker");
        let options = options(&data);
        let address = start(&data, &options);
        Self { address, data, options, guard }
    }

    /// Kills it at this very moment.
    pub(crate) fn kill(&self) {
        let pid = std::fs::read_to_string(self.data.join("kafka.pid")).expect("a broker's pid");
        let pid = nix::unistd::Pid::from_raw(pid.trim().parse().expect("a pid is a number"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("the broker runs");
    }

    /// The file that holds the first records of a partition.
    pub(crate) fn log(&self, topic: &str, partition: i32) -> PathBuf {
        self.data.join(format!("log/{topic}-{partition}/00000000000000000000.log"))
    }

    /// Starts it again at the same address with the same data.
    pub(crate) fn restart(&self) {
        assert_eq!(start(&self.data, &self.options), self.address);
    }
}

fn start(data: &Path, options: &[OsString]) -> String {
    let started = Command::new(script())
        .args(["start", "--port", "0", "--data"])
        .arg(data)
        .args(options)
        .stderr(Stdio::inherit())
        .output()
        .expect("kafka.sh runs");
    assert!(started.status.success(), "no broker: see what kafka.sh says above");
    String::from_utf8(started.stdout).expect("an address is text").trim().to_owned()
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}
