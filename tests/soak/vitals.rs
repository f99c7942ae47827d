//! What processes and files take, and whether it stays so.
//!
//! - What is judged is the median of a span: neither a checkpoint nor a restart within it decides.
//! - A process is held against itself: the third that it lives through, at the end and after its first quarter.

use std::fs;
use std::ops::Range;
use std::path::Path;

use super::harness::warehouse::count;

/// One look at agent and relay.
pub(crate) struct Vitals(Vec<(Of, &'static str, f64)>);

/// Whose a value is.
#[derive(Debug, Clone, Copy)]
enum Of {
    Agent,
    Relay,
    Files,
}

/// Until here both are restarted, from here to [`SECOND_THIRD`] the relay lives on, then the agent.
pub(crate) const FIRST_THIRD: f64 = 1.0 / 3.0;
pub(crate) const SECOND_THIRD: f64 = 2.0 / 3.0;

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
    pub(crate) const SHORT: Self = Self { share: 0.1, mebibytes: 10.0, few: 6.0 };
}

/// A log is anywhere between two checkpoints, MiB.
const LOG: f64 = 32.0;

impl Of {
    /// The spans of the soak that are compared.
    fn spans(self) -> [Range<f64>; 2] {
        let quarters = |third: f64, quarters: [f64; 2]| quarters.map(|quarter| third + quarter / 12.0);
        let spans = |third| [quarters(third, [1.0, 2.0]), quarters(third, [3.0, 4.0])];
        match self {
            Self::Relay => spans(FIRST_THIRD),
            Self::Agent => spans(SECOND_THIRD),
            Self::Files => [[FIRST_THIRD / 2.0, FIRST_THIRD], [1.0 - FIRST_THIRD / 2.0, 1.0]],
        }
        .map(|[from, to]| from..to)
    }
}

impl Vitals {
    /// Of the processes agent and relay, and of their files spool and warehouse.
    pub(crate) fn of([agent, relay]: [u32; 2], [spool, warehouse]: [&Path; 2]) -> Self {
        let log = |file: &Path| mebibytes(&file.with_extension("db-wal"));
        // What is stored lies in the log first.
        let stored = (mebibytes(warehouse) + log(warehouse)) * 1_048_576.0;
        let rows = count(warehouse, "SELECT coalesce(max(rowid), 0) FROM ACTIVITY_RECORDS") as f64;
        Self(vec![
            (Of::Agent, "agent's memory, MiB", resident(agent)),
            (Of::Relay, "relay's memory, MiB", resident(relay)),
            (Of::Agent, "agent's descriptors", entries(agent, "fd")),
            (Of::Relay, "relay's descriptors", entries(relay, "fd")),
            (Of::Agent, "agent's threads", entries(agent, "task")),
            (Of::Relay, "relay's threads", entries(relay, "task")),
            (Of::Files, "spool, MiB", mebibytes(spool)),
            (Of::Files, "spool's log, MiB", log(spool)),
            (Of::Files, "warehouse's log, MiB", log(warehouse)),
            (Of::Files, "warehouse, bytes a row", stored / rows.max(1.0)),
        ])
    }
}

/// Asserts that the samples (share of the run, vitals) of the last span lie where those of the first do.
pub(crate) fn assert_steady(samples: &[(f64, Vitals)], margins: Margins) {
    let mut grown = Vec::new();
    for (index, (of, name, _)) in samples[0].1.0.iter().enumerate() {
        let [before, after] = of.spans().map(|span| {
            let inside = samples.iter().filter(|(share, _)| span.contains(share));
            let mut values: Vec<f64> = inside.map(|(_, vitals)| vitals.0[index].2).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        });
        let more = match *name {
            name if name.ends_with("log, MiB") => LOG,
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
