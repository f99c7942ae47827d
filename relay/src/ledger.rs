//! The thread that owns the ledger: calls block, so the intake asks over a bounded channel and hears over another.
//!
//! - Requests are done in the order they were asked.
//! - After an error nothing is done before the ledger has recovered.
//! - Housekeeping comes about once a second, under load too.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use gaitway_proto::ledger::{Ledger, LedgerError};
use tokio::sync::mpsc;

use crate::commit::{Commit, Durable, LookUp};

mod store;
pub(crate) use store::{Landed, Tally, store};

/// How often the ledger keeps house.
const TEND_EVERY: Duration = Duration::from_secs(1);

/// What the ledger is asked.
#[derive(Debug)]
pub(crate) enum Request {
    /// To become ready (again).
    Recover,
    /// For positions.
    LookUp(LookUp),
    /// To store.
    Commit(Commit),
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is ready, or not.
    Recovered(Result<(), LedgerError>),
    /// Positions.
    Known { id: u64, found: Durable },
    /// Everything of the commit is durable.
    Committed { id: u64, durable: Durable, tally: Tally, took: Duration },
    /// A request or the housekeeping failed; requests until the next recovery fail too.
    Failed(LedgerError),
}

/// Serves `requests` until their sender or the receiver of `outcomes` is gone. `now`: microseconds since the Unix
/// epoch, wall clock.
pub(crate) fn serve(
    ledger: Box<dyn Ledger>,
    requests: &Receiver<Request>,
    outcomes: &mpsc::Sender<Outcome>,
    now: impl Fn() -> i64,
) {
    let mut desk = Desk::new(ledger);
    let mut tended = Instant::now();
    loop {
        let outcome = match requests.recv_timeout(TEND_EVERY.saturating_sub(tended.elapsed())) {
            Ok(request) => Some(desk.answer(request, now())),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let tending = tended.elapsed() >= TEND_EVERY;
        if tending {
            tended = Instant::now();
        }
        let failed = if tending { desk.tend().err().map(Outcome::Failed) } else { None };
        for outcome in outcome.into_iter().chain(failed) {
            if outcomes.blocking_send(outcome).is_err() {
                return;
            }
        }
    }
}

/// The ledger and whether it may be used.
pub(crate) struct Desk {
    ledger: Box<dyn Ledger>,
    ready: bool,
}

impl Desk {
    /// A ledger that has to recover first.
    pub(crate) fn new(ledger: Box<dyn Ledger>) -> Self {
        Self { ledger, ready: false }
    }

    /// Does what is asked. `now`: microseconds since the Unix epoch, wall clock.
    pub(crate) fn answer(&mut self, request: Request, now: i64) -> Outcome {
        let ledger = self.ledger.as_mut();
        let done = match request {
            Request::Recover => {
                let recovered = ledger.recover();
                self.ready = recovered.is_ok();
                return Outcome::Recovered(recovered);
            }
            _ if !self.ready => Err(LedgerError::Unavailable("the ledger has not recovered".to_owned())),
            Request::LookUp(LookUp { id, sources }) => {
                Durable::read(ledger, &sources).map(|found| Outcome::Known { id, found })
            }
            Request::Commit(commit) => {
                let begun = Instant::now();
                store(ledger, &commit, now).map(|(durable, tally)| Outcome::Committed {
                    id: commit.id,
                    durable,
                    tally,
                    took: begun.elapsed(),
                })
            }
        };
        self.ready &= done.is_ok();
        done.unwrap_or_else(Outcome::Failed)
    }

    fn tend(&mut self) -> Result<(), LedgerError> {
        if !self.ready {
            return Ok(());
        }
        let tended = self.ledger.tend();
        self.ready = tended.is_ok();
        tended
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use gaitway_proto::ledger::Source;

    use super::*;
    use crate::memory::{Fault, MemoryLedger};

    #[test]
    fn after_an_error_nothing_is_done_before_the_ledger_has_recovered() {
        let ledger = MemoryLedger::default();
        let (asks, requests) = sync_channel(4);
        let (tells, mut outcomes) = mpsc::channel(4);
        let served = ledger.clone();
        let thread =
            std::thread::Builder::new().spawn(move || serve(Box::new(served), &requests, &tells, || 0)).unwrap();
        let look_up = |id| Request::LookUp(LookUp { id, sources: vec![Source::partition("t", 0)] });

        asks.send(look_up(1)).unwrap();
        assert!(matches!(outcomes.blocking_recv(), Some(Outcome::Failed(_))));
        asks.send(Request::Recover).unwrap();
        assert!(matches!(outcomes.blocking_recv(), Some(Outcome::Recovered(Ok(())))));
        asks.send(look_up(2)).unwrap();
        assert!(matches!(outcomes.blocking_recv(), Some(Outcome::Known { id: 2, .. })));

        ledger.inject(Fault::Unavailable);
        asks.send(Request::Commit(Commit { id: 3, parts: vec![], heirs: vec![] })).unwrap();
        assert!(matches!(outcomes.blocking_recv(), Some(Outcome::Failed(_))));
        asks.send(look_up(4)).unwrap();
        assert!(matches!(outcomes.blocking_recv(), Some(Outcome::Failed(_))));

        asks.send(Request::Recover).unwrap();
        assert!(matches!(outcomes.blocking_recv(), Some(Outcome::Recovered(Ok(())))));
        drop(asks);
        thread.join().unwrap();
    }
}
