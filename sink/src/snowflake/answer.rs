//! What an answer that is not a success means: the error table of Snowpipe Streaming, once. Pure.
//!
//! - Every status has a meaning; what nobody documented is [`Failure::Refused`], which is told, never retried in silence.
//! - A page that is no JSON comes from something in between and says nothing about a channel; nor does what the account's host
//!   says when it is asked for the ingest host or a token.

use std::fmt;
use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The calls, as errors name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Hostname,
    Token,
    Open,
    Append,
    Status,
    Statement,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hostname => "host discovery",
            Self::Token => "token exchange",
            Self::Open => "open",
            Self::Append => "append",
            Self::Status => "status",
            Self::Statement => "statement",
        })
    }
}

/// Why a call did not do what it was to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// It may have been done or not; worth sending again as it is, not before `after`.
    Again {
        /// What was answered, or what became of the connection.
        why: String,
        /// What the server asked for.
        after: Option<Duration>,
    },
    /// The token, the key or the role does not do.
    Denied(String),
    /// Somebody else has the channel now, or Snowflake wants it opened again.
    Taken(String),
    /// An open is under way, or rows wait to be committed: open later.
    Busy(String),
    /// There is no such channel or pipe, or this role may not see it.
    Missing(String),
    /// The body is above the limit.
    TooLarge(String),
    /// The pipe lives elsewhere now: find the host and open everything anew.
    Moved(String),
    /// The same again fails again, as far as one answer tells.
    Refused(String),
}

impl Failure {
    /// What happened, for people.
    pub(super) fn why(&self) -> &str {
        match self {
            Self::Again { why, .. }
            | Self::Denied(why)
            | Self::Taken(why)
            | Self::Busy(why)
            | Self::Missing(why)
            | Self::TooLarge(why)
            | Self::Moved(why)
            | Self::Refused(why) => why,
        }
    }
}

/// The body of a refusal; both spellings of the code were seen.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Told {
    #[serde(alias = "error_code")]
    code: Option<String>,
    message: Option<String>,
}

/// As much of an unreadable body as a sentence can bear.
const SHOWN: usize = 200;

/// What `status` with `body` means for `call`.
pub(super) fn meaning(call: Call, status: StatusCode, after: Option<Duration>, body: &[u8]) -> Failure {
    let is_json = serde_json::from_slice::<IgnoredAny>(body).is_ok();
    let told: Option<Told> = serde_json::from_slice(body).ok();
    let Told { code, message } = told.unwrap_or_default();
    let code = code.unwrap_or_default();
    let said = message.unwrap_or_else(|| String::from_utf8_lossy(&body[..body.len().min(SHOWN)]).trim().to_owned());
    let mut why = format!("{call} answered {}", status.as_u16());
    for part in [code.as_str(), said.as_str()] {
        if !part.is_empty() {
            why.push_str(if part == code { " " } else { ": " });
            why.extend(part.chars().take(SHOWN).filter(|c| !c.is_control()));
        }
    }
    match status.as_u16() {
        408 | 429 | 500.. => Failure::Again { why, after },
        401 | 403 => Failure::Denied(why),
        410 => Failure::Moved(why),
        _ if matches!(call, Call::Hostname | Call::Token) => Failure::Again { why, after },
        // The way there, or the account, not the request.
        ..400 | 402 | 407 => Failure::Again { why, after },
        400 if code.contains("CONTINUATION_TOKEN") => Failure::Taken(why),
        409 if call == Call::Open => match code.as_str() {
            "ERR_CHANNEL_HAS_UNCOMMITTED_DATA" | "ERR_OPEN_CHANNEL_IN_PROGRESS" => Failure::Busy(why),
            _ => Failure::Refused(why),
        },
        409 => Failure::Taken(why),
        413 => Failure::TooLarge(why),
        _ if !is_json => Failure::Again { why, after },
        404 => Failure::Missing(why),
        _ => Failure::Refused(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(call: Call, status: u16, body: &str) -> Failure {
        meaning(call, StatusCode::from_u16(status).unwrap(), Some(Duration::from_secs(3)), body.as_bytes())
    }

    fn kind(failure: &Failure) -> &'static str {
        match failure {
            Failure::Again { .. } => "again",
            Failure::Denied(_) => "denied",
            Failure::Taken(_) => "taken",
            Failure::Busy(_) => "busy",
            Failure::Missing(_) => "missing",
            Failure::TooLarge(_) => "too large",
            Failure::Moved(_) => "moved",
            Failure::Refused(_) => "refused",
        }
    }

    #[test]
    fn every_row_of_the_error_table_has_its_meaning() {
        let json = r#"{"code":"X","message":"m"}"#;
        let stale = r#"{"error_code":"STALE_CONTINUATION_TOKEN_SEQUENCER","message":"m"}"#;
        let uncommitted = r#"{"code":"ERR_CHANNEL_HAS_UNCOMMITTED_DATA"}"#;
        let under_way = r#"{"error_code":"ERR_OPEN_CHANNEL_IN_PROGRESS"}"#;
        let rows = [
            (Call::Append, 408, json, "again"),
            (Call::Append, 429, json, "again"),
            (Call::Append, 500, json, "again"),
            (Call::Append, 503, "<html>", "again"),
            (Call::Append, 504, "", "again"),
            (Call::Append, 401, json, "denied"),
            (Call::Append, 403, json, "denied"),
            (Call::Append, 400, stale, "taken"),
            (Call::Append, 400, json, "refused"),
            (Call::Append, 404, json, "missing"),
            (Call::Append, 404, "<html>nope</html>", "again"),
            (Call::Append, 409, json, "taken"),
            (Call::Append, 409, "\"bare\"", "taken"),
            (Call::Append, 413, json, "too large"),
            (Call::Append, 410, json, "moved"),
            (Call::Append, 400, "<html>", "again"),
            (Call::Append, 400, "", "again"),
            (Call::Append, 413, "<html>", "too large"),
            (Call::Append, 302, "", "again"),
            (Call::Append, 307, json, "again"),
            (Call::Append, 402, json, "again"),
            (Call::Append, 407, json, "again"),
            (Call::Append, 415, json, "refused"),
            (Call::Append, 418, json, "refused"),
            (Call::Append, 418, "teapot", "again"),
            (Call::Open, 409, uncommitted, "busy"),
            (Call::Open, 409, under_way, "busy"),
            (Call::Open, 409, json, "refused"),
            (Call::Open, 404, json, "missing"),
            (Call::Status, 404, json, "missing"),
            (Call::Hostname, 404, json, "again"),
            (Call::Hostname, 410, json, "moved"),
            (Call::Token, 400, json, "again"),
            (Call::Token, 401, json, "denied"),
            (Call::Token, 409, json, "again"),
            (Call::Statement, 422, json, "refused"),
        ];
        for (call, status, body, meaning) in rows {
            assert_eq!(kind(&of(call, status, body)), meaning, "{call} {status} {body}");
        }
    }

    #[test]
    fn what_was_answered_is_told_in_a_bounded_sentence() {
        assert_eq!(of(Call::Append, 403, r#"{"code":"E","message":"no\nway"}"#).why(), "append answered 403 E: noway");
        assert_eq!(of(Call::Open, 503, "").why(), "open answered 503");
        assert!(of(Call::Open, 503, &"ä".repeat(1_000)).why().chars().count() < 250);
    }

    #[test]
    fn retry_after_comes_along() {
        let Failure::Again { after, .. } = of(Call::Append, 429, "{}") else { panic!("429 is not retried") };
        assert_eq!(after, Some(Duration::from_secs(3)));
    }
}
