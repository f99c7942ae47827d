//! From a data directory to a spool in use: opened, or begun anew where the former one is damaged or gone.
//!
//! - A damaged file is moved aside, whole, before a new one is made; nothing is overwritten or deleted.
//! - A new file that took the place of another keeps the agent's id and lets go of windows that may have been told.
//! - A file that is another's, of a newer version, or cannot be written is left as it is.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, bail};
use gaitway_proto::ledger::{Epoch, Stream};
use gaitway_proto::topic::AgentId;
use gaitway_service::clock;
use rusqlite::{Connection, TransactionBehavior};

use super::kept_id;
use crate::spool::damage::{self, Loss};
use crate::spool::presence::Presence;
use crate::spool::quarantine;
use crate::spool::rows::Rows;
use crate::spool::salvage::found::Found;
use crate::spool::salvage::source::Files;
use crate::spool::schema::{self, OpenError};
use crate::writer::state::{Settings, State};

/// New files in one beginning: the second is damaged only where the disk is.
const TRIES: usize = 3;

/// Pages of a file set aside that are looked at for the agent's id and the last ordinal.
const GLANCE: u32 = 4096;

/// A spool in use.
pub(super) struct Begun {
    pub(super) connection: Connection,
    pub(super) state: State,
    pub(super) agent: AgentId,
    /// What happened to the files before, a sentence each.
    pub(super) notices: Vec<String>,
}

/// What is known of the file before.
#[derive(Default)]
pub(super) struct Former {
    /// Why it is in use no longer, and what of it is still its own.
    lost: Option<(Loss, Presence)>,
    /// The agent's id in it.
    agent: Option<AgentId>,
    /// Its greatest ordinal.
    ordinal: u64,
    /// This process has used it, and another file is at its path now.
    swapped: bool,
}

impl Former {
    /// A spool that was lost while in use, as the start `ordinal` of `agent`.
    pub(super) fn lost(loss: Loss, presence: Presence, agent: AgentId, ordinal: u64) -> Self {
        let swapped = loss == Loss::Replaced;
        Self { lost: Some((loss, presence)), agent: Some(agent), ordinal, swapped }
    }
}

/// Why a start did not begin.
enum Failed {
    Damaged(String),
    Other(anyhow::Error),
}

impl From<OpenError> for Failed {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Damaged { what, .. } => Self::Damaged(what),
            error => Self::Other(error.into()),
        }
    }
}

impl Failed {
    /// What SQLite says of the spool at `path`.
    fn of(path: &Path, error: rusqlite::Error) -> Self {
        OpenError::of(path, error).into()
    }
}

impl From<anyhow::Error> for Failed {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

/// Opens the spool in `dir` and names this start in it.
pub(super) fn begin(
    dir: &Path,
    settings: &Settings,
    configured: Option<&AgentId>,
    mut former: Former,
) -> anyhow::Result<Begun> {
    let path = &settings.path;
    let mut notices = Vec::new();
    if let Some((loss, presence)) = former.lost.take() {
        let (file, log) = match loss {
            Loss::Damaged(_) | Loss::Vanished => (true, true),
            Loss::Replaced => (false, presence.owns_log()),
            Loss::LogVanished => (false, false),
        };
        notices.extend(set_aside(path, &loss, file, log, &mut former)?);
    } else if former.agent.is_none() {
        former.agent = kept_id::read(dir);
    }
    for _ in 0..TRIES {
        match name_start(path, settings, configured, &former) {
            Ok((connection, state, agent)) => {
                kept_id::keep(dir, &agent)
                    .with_context(|| format!("cannot keep the agent's id in {}", dir.display()))?;
                return Ok(Begun { connection, state, agent, notices });
            }
            Err(Failed::Damaged(what)) => {
                notices.extend(set_aside(path, &Loss::Damaged(what), true, true, &mut former)?);
            }
            Err(Failed::Other(error)) => return Err(error),
        }
    }
    bail!("spool {} is damaged as soon as it is made: its disk fails, replace it", path.display())
}

/// Moves what is left of a lost spool aside and learns from it what the next one needs; the sentence about it.
fn set_aside(path: &Path, loss: &Loss, file: bool, log: bool, former: &mut Former) -> anyhow::Result<Option<String>> {
    let at: String = gaitway_proto::schema::rfc3339(clock::now_micros().div_euclid(1_000_000) * 1_000_000_000)
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    let happened = damage::sentence(path, loss);
    let aside = quarantine::set_aside(path, &at, file, log)
        .with_context(|| format!("{happened}, and cannot be moved aside"))?;
    let dir = path.parent().unwrap_or(Path::new(".")).display();
    let sentence = match &aside {
        Some(aside) => {
            learn(aside, former);
            format!(
                "{happened}: what is left of it lies in {}, a new one is in use; stop the agent and run `gaitway agent \
                 spool salvage {} --data-dir {dir}` to get out what can be got out",
                aside.display(),
                aside.display(),
            )
        }
        None if *loss == Loss::LogVanished => format!("{happened}: what it held was written into the spool"),
        None if *loss == Loss::Replaced => format!("{happened}, which is in use now"),
        None => format!(
            "{happened}: a new one is in use; if the former still exists, stop the agent and run `gaitway agent spool \
             salvage FILE --data-dir {dir}`"
        ),
    };
    Ok(Some(sentence))
}

/// The agent's id and the last ordinal, where the file still tells them.
fn learn(aside: &Path, former: &mut Former) {
    let Ok(files) = Files::open(quarantine::spool_of(aside).as_deref().unwrap_or(aside)) else { return };
    let found = Found::glance(&files.image(), GLANCE);
    let ordinal = found.starts.last_key_value().map_or(0, |(ordinal, _)| *ordinal);
    former.ordinal = former.ordinal.max(ordinal);
    if former.agent.is_none() {
        former.agent = found.agent.and_then(|id| id.parse().ok());
    }
}

fn name_start(
    path: &Path,
    settings: &Settings,
    configured: Option<&AgentId>,
    former: &Former,
) -> Result<(Connection, State, AgentId), Failed> {
    let mut connection = schema::open(path)?;
    match named(&mut connection, path, settings, configured, former) {
        Ok((state, agent)) => Ok((connection, state, agent)),
        Err(error) => {
            schema::keep_log(&connection, true);
            Err(error)
        }
    }
}

fn named(
    connection: &mut Connection,
    path: &Path,
    settings: &Settings,
    configured: Option<&AgentId>,
    former: &Former,
) -> Result<(State, AgentId), Failed> {
    let sqlite = |error| Failed::of(path, error);
    let epoch = Epoch::from_random(getrandom::u64().context("the system gives no random numbers")?);
    let started_at = gaitway_proto::schema::rfc3339(clock::now_micros().saturating_mul(1000));
    let fresh = fresh_agent_id()?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sqlite)?;
    let rows = Rows(&transaction);
    let is_new = !rows.has_agent().map_err(sqlite)?;
    let mut queue =
        rows.begin_start_after(former.ordinal, epoch, &started_at, settings.tracks_sent()).map_err(sqlite)?;
    let kept = rows.agent(|| former.agent.as_ref().or(configured).cloned().unwrap_or(fresh)).map_err(sqlite)?;
    if former.swapped {
        // Its sessions may be older than what was told of them.
        rows.set_copied(queue.present().0).map_err(sqlite)?;
    }
    if former.swapped || (is_new && (former.agent.is_some() || former.ordinal > 0)) {
        tracing::warn!(
            agent = %kept,
            "this spool takes the place of another: of windows that one may have told none is told again"
        );
        rows.set_replaced().map_err(sqlite)?;
    }
    let agent = match configured {
        Some(configured) if *configured != kept => {
            let waiting: u64 = Stream::ALL.iter().map(|stream| queue.waiting(*stream)).sum();
            if waiting > 0 {
                return Err(Failed::Other(anyhow::anyhow!(
                    "the spool {} holds {waiting} frames named by agent {kept}: run it under that name (agent_id, or \
                     enrolled with a code for it) until the relay has them, then change it to {configured}",
                    path.display()
                )));
            }
            // Its earlier starts have another's name: to the relay of this one they never were.
            for ordinal in queue.forget_earlier() {
                rows.forget_start(ordinal).map_err(sqlite)?;
            }
            rows.set_agent(configured).map_err(sqlite)?;
            configured.clone()
        }
        _ => kept,
    };
    let state = State::load(settings.clone(), queue, &rows, Instant::now()).map_err(sqlite)?;
    transaction.commit().map_err(sqlite)?;
    Ok((state, agent))
}

/// The host's name and four random digits: two machines made from one image get names of their own.
fn fresh_agent_id() -> anyhow::Result<AgentId> {
    let host = gethostname::gethostname().to_string_lossy().chars().take(50).collect::<String>();
    let digits = getrandom::u32().context("the system gives no random numbers")? & 0xffff;
    let id = AgentId::from_free_text(&format!("{host}-{digits:04x}"));
    id.context("the host's name makes no agent id; set agent_id")
}
