//! One channel: its sequencer, its token, its counts, and the appends that are taken but not committed.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::batch::Batch;

/// The status of a channel that may be used.
pub const SUCCESS: &str = "SUCCESS";

/// A continuation token: who opened the channel (`sequencer`), and how many appends it has made since (`append`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Continuation {
    pub(super) sequencer: u64,
    pub(super) append: u64,
}

impl fmt::Display for Continuation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.sequencer, self.append)
    }
}

impl FromStr for Continuation {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (sequencer, append) = text.split_once('_').ok_or(())?;
        let parse = |part: &str| part.parse().map_err(|_| ());
        Ok(Self { sequencer: parse(sequencer)?, append: parse(append)? })
    }
}

/// An append that is taken and not committed.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) id: u64,
    pub(super) end: Option<String>,
    pub(super) batch: Batch,
}

#[derive(Debug)]
pub(super) struct Channel {
    pub(super) created_on_ms: u64,
    pub(super) sequencer: u64,
    /// The append that is expected next.
    pub(super) append: u64,
    pub(super) code: String,
    pub(super) committed: Option<String>,
    pub(super) pending: VecDeque<Pending>,
    /// What the append before the expected one held.
    pub(super) last: u64,
    /// When requests of the last second came, at most as many as are allowed.
    pub(super) recent: VecDeque<u64>,
    pub(super) opens: u64,
    pub(super) appends: u64,
    pub(super) replays: u64,
    pub(super) altered_replays: u64,
    pub(super) discarded: u64,
    inserted: u64,
    parsed: u64,
    errors: u64,
    last_error: Option<LastError>,
}

#[derive(Debug, Clone)]
struct LastError {
    upper_bound: Option<String>,
    message: String,
    at_ms: u64,
}

impl Channel {
    pub(super) fn new(now_ms: u64) -> Self {
        Self {
            created_on_ms: now_ms,
            sequencer: 0,
            append: 0,
            code: SUCCESS.into(),
            committed: None,
            pending: VecDeque::new(),
            last: 0,
            recent: VecDeque::new(),
            opens: 0,
            appends: 0,
            replays: 0,
            altered_replays: 0,
            discarded: 0,
            inserted: 0,
            parsed: 0,
            errors: 0,
            last_error: None,
        }
    }

    pub(super) fn next(&self) -> Continuation {
        Continuation { sequencer: self.sequencer, append: self.append }
    }

    /// Rows taken and not committed.
    pub(super) fn uncommitted(&self) -> u64 {
        self.pending.iter().map(|pending| pending.batch.inserted).sum()
    }

    /// Counts one more request; false if there were already `limit` in the last second.
    pub(super) fn may_ask(&mut self, now_ms: u64, limit: u32) -> bool {
        while self.recent.front().is_some_and(|at| now_ms.saturating_sub(*at) >= 1_000) {
            self.recent.pop_front();
        }
        if self.recent.len() >= limit as usize {
            return false;
        }
        self.recent.push_back(now_ms);
        true
    }

    /// Makes an append part of the channel; its rows are the caller's.
    pub(super) fn commit(&mut self, pending: Pending, now_ms: u64) -> Batch {
        let Pending { end, batch, .. } = pending;
        self.inserted += batch.inserted;
        self.parsed += batch.parsed;
        self.errors += batch.errors;
        if let Some(message) = &batch.last_error {
            self.last_error = Some(LastError { upper_bound: end.clone(), message: message.clone(), at_ms: now_ms });
        }
        if end.is_some() {
            self.committed = end;
        }
        batch
    }

    pub(super) fn status(&self, names: [&str; 4], latency_ms: u64) -> ChannelStatus {
        let [database_name, schema_name, pipe_name, channel_name] = names.map(str::to_owned);
        let last_error = self.last_error.as_ref();
        ChannelStatus {
            database_name,
            schema_name,
            pipe_name,
            channel_name,
            channel_status_code: self.code.clone(),
            last_committed_offset_token: self.committed.clone(),
            created_on_ms: self.created_on_ms,
            rows_inserted: self.inserted,
            rows_parsed: self.parsed,
            rows_error_count: self.errors,
            rows_errors: self.errors,
            last_error_offset_upper_bound: last_error.and_then(|error| error.upper_bound.clone()),
            last_error_message: last_error.map(|error| error.message.clone()),
            last_error_timestamp_ms: last_error.map(|error| error.at_ms),
            snowflake_avg_processing_latency_ms: latency_ms,
        }
    }
}

/// A channel as an open or a status call tells it. Times are milliseconds since the Unix epoch; counts are of committed
/// appends, since the channel was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the fields are Snowflake's, as its reference names them")]
pub struct ChannelStatus {
    pub database_name: String,
    pub schema_name: String,
    pub pipe_name: String,
    pub channel_name: String,
    pub channel_status_code: String,
    pub last_committed_offset_token: Option<String>,
    pub created_on_ms: u64,
    pub rows_inserted: u64,
    pub rows_parsed: u64,
    pub rows_error_count: u64,
    /// The same count under the name that other pages of the documentation give it.
    pub rows_errors: u64,
    pub last_error_offset_upper_bound: Option<String>,
    pub last_error_message: Option<String>,
    pub last_error_timestamp_ms: Option<u64>,
    pub snowflake_avg_processing_latency_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_continuation_token_is_read_as_it_is_written() {
        let token = Continuation { sequencer: 3, append: 12 };
        assert_eq!(token.to_string().parse(), Ok(token));
        for bad in ["", "3", "3_", "_1", "a_1", "3_1_2", "-1_0"] {
            assert_eq!(bad.parse::<Continuation>(), Err(()), "{bad}");
        }
    }

    #[test]
    fn no_more_requests_than_allowed_in_any_second() {
        let mut channel = Channel::new(0);
        assert!((0..3).all(|at| channel.may_ask(at, 3)));
        assert!(!channel.may_ask(999, 3));
        assert!(channel.may_ask(1_000, 3));
        assert!(!channel.may_ask(1_000, 3));
    }
}
