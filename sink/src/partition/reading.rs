//! A partition that is read: what was taken, accepted, committed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use gaitway_proto::ledger::LedgerError;

use super::{Batch, Effect, Found, Hint, Limits, Print, SLOW, STUCK, Told};

/// Between two questions whether what was accepted is committed: the first, and the longest.
const CHECK: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

/// A record that was taken.
#[derive(Debug)]
struct Pending<R> {
    offset: i64,
    bytes: usize,
    print: Print,
    record: R,
}

#[derive(Debug)]
pub(super) struct Reading<R> {
    begun: Instant,
    /// Where it began.
    at: i64,
    /// Greatest offset taken, or the one before the first.
    taken: i64,
    /// What waits for its submit.
    pending: VecDeque<Pending<R>>,
    pending_bytes: usize,
    pending_since: Instant,
    pressed: bool,
    /// The mark of the submit whose outcome is awaited, and its record.
    submitted: Option<(u64, Print)>,
    /// Those that were accepted and are not known to be committed.
    accepted: VecDeque<(u64, Print)>,
    /// Where the ledger's mark was left.
    mark: Option<u64>,
    /// The durable token.
    token: Option<u64>,
    /// What of it the warehouse itself holds, and the record there if it is known.
    kept: Option<u64>,
    print: Option<Print>,
    /// When the token moved, or there was nothing that could have moved it.
    moved: Instant,
    check_at: Instant,
    check_pause: Duration,
    /// No record is left before it.
    end: Option<i64>,
    hinted: Option<Hint>,
}

impl<R> Reading<R> {
    pub(super) fn new(now: Instant, at: i64, found: Found, print: Option<Print>) -> Self {
        Self {
            begun: now,
            at,
            taken: at.saturating_sub(1),
            pending: VecDeque::new(),
            pending_bytes: 0,
            pending_since: now,
            pressed: false,
            submitted: None,
            accepted: VecDeque::new(),
            mark: found.position,
            token: found.position,
            kept: found.kept,
            print,
            moved: now,
            check_at: now,
            check_pause: CHECK[0],
            end: None,
            hinted: None,
        }
    }

    pub(super) fn token(&self) -> Option<u64> {
        self.token
    }

    /// What the warehouse itself holds, and the record there.
    pub(super) fn kept(&self) -> Option<(u64, Print)> {
        Some((self.kept?, self.print?))
    }

    /// The record at the token was seen.
    pub(super) fn learn(&mut self, print: Print) {
        self.print = Some(print);
    }

    pub(super) fn begun_before(&self, now: Instant, long: Duration) -> bool {
        now.saturating_duration_since(self.begun) >= long
    }

    pub(super) fn is_slow(&self, now: Instant) -> bool {
        !self.accepted.is_empty() && now.saturating_duration_since(self.moved) >= SLOW
    }

    pub(super) fn is_stuck(&self, now: Instant) -> bool {
        !self.accepted.is_empty() && now.saturating_duration_since(self.moved) >= STUCK
    }

    /// Whether there is a submit that can go.
    pub(super) fn press(&mut self, limits: &Limits) -> bool {
        self.pressed = !self.pending.is_empty();
        self.pressed && self.accepted.len() < limits.max_accepted
    }

    pub(super) fn has_room(&self, limits: &Limits) -> bool {
        self.pending.len() < limits.max_rows && self.pending_bytes < limits.max_bytes
    }

    pub(super) fn take(&mut self, now: Instant, offset: i64, bytes: usize, print: Print, record: R) -> bool {
        if offset <= self.taken {
            return false;
        }
        if self.pending.is_empty() {
            self.pending_since = now;
        }
        self.taken = offset;
        self.end = None;
        self.pending_bytes += bytes;
        self.pending.push_back(Pending { offset, bytes, print, record });
        true
    }

    pub(super) fn end(&mut self, next: i64) {
        if next > self.taken {
            self.end = Some(next);
        }
    }

    /// The next effect: a question, a submit, a hint.
    pub(super) fn poll(&mut self, now: Instant, limits: &Limits) -> Option<Effect<R>> {
        if !self.accepted.is_empty() && now >= self.check_at {
            return Some(Effect::Ask);
        }
        if self.is_due(now, limits) && self.accepted.len() < limits.max_accepted {
            return self.cut(limits).map(Effect::Submit);
        }
        let hint = self.hint()?;
        self.hinted = Some(hint);
        Some(Effect::Commit(hint))
    }

    pub(super) fn timeout(&self, limits: &Limits) -> Option<Instant> {
        let check = (!self.accepted.is_empty()).then_some(self.check_at);
        let submit = (!self.pending.is_empty() && self.accepted.len() < limits.max_accepted)
            .then(|| if self.is_full(limits) { self.pending_since } else { self.pending_since + limits.linger });
        check.into_iter().chain(submit).min()
    }

    fn is_full(&self, limits: &Limits) -> bool {
        self.pressed || !self.has_room(limits)
    }

    fn is_due(&self, now: Instant, limits: &Limits) -> bool {
        !self.pending.is_empty()
            && (self.is_full(limits) || now.saturating_duration_since(self.pending_since) >= limits.linger)
    }

    fn cut(&mut self, limits: &Limits) -> Option<Batch<R>> {
        let (mut records, mut taken, mut last) = (Vec::with_capacity(self.pending.len()), 0_usize, None);
        while let Some(next) = self.pending.front() {
            let fits = records.len() < limits.max_rows && taken.saturating_add(next.bytes) <= limits.max_bytes;
            if !records.is_empty() && !fits {
                break;
            }
            let Pending { offset, bytes, print, record } = self.pending.pop_front()?;
            taken += bytes;
            last = u64::try_from(offset).ok().map(|to| (to, print));
            records.push(record);
        }
        self.pending_bytes -= taken;
        self.pressed &= !self.pending.is_empty();
        self.submitted = last;
        Some(Batch { from: self.mark, to: last?.0, records })
    }

    /// The submit was accepted.
    pub(super) fn accepted(&mut self, now: Instant) {
        let Some((to, print)) = self.submitted.take() else { return };
        if self.accepted.is_empty() {
            self.moved = now;
        }
        self.mark = Some(to);
        self.accepted.push_back((to, print));
        // Some ledgers commit before they return.
        (self.check_at, self.check_pause) = (now, CHECK[0]);
    }

    /// The ledger's token; whether it moved. An error: it is not where this owner can have left it.
    pub(super) fn committed(&mut self, now: Instant, told: Found) -> Result<bool, LedgerError> {
        let found = told.position;
        if found < self.token {
            let (found, token) = (shown(found), shown(self.token));
            return Err(LedgerError::Unavailable(format!("the warehouse's token went back from {token} to {found}")));
        }
        if found > self.mark {
            let (found, mark) = (shown(found), shown(self.mark));
            return Err(LedgerError::Fenced(format!("the warehouse's token is {found}, this owner left it at {mark}")));
        }
        if told.kept != self.kept {
            self.kept = told.kept;
            self.print = self.accepted.iter().find(|(mark, _)| Some(*mark) == told.kept).map(|(_, print)| *print);
        }
        let moved = found > self.token;
        if moved {
            self.token = found;
            self.moved = now;
            self.accepted.retain(|(mark, _)| Some(*mark) > found);
            self.check_pause = CHECK[0];
        }
        self.check_at = now + self.check_pause;
        self.check_pause = (self.check_pause * 2).min(CHECK[1]);
        Ok(moved)
    }

    /// The first offset that may hold a record that is not durable.
    pub(super) fn next_unstored(&self) -> i64 {
        let behind =
            self.token.and_then(|token| i64::try_from(token).ok()).map_or(self.at, |token| token.saturating_add(1));
        let idle = self.pending.is_empty() && self.accepted.is_empty() && self.submitted.is_none();
        let end = self.end.filter(|_| idle).unwrap_or(behind);
        behind.max(end)
    }

    /// What the group may be told: all records before an offset are durable.
    fn hint(&self) -> Option<Hint> {
        self.token?;
        let told = Told { token: self.kept, print: self.print };
        let hint = Hint { next: self.next_unstored(), told: Some(told) };
        (self.hinted != Some(hint)).then_some(hint)
    }
}

fn shown(token: Option<u64>) -> String {
    token.map_or_else(|| "none".to_owned(), |token| token.to_string())
}
