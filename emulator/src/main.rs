//! `snowpipe-emulator`: an emulator to be started by hand. It prints where it is and who may call, and runs until it is
//! interrupted.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use gaitway_emulator::{Emulator, Options, Replay};

#[derive(Debug, Parser)]
#[command(
    name = "snowpipe-emulator",
    version,
    about = "Emulates Snowpipe Streaming on 127.0.0.1, with gaitway's tables"
)]
struct Args {
    /// Port; 0: a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Folder for the CA's certificate and the test key
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Milliseconds from an append to its commit
    #[arg(long, default_value_t = 1_000)]
    commit_lag: u64,
    /// Keep Snowflake's limit of 10 appends per channel and second
    #[arg(long)]
    limit_rate: bool,
    /// Answer a replayed continuation token as stale
    #[arg(long)]
    stale_replays: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let emulator = Emulator::start(Options {
        port: args.port,
        commit_lag: Duration::from_millis(args.commit_lag),
        requests_per_second: args.limit_rate.then_some(10),
        replay: if args.stale_replays { Replay::Stale } else { Replay::Idempotent },
        ..Options::default()
    })?;
    let folder = args.dir.display();
    std::fs::create_dir_all(&args.dir).with_context(|| format!("making {folder}"))?;
    let (ca, key) = (args.dir.join("snowpipe-emulator-ca.pem"), args.dir.join("snowpipe-emulator-key.pem"));
    emulator.write_ca(&ca).with_context(|| format!("writing {}", ca.display()))?;
    emulator.write_key(&key).with_context(|| format!("writing {}", key.display()))?;
    let lines = [
        ("url", emulator.url()),
        ("ca", ca.display().to_string()),
        ("account", emulator.account().to_owned()),
        ("user", emulator.user().to_owned()),
        ("role", emulator.role().to_owned()),
        ("key", key.display().to_string()),
        ("database", emulator.database().to_owned()),
    ];
    #[expect(clippy::print_stdout, reason = "what was asked for")]
    for (name, value) in lines {
        println!("{name}={value}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(tokio::signal::ctrl_c()).context("waiting for an interrupt")
}
