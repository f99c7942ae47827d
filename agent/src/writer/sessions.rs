//! The sessions in use, as they are after the last transaction.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::{Duration, Instant};

use rusqlite::types::Type;

use crate::seen::Seen;
use crate::spool::rows::{Rows, SessionRow};
use crate::windows::SessionWindows;

/// Sessions held in memory at most; beyond it all are read again when next used.
const MAX_HELD: usize = 512;

/// A session unused for so long is no longer held.
const IDLE: Duration = Duration::from_secs(600);

/// One (device, session) in use.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) row: SessionRow,
    pub(super) windows: SessionWindows,
    pub(super) seen: Seen,
    used: Instant,
}

/// All sessions in use.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    held: HashMap<i64, Session>,
    ids: HashMap<(String, String), i64>,
}

impl Sessions {
    /// The session of a device, made if it is new.
    pub(super) fn of(
        &mut self,
        rows: &Rows<'_>,
        device: &str,
        session: &str,
        now: Instant,
    ) -> rusqlite::Result<&mut Session> {
        let key = (device.to_owned(), session.to_owned());
        let id = match self.ids.get(&key) {
            Some(id) => *id,
            None => match rows.session(device, session)? {
                Some(row) => row.id,
                None => rows.insert_session(device, session)?,
            },
        };
        self.ids.insert(key, id);
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

    /// Forgets what is held: the rows know.
    pub(super) fn clear(&mut self) {
        self.held.clear();
        self.ids.clear();
    }

    /// Lets go of sessions that are not in use.
    pub(super) fn tidy(&mut self, now: Instant) {
        if self.held.len() > MAX_HELD {
            self.clear();
        }
        self.held.retain(|_, session| now.saturating_duration_since(session.used) < IDLE);
        self.ids.retain(|_, id| self.held.contains_key(id));
    }
}

impl Session {
    fn load(rows: &Rows<'_>, id: i64, now: Instant) -> rusqlite::Result<Self> {
        let row = rows.session_by_id(id)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        let windows = if row.windows.is_empty() {
            SessionWindows::new()
        } else {
            // Refused rather than begun anew: windows already told would be told again.
            SessionWindows::decode(&row.windows)
                .map_err(|error| rusqlite::Error::FromSqlConversionFailure(3, Type::Blob, Box::new(error)))?
        };
        Ok(Self { windows, seen: rows.seen(id)?, row, used: now })
    }

    /// Keeps what changed.
    pub(super) fn save(&mut self, rows: &Rows<'_>) -> rusqlite::Result<()> {
        self.row.windows = self.windows.encode();
        self.row.open = self.windows.has_open();
        rows.update_session(&self.row)
    }
}
