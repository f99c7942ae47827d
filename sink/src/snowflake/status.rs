//! What Snowflake answers, as far as it is read. A field that only some pages of its documentation know may be absent.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The status of a channel that may be used.
pub(super) const SUCCESS: &str = "SUCCESS";

/// The answer to an open.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Opened {
    pub(super) next_continuation_token: String,
    pub(super) channel_status: ChannelStatus,
}

/// The answer to an append.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Appended {
    pub(super) next_continuation_token: String,
}

/// The answer to a status call; a channel that is not known is left out.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Statuses {
    pub(super) channel_statuses: BTreeMap<String, ChannelStatus>,
}

/// A channel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct ChannelStatus {
    #[serde(rename = "channel_status_code")]
    pub(super) code: String,
    pub(super) last_committed_offset_token: Option<String>,
    pub(super) created_on_ms: Option<u64>,
    pub(super) rows_error_count: Option<u64>,
    /// The other name of the same count.
    pub(super) rows_errors: Option<u64>,
    pub(super) last_error_offset_upper_bound: Option<String>,
    pub(super) last_error_message: Option<String>,
}

impl ChannelStatus {
    /// Rows that were accepted and passed over, since the channel was made.
    pub(super) fn errors(&self) -> u64 {
        self.rows_error_count.max(self.rows_errors).unwrap_or(0)
    }

    /// No passed over row lies beyond this offset, if that is told.
    pub(super) fn bound(&self) -> Option<u64> {
        self.last_error_offset_upper_bound.as_deref()?.parse().ok()
    }

    /// Of a redrive channel: up to where passed over rows are dealt with. One that passed over rows itself does not say.
    pub(super) fn redriven(&self) -> Option<u64> {
        (self.errors() == 0).then(|| self.last_committed_offset_token.as_deref()?.parse().ok()).flatten()
    }

    /// Whether all rows that this channel passed over are dealt with, as far as the redrive channel has come. Without a bound
    /// one may lie anywhere up to the token.
    pub(super) fn is_settled(&self, redriven: Option<u64>) -> bool {
        let token = || self.last_committed_offset_token.as_deref()?.parse().ok();
        let last: Option<u64> = self.bound().or_else(token);
        last.is_some_and(|last| redriven >= Some(last))
    }

    #[cfg(test)]
    pub(super) fn sample(committed: Option<u64>, errors: u64) -> Self {
        Self {
            code: SUCCESS.into(),
            last_committed_offset_token: committed.map(|offset| offset.to_string()),
            rows_error_count: Some(errors),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_name_of_the_error_count_is_read() {
        for (key, errors) in [("rows_error_count", 2), ("rows_errors", 3)] {
            let json = format!(r#"{{"channel_status_code":"SUCCESS","{key}":{errors},"last_error_message":null}}"#);
            assert_eq!(serde_json::from_str::<ChannelStatus>(&json).unwrap().errors(), errors);
        }
    }

    #[test]
    fn an_append_without_its_next_token_is_no_answer() {
        assert!(serde_json::from_str::<Appended>("{}").is_err());
        assert!(serde_json::from_str::<Appended>(r#"{"next_continuation_token":null}"#).is_err());
    }
}
