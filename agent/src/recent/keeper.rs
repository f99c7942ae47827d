//! How closed windows come into the file: handed over by the writer, written by a thread of its own.
//!
//! - Handing over never waits; what waits is bounded, and what does not fit is dropped, counted, and said once.
//! - Nothing is written while the disk has less room than the spool leaves free and some more: people who look take nothing
//!   from what must be kept.
//! - No failure here ends the agent or refuses a push.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;

use super::store::{MAX_WINDOWS, Store, Told};
use super::{Recent, schema};
use crate::spool::damage;
use crate::spool::presence::{Identity, identity};
use crate::writer::upkeep::disk;

/// How long closed windows are collected before they are written.
pub const BATCH: Duration = Duration::from_secs(5);

/// Sets of windows, and windows, that may wait.
const SETS: usize = 1024;
const WINDOWS: usize = 16_384;

/// Windows written in one transaction, about.
const MOST: usize = 4096;

/// How often it is looked whether who read found damage, where nothing is to be written.
const IDLE: Duration = Duration::from_secs(60);

/// What stays free beside the spool's own floor, bytes.
const ROOM: u64 = 32 << 20;

/// The writer's end.
#[derive(Debug, Clone)]
pub struct Feed {
    told: SyncSender<Told>,
    /// Windows that wait.
    waiting: Arc<AtomicUsize>,
    is_said: Arc<AtomicBool>,
    dropped: Counter,
}

/// The thread's end.
#[derive(Debug)]
pub struct Keeper {
    recent: Recent,
    told: Receiver<Told>,
    waiting: Arc<AtomicUsize>,
    /// Part of the disk that the spool leaves free.
    floor: f64,
    dropped: Counter,
    /// Nothing was written since it was said why.
    is_stuck: bool,
    open: Option<(Store, Option<Identity>)>,
}

impl Recent {
    /// The two ends of what fills it. `min_free_percent`: of the disk, which the spool leaves free; `dropped` counts windows that
    /// are not kept.
    pub fn filled(&self, min_free_percent: f64, dropped: Counter) -> (Feed, Keeper) {
        let (out, told) = sync_channel(SETS);
        let waiting = Arc::<AtomicUsize>::default();
        let feed = Feed { told: out, waiting: waiting.clone(), is_said: Arc::default(), dropped: dropped.clone() };
        let floor = min_free_percent / 100.0;
        (feed, Keeper { recent: self.clone(), told, waiting, floor, dropped, is_stuck: false, open: None })
    }
}

impl Feed {
    /// Hands over what was told, if there is room.
    pub(crate) fn tell(&self, told: Told) {
        let windows = told.closed.len();
        let has_room = self.waiting.load(Ordering::Relaxed) + windows <= WINDOWS;
        self.waiting.fetch_add(windows, Ordering::Relaxed);
        if has_room && self.told.try_send(told).is_ok() {
            return;
        }
        self.waiting.fetch_sub(windows, Ordering::Relaxed);
        self.dropped.inc_by(windows as u64);
        if !self.is_said.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                windows,
                "today's windows come faster than they are written: some are missing in what the agent shows of today; \
                 everything is kept for the relay"
            );
        }
    }
}

impl Keeper {
    /// Writes what comes until every [`Feed`] is gone, and then what is left. Blocks its thread.
    pub fn run(mut self) -> anyhow::Result<()> {
        loop {
            let first = match self.told.recv_timeout(IDLE) {
                Ok(told) => told,
                Err(RecvTimeoutError::Timeout) => {
                    self.mend();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            let (mut windows, mut batch, until) = (first.closed.len(), vec![first], Instant::now() + BATCH);
            while windows < MOST
                && let Ok(told) = self.told.recv_timeout(until.saturating_duration_since(Instant::now()))
            {
                windows += told.closed.len();
                batch.push(told);
            }
            self.waiting.fetch_sub(windows, Ordering::Relaxed);
            if !self.keep(&batch) {
                self.dropped.inc_by(windows as u64);
            }
        }
    }

    /// Whether the batch is kept.
    fn keep(&mut self, batch: &[Told]) -> bool {
        self.mend();
        let path = self.recent.path.clone();
        let (free, total) = disk(path.parent().unwrap_or(Path::new(".")));
        if free < (total as f64 * self.floor) as u64 + ROOM {
            self.stuck("its disk is nearly full");
            return false;
        }
        let mut kept = self.try_keep(&path, batch);
        if kept.as_ref().is_err_and(|error| must_begin_anew(&path, error)) {
            self.begin_anew(&path, "it is damaged, or too large");
            kept = self.try_keep(&path, batch);
        }
        match kept {
            Ok(()) => self.is_stuck = false,
            Err(error) => {
                self.open = None;
                self.stuck(&error.to_string());
            }
        }
        !self.is_stuck
    }

    fn try_keep(&mut self, path: &Path, batch: &[Told]) -> rusqlite::Result<()> {
        // Somebody may have removed it.
        if self.open.as_ref().is_some_and(|(_, opened)| identity(path).ok() != Some(*opened)) {
            self.open = None;
        }
        if self.open.is_none() {
            let mut connection = schema::open(path)?;
            if connection.is_none() {
                self.begin_anew(path, "it is of another version");
                connection = schema::open(path)?;
            }
            let Some(connection) = connection else { return Err(rusqlite::Error::InvalidQuery) };
            self.open = Some((Store::new(connection, MAX_WINDOWS), identity(path).ok().flatten()));
        }
        let Some((store, _)) = &mut self.open else { return Err(rusqlite::Error::InvalidQuery) };
        store.keep(batch, Instant::now())
    }

    /// Throws the file away if who read found it damaged.
    fn mend(&mut self) {
        if self.recent.is_hurt.load(Ordering::Relaxed) {
            let path = self.recent.path.clone();
            self.begin_anew(&path, "it is damaged");
        }
    }

    fn begin_anew(&mut self, path: &Path, why: &str) {
        self.open = None;
        match schema::remove(path) {
            Ok(()) => {
                tracing::warn!(file = %path.display(), why, "what the agent shows of today begins anew; nothing accepted is lost");
                self.recent.is_hurt.store(false, Ordering::Relaxed);
            }
            Err(error) => self.stuck(&format!("it cannot be removed: {error}")),
        }
    }

    /// Says once why nothing is kept, until something is again.
    fn stuck(&mut self, why: &str) {
        if !std::mem::replace(&mut self.is_stuck, true) {
            tracing::warn!(
                file = %self.recent.path.display(), why,
                "windows are not kept for what the agent shows of today; pushes are accepted as before"
            );
        }
    }
}

/// Whether the file is thrown away: it is damaged, or has reached its greatest size though windows are bounded.
fn must_begin_anew(path: &Path, error: &rusqlite::Error) -> bool {
    let is_full = error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull);
    // Else it is the disk that is full, whatever it told before.
    let is_large = || path.metadata().is_ok_and(|file| file.len() >= schema::MAX_BYTES / 2);
    damage::of(error).is_some() || (is_full && is_large())
}
