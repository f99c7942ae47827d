//! Who agents are: the relay's own small authority, the codes that let agents in, the certificates they got.
//!
//! 1. Somebody at the relay's machine makes a code ([`Store::add`]); the agent's owner takes it there.
//! 2. The agent brings it back with a key of its own (`desk`); `pending` judges the code, `authority` signs.
//! 3. The listener lets in who shows a certificate of the authority that stands in the `book`.
//! 4. What is revoked in the [`Store`], by whatever process, leaves the book within a second, and is cut off.

mod attempts;
mod authority;
mod book;
mod desk;
mod overview;
mod pending;
mod store;

pub(crate) use attempts::Attempts;
#[cfg(feature = "fuzzing")]
pub(crate) use authority::Request;
pub(crate) use authority::{Authority, CERTIFICATE};
pub(crate) use book::{Book, Serial, Standing};
pub(crate) use desk::{Clerk, Desk};
pub(crate) use overview::Overview;
pub use store::{Added, Store, StoreError};
pub(crate) use store::{FILE, Line};
