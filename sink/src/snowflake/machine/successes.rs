//! What follows from an answer that is a success: what the channel holds now, and whether it may be gone on with.

use std::collections::BTreeMap;
use std::time::Instant;

use gaitway_proto::ledger::LedgerError;

use super::{Doing, Machine, Next, Open, State};
use crate::snowflake::status::{ChannelStatus, Opened, SUCCESS};

impl Machine {
    pub(super) fn opened(&mut self, now: Instant, opened: Opened) -> Next {
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
    pub(super) fn checked(
        &mut self,
        now: Instant,
        opened: &Opened,
        statuses: &BTreeMap<String, ChannelStatus>,
    ) -> Next {
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

    pub(super) fn appended(&mut self, end: Option<u64>, finished: Option<u64>, continuation: String) -> Next {
        let State::Open(open) = &mut self.state else { return self.fail(self.identity.closed()) };
        open.continuation = continuation;
        self.used = true;
        open.submitted = end.or(open.submitted);
        let Some(reached) = finished else { return self.go_on() };
        open.reached = Some(reached);
        self.task = None;
        Next::Done(Ok(()))
    }

    pub(super) fn asked(
        &mut self,
        now: Instant,
        statuses: &BTreeMap<String, ChannelStatus>,
    ) -> Result<(), LedgerError> {
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
    pub(super) fn token(&self, status: &ChannelStatus) -> Result<Option<u64>, LedgerError> {
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
}
