//! Recordings, as `gaitway replay` reads them. A module beside those of the command.
//!
//! - A recording is played to its end or stops with a reason.
//! - What is cut from readings is a push that an agent takes, with as many readings as were counted.

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::Duration;

use gaitway_agent::ingest::{Refusal, parse};
use tempfile::TempDir;

use super::body::{Body, Identity};
use super::source;

/// The endings that a recording is known by.
const ENDINGS: [&str; 6] = ["csv", "csv.gz", "ndjson", "ndjson.gz", "json", "zip"];

/// Most messages that are looked at: a small file may unpack to many.
const MOST: usize = 10_000;

thread_local! {
    static FOLDER: RefCell<Option<TempDir>> = const { RefCell::new(None) };
}

/// Any bytes as a recording; the first says of which kind.
pub(crate) fn recordings(bytes: &[u8]) {
    let Some((&kind, content)) = bytes.split_first() else { return };
    FOLDER.with_borrow_mut(|folder| {
        let folder = match folder {
            Some(folder) => folder,
            none => none.insert(tempfile::tempdir().expect("a temporary folder is to be had")),
        };
        let name = format!("recording.{}", ENDINGS[usize::from(kind) % ENDINGS.len()]);
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("a file can be written there");
        play(path);
    });
}

fn play(path: PathBuf) {
    let Ok(found) = source::gather(&[path]) else { return };
    for recording in found {
        let phones = ["", "-2"].map(|suffix| Identity { suffix: suffix.to_owned(), ..recording.identity.clone() });
        let Ok(pushes) = recording.pushes(Duration::from_secs(1)) else { continue };
        let (mut due, mut id) = (Duration::ZERO, 0);
        for push in pushes.map_while(Result::ok).take(MOST) {
            assert!(push.due >= due || matches!(push.body, Body::Line { .. }), "due before the one before it");
            due = push.due;
            for phone in &phones {
                let sent = push.body.of(phone);
                match (&push.body, parse(&sent)) {
                    (Body::Cut(message), Ok(taken)) => {
                        assert_eq!((taken.message_id, u64::from(taken.packed.readings())), (Some(id), push.readings));
                        assert_eq!(message.id, id);
                    }
                    (Body::Line { .. }, Ok(taken)) => {
                        assert_eq!(u64::from(taken.packed.readings()), push.readings);
                        assert!(taken.device.ends_with(&phone.suffix) && taken.session.ends_with(&phone.suffix));
                    }
                    (Body::Cut(_), Err(Refusal::TooLarge { .. })) | (Body::Line { .. }, Err(_)) => {}
                    (Body::Cut(_), Err(refusal)) => panic!("{refusal}: {}", String::from_utf8_lossy(&sent)),
                }
            }
            id += 1;
        }
    }
}
