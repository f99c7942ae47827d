//! What a transaction did, told once it is on the disk.

use std::time::Instant;

use gaitway_proto::activity::Window;

/// What a transaction did.
#[derive(Debug, Default)]
pub(crate) struct News {
    pub(crate) heard: Vec<Heard>,
    pub(crate) windows: Vec<Window>,
    pub(crate) messages: u64,
    pub(crate) readings: u64,
    /// Of these, those that are not kept because a phone's owner wants it so.
    pub(crate) withheld: u64,
    /// Of these, those whose place was rounded.
    pub(crate) rounded: u64,
    pub(crate) duplicates: u64,
    pub(crate) conflicts: u64,
    pub(crate) late: u64,
    pub(crate) wild: u64,
    pub(crate) held: u64,
    /// Windows that are not told: a copy's, or lost with a damaged session.
    pub(crate) let_go: u64,
    pub(crate) dropped_messages: u64,
    pub(crate) dropped_readings: u64,
    /// Frames that were damaged.
    pub(crate) damaged: u64,
    /// Why a push found no room.
    pub(crate) no_room: Option<String>,
}

/// What one push, or its silence, says of a phone.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) device: String,
    pub(crate) at: Instant,
    pub(crate) readings: u64,
    pub(crate) running: Option<Window>,
}
