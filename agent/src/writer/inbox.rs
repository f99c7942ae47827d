//! What waits for the writer.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use super::Command;

/// Commands for the writer, those first that a lost file left unanswered.
#[derive(Debug)]
pub struct Inbox {
    pub(super) waiting: VecDeque<Command>,
    pub(super) commands: mpsc::Receiver<Command>,
}

impl From<mpsc::Receiver<Command>> for Inbox {
    fn from(commands: mpsc::Receiver<Command>) -> Self {
        Self { waiting: VecDeque::new(), commands }
    }
}

impl Inbox {
    /// Takes what comes until it is dropped, as [`settled`](Self::settled) does: nobody waits in vain for an answer that
    /// a lost file cannot give.
    pub async fn hold(&mut self) {
        while let Some(command) = self.commands.recv().await {
            self.keep(command);
        }
    }

    /// Takes what has come: pushes are kept, the rest was about frames of a lost file.
    #[must_use]
    pub fn settled(mut self) -> Self {
        while let Ok(command) = self.commands.try_recv() {
            self.keep(command);
        }
        self
    }

    pub(super) fn keep(&mut self, command: Command) {
        if matches!(command, Command::Push(..)) {
            self.waiting.push_back(command);
        }
    }
}
