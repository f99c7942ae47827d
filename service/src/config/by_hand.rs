//! A service's credentials, for commands that are started by hand.
//!
//! The unit of a package hands the files of `/etc/gaitway/secrets/UNIT/` to its service (`LoadCredential=secret:…`), which finds each
//! as `$CREDENTIALS_DIRECTORY/secret_NAME`. A command beside it, such as `doctor`, has no credentials: it reads the file itself.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::DIRECTORY;
use super::given::UP;
use super::tree::{Node, Value};

const VARIABLE: &str = "CREDENTIALS_DIRECTORY";
const CREDENTIAL: &str = "$CREDENTIALS_DIRECTORY/secret_";
const SECRETS: &str = "/etc/gaitway/secrets";

/// What the file at `path` says, its credentials where the package keeps them if nobody gave any.
pub(super) fn found(said: Node, path: &Path, variables: &[(OsString, OsString)]) -> Node {
    let given = variables.iter().any(|(name, value)| name == VARIABLE && !value.is_empty());
    match path.file_stem().and_then(|stem| stem.to_str()) {
        Some(stem) if !given && folder_of(path) == Path::new(DIRECTORY) => {
            let unit = if stem == UP { "gaitway".to_owned() } else { format!("gaitway-{stem}") };
            placed(said, &format!("{SECRETS}/{unit}/"))
        }
        _ => said,
    }
}

/// The folder that the file is named in, however it is spelled.
fn folder_of(path: &Path) -> PathBuf {
    let named = path.parent().filter(|named| !named.as_os_str().is_empty()).unwrap_or(Path::new("."));
    named.canonicalize().unwrap_or_else(|_| named.to_owned())
}

fn placed(Node { value, origin }: Node, folder: &str) -> Node {
    let value = match value {
        Value::String(text) => match text.strip_prefix(CREDENTIAL) {
            Some(name) => Value::String(format!("{folder}{name}")),
            None => Value::String(text),
        },
        Value::List(items) => Value::List(items.into_iter().map(|item| placed(item, folder)).collect()),
        Value::Table(keys) => Value::Table(keys.into_iter().map(|(key, node)| (key, placed(node, folder))).collect()),
        other => other,
    };
    Node { value, origin }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file;

    fn text_at(path: &str, variables: &[(&str, &str)], keys: &[&str]) -> String {
        let path = Path::new(path);
        let text = "[kafka.property_files]\n\"sasl.password\" = \"$CREDENTIALS_DIRECTORY/secret_kafka\"\n[http]\nnames = [\"$CREDENTIALS_DIRECTORY/other\"]";
        let variables: Vec<_> = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let mut node = found(file::read(path, text).unwrap(), path, &variables);
        for key in keys {
            node = match node.value {
                Value::Table(mut keys) => keys.remove(*key).unwrap(),
                Value::List(items) => items.into_iter().next().unwrap(),
                other => panic!("{other:?}"),
            };
        }
        match node.value {
            Value::String(text) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_folder_is_the_same_however_it_is_spelled() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        let whole = dir.path().canonicalize().unwrap();
        for spelled in [inner.join("../sink.toml"), dir.path().join("./sink.toml"), dir.path().join("sink.toml")] {
            assert_eq!(folder_of(&spelled), whole, "{}", spelled.display());
        }
        assert_eq!(folder_of(Path::new("sink.toml")), std::env::current_dir().unwrap());
    }

    #[test]
    fn a_command_by_hand_reads_what_the_unit_would_hand_over() {
        let kafka = ["kafka", "property_files", "sasl.password"];
        for (path, read) in [
            ("/etc/gaitway/sink.toml", "/etc/gaitway/secrets/gaitway-sink/kafka"),
            ("/etc/gaitway/up.toml", "/etc/gaitway/secrets/gaitway/kafka"),
            ("/srv/sink.toml", "$CREDENTIALS_DIRECTORY/secret_kafka"),
        ] {
            assert_eq!(text_at(path, &[], &kafka), read);
            assert_eq!(text_at(path, &[(VARIABLE, "")], &kafka), read);
        }
        let given = [(VARIABLE, "/run/credentials/gaitway-sink.service")];
        assert_eq!(text_at("/etc/gaitway/sink.toml", &given, &kafka), "$CREDENTIALS_DIRECTORY/secret_kafka");
        let other = text_at("/etc/gaitway/sink.toml", &[], &["http", "names", "first"]);
        assert_eq!(other, "$CREDENTIALS_DIRECTORY/other");
    }
}
