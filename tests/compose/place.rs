//! Where on this machine the containers' paths, names and ports are.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use crate::file::{Compose, Service, folder};

pub(crate) struct Place {
    root: PathBuf,
    /// `SERVICE:PORT` and where that is here.
    ports: BTreeMap<String, String>,
}

/// One service's words for things, and ours.
pub(crate) struct Words(Vec<(String, String)>);

impl Words {
    /// `text` in our words, of which the longest that fits holds.
    pub(crate) fn of(&self, text: &str) -> String {
        let (mut said, mut rest) = (String::new(), text);
        while !rest.is_empty() {
            let known = self.0.iter().filter(|(theirs, _)| rest.starts_with(theirs.as_str()));
            if let Some((theirs, ours)) = known.max_by_key(|(theirs, _)| theirs.len()) {
                said.push_str(ours);
                rest = &rest[theirs.len()..];
            } else {
                let next = rest.chars().next().unwrap();
                said.push(next);
                rest = &rest[next.len_utf8()..];
            }
        }
        said
    }

    pub(crate) fn of_all(&self, texts: &[String]) -> Vec<String> {
        texts.iter().map(|text| self.of(text)).collect()
    }
}

impl Place {
    /// `listening` are the ports of all services.
    pub(crate) fn new(root: PathBuf, listening: &[(&str, u16)]) -> Self {
        let taken: Vec<_> = listening.iter().map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses = taken.iter().map(|port| port.local_addr().unwrap().to_string());
        let names = listening.iter().map(|(service, port)| format!("{service}:{port}"));
        Self { root, ports: names.zip(addresses).collect() }
    }

    /// Where a port is.
    pub(crate) fn port(&self, of: &str) -> &str {
        self.ports.get(of).unwrap_or_else(|| panic!("no service listens at {of}"))
    }

    /// It is elsewhere than was thought.
    pub(crate) fn set_port(&mut self, of: &str, address: &str) {
        assert!(self.ports.insert(of.to_owned(), address.to_owned()).is_some(), "{of}");
    }

    /// Where a named volume is; those of passwords are together.
    pub(crate) fn volume(&self, name: &str) -> PathBuf {
        let path = match name.strip_prefix("secrets-") {
            Some(whose) => self.root.join("secrets").join(whose),
            None => self.root.join("volumes").join(name),
        };
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// How `service` speaks; its configuration files are written here, in our words.
    pub(crate) fn words(&self, compose: &Compose, name: &str, service: &Service) -> Words {
        let mut words: Vec<_> = self.ports.clone().into_iter().collect();
        for (of, here) in &self.ports {
            if let Some(port) = of.strip_prefix(&format!("{name}:")) {
                words.push((format!("0.0.0.0:{port}"), here.clone()));
                words.push((format!("127.0.0.1:{port}"), here.clone()));
            }
        }
        let mounts: Vec<_> = service.volumes.iter().map(crate::file::Volume::ends).collect();
        for (source, target) in &mounts {
            if compose.volumes.contains_key(*source) {
                words.push(((*target).to_owned(), self.volume(source).to_str().unwrap().to_owned()));
            } else {
                assert!(source.starts_with('.'), "{name}: the volume {source} is not declared");
                words.push(((*target).to_owned(), self.mounted(name, target).to_str().unwrap().to_owned()));
            }
        }
        for secret in &service.secrets {
            assert!(compose.secrets.contains_key(secret), "{name}: the secret {secret} is not declared");
            let here = self.mounted(name, &format!("/run/secrets/{secret}"));
            words.push((format!("/run/secrets/{secret}"), here.to_str().unwrap().to_owned()));
        }
        let words = Words(words);
        for (source, target) in mounts {
            if source.starts_with('.') {
                mount(&folder().join(source), &self.mounted(name, target), &words);
            }
        }
        words
    }

    /// Where the file that `service` sees at `target` is.
    pub(crate) fn mounted(&self, service: &str, target: &str) -> PathBuf {
        let path = self.root.join("mounted").join(service).join(target.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }
}

/// Puts the file `source` `here`, in our words.
fn mount(source: &Path, here: &Path, words: &Words) {
    if source.is_dir() {
        let _ = fs::remove_file(here);
        std::os::unix::fs::symlink(source.canonicalize().unwrap(), here).unwrap();
    } else if let Ok(text) = fs::read_to_string(source) {
        // Once: whoever reads it while it is written anew finds it empty.
        let text = words.of(&text);
        if fs::read_to_string(here).ok().as_ref() != Some(&text) {
            fs::write(here, text).unwrap();
        }
    } else {
        // What the user brings.
        let ignored = fs::read_to_string(folder().join(".gitignore")).unwrap();
        let name = source.strip_prefix(folder()).unwrap().components().as_path().to_str().unwrap().to_owned();
        assert!(ignored.lines().any(|line| line.trim_end_matches('/') == name), "{name} is not in the repository");
    }
}

#[test]
fn the_longest_word_that_fits_is_put_in_the_place_of_theirs() {
    let pairs = [("/secrets", "/tmp/s"), ("/secrets/a", "/tmp/a"), ("kafka:9092", "127.0.0.1:1")];
    let words = Words(pairs.map(|(theirs, ours)| (theirs.to_owned(), ours.to_owned())).to_vec());
    assert_eq!(words.of("é /secrets/b /secrets/a/c kafka:9092"), "é /tmp/s/b /tmp/a/c 127.0.0.1:1");
}
