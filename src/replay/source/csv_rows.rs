//! Rows of a CSV as readings: columns by the names in its header.
//!
//! - A row is no longer than [`LONGEST`], a header than [`LONGEST_HEADER`], however small the file that unpacks to it.

use std::io::{self, Read};

use anyhow::{Context, bail};
use gaitway_proto::value::Value;

use super::LONGEST;
use crate::replay::reading::{Draft, Reading, is_number, literal, push_name, quoted};

/// Longest header, bytes: each of its columns is looked for in each row.
const LONGEST_HEADER: u64 = 64 * 1024;

/// The readings of one CSV.
pub(super) struct Rows<R> {
    reader: csv::Reader<Rationed<R>>,
    row: csv::StringRecord,
    columns: Columns,
}

struct Columns {
    quoted_sensor: String,
    time: Column,
    accuracy: Option<Column>,
    values: Vec<Column>,
    only_numbers: bool,
    subject: Option<Subject>,
}

struct Column {
    index: usize,
    name: String,
    quoted: String,
}

struct Subject {
    column: Column,
    seen: Option<String>,
}

impl<R: Read> Rows<R> {
    /// A labelled recording: `time_ns`, `x`, `y`, `z` of the accelerometer, and a `subject` that is the same in every
    /// row; other columns are left alone.
    pub(super) fn labelled(bytes: R) -> anyhow::Result<Self> {
        Self::open(bytes, |header| {
            let column = |name| {
                Column::find(header, name).with_context(|| {
                    format!("no column {name}; expected a labelled recording with time_ns, x, y, z and subject")
                })
            };
            Ok(Columns {
                quoted_sensor: quoted("accelerometer"),
                time: column("time_ns")?,
                accuracy: None,
                values: vec![column("x")?, column("y")?, column("z")?],
                only_numbers: true,
                subject: Some(Subject { column: column("subject")?, seen: None }),
            })
        })
    }

    /// What the app exports for one sensor: `time` and the sensor's own columns.
    pub(super) fn of_sensor(bytes: R, sensor: &str) -> anyhow::Result<Self> {
        Self::open(bytes, |header| {
            let elsewhere = ["time", "seconds_elapsed", "accuracy"];
            let values = (0..).zip(header).filter(|(_, name)| !elsewhere.contains(name));
            Ok(Columns {
                quoted_sensor: quoted(&push_name(sensor)),
                time: Column::find(header, "time").context("no column time; expected the export of one sensor")?,
                accuracy: Column::find(header, "accuracy"),
                values: values.map(|(index, name)| Column::new(index, name)).collect(),
                only_numbers: false,
                subject: None,
            })
        })
    }

    fn open(bytes: R, columns: impl FnOnce(&csv::StringRecord) -> anyhow::Result<Columns>) -> anyhow::Result<Self> {
        let bytes = Rationed { bytes, left: LONGEST_HEADER };
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::Headers).from_reader(bytes);
        let columns = columns(reader.headers().context("the header cannot be read")?).context("line 1")?;
        Ok(Self { reader, row: csv::StringRecord::new(), columns })
    }

    /// The subject of the rows read so far.
    pub(super) fn subject(&self) -> Option<&str> {
        self.columns.subject.as_ref()?.seen.as_deref()
    }
}

impl<R: Read> Iterator for Rows<R> {
    type Item = anyhow::Result<Reading>;
    fn next(&mut self) -> Option<Self::Item> {
        self.reader.get_mut().left = LONGEST;
        match self.reader.read_record(&mut self.row) {
            Ok(false) => None,
            Ok(true) => {
                let line = self.row.position().map_or(0, csv::Position::line);
                Some(self.columns.reading(&self.row).with_context(|| format!("line {line}")))
            }
            Err(error) => Some(Err(error.into())),
        }
    }
}

impl Columns {
    fn reading(&mut self, row: &csv::StringRecord) -> anyhow::Result<Reading> {
        if let Some(subject) = &mut self.subject {
            subject.check(row)?;
        }
        let mut draft = Draft::default();
        for column in &self.values {
            let cell = column.cell(row);
            if self.only_numbers && !is_number(cell.trim()) {
                bail!("column {}: {cell:?} is not a number", column.name);
            }
            draft.value(&column.quoted, &literal(&column.name, cell));
        }
        if let Some(accuracy) = &self.accuracy {
            draft.accuracy(accuracy.cell(row));
        }
        Ok(draft.finish(&self.quoted_sensor, nanoseconds(&self.time.name, self.time.cell(row))?))
    }
}

impl Column {
    fn new(index: usize, name: &str) -> Self {
        Self { index, name: name.to_owned(), quoted: quoted(name) }
    }

    fn find(header: &csv::StringRecord, name: &str) -> Option<Self> {
        header.iter().position(|found| found == name).map(|index| Self::new(index, name))
    }

    fn cell<'r>(&self, row: &'r csv::StringRecord) -> &'r str {
        row.get(self.index).unwrap_or_default()
    }
}

impl Subject {
    fn check(&mut self, row: &csv::StringRecord) -> anyhow::Result<()> {
        let found = self.column.cell(row);
        match &self.seen {
            Some(seen) if seen == found => Ok(()),
            Some(seen) => bail!("column subject: {found:?} after {seen:?}; expected one subject in a file"),
            None if found.is_empty() => bail!("column subject is empty"),
            None => {
                self.seen = Some(found.to_owned());
                Ok(())
            }
        }
    }
}

/// Gives so many bytes and no more.
struct Rationed<R> {
    bytes: R,
    left: u64,
}

impl<R: Read> Read for Rationed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = (&mut self.bytes).take(self.left).read(buffer)?;
        self.left -= read as u64;
        if read == 0 && self.left == 0 {
            return Err(io::Error::other("a header or row is too long; expected a table of readings"));
        }
        Ok(read)
    }
}

/// A cell as nanoseconds since the Unix epoch.
pub(super) fn nanoseconds(column: &str, cell: &str) -> anyhow::Result<i64> {
    Value::from(cell)
        .as_integer()
        .with_context(|| format!("column {column}: {cell:?} is not a time; expected whole nanoseconds since 1970"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labelled(text: &str) -> anyhow::Result<Vec<Reading>> {
        Rows::labelled(text.as_bytes())?.collect()
    }

    fn complaint(text: &str) -> String {
        format!("{:#}", labelled(text).unwrap_err())
    }

    #[test]
    fn columns_are_found_by_name() {
        let readings = labelled("subject,z,y,x,time_ns\nms02,3,-2.50,1e-1,1700000000000000001\n").unwrap();
        let json =
            r#"{"name":"accelerometer","time":1700000000000000001,"values":{"x":1e-1,"y":-2.50,"z":3}}"#.to_owned();
        assert_eq!(readings, [Reading { time: 1_700_000_000_000_000_001, json }]);
    }

    #[test]
    fn a_sensors_own_columns_are_its_values() {
        let csv = "time,seconds_elapsed,latitude,note,accuracy\n1700000000000000001,0.2,51.5,a b,2\n17e17,0.3,,,\n";
        let readings: Vec<_> = Rows::of_sensor(csv.as_bytes(), "Location").unwrap().map(Result::unwrap).collect();
        assert_eq!(
            readings[0].json,
            r#"{"name":"location","time":1700000000000000001,"accuracy":2,"values":{"latitude":51.5,"note":"a b"}}"#
        );
        assert_eq!(
            readings[1].json,
            r#"{"name":"location","time":1700000000000000000,"values":{"latitude":null,"note":null}}"#
        );
    }

    #[test]
    fn complaints_name_line_and_column() {
        const HEADER: &str = "time_ns,x,y,z,subject\n1,0,0,0,a\n";
        assert!(complaint("time_ns,x,y,subject\n").starts_with("line 1: no column z; expected a labelled recording"));
        let of_row = |row: &str| complaint(&format!("{HEADER}{row}\n"));
        assert!(of_row("1,0,abc,0,a").starts_with("line 3: column y: \"abc\" is not a number"));
        assert!(of_row("1.5,0,0,0,a").starts_with("line 3: column time_ns: \"1.5\" is not a time; expected whole"));
        assert!(of_row("2,0,0,0,b").starts_with("line 3: column subject: \"b\" after \"a\""));
        assert!(of_row("2,0,0").contains("line: 3"));
    }

    #[test]
    fn a_row_or_header_without_an_end_is_given_up() {
        let endless = |beginning: &'static str| beginning.as_bytes().chain(io::repeat(b'1'));
        let rows = Rows::labelled(endless("time_ns,x,y,z,subject\n1,2,3,")).unwrap();
        let complaint = format!("{:#}", rows.collect::<anyhow::Result<Vec<_>>>().unwrap_err());
        assert!(complaint.contains("row is too long"), "{complaint}");
        let complaint = format!("{:#}", Rows::labelled(endless("time_ns,")).err().unwrap());
        assert!(complaint.contains("header or row is too long"), "{complaint}");

        let row = "1,0.5,0.25,0.125,ms02\n";
        let long = format!("time_ns,x,y,z,subject\n{}", row.repeat(2 * LONGEST as usize / row.len()));
        assert!(Rows::labelled(long.as_bytes()).unwrap().all(|reading| reading.is_ok()), "many rows are not one");
    }
}
