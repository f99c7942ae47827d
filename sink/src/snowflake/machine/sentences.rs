//! What people read when a channel cannot go on: what happened, to which channel, and what to do.

use std::time::Duration;

use gaitway_proto::ledger::{LedgerError, Source};

use crate::snowflake::status::ChannelStatus;

/// What a channel is called.
#[derive(Debug, Clone)]
pub(in crate::snowflake) struct Identity {
    /// The Kafka partition.
    pub(in crate::snowflake) source: Source,
    /// The channel.
    pub(in crate::snowflake) channel: String,
    /// The channel through which passed over rows are appended again.
    pub(in crate::snowflake) redrive: String,
    /// `DATABASE.SCHEMA.TABLE`
    pub(in crate::snowflake) table: String,
}

impl Identity {
    pub(super) fn unavailable(&self, why: &str) -> LedgerError {
        LedgerError::Unavailable(format!("channel {}: {why}", self.channel))
    }

    pub(super) fn closed(&self) -> LedgerError {
        self.unavailable("is not open")
    }

    pub(super) fn stopping(&self) -> LedgerError {
        self.unavailable("the partition is let go of, or the service is stopping")
    }

    pub(super) fn lost(&self) -> LedgerError {
        self.unavailable("Snowflake does not know it any more, it has to be opened again")
    }

    pub(super) fn gave_up(&self, patience: Duration, why: &str) -> LedgerError {
        self.unavailable(&format!("no success for {} s: {why}", patience.as_secs()))
    }

    pub(super) fn held(&self, wait: Duration, why: &str) -> LedgerError {
        self.unavailable(&format!("Snowflake asked to be left alone for {} s more: {why}", wait.as_secs()))
    }

    pub(super) fn conflict(&self, found: Option<u64>) -> LedgerError {
        LedgerError::Conflict { source_name: self.source.clone(), found }
    }

    pub(super) fn contested(&self, times: u32, why: &str) -> LedgerError {
        self.unavailable(&format!(
            "was taken away {times} times before anything was committed ({why}): another sink writes to it; let one of \
             them end, or give each a `deployment` of its own"
        ))
    }

    pub(super) fn missing(&self, why: &str) -> LedgerError {
        self.unavailable(&format!(
            "table {} is not there for this role ({why}): create it, and grant USAGE on its database and schema, INSERT \
             and SELECT on the table",
            self.table
        ))
    }

    pub(super) fn bad_status(&self, status: &ChannelStatus) -> LedgerError {
        let said = status.last_error_message.as_deref().map(|said| format!(" ({said})")).unwrap_or_default();
        self.unavailable(&format!("has status {}{said} and has to be opened again", status.code))
    }

    pub(super) fn rejected(&self, why: &str) -> LedgerError {
        LedgerError::Rejected(format!("channel {}: {why}", self.channel))
    }

    pub(super) fn row_too_large(&self, why: &str) -> LedgerError {
        self.rejected(&format!("{why}, and the append holds no more than one record"))
    }

    /// The channel was deleted, or somebody moved its token back.
    pub(super) fn wiped(&self, known: Option<u64>, found: Option<u64>) -> LedgerError {
        let (found, first) = match found {
            None => ("has no offset any more".to_owned(), ""),
            Some(found) => (format!("went back to offset {found}"), "delete the channel, "),
        };
        let known = known.map_or("none was told before".to_owned(), |known| format!("it was {known}"));
        self.stop(format!(
            "channel {} {found}, {known}: it was deleted or set back, and appending again could store rows twice; end the sink, {first}\
             find the greatest offset of {} in {}, set the group's offset to the one behind it (kafka-consumer-groups \
             --reset-offsets), and start the sink once with --adopt-from-group",
            self.channel, self.source, self.table
        ))
    }

    pub(super) fn foreign(&self, token: &str) -> LedgerError {
        let shown: String = token.chars().take(40).collect();
        self.rejected(&format!(
            "it holds the token {shown:?}, which is no Kafka offset: another program writes to it; choose another `deployment`"
        ))
    }

    /// `sound` is the last offset up to which nothing was passed over, as far as that is known.
    pub(super) fn skipped(&self, status: &ChannelStatus, rows: u64, sound: Option<u64>) -> LedgerError {
        let bound = status.last_error_offset_upper_bound.as_ref().or(status.last_committed_offset_token.as_ref());
        let bound = bound.map_or("LAST", String::as_str);
        let first = sound.map_or(0, |sound| sound + 1);
        let said = status.last_error_message.as_deref().unwrap_or("it does not say why");
        let (topic, partition) = self.source.as_str().rsplit_once('/').unwrap_or((self.source.as_str(), "N"));
        self.stop(format!(
            "Snowflake accepted {rows} rows of {} and did not store them, within the offsets {first} to {bound} of channel \
             {}: {said}; they are still in Kafka: remove the cause in {}, then run `gaitway sink redrive --topic {topic} \
             --partition {partition} --offsets {first}-{bound}` with this sink's configuration; the sink goes on by itself \
             then, and until then nothing more of this partition is stored",
            self.source, self.channel, self.table
        ))
    }

    fn stop(&self, reason: String) -> LedgerError {
        LedgerError::Skipped { source_name: self.source.clone(), reason }
    }
}
