//! What passes between the session machine and its shell.

use gaitway_proto::envelope::{Batch, Hello};
use gaitway_proto::ledger::{Epoch, Stream};

#[cfg(doc)]
use super::Uplink;

/// Names a batch between this machine and its shell.
pub(in crate::uplink) type BatchId = u64;

/// What the shell is to do.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::uplink) enum Effect {
    /// Publish the hello.
    Hello(Hello),
    /// Read frames and answer with [`Uplink::handle_frames`], also after the link was lost.
    Read(Read),
    /// Publish a batch and answer with [`Uplink::handle_written`] once the socket has it.
    Batch(BatchId, Batch),
    /// Tell the spool that frames are acknowledged.
    Acknowledged { epoch: Epoch, stream: Stream, up_to: u64 },
    /// Tell the agent that this start was welcomed.
    Welcomed,
    /// Tell the agent to let go of windows inherited since the start with ordinal `common`, and answer with
    /// [`Uplink::handle_copied_done`].
    Copied { common: u64, why: String },
    /// Drop the connection and answer with [`Uplink::handle_disconnected`].
    Reconnect { reason: String },
}

/// A request for frames: as many as fit, at least one however large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::uplink) struct Read {
    pub(in crate::uplink) epoch: Epoch,
    pub(in crate::uplink) stream: Stream,
    pub(in crate::uplink) from: u64,
    pub(in crate::uplink) max_bytes: usize,
    pub(in crate::uplink) max_items: usize,
}

/// Counts since the start of the agent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::uplink) struct Tally {
    pub(in crate::uplink) hellos: u64,
    pub(in crate::uplink) welcomes: u64,
    pub(in crate::uplink) batches: u64,
    pub(in crate::uplink) frames: u64,
    pub(in crate::uplink) bytes: u64,
    pub(in crate::uplink) acknowledged: u64,
    pub(in crate::uplink) rewinds: u64,
    pub(in crate::uplink) ignored: u64,
    pub(in crate::uplink) stale_reads: u64,
}
