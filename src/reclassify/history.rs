//! What a warehouse has of sessions: their readings in the order in which the agent took them, and their windows.
//!
//! - Readings are streamed, a session at a time; of windows those of one session are in memory.
//! - Nothing is changed, and services may run.

mod file;
mod in_sql;

use std::ops::Range;
use std::rc::Rc;

use super::compare::Row;
use super::recompute::Reading;
use crate::warehouse::{Sql, Warehouse};

/// The sensor whose readings are classified.
const CLASSIFIED: &str = "accelerometer";

/// The sensor that says what somebody wrote on the phone.
pub(crate) const ANNOTATION: &str = "annotation";

/// One recording of one phone, as one agent took it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Session {
    pub(crate) key: Key,
    /// Least and greatest time of its readings, ns; none if it has none.
    pub(crate) times: Option<(i64, i64)>,
    /// Whether somebody annotated it.
    pub(crate) is_annotated: bool,
    /// Where its readings lie in a file.
    rows: Option<file::Rows>,
}

/// Whose a session is. A null is none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) device: Option<Rc<str>>,
    pub(crate) session: Option<Rc<str>>,
    pub(crate) agent: Option<Rc<str>>,
}

/// Which sessions are asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) device: Option<String>,
    /// How its id begins.
    pub(crate) session: Option<String>,
}

impl Wanted {
    fn has(&self, device: Option<&str>, session: Option<&str>) -> bool {
        self.device.as_deref().is_none_or(|wanted| device == Some(wanted))
            && self.session.as_deref().is_none_or(|wanted| session.is_some_and(|session| session.starts_with(wanted)))
    }
}

impl Session {
    fn without_readings(key: Key) -> Self {
        Self { key, times: None, is_annotated: false, rows: None }
    }

    /// Whether none of its readings are within an hour of `span`; of one without readings nobody knows.
    pub(crate) fn is_outside(&self, span: &Range<i64>) -> bool {
        const HOUR: i64 = 3_600_000_000_000;
        self.times.is_some_and(|(least, greatest)| {
            greatest.saturating_add(HOUR) < span.start || least.saturating_sub(HOUR) >= span.end
        })
    }
}

/// A warehouse that is read. Errors are sentences.
pub(crate) enum History {
    File(file::File),
    Sql(in_sql::Database),
}

impl History {
    /// Opens `warehouse`.
    pub(crate) fn open(warehouse: &Warehouse) -> Result<Self, String> {
        match warehouse {
            Warehouse::File(path) => file::File::open(path).map(Self::File),
            Warehouse::Postgres(options) => {
                // A session may take the server long to sort.
                let options =
                    gaitway_sink::postgres::Options { statement_timeout: in_sql::PATIENCE, ..options.clone() };
                Sql::postgres(&options).and_then(in_sql::Database::open).map(Self::Sql)
            }
            Warehouse::Snowflake(_) => Err(unread(warehouse)),
        }
    }

    /// The sessions that are wanted, in order of their keys; those without readings if they have windows.
    pub(crate) fn sessions(&mut self, wanted: &Wanted) -> Result<Vec<Session>, String> {
        match self {
            Self::File(file) => file.sessions(wanted),
            Self::Sql(database) => database.sessions(wanted),
        }
    }

    /// Calls `visit` with every reading of `session`, in the order in which the agent took them.
    pub(crate) fn readings(&mut self, session: &Session, visit: &mut dyn FnMut(&Reading<'_>)) -> Result<(), String> {
        match self {
            Self::File(file) => file.readings(session, visit),
            Self::Sql(database) => database.readings(&session.key, visit),
        }
    }

    /// The windows of a session, whichever agent told them, in order of their start, latest revision first; and how many
    /// rows say no window.
    pub(crate) fn windows(&mut self, key: &Key) -> Result<(Vec<Row>, u64), String> {
        match self {
            Self::File(file) => file.windows(key),
            Self::Sql(database) => database.windows(key),
        }
    }
}

/// Why windows of `warehouse`, which is Snowflake, are not computed anew.
pub(super) fn unread(warehouse: &Warehouse) -> String {
    format!(
        "the warehouse is {warehouse}, and readings in Snowflake are not read: name a local warehouse or PostgreSQL, give \
         tune recordings, or compute windows anew with deploy/spark/reclassify.py"
    )
}

/// The same few words, once.
#[derive(Debug, Default)]
struct Words(std::collections::BTreeSet<Rc<str>>);

impl Words {
    fn of(&mut self, word: Option<&str>) -> Option<Rc<str>> {
        let word = word?;
        if let Some(known) = self.0.get(word) {
            return Some(Rc::clone(known));
        }
        let word: Rc<str> = word.into();
        self.0.insert(Rc::clone(&word));
        Some(word)
    }
}
