//! Records as rows of PostgreSQL's binary COPY (documentation of COPY, "Binary Format").
//!
//! - Integers and floats are stored to the bit, the sign of zero included.
//! - An instant is cut to the microsecond, which is all that `timestamp` holds; the tutorial's to the second, as its
//!   JSON says it.

use bytes::{BufMut as _, BytesMut};
use gaitway_proto::record::Record;
use gaitway_proto::schema::{Cell, FieldType, Table};

/// Signature, flags, and no extension.
pub(super) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// Where a row's number of fields stands: no more rows.
pub(super) const TRAILER: &[u8] = &(-1_i16).to_be_bytes();

/// The version of `jsonb` that is JSON as text.
const JSONB: u8 = 1;

/// 2000-01-01, from which PostgreSQL counts; microseconds since the Unix epoch.
const EPOCH: i64 = 946_684_800_000_000;

/// The statement that takes rows of `table`.
pub(super) fn statement(table: &Table) -> String {
    let columns: Vec<_> = table.columns().map(|name| format!("\"{}\"", name.to_lowercase())).collect();
    format!("COPY {}.{} ({}) FROM STDIN (FORMAT binary)", table.schema, table.name, columns.join(", "))
}

/// Appends `record` as a row of its table.
pub(super) fn push(out: &mut BytesMut, record: &Record<'_>) {
    let fields = record.table().fields;
    out.put_i16(fields.len() as i16 + 1);
    push_json(out, &record.metadata.to_json());
    let mut field = fields.iter();
    record.visit_cells(|cell| {
        let kind = field.next().expect("visit_cells follows the table's fields").kind;
        push_cell(out, kind, &cell);
    });
}

fn push_cell(out: &mut BytesMut, kind: FieldType, cell: &Cell<'_>) {
    match cell {
        Cell::Null => out.put_i32(-1),
        Cell::Int(number) => push_number(out, *number),
        Cell::Float(number) => push_number(out, number.to_bits() as i64),
        Cell::Text(text) => {
            push_length(out, text.len());
            out.put_slice(text.as_bytes());
        }
        Cell::Object(json) => push_json(out, json),
        Cell::Instant(at) if kind == FieldType::SeedInstant => {
            push_number(out, at.div_euclid(1_000_000_000) * 1_000_000 - EPOCH);
        }
        Cell::Instant(at) => push_number(out, at.div_euclid(1000) - EPOCH),
    }
}

fn push_number(out: &mut BytesMut, bits: i64) {
    push_length(out, 8);
    out.put_i64(bits);
}

fn push_json(out: &mut BytesMut, json: &str) {
    push_length(out, json.len() + 1);
    out.put_u8(JSONB);
    out.put_slice(json.as_bytes());
}

/// Values are below [`MAX_VALUE`](super::refusal::MAX_VALUE); metadata is a key and some numbers besides.
fn push_length(out: &mut BytesMut, length: usize) {
    out.put_i32(length as i32);
}
