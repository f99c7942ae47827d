//! Records that PostgreSQL can never hold, told before it is asked.
//!
//! - What passes here is stored, whatever its form.
//! - What does not pass is refused by the server as well, or is beyond a limit named here.
//!
//! `text` holds no U+0000. `jsonb` holds none either, no lone surrogate, and no number beyond the range of `numeric`:
//! 131,072 digits before the point and 16,383 behind it. Nesting is bounded by the server's stack
//! (`max_stack_depth`); an index entry of a B-tree by a third of a page.

use gaitway_proto::record::Record;
use gaitway_proto::schema::{Cell, RAW, Table};

use super::json::{Fault, fault};

/// Greatest text or object, bytes. Four times what a record on Kafka may have; as `jsonb` even an array of single digits
/// of this length stays below its 256 MiB.
pub(super) const MAX_VALUE: usize = 16 * 1024 * 1024;

/// Greatest sum of a row's indexed texts, bytes: an index entry ends at 2,704, with some 60 of its own.
const MAX_INDEXED: usize = 2_600;

/// Why PostgreSQL can never hold `record`, if it cannot.
pub(super) fn of(record: &Record<'_>) -> Option<String> {
    let place = record.metadata.place;
    let topic = place.and_then(|place| text("topic", place.topic));
    let key = place.and_then(|place| place.key).and_then(|key| text("key", key));
    let unknown = place.and_then(|place| place.unknown).and_then(|json| object("unknown fields", json));
    topic.or(key).or(unknown).or_else(|| in_cells(record))
}

fn in_cells(record: &Record<'_>) -> Option<String> {
    let table = record.table();
    let (mut fields, mut found, mut indexed) = (table.fields.iter(), None, 0);
    record.visit_cells(|cell| {
        let field = fields.next().expect("visit_cells follows the table's fields");
        let wrong = match &cell {
            Cell::Text(value) => {
                indexed += if is_indexed(table, field.name) { value.len() } else { 0 };
                text(field.name, value)
            }
            Cell::Object(json) => object(field.name, json),
            Cell::Null | Cell::Int(_) | Cell::Float(_) | Cell::Instant(_) => None,
        };
        if found.is_none() {
            found = wrong;
        }
    });
    found.or_else(|| {
        let say = || format!("its ids have {indexed} bytes, and an index of PostgreSQL takes {MAX_INDEXED}");
        (indexed > MAX_INDEXED).then(say)
    })
}

fn is_indexed(table: &Table, field: &str) -> bool {
    field == "sessionId" || (field == "deviceId" && table.name != RAW.name)
}

fn text(name: &str, text: &str) -> Option<String> {
    if text.len() > MAX_VALUE {
        return Some(too_long(name, text.len()));
    }
    text.contains('\0').then(|| format!("{name} has the character U+0000, which text in PostgreSQL cannot hold"))
}

fn object(name: &str, json: &str) -> Option<String> {
    if json.len() > MAX_VALUE {
        return Some(too_long(name, json.len()));
    }
    let what = match fault(json)? {
        Fault::Null => "has the character U+0000",
        Fault::Surrogate => "has half a surrogate pair",
        Fault::Number => "has a number beyond the range of numeric",
        Fault::Depth => "is nested too deeply",
    };
    Some(format!("{name} {what}, which jsonb in PostgreSQL cannot hold"))
}

fn too_long(name: &str, bytes: usize) -> String {
    format!("{name} has {bytes} bytes, and {MAX_VALUE} are the most")
}
