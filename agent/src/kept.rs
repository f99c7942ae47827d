//! Lists as files of the data directory, which commands change while the agent runs.
//!
//! - A file is replaced whole, and is on the disk before a command says so; one process changes it at a time.
//! - It is its owner's alone. Where root changes it, it stays the data directory's owner's, and nothing else is touched.
//! - The agent looks whether it changed before every use.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use gaitway_service::key_file;
use gaitway_service::lock::{self, DataDir};
use gaitway_service::stamp::Stamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Greatest file that is read, bytes: far more than the longest list takes.
const LONGEST: u64 = 4 << 20;

/// How a list is kept.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// Its file's name.
    pub file: &'static str,
    /// What it is called in there: `{"version": …, key: …}`.
    pub key: &'static str,
    /// The version of the file's form.
    pub version: u64,
    /// What it is called in sentences.
    pub what: &'static str,
    /// What to do where it makes no sense.
    pub remedy: &'static str,
}

/// A list that is kept so. An empty one stands for a file that is not there when it is changed first.
pub trait Kept: Serialize + DeserializeOwned + Default {
    /// How.
    const FORM: Form;
}

/// A list that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {what} {} cannot be {doing}: {why}", .path.display())]
pub struct Unusable {
    what: &'static str,
    path: PathBuf,
    doing: &'static str,
    why: String,
}

/// The file of one data directory. Blocks for as long as its disk does.
#[derive(Debug)]
pub struct KeptFile<T> {
    path: PathBuf,
    read: Mutex<Option<Known<T>>>,
}

/// What was read when the file was so.
#[derive(Debug)]
struct Known<T> {
    stamp: Stamp,
    outcome: Result<Arc<T>, Unusable>,
}

impl<T: Kept> KeptFile<T> {
    /// The list in `data_dir`, which need not be there.
    pub fn new(data_dir: &Path) -> Self {
        Self { path: data_dir.join(T::FORM.file), read: Mutex::default() }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The list as it is now; none if there is no file.
    pub fn current(&self) -> Result<Option<Arc<T>>, Unusable> {
        let stamp = match fs::metadata(&self.path) {
            Ok(file) => Stamp::of(&file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.unusable("read", &error)),
        };
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = read.as_ref().filter(|known| known.stamp == stamp) {
            return known.outcome.clone().map(Some);
        }
        let outcome = self.load().map(Arc::new);
        *read = Some(Known { stamp, outcome: outcome.clone() });
        outcome.map(Some)
    }

    /// What takes its place once it is written; there while it is changed, and after a change that was killed.
    pub fn unfinished(&self) -> PathBuf {
        self.path.with_file_name(format!("{}.new", T::FORM.file))
    }

    /// Changes the list, which is made if it is not there; not if `change` fails.
    pub fn change<R, E>(&self, change: impl FnOnce(&mut T) -> Result<R, E>) -> Result<Result<R, E>, Unusable> {
        let failed = |error: io::Error| self.unusable("changed", &error);
        let dir = self.path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        DataDir::create(dir).map_err(|error| self.unusable("changed", &format!("{:#}", anyhow::Error::from(error))))?;
        let guard = lock::file(&dir.join(format!("{}.lock", T::FORM.file))).map_err(failed)?;
        guard.lock().map_err(failed)?;
        let mut list = if self.path.try_exists().map_err(failed)? { self.load()? } else { T::default() };
        let outcome = match change(&mut list) {
            Ok(outcome) => outcome,
            Err(refused) => return Ok(Err(refused)),
        };
        let text = written(&list).map_err(|error| failed(error.into()))?;
        self.replace(dir, &text).map_err(failed)?;
        Ok(Ok(outcome))
    }

    /// Nothing that was there before is written into: it may lead elsewhere.
    fn replace(&self, dir: &Path, text: &[u8]) -> io::Result<()> {
        let (folder, new) = (File::open(dir)?, self.unfinished());
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = key_file::owners_own(OpenOptions::new().write(true).create_new(true)).open(&new)?;
        key_file::give_to_owner_of(&folder, &file);
        file.write_all(text).and_then(|()| file.sync_all())?;
        fs::rename(&new, &self.path).and_then(|()| folder.sync_all())
    }

    fn load(&self) -> Result<T, Unusable> {
        let length = fs::metadata(&self.path).map_err(|error| self.unusable("read", &error))?.len();
        if length > LONGEST {
            return Err(self.unusable("read", &format!("it has {length} bytes")));
        }
        let text = fs::read(&self.path).map_err(|error| self.unusable("read", &error))?;
        read(&text).map_err(|why| self.unusable("read", &why))
    }

    fn unusable(&self, doing: &'static str, why: &impl ToString) -> Unusable {
        Unusable { what: T::FORM.what, path: self.path.clone(), doing, why: why.to_string() }
    }
}

fn written<T: Kept>(list: &T) -> serde_json::Result<Vec<u8>> {
    let Form { key, version, .. } = T::FORM;
    let fields = [("version".to_owned(), version.into()), (key.to_owned(), serde_json::to_value(list)?)];
    serde_json::to_vec_pretty(&Map::from_iter(fields))
}

/// What a file with this text holds, or why it is none.
fn read<T: Kept>(text: &[u8]) -> Result<T, String> {
    let Form { key, version: known, remedy, .. } = T::FORM;
    let wrong = |why: serde_json::Error| format!("{why}; {remedy}");
    let mut fields: Map<String, Value> = serde_json::from_slice(text).map_err(wrong)?;
    let version = fields.remove("version").and_then(|version| version.as_u64());
    if version != Some(known) {
        let version = version.map_or_else(|| "not there".to_owned(), |version| version.to_string());
        return Err(format!("its version is {version}, known is {known}; {remedy}"));
    }
    let list = fields.remove(key).ok_or_else(|| format!("`{key}` is missing; {remedy}"))?;
    match fields.keys().next() {
        Some(unknown) => Err(format!("it has an unknown field `{unknown}`; {remedy}")),
        None => serde_json::from_value(list).map_err(wrong),
    }
}
