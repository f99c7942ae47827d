//! What of an agent is not as it should be, for `gaitway doctor`.
//!
//! - Nothing is changed, and an agent that runs goes on: its lock is not touched, its spool only read, and to its relay hands are shaken and
//!   no more, since a second connection under its name would end the first.
//!
//! `spool` looks at what waits, `route` at the way to the relay, `doors` at who may push and look, and by what door.

mod command;
mod doors;
mod route;
mod spool;

use gaitway_service::checkup::Checkup;
use gaitway_service::checkup::folder::{self, Folder, Work};
use gaitway_service::checkup::port::Own;

use crate::config::AgentConfig;
use crate::spool::cap::WhenFull;

pub(crate) use command::{Args, run};

/// The name of its part of what is told.
const SECTION: &str = "agent";

/// How the agent is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// By itself, towards a relay elsewhere or beside it.
    Alone,
    /// Inside `gaitway up`, beside its relay.
    InUp,
}

/// Looks at the agent that this configuration is of. Blocks now and then; not for a thread that others wait for.
pub async fn examine(config: &AgentConfig, run: Run, checkup: &mut Checkup) {
    checkup.begin(SECTION);
    let below = match config.spool.when_full {
        WhenFull::Refuse => "pushes are refused",
        WhenFull::DropOldestRaw => "the oldest readings that were not sent are dropped",
    };
    let data_dir = config.data_dir.as_path();
    folder::examine(
        Folder {
            path: data_dir,
            min_free_percent: config.spool.min_free_percent,
            below: ("spool.min_free_percent", below),
            work: Work::Pushes,
        },
        checkup,
    );
    let own = Own::holding(data_dir);
    spool::examine(config, checkup);
    doors::examine(config, own, checkup).await;
    if run == Run::Alone {
        route::examine(config, checkup).await;
    }
}
