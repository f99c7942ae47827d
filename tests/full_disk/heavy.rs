//! Messages that fill a disk soon, and what must be in the warehouse of them.

use std::collections::BTreeSet;
use std::path::Path;

use crate::harness::Random;
use crate::harness::phone::{Phone, Reading};
use crate::harness::warehouse::{assert_windows, open};

const START: i64 = 1_760_000_000_000_000_000;

/// The one reading of message `id`: three seconds after the last.
pub(crate) fn reading(id: u64) -> Reading {
    Reading { sensor: "accelerometer", time: START + id as i64 * 3_000_000_000, xyz: [1.0, 2.0, 3.0] }
}

/// A push of that reading with a note in it.
pub(crate) fn heavy(id: u64, note: &str) -> String {
    let Reading { sensor, time, xyz: [x, y, z] } = reading(id);
    serde_json::json!({
        "messageId": id, "sessionId": "heavy", "deviceId": "heavy",
        "payload": [{"name": sensor, "time": time, "values": {"x": x, "y": y, "z": z}, "note": note}]
    })
    .to_string()
}

/// A note of message `id` that no compression makes smaller than 30,000 bytes.
pub(crate) fn noise(id: u64) -> String {
    letters(id, 40_000)
}

/// So many letters, of which every four take three bytes at least.
pub(crate) fn letters(id: u64, many: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut random = Random::new(id);
    (0..many).map(|_| LETTERS[random.below(64) as usize] as char).collect()
}

/// The warehouse has exactly these messages, each once with its own note, and nothing else.
pub(crate) fn assert_stored(warehouse: &Path, expected: &BTreeSet<u64>) {
    let connection = open(warehouse);
    let mut statement = connection
        .prepare("SELECT messageId, json_extract(reading, '$.note') FROM ACTIVITY_RECORDS ORDER BY messageId")
        .unwrap();
    let rows = statement.query_map([], |row| Ok((row.get::<_, i64>(0)? as u64, row.get::<_, String>(1)?))).unwrap();
    let rows: Vec<_> = rows.map(Result::unwrap).collect();
    assert_eq!(rows.iter().map(|(id, _)| *id).collect::<Vec<_>>(), expected.iter().copied().collect::<Vec<_>>());
    for (id, note) in rows {
        assert!(note == noise(id), "the note of message {id}");
    }
}

/// The windows are those of these messages in this order.
pub(crate) fn assert_their_windows(warehouse: &Path, ids: &BTreeSet<u64>) {
    let mut phone = Phone::new(0, 0);
    (phone.device, phone.session) = ("heavy".to_owned(), "heavy".to_owned());
    let messages: Vec<_> = ids.iter().map(|id| [reading(*id)]).collect();
    assert_windows(warehouse, &phone, messages.iter().map(<[Reading; 1]>::as_slice));
}
