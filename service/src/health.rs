//! Whether data moves, and why not: what `/readyz` answers.
//!
//! - A part starts not ready: `starting`.
//! - The service is ready when every part is; a service without parts is not ready.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

/// The parts of one process that must move data. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Health {
    parts: Arc<Mutex<Vec<PartReport>>>,
}

/// One part, told about by whoever runs it. Clones are the same part.
#[derive(Debug, Clone)]
pub struct Part {
    parts: Arc<Mutex<Vec<PartReport>>>,
    index: usize,
}

/// What is known at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Every part is ready, and there is one.
    pub ready: bool,
    /// In the order in which they were registered.
    pub parts: Vec<PartReport>,
}

/// What one part last said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartReport {
    /// As given to [`Health::part`].
    pub name: String,
    /// Data moves through it.
    pub ready: bool,
    /// Why it is not ready; none while it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// A detail for people, whether ready or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Health {
    /// Without parts.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new part, not ready yet. Register it once and clone it: parts stay for the life of the process.
    pub fn part(&self, name: impl Into<String>) -> Part {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.push(PartReport { name: name.into(), ready: false, why: Some("starting".into()), note: None });
        Part { parts: self.parts.clone(), index: parts.len() - 1 }
    }

    /// What every part last said.
    pub fn report(&self) -> Report {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Report { ready: !parts.is_empty() && parts.iter().all(|p| p.ready), parts }
    }
}

impl Part {
    /// Data moves again.
    pub fn ready(&self) {
        self.update(|part| {
            part.ready = true;
            part.why = None;
        });
    }

    /// Data does not move, and why: one line for the person who looks.
    pub fn not_ready(&self, why: impl Into<String>) {
        let why = why.into();
        self.update(|part| {
            part.ready = false;
            part.why = Some(why);
        });
    }

    /// A detail shown beside the state until the next note; an empty one removes it.
    pub fn note(&self, detail: impl Into<String>) {
        let detail = detail.into();
        self.update(|part| part.note = Some(detail).filter(|d| !d.is_empty()));
    }

    fn update(&self, change: impl FnOnce(&mut PartReport)) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut parts[self.index]);
    }
}

impl Report {
    /// One line per part: `spool: ready` or `relay link: no welcome for 12 s`, the note behind it in brackets.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for part in &self.parts {
            let state = part.why.as_deref().unwrap_or("ready");
            let note = part.note.as_deref().map(|n| format!(" ({n})")).unwrap_or_default();
            let line = format!("{}: {state}{note}", part.name).replace(['\r', '\n'], " ");
            let _ = writeln!(text, "{line}");
        }
        if self.parts.is_empty() {
            text.push_str("starting\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_starts_not_ready() {
        let health = Health::new();
        health.part("spool");
        assert!(!health.report().ready);
        assert_eq!(health.report().to_text(), "spool: starting\n");
    }

    #[test]
    fn the_service_is_ready_when_every_part_is_and_a_service_without_parts_is_not_ready() {
        let health = Health::new();
        assert!(!health.report().ready);
        let (spool, link) = (health.part("spool"), health.part("relay link"));
        spool.ready();
        assert!(!health.report().ready);
        link.clone().ready();
        assert!(health.report().ready);
        link.not_ready("no welcome for 12 s");
        assert!(!health.report().ready);
        assert_eq!(health.report().to_text(), "spool: ready\nrelay link: no welcome for 12 s\n");
    }

    #[test]
    fn a_note_stays_beside_the_state_until_the_next_one() {
        let health = Health::new();
        let link = health.part("relay link");
        link.note("12 frames waiting");
        link.ready();
        assert_eq!(health.report().to_text(), "relay link: ready (12 frames waiting)\n");
        link.note("");
        assert_eq!(health.report().to_text(), "relay link: ready\n");
    }

    #[test]
    fn a_part_keeps_to_one_line() {
        let health = Health::new();
        health.part("sink").not_ready("first\nsecond: ready");
        assert_eq!(health.report().to_text().lines().count(), 1);
    }
}
