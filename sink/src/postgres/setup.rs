//! What a database must be before records go into it, and what is created in it.
//!
//! - A server that does not wait for its disk is refused: `fsync` and `synchronous_commit` are read back.
//! - Schemas, tables and their indexes are created in one transaction; of two who start at once one waits.
//! - What records do not need (views, hypertables, partitions, and the column of when a row was stored) is created if this
//!   user may, and otherwise told once and tried again.

use std::time::{Duration, Instant};

use gaitway_proto::ledger::LedgerError;
use gaitway_proto::schema::{Dialect, ddl_script};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, GenericClient};

use super::commit::within;
use super::dates;
use super::layout::{self, Column, Found};
use super::options::{Options, Server};
use super::partitions::House;
use super::session_index;
use super::timescale::{self, State};
use super::trouble::Failure;

/// The views, and the schema they are in.
const VIEWS: &str = include_str!("views.sql");

/// "gaitway" in ASCII: whoever sets up holds this advisory lock.
pub(super) const LOCK: i64 = 0x67_6169_7477_6179;

/// What records do not need does not wait longer for somebody's lock, in whose queue writers stand too. Above the server's
/// `deadlock_timeout` (1 s), after which an autovacuum that is in the way is cancelled.
pub(super) const PATIENCE: &str = "SET LOCAL lock_timeout TO '2s'";

pub(super) const SETTINGS: &str = "SELECT current_setting('fsync'), current_setting('synchronous_commit'),
    current_setting('server_encoding'), pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'";

const COLUMNS: &str = "SELECT n.nspname || '.' || c.relname, a.attname::text, format_type(a.atttypid, a.atttypmod),
    a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AND a.attgenerated = ''
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_attribute AS a ON a.attrelid = c.oid
    WHERE n.nspname || '.' || c.relname = ANY($1) AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped";

const SCHEMAS: &str = "SELECT nspname::text FROM pg_namespace WHERE nspname = ANY($1)";

const FORBIDDEN: &str = "SELECT n.nspname || '.' || c.relname, r.privilege
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace,
        unnest(ARRAY['INSERT', 'SELECT', 'UPDATE']) AS r (privilege)
    WHERE n.nspname || '.' || c.relname = ANY($1) AND c.relkind IN ('r', 'p')
        AND (r.privilege = 'INSERT' OR c.relname = 'gaitway_progress')
        AND NOT (has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, r.privilege))";

/// Which views the schema says that it has, and whether all of these are there.
const OF_VIEWS: &str = "SELECT obj_description(n.oid, 'pg_namespace'),
    (SELECT count(*) FROM pg_class AS c WHERE c.relnamespace = n.oid AND c.relkind = 'v' AND c.relname::text = ANY($1))
        = cardinality($1::text[])
    FROM pg_namespace AS n WHERE n.nspname = 'activity'";

/// What was said once and is not said again at the next recovery.
#[derive(Debug, Default)]
pub(super) struct Told(Vec<String>);

impl Told {
    pub(super) fn once(&mut self, said: String) {
        if !self.0.contains(&said) {
            tracing::warn!("{said}");
            self.0.push(said);
        }
    }
}

/// Makes the database what it must be, or says why it cannot.
pub(super) async fn set_up(
    client: &mut Client,
    options: &Options,
    server: &Server,
    told: &mut Told,
    house: &mut House,
) -> Result<(), Failure> {
    let limit = options.statement_timeout;
    if server.exposed {
        told.once(format!("what is sent to {server} can be read on the way: say sslmode=require in its url"));
    }
    let settings = within(limit, client.query_one(SETTINGS, &[])).await?;
    let [fsync, commit, encoding] = [settings.try_get(0)?, settings.try_get(1)?, settings.try_get(2)?];
    if let Some(why) = unsafe_settings(fsync, commit, encoding, settings.try_get(3)?) {
        return Err(Failure::unavailable(format!("{server} {why}")));
    }
    within(limit, create_tables(client, server)).await?;
    // From here on everything is stored.
    house.is_served = false;
    house.serving.cut_short();
    tend(client, options, server, told, house).await
}

/// Keeps house, and makes what people need where that was not done. The error is a connection that is of no use any more.
pub(super) async fn tend(
    client: &mut Client,
    options: &Options,
    server: &Server,
    told: &mut Told,
    house: &mut House,
) -> Result<(), Failure> {
    house.keep(client, options, server, told).await?;
    if house.is_served || !house.serving.is_over(Instant::now()) {
        return Ok(());
    }
    let served = serve_people(client, options, server, told).await;
    house.is_served = matches!(served, Ok(true));
    if house.is_served {
        house.serving.succeeded();
    } else {
        house.serving.failed(Instant::now());
    }
    if let Err((what, failure)) = served {
        if client.is_closed() || matches!(failure, Failure::Silent(_)) {
            return Err(failure);
        }
        told.once(format!("{what}: {}", failure.into_ledger(server)));
    }
    Ok(())
}

/// Makes what people need; whether all of it is there. The error is of what is not as it should be.
async fn serve_people(
    client: &mut Client,
    options: &Options,
    server: &Server,
    told: &mut Told,
) -> Result<bool, (&'static str, Failure)> {
    let limit = options.statement_timeout;
    let dated = within(limit, dates::add(client, server, told)).await;
    if !dated.map_err(|failure| ("rows do not say when they were stored", failure))? {
        return Ok(false);
    }
    let views = within(limit, create_views(client)).await;
    views.map_err(|failure| ("its views are not those of this program", failure))?;
    let timescale = within(limit, use_timescale(client, options.keep_raw, told)).await;
    timescale.map_err(|failure| ("TimescaleDB is not used as it could be", failure))?;
    let index = within(limit, look_at_index(client, told)).await;
    index.map_err(|failure| ("its indexes cannot be looked at", failure))?;
    Ok(true)
}

/// Why a server with these settings must not be written to.
pub(super) fn unsafe_settings(
    fsync: &str,
    synchronous_commit: &str,
    encoding: &str,
    read_only: bool,
) -> Option<String> {
    if fsync == "off" {
        return Some("has fsync=off, so that a power cut loses what was committed: set fsync=on".to_owned());
    }
    if synchronous_commit == "off" {
        return Some("has synchronous_commit=off, so that a power cut loses commits: set it to on".to_owned());
    }
    if encoding != "UTF8" {
        return Some(format!(
            "has the encoding {encoding}, which does not hold every text: create it with ENCODING 'UTF8'"
        ));
    }
    read_only.then(|| "is read-only, perhaps a standby: connect to the primary, or wait until it is one".to_owned())
}

async fn create_tables(client: &mut Client, server: &Server) -> Result<(), Failure> {
    let unusable = |what: String| Failure::unavailable(format!("{server} cannot be used: {what}"));
    if layout::missing(&look(client).await?).map_err(unusable)?.is_empty() {
        return Ok(());
    }
    let transaction = client.transaction().await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    for statement in layout::missing(&look(&transaction).await?).map_err(unusable)? {
        if let Err(error) = transaction.batch_execute(&statement).await {
            let failure = Failure::from(error);
            if !failure.is_forbidden() {
                return Err(failure);
            }
            let first = statement.lines().next().unwrap_or_default().trim_end_matches(" (");
            return Err(unusable(format!(
                "it lacks what `{first}` creates, and user {} may not: let its owner run what \
                 `gaitway sink ddl --dialect postgres` prints",
                server.user
            )));
        }
    }
    transaction.commit().await?;
    let rest = layout::missing(&look(client).await?).map_err(unusable)?;
    rest.first().map_or(Ok(()), |statement| Err(unusable(format!("`{statement}` had no effect"))))
}

pub(super) async fn look(client: &impl GenericClient) -> Result<Found, tokio_postgres::Error> {
    let (tables, schemas) = (layout::tables(), layout::schemas());
    let tables: [&(dyn ToSql + Sync); 1] = [&tables];
    let mut found = Found::default();
    for row in client.query(SCHEMAS, &[&schemas]).await? {
        found.schemas.push(row.try_get(0)?);
    }
    for row in client.query(COLUMNS, &tables).await? {
        found.columns.push(Column {
            table: row.try_get(0)?,
            name: row.try_get(1)?,
            kind: row.try_get(2)?,
            required: row.try_get(3)?,
        });
    }
    found.timescale = client.query_opt(timescale::EXTENSION, &[]).await?.is_some();
    for row in client.query(FORBIDDEN, &tables).await? {
        found.forbidden.push((row.try_get(0)?, row.try_get(1)?));
    }
    Ok(found)
}

/// What makes everything, for whoever makes it by hand.
pub(super) fn script() -> String {
    let (tables, progress) = (ddl_script(Dialect::Postgres), layout::progress());
    format!("{tables}\n{progress};\n\n{VIEWS}\n\nCOMMENT ON SCHEMA activity IS '{}';\n", views_mark())
}

fn views_mark() -> String {
    format!("gaitway views {:08x}", crc32c::crc32c(VIEWS.as_bytes()))
}

/// The views that are created, without their schema.
fn views() -> Vec<&'static str> {
    let created = VIEWS.lines().filter_map(|line| line.strip_prefix("CREATE OR REPLACE VIEW activity."));
    created.filter_map(|rest| rest.split_whitespace().next()).collect()
}

/// Whether the views are those of this program: their schema says which they are, and none was dropped since, as a column's
/// `CASCADE` does.
pub(super) async fn views_are_ours(client: &Client) -> Result<bool, tokio_postgres::Error> {
    let Some(there) = client.query_opt(OF_VIEWS, &[&views()]).await? else { return Ok(false) };
    let (mark, all): (Option<String>, bool) = (there.try_get(0)?, there.try_get(1)?);
    Ok(all && mark == Some(views_mark()))
}

/// Readers are disturbed only where something changes.
async fn create_views(client: &mut Client) -> Result<(), Failure> {
    if views_are_ours(client).await? {
        return Ok(());
    }
    let transaction = client.transaction().await?;
    transaction.batch_execute(PATIENCE).await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    let made = transaction.batch_execute(&format!("{VIEWS};\nCOMMENT ON SCHEMA activity IS '{}'", views_mark())).await;
    end(transaction, made).await
}

async fn use_timescale(client: &mut Client, keep: Option<Duration>, told: &mut Told) -> Result<(), Failure> {
    let Some(extension) = client.query_opt(timescale::EXTENSION, &[]).await? else { return Ok(()) };
    let functions: String = extension.try_get(0)?;
    let transaction = client.transaction().await?;
    let made = async {
        transaction.batch_execute(PATIENCE).await?;
        transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
        for (place, (schema, table, _)) in timescale::TABLES.into_iter().enumerate() {
            let row = transaction.query_one(&timescale::look(schema, table), &[]).await?;
            let state = State {
                hypertable: row.try_get(0)?,
                empty: row.try_get(1)?,
                drop_after: row.try_get(2)?,
                parted: row.try_get(3)?,
            };
            let plan = timescale::plan(place, &functions, state, keep);
            plan.notice.into_iter().for_each(|notice| told.once(notice));
            for statement in plan.statements {
                transaction.batch_execute(&statement).await?;
            }
        }
        Ok(())
    };
    let made = made.await;
    end(transaction, made).await
}

async fn look_at_index(client: &Client, told: &mut Told) -> Result<(), Failure> {
    if let Some(advice) = session_index::advice(client).await? {
        told.once(advice);
    }
    Ok(())
}

/// Commits what was made; what failed is undone, and its reason told.
pub(super) async fn end(
    transaction: tokio_postgres::Transaction<'_>,
    made: Result<(), tokio_postgres::Error>,
) -> Result<(), Failure> {
    match made {
        Ok(()) => Ok(transaction.commit().await?),
        Err(error) => {
            transaction.rollback().await?;
            Err(match error.code() {
                Some(_) => error.into(),
                None => Failure::Ledger(LedgerError::Unavailable(error.to_string())),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_view_that_is_created_is_known_by_name() {
        assert_eq!(views().len(), VIEWS.to_ascii_uppercase().matches("CREATE OR REPLACE VIEW").count());
        assert!(views().contains(&"stream_gaps") && !views().contains(&""));
    }

    #[test]
    fn a_server_that_does_not_wait_for_its_disk_is_refused() {
        let why = |fsync, commit, encoding, read_only| unsafe_settings(fsync, commit, encoding, read_only);
        assert!(why("off", "on", "UTF8", false).unwrap().contains("fsync=on"));
        assert!(why("on", "off", "UTF8", false).unwrap().contains("synchronous_commit"));
        assert!(why("on", "on", "SQL_ASCII", false).unwrap().contains("ENCODING"));
        assert!(why("on", "on", "UTF8", true).unwrap().contains("standby"));
        for commit in ["on", "remote_apply"] {
            assert_eq!(why("on", commit, "UTF8", false), None);
        }
    }
}
