//! By Linux's own books.
//!
//! - Names below `process_` are those of every Prometheus client.
//! - Of what the system does not tell there is no metric.
//! - Nothing is asked of files in `/proc` that a process without core dumps may read only if it is root's.

use std::fs;
use std::sync::atomic::AtomicU64;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeValLike as _;
use nix::unistd::{SysconfVar, sysconf};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::gauge;

/// What `getrusage` counts writes in, bytes.
const BLOCK: u64 = 512;

pub(super) fn register(registry: &mut Registry) {
    if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
        let cpu = Counter::<f64, AtomicU64>::default();
        let busy = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
        cpu.inc_by(busy as f64 / 1e6);
        registry.register_with_unit("process_cpu", "Time spent on CPUs", Unit::Seconds, cpu);
        let written: Counter = Counter::default();
        written.inc_by(u64::try_from(usage.block_writes()).unwrap_or(0).saturating_mul(BLOCK));
        let help = "Bytes that the process had written to disks since its start, as Linux counts pages";
        registry.register_with_unit("gaitway_written", help, Unit::Bytes, written);
    }
    let read = |name: &str| fs::read_to_string(format!("/proc/{name}")).ok();
    if let Some(bytes) = read("self/status").as_deref().and_then(resident) {
        let help = "Memory that is in RAM";
        registry.register_with_unit("process_resident_memory", help, Unit::Bytes, gauge(bytes));
    }
    if let Some(start) = began(read("self/stat").as_deref(), read("stat").as_deref()) {
        let began = Gauge::<f64, AtomicU64>::default();
        began.set(start);
        let help = "When the process began, since the Unix epoch";
        registry.register_with_unit("process_start_time", help, Unit::Seconds, began);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // One of them is what reads the folder.
        let open = i64::try_from(open.count()).unwrap_or(i64::MAX).saturating_sub(1);
        registry.register("process_open_fds", "File descriptors in use", gauge(open));
    }
    if let Ok((most, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let most = gauge(i64::try_from(most).unwrap_or(i64::MAX));
        registry.register("process_max_fds", "File descriptors that may be in use", most);
    }
}

/// Seconds since the Unix epoch, of `/proc/self/stat` and `/proc/stat`.
fn began(of_process: Option<&str>, of_machine: Option<&str>) -> Option<f64> {
    let per_second = sysconf(SysconfVar::CLK_TCK).ok()?.filter(|ticks| *ticks > 0)?;
    let booted: u64 = value(of_machine?, "btime ")?;
    Some(booted as f64 + ticks_at_start(of_process?)? as f64 / per_second as f64)
}

/// Ticks from the machine's boot to the process's start, of `/proc/self/stat`.
fn ticks_at_start(stat: &str) -> Option<u64> {
    const FIELD: usize = 22;
    // The program's name comes second, in brackets, and may hold brackets and blanks itself; what follows begins with the third.
    let (_, after) = stat.rsplit_once(')')?;
    after.split_whitespace().nth(FIELD - 3)?.parse().ok()
}

/// Bytes, of `/proc/self/status`.
fn resident(status: &str) -> Option<i64> {
    value::<i64>(status, "VmRSS:")?.checked_mul(1024)
}

/// The number behind `key` at the begin of a line.
fn value<T: std::str::FromStr>(text: &str, key: &str) -> Option<T> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn a_program_s_name_may_hold_what_it_likes() {
        let stat =
            "42 (a) b (c) S 1 42 42 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 3 0 98765 1000 200 18446744073709551615";
        assert_eq!(ticks_at_start(stat), Some(98765));
        assert_eq!(ticks_at_start("42 (a) S 1 2"), None);
        assert_eq!(ticks_at_start(""), None);
    }

    #[test]
    fn numbers_are_found_by_their_line() {
        assert_eq!(resident("VmHWM:\t  20 kB\nVmRSS:\t  12 kB\n"), Some(12 * 1024));
        assert_eq!(value("cpu  1 2\nintr 5 6\nbtime 1700000000\n", "btime "), Some(1_700_000_000_u64));
        assert_eq!(value::<u64>("cpu  1 2\n", "btime "), None);
    }

    #[test]
    fn this_process_tells_all_of_it() {
        let mut registry = Registry::default();
        super::super::register(&mut registry, true);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let number = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
        };
        let now = crate::clock::now_micros() as f64 / 1e6;
        let began = number("process_start_time_seconds");
        // Linux tells its boot in whole seconds.
        assert!(began > 1e9 && began <= now + 1.0, "{began}");
        assert!(number("process_cpu_seconds_total") >= 0.0);
        assert!(number("process_resident_memory_bytes") > 100_000.0);
        assert!(number("process_open_fds") >= 3.0 && number("process_open_fds") < number("process_max_fds"));
        assert!(number("gaitway_written_bytes_total") >= 0.0);
        let version = format!("gaitway_build_info{{version=\"{}\"}} 1\n", env!("CARGO_PKG_VERSION"));
        assert!(text.contains(&version), "{text}");
    }
}
