//! What the uplink's reader finds damaged becomes a gap, so that the stream goes on.

use gaitway_proto::ledger::{Epoch, Stream};
use rusqlite::Result;

use super::state::State;
use crate::spool::rows::Rows;

impl State {
    /// Mends `stream` of `epoch` at `seq`; nothing if that was acknowledged meanwhile, or is whole.
    pub(super) fn mend(&mut self, rows: &Rows<'_>, (epoch, stream, seq): (Epoch, Stream, u64), now: i64) -> Result<()> {
        let Some(at) = self.queue.find(epoch, stream).filter(|at| at.positions.acked < seq && seq < at.positions.next)
        else {
            return Ok(());
        };
        if let Some(hole) = rows.mend(at.ordinal, stream, seq, at.positions.next, now)? {
            self.news.damaged += hole.span;
            tracing::error!(
                %epoch,
                %stream,
                seq,
                frames = hole.span,
                readings = hole.readings,
                "a frame of the spool is damaged, noting a gap"
            );
        }
        Ok(())
    }
}
