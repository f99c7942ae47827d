//! What the files on the command line are played as.
//!
//! - The labelled trials of one subject are one recording, whatever files and folders they came in.
//! - Any other file is a recording of its own; no two recordings share a session.
//! - All but pushed lines are read once before anything is sent, so that a mistake is found first.

mod csv_rows;
mod elements;
mod json_export;
mod labelled;
mod ndjson;
mod zip_export;

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use flate2::bufread::MultiGzDecoder;
use gaitway_proto::limits;

use super::body::{Body, Identity};
use super::cut::{Cutter, Message};
use super::merge::{Merge, Run};
use super::pace::Pacer;

/// Longest line of pushes, element or row of an export, bytes: above what an agent takes, and in memory, where it is many
/// times as long, still little.
const LONGEST: u64 = 2 * limits::MAX_BODY as u64;

/// What one phone plays.
pub(super) struct Recording {
    /// Whom it is played as.
    pub(super) identity: Identity,
    /// How much there is to play, in any unit.
    pub(super) size: u64,
    content: Content,
}

enum Content {
    Readings(Vec<Run>),
    Pushes(PathBuf),
}

/// One message of a recording, for any number of phones.
#[derive(Debug, Clone)]
pub(super) struct Push {
    /// What is sent.
    pub(super) body: Body,
    /// Readings in it.
    pub(super) readings: u64,
    /// When, in phone time since the first message.
    pub(super) due: Duration,
    /// Its share of the recording's size.
    pub(super) share: u64,
}

/// Messages as they are read; after an error there is nothing to be had.
pub(super) type Pushes = Box<dyn Iterator<Item = anyhow::Result<Push>> + Send>;

impl Recording {
    fn of_readings(device: String, session: String, runs: Vec<Run>) -> Self {
        let size = runs.iter().map(Run::readings).sum();
        // An agent takes no control characters in ids; a file or a subject may have them in its name.
        let [device, session] = [device, session].map(|id| id.replace(char::is_control, "\u{fffd}"));
        let identity = Identity { device, session, suffix: String::new() };
        Self { identity, size, content: Content::Readings(runs) }
    }

    /// The messages; `batch` is the app's batch period, where readings have yet to be cut.
    pub(super) fn pushes(self, batch: Duration) -> anyhow::Result<Pushes> {
        match self.content {
            Content::Pushes(path) => ndjson::pushes(&path),
            Content::Readings(runs) => {
                let batch = u64::try_from(batch.as_nanos()).unwrap_or(u64::MAX);
                Ok(cut(Merge::new(runs), batch))
            }
        }
    }
}

fn cut(mut readings: Merge, batch: u64) -> Pushes {
    let mut cutter = Cutter::new(batch);
    let mut pacer = Pacer::default();
    let mut push = move |message: Message| {
        let due = pacer.due("", Some(message.time));
        Push { readings: message.readings, due, share: message.readings, body: Body::Cut(message) }
    };
    Box::new(std::iter::from_fn(move || {
        loop {
            let message = match readings.next() {
                Some(Ok(reading)) => cutter.push(&reading),
                Some(Err(error)) => return Some(Err(error)),
                None => return cutter.finish().map(|message| Ok(push(message))),
            };
            if let Some(message) = message {
                return Some(Ok(push(message)));
            }
        }
    }))
}

/// The forms a recording can have, by the end of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Labelled,
    Ndjson,
    Json,
    Zip,
}

impl Form {
    fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().to_lowercase();
        let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
        match () {
            () if ends(&[".csv", ".csv.gz"]) => Some(Self::Labelled),
            () if ends(&[".ndjson", ".ndjson.gz"]) => Some(Self::Ndjson),
            () if ends(&[".json"]) => Some(Self::Json),
            () if ends(&[".zip"]) => Some(Self::Zip),
            () => None,
        }
    }
}

/// The recordings that `files` hold; folders are searched through.
pub(super) fn gather(files: &[PathBuf]) -> anyhow::Result<Vec<Recording>> {
    let mut found = BTreeMap::new();
    for file in files {
        collect(file, &mut found)?;
    }
    let mut recordings = Vec::new();
    let mut subjects: BTreeMap<String, Vec<Run>> = BTreeMap::new();
    for path in found.values() {
        let form = Form::of(path).with_context(|| {
            format!("{}: not a recording; expected .csv.gz, .csv, .ndjson, .ndjson.gz, .json or .zip", path.display())
        })?;
        let recording = match form {
            Form::Labelled => labelled::survey(path).map(|(subject, run)| {
                subjects.entry(subject).or_default().push(run);
                None
            }),
            Form::Ndjson => ndjson::survey(path).map(Some),
            Form::Json => json_export::survey(path).map(Some),
            Form::Zip => zip_export::survey(path).map(Some),
        };
        recordings.extend(recording.with_context(|| path.display().to_string())?);
    }
    recordings.extend(
        subjects.into_iter().map(|(subject, runs)| {
            Recording::of_readings(format!("phone-{subject}"), format!("session-{subject}"), runs)
        }),
    );
    one_session_each(&recordings)?;
    Ok(recordings)
}

/// The labelled recordings that `files` hold.
#[cfg(feature = "kafka")]
pub(super) fn labelled(files: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = BTreeMap::new();
    for file in files {
        collect(file, &mut found)?;
    }
    Ok(found.into_values().filter(|path| Form::of(path) == Some(Form::Labelled)).collect())
}

fn one_session_each(recordings: &[Recording]) -> anyhow::Result<()> {
    let mut seen = HashSet::new();
    for Recording { identity, content, .. } in recordings {
        let cut = matches!(content, Content::Readings(_));
        if cut && !seen.insert((&identity.device, &identity.session)) {
            bail!(
                "two recordings would both be session {} of {}; rename one of the files",
                identity.session,
                identity.device
            );
        }
    }
    Ok(())
}

/// Adds `path`, or every recording below it, under its real path so that nothing is played twice.
fn collect(path: &Path, found: &mut BTreeMap<PathBuf, PathBuf>) -> anyhow::Result<()> {
    let real = path.canonicalize().with_context(|| format!("{}: cannot be opened", path.display()))?;
    if !real.is_dir() {
        found.insert(real, path.to_owned());
        return Ok(());
    }
    let mut any = false;
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        let unreadable = || format!("{}: cannot be read", folder.display());
        for entry in folder.read_dir().with_context(unreadable)? {
            let entry = entry.with_context(unreadable)?;
            let path = entry.path();
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            if entry.file_type().with_context(unreadable)?.is_dir() {
                folders.push(path);
            } else if in_folders(&path) {
                found.insert(path.canonicalize().with_context(unreadable)?, path);
                any = true;
            }
        }
    }
    if !any {
        bail!("{}: no recording in it or below; looked for .csv.gz, .ndjson, .ndjson.gz, .json, .zip", path.display());
    }
    Ok(())
}

/// Whether a file in a folder is taken up: plain CSV is not, for it is more often a table of results.
fn in_folders(path: &Path) -> bool {
    Form::of(path).is_some() && path.extension().is_none_or(|end| !end.eq_ignore_ascii_case("csv"))
}

/// The bytes of a file, unpacked if its name ends in `.gz`.
pub(super) fn open(path: &Path) -> anyhow::Result<Box<dyn Read + Send>> {
    let file = BufReader::with_capacity(128 * 1024, File::open(path).context("cannot be opened")?);
    let packed = path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gz"));
    Ok(if packed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) })
}

/// A recording's name for people and ids: the file's without its ending.
fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split_once('.').map_or(name.as_ref(), |(stem, _)| stem).to_owned()
}

#[cfg(test)]
mod tests;
