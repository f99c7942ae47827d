//! A range of offsets goes through again: what Snowflake accepted and passed over is read from Kafka once more.
//!
//! - Window by window the table is asked what it has, and the log for the rest. Never more than a window's offsets and one
//!   batch of records are held.
//! - Records go the sink's way: what cannot be read or can never be stored was put aside when the sink met it, and is passed by.
//! - What Snowflake passes over again is put aside, acknowledged by Kafka, before the range counts as dealt with.
//! - It may end at any moment, and be run again: nothing is stored twice, and no letter is missing.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gaitway_proto::ledger::LedgerError;
use gaitway_proto::schema::Table;
use gaitway_proto::topic::AgentId;
use tokio_util::sync::CancellationToken;

use super::CLIENT;
use super::dead_letter::{self, DeadLetters};
use super::reader::{Read, Reader, Source};
use super::taken::{self, Refusal, Taken};
use crate::config::SinkConfig;
use crate::snowflake::{Client, Redrive, Standing};

/// Offsets that the table is asked for at a time.
const WINDOW: u64 = 10_000;

/// How long Snowflake may take to commit what was appended.
const PATIENCE: Duration = Duration::from_secs(300);

/// How long nothing may come from Kafka.
const SILENCE: Duration = Duration::from_secs(60);

/// Longest wait for a record: so soon it is noticed that somebody wants an end.
const POLL: Duration = Duration::from_millis(100);

/// What goes through again.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub table: &'static Table,
    pub topic: String,
    pub partition: i32,
    pub offsets: RangeInclusive<u64>,
}

/// What became of the offsets; their sum is [`asked`](Self::asked).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// The table had them.
    pub stored: u64,
    /// They are in the table now; where nothing was to be done, they are missing.
    pub appended: u64,
    /// Snowflake passed over them again, and they are dead letters now.
    pub aside: u64,
    /// They cannot be read, or never be stored: the sink made dead letters of them.
    pub unusable: u64,
    /// Kafka has no record there.
    pub empty: u64,
    /// They lie before the first record that Kafka still has, and are not in the table.
    pub gone: u64,
}

impl Account {
    /// All offsets.
    pub(crate) fn asked(&self) -> u64 {
        let Self { stored, appended, aside, unusable, empty, gone } = self;
        stored + appended + aside + unusable + empty + gone
    }
}

/// Drives `wanted` through again, or if it is `dry` only looks. Blocks, outside of the client's runtime; the error is a
/// sentence.
pub(crate) fn run(
    config: &SinkConfig,
    client: &Client,
    wanted: &Wanted,
    dry: bool,
    stop: &CancellationToken,
) -> Result<Account, String> {
    let Wanted { table, topic, partition, offsets } = wanted;
    let mut passage = Passage::open(config, client.clone(), wanted, stop)?;
    if dry {
        let mut account = Account::default();
        passage.go(&mut account, |missing, _| Ok(missing.len() as u64))?;
        return Ok(account);
    }
    let which = (topic.as_str(), *partition);
    let said = |error: LedgerError| error.to_string();
    let mut redrive = Redrive::open(client, table, topic, *partition, offsets.clone()).map_err(said)?;
    let mut account = Account::default();
    let mut judge = client.clone();
    passage.go(&mut account, |missing, stored| {
        taken::sorted(table, which, missing, &mut judge, |_, records, _| {
            redrive.append(records, stored).map(|count| count as u64).map_err(said)
        })
    })?;
    let passed_over = match redrive.finish(PATIENCE) {
        Ok(()) => return Ok(account),
        Err(LedgerError::Skipped { reason, .. }) => redrive.passed_over().map_err(said)?.ok_or(reason)?,
        Err(error) => return Err(said(error)),
    };
    let mut redrive = redrive.again().map_err(said)?;
    let letters = DeadLetters::new(Arc::new(config.kafka.clone()), CLIENT);
    dead_letter::ensure(&config.kafka, CLIENT)?;
    let (mut after, mut passage) = (Account::default(), Passage::open(config, client.clone(), wanted, stop)?);
    passage.go(&mut after, |missing, _| {
        let unusable = taken::sorted(table, which, missing, &mut judge, |_, _, refused| {
            refused.iter().map(|(taken, _)| taken.offset).collect::<BTreeSet<i64>>()
        });
        let passed = missing.iter().filter(|taken| !unusable.contains(&taken.offset));
        let passed: Vec<_> = passed.map(|taken| (taken, Refusal::PassedOver(passed_over.clone()))).collect();
        letters.write(topic, *partition, &passed)?;
        Ok(passed.len() as u64)
    })?;
    redrive.settle().map_err(said)?;
    account.aside = after.appended;
    account.appended = account.appended.saturating_sub(account.aside);
    Ok(account)
}

/// Goes over the offsets of a range, once.
struct Passage<'a> {
    client: Client,
    wanted: &'a Wanted,
    stop: &'a CancellationToken,
    source: Source,
    reader: Reader,
    /// The first record that Kafka still has.
    low: u64,
    /// All records before it were given.
    next: u64,
    /// Read, and of a later window.
    held: Option<Taken>,
    agent: Option<AgentId>,
    max_rows: usize,
    max_bytes: usize,
}

impl<'a> Passage<'a> {
    /// Looks at channel and log, and begins to read. The error says why this range must not go through.
    fn open(
        config: &SinkConfig,
        client: Client,
        wanted: &'a Wanted,
        stop: &'a CancellationToken,
    ) -> Result<Self, String> {
        let Wanted { table, topic, partition, offsets } = wanted;
        let standing = client.standing(table, topic, *partition).map_err(|error| error.to_string())?;
        let token = may_go(standing.as_ref(), wanted)?;
        let kafka = Arc::new(config.kafka.clone());
        let source = Source::new(kafka, CLIENT, &config.group, config.batch.memory / 2, 1)?;
        let mut reader = source.reader(topic, *partition)?;
        let survey = reader.survey()?;
        let [low, high] = [survey.low, survey.high].map(|offset| u64::try_from(offset).unwrap_or_default());
        if token >= high {
            return Err(format!(
                "the warehouse holds records of {topic}/{partition} up to offset {token}, but the log ends before {high}: the \
                 topic was recreated, or lost records; what is at these offsets now are other records"
            ));
        }
        let next = low.max(*offsets.start());
        if next <= *offsets.end() {
            reader.start(i64::try_from(next).unwrap_or(i64::MAX))?;
        }
        let max_bytes = usize::try_from(config.batch.max_bytes).unwrap_or(usize::MAX);
        let (held, agent, max_rows) = (None, None, config.batch.max_rows);
        Ok(Self { client, wanted, stop, source, reader, low, next, held, agent, max_rows, max_bytes })
    }

    /// Gives `each`, batch by batch, the records that the table misses, with what it has of their window; `each` answers how
    /// many of them it took, the others are unusable. All offsets are entered into `account`.
    fn go(
        &mut self,
        account: &mut Account,
        mut each: impl FnMut(&[Taken], &BTreeSet<u64>) -> Result<u64, String>,
    ) -> Result<(), String> {
        let Wanted { table, topic, partition, offsets } = self.wanted;
        for window in windows(offsets) {
            let stored = self.client.stored(table, topic, *partition, window.clone()).map_err(|error| {
                format!(
                    "cannot ask which offsets {}.{} has: {error}; see snowflake.warehouse",
                    table.schema, table.name
                )
            })?;
            account.stored += stored.len() as u64;
            // Offsets do not leave the range of an i64, so their number is one of a u64.
            let missing = window.end() - window.start() + 1 - stored.len() as u64;
            let before_low = *window.start()..self.low.min(window.end() + 1).max(*window.start());
            let gone = (before_low.end - before_low.start) - stored.range(before_low).count() as u64;
            let (mut batch, mut bytes, mut read) = (Vec::new(), 0, 0);
            loop {
                let record = self.record(*window.end())?;
                let is_end = record.is_none();
                if let Some(record) = record.filter(|record| !stored.contains(&offset(record))) {
                    bytes += record.bytes();
                    batch.push(record);
                }
                if is_end || batch.len() >= self.max_rows || bytes >= self.max_bytes {
                    let took = if batch.is_empty() { 0 } else { each(&batch, &stored)? };
                    account.appended += took;
                    account.unusable += batch.len() as u64 - took;
                    read += batch.len() as u64;
                    (batch, bytes) = (Vec::new(), 0);
                }
                if is_end {
                    break;
                }
            }
            account.gone += gone;
            account.empty += missing.saturating_sub(gone + read);
        }
        Ok(())
    }

    /// The next record up to offset `last`; none if there is no more.
    fn record(&mut self, last: u64) -> Result<Option<Taken>, String> {
        let mut heard = Instant::now();
        loop {
            if self.stop.is_cancelled() {
                return Err("stopped before all was done".to_owned());
            }
            if let Some(held) = self.held.take_if(|held| offset(held) <= last) {
                self.next = offset(&held) + 1;
                return Ok(Some(held));
            }
            if self.next > last {
                return Ok(None);
            }
            match self.reader.poll(POLL) {
                Read::Record(message) => {
                    let taken = Taken::copy(&message, &mut self.agent);
                    if offset(&taken) >= self.next {
                        self.next = offset(&taken);
                        self.held = Some(taken);
                    }
                }
                Read::End(next) => self.next = self.next.max(u64::try_from(next).unwrap_or_default()),
                Read::Broken(why) | Read::Damaged(why) => return Err(why),
                Read::Nothing => {
                    self.source.serve()?;
                    if heard.elapsed() > SILENCE {
                        let Wanted { topic, partition, .. } = self.wanted;
                        let next = self.next;
                        return Err(format!(
                            "nothing came from {topic}/{partition} at offset {next} for {} s",
                            SILENCE.as_secs()
                        ));
                    }
                    continue;
                }
            }
            heard = Instant::now();
        }
    }
}

/// Kafka's offsets are not negative.
fn offset(taken: &Taken) -> u64 {
    u64::try_from(taken.offset).unwrap_or_default()
}

/// The channel's token, if the range is below it; else a sentence.
fn may_go(standing: Option<&Standing>, wanted: &Wanted) -> Result<u64, String> {
    let Wanted { table, topic, partition, offsets } = wanted;
    let end = offsets.end();
    match standing {
        None => Err(format!(
            "Snowflake knows no channel of {topic}/{partition} for table {}.{}: check --topic, --partition and \
             snowflake.deployment",
            table.schema, table.name
        )),
        Some(Standing { channel, committed: None, .. }) => {
            Err(format!("channel {channel} has stored nothing yet: what is missing now the sink may still store"))
        }
        Some(Standing { channel, committed: Some(token), .. }) if token < end => Err(format!(
            "channel {channel} has come to offset {token}: what is missing behind it the sink may still store; give --offsets \
             that end at {token} or before"
        )),
        Some(Standing { committed: Some(token), .. }) => Ok(*token),
    }
}

/// Parts of `offsets`, in order, each of at most [`WINDOW`].
fn windows(offsets: &RangeInclusive<u64>) -> impl Iterator<Item = RangeInclusive<u64>> {
    let (first, last) = offsets.clone().into_inner();
    let starts = std::iter::successors(Some(first), |start| start.checked_add(WINDOW));
    starts.take_while(move |start| *start <= last).map(move |start| start..=last.min(start.saturating_add(WINDOW - 1)))
}

#[cfg(test)]
mod tests {
    use gaitway_proto::schema::RAW;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn windows_are_the_range_in_order_without_a_hole(first in 0..u64::MAX / 2, count in 0..5 * WINDOW) {
            let range = first..=first + count;
            let mut next = first;
            for window in windows(&range) {
                prop_assert_eq!(*window.start(), next);
                prop_assert!(window.end() - window.start() < WINDOW && window.start() <= window.end());
                next = window.end() + 1;
            }
            prop_assert_eq!(next, range.end() + 1);
        }
    }

    #[test]
    fn what_the_sink_may_still_store_does_not_go_through_again() {
        let wanted = Wanted { table: &RAW, topic: "t".to_owned(), partition: 3, offsets: 5..=9 };
        let standing = |committed| Standing { channel: "c".to_owned(), committed, passed_over: 1, bound: Some(9) };
        assert_eq!(may_go(Some(&standing(Some(9))), &wanted), Ok(9));
        for (standing, says) in [
            (None, "no channel of t/3"),
            (Some(standing(None)), "stored nothing yet"),
            (Some(standing(Some(8))), "end at 8 or before"),
        ] {
            let said = may_go(standing.as_ref(), &wanted).unwrap_err();
            assert!(said.contains(says), "{said}");
        }
    }
}
