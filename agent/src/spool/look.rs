//! What people ask of a spool while its agent runs: the frames that wait, and what was accepted of each session.
//!
//! - Only reads, and in short transactions: the log goes back into the file between any two of them.
//! - What is accepted while this looks is left out: the sessions and the frames are those of one moment, and of these
//!   frames only those are given that still wait when their turn comes.

use std::path::{Path, PathBuf};

use gaitway_proto::ledger::{Epoch, Stream};
use gaitway_proto::topic::AgentId;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::check::{has_log, reading};
use super::mend::Stored;
use super::presence::{Identity, identity};
use super::queue::{ordinal_of, seq_of};
use super::withheld;

/// Frames read at a time.
const FRAMES: usize = 64;

/// A spool that is looked at.
#[derive(Debug)]
pub struct Look {
    path: PathBuf,
    connection: Connection,
    agent: AgentId,
    file: FileState,
}

/// What a connection was opened on: the file, and whether it has a log.
type FileState = (Option<Identity>, bool);

/// A frame that waits for the relay, or a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its place among all of its stream: rises with every frame.
    pub id: i64,
    /// The start that named it; none if the spool does not know it any more.
    pub epoch: Option<Epoch>,
    /// Counts starts.
    pub ordinal: u64,
    /// Its seq.
    pub seq: u64,
    /// Readings in it, or in the gap; 0 for windows.
    pub readings: u64,
    /// What it holds.
    pub held: Held,
}

/// What stands in a frame's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// The frame's bytes.
    Frame(Vec<u8>),
    /// Bytes that are no frame any more.
    Damaged,
    /// Frames that will not come.
    Gap {
        /// How many seqs.
        span: u64,
        /// How many pushes.
        messages: u64,
        /// Why.
        reason: String,
        /// Microseconds since the Unix epoch.
        noticed_at: i64,
    },
}

/// What was accepted of a (device, session).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// `deviceId`
    pub device: String,
    /// `sessionId`
    pub session: String,
    /// Pushes.
    pub messages: u64,
    /// Readings in them that are kept.
    pub readings: u64,
    /// Those that are not because the phone's owner wants it so.
    pub withheld: u64,
    /// Ids below the greatest that never came: pushes lost between phone and agent, or still on their way.
    pub holes: u64,
}

/// What was accepted, as of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Sessions that are remembered.
    pub sessions: Vec<Session>,
    /// Whether the agent may have accepted more than these say: its file took the place of another, is a copy, or holds
    /// what was salvaged from another.
    pub is_patchwork: bool,
    /// The last frame of each stream, by its id; 0 if there is none.
    pub last: [(Stream, i64); 2],
}

impl Look {
    /// Opens the spool at `path`. The error is a sentence.
    pub fn open(path: &Path) -> Result<Self, String> {
        let cannot = |why: &dyn std::fmt::Display| format!("the spool {} cannot be read: {why}", path.display());
        let file = file_state(path);
        let connection = reading(path).map_err(|why| cannot(&why))?;
        let agent = connection.query_row("SELECT id FROM agent", [], |row| row.get::<_, String>(0)).optional();
        let agent = agent.map_err(|error| cannot(&error))?.ok_or_else(|| cannot(&"it has no agent's id yet"))?;
        let agent = agent.parse().map_err(|_| cannot(&"its agent's id is none"))?;
        Ok(Self { path: path.to_owned(), connection, agent, file })
    }

    /// The agent whose it is.
    pub fn agent(&self) -> &AgentId {
        &self.agent
    }

    /// Whether what is read here is still what the agent writes: else open it again.
    pub fn is_current(&self) -> bool {
        self.file == file_state(&self.path)
    }

    /// The id of the frame before the last `back` ones of `stream`; 0 before the first.
    pub fn before_last(&self, stream: Stream, back: usize) -> Result<i64, String> {
        let sql = format!("SELECT id FROM {stream} ORDER BY id DESC LIMIT 1 OFFSET ?1");
        let id = self.connection.query_row(&sql, [back as i64], |row| row.get(0)).optional();
        id.map(|id| id.unwrap_or(0)).map_err(|error| self.cannot(&error))
    }

    /// Gives the next frames of `stream` after the row `after` and up to the row `last` that wait for the relay.
    /// They are few; none are left when none is given.
    pub fn waiting(&self, stream: Stream, after: i64, last: i64) -> Result<Vec<Waiting>, String> {
        self.read_waiting(stream, after, last).map_err(|error| self.cannot(&error))
    }

    fn read_waiting(&self, stream: Stream, after: i64, last: i64) -> rusqlite::Result<Vec<Waiting>> {
        let counts = match stream {
            Stream::Raw => "f.messages, f.readings",
            Stream::Activity => "0, 0",
        };
        let sql = format!(
            "SELECT f.id, f.frame, f.span, {counts}, f.reason, f.noticedAt, s.epoch FROM {stream} AS f
             LEFT JOIN start AS s ON s.ordinal = f.id >> 40
             LEFT JOIN stream AS m ON m.ordinal = f.id >> 40 AND m.stream = ?4
             WHERE f.id > ?1 AND f.id <= ?2 AND (f.id & 0xFFFFFFFFFF) + f.span - 1 > ifnull(m.acked, 0)
             ORDER BY f.id LIMIT ?3"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map(params![after, last, FRAMES as i64, stream.as_str()], waiting)?;
        rows.collect()
    }

    /// What was accepted, as of now.
    pub fn accepted(&self) -> Result<Accepted, String> {
        self.read_accepted().map_err(|error| self.cannot(&error))
    }

    fn read_accepted(&self) -> rusqlite::Result<Accepted> {
        let snapshot = self.connection.unchecked_transaction()?;
        let withheld = if snapshot.query_row(withheld::EXISTS, [], |row| row.get(0))? {
            "ifnull((SELECT w.readings FROM withheld AS w WHERE w.session = s.id), 0)"
        } else {
            "0"
        };
        let sql = format!(
            "SELECT device, session, messages, readings,
                    ifnull((SELECT max(last) + 1 - sum(last - first + 1) FROM seen_range WHERE session = s.id), 0),
                    {withheld}
             FROM session AS s ORDER BY device, session"
        );
        let mut statement = snapshot.prepare(&sql)?;
        let count = |row: &Row<'_>, column| row.get::<_, i64>(column).map(|count| count.max(0).cast_unsigned());
        let sessions = statement.query_map([], |row| {
            Ok(Session {
                device: row.get(0)?,
                session: row.get(1)?,
                messages: count(row, 2)?,
                readings: count(row, 3)?,
                holes: count(row, 4)?,
                withheld: count(row, 5)?,
            })
        })?;
        let sessions = sessions.collect::<rusqlite::Result<_>>()?;
        let sql = "SELECT EXISTS(SELECT 1 FROM agent WHERE replaced OR copied IS NOT NULL)
                       OR EXISTS(SELECT 1 FROM start WHERE salvaged)";
        let is_patchwork = snapshot.query_row(sql, [], |row| row.get(0))?;
        let last = |stream: Stream| {
            let sql = format!("SELECT ifnull(max(id), 0) FROM {stream}");
            snapshot.query_row(&sql, [], |row| row.get(0)).map(|id| (stream, id))
        };
        let [first, second] = Stream::ALL;
        Ok(Accepted { sessions, is_patchwork, last: [last(first)?, last(second)?] })
    }

    fn cannot(&self, error: &rusqlite::Error) -> String {
        format!("the spool {} cannot be read: {error}", self.path.display())
    }
}

fn file_state(path: &Path) -> FileState {
    (identity(path).ok().flatten(), has_log(path))
}

fn waiting(row: &Row<'_>) -> rusqlite::Result<Waiting> {
    let count = |column| row.get::<_, i64>(column).map(|count| count.max(0).cast_unsigned());
    let id = row.get(0)?;
    let held = match Stored::read(row.get_ref(1)?) {
        Stored::Frame(bytes) => Held::Frame(bytes),
        Stored::Damaged(_) => Held::Damaged,
        Stored::Gap => Held::Gap {
            span: count(2)?.max(1),
            messages: count(3)?,
            reason: row.get::<_, Option<String>>(5)?.unwrap_or_default(),
            noticed_at: row.get::<_, Option<i64>>(6)?.unwrap_or_default(),
        },
    };
    let epoch = row.get::<_, Option<i64>>(7)?.map(|epoch| Epoch::from_random(epoch.cast_unsigned()));
    Ok(Waiting { id, epoch, ordinal: ordinal_of(id), seq: seq_of(id), readings: count(4)?, held })
}
