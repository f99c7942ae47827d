//! From a push body to columns and samples: [`parse()`] is pure, [`http`] is the door.

pub mod http;
mod json;
mod known;
mod layout;
mod parse;
mod place;
mod reading;

pub use parse::{Push, parse, parse_keeping, parse_without_id};

/// Why a push is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The body is not JSON: 400.
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    /// The body is JSON, but not a push: 400.
    #[error("the body is not a Sensor Logger push: {0}")]
    NotAPush(String),
    /// The body did not arrive whole, or its `Content-Encoding` cannot be undone: 400.
    #[error("{0}")]
    Encoding(String),
    /// A web page of another site has a browser send it; holds which: 403.
    #[error("a web page of {0} sent this; only Sensor Logger may push to this address")]
    Foreign(String),
    /// Its `Content-Type` or `Content-Encoding` is not one that is read: 415.
    #[error("{0}")]
    Unsupported(String),
    /// Above a limit: 413.
    #[error("{what} is above the limit of {limit}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// The limit, with its unit.
        limit: String,
    },
    /// The agent cannot keep it now: 499, the status whose text the app shows.
    #[error("{0}")]
    NoRoom(String),
    /// There is a list of phones, and the push has no token: 499.
    #[error(
        "this agent takes pushes of phones that it knows: whoever runs it makes a push URL for this phone with `gaitway agent \
         phone add NAME`; set it in the app"
    )]
    NoToken,
    /// Its token is not one of the list: 499.
    #[error(
        "the token of this phone is not in force (any more): whoever runs the agent makes a new push URL with `gaitway agent \
         phone add NAME`; set it in the app"
    )]
    UnknownToken,
    /// Its token is another phone's, whose name it holds: 499.
    #[error(
        "this token belongs to another phone, {0:?} (or the app was installed anew): whoever runs the agent makes one for this \
         phone with `gaitway agent phone add NAME`"
    )]
    OtherPhone(String),
    /// The list of phones cannot be read: 499.
    #[error("the agent cannot read its list of phones and lets nobody in: tell whoever runs it; its log says why")]
    NoList,
    /// More than one phone or address may push: 429, with the time after which there is room again.
    #[error("too many {what} come from here; push again in {} s, or raise `agent.limits` in the agent's configuration", .wait.as_secs_f64().ceil())]
    TooMany {
        /// What.
        what: &'static str,
        /// How long.
        wait: std::time::Duration,
    },
    /// The body takes too long to arrive: 408.
    #[error("the body did not arrive within {} s", .0.as_secs())]
    Slow(std::time::Duration),
    /// Too many bodies at a time: 503.
    #[error("the agent is busy with other pushes; push again")]
    Busy,
    /// The agent is going down: 503.
    #[error("the agent is shutting down; push again")]
    Closing,
}

impl Refusal {
    fn too_large(what: &'static str, limit: usize) -> Self {
        Self::TooLarge { what, limit: format!("{limit} bytes") }
    }

    /// Every word of [`Self::reason`].
    pub(crate) const REASONS: [&str; 15] = [
        "not_json",
        "not_a_push",
        "encoding",
        "foreign",
        "unsupported",
        "too_large",
        "no_room",
        "no_token",
        "unknown_token",
        "other_phone",
        "no_list",
        "too_many",
        "slow",
        "busy",
        "closing",
    ];

    /// A word for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotJson(_) => "not_json",
            Self::NotAPush(_) => "not_a_push",
            Self::Encoding(_) => "encoding",
            Self::Foreign(_) => "foreign",
            Self::Unsupported(_) => "unsupported",
            Self::TooLarge { .. } => "too_large",
            Self::NoRoom(_) => "no_room",
            Self::NoToken => "no_token",
            Self::UnknownToken => "unknown_token",
            Self::OtherPhone(_) => "other_phone",
            Self::NoList => "no_list",
            Self::TooMany { .. } => "too_many",
            Self::Slow(_) => "slow",
            Self::Busy => "busy",
            Self::Closing => "closing",
        }
    }
}
