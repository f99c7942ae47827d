//! Windows that end without a push: by silence, or because they are another's to tell.

use std::time::Instant;

use gaitway_proto::activity::ActivityFrame;
use rusqlite::Result;

use super::accept::spool_windows;
use super::news::{Closing, Heard};
use super::state::State;
use crate::spool::rows::Rows;

/// Sessions closed in one transaction: after a restart all may fall silent at the same moment.
const CLOSE_SESSIONS: usize = 64;

impl State {
    pub(super) fn close_silent(&mut self, rows: &Rows<'_>, now: Instant) -> Result<()> {
        let silence = self.settings.silence;
        let is_silent = |heard: &Instant| now.saturating_duration_since(*heard) >= silence;
        let spoke: Vec<i64> = self.heard_now.iter().map(|(id, _)| *id).collect();
        let silent: Vec<i64> = self
            .heard
            .iter()
            .filter(|(id, heard)| is_silent(heard) && !spoke.contains(id))
            .map(|(id, _)| *id)
            .take(CLOSE_SESSIONS)
            .collect();
        let (ordinal, _) = self.queue.present();
        for id in silent {
            let session = self.sessions.by_id(rows, id, now)?;
            session.windows.begin_epoch(ordinal);
            let closed = session.windows.flush();
            session.save(rows)?;
            let (device, name) = (session.row.device.clone(), session.row.session.clone());
            let (holes, late) = (session.seen.holes(), session.row.late);
            spool_windows(rows, &mut self.queue, (&device, &name), &closed)?;
            self.news.heard.push(Heard {
                device,
                session: name,
                at: now,
                readings: 0,
                running: None,
                present: Vec::new(),
                closed: Closing::of(&closed),
                sent: Vec::new(),
                bins: Vec::new(),
                holes,
                late,
                is_silence: true,
                is_withheld: false,
            });
            self.heard_now.push((id, None));
        }
        Ok(())
    }

    /// This data directory is a copy of one that has its starts up to `common`: the windows that were open then are
    /// another's to tell. Starts up to the last one welcomed were told so in their time; what the others since then
    /// closed was not sent yet.
    pub(super) fn let_go(&mut self, rows: &Rows<'_>, common: u64, now: Instant) -> Result<()> {
        let (ordinal, _) = self.queue.present();
        let first = common.max(self.queue.last_welcomed()).saturating_add(1).min(ordinal);
        self.keep_welcomed(rows)?;
        let mut windows = 0;
        for (id, bytes) in rows.inherited(first)? {
            // A damaged frame tells nothing; it becomes a gap when it is to be sent.
            let Ok(mut frame) = ActivityFrame::decode(&bytes) else { continue };
            windows += frame.windows.len() as u64;
            frame.windows.clear();
            rows.replace_activity(id, &frame.encode())?;
        }
        self.copied = Some(ordinal);
        rows.set_copied(ordinal)?;
        let open = rows.open_sessions()?;
        for id in &open {
            let session = self.sessions.by_id(rows, *id, now)?;
            session.windows.begin_epoch(ordinal);
            // Another continues this very start: which windows it took along, nobody here knows.
            let gone = if common == ordinal { session.windows.let_go_of_all() } else { session.windows.let_go() };
            windows += gone.windows;
            session.save(rows)?;
        }
        self.news.let_go += windows;
        tracing::warn!(
            windows,
            sessions = open.len(),
            "this data directory was copied: windows that the other may tell were let go of"
        );
        Ok(())
    }
}
