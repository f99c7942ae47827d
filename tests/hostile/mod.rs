//! A relay under attack, those who attack it, and well-behaved agents beside them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

pub(crate) mod attacks;
pub(crate) mod client;
pub(crate) mod frames;
pub(crate) mod house;
