//! Deleting what one device sent from a spool: all of it, for good, and nothing else.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};

use gaitway_agent::spool::check;
use gaitway_agent::spool::forget::{self, Held};
use gaitway_proto::activity::ActivityFrame;
use gaitway_proto::envelope::{Gap, Item};
use gaitway_proto::forgotten;
use gaitway_proto::ledger::Stream;

mod spooled;
use spooled::{Setup, Spooled, body};

const NOW: i64 = 1_760_000_000_000_000;

/// A push of `device`, whose session is named after it.
fn push_of(device: &str, id: u64, from: i64, seconds: i64) -> String {
    body(&format!("walk-of-{device}"), id, from, seconds).replace("\"phone\"", &format!("\"{device}\""))
}

/// Two phones in turns; `gone` closes windows too. Their frames: g k g g k g.
fn spool_of_two(dir: &Path) -> Spooled {
    let agent = Spooled::start(dir, &Setup::default());
    for (device, id, from) in [
        ("gone-0001", 0, 100),
        ("kept-0002", 0, 100),
        ("gone-0001", 1, 140),
        ("gone-0001", 2, 180),
        ("kept-0002", 1, 140),
        ("gone-0001", 3, 220),
    ] {
        agent.push(&push_of(device, id, from, 3)).unwrap();
    }
    agent
}

fn files_with(dir: &Path, text: &str) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    files.filter(|path| gaitway_service::file_bytes::hold(path, text.as_bytes(), |_| {}).unwrap()).collect()
}

fn gap(span: u64) -> Gap {
    Gap { span, messages: 0, readings: 0, reason: forgotten::FRAMES.to_owned(), noticed_at: NOW }
}

fn owners(agent: &mut Spooled) -> Vec<String> {
    agent.messages().into_iter().map(|message| message.header.device).collect()
}

#[test]
fn nothing_of_a_forgotten_device_is_left_in_any_file_and_everything_of_the_others_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool.db");
    spool_of_two(dir.path()).stop();
    assert!(!files_with(dir.path(), "gone-0001").is_empty());
    let held = forget::look(&path, "gone-0001").unwrap();
    assert_eq!((held.pushes, held.readings, held.sessions, held.open, held.seen), (4, 12, 1, 1, 4));
    assert!(held.windows > 0);

    assert_eq!(forget::forget(&path, "gone-0001", NOW).unwrap(), held);
    assert_eq!(files_with(dir.path(), "gone-0001"), Vec::<PathBuf>::new());
    assert!(!files_with(dir.path(), "kept-0002").is_empty());
    assert!(check::check(&path).unwrap().is_whole());
    assert!(forget::look(&path, "gone-0001").unwrap().is_nothing());
    assert_eq!(forget::forget(&path, "gone-0001", NOW).unwrap(), Held::default());

    let mut agent = Spooled::start(dir.path(), &Setup::default());
    assert_eq!(owners(&mut agent), ["kept-0002", "kept-0002"]);
    assert_eq!(agent.gaps(), [(1, gap(1)), (3, gap(2)), (6, gap(1))]);
    let of_activity = agent.waiting(Stream::Activity).into_iter().filter_map(|(_, item)| match item {
        Item::Frame(bytes) => Some(ActivityFrame::decode(&bytes).unwrap().device),
        Item::Gap(_) => None,
    });
    assert!(of_activity.collect::<Vec<_>>().iter().all(|device| device == "kept-0002"));
    assert!(agent.push(&push_of("kept-0002", 1, 140, 3)).unwrap().duplicate, "what was accepted is remembered");
    assert!(!agent.push(&push_of("gone-0001", 1, 140, 3)).unwrap().duplicate, "of the device nothing is");
    agent.stop();
}

#[test]
fn what_was_acknowledged_leaves_no_gap_and_its_bytes_go_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool.db");
    let agent = spool_of_two(dir.path());
    let state = agent.state.borrow().clone();
    let epoch = state.streams.last().unwrap().epoch;
    agent.acknowledge(epoch, Stream::Raw, 3);
    agent.await_state(|state| state.streams.iter().any(|o| o.stream == Stream::Raw && o.first == 4));
    agent.stop();
    let held = forget::forget(&path, "gone-0001", NOW).unwrap();
    assert_eq!(held.seen, 4);
    assert_eq!(files_with(dir.path(), "gone-0001"), Vec::<PathBuf>::new());
    let mut agent = Spooled::start(dir.path(), &Setup::default());
    assert_eq!(agent.gaps(), [(4, gap(1)), (6, gap(1))]);
    agent.stop();
}

#[test]
fn a_relay_that_has_the_beginning_of_a_gap_is_told_the_rest_of_it() {
    let dir = tempfile::tempdir().unwrap();
    spool_of_two(dir.path()).stop();
    forget::forget(&dir.path().join("spool.db"), "gone-0001", NOW).unwrap();
    let mut agent = Spooled::start(dir.path(), &Setup::default());
    // It had committed the third frame, and nobody was told.
    let epoch = agent.state.borrow().streams.iter().find(|o| o.stream == Stream::Raw && o.next == 7).unwrap().epoch;
    agent.acknowledge(epoch, Stream::Raw, 3);
    agent.await_state(|state| state.streams.iter().any(|o| o.epoch == epoch && o.first == 4));
    assert_eq!(agent.gaps(), [(4, gap(1)), (6, gap(1))]);
    assert_eq!(owners(&mut agent), ["kept-0002"]);
    agent.acknowledge(epoch, Stream::Raw, 6);
    agent
        .await_state(|state| state.streams.iter().all(|o| o.epoch != epoch || o.stream != Stream::Raw || o.first == 7));
    assert_eq!(owners(&mut agent), Vec::<String>::new());
    agent.stop();
}

#[test]
fn of_files_that_were_set_aside_those_are_named_in_which_the_device_stands() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    };
    let whole = file("spool.db.damaged-20261122T220103Z", "… gone-0001 …");
    let log = file("spool.db.damaged-20261122T220103Z-wal", "gone-0001");
    file("spool.db.damaged-20261123T220103Z", "kept-0002");
    let frame = file("damaged/1-raw-1.frame", "\x01\x09gone-0001\x04walk");
    file("damaged/1-raw-2.frame", "\x01\x0agone-00012\x04walk");
    let found = forget::set_aside(dir.path(), "gone-0001").unwrap();
    assert_eq!((found.frames, found.spools), (vec![frame], vec![log, whole]));
    assert_eq!(forget::set_aside(&dir.path().join("none"), "gone-0001").unwrap(), forget::SetAside::default());
}
