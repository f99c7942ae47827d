//! What Snowpipe Streaming answers instead of doing what it was asked: an HTTP status, a code, a sentence.

use std::fmt;

/// The code with which the former owner of a channel learns that another has opened it.
pub const STALE: &str = "STALE_CONTINUATION_TOKEN_SEQUENCER";
/// A channel that is not there, or that this role may not see.
pub const NO_CHANNEL: &str = "ERR_CHANNEL_DOES_NOT_EXIST_OR_NOT_AUTHORIZED";
/// A pipe that is not there, or that this role may not see.
pub const NO_PIPE: &str = "ERR_PIPE_DOES_NOT_EXIST_OR_NOT_AUTHORIZED";
/// An open that would discard accepted rows, and was told not to.
pub const UNCOMMITTED: &str = "ERR_CHANNEL_HAS_UNCOMMITTED_DATA";
/// An open while another is under way.
pub const IN_PROGRESS: &str = "ERR_OPEN_CHANNEL_IN_PROGRESS";
/// The pipe lives elsewhere now.
pub const FAILED_OVER: &str = "ERR_PIPE_FAILED_OVER";
/// More requests than a channel may make in a second.
pub const TOO_MANY: &str = "ERR_TOO_MANY_REQUESTS";
/// A body above the limit.
pub const TOO_LARGE: &str = "ERR_PAYLOAD_TOO_LARGE";

/// A refused call. Codes that stand in no documentation are the emulator's own (see its README).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// Machine-readable code, the body's `code`.
    pub code: String,
    /// A sentence for people, the body's `message`.
    pub message: String,
}

impl Refusal {
    /// A refusal with `status`, `code` and `message`.
    pub fn new(status: u16, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status, code: code.into(), message: message.into() }
    }

    /// 400: the continuation token is not the one this channel expects next.
    pub fn stale(message: impl Into<String>) -> Self {
        Self::new(400, STALE, message)
    }

    /// 404: no such channel.
    pub fn no_channel(name: &str) -> Self {
        Self::new(404, NO_CHANNEL, format!("channel {name} does not exist or is not authorized"))
    }

    /// 404: no such pipe.
    pub fn no_pipe(name: impl fmt::Display) -> Self {
        Self::new(404, NO_PIPE, format!("pipe {name} does not exist or is not authorized"))
    }
}
