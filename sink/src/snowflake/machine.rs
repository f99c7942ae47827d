//! One channel's life, without a socket and without a clock: answers come in, what to do next comes out.
//!
//! - **Closed** until an open succeeds; then **open** under the continuation token of that open; closed again by
//!   anything after which nobody can say what the channel holds. Only an open tells the position from which to go on.
//! - One append is in flight. It is sent again byte for byte, under the same continuation token, and only within the open
//!   that gave that token; a piece that may have been taken is never sent in another cut.
//! - Accepted is not committed: positions come from Snowflake's own offset token, and never go back. If they do, or the
//!   token is gone, it stops: what was stored under it could not be told from what was not.
//! - But Snowflake deletes a channel that had no rows for 30 days. One that is gone while nothing is in flight, and whose token is
//!   known here, is made anew with that token.
//! - Rows that were accepted and passed over stop the channel, also after a restart, until the redrive channel's token
//!   lies at or beyond them, and that channel has passed over none itself.
//! - A mark without rows is held, because an append needs rows: it is told as committed once all rows before it are, and
//!   rides with the next rows. A reopen forgets it; nothing lies between it and the token.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use gaitway_proto::ledger::{LedgerError, Mark};

use super::answer::Failure;
use super::backoff::{self, Backoff, Pace};
use super::rows::Piece;
use super::status::{ChannelStatus, Opened};

mod failures;
mod sentences;
mod successes;
#[cfg(test)]
mod tests;

pub(super) use sentences::Identity;

/// Times that a channel may be taken away, without anything committed in between, before another owner is to blame.
const PATIENT_TAKEOVERS: u32 = 5;

/// Times that appends may be refused, with nothing committed in between and an open before each, before the rows are to blame: with
/// the default pace more than a minute.
const PATIENT_REFUSALS: u32 = 8;

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// Open the channel, and give it this token if there is one.
    Open { token: Option<u64> },
    /// Send a piece under this continuation token.
    Append { piece: Piece, continuation: String },
    /// Ask for the status of the channel and of its redrive channel.
    Status,
    /// Get a new scoped token.
    Renew,
    /// Wait.
    Wait(Duration),
}

/// What came of an [`Effect`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Opened(Opened),
    /// With the next continuation token.
    Appended(String),
    Statuses(BTreeMap<String, ChannelStatus>),
    /// Of a renewal or a wait.
    Done,
    /// The piece is too large; its halves, if it has any.
    TooLarge(String, Option<[Piece; 2]>),
    Failed(Failure),
    /// The partition is let go of, or the process ends.
    Stopped,
}

/// What a call to the machine came to.
#[derive(Debug)]
pub(super) enum Next {
    Do(Effect),
    Done(Result<(), LedgerError>),
}

#[derive(Debug)]
enum State {
    Closed,
    Open(Open),
}

#[derive(Debug)]
struct Open {
    continuation: String,
    /// Snowflake's token when it was last told.
    committed: Option<u64>,
    /// The token of the last append that was accepted.
    submitted: Option<u64>,
    /// The position of the last mark: `submitted`, or a mark without rows beyond it.
    reached: Option<u64>,
}

impl Open {
    /// The token, if everything that was accepted is committed.
    fn idle(&self) -> Option<u64> {
        self.committed.filter(|_| self.committed == self.submitted)
    }
}

#[derive(Debug)]
struct Task {
    doing: Doing,
    backoff: Backoff,
    renewed: bool,
    rebuilt: bool,
}

#[derive(Debug)]
enum Doing {
    Opening {
        /// The position that somebody vouches for.
        token: Option<u64>,
    },
    /// Opened, but with rows passed over: are they dealt with?
    Checking(Opened),
    Appending {
        pieces: VecDeque<Piece>,
        /// How often the first of them may have been taken.
        attempt: u32,
        reached: u64,
    },
    Asking,
    /// The channel was taken: where is it now?
    Diagnosing,
}

/// One channel.
#[derive(Debug)]
pub(super) struct Machine {
    identity: Identity,
    pace: Pace,
    state: State,
    task: Option<Task>,
    /// The greatest token that was ever told.
    known: Option<u64>,
    /// The token of a channel that was let go of, or was found to be gone, with nothing in flight.
    idle: Option<u64>,
    /// When the channel was made, if that was told, and whether it has taken anything from here since.
    created: Option<u64>,
    used: bool,
    /// Rows passed over that are dealt with.
    settled: u64,
    /// The token that was told last before more were passed over.
    sound: Option<u64>,
    takeovers: u32,
    /// Appends refused since something was committed.
    refusals: u32,
    /// When the status may be asked for again.
    ask_from: Option<Instant>,
    /// No call is made before, and why: the server asked for it.
    hold: Option<(Instant, String)>,
    /// When it was last told.
    told: Option<Instant>,
    silent: u32,
    chance: fn() -> u64,
}

impl Machine {
    pub(super) fn new(identity: Identity, pace: Pace, chance: fn() -> u64) -> Self {
        Self {
            identity,
            pace,
            state: State::Closed,
            task: None,
            known: None,
            idle: None,
            created: None,
            used: false,
            settled: 0,
            sound: None,
            takeovers: 0,
            refusals: 0,
            ask_from: None,
            hold: None,
            told: None,
            silent: 0,
            chance,
        }
    }

    /// The position that is durable, none if there is none or the channel is closed.
    pub(super) fn position(&self) -> Option<u64> {
        match &self.state {
            State::Open(open) if open.committed == open.submitted => open.reached,
            State::Open(open) => open.committed,
            State::Closed => None,
        }
    }

    /// The position of the last mark, durable or not.
    pub(super) fn reached(&self) -> Option<u64> {
        match &self.state {
            State::Open(open) => open.reached,
            State::Closed => None,
        }
    }

    /// The token that Snowflake told last.
    pub(super) fn known(&self) -> Option<u64> {
        self.known
    }

    fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Forgets what is not committed; whoever goes on must open again.
    pub(super) fn close(&mut self) {
        self.state = State::Closed;
        self.task = None;
    }

    /// Begins an open.
    pub(super) fn recover(&mut self, now: Instant) -> Next {
        if let State::Open(open) = &self.state {
            self.idle = open.idle();
        }
        self.close();
        let next = self.begin(now, Doing::Opening { token: None });
        let before = match (self.takeovers, self.refusals) {
            (PATIENT_TAKEOVERS.., _) => self.takeovers,
            (_, 0) => return next,
            (_, refusals) => refusals - 1,
        };
        let wait = backoff::wait(&self.pace, before, (self.chance)());
        match next {
            Next::Do(Effect::Wait(held)) => Next::Do(Effect::Wait(held.max(wait))),
            Next::Do(_) => Next::Do(Effect::Wait(wait)),
            done @ Next::Done(_) => done,
        }
    }

    /// Begins an open that sets the position: somebody vouches that everything up to `token` is stored and nothing else.
    pub(super) fn adopt(&mut self, now: Instant, token: u64) -> Next {
        self.close();
        (self.known, self.idle, self.used) = (None, None, false);
        self.begin(now, Doing::Opening { token: Some(token) })
    }

    /// Whether the mark begins where the last one ended.
    pub(super) fn admit(&self, mark: &Mark) -> Result<(), LedgerError> {
        match &self.state {
            State::Open(open) if open.reached == mark.from => Ok(()),
            State::Open(open) => Err(self.identity.conflict(open.reached)),
            State::Closed => Err(self.identity.closed()),
        }
    }

    /// Begins the appends that move the mark; none for a mark alone.
    pub(super) fn submit(&mut self, now: Instant, mark: &Mark, pieces: VecDeque<Piece>) -> Next {
        if let Err(error) = self.admit(mark) {
            return Next::Done(Err(error));
        }
        if let (true, State::Open(open)) = (pieces.is_empty(), &mut self.state) {
            open.reached = Some(mark.to);
            return Next::Done(Ok(()));
        }
        self.begin(now, Doing::Appending { pieces, attempt: 0, reached: mark.to })
    }

    /// Begins a status call, unless the last one is too fresh.
    pub(super) fn ask(&mut self, now: Instant) -> Next {
        if !self.is_open() {
            return Next::Done(Err(self.identity.closed()));
        }
        if self.ask_from.is_some_and(|from| now < from) {
            return Next::Done(Ok(()));
        }
        self.begin(now, Doing::Asking)
    }

    /// As [`Self::ask`], at the pace of an idle channel.
    pub(super) fn tend(&mut self, now: Instant) -> Next {
        let fresh = self.told.is_some_and(|told| now.saturating_duration_since(told) < self.pace.idle);
        if fresh || !self.is_open() { Next::Done(Ok(())) } else { self.ask(now) }
    }

    /// Takes the answer to the last effect.
    pub(super) fn handle(&mut self, now: Instant, answer: Answer) -> Next {
        let Some(task) = &mut self.task else { return Next::Done(Err(self.identity.closed())) };
        match (&mut task.doing, answer) {
            (_, Answer::Stopped) => self.fail(self.identity.stopping()),
            (_, Answer::Done) => self.go_on(),
            (Doing::Opening { .. }, Answer::Opened(opened)) => self.opened(now, opened),
            (Doing::Checking(opened), Answer::Statuses(statuses)) => {
                let opened = opened.clone();
                self.checked(now, &opened, &statuses)
            }
            (Doing::Appending { pieces, attempt, reached }, Answer::Appended(continuation)) => {
                let sent = pieces.pop_front();
                *attempt = 0;
                let finished = pieces.is_empty().then_some(*reached);
                task.backoff = Backoff::new(now);
                self.appended(sent.map(|piece| piece.end), finished, continuation)
            }
            (Doing::Appending { pieces, attempt: 0, .. }, Answer::TooLarge(_, Some([first, second]))) => {
                pieces.pop_front();
                pieces.push_front(second);
                pieces.push_front(first);
                self.go_on()
            }
            (Doing::Appending { attempt: 0, .. }, Answer::TooLarge(why, None)) => {
                let error = self.identity.row_too_large(&why);
                self.fail(error)
            }
            // It may have been taken before: only an open can tell.
            (_, Answer::TooLarge(why, _)) => self.fail(self.identity.unavailable(&why)),
            (Doing::Asking, Answer::Statuses(statuses)) => {
                let asked = self.asked(now, &statuses);
                self.task = None;
                asked.map_or_else(|error| self.fail(error), |()| Next::Done(Ok(())))
            }
            (Doing::Diagnosing, answer) => self.diagnosed(answer),
            (_, Answer::Failed(failure)) => self.failed(now, &failure),
            (_, answer) => self.fail(self.identity.unavailable(&format!("an answer that does not fit: {answer:?}"))),
        }
    }

    fn begin(&mut self, now: Instant, doing: Doing) -> Next {
        self.task = Some(Task { doing, backoff: Backoff::new(now), renewed: false, rebuilt: false });
        let held = self.hold.as_ref().map(|(until, why)| (until.saturating_duration_since(now), why));
        match held {
            Some((wait, why)) if wait > self.pace.patience => {
                let error = self.identity.held(wait, why);
                self.fail(error)
            }
            Some((wait, _)) if wait > Duration::ZERO => Next::Do(Effect::Wait(wait)),
            _ => self.go_on(),
        }
    }

    /// The effect that the task is at.
    fn go_on(&mut self) -> Next {
        let effect = match (self.task.as_ref().map(|task| &task.doing), &self.state) {
            (Some(Doing::Opening { token }), _) => Effect::Open { token: *token },
            (Some(Doing::Checking(_) | Doing::Asking | Doing::Diagnosing), _) => Effect::Status,
            (Some(Doing::Appending { pieces, .. }), State::Open(open)) => match pieces.front() {
                Some(piece) => Effect::Append { piece: piece.clone(), continuation: open.continuation.clone() },
                None => return Next::Done(Ok(())),
            },
            _ => return self.fail(self.identity.closed()),
        };
        Next::Do(effect)
    }

    /// Ends the task with an error; what the channel holds is to be found out.
    fn fail(&mut self, error: LedgerError) -> Next {
        self.close();
        Next::Done(Err(error))
    }
}
