//! What agent and relay say to each other over MQTT.
//!
//! `Hello` → `Welcome` → batches within the grant → `Ack`, all bound to one random session per connection. Positions
//! are seqs from 1; "up to `n`" includes `n`; 0 means nothing.
//!
//! - The agent ignores words for other sessions and an `up_to` beyond what it sent.
//! - The relay acknowledges only what its ledger has committed.
//! - Bytes in flight per stream stay within the grant, except that one batch may always be under way.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ledger::{Epoch, Stream};
use crate::limits;
pub use crate::wire::{VERSION, WireError, is_whole};
use crate::wire::{at_most, open, seal};

/// A random number for each connection.
pub type Session = u64;

/// First word of an agent on a connection, published on [`Up::Hello`](crate::topic::Up::Hello).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// This connection.
    pub session: Session,
    /// Version of the agent's software, for the operator.
    pub software: String,
    /// The agent's present start.
    pub epoch: Epoch,
    /// The starts before it in this data directory, newest first: back to the last one that the agent knows to have
    /// been welcomed, or else to the first. If there are more than fit, middle ones are left out.
    #[serde(deserialize_with = "at_most::<{ limits::MAX_ANCESTORS }, _, _>")]
    pub ancestors: Vec<Epoch>,
    /// The streams of the present start, of its ancestors, and of every earlier one with frames unacknowledged.
    #[serde(deserialize_with = "at_most::<{ limits::MAX_HELLO_STREAMS }, _, _>")]
    pub streams: Vec<Offer>,
}

/// What an agent has of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The start that named the frames.
    pub epoch: Epoch,
    /// Counts starts.
    pub ordinal: u64,
    /// The stream.
    pub stream: Stream,
    /// Lowest seq not yet acknowledged.
    pub first: u64,
    /// Seq that the next frame will get; `first == next` if nothing waits.
    pub next: u64,
}

/// Frames in a row, published on [`Up::Raw`](crate::topic::Up::Raw) or [`Up::Activity`](crate::topic::Up::Activity).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// As in the hello.
    pub session: Session,
    /// The start that named the frames.
    pub epoch: Epoch,
    /// The stream.
    pub stream: Stream,
    /// Seq of the first item.
    pub first: u64,
    /// The items, without a hole between them.
    #[serde(deserialize_with = "at_most::<{ limits::MAX_BATCH_ITEMS }, _, _>")]
    pub items: Vec<Item>,
}

/// One item of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Item {
    /// An encoded [`Frame`](crate::frame::Frame) or [`ActivityFrame`](crate::activity::ActivityFrame); takes one seq.
    Frame(Bytes),
    /// Frames dropped before they were ever sent, or damaged; takes their seqs.
    Gap(Gap),
}

impl Item {
    /// How many seqs the item takes, at least 1.
    pub fn span(&self) -> u64 {
        match self {
            Self::Frame(_) => 1,
            Self::Gap(gap) => gap.span.max(1),
        }
    }

    /// Its size on the wire, bytes, roughly.
    pub fn size(&self) -> usize {
        match self {
            Self::Frame(bytes) => bytes.len() + 4,
            Self::Gap(gap) => gap.reason.len() + 24,
        }
    }
}

/// Frames that will not come: dropped by the spool's cap, or damaged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// How many seqs are missing.
    pub span: u64,
    /// How many pushes.
    pub messages: u64,
    /// How many readings.
    pub readings: u64,
    /// Why.
    pub reason: String,
    /// When it was dropped: microseconds since the Unix epoch, the agent's wall clock.
    pub noticed_at: i64,
}

/// What the relay says, published on [`topic::down`](crate::topic::down).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Down {
    /// Answer to a hello: the ledger knows this agent start.
    Welcome(Welcome),
    /// The ledger has committed a stream up to a seq.
    Ack(Ack),
    /// A seq is missing: send again from `next`.
    Rewind {
        /// The connection it is meant for.
        session: Session,
        /// The start that named the frames.
        epoch: Epoch,
        /// The stream.
        stream: Stream,
        /// The seq to send next.
        next: u64,
    },
    /// The relay does not know this session (any more): say hello.
    HelloAgain {
        /// The session it does not know.
        session: Session,
    },
    /// The relay cannot take what was sent.
    Refused {
        /// The connection, 0 if it could not be read.
        session: Session,
        /// Why, for the operator of the agent.
        reason: String,
    },
    /// Whoever runs the relay wants this agent to have a new certificate: see [`enrolment`](crate::enrolment).
    Renew,
}

/// Answer to [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// As in the hello.
    pub session: Session,
    /// This data directory is a copy: of this one of its starts, the last that both have, another holds what was open;
    /// it runs still, or a start after it does. The windows inherited from then are the other's to tell.
    pub forked: Option<Epoch>,
    /// One entry for every stream offered.
    pub streams: Vec<Granted>,
}

/// How far the ledger has a stream, and what the agent may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// The start that named the frames.
    pub epoch: Epoch,
    /// The stream.
    pub stream: Stream,
    /// Greatest committed seq, 0 if none.
    pub committed: u64,
    /// Bytes that may be under way unacknowledged.
    pub grant: u32,
}

/// An acknowledgement: these frames are in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// As in the hello.
    pub session: Session,
    /// The start that named the frames.
    pub epoch: Epoch,
    /// The stream.
    pub stream: Stream,
    /// Greatest committed seq.
    pub up_to: u64,
    /// Bytes that may be under way unacknowledged from now on.
    pub grant: u32,
}

impl Hello {
    /// As a payload.
    pub fn encode(&self) -> Vec<u8> {
        seal(self)
    }

    /// From a payload.
    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        let hello: Self = open(payload)?;
        if hello.streams.iter().any(|o| o.first == 0 || o.next < o.first || o.next > i64::MAX as u64) {
            return Err(WireError::Malformed("positions of a stream"));
        }
        if hello.software.len() > limits::MAX_SOFTWARE {
            return Err(WireError::TooLarge { what: "name of the software", limit: limits::MAX_SOFTWARE });
        }
        Ok(hello)
    }
}

impl Batch {
    /// As a payload.
    pub fn encode(&self) -> Vec<u8> {
        seal(self)
    }

    /// From a payload.
    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        let batch: Self = open(payload)?;
        let spans = batch.items.iter().try_fold(batch.first, |at, item| at.checked_add(item.span()));
        if batch.first == 0 || batch.items.is_empty() || spans.is_none_or(|end| end > i64::MAX as u64) {
            return Err(WireError::Malformed("positions of a batch"));
        }
        Ok(batch)
    }
}

impl Down {
    /// As a payload.
    pub fn encode(&self) -> Vec<u8> {
        seal(self)
    }

    /// From a payload.
    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        open(payload)
    }

    /// The session it is meant for, 0 if for the agent whatever its session.
    pub fn session(&self) -> Session {
        match self {
            Self::Welcome(welcome) => welcome.session,
            Self::Ack(ack) => ack.session,
            Self::Rewind { session, .. } | Self::HelloAgain { session } | Self::Refused { session, .. } => *session,
            Self::Renew => 0,
        }
    }
}
