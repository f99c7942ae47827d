//! One partition's way into a warehouse: where to begin, what goes into the next submit, what may be forgotten. Pure: no
//! clock, no Kafka, no ledger.
//!
//! - Reading begins where the warehouse's own token says, and nowhere else; the group's offset is a hint.
//! - Offsets need not be contiguous, they only rise: what is at or below what was taken is dropped.
//! - After any error everything that is not committed is forgotten, and reading begins anew behind the token that is found
//!   then.
//! - A token outside the log stops the partition with a sentence; nothing is skipped in silence.
//! - Where the warehouse passed over records it is looked again and again whether somebody has dealt with them; until then
//!   the partition stays stopped, and is told as stopped once.
//! - Where the record at the token is still there, reading begins with it: another one than was stored, or one younger than
//!   the mark, is of a topic that was made anew, and stops the partition. One that is gone proves nothing.
//! - What may wait is bounded in records and bytes, and so is what was accepted and is not committed.
//!
//! Whoever drives it asks [`poll_effect`](Machine::poll_effect), does what it says, and tells the outcome with the method
//! that the effect names.

use std::time::{Duration, Instant};

use gaitway_proto::ledger::LedgerError;

mod pause;
mod proof;
mod reading;
mod stop;
#[cfg(test)]
mod tests;
mod told;

use pause::Pause;
use proof::Proof;
use reading::Reading;
pub(crate) use stop::{Stop, begin};
pub(crate) use told::{Found, Hint, Print, Survey, Told};

/// How long a token may lie beyond the end of the log: a broker that was killed knows its end again only after a while.
const BEYOND: Duration = Duration::from_secs(30);

/// How often the log is looked at then.
const LOOK: Duration = Duration::from_secs(1);

/// How long what was accepted may not be committed before that is said.
const SLOW: Duration = Duration::from_secs(60);

/// How long before the ledger is recovered, which makes it tell what became of it.
const STUCK: Duration = Duration::from_secs(300);

/// So many times in a row another owner had the partition: that is no rebalance.
const CONTESTED: u32 = 5;

/// So often it is looked whether passed over records were dealt with.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// So many times in a row the log could not be read behind the same token: that is not the way here, it is the log.
const DAMAGED: u32 = 5;

/// After reading for so long what failed before is forgotten.
const SETTLED: Duration = Duration::from_secs(60);

/// How much goes into one submit, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Most records of a submit.
    pub max_rows: usize,
    /// Most bytes of a submit; a larger record goes alone.
    pub max_bytes: usize,
    /// How long the first record of a submit waits for others.
    pub linger: Duration,
    /// Submits that may be accepted and not committed.
    pub max_accepted: usize,
}

/// One submit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batch<R> {
    /// Where the ledger's mark was left.
    pub from: Option<u64>,
    /// Where it goes: the last record's offset.
    pub to: u64,
    /// In the order of their offsets; never empty.
    pub records: Vec<R>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect<R> {
    /// Recover the ledger: [`Machine::handle_recovered`].
    Recover,
    /// Read the token: [`Machine::handle_committed`].
    Ask,
    /// Ask Kafka: [`Machine::handle_survey`].
    Survey,
    /// Give the warehouse this token, of which it has none: [`Machine::handle_adopted`].
    Adopt(u64),
    /// Read from this offset on; records handed in from now on are of this reading. No answer is awaited. A stop that was told
    /// is over.
    Start(i64),
    /// Submit: [`Machine::handle_submitted`].
    Submit(Batch<R>),
    /// Commit the group's offset, some time. No answer is awaited.
    Commit(Hint),
    /// This partition is not read any more, until a start. Told once.
    Stop(Stop),
}

/// See the module. `R` is a record as the driver keeps it.
#[derive(Debug)]
pub(crate) struct Machine<R> {
    limits: Limits,
    adopt: bool,
    state: State<R>,
    /// An effect was given out whose outcome is awaited.
    awaiting: bool,
    pause: Pause,
    /// How often in a row another owner had the partition.
    contested: u32,
    beyond_since: Option<Instant>,
    /// How often in a row the log could not be read, and behind which token.
    damaged: (Option<u64>, u32),
    trouble: Option<String>,
    /// The stop that was told and is not over.
    told: Option<Stop>,
    /// Reading failed, and has shown nothing since.
    doubted: bool,
    /// What the warehouse held when that was last known, and the record there.
    memory: Option<(u64, Print)>,
    /// A token whose record cannot be read.
    illegible: Option<u64>,
}

#[derive(Debug)]
enum State<R> {
    Waiting {
        until: Instant,
        then: Step,
    },
    Opening(Step),
    /// Where to begin is known, and was not told.
    Starting {
        at: i64,
        found: Found,
        proof: Option<Proof>,
    },
    /// `proof`: the record at the token is to come first.
    Reading {
        reading: Box<Reading<R>>,
        proof: Option<Proof>,
    },
    Stopping(Stop),
    /// Until it is looked again, if that may help.
    Stopped(Option<Instant>),
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Recover,
    Ask,
    Survey { found: Found },
    Adopt { token: u64 },
}

impl<R> Machine<R> {
    /// A partition that has just become ours. `adopt`: where the warehouse has no token, the group's offset is where to
    /// begin. `seed`: any number. `memory`: what the [`memory`](Self::memory) of its last machine here was.
    pub(crate) fn new(limits: Limits, adopt: bool, seed: u64, memory: Option<(u64, Print)>) -> Self {
        Self {
            limits,
            adopt,
            state: State::Opening(Step::Recover),
            awaiting: false,
            pause: Pause::new(seed),
            contested: 0,
            beyond_since: None,
            damaged: (None, 0),
            trouble: None,
            told: None,
            doubted: false,
            memory,
            illegible: None,
        }
    }

    /// What is to be done now, if anything.
    pub(crate) fn poll_effect(&mut self, now: Instant) -> Option<Effect<R>> {
        if self.awaiting {
            return None;
        }
        let due = match self.state {
            State::Waiting { until, then } => Some((until, then)),
            State::Stopped(Some(until)) => Some((until, Step::Recover)),
            _ => None,
        };
        if let Some((until, then)) = due {
            if now < until {
                return None;
            }
            self.state = State::Opening(then);
        }
        let effect = match &mut self.state {
            State::Waiting { .. } | State::Stopped(_) => return None,
            State::Opening(Step::Recover) => Effect::Recover,
            State::Opening(Step::Ask) => Effect::Ask,
            State::Opening(Step::Survey { .. }) => Effect::Survey,
            State::Opening(Step::Adopt { token }) => Effect::Adopt(*token),
            State::Starting { at, found, proof } => {
                let (at, proof) = (*at, *proof);
                let print = proof.and_then(|proof| proof.print);
                self.told = None;
                self.state = State::Reading { reading: Box::new(Reading::new(now, at, *found, print)), proof };
                return Some(Effect::Start(if proof.is_some() { at - 1 } else { at }));
            }
            State::Stopping(stop) => {
                let stop = stop.clone();
                let look = matches!(stop, Stop::Skipped(_)).then_some(now + LOOK_AGAIN);
                self.state = State::Stopped(look);
                self.told = Some(stop.clone());
                return Some(Effect::Stop(stop));
            }
            State::Reading { reading, .. } => {
                if reading.is_stuck(now) {
                    let said = "what it accepted is not committed after 5 minutes".to_owned();
                    self.fail(now, LedgerError::Unavailable(said));
                    return None;
                }
                let effect = reading.poll(now, &self.limits)?;
                if matches!(effect, Effect::Commit(_)) {
                    return Some(effect);
                }
                effect
            }
        };
        self.awaiting = true;
        Some(effect)
    }

    /// When [`poll_effect`](Self::poll_effect) has something to say if nothing happens before; none: only if something
    /// happens.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Waiting { until, .. } => Some(*until),
            State::Stopped(look) => *look,
            State::Reading { reading, .. } => reading.timeout(&self.limits),
            _ => None,
        }
    }

    /// Whether records are wanted: reading, and there is room in the next submit.
    pub(crate) fn wants_records(&self) -> bool {
        matches!(&self.state, State::Reading { reading, .. } if reading.has_room(&self.limits))
    }

    /// Whether the partition is being read.
    pub(crate) fn is_reading(&self) -> bool {
        matches!(self.state, State::Reading { .. })
    }

    /// The token, as far as it is known to be durable, while the partition is read.
    pub(crate) fn token(&self) -> Option<u64> {
        match &self.state {
            State::Reading { reading, .. } => reading.token(),
            _ => None,
        }
    }

    /// The first offset that may hold a record that is not durable, while the partition is read.
    pub(crate) fn next_unstored(&self) -> Option<i64> {
        match &self.state {
            State::Reading { reading, .. } => Some(reading.next_unstored()),
            _ => None,
        }
    }

    /// Why records do not move, if they do not; nothing of one that has just begun.
    pub(crate) fn trouble(&self, now: Instant) -> Option<&str> {
        match &self.state {
            State::Reading { reading, .. } if reading.is_slow(now) => {
                Some("what the warehouse accepted is not committed for more than a minute")
            }
            State::Reading { .. } if !self.doubted => None,
            _ => self.trouble.as_deref(),
        }
    }

    /// The next submit goes at once: there is no memory for more. Whether there is one that can go.
    pub(crate) fn press(&mut self) -> bool {
        match &mut self.state {
            State::Reading { reading, .. } => reading.press(&self.limits),
            _ => false,
        }
    }

    /// What the warehouse held when that was last known, and the record there.
    pub(crate) fn memory(&self) -> Option<(u64, Print)> {
        self.memory
    }

    /// A record of the present reading. `bytes`: what it counts. Whether it was taken.
    pub(crate) fn handle_record(&mut self, now: Instant, offset: i64, bytes: usize, print: Print, record: R) -> bool {
        let State::Reading { reading, proof } = &mut self.state else { return false };
        self.doubted = false;
        if let Some(proof) = proof.take()
            && u64::try_from(offset) == Ok(proof.token)
        {
            match proof.holds(print) {
                Ok(()) => {
                    reading.learn(print);
                    self.memory = reading.kept();
                }
                Err(stop) => self.state = State::Stopping(stop),
            }
            return false;
        }
        reading.take(now, offset, bytes, print, record)
    }

    /// All records before `next` were handed in, and there is none behind it now.
    pub(crate) fn handle_end(&mut self, next: i64) {
        if let State::Reading { reading, proof } = &mut self.state {
            (self.doubted, *proof) = (false, None);
            reading.end(next);
        }
    }

    /// The reading cannot go on: its offset is not in the log any more, or the reader broke. It begins anew behind the token.
    pub(crate) fn handle_unreadable(&mut self, now: Instant, why: String) {
        if self.is_reading() {
            self.doubted = true;
            self.fail(now, LedgerError::Unavailable(why));
        }
    }

    /// As [`handle_unreadable`](Self::handle_unreadable), because of what is in the log. If it is found again and again
    /// behind the same token the partition stops.
    pub(crate) fn handle_damaged(&mut self, now: Instant, why: String) {
        let State::Reading { reading, proof } = &self.state else { return };
        if let Some(proof) = proof {
            self.illegible = Some(proof.token);
            return self.handle_unreadable(now, why);
        }
        let (behind, times) = self.damaged;
        let times = if behind == reading.token() { times + 1 } else { 1 };
        self.damaged = (reading.token(), times);
        if times < DAMAGED {
            self.handle_unreadable(now, why);
        } else {
            self.state = State::Stopping(Stop::Damaged(why));
        }
    }

    /// The ledger failed outside of what was asked of it.
    pub(crate) fn handle_failed(&mut self, now: Instant, error: LedgerError) {
        if !matches!(self.state, State::Stopped(_) | State::Stopping(_)) {
            self.fail(now, error);
        }
    }

    /// Outcome of [`Effect::Recover`].
    pub(crate) fn handle_recovered(&mut self, now: Instant, outcome: Result<(), LedgerError>) {
        self.awaiting = false;
        match outcome {
            Ok(()) => self.state = State::Opening(Step::Ask),
            Err(error) => self.fail(now, error),
        }
    }

    /// Outcome of [`Effect::Ask`].
    pub(crate) fn handle_committed(&mut self, now: Instant, outcome: Result<Found, LedgerError>) {
        self.awaiting = false;
        match (outcome, &mut self.state) {
            (Err(error), _) => self.fail(now, error),
            (Ok(found), State::Reading { reading, .. }) => match reading.committed(now, found) {
                Ok(moved) => {
                    self.memory = reading.kept().or(self.memory);
                    if moved {
                        self.settle();
                    }
                }
                Err(error) => self.fail(now, error),
            },
            (Ok(found), State::Opening(Step::Ask)) => self.state = State::Opening(Step::Survey { found }),
            (Ok(_), _) => {}
        }
    }

    /// Outcome of [`Effect::Survey`]; the error is a sentence.
    pub(crate) fn handle_survey(&mut self, now: Instant, outcome: Result<Survey, String>) {
        self.awaiting = false;
        let State::Opening(Step::Survey { found }) = self.state else { return };
        let survey = match outcome {
            Ok(survey) => survey,
            Err(why) => return self.wait(now, Step::Survey { found }, why),
        };
        match stop::begin(found.position, &survey, self.adopt) {
            Ok(at) => {
                self.beyond_since = None;
                self.state = match u64::try_from(at - 1) {
                    // Before it is read: a partition where nothing comes would be adopted again at the next start.
                    Ok(token) if found.position.is_none() && self.adopt && survey.is_adopted(at) => {
                        State::Opening(Step::Adopt { token })
                    }
                    _ => State::Starting { at, found, proof: self.proof(at, found, &survey) },
                };
            }
            Err(stop) if stop.may_pass() => {
                let since = *self.beyond_since.get_or_insert(now);
                if now.saturating_duration_since(since) < BEYOND {
                    self.trouble = Some(stop.to_string());
                    self.state = State::Waiting { until: now + LOOK, then: Step::Ask };
                } else {
                    self.state = State::Stopping(stop);
                }
            }
            Err(stop) => self.state = State::Stopping(stop),
        }
    }

    fn proof(&self, at: i64, found: Found, survey: &Survey) -> Option<Proof> {
        Proof::of(at, found, survey, self.memory).filter(|proof| self.illegible != Some(proof.token))
    }

    /// Outcome of [`Effect::Adopt`].
    pub(crate) fn handle_adopted(&mut self, now: Instant, outcome: Result<(), LedgerError>) {
        self.awaiting = false;
        match outcome {
            Ok(()) => self.state = State::Opening(Step::Ask),
            Err(error) => self.fail(now, error),
        }
    }

    /// Outcome of [`Effect::Submit`].
    pub(crate) fn handle_submitted(&mut self, now: Instant, outcome: Result<(), LedgerError>) {
        self.awaiting = false;
        match (outcome, &mut self.state) {
            (Ok(()), State::Reading { reading, .. }) => reading.accepted(now),
            (Ok(()), _) => {}
            (Err(error), _) => self.fail(now, error),
        }
    }

    fn settle(&mut self) {
        self.pause.reset();
        self.contested = 0;
        self.trouble = None;
    }

    fn fail(&mut self, now: Instant, error: LedgerError) {
        self.awaiting = false;
        if matches!(&self.state, State::Reading { reading, .. } if reading.begun_before(now, SETTLED)) {
            self.settle();
        }
        match error {
            LedgerError::Unavailable(why) => self.wait(now, Step::Recover, why),
            LedgerError::Conflict { .. } | LedgerError::Fenced(_) => {
                self.contested += 1;
                let mut why = format!("another owner has this partition: {error}");
                if self.contested >= CONTESTED {
                    why.push_str(
                        "; this goes on, so another sink seems to run in another group on the same warehouse: stop one of them",
                    );
                }
                self.wait(now, Step::Recover, why);
            }
            LedgerError::Rejected(why) => self.state = State::Stopping(Stop::Rejected(why)),
            LedgerError::Skipped { reason, .. } => {
                let stop = Stop::Skipped(reason);
                let is_told = self.told.as_ref() == Some(&stop);
                self.state = if is_told { State::Stopped(Some(now + LOOK_AGAIN)) } else { State::Stopping(stop) };
            }
        }
    }

    fn wait(&mut self, now: Instant, then: Step, why: String) {
        self.trouble = Some(why);
        self.state = State::Waiting { until: now + self.pause.next(), then };
    }
}
