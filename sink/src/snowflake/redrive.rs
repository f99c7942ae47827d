//! Appending again what Snowflake accepted and passed over, so that doing it twice is harmless.
//!
//! - Only offsets up to the token of the partition's own channel are driven through again: what lies beyond it may still be
//!   stored by the sink.
//! - Which rows are missing is the table's word ([`Client::stored`]), asked after the redrive channel was opened: an open waits
//!   until what an earlier redrive appended is committed, and fences whoever still runs one.
//! - Only missing rows are appended, through the channel `<deployment>_<topic>_<partition>_redrive`, in order, each under its
//!   offset.
//! - When everything is committed the redrive channel's token is at least the last offset of the range. By that the
//!   partition's own channel knows, also after a restart, that the errors up to there are dealt with. A redrive channel that
//!   has passed over rows itself says nothing of the kind: it is made anew first.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use gaitway_proto::ledger::{Ledger as _, LedgerError, Mark, Source};
use gaitway_proto::record::Record;
use gaitway_proto::schema::{RECORD_METADATA, Table};

use super::channel::Channel;
use super::client::Client;
use super::rows;
use super::sql::SqlError;

/// What the name of a redrive channel has behind the partition's.
const SUFFIX: &str = "_redrive";

/// Most offsets that one statement asks for: their answer is one partition of a result.
const ASKED: u64 = 10_000;

/// How the channel of a partition stands at Snowflake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The channel.
    pub channel: String,
    /// Of everything up to this offset it is known whether it is stored.
    pub committed: Option<u64>,
    /// Rows that were accepted and passed over since the channel was made.
    pub passed_over: u64,
    /// No passed over row lies beyond this offset.
    pub bound: Option<u64>,
}

impl Client {
    /// How the channel of `topic`'s `partition` stands; none if Snowflake does not know it. It is not opened.
    pub fn standing(
        &self,
        table: &'static Table,
        topic: &str,
        partition: i32,
    ) -> Result<Option<Standing>, LedgerError> {
        let channel = self.channel(table, topic, partition);
        let standing = channel.look()?.map(|status| Standing {
            channel: channel.name().to_owned(),
            committed: status.last_committed_offset_token.as_deref().and_then(|token| token.parse().ok()),
            passed_over: status.errors(),
            bound: status.bound(),
        });
        Ok(standing)
    }

    /// Why `record` can never be stored, if it cannot.
    pub fn refuses(&self, record: &Record<'_>) -> Option<String> {
        rows::refuses(record)
    }

    /// Those of `offsets` of `topic`'s `partition` that `table` has, asked in SQL: the role needs SELECT and a warehouse.
    pub fn stored(
        &self,
        table: &Table,
        topic: &str,
        partition: i32,
        offsets: RangeInclusive<u64>,
    ) -> Result<BTreeSet<u64>, SqlError> {
        let mut stored = BTreeSet::new();
        let (mut first, last) = offsets.into_inner();
        while first <= last {
            let upto = last.min(first.saturating_add(ASKED - 1));
            let rows = self.query(&question(table, topic, partition, first..=upto))?;
            for row in &rows.rows {
                let text = row.first().cloned().flatten().unwrap_or_default();
                let unreadable =
                    || SqlError::Refused(format!("statement answered {text:?} where an offset was asked for"));
                stored.insert(text.parse().map_err(|_| unreadable())?);
            }
            let Some(next) = upto.checked_add(1) else { break };
            first = next;
        }
        Ok(stored)
    }
}

fn question(table: &Table, topic: &str, partition: i32, offsets: RangeInclusive<u64>) -> String {
    let (Table { schema, name, .. }, topic, (first, last)) = (table, topic.replace('\'', "''"), offsets.into_inner());
    format!(
        "SELECT DISTINCT {RECORD_METADATA}:offset::NUMBER FROM {schema}.{name} WHERE {RECORD_METADATA}:topic::VARCHAR = \
         '{topic}' AND {RECORD_METADATA}:partition::NUMBER = {partition} AND {RECORD_METADATA}:offset::NUMBER BETWEEN \
         {first} AND {last}"
    )
}

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
    /// run meanwhile; another redrive of the partition is fenced. [`LedgerError::Rejected`] if the sink has not come so far.
    pub fn open(
        client: &Client,
        table: &'static Table,
        topic: &str,
        partition: i32,
        offsets: RangeInclusive<u64>,
    ) -> Result<Self, LedgerError> {
        let committed = client.standing(table, topic, partition)?.and_then(|standing| standing.committed);
        if committed < Some(*offsets.end()) {
            let end = offsets.end();
            let why =
                format!("the sink has come to {committed:?} of {topic}/{partition}, offset {end} is still its own");
            return Err(LedgerError::Rejected(why));
        }
        let mut channel = Channel::named(client.clone(), table, topic, partition, SUFFIX);
        // Waits until an earlier redrive's rows are committed. Errors of an earlier redrive are this one's task.
        let before = match channel.recover() {
            Ok(()) => channel.known(),
            Err(LedgerError::Skipped { .. }) => None,
            Err(error) => return Err(error),
        };
        channel.delete()?;
        let mut channel = Channel::named(client.clone(), table, topic, partition, SUFFIX);
        channel.recover()?;
        Ok(Self { client: client.clone(), channel, table, topic: topic.to_owned(), partition, offsets, before })
    }

    /// Opens it anew, empty, after rows were passed over.
    pub fn again(self) -> Result<Self, LedgerError> {
        let Self { client, table, topic, partition, offsets, before, .. } = self;
        let mut again = Self::open(&client, table, &topic, partition, offsets)?;
        again.before = again.before.max(before);
        Ok(again)
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
    /// passes over again are [`LedgerError::Skipped`]: put them aside, then [`settle`](Self::settle) what was opened
    /// [`again`](Self::again).
    pub fn finish(&mut self, patience: Duration) -> Result<(), LedgerError> {
        let source = Source::partition(&self.topic, self.partition);
        let end = Instant::now() + patience;
        loop {
            let committed = self.channel.committed(std::slice::from_ref(&source))?.get(&source).copied();
            if committed == self.channel.reached() {
                return self.settle();
            }
            let name = self.channel.name();
            if Instant::now() > end {
                let why = format!("channel {name}: not committed within {} s: {committed:?}", patience.as_secs());
                return Err(LedgerError::Unavailable(why));
            }
            if !self.client.wait(self.client.pace().status) {
                return Err(LedgerError::Unavailable(format!(
                    "channel {name}: stopped before everything was committed"
                )));
            }
        }
    }

    /// What Snowflake said of the last row that it passed over again; none if it has passed over none.
    pub fn passed_over(&self) -> Result<Option<String>, LedgerError> {
        let status = self.channel.look()?.filter(|status| status.errors() > 0);
        Ok(status.map(|status| status.last_error_message.unwrap_or_else(|| "Snowflake does not say why".to_owned())))
    }

    /// Says that the range is dealt with, whatever became of its rows: the partition's channel goes on.
    pub fn settle(&mut self) -> Result<(), LedgerError> {
        let end = self.before.map_or(*self.offsets.end(), |before| before.max(*self.offsets.end()));
        self.channel.adopt(end)
    }
}
