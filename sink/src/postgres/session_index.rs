//! Whether a sensor of one session can be read by index: warehouses that earlier versions made have one of sessions alone.
//!
//! - It is told and never built here: on a table with rows that takes minutes, and writers would wait.

use tokio_postgres::GenericClient;

/// Whether `raw_by_session` is of sessions alone and no other index does what it should, and whether the table has parts.
const LOOK: &str = "WITH indexes AS (
        SELECT c.relname, i.indisvalid, ARRAY(SELECT a.attname::text
                FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, place)
                JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number ORDER BY k.place) AS columns
        FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
        WHERE i.indrelid = to_regclass('raw_data.activity_records'))
    SELECT EXISTS (SELECT FROM indexes WHERE relname = 'raw_by_session' AND columns = ARRAY['sessionid'])
            AND NOT EXISTS (SELECT FROM indexes WHERE indisvalid
                AND columns[1:3] = ARRAY['sessionid', 'sensortype', 'timestamp']),
        EXISTS (SELECT FROM pg_inherits WHERE inhparent = to_regclass('raw_data.activity_records'))";

/// What the index lacks and what to run; none if it is as it should be, or was never there.
pub(super) async fn advice(client: &impl GenericClient) -> Result<Option<String>, tokio_postgres::Error> {
    let row = client.query_one(LOOK, &[]).await?;
    let (narrow, in_parts): (bool, bool) = (row.try_get(0)?, row.try_get(1)?);
    Ok(narrow.then(|| sentence(in_parts)))
}

fn sentence(in_parts: bool) -> String {
    // A table in parts, as a hypertable is, takes no index CONCURRENTLY.
    let (how, when) = if in_parts {
        ("", "when the sink may wait for as long as it takes")
    } else {
        (" CONCURRENTLY", "one statement after the other, while the sink goes on")
    };
    format!(
        "raw_data.raw_by_session is of sessionid alone, so that a sensor of one session is read slowly; let the tables' \
         owner run, {when}: CREATE INDEX{how} raw_by_sensor ON raw_data.activity_records (sessionid, sensortype, \
         \"timestamp\"); DROP INDEX{how} raw_data.raw_by_session; ALTER INDEX raw_data.raw_by_sensor RENAME TO \
         raw_by_session"
    )
}
