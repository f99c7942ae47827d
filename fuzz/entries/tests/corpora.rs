//! Every input that is kept in `fuzz/corpus` is run through the entry of its target.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "a failed test shows its input")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use gaitway_fuzz_entries::{ENTRIES, Entry};

/// A task of a service that panics takes nobody along: all panics are counted, one corpus at a time.
static PANICS: AtomicUsize = AtomicUsize::new(0);
static COUNTED: Once = Once::new();
static TURN: Mutex<()> = Mutex::new(());

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The names in a folder, without their endings.
fn names(folder: &str) -> Vec<String> {
    let entries = fuzz().join(folder).read_dir().unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

fn replay(target: &str) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    COUNTED.call_once(|| {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.fetch_add(1, Ordering::SeqCst);
            told(panic);
        }));
    });
    let entry = Entry::named(target);
    let mut inputs: Vec<PathBuf> =
        fuzz().join("corpus").join(target).read_dir().unwrap().map(|input| input.unwrap().path()).collect();
    inputs.sort();
    assert!(inputs.len() >= 10, "{} inputs are no corpus", inputs.len());
    let before = PANICS.load(Ordering::SeqCst);
    for input in inputs {
        println!("{}", input.display());
        entry.run(&std::fs::read(&input).unwrap());
        assert_eq!(PANICS.load(Ordering::SeqCst), before, "a task of a service panicked");
    }
}

#[test]
fn every_entry_has_its_target_and_its_corpus() {
    let entries = ENTRIES.map(|entry| entry.name.to_owned());
    assert_eq!(names("corpus"), entries);
    assert_eq!(names("fuzz_targets"), entries);
}

#[test]
fn no_word_of_a_relay_breaks_an_uplink() {
    replay("acks");
}

#[test]
fn no_text_breaks_a_configuration() {
    replay("configuration");
}

#[test]
fn no_word_of_an_agent_breaks_a_relay() {
    replay("envelopes");
}

#[test]
fn no_frame_breaks_who_reads_it() {
    replay("frame");
}

#[test]
fn no_neighbour_breaks_the_name() {
    replay("mdns");
}

#[test]
fn no_request_breaks_the_door() {
    replay("http");
}

#[test]
fn no_bytes_break_the_listener() {
    replay("mqtt");
}

#[test]
fn no_push_body_breaks_the_agent() {
    replay("push");
}

#[test]
fn no_recording_breaks_a_replay() {
    replay("recordings");
}

#[test]
fn no_code_and_no_request_breaks_the_enrolment() {
    replay("enrolment");
}
