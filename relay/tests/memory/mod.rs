//! A ledger in memory, whose failures and delays tests choose. Clones are the same ledger.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test binary uses its own part of this test code"
)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use gaitway_proto::ledger::{Ledger, LedgerError, Mark, Source, Watermark};
use gaitway_proto::record::{Body, Record};

/// How the next submit ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is stored.
    Unavailable,
    /// Everything is stored, and an error told.
    StoredButUnavailable,
    /// Another owner moved a mark.
    Conflict,
    /// The ledger can never take it.
    Rejected,
    /// Another owner took over for good.
    Fenced,
}

/// A stored record.
#[derive(Debug, Clone)]
pub struct Row {
    pub source: Source,
    pub seq: u64,
    pub to_seq: u64,
    pub index: u32,
    pub json: String,
}

#[derive(Debug, Default)]
struct State {
    rows: Vec<Row>,
    marks: Watermark,
    ready: bool,
    faults: VecDeque<Fault>,
    delay: Duration,
    late: u32,
    unseen: Option<(Watermark, u32)>,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct MemoryLedger(Arc<Mutex<State>>);

impl MemoryLedger {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// The next submit ends with `fault`; several line up.
    pub fn inject(&self, fault: Fault) {
        self.state().faults.push_back(fault);
    }

    /// Every submit takes so long.
    pub fn delay(&self, delay: Duration) {
        self.state().delay = delay;
    }

    /// `committed` tells of a submit only when asked for the `times`-th time after it.
    pub fn commit_late(&self, times: u32) {
        self.state().late = times;
    }

    /// Everything stored, in order.
    pub fn rows(&self) -> Vec<Row> {
        self.state().rows.clone()
    }

    /// The position of `source`.
    pub fn position(&self, source: &Source) -> Option<u64> {
        self.state().marks.get(source).copied()
    }
}

impl Ledger for MemoryLedger {
    fn recover(&mut self) -> Result<(), LedgerError> {
        self.state().ready = true;
        Ok(())
    }

    fn submit(&mut self, records: &[Record<'_>], marks: &[Mark]) -> Result<(), LedgerError> {
        let delay = self.state().delay;
        std::thread::sleep(delay);
        let mut state = self.state();
        assert!(state.ready, "a submit after an error, without recovery");
        let fault = state.faults.pop_front();
        if fault.is_some() {
            state.ready = false;
        }
        match fault {
            Some(Fault::Unavailable) => return Err(LedgerError::Unavailable("injected, before".to_owned())),
            Some(Fault::Rejected) => return Err(LedgerError::Rejected("injected".to_owned())),
            Some(Fault::Fenced) => return Err(LedgerError::Fenced("injected".to_owned())),
            Some(Fault::Conflict) => {
                let source_name = Source::partition("injected", 0);
                return Err(LedgerError::Conflict { source_name, found: None });
            }
            Some(Fault::StoredButUnavailable) | None => {}
        }
        for mark in marks {
            let found = state.marks.get(&mark.source).copied();
            if found != mark.from {
                state.ready = false;
                return Err(LedgerError::Conflict { source_name: mark.source.clone(), found });
            }
        }
        let before = state.marks.clone();
        for mark in marks {
            state.marks.insert(mark.source.clone(), mark.to);
        }
        state.rows.extend(records.iter().map(|record| {
            let origin = record.metadata.name.as_ref().expect("the relay's records are named");
            Row {
                source: Source::stream(origin.agent, origin.epoch, origin.stream),
                seq: origin.seq,
                to_seq: if let Body::Gap(gap) = &record.body { gap.to_seq } else { origin.seq },
                index: origin.index,
                json: record.to_json(),
            }
        }));
        if state.late > 0 {
            state.unseen = Some((before, state.late));
        }
        if fault.is_some() {
            return Err(LedgerError::Unavailable("injected, after".to_owned()));
        }
        Ok(())
    }

    fn committed(&mut self, sources: &[Source]) -> Result<Watermark, LedgerError> {
        let mut state = self.state();
        assert!(state.ready, "a question after an error, without recovery");
        let told = match &mut state.unseen {
            Some((before, times)) if *times > 1 => {
                *times -= 1;
                before.clone()
            }
            _ => {
                state.unseen = None;
                state.marks.clone()
            }
        };
        Ok(told.into_iter().filter(|(source, _)| sources.contains(source)).collect())
    }
}
