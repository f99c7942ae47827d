//! The types that the phone's agent, the relay and the warehouses share. Nothing here does input or output.
//!
//! One record's path, in the order of these modules:
//!
//! 1. A push body becomes a [`Message`](message::Message): readings whose JSON [`Value`](value::Value)s are kept whole.
//! 2. The agent stores it as a [`Frame`](frame::Frame): columns per sensor, compressed; closed windows travel as an
//!    [`ActivityFrame`](activity::ActivityFrame).
//! 3. Frames get a name, [`Source`](ledger::Source) + seq, and cross MQTT in a [`Batch`](envelope::Batch) under the
//!    topics of [`topic`]; [`envelope`] also holds hello, welcome and acknowledgement. [`enrolment`] is how an agent gets
//!    the certificate that says who it is.
//! 4. The relay turns a frame into [`Record`](record::Record)s: JSON, rows and DDL come from one list of fields
//!    ([`schema`]).
//! 5. A [`Ledger`](ledger::Ledger) commits records and watermark in one atomic step.
//!
//! [`limits`] is the one table of sizes that every hop keeps; [`forgotten`] what stands where a person's data was deleted.

pub mod activity;
pub mod enrolment;
pub mod envelope;
pub mod forgotten;
pub mod frame;
pub mod ledger;
pub mod limits;
pub mod message;
pub mod record;
pub mod schema;
pub mod spelling;
pub mod topic;
pub mod value;

mod wire;
