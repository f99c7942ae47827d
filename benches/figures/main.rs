//! `cargo bench`: one table of what gaitway costs, beside what it could cost at best on the same machine in the same run.
//!
//! - A figure that has something beside it was measured in turns with it; medians of rounds, never a best case.
//! - Nothing here asserts a time: what misses its aim is marked. What was stored and parsed is asserted.
//! - Loads stay on the loopback; files lie below `target/tmp`, on the disk that the table names.
//!
//! `cargo bench -- frame ingest` measures these rows only, `GAITWAY_BENCH=quick` shortens the long ones.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "the table is the output")]

mod body;
#[cfg(feature = "kafka")]
mod broker;
mod build;
#[cfg(feature = "kafka")]
mod commits;
mod drain;
mod frame;
mod ingest;
#[cfg(feature = "kafka")]
mod kafka_latency;
#[cfg(feature = "kafka")]
mod kafka_relay;
#[cfg(feature = "kafka")]
mod kafka_sink;
mod light;
mod machine;
mod memory;
mod parsers;
mod proc;
mod recordings;
#[cfg(feature = "kafka")]
mod relay_memory;
mod serve;
mod size;
mod spool;
mod table;
#[cfg(feature = "kafka")]
mod tls;
mod viewers;
mod wear;

#[cfg(feature = "kafka")]
#[allow(dead_code, reason = "what is hostile is not needed here")]
#[path = "../../tests/hostile/client.rs"]
mod client;
#[path = "../../tests/harness/mod.rs"]
mod harness;
#[cfg(feature = "kafka")]
#[path = "../../sink/tests/postgres_server/mod.rs"]
mod postgres_server;

use std::process::ExitCode;

use table::Figure;

/// A row, or several that are measured together.
struct Row {
    name: &'static str,
    run: fn(&Bench) -> Vec<Figure>,
    /// Whether it is left out of a quick run that does not name it.
    long: bool,
}

const ROWS: &[Row] = &[
    Row { name: "frame", run: frame::figures, long: false },
    Row { name: "ingest", run: ingest::figures, long: false },
    Row { name: "size", run: size::figures, long: false },
    Row { name: "drain", run: drain::figures, long: false },
    Row { name: "light", run: light::figures, long: false },
    Row { name: "memory", run: memory::figures, long: false },
    Row { name: "wear", run: wear::figures, long: false },
    Row { name: "viewers", run: viewers::figures, long: false },
    #[cfg(feature = "kafka")]
    Row { name: "kafka-relay", run: kafka_relay::figures, long: false },
    #[cfg(feature = "kafka")]
    Row { name: "kafka-sink", run: kafka_sink::figures, long: false },
    #[cfg(feature = "kafka")]
    Row { name: "kafka-latency", run: kafka_latency::figures, long: false },
    #[cfg(feature = "kafka")]
    Row { name: "relay-memory", run: relay_memory::figures, long: false },
    #[cfg(feature = "kafka")]
    Row { name: "tls", run: tls::figures, long: false },
    Row { name: "build", run: build::figures, long: true },
];

/// How to measure.
struct Bench {
    quick: bool,
}

impl Bench {
    /// The full measure, or the short one in a quick run.
    fn size<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if let Some(unknown) = wanted.iter().find(|name| ROWS.iter().all(|row| row.name != name.as_str())) {
        let known: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        eprintln!("there is no row {unknown}; the rows are {}", known.join(", "));
        return ExitCode::FAILURE;
    }
    let quick = match std::env::var("GAITWAY_BENCH").as_deref() {
        Err(_) | Ok("") => false,
        Ok("quick") => true,
        Ok(other) => {
            eprintln!("GAITWAY_BENCH is {other}; it can be quick, or absent");
            return ExitCode::FAILURE;
        }
    };
    let bench = Bench { quick };

    println!("{}{}\n", machine::line(), if quick { "; a quick run, its long rows are shortened" } else { "" });
    table::head();
    for row in ROWS {
        let asked = if wanted.is_empty() { !(row.long && quick) } else { wanted.iter().any(|name| name == row.name) };
        if asked {
            eprintln!("  … {}", row.name);
            for figure in (row.run)(&bench) {
                figure.print();
            }
        }
    }
    ExitCode::SUCCESS
}
