#![no_main]

use gaitway_fuzz_entries::Entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| Entry::named("mdns").run(bytes));
