//! Getting the host and the token that all channels use.
//!
//! - One thread at a time asks the account's host. The others go on with the token that is there while it is good, and else wait
//!   for that one's outcome rather than ask after it.
//! - A token is replaced when three quarters of its life are over. If that does not come through it is said and tried again once a
//!   minute, while the old one is good.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{Client, GRANT, named, unreadable};
use crate::snowflake::answer::{Call, Failure};
use crate::snowflake::session::{Session, Token, read_host};

/// How long a token that could not be replaced is used before that is tried again.
const RENEW_AGAIN: Duration = Duration::from_secs(60);

/// What all channels share.
#[derive(Debug, Default)]
pub(super) struct Access {
    known: Mutex<Known>,
    /// Held by the thread that asks; when it failed last, and why.
    asking: Mutex<Option<(Instant, Failure)>>,
}

#[derive(Debug, Default)]
struct Known {
    session: Option<Session>,
    generation: u64,
    /// The token that is due is not to be replaced before.
    renew_from: Option<Instant>,
}

impl Access {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asking(&self) -> MutexGuard<'_, Option<(Instant, Failure)>> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None if another thread asks.
    fn ask_first(&self) -> Option<MutexGuard<'_, Option<(Instant, Failure)>>> {
        match self.asking.try_lock() {
            Ok(asking) => Some(asking),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl Client {
    /// Forgets the host of `generation` and its token.
    pub(in crate::snowflake) fn forget(&self, generation: u64) {
        let mut known = self.0.access.known();
        if known.generation == generation {
            *known = Known { generation: generation + 1, ..Known::default() };
        }
    }

    /// Replaces the token, unless another thread has replaced `refused` already.
    pub(in crate::snowflake) fn renew(&self, refused: Option<&str>) -> Result<(), Failure> {
        let begun = Instant::now();
        let mut asking = self.0.access.asking();
        let Some(session) = self.0.access.known().session.clone() else { return Ok(()) };
        if refused.is_some_and(|refused| refused != session.token.text) {
            return Ok(());
        }
        match &*asking {
            Some((at, failure)) if *at >= begun => Err(failure.clone()),
            _ => self.replace(&mut asking, &session).map(drop),
        }
    }

    /// The host and the token to use now.
    pub(in crate::snowflake) fn session(&self) -> Result<Session, Failure> {
        let begun = Instant::now();
        let (session, renew_from) = {
            let known = self.0.access.known();
            (known.session.clone(), known.renew_from)
        };
        let mut asking = match session {
            Some(session) if !session.token.is_due(begun) => return Ok(session),
            Some(session) if session.token.is_good(begun) => {
                if renew_from.is_some_and(|from| begun < from) {
                    return Ok(session);
                }
                let Some(asking) = self.0.access.ask_first() else { return Ok(session) };
                asking
            }
            _ => self.0.access.asking(),
        };
        // Another thread may have been first.
        let (session, generation) = {
            let known = self.0.access.known();
            (known.session.clone(), known.generation)
        };
        match (session, &*asking) {
            (Some(session), _) if !session.token.is_due(Instant::now()) => Ok(session),
            (_, Some((at, failure))) if *at >= begun => Err(failure.clone()),
            (Some(session), _) => match self.replace(&mut asking, &session) {
                Err(failure) if session.token.is_good(Instant::now()) => {
                    tracing::warn!(error = failure.why(), "token is not replaced yet, the old one is used");
                    self.0.access.known().renew_from = Some(Instant::now() + RENEW_AGAIN);
                    Ok(session)
                }
                replaced => replaced,
            },
            (None, _) => self.find(&mut asking, generation),
        }
    }

    /// A new token for the host of `session`.
    fn replace(&self, asking: &mut Option<(Instant, Failure)>, session: &Session) -> Result<Session, Failure> {
        let token = self.exchange(&session.scope);
        self.noted(asking, token.map(|token| Session { token, ..session.clone() }))
    }

    /// The host, and a token for it.
    fn find(&self, asking: &mut Option<(Instant, Failure)>, generation: u64) -> Result<Session, Failure> {
        let url = self.0.options.account_url();
        let request = self.0.http.get(format!("{url}/v2/streaming/hostname"));
        let found = self.account(Call::Hostname, named(request, Uuid::new_v4(), 0)).and_then(|reply| {
            let host = read_host(&reply.body, &url);
            let (base, scope) = host.ok_or_else(|| unreadable(Call::Hostname, &reply.body))?;
            let token = self.exchange(&scope)?;
            Ok(Session { base, scope, token, generation })
        });
        self.noted(asking, found)
    }

    /// Takes note of what came of asking.
    fn noted(
        &self,
        asking: &mut Option<(Instant, Failure)>,
        outcome: Result<Session, Failure>,
    ) -> Result<Session, Failure> {
        *asking = outcome.as_ref().err().map(|failure| (Instant::now(), failure.clone()));
        let session = outcome?;
        let mut known = self.0.access.known();
        // Unless the host was given up meanwhile.
        if known.generation == session.generation {
            *known = Known { session: Some(session.clone()), generation: session.generation, renew_from: None };
        }
        Ok(session)
    }

    fn exchange(&self, scope: &str) -> Result<Token, Failure> {
        let url = format!("{}/oauth/token", self.0.options.account_url());
        let request = self.0.http.post(url).form(&[("grant_type", GRANT), ("scope", scope)]);
        let reply = self.account(Call::Token, named(request, Uuid::new_v4(), 0))?;
        Token::read(&reply.body, Instant::now()).ok_or_else(|| unreadable(Call::Token, b""))
    }
}
