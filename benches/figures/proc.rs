//! What the kernel counts of a process.

use std::fmt::Display;

/// Ticks a second in which Linux tells CPU times, on every machine.
const TICKS: f64 = 100.0;

/// CPU time of a process so far, user and system, seconds; `pid` may be `self`.
pub(crate) fn cpu_seconds(pid: impl Display) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name of the program, in brackets, may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    ticks as f64 / TICKS
}

/// CPU time of all programs and the kernel so far, seconds.
pub(crate) fn busy_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    let times: Vec<u64> = stat.lines().next().unwrap().split_whitespace().skip(1).map(|t| t.parse().unwrap()).collect();
    // user nice system idle iowait irq softirq steal, then guests, who are in user too.
    let busy: u64 = times[..3].iter().chain(&times[5..8]).sum();
    busy as f64 / TICKS
}

/// Bytes that a process caused to be written to disks so far.
pub(crate) fn written(pid: impl Display) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    field(&io, "write_bytes:") - field(&io, "cancelled_write_bytes:")
}

/// Resident memory of a process now and at most, bytes.
pub(crate) fn resident(pid: impl Display) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    (field(&status, "VmRSS:") * 1024, field(&status, "VmHWM:") * 1024)
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
    line.split_whitespace().next().unwrap().parse().unwrap()
}
