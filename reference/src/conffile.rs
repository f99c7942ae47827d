//! The configuration files of the packages: every key with its default, commented out, but for what a package needs.

use crate::examples;
use crate::keys::{self, Key, SERVICES, Table};
use crate::source::Sources;

/// The files, without `.toml`.
pub const NAMES: [&str; 4] = ["up", "agent", "relay", "sink"];

/// What packages set.
const SET: [(&str, &str, &str); 3] = [
    ("agent", "data_dir", "\"/var/lib/gaitway-agent\""),
    ("relay", "data_dir", "\"/var/lib/gaitway-relay\""),
    ("sink", "sqlite.path", "\"/var/lib/gaitway-sink/warehouse.db\""),
];

/// What stands above the tables of `up`'s file.
pub const UP_DATA_DIR: (&str, &str) = (
    "data_dir",
    "Where everything is kept: the agent's folder, the relay's, and warehouse.db. Commands that look find it here.",
);

/// What `up` decides itself, and refuses: keys, and tables with all that is in them.
pub const UP_DECIDES: [(&str, &str); 7] = [
    ("agent", "data_dir"),
    ("agent", "relay"),
    ("relay", "data_dir"),
    ("sink", "warehouse"),
    ("sink", "sqlite.path"),
    ("sink", "postgres"),
    ("sink", "snowflake"),
];

/// Tables whose name alone already says something.
const TELLING: [(&str, &str); 3] = [("sink", "postgres"), ("up", "sink.kafka"), ("up", "sink.batch")];

/// Widest comment, characters.
const WIDTH: usize = 100;

/// A file, line by line.
#[derive(Debug)]
pub struct Conffile(Vec<Line>);

#[derive(Debug)]
enum Line {
    /// A comment, or nothing.
    Said(String),
    /// A table's name, and whether it is commented out.
    Head(String, bool),
    /// A key: dotted with the file's tables, what is written, and whether that is commented out.
    Key(String, String, bool),
}

impl Conffile {
    /// What is written.
    pub fn text(&self) -> String {
        self.with(|_| false)
    }

    /// Dotted, every key that is commented out.
    pub fn commented(&self) -> Vec<&str> {
        let commented = |line| match line {
            &Line::Key(ref path, _, true) => Some(path.as_str()),
            _ => None,
        };
        self.0.iter().filter_map(commented).collect()
    }

    /// The same with the comments of some keys, and of the tables in which they are, taken away.
    pub fn with(&self, is_taken: impl Fn(&str) -> bool) -> String {
        let is_below = |table: &str, path: &str| path.rsplit_once('.').is_some_and(|(above, _)| above == table);
        let mut text = String::new();
        for line in &self.0 {
            let (line, is_commented) = match line {
                Line::Said(text) => (text.clone(), false),
                Line::Key(path, line, is_commented) => (line.clone(), *is_commented && !is_taken(path)),
                Line::Head(table, is_commented) => {
                    let is_needed = self.commented().into_iter().any(|path| is_below(table, path) && is_taken(path));
                    (format!("[{table}]"), *is_commented && !is_needed)
                }
            };
            text.push_str(if is_commented { "# " } else { "" });
            text.push_str(&line);
            text.push('\n');
        }
        text
    }
}

/// The file of this name.
pub fn write(sources: &Sources, name: &'static str) -> anyhow::Result<Conffile> {
    let mut lines = Vec::new();
    let whose = if name == "up" { "`gaitway up`".to_owned() } else { format!("the {name}") };
    say(
        &mut lines,
        &format!("The configuration of {whose}, /etc/gaitway/{name}.toml. It is read when the service starts."),
    );
    say(&mut lines, "");
    let rule = "Every key is here. A line `# key = value` shows a key's default: take its `# ` away to set it. A table whose \
                name is commented out too is taken up by taking the `# ` of its name away as well. What is not set here may \
                be set by an environment variable; a flag wins over both.";
    say(&mut lines, rule);
    if name == "up" {
        lines.push(Line::Said(String::new()));
        say(&mut lines, UP_DATA_DIR.1);
        let line = format!("{} = \"/var/lib/gaitway\"", UP_DATA_DIR.0);
        lines.push(Line::Key(UP_DATA_DIR.0.to_owned(), line, false));
    }
    let services = SERVICES.into_iter().map(|(service, _)| service).filter(|service| name == "up" || *service == name);
    for service in services {
        for table in keys::tables(sources, service)? {
            if name != "up" || !is_decided(service, &table.path) {
                one_table(&mut lines, name, service, &table)?;
            }
        }
    }
    Ok(Conffile(lines))
}

fn is_decided(service: &str, path: &str) -> bool {
    let is_it = |decided: &str| path == decided || path.strip_prefix(decided).is_some_and(|rest| rest.starts_with('.'));
    UP_DECIDES.iter().any(|(of, decided)| *of == service && is_it(decided))
}

fn one_table(lines: &mut Vec<Line>, name: &str, service: &str, table: &Table) -> anyhow::Result<()> {
    let path = match (name, table.path.as_str()) {
        ("up", "") => service.to_owned(),
        ("up", path) => format!("{service}.{path}"),
        (_, path) => path.to_owned(),
    };
    if !path.is_empty() {
        lines.push(Line::Said(String::new()));
        say(lines, &table.doc);
        let is_telling = |(of, telling): &(&str, &str)| {
            *of == name && (path == *telling || path.starts_with(&format!("{telling}.")))
        };
        let is_commented = table.is_optional || TELLING.iter().any(is_telling);
        lines.push(Line::Head(path.clone(), is_commented));
    }
    for key in &table.keys {
        if name == "up" && is_decided(service, &key.path) {
            continue;
        }
        lines.push(Line::Said(String::new()));
        one_key(lines, key);
        let set = SET.iter().find(|(of, path, _)| *of == name && *path == key.path).map(|(.., value)| *value);
        let shown = if key.default.as_deref() == Some("{}") { "{}" } else { key.shown()? };
        let line = format!("{} = {}", key.name, set.unwrap_or(shown));
        let whole = if path.is_empty() { key.name.clone() } else { format!("{path}.{}", key.name) };
        lines.push(Line::Key(whole, line, set.is_none()));
    }
    Ok(())
}

fn one_key(lines: &mut Vec<Line>, key: &Key) {
    say(lines, &key.doc);
    let kind = key.kind.strip_prefix("a secret").unwrap_or(&key.kind);
    say(lines, &format!("{}{}.", kind[..1].to_uppercase(), &kind[1..]).replace('`', ""));
    for (word, does) in &key.words {
        say(lines, format!("\"{word}\": {does}").trim_end_matches([' ', ':']));
    }
    match (&key.default, key.example) {
        (None, _) => say(lines, "Not set by default; this is an example:"),
        (Some(_), Some(example)) => say(lines, &format!("An example: {example}")),
        _ => {}
    }
}

fn say(lines: &mut Vec<Line>, text: &str) {
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(Line::Said(std::mem::replace(&mut line, "#".to_owned())));
        }
        line.push(' ');
        line.push_str(word);
    }
    lines.push(Line::Said(line));
}

/// Keys that must be set beside `path` in the file of this name, dotted as there; and what must stand above everything.
pub fn beside(name: &str, path: &str) -> (Vec<String>, &'static str) {
    let (service, inner) = if name == "up" { path.split_once('.').unwrap_or((path, "")) } else { (name, path) };
    let prefix = if name == "up" { format!("{service}.") } else { String::new() };
    let mut keys: Vec<String> = examples::beside(service, inner).iter().map(|key| format!("{prefix}{key}")).collect();
    let top = inner.split('.').next().unwrap_or_default();
    let through_kafka = name == "up"
        && matches!((service, top), ("sink", "kafka" | "group" | "batch" | "admin") | ("relay", "schema_registry"));
    if through_kafka {
        keys.push("relay.kafka.brokers".to_owned());
    }
    if name == "up" && service == "sink" && top == "kafka" {
        keys.push("sink.kafka.brokers".to_owned());
    }
    let above = match (name, top) {
        ("sink", "postgres") => "warehouse = \"postgres\"\n",
        ("sink", "snowflake") => "warehouse = \"snowflake\"\n",
        _ => "",
    };
    (keys, above)
}
