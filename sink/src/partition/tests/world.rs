//! A log, a warehouse and a group as they are, and whoever drives a machine between them.

use std::collections::VecDeque;

use gaitway_proto::ledger::Source;

use super::super::*;
use super::LIMITS;

/// Random choices; when they are used up nothing goes wrong any more.
pub(super) struct Fate(pub(super) VecDeque<u8>);

impl Fate {
    fn choose(&mut self, among: u8) -> u8 {
        self.0.pop_front().map_or(0, |byte| byte % among)
    }

    fn is_over(&self) -> bool {
        self.0.is_empty()
    }
}

/// The log and the warehouse as they are.
pub(super) struct World {
    /// Whether there is a record at the offset; else a marker, or nothing.
    pub(super) log: Vec<bool>,
    /// Every so many records one has no row.
    pub(super) dead: Option<i64>,
    /// Which log this is.
    pub(super) generation: u32,
    pub(super) stored: Vec<i64>,
    pub(super) token: Option<u64>,
    /// Whether the ledger keeps marks without rows in memory only, and the one there.
    pub(super) floats: bool,
    pub(super) floating: Option<u64>,
    /// The time of the mark.
    pub(super) marked_at: Option<i64>,
    /// Accepted and not committed.
    pub(super) accepted: VecDeque<(u64, Vec<i64>)>,
    pub(super) group: Option<Hint>,
    /// Where the reader is.
    pub(super) position: usize,
    pub(super) ended: bool,
    pub(super) fate: Fate,
}

pub(super) fn unavailable() -> LedgerError {
    LedgerError::Unavailable("injected".to_owned())
}

impl World {
    pub(super) fn records(&self) -> Vec<i64> {
        (0..).zip(&self.log).filter(|(_, is_record)| **is_record).map(|(offset, _)| offset).collect()
    }

    fn has_row(&self, offset: i64) -> bool {
        self.dead.is_none_or(|every| offset % every != 0)
    }

    /// Those that are to be stored.
    pub(super) fn rows(&self) -> Vec<i64> {
        self.records().into_iter().filter(|offset| self.has_row(*offset)).collect()
    }

    fn print(&self, offset: i64) -> Print {
        Print { timestamp: Some(offset), crc: self.generation ^ offset as u32 }
    }

    fn position(&self) -> Option<u64> {
        self.floating.max(self.token)
    }

    fn found(&self) -> Found {
        Found { position: self.position(), kept: self.token, marked_at: self.marked_at }
    }

    fn mark(&self) -> Option<u64> {
        self.accepted.back().map_or(self.position(), |(to, _)| Some(*to))
    }

    fn commit_one(&mut self) {
        let Some((to, rows)) = self.accepted.pop_front() else { return };
        if self.floats && rows.is_empty() {
            self.floating = Some(to);
        } else {
            self.token = Some(to);
        }
        self.stored.extend(rows);
    }

    /// Another sink stores the next records.
    fn rival(&mut self) {
        self.forget();
        let next = self.token.map_or(0, |token| token as i64 + 1);
        let rows: Vec<i64> = self.rows().into_iter().filter(|offset| *offset >= next).take(3).collect();
        if let Some(last) = rows.last() {
            self.token = Some(*last as u64);
            self.stored.extend(rows);
        }
    }

    fn submit(&mut self, batch: Batch<i64>) -> Result<(), LedgerError> {
        let fault = self.fate.choose(7);
        if fault == 1 {
            return Err(unavailable());
        }
        if fault == 2 {
            self.rival();
        }
        if batch.from != self.mark() {
            return Err(LedgerError::Conflict { source_name: Source::partition("t", 0), found: self.token });
        }
        let rows = batch.records.into_iter().filter(|offset| self.has_row(*offset)).collect();
        self.accepted.push_back((batch.to, rows));
        if fault == 3 {
            return Ok(());
        }
        while !self.accepted.is_empty() {
            self.commit_one();
        }
        if fault == 4 { Err(unavailable()) } else { Ok(()) }
    }

    fn recover(&mut self) -> Result<(), LedgerError> {
        match self.fate.choose(4) {
            1 => return Err(unavailable()),
            2 => self.commit_one(),
            _ => {}
        }
        self.forget();
        Ok(())
    }

    /// What a crash of this process does, and an open.
    pub(super) fn forget(&mut self) {
        self.accepted.clear();
        self.floating = None;
    }

    fn committed(&mut self) -> Result<Found, LedgerError> {
        match self.fate.choose(6) {
            1 => return Err(unavailable()),
            2 => self.rival(),
            3 => {}
            _ => self.commit_one(),
        }
        Ok(self.found())
    }

    fn check_hint(&self, hint: Hint) {
        let Told { token, print } = hint.told.expect("hints tell what the warehouse holds");
        assert!(token <= self.token, "the token of a hint is durable");
        let between = token.map_or(0, |token| token as i64 + 1)..hint.next;
        assert!(self.rows().iter().all(|offset| !between.contains(offset)), "{hint:?} passes over records");
        // The one that was stored, whatever is there now.
        let of = |generation: u32| {
            token.map(|token| Print { crc: generation ^ token as u32, timestamp: Some(token as i64) })
        };
        assert!(print.is_none() || (0..=self.generation).any(|generation| print == of(generation)), "{hint:?}");
    }

    fn is_done(&self, machine: &Machine<i64>) -> bool {
        let last = self.records().last().map(|last| *last as u64);
        self.stored == self.rows() && machine.is_reading() && machine.token() >= last
    }

    /// Runs until all is stored or the machine has stopped; gives the reason.
    pub(super) fn run(&mut self, machine: &mut Machine<i64>) -> Option<Stop> {
        let mut now = Instant::now();
        for _ in 0..20_000 {
            match machine.poll_effect(now) {
                Some(Effect::Recover) => machine.handle_recovered(now, self.recover()),
                Some(Effect::Ask) => machine.handle_committed(now, self.committed()),
                Some(Effect::Survey) => {
                    let high = self.log.len() as i64;
                    let known = Ok(Survey { low: 0, high, group: self.group });
                    machine.handle_survey(now, if self.fate.choose(5) == 1 { Err("injected".into()) } else { known });
                }
                Some(Effect::Adopt(token)) => {
                    let outcome = if self.fate.choose(3) == 1 { Err(unavailable()) } else { Ok(()) };
                    if outcome.is_ok() {
                        self.token = Some(token);
                    }
                    machine.handle_adopted(now, outcome);
                }
                Some(Effect::Start(at)) => {
                    (self.position, self.ended) = (usize::try_from(at).unwrap(), false);
                    assert!(self.rows().iter().all(|offset| *offset >= at || self.stored.contains(offset)));
                }
                Some(Effect::Submit(batch)) => {
                    assert!(!batch.records.is_empty() && batch.records.len() <= LIMITS.max_rows);
                    assert!(batch.records.len() == 1 || batch.records.len() * 9 <= LIMITS.max_bytes);
                    assert_eq!(batch.records.last().map(|last| *last as u64), Some(batch.to));
                    let outcome = self.submit(batch);
                    machine.handle_submitted(now, outcome);
                }
                Some(Effect::Commit(hint)) => {
                    self.check_hint(hint);
                    self.group = Some(hint);
                }
                Some(Effect::Stop(stop)) => return Some(stop),
                None if machine.wants_records() && self.position < self.log.len() => {
                    let offset = self.position as i64;
                    if self.log[self.position] {
                        machine.handle_record(now, offset, 9, self.print(offset), offset);
                        // Told twice, and something old.
                        machine.handle_record(now, offset, 9, self.print(offset), offset);
                        machine.handle_record(now, offset / 2, 9, self.print(offset / 2), offset / 2);
                    }
                    self.position += 1;
                    match self.fate.choose(30) {
                        1 => machine.handle_failed(now, unavailable()),
                        2 => machine.handle_unreadable(now, "injected".to_owned()),
                        3 => drop(machine.press()),
                        _ => {}
                    }
                }
                None if machine.wants_records() && !self.ended => {
                    machine.handle_end(self.log.len() as i64);
                    self.ended = true;
                }
                None => {
                    if self.fate.is_over() && self.is_done(machine) && machine.trouble(now).is_none() {
                        return None;
                    }
                    self.fate.choose(1);
                    now = machine
                        .poll_timeout()
                        .unwrap_or(now + Duration::from_secs(1))
                        .max(now + Duration::from_millis(1));
                }
            }
        }
        panic!("no end: {:?} of {:?}, {machine:?}", self.stored, self.rows());
    }
}

pub(super) fn world(log: Vec<bool>, fate: Vec<u8>) -> World {
    World {
        log,
        dead: None,
        generation: 0,
        stored: Vec::new(),
        token: None,
        floats: false,
        floating: None,
        marked_at: None,
        accepted: VecDeque::new(),
        group: None,
        position: 0,
        ended: false,
        fate: Fate(fate.into()),
    }
}
