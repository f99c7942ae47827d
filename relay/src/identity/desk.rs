//! The thread that answers who wants a certificate and keeps the book up to date.
//!
//! - What another process writes into the store is in the book within [`LOOK_EVERY`].
//! - A certificate stands in the book before its agent hears of it, so that it can be used at once.
//! - While the store cannot be read the book stays as it is; that is told, and nobody gets a certificate.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use gaitway_proto::enrolment::{Answer, Ask, Refusal};
use gaitway_service::health::Part;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::authority::Request;
use super::{Book, Serial, Store, StoreError};
use crate::listener::OwnKey;

/// Errands that may wait.
pub(crate) const ERRANDS: usize = 256;

/// How long what others write stays unnoticed.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Most errands between two looks.
const TOGETHER: usize = 64;

/// What the listener wants of the desk.
#[derive(Debug)]
pub(crate) enum Errand {
    /// A certificate.
    Certify {
        /// What was asked.
        ask: Ask,
        /// The good certificate that the asker has shown.
        shown: Option<Serial>,
        /// For the answer.
        reply: oneshot::Sender<Answer>,
    },
    /// A connection was made with this certificate.
    Seen(Serial),
}

/// An answer and who waits for it.
type Reply = (oneshot::Sender<Answer>, Answer);

/// The listener's end. Clones are the same desk.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    errands: SyncSender<Errand>,
}

impl Desk {
    /// A desk and what it is sent.
    pub(crate) fn new() -> (Self, Receiver<Errand>) {
        let (errands, inbox) = sync_channel(ERRANDS);
        (Self { errands }, inbox)
    }

    /// Asks for a certificate.
    pub(crate) async fn certify(&self, ask: Ask, shown: Option<Serial>) -> Answer {
        let (reply, answer) = oneshot::channel();
        match self.errands.try_send(Errand::Certify { ask, shown, reply }) {
            Ok(()) => answer.await.unwrap_or(Answer::Refused(Refusal::Unable)),
            Err(TrySendError::Full(_)) => Answer::Refused(Refusal::TooMany { seconds: 1 }),
            Err(TrySendError::Disconnected(_)) => Answer::Refused(Refusal::Unable),
        }
    }

    /// A connection was made with this certificate. If the desk is overrun nothing is noted: the next one will be.
    pub(crate) fn seen(&self, serial: Serial) {
        let _ = self.errands.try_send(Errand::Seen(serial));
    }
}

/// What the desk works with.
pub(crate) struct Clerk {
    pub store: Store,
    pub inbox: Receiver<Errand>,
    pub book: watch::Sender<Arc<Book>>,
    /// The relay's own key and certificate.
    pub own: Arc<OwnKey>,
    pub health: Part,
    /// Seconds of the Unix epoch.
    pub now: fn() -> i64,
    pub shutdown: CancellationToken,
}

impl Clerk {
    /// Works until the listener is gone or `shutdown`. Blocks.
    pub(crate) fn work(mut self) {
        let (mut version, mut ailing) = (None, false);
        self.health.ready();
        loop {
            let first = match self.inbox.recv_timeout(LOOK_EVERY) {
                Ok(errand) => Some(errand),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if self.shutdown.is_cancelled() {
                return;
            }
            let wrote = first.is_some();
            let mut answers = Vec::new();
            let served = self.serve(first, &mut answers);
            let outcome = served.and(self.look(&mut version, wrote));
            for (reply, answer) in answers {
                // Whoever asked may be gone; then the certificate is nobody's.
                let _ = reply.send(answer);
            }
            self.renew_own();
            if let Err(error) = &outcome
                && !ailing
            {
                tracing::error!(%error, "identities cannot be read or written: nobody is let in or thrown out");
                self.health.not_ready(error.to_string());
            } else if outcome.is_ok() && ailing {
                tracing::info!("identities can be read and written again");
                self.health.ready();
            }
            ailing = outcome.is_err();
        }
    }

    /// Does one errand and what waits behind it.
    fn serve(&mut self, first: Option<Errand>, answers: &mut Vec<Reply>) -> Result<(), StoreError> {
        let mut seen = Vec::new();
        let mut outcome = Ok(());
        let mut next = first;
        while let Some(errand) = next.take() {
            match errand {
                Errand::Seen(serial) => seen.push(serial),
                Errand::Certify { ask, shown, reply } => {
                    let answer = self.answer(ask, shown).unwrap_or_else(|error| {
                        outcome = Err(error);
                        Answer::Refused(Refusal::Unable)
                    });
                    answers.push((reply, answer));
                }
            }
            if seen.len() + answers.len() < TOGETHER {
                next = self.inbox.try_recv().ok();
            }
        }
        if !seen.is_empty() {
            self.store.seen((self.now)(), &seen)?;
        }
        outcome
    }

    fn answer(&mut self, ask: Ask, shown: Option<Serial>) -> Result<Answer, StoreError> {
        let now = (self.now)();
        let (Ask::Enrol { request, .. } | Ask::Renew { request }) = &ask;
        let Ok(request) = Request::read(request) else { return Ok(Answer::Refused(Refusal::Request)) };
        let issued = match (ask, shown) {
            (Ask::Enrol { secret, .. }, _) => self.store.enrol(now, &secret, &request)?,
            (Ask::Renew { .. }, Some(present)) => self.store.renew(now, present, &request)?,
            (Ask::Renew { .. }, None) => Err(Refusal::NoCertificate),
        };
        Ok(match issued {
            Ok(issued) => Answer::Issued(issued),
            Err(refusal) => Answer::Refused(refusal),
        })
    }

    fn renew_own(&self) {
        if let Err(error) = self.own.renew_if_due(self.store.authority(), (self.now)()) {
            tracing::error!(error = format!("{error:#}"), "the relay's own certificate cannot be renewed");
        }
    }

    /// Makes the book anew if the store has changed.
    fn look(&mut self, version: &mut Option<i64>, wrote: bool) -> Result<(), StoreError> {
        let now = self.store.data_version()?;
        if !wrote && *version == Some(now) {
            return Ok(());
        }
        let book = self.store.book((self.now)())?;
        *version = Some(now);
        self.book.send_if_modified(|present| {
            let changed = **present != book;
            if changed {
                *present = Arc::new(book);
            }
            changed
        });
        Ok(())
    }
}
