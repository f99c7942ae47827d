//! Windows that were classified anew, on their way into a warehouse's table.
//!
//! - A row says which agent told the window first; its name says that no agent told this revision.
//! - Names count from 1 in each run, so that a run that was undone leaves no hole.

use std::borrow::Cow;

use gaitway_proto::activity::Window;
use gaitway_proto::ledger::{Epoch, Stream};
use gaitway_proto::record::{Body, Cells, Metadata, Name, Record};
use gaitway_proto::schema::{ACTIVITY, Cell};
use gaitway_proto::topic::AgentId;

/// A window that was classified anew.
#[derive(Debug, Clone, PartialEq)]
pub struct Revised<'a> {
    /// `deviceId`
    pub device: Option<&'a str>,
    /// `sessionId`
    pub session: Option<&'a str>,
    /// The agent that told the window first.
    pub agent: Option<&'a str>,
    /// The window, its revision above those that the table has.
    pub window: Window,
    /// Name of the rule that gave the label.
    pub classifier: &'a str,
}

/// One run: it names what it stores.
#[derive(Debug)]
pub(crate) struct Run {
    agent: AgentId,
    epoch: Epoch,
    seq: u64,
}

impl Run {
    /// A run with a name of its own.
    pub(crate) fn new() -> Result<Self, String> {
        let bits = getrandom::u64().map_err(|error| format!("the system gives no random numbers: {error}"))?;
        Ok(Self { agent: AgentId::reclassified(), epoch: Epoch::from_random(bits), seq: 0 })
    }

    /// How many records it has named.
    pub(crate) fn count(&self) -> u64 {
        self.seq
    }

    /// Calls `store` with each of `rows` as a record, in order.
    pub(crate) fn records<E>(
        &mut self,
        rows: &[Revised<'_>],
        mut store: impl FnMut(&Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        for row in rows {
            self.seq += 1;
            let Self { agent, epoch, seq } = &*self;
            let stream = Stream::Activity;
            let name = Name { agent, epoch: *epoch, ordinal: 0, stream, seq: *seq, index: 0, clock_synced: None };
            let cells = Cells { table: &ACTIVITY, cells: row.cells(), json: None, plain: false };
            store(&Record { metadata: Metadata { name: Some(name), place: None }, body: Body::Cells(cells) })?;
        }
        Ok(())
    }
}

impl Revised<'_> {
    /// In the order of [`ACTIVITY`]'s fields.
    fn cells(&self) -> Vec<Cell<'_>> {
        let Self { device, session, agent, window, classifier } = self;
        let text = |text: Option<&'_ str>| text.map_or(Cell::Null, |text| Cell::Text(Cow::Owned(text.to_owned())));
        vec![
            Cell::Instant(window.end),
            text(*session),
            text(*device),
            text(Some(window.activity.as_str())),
            Cell::Float(window.confidence),
            Cell::Float(window.mean),
            Cell::Instant(window.start),
            Cell::Instant(window.end),
            Cell::Int(window.count.cast_signed()),
            text(Some(classifier)),
            Cell::Int(i64::from(window.revision)),
            text(*agent),
        ]
    }
}

#[cfg(test)]
mod tests {
    use gaitway_proto::activity::Activity;

    use super::*;

    #[test]
    fn a_revision_has_the_contracts_columns_and_a_name_of_no_agent() {
        let window = Window {
            start: 1_700_000_000_000_000_000,
            end: 1_700_000_010_000_000_000,
            count: 500,
            mean: 1.5,
            activity: Activity::Walking,
            confidence: 0.75,
            revision: 1,
        };
        let classifier = "threshold(1/9.5/20)";
        let row = Revised { device: Some("d"), session: Some("s"), agent: Some("pi"), window, classifier };
        let (mut run, mut told) = (Run::new().unwrap(), Vec::new());
        run.records(&[row.clone(), Revised { agent: None, ..row }], |record| {
            told.push((record.metadata.to_json(), record.to_json()));
            Ok::<_, ()>(())
        })
        .unwrap();
        let json = r#"{"timestamp":"2023-11-14 22:13:30","sessionId":"s","deviceId":"d","activity":"walking","confidence":0.75,"avg_magnitude":1.5,"windowStart":"2023-11-14T22:13:20Z","windowEnd":"2023-11-14T22:13:30Z","sampleCount":500,"classifier":"threshold(1/9.5/20)","revision":1,"agentId":"pi"}"#;
        assert_eq!(told[0].1, json);
        assert!(told[1].1.ends_with(r#""agentId":null}"#));
        let epoch = run.epoch;
        for (seq, (metadata, _)) in (1..).zip(&told) {
            let name = format!(
                r#"{{"agent":"reclassify","epoch":"{epoch}","ordinal":0,"stream":"activity","seq":{seq},"index":0,"clockSynced":null}}"#
            );
            assert_eq!(*metadata, name);
        }
        assert_eq!(run.count(), 2);
    }
}
