//! What is told in place of a person's data that was deleted on request: where, never whose.
//!
//! - Counts of what is owed to nobody any more are 0, so that no loss hides behind them.

/// Reason of the gap in place of frames that were deleted before they were sent. Every seq of it is gone.
pub const FRAMES: &str = "forgotten";

/// Reason of the notice in place of rows that were deleted from a warehouse: from the first to the last seq of which
/// rows were deleted, so many frames (`messages`) and rows (`readings`, of the stream `activity` windows) are gone; other
/// frames between them are not.
pub const ROWS: &str = "forgotten in the warehouse";
