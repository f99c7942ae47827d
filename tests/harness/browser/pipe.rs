//! Chromium's debugging protocol over two pipes: commands and their answers, and events as they come.
//!
//! - Pieces of JSON, each ended by a zero byte, on the file descriptors 3 and 4 of the process.
//! - When the pipes are closed, also by this process's death, Chromium ends.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, ChildStdout};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long Chromium may take to answer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);

/// The most events that are kept of a page: a test that makes more is told, not served.
const EVENTS: usize = 100_000;

/// Both pipes.
pub(super) struct Pipe {
    commands: Mutex<Option<ChildStdin>>,
    next: AtomicU64,
    heard: Arc<Heard>,
}

#[derive(Default)]
struct Heard {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Default)]
struct State {
    answers: BTreeMap<u64, Value>,
    events: BTreeMap<String, Vec<Event>>,
    ended: bool,
}

/// What happened in a page.
#[derive(Debug, Clone)]
pub(super) struct Event {
    /// `Domain.event`.
    pub(super) method: String,
    pub(super) params: Value,
}

impl Pipe {
    pub(super) fn new(commands: ChildStdin, answers: ChildStdout) -> Self {
        let heard = Arc::new(Heard::default());
        let of_thread = Arc::clone(&heard);
        let read = move || of_thread.read(BufReader::with_capacity(1 << 16, answers));
        std::thread::Builder::new().name("chromium".to_owned()).spawn(read).unwrap();
        Self { commands: Mutex::new(Some(commands)), next: AtomicU64::new(1), heard }
    }

    /// Sends a command, to a page where `session` names one, and gives its result, or what Chromium has against it.
    pub(super) fn ask(&self, session: Option<&str>, method: &str, params: &Value) -> Result<Value, String> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut command = json!({"id": id, "method": method, "params": params});
        if let Some(session) = session {
            command["sessionId"] = json!(session);
        }
        let piece = [command.to_string().as_bytes(), b"\0"].concat();
        let sent = self.commands.lock().unwrap().as_mut().is_some_and(|pipe| pipe.write_all(&piece).is_ok());
        assert!(sent, "Chromium has ended before {method}");
        let end = Instant::now() + ANSWERED_WITHIN;
        let mut state = self.heard.state.lock().unwrap();
        loop {
            if let Some(mut answer) = state.answers.remove(&id) {
                return match answer.get("error") {
                    Some(error) => Err(format!("{method}: {error}")),
                    None => Ok(answer["result"].take()),
                };
            }
            assert!(!state.ended && Instant::now() < end, "Chromium does not answer {method} (ended: {})", state.ended);
            state = self.heard.news.wait_timeout(state, Duration::from_millis(500)).unwrap().0;
        }
    }

    /// Events of a page so far.
    pub(super) fn events(&self, session: &str) -> Vec<Event> {
        self.heard.state.lock().unwrap().events.get(session).cloned().unwrap_or_default()
    }

    /// Waits for an event of a page that comes after its first `seen` ones.
    pub(super) fn await_event(&self, session: &str, method: &str, seen: usize) {
        let end = Instant::now() + ANSWERED_WITHIN;
        let mut state = self.heard.state.lock().unwrap();
        while !state.events.get(session).is_some_and(|all| all.iter().skip(seen).any(|event| event.method == method)) {
            assert!(!state.ended && Instant::now() < end, "no {method} (ended: {})", state.ended);
            state = self.heard.news.wait_timeout(state, Duration::from_millis(500)).unwrap().0;
        }
    }

    /// Ends Chromium.
    pub(super) fn close(&self) {
        *self.commands.lock().unwrap() = None;
    }
}

impl Heard {
    fn read(&self, mut answers: BufReader<ChildStdout>) {
        let mut piece = Vec::new();
        while answers.read_until(0, &mut piece).is_ok_and(|length| length > 0) {
            let Ok(mut said) = serde_json::from_slice::<Value>(&piece[..piece.len() - 1]) else { break };
            piece.clear();
            let mut state = self.state.lock().unwrap();
            if let Some(id) = said["id"].as_u64() {
                state.answers.insert(id, said);
            } else if let (Some(session), Some(method)) = (said["sessionId"].as_str(), said["method"].as_str()) {
                let (session, method) = (session.to_owned(), method.to_owned());
                let events = state.events.entry(session).or_default();
                if events.len() < EVENTS {
                    events.push(Event { method, params: said["params"].take() });
                }
            }
            self.news.notify_all();
        }
        self.state.lock().unwrap().ended = true;
        self.news.notify_all();
    }
}
