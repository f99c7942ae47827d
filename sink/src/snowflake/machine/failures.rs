//! What follows from an answer that is none, or a refusal: once more, an open, or the caller's turn.

use std::time::{Duration, Instant};

use super::{Answer, Doing, Effect, Machine, Next, PATIENT_REFUSALS, PATIENT_TAKEOVERS, State};
use crate::snowflake::answer::Failure;
use crate::snowflake::backoff;

impl Machine {
    pub(super) fn failed(&mut self, now: Instant, failure: &Failure) -> Next {
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
        self.keep_off(now, asked, why);
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
        self.keep_off(now, asked, why);
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
    pub(super) fn diagnosed(&mut self, answer: Answer) -> Next {
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

    /// Takes note of a `Retry-After`.
    fn keep_off(&mut self, now: Instant, asked: Option<Duration>, why: &str) {
        if let Some(asked) = asked {
            self.hold = Some((now + asked, why.to_owned()));
        }
    }
}
