//! The thread that answers who wants a certificate and keeps the book up to date.
//!
//! - What another process writes into the store is in the book within [`LOOK_EVERY`].
//! - A certificate stands in the book before its agent hears of it, so that it can be used at once.
//! - While the store cannot be read the book stays as it is; that is told, and nobody gets a certificate. Once it can be read
//!   again the book is made anew, whatever was written and by whom.

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

/// What the book was made from.
#[derive(Debug, Default)]
struct Sight {
    /// The store's number then; it does not change with what this desk writes.
    version: Option<i64>,
    /// This desk may have written since.
    wrote: bool,
}

impl Clerk {
    /// Works until the listener is gone or `shutdown`. Blocks.
    pub(crate) fn work(mut self) {
        let (mut sight, mut ailing) = (Sight::default(), false);
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
            let mut answers = Vec::new();
            let served = self.serve(first, &mut sight, &mut answers);
            let outcome = served.and(self.look(&mut sight));
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
    fn serve(&mut self, first: Option<Errand>, sight: &mut Sight, answers: &mut Vec<Reply>) -> Result<(), StoreError> {
        sight.wrote |= first.is_some();
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
    fn look(&mut self, sight: &mut Sight) -> Result<(), StoreError> {
        let now = self.store.data_version()?;
        if !sight.wrote && sight.version == Some(now) {
            return Ok(());
        }
        let book = self.store.book((self.now)())?;
        *sight = Sight { version: Some(now), wrote: false };
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

#[cfg(test)]
mod tests {
    use gaitway_service::health::Health;
    use rcgen::{CertificateParams, KeyPair};

    use super::super::Standing;
    use super::*;
    use crate::listener::Tls;

    const NOW: i64 = 1_800_000_000;

    fn serial_of(certificate: &[u8]) -> Serial {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).unwrap();
        Serial::from_bytes(parsed.raw_serial()).unwrap()
    }

    #[test]
    fn a_look_that_fails_once_after_the_desks_own_write_leaves_no_old_book_behind() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path(), NOW).unwrap();
        let secret = store.add(NOW, &"attic".parse().unwrap()).unwrap().code.secret;
        let (book, books) = watch::channel(Arc::default());
        let (desk, inbox) = Desk::new();
        let own = Tls::new(store.authority(), books.clone(), desk, || NOW).unwrap().own().clone();
        let (health, shutdown) = (Health::new().part("identities"), CancellationToken::new());
        let mut clerk = Clerk { store, inbox, book, own, health, now: || NOW, shutdown };
        let (mut sight, mut answers) = (Sight::default(), Vec::new());
        clerk.look(&mut sight).unwrap();

        let key = KeyPair::generate().unwrap();
        let request = CertificateParams::default().serialize_request(&key).unwrap().der().to_vec();
        let (reply, _waits) = oneshot::channel();
        let errand = Errand::Certify { ask: Ask::Enrol { secret, request }, shown: None, reply };
        clerk.serve(Some(errand), &mut sight, &mut answers).unwrap();
        let Some((_, Answer::Issued(issued))) = answers.pop() else { panic!("no certificate") };
        clerk.store.blind(true);
        clerk.look(&mut sight).unwrap_err();
        clerk.store.blind(false);

        clerk.serve(None, &mut sight, &mut answers).unwrap();
        clerk.look(&mut sight).unwrap();
        let serial = serial_of(&issued.certificate);
        assert!(matches!(books.borrow().standing(NOW, serial), Standing::Good { .. }), "the new agent is let in");
        assert!(!sight.wrote, "and the book is not made anew at every look");
    }
}
