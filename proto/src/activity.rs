//! Classified windows on their way from agent to relay.

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::record::{self, Body, Origin, Record};
use crate::wire::{WireError, open, seal};

/// The agent in the names of windows that were classified anew: no agent told them, and no stream of an agent has them.
pub const RECLASSIFIED: &str = "reclassify";

/// The label of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Activity {
    /// Sitting, standing, lying.
    Stationary,
    /// Walking, stairs.
    Walking,
    /// Jogging, running.
    Running,
    /// Beyond running.
    Sprinting,
}

impl Activity {
    /// The label as records and people know it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stationary => "stationary",
            Self::Walking => "walking",
            Self::Running => "running",
            Self::Sprinting => "sprinting",
        }
    }
}

/// One closed window. Times in nanoseconds since the Unix epoch, phone's clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Inclusive.
    pub start: i64,
    /// Exclusive.
    pub end: i64,
    /// Readings in it.
    pub count: u64,
    /// Their mean magnitude, m/s².
    pub mean: f64,
    /// The label.
    pub activity: Activity,
    /// Probability that the label is right.
    pub confidence: f64,
    /// 0, higher after a reclassification.
    pub revision: u32,
}

/// Windows of one session that one message (or its silence) closed, in order of their start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActivityFrame {
    /// `deviceId`
    pub device: String,
    /// `sessionId`
    pub session: String,
    /// Name of the rule that gave the labels.
    pub classifier: String,
    /// The windows; none where a restored copy let go of what it had inherited.
    pub windows: Vec<Window>,
}

impl ActivityFrame {
    /// As bytes: version, postcard, CRC32C.
    pub fn encode(&self) -> Vec<u8> {
        seal(self)
    }

    /// From bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let frame: Self = open(bytes)?;
        if frame.windows.iter().any(|w| !w.mean.is_finite() || !w.confidence.is_finite()) {
            return Err(WireError::Malformed("number of a window"));
        }
        if [&frame.device, &frame.session, &frame.classifier].into_iter().any(|id| id.len() > limits::MAX_ID) {
            return Err(WireError::TooLarge { what: "length of an id", limit: limits::MAX_ID });
        }
        Ok(frame)
    }

    /// Appends one record a window, in order.
    pub fn records<'a>(&'a self, origin: Origin<'a>, out: &mut Vec<Record<'a>>) {
        out.extend(self.windows.iter().enumerate().map(|(index, window)| Record {
            metadata: origin.metadata(index as u32, None),
            body: Body::Activity(record::Activity {
                session: &self.session,
                device: &self.device,
                activity: window.activity.as_str(),
                confidence: window.confidence,
                avg_magnitude: window.mean,
                window_start: window.start,
                window_end: window.end,
                sample_count: window.count,
                classifier: &self.classifier,
                revision: window.revision,
            }),
        }));
    }
}
