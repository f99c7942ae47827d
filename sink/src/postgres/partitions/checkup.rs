//! Whether the partitions are as they should be, for `gaitway doctor`. Nothing is changed.

use std::time::Duration;

use gaitway_service::checkup::Checkup;
use gaitway_service::config::duration;
use tokio_postgres::Client;

use super::plan::{self, HOUR, Plan, shown};
use super::{Default, Found, Kind, MADE, TABLE, look, not_made, not_shortened, useless};
use crate::postgres::options::Server;
use crate::postgres::trouble::Failure;

/// A partition may be dropped so much later than it could: house is kept now and then, and a lock is waited for.
const GRACE: i64 = HOUR;

/// Rows of the default partition are counted so far.
const MOST: i64 = 1_000_000;

/// What is not the partitions' own and needs one of ours, or the type of its rows: with how many, and the first of them.
const DEPENDENTS: &str = "WITH parts AS (
        SELECT c.oid, c.reltype, c.oid::regclass::text AS name FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = to_regclass('raw_data.activity_records')
            AND obj_description(c.oid, 'pg_class') LIKE $1 || '%'
    ), needed AS (
        SELECT DISTINCT p.name, CASE WHEN v.oid IS NULL THEN pg_describe_object(d.classid, d.objid, d.objsubid)
                ELSE pg_describe_object('pg_class'::regclass, v.oid, 0) END AS dependent
        FROM parts AS p JOIN pg_depend AS d ON d.deptype = 'n'
            AND (d.refclassid = 'pg_class'::regclass AND d.refobjid = p.oid
                OR d.refclassid = 'pg_type'::regclass AND d.refobjid = p.reltype)
        LEFT JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
        LEFT JOIN pg_class AS v ON v.oid = r.ev_class)
    SELECT dependent, count(*), min(name) FROM needed GROUP BY dependent ORDER BY dependent LIMIT 20";

/// Looks at the table of raw readings, if it is there.
pub(in crate::postgres) async fn examine(
    client: &Client,
    keep: Option<Duration>,
    server: &Server,
    checkup: &mut Checkup,
) -> Result<(), Failure> {
    let found = look(client, keep).await?;
    if let Some(said) = useless(found.kind, keep) {
        checkup.warn("retention", said);
    }
    if found.kind != Kind::Parted {
        return Ok(());
    }
    if let Some(said) = plan::unreadable(&found.standing) {
        checkup.fail(format!("partitions of {TABLE}"), said);
        return look_at_default(client, found.default.as_ref(), checkup).await;
    }
    look_ahead(&found, server, checkup);
    look_back(&found, keep, server, checkup);
    if keep.is_some() {
        look_at_dependents(client, checkup).await?;
    }
    look_at_default(client, found.default.as_ref(), checkup).await
}

fn look_ahead(found: &Found, server: &Server, checkup: &mut Checkup) {
    let subject = format!("partitions of {TABLE}");
    let Plan { make, notices, .. } = plan::plan(&found.standing);
    let now = found.standing.now;
    let parts = &found.standing.parts;
    let covering = parts.iter().any(|part| part.from <= now && now < part.to);
    for notice in notices {
        checkup.warn(&subject, notice);
    }
    let begin =
        if covering { now } else { parts.iter().map(|part| part.from).filter(|from| *from > now).min().unwrap_or(now) };
    let mut reach = begin;
    while let Some(part) = parts.iter().find(|part| part.from <= reach && reach < part.to) {
        reach = part.to;
    }
    if let Some((from, to)) = plan::hole(&found.standing).filter(|_| covering) {
        checkup.warn(
            &subject,
            format!(
                "none takes what is stored from {} to {}: it goes into the default partition; gaitway sink makes one while it \
                 runs if that is an hour at least and the name is free, else attach one",
                shown(from),
                shown(to)
            ),
        );
    }
    match (make.is_empty(), covering, found.may_make) {
        (true, ..) | (false, true, true) => {
            let first = if covering { String::new() } else { format!(" from {}", shown(begin)) };
            checkup.ok(&subject, format!("{}, made ahead{first} until {}", parts.len(), shown(reach)));
        }
        (false, false, true) => {
            checkup.warn(&subject, "none takes what is stored now: gaitway sink makes it when it starts");
        }
        (false, _, false) => {
            if let Some(said) = not_made(&make, server) {
                checkup.warn(&subject, said);
            }
        }
    }
}

fn look_back(found: &Found, keep: Option<Duration>, server: &Server, checkup: &mut Checkup) {
    let Some(keep) = keep else { return };
    if let Some(said) = plan::kept_longer(&found.standing) {
        checkup.warn("retention", said);
    }
    let ahead = plan::plan(&found.standing).shorten;
    if let Some(said) = not_shortened(&ahead, server).filter(|_| !found.may_make) {
        checkup.warn("retention", said);
    }
    let seconds = plan::seconds(keep);
    let late = plan::Standing { keep: Some(seconds.saturating_add(GRACE)), ..found.standing.clone() };
    let late = plan::plan(&late).drop;
    match late.as_slice() {
        [] => checkup.ok("retention", format!("raw readings are kept for {}", duration::shown(keep))),
        [first, ..] => {
            let what = format!("{} partitions are older than keep_raw, the first raw_data.{}", late.len(), first.name);
            let why = if found.may_make {
                "gaitway sink drops them while it runs, if it gets their locks within 2 s".to_owned()
            } else {
                format!("user {} may not drop them: let the owner run DROP TABLE", server.user)
            };
            checkup.warn("retention", format!("{what}: {why}"));
        }
    }
}

/// What keeps partitions of this program's from being dropped.
async fn look_at_dependents(client: &Client, checkup: &mut Checkup) -> Result<(), Failure> {
    for row in client.query(DEPENDENTS, &[&MADE]).await? {
        let (dependent, parts, first): (&str, i64, &str) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let more = if parts > 1 { format!(" and {} more", parts - 1) } else { String::new() };
        checkup.warn(
            "retention",
            format!(
                "{dependent} needs {first}{more}, which can never be dropped while it is there: make it read {TABLE} \
                 instead, or drop it"
            ),
        );
    }
    Ok(())
}

async fn look_at_default(client: &Client, default: Option<&Default>, checkup: &mut Checkup) -> Result<(), Failure> {
    let subject = format!("default partition of {TABLE}");
    let Some(default) = default else {
        checkup
            .warn(subject, "is not there: a reading that no partition covers cannot be stored; gaitway sink makes it");
        return Ok(());
    };
    if default.strays == Some(true) {
        let count = format!("SELECT count(*) FROM (SELECT FROM {} LIMIT {MOST}) AS first", default.name);
        let count: i64 = client.query_one(&count, &[]).await?.try_get(0)?;
        let rows = if count == MOST { format!("{MOST} rows or more") } else { format!("{count} rows") };
        checkup.warn(
            subject,
            format!("has {rows}, which keep_raw does not delete: deploy/postgres/README.md says what to do with them"),
        );
    }
    Ok(())
}
