//! **The page as people see it**, in a real Chromium, at a phone's and a desktop's size: what it shows and how soon,
//! what it says when something is away, and that nobody is shut out.
//!
//! - What the pages look like is kept in `target/screenshots`.
//! - No page may complain: no error of a script, nothing that its policy forbids.
//!
//! They need Debian's `chromium`, and axe-core as `deploy/dev/axe.sh` fetches it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "live_page/day.rs"]
mod day;
#[path = "live_page/deaf.rs"]
mod deaf;
#[path = "live_page/everybody.rs"]
mod everybody;
#[path = "live_page/faults.rs"]
mod faults;
mod harness;
#[path = "live_page/house.rs"]
mod house;
#[path = "live_page/motion.rs"]
mod motion;
#[path = "live_page/setting_up.rs"]
mod setting_up;
#[path = "live_page/walker.rs"]
mod walker;
