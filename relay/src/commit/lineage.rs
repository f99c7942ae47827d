//! Which starts of an agent continue which: pure, over the heirs that the ledger knows.
//!
//! - A start has one heir: the first one welcomed that came after it. Whoever is not of the heir's line is a copy's.
//! - A start that runs while another names it as an ancestor has gone on by itself, unless it has an heir.
//! - A start whose line forks claims nothing: what is its own has no heir yet, so its own line can go on.

use gaitway_proto::envelope::Hello;
use gaitway_proto::ledger::Epoch;

/// How a start stands to the others of its agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lineage {
    /// Nobody else continues its line. `unclaimed`: its ancestors without an heir, which becomes this start.
    Continues { unclaimed: Vec<Epoch> },
    /// Another start continues the line, or one of the line runs itself. `common`: the last start that both have.
    Forked { common: Epoch },
}

/// The start that says hello and its ancestors, newest first.
pub(super) fn line(hello: &Hello) -> impl DoubleEndedIterator<Item = Epoch> {
    std::iter::once(hello.epoch).chain(hello.ancestors.iter().copied())
}

impl Lineage {
    /// Of the start that says `hello`, while `running` runs too.
    pub(super) fn of(hello: &Hello, running: Option<Epoch>, heir_of: impl Fn(Epoch) -> Option<Epoch>) -> Self {
        // Once it has an heir it hears of the fork itself: of the two one has to go on.
        let running = running.filter(|start| hello.ancestors.contains(start) && heir_of(*start).is_none());
        // From the oldest on: whoever left the line first has what was open then. It had all of the line up to the
        // last start whose heir it is.
        let mut left: Option<(Epoch, Epoch)> = None;
        for start in line(hello).rev() {
            let heir = heir_of(start).filter(|heir| line(hello).all(|own| own != *heir));
            let heir = heir.or(running.filter(|running| *running == start));
            match (left, heir) {
                (None, Some(heir)) => left = Some((start, heir)),
                (Some((_, first)), Some(heir)) if first == heir => left = Some((start, heir)),
                (Some(_), _) => break,
                (None, None) => {}
            }
        }
        if let Some((common, _)) = left {
            return Self::Forked { common };
        }
        let unclaimed = hello.ancestors.iter().copied().filter(|ancestor| heir_of(*ancestor).is_none());
        Self::Continues { unclaimed: unclaimed.collect() }
    }
}
