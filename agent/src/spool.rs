//! Everything the agent must not lose, in one SQLite file.
//!
//! - A push is answered only after the transaction that holds its frame, the windows it closed, the open windows and the
//!   fact that it was seen is on the disk.
//! - A frame's name (epoch, stream, seq) is never given twice: every start has an epoch of its own.
//! - Frames leave only after the relay's acknowledgement: the mark moves first, rows are deleted after.
//! - Under the cap only raw frames that were never sent are dropped; a gap takes their seqs and travels in their place.
//!
//! [`queue`] is the pure bookkeeping of names, [`schema`] the file, [`rows`] the statements, [`cap`] decides when it is
//! full, [`reader`] serves the uplink from a connection of its own. The one writer is [`crate::writer`].
//!
//! When it is hurt: [`damage`] tells which errors mean that, [`presence`] whether the file is still the one that was
//! opened, [`quarantine`] moves it aside, [`mend`] puts gaps in place of damaged frames, [`retold`] notes
//! what a lost file may hold too, `withheld` counts what is not kept. [`check`], [`salvage`] and
//! [`export`] look at a file, bring what is left of it into another, or write it out. [`look`] is for people who want to see
//! what flows.

pub mod cap;
pub mod check;
pub mod damage;
pub mod export;
pub mod look;
pub mod mend;
pub mod presence;
pub mod quarantine;
pub mod queue;
pub mod reader;
pub mod retold;
pub mod rows;
pub mod salvage;
pub mod schema;
mod withheld;
