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
use super::status::{ChannelStatus, Opened, SUCCESS};

mod sentences;
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
    /// Send a piece under this continuation token; `attempt` counts from 0.
    Append { piece: Piece, continuation: String, attempt: u32 },
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
        Next::Do(Effect::Wait(backoff::wait(&self.pace, before, (self.chance)())))
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
        self.go_on()
    }

    /// The effect that the task is at.
    fn go_on(&mut self) -> Next {
        let effect = match (self.task.as_ref().map(|task| &task.doing), &self.state) {
            (Some(Doing::Opening { token }), _) => Effect::Open { token: *token },
            (Some(Doing::Checking(_) | Doing::Asking | Doing::Diagnosing), _) => Effect::Status,
            (Some(Doing::Appending { pieces, attempt, .. }), State::Open(open)) => match pieces.front() {
                Some(piece) => {
                    Effect::Append { piece: piece.clone(), continuation: open.continuation.clone(), attempt: *attempt }
                }
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

    fn opened(&mut self, now: Instant, opened: Opened) -> Next {
        let status = &opened.channel_status;
        if status.code != SUCCESS {
            return self.fail(self.identity.bad_status(status));
        }
        let vouched = matches!(self.task.as_ref().map(|task| &task.doing), Some(Doing::Opening { token: Some(_) }));
        let made = status.created_on_ms.is_none() || status.created_on_ms != self.created;
        let empty = made && status.last_committed_offset_token.is_none();
        if empty && !vouched && self.idle.is_some() && self.idle == self.known {
            return self.begin(now, Doing::Opening { token: self.known });
        }
        match self.token(status) {
            Ok(token) => self.learn(token),
            Err(error) => return self.fail(error),
        }
        if status.errors() > self.settled && !vouched {
            if let Some(task) = &mut self.task {
                task.doing = Doing::Checking(opened);
            }
            return self.go_on();
        }
        self.ready(now, &opened)
    }

    /// Whether the redrive channel has dealt with what was passed over.
    fn checked(&mut self, now: Instant, opened: &Opened, statuses: &BTreeMap<String, ChannelStatus>) -> Next {
        let status = &opened.channel_status;
        let redriven = statuses.get(&self.identity.redrive).and_then(ChannelStatus::redriven);
        if status.is_settled(redriven) {
            return self.ready(now, opened);
        }
        self.fail(self.identity.skipped(status, status.errors() - self.settled, self.sound.or(redriven)))
    }

    fn ready(&mut self, now: Instant, opened: &Opened) -> Next {
        let status = &opened.channel_status;
        let committed = match self.token(status) {
            Ok(token) => token,
            Err(error) => return self.fail(error),
        };
        self.idle = None;
        self.created = status.created_on_ms;
        self.settled = status.errors();
        self.sound = committed;
        self.state = State::Open(Open {
            continuation: opened.next_continuation_token.clone(),
            committed,
            submitted: committed,
            reached: committed,
        });
        self.task = None;
        self.heard(now);
        Next::Done(Ok(()))
    }

    fn appended(&mut self, end: Option<u64>, finished: Option<u64>, continuation: String) -> Next {
        let State::Open(open) = &mut self.state else { return self.fail(self.identity.closed()) };
        open.continuation = continuation;
        self.used = true;
        open.submitted = end.or(open.submitted);
        let Some(reached) = finished else { return self.go_on() };
        open.reached = Some(reached);
        self.task = None;
        Next::Done(Ok(()))
    }

    fn asked(&mut self, now: Instant, statuses: &BTreeMap<String, ChannelStatus>) -> Result<(), LedgerError> {
        self.heard(now);
        let State::Open(open) = &self.state else { return Err(self.identity.closed()) };
        let Some(status) = statuses.get(&self.identity.channel) else {
            self.idle = open.idle();
            return Err(self.identity.lost());
        };
        let (committed, submitted, before) = (self.token(status)?, open.submitted, open.committed);
        if status.errors() > self.settled {
            return Err(self.identity.skipped(status, status.errors() - self.settled, self.sound));
        }
        if committed > submitted {
            return Err(self.identity.conflict(committed));
        }
        if status.code != SUCCESS {
            return Err(self.identity.bad_status(status));
        }
        self.learn(committed);
        self.sound = committed;
        if committed > before {
            self.takeovers = 0;
        }
        if let State::Open(open) = &mut self.state {
            open.committed = committed;
        }
        Ok(())
    }

    /// Takes note of Snowflake's token.
    fn learn(&mut self, token: Option<u64>) {
        if token > self.known {
            self.refusals = 0;
        }
        self.known = token;
    }

    /// The offset in a status; an error if there is something else, or less than there was.
    fn token(&self, status: &ChannelStatus) -> Result<Option<u64>, LedgerError> {
        let text = status.last_committed_offset_token.as_deref();
        let token = match text.map(str::parse::<u64>) {
            None => None,
            Some(Ok(token)) => Some(token),
            Some(Err(_)) => return Err(self.identity.foreign(text.unwrap_or_default())),
        };
        // Made anew: what the former channel committed of the first appends, its token told nobody.
        let remade = token.is_none() && self.used && self.created.is_some() && status.created_on_ms != self.created;
        if token < self.known || remade { Err(self.identity.wiped(self.known, token)) } else { Ok(token) }
    }

    fn heard(&mut self, now: Instant) {
        self.told = Some(now);
        self.ask_from = Some(now + self.pace.status);
        self.silent = 0;
    }

    fn failed(&mut self, now: Instant, failure: &Failure) -> Next {
        let Some(task) = &mut self.task else { return Next::Done(Err(self.identity.closed())) };
        match (&task.doing, failure) {
            (Doing::Asking, Failure::Again { why, after }) => {
                let (why, after) = (why.clone(), *after);
                self.unheard(now, &why, after)
            }
            (_, Failure::Denied(_)) if !task.renewed => {
                task.renewed = true;
                Next::Do(Effect::Renew)
            }
            (Doing::Opening { .. }, Failure::Moved(_)) if !task.rebuilt => {
                task.rebuilt = true;
                self.go_on()
            }
            (_, Failure::Again { why, after: asked }) => self.again(now, why, *asked),
            (_, Failure::Busy(why)) => self.again(now, why, None),
            (Doing::Appending { .. }, Failure::Taken(why)) => {
                self.takeovers += 1;
                if self.takeovers >= PATIENT_TAKEOVERS {
                    let error = self.identity.contested(self.takeovers, why);
                    return self.fail(error);
                }
                self.begin(now, Doing::Diagnosing)
            }
            // Perhaps the channel or the token, not the rows: an open tells what is committed, and they are sent once more.
            (Doing::Appending { .. }, Failure::Refused(why)) => {
                self.refusals += 1;
                let error = match self.refusals {
                    PATIENT_REFUSALS.. => self.identity.rejected(why),
                    _ => self.identity.unavailable(why),
                };
                self.fail(error)
            }
            (Doing::Opening { .. }, Failure::Missing(why)) => {
                let error = self.identity.missing(why);
                self.fail(error)
            }
            // Never sent before, and not taken now.
            (Doing::Appending { attempt: 0, .. }, Failure::Missing(why)) => {
                if let State::Open(open) = &self.state {
                    self.idle = open.idle();
                }
                let error = self.identity.unavailable(why);
                self.fail(error)
            }
            (_, failure) => {
                let error = self.identity.unavailable(failure.why());
                self.fail(error)
            }
        }
    }

    /// Waits before the task's effect is done again, as long as there is patience.
    fn again(&mut self, now: Instant, why: &str, asked: Option<Duration>) -> Next {
        let (pace, chance) = (self.pace, (self.chance)());
        let Some(task) = &mut self.task else { return Next::Done(Err(self.identity.closed())) };
        if let Doing::Appending { attempt, .. } = &mut task.doing {
            *attempt += 1;
        }
        // A renewal that did not come through may be tried again.
        task.renewed = false;
        match task.backoff.next(now, &pace, asked, chance) {
            Some(wait) => Next::Do(Effect::Wait(wait)),
            None => self.fail(self.identity.gave_up(pace.patience, why)),
        }
    }

    /// A status call that did not come through says nothing about the channel, until it has been so for too long.
    fn unheard(&mut self, now: Instant, why: &str, asked: Option<Duration>) -> Next {
        let told = *self.told.get_or_insert(now);
        if now.saturating_duration_since(told) > self.pace.patience {
            let error = self.identity.gave_up(self.pace.patience, why);
            return self.fail(error);
        }
        let wait = backoff::wait(&self.pace, self.silent, (self.chance)()).max(asked.unwrap_or_default());
        self.silent += 1;
        self.ask_from = Some(now + wait);
        self.task = None;
        Next::Done(Ok(()))
    }

    /// Where the channel is that was taken away, if that can be told.
    fn diagnosed(&mut self, answer: Answer) -> Next {
        let Answer::Statuses(statuses) = answer else {
            let found = self.position();
            return self.fail(self.identity.conflict(found));
        };
        let error = match statuses.get(&self.identity.channel).map(|status| self.token(status)) {
            Some(Ok(found)) => self.identity.conflict(found),
            Some(Err(error)) => error,
            None => self.identity.lost(),
        };
        self.fail(error)
    }
}
