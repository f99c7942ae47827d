//! What a command finds when it looks at things instead of using them: one line each, with what to do.
//!
//! - A look changes nothing.
//! - Text from elsewhere cannot move a terminal's cursor.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::table::{Side, Table};

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
}

impl Checkup {
    /// Nothing was looked at yet.
    pub fn new() -> Self {
        Self::default()
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
        let line = Line { grade, subject: plain(&subject.into()), said: plain(&said.into()) };
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
        let mut table = Table::bare(&[Side::Left, Side::Left, Side::Left]);
        for Line { grade, subject, said } in &self.lines {
            table.push(vec![grade.to_string(), subject.clone(), said.clone()]);
        }
        table.fmt(f)
    }
}

impl Serialize for Checkup {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.lines.serialize(serializer)
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
    }
}
