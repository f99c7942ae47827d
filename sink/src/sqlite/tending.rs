//! Housekeeping between commits: ages, deletion, space given back, the log's growth. What may be deleted is decided in
//! [`retention`](super::retention); this carries it out.
//!
//! - One call takes about its budget, and then at most one commit.
//! - A deleted row is counted once its deletion is committed, and never before.
//! - The watermark, activity and gaps are never touched.
//! - A log that cannot be copied for want of room keeps nothing from being deleted: that makes the room.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::ages::{AgeMark, Ages, WallClock};
use super::counters::{Counters, Deleted};
use super::log::empty_log;
use super::opening::WAL_LIMIT;
use super::place::Place;
use super::retention::{Disk, Policy, Reason, Stock, disk_is_low, give_back, next_deletion};

/// Size of a page, bytes.
const PAGE: u64 = 4096;

/// Rowids that one statement deletes, at most.
const MAX_CHUNK: i64 = 4096;

/// What the log may keep on a disk that is low, bytes.
const SHORT_LOG: u64 = 1024 * 1024;

/// Pages given back by one statement.
const VACUUM_PAGES: u64 = 64;

/// What keeps a warehouse within its limits.
#[derive(Debug)]
pub(super) struct Keeper {
    policy: Policy,
    ages: Ages,
    /// Rowids per statement, after what the last ones took.
    chunk: i64,
    told: Told,
}

/// What has been said already: each once.
#[derive(Debug, Default)]
struct Told {
    deleting: [bool; Reason::ALL.len()],
    disk_is_low: bool,
    nothing_left: bool,
    reader_holds_log: bool,
}

impl Keeper {
    pub(super) fn load(conn: &Connection, policy: Policy, keep: i64) -> rusqlite::Result<Self> {
        let mut statement = conn.prepare("SELECT lastRow, at FROM gaitway_ages ORDER BY id")?;
        let marks = statement.query_map([], |row| Ok(AgeMark { row: row.get(0)?, at: row.get(1)? }))?;
        let ages = Ages::new(keep, marks.collect::<rusqlite::Result<Vec<_>>>()?);
        Ok(Self { policy, ages, chunk: 16, told: Told::default() })
    }

    pub(super) fn tend(
        &mut self,
        conn: &mut Connection,
        place: &Place,
        counters: &Counters,
        now: WallClock,
        budget: Duration,
    ) -> rusqlite::Result<()> {
        let deadline = Instant::now() + budget;
        let low = disk_is_low(&self.policy, place.disk());
        let log_watched = self.watch_log(conn, place, if low { SHORT_LOG } else { WAL_LIMIT as u64 });
        let disk = place.disk();
        let mut stock = self.stock(conn, place, disk, now)?;
        let last = stock.rows.map_or(0, |(_, last)| last);
        let restarted = last < self.ages.covered();
        let work = restarted
            || self.ages.due(now)
            || next_deletion(&self.policy, &stock, self.chunk).is_some()
            || give_back(&self.policy, &stock) >= PAGE;
        if work {
            let transaction = Transaction::new(conn, TransactionBehavior::Immediate)?;
            let ages = age(&transaction, &self.ages, last, now)?;
            let deleted = self.delete(&transaction, place, disk, now, deadline)?;
            self.vacuum(&transaction, place, disk, now, deadline)?;
            stock = self.stock(&transaction, place, disk, now)?;
            transaction.commit()?;
            self.ages = ages;
            if deleted.any() {
                counters.add_deleted(deleted);
                tracing::debug!(file = %place.path().display(), ?deleted, "old raw readings deleted");
            }
        }
        counters.see(stock.used, place.wal_bytes());
        counters.see_room(self.policy.max_bytes, stock.disk.map(|disk| disk.free));
        self.tell(place.path(), &stock);
        log_watched
    }

    fn delete(
        &mut self,
        conn: &Connection,
        place: &Place,
        disk: Option<Disk>,
        now: WallClock,
        deadline: Instant,
    ) -> rusqlite::Result<Deleted> {
        let mut deleted = Deleted::default();
        let mut delete = conn.prepare_cached("DELETE FROM ACTIVITY_RECORDS WHERE rowid <= ?1")?;
        while Instant::now() < deadline {
            let stock = self.stock(conn, place, disk, now)?;
            let Some(deletion) = next_deletion(&self.policy, &stock, self.chunk) else { break };
            self.tell_deletion(place.path(), deletion.reason, &stock);
            let started = Instant::now();
            deleted.add(deletion.reason, delete.execute([deletion.up_to])? as u64);
            // Rows differ a thousandfold in size: their number follows the time they take.
            self.chunk = match started.elapsed().as_millis() {
                0 | 1 => (self.chunk * 2).min(MAX_CHUNK),
                2..=5 => self.chunk,
                _ => (self.chunk / 2).max(1),
            };
        }
        Ok(deleted)
    }

    fn vacuum(
        &self,
        conn: &Connection,
        place: &Place,
        disk: Option<Disk>,
        now: WallClock,
        deadline: Instant,
    ) -> rusqlite::Result<()> {
        while Instant::now() < deadline {
            let pages = (give_back(&self.policy, &self.stock(conn, place, disk, now)?) / PAGE).min(VACUUM_PAGES);
            if pages == 0 {
                break;
            }
            // It gives back one page a step.
            let mut statement = conn.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
            let mut steps = statement.raw_query();
            while steps.next()?.is_some() {}
        }
        Ok(())
    }

    fn stock(&self, conn: &Connection, place: &Place, disk: Option<Disk>, now: WallClock) -> rusqlite::Result<Stock> {
        let number = |sql: &str| conn.prepare_cached(sql)?.query_row([], |row| row.get::<_, Option<i64>>(0));
        let first = number("SELECT min(rowid) FROM ACTIVITY_RECORDS")?;
        let last = number("SELECT max(rowid) FROM ACTIVITY_RECORDS")?;
        let bytes = |pages: Option<i64>| pages.unwrap_or(0) as u64 * PAGE;
        let (all, unused) = (bytes(number("PRAGMA page_count")?), bytes(number("PRAGMA freelist_count")?));
        Ok(Stock {
            rows: first.zip(last),
            expired: self.ages.expired(now),
            used: all.saturating_sub(unused),
            unused,
            // So much log stays for the commits to come.
            held: place.held().saturating_sub(place.wal_bytes().min(SHORT_LOG)),
            disk,
        })
    }

    /// A reader that stays in an old snapshot keeps the log from being reused. That disturbs no commit, but the log
    /// grows. On a disk that is low the log gives back what it keeps for later.
    fn watch_log(&mut self, conn: &Connection, place: &Place, longest: u64) -> rusqlite::Result<()> {
        let wal_bytes = place.wal_bytes();
        if wal_bytes <= longest {
            return Ok(());
        }
        let held = !empty_log(conn)?;
        if held && !self.told.reader_holds_log {
            tracing::warn!(
                file = %place.path().display(), wal_bytes,
                "a program that reads the warehouse for long keeps its write-ahead log growing; close it to free the space"
            );
        }
        self.told.reader_holds_log = held;
        Ok(())
    }

    fn tell_deletion(&mut self, path: &Path, reason: Reason, stock: &Stock) {
        if std::mem::replace(&mut self.told.deleting[reason as usize], true) {
            return;
        }
        let used_bytes = stock.used;
        let file = path.display();
        match reason {
            Reason::Age => tracing::debug!(%file, "deleting raw readings older than keep_raw"),
            Reason::Size => tracing::info!(
                %file, used_bytes, max_bytes = self.policy.max_bytes,
                "the warehouse is above max_bytes: the oldest raw readings are deleted from now on"
            ),
            Reason::Disk => tracing::warn!(
                %file, used_bytes, min_free_percent = self.policy.min_free_percent,
                "the disk is below min_free_percent: the oldest raw readings are deleted until it is not"
            ),
        }
    }

    fn tell(&mut self, path: &Path, stock: &Stock) {
        let file = path.display();
        let deletion = next_deletion(&self.policy, stock, 1);
        let disk_is_low = disk_is_low(&self.policy, stock.disk) && deletion.is_none();
        if disk_is_low && !self.told.disk_is_low {
            tracing::warn!(%file, "the disk is nearly full, and not with raw readings: free space on it");
        }
        self.told.disk_is_low = disk_is_low;
        let nothing_left = stock.used > self.policy.max_bytes && deletion.is_none();
        if nothing_left && !self.told.nothing_left {
            tracing::warn!(
                %file, used_bytes = stock.used, max_bytes = self.policy.max_bytes,
                "activity alone is above max_bytes: raise it, raw readings are not kept"
            );
        }
        self.told.nothing_left = nothing_left;
    }
}

/// Sets a mark if one is due. The marks as they are once this is committed.
fn age(conn: &Connection, ages: &Ages, last: i64, now: WallClock) -> rusqlite::Result<Ages> {
    let mut ages = ages.clone();
    if last < ages.covered() {
        conn.execute("UPDATE gaitway_ages SET lastRow = ?1 WHERE lastRow > ?1", [last])?;
        ages.clamp(last);
    }
    if ages.due(now) {
        conn.execute("INSERT INTO gaitway_ages (lastRow, at) VALUES (?1, ?2)", (last, now.at))?;
        ages.push(AgeMark { row: last, at: now.at });
        let forgotten = ages.forget(now) as i64;
        conn.execute(
            "DELETE FROM gaitway_ages WHERE id IN (SELECT id FROM gaitway_ages ORDER BY id LIMIT ?1)",
            [forgotten],
        )?;
    }
    Ok(ages)
}
