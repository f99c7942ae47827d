//! What a transaction did, told once it is on the disk.

use std::time::Instant;

use gaitway_proto::activity::Window;

use crate::status::{Bin, Motion, Sent};
use crate::stretches::Slice;
use crate::windows::Closed;

/// What a transaction did.
#[derive(Debug, Default)]
pub(crate) struct News {
    pub(crate) heard: Vec<Heard>,
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
    pub(crate) session: String,
    pub(crate) at: Instant,
    pub(crate) readings: u64,
    pub(crate) running: Option<Window>,
    /// What the open windows up to the running one stand for.
    pub(crate) present: Vec<Slice>,
    /// The windows that it told, in order of their start.
    pub(crate) closed: Vec<Closing>,
    pub(crate) sent: Vec<Sent>,
    pub(crate) bins: Vec<Bin>,
    /// Of the recording.
    pub(crate) holes: u64,
    pub(crate) late: u64,
    pub(crate) is_silence: bool,
    /// Its readings are not kept: they are not shown either.
    pub(crate) is_withheld: bool,
}

/// A window that was told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Closing {
    pub(crate) window: Window,
    /// From its start to the next window's, ns.
    pub(crate) slide: i64,
    /// How much of its last slide readings go through, ns.
    pub(crate) covered: i64,
}

impl Closing {
    pub(super) fn of(closed: &[Closed]) -> Vec<Self> {
        let of = |closed: &Closed| Self { window: closed.window.clone(), slide: closed.slide, covered: closed.covered };
        closed.iter().map(of).collect()
    }
}

impl Heard {
    /// For who draws it; takes the bins.
    pub(crate) fn motion(&mut self) -> Motion {
        Motion {
            device: self.device.clone(),
            session: self.session.clone(),
            bins: std::mem::take(&mut self.bins),
            running: self.running.clone(),
            closed: self.closed.iter().map(|closing| closing.window.clone()).collect(),
        }
    }
}
