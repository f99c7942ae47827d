//! What the fuzz targets drive: for each door that strangers, files or peers have into gaitway a function that takes any
//! bytes, gives them to the code behind that door, and panics where a promise is broken.
//!
//! - An entry calls the services' own code and copies none of it.
//! - The same bytes are the same run: nothing is random, and no entry reads the clock to decide anything.
//! - Each door has its bound of memory, however its few bytes unpack.
//!
//! `fuzz/fuzz_targets` has a target for each, `fuzz/corpus` the inputs that are kept; `tests/corpora.rs` replays those.

// `--lib` would test it even so: the modules of `gaitway replay` have their tests where they belong.
#![cfg(not(test))]

use gaitway_proto::limits;
use peak_alloc::PeakAlloc;

mod configuration;
mod enrolment;
mod envelopes;
mod frame;
mod http;
mod kept;
mod push;

/// The command is of a program alone, without a library: its modules are these.
#[allow(dead_code, reason = "the rest of the command is not here")]
#[path = "../../../src/replay"]
mod replay {
    mod body;
    mod cut;
    mod merge;
    mod pace;
    mod reading;
    #[path = "../../fuzz/entries/src/recordings.rs"]
    mod recordings;
    mod source;

    pub(crate) use recordings::recordings;
}

/// Counts what the code behind the doors takes; what zstd and SQLite take in C is not seen.
#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// One door.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Its target's name, and its corpus's.
    pub name: &'static str,
    run: fn(&[u8]),
    /// Most bytes of memory for one input of at most [`INPUT`], with what stays of it.
    most: usize,
}

/// Bytes of the greatest input that [`Entry::most`] is for, which is libFuzzer's default.
const INPUT: usize = 4096;

const MIB: usize = 1024 * 1024;

/// All, by name.
///
/// Three doors unpack. A gzip of an input's size holds 4 MiB: the agent's reader makes values of them, and a replay sorts them
/// in memory if they are in disorder. Of a frame the columns are bounded, whatever they say.
pub const ENTRIES: [Entry; 10] = [
    Entry { name: "acks", run: envelopes::acks, most: MIB },
    Entry { name: "configuration", run: configuration::configuration, most: MIB },
    Entry { name: "enrolment", run: enrolment::enrolment, most: MIB },
    Entry { name: "envelopes", run: envelopes::envelopes, most: MIB },
    Entry { name: "frame", run: frame::frame, most: 8 * limits::MAX_FRAME_DECODED },
    Entry { name: "http", run: http::http, most: 8 * limits::MAX_BODY },
    Entry { name: "mdns", run: gaitway_agent::mdns::fuzzing::talk, most: MIB },
    Entry { name: "mqtt", run: gaitway_relay::fuzzing::mqtt, most: MIB },
    Entry { name: "push", run: push::push, most: MIB },
    Entry { name: "recordings", run: replay::recordings, most: 384 * MIB },
];

impl Entry {
    /// The entry of a target.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn named(name: &str) -> &'static Self {
        ENTRIES.iter().find(|entry| entry.name == name).expect("every target has its entry")
    }

    /// Takes any bytes.
    ///
    /// # Panics
    ///
    /// Where a promise is broken.
    pub fn run(&self, bytes: &[u8]) {
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        (self.run)(bytes);
        let took = MEMORY.peak_usage().saturating_sub(before);
        assert!(took <= self.most || bytes.len() > INPUT, "{took} bytes of memory for {} of input", bytes.len());
    }
}
