//! Positions that survive a power cut, as a type of their own: an acknowledgement can be made of nothing else.

use gaitway_proto::ledger::{Ledger, LedgerError, Source, Watermark};

/// What a ledger reported as committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Durable(Watermark);

/// A durable position of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position(u64);

impl Durable {
    /// Asks the ledger: the only way to one.
    pub(crate) fn read(ledger: &mut dyn Ledger, sources: &[Source]) -> Result<Self, LedgerError> {
        ledger.committed(sources).map(Self)
    }

    /// Where `source` is, if the ledger knows it.
    pub(crate) fn position(&self, source: &Source) -> Option<Position> {
        self.0.get(source).copied().map(Position)
    }

    /// `to`, if `source` has come that far.
    pub(crate) fn reached(&self, source: &Source, to: u64) -> Option<Position> {
        self.position(source).filter(|found| found.0 >= to).map(|_| Position(to))
    }
}

impl Position {
    /// As a number.
    pub(crate) fn get(self) -> u64 {
        self.0
    }
}
