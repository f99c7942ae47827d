//! The agent: it runs at home, takes pushes, classifies them, and forwards everything to the relay. One push's path:
//!
//! 1. [`phones`] says whether it may come in; [`ingest`] reads the body once, into columns and samples.
//! 2. [`writer`] puts it, with all others that wait, into one transaction of the [`spool`]:
//!    [`seen`] tells whether it is new, [`windows`] takes its samples and gives the windows it closes, [`classify`] has
//!    labelled them. After the sync the phone gets its 200.
//! 3. [`uplink`] reads frames from the spool and sends them over MQTT, activity first; [`identity`] says who sends them.
//! 4. The relay's acknowledgement goes to the writer, which lets the frames go.
//!
//! What was committed, [`status`] shows and [`recent`] keeps for two days, as [`stretches`] of one activity.
//! `page` shows [`status`] to [`readers`], [`setup`] sets their phones up, `api` tells it programs, `mdns` has it found as
//! `NAME.local`, [`metrics`] is for Prometheus, [`config`] what can be told. [`checkup`] looks whether all of it is as it should be.

pub mod addresses;
mod api;
pub mod checkup;
pub mod classify;
pub mod command;
pub mod config;
mod control;
pub mod identity;
pub mod ingest;
mod kept;
#[cfg(feature = "fuzzing")]
pub mod mdns;
#[cfg(not(feature = "fuzzing"))]
mod mdns;
pub mod metrics;
pub mod names;
mod page;
pub mod phones;
pub mod readers;
pub mod recent;
pub mod seen;
mod service;
pub mod setup;
mod shell;
pub mod spool;
pub mod status;
pub mod stretches;
pub mod uplink;
pub mod windows;
pub mod writer;

pub use service::{bind, run};
