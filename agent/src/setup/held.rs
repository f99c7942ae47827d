//! Tokens of phones that are being set up, each for the browser that came by the phone's link or made it, so that a
//! reload shows it again.
//!
//! - In memory only: what the agent's end or an hour takes is gone, and erased.
//! - Of more than [`MOST`] the oldest make room.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::phones::Token;

/// How long a browser sees its phone's token.
const HELD_FOR: Duration = Duration::from_secs(3600);

/// Far more phones than are set up in an hour.
const MOST: usize = 64;

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Held(Mutex<VecDeque<One>>);

#[derive(Debug)]
struct One {
    /// Of the browser's own token.
    browser_sha256: String,
    phone: String,
    token: Token,
    since: Instant,
}

impl Held {
    /// Holds the token of `phone` for the browser with this hash.
    pub(crate) fn hold(&self, browser_sha256: String, phone: String, token: Token, now: Instant) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|one| one.is_held(now) && one.browser_sha256 != browser_sha256);
        if held.len() >= MOST {
            held.pop_front();
        }
        held.push_back(One { browser_sha256, phone, token, since: now });
    }

    /// The phone that the browser with this hash sets up, its token, and for how long that has been held.
    pub(crate) fn of(&self, browser_sha256: &str, now: Instant) -> Option<(String, Token, Duration)> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|one| one.is_held(now));
        held.iter()
            .find(|one| one.browser_sha256 == browser_sha256)
            .map(|one| (one.phone.clone(), one.token.clone(), now.saturating_duration_since(one.since)))
    }
}

impl One {
    fn is_held(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < HELD_FOR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_sees_its_own_phone_s_token_for_an_hour() {
        let (held, now) = (Held::default(), Instant::now());
        let (one, other) = (Token::random().unwrap(), Token::random().unwrap());
        held.hold("a".to_owned(), "anna".to_owned(), one.clone(), now);
        held.hold("b".to_owned(), "ben".to_owned(), other.clone(), now + Duration::from_secs(1));
        assert_eq!(held.of("a", now), Some(("anna".to_owned(), one, Duration::ZERO)));
        assert_eq!(held.of("c", now), None);
        assert_eq!(held.of("a", now + HELD_FOR), None);
        assert_eq!(held.of("b", now + HELD_FOR), Some(("ben".to_owned(), other, Duration::from_secs(3599))));
        assert_eq!(held.0.lock().unwrap().len(), 1, "what is over is erased");
    }

    #[test]
    fn the_oldest_make_room() {
        let (held, now) = (Held::default(), Instant::now());
        for number in 0..=MOST {
            held.hold(number.to_string(), String::new(), Token::random().unwrap(), now);
        }
        assert!(held.of("0", now).is_none() && held.of("1", now).is_some());
        assert_eq!(held.0.lock().unwrap().len(), MOST);
    }
}
