//! Who this agent is to its relay: a key of its own, and a certificate of the relay's authority.
//!
//! 1. `gaitway agent enroll` makes a key, brings a code to the relay and keeps what it gets ([`enrol`], [`Identity`]).
//! 2. The uplink shows it and trusts nobody but that relay ([`Route`]).
//! 3. [`keep`] has it replaced in time, or when the relay wants it, and notices when another process replaced it.

mod ask;
mod keeper;
mod kept;
mod route;
mod trust;

pub use ask::{EnrolError, enrol, is_enrolled};
pub use keeper::{Keeper, keep};
pub(crate) use kept::FILE;
pub use kept::{Identity, IdentityError};
pub use route::{Route, Security};
pub(crate) use trust::explain;
