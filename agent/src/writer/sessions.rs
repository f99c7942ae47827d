//! The sessions in use, as they are after the last transaction.
//!
//! - A session gets a row only with its first accepted push.
//! - What is held in memory is never forgotten on the disk.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::{Duration, Instant};

use crate::seen::Seen;
use crate::spool::rows::{Rows, SessionRow};
use crate::windows::SessionWindows;

/// Sessions held in memory at most; beyond it the least recently used half is read again when next used.
const MAX_HELD: usize = 512;

/// A session unused for so long is no longer held.
const IDLE: Duration = Duration::from_secs(600);

/// One (device, session) in use.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) row: SessionRow,
    pub(super) windows: SessionWindows,
    pub(super) seen: Seen,
    /// The stored windows could not be read: its next message lets go of what may have been told.
    pub(super) lost: bool,
    used: Instant,
}

/// All sessions in use.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    held: HashMap<i64, Session>,
    ids: HashMap<(String, String), i64>,
}

impl Sessions {
    /// The session of a device, if it has one.
    pub(super) fn find(
        &mut self,
        rows: &Rows<'_>,
        device: &str,
        session: &str,
        now: Instant,
    ) -> rusqlite::Result<Option<&mut Session>> {
        let key = (device.to_owned(), session.to_owned());
        let id = match self.ids.get(&key) {
            Some(id) => *id,
            None => match rows.session(device, session)? {
                Some(row) => row.id,
                None => return Ok(None),
            },
        };
        self.ids.insert(key, id);
        self.by_id(rows, id, now).map(Some)
    }

    /// The session of a device, made if it is new.
    pub(super) fn of(
        &mut self,
        rows: &Rows<'_>,
        device: &str,
        session: &str,
        now: Instant,
    ) -> rusqlite::Result<&mut Session> {
        let id = match self.find(rows, device, session, now)? {
            Some(session) => session.row.id,
            None => rows.insert_session(device, session)?,
        };
        self.ids.insert((device.to_owned(), session.to_owned()), id);
        self.by_id(rows, id, now)
    }

    /// The session of a row.
    pub(super) fn by_id(&mut self, rows: &Rows<'_>, id: i64, now: Instant) -> rusqlite::Result<&mut Session> {
        let session = match self.held.entry(id) {
            Entry::Occupied(held) => held.into_mut(),
            Entry::Vacant(place) => place.insert(Session::load(rows, id, now)?),
        };
        session.used = now;
        Ok(session)
    }

    /// Whether the session of a row is in use.
    pub(super) fn holds(&self, id: i64) -> bool {
        self.held.contains_key(&id)
    }

    /// Forgets what is held: the rows know.
    pub(super) fn clear(&mut self) {
        self.held.clear();
        self.ids.clear();
    }

    /// Lets go of sessions that are not in use.
    pub(super) fn tidy(&mut self, now: Instant) {
        let before = self.held.len();
        let mut oldest = now.checked_sub(IDLE);
        if before > MAX_HELD {
            let mut used: Vec<Instant> = self.held.values().map(|session| session.used).collect();
            let middle = *used.select_nth_unstable(before / 2).1;
            oldest = oldest.max(Some(middle));
        }
        self.held.retain(|_, session| Some(session.used) >= oldest);
        if self.held.len() < before {
            self.ids.retain(|_, id| self.held.contains_key(id));
        }
    }
}

impl Session {
    fn load(rows: &Rows<'_>, id: i64, now: Instant) -> rusqlite::Result<Self> {
        let row = rows.session_by_id(id)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        let mut lost = false;
        let windows = if row.windows.is_empty() {
            SessionWindows::new()
        } else {
            SessionWindows::decode(&row.windows).unwrap_or_else(|error| {
                let (device, session) = (&row.device, &row.session);
                tracing::error!(%error, device, session, "open windows are lost; what was received is kept");
                lost = true;
                SessionWindows::new()
            })
        };
        Ok(Self { windows, seen: rows.seen(id)?, lost, row, used: now })
    }

    /// Keeps what changed.
    pub(super) fn save(&mut self, rows: &Rows<'_>) -> rusqlite::Result<()> {
        self.row.windows = self.windows.encode();
        self.row.open = self.windows.has_open();
        rows.update_session(&self.row)
    }
}
