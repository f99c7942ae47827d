//! The layer of a TOML file.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::error::ConfigError;
use super::tree::{Node, Origin, Value};

/// Greatest file that is read, bytes: a device without an end is no configuration.
const MAX_FILE: u64 = 1 << 20;

/// What stands in the file; none if there is none, unless it was `named`.
pub(super) fn text(path: &Path, named: bool) -> Result<Option<String>, ConfigError> {
    let unreadable = |source| ConfigError::File { path: path.to_owned(), source };
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !named => return Ok(None),
        opened => opened.map_err(unreadable)?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(unreadable(io::Error::other("it is larger than 1 MiB")));
    }
    String::from_utf8(bytes).map(Some).map_err(|error| {
        let whole = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
        let line = line(&whole, whole.len());
        ConfigError::Syntax { path: path.to_owned(), line, problem: "the text is not UTF-8".to_owned() }
    })
}

/// The file's tree; `path` only names it.
pub(super) fn read(path: &Path, text: &str) -> Result<Node, ConfigError> {
    let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        path: path.to_owned(),
        line: line(text, error.span().map_or(0, |span| span.start)),
        problem: error.message().replace('\n', ", "),
    })?;
    let path: Arc<Path> = path.into();
    let origin = |at| Origin::File(path.clone(), line(text, at));
    Ok(Node { value: fields(table.get_ref(), &origin), origin: origin(0) })
}

/// What the text of a variable is where its key does not say.
pub(super) fn guess(text: &str, origin: &Origin) -> Value {
    match DeValue::parse(text) {
        Ok(parsed) => value(parsed.get_ref(), &|_| origin.clone()),
        Err(_) => Value::String(text.to_owned()),
    }
}

/// Line of the byte `at`, from 1.
fn line(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

fn fields(table: &DeTable<'_>, origin: &dyn Fn(usize) -> Origin) -> Value {
    let node = |(key, node): (&Spanned<_>, &Spanned<_>)| {
        let key: &Spanned<std::borrow::Cow<'_, str>> = key;
        (key.get_ref().to_string(), Node { value: value(node.get_ref(), origin), origin: origin(key.span().start) })
    };
    Value::Table(table.iter().map(node).collect())
}

fn value(parsed: &DeValue<'_>, origin: &dyn Fn(usize) -> Origin) -> Value {
    match parsed {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => integer(number),
        DeValue::Float(number) => {
            number.as_str().parse().map_or_else(|_| Value::String(number.to_string()), Value::Float)
        }
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Datetime(time) => Value::String(time.to_string()),
        DeValue::Array(items) => Value::List(
            items
                .iter()
                .map(|item| Node { value: value(item.get_ref(), origin), origin: origin(item.span().start) })
                .collect(),
        ),
        DeValue::Table(table) => fields(table, origin),
    }
}

/// As a number, or as its text where it has more digits than any key can hold.
fn integer(number: &DeInteger<'_>) -> Value {
    i128::from_str_radix(number.as_str(), number.radix())
        .map_or_else(|_| Value::String(number.to_string()), Value::Integer)
}
