//! From recordings or a warehouse to windows whose label is known.
//!
//! - Windows are the agent's own: pushes are read by its parser, windows closed by its watermark.
//! - A window counts if all of it lies in one stretch of one label; the others are counted and left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context as _, bail};
use gaitway_agent::config::WindowsConfig;
use gaitway_agent::ingest;
use gaitway_agent::windows::{Batch, Params, RATE_PANES, SessionWindows, event_time};
use gaitway_proto::activity::{Activity, Window};
use serde_json::Value;

use super::figures::Sample;
use super::labels::{Label, Timeline, Word};
use crate::reclassify::compare::fill;
use crate::reclassify::history::{ANNOTATION, History, Wanted};
use crate::reclassify::recompute::Recompute;
use crate::replay;

/// Windows to either side of one that tell its session's rate.
const AROUND: usize = RATE_PANES / 2;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) samples: Vec<Sample>,
    /// Who is judged: phones, or sessions where all are of one phone.
    pub(super) subjects: Vec<String>,
    pub(super) are_sessions: bool,
    pub(super) sessions: u64,
    /// Windows that reach beyond one label.
    pub(super) mixed: u64,
    /// Windows of sessions with labels that have none.
    pub(super) unlabelled: u64,
    /// Sessions without any label.
    pub(super) silent: u64,
    /// Words that are not known, and how often they came.
    pub(super) unknown: BTreeMap<String, u64>,
    heard: Vec<Heard>,
}

/// The judged windows of a session.
#[derive(Debug)]
struct Heard {
    device: String,
    session: String,
    /// Each with its share of readings, and what was so.
    judged: Vec<(Window, f64, Activity)>,
}

/// One session while it is read.
#[derive(Default)]
struct Session {
    windows: SessionWindows,
    closed: Vec<Window>,
    marks: Vec<(i64, String)>,
    last: i64,
}

/// Stretches of labels by device.
type Stretches = BTreeMap<String, Vec<(i64, i64, String)>>;

impl Gathered {
    /// From files that `gaitway replay` plays.
    pub(super) fn from_files(files: &[PathBuf], params: &Params) -> anyhow::Result<Self> {
        let mut stretches = Stretches::new();
        for path in replay::labelled(files)? {
            take_labels(&path, &mut stretches).with_context(|| path.display().to_string())?;
        }
        let mut gathered = Self::default();
        for recording in replay::recordings(files)? {
            let mut sessions: BTreeMap<(String, String), Session> = BTreeMap::new();
            for body in recording.bodies()? {
                let body = body?;
                let push = match ingest::parse(&body) {
                    Ok(push) if push.test => continue,
                    Ok(push) => push,
                    Err(refusal) => bail!("an agent would refuse a push of these recordings: {refusal}"),
                };
                let session = sessions.entry((push.device, push.session)).or_default();
                let batch = Batch { median_time: push.median_time, samples: &push.samples };
                session.take(params, &batch, marks_of(&body));
            }
            for ((device, id), mut session) in sessions {
                session.closed.extend(session.windows.flush().into_iter().map(|closed| closed.window));
                let labels = stretches.get(&device).map(Vec::as_slice).unwrap_or_default();
                gathered.add(device, id, &session.closed, labels, &session.marks, session.last);
            }
        }
        gathered.finish();
        Ok(gathered)
    }

    /// From the annotated sessions of a warehouse.
    pub(super) fn from_warehouse(
        history: &mut History,
        wanted: &Wanted,
        params: &Params,
        windows: &WindowsConfig,
    ) -> Result<Self, String> {
        let mut gathered = Self::default();
        for session in history.sessions(wanted)? {
            if !session.is_annotated {
                gathered.silent += 1;
                continue;
            }
            let (mut recompute, mut marks) = (Recompute::new(params, windows.silence), Vec::new());
            history.readings(&session, &mut |reading| {
                if let (Some(time), Some(json)) = (reading.time, reading.annotation) {
                    let text = serde_json::from_str::<Value>(json).ok().and_then(|reading| text_of(&reading));
                    marks.extend(text.map(|text| (event_time(time), text)));
                }
                recompute.take(reading);
            })?;
            let recomputed = recompute.finish();
            let told: Vec<Window> = recomputed.closed.into_iter().chain(recomputed.open).collect();
            let name = |id: &Option<Rc<str>>| id.as_deref().unwrap_or("(none)").to_owned();
            let [device, id] = [&session.key.device, &session.key.session].map(name);
            gathered.add(device, id, &told, &[], &marks, recomputed.last.unwrap_or(0));
        }
        gathered.finish();
        Ok(gathered)
    }

    fn add(
        &mut self,
        device: String,
        session: String,
        told: &[Window],
        labels: &[(i64, i64, String)],
        marks: &[(i64, String)],
        last: i64,
    ) {
        self.sessions += 1;
        if labels.is_empty() && marks.is_empty() {
            self.silent += 1;
            return;
        }
        let mut word = |text: &str| {
            let word = Word::of(text);
            if word == Word::Unknown {
                *self.unknown.entry(text.trim().to_owned()).or_default() += 1;
            }
            word
        };
        let timeline = if labels.is_empty() {
            Timeline::of_marks(marks.iter().map(|(time, text)| (*time, word(text))).collect(), last)
        } else {
            let known = labels.iter().filter_map(|(start, end, text)| match word(text) {
                Word::Is(activity) => Some((*start, *end, activity)),
                Word::Ends | Word::Unknown => None,
            });
            Timeline::of_stretches(known.collect())
        };
        let mut judged = Vec::new();
        for (at, window) in told.iter().enumerate() {
            match timeline.label(window.start, window.end) {
                Label::None => self.unlabelled += 1,
                Label::Mixed => self.mixed += 1,
                Label::Is(truth) => {
                    let around = &told[at.saturating_sub(AROUND)..(at + AROUND + 1).min(told.len())];
                    let counts = around.iter().map(|window| window.count);
                    judged.push((window.clone(), fill(window.count, counts, window.end - window.start), truth));
                }
            }
        }
        self.heard.push(Heard { device, session, judged });
    }

    /// Says whose each window is.
    fn finish(&mut self) {
        let heard = std::mem::take(&mut self.heard);
        let devices: BTreeSet<&str> = heard.iter().map(|heard| heard.device.as_str()).collect();
        let are_sessions = devices.len() < 2;
        let subject = |heard: &Heard| if are_sessions { heard.session.clone() } else { heard.device.clone() };
        let judged = heard.iter().filter(|heard| !heard.judged.is_empty());
        let names: BTreeSet<String> = judged.map(subject).collect();
        let names: Vec<String> = names.into_iter().collect();
        for heard in &heard {
            let Ok(subject) = names.binary_search(&subject(heard)) else { continue };
            let samples = heard.judged.iter().map(|(window, fill, truth)| {
                let (mean, fill, truth) = (window.mean, *fill, *truth);
                Sample { mean, fill, truth, subject }
            });
            self.samples.extend(samples);
        }
        (self.subjects, self.are_sessions) = (names, are_sessions);
    }
}

impl Session {
    fn take(&mut self, params: &Params, batch: &Batch<'_>, marks: Vec<(i64, String)>) {
        let observed = self.windows.observe(params, batch);
        self.closed.extend(observed.closed.into_iter().map(|closed| closed.window));
        self.last = batch.samples.iter().map(|sample| event_time(sample.time)).fold(self.last, i64::max);
        self.marks.extend(marks);
    }
}

/// The annotations of a push: time and text.
fn marks_of(body: &[u8]) -> Vec<(i64, String)> {
    // Few pushes have one, and those that have are read twice.
    if !body.windows(ANNOTATION.len()).any(|part| part == ANNOTATION.as_bytes()) {
        return Vec::new();
    }
    let Ok(push) = serde_json::from_slice::<Value>(body) else { return Vec::new() };
    let readings = push["payload"].as_array().into_iter().flatten();
    readings
        .filter(|reading| reading["name"] == ANNOTATION)
        .filter_map(|reading| Some((event_time(nanoseconds(&reading["time"])?), text_of(reading)?)))
        .collect()
}

fn text_of(reading: &Value) -> Option<String> {
    reading["values"]["text"].as_str().map(str::to_owned)
}

fn nanoseconds(time: &Value) -> Option<i64> {
    let written = match time {
        Value::String(text) => gaitway_proto::value::Value::Text(text.clone()),
        Value::Number(number) => gaitway_proto::value::Value::Text(number.to_string()),
        _ => return None,
    };
    written.as_integer().filter(|time| *time >= 0)
}

/// Adds the stretches of one label in a labelled file, under the id that its subject has as a phone.
fn take_labels(path: &Path, stretches: &mut Stretches) -> anyhow::Result<()> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::Headers).from_reader(replay::open(path)?);
    let header = reader.headers().context("the header cannot be read")?;
    let column = |name: &str| {
        header
            .iter()
            .position(|column| column == name)
            .with_context(|| format!("no column {name} in a labelled recording"))
    };
    let (time, label, subject) = (column("time_ns")?, column("label")?, column("subject")?);
    let (mut row, mut run) = (csv::StringRecord::new(), None::<(String, i64, i64, String)>);
    let mut end = |run: Option<(String, i64, i64, String)>| {
        if let Some((subject, start, last, label)) = run {
            stretches.entry(format!("phone-{subject}")).or_default().push((start, last, label));
        }
    };
    while reader.read_record(&mut row)? {
        let cell = |column: usize| row.get(column).unwrap_or_default();
        let at: i64 = cell(time).trim().parse().with_context(|| format!("time_ns {:?} is no integer", cell(time)))?;
        let at = event_time(at);
        match &mut run {
            Some((of, _, last, what)) if of == cell(subject) && what == cell(label) && at >= *last => *last = at,
            _ => end(run.replace((cell(subject).to_owned(), at, at, cell(label).to_owned()))),
        }
    }
    end(run);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_are_found_however_the_app_writes_them() {
        let body = br#"{"deviceId":"d","sessionId":"s","payload":[
            {"name":"accelerometer","time":1700000000000000000,"values":{"x":1,"y":2,"z":3}},
            {"name":"annotation","time":1700000001000000000,"values":{"text":"walk","millisecond_press_duration":0}},
            {"name":"annotation","time":"1700000002000000000","values":{"text":"Run"}},
            {"name":"annotation","time":1.700000003e18,"values":{"text":"stop"}},
            {"name":"annotation","time":null,"values":{"text":"lost"}},
            {"name":"annotation","time":1700000004000000000,"values":{}}]}"#;
        let second = |n: i64| (1_700_000_000 + n) * 1_000_000_000;
        let expected = [(second(1), "walk"), (second(2), "Run"), (second(3), "stop")];
        assert_eq!(marks_of(body), expected.map(|(time, text)| (time, text.to_owned())));
        assert!(marks_of(br#"{"payload":[{"name":"gravity"}]}"#).is_empty());
        assert!(marks_of(b"annotation").is_empty());
    }
}
