//! Partitions that go: detached and dropped in one transaction.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::pause::Pause;
use super::plan::{Part, shown};
use super::{TABLE, in_transaction};
use crate::postgres::commit::within;
use crate::postgres::setup::PATIENCE;
use crate::postgres::trouble::Failure;

/// Drops `parts`, only such as have no rows if they must be `empty`, unless that failed and is tried again later. One that
/// fails does not keep the others.
pub(super) async fn drop_all(
    client: &mut Client,
    parts: &[Part],
    empty: bool,
    limit: Duration,
    pause: &mut Pause,
) -> Result<(), Failure> {
    if parts.is_empty() || !pause.is_over(Instant::now()) {
        return Ok(());
    }
    let mut dropped = Ok(());
    for part in parts {
        match within(limit, drop_part(client, part, empty)).await {
            Ok(()) => {
                let (partition, from, to) = (&part.name, shown(part.from), shown(part.to));
                if empty {
                    tracing::info!(partition, from, to, "an empty partition is made anew, for the present keep_raw");
                } else {
                    tracing::info!(partition, from, to, "old raw readings were dropped");
                }
            }
            Err(failure) if client.is_closed() || failure.is_silent() => return Err(failure),
            // A lock that was not given for one is not for the next: all wait for the table's.
            Err(failure) if failure.is_locked_out() => {
                dropped = Err(failure);
                break;
            }
            Err(failure) => dropped = dropped.and(Err(failure)),
        }
    }
    match dropped {
        Ok(()) => pause.succeeded(),
        Err(_) => pause.failed(Instant::now()),
    }
    dropped
}

/// Detached, nobody writes into it any more: whether it is empty is certain then.
async fn drop_part(client: &mut Client, part: &Part, empty: bool) -> Result<(), Failure> {
    let name = format!("raw_data.\"{}\"", part.name);
    let look = format!(
        "; DO $$ BEGIN IF EXISTS (SELECT FROM {name}) THEN RAISE EXCEPTION '{name} has rows by now'; END IF; END $$"
    );
    let look = if empty { &look } else { "" };
    let drop = format!("{PATIENCE}; ALTER TABLE {TABLE} DETACH PARTITION {name}{look}; DROP TABLE {name}");
    in_transaction(client, &drop).await
}
