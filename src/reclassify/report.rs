//! What a run found, for people and programs.
//!
//! - Counts and a few examples: memory grows with devices and labels, not with windows.

use std::collections::BTreeMap;
use std::fmt;

use gaitway_agent::windows::Params;
use gaitway_proto::schema;
use gaitway_service::config::duration;
use gaitway_service::table::{Side, Table};
use serde::Serialize;

use super::compare::{Basis, Change, Outcome};
use super::history::Key;
use super::recompute::Recomputed;
use super::shown;

/// Windows of one device that went from one label to another, or kept theirs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    device: String,
    /// None where the warehouse has no such window.
    was: Option<String>,
    is: String,
    windows: u64,
    /// Of these, windows that were labelled by their stored mean.
    by_mean: u64,
}

/// The first window of a change of label.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Example {
    device: String,
    session: String,
    window_start: String,
    avg_magnitude: f64,
    was: String,
    is: String,
}

/// Sums over all sessions.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Sums {
    sessions: u64,
    windows: u64,
    /// Windows that differ in something.
    changes: u64,
    /// Of these, windows with another label.
    relabelled: u64,
    /// Of these, windows whose mean or count differs.
    measured_anew: u64,
    only_here: u64,
    only_there: u64,
    by_mean: u64,
    open: u64,
    other: u64,
    silences: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    warehouse: String,
    classifier: String,
    #[serde(skip)]
    params: Params,
    #[serde(flatten)]
    sums: Sums,
    #[serde(serialize_with = "values")]
    lines: BTreeMap<(String, Option<String>, String), Line>,
    #[serde(serialize_with = "values")]
    examples: BTreeMap<(String, String), Example>,
    /// How many windows were written; none without `--write`.
    pub(super) written: Option<u64>,
}

fn values<K, V: Serialize, S: serde::Serializer>(map: &BTreeMap<K, V>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(map.values())
}

impl Report {
    pub(super) fn new(warehouse: String, params: &Params) -> Self {
        Self {
            warehouse,
            classifier: params.classifier().name(),
            params: params.clone(),
            sums: Sums::default(),
            lines: BTreeMap::new(),
            examples: BTreeMap::new(),
            written: None,
        }
    }

    /// How many windows differ.
    pub(super) fn changes(&self) -> u64 {
        self.sums.changes
    }

    /// Counts a session.
    pub(super) fn add(&mut self, key: &Key, recomputed: &Recomputed, outcome: &Outcome) {
        let Outcome { windows, changes, by_mean, only_there, open, other } = outcome;
        let sums = &mut self.sums;
        sums.sessions += 1;
        sums.windows += windows;
        sums.changes += changes.len() as u64;
        sums.by_mean += by_mean;
        sums.only_there += only_there;
        sums.open += open;
        sums.other += other;
        sums.silences += recomputed.silences;
        let [device, session] = shown(key);
        for change in changes {
            let Change { old, new, basis } = change;
            sums.relabelled += u64::from(change.is_relabelled());
            sums.measured_anew += u64::from(change.is_measured_anew());
            sums.only_here += u64::from(old.is_none());
            let (was, is) = (old.as_ref().map(|old| old.activity().to_owned()), new.activity.as_str().to_owned());
            if let Some(was) = was.as_ref().filter(|was| **was != is) {
                self.examples.entry((was.clone(), is.clone())).or_insert_with(|| Example {
                    device: device.to_owned(),
                    session: session.to_owned(),
                    window_start: schema::rfc3339(new.start),
                    avg_magnitude: new.mean,
                    was: was.clone(),
                    is: is.clone(),
                });
            }
            let line = self.lines.entry((device.to_owned(), was.clone(), is.clone())).or_insert_with(|| {
                let device = device.to_owned();
                Line { device, was, is, windows: 0, by_mean: 0 }
            });
            line.windows += 1;
            line.by_mean += u64::from(*basis == Basis::StoredMean);
        }
    }

    pub(super) fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|json| format!("{json}\n"))
    }

    fn notes(&self) -> Vec<String> {
        let Sums { measured_anew, only_here, only_there, by_mean, open, other, silences, .. } = self.sums;
        let notes = [
            (measured_anew, "with another mean or count too: other readings counted when they were told"),
            (only_here, "not in the warehouse although their session is past them"),
            (only_there, "in the warehouse, of whose readings none should count: silence is a guess here"),
            (
                by_mean,
                "without all of their readings in the warehouse, by their stored mean: the label is exact, the confidence \
                 takes the session's rate from the windows around",
            ),
            (open, "not in the warehouse and still the agent's to close: left alone"),
            (other, "of another length or without what is needed: left alone"),
        ];
        let counted = notes.iter().filter(|(count, _)| *count > 0);
        let mut said: Vec<String> = counted.map(|(count, what)| format!("{} {what}", windows(*count))).collect();
        if silences > 0 {
            let times = if silences == 1 { "once".to_owned() } else { format!("{silences} times") };
            said.push(format!("silence is taken to have closed windows {times}, by when the agent had the pushes"));
        }
        said
    }

    fn verdict(&self) -> String {
        let Sums { sessions, windows: all, changes, relabelled, .. } = self.sums;
        let s = if sessions == 1 { "" } else { "s" };
        let of = format!("{} of {sessions} session{s}", windows(all));
        match (changes, self.written) {
            (0, _) => format!("nothing to do: {of} are as the warehouse has them"),
            (_, Some(written)) => format!("written: {written} revisions among {of}, {relabelled} with another label"),
            (_, None) => format!(
                "{changes} of {of} differ, {relabelled} in their label; nothing was written: --write stores them as next revisions"
            ),
        }
    }
}

fn windows(count: u64) -> String {
    format!("{count} window{}", if count == 1 { "" } else { "s" })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |nanoseconds: i64| duration::shown(std::time::Duration::from_nanos(nanoseconds.unsigned_abs()));
        writeln!(
            f,
            "{}: {}, windows of {} every {}\n",
            self.warehouse,
            self.classifier,
            shown(self.params.window()),
            shown(self.params.slide())
        )?;
        if !self.lines.is_empty() {
            let mut table = Table::new(&[
                ("DEVICE", Side::Left),
                ("WAS", Side::Left),
                ("IS", Side::Left),
                ("WINDOWS", Side::Right),
                ("BY STORED MEAN", Side::Right),
            ]);
            for Line { device, was, is, windows, by_mean } in self.lines.values() {
                let was = was.as_deref().unwrap_or("-");
                table.push(vec![plain(device), plain(was), is.clone(), windows.to_string(), by_mean.to_string()]);
            }
            writeln!(f, "{table}")?;
        }
        for Example { device, session, window_start, avg_magnitude, was, is } in self.examples.values() {
            let [device, session, was] = [device, session, was].map(|text| plain(text));
            writeln!(
                f,
                "example: {device} {session} {window_start}, mean {avg_magnitude:.3} m/s²: {was} becomes {is}"
            )?;
        }
        for note in self.notes() {
            writeln!(f, "note: {note}")?;
        }
        writeln!(f, "{}", self.verdict())
    }
}

/// Text that cannot move a terminal's cursor.
fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}
