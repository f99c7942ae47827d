//! The one function that decides what may be deleted. It sees numbers only.
//!
//! - Only raw readings are deleted, oldest first, and of each deletion the reason is known.
//! - The newest reading always stays: SQLite gives the next row a rowid above the highest, and rowids must keep rising.
//! - For size nothing is deleted while the data is within `max_bytes`.
//! - For the disk nothing is deleted while what could be given back keeps it above its floor, and never the last
//!   [`DISK_SPARES`] bytes: a disk that is full of other things is not emptied by deleting readings.
//! - Space is given back when it is needed or much, else kept for the rows to come: flash wears.

/// Why a reading was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Older than `keep_raw`.
    Age,
    /// The data was above `max_bytes`.
    Size,
    /// The disk was below `min_free_percent`.
    Disk,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 3] = [Self::Age, Self::Size, Self::Disk];

    /// `age`, `size` or `disk`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Size => "size",
            Self::Disk => "disk",
        }
    }
}

/// The disk's floor leaves a warehouse this much: some hours of readings.
pub(super) const DISK_SPARES: u64 = 256 * 1024 * 1024;

/// Pages from this share of the file on are given back although nobody needs them.
const KEPT_FREE: u64 = 16;

/// What the configuration allows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    pub(super) max_bytes: u64,
    pub(super) min_free_percent: u8,
}

/// What there is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stock {
    /// Lowest and highest rowid of the raw readings, none if there are none.
    pub(super) rows: Option<(i64, i64)>,
    /// Greatest rowid that is older than what is kept.
    pub(super) expired: Option<i64>,
    /// Bytes of pages that hold data.
    pub(super) used: u64,
    /// Bytes of pages that hold none.
    pub(super) unused: u64,
    /// Bytes that the file and its log take on the disk, without the part of the log that is never given back.
    pub(super) held: u64,
    /// The disk, if it can be asked.
    pub(super) disk: Option<Disk>,
}

/// A disk, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Disk {
    pub(super) size: u64,
    pub(super) free: u64,
}

/// Readings that may be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Deletion {
    /// Up to and with this rowid.
    pub(super) up_to: i64,
    pub(super) reason: Reason,
}

/// The next deletion, of at most `at_most` rowids.
pub(super) fn next_deletion(policy: &Policy, stock: &Stock, at_most: i64) -> Option<Deletion> {
    let (first, last) = stock.rows.filter(|(first, last)| first < last)?;
    let chunk_end = first.saturating_add(at_most.max(1) - 1).min(last - 1);
    if let Some(expired) = stock.expired.filter(|row| *row >= first) {
        return Some(Deletion { up_to: expired.min(chunk_end), reason: Reason::Age });
    }
    let (reason, excess) = if let Some(excess) = above(stock.used, policy.max_bytes) {
        (Reason::Size, excess)
    } else {
        let missing = missing(policy, stock.disk, stock.held.saturating_sub(stock.used))?;
        (Reason::Disk, missing.min(above(stock.used, DISK_SPARES)?))
    };
    // As many rows as take that much on average; what they really take is seen before the next deletion.
    let rows = u128::from(excess) * u128::from(last.abs_diff(first)) / u128::from(stock.used);
    let needed = i64::try_from(rows).unwrap_or(i64::MAX);
    Some(Deletion { up_to: chunk_end.min(first.saturating_add(needed)), reason })
}

/// How many bytes of unused pages should be given back to the disk.
pub(super) fn give_back(policy: &Policy, stock: &Stock) -> u64 {
    let size = stock.used.saturating_add(stock.unused);
    if size > policy.max_bytes || disk_is_low(policy, stock.disk) {
        stock.unused
    } else {
        stock.unused.saturating_sub(size / KEPT_FREE)
    }
}

/// Whether the disk is below its floor.
pub(super) fn disk_is_low(policy: &Policy, disk: Option<Disk>) -> bool {
    missing(policy, disk, 0).is_some()
}

/// How many bytes the disk is below its floor, `returning` bytes counted as free already.
fn missing(policy: &Policy, disk: Option<Disk>, returning: u64) -> Option<u64> {
    let Disk { size, free } = disk?;
    let floor = u128::from(size) * u128::from(policy.min_free_percent) / 100;
    above(floor as u64, free.saturating_add(returning))
}

fn above(value: u64, limit: u64) -> Option<u64> {
    value.checked_sub(limit).filter(|excess| *excess > 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIB: u64 = 1 << 30;

    fn policy() -> Policy {
        Policy { max_bytes: 20 * GIB, min_free_percent: 5 }
    }

    fn calm() -> Stock {
        let disk = Some(Disk { size: 100 * GIB, free: 50 * GIB });
        Stock { rows: Some((1000, 9000)), expired: None, used: GIB, unused: 0, held: GIB, disk }
    }

    fn next(stock: Stock) -> Option<Deletion> {
        next_deletion(&policy(), &stock, 100)
    }

    #[test]
    fn what_is_within_all_limits_stays() {
        assert_eq!(next(calm()), None);
        assert_eq!(next(Stock { expired: Some(999), ..calm() }), None);
        assert_eq!(next(Stock { rows: None, used: 30 * GIB, ..calm() }), None);
    }

    #[test]
    fn the_oldest_go_first_a_chunk_at_a_time() {
        let age = |up_to| Some(Deletion { up_to, reason: Reason::Age });
        assert_eq!(next(Stock { expired: Some(1050), ..calm() }), age(1050));
        assert_eq!(next(Stock { expired: Some(8000), ..calm() }), age(1099));
        let size = |up_to| Some(Deletion { up_to, reason: Reason::Size });
        assert_eq!(next(Stock { used: 30 * GIB, ..calm() }), size(1099));
    }

    #[test]
    fn no_more_goes_than_is_needed() {
        let size = |used| next(Stock { used, ..calm() }).map(|d| (d.up_to - 999, d.reason));
        assert_eq!(size(20 * GIB + 1), Some((1, Reason::Size)));
        assert_eq!(size(20 * GIB + GIB / 40), Some((10, Reason::Size)));
        let low = Some(Disk { size: 100 * GIB, free: 5 * GIB - GIB / 100 });
        let disk = Stock { disk: low, used: 8 * GIB, held: 8 * GIB, ..calm() };
        assert_eq!(next(disk).map(|d| (d.up_to - 999, d.reason)), Some((10, Reason::Disk)));
    }

    #[test]
    fn the_newest_reading_always_stays() {
        let over = Stock { used: 40 * GIB, expired: Some(i64::MAX), ..calm() };
        let rows = |first, last| Stock { rows: Some((first, last)), ..over };
        assert_eq!(next(rows(i64::MAX - 1, i64::MAX)).map(|d| d.up_to), Some(i64::MAX - 1));
        assert_eq!(next(rows(i64::MAX, i64::MAX)), None);
        assert_eq!(next(rows(7, 9)).map(|d| d.up_to), Some(8));
    }

    #[test]
    fn the_disks_floor_counts_what_is_on_its_way_back() {
        let low = Stock { disk: Some(Disk { size: 100 * GIB, free: 4 * GIB }), ..calm() };
        assert_eq!(next(low).map(|d| d.reason), Some(Reason::Disk));
        assert_eq!(next(Stock { held: 2 * GIB, ..low }), None);
        assert_eq!(next(Stock { disk: None, ..low }), None);
    }

    #[test]
    fn a_disk_full_of_other_things_is_not_emptied_by_deleting_readings() {
        let full = Some(Disk { size: 100 * GIB, free: 0 });
        assert_eq!(next(Stock { disk: full, used: DISK_SPARES, held: DISK_SPARES, ..calm() }), None);
    }

    #[test]
    fn space_is_given_back_when_needed_or_much() {
        let some = Stock { unused: GIB / 20, ..calm() };
        assert_eq!(give_back(&policy(), &some), 0);
        assert_eq!(give_back(&policy(), &Stock { unused: GIB, ..calm() }), GIB - 2 * GIB / 16);
        assert_eq!(give_back(&policy(), &Stock { used: 20 * GIB, ..some }), GIB / 20);
        let low = Some(Disk { size: 100 * GIB, free: GIB });
        assert_eq!(give_back(&policy(), &Stock { disk: low, ..some }), GIB / 20);
    }

    prop_compose! {
        fn stocks()(
            first in 0..i64::MAX, more in 0..i64::MAX, expired in prop::option::of(any::<i64>()),
            used in 0..40 * GIB, unused in 0..40 * GIB, held in 0..80 * GIB, size in 0..400 * GIB, free in 0..400 * GIB,
        ) -> Stock {
            let rows = Some((first, first.saturating_add(more)));
            Stock { rows, expired, used, unused, held, disk: Some(Disk { size, free }) }
        }
    }

    proptest! {
        #[test]
        fn every_deletion_has_its_reason(stock in stocks(), at_most in 1_i64..10_000) {
            let (first, last) = stock.rows.unwrap();
            if let Some(Deletion { up_to, reason }) = next_deletion(&policy(), &stock, at_most) {
                prop_assert!(first <= up_to && up_to < last);
                prop_assert!(up_to - first < at_most);
                match reason {
                    Reason::Age => prop_assert!(up_to <= stock.expired.unwrap()),
                    Reason::Size => prop_assert!(stock.used > policy().max_bytes),
                    Reason::Disk => {
                        let disk = stock.disk.unwrap();
                        prop_assert!(disk.free < disk.size / 20 + 1 && stock.used > DISK_SPARES);
                    }
                }
            }
        }

        /// Deleting page by page ends as soon as the limits hold.
        #[test]
        fn deleting_stops_at_the_limit(stock in stocks()) {
            let mut stock = Stock { expired: None, ..stock };
            let page = GIB / 64;
            let before = stock.used;
            while next_deletion(&policy(), &stock, 1).is_some() && stock.used > 0 {
                let freed = page.min(stock.used);
                stock.used -= freed;
                stock.unused += freed;
            }
            if stock.used < before {
                let previous = Stock { used: stock.used + page, ..stock };
                prop_assert!(next_deletion(&policy(), &previous, 1).is_some() || before - stock.used < page);
            }
            prop_assert!(give_back(&policy(), &stock) <= stock.unused);
        }
    }
}
