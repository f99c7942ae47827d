//! Labelled recordings of real phones and windows computed by Apache Spark, below `tests/data` of the workspace.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use gaitway_agent::windows::Sample;

/// One trial: readings in time order and what the person did.
pub(crate) struct Trial {
    /// The person.
    pub(crate) subject: String,
    /// What they did.
    #[allow(dead_code, reason = "golden windows have labels of their own")]
    pub(crate) label: String,
    /// Their readings.
    pub(crate) samples: Vec<Sample>,
}

/// A path below `tests/data`.
pub(crate) fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data").join(path)
}

/// A text file, or its `.gz`.
pub(crate) fn text(path: &Path) -> String {
    let zipped = PathBuf::from(format!("{}.gz", path.display()));
    let packed = path.extension().is_some_and(|extension| extension == "gz");
    let mut text = String::new();
    let result = if packed || !path.exists() {
        let path = if packed { path } else { &zipped };
        File::open(path).and_then(|file| GzDecoder::new(file).read_to_string(&mut text))
    } else {
        File::open(path).and_then(|mut file| file.read_to_string(&mut text))
    };
    result.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text
}

/// Every trial of a set, by subject and time.
pub(crate) fn trials(set: &str) -> Vec<Trial> {
    let mut trials: Vec<Trial> = entries(&data(&format!("har/{set}")))
        .iter()
        .flat_map(|subject| entries(subject))
        .map(|file| trial(&text(&file)))
        .collect();
    trials.sort_by_key(|trial| (trial.subject.clone(), trial.samples[0].time));
    assert!(!trials.is_empty(), "no trial in {set}");
    trials
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let read = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    read.map(|entry| entry.unwrap().path()).collect()
}

/// `time_ns,x,y,z,label,subject,trial,rate`
fn trial(csv: &str) -> Trial {
    let rows: Vec<Vec<&str>> = csv.lines().skip(1).map(|line| line.split(',').collect()).collect();
    let samples = rows.iter().map(|row| {
        let axes = [row[1], row[2], row[3]].map(|axis| axis.parse().unwrap());
        Sample::from_axes(row[0].parse().unwrap(), axes).unwrap()
    });
    Trial { subject: rows[0][5].to_owned(), label: rows[0][4].to_owned(), samples: samples.collect() }
}
