//! From records to the bodies of appends: newline-delimited JSON, cut where one Kafka offset ends. Pure.
//!
//! - A row is `RECORD_METADATA` and the record's own keys, on one line.
//! - Rows of one offset are never parted; a piece's end token is the offset of its last row, and the last piece's is the
//!   mark's, which lies beyond where transaction markers or dead letters moved it.
//! - Buffers are kept from one submit to the next.

use std::collections::VecDeque;

use gaitway_proto::ledger::Mark;
use gaitway_proto::record::{Body, Cells, Record};
use gaitway_proto::schema::{RECORD_METADATA, Table};
use memchr::memchr2;

/// Greatest row, bytes of JSON: an append of 4 MiB holds it whatever compression makes of it. Below the 16 MiB of a
/// `VARIANT` or `VARCHAR`.
const MAX_ROW: usize = 4 * 1024 * 1024 - 4 * 1024;

/// Whose rows these are.
#[derive(Debug, Clone)]
pub(super) struct Partition {
    pub(super) table: &'static Table,
    pub(super) topic: String,
    pub(super) number: i32,
}

/// One append: rows `first..last` of [`Rows`] under their tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    first: usize,
    last: usize,
    /// Offset of the first row.
    pub(super) start: u64,
    /// The position that is committed with it.
    pub(super) end: u64,
}

/// The rows of one submit as text.
#[derive(Debug, Default)]
pub(super) struct Rows {
    text: String,
    /// For each offset with rows: itself, and where its rows end in `text`.
    offsets: Vec<(u64, usize)>,
}

impl Rows {
    /// Takes `records`, which are this partition's, in order, behind the mark's `from` and not beyond its `to`. An error
    /// says which are not.
    pub(super) fn encode(&mut self, of: &Partition, records: &[Record<'_>], mark: &Mark) -> Result<(), String> {
        self.text.clear();
        self.offsets.clear();
        let mut least = mark.from.map_or(0, |from| from + 1);
        for record in records {
            let offset = of.offset(record)?;
            if offset < least || offset > mark.to {
                return Err(format!("record at offset {offset} is not within {least} to {}", mark.to));
            }
            least = offset;
            self.push(record)?;
            let end = self.text.len();
            match self.offsets.last_mut() {
                Some((same, to)) if *same == offset => *to = end,
                _ => self.offsets.push((offset, end)),
            }
        }
        Ok(())
    }

    fn push(&mut self, record: &Record<'_>) -> Result<(), String> {
        let out = &mut self.text;
        let start = out.len();
        out.push_str("{\"");
        out.push_str(RECORD_METADATA);
        out.push_str("\":");
        out.push_str(&record.metadata.to_json());
        let value = out.len();
        record.write_json(out);
        // A value read from Kafka is spelled as its writer spelled it, over several lines if it liked.
        if memchr2(b'\n', b'\r', &out.as_bytes()[start..]).is_some() {
            let flat = out[start..].replace(['\n', '\r'], " ");
            out.truncate(start);
            out.push_str(&flat);
        }
        match out[value..].find('{') {
            Some(at) => out.replace_range(value + at..=value + at, ","),
            None => return Err("record has a value that is no object".into()),
        }
        out.push('\n');
        Ok(())
    }

    /// Cuts everything into pieces of about `aim` bytes, the last of which ends at `to`.
    pub(super) fn pieces(&self, to: u64, aim: usize) -> VecDeque<Piece> {
        let mut pieces = VecDeque::new();
        let (mut first, mut begin) = (0, 0);
        for (at, &(offset, _)) in self.offsets.iter().enumerate() {
            let next = self.offsets.get(at + 1);
            if next.is_none_or(|(_, next)| next - begin > aim) {
                let end = if next.is_none() { to } else { offset };
                pieces.push_back(Piece { first, last: at + 1, start: self.offsets[first].0, end });
                first = at + 1;
                begin = self.offsets[at].1;
            }
        }
        pieces
    }

    /// The two halves of a piece; none if it is the rows of one offset.
    pub(super) fn split(&self, piece: &Piece) -> Option<[Piece; 2]> {
        let middle = piece.first + (piece.last - piece.first) / 2;
        if middle == piece.first {
            return None;
        }
        let first = Piece { last: middle, end: self.offsets[middle - 1].0, ..piece.clone() };
        Some([first, Piece { first: middle, start: self.offsets[middle].0, ..piece.clone() }])
    }

    /// The rows of a piece.
    pub(super) fn body(&self, piece: &Piece) -> &str {
        let begin = piece.first.checked_sub(1).map_or(0, |before| self.offsets[before].1);
        &self.text[begin..self.offsets[piece.last - 1].1]
    }
}

impl Partition {
    /// The offset of a record of this partition.
    fn offset(&self, record: &Record<'_>) -> Result<u64, String> {
        let Some(place) = record.metadata.place else { return Err("record was not read from Kafka".into()) };
        if place.topic != self.topic || place.partition != self.number {
            let Self { topic, number, .. } = self;
            return Err(format!("record of {}/{} does not belong to {topic}/{number}", place.topic, place.partition));
        }
        if record.table() != self.table {
            return Err(format!("record of {} does not belong into {}", record.table().name, self.table.name));
        }
        u64::try_from(place.offset).map_err(|_| format!("record has offset {}", place.offset))
    }
}

/// Why Snowflake would pass over `record` although it accepted it. Numbers, times and texts cannot be such a reason:
/// `NUMBER(19)` holds every `i64`, `TIMESTAMP_NTZ(9)` every time that `i64` nanoseconds tell, and [`MAX_ROW`] lies below
/// the limits of `VARCHAR` and `VARIANT`.
pub(super) fn refuses(record: &Record<'_>) -> Option<String> {
    let value = match &record.body {
        Body::Cells(Cells { json: Some(json), .. }) => json.len(),
        _ => record.to_json().len(),
    };
    if value + most_metadata(record) <= MAX_ROW {
        return None;
    }
    let length = record.metadata.to_json().len() + value;
    (length > MAX_ROW).then(|| format!("row of {length} bytes is longer than {MAX_ROW}, the most that an append holds"))
}

/// What the metadata of `record` cannot be longer than, without spelling it: a byte of text is at most `\u0000`.
fn most_metadata(record: &Record<'_>) -> usize {
    const NAMES_AND_NUMBERS: usize = 1024;
    let place = record.metadata.place.map_or(0, |place| {
        let spelled = place.topic.len() + place.key.map_or(0, str::len);
        spelled * "\\u0000".len() + place.unknown.map_or(0, str::len)
    });
    place + NAMES_AND_NUMBERS
}

#[cfg(test)]
mod tests {
    use gaitway_proto::ledger::Source;
    use gaitway_proto::record::{Metadata, Place};
    use gaitway_proto::schema::{Cell, RAW};
    use proptest::prelude::*;

    use super::*;

    const OF: Partition = Partition { table: &RAW, topic: String::new(), number: 3 };

    fn place(offset: i64) -> Place<'static> {
        Place { topic: "", partition: 3, offset, key: Some("phone"), unknown: None }
    }

    fn record<'a>(place: &'a Place<'a>, json: Option<&'a str>) -> Record<'a> {
        let cells = vec![Cell::Null; RAW.fields.len()];
        Record {
            metadata: Metadata { name: None, place: Some(place) },
            body: Body::Cells(Cells { table: &RAW, cells, json }),
        }
    }

    fn mark(from: Option<u64>, to: u64) -> Mark {
        Mark { source: Source::partition("", 3), from, to }
    }

    fn rows(offsets: &[i64], to: u64) -> Rows {
        let places: Vec<_> = offsets.iter().map(|offset| place(*offset)).collect();
        let records: Vec<_> = places.iter().map(|place| record(place, None)).collect();
        let mut rows = Rows::default();
        rows.encode(&OF, &records, &mark(None, to)).unwrap();
        rows
    }

    #[test]
    fn a_row_is_one_line_with_its_metadata_first() {
        let place = place(7);
        let mut rows = Rows::default();
        rows.encode(&OF, &[record(&place, Some(" {\n\"x\": 1,\r\n\"y\":\"a\\n\"}"))], &mark(Some(6), 9)).unwrap();
        let piece = rows.pieces(9, 100).pop_front().unwrap();
        assert_eq!((piece.start, piece.end), (7, 9));
        let line = rows.body(&piece).strip_suffix('\n').unwrap();
        assert!(
            line.starts_with(r#"{"RECORD_METADATA":{"topic":"","partition":3,"offset":7,"key":"phone"}"#),
            "{line}"
        );
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!((&value["x"], &value["y"]), (&1.into(), &"a\n".into()));
        assert!(!line.contains('\n'));
    }

    #[test]
    fn what_is_not_this_partitions_is_refused() {
        let of = |offset| place(offset);
        let foreign = Place { partition: 4, ..of(7) };
        let (five, seven, minus) = (of(5), of(7), of(-1));
        let nowhere = Record { metadata: Metadata { name: None, place: None }, ..record(&seven, None) };
        let wrong = [
            vec![record(&foreign, None)],
            vec![record(&minus, None)],
            vec![record(&five, None)],
            vec![record(&seven, None), record(&five, None)],
            vec![nowhere],
        ];
        for records in wrong {
            assert!(Rows::default().encode(&OF, &records, &mark(Some(5), 9)).is_err(), "{records:?}");
        }
        assert!(Rows::default().encode(&OF, &[record(&seven, None)], &mark(None, 6)).is_err());
    }

    #[test]
    fn a_row_longer_than_an_append_is_refused() {
        let place = place(7);
        let text = "x".repeat(MAX_ROW);
        let long = format!("{{\"x\":\"{text}\"}}");
        assert!(refuses(&record(&place, Some(&long))).unwrap().contains("longer than"));
        assert_eq!(refuses(&record(&place, Some(&long[..MAX_ROW - 200]))), None);
        assert_eq!(refuses(&record(&place, None)), None);
        let place = Place { unknown: Some(&long), ..place };
        assert!(refuses(&record(&place, Some("{}"))).is_some());
    }

    proptest! {
        #[test]
        fn pieces_hold_every_row_once_in_order(steps in prop::collection::vec(0_i64..3, 1..40), aim in 1_usize..3_000, more in 0_u64..5) {
            let offsets: Vec<i64> = steps.iter().scan(0, |at, step| { *at += step; Some(*at) }).collect();
            let to = *offsets.last().unwrap() as u64 + more;
            let rows = rows(&offsets, to);
            let mut pieces = rows.pieces(to, aim);
            // Split some as a 413 would.
            if let Some(halves) = rows.split(&pieces[0]) {
                pieces.pop_front();
                let [first, second] = halves;
                pieces.push_front(second);
                pieces.push_front(first);
            }
            prop_assert_eq!(pieces.iter().map(|piece| rows.body(piece)).collect::<String>(), rows.text.clone());
            prop_assert_eq!(pieces.back().unwrap().end, to);
            for (piece, next) in pieces.iter().zip(pieces.iter().skip(1)) {
                prop_assert!(piece.start <= piece.end && piece.end < next.start);
                prop_assert!(offsets.contains(&(piece.end as i64)));
            }
            for piece in &pieces {
                prop_assert!(rows.body(piece).len() <= aim || rows.split(piece).is_none());
            }
        }
    }
}
