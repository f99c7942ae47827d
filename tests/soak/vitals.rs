//! What processes and files take, and whether it stays so.
//!
//! - What is judged is the median of a span: neither a checkpoint nor a restart within it decides.
//! - Spans of one age are compared: the later half of the first third, and of the last.

use std::fs;
use std::ops::Range;
use std::path::Path;

use super::harness::warehouse::count;

/// One look at agent and relay.
pub(crate) struct Vitals(Vec<(&'static str, f64)>);

/// By how much a median may be above the earlier one.
#[derive(Clone, Copy)]
pub(crate) struct Margins {
    /// Share of the earlier median.
    share: f64,
    /// MiB on top, for memory and files.
    mebibytes: f64,
    /// Descriptors and threads on top: a connection that is being closed still has its own.
    few: f64,
}

impl Margins {
    pub(crate) const LONG: Self = Self { share: 0.1, mebibytes: 4.0, few: 3.0 };

    /// Within seconds caches still fill.
    pub(crate) const SHORT: Self = Self { share: 0.5, mebibytes: 16.0, few: 6.0 };
}

const BEFORE: Range<f64> = 1.0 / 6.0..2.0 / 6.0;
const AFTER: Range<f64> = 5.0 / 6.0..1.0;

impl Vitals {
    /// Of the processes agent and relay, and of their files spool and warehouse.
    pub(crate) fn of([agent, relay]: [u32; 2], [spool, warehouse]: [&Path; 2]) -> Self {
        let log = |file: &Path| mebibytes(&file.with_extension("db-wal"));
        // What is stored lies in the log first.
        let stored = (mebibytes(warehouse) + log(warehouse)) * 1_048_576.0;
        let rows = count(warehouse, "SELECT coalesce(max(rowid), 0) FROM ACTIVITY_RECORDS") as f64;
        Self(vec![
            ("agent's memory, MiB", resident(agent)),
            ("relay's memory, MiB", resident(relay)),
            ("agent's descriptors", entries(agent, "fd")),
            ("relay's descriptors", entries(relay, "fd")),
            ("agent's threads", entries(agent, "task")),
            ("relay's threads", entries(relay, "task")),
            ("spool, MiB", mebibytes(spool)),
            ("spool's log, MiB", log(spool)),
            ("warehouse's log, MiB", log(warehouse)),
            ("warehouse, bytes a row", stored / rows.max(1.0)),
        ])
    }
}

/// Asserts that the samples (share of the run, vitals) of the last span lie where those of the first do.
pub(crate) fn assert_steady(samples: &[(f64, Vitals)], margins: Margins) {
    let mut grown = Vec::new();
    for (index, (name, _)) in samples[0].1.0.iter().enumerate() {
        let median = |span: &Range<f64>| {
            let inside = samples.iter().filter(|(share, _)| span.contains(share));
            let mut values: Vec<f64> = inside.map(|(_, vitals)| vitals.0[index].1).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let (before, after) = (median(&BEFORE), median(&AFTER));
        let more = match *name {
            name if name.ends_with("MiB") => margins.mebibytes,
            name if name.ends_with("a row") => 0.0,
            _ => margins.few,
        };
        println!("{name:<24} {before:>8.1} → {after:>8.1}");
        if after > before * (1.0 + margins.share) + more {
            grown.push(format!("{name}: {before:.1} became {after:.1}"));
        }
    }
    assert!(grown.is_empty(), "it does not end where it was: {grown:#?}");
}

fn mebibytes(file: &Path) -> f64 {
    // A log is there only while its file is open.
    fs::metadata(file).map_or(0.0, |file| file.len() as f64 / 1_048_576.0)
}

fn entries(pid: u32, what: &str) -> f64 {
    fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().count() as f64
}

fn resident(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}
