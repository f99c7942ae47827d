//! A PostgreSQL database, read as of one moment beside its writers; the server sorts a session's readings.

use std::time::Duration;

use gaitway_proto::schema::{ACTIVITY, Dialect, RAW};

use super::super::compare::Row;
use super::super::recompute::{Frame, Reading};
use super::{ANNOTATION, CLASSIFIED, Key, Session, Wanted, Words};
use crate::warehouse::{Sql, names, number, text};

/// How long the server may take for a statement.
pub(super) const PATIENCE: Duration = Duration::from_secs(3600);

/// Rows fetched at a time.
const ROWS: usize = 20_000;

const DIALECT: Dialect = Dialect::Postgres;

pub(crate) struct Database(Sql);

impl Database {
    /// All that is read is of the moment of the first question.
    pub(super) fn open(mut sql: Sql) -> Result<Self, String> {
        sql.ask("BEGIN")?;
        Ok(Self(sql))
    }

    pub(super) fn sessions(&mut self, wanted: &Wanted) -> Result<Vec<Session>, String> {
        let (raw, activity) = (RAW.sql_name(DIALECT), ACTIVITY.sql_name(DIALECT));
        let filter = filter(wanted);
        let asked = format!(
            "SELECT s.deviceid, s.sessionid, s.agentid, MIN(s.least), MAX(s.greatest), BOOL_OR(s.annotated) FROM (
             SELECT r.deviceid, r.sessionid, r.agentid, MIN(r.timestamp) AS least, MAX(r.timestamp) AS greatest,
                    BOOL_OR(COALESCE(r.sensortype = '{ANNOTATION}', false)) AS annotated
               FROM {raw} AS r WHERE {filter} GROUP BY r.deviceid, r.sessionid, r.agentid
             UNION ALL
             SELECT DISTINCT r.deviceid, r.sessionid, r.agentid, NULL::bigint, NULL::bigint, false
               FROM {activity} AS r WHERE {filter}) AS s
              GROUP BY s.deviceid, s.sessionid, s.agentid"
        );
        let mut words = Words::default();
        let mut sessions: Vec<Session> = Vec::new();
        for row in self.0.ask(&asked)? {
            let [device, session, agent] = [0, 1, 2].map(|at| words.of(row[at].as_deref()));
            let times = number(&row, 3).zip(number(&row, 4));
            let is_annotated = row[5].as_deref() == Some("t");
            sessions.push(Session { key: Key { device, session, agent }, times, is_annotated, rows: None });
        }
        sessions.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(sessions)
    }

    pub(super) fn readings(&mut self, key: &Key, visit: &mut dyn FnMut(&Reading<'_>)) -> Result<(), String> {
        let epoch = names::part(DIALECT, "epoch");
        let [ordinal, seq, index] = ["ordinal", "seq", "index"].map(|key| names::number(DIALECT, key));
        self.0.ask(&format!(
            "DECLARE readings NO SCROLL CURSOR FOR
             SELECT {epoch}, {seq}, r.messageid, (EXTRACT(epoch FROM r.receivedat) * 1000000)::bigint, r.timestamp,
                    r.sensortype, r.x, r.y, r.z, CASE WHEN r.sensortype = '{ANNOTATION}' THEN r.reading END
               FROM {} AS r WHERE {} AND {} ORDER BY {ordinal}, {epoch}, {seq}, {index},
                    r.receivedat, r.messageid",
            RAW.sql_name(DIALECT),
            whose(key),
            is("agentid", key.agent.as_deref()),
        ))?;
        loop {
            let rows = self.0.ask(&format!("FETCH {ROWS} FROM readings"))?;
            for row in &rows {
                let epoch = row[0].as_deref().and_then(|epoch| u64::from_str_radix(epoch, 16).ok());
                let frame = Frame { epoch, seq: number(row, 1), message: number(row, 2), received: number(row, 3) };
                let is_classified = row[5].as_deref() == Some(CLASSIFIED);
                let axes = || Some([number(row, 6)?, number(row, 7)?, number(row, 8)?]);
                visit(&Reading {
                    frame,
                    time: number(row, 4),
                    axes: if is_classified { axes() } else { None },
                    annotation: row[9].as_deref(),
                });
            }
            if rows.len() < ROWS {
                return self.0.ask("CLOSE readings").map(drop);
            }
        }
    }

    pub(super) fn windows(&mut self, key: &Key) -> Result<(Vec<Row>, u64), String> {
        let found = self.0.ask(&format!(
            "SELECT r.agentid, (EXTRACT(epoch FROM r.windowstart) * 1000000)::bigint,
                    (EXTRACT(epoch FROM r.windowend) * 1000000)::bigint, r.samplecount, r.avg_magnitude, r.confidence,
                    r.activity, r.classifier, r.revision
               FROM {} AS r WHERE {}
              ORDER BY r.windowstart, r.revision DESC NULLS LAST, r.classifier, r.avg_magnitude, r.confidence",
            ACTIVITY.sql_name(DIALECT),
            whose(key),
        ))?;
        let (mut rows, mut other, mut words) = (Vec::new(), 0, Words::default());
        for row in &found {
            let (Some(start), Some(end)) = (number::<i64>(row, 1), number::<i64>(row, 2)) else {
                other += 1;
                continue;
            };
            rows.push(Row {
                agent: words.of(row[0].as_deref()),
                start: start.saturating_mul(1000),
                end: end.saturating_mul(1000),
                count: number(row, 3),
                mean: number(row, 4),
                confidence: number(row, 5),
                activity: words.of(row[6].as_deref()),
                classifier: words.of(row[7].as_deref()),
                revision: text(row, 8).parse().unwrap_or(0),
            });
        }
        Ok((rows, other))
    }
}

fn filter(Wanted { device, session }: &Wanted) -> String {
    let device = device.iter().map(|device| format!("r.deviceid = {}", literal(device)));
    let session = session.iter().map(|session| format!("starts_with(r.sessionid, {})", literal(session)));
    let all: Vec<String> = device.chain(session).collect();
    if all.is_empty() { "true".to_owned() } else { all.join(" AND ") }
}

fn whose(key: &Key) -> String {
    format!("{} AND {}", is("deviceid", key.device.as_deref()), is("sessionid", key.session.as_deref()))
}

/// Spelled so that an index by the column serves.
fn is(column: &str, value: Option<&str>) -> String {
    match value {
        Some(value) => format!("r.{column} = {}", literal(value)),
        None => format!("r.{column} IS NULL"),
    }
}

/// `text` as an SQL string, whichever way the server reads backslashes.
fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phones_own_words_stay_inside_their_quotes() {
        assert_eq!(literal(r"o'brien\'; DROP"), r"E'o''brien\\''; DROP'");
        assert_eq!(filter(&Wanted::default()), "true");
        let wanted = Wanted { device: Some("d".to_owned()), session: Some("s'".to_owned()) };
        assert_eq!(filter(&wanted), "r.deviceid = E'd' AND starts_with(r.sessionid, E's''')");
    }
}
