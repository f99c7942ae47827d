//! Debian's Avahi on one machine, with a bus of its own, and its tools.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::machine::{Machine, Process};

const BUS: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>custom</type><listen>unix:path=BUS</listen>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/>
<allow receive_sender="*"/></policy></busconfig>
"#;

/// A running Avahi.
pub(crate) struct Avahi<'m> {
    machine: &'m Machine,
    bus: PathBuf,
    // Before its bus ends.
    _daemon: Process,
    _bus: Process,
}

/// One service as the tools show it, resolved: instance, host, address, port, text.
pub(crate) type Found = (String, String, String, String, BTreeSet<String>);

impl<'m> Avahi<'m> {
    /// Starts it on `machine`, which it calls `host`; `dir` is for its files. It speaks IPv4 only.
    pub(crate) fn start(machine: &'m Machine, host: &str, dir: &Path) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        let bus = dir.join("bus");
        let write = |name: &str, text: String| {
            let path = dir.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let configuration = write("bus.conf", BUS.replace("BUS", bus.to_str().expect("a temporary folder is UTF-8")));
        let mut command = machine.command("dbus-daemon");
        command.arg("--config-file").arg(configuration).args(["--nofork", "--nopidfile", "--print-address"]);
        let mut daemon_of_bus = Process::start(command, dir.join("bus.log"));
        daemon_of_bus.await_saying("unix:path=");

        let lines = format!("[server]\nhost-name={host}\nuse-ipv4=yes\nuse-ipv6=no\n[publish]\npublish-hinfo=no\n");
        let configuration = write("avahi.conf", lines);
        // One that was killed left its number, which another process may have by now.
        let mut command = machine.command("sh");
        command
            .args([
                "-c",
                "mkdir -p /run/avahi-daemon && rm -f /run/avahi-daemon/pid && exec avahi-daemon \"$@\"",
                "avahi-daemon",
            ])
            .args(["--no-drop-root", "--no-chroot", "--no-rlimits", "--file"])
            .arg(configuration)
            .env("DBUS_SYSTEM_BUS_ADDRESS", address(&bus));
        let mut daemon = Process::start(command, dir.join("avahi.log"));
        daemon.await_saying("Server startup complete");
        Self { machine, bus, _daemon: daemon, _bus: daemon_of_bus }
    }

    fn ask(&self, tool: &str, args: &[&str]) -> String {
        let mut command = self.machine.command("timeout");
        command.args(["30", tool]).args(args).env("DBUS_SYSTEM_BUS_ADDRESS", address(&self.bus));
        let answer = command.output().unwrap_or_else(|error| panic!("{tool}: {error}"));
        String::from_utf8_lossy(&answer.stdout).into_owned()
    }

    /// The address of `name`, if somebody tells it.
    pub(crate) fn resolve(&self, name: &str) -> Option<String> {
        let answer = self.ask("avahi-resolve", &["-4", "-n", name]);
        let (resolved, ip) = answer.trim().split_once('\t')?;
        assert_eq!(resolved, name);
        Some(ip.to_owned())
    }

    /// The web pages that are announced.
    pub(crate) fn browse(&self) -> BTreeSet<Found> {
        let answer = self.ask("avahi-browse", &["--resolve", "--parsable", "--terminate", "_http._tcp"]);
        answer.lines().filter_map(found).collect()
    }
}

fn address(bus: &Path) -> String {
    format!("unix:path={}", bus.display())
}

/// `=;eth0;IPv4;gaitway\032attic;Web Site;local;attic.local;10.77.0.2;8000;"push=/data" "path=/"`
fn found(line: &str) -> Option<Found> {
    let columns: Vec<_> = line.strip_prefix("=;")?.splitn(9, ';').collect();
    let [_, _, instance, _, _, host, ip, port, text] = columns[..] else { return None };
    let text = text.split('"').map(str::trim).filter(|pair| !pair.is_empty()).map(str::to_owned).collect();
    Some((instance.replace("\\032", " "), host.to_owned(), ip.to_owned(), port.to_owned(), text))
}
