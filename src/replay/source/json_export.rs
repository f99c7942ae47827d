//! The app's JSON export: one array of flat objects of strings, grouped by sensor.
//!
//! Grouped, every sensor is a run in order of time, which is read from its own place in the file. Of a file in such
//! disorder that it falls into more than [`MOST_RUNS`], what follows them is sorted in memory.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, bail};
use jiter::{Jiter, JiterError, Peek};

use super::csv_rows::nanoseconds;
use super::elements::{Elements, Position};
use super::{Recording, stem};
use crate::replay::merge::{Readings, Run, Survey};
use crate::replay::reading::{Draft, Reading, literal, push_name, quoted};

/// Most places of one file that are read from at the same time.
const MOST_RUNS: usize = 64;

/// What an element is.
enum Entry {
    Reading(Reading),
    Metadata { device: Option<String> },
}

/// Reads an export through: its recording.
pub(super) fn survey(path: &Path) -> anyhow::Result<Recording> {
    let mut entries = Entries { elements: Elements::new(open(path)?), number: 0 };
    let mut device = None;
    let mut runs: Vec<(Position, Survey)> = Vec::new();
    let mut before = i64::MAX;
    while let Some(entry) = entries.next() {
        let time = match entry? {
            Entry::Metadata { device: named } => {
                device = device.or(named);
                continue;
            }
            Entry::Reading(reading) => reading.time,
        };
        let last_run = runs.len() > MOST_RUNS;
        match runs.last_mut() {
            Some((_, run)) if time >= before || last_run => {
                run.readings += 1;
                run.first = run.first.min(time);
                run.in_order &= time >= before;
            }
            _ => runs.push((entries.elements.position(), Survey { readings: 1, first: time, in_order: true })),
        }
        before = time;
    }
    if runs.is_empty() {
        bail!("no readings in it; expected the app's JSON export");
    }
    let runs = runs.into_iter().map(|(at, survey)| {
        let path = path.to_owned();
        Run::new(survey, move || readings(&path, at, survey.readings))
    });
    let name = stem(path);
    let device = device.unwrap_or_else(|| format!("phone-{name}"));
    Ok(Recording::of_readings(device, format!("session-{name}"), runs.collect()))
}

fn open(path: &Path) -> anyhow::Result<BufReader<File>> {
    File::open(path).map(BufReader::new).context("cannot be opened")
}

fn readings(path: &Path, at: Position, count: u64) -> anyhow::Result<Readings> {
    let name = path.display().to_string();
    let mut file = open(path).with_context(|| name.clone())?;
    file.seek(SeekFrom::Start(at.offset)).with_context(|| name.clone())?;
    let entries = Entries { elements: Elements::resume(file, at), number: 0 };
    let readings = entries.filter_map(|entry| match entry {
        Ok(Entry::Reading(reading)) => Some(Ok(reading)),
        Ok(Entry::Metadata { .. }) => None,
        Err(error) => Some(Err(error)),
    });
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    Ok(Box::new(readings.take(count).map(move |reading| reading.with_context(|| name.clone()))))
}

struct Entries<R> {
    elements: Elements<R>,
    number: u64,
}

impl<R: BufRead> Iterator for Entries<R> {
    type Item = anyhow::Result<Entry>;
    fn next(&mut self) -> Option<Self::Item> {
        self.number += 1;
        let entry = self.elements.next()?.and_then(|bytes| {
            let line = self.elements.position().line;
            entry(&bytes).with_context(|| format!("line {line}"))
        });
        Some(entry)
    }
}

/// One element of the array.
fn entry(bytes: &[u8]) -> anyhow::Result<Entry> {
    let fields = fields(bytes).map_err(|error| anyhow::anyhow!("not JSON: {error}"))?;
    let find = |wanted: &str| fields.iter().find(|field| field.name == wanted);
    let sensor = find("sensor").context("no field sensor; expected an element of the app's JSON export")?.as_text();
    if sensor.eq_ignore_ascii_case("metadata") {
        let device = find("device id").map(Field::as_text).filter(|device| !device.is_empty());
        return Ok(Entry::Metadata { device: device.map(str::to_owned) });
    }
    let time = nanoseconds("time", find("time").context("no field time; expected nanoseconds since 1970")?.as_text())?;
    let mut draft = Draft::default();
    for field in &fields {
        match field.name.as_str() {
            "sensor" | "time" | "seconds_elapsed" => {}
            "accuracy" => draft.accuracy(field.as_text()),
            name => draft.value(&quoted(name), &field.as_json()),
        }
    }
    Ok(Entry::Reading(draft.finish(&quoted(&push_name(sensor)), time)))
}

struct Field {
    name: String,
    value: Spelling,
}

enum Spelling {
    Text(String),
    Json(String),
}

impl Field {
    fn as_text(&self) -> &str {
        match &self.value {
            Spelling::Text(text) | Spelling::Json(text) => text,
        }
    }

    fn as_json(&self) -> std::borrow::Cow<'_, str> {
        match &self.value {
            Spelling::Text(text) => literal(&self.name, text),
            Spelling::Json(json) => json.into(),
        }
    }
}

fn fields(bytes: &[u8]) -> Result<Vec<Field>, JiterError> {
    let mut json = Jiter::new(bytes);
    let mut fields = Vec::new();
    let mut key = json.next_object()?.map(str::to_owned);
    while let Some(name) = key {
        let peek = json.peek()?;
        let value = if peek == Peek::String {
            Spelling::Text(json.known_str()?.to_owned())
        } else {
            let start = json.current_index();
            json.known_skip(peek)?;
            Spelling::Json(String::from_utf8_lossy(json.slice_to_current(start)).into_owned())
        };
        fields.push(Field { name, value });
        key = json.next_key()?.map(str::to_owned);
    }
    json.finish()?;
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(json: &str) -> Reading {
        match entry(json.as_bytes()).unwrap() {
            Entry::Reading(reading) => reading,
            Entry::Metadata { .. } => panic!("metadata"),
        }
    }

    #[test]
    fn flat_strings_become_values() {
        let json = r#"{"sensor":"Accelerometer","time":"1698501144401773001","seconds_elapsed":"0.2","z":"-0.10382747650146484","x":"","y":1.50,"accuracy":"3"}"#;
        assert_eq!(
            reading(json).json,
            r#"{"name":"accelerometer","time":1698501144401773001,"accuracy":3,"values":{"z":-0.10382747650146484,"x":null,"y":1.50}}"#
        );
    }

    #[test]
    fn metadata_names_the_device() {
        let Entry::Metadata { device } = entry(br#"{"sensor":"Metadata","device id":"d-1"}"#).unwrap() else {
            panic!("a reading")
        };
        assert_eq!(device.as_deref(), Some("d-1"));
    }

    #[test]
    fn complaints_name_the_field() {
        let complaint = |json: &str| match entry(json.as_bytes()) {
            Err(error) => format!("{error:#}"),
            Ok(_) => panic!("accepted {json}"),
        };
        assert!(complaint(r#"{"time":"1"}"#).starts_with("no field sensor"));
        assert!(complaint(r#"{"sensor":"a"}"#).starts_with("no field time"));
        assert!(complaint(r#"{"sensor":"a","time":"soon"}"#).contains("\"soon\" is not a time"));
        assert!(complaint(r#"{"sensor":nope}"#).starts_with("not JSON"));
    }
}
