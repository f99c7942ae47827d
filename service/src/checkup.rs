//! What a command finds when it looks at things instead of using them: one line each, with what to do.
//!
//! - A look changes nothing that stays.
//! - Text from elsewhere cannot move a terminal's cursor.
//!
//! What any service has is looked at here: the clock ([`time`], by [`ntp`]), its data directory ([`folder`]), where it listens ([`port`]), the
//! way to where it connects ([`reach`]), certificates ([`certificate`]), a broker that is not ours ([`broker`]).

use std::fmt;
use std::path::Path;

use serde::{Serialize, Serializer};

use crate::table::{Side, Table};

pub mod ask;
pub mod broker;
pub mod certificate;
pub mod folder;
mod fsync;
pub(crate) mod mount;
pub mod ntp;
pub mod port;
pub mod reach;
mod show;
pub mod time;

/// How a thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// As it should be.
    Ok,
    /// It works, and somebody should know.
    Warn,
    /// It does not work, or data may be lost.
    Fail,
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        })
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// How it stands.
    pub grade: Grade,
    /// What it belongs to: a service, or the machine; empty where that is clear.
    #[serde(rename = "of", skip_serializing_if = "String::is_empty")]
    pub section: String,
    /// Which thing.
    #[serde(rename = "what")]
    pub subject: String,
    /// What was found, and what to do about it.
    pub said: String,
}

/// All that was found, in the order in which it was looked at. Displays as lines that stand under each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checkup {
    lines: Vec<Line>,
    section: String,
}

impl Checkup {
    /// Nothing was looked at yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is looked at from here on belongs to this.
    pub fn begin(&mut self, section: impl Into<String>) {
        self.section = plain(&section.into());
    }

    /// `subject` is as it should be.
    pub fn ok(&mut self, subject: impl Into<String>, said: impl Into<String>) {
        self.add(Grade::Ok, subject, said);
    }

    /// `subject` works, and somebody should know this.
    pub fn warn(&mut self, subject: impl Into<String>, said: impl Into<String>) {
        self.add(Grade::Warn, subject, said);
    }

    /// `subject` does not work, or data may be lost.
    pub fn fail(&mut self, subject: impl Into<String>, said: impl Into<String>) {
        self.add(Grade::Fail, subject, said);
    }

    /// A line of any grade. What was said before of the same subject is not said again.
    pub fn add(&mut self, grade: Grade, subject: impl Into<String>, said: impl Into<String>) {
        let section = self.section.clone();
        let line = Line { grade, section, subject: plain(&subject.into()), said: plain(&said.into()) };
        if !self.lines.contains(&line) {
            self.lines.push(line);
        }
    }

    /// What was found.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The worst that was found; none if nothing was looked at.
    pub fn worst(&self) -> Option<Grade> {
        self.lines.iter().map(|line| line.grade).max()
    }

    /// How many things stand so.
    pub fn count(&self, grade: Grade) -> usize {
        self.lines.iter().filter(|line| line.grade == grade).count()
    }
}

impl fmt::Display for Checkup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without sections there is no column of them.
        let first = usize::from(self.lines.iter().all(|line| line.section.is_empty()));
        let mut table = Table::bare(&[Side::Left; 4][first..]);
        for Line { grade, section, subject, said } in &self.lines {
            let [section, subject, said] = [section, subject, said].map(String::clone);
            let cells = [vec![grade.to_string()], [section, subject, said][first..].to_vec()];
            table.push(cells.concat());
        }
        table.fmt(f)
    }
}

impl Serialize for Checkup {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.lines.serialize(serializer)
    }
}

/// A path as a shell takes it for one word.
pub fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let is_word = |letter: char| letter.is_alphanumeric() || "/._-+,:@%=".contains(letter);
    if !path.is_empty() && !path.starts_with('-') && path.chars().all(is_word) {
        path
    } else {
        let dash = if path.starts_with('-') { "./" } else { "" };
        format!("'{dash}{}'", path.replace('\'', r"'\''"))
    }
}

fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stand_under_each_other_and_the_worst_counts() {
        let mut checkup = Checkup::new();
        assert_eq!((checkup.worst(), checkup.to_string().as_str()), (None, ""));
        checkup.ok("Kafka a:1", "answers");
        checkup.fail("table x", "is not there:\nmake\u{1b}it");
        checkup.ok("Kafka a:1", "answers");
        assert_eq!(checkup.to_string(), "ok    Kafka a:1  answers\nfail  table x    is not there: make it\n");
        assert_eq!((checkup.worst(), checkup.count(Grade::Ok)), (Some(Grade::Fail), 1));
        let json = serde_json::to_string(&checkup).unwrap();
        assert!(json.starts_with(r#"[{"grade":"ok","what":"Kafka a:1","said":"answers"}"#), "{json}");
        checkup.begin("sink");
        checkup.ok("port", "free");
        assert_eq!(checkup.to_string().lines().last(), Some("ok    sink  port       free"));
        assert!(
            serde_json::to_string(&checkup)
                .unwrap()
                .ends_with(r#"{"grade":"ok","of":"sink","what":"port","said":"free"}]"#)
        );
    }
}
