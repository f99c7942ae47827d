//! Secrets that stand in a configuration file which others on the machine may read.

use std::os::unix::fs::MetadataExt as _;

use super::error::is_secret;
use super::file;
use super::given::ConfigFile;
use super::tree::{Node, Origin, Value};

/// Files that hold secrets, named as the properties are to which they belong.
const FILES: &str = "property_files";

impl ConfigFile {
    /// Secrets in this file, if others than its owner and group may read it: where, and by which key. A file that cannot be read as TOML
    /// has none.
    pub fn exposed_secrets(&self) -> Vec<(Origin, String)> {
        let is_open = self.path().metadata().is_ok_and(|found| found.mode() & 0o004 != 0);
        let said = self.text().filter(|_| is_open).and_then(|text| file::read(self.path(), text).ok());
        let mut found = Vec::new();
        if let Some(said) = said {
            gather(&said, &mut Vec::new(), &mut found);
        }
        found
    }
}

fn gather<'a>(node: &'a Node, keys: &mut Vec<&'a str>, found: &mut Vec<(Origin, String)>) {
    match &node.value {
        Value::Table(fields) => {
            for (key, node) in fields.iter().filter(|(key, _)| *key != FILES) {
                keys.push(key);
                gather(node, keys, found);
                keys.pop();
            }
        }
        Value::String(text) => {
            let named = keys.last().is_some_and(|key| is_secret(key)) && !text.is_empty();
            if named || has_password(text) {
                found.push((node.origin.clone(), keys.join(".")));
            }
        }
        _ => {}
    }
}

/// Whether it is a URL with a user and a password.
fn has_password(text: &str) -> bool {
    let user = text.split_once("://").and_then(|(_, rest)| rest.split_once('@'));
    user.is_some_and(|(user, _)| user.contains(':') && !user.contains('/'))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_in_a_file_that_others_may_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sink.toml");
        let text = r#"
            warehouse = "postgres"
            [postgres]
            url = "postgres://gaitway_sink:hunter2@db.example.org/gaitway"
            password_file = "/etc/gaitway/password"
            [snowflake]
            token = ""
            url = "https://gaitway_sink@example.org/a:b"
            [kafka.properties]
            "sasl.username" = "sink"
            "sasl.password" = "hunter2"
            [kafka.property_files]
            "sasl.password" = "/etc/gaitway/kafka"
        "#;
        fs::write(&path, text).unwrap();
        let exposed = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            ConfigFile::named(&path).unwrap().exposed_secrets()
        };
        let found: Vec<_> = exposed(0o644).into_iter().map(|(at, key)| (at.to_string(), key)).collect();
        let at = |line: usize| format!("{}:{line}", path.display());
        assert_eq!(found, [(at(11), "kafka.properties.sasl.password".to_owned()), (at(4), "postgres.url".to_owned())]);
        assert_eq!(exposed(0o640), []);
    }
}
