//! What of a database is not as the sink needs it. Nothing is created or changed: the session is read-only.

use gaitway_service::checkup::Checkup;
use gaitway_service::config::duration;
use tokio_postgres::Client;

use super::commit::within;
use super::connection::{Driver, connect};
use super::dates;
use super::layout::{self, Standing};
use super::options::{Options, Server};
use super::partitions;
use super::session_index;
use super::setup::{self, unsafe_settings};
use super::timescale;
use super::trouble::Failure;
use crate::ledgers::Marks;

const READ_ONLY: &str = "SET default_transaction_read_only TO on; SET search_path TO pg_catalog; \
                         SET TIME ZONE 'UTC'; SET DateStyle TO 'ISO'";

/// Version, and whether this user may create schemas.
const SERVER: &str = "SELECT current_setting('server_version'), has_database_privilege(current_database(), 'CREATE')";

/// The table of marks.
const PROGRESS: &str = "raw_data.gaitway_progress";

/// How far each partition is stored, and how many seconds ago that was.
const MARKS: &str =
    "SELECT source, position, extract(epoch FROM now() - updated_at)::bigint FROM raw_data.gaitway_progress";

/// Looks at the server, its settings, tables, rights, views and marks. Blocks; not for threads of a runtime. Gives the marks, if
/// they could be read; none are in a database without tables.
pub fn examine(options: &Options, checkup: &mut Checkup) -> Option<Marks> {
    let server = match options.config() {
        Ok(config) => Server::of(&config),
        Err(wrong) => {
            checkup.fail("PostgreSQL", wrong.to_string());
            return None;
        }
    };
    let subject = format!("PostgreSQL {server}");
    let looked = match Driver::new() {
        Ok(driver) => driver.run(look(options, &server, &subject, checkup)),
        Err(error) => {
            checkup.fail(subject, format!("cannot drive a connection: {error}"));
            return None;
        }
    };
    looked.unwrap_or_else(|failure| {
        let said = failure.into_ledger(&server).to_string();
        let named = format!("{server} ");
        checkup.fail(subject, said.strip_prefix(&named).unwrap_or(&said));
        None
    })
}

async fn look(
    options: &Options,
    server: &Server,
    subject: &str,
    checkup: &mut Checkup,
) -> Result<Option<Marks>, Failure> {
    let (client, task) = connect(options, server).await?;
    let looked = within(options.statement_timeout, look_around(&client, options, server, subject, checkup)).await;
    task.abort();
    looked
}

async fn look_around(
    client: &Client,
    options: &Options,
    server: &Server,
    subject: &str,
    checkup: &mut Checkup,
) -> Result<Option<Marks>, Failure> {
    let settings = client.query_one(setup::SETTINGS, &[]).await?;
    client.batch_execute(READ_ONLY).await?;
    let about = client.query_one(SERVER, &[]).await?;
    let (version, may_create): (&str, bool) = (about.try_get(0)?, about.try_get(1)?);
    checkup.ok(subject, format!("version {version}, user {}", server.user));
    if server.exposed {
        checkup.warn(subject, "what is sent to it can be read on the way: say sslmode=require in postgres.url");
    }
    let (fsync, commit, encoding) = (settings.try_get(0)?, settings.try_get(1)?, settings.try_get(2)?);
    if let Some(why) = unsafe_settings(fsync, commit, encoding, settings.try_get(3)?) {
        checkup.fail(subject, why);
    }
    let (mut all_there, mut marks) = (true, None);
    for Standing { table, is_there, faults } in layout::standing(&setup::look(client).await?) {
        all_there &= is_there && faults.is_empty();
        if table == PROGRESS && faults.is_empty() {
            marks = Some(if is_there { look_at_marks(client, checkup).await? } else { Marks::new() });
        }
        let subject = format!("table {table}");
        match (is_there, may_create) {
            (true, _) if faults.is_empty() => checkup.ok(&subject, "as it should be"),
            (true, _) => {}
            (false, true) => checkup.warn(&subject, "is not there yet: gaitway sink creates it when it starts"),
            (false, false) => checkup.fail(
                &subject,
                format!(
                    "is not there, and user {} may not create it: let the database's owner run what `gaitway sink ddl \
                     --dialect postgres` prints",
                    server.user
                ),
            ),
        }
        for fault in faults {
            checkup.fail(&subject, fault);
        }
    }
    if all_there && !setup::views_are_ours(client).await? {
        let said = if may_create {
            "are not all there, or not those of this program: gaitway sink makes them when it starts"
        } else {
            "are not all there, or not those of this program, and its user may not create them: records are stored all the same; \
                 GRANT CREATE ON DATABASE, and restart the sink"
        };
        checkup.warn("views of activity", said);
    }
    if let Some(advice) = session_index::advice(client).await? {
        checkup.warn("index raw_by_session", advice);
    }
    for statement in dates::missing(client).await? {
        checkup.warn(
            "column stored_at",
            format!("is missing: gaitway sink adds it if it may, else let the table's owner run {statement}"),
        );
    }
    look_at_timescale(client, options, checkup).await?;
    partitions::examine(client, options.keep_raw, server, checkup).await?;
    Ok(marks)
}

async fn look_at_marks(client: &Client, checkup: &mut Checkup) -> Result<Marks, tokio_postgres::Error> {
    let (mut marks, mut last) = (Marks::new(), None::<i64>);
    for row in client.query(MARKS, &[]).await? {
        let (source, position, ago): (_, _, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        marks.insert(source, position);
        last = Some(last.map_or(ago, |last| last.min(ago)));
    }
    let last = last.map_or(String::new(), |ago| format!(", last {ago} s ago"));
    let s = if marks.len() == 1 { "" } else { "s" };
    checkup.ok("stored so far", format!("from {} partition{s}{last}", marks.len()));
    Ok(marks)
}

async fn look_at_timescale(
    client: &Client,
    options: &Options,
    checkup: &mut Checkup,
) -> Result<(), tokio_postgres::Error> {
    let extension = client.query_opt(timescale::EXTENSION, &[]).await?;
    match (extension, options.keep_raw) {
        (Some(_), Some(keep)) => {
            checkup.ok("TimescaleDB", format!("is there; raw readings are kept for {}", duration::shown(keep)));
        }
        (Some(_), None) => checkup.ok("TimescaleDB", "is there"),
        (None, _) => {}
    }
    Ok(())
}
