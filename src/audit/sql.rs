//! What a warehouse that is asked in SQL has, counted there: a few rows for each session, not one for each record.
//!
//! - A frame is what has one (agent, epoch, stream, seq). Each index of it counts once, the rest are there again.
//! - Seqs and messageIds come as ranges without holes.
//! - Windows that were classified anew are left out: no agent told them.

use gaitway_proto::activity::RECLASSIFIED;
use gaitway_proto::forgotten;
use gaitway_proto::ledger::{Epoch, Stream};
use gaitway_proto::schema::{self, Dialect, Table};

use super::ask::Marks;
use super::book::{Forgotten, Gap, Key, Store, StreamName, Tally};
use crate::warehouse::{Row, Sql, names, number, text};

/// How far Kafka's partitions are stored. PostgreSQL has it written down; of Snowflake it is the greatest offset that has
/// a row, as a channel's rows are committed in order.
pub(super) fn marks(sql: &mut Sql) -> Result<Marks, String> {
    let statement = match sql.dialect() {
        Dialect::Snowflake => greatest_offsets(Dialect::Snowflake),
        Dialect::Postgres | Dialect::Sqlite => "SELECT source, position FROM raw_data.gaitway_progress".to_owned(),
    };
    let rows = sql.ask(&statement)?;
    Ok(rows.iter().filter_map(|row| Some((text(row, 0), number(row, 1)?))).collect())
}

fn greatest_offsets(dialect: Dialect) -> String {
    let [topic, partition, offset] =
        [names::topic(dialect), names::placed(dialect, "partition"), names::placed(dialect, "offset")];
    let of = |table: &&Table| {
        let name = table.sql_name(dialect);
        format!("SELECT {topic} AS topic, {partition} AS part, {offset} AS place FROM {name} AS r")
    };
    let placed: Vec<String> = schema::TABLES.iter().map(of).collect();
    format!(
        "WITH placed AS ({}) SELECT p.topic || '/' || p.part, MAX(p.place) FROM placed AS p
          WHERE p.topic IS NOT NULL AND p.part IS NOT NULL GROUP BY p.topic, p.part",
        placed.join(" UNION ALL ")
    )
}

/// Whether a record has its whole name.
const NAMED: &str =
    "r.agent IS NOT NULL AND r.epoch IS NOT NULL AND r.stream IS NOT NULL AND r.seq IS NOT NULL AND r.idx IS NOT NULL";

/// `WITH` the readings and windows as `records`, and their frames as `frames`.
fn frames(dialect: Dialect) -> String {
    let [agent, epoch, stream] = ["agent", "epoch", "stream"].map(|key| names::part(dialect, key));
    let [seq, index] = ["seq", "index"].map(|key| names::number(dialect, key));
    let of = |table: &Table, message: &str| {
        let name = table.sql_name(dialect);
        format!(
            "SELECT {agent} AS agent, {epoch} AS epoch, {stream} AS stream, {seq} AS seq, {index} AS idx,
                    COALESCE(r.deviceId, '') AS device, COALESCE(r.sessionId, '') AS session, {message} AS message
               FROM {name} AS r"
        )
    };
    format!(
        "WITH records AS ({} UNION ALL {} WHERE COALESCE({agent}, '') <> '{RECLASSIFIED}'), frames AS (
         SELECT r.agent, r.epoch, r.stream, r.seq, r.device, r.session, MIN(r.message) AS message,
                COUNT(*) AS records, COUNT(DISTINCT r.idx) AS names, MAX(r.idx) + 1 AS due
           FROM records AS r WHERE {NAMED}
          GROUP BY r.agent, r.epoch, r.stream, r.seq, r.device, r.session)",
        of(&schema::RAW, "r.messageId"),
        of(&schema::ACTIVITY, "NULL"),
    )
}

/// The ranges of `number` for each of the `keys` of frames that are `wanted`.
fn ranges(keys: &[&str], number: &str, wanted: &str) -> String {
    let of = |relation: &str| keys.iter().map(|key| format!("{relation}.{key}")).collect::<Vec<_>>().join(", ");
    let (f, d, i) = (of("f"), of("d"), of("i"));
    format!(
        "SELECT {i}, MIN(i.num), MAX(i.num) FROM (
         SELECT {d}, d.num, d.num - ROW_NUMBER() OVER (PARTITION BY {d} ORDER BY d.num) AS island FROM (
         SELECT DISTINCT {f}, f.{number} AS num FROM frames AS f WHERE {wanted}) AS d) AS i GROUP BY {i}, i.island"
    )
}

/// What is stored. `is_shortened`: its oldest readings may have been deleted.
pub(super) fn store(sql: &mut Sql, is_shortened: bool) -> Result<Store, String> {
    let dialect = sql.dialect();
    if dialect == Dialect::Postgres {
        sql.ask("BEGIN")?;
    }
    let with = frames(dialect);
    let mut store = Store::default();
    store.is_shortened = is_shortened;
    let sessions = "SELECT f.device, f.session, f.stream, f.agent, COUNT(*), SUM(f.names), SUM(f.records - f.names),
            SUM(f.due - f.names),
            MIN(CASE WHEN f.records > f.names THEN f.agent || '/' || f.epoch || '/' || f.stream || ' seq ' || f.seq END),
            f.epoch, MIN(f.seq)
       FROM frames AS f GROUP BY f.device, f.session, f.stream, f.agent, f.epoch";
    for row in sql.ask(&format!("{with} {sessions}"))? {
        take_session(&mut store, &row);
    }
    for row in sql.ask(&format!("{with} {}", ranges(&["agent", "epoch", "stream"], "seq", "f.seq > 0")))? {
        if let (Some(name), Some(first), Some(last)) = (stream(&row), number(&row, 3), number(&row, 4)) {
            store.streams.entry(name).or_default().insert(first, last);
        }
    }
    let ids = ranges(&["device", "session"], "message", "f.stream = 'raw' AND f.message >= 0");
    for row in sql.ask(&format!("{with} {ids}"))? {
        if let (Some(first), Some(last)) = (number(&row, 2), number(&row, 3)) {
            let key = Key { device: text(&row, 0), session: text(&row, 1) };
            store.sessions.entry(key).or_default().ids.insert(first, last);
        }
    }
    for row in sql.ask(&format!("{with} SELECT COUNT(*) FROM records AS r WHERE NOT ({NAMED})"))? {
        store.nameless += number::<u64>(&row, 0).unwrap_or(0);
    }
    for row in sql.ask(&gaps(dialect))? {
        take_gap(&mut store, &row);
    }
    if dialect == Dialect::Postgres {
        sql.ask("COMMIT")?;
    }
    Ok(store)
}

fn take_session(store: &mut Store, row: &Row) {
    let count = |at| number::<u64>(row, at).unwrap_or(0);
    let (frames, records, again, torn) = (count(4), count(5), count(6), count(7));
    let Some(kind) = stream_named(&text(row, 2)) else {
        store.nameless += records + again;
        return;
    };
    let key = Key { device: text(row, 0), session: text(row, 1) };
    let tally = store.sessions.entry(key).or_default();
    let epoch = u64::from_str_radix(&text(row, 9), 16).ok().and_then(|epoch| Epoch::try_from(epoch).ok());
    if let (Some(epoch), Some(seq)) = (epoch, number(row, 10)) {
        tally.meet(&StreamName { agent: text(row, 3), epoch, stream: kind }, seq);
    }
    let Tally {
        messages,
        readings,
        windows,
        by_agent,
        readings_again,
        windows_again,
        again: example,
        torn: missing,
        ..
    } = tally;
    *missing += torn;
    if let (None, Some(name)) = (&example, &row[8]) {
        *example = Some(name.clone());
    }
    if kind == Stream::Raw {
        *messages += frames;
        *readings += records;
        *readings_again += again;
        *by_agent.entry(text(row, 3)).or_default() += records;
    } else {
        *windows += records;
        *windows_again += again;
    }
}

/// Every gap, and how often it is there.
fn gaps(dialect: Dialect) -> String {
    let [agent, epoch, stream] = ["agent", "epoch", "stream"].map(|key| names::part(dialect, key));
    let seq = names::number(dialect, "seq");
    format!(
        "SELECT g.agent, g.epoch, g.stream, g.seq, g.last, g.readings, COUNT(*), g.messages, g.reason FROM (
         SELECT {agent} AS agent, {epoch} AS epoch, {stream} AS stream, {seq} AS seq, r.toSeq AS last,
                r.readings AS readings, r.messages AS messages, r.reason AS reason FROM {} AS r) AS g
          GROUP BY g.agent, g.epoch, g.stream, g.seq, g.last, g.readings, g.messages, g.reason",
        schema::GAPS.sql_name(dialect)
    )
}

fn take_gap(store: &mut Store, row: &Row) {
    let count = number::<u64>(row, 6).unwrap_or(0);
    let (Some(name), Some(from)) = (stream(row), number(row, 3)) else {
        store.nameless += count;
        return;
    };
    let reason = row.get(8).cloned().flatten();
    let is_forgotten = reason.as_deref() == Some(forgotten::ROWS);
    let gap = Gap { to: number(row, 4).unwrap_or(from), readings: number(row, 5), reason };
    for _ in 0..count {
        if is_forgotten {
            let (frames, rows) = (number(row, 7).unwrap_or(0), gap.readings.unwrap_or(0));
            store.forget(name.clone(), Forgotten { from, to: gap.to, frames, rows });
        } else {
            store.take_gap(name.clone(), from, gap.clone());
        }
    }
}

fn stream_named(name: &str) -> Option<Stream> {
    Stream::ALL.into_iter().find(|known| known.as_str() == name)
}

/// The stream that a row begins with.
fn stream(row: &Row) -> Option<StreamName> {
    let epoch = Epoch::try_from(u64::from_str_radix(&text(row, 1), 16).ok()?).ok()?;
    Some(StreamName { agent: row[0].clone()?, epoch, stream: stream_named(&text(row, 2))? })
}
