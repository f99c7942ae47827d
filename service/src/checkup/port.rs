//! An address that a service listens on: whether it is free, and if not, whose it is.
//!
//! - It is bound and not listened on, so that nobody is let in who would be dropped.
//! - Who listens is read from `/proc`, as far as this user may; where it may not, that is said.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use tokio::net::TcpSocket;

use super::{Checkup, ask};
use crate::lock::DataDir;

/// What a listener is for.
#[derive(Debug, Clone, Copy)]
pub struct Port<'a> {
    /// What is shown: `port 8000 for phones`.
    pub subject: &'a str,
    /// Where.
    pub address: SocketAddr,
    /// The flag or key that says where.
    pub key: &'a str,
    /// Whether this service runs.
    pub own: Own,
    /// It speaks HTTP without TLS.
    pub is_http: bool,
}

/// What is known of the service whose listener it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Own {
    /// It is this process.
    Process(u32),
    /// It does not run.
    Away,
    /// Nothing says whether it runs.
    Unknown,
}

impl Own {
    /// As the lock of its data directory says.
    pub fn holding(path: &Path) -> Self {
        match DataDir::holder(path) {
            Ok(Some(pid)) => Self::Process(pid),
            Ok(None) => Self::Away,
            Err(_) => Self::Unknown,
        }
    }
}

/// What processes of this program are called.
const OURS: &str = "gaitway";

/// Who listens.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    pid: u32,
    name: String,
    /// Where it was started, if this user may see.
    folder: Option<PathBuf>,
}

/// Looks at it.
pub async fn examine(port: Port<'_>, checkup: &mut Checkup) {
    let Port { subject, address, key, own, is_http } = port;
    if address.port() == 0 {
        return checkup.ok(subject, format!("{address}: any free port is taken"));
    }
    match bind(address) {
        Ok(()) => match own {
            Own::Process(pid) => checkup.warn(
                subject,
                format!(
                    "{address} is free, though process {pid} runs this service: it was started with other settings, or a flag \
                     of it says where it listens; a restart without that flag changes it"
                ),
            ),
            Own::Away | Own::Unknown => checkup.ok(subject, format!("{address} is free")),
        },
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let is_alive = !is_http || ask::get(address, "/healthz").await.is_ok_and(|(status, _)| status == 200);
            judge(port, &holders(address), is_alive, checkup);
        }
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => checkup.fail(
            subject,
            format!("{address} is no address of this machine: set {key} to one that it has, or to 0.0.0.0:{}", address.port()),
        ),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => checkup.fail(
            subject,
            format!(
                "{address}: this user may not listen on ports below 1024; choose a higher one with {key}, or give the unit \
                 AmbientCapabilities=CAP_NET_BIND_SERVICE"
            ),
        ),
        Err(error) => checkup.fail(subject, format!("{address} cannot be listened on: {error}; choose another address with {key}")),
    }
}

/// As a service would before it listens.
fn bind(address: SocketAddr) -> io::Result<()> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // What is left of connections that have ended is in nobody's way.
    socket.set_reuseaddr(true)?;
    socket.bind(address)
}

/// Of an address that is taken; `is_alive`: it answers as the service does.
fn judge(port: Port<'_>, holders: &[Holder], is_alive: bool, checkup: &mut Checkup) {
    let Port { subject, address, key, own, is_http } = port;
    let holds = |pid: u32| holders.iter().any(|holder| holder.pid == pid);
    let is_ours = |holder: &Holder| holder.name.starts_with(OURS);
    match own {
        Own::Process(pid) if holds(pid) && is_alive => {
            checkup.ok(subject, format!("{address}: this service listens, process {pid}"));
        }
        Own::Process(pid) if holds(pid) => checkup.fail(
            subject,
            format!("{address}: this service listens, process {pid}, and does not answer: look at its log, and restart it"),
        ),
        // Of processes of other users it cannot be seen what they have open.
        Own::Process(pid) if holders.is_empty() && is_alive => {
            checkup.ok(subject, format!("{address} is taken, most likely by this service, process {pid}"));
        }
        Own::Unknown if !holders.is_empty() && holders.iter().all(is_ours) && is_alive => {
            checkup.ok(subject, format!("{address}: {} listens, process {}", holders[0].name, holders[0].pid));
        }
        Own::Unknown if holders.is_empty() && is_http && is_alive => {
            checkup.ok(subject, format!("{address}: what listens answers as this service does"));
        }
        Own::Unknown if holders.is_empty() => checkup.warn(
            subject,
            format!("{address} is taken, by this service or by another program that this user may not see: run this as root to hear"),
        ),
        Own::Process(pid) if !holders.is_empty() => checkup.warn(
            subject,
            format!(
                "{}; this service runs elsewhere (process {pid}, started with other settings or by a flag), and does not start again with these",
                taken(address, key, holders)
            ),
        ),
        Own::Process(_) | Own::Away | Own::Unknown => checkup.fail(subject, taken(address, key, holders)),
    }
}

fn taken(address: SocketAddr, key: &str, holders: &[Holder]) -> String {
    let by = match holders {
        [] => "a program that this user may not see (run this as root to hear which)".to_owned(),
        holders => {
            let named: Vec<_> = holders
                .iter()
                .map(|Holder { pid, name, folder }| match folder.as_deref().filter(|_| name.starts_with(OURS)) {
                    Some(folder) => format!("{name} (process {pid}, started in {})", folder.display()),
                    None => format!("{name} (process {pid})"),
                })
                .collect();
            named.join(", ")
        }
    };
    if holders.iter().any(|holder| holder.name.starts_with(OURS)) {
        format!(
            "{address} is taken by {by}: if that is the one meant, run doctor with its --config or --data-dir; else stop it, or choose \
             another address with {key}"
        )
    } else {
        format!("{address} is taken by {by}: stop that, or choose another address with {key}")
    }
}

/// Processes that listen where `address` would, as far as this user may see.
fn holders(address: SocketAddr) -> Vec<Holder> {
    let inodes: Vec<String> = ["tcp", "tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(format!("/proc/net/{table}")).ok())
        .flat_map(|table| listening(&table, address))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let mut found: Vec<_> = processes
        .filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let folder = Path::new("/proc").join(pid.to_string());
            let mut files =
                fs::read_dir(folder.join("fd")).ok()?.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
            let holds = files.any(|file| file.to_str().is_some_and(|file| inodes.iter().any(|inode| inode == file)));
            let name =
                || fs::read_to_string(folder.join("comm")).map(|name| name.trim().to_owned()).unwrap_or_default();
            holds.then(|| Holder { pid, name: name(), folder: fs::read_link(folder.join("cwd")).ok() })
        })
        .collect();
    found.sort_by_key(|holder| holder.pid);
    found
}

/// Inodes of sockets in `table`, one of `/proc/net/tcp` and `tcp6` (`proc(5)`), that listen where `address` would.
fn listening(table: &str, address: SocketAddr) -> Vec<u64> {
    const LISTEN: &str = "0A";
    let lines = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (ip, port) = fields.get(1)?.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        let (ip, wanted) = (parse_ip(ip)?.to_canonical(), address.ip().to_canonical());
        let meets = ip == wanted || ip.is_unspecified() || wanted.is_unspecified();
        (*fields.get(3)? == LISTEN && port == address.port() && meets).then(|| fields.get(9)?.parse().ok()).flatten()
    });
    lines.collect()
}

/// Of hexadecimal words, each in this machine's order of bytes.
fn parse_ip(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let octets: Vec<u8> = [word(0)?, word(8)?, word(16)?, word(24)?].concat();
            Some(Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::super::Grade;
    use super::*;

    async fn judged(address: SocketAddr, own: Own, is_http: bool) -> (Option<Grade>, String) {
        let mut checkup = Checkup::new();
        examine(Port { subject: "port", address, key: "--http", own, is_http }, &mut checkup).await;
        (checkup.worst(), checkup.to_string())
    }

    #[tokio::test]
    async fn a_port_that_another_has_names_it() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = other.local_addr().unwrap();
        let me = std::process::id();
        let (worst, said) = judged(address, Own::Away, false).await;
        assert!(worst == Some(Grade::Fail) && said.contains(&format!("process {me}")), "{said}");
        assert!(said.contains("choose another address with --http"), "{said}");
        assert_eq!(judged(address, Own::Process(me), false).await.0, Some(Grade::Ok), "it is this service");
        let (worst, said) = judged(address, Own::Process(1), false).await;
        assert!(worst == Some(Grade::Warn) && said.contains("does not start again"), "{said}");
        drop(other);
        assert_eq!(judged(address, Own::Away, false).await.0, Some(Grade::Ok));
    }

    #[tokio::test]
    async fn an_address_that_is_not_this_machines_says_so() {
        // TEST-NET-1 (RFC 5737).
        let (worst, said) = judged("192.0.2.1:8000".parse().unwrap(), Own::Away, false).await;
        assert!(worst == Some(Grade::Fail) && said.contains("no address of this machine"), "{said}");
        assert!(judged("0.0.0.0:0".parse().unwrap(), Own::Away, false).await.1.contains("any free port"));
    }

    #[test]
    fn of_a_folder_that_cannot_be_looked_into_it_is_not_said_that_nothing_runs_there() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Own::holding(&dir.path().join("none")), Own::Away);
        fs::write(dir.path().join("file"), "").unwrap();
        assert_eq!(Own::holding(&dir.path().join("file")), Own::Unknown);
    }

    #[test]
    fn whose_a_port_is_may_not_be_seen() {
        let port =
            |own, is_http| Port { subject: "port", address: ([127, 0, 0, 1], 1).into(), key: "admin", own, is_http };
        let of = |own, is_http, holders: &[Holder], is_alive| {
            let mut checkup = Checkup::new();
            judge(port(own, is_http), holders, is_alive, &mut checkup);
            checkup.worst().unwrap()
        };
        let [relay, other] = [(7, "gaitway-relay"), (8, "nginx")].map(|(pid, name)| Holder {
            pid,
            name: name.to_owned(),
            folder: Some("/srv/x".into()),
        });
        assert_eq!(of(Own::Process(7), true, &[], true), Grade::Ok);
        assert_eq!(of(Own::Process(7), true, &[], false), Grade::Fail, "it does not answer as the service does");
        assert_eq!(of(Own::Process(7), true, std::slice::from_ref(&relay), false), Grade::Fail, "it hangs");
        assert_eq!(of(Own::Unknown, false, std::slice::from_ref(&relay), true), Grade::Ok);
        assert_eq!(of(Own::Unknown, false, &[relay, other.clone()], true), Grade::Fail);
        assert_eq!(of(Own::Unknown, false, &[], true), Grade::Warn);
        assert_eq!(of(Own::Unknown, true, &[], true), Grade::Ok);
        assert_eq!(of(Own::Away, false, std::slice::from_ref(&other), true), Grade::Fail);
        let said = |holder: Holder| taken(([127, 0, 0, 1], 1).into(), "admin", &[holder]);
        let ours = said(Holder { pid: 9, name: "gaitway".to_owned(), folder: Some("/srv/x".into()) });
        assert!(ours.contains("gaitway (process 9, started in /srv/x): if that is the one meant"), "{ours}");
        assert!(said(other).contains("nginx (process 8): stop that"));
    }

    #[test]
    fn listeners_are_read_from_the_kernels_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                     0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0\n   \
                     1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4712 1 0\n   \
                     2: 0100007F:1F40 0100007F:C000 01 00000000:00000000 00:00000000 00000000     0        0 4713 1 0\n";
        let at = |address: &str| listening(table, address.parse().unwrap());
        if cfg!(target_endian = "little") {
            assert_eq!(
                (at("127.0.0.1:8000"), at("0.0.0.0:8000"), at("10.0.0.1:8000")),
                (vec![4711], vec![4711], vec![])
            );
        }
        assert_eq!(at("10.0.0.1:80"), [4712]);
        assert_eq!(parse_ip("00000000000000000000000000000000"), Some(Ipv6Addr::UNSPECIFIED.into()));
        assert_eq!(parse_ip("xyz"), None);
    }
}
