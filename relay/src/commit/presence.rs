//! Which start sits on a link, and which one was alive when a link took its place.
//!
//! - What is known of a link goes with it.

use std::collections::BTreeMap;

use gaitway_proto::ledger::Epoch;

use crate::link::LinkId;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Presence {
    /// The start that said hello last.
    seated: BTreeMap<LinkId, Epoch>,
    /// The start that sat there before, and runs at the same time.
    displaced: BTreeMap<LinkId, Epoch>,
}

impl Presence {
    /// `start` said hello on `link`.
    pub(super) fn seat(&mut self, link: LinkId, start: Epoch) {
        self.seated.insert(link, start);
    }

    /// `link` ended. `newer`: the one that took its place while its start was alive.
    pub(super) fn leave(&mut self, link: LinkId, newer: Option<LinkId>) {
        self.displaced.remove(&link);
        if let Some(start) = self.seated.remove(&link)
            && let Some(newer) = newer
        {
            self.displaced.insert(newer, start);
        }
    }

    /// The start that was alive when `link` took its place.
    pub(super) fn displaced_by(&self, link: LinkId) -> Option<Epoch> {
        self.displaced.get(&link).copied()
    }

    /// Whether there is no link of which anything is known.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.seated.is_empty() && self.displaced.is_empty()
    }
}
