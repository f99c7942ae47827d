//! Gets out of a spool's file what can be got out, without relying on SQLite to open it. The file is only read.
//!
//! - A frame counts only if its own checksum holds, and has a name only if its start's does.
//! - Salvaged frames keep their names (epoch, stream, seq): what the relay has already it drops.
//! - What is missing between two salvaged frames becomes a gap, so that its stream stays contiguous.
//! - Salvaging the same file twice changes nothing.
//!
//! 1. [`source`] is the bytes, [`wal`] the committed part of the log, [`image`] the pages that follow from both.
//! 2. [`cell`] and [`record`] take rows out of a page, [`shape`] tells what they are.
//! 3. [`found`] gathers them from every page, whatever tree it once belonged to.
//! 4. [`plan`] decides what comes into a spool, [`bring`] brings it there.
//!
//! All but [`source`]'s file and [`bring`] is pure.

pub mod bring;
pub mod cell;
pub mod found;
pub mod image;
pub mod plan;
pub mod record;
pub mod shape;
pub mod source;
pub mod wal;
