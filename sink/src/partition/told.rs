//! What the log, the group and the ledger tell before a partition is read, and what tells one record from another.

/// What the log is asked before reading begins. Offsets; `high` is the end for those who read what is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Survey {
    /// The first record that is left.
    pub low: i64,
    /// Behind the last record.
    pub high: i64,
    /// What the group has committed.
    pub group: Option<Hint>,
}

impl Survey {
    /// Whether the group's offset is where to begin without a token, not merely one that stands for no rows.
    pub(super) fn is_adopted(&self, at: i64) -> bool {
        self.group.is_some_and(|group| group.next == at && group.told.is_none_or(|told| told.token.is_some()))
    }
}

/// The group's offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hint {
    /// The next record to read: all records before it are in the warehouse, or were none for it.
    pub next: i64,
    /// What this sink said beside it; none in an offset that somebody else committed.
    pub told: Option<Told>,
}

/// How the warehouse was when a hint was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    /// The token that it held itself.
    pub token: Option<u64>,
    /// The record there, if it was known.
    pub print: Option<Print>,
}

/// What tells a record from another at the same offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Print {
    /// Kafka's time stamp, milliseconds since the Unix epoch.
    pub timestamp: Option<i64>,
    /// CRC32C of key and value.
    pub crc: u32,
}

/// What the ledger tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// The durable token.
    pub position: Option<u64>,
    /// What of it the warehouse itself holds: less where the last marks were without rows, and the warehouse keeps none of
    /// those.
    pub kept: Option<u64>,
    /// When the mark was moved, milliseconds since the Unix epoch, if the warehouse knows; asked before reading begins.
    pub marked_at: Option<i64>,
}
