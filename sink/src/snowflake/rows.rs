//! From records to the bodies of appends: newline-delimited JSON, cut where one Kafka offset ends. Pure.
//!
//! - A row is `RECORD_METADATA` and the table's keys, on one line. A value that is [`plain`](Cells::plain) goes out as it was
//!   read. Each cell of any other is spelled here: what a writer of Kafka spelled otherwise, a time or a key twice, might be
//!   passed over. Objects go out as they are spelled; [`refuses`] has looked at them.
//! - Rows of one offset are never parted; a piece's end token is the offset of its last row, and the last piece's is the
//!   mark's, which lies beyond where transaction markers or dead letters moved it.
//! - Buffers go from one submit to the next, of whichever channel: so many are kept as there are processors.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::thread::available_parallelism;

use bytes::Bytes;
use gaitway_proto::ledger::Mark;
use gaitway_proto::limits;
use gaitway_proto::record::{self, Body, Cells, Record};
use gaitway_proto::schema::{Cell, RECORD_METADATA, Table};

use zstd::bulk::Compressor;
use zstd::zstd_safe::compress_bound;

use super::strict;

/// Most that an append may come to on the wire, bytes: the 4 MB of Snowflake's documentation.
pub(super) const MOST_WIRE: usize = 4_000_000;

/// Greatest row, bytes of JSON: an append holds it even if nothing of it can be compressed. Below the 16 MiB of a `VARIANT` or
/// `VARCHAR`.
const MAX_ROW: usize = MOST_WIRE - 4 * 1024;

const _: () = assert!(limits::MAX_RECORD + 32 * 1024 < MAX_ROW, "what an agent takes, an append holds");

/// Most that is kept of a buffer between two submits, bytes.
const KEPT: usize = 4 * 1024 * 1024;

/// The lowest of zstd's ordinary levels: rows repeat so much that the default came out no smaller on 20,000 of them.
const LEVEL: i32 = 1;

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
#[derive(Default)]
pub(super) struct Rows {
    text: String,
    /// For each offset with rows: itself, and where its rows end in `text`.
    offsets: Vec<(u64, usize)>,
    /// None before the first use.
    compressor: Option<Compressor<'static>>,
    /// What was compressed last.
    wire: Vec<u8>,
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("offsets", &self.offsets).finish_non_exhaustive()
    }
}

/// Buffers that no submit needs now.
#[derive(Debug, Default)]
pub(super) struct Shelf(Mutex<Vec<Rows>>);

impl Shelf {
    /// Buffers for a submit.
    pub(super) fn take(&self) -> Rows {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// The submit is over.
    pub(super) fn put_back(&self, mut rows: Rows) {
        rows.shrink();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < available_parallelism().map_or(1, usize::from) {
            kept.push(rows);
        }
    }
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
            push(&mut self.text, record);
            let end = self.text.len();
            match self.offsets.last_mut() {
                Some((same, to)) if *same == offset => *to = end,
                _ => self.offsets.push((offset, end)),
            }
        }
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

    /// The rows are not needed any more.
    fn shrink(&mut self) {
        self.text.clear();
        self.text.shrink_to(KEPT);
        self.offsets.clear();
        self.offsets.shrink_to(KEPT / size_of::<(u64, usize)>());
        self.wire.clear();
        self.wire.shrink_to(KEPT);
    }

    /// The rows of a piece, compressed.
    pub(super) fn compress(&mut self, piece: &Piece) -> io::Result<Bytes> {
        let range = self.range(piece);
        let compressor = match &mut self.compressor {
            Some(compressor) => compressor,
            none => none.insert(Compressor::new(LEVEL)?),
        };
        self.wire.clear();
        self.wire.reserve(compress_bound(range.len()));
        compressor.compress_to_buffer(&self.text.as_bytes()[range], &mut self.wire)?;
        Ok(Bytes::copy_from_slice(&self.wire))
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
    pub(super) fn body(&self, piece: &Piece) -> &[u8] {
        &self.text.as_bytes()[self.range(piece)]
    }

    fn range(&self, piece: &Piece) -> Range<usize> {
        let begin = piece.first.checked_sub(1).map_or(0, |before| self.offsets[before].1);
        begin..self.offsets[piece.last - 1].1
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

/// Appends a record as a line.
fn push(out: &mut String, record: &Record<'_>) {
    out.push_str("{\"");
    out.push_str(RECORD_METADATA);
    out.push_str("\":");
    let begun = out.len();
    record.metadata.write_json(out);
    if record.metadata.place.is_some_and(|place| place.unknown.is_some()) {
        let metadata = out.split_off(begun);
        push_object(out, &metadata);
    }
    if let Some((_, fields)) = plain(record).and_then(|json| json.split_once('{')) {
        out.push(',');
        out.push_str(fields);
        out.push('\n');
        return;
    }
    let mut fields = record.table().fields.iter();
    record.visit_cells(|cell| {
        let field = fields.next().expect("visit_cells follows the table's fields");
        out.push_str(",\"");
        out.push_str(field.name);
        out.push_str("\":");
        match &cell {
            Cell::Object(json) => push_object(out, json),
            cell => record::push_json(out, field.kind, cell),
        }
    });
    out.push_str("}\n");
}

/// The whole value as it was read, if it can stay so.
fn plain<'a>(record: &Record<'a>) -> Option<&'a str> {
    match &record.body {
        Body::Cells(Cells { plain: true, json, .. }) => *json,
        _ => None,
    }
}

/// An object read from Kafka is spelled as its writer spelled it, over several lines if it liked; within texts JSON has no line
/// ends.
fn push_object(out: &mut String, json: &str) {
    for (number, line) in json.split(['\n', '\r']).enumerate() {
        if number > 0 {
            out.push(' ');
        }
        out.push_str(line);
    }
}

/// Why Snowflake would pass over `record` although it accepted it. Numbers, times and texts cannot be such a reason:
/// `NUMBER(19)` holds every `i64`, `TIMESTAMP_NTZ(9)` every time that `i64` nanoseconds tell, and [`MAX_ROW`] lies below
/// the limits of `VARCHAR` and `VARIANT`.
pub(super) fn refuses(record: &Record<'_>) -> Option<String> {
    let unreadable = |name: &str, json: &str| {
        strict::fault(json).map(|fault| format!("{name}: {fault}, which Snowflake would pass over"))
    };
    let place = record.metadata.place;
    let mut wrong = place.and_then(|place| unreadable("unknown fields", place.unknown?));
    // An upper bound: an escaped byte takes six, a number or a time less than 64.
    let text = |text: Option<&str>| 6 * text.map_or(0, str::len);
    let mut most = 512 + text(place.map(|place| place.topic)) + text(place.and_then(|place| place.key));
    most += place.and_then(|place| place.unknown).map_or(0, str::len);
    let mut fields = record.table().fields.iter();
    record.visit_cells(|cell| {
        let field = fields.next().expect("visit_cells follows the table's fields");
        most += 8 + field.name.len();
        match &cell {
            Cell::Text(value) => most += text(Some(value)),
            Cell::Object(json) => {
                most += json.len();
                wrong = wrong.take().or_else(|| unreadable(field.name, json));
            }
            Cell::Null | Cell::Int(_) | Cell::Float(_) | Cell::Instant(_) => most += 64,
        }
    });
    most += plain(record).map_or(0, str::len);
    if wrong.is_some() || most <= MAX_ROW {
        return wrong;
    }
    let mut row = String::new();
    push(&mut row, record);
    let length = row.len();
    (length > MAX_ROW).then(|| format!("row of {length} bytes is longer than {MAX_ROW}, the most that an append holds"))
}

#[cfg(test)]
mod tests {
    use gaitway_proto::ledger::Source;
    use gaitway_proto::record::{Body, Cells, Metadata, Place};
    use gaitway_proto::schema::RAW;
    use proptest::prelude::*;

    use super::*;

    const OF: Partition = Partition { table: &RAW, topic: String::new(), number: 3 };

    fn place(offset: i64) -> Place<'static> {
        Place { topic: "", partition: 3, offset, key: Some("phone"), written: None, unknown: None }
    }

    fn record<'a>(place: &'a Place<'a>, json: &'a str) -> Record<'a> {
        let (cells, _) = Cells::parse(&RAW, json.as_bytes()).unwrap();
        Record { metadata: Metadata { name: None, place: Some(place) }, body: Body::Cells(cells) }
    }

    fn mark(from: Option<u64>, to: u64) -> Mark {
        Mark { source: Source::partition("", 3), from, to }
    }

    fn rows(offsets: &[i64], to: u64) -> Rows {
        let places: Vec<_> = offsets.iter().map(|offset| place(*offset)).collect();
        let records: Vec<_> = places.iter().map(|place| record(place, "{}")).collect();
        let mut rows = Rows::default();
        rows.encode(&OF, &records, &mark(None, to)).unwrap();
        rows
    }

    #[test]
    fn a_row_is_one_line_with_its_metadata_first() {
        let unknown = "{\"new\":\r\n1}";
        let place = Place { unknown: Some(unknown), ..place(7) };
        let json = " {\n\"x\": 1,\r\n\"sensorType\":\"a\\n\\u00e9\",\"reading\":{\n\"y\":[ ]}}";
        let mut rows = Rows::default();
        rows.encode(&OF, &[record(&place, json)], &mark(Some(6), 9)).unwrap();
        let piece = rows.pieces(9, 100).pop_front().unwrap();
        assert_eq!((piece.start, piece.end), (7, 9));
        let line = std::str::from_utf8(rows.body(&piece)).unwrap().strip_suffix('\n').unwrap();
        let metadata = r#"{"RECORD_METADATA":{"topic":"","partition":3,"offset":7,"key":"phone","unknown":{"new":  1}},"messageId":null"#;
        assert!(line.starts_with(metadata), "{line}");
        assert!(line.contains(r#""x":1.0,"#) && line.contains("\"sensorType\":\"a\\né\""), "{line}");
        assert!(line.contains(r#""reading":{ "y":[ ]},"#) && !line.contains(['\n', '\r']), "{line}");
    }

    #[test]
    fn a_value_is_spelled_alike_however_its_writer_spelled_it() {
        let place = place(7);
        let line = |json: &str| {
            let mut line = String::new();
            push(&mut line, &record(&place, json));
            line
        };
        let usual = r#"{"deviceId":"d","x":0.5,"receivedAt":"2023-11-14T22:13:20.5Z"}"#;
        for odd in [
            r#"{"deviceId":"a","x":9,"deviceId":"\u0064","x":5e-1,"receivedAt":"2023-11-14T22:13:20.5Z"}"#,
            r#"{"deviceId":"d","x":0.50,"receivedAt":"20231114T231320,5+01"}"#,
            r#"{"deviceId":"d","x":0.5,"receivedAt":"2023-11-14 23:13:20.5+01:00[Europe/Berlin]"}"#,
        ] {
            assert_eq!(line(odd), line(usual), "{odd}");
        }
        assert!(line(usual).contains(r#""receivedAt":"2023-11-14T22:13:20.5Z""#), "{}", line(usual));
    }

    #[test]
    fn an_object_that_a_strict_reader_refuses_is_refused_and_named() {
        let place = place(7);
        let refused = refuses(&record(&place, r#"{"reading":{"a":"\ud800"}}"#)).unwrap();
        assert!(refused.contains("reading: ") && refused.contains("hex escape"), "{refused}");
        assert_eq!(refuses(&record(&place, r#"{"reading":{"a":"\ud83c\udfc3"}}"#)), None);
        let place = Place { unknown: Some(r#"{"new":1,"new":2}"#), ..place };
        let refused = refuses(&record(&place, "{}")).unwrap();
        assert!(refused.contains("unknown fields: ") && refused.contains("twice"), "{refused}");
    }

    #[test]
    fn what_is_not_this_partitions_is_refused() {
        let of = |offset| place(offset);
        let foreign = Place { partition: 4, ..of(7) };
        let (five, seven, minus) = (of(5), of(7), of(-1));
        let nowhere = Record { metadata: Metadata { name: None, place: None }, ..record(&seven, "{}") };
        let wrong = [
            vec![record(&foreign, "{}")],
            vec![record(&minus, "{}")],
            vec![record(&five, "{}")],
            vec![record(&seven, "{}"), record(&five, "{}")],
            vec![nowhere],
        ];
        for records in wrong {
            assert!(Rows::default().encode(&OF, &records, &mark(Some(5), 9)).is_err(), "{records:?}");
        }
        assert!(Rows::default().encode(&OF, &[record(&seven, "{}")], &mark(None, 6)).is_err());
    }

    #[test]
    fn a_row_longer_than_an_append_is_refused() {
        let place = place(7);
        let mut empty = String::new();
        push(&mut empty, &record(&place, r#"{"sensorType":""}"#));
        let sensor = |length: usize| format!("{{\"sensorType\":\"{}\"}}", "x".repeat(length));
        assert_eq!(refuses(&record(&place, &sensor(MAX_ROW - empty.len()))), None);
        let refused = refuses(&record(&place, &sensor(MAX_ROW - empty.len() + 1))).unwrap();
        assert!(refused.contains(&format!("{} bytes", MAX_ROW + 1)), "{refused}");
        let quotes = format!("{{\"sensorType\":\"{}\"}}", "\\\"".repeat(MAX_ROW / 2));
        assert!(refuses(&record(&place, &quotes)).is_some(), "escapes count");
        let long = format!("{{\"x\":\"{}\"}}", "x".repeat(MAX_ROW));
        let place = Place { unknown: Some(&long), ..place };
        assert!(refuses(&record(&place, "{}")).is_some());
    }

    #[test]
    fn a_great_submit_leaves_no_great_buffer_behind() {
        let offsets: Vec<_> = (0..40_000).collect();
        let mut rows = rows(&offsets, 40_000);
        assert!(rows.text.capacity() > 2 * KEPT);
        let piece = rows.pieces(40_000, usize::MAX).pop_front().unwrap();
        let wire = rows.compress(&piece).unwrap();
        assert_eq!(zstd::bulk::decompress(&wire, 64 * KEPT).unwrap(), rows.body(&piece));
        let shelf = Shelf::default();
        shelf.put_back(rows);
        let rows = shelf.take();
        assert!(rows.text.is_empty() && rows.text.capacity() <= KEPT, "{}", rows.text.capacity());
        assert!(rows.offsets.capacity() * size_of::<(u64, usize)>() <= KEPT && rows.wire.capacity() <= KEPT);
        assert!(rows.compressor.is_some() && shelf.take().compressor.is_none());
    }

    #[test]
    fn the_greatest_row_fits_into_an_append_whatever_it_holds() {
        let mut noise = vec![0; MAX_ROW];
        let mut state = 1_u64;
        for byte in &mut noise {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (state >> 56) as u8;
        }
        assert!(zstd::bulk::compress(&noise, 3).unwrap().len() <= MOST_WIRE);
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
            prop_assert_eq!(pieces.iter().flat_map(|piece| rows.body(piece)).copied().collect::<Vec<_>>(), rows.text.as_bytes());
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
