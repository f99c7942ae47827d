//! What fits, for people and programs.

use std::collections::BTreeMap;
use std::fmt;

use gaitway_agent::classify::Threshold;
use gaitway_service::table::{Side, Table};
use serde::Serialize;
use serde_json::{Value, json};

use super::figures::{ALL, Figures, place};
use super::fit::{Aim, HeldOut};

/// All that is told.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) counts: Counts,
    pub(super) present: (Threshold, Figures),
    pub(super) best: (Threshold, Figures),
    pub(super) held_out: Option<HeldOut>,
    pub(super) aim: Aim,
}

/// What was judged and what was not.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Counts {
    pub(super) sessions: u64,
    pub(super) sessions_without_labels: u64,
    pub(super) subjects: Vec<String>,
    /// Whether the subjects are sessions of one phone.
    pub(super) subjects_are_sessions: bool,
    pub(super) windows: u64,
    pub(super) mixed: u64,
    pub(super) unlabelled: u64,
    pub(super) unknown_words: BTreeMap<String, u64>,
}

impl Report {
    pub(super) fn to_json(&self) -> serde_json::Result<String> {
        let Self { counts, present, best, held_out, aim } = self;
        let held_out = held_out.as_ref().map(|held| {
            let HeldOut { figures, subjects, ranges } = held;
            json!({"subjects": subjects, "figures": figures_json(figures), "thresholdRanges": ranges})
        });
        let of = |(rule, figures): &(Threshold, Figures)| json!({"thresholds": rule.bounds(), "figures": figures_json(figures)});
        let whole = json!({
            "counts": counts,
            "maximised": match aim { Aim::MacroF1 => "macroF1", Aim::Accuracy => "accuracy" },
            "present": of(present),
            "best": of(best),
            "heldOut": held_out,
            "config": config(best.0),
        });
        serde_json::to_string_pretty(&whole).map(|json| format!("{json}\n"))
    }
}

fn figures_json(figures: &Figures) -> Value {
    let activities: Vec<Value> = figures
        .by_activity()
        .iter()
        .map(|of| {
            json!({"activity": of.activity.as_str(), "windows": of.windows, "precision": of.precision, "recall": of.recall,
                   "f1": of.f1})
        })
        .collect();
    let confusion: BTreeMap<&str, BTreeMap<&str, u64>> = figures
        .by_activity()
        .iter()
        .map(|of| {
            let said = ALL.map(|said| (said.as_str(), figures.confusion[place(of.activity)][place(said)]));
            (of.activity.as_str(), said.into())
        })
        .collect();
    json!({"accuracy": figures.accuracy(), "macroF1": figures.macro_f1(), "calibrationError": figures.calibration_error(),
           "activities": activities, "confusion": confusion})
}

/// The line for the configuration.
fn config(rule: Threshold) -> String {
    let [stationary, walking, running] = rule.bounds();
    format!("thresholds = [{stationary:?}, {walking:?}, {running:?}]")
}

fn spelled(rule: Threshold) -> String {
    let [stationary, walking, running] = rule.bounds();
    format!("{stationary}/{walking}/{running}")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { counts, present, best, held_out, aim } = self;
        let s = |count: usize| if count == 1 { "" } else { "s" };
        let of = if counts.subjects_are_sessions { "session" } else { "phone" };
        let Counts { windows, mixed, unlabelled, subjects, .. } = counts;
        writeln!(f, "{windows} windows of {} {of}{} with a label", subjects.len(), s(subjects.len()))?;
        writeln!(f, "left out: {mixed} that reach beyond one label, {unlabelled} without one")?;
        if counts.sessions_without_labels > 0 {
            writeln!(f, "left out: {} sessions that nobody labelled", counts.sessions_without_labels)?;
        }
        for (word, times) in &counts.unknown_words {
            let word = word.replace(char::is_control, "\u{fffd}");
            writeln!(f, "not known, so no label: {word:?}, {times} times")?;
        }
        confusion(f, &format!("present thresholds {}", spelled(present.0)), &present.1)?;
        confusion(f, &format!("best thresholds {}, on the windows they were fitted to", spelled(best.0)), &best.1)?;
        if let Some(held) = held_out {
            let title =
                format!("held out: each of {} {of}s by thresholds that were fitted to the others", held.subjects);
            confusion(f, &title, &held.figures)?;
        }
        let mut table = Table::new(&[
            ("", Side::Left),
            ("ACCURACY", Side::Right),
            ("MACRO F1", Side::Right),
            ("CALIBRATION ERROR", Side::Right),
        ]);
        let fitted = [
            ("present", Some(&present.1)),
            ("best", Some(&best.1)),
            ("held out", held_out.as_ref().map(|h| &h.figures)),
        ];
        for (name, figures) in fitted {
            if let Some(figures) = figures {
                let shown = [figures.accuracy(), figures.macro_f1(), figures.calibration_error()];
                let cells = shown.iter().map(|figure| format!("{figure:.3}"));
                table.push(std::iter::once(name.to_owned()).chain(cells).collect());
            }
        }
        writeln!(f, "\n{table}")?;
        match held_out {
            Some(held) => {
                let ranges = held.ranges.map(|(least, most)| format!("{least} to {most}")).join(", ");
                writeln!(f, "expect what is held out; its thresholds: {ranges}")?;
                let of = |figures: &Figures| aim.of(figures);
                if best.0 != present.0 && of(&held.figures) <= of(&present.1) {
                    writeln!(f, "held out they are no better than the present ones: keep those, or label more people")?;
                }
            }
            None => writeln!(
                f,
                "there is one {of} alone: nothing was held out, and these figures promise nothing for others"
            )?,
        }
        let aim = match aim {
            Aim::MacroF1 => "macro F1",
            Aim::Accuracy => "accuracy",
        };
        if best.0 == present.0 {
            return writeln!(f, "the present thresholds are the best by {aim}");
        }
        let config = config(best.0);
        writeln!(
            f,
            "\nbest by {aim}; in agent.toml ([agent.windows] in the file of `gaitway up`):\n\n[windows]\n{config}\n"
        )?;
        writeln!(f, "what is in a warehouse: gaitway reclassify --thresholds {}", spelled(best.0))
    }
}

fn confusion(f: &mut fmt::Formatter<'_>, title: &str, figures: &Figures) -> fmt::Result {
    let labelled = figures.by_activity();
    let said: Vec<_> = ALL
        .into_iter()
        .filter(|said| {
            figures.confusion.iter().any(|row| row[place(*said)] > 0) || labelled.iter().any(|of| of.activity == *said)
        })
        .collect();
    let heads: Vec<String> = said.iter().map(|said| said.as_str().to_uppercase()).collect();
    let mut columns = vec![("WAS", Side::Left)];
    columns.extend(heads.iter().map(|head| (head.as_str(), Side::Right)));
    columns.extend([("PRECISION", Side::Right), ("RECALL", Side::Right), ("F1", Side::Right)]);
    let mut table = Table::new(&columns);
    for of in labelled {
        let counts = said.iter().map(|said| figures.confusion[place(of.activity)][place(*said)].to_string());
        let shares = [of.precision, of.recall, of.f1].map(|share| format!("{share:.3}"));
        table.push(std::iter::once(of.activity.as_str().to_owned()).chain(counts).chain(shares).collect());
    }
    write!(f, "\n{title}:\n{table}")
}
