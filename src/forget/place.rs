//! A place that has records, what it has of a device, and how it forgets that.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gaitway_agent::phones::PhonesFile;
use gaitway_agent::recent::{self, forget as today};
use gaitway_agent::spool::forget as spool;
use gaitway_service::clock;
use gaitway_sink::sqlite::{forget as sqlite, set_aside_with};
use gaitway_sink::{forgetting, postgres, snowflake};

use crate::places::Places;
use crate::warehouse::{self, Warehouse};

/// How often people who wait are told how far it is.
const EVERY: Duration = Duration::from_secs(10);

/// One place.
#[derive(Debug)]
pub(super) enum Place {
    /// An agent's spool.
    Spool(PathBuf),
    /// What an agent shows of today.
    Recent(PathBuf),
    /// The list of phones in an agent's data directory.
    Phones(PathBuf),
    /// A local warehouse.
    File(PathBuf),
    /// A PostgreSQL database.
    Postgres(Box<postgres::Options>),
    /// Snowflake.
    Snowflake(Box<snowflake::Options>),
    /// What was set aside after damage: of the spool in an agent's data directory, and of warehouses.
    SetAside { agent: PathBuf, warehouses: Vec<PathBuf> },
}

/// What a place has of a device, or had.
#[derive(Debug, Default)]
pub(super) struct Held {
    counts: Vec<(u64, &'static str)>,
    /// Names of phones that push as the device.
    pub(super) phones: Vec<String>,
    files: Vec<PathBuf>,
    /// Rows were deleted, and the file not written anew.
    pub(super) is_unfinished: bool,
}

impl Held {
    pub(super) fn is_nothing(&self) -> bool {
        self.counts.iter().all(|(count, _)| *count == 0)
            && self.phones.is_empty()
            && self.files.is_empty()
            && !self.is_unfinished
    }

    /// What of it stays where whole files are not deleted, and what is to be done.
    pub(super) fn left(&self) -> impl Iterator<Item = String> {
        self.files.iter().filter(|file| !is_frame(file)).map(|file| {
            format!(
                "{} holds others' data too: salvage from it what is wanted, then run this again with --set-aside",
                file.display()
            )
        })
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_nothing() {
            return f.write_str("nothing");
        }
        let counts = self.counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{what} {count}"));
        let phones = self.phones.iter().map(|phone| format!("it is phone {phone:?}"));
        let files = self.files.iter().map(|file| file.display().to_string());
        let unfinished = self.is_unfinished.then(|| {
            "a deletion that did not come to its end: rows are gone, bytes not yet: run without --dry-run".to_owned()
        });
        f.write_str(&counts.chain(phones).chain(files).chain(unfinished).collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spool(path) => write!(f, "spool {}", path.display()),
            Self::Recent(path) => write!(f, "windows of these days {}", path.display()),
            Self::Phones(dir) => write!(f, "list of phones {}", PhonesFile::new(dir).path().display()),
            Self::File(path) => write!(f, "warehouse {}", path.display()),
            Self::Postgres(options) => write!(f, "PostgreSQL {}", options.url),
            Self::Snowflake(options) => write!(f, "Snowflake, database {}", options.database),
            Self::SetAside { .. } => f.write_str("files set aside after damage"),
        }
    }
}

impl Place {
    /// Those that are there, in the order of a record's path; and those that are not.
    pub(super) fn all(places: &Places) -> (Vec<Self>, Vec<Self>) {
        let agent = places.spool.parent().unwrap_or(Path::new("")).to_owned();
        let local =
            [Self::Spool(places.spool.clone()), Self::Recent(agent.join(recent::FILE)), Self::Phones(agent.clone())];
        let local = local.into_iter().chain(places.files.iter().cloned().map(Self::File));
        let (mut all, absent): (Vec<_>, Vec<_>) = local.partition(|place| match place {
            Self::Spool(path) | Self::Recent(path) | Self::File(path) => path.exists(),
            Self::Phones(dir) => PhonesFile::new(dir).path().exists(),
            Self::Postgres(_) | Self::Snowflake(_) | Self::SetAside { .. } => true,
        });
        let is_local = !all.is_empty();
        match &places.warehouse {
            Warehouse::Postgres(options) => all.push(Self::Postgres(Box::new(options.clone()))),
            Warehouse::Snowflake(options) => all.push(Self::Snowflake(options.clone())),
            Warehouse::File(_) => {}
        }
        // Also where the file itself is gone.
        let mut directories = std::iter::once(agent.clone()).chain(places.files.iter().map(|file| directory_of(file)));
        if is_local || directories.any(|dir| has_set_aside(&dir)) {
            all.push(Self::SetAside { agent, warehouses: places.files.clone() });
        }
        (all, absent)
    }

    /// The data directories whose locks it needs.
    pub(super) fn directories(&self) -> Vec<PathBuf> {
        match self {
            Self::Spool(path) | Self::Recent(path) | Self::File(path) => vec![directory_of(path)],
            Self::Phones(dir) => vec![real(dir)],
            Self::SetAside { agent, warehouses } => {
                let all = std::iter::once(real(agent)).chain(warehouses.iter().map(|file| directory_of(file)));
                all.filter(|dir| has_set_aside(dir)).collect()
            }
            Self::Postgres(_) | Self::Snowflake(_) => Vec::new(),
        }
    }

    /// What there is. Services may run. The error is a sentence.
    pub(super) fn look(&self, device: &str) -> Result<Held, String> {
        match self {
            Self::Spool(path) => spool::look(path, device).map(Held::from),
            Self::Recent(path) => today::look(path, device).map(Held::from),
            Self::Phones(dir) => {
                let phones = PhonesFile::new(dir).current().map_err(|error| error.to_string())?;
                let phones = phones.map(|phones| phones.of_device(device)).unwrap_or_default();
                Ok(Held { phones, ..Held::default() })
            }
            Self::File(path) => {
                let held = sqlite::look(path, device, &mut progress(path, "looked at"))?;
                Ok(Held { is_unfinished: sqlite::is_unfinished(path), ..Held::from(held) })
            }
            Self::Postgres(options) => postgres::Forget::open(options)?.look(device).map(Held::from),
            Self::Snowflake(options) => {
                warehouse::snowflake(options)?.ask(|client| client.held_of(device)).map(Held::from)
            }
            Self::SetAside { agent, warehouses } => {
                let cannot = |error: io::Error| format!("a file cannot be read: {error}");
                let spool::SetAside { mut frames, spools } = spool::set_aside(agent, device).map_err(cannot)?;
                frames.extend(spools);
                for file in warehouses {
                    frames.extend(set_aside_with(file, device.as_bytes()).map_err(cannot)?);
                }
                Ok(Held { files: frames, ..Held::default() })
            }
        }
    }

    /// Deletes it; what there was. `set_aside`: also whole files, whoever else's data they hold. The error is a sentence.
    pub(super) fn forget(&self, device: &str, set_aside: bool) -> Result<Held, String> {
        match self {
            Self::Spool(path) => spool::forget(path, device, clock::now_micros()).map(Held::from),
            Self::Recent(path) => today::forget(path, device).map(Held::from),
            Self::Phones(dir) => {
                let phones = PhonesFile::new(dir).forget(device).map_err(|error| error.to_string())?;
                Ok(Held { phones, ..Held::default() })
            }
            Self::File(path) => sqlite::forget(path, device, &mut progress(path, "passed")).map(Held::from),
            Self::Postgres(options) => postgres::Forget::open(options)?.delete(device).map(Held::from),
            Self::Snowflake(options) => {
                warehouse::snowflake(options)?.ask(|client| client.forget_device(device)).map(Held::from)
            }
            Self::SetAside { .. } => {
                let files: Vec<_> =
                    self.look(device)?.files.into_iter().filter(|file| set_aside || is_frame(file)).collect();
                for file in &files {
                    std::fs::remove_file(file)
                        .map_err(|error| format!("{} cannot be removed: {error}", file.display()))?;
                }
                Ok(Held { files, ..Held::default() })
            }
        }
    }
}

/// A frame is one device's alone.
fn is_frame(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "frame")
}

fn directory_of(file: &Path) -> PathBuf {
    real(file.parent().unwrap_or(Path::new("")))
}

fn real(directory: &Path) -> PathBuf {
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    directory.canonicalize().unwrap_or_else(|_| directory.to_owned())
}

/// Whether something lies in `directory` that was set aside after damage.
fn has_set_aside(directory: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(directory) else { return false };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.into_iter().any(|name| name == "damaged" || name.contains(".damaged-"))
}

impl From<spool::Held> for Held {
    fn from(held: spool::Held) -> Self {
        let spool::Held { pushes, readings, windows, sessions, open, seen } = held;
        let counts = vec![
            (pushes, "waiting pushes"),
            (readings, "readings in them"),
            (windows, "waiting windows"),
            (sessions, "sessions"),
            (open, "with open windows"),
            (seen, "remembered pushes"),
        ];
        Self { counts, ..Self::default() }
    }
}

impl From<today::Held> for Held {
    fn from(held: today::Held) -> Self {
        let today::Held { windows, is_unreadable } = held;
        let counts = vec![(windows, "windows"), (u64::from(is_unreadable), "file that cannot be read and goes whole")];
        Self { counts, ..Self::default() }
    }
}

impl From<forgetting::Held> for Held {
    fn from(held: forgetting::Held) -> Self {
        Self { counts: vec![(held.readings, "readings"), (held.windows, "windows")], ..Self::default() }
    }
}

/// Tells people on a terminal how far it is.
fn progress(path: &Path, what: &'static str) -> impl FnMut(u64, u64) {
    let (is_watched, mut told, path) = (io::stderr().is_terminal(), Instant::now(), path.display().to_string());
    move |passed, all| {
        if is_watched && told.elapsed() >= EVERY {
            told = Instant::now();
            // Who does not see it misses nothing.
            let _ = writeln!(io::stderr(), "{path}: {passed} of {all} rows {what}");
        }
    }
}
