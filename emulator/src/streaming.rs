//! The machine: tables, pipes, channels, and the appends on their way. No socket, no clock: time is an argument,
//! milliseconds since the Unix epoch.
//!
//! - An open takes a sequencer that no open had before: the former owner's continuation tokens are stale from then on.
//! - An append that is taken is committed [`Settings::commit_lag_ms`] later, whole, once, and in the order in which it was
//!   taken; until then an open discards it, or is refused if it said `fail_on_uncommitted_rows`.
//! - Of two appends with one continuation token one is taken, whatever the second holds.
//! - The committed token is the `endOffsetToken` of the last committed append that had one; only an open with
//!   `offset_token` sets it otherwise, and only with the channel is it lost.
//! - Snowflake neither reads nor compares offset tokens: rows that are sent again under an old one are there twice.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

pub mod batch;
pub mod channel;
pub mod refusal;
pub mod table;
#[cfg(test)]
mod tests;

use batch::Batch;
use channel::{Channel, ChannelStatus, Continuation, Pending, SUCCESS};
use refusal::{IN_PROGRESS, Refusal, TOO_MANY, UNCOMMITTED};
use table::{Row, Table};

/// Channels that one pipe may have.
pub const CHANNELS_PER_PIPE: usize = 2_000;

/// What is answered to a continuation token that was used by the append before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// The same as the first time; nothing is taken a second time.
    Idempotent,
    /// That it is stale.
    Stale,
}

/// How the machine behaves.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// From taken to committed.
    pub commit_lag_ms: u64,
    /// What a replayed continuation token is answered.
    pub replay: Replay,
    /// Appends per channel and second; `None`: as many as come.
    pub requests_per_second: Option<u32>,
}

/// Where a pipe is. Plain identifiers: case does not distinguish them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PipeName {
    /// Database.
    pub database: String,
    /// Schema.
    pub schema: String,
    /// Pipe.
    pub pipe: String,
}

impl PipeName {
    /// The pipe `pipe` in `database`.`schema`.
    pub fn new(database: &str, schema: &str, pipe: &str) -> Self {
        let [database, schema, pipe] = [database, schema, pipe].map(str::to_ascii_uppercase);
        Self { database, schema, pipe }
    }
}

impl fmt::Display for PipeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.database, self.schema, self.pipe)
    }
}

/// An open's arguments.
#[derive(Debug, Clone, Default)]
pub struct Open {
    /// The token that the channel is to have.
    pub offset_token: Option<String>,
    /// Refuse rather than discard.
    pub fail_on_uncommitted_rows: bool,
}

/// An open's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Opened {
    /// For the first append.
    pub next_continuation_token: String,
    /// The channel as it is now.
    pub channel_status: ChannelStatus,
}

/// A channel as tests see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelView {
    /// What a status call would tell.
    pub status: ChannelStatus,
    /// Rows taken and not committed.
    pub uncommitted: u64,
    /// How often it was opened since it was made.
    pub opens: u64,
    /// Appends taken since it was made.
    pub appends: u64,
    /// Appends that came again with the continuation token of the one before.
    pub replays: u64,
    /// Of these, the ones that did not hold the same bytes: a client's error, and rows that are lost.
    pub altered_replays: u64,
    /// Rows that were taken and then discarded by an open.
    pub discarded: u64,
}

#[derive(Debug)]
struct Stored {
    table: Arc<Table>,
    rows: Vec<Row>,
    count: u64,
}

#[derive(Debug)]
struct Pipe {
    table: usize,
    /// A default pipe exists from the first open.
    exists: bool,
    channels: BTreeMap<String, Channel>,
}

/// An append's place in the order of commits.
#[derive(Debug)]
struct Due {
    at_ms: u64,
    pipe: PipeName,
    channel: String,
    id: u64,
}

/// The machine.
#[derive(Debug)]
pub struct Streaming {
    settings: Settings,
    database: String,
    tables: Vec<Stored>,
    pipes: HashMap<PipeName, Pipe>,
    due: VecDeque<Due>,
    sequencers: u64,
    appends: u64,
    frozen: bool,
}

impl Streaming {
    /// A machine with `tables` in `database`, all empty.
    pub fn new(settings: Settings, database: &str, tables: impl IntoIterator<Item = Table>) -> Self {
        let tables: Vec<_> =
            tables.into_iter().map(|table| Stored { table: Arc::new(table), rows: Vec::new(), count: 0 }).collect();
        let mut pipes = HashMap::new();
        for (at, stored) in tables.iter().enumerate() {
            let Table { schema, name, .. } = &*stored.table;
            let pipe = |exists| Pipe { table: at, exists, channels: BTreeMap::new() };
            pipes.insert(PipeName::new(database, schema, &format!("{name}-STREAMING")), pipe(false));
            for own in &stored.table.pipes {
                pipes.insert(PipeName::new(database, schema, own), pipe(true));
            }
        }
        let database = database.to_ascii_uppercase();
        Self { settings, database, tables, pipes, due: VecDeque::new(), sequencers: 0, appends: 0, frozen: false }
    }

    /// The table behind a pipe, whether the pipe exists already or comes with the first open.
    pub fn table_of(&self, pipe: &PipeName) -> Result<Arc<Table>, Refusal> {
        let found = self.pipes.get(pipe).ok_or_else(|| Refusal::no_pipe(pipe))?;
        Ok(self.tables[found.table].table.clone())
    }

    /// Opens a channel, which is made if it is not there.
    pub fn open(&mut self, now_ms: u64, name: &PipeName, channel: &str, open: Open) -> Result<Opened, Refusal> {
        self.settle(now_ms);
        let pipe = self.pipes.get_mut(name).ok_or_else(|| Refusal::no_pipe(name))?;
        pipe.exists = true;
        let full = pipe.channels.len() >= CHANNELS_PER_PIPE;
        if full && !pipe.channels.contains_key(channel) {
            let message = format!("pipe {name} has {CHANNELS_PER_PIPE} channels");
            return Err(Refusal::new(400, "ERR_TOO_MANY_CHANNELS", message));
        }
        let opened = pipe.channels.entry(channel.to_owned()).or_insert_with(|| Channel::new(now_ms));
        if open.fail_on_uncommitted_rows && !opened.pending.is_empty() {
            let message = format!("channel {channel} has uncommitted data");
            return Err(Refusal::new(409, UNCOMMITTED, message));
        }
        opened.discarded += opened.uncommitted();
        opened.pending.clear();
        opened.sequencer = self.sequencers;
        self.sequencers += 1;
        opened.append = 0;
        opened.opens += 1;
        SUCCESS.clone_into(&mut opened.code);
        if open.offset_token.is_some() {
            opened.committed = open.offset_token;
        }
        Ok(Opened {
            next_continuation_token: opened.next().to_string(),
            channel_status: status(name, channel, opened, self.settings),
        })
    }

    /// Takes an append: `end` becomes the channel's token once it is committed. The answer is the next continuation token.
    pub fn append(
        &mut self,
        now_ms: u64,
        name: &PipeName,
        channel: &str,
        continuation: &str,
        end: Option<String>,
        batch: Batch,
    ) -> Result<String, Refusal> {
        self.settle(now_ms);
        let (id, replay) = (self.appends, self.settings.replay);
        let pipe = self.existing(name)?;
        let to = pipe.channels.get_mut(channel).ok_or_else(|| Refusal::no_channel(channel))?;
        let token = continuation
            .parse::<Continuation>()
            .map_err(|()| Refusal::new(400, "ERR_INVALID_CONTINUATION_TOKEN", "continuation token cannot be read"))?;
        if token.sequencer != to.sequencer {
            return Err(Refusal::stale("channel sequencer in the continuation token is stale: reopen the channel"));
        }
        if to.code != SUCCESS {
            return Err(Refusal::new(409, to.code.clone(), format!("channel {channel} must be reopened")));
        }
        if token.append.checked_add(1) == Some(to.append) {
            to.replays += 1;
            to.altered_replays += u64::from(to.last != batch.fingerprint);
            return match replay {
                Replay::Idempotent => Ok(to.next().to_string()),
                Replay::Stale => Err(Refusal::stale("continuation token was used: reopen the channel")),
            };
        }
        if token.append != to.append {
            return Err(Refusal::stale("continuation token is not the one expected next: reopen the channel"));
        }
        to.append += 1;
        to.appends += 1;
        to.last = batch.fingerprint;
        let next = to.next().to_string();
        to.pending.push_back(Pending { id, end: end.filter(|end| !end.is_empty()), batch });
        self.appends += 1;
        let at_ms = now_ms.saturating_add(self.settings.commit_lag_ms);
        self.due.push_back(Due { at_ms, pipe: name.clone(), channel: channel.to_owned(), id });
        self.settle(now_ms);
        Ok(next)
    }

    /// Whether one more append of this channel is within its rate; a refused one does not count.
    pub fn admit(&mut self, now_ms: u64, name: &PipeName, channel: &str) -> Result<(), Refusal> {
        let Some(limit) = self.settings.requests_per_second else { return Ok(()) };
        let known = self.pipes.get_mut(name).and_then(|pipe| pipe.channels.get_mut(channel));
        if known.is_none_or(|channel| channel.may_ask(now_ms, limit)) {
            return Ok(());
        }
        Err(Refusal::new(429, TOO_MANY, format!("channel {channel} has made {limit} requests in a second")))
    }

    /// The status of those of `names` that are there.
    pub fn statuses(
        &mut self,
        now_ms: u64,
        name: &PipeName,
        names: &[String],
    ) -> Result<BTreeMap<String, ChannelStatus>, Refusal> {
        self.settle(now_ms);
        let settings = self.settings;
        let pipe = self.existing(name)?;
        let known = names.iter().filter_map(|channel| {
            let found = pipe.channels.get(channel)?;
            Some((channel.clone(), status(name, channel, found, settings)))
        });
        Ok(known.collect())
    }

    /// Deletes a channel with its token and with what is not committed.
    pub fn drop_channel(&mut self, now_ms: u64, name: &PipeName, channel: &str) -> Result<(), Refusal> {
        self.settle(now_ms);
        let pipe = self.existing(name)?;
        pipe.channels.remove(channel).map(drop).ok_or_else(|| Refusal::no_channel(channel))
    }

    /// Gives a channel a status that is not `SUCCESS` until it is opened again; nothing if it is not there.
    pub fn invalidate(&mut self, name: &PipeName, channel: &str, code: &str) {
        if let Some(found) = self.pipes.get_mut(name).and_then(|pipe| pipe.channels.get_mut(channel)) {
            code.clone_into(&mut found.code);
        }
    }

    /// Holds all commits back, or lets those that are due happen with the next call.
    pub fn freeze(&mut self, frozen: bool) {
        self.frozen = frozen;
    }

    /// Commits what is due at `now_ms`.
    pub fn settle(&mut self, now_ms: u64) {
        while !self.frozen && self.due.front().is_some_and(|due| due.at_ms <= now_ms) {
            let Some(Due { pipe, channel, id, .. }) = self.due.pop_front() else { break };
            let Some(pipe) = self.pipes.get_mut(&pipe) else { continue };
            let Some(found) = pipe.channels.get_mut(&channel) else { continue };
            // An open in between has discarded it, if it is not the channel's oldest.
            if found.pending.front().is_none_or(|pending| pending.id != id) {
                continue;
            }
            let Some(pending) = found.pending.pop_front() else { continue };
            let batch = found.commit(pending, now_ms);
            let table = &mut self.tables[pipe.table];
            table.count += batch.inserted;
            table.rows.extend(batch.rows);
        }
    }

    /// The committed rows of a table in the order of their commits, and their count, which is all there is if only counts
    /// are kept. `None`: no such table.
    pub fn rows(&self, schema: &str, table: &str) -> Option<(&[Row], u64)> {
        let found = self.tables.iter().find(|stored| {
            stored.table.schema.eq_ignore_ascii_case(schema) && stored.table.name.eq_ignore_ascii_case(table)
        });
        found.map(|stored| (stored.rows.as_slice(), stored.count))
    }

    /// Deletes the committed rows of a table at `places`, counted from 1; how many there were.
    pub(crate) fn delete(&mut self, table: &Table, places: &[usize]) -> u64 {
        let Some(stored) = self.stored(table) else { return 0 };
        let places: BTreeSet<usize> = places.iter().copied().collect();
        let (mut at, before) = (0, stored.rows.len());
        stored.rows.retain(|_| {
            at += 1;
            !places.contains(&at)
        });
        let deleted = (before - stored.rows.len()) as u64;
        stored.count -= deleted;
        deleted
    }

    /// Adds rows to those of a table that are committed; how many.
    pub(crate) fn insert(&mut self, table: &Table, rows: Vec<Row>) -> u64 {
        let inserted = rows.len() as u64;
        let Some(stored) = self.stored(table) else { return 0 };
        stored.rows.extend(rows);
        stored.count += inserted;
        inserted
    }

    fn stored(&mut self, table: &Table) -> Option<&mut Stored> {
        let is_it = |of: &Table| (&of.schema, &of.name) == (&table.schema, &table.name);
        self.tables.iter_mut().find(|stored| is_it(&stored.table))
    }

    /// The database that holds the tables.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// All tables with their counts of committed rows.
    pub fn tables(&self) -> impl Iterator<Item = (&Table, u64)> {
        self.tables.iter().map(|stored| (&*stored.table, stored.count))
    }

    /// Rows taken and not committed, of all channels.
    pub fn uncommitted(&self) -> u64 {
        self.pipes.values().flat_map(|pipe| pipe.channels.values()).map(Channel::uncommitted).sum()
    }

    /// The pipes that have a channel of this name.
    pub fn pipes_with(&self, channel: &str) -> Vec<PipeName> {
        let with = self.pipes.iter().filter(|(_, pipe)| pipe.channels.contains_key(channel));
        with.map(|(name, _)| name.clone()).collect()
    }

    /// The channel of this name; the first by pipe if several pipes have one.
    pub fn channel(&self, channel: &str) -> Option<ChannelView> {
        let name = self.pipes_with(channel).into_iter().min()?;
        let found = self.pipes.get(&name)?.channels.get(channel)?;
        Some(ChannelView {
            status: status(&name, channel, found, self.settings),
            uncommitted: found.uncommitted(),
            opens: found.opens,
            appends: found.appends,
            replays: found.replays,
            altered_replays: found.altered_replays,
            discarded: found.discarded,
        })
    }

    fn existing(&mut self, name: &PipeName) -> Result<&mut Pipe, Refusal> {
        self.pipes.get_mut(name).filter(|pipe| pipe.exists).ok_or_else(|| Refusal::no_pipe(name))
    }
}

fn status(pipe: &PipeName, channel: &str, found: &Channel, settings: Settings) -> ChannelStatus {
    found.status([&pipe.database, &pipe.schema, &pipe.pipe, channel], settings.commit_lag_ms)
}

/// The refusal of an open while another open of the channel is under way; only faults make it.
pub fn open_in_progress(channel: &str) -> Refusal {
    Refusal::new(409, IN_PROGRESS, format!("channel {channel} is being opened"))
}
