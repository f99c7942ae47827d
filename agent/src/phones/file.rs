//! The list of phones as a file, `phones.json` of the data directory. Commands change it while the agent runs.
//!
//! - It is replaced whole, and is on the disk before a command says so; one process changes it at a time.
//! - It is its owner's alone. Where root changes it, it stays the data directory's owner's.
//! - The agent looks whether it changed before every push.

use std::convert::Infallible;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use gaitway_service::lock::DataDir;
use gaitway_service::stamp::Stamp;
use serde::{Deserialize, Serialize};

use super::{OtherDevice, Phone, Phones};

const NAME: &str = "phones.json";

/// The version of the file's form.
const VERSION: u32 = 1;

/// Greatest file that is read, bytes: far more than [`MOST`](super::MOST) phones take.
const LONGEST: u64 = 4 << 20;

/// A list that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the list of phones {} cannot be {doing}: {why}", .path.display())]
pub struct Unusable {
    path: PathBuf,
    doing: &'static str,
    why: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    version: u32,
    phones: Phones,
}

/// The file of one data directory. Blocks for as long as its disk does.
#[derive(Debug)]
pub struct PhonesFile {
    path: PathBuf,
    read: Mutex<Option<Read>>,
}

/// What was read when the file was so.
#[derive(Debug)]
struct Read {
    stamp: Stamp,
    outcome: Result<Arc<Phones>, Unusable>,
}

impl PhonesFile {
    /// The list in `data_dir`, which need not be there.
    pub fn new(data_dir: &Path) -> Self {
        Self { path: data_dir.join(NAME), read: Mutex::default() }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The list as it is now; none if there is no file.
    pub fn current(&self) -> Result<Option<Arc<Phones>>, Unusable> {
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
        *read = Some(Read { stamp, outcome: outcome.clone() });
        outcome.map(Some)
    }

    /// Whether `device` may push with the token of `phone`; the first that does is noted before this says so.
    pub fn bind(&self, phone: &Phone, device: &str) -> Result<Result<(), OtherDevice>, Unusable> {
        match phone.is_of(device) {
            Some(true) => Ok(Ok(())),
            Some(false) => Ok(Err(OtherDevice { phone: phone.name.clone() })),
            None => self.change(|phones| phones.bind(phone, device)),
        }
    }

    /// Forgets which phones `device` pushes as; gives their names. They stay on the list, as before their first push.
    pub fn forget(&self, device: &str) -> Result<Vec<String>, Unusable> {
        let Some(phones) = self.current()? else { return Ok(Vec::new()) };
        let names = phones.of_device(device);
        // What a change that was killed left may name it too.
        if !names.is_empty() || self.beside().exists() {
            let unbind = |phones: &mut Phones| {
                phones.unbind(device);
                Ok(())
            };
            let Ok(()): Result<(), Infallible> = self.change(unbind)?;
        }
        Ok(names)
    }

    /// The file that takes its place once it is written.
    fn beside(&self) -> PathBuf {
        self.path.with_file_name("phones.json.new")
    }

    /// Changes the list, which is made if it is not there; not if `change` fails.
    pub fn change<T, E>(&self, change: impl FnOnce(&mut Phones) -> Result<T, E>) -> Result<Result<T, E>, Unusable> {
        let failed = |error: io::Error| self.unusable("changed", &error);
        let dir = self.path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        DataDir::create(dir).map_err(|error| Unusable {
            path: self.path.clone(),
            doing: "changed",
            why: format!("{:#}", anyhow::Error::from(error)),
        })?;
        let owner = fs::metadata(dir).map_err(failed)?;
        let guard = open(&dir.join(".phones.lock"), &owner, OpenOptions::new().truncate(false)).map_err(failed)?;
        guard.lock().map_err(failed)?;
        let mut phones = if self.path.try_exists().map_err(failed)? { self.load()? } else { Phones::default() };
        let outcome = match change(&mut phones) {
            Ok(outcome) => outcome,
            Err(refused) => return Ok(Err(refused)),
        };
        let text =
            serde_json::to_vec_pretty(&Form { version: VERSION, phones }).map_err(|error| failed(error.into()))?;
        let beside = self.beside();
        let mut file = open(&beside, &owner, OpenOptions::new().truncate(true)).map_err(failed)?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&beside, &self.path).and_then(|()| File::open(dir)?.sync_all()).map_err(failed)?;
        Ok(Ok(outcome))
    }

    fn load(&self) -> Result<Phones, Unusable> {
        let unreadable = |why: String| Unusable { path: self.path.clone(), doing: "read", why };
        let length = fs::metadata(&self.path).map_err(|error| self.unusable("read", &error))?.len();
        if length > LONGEST {
            return Err(unreadable(format!("it has {length} bytes")));
        }
        let text = fs::read(&self.path).map_err(|error| self.unusable("read", &error))?;
        match serde_json::from_slice(&text) {
            Ok(Form { version: VERSION, phones }) => Ok(phones),
            Ok(Form { version, .. }) => Err(unreadable(format!("its version is {version}, known is {VERSION}"))),
            Err(error) => Err(unreadable(format!("{error}; restore it, or move it away and add all phones anew"))),
        }
    }

    fn unusable(&self, doing: &'static str, error: &io::Error) -> Unusable {
        Unusable { path: self.path.clone(), doing, why: error.to_string() }
    }
}

/// A file for its owner alone, who is the directory's.
fn open(path: &Path, owner: &Metadata, options: &mut OpenOptions) -> io::Result<File> {
    let file = options.read(true).write(true).create(true).mode(0o600).open(path)?;
    let own = file.metadata()?;
    if own.uid() != owner.uid() || own.gid() != owner.gid() {
        chown(path, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::super::{Refused, Token};
    use super::*;

    fn add(file: &PhonesFile, name: &str) -> Result<Token, Refused> {
        let token = Token::random().unwrap();
        let added = file.change(|phones| phones.add(name, &token, "2026-01-31T12:00:00Z".to_owned())).unwrap();
        added.map(|()| token)
    }

    #[test]
    fn what_a_command_changes_is_in_force_for_whoever_has_the_list_open() {
        let dir = tempfile::tempdir().unwrap();
        let (agent, command) = (PhonesFile::new(dir.path()), PhonesFile::new(dir.path()));
        assert_eq!(agent.current(), Ok(None));
        let token = add(&command, "anna").unwrap();
        let phones = agent.current().unwrap().unwrap();
        assert_eq!(phones.with_token(token.reveal()).unwrap().name, "anna");
        assert!(Arc::ptr_eq(&phones, &agent.current().unwrap().unwrap()), "it is not read again");
        let mode = fs::metadata(agent.path()).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(add(&command, "anna").unwrap_err(), Refused::Taken("anna".to_owned()));
        command.change(|phones| phones.revoke("anna")).unwrap().unwrap();
        let phones = agent.current().unwrap().unwrap();
        assert_eq!(phones.iter().count(), 0, "an empty list is a list");
    }

    #[test]
    fn the_first_device_is_kept_with_its_token() {
        let dir = tempfile::tempdir().unwrap();
        let file = PhonesFile::new(dir.path());
        let token = add(&file, "anna").unwrap();
        let anna = |file: &PhonesFile| file.current().unwrap().unwrap().with_token(token.reveal()).unwrap().clone();
        let unbound = anna(&file);
        file.bind(&unbound, "d1").unwrap().unwrap();
        assert!(file.bind(&unbound, "d2").unwrap().is_err());
        let again = PhonesFile::new(dir.path());
        assert_eq!(anna(&again).device.as_deref(), Some("d1"));
        again.bind(&anna(&again), "d1").unwrap().unwrap();
    }

    #[test]
    fn a_forgotten_device_stands_in_no_file_and_its_phone_stays_on_the_list() {
        let dir = tempfile::tempdir().unwrap();
        let file = PhonesFile::new(dir.path());
        assert_eq!(file.forget("phone-1"), Ok(vec![]));
        assert!(!file.path().exists(), "no list is made");
        let token = add(&file, "anna").unwrap();
        let anna = |file: &PhonesFile| file.current().unwrap().unwrap().with_token(token.reveal()).unwrap().clone();
        file.bind(&anna(&file), "phone-1").unwrap().unwrap();
        fs::copy(file.path(), dir.path().join("phones.json.new")).unwrap();
        assert_eq!(file.forget("phone-2"), Ok(vec![]));
        assert_eq!(anna(&file).device.as_deref(), Some("phone-1"));
        assert_eq!(file.forget("phone-1"), Ok(vec!["anna".to_owned()]));
        assert_eq!(anna(&file).device, None);
        let files = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        assert!(files.map(|file| fs::read_to_string(file).unwrap()).all(|text| !text.contains("phone-1")));
        assert_eq!(file.forget("phone-1"), Ok(vec![]));
    }

    #[test]
    fn a_list_that_cannot_be_read_is_no_open_door() {
        let dir = tempfile::tempdir().unwrap();
        let file = PhonesFile::new(dir.path());
        for text in ["", "{", "{\"version\":2,\"phones\":[]}", "{\"version\":1,\"phones\":[],\"more\":1}", "[]"] {
            fs::write(file.path(), text).unwrap();
            let said = file.current().unwrap_err().to_string();
            assert!(said.contains("phones.json cannot be read"), "{text}: {said}");
            let changed = file.change(|phones| phones.revoke("anna"));
            assert!(changed.is_err(), "{text}: it is not written over");
        }
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "[]");
    }

    #[test]
    fn many_at_a_time_lose_no_change() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for number in 0..8 {
                let file = PhonesFile::new(dir.path());
                scope.spawn(move || add(&file, &format!("phone {number}")).unwrap());
            }
        });
        assert_eq!(PhonesFile::new(dir.path()).current().unwrap().unwrap().iter().count(), 8);
    }
}
