//! Appending again what Snowflake accepted and passed over, so that doing it twice is harmless.
//!
//! - Which rows are missing is the table's word, asked after the redrive channel was opened: an open waits until what an
//!   earlier redrive appended is committed, and fences whoever still runs one.
//! - Only missing rows are appended, through the channel `<deployment>_<topic>_<partition>_redrive`, in order, each under its
//!   offset.
//! - When everything is committed the redrive channel's token is at least the last offset of the range. By that the
//!   partition's own channel knows, also after a restart, that the errors up to there are dealt with.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use gaitway_proto::ledger::{Ledger as _, LedgerError, Mark, Source};
use gaitway_proto::record::Record;
use gaitway_proto::schema::{RECORD_METADATA, Table};

use super::channel::Channel;
use super::client::Client;
use super::sql::SqlError;

/// Most offsets that one statement asks for: their answer is one partition of a result.
const ASKED: u64 = 10_000;

/// A range of offsets of one partition that is driven through again.
pub struct Redrive {
    client: Client,
    channel: Channel,
    table: &'static Table,
    topic: String,
    partition: i32,
    offsets: RangeInclusive<u64>,
    /// The token of earlier redrives.
    before: Option<u64>,
}

impl Redrive {
    /// Opens the redrive channel of `topic`'s `partition`, empty, for the rows at `offsets` that `table` misses. The sink may
    /// run meanwhile; another redrive of the partition is fenced.
    pub fn open(
        client: &Client,
        table: &'static Table,
        topic: &str,
        partition: i32,
        offsets: RangeInclusive<u64>,
    ) -> Result<Self, LedgerError> {
        let mut channel = Channel::named(client.clone(), table, topic, partition, "_redrive");
        // Waits until an earlier redrive's rows are committed. Errors of an earlier redrive are this one's task.
        match channel.recover() {
            Ok(()) | Err(LedgerError::Skipped { .. }) => {}
            Err(error) => return Err(error),
        }
        let before = channel.known();
        channel.delete()?;
        let mut channel = Channel::named(client.clone(), table, topic, partition, "_redrive");
        channel.recover()?;
        Ok(Self { client: client.clone(), channel, table, topic: topic.to_owned(), partition, offsets, before })
    }

    /// The offsets of the range that the table has, asked in SQL: the role needs SELECT and a warehouse.
    pub fn stored(&self) -> Result<BTreeSet<u64>, SqlError> {
        let mut stored = BTreeSet::new();
        let (mut first, last) = (*self.offsets.start(), *self.offsets.end());
        while first <= last {
            let upto = last.min(first.saturating_add(ASKED - 1));
            let rows = self.client.query(&self.question(first, upto))?;
            stored.extend(rows.rows.iter().filter_map(|row| row.first()?.as_deref()?.parse::<u64>().ok()));
            first = upto + 1;
        }
        Ok(stored)
    }

    fn question(&self, first: u64, last: u64) -> String {
        let Table { schema, name, .. } = self.table;
        let (topic, partition) = (self.topic.replace('\'', "''"), self.partition);
        format!(
            "SELECT DISTINCT {RECORD_METADATA}:offset::NUMBER FROM {schema}.{name} WHERE {RECORD_METADATA}:topic::VARCHAR = \
             '{topic}' AND {RECORD_METADATA}:partition::NUMBER = {partition} AND {RECORD_METADATA}:offset::NUMBER BETWEEN \
             {first} AND {last}"
        )
    }

    /// Appends those of `records` that lie in the range and are not `stored`; the number of them. Records come in the order
    /// of their offsets, in as many calls as there are batches.
    pub fn append(&mut self, records: &[Record<'_>], stored: &BTreeSet<u64>) -> Result<usize, LedgerError> {
        let offset = |record: &Record<'_>| record.metadata.place.and_then(|place| u64::try_from(place.offset).ok());
        let missing: Vec<_> = records
            .iter()
            .filter(|record| offset(record).is_some_and(|at| self.offsets.contains(&at) && !stored.contains(&at)))
            .cloned()
            .collect();
        let Some(to) = missing.last().and_then(offset) else { return Ok(0) };
        let source = Source::partition(&self.topic, self.partition);
        let from = self.channel.reached();
        self.channel.submit(&missing, &[Mark { source, from, to }])?;
        Ok(missing.len())
    }

    /// Waits until everything is committed, at most for `patience`, and says so in the channel's token. Rows that Snowflake
    /// passes over again are [`LedgerError::Skipped`]: put them aside, then [`settle`](Self::settle).
    pub fn finish(mut self, patience: Duration) -> Result<(), LedgerError> {
        let source = Source::partition(&self.topic, self.partition);
        let end = Instant::now() + patience;
        loop {
            let committed = self.channel.committed(std::slice::from_ref(&source))?.get(&source).copied();
            if committed == self.channel.reached() {
                return self.settle();
            }
            if Instant::now() > end {
                let name = self.channel.name();
                let why = format!("channel {name}: not committed within {} s: {committed:?}", patience.as_secs());
                return Err(LedgerError::Unavailable(why));
            }
            self.client.wait(self.client.pace().status);
        }
    }

    /// Says that the range is dealt with, whatever became of its rows: the partition's channel goes on.
    pub fn settle(mut self) -> Result<(), LedgerError> {
        let end = self.before.map_or(*self.offsets.end(), |before| before.max(*self.offsets.end()));
        self.channel.adopt(end)
    }
}
