//! The pages of a spool as its file and its log tell them.
//!
//! - A page that the log has committed is taken from there, any other from the file.
//! - No page number, however wrong, reads outside the two.

use std::collections::{HashMap, HashSet};

use super::cell;
use super::shape::Row;
use super::source::Source;
use super::wal::Log;

/// How far a page can be believed to be in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// In use, as far as can be told.
    Live,
    /// Behind a break in the log.
    Stray,
    /// On the list of free pages, or beyond the end: what it holds was deleted or moved.
    Free,
}

/// A page that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// How far it can be believed.
    pub standing: Standing,
    /// Its number, from 1.
    pub page: u32,
    /// Its offset in the log, if it is a stray.
    stray: Option<u64>,
}

/// A file and its log.
pub struct Image<'s> {
    file: &'s dyn Source,
    log_file: &'s dyn Source,
    log: Log,
    newest_strays: HashMap<u32, u64>,
    page_size: usize,
    pages: u32,
}

/// Sizes that are tried where nothing tells the right one.
const SIZES: [usize; 8] = [4096, 1024, 512, 2048, 8192, 16384, 32768, 65536];

/// Bytes of the file that are looked at to find the right size.
const SAMPLE: u64 = 8 << 20;

impl<'s> Image<'s> {
    /// The image of `file` and its log, either of which may be empty.
    pub fn new(file: &'s dyn Source, log_file: &'s dyn Source) -> Self {
        let log = Log::read(log_file);
        let newest_strays = log.strays.iter().copied().collect();
        let mut image = Self { file, log_file, log, newest_strays, page_size: 0, pages: 0 };
        let told = image.told_page_size();
        let rows = |image: &mut Self, size: usize| {
            image.set_page_size(size);
            let sample = u32::try_from(SAMPLE / size as u64).unwrap_or(u32::MAX);
            image.live().take(sample as usize).map(|place| image.count_frames(place)).sum::<usize>()
        };
        let right = match told {
            Some(told) if rows(&mut image, told) > 0 => told,
            _ => {
                let best = SIZES.into_iter().map(|size| (rows(&mut image, size), size)).rev().max_by_key(|(n, _)| *n);
                best.filter(|(found, _)| *found > 0).map(|(_, size)| size).or(told).unwrap_or(SIZES[0])
            }
        };
        image.set_page_size(right);
        image
    }

    /// Bytes of a page.
    pub fn page_size(&self) -> usize {
        self.page_size
    }

    /// Every page that may hold rows, those in use first.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        let free = self.free_pages();
        let standing = move |place: Place| Place {
            standing: if free.contains(&place.page) { Standing::Free } else { place.standing },
            ..place
        };
        let strays = self.log.strays.iter().filter(|_| self.log.page_size as usize == self.page_size);
        let strays = strays.map(|&(page, at)| Place { standing: Standing::Stray, page, stray: Some(at) });
        let pages: Vec<Place> = self.live().map(standing).collect();
        let (live, free): (Vec<Place>, Vec<Place>) = pages.into_iter().partition(|p| p.standing == Standing::Live);
        live.into_iter().chain(strays).chain(free)
    }

    /// The first `count` pages of the file and all of the log, for who cannot wait.
    pub fn first_places(&self, count: u32) -> impl Iterator<Item = Place> {
        self.live().take_while(move |place| place.page <= count)
    }

    /// Reads a page into `into`; false if it is not there.
    pub fn read(&self, place: Place, into: &mut Vec<u8>) -> bool {
        into.resize(self.page_size, 0);
        match place.stray {
            Some(at) => self.log_file.fill(at, into),
            None => self.page(place.page, into),
        }
    }

    /// Fills `into` with the page to which one in `place` leads.
    pub fn page_from(&self, place: Place, number: u32, into: &mut [u8]) -> bool {
        match self.newest_strays.get(&number) {
            Some(&at) if place.standing == Standing::Stray => self.log_file.fill(at, into),
            _ => self.page(number, into),
        }
    }

    /// Fills `into` with the front of page `number`.
    pub fn page(&self, number: u32, into: &mut [u8]) -> bool {
        if number == 0 {
            return false;
        }
        match self.log.committed.get(&number) {
            Some(&at) if self.log.page_size as usize == self.page_size => self.log_file.fill(at, into),
            _ => self.file.fill(u64::from(number - 1) * self.page_size as u64, into),
        }
    }

    /// Whether the log breaks off before commits that were synced.
    pub fn log_is_cut(&self) -> bool {
        self.log.is_cut()
    }

    fn set_page_size(&mut self, size: usize) {
        self.page_size = size;
        let of_file = u32::try_from(self.file.length() / size as u64).unwrap_or(u32::MAX);
        let of_log = self.log.committed.keys().copied().max().unwrap_or(0);
        self.pages = of_file.max(if self.log.page_size as usize == size { of_log } else { 0 });
    }

    /// Pages by number. Those beyond the end that the last commit tells are free.
    fn live(&self) -> impl Iterator<Item = Place> + use<> {
        let end = if self.log.pages > 0 { self.log.pages } else { u32::MAX };
        // A number that only the log's damaged head could tell would take for ever.
        (1..=self.pages).map(move |page| {
            let standing = if page > end { Standing::Free } else { Standing::Live };
            Place { standing, page, stray: None }
        })
    }

    fn count_frames(&self, place: Place) -> usize {
        let mut page = Vec::new();
        if !self.read(place, &mut page) {
            return 0;
        }
        let mut frames = 0;
        cell::each_row(self, place, &page, &mut |row, _| frames += usize::from(matches!(row, Row::Frame(_))));
        frames
    }

    /// As the file's header has it, or its log's.
    fn told_page_size(&self) -> Option<usize> {
        let mut header = [0; 24];
        let is_header = self.file.fill(0, &mut header) && header[21..24] == [64, 32, 32];
        let told = match usize::from(u16::from_be_bytes([header[16], header[17]])) {
            1 => 65536,
            size => size,
        };
        let of_log = Some(self.log.page_size as usize).filter(|size| *size > 0);
        Some(told).filter(|told| is_header && SIZES.contains(told)).or(of_log)
    }

    /// The list of free pages; empty if it is not as long as it says, or leads anywhere else.
    fn free_pages(&self) -> HashSet<u32> {
        let (mut free, mut trunks) = (HashSet::new(), HashSet::new());
        let mut header = [0; 40];
        let mut trunk = vec![0; self.page_size];
        let word = |bytes: &[u8], at: usize| {
            bytes.get(at..at + 4).map_or(0, |word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]))
        };
        if !self.page(1, &mut header) {
            return free;
        }
        let mut next = word(&header, 32);
        while next > 1 && trunks.insert(next) && self.page(next, &mut trunk) {
            let leaves = (word(&trunk, 4) as usize).min(self.page_size / 4 - 2);
            free.extend((0..leaves).map(|leaf| word(&trunk, 8 + 4 * leaf)));
            next = word(&trunk, 0);
        }
        free.extend(trunks);
        // A page of rows that is taken for one of the list leads beyond the end.
        let inside = next == 0 && free.iter().all(|page| (2..=self.pages).contains(page));
        if !inside || free.len() as u64 != u64::from(word(&header, 36)) {
            free.clear();
        }
        free
    }
}
