//! What can be got out of a spool's file as lines of JSON: records as the contract has them, with their
//! `RECORD_METADATA` in front.
//!
//! - A frame whose start cannot be told has `null` for its epoch.

use std::io::{self, Write};

use gaitway_proto::activity::ActivityFrame;
use gaitway_proto::frame::Frame;
use gaitway_proto::ledger::{Epoch, Stream};
use gaitway_proto::record::{Origin, Record};
use gaitway_proto::schema::RECORD_METADATA;
use gaitway_proto::topic::AgentId;

use super::queue::{ordinal_of, seq_of};
use super::salvage::found::{Found, Kind};
use super::salvage::image::{Image, Standing};

/// What was written, and what was not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exported {
    /// Frames.
    pub frames: u64,
    /// Records.
    pub records: u64,
    /// Frames that are damaged.
    pub damaged: u64,
}

/// Writes the records of `streams`, in the order of their names. `agent` stands where the file does not tell its own.
pub fn export(
    image: &Image<'_>,
    found: &Found,
    streams: &[Stream],
    agent: &AgentId,
    out: &mut impl Write,
) -> io::Result<Exported> {
    let mut exported = Exported::default();
    let own: Option<AgentId> = found.agent.as_ref().and_then(|id| id.parse().ok());
    let agent = own.as_ref().unwrap_or(agent);
    let named = streams.iter().flat_map(|stream| found.frames(*stream).iter().map(|(id, frame)| (*stream, *id, frame)));
    let nameless = found.nameless.iter().filter(|(stream, ..)| streams.contains(stream));
    let named = named.map(|(stream, id, frame)| (stream, id, frame, found.starts.get(&ordinal_of(id))));
    for (stream, id, frame, start) in named.chain(nameless.map(|(stream, id, frame)| (*stream, *id, frame, None))) {
        let acked = found.acked.get(&(ordinal_of(id), stream)).copied().unwrap_or(0);
        if frame.standing() == Standing::Free && seq_of(id) <= acked {
            continue;
        }
        let epoch = start.map_or(Epoch::from_random(0), |start| start.epoch);
        let origin = Origin { agent, epoch, ordinal: ordinal_of(id), stream, seq: seq_of(id) };
        let records = match frame.bytes(image) {
            Some(bytes) => lines(origin, &bytes, start.is_some(), out)?,
            None => None,
        };
        match records {
            Some(records) => {
                exported.frames += 1;
                exported.records += records;
            }
            None => exported.damaged += u64::from(!matches!(frame.kind, Kind::Gap { .. })),
        }
    }
    out.flush()?;
    Ok(exported)
}

/// Writes the records of a frame; how many, none if it cannot be decoded.
fn lines(origin: Origin<'_>, bytes: &[u8], named: bool, out: &mut impl Write) -> io::Result<Option<u64>> {
    let (raw, activity);
    let mut records = Vec::new();
    match origin.stream {
        Stream::Raw => {
            let Ok(frame) = Frame::decode(bytes) else { return Ok(None) };
            raw = frame;
            raw.records(origin, &mut records);
        }
        Stream::Activity => {
            let Ok(frame) = ActivityFrame::decode(bytes) else { return Ok(None) };
            activity = frame;
            activity.records(origin, &mut records);
        }
    }
    for record in &records {
        line(record, named, out)?;
    }
    Ok(Some(records.len() as u64))
}

fn line(record: &Record<'_>, named: bool, out: &mut impl Write) -> io::Result<()> {
    let mut metadata = record.metadata.to_json();
    if let (false, Some(name)) = (named, &record.metadata.name) {
        metadata = metadata.replacen(&format!("\"epoch\":\"{}\"", name.epoch), "\"epoch\":null", 1);
    }
    let json = record.to_json();
    writeln!(out, "{{\"{RECORD_METADATA}\":{metadata},{}", &json[1..])
}
