//! What every gaitway service does alike. A service starts, runs and ends in the order of these modules:
//!
//! 1. [`dumps`] keeps what it knows out of core dumps, [`logs`] turns tracing events into lines on stdout.
//! 2. [`config`] merges defaults, file, environment and flags into the service's own type.
//! 3. [`secret`] reads passwords and keys; [`lock`] makes sure that one process owns a data directory, [`key_file`] that nobody
//!    else reads the keys that are made there.
//! 4. [`health`] and [`metrics`] collect what the service says about itself, `process` what Linux says of it, [`http`] answers with it
//!    on a [`server`] that strangers may talk to; [`known`] and [`rate`] keep them from taking what others need.
//! 5. [`tasks`] holds what runs: the first task to die ends the service with its reason.
//! 6. [`notify`] tells systemd, [`signals`] hears SIGTERM and Ctrl-C.
//!
//! [`broker`] and [`mqtt_address`] are how a service is a client of a broker that is not ours.
//!
//! [`completions`] reads every command line. [`clock`] is the one module that reads the wall clock, [`table`] is for commands that show people something,
//! [`checkup`] for those that look whether things are as they should be, [`healthcheck`] for the one that asks a running service, [`file_bytes`] for the one that must leave nothing. [`empty_file`] is for whoever opens
//! a database.

pub mod broker;
pub mod checkup;
pub mod clock;
pub mod completions;
pub mod config;
pub mod dumps;
pub mod empty_file;
pub mod file_bytes;
pub mod health;
pub mod healthcheck;
pub mod http;
pub mod key_file;
pub mod known;
pub mod lock;
pub mod logs;
pub mod metrics;
pub mod mqtt_address;
pub mod notify;
mod process;
pub mod rate;
pub mod secret;
pub mod server;
pub mod signals;
pub mod stamp;
pub mod table;
pub mod tasks;
pub mod tls;
