//! From what was found to what comes into a spool. Pure.
//!
//! - The steps of a stream take its seqs without a hole, from the first that was not acknowledged to the last found.
//! - A frame that was found is left out only if it was deleted before and is acknowledged.
//! - Accepted ids are believed as far as the session's own count bears them out.

use std::collections::BTreeMap;

use gaitway_proto::ledger::Stream;
use gaitway_proto::limits::MAX_READINGS;

use super::found::{Found, FoundFrame, FoundSession, Kind};
use super::image::Standing;
use crate::spool::mend::Hole;
use crate::spool::queue::{row_id, seq_of};

/// A frame so far behind the one before it, and alone in its page, has a damaged name.
const FAR: u64 = 1 << 24;

/// What stands at a seq.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'f> {
    /// A row as it was found.
    Row(&'f FoundFrame),
    /// Frames that were not found, or damaged.
    Lost(Hole),
}

/// The steps of a stream of the start `ordinal`, by their first seqs, and the greatest seq below them.
pub fn steps(found: &Found, ordinal: u64, stream: Stream) -> (u64, BTreeMap<u64, Step<'_>>) {
    let rows = || {
        let rows = found.frames(stream).range(row_id(ordinal, 0)..row_id(ordinal + 1, 0));
        rows.map(|(id, frame)| (seq_of(*id), frame))
    };
    let acked = found.acked.get(&(ordinal, stream)).copied();
    let deleted = |frame: &FoundFrame| frame.standing() == Standing::Free;
    let first_kept = rows().find(|(_, frame)| !deleted(frame)).map(|(seq, _)| seq);
    // Where no mark is readable: nothing below the first row that was not deleted is missed.
    let floor = acked.or(first_kept.map(|seq| seq - 1)).unwrap_or(0);
    let wanted = rows().filter(|(seq, frame)| !deleted(frame) || *seq > floor);

    let mut steps = BTreeMap::new();
    let mut next = None;
    for (seq, frame) in wanted {
        let due = *next.get_or_insert_with(|| acked.map_or(seq, |acked| seq.min(acked + 1)));
        if seq < due || (seq - due > FAR && !frame.fits()) {
            continue;
        }
        if seq > due {
            let span = seq - due;
            let messages = if stream == Stream::Raw { span } else { 0 };
            steps.insert(due, Step::Lost(Hole { span, messages, readings: 0 }));
        }
        let step = match frame.kind {
            Kind::Damaged => {
                let readings = frame.readings.min(MAX_READINGS as u64);
                Step::Lost(Hole { span: 1, messages: u64::from(stream == Stream::Raw), readings })
            }
            Kind::Whole(_) | Kind::Gap { .. } => Step::Row(frame),
        };
        steps.insert(seq, step);
        next = Some(seq + frame.span);
    }
    let begin = steps.first_key_value().map_or(floor, |(seq, _)| seq - 1);
    (begin, steps)
}

/// The ids that a session is known to have accepted; none if what was found contradicts itself.
pub fn accepted(session: &FoundSession, ranges: &[(u64, u64)]) -> Option<Vec<(u64, u64)>> {
    let union = union(ranges.iter().copied());
    let ids = union.iter().try_fold(0_u64, |sum, (first, last)| sum.checked_add(last - first)?.checked_add(1))?;
    (ids <= session.messages).then_some(union)
}

/// Ranges, first and last, put together where they touch or overlap.
pub fn union(ranges: impl IntoIterator<Item = (u64, u64)>) -> Vec<(u64, u64)> {
    let mut sorted: Vec<_> = ranges.into_iter().collect();
    sorted.sort_unstable();
    let mut union: Vec<(u64, u64)> = Vec::new();
    for (first, last) in sorted {
        match union.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => union.push((first, last)),
        }
    }
    union
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_ids_are_believed_as_far_as_the_sessions_count_bears_them_out() {
        let session = |messages| FoundSession { device: "d".into(), session: "s".into(), messages, heard_at: 0 };
        assert_eq!(accepted(&session(6), &[(5, 7), (0, 1), (2, 2)]), Some(vec![(0, 2), (5, 7)]));
        assert_eq!(accepted(&session(5), &[(5, 7), (0, 1), (2, 2)]), None);
        assert_eq!(accepted(&session(9), &[(0, u64::MAX)]), None);
    }
}
