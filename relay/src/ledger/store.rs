//! One commit: frames become records, records and marks go into the ledger, and the ledger says what is durable.
//!
//! - A frame that cannot be read becomes a gap record: it never stops its stream.
//! - What is returned as durable was read from the ledger after the submit, and covers every mark of it.

use std::time::{Duration, Instant};

use gaitway_proto::activity::ActivityFrame;
use gaitway_proto::frame::Frame;
use gaitway_proto::ledger::{Ledger, LedgerError, Mark, Source, Stream};
use gaitway_proto::record::{Body, GapNotice, Origin, Record};

use crate::commit::{Commit, Durable, Entry, Missing, Name, Said};

/// How long a ledger may take to commit what it accepted.
const COMMIT_WITHIN: Duration = Duration::from_secs(60);
const POLL_EVERY: Duration = Duration::from_millis(10);

/// Longest reason in a gap record, characters.
const LONGEST_REASON: usize = 256;

/// What a commit held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub frames: u64,
    pub readings: u64,
    pub windows: u64,
    /// Gap records, those for unreadable frames among them.
    pub gaps: u64,
    pub unreadable: u64,
    /// The first unreadable frame: its name and what is wrong with it.
    pub first_unreadable: Option<String>,
    /// Of the entries.
    pub bytes: u64,
    /// By stream.
    pub landed: Vec<Landed>,
}

/// How far a commit brought a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Landed {
    pub name: Name,
    /// Greatest seq committed.
    pub to: u64,
    /// When the agent had the newest of the pushes, its wall clock, microseconds since the Unix epoch; none of windows.
    pub received_at: Option<i64>,
    /// Frames among them.
    pub frames: u64,
}

/// An entry, ready to lend its records.
enum Decoded {
    Raw(Frame),
    Activity(ActivityFrame),
    Missing(GapNotice),
}

/// Stores `commit` and waits until it is durable. `now`: microseconds since the Unix epoch, wall clock.
pub(crate) fn store(ledger: &mut dyn Ledger, commit: &Commit, now: i64) -> Result<(Durable, Tally), LedgerError> {
    let mut tally = Tally::default();
    let mut decoded = Vec::new();
    for part in &commit.parts {
        let mut landed = Landed { name: part.name.clone(), to: part.mark.to, received_at: None, frames: 0 };
        for entry in &part.entries {
            let origin = Origin {
                agent: &part.name.agent,
                epoch: part.name.epoch,
                ordinal: part.ordinal,
                stream: part.name.stream,
                seq: entry.seq,
            };
            let entry = decode(origin, entry, now, &mut tally);
            landed.frames += u64::from(!matches!(entry, Decoded::Missing(_)));
            if let Decoded::Raw(frame) = &entry {
                landed.received_at = landed.received_at.max(Some(frame.header.received_at));
            }
            decoded.push((origin, entry));
        }
        tally.landed.push(landed);
    }
    let mut records = Vec::new();
    for (origin, entry) in &decoded {
        match entry {
            Decoded::Raw(frame) => frame.records(*origin, &mut records),
            Decoded::Activity(frame) => frame.records(*origin, &mut records),
            Decoded::Missing(notice) => {
                records.push(Record { metadata: origin.metadata(0, None), body: Body::Gap(notice.clone()) });
            }
        }
    }
    for record in &records {
        match record.body {
            Body::Raw(_) => tally.readings += 1,
            Body::Activity(_) => tally.windows += 1,
            Body::Gap(_) => tally.gaps += 1,
            Body::Cells(_) => {}
        }
    }

    let marks: Vec<Mark> =
        commit.parts.iter().map(|part| part.mark.clone()).chain(commit.heirs.iter().cloned()).collect();
    ledger.submit(&records, &marks)?;
    Ok((wait(ledger, &marks)?, tally))
}

fn decode(origin: Origin<'_>, entry: &Entry, now: i64, tally: &mut Tally) -> Decoded {
    tally.bytes += entry.wire() as u64;
    let frame = match &entry.said {
        Said::Frame(frame) => frame,
        Said::Missing(missing) => return Decoded::Missing(notice(entry.last_seq(), missing, now)),
    };
    tally.frames += 1;
    let read = match origin.stream {
        Stream::Raw => Frame::decode(frame).map(Decoded::Raw),
        Stream::Activity => ActivityFrame::decode(frame).map(Decoded::Activity),
    };
    read.unwrap_or_else(|error| {
        let reason = format!("frame could not be read: {error}");
        tally.unreadable += 1;
        tally.first_unreadable.get_or_insert_with(|| {
            format!("{}/{}/{} seq {}: {error}", origin.agent, origin.epoch, origin.stream, origin.seq)
        });
        let missing = Missing { span: 1, messages: Some(1), readings: None, reason: reason.into(), noticed_at: None };
        Decoded::Missing(notice(entry.seq, &missing, now))
    })
}

fn notice(to_seq: u64, missing: &Missing, now: i64) -> GapNotice {
    GapNotice {
        to_seq,
        messages: missing.messages,
        readings: missing.readings,
        reason: missing.reason.chars().take(LONGEST_REASON).collect(),
        noticed_at: missing.noticed_at.unwrap_or(now),
    }
}

/// Reads the positions of `marks` until the ledger tells all of them.
fn wait(ledger: &mut dyn Ledger, marks: &[Mark]) -> Result<Durable, LedgerError> {
    let sources: Vec<Source> = marks.iter().map(|mark| mark.source.clone()).collect();
    let begun = Instant::now();
    loop {
        let durable = Durable::read(ledger, &sources)?;
        if marks.iter().all(|mark| durable.reached(&mark.source, mark.to).is_some()) {
            return Ok(durable);
        }
        if begun.elapsed() > COMMIT_WITHIN {
            let reason = format!("accepted a commit and did not store it within {} s", COMMIT_WITHIN.as_secs());
            return Err(LedgerError::Unavailable(reason));
        }
        std::thread::sleep(POLL_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use gaitway_proto::ledger::Epoch;

    use super::*;
    use crate::commit::Part;
    use crate::memory::MemoryLedger;

    fn part(entries: Vec<Entry>) -> Commit {
        let name = Name { agent: "pi".parse().unwrap(), epoch: Epoch::from_random(1), stream: Stream::Raw };
        let to = entries.last().unwrap().last_seq();
        let mark = Mark { source: name.source(), from: None, to };
        Commit { id: 1, parts: vec![Part { name, ordinal: 1, mark, entries }], heirs: vec![] }
    }

    #[test]
    fn a_frame_that_cannot_be_read_becomes_a_gap_record() {
        let mut ledger = MemoryLedger::default();
        ledger.recover().unwrap();
        let garbage = Entry { seq: 1, said: Said::Frame(Bytes::from_static(b"garbage")) };
        let (durable, tally) = store(&mut ledger, &part(vec![garbage]), 7).unwrap();
        let source = Source::stream(&"pi".parse().unwrap(), Epoch::from_random(1), Stream::Raw);
        assert!(durable.reached(&source, 1).is_some());
        assert_eq!((tally.frames, tally.unreadable, tally.gaps, tally.readings), (1, 1, 1, 0));
        let rows = ledger.rows();
        assert_eq!((rows[0].seq, rows[0].to_seq), (1, 1));
        assert!(rows[0].json.contains("frame could not be read: "), "{}", rows[0].json);
        assert!(rows[0].json.contains(r#""messages":1,"readings":null"#), "{}", rows[0].json);
    }

    #[test]
    fn what_is_returned_was_read_from_the_ledger_after_the_submit() {
        let mut ledger = MemoryLedger::default();
        ledger.recover().unwrap();
        ledger.commit_late(3);
        let gap =
            Missing { span: 4, messages: None, readings: None, reason: "x".repeat(9_999).into(), noticed_at: None };
        let commit = part(vec![Entry { seq: 1, said: Said::Missing(Box::new(gap)) }]);
        let (durable, _) = store(&mut ledger, &commit, 7).unwrap();
        assert!(durable.reached(&commit.parts[0].mark.source, 4).is_some());
        assert_eq!(ledger.rows()[0].to_seq, 4);
        assert!(ledger.rows()[0].json.len() < 600);
    }
}
