//! A page of a phone's windows. Pure but for the history's file.
//!
//! - Pages one after the other give every window once, also where several recordings have windows that end together.

use std::ops::Range;

use gaitway_proto::activity::Window;

use super::query::MOST;
use crate::recent::{Recent, RecentError};

/// Windows with their recordings, and where the next page begins.
pub(super) type Page = (Vec<(String, Window)>, Option<i64>);

/// The first windows of `device` that end in `span`: about `limit`, but all of those that end at the same moment.
pub(super) fn page(recent: &Recent, device: &str, span: Range<i64>, limit: usize) -> Result<Page, RecentError> {
    let mut windows = recent.windows(device, span.start, span.end, limit + 1)?;
    let Some(next) = windows.get(limit).map(|(_, window)| window.end) else { return Ok((windows, None)) };
    windows.retain(|(_, window)| window.end < next);
    if !windows.is_empty() {
        return Ok((windows, Some(next)));
    }
    let after = next.saturating_add(1);
    let together = recent.windows(device, next, after, MOST)?;
    let more = !recent.windows(device, after, span.end, 1)?.is_empty();
    Ok((together, more.then_some(after)))
}
