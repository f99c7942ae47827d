//! The raw readings in partitions by when they were stored: made ahead, and dropped when they are older than what is kept.
//!
//! - Whoever keeps house holds the advisory lock of setting up: of two sinks one does it, and the other finds it done.
//! - Writers wait for a lock on the catalogue at most, and for no longer than [`PATIENCE`]; what does not get its lock by
//!   then is tried again later.
//! - A partition is made apart and attached. The default partition, which takes what no other does, is read for that under
//!   lock only while it is empty; else a constraint is validated first, beside the writers.
//! - A partition is detached and dropped in one transaction: killed at any moment, it is there with its rows or gone. DETACH
//!   CONCURRENTLY is refused by PostgreSQL where there is a default partition.
//! - Rows in the default partition are told, and never deleted.
//! - A table that is not partitioned stays as it is. Marks are not touched.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::commit::within;
use super::options::{Options, Server};
use super::setup::{LOCK, PATIENCE, Told};
use super::timescale;
use super::trouble::Failure;

mod checkup;
mod dropping;
mod pause;
mod plan;

pub(super) use checkup::examine;
use dropping::drop_all;
use pause::Pause;
use plan::{Part, Plan, Standing, shown};

/// How often house is kept, and how soon again where something failed.
const EVERY: Duration = Duration::from_secs(600);
const AGAIN: Duration = Duration::from_secs(60);

const TABLE: &str = "raw_data.activity_records";

/// By which a partition is known for one that this program made.
const MADE: &str = "made by gaitway";

/// The constraint that spares the default partition from being read under lock. Left behind by whoever was killed, it is
/// dropped before anything else.
const BESIDE: &str = "gaitway_is_beside";

/// The kind of the table, its partitions' key, whether this user may make partitions, and the time.
const ABOUT: &str = "SELECT c.relkind::text, COALESCE(pg_get_partkeydef(c.oid), ''),
        pg_has_role(c.relowner, 'USAGE') AND has_schema_privilege(c.relnamespace, 'CREATE'),
        floor(extract(epoch FROM now()))::bigint
    FROM pg_class AS c WHERE c.oid = to_regclass('raw_data.activity_records')";

/// The partitions, each with the two ends of its bound: as they are written, and as seconds if they are moments.
const PARTS: &str = "WITH parts AS (
        SELECT c.oid, c.relname, pg_get_expr(c.relpartbound, c.oid) AS bound, obj_description(c.oid, 'pg_class') AS said
        FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = to_regclass('raw_data.activity_records')
    ), ends AS (
        SELECT p.*, substring(p.bound FROM 'FROM \\((.*)\\) TO ') AS first,
            substring(p.bound FROM ' TO \\((.*)\\)$') AS last
        FROM parts AS p)
    SELECT e.relname::text, e.oid::regclass::text, COALESCE(e.bound = 'DEFAULT', false),
        COALESCE(e.said LIKE $1 || '%', false), COALESCE(e.first, ''),
        floor(extract(epoch FROM substring(e.first FROM $$^'(\\d{4}[^']+)'$$)::timestamptz))::bigint,
        COALESCE(e.last, ''),
        ceil(extract(epoch FROM substring(e.last FROM $$^'(\\d{4}[^']+)'$$)::timestamptz))::bigint,
        EXISTS (SELECT FROM pg_constraint AS k WHERE k.conrelid = e.oid AND k.conname::text = $2),
        has_table_privilege(e.oid, 'SELECT'), COALESCE(e.bound, '')
    FROM ends AS e";

const NAMES: &str =
    "SELECT relname::text FROM pg_class WHERE relnamespace = to_regnamespace('raw_data') AND relname LIKE 'raw\\_%'";

/// What kind of table the raw readings are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// None at all, or TimescaleDB's: it keeps house itself.
    Elsewhere,
    Whole,
    /// In partitions by something else.
    Foreign,
    Parted,
}

/// The default partition.
#[derive(Debug, Clone)]
struct Default {
    /// Schema and name.
    name: String,
    /// Whether it has [`BESIDE`].
    constrained: bool,
    /// None if this user may not look.
    strays: Option<bool>,
}

/// How the table stands.
#[derive(Debug, Clone)]
struct Found {
    kind: Kind,
    may_make: bool,
    default: Option<Default>,
    standing: Standing,
}

/// When house is kept next.
#[derive(Debug, Default)]
pub(super) struct House {
    due: Option<Instant>,
    /// The default partition has more rows than can be read in the time there is: nothing is made beside it.
    crowded: bool,
    /// Whether what people need is all there, and when it is tried again if not.
    pub(super) is_served: bool,
    pub(super) serving: Pause,
    /// Taking partitions away, for whose lock writers wait too.
    dropping: Pause,
}

impl House {
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let unserved = !self.is_served && self.serving.is_due_again(now);
        unserved || self.due.is_none_or(|due| now >= due)
    }

    /// When house is kept next, after it was kept at `now`: sooner where partitions may be dropped again by then.
    fn next(&self, now: Instant, well: bool) -> Instant {
        let due = now + if well { EVERY } else { AGAIN };
        self.dropping.ends_after(now).map_or(due, |end| end.min(due))
    }

    /// What waits for its time is tried at once.
    pub(super) fn hurry(&mut self) {
        self.serving.cut_short();
        self.dropping.cut_short();
    }

    /// Makes what is missing and drops what is old. What does not work is told once; the error is a connection that is of no
    /// use any more.
    pub(super) async fn keep(
        &mut self,
        client: &mut Client,
        options: &Options,
        server: &Server,
        told: &mut Told,
    ) -> Result<(), Failure> {
        let kept = keep(client, options, server, told, self).await;
        self.due = Some(self.next(Instant::now(), kept.is_ok()));
        match kept {
            Err(failure) if client.is_closed() || matches!(failure, Failure::Silent(_)) => Err(failure),
            Err(failure) => {
                told.once(format!(
                    "{TABLE} does not have its partitions as it should: {}",
                    failure.into_ledger(server)
                ));
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

async fn keep(
    client: &mut Client,
    options: &Options,
    server: &Server,
    told: &mut Told,
    house: &mut House,
) -> Result<(), Failure> {
    let (limit, keep) = (options.statement_timeout, options.keep_raw);
    let found = within(limit, look(client, keep)).await?;
    if let Some(said) = useless(found.kind, keep) {
        told.once(said);
    }
    if found.kind != Kind::Parted {
        return Ok(());
    }
    if is_done(&found) {
        house.dropping.succeeded();
        return Ok(());
    }
    if !found.may_make {
        for said in not_allowed(&found, server) {
            told.once(said);
        }
        return Ok(());
    }
    let lock = format!("SET lock_timeout TO '2s'; SELECT pg_advisory_lock({LOCK}); RESET lock_timeout");
    within(limit, client.batch_execute(&lock)).await?;
    let kept = keep_locked(client, keep, limit, told, house).await;
    if client.is_closed() || matches!(kept, Err(Failure::Silent(_))) {
        return kept;
    }
    within(limit, client.batch_execute(&format!("SELECT pg_advisory_unlock({LOCK})"))).await?;
    kept
}

/// Why `keep_raw` does nothing.
fn useless(kind: Kind, keep: Option<Duration>) -> Option<String> {
    let why = match kind {
        Kind::Whole => "is one plain table: deploy/postgres/README.md says how to convert it",
        Kind::Foreign => "is in partitions by something else than stored_at: they are left alone",
        Kind::Parted | Kind::Elsewhere => return None,
    };
    keep.map(|_| format!("keep_raw has no effect: {TABLE} {why}"))
}

/// Whether there is nothing to be done or told.
fn is_done(found: &Found) -> bool {
    let whole = found.default.as_ref().is_some_and(|default| !default.constrained && default.strays != Some(true));
    whole && plan::plan(&found.standing) == Plan::default() && plan::kept_longer(&found.standing).is_none()
}

/// What this user may not do, with what its owner must run.
fn not_allowed(found: &Found, server: &Server) -> Vec<String> {
    let Plan { make, drop, notices, shorten } = plan::plan(&found.standing);
    let mut said = notices;
    said.extend(not_shortened(&shorten, server));
    said.extend(not_made(&make, server));
    if !drop.is_empty() {
        let names: Vec<_> = drop.iter().map(|part| format!("raw_data.{}", part.name)).collect();
        said.push(format!(
            "older than keep_raw are {}, and user {} may not drop them: let the owner run DROP TABLE {}",
            names.join(", "),
            server.user,
            names.join(", ")
        ));
    }
    said
}

/// What the owner must run, so that what lies ahead can be made for the present time of keeping.
fn not_shortened(shorten: &[Part], server: &Server) -> Option<String> {
    let names: Vec<_> = shorten.iter().map(|part| format!("raw_data.{}", part.name)).collect();
    (!names.is_empty()).then(|| {
        format!(
            "empty partitions ahead are longer than keep_raw asks for, and user {} may not drop them: let the owner run \
             DROP TABLE {}",
            server.user,
            names.join(", ")
        )
    })
}

/// What the owner must run, so that what is missing is there.
fn not_made(make: &[Part], server: &Server) -> Option<String> {
    let statements: Vec<_> = make.iter().map(statement).collect();
    (!make.is_empty()).then(|| {
        format!(
            "partitions of {TABLE} are missing, and user {} may not make them: until its owner does, readings go into the \
             default partition; {}",
            server.user,
            statements.join("; ")
        )
    })
}

/// What makes a partition, for people.
fn statement(Part { name, from, to, .. }: &Part) -> String {
    format!(
        "CREATE TABLE raw_data.{name} PARTITION OF {TABLE} FOR VALUES FROM ('{}') TO ('{}'); COMMENT ON TABLE \
         raw_data.{name} IS '{MADE}'",
        shown(*from),
        shown(*to)
    )
}

async fn look(client: &Client, keep: Option<Duration>) -> Result<Found, Failure> {
    let mut standing = Standing {
        here: gaitway_service::clock::now_micros().div_euclid(1_000_000),
        keep: keep.map(plan::seconds),
        ..Standing::default()
    };
    let nothing = |kind, standing| Found { kind, may_make: false, default: None, standing };
    let Some(about) = client.query_opt(ABOUT, &[]).await? else { return Ok(nothing(Kind::Elsewhere, standing)) };
    let (kind, key, may_make): (&str, &str, bool) = (about.try_get(0)?, about.try_get(1)?, about.try_get(2)?);
    standing.now = about.try_get(3)?;
    let kind = match (kind, key) {
        ("p", "RANGE (stored_at)") => Kind::Parted,
        ("p", _) => Kind::Foreign,
        _ if client.query_opt(timescale::EXTENSION, &[]).await?.is_some() => Kind::Elsewhere,
        _ => Kind::Whole,
    };
    if kind != Kind::Parted {
        return Ok(nothing(kind, standing));
    }
    let mut default = None;
    for row in client.query(PARTS, &[&MADE, &BESIDE]).await? {
        let name: String = row.try_get(1)?;
        if row.try_get(2)? {
            let strays = if row.try_get(9)? { Some(has_rows(client, &name).await?) } else { None };
            default = Some(Default { name, constrained: row.try_get(8)?, strays });
            continue;
        }
        let (from, to) = (edge(row.try_get(4)?, row.try_get(5)?), edge(row.try_get(6)?, row.try_get(7)?));
        if let (Some(from), Some(to)) = (from, to) {
            let mut part = Part { name: row.try_get(0)?, from, to, ours: row.try_get(3)?, empty: false };
            let matters = plan::is_long(&part, standing.keep) && plan::lies_ahead(&part, standing.now);
            part.empty = matters && row.try_get(9)? && !has_rows(client, &name).await?;
            standing.parts.push(part);
        } else {
            let bound: &str = row.try_get(10)?;
            standing.unreadable.push(format!("{name} ({bound})"));
        }
    }
    for row in client.query(NAMES, &[]).await? {
        standing.names.insert(row.try_get(0)?);
    }
    standing.strays = default.as_ref().is_some_and(|default: &Default| default.strays != Some(false));
    Ok(Found { kind, may_make, default, standing })
}

/// An end of a partition's bound: what is written, and the seconds where that is a moment. None if it is nothing that is known.
fn edge(written: &str, seconds: Option<i64>) -> Option<i64> {
    match written {
        "MINVALUE" | "'-infinity'" => Some(i64::MIN),
        "MAXVALUE" | "'infinity'" => Some(i64::MAX),
        _ => seconds,
    }
}

async fn has_rows(client: &Client, table: &str) -> Result<bool, tokio_postgres::Error> {
    client.query_one(&format!("SELECT EXISTS (SELECT FROM {table})"), &[]).await?.try_get(0)
}

async fn keep_locked(
    client: &mut Client,
    keep: Option<Duration>,
    limit: Duration,
    told: &mut Told,
    house: &mut House,
) -> Result<(), Failure> {
    let mut found = within(limit, look(client, keep)).await?;
    let default = if let Some(default) = &found.default {
        if default.constrained {
            within(limit, free(client, &default.name)).await?;
        }
        default.clone()
    } else {
        within(limit, make_default(client)).await?;
        Default { name: "raw_data.raw_default".to_owned(), constrained: false, strays: Some(false) }
    };
    if default.strays == Some(true) {
        told.once(format!(
            "{} has rows, which no partition of {TABLE} covered when they were stored: they are read as all others and never \
             deleted; deploy/postgres/README.md says how to look at them and what to do",
            default.name
        ));
    }
    let shorten = plan::plan(&found.standing).shorten;
    let mut shortened = Ok(());
    if !shorten.is_empty() {
        shortened = drop_all(client, &shorten, true, limit, &mut house.dropping).await;
        if client.is_closed() || shortened.as_ref().is_err_and(Failure::is_silent) {
            return shortened;
        }
        found = within(limit, look(client, keep)).await?;
    }
    let plan = plan::plan(&found.standing);
    for notice in plan.notices.into_iter().chain(plan::kept_longer(&found.standing)) {
        told.once(notice);
    }
    let strays = default.strays != Some(false);
    let made = if strays && !plan.make.is_empty() {
        make_beside(client, &plan.make, &default, limit, told, &mut house.crowded).await
    } else {
        within(limit, in_transaction(client, &making(&plan.make))).await
    };
    if client.is_closed() || made.as_ref().is_err_and(Failure::is_silent) {
        return made;
    }
    // What is old goes also where nothing could be made.
    let dropped = drop_all(client, &plan.drop, false, limit, &mut house.dropping).await;
    if dropped.as_ref().is_err_and(Failure::is_silent) { dropped } else { made.and(shortened).and(dropped) }
}

/// Removes the constraint that somebody left behind.
async fn free(client: &mut Client, default: &str) -> Result<(), Failure> {
    let transaction = client.transaction().await?;
    let free = format!("{PATIENCE}; ALTER TABLE {default} DROP CONSTRAINT IF EXISTS {BESIDE}");
    transaction.batch_execute(&free).await?;
    Ok(transaction.commit().await?)
}

async fn make_default(client: &mut Client) -> Result<(), Failure> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(PATIENCE).await?;
    for statement in gaitway_proto::schema::raw_in_partitions().iter().skip(1) {
        transaction.batch_execute(statement).await?;
    }
    Ok(transaction.commit().await?)
}

/// Makes partitions beside a default partition that has rows.
async fn make_beside(
    client: &mut Client,
    parts: &[Part],
    default: &Default,
    limit: Duration,
    told: &mut Told,
    crowded: &mut bool,
) -> Result<(), Failure> {
    let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return Ok(()) };
    if *crowded {
        return Ok(());
    }
    // In the future, as the plan has it: no writer comes there meanwhile. Whoever keeps house next drops it, should this one
    // be killed.
    let (from, to) = (shown(first.from), shown(last.to));
    let check = format!("CHECK (stored_at < timestamptz '{from}' OR stored_at >= timestamptz '{to}')");
    let add = format!("{PATIENCE}; ALTER TABLE {} ADD CONSTRAINT {BESIDE} {check} NOT VALID", default.name);
    within(limit, in_transaction(client, &add)).await?;
    // The server gives up before this side takes it for silent.
    let half = limit.as_millis() / 2;
    let validate =
        format!("SET LOCAL statement_timeout TO {half}; ALTER TABLE {} VALIDATE CONSTRAINT {BESIDE}", default.name);
    let mut made = within(limit, in_transaction(client, &validate)).await;
    if made.is_ok() {
        let free = format!("; ALTER TABLE {} DROP CONSTRAINT {BESIDE}", default.name);
        made = within(limit, in_transaction(client, &(making(parts) + &free))).await;
    }
    match made {
        Err(failure) if client.is_closed() || matches!(failure, Failure::Silent(_)) => Err(failure),
        Err(failure) => {
            within(limit, free(client, &default.name)).await?;
            if !failure.is_cut_off() {
                return Err(failure);
            }
            *crowded = true;
            told.once(format!(
                "{} has more rows than can be read within {half} ms, so that no partition is made beside it: make one of it as \
                 deploy/postgres/README.md says, or raise statement_timeout and start again",
                default.name
            ));
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// What makes `parts`, in one transaction.
fn making(parts: &[Part]) -> String {
    const LIKE: &str =
        "INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING GENERATED INCLUDING STORAGE INCLUDING COMPRESSION";
    let mut statements = vec![PATIENCE.to_owned()];
    for Part { name, from, to, .. } in parts {
        let (from, to) = (shown(*from), shown(*to));
        statements.push(format!(
            "CREATE TABLE raw_data.{name} (LIKE {TABLE} {LIKE}); COMMENT ON TABLE raw_data.{name} IS '{MADE}'; \
             ALTER TABLE {TABLE} ATTACH PARTITION raw_data.{name} FOR VALUES FROM ('{from}') TO ('{to}')"
        ));
    }
    statements.join("; ")
}

/// All of `statements` or none.
async fn in_transaction(client: &mut Client, statements: &str) -> Result<(), Failure> {
    let transaction = client.transaction().await?;
    match transaction.batch_execute(statements).await {
        Ok(()) => Ok(transaction.commit().await?),
        Err(error) => {
            transaction.rollback().await?;
            Err(error.into())
        }
    }
}

#[cfg(test)]
mod tests;
