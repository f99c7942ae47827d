//! What was found, for people and for programs.
//!
//! - On a terminal sentences are wrapped below their column, and grades have colours unless `NO_COLOR` is set.
//! - Elsewhere a thing is one line, which `grep` finds.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use serde::Serialize;

use super::{Checkup, Grade, Line};

/// What is left for sentences is at least so wide.
const NARROWEST: usize = 30;

/// Subjects longer than this have a line of their own on a terminal.
const SUBJECT: usize = 22;

/// Lines are no wider than this, however wide the terminal: nobody reads longer ones with ease.
const WIDEST: usize = 110;

/// What stands before subjects.
const BEFORE: usize = "  fail  ".len();

impl Checkup {
    /// Shows it on stdout.
    pub fn show(&self, json: bool) -> io::Result<()> {
        let shown = if json { self.json()? } else { format!("{}\n{}\n", self.text(), self.verdict()) };
        match io::stdout().write_all(shown.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }

    /// 1 if anything fails, else 0.
    pub fn exit_code(&self) -> ExitCode {
        if self.worst() == Some(Grade::Fail) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }

    fn text(&self) -> String {
        let stdout = io::stdout();
        if !stdout.is_terminal() {
            return self.to_string();
        }
        let width = terminal_size::terminal_size().map_or(80, |(terminal_size::Width(width), _)| usize::from(width));
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        self.wrapped(width, !is_set("NO_COLOR") && !is_dumb)
    }

    /// For a terminal of this width.
    fn wrapped(&self, width: usize, colours: bool) -> String {
        let lengths = self.lines.iter().map(|line| line.subject.chars().count());
        let column = lengths.filter(|length| *length <= SUBJECT).max().unwrap_or(0);
        let indent = BEFORE + column + 2;
        let room = width.min(WIDEST).saturating_sub(indent).max(NARROWEST);
        let (mut text, mut section) = (String::new(), "");
        for Line { grade, section: of, subject, said } in &self.lines {
            if section != of {
                let gap = if text.is_empty() { "" } else { "\n" };
                let _ = writeln!(text, "{gap}{}", if colours { format!("\x1b[1m{of}\x1b[0m") } else { of.clone() });
                section = of;
            }
            let grade = if colours { coloured(*grade) } else { format!("{grade:<4}") };
            let mut pieces = wrap(said, room).into_iter();
            let first =
                if subject.chars().count() <= column { pieces.next().unwrap_or_default() } else { String::new() };
            let _ = writeln!(text, "{}", format!("  {grade}  {subject:<column$}  {first}").trim_end());
            for piece in pieces {
                let _ = writeln!(text, "{:indent$}{piece}", "");
            }
        }
        text
    }

    fn verdict(&self) -> String {
        let [fails, warnings, fine] = [Grade::Fail, Grade::Warn, Grade::Ok].map(|grade| self.count(grade));
        match (fails, warnings) {
            (0, 0) => format!("nothing is wrong: {fine} looked at"),
            (0, _) => format!("nothing fails: {warnings} to know of, {fine} fine"),
            _ => format!("{fails} to mend, {warnings} to know of, {fine} fine"),
        }
    }

    fn json(&self) -> serde_json::Result<String> {
        #[derive(Serialize)]
        struct Whole<'a> {
            checks: &'a Checkup,
            worst: Option<Grade>,
        }
        let whole = Whole { checks: self, worst: self.worst() };
        serde_json::to_string_pretty(&whole).map(|json| format!("{json}\n"))
    }
}

fn coloured(grade: Grade) -> String {
    let code = match grade {
        Grade::Ok => 32,
        Grade::Warn => 33,
        Grade::Fail => 31,
    };
    format!("\x1b[{code}m{grade:<4}\x1b[0m")
}

/// `text` in lines of at most `room` letters, but for words that are longer.
fn wrap(text: &str, room: usize) -> Vec<String> {
    let (mut lines, mut line, mut length) = (Vec::new(), String::new(), 0);
    for word in text.split_whitespace() {
        let more = word.chars().count();
        if length > 0 && length + 1 + more > room {
            lines.push(std::mem::take(&mut line));
            length = 0;
        }
        if length > 0 {
            line.push(' ');
            length += 1;
        }
        line.push_str(word);
        length += more;
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_a_terminal_sentences_are_wrapped_below_their_column() {
        let mut checkup = Checkup::new();
        checkup.begin("agent");
        checkup.ok("disk", "one two three four five six seven eight nine ten eleven twelve");
        checkup.warn("warehouse /var/lib/gaitway/warehouse.db", "is not there");
        checkup.begin("relay");
        checkup.fail("port", "taken");
        assert_eq!(
            checkup.wrapped(46, false),
            "agent\n  ok    disk  one two three four five six\n              seven eight nine ten eleven\n              twelve\n  \
             warn  warehouse /var/lib/gaitway/warehouse.db\n              is not there\n\nrelay\n  fail  port  taken\n"
        );
        assert!(checkup.wrapped(80, true).contains("\x1b[31mfail\x1b[0m  port"));
        assert!(checkup.wrapped(1, false).lines().count() > 4, "a terminal without width");
        assert_eq!(checkup.verdict(), "1 to mend, 1 to know of, 1 fine");
    }
}
