//! MQTT topics, version 1: `gaitway/v1/<agent>/up/hello|raw|activity` and `gaitway/v1/<agent>/down/ack`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::activity::RECLASSIFIED;

/// The name of an agent: `[a-z0-9-]{1,63}`. Also its MQTT client id and user name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AgentId(String);

/// Why a text names no agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAgentId {
    /// It is outside `[a-z0-9-]{1,63}`.
    #[error("agent id {0:?} is not 1 to 63 characters of a-z, 0-9 and '-'")]
    Shape(String),
    /// It is [`RECLASSIFIED`].
    #[error("agent id {RECLASSIFIED:?} names what `gaitway reclassify` writes: choose another")]
    Reserved,
}

impl AgentId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands in an agent's place in rows that `gaitway reclassify` wrote; no agent has it.
    pub fn reclassified() -> Self {
        Self(RECLASSIFIED.to_owned())
    }

    /// The id made from free text such as a host name: lower case, other characters become `-`, cut to 63.
    /// None if nothing usable is left, or a reserved name.
    pub fn from_free_text(text: &str) -> Option<Self> {
        let mapped: String = text
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
            .take(63)
            .collect();
        let trimmed = mapped.trim_matches('-');
        trimmed.parse().ok()
    }
}

impl std::str::FromStr for AgentId {
    type Err = BadAgentId;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for AgentId {
    type Error = BadAgentId;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let valid = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if text == RECLASSIFIED {
            Err(BadAgentId::Reserved)
        } else if (1..=63).contains(&text.len()) && text.bytes().all(valid) {
            Ok(Self(text))
        } else {
            Err(BadAgentId::Shape(text))
        }
    }
}

impl From<AgentId> for String {
    fn from(id: AgentId) -> Self {
        id.0
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an agent publishes below its own `up/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Up {
    /// [`Hello`](crate::envelope::Hello)
    Hello,
    /// [`Batch`](crate::envelope::Batch) of [`Stream::Raw`](crate::ledger::Stream)
    Raw,
    /// [`Batch`](crate::envelope::Batch) of [`Stream::Activity`](crate::ledger::Stream)
    Activity,
}

impl Up {
    /// The topic `agent` publishes this on.
    pub fn topic(self, agent: &AgentId) -> String {
        let leaf = match self {
            Self::Hello => "hello",
            Self::Raw => "raw",
            Self::Activity => "activity",
        };
        format!("gaitway/v1/{agent}/up/{leaf}")
    }

    /// What `topic` carries if it is one of `agent`'s own.
    pub fn parse(topic: &str, agent: &AgentId) -> Option<Self> {
        Self::of_leaf(topic.strip_prefix("gaitway/v1/")?.strip_prefix(agent.as_str())?.strip_prefix("/up/")?)
    }

    /// Whose `topic` is and what it carries, if it is an agent's.
    pub fn parse_any(topic: &str) -> Option<(AgentId, Self)> {
        let (agent, leaf) = topic.strip_prefix("gaitway/v1/")?.split_once("/up/")?;
        Some((agent.parse().ok()?, Self::of_leaf(leaf)?))
    }

    fn of_leaf(leaf: &str) -> Option<Self> {
        match leaf {
            "hello" => Some(Self::Hello),
            "raw" => Some(Self::Raw),
            "activity" => Some(Self::Activity),
            _ => None,
        }
    }
}

/// What a relay that is a broker's client subscribes to: all topics of [`Up`] of all agents.
pub const ALL_UP: &str = "gaitway/v1/+/up/+";

/// The topic on which the relay answers `agent` with [`Down`](crate::envelope::Down).
pub fn down(agent: &AgentId) -> String {
    format!("gaitway/v1/{agent}/down/ack")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agent_ids_are_lower_case_letters_digits_and_dashes() {
        assert!("pi-4".parse::<AgentId>().is_ok());
        for bad in ["", "Pi", "a/b", "a+", "#", "$share", "ü", RECLASSIFIED, &"a".repeat(64)] {
            assert!(bad.parse::<AgentId>().is_err(), "{bad}");
        }
        assert_eq!(AgentId::from_free_text("My Pi.local").unwrap().as_str(), "my-pi-local");
        assert_eq!(AgentId::from_free_text("---"), None);
        assert_eq!(AgentId::from_free_text("Reclassify"), None);
    }

    #[test]
    fn an_agent_has_only_its_own_topics() {
        let pi: AgentId = "pi".parse().unwrap();
        for up in [Up::Hello, Up::Raw, Up::Activity] {
            assert_eq!(Up::parse(&up.topic(&pi), &pi), Some(up));
            assert_eq!(Up::parse_any(&up.topic(&pi)), Some((pi.clone(), up)));
        }
        for foreign in ["gaitway/v1/pi2/up/raw", "gaitway/v1/pi/down/ack", "gaitway/v1/pi/up/raw/x", "$SYS/x", ""] {
            assert_eq!(Up::parse(foreign, &pi), None, "{foreign}");
        }
        for nobodys in [
            "gaitway/v1/Pi/up/raw",
            "gaitway/v1/gaitway_relay/up/raw",
            "gaitway/v1/a/b/up/raw",
            "gaitway/v1//up/raw",
            "gaitway/v1/pi/up/up/raw",
            "gaitway/v1/pi/up/raw/",
            "gaitway/v1/pi/down/ack",
            "gaitway/v2/pi/up/raw",
            "",
        ] {
            assert_eq!(Up::parse_any(nobodys), None, "{nobodys}");
        }
    }
}
