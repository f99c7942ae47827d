//! The list of phones as a file, `phones.json` of the data directory. The agent looks whether it changed before every push.

use std::convert::Infallible;

use super::{OtherDevice, Phone, Phones};
use crate::kept::{Form, Kept, KeptFile, Unusable};

/// The file of one data directory.
pub type PhonesFile = KeptFile<Phones>;

impl Kept for Phones {
    const FORM: Form = Form {
        file: "phones.json",
        key: "phones",
        version: 1,
        what: "list of phones",
        remedy: "restore it, install the gaitway that wrote it, or move it away and add all phones anew",
    };
}

impl PhonesFile {
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
        if !names.is_empty() || self.unfinished().exists() {
            let unbind = |phones: &mut Phones| {
                phones.unbind(device);
                Ok(())
            };
            let Ok(()): Result<(), Infallible> = self.change(unbind)?;
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;
    use std::sync::Arc;

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
    fn a_list_from_before_there_was_privacy_is_read_and_one_with_more_of_it_than_is_known_lets_nobody_in() {
        let dir = tempfile::tempdir().unwrap();
        let file = PhonesFile::new(dir.path());
        let write = |more: &str| {
            let phone = format!(r#"{{"name":"anna","token_sha256":"00","added":"","device":"d1"{more}}}"#);
            fs::write(file.path(), format!(r#"{{"version":1,"phones":[{phone}]}}"#)).unwrap();
            let read = PhonesFile::new(dir.path()).current();
            read.map(|phones| phones.unwrap().iter().next().unwrap().privacy().to_string())
        };
        for (more, privacy) in [
            ("", "all"),
            (r#","keep":"all""#, "all"),
            (r#","location_decimals":3"#, "all, location to 3 decimals"),
            (r#","keep":"activity","location_decimals":0"#, "activity"),
        ] {
            assert_eq!(write(more).as_deref(), Ok(privacy), "{more}");
        }
        for more in [
            r#","keep":"nothing""#,
            r#","keep":null"#,
            r#","keep":"Activity""#,
            r#","location_decimals":8"#,
            r#","location_decimals":"2""#,
            r#","location_decimals":-1"#,
            r#","keep":"activity","except":"x""#,
        ] {
            let said = write(more).unwrap_err().to_string();
            assert!(said.contains("cannot be read") && said.contains("install the gaitway that wrote it"), "{said}");
        }
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
    fn what_stands_in_the_way_is_not_written_into() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
        fs::write(&other, "another's").unwrap();
        let file = PhonesFile::new(dir.path());
        std::os::unix::fs::symlink(other.path(), file.unfinished()).unwrap();
        add(&file, "anna").unwrap();
        let lock = dir.path().join("phones.json.lock");
        fs::remove_file(&lock).unwrap();
        std::os::unix::fs::symlink(other.path(), &lock).unwrap();
        let said = file.change(|phones| phones.revoke("anna")).unwrap_err().to_string();
        assert!(said.contains("phones.json cannot be changed"), "{said}");
        assert_eq!(fs::read_to_string(&other).unwrap(), "another's");
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
