//! Rows out of a page of a b-tree. Format: <https://www.sqlite.org/fileformat2.html#b_tree_pages>
//!
//! - Whatever the page says, nothing outside it is read, and no chain of overflow pages is followed further than its
//!   payload is long, nor beyond the largest row that a spool can hold.

use gaitway_proto::limits::MAX_FRAME;

use super::image::{Image, Place};
use super::record::{columns, varint};
use super::shape::Row;

/// Longest payload of a cell: a frame and the columns around it.
const MAX_PAYLOAD: usize = MAX_FRAME + 64 * 1024;

const TABLE_LEAF: u8 = 0x0d;
const INDEX_LEAF: u8 = 0x0a;
const INDEX_INTERIOR: u8 = 0x02;

/// The row id of a cell; an index has none of its own.
type RowId = Option<i64>;

/// A cell of a page: its place among the others.
pub type Slot = u16;

/// Calls `visit` with every row of the page in `place` that has the shape of a spool's.
pub fn each_row(image: &Image<'_>, place: Place, page: &[u8], visit: &mut dyn FnMut(Row<'_>, Slot)) {
    let Some(cells) = Cells::of(place, page) else { return };
    let mut payload = Vec::new();
    for slot in 0..cells.count {
        if let Some(row_id) = cells.payload(image, slot, &mut payload)
            && let Some(columns) = columns(&payload)
            && let Some(row) = Row::read(row_id, &columns)
        {
            visit(row, slot);
        }
    }
}

/// Calls `visit` with the row in one slot of a page.
pub fn one_row(image: &Image<'_>, place: Place, page: &[u8], slot: Slot, visit: &mut dyn FnMut(Row<'_>)) {
    let mut payload = Vec::new();
    if let Some(cells) = Cells::of(place, page)
        && let Some(row_id) = cells.payload(image, slot, &mut payload)
        && let Some(columns) = columns(&payload)
        && let Some(row) = Row::read(row_id, &columns)
    {
        visit(row);
    }
}

struct Cells<'p> {
    place: Place,
    page: &'p [u8],
    kind: u8,
    count: Slot,
    /// Where the pointers to the cells begin.
    pointers: usize,
}

impl<'p> Cells<'p> {
    fn of(place: Place, page: &'p [u8]) -> Option<Self> {
        // The file's own header stands before the first page's.
        let header = if place.page == 1 { 100 } else { 0 };
        let kind = *page.get(header)?;
        let size = match kind {
            TABLE_LEAF | INDEX_LEAF => 8,
            INDEX_INTERIOR => 12,
            _ => return None,
        };
        let count = u16::from_be_bytes([*page.get(header + 3)?, *page.get(header + 4)?]);
        Some(Self { place, page, kind, count, pointers: header + size })
    }

    /// Puts the whole payload of a cell into `payload`; gives its row id.
    fn payload(&self, image: &Image<'_>, slot: Slot, payload: &mut Vec<u8>) -> Option<RowId> {
        let pointer = self.pointers + 2 * usize::from(slot);
        let at = u16::from_be_bytes([*self.page.get(pointer)?, *self.page.get(pointer + 1)?]);
        let mut cell = self.page.get(usize::from(at)..)?;
        if self.kind == INDEX_INTERIOR {
            cell = cell.get(4..)?;
        }
        let (length, size) = varint(cell)?;
        let length = usize::try_from(length).ok().filter(|length| *length <= MAX_PAYLOAD)?;
        cell = &cell[size..];
        let mut row_id = None;
        if self.kind == TABLE_LEAF {
            let (id, size) = varint(cell)?;
            row_id = Some(id as i64);
            cell = &cell[size..];
        }
        let local = self.local(length);
        payload.clear();
        payload.extend_from_slice(cell.get(..local)?);
        if local < length {
            let next = cell.get(local..local + 4)?;
            let next = u32::from_be_bytes([next[0], next[1], next[2], next[3]]);
            follow(image, self.place, next, length, payload)?;
        }
        Some(row_id)
    }

    /// How much of a payload stands in the page itself.
    fn local(&self, length: usize) -> usize {
        let usable = self.page.len();
        let least = (usable - 12) * 32 / 255 - 23;
        let most = if self.kind == TABLE_LEAF { usable - 35 } else { (usable - 12) * 64 / 255 - 23 };
        if length <= most {
            return length;
        }
        let fitted = least + (length - least) % (usable - 4);
        if fitted <= most { fitted } else { least }
    }
}

/// Appends what stands in overflow pages, until `payload` is `length` long.
fn follow(image: &Image<'_>, place: Place, mut next: u32, length: usize, payload: &mut Vec<u8>) -> Option<()> {
    let mut page = vec![0; image.page_size()];
    while payload.len() < length {
        if !image.page_from(place, next, &mut page) {
            return None;
        }
        next = u32::from_be_bytes([page[0], page[1], page[2], page[3]]);
        let take = (length - payload.len()).min(page.len() - 4);
        payload.extend_from_slice(&page[4..4 + take]);
    }
    Some(())
}
