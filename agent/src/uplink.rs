//! The uplink carries spooled frames to the relay and brings acknowledgements back. One frame's way:
//!
//! 1. The agent's writer commits it and tells its streams' new positions ([`SpoolState`], a watch channel).
//! 2. The session machine (`session`) knows what the relay has and what is under way, and asks for the next frames.
//! 3. A thread of its own reads them from the spool ([`Frames`], `reader`).
//! 4. The link (`link`) publishes them as a batch over MQTT.
//! 5. The relay acknowledges what its ledger has committed; the writer is told ([`ToAgent`]) and deletes.
//!
//! A lost link loses nothing: whatever is unacknowledged is read from the spool and sent again in the next session.
//! [`UplinkStatus`] shows how it goes.

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod link;
mod outlet;
mod pace;
mod reader;
mod session;
mod status;

use std::fmt;
use std::sync::Arc;

use gaitway_proto::envelope::{Item, Offer};
use gaitway_proto::ledger::{Epoch, Stream};
use gaitway_proto::topic::AgentId;
use tokio::sync::{Notify, oneshot, watch};
use zeroize::Zeroizing;

use crate::identity::Route;

pub use gaitway_service::mqtt_address::MqttAddress as RelayAddress;
pub use link::run;
pub use status::{UplinkMetrics, UplinkSnapshot, UplinkStatus};

/// How the agent reaches its relay.
#[derive(Clone)]
pub struct UplinkConfig {
    /// Where the relay is and how it is spoken to; what changes here is followed at once.
    pub routes: watch::Receiver<Route>,
    /// This agent; also its MQTT client id and user name.
    pub agent: AgentId,
    /// The word of a relay in the same process, which goes as the password.
    pub word: Option<Zeroizing<String>>,
    /// For whoever has the certificate replaced: told when the relay wants it.
    pub wanted: Arc<Notify>,
}

impl fmt::Debug for UplinkConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.word.as_ref().map(|_| "…");
        let mut debug = f.debug_struct("UplinkConfig");
        debug.field("route", &*self.routes.borrow()).field("agent", &self.agent).field("word", &word);
        debug.finish_non_exhaustive()
    }
}

/// The spool, as the uplink reads it.
pub trait Frames: Send + 'static {
    /// The items of a stream from seq `from` on, oldest first and without a hole between them: as many as fit into
    /// `max_bytes` (by [`Item::size`]) and `max_items`, but at least one however large, and none only if the stream
    /// ends before `from`. `from` always lies at the border of an item. Blocks.
    fn read(
        &mut self,
        epoch: Epoch,
        stream: Stream,
        from: u64,
        max_bytes: usize,
        max_items: usize,
    ) -> anyhow::Result<Vec<Item>>;
}

/// What the uplink tells the agent's writer.
#[derive(Debug)]
pub enum ToAgent {
    /// The relay's ledger has committed a stream up to a seq. Only the newest word for a stream is told.
    Acknowledged {
        /// The start that named the frames.
        epoch: Epoch,
        /// The stream.
        stream: Stream,
        /// Greatest committed seq.
        up_to: u64,
    },
    /// The relay has welcomed this start as the one that continues those before it. Told once per agent start.
    Welcomed,
    /// The relay has welcomed this start, but the data directory is a restored or cloned copy: the windows it inherited
    /// are another's to tell. Told at most once per agent start. Nothing more is sent until `done` is.
    Copied {
        /// Ordinal of the last start that the other has too, 0 if it is not known here.
        common: u64,
        /// How the relay found out.
        why: String,
        /// To be sent once inherited windows are let go, durably.
        done: oneshot::Sender<()>,
    },
}

/// The spool's streams after a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolState {
    /// The present start.
    pub epoch: Epoch,
    /// The starts before it in this data directory, as [`Hello`](gaitway_proto::envelope::Hello) names them.
    pub ancestors: Vec<Epoch>,
    /// Both streams of the present start, of its ancestors, and of every earlier start with frames unacknowledged.
    pub streams: Vec<Offer>,
}
