//! The app's zip export: one CSV a sensor, and `Metadata.csv`.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use flate2::read::DeflateDecoder;
use zip::{CompressionMethod, ZipArchive};

use super::csv_rows::Rows;
use super::{LONGEST, Recording, stem};
use crate::replay::merge::{Readings, Run, survey as survey_run};

/// Where the bytes of an entry lie in the archive.
#[derive(Debug, Clone)]
struct Entry {
    archive: PathBuf,
    name: String,
    start: u64,
    packed: u64,
    deflated: bool,
}

/// Reads an export through: its recording.
pub(super) fn survey(path: &Path) -> anyhow::Result<Recording> {
    let file = BufReader::new(File::open(path).context("cannot be opened")?);
    let mut archive = ZipArchive::new(file).context("not a zip archive that can be read")?;
    let mut device = None;
    let mut runs = Vec::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).with_context(|| format!("entry {index}"))?;
        let name = entry.name().with_context(|| format!("entry {index}"))?.into_owned();
        let Some(sensor) = sensor(&name) else { continue };
        if sensor.eq_ignore_ascii_case("metadata") {
            device = device.or(named_device(&mut entry).context(name)?);
            continue;
        }
        let survey = Rows::of_sensor(&mut entry, sensor).and_then(survey_run).with_context(|| name.clone())?;
        let deflated = match entry.compression() {
            CompressionMethod::Stored => false,
            CompressionMethod::Deflated => true,
            other => bail!("{name}: packed with {other:?}; expected deflate"),
        };
        let start = entry.data_start().with_context(|| name.clone())?;
        let place = Entry { archive: path.to_owned(), name, start, packed: entry.compressed_size(), deflated };
        runs.extend(survey.map(|survey| Run::new(survey, move || place.readings())));
    }
    if runs.is_empty() {
        bail!("no readings in it; expected the app's zip export, one CSV a sensor");
    }
    let name = stem(path);
    Ok(Recording::of_readings(device.unwrap_or_else(|| format!("phone-{name}")), format!("session-{name}"), runs))
}

/// The sensor whose readings an entry holds, if it is such an entry.
fn sensor(entry: &str) -> Option<&str> {
    let file = entry.rsplit('/').next()?;
    let (name, end) = file.rsplit_once('.')?;
    let usable = end.eq_ignore_ascii_case("csv") && !name.starts_with('.') && !name.is_empty();
    usable.then_some(name)
}

fn named_device(metadata: impl Read) -> anyhow::Result<Option<String>> {
    let mut reader = csv::Reader::from_reader(metadata.take(LONGEST));
    let column = reader.headers()?.iter().position(|name| name == "device id");
    let Some(row) = reader.records().next().transpose()? else { return Ok(None) };
    let device = column.and_then(|column| row.get(column)).filter(|device| !device.is_empty());
    Ok(device.map(str::to_owned))
}

impl Entry {
    fn readings(self) -> anyhow::Result<Readings> {
        let place = format!("{}: {}", self.archive.display(), self.name);
        let rows = self.rows().with_context(|| place.clone())?;
        Ok(Box::new(rows.map(move |reading| reading.with_context(|| place.clone()))))
    }

    fn rows(&self) -> anyhow::Result<Rows<Box<dyn Read + Send>>> {
        let mut file = BufReader::new(File::open(&self.archive).context("cannot be opened")?);
        file.seek(SeekFrom::Start(self.start))?;
        let packed = file.take(self.packed);
        let bytes: Box<dyn Read + Send> =
            if self.deflated { Box::new(DeflateDecoder::new(packed)) } else { Box::new(packed) };
        Rows::of_sensor(bytes, sensor(&self.name).unwrap_or(&self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_named_after_their_sensor() {
        assert_eq!(sensor("2025-07-05/WristMotion.csv"), Some("WristMotion"));
        assert_eq!(sensor("Accelerometer.CSV"), Some("Accelerometer"));
        for other in ["__MACOSX/._Accelerometer.csv", "Camera/1.jpg", "Microphone.mp4", ".csv", "folder/"] {
            assert_eq!(sensor(other), None, "{other}");
        }
    }

    #[test]
    fn metadata_names_the_device() {
        let csv = "version,device name,device id,sensors\n3,Pixel,d-1,Accelerometer|Gyroscope\n";
        assert_eq!(named_device(csv.as_bytes()).unwrap().as_deref(), Some("d-1"));
        assert_eq!(named_device("version\n".as_bytes()).unwrap(), None);
        assert_eq!(named_device("".as_bytes()).unwrap(), None);
    }
}
