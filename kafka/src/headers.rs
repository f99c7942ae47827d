//! A record's name as Kafka headers: [`NAME_KEYS`], their values text.
//!
//! - What is not the name of a record that an agent told is no name: nothing is guessed.
//! - Anybody may write headers: rdkafka panics where the name of one is not UTF-8, and that ends here, without a word.

use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use gaitway_proto::ledger::{Epoch, Stream};
use gaitway_proto::record::{NAME_KEYS, Name};
use gaitway_proto::topic::AgentId;
use rdkafka::message::{Header, Headers, OwnedHeaders};

/// A name that was read, without its agent's lifetime.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "Name documents each")]
pub struct OwnedName {
    pub agent: AgentId,
    pub epoch: Epoch,
    pub ordinal: u64,
    pub stream: Stream,
    pub seq: u64,
    pub index: u32,
    pub clock_synced: Option<bool>,
}

impl OwnedName {
    /// The name, borrowed.
    pub fn as_name(&self) -> Name<'_> {
        let Self { agent, epoch, ordinal, stream, seq, index, clock_synced } = self;
        Name {
            agent,
            epoch: *epoch,
            ordinal: *ordinal,
            stream: *stream,
            seq: *seq,
            index: *index,
            clock_synced: *clock_synced,
        }
    }
}

/// Writes names as headers. What a name has in common with the one before is not spelled anew.
#[derive(Debug, Default)]
pub struct Writer {
    last: Option<(Epoch, u64, u64)>,
    epoch: String,
    ordinal: String,
    seq: String,
    index: String,
}

impl Writer {
    /// The headers of a record named `name`.
    pub fn write(&mut self, name: &Name<'_>) -> OwnedHeaders {
        let Self { last, epoch, ordinal, seq, index } = self;
        let spell = |text: &mut String, value: &dyn fmt::Display| {
            text.clear();
            let _ = write!(text, "{value}");
        };
        let frame = (name.epoch, name.ordinal, name.seq);
        if last.replace(frame) != Some(frame) {
            spell(epoch, &name.epoch);
            spell(ordinal, &name.ordinal);
            spell(seq, &name.seq);
        }
        spell(index, &name.index);
        let synced = name.clock_synced.map_or("null", |synced| if synced { "true" } else { "false" });
        let values = [name.agent.as_str(), epoch, ordinal, name.stream.as_str(), seq, index, synced];
        NAME_KEYS.iter().zip(values).fold(OwnedHeaders::new_with_capacity(NAME_KEYS.len()), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value) })
        })
    }
}

thread_local! {
    /// This thread reads headers: a panic is expected.
    static READING: Cell<bool> = const { Cell::new(false) };
}

/// What `read` gives, unless a header's name is not UTF-8.
fn unless_not_text<T>(read: impl FnOnce() -> T) -> Option<T> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !READING.get() {
                before(info);
            }
        }));
    });
    READING.set(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(read));
    READING.set(false);
    outcome.ok()
}

/// Whether the names of all `headers` are UTF-8, so that they can be read.
pub fn are_text(headers: &impl Headers) -> bool {
    unless_not_text(|| headers.iter().count()).is_some()
}

/// The name in `headers`, if all of it is there. `last`: an agent that may have told this one too; its id is shared then.
pub fn read(headers: Option<&impl Headers>, last: Option<&AgentId>) -> Option<OwnedName> {
    let headers = headers?;
    unless_not_text(|| name_in(headers, last))?
}

fn name_in(headers: &impl Headers, last: Option<&AgentId>) -> Option<OwnedName> {
    let mut found: [Option<&str>; NAME_KEYS.len()] = [None; NAME_KEYS.len()];
    for header in headers.iter() {
        if let Some(place) = NAME_KEYS.iter().position(|key| *key == header.key) {
            found[place] = header.value.and_then(|value| std::str::from_utf8(value).ok());
        }
    }
    let [agent, epoch, ordinal, stream, seq, index, synced] = found;
    Some(OwnedName {
        agent: match last.filter(|last| Some(last.as_str()) == agent) {
            Some(last) => last.clone(),
            None => agent?.parse().ok()?,
        },
        epoch: Epoch::try_from(u64::from_str_radix(epoch.filter(|text| text.len() == 16)?, 16).ok()?).ok()?,
        ordinal: ordinal?.parse().ok()?,
        stream: Stream::ALL.into_iter().find(|known| Some(known.as_str()) == stream)?,
        seq: seq?.parse().ok()?,
        index: index?.parse().ok()?,
        clock_synced: match synced? {
            "true" => Some(true),
            "false" => Some(false),
            "null" => None,
            _ => return None,
        },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_name_comes_back(agent in "[a-z0-9-]{1,63}", numbers: [u64; 3], index: u32, clock_synced: Option<bool>, raw: bool) {
            let [epoch, ordinal, seq] = numbers;
            let name = OwnedName {
                agent: agent.parse().unwrap(),
                epoch: Epoch::from_random(epoch),
                ordinal,
                stream: Stream::ALL[usize::from(raw)],
                seq,
                index,
                clock_synced,
            };
            let headers = Writer::default().write(&name.as_name());
            let other = "other".parse().unwrap();
            for last in [None, Some(&other), Some(&name.agent)] {
                prop_assert_eq!(read(Some(&headers), last), Some(name.clone()));
            }
        }
    }

    /// As rdkafka is where the second header's name is not UTF-8.
    struct NotText;

    impl Headers for NotText {
        fn count(&self) -> usize {
            2
        }

        fn try_get(&self, at: usize) -> Option<Header<'_, &[u8]>> {
            match at {
                0 => Some(Header { key: "agent", value: Some(b"pi") }),
                1 => panic!("not UTF-8"),
                _ => None,
            }
        }
    }

    #[test]
    fn a_header_whose_name_is_no_text_ends_nobody() {
        assert_eq!(read(Some(&NotText), None), None);
        assert!(!are_text(&NotText) && are_text(&OwnedHeaders::new()));
        let loud = panic::catch_unwind(|| panic!("not while headers are read"));
        assert!(loud.is_err() && !READING.get());
    }

    #[test]
    fn names_of_one_writer_come_back_whatever_they_have_in_common() {
        let mut writer = Writer::default();
        let mut name = OwnedName {
            agent: "pi".parse().unwrap(),
            epoch: Epoch::from_random(1),
            ordinal: 1,
            stream: Stream::Raw,
            seq: 1,
            index: 0,
            clock_synced: None,
        };
        let changes: [fn(&mut OwnedName); 5] = [
            |name| name.index = 1,
            |name| name.seq = 2,
            |name| name.ordinal = 2,
            |name| name.epoch = Epoch::from_random(2),
            |name| name.agent = "attic".parse().unwrap(),
        ];
        for change in changes {
            change(&mut name);
            assert_eq!(read(Some(&writer.write(&name.as_name())), None), Some(name.clone()));
        }
    }

    #[test]
    fn what_is_not_all_of_a_name_is_none() {
        let name = |key: &str, value: &str| {
            let full = [("agent", "pi"), ("epoch", "0000000000000011"), ("ordinal", "1"), ("stream", "raw")];
            let rest = [("seq", "1"), ("index", "0"), ("clockSynced", "true")];
            let mut headers = OwnedHeaders::new();
            for (known, text) in full.into_iter().chain(rest) {
                let value = if known == key { value } else { text };
                headers = headers.insert(Header { key: known, value: Some(value) });
            }
            read(Some(&headers), None)
        };
        assert!(name("", "").is_some());
        for (key, value) in [
            ("agent", "Pi"),
            ("epoch", "11"),
            ("epoch", "ffffffffffffffff"),
            ("ordinal", ""),
            ("stream", "other"),
            ("seq", "-1"),
            ("index", "4294967296"),
            ("clockSynced", "maybe"),
        ] {
            assert_eq!(name(key, value), None, "{key} {value}");
        }
        assert_eq!(read(Some(&OwnedHeaders::new()), None), None);
        assert_eq!(read(None::<&OwnedHeaders>, None), None);
    }
}
